"""The plan `stream`: documents in an order drawn anew every epoch, end to end without an end, cut into rows.

Row k holds the tokens k*T .. k*T + T - 1 of that endless stream, so a row that an epoch's last document does not fill goes
on with the next epoch's first. The state is k alone: an epoch's order is arithmetic, and where its documents begin is a
table that is made when the epoch is reached.
Shapes: B rows, T tokens in a row, N tokens of the split.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.base.seeds import make_seed
from whelp.prepare.concat_rows import ConcatRows
from whelp.prepare.order import shuffle_indices
from whelp.prepare.row_layout import ROWS_AT_ONCE, Fixes, Numbering, RowLayout, count_odd, read_targets, sort_distinct


@dataclass(frozen=True)
class _Pass:
    """The documents of one epoch: which comes k-th, and where it ends in the epoch; empty documents are left out."""

    documents: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class StreamRows(ConcatRows):
    """Rows cut from shuffled documents. In the store's order (for evaluation) they are those of `concat`."""

    _passes: dict[tuple[int, int], _Pass] = field(default_factory=dict, repr=False, compare=False)

    def _read_shuffled(self, first: int, count: int, seed: int) -> RowBatch:
        begin, inside = first // ROWS_AT_ONCE * ROWS_AT_ONCE, first % ROWS_AT_ONCE
        if inside + count > ROWS_AT_ONCE:
            layout, inside = self._lay_out(first, count, seed), 0
        else:
            layout = self._layouts.find((begin, seed), lambda: self._lay_out(begin, ROWS_AT_ONCE, seed))
        return layout.read(self.split, inside, count, width=self.context_tokens, pad_id=self.pad_id)

    def _lay_out(self, first: int, count: int, seed: int) -> RowLayout:
        """Rows number `first` ..: one stretch of the endless stream, and one token more, cut into rows."""
        split, length, num_tokens = self.split, self.context_tokens, self.split.num_tokens
        place, stop = first * length, (first + count) * length + 1
        parts = []
        while place < stop:
            epoch, inside = divmod(place, num_tokens)
            parts.append(self._find_stretch(epoch, inside, min(stop - epoch * num_tokens, num_tokens), seed))
            place = epoch * num_tokens + min(stop - epoch * num_tokens, num_tokens)
        starts, lengths, is_begin = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        begins = np.cumsum(lengths) - lengths  # of documents, or what is left of one, in the stretch
        row_ends = np.arange(1, count + 1) * length
        cuts = sort_distinct(np.concatenate([begins, row_ends]))[:-1] if count else begins[:0]
        rows, columns = np.divmod(cuts, length)
        owners = np.searchsorted(begins, cuts, side="right") - 1
        sources = starts[owners] + cuts - begins[owners]
        next_owners = np.searchsorted(begins, row_ends, side="right") - 1
        after = read_targets(split, starts[next_owners] + row_ends - begins[next_owners])
        fix_places, fix_values, numbering = row_ends - 1, after, None
        if self.isolates:
            places = begins[is_begin]
            is_inner = places % length > 0
            inner = places[is_inner]
            row_firsts = places[~is_inner] // length
            after[row_firsts[row_firsts > 0] - 1] = IGNORED
            fix_places = np.concatenate([fix_places, inner - 1])
            fix_values = np.concatenate([after, np.full(len(inner), IGNORED)])
            numbering = Numbering.count_begins(inner // length, inner % length, count, length)
        offsets = np.searchsorted(rows, np.arange(count + 1))
        return RowLayout(
            rows=rows,
            columns=columns,
            lengths=np.diff(cuts, append=count * length),
            ids=split.ids.find_places(sources),
            mask=split.mask.find_places(sources) if split.has_mask else None,
            offsets=offsets,
            filled=np.full(count, length),
            num_odd=count_odd(split, sources[offsets[:-1]], length),
            fixes=Fixes.sort(fix_places // length, fix_places % length, fix_values, count),
            numbering=numbering,
        )

    def _find_stretch(
        self, epoch: int, begin: int, end: int, seed: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The pieces of an epoch's places begin .. end - 1: start in the store, length, whether its document begins there."""
        found = self._find_pass(epoch, seed)
        low, high = (
            int(np.searchsorted(found.ends, begin, side="right")),
            int(np.searchsorted(found.ends, end, side="left")) + 1,
        )
        ends = np.minimum(found.ends[low:high], end)
        begins = np.concatenate([[begin], ends[:-1]])
        skipped = begin - (int(found.ends[low - 1]) if low else 0)
        starts = self.split.document_starts(found.documents[low:high])
        starts[0] += skipped
        is_begin = np.ones(len(starts), dtype=bool)
        is_begin[0] = skipped == 0
        return starts, ends - begins, is_begin

    def _find_pass(self, epoch: int, seed: int) -> _Pass:
        """An epoch's table, made when it is reached; the last two are kept, as a row may lie in two."""
        if (epoch, seed) not in self._passes:
            while len(self._passes) > 1:
                del self._passes[next(iter(self._passes))]
            count = self.split.num_documents
            documents = shuffle_indices(np.arange(count), count, make_seed(seed, "documents", epoch))
            lengths = self.split.document_ends[documents] - self.split.document_starts(documents)
            is_filled = lengths > 0
            self._passes[epoch, seed] = _Pass(documents[is_filled].astype(np.int32), np.cumsum(lengths[is_filled]))
        return self._passes[epoch, seed]
