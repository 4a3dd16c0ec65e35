"""Learn merges from counted words, where text is cut otherwise than GPT-2 does: two to three times as fast as `tokenizers`.

ffbpe counts the words and merges them, with the ties of `tokenizers.trainers.BpeTrainer`, so that the merges are the same. It has
a regular expression engine of its own: a pattern whose pieces differ on texts made to be nasty is left to `tokenizers`.
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from whelp.base.log import log
from whelp.tokenizer._patterns import PATTERNS
from whelp.tokenizer.encoding.comparison import BROAD, NASTY, describe_failure

_NEVER = 1 << 40
_WORD_CHARACTERS = {r"\w": r"[\w--\u200c\u200d]", r"\W": r"[\W\u200c\u200d]"}


class WordCounter:
    """Counts words batch by batch; memory grows with the distinct words alone."""

    def __init__(self, pre_tokenizer: Any) -> None:
        self._counter = pre_tokenizer.word_counter()

    def add(self, texts: list[str]) -> None:
        """Count the words of some documents."""
        self._counter.add_batch(texts)

    def learn_merges(self, num_merges: int) -> list[tuple[str, str]]:
        """Merge the most frequent neighbours, `num_merges` times or until nothing is left to merge. Empties the counter."""
        import ffbpe

        trainer = ffbpe.BpeTrainer(
            [],
            unit="byte",
            initial_alphabet="byte_level",
            tie_break="smallest_pair_id",
            parallel_merge_min_occurs_in=_NEVER,  # on two cores, merging on all threads takes three times the processor time
        )
        trainer.add_word_counter(self._counter)
        trainer.train(256 + num_merges)
        with tempfile.TemporaryDirectory(prefix="whelp-bpe-") as folder:  # there is no other way to get them
            path = Path(folder) / "merges"
            trainer.validate_model().save_merges_txt(path, format="gpt2")
            with open(path, encoding="utf-8", newline="\n") as file:
                pairs = [line.split(" ") for line in file]  # left, right, "=>", how often
        return [(pair[0], pair[1]) for pair in pairs]


def open_counter(pattern: str, cutter: Any) -> WordCounter | None:
    """A counter of the words that a pattern cuts; None, and a notice, where they would differ from those of `tokenizers`.

    Args:
        pattern: One of PATTERNS by name, or a regular expression.
        cutter: The same pattern as a pre-tokenizer of `tokenizers`.
    """
    try:
        import ffbpe
    except ImportError:
        problem = 'the fast trainer for patterns is not installed (`pip install "whelp[patterns]"`)'
    else:
        try:
            pre_tokenizer = ffbpe.PreTokenizer([], pat_str=PATTERNS.get(pattern) or translate(pattern))
            differing = _find_difference(pre_tokenizer, cutter, [*NASTY, *BROAD])
            if differing is None:
                return WordCounter(pre_tokenizer)
            problem = f"the fast trainer cuts {differing!r:.40} otherwise"
        except BaseException as error:
            problem = f"the fast trainer cannot read the pattern ({describe_failure(error)})"
    log.warning("pattern %.40r: %s; learning with the slow one.", pattern, problem)
    return None


def translate(pattern: str) -> str:
    r"""Oniguruma's pattern for ffbpe: what stands between two matches is a match, too, and joiners are no part of words.

    >>> translate(r"\d+")
    '(?:\\d+)|(?:(?!\\d+)[\\s\\S])+'
    """
    one = re.sub(r"\\.", lambda found: _WORD_CHARACTERS.get(found[0], found[0]), pattern, flags=re.DOTALL)
    return rf"(?:{one})|(?:(?!{one})[\s\S])+"


def _find_difference(pre_tokenizer: Any, cutter: Any, texts: Iterable[str]) -> str | None:
    """The first text that the two cut into different pieces."""
    for text in texts:
        if pre_tokenizer.get_words(text) != Counter(piece for piece, _ in cutter.pre_tokenize_str(text)):
            return text
    return None
