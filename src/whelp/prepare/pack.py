"""The packing plan: which tokens make each training row. A plan over the store, never a rewrite of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from whelp.artifacts.token_store import TokenSplit
from whelp.base.counts import say_count
from whelp.base.errors import PlanError
from whelp.prepare.concat_rows import ConcatRows
from whelp.prepare.config import PackConfig
from whelp.prepare.document_rows import DocumentRows
from whelp.prepare.piece_rows import PieceRows
from whelp.prepare.rows import PackedRows
from whelp.prepare.stream_rows import StreamRows

_MASK_BLOCK = 1 << 24  # mask values counted at once


def pack_rows(
    split: TokenSplit, config: PackConfig, *, pad_id: int, must_fill_a_row: bool = True, batch_rows: int = 16
) -> PackedRows:
    """Plan the rows of one split.

    Args:
        pad_id: Fills what no token fills; never a target.
        must_fill_a_row: Whether a split shorter than one row is an error (it is for training, where documents are joined).
        batch_rows: Rows that are read at a time; the plan `none` puts so many of similar length together.

    Raises:
        PlanError: When the split does not fill a single row, or no document has anything to predict.
    """
    length = config.context_tokens
    if config.plan in ("concat", "stream"):
        return _pack_stream(split, config, pad_id, must_fill_a_row)
    rows: PieceRows
    if config.plan == "best_fit":
        rows = PieceRows.plan_best_fit(split, length, pad_id=pad_id, isolates=config.isolates)
    else:
        rows = DocumentRows.plan(
            split,
            length,
            pad_id=pad_id,
            batch_rows=batch_rows,
            truncates=config.long == "truncate",
            is_fixed_width=config.pad_to == "context",
        )
    if not rows.num_rows:
        raise PlanError(
            f"the {split.name} split",
            f"none of its {split.num_documents:,} documents has more than one token",
            f"something to predict for pack.plan={config.plan}",
            "Add text, or use pack.plan=concat.",
        )
    return rows


def _pack_stream(split: TokenSplit, config: PackConfig, pad_id: int, must_fill_a_row: bool) -> PackedRows:
    length, num_targets = config.context_tokens, max(split.num_tokens - 1, 0)
    if num_targets < length and (must_fill_a_row or num_targets == 0):
        raise PlanError(
            f"the {split.name} split",
            f"it has {say_count(split.num_tokens, 'token')}, fewer than one row",
            f"at least {length + 1:,} for pack.context_tokens={length}",
            f"Add text, or lower pack.context_tokens to {num_targets} or less." if num_targets >= 2 else "Add text.",
        )
    has_last = config.last != "drop" or num_targets < length
    num_rows = -(-num_targets // length) if has_last else num_targets // length
    kind = StreamRows if config.plan == "stream" else ConcatRows
    return kind(
        split=split,
        context_tokens=length,
        num_rows=num_rows,
        pad_id=pad_id,
        isolates=config.isolates,
        carries=config.plan == "stream" or config.last == "carry",
    )


def make_pack_ledger(*parts: PackedRows) -> dict[str, float | int]:
    """Where the tokens of a split, or of the splits of several sources, go in one pass over the rows; shares add up to 1.

    Each token has one fate, as a target: `trained`, `masked` (a row has it, but it may not be trained), `first` (nothing
    before it to predict it from), `cut` (left out of a document longer than a row) or `dropped` (in no row).
    `padding_share` is of row positions, not of tokens; `cut_documents` counts those that are not whole in one row.
    """
    counts = dict.fromkeys(("trained", "masked", "first", "cut", "dropped"), 0)
    padding = positions = cut_documents = 0
    for rows in parts:
        fates = rows.find_fates()
        num_targets = int((fates.ends - fates.begins).sum())
        masked = _count_masked(rows.split, fates.begins, fates.ends) if rows.split.has_mask else 0
        counts["trained"] += num_targets - masked
        counts["masked"] += masked
        counts["first"] += fates.first
        counts["cut"] += fates.cut
        counts["dropped"] += rows.split.num_tokens - num_targets - fates.first - fates.cut
        assert min(counts.values()) >= 0, f"a fate of fewer than no tokens: {counts}"
        padding, positions = padding + fates.padding, positions + fates.positions
        cut_documents += fates.cut_documents
    num_tokens = sum(rows.split.num_tokens for rows in parts)
    return {
        "tokens": num_tokens,
        "rows": sum(rows.num_rows for rows in parts),
        "documents": sum(rows.split.num_documents for rows in parts),
        "cut_documents": cut_documents,
        **counts,
        **{f"{fate}_share": count / num_tokens for fate, count in counts.items()},
        "padding_share": padding / positions,
    }


def _count_masked(split: TokenSplit, begins: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> int:
    """Tokens in these ranges whose mask is 0, counted in one pass over the mask."""
    begins, ends = np.sort(begins), np.sort(ends)
    total = passed = 0
    block = np.empty(min(_MASK_BLOCK, split.num_tokens), dtype=np.uint8)
    for start in range(0, split.num_tokens, len(block)):
        count = split.read_mask_into(start, block)
        zeros = np.concatenate([[0], np.cumsum(block[:count] == 0, dtype=np.int64)]) + passed  # before each position
        for sign, points in ((1, ends), (-1, begins)):
            low, high = np.searchsorted(points, (start, start + count), side="right")
            inside = points[low:high]
            total += sign * int(zeros[inside - start].sum())
        passed = int(zeros[-1])
    return total
