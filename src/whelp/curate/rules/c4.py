"""Lines that are no sentences, and texts that are no prose: C4's rules (arXiv:1910.10683), decided as datatrove does.

Sentences are counted by their punctuation: an end, then white space, then more. Texts come out as the lines that are kept.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from whelp.curate.characters import SPACE
from whelp.curate.config import C4Config
from whelp.curate.hashing import Places
from whelp.curate.rules.outcome import Outcome, judge
from whelp.curate.texts import Mask, Segments, Texts, join, to_mask

SENTENCE_BREAK = r"""(?:[.!?…؟।]["'”’)\]]*\s+|[。！？]["”’」』)]*\s*)[^\s.!?…؟।。！？"'”’)\]」』]"""
CITATION = r"\[\p{Nd}*\]|\[edit\]|\[citation needed\]"
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
_ENDS = (".", "?", "!", '"', "'")


class C4:
    """Keeps the lines that look like sentences."""

    def __init__(self, config: C4Config) -> None:
        self._config = config

    def apply(self, texts: Texts) -> Outcome:
        """Take lines out; drop what has too few sentences then, or what gives itself away."""
        config = self._config
        lines = _strip(texts, texts.wide_lines)
        num_before = len(lines)
        lines = lines.choose(_count_words(texts, lines) >= config.min_words_per_line)
        lines = lines.choose(~_has_long_word(texts, lines, config.max_word_length))
        found = texts.take_segments(lines)
        if config.remove_citations and _any(pc.match_substring(found, "[")):
            found = pc.replace_substring_regex(found, CITATION, "")
        alive = np.ones(len(lines), np.bool_)
        if config.end_punctuation:
            alive = np.logical_or.reduce([to_mask(pc.ends_with(found, end)) for end in _ENDS])
            alive &= ~to_mask(pc.ends_with(found, "..."))
        lowered = pc.ascii_lower(found)
        nothing = np.zeros(len(lines), np.bool_)
        lorem = alive & to_mask(pc.match_substring(lowered, "lorem ipsum")) if config.lorem_ipsum else nothing
        if config.javascript:
            alive = alive & ~to_mask(pc.match_substring(lowered, "javascript"))
        curly = alive & to_mask(pc.match_substring(found, "{")) if config.curly_bracket else nothing
        if config.policy:
            alive = alive & ~np.logical_or.reduce([to_mask(pc.match_substring(lowered, phrase)) for phrase in POLICIES])
        kept, found = lines.choose(alive), found.filter(pa.array(alive))
        num_sentences = kept.sum(count_sentences(found))
        checks = [
            ("lorem ipsum", lines.sum(lorem) > 0),
            ("curly bracket", lines.sum(curly) > 0),
            ("few sentences", num_sentences < config.min_num_sentences),
        ]
        answer = judge(len(texts), checks)
        made = pc.utf8_trim_whitespace(join(found, kept.counts, "\n"))
        return Outcome(
            codes=answer.codes, reasons=answer.reasons, texts=made, changes={"lines taken out": num_before - len(kept)}
        )


def count_sentences(lines: pa.LargeStringArray) -> Places:
    """How many sentences each line has, by its punctuation."""
    breaks = pc.count_substring_regex(lines, SENTENCE_BREAK).to_numpy(zero_copy_only=False)
    return np.asarray(breaks, np.int64) + 1


def _strip(texts: Texts, lines: Segments) -> Segments:
    """The lines without white space around them; those of nothing else left out."""
    is_space = texts.has(SPACE)
    firsts, lasts = texts.first_place(lines, is_space), texts.last_place(lines, is_space)
    return Segments(firsts, lasts + 1, lines.owners, lines.num_texts).choose(firsts >= 0)


def _runs(texts: Texts) -> tuple[Places, Places]:
    """Where runs without white space begin, and end."""
    is_text = ~texts.has(SPACE)
    edges = np.flatnonzero(np.diff(np.concatenate(([0], is_text.view(np.int8), [0]))))
    return edges[::2], edges[1::2]


def _count_words(texts: Texts, lines: Segments) -> Places:
    """How many runs without white space each line has."""
    starts, _ = _runs(texts)
    return np.searchsorted(starts, lines.stops) - np.searchsorted(starts, lines.starts, side="right") + 1


def _has_long_word(texts: Texts, lines: Segments, most: int) -> Mask:
    """Which lines have a run of more characters than `most`."""
    starts, stops = _runs(texts)
    is_long = stops - starts > most
    long_starts = np.maximum(starts[is_long], 0)
    inside = np.searchsorted(long_starts, lines.stops) - np.searchsorted(long_starts, lines.starts)
    return np.asarray(inside > 0)


def _any(values: pa.BooleanArray) -> bool:
    return bool(pc.any(values).as_py())
