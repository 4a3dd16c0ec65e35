"""The packing plan: which tokens make each training row. A plan over the store, never a rewrite of it."""

from __future__ import annotations

from whelp.artifacts.token_store import TokenSplit
from whelp.base.errors import PlanError
from whelp.prepare.config import PackConfig
from whelp.prepare.rows import PackedRows


def pack_rows(split: TokenSplit, config: PackConfig, *, pad_id: int, must_fill_a_row: bool = True) -> PackedRows:
    """Plan the rows of one split.

    Row k holds tokens k*T .. k*T + T - 1 of all documents laid end to end; each token but the very first is a target once.

    Args:
        pad_id: Fills the last row after the stream's end; never a target.
        must_fill_a_row: Whether a split shorter than one row is an error (it is for training).

    Raises:
        PlanError: When the split does not fill a single row.
    """
    length, num_targets = config.context_tokens, max(split.num_tokens - 1, 0)
    if num_targets < length and (must_fill_a_row or num_targets == 0):
        raise PlanError(
            f"the {split.name} split",
            f"it has {split.num_tokens:,} tokens, fewer than one row",
            f"at least {length + 1:,} for pack.context_tokens={length}",
            f"Add text, or lower pack.context_tokens to {max(num_targets, 2)} or less.",
        )
    has_last = config.last == "pad" or num_targets < length
    num_rows = -(-num_targets // length) if has_last else num_targets // length
    return PackedRows(split, length, num_rows, pad_id)


def make_pack_ledger(rows: PackedRows) -> dict[str, float | int]:
    """Where the tokens of a split go in one pass over its rows; the shares of its tokens add up to 1.

    `padding_share` is of row positions, not of tokens.
    """
    num_tokens, positions = rows.split.num_tokens, rows.num_rows * rows.context_tokens
    trained = min(num_tokens - 1, positions)
    return {
        "tokens": num_tokens,
        "rows": rows.num_rows,
        "trained": trained,
        "first": 1,  # the stream's first token has nothing before it
        "dropped": num_tokens - 1 - trained,
        "trained_share": trained / num_tokens,
        "first_share": 1 / num_tokens,
        "dropped_share": (num_tokens - 1 - trained) / num_tokens,
        "padding_share": (positions - trained) / positions,
    }
