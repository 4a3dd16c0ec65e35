"""Text that was decoded wrongly, mended by ftfy; only texts that show a sign of it are handed to it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.errors import MissingExtraError
from whelp.curate.config import EncodingRepairConfig
from whelp.curate.rules.outcome import Outcome, keep_all
from whelp.curate.texts import Texts

# Entities, control characters (also those that ftfy removes beyond ASCII), terminal escapes.
_SIGN = r"&[#A-Za-z0-9]+;|[\x00-\x08\x0b\x0e-\x1f\x7f-\x{9f}\x{206a}-\x{206f}\x{feff}\x{fff9}-\x{fffc}]"


class EncodingRepair:
    """Mends what was decoded wrongly; what is only typography stays unless it is asked for."""

    def __init__(self, config: EncodingRepairConfig) -> None:
        try:
            from ftfy import TextFixerConfig
            from ftfy.badness import is_bad
            from ftfy.chardata import UTF8_DETECTOR_RE
        except ImportError:
            raise MissingExtraError("curate.encoding_repair", "ftfy", "curate") from None
        self._is_bad, self._detector = is_bad, UTF8_DETECTOR_RE
        self._always = config.fix_latin_ligatures or config.fix_character_width or config.uncurl_quotes
        self._options = TextFixerConfig(
            fix_latin_ligatures=config.fix_latin_ligatures,
            fix_character_width=config.fix_character_width,
            uncurl_quotes=config.uncurl_quotes,
            fix_line_breaks=False,
            normalization=None,
            explain=False,
        )

    def apply(self, texts: Texts) -> Outcome:
        """The texts, mended where something is wrong."""
        from ftfy import fix_text

        is_marked = pc.match_substring_regex(texts.array, _SIGN).to_numpy(zero_copy_only=False)
        is_foreign = np.zeros(len(texts), np.bool_) if texts.is_ascii else texts.lengths < texts.num_bytes
        changed = np.zeros(len(texts), np.bool_)
        mended = []
        for number in np.flatnonzero(is_marked | is_foreign):
            text = texts.array[int(number)].as_py()
            if is_marked[number] or self._always or self._looks_wrong(text):
                fixed = fix_text(text, self._options)
                if fixed != text:
                    changed[number] = True
                    mended.append(fixed)
        if not mended:
            return keep_all(len(texts))
        made = pc.replace_with_mask(texts.array, pa.array(changed), pa.array(mended, pa.large_string()))
        return keep_all(len(texts), made, {"texts mended": len(mended)})

    def _looks_wrong(self, text: str) -> Any:
        return self._is_bad(text) or self._detector.search(text)
