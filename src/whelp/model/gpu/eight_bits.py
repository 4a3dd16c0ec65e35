"""Matrices rounded to 8 bits, and their products, on a GPU: such products take half the time of bf16.

e4m3 has four bits of exponent and three of mantissa: with full precision its numbers are 2^15 apart, at most. What is rounded is divided
by one number first, its worth, so that it fills the format; what is too large becomes the largest number there is. A product takes
factors that are contiguous along what is summed up, so a matrix is written transposed, or both ways in one pass. Micikevicius et
al. 2022, "FP8 Formats for Deep Learning".
Shapes: N rows, D columns; what is transposed is filled up with zeros to a multiple of 16 rows.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable

import torch
import triton
import triton.language as tl

from whelp.base.log import log

E4M3 = torch.float8_e4m3fn
MULTIPLE = 16  # of all sizes of a product of 8 bits
_LARGEST = 448.0
_LIMIT = tl.constexpr(_LARGEST)
# The largest of the numbers that are looked at becomes 2^5: others may be 14 times as large, and down to 2^-11 of it lose nothing.
_GRADIENT_LEVEL = tl.constexpr(32.0)
_LOOKED_AT, _TOKENS = tl.constexpr(16), 512  # columns of each token, tokens of a program
_ROWS, _COLUMNS, _WARPS = 64, 128, 4  # of a tile
_CHECKED_ROWS = 8192  # at a time
_TOLERANCE = 0.05  # of what is rounded, as a share of the length; measured: 0.027
_LEAST_ERROR = 2.0**-10  # of any number, in units of its matrix's worth
_are_right: dict[Hashable, bool] = {}


def round_up(count: int) -> int:
    """The next multiple of `MULTIPLE`."""
    return -(-count // MULTIPLE) * MULTIPLE


@functools.cache
def make_worth(worth: float, device: torch.device) -> torch.Tensor:
    """A number that is known before, as products take it: (1,) float32."""
    return torch.full((1,), worth, dtype=torch.float32, device=device)


@triton.jit
def to_eight_bits(values):  # type: ignore[no-untyped-def]
    """float32 -> e4m3; what is too large becomes the largest number, and what is none stays none."""
    return tl.where(values > _LIMIT, _LIMIT, tl.where(values < -_LIMIT, -_LIMIT, values)).to(tl.float8e4nv)


@triton.jit(do_not_specialize=["num_rows"])  # type: ignore[untyped-decorator]
def _round(  # type: ignore[no-untyped-def]
    x, worth, out, flipped, num_rows, num_columns, out_rows,
    HAS_OUT: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """One program a tile of x (N, D), divided by `worth`."""
    columns = tl.program_id(0).to(tl.int64) * COLUMNS + tl.arange(0, COLUMNS)
    rows = tl.program_id(1).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    is_column = columns < num_columns
    mask = (rows < num_rows)[:, None] & is_column[None, :]
    place = rows[:, None] * num_columns + columns[None, :]
    values = tl.load(x + place, mask=mask, other=0.0).to(tl.float32)
    rounded = to_eight_bits(values / tl.load(worth))
    if HAS_OUT:
        tl.store(out + place, rounded, mask=mask)
    place = flipped + columns[:, None] * out_rows + rows[None, :]
    tl.store(place, tl.trans(rounded), mask=is_column[:, None] & (rows < out_rows)[None, :])


def is_right(what: str, sizes: Hashable, check: Callable[[], bool]) -> bool:
    """Whether a kernel gives what it should for matrices of these sizes: looked at when they come first.

    Compilers have made kernels that are right for a few rows and wrong for many. While a graph is recorded nothing can be looked at.
    """
    key = what, sizes
    if key not in _are_right and not (torch.cuda.is_available() and torch.cuda.is_current_stream_capturing()):
        _are_right[key] = check()
        if not _are_right[key]:
            log.warning("%s of sizes %s is done by PyTorch, slower: the kernel gives something else", what, sizes)
    return _are_right.get(key, False)


def agree(rounded: torch.Tensor, exact: torch.Tensor) -> bool:
    """Whether a matrix in e4m3 is an exact one in float32, but for rounding."""
    exact = exact.clamp(-_LARGEST, _LARGEST)
    largest_error = _TOLERANCE * exact.norm() + _LEAST_ERROR * exact.numel() ** 0.5
    return bool((rounded.float() - exact).norm() <= largest_error)


def iter_slices(num_rows: int) -> list[slice]:
    """Rows that are looked at together."""
    return [slice(first, first + _CHECKED_ROWS) for first in range(0, num_rows, _CHECKED_ROWS)]


def round_by_framework(x: torch.Tensor, worth: torch.Tensor) -> torch.Tensor:
    """(N, D) divided by `worth` and rounded, as the kernels do it."""
    return (x.float() / worth).clamp(-_LARGEST, _LARGEST).to(E4M3)


def turn_by_framework(rounded: torch.Tensor) -> torch.Tensor:
    """(N, D) -> (D, N), filled up."""
    num_rows, num_columns = rounded.shape
    turned = rounded.new_zeros(num_columns, round_up(num_rows))
    turned[:, :num_rows] = rounded.t()
    return turned


def _give(x: torch.Tensor, worth: torch.Tensor, *, as_it_is: bool) -> tuple[torch.Tensor, torch.Tensor]:
    num_rows, num_columns = x.shape
    rows_out = round_up(num_rows)
    plain = torch.empty(num_rows if as_it_is else 0, num_columns, dtype=E4M3, device=x.device)
    turned = torch.empty(num_columns, rows_out, dtype=E4M3, device=x.device)
    grid = triton.cdiv(num_columns, _COLUMNS), triton.cdiv(rows_out, _ROWS)
    sizes = num_rows, num_columns, rows_out
    _round[grid](x, worth, plain, turned, *sizes, as_it_is, ROWS=_ROWS, COLUMNS=_COLUMNS, num_warps=_WARPS)

    def check() -> bool:
        made = [turned[:, :num_rows].t(), *([plain] if as_it_is else [])]
        return all(agree(one[part], x[part].float() / worth) for part in iter_slices(num_rows) for one in made)

    if is_right("rounding", (x.device, num_rows, num_columns, as_it_is), check):
        return plain, turned
    plain = round_by_framework(x, worth)
    return plain, turn_by_framework(plain)


def round_both(x: torch.Tensor, worth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """x (N, D), contiguous, divided by `worth` (1,) and rounded: (N, D), and transposed (D, N)."""
    return _give(x, worth, as_it_is=True)


def round_flipped(x: torch.Tensor, worth: torch.Tensor) -> torch.Tensor:
    """x (N, D), contiguous, divided by `worth` (1,), rounded and transposed: (D, N)."""
    return _give(x, worth, as_it_is=False)[1]


def measure_worth(x: torch.Tensor) -> torch.Tensor:
    """What makes the largest number of x the largest one of e4m3: (1,) float32."""
    largest: torch.Tensor = torch.linalg.vector_norm(x, float("inf"))
    return (largest.float() / _LARGEST).clamp(min=1e-30).view(1)


@triton.jit(do_not_specialize=["num_tokens"])  # type: ignore[untyped-decorator]
def _look(x, worth, num_tokens, num_columns, TOKENS: tl.constexpr):  # type: ignore[no-untyped-def]
    tokens = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    columns = (tokens * _LOOKED_AT % (num_columns // _LOOKED_AT * _LOOKED_AT))[:, None] + tl.arange(0, _LOOKED_AT)[None, :]
    mask = (tokens < num_tokens)[:, None] & (columns < num_columns)
    values = tl.load(x + tokens.to(tl.int64)[:, None] * num_columns + columns, mask=mask, other=0.0).to(tl.float32)
    tl.atomic_max(worth, tl.max(tl.abs(values)) / _GRADIENT_LEVEL)


def measure_gradient_worth(grad: torch.Tensor) -> torch.Tensor:
    """What a gradient (N, D), contiguous, D a multiple of 16, is divided by as e4m3, told by a few numbers of every token: (1,) float32."""
    worth = torch.full((1,), 1e-30, dtype=torch.float32, device=grad.device)
    _look[(triton.cdiv(grad.shape[0], _TOKENS),)](grad, worth, *grad.shape, _TOKENS, num_warps=4)
    return worth


def multiply(
    left: torch.Tensor,
    right: torch.Tensor,
    left_worth: torch.Tensor,
    right_worth: torch.Tensor,
    *,
    out: torch.Tensor | None = None,
    is_short: bool = False,
) -> torch.Tensor:
    """left (M, K) times right (N, K) transposed, both of 8 bits; without `out` the result is in float32.

    Args:
        is_short: Whether few numbers are summed up, a width: the library's fast accumulation, which keeps some 14 bits, is
            good enough. Of a sum of 50,000 it would not be.
    """
    kind = torch.float32 if out is None else out.dtype
    factors = left, right.t(), left_worth, right_worth
    if out is None:
        return torch._scaled_mm(*factors, out_dtype=kind, use_fast_accum=is_short)
    torch._scaled_mm(*factors, out_dtype=kind, use_fast_accum=is_short, out=out)
    return out
