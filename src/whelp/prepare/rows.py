"""Training rows, read straight from the memory map: what every plan gives.

A plan says which pieces (document, start, length) make each row; it copies nothing. What a position predicts is one rule
for all plans: the token that follows it in its document. Where a document ends, that is the first token of the next
document in the row, or nothing, when documents are isolated. So a token is a target once in a pass, or the ledger says why
not. The plans: `concat_rows.py`, `stream_rows.py`, `piece_rows.py` (best_fit and none).
Shapes: B rows, T tokens in a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.artifacts.token_store import MASK_COLUMN, TokenSplit
from whelp.prepare.row_layout import LayoutCache


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some tokens of one document, as they stand in a row; `line` is the document's, in the file `file_index`."""

    document: int
    start: int
    length: int
    file_index: int
    line: int


@dataclass(frozen=True, kw_only=True)
class RowView:
    """One row, to be looked at; all arrays are (T,)."""

    row: int
    ids: npt.NDArray[np.int64]
    targets: npt.NDArray[np.int64]
    following: npt.NDArray[np.int64]  # the targets if nothing were masked: what a position is followed by, or IGNORED
    is_trained: npt.NDArray[np.bool_]  # the position's target counts
    is_padding: npt.NDArray[np.bool_]
    documents: npt.NDArray[np.int32]  # 0, 1, 2 ... inside the row, -1 at pads
    pieces: list[Piece]  # one for each of those numbers


@dataclass(frozen=True, kw_only=True)
class Fates:
    """Where the tokens of a split go in one pass.

    `begins` and `ends` are stream positions: the ranges of tokens that some row has as targets, masked ones among them.
    """

    begins: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]
    first: int  # tokens with nothing before them to predict them from
    cut: int  # tokens left out of documents that are longer than a row
    cut_documents: int  # documents that are not whole in one row
    positions: int  # of all rows
    padding: int  # positions that hold no token


@dataclass(frozen=True, kw_only=True)
class PackedRows:
    """The rows of one split under one plan."""

    split: TokenSplit
    context_tokens: int
    num_rows: int
    pad_id: int
    isolates: bool  # documents in one row do not see each other
    _layouts: LayoutCache = field(default_factory=LayoutCache, init=False, repr=False, compare=False)

    def __len__(self) -> int:
        return self.num_rows

    def read_in_order(self, first: int, count: int) -> RowBatch:
        """Rows first .. first + count - 1 as they lie in the store."""
        raise AssertionError(f"{type(self).__name__} has no read_in_order()")

    def read(self, first: int, count: int, seed: int, *, rank: int = 0, world: int = 1) -> RowBatch:
        """Rows number `first` .. of the endless training order, a pure function of the seed.

        Of `world` readers, number `rank` gets its slice; together they read the same rows in the same order for any `world`.
        """
        assert 0 <= rank < world, f"rank {rank} of {world}"
        begin, end = first + count * rank // world, first + count * (rank + 1) // world
        return self._read_shuffled(begin, end - begin, seed)

    def read_numbers(self, numbers: npt.NDArray[np.int64], seed: int) -> RowBatch:
        """Rows of these numbers of the endless training order, which need not follow each other."""
        batches = [self._read_shuffled(number, 1, seed) for number in numbers.tolist()]
        documents = [batch.documents for batch in batches if batch.documents is not None]
        return RowBatch(
            np.concatenate([batch.ids for batch in batches]),
            np.concatenate([batch.targets for batch in batches]),
            np.concatenate(documents) if documents else None,
        )

    def row(self, index: int) -> RowBatch:
        """One row by its place in the store: arrays of (1, T)."""
        return self.read_in_order(index, 1)

    def look(self, index: int) -> RowView:
        """One row by its place in the store, with all there is to know about it."""
        return self._view(index, self.row(index), self._unmasked.row(index), self._find_pieces(index))

    def look_in_order(self, number: int, seed: int, *, is_mixed: bool = False) -> RowView:
        """The row of this number of the endless training order: that of `read`, or, of a mixture's source, of `read_numbers`.

        It is called by its place in the store, or by its number in the order, where the plan makes rows that lie in no store.
        """
        stored = self.find_stored(np.array([number]), seed, is_mixed=is_mixed)
        if stored is not None:
            return self.look(int(stored[0]))
        batch, unmasked = self._read_shuffled(number, 1, seed), self._unmasked._read_shuffled(number, 1, seed)
        return self._view(number, batch, unmasked, self._find_pieces_in_order(number, seed))

    def find_stored(self, numbers: npt.NDArray[np.int64], seed: int, *, is_mixed: bool = False) -> npt.NDArray[np.int64] | None:
        """The places in the store of the rows of these numbers of the endless training order; None where they have none."""
        raise AssertionError(f"{type(self).__name__} has no find_stored()")

    def _view(self, row: int, batch: RowBatch, unmasked: RowBatch, pieces: list[tuple[int, int, int]]) -> RowView:
        """What there is to know about one row; `unmasked` is the same row of a store without a mask."""
        lengths = [length for _, _, length in pieces]
        documents = np.full(batch.ids.shape[1], -1, dtype=np.int32)
        documents[: sum(lengths)] = np.repeat(np.arange(len(pieces)), lengths)
        table = self.split.table
        return RowView(
            row=row,
            ids=batch.ids[0],
            targets=batch.targets[0],
            following=unmasked.targets[0],
            is_trained=batch.targets[0] != IGNORED,
            is_padding=documents < 0,
            documents=documents,
            pieces=[
                Piece(
                    document=document,
                    start=start,
                    length=length,
                    file_index=table.column("file_index")[document].as_py(),
                    line=table.column("line")[document].as_py(),
                )
                for document, start, length in pieces
            ],
        )

    def find_documents(self, index: int) -> list[int]:
        """Which documents of the split have tokens in a row, in its order."""
        return [document for document, _, _ in self._find_pieces(index)]

    @cached_property
    def _unmasked(self) -> PackedRows:
        """The same rows of a store without a mask."""
        if not self.split.has_mask:
            return self
        return replace(self, split=TokenSplit(self.split.name, self.split.table.drop_columns([MASK_COLUMN])))

    def find_fates(self) -> Fates:
        """What becomes of every token in one pass over the rows."""
        raise AssertionError(f"{type(self).__name__} has no find_fates()")

    def _read_shuffled(self, first: int, count: int, seed: int) -> RowBatch:
        raise AssertionError(f"{type(self).__name__} has no _read_shuffled()")

    def _find_pieces(self, index: int) -> list[tuple[int, int, int]]:
        """(document, start, length) of a row's pieces."""
        raise AssertionError(f"{type(self).__name__} has no _find_pieces()")

    def _find_pieces_in_order(self, number: int, seed: int) -> list[tuple[int, int, int]]:
        """The same of a row of the endless training order that has no place in the store."""
        raise AssertionError(f"{type(self).__name__} has no _find_pieces_in_order()")


def finish_windows(tokens: npt.NDArray[Any], mask: npt.NDArray[np.uint8] | None) -> RowBatch:
    """Rows from windows of one token more: (B, T + 1) each.

    Args:
        mask: 1 where a token is trained as a target; None: all are.
    """
    ids, targets = tokens[:, :-1].astype(np.int64), tokens[:, 1:].astype(np.int64)
    return RowBatch(ids, targets if mask is None else np.where(mask[:, 1:], targets, IGNORED))
