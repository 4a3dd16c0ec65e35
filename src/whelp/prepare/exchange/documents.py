"""What all formats have in common: some whole documents at a time, as flat arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.token_store import MASK_COLUMN, TokenSplit
from whelp.base.arrays import cut_runs
from whelp.prepare.segments import EncodedRows

Ids = npt.NDArray[Any]
Mask = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
PIECE_TOKENS = 1 << 22  # about so many tokens are held at a time
LONGEST_DOCUMENT = 1 << 27  # tokens; a longer one is divided, for a file without any end would be one document


@dataclass(frozen=True, kw_only=True)
class Documents(EncodedRows):
    """Some documents; `num_divided` of them are not whole: the document before them goes on in them."""

    mask: Mask | None = None
    num_divided: int = 0


def iter_stored(split: TokenSplit) -> Iterator[Documents]:
    """The documents of a store, views of its memory map."""
    for batch in split.table.to_batches():
        lists = batch.column("input_ids")
        offsets = lists.offsets.to_numpy(zero_copy_only=False).astype(np.int64)
        ids = lists.values.to_numpy(zero_copy_only=True)
        mask = batch.column(MASK_COLUMN).values.to_numpy(zero_copy_only=True) if split.has_mask else None
        for first, stop in cut_runs(offsets, PIECE_TOKENS):
            inside = slice(offsets[first], offsets[stop])
            yield Documents(
                ids=ids[inside],
                offsets=offsets[first : stop + 1] - offsets[first],
                mask=None if mask is None else mask[inside],
            )


def cut_documents(
    pieces: Iterable[tuple[Ids, Mask | None]], end_id: int | None, *, longest: int = LONGEST_DOCUMENT
) -> Iterator[Documents]:
    """Cut a stream of ids, given in pieces, into documents: each ends with `end_id`.

    Where the stream begins with `end_id`, each document begins with it instead (llm.c writes it so).
    """
    pending: list[tuple[Ids, Mask | None]] = []
    num_pending = 0
    shift: int | None = None  # from the place of an end to that of the cut
    for ids, mask in pieces:
        if not len(ids):
            continue
        if shift is None:
            shift = 0 if ids[0] == end_id else 1
        places = np.flatnonzero(ids == end_id) if end_id is not None else np.zeros(0, np.int64)
        cuts = places + shift
        cuts = cuts[cuts + num_pending > 0]
        if len(cuts):
            last = int(cuts[-1])
            pending.append((ids[:last], None if mask is None else mask[:last]))
            yield _join(pending, np.concatenate(([0], cuts + num_pending)))
            pending, num_pending = [], 0
            ids, mask = ids[last:], None if mask is None else mask[last:]
        if len(ids):
            pending.append((ids, mask))
            num_pending += len(ids)
        if num_pending >= longest:
            yield _join(pending, np.array([0, num_pending]), num_divided=1)
            pending, num_pending = [], 0
    if pending:
        yield _join(pending, np.array([0, num_pending]))


def _join(pieces: list[tuple[Ids, Mask | None]], offsets: Offsets, num_divided: int = 0) -> Documents:
    masks = [mask for _, mask in pieces if mask is not None]
    return Documents(
        ids=pieces[0][0] if len(pieces) == 1 else np.concatenate([ids for ids, _ in pieces]),
        mask=np.concatenate(masks) if masks else None,
        offsets=offsets.astype(np.int64),
        num_divided=num_divided,
    )


def divide_long(documents: Documents, longest: int = LONGEST_DOCUMENT) -> Iterator[Documents]:
    """Pass documents on, those of more than `longest` tokens in several."""
    offsets = documents.offsets
    is_long = np.diff(offsets) > longest
    if not is_long.any():
        yield documents
        return
    more = [np.arange(offsets[index] + longest, offsets[index + 1], longest) for index in np.flatnonzero(is_long)]
    added = np.concatenate(more)
    offsets = np.sort(np.concatenate([offsets, added]))
    for first, stop in cut_runs(offsets, longest):
        inside = slice(offsets[first], offsets[stop])
        yield Documents(
            ids=documents.ids[inside],
            offsets=offsets[first : stop + 1] - offsets[first],
            mask=None if documents.mask is None else documents.mask[inside],
            num_divided=int(np.isin(offsets[first + 1 : stop + 1], added).sum()),
        )
