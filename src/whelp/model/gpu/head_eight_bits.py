"""The gradient of the logits in 8 bits, for the products of the head's backward pass, on a GPU.

Hidden states and weights are e4m3, their largest number that of the format. The gradient, softmax - onehot, is written as e5m2 times
2^15, which tells 5e-10 from zero: e4m3 would lose every probability below 4e-6, most of 50,000.

It is rounded up or down with the chances that keep its mean (stochastic rounding: Gupta et al. 2015, "Deep Learning with Limited
Numerical Precision"). With two bits of mantissa the nearest number is up to an eighth off, always the same for the same probability,
and a model settles where such gradients are zero: at other probabilities. The chances come from the places of a number, as they are
equally spread over tokens and over ids, so a batch has the same gradient again.
Shapes: n tokens of a slice, V vocabulary; both are filled up with zeros to multiples of 16.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from whelp.model.gpu.eight_bits import round_up

_FACTOR_EXPONENT = tl.constexpr(15)
GRADIENT_FACTOR = tl.constexpr(2.0**15)  # of what `write_gradient` gives
_LOG2_E = tl.constexpr(1.4426950408889634)
_ROWS, _COLUMNS, _WARPS = 64, 128, 4  # of a tile
# Multiples of these, odd and near 2^32 over the golden ratio and its square, spread well; their upper bits are chances.
_ROW_STEP, _COLUMN_STEP = tl.constexpr(0x9E3779B1), tl.constexpr(0x61C88647)
_CHANCE_SHIFT, _KEPT_BITS = tl.constexpr(32 - 21), tl.constexpr(-1 << 21)  # 21 of float32's 23 bits of mantissa are dropped


@triton.jit  # type: ignore[untyped-decorator]
def _spread(numbers, STEP: tl.constexpr):  # type: ignore[no-untyped-def]
    """Equally spread whole numbers of as many bits as are dropped."""
    return ((numbers.to(tl.uint32) * STEP) >> _CHANCE_SHIFT).to(tl.int32)


@triton.jit
def _round_fairly(values, chances):  # type: ignore[no-untyped-def]
    """float32 -> e5m2, away from zero where what is dropped and `chances` come to more than the last bit that is kept."""
    bits = values.to(tl.int32, bitcast=True) + chances
    return (bits & _KEPT_BITS).to(tl.float32, bitcast=True).to(tl.float8e5)


@triton.jit(do_not_specialize=["num_rows"])  # type: ignore[untyped-decorator]
def _write_gradient(  # type: ignore[no-untyped-def]
    logits, targets, normalisers, out, flipped, num_rows, vocab_size, out_rows, out_columns,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One program a tile of softmax - onehot, written as it is and transposed; zeros where a normaliser is endless.

    A number costs an exponential and little more: the factor is in the exponent, what is filled up falls out of it as zero, and what is
    special of the targets is done to them alone.
    """
    first = tl.program_id(0) * COLUMNS
    columns = first + tl.arange(0, COLUMNS)
    rows = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    is_row = rows < num_rows
    wide_rows, wide_columns = rows.to(tl.int64), columns.to(tl.int64)
    normaliser = tl.load(normalisers + rows, mask=is_row, other=float("inf")) - _FACTOR_EXPONENT
    mask = is_row[:, None] & (columns < vocab_size)[None, :]
    values = tl.load(logits + wide_rows[:, None] * vocab_size + columns[None, :], mask=mask, other=-float("inf"))
    row_chances = _spread(rows, _ROW_STEP)
    chances = row_chances[:, None] ^ _spread(columns, _COLUMN_STEP)[None, :]
    gradient = _round_fairly(tl.exp2(values.to(tl.float32) * _LOG2_E - normaliser[:, None]), chances)
    has_row, has_column = rows < out_rows, columns < out_columns
    tl.store(out + wide_rows[:, None] * out_columns + columns[None, :], gradient, mask=has_row[:, None] & has_column[None, :])
    place = flipped + wide_columns[:, None] * out_rows + rows[None, :]
    tl.store(place, tl.trans(gradient), mask=has_column[:, None] & has_row[None, :])
    target = tl.load(targets + rows, mask=is_row, other=-1)
    is_here = (target >= first) & (target < first + COLUMNS) & (normaliser < float("inf"))
    chosen = tl.load(logits + wide_rows * vocab_size + target, mask=is_here, other=0.0).to(tl.float32)
    share = tl.exp2(chosen * _LOG2_E - normaliser)
    at_target = _round_fairly(share - GRADIENT_FACTOR, row_chances ^ _spread(target, _COLUMN_STEP))
    tl.debug_barrier()  # it is written twice, by two threads perhaps
    tl.store(out + wide_rows * out_columns + target, at_target, mask=is_here)
    tl.store(flipped + target * out_rows + rows, at_target, mask=is_here)


def write_gradient(logits: torch.Tensor, targets: torch.Tensor, normalisers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The gradient of cross-entropy by `logits` (n, V), contiguous, times 2^15 in e5m2: (n, V), and transposed (V, n).

    Rounded up or down, so that its mean is right.

    Args:
        normalisers: (n,) logarithms to the base 2 of each row's sum of exponentials; endless where nothing is trained.
    """
    num_rows, vocab_size = logits.shape
    out_rows, out_columns = round_up(num_rows), round_up(vocab_size)
    out = torch.empty(out_rows, out_columns, dtype=torch.float8_e5m2, device=logits.device)
    flipped = torch.empty(out_columns, out_rows, dtype=torch.float8_e5m2, device=logits.device)
    grid = triton.cdiv(out_columns, _COLUMNS), triton.cdiv(out_rows, _ROWS)
    sizes = num_rows, vocab_size, out_rows, out_columns
    _write_gradient[grid](logits, targets, normalisers, out, flipped, *sizes, ROWS=_ROWS, COLUMNS=_COLUMNS, num_warps=_WARPS)
    return out, flipped
