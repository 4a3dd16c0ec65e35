"""Which documents are held out for the test split.

A share of many documents is drawn while they come, one from each stretch of 1 / share: nothing waits for the last one.
All else (a number of documents, the last ones, the tail of each) is chosen when all of them are counted.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from whelp.base.counts import say_count
from whelp.base.errors import PlanError
from whelp.base.mix_bits import mix
from whelp.base.seeds import make_seed
from whelp.prepare.config import PrepareConfig
from whelp.prepare.row_order import shuffle_indices

FEW_DOCUMENTS = 20  # with fewer, the tail of each document is held out instead of whole ones


def can_draw(config: PrepareConfig, num_first: int, *, is_all: bool) -> bool:
    """Whether held-out documents can be drawn while they come.

    Args:
        num_first: Documents in the first partition.
        is_all: Whether that is the whole source; then counting costs nothing, and is exact.
    """
    is_share = 0 < config.test_split < 1
    is_drawn = config.test_split_by != "tail" and config.test_split_shuffle
    return is_share and is_drawn and num_first >= FEW_DOCUMENTS and not is_all


def draw_held_out(first: int, count: int, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Which of the documents first .. first + count - 1 of the source are held out; shape (count,).

    One document is drawn from each stretch of 1 / share of them, so the share is exact, and a document's lot depends on
    its number and the seed alone.

    >>> int(draw_held_out(0, 1000, 0.01, seed=0).sum())
    10
    """
    blocks = np.arange(math.floor(first * share), math.floor((first + count) * share) + 2)
    starts = np.ceil(blocks / share).astype(np.int64)
    sizes = np.diff(starts)
    drawn = starts[:-1] + (_scatter(blocks[:-1], make_seed(seed, "held out")) % sizes.astype(np.uint64)).astype(np.int64)
    drawn = drawn[(drawn >= first) & (drawn < first + count)]
    is_held_out = np.zeros(count, dtype=bool)
    is_held_out[drawn - first] = True
    return is_held_out


def _scatter(numbers: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.uint64]:
    """A random-looking number for each number (SplitMix64)."""
    return mix(numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed & 0xFFFFFFFFFFFFFFFF))


def choose_held_out(
    lengths: npt.NDArray[np.int64], config: PrepareConfig, seed: int, *, where: str = "data.test_split"
) -> npt.NDArray[np.int64]:
    """How many tokens at the end of each document are held out: all of some documents, or the tail of each.

    Args:
        where: The option, as an error calls it.

    Raises:
        PlanError: When nothing would be left to train on.
    """
    num_documents, wanted = len(lengths), config.test_split
    by_tail = config.test_split_by == "tail" or (
        config.test_split_by == "auto" and num_documents < FEW_DOCUMENTS and wanted < 1
    )
    if by_tail:
        tails = np.minimum(np.round(lengths * wanted).astype(np.int64), np.maximum(lengths - 1, 0))
        longest = int(np.argmax(lengths))
        tails[longest] = max(tails[longest], min(2, lengths[longest] - 1))  # a test split is never empty
        return tails
    num_test = int(wanted) if wanted >= 1 else max(1, round(num_documents * wanted))
    if num_test >= num_documents:
        raise PlanError(
            where,
            f"holds out {num_test:,} of {say_count(num_documents, 'document')}, which leaves none to train on",
            "",
            "Lower it, or set data.test_split_by=tail to hold out the end of each document.",
        )
    if config.test_split_shuffle:
        chosen = shuffle_indices(np.arange(num_test), num_documents, make_seed(seed, "held out"))
    else:
        chosen = np.arange(num_documents - num_test, num_documents)
    held_out = np.zeros(num_documents, dtype=np.int64)
    held_out[chosen] = lengths[chosen]
    return held_out
