"""Rows of a concat plan: what they hold, what is a target, what is lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from whelp.artifacts.targets import IGNORED
from whelp.artifacts.token_store import TokenSplit
from whelp.base.errors import PlanError
from whelp.prepare import PackConfig, PackedRows, pack_rows
from whelp.prepare.row_order import row_indices

from .fakes import make_split

PAD = 50_000
LENGTHS = [5, 1, 0, 9, 4, 3, 1]  # 23 tokens, counting 1 .. 23, in four batches


@pytest.fixture
def split(tmp_path: Path) -> TokenSplit:
    """23 tokens."""
    return make_split(tmp_path, LENGTHS)


def pack(split: TokenSplit, context_tokens: int, last: str = "pad") -> PackedRows:
    """Plan the rows."""
    return pack_rows(split, PackConfig(context_tokens=context_tokens, last=last), pad_id=PAD)  # type: ignore[arg-type]


def slow_rows(num_tokens: int, length: int, last: str) -> list[tuple[list[int], list[int]]]:
    """Cut the stream 1 .. num_tokens token by token: (ids, targets) of each row."""
    stream = list(range(1, num_tokens + 1))
    rows = []
    for start in range(0, num_tokens - 1, length):
        ids, targets = [], []
        for place in range(start, start + length):
            ids.append(stream[place] if place < num_tokens else PAD)
            targets.append(stream[place + 1] if place + 1 < num_tokens else IGNORED)
        if last == "pad" or IGNORED not in targets:
            rows.append((ids, targets))
    return rows


@pytest.mark.parametrize("last", ["pad", "drop"])
@pytest.mark.parametrize("length", [2, 3, 5, 7, 11, 21, 22])
def test_rows_equal_the_slow_version(split: TokenSplit, length: int, last: str) -> None:
    """Row k holds the tokens k*T on, its targets are one later; past the end there are pads and ignored targets."""
    rows = pack(split, length, last)
    expected = slow_rows(23, length, last)
    assert len(rows) == rows.num_rows == len(expected)
    found = [rows.row(index) for index in range(len(rows))]
    assert [(batch.ids[0].tolist(), batch.targets[0].tolist()) for batch in found] == expected
    assert all(array.dtype == np.int64 for batch in found for array in (batch.ids, batch.targets))
    assert all(batch.documents is None for batch in found)
    ids, targets, _ = rows.read_in_order(0, 100)
    assert ids.tolist() == [row[0] for row in expected]
    assert targets.tolist() == [row[1] for row in expected]


@pytest.mark.parametrize("num_tokens", range(9, 19))
def test_every_ending(tmp_path: Path, num_tokens: int) -> None:
    """Whatever is left over for the last row, from nothing to all but one token."""
    split = make_split(tmp_path, [num_tokens])
    for last in ("pad", "drop"):
        rows = pack(split, 8, last)
        ids, targets, _ = rows.read_in_order(0, len(rows))
        assert list(zip(ids.tolist(), targets.tolist(), strict=True)) == slow_rows(num_tokens, 8, last)


@pytest.mark.parametrize("length", [2, 3, 7, 11, 22])
def test_each_token_is_a_target_once_over_an_epoch(split: TokenSplit, length: int) -> None:
    """Over one shuffled epoch every token but the first is a target once, and a pad never is."""
    rows = pack(split, length)
    ids, targets, _ = rows.read(0, len(rows), seed=3)
    assert Counter(targets[targets != IGNORED].tolist()) == Counter(range(2, 24))
    assert np.all(targets[ids == PAD] == IGNORED)
    assert np.all((targets == ids + 1) | (targets == IGNORED))


def test_dropping_the_last_row_loses_only_that(split: TokenSplit) -> None:
    """With `drop` there is no pad, and what is not a target is the tail."""
    rows = pack(split, 7, "drop")
    ids, targets, _ = rows.read(0, len(rows), seed=0)
    assert sorted(targets.ravel().tolist()) == list(range(2, 23))
    assert PAD not in ids


def test_shuffled_reading_follows_the_order(split: TokenSplit) -> None:
    """Row number k of training is the row that the order names, over epochs, in batches of any size."""
    rows = pack(split, 5)
    order = row_indices(0, 13, len(rows), seed=2)
    expected = [rows.row(int(index)) for index in order]
    for count in (1, 4, 13):
        pieces = [rows.read(first, min(count, 13 - first), seed=2) for first in range(0, 13, count)]
        assert np.concatenate([piece.ids for piece in pieces]).tolist() == [row.ids[0].tolist() for row in expected]
        assert np.concatenate([piece.targets for piece in pieces]).tolist() == [row.targets[0].tolist() for row in expected]


def test_reading_in_order_stops_at_the_end(split: TokenSplit) -> None:
    """There are as many rows as there are."""
    rows = pack(split, 5)
    assert [len(rows.read_in_order(first, 2)[0]) for first in (0, 2, 4, 5, 9)] == [2, 2, 1, 0, 0]


def test_rows_are_copies(split: TokenSplit) -> None:
    """A row may be changed without a change to the store."""
    rows = pack(split, 5)
    ids, targets, _ = rows.row(0)
    ids[:] = 0
    targets[:] = 0
    assert rows.row(0).ids[0].tolist() == [1, 2, 3, 4, 5]


def test_too_short(tmp_path: Path) -> None:
    """A corpus of less than one row cannot be trained on; both ways out are named."""
    split = make_split(tmp_path, [5, 3])
    with pytest.raises(PlanError) as caught:
        pack(split, 8)
    assert str(caught.value) == (
        "the train split: it has 8 tokens, fewer than one row, but expected at least 9 for pack.context_tokens=8. "
        "Add text, or lower pack.context_tokens to 7 or less."
    )
    assert len(pack(split, 7)) == 1


@pytest.mark.parametrize("last", ["pad", "drop"])
def test_short_test_split_is_padded(tmp_path: Path, last: str) -> None:
    """For evaluation a short split is one padded row, also where last rows are dropped."""
    split = make_split(tmp_path, [3], "test")
    config = PackConfig(context_tokens=8, last=last)  # type: ignore[arg-type]
    rows = pack_rows(split, config, pad_id=PAD, must_fill_a_row=False)
    assert len(rows) == 1
    assert rows.row(0).ids[0].tolist() == [1, 2, 3] + [PAD] * 5
    assert rows.row(0).targets[0].tolist() == [2, 3] + [IGNORED] * 6


@pytest.mark.parametrize("lengths", [[], [1]])
def test_nothing_to_predict(tmp_path: Path, lengths: list[int]) -> None:
    """A split of no target is refused for evaluation, too."""
    split = make_split(tmp_path, lengths, "test")
    with pytest.raises(PlanError, match=rf"the test split: it has {len(lengths)} tokens?, fewer than one row"):
        pack_rows(split, PackConfig(context_tokens=8), pad_id=PAD, must_fill_a_row=False)
