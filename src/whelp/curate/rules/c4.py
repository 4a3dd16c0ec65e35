"""Lines that are no sentences, and texts that are no prose: C4's rules (arXiv:1910.10683), decided as datatrove does.

Sentences are counted by their punctuation: an end, then white space, then more. Texts come out as the lines that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
# What a text must have, case aside, to be looked at for more than the ends of its lines.
_SIGN = rf"(?i)\[|\{{|lorem ipsum|javascript|{'|'.join(POLICIES)}"
_ENDS = (".", "?", "!", '"', "'")


@dataclass(frozen=True)
class C4:
    """Keeps the lines that look like sentences."""

    config: C4Config

    def apply(self, texts: Texts) -> Outcome:
        """Take lines out; drop what has too few sentences then, or what gives itself away."""
        config = self.config
        lines = _strip(texts, texts.wide_lines)
        num_before = len(lines)
        starts, stops = _find_runs(texts)
        lines = lines.choose(_count_between(starts, lines) >= config.min_words_per_line)
        lines = lines.choose(_count_between(starts[stops - starts > config.max_word_length], lines) == 0)
        found = texts.take_segments(lines)
        suspects = to_mask(pc.match_substring_regex(texts.array, _SIGN))[lines.owners]  # few, so the rest is cheap
        if config.remove_citations and suspects.any():
            where = pa.array(suspects)
            found = pc.replace_with_mask(found, where, pc.replace_substring_regex(found.filter(where), CITATION, ""))
        alive = np.ones(len(lines), np.bool_)
        if config.end_punctuation:
            alive = np.logical_or.reduce([to_mask(pc.ends_with(found, end)) for end in _ENDS])
            alive &= ~to_mask(pc.ends_with(found, "..."))
        lowered = pc.ascii_lower(found.filter(pa.array(suspects)))

        def says(phrases: Sequence[str], is_asked: bool) -> Mask:
            holds = np.zeros(len(lines), np.bool_)
            if is_asked and len(lowered):
                holds[suspects] = np.logical_or.reduce([to_mask(pc.match_substring(lowered, phrase)) for phrase in phrases])
            return holds

        lorem = alive & says(["lorem ipsum"], config.lorem_ipsum)
        alive = alive & ~says(["javascript"], config.javascript)
        curly = alive & says(["{"], config.curly_bracket)
        alive = alive & ~says(POLICIES, config.policy)
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


def _find_runs(texts: Texts) -> tuple[Places, Places]:
    """Where runs without white space begin, and end; none reaches from one text into the next."""
    is_text = ~texts.has(SPACE)
    is_start, is_stop = is_text.copy(), is_text.copy()
    is_start[1:] &= ~is_text[:-1]
    is_stop[:-1] &= ~is_text[1:]
    filled = texts.lengths > 0
    for flags, places in ((is_start, texts.starts[filled]), (is_stop, texts.stops[filled] - 1)):
        flags[places] = is_text[places]
    return np.flatnonzero(is_start), np.flatnonzero(is_stop) + 1


def _count_between(starts: Places, lines: Segments) -> Places:
    """How many runs begin in each line."""
    return np.searchsorted(starts, lines.stops) - np.searchsorted(starts, lines.starts)
