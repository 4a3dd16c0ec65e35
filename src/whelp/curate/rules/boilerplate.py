"""Lines that belong to a site or a file, not to its text."""

from __future__ import annotations

import numpy as np
import pyarrow.compute as pc

from whelp.base.errors import ConfigError
from whelp.base.re2 import find_pattern_problem
from whelp.curate.config import BoilerplateLinesConfig
from whelp.curate.rules.outcome import Outcome, keep_all
from whelp.curate.texts import Texts, join, to_mask

_NETWORKS = "facebook|twitter|x|linkedin|whatsapp|pinterest|reddit|instagram|youtube|telegram|e-?mail"
_PHRASES = (
    r"skip to (?:main |the )?content|back to top|(?:read|load|show|see|view|learn) more|click here|advertisements?|sponsored"
    r"|subscribe(?: now| today)?|sign (?:in|up|out)|log ?(?:in|out)|register|follow us|contact us|about us|home|menu|search"
    r"|related (?:posts|articles|stories|topics)|leave a (?:comment|reply)|(?:post a )?comments?|previous(?: post)?"
    r"|next(?: post)?|print(?: this)?(?: page)?|share(?: this)?(?: page| post| article)?|tweet|loading|newsletter"
)
USUAL = (
    r"\b(?:cookie (?:policy|notice|settings|preferences)|privacy policy|terms (?:of|and) (?:use|service|conditions)|uses cookies|"
    r"accept (?:all )?cookies|all rights reserved|subscribe to (?:our|the|my)|sign up for (?:our|the)|enable javascript)\b",
    r"^\W*(?:copyright (?:©|\(c\)|\d)|©|\(c\) ?\d{4}\b)",
    rf"^\W*(?:{_PHRASES})\W*$",
    rf"^\W*(?:share|tweet|follow|like|pin)(?: this| us| me)? (?:on|via|by) (?:{_NETWORKS})\W*$",
    r"^\W*(?:page )?\d{1,4} (?:of|/) \d{1,4}\W*$|^\W*page \d{1,4}\W*$|^\s*[-–—\[] ?\d{1,4} ?[-–—\]]\s*$",
)


class BoilerplateLines:
    """Takes out short lines that a pattern matches."""

    def __init__(self, config: BoilerplateLinesConfig) -> None:
        patterns = [*(USUAL if config.with_usual else ()), *config.patterns]
        self._most = config.max_characters
        self._pattern = "(?i)" + "|".join(f"(?:{pattern})" for pattern in patterns) if patterns else None
        problems = [problem for pattern in config.patterns if (problem := find_pattern_problem(pattern)) is not None]
        if problems:
            raise ConfigError("curate.boilerplate_lines.patterns", problems)

    def apply(self, texts: Texts) -> Outcome:
        """The texts without such lines."""
        if self._pattern is None:
            return keep_all(len(texts))
        lines = texts.lines
        is_short = (lines.lengths > 0) & (lines.lengths <= self._most)
        matches = pc.match_substring_regex(texts.take_segments(lines.choose(is_short)), self._pattern)
        is_out = np.zeros(len(lines), np.bool_)
        is_out[is_short] = to_mask(matches)
        if not is_out.any():
            return keep_all(len(texts))
        kept = lines.choose(~is_out)
        return keep_all(
            len(texts), join(texts.take_segments(kept), kept.counts, "\n"), {"lines taken out": int(np.count_nonzero(is_out))}
        )
