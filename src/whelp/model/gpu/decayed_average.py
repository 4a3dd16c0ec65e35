"""The memory of RWKV-4 on a GPU: one kernel forward, one backward; what they compute is told in `rwkv/decayed_average.py`.

A program is one warp: 32 channels of one row, a channel a thread, which walks the tokens in their order with the sums in its registers,

    A = sum_(i<t) exp((t-1-i) w + k_i - m) v_i        B = the same without v        m: their largest logarithm so far

so that no exponential is above one. Of the two with which two sums are joined one is exp(0), which leaves two exponentials and a
division for a token, 12 operations of the special units forward and backward together; the GPU has 16 a cycle and multiprocessor.

What it costs, for 16 rows of 1,024 tokens, 768 wide, in bf16 on an H200 (4.3 TB/s, 132 multiprocessors of four schedulers, 1.98 GHz):

- memory: 7 bytes a number forward (k, v, out, states) and 11 backward (k, v, two gradients, that of out, states), so 20 and 32 us;
- instructions: 47 a token forward and 81 backward. There are 384 warps for 528 schedulers, so a warp has one to itself, which issues at
  most one a cycle: 24 and 42 us at least, and more as most of them wait for the one before.

So a block is as narrow as a warp, and loads must not be waited for as well: tokens go in chunks of C, unrolled, and the next chunk is on its
way while one is computed. The backward pass needs the sums before every token from the last to the first. They are not kept: the
forward pass leaves the state before each chunk, two float32 of each channel (one byte a number), the backward pass walks a chunk forward
again, holds its C sums in registers, and walks back. Beside inputs and outputs that is all the memory there is: here 12.6 MB a layer.

Walking back, what the sums before token t are to all that is read from t on are sums of the same kind,

    P = sum_(i>=t) exp((i-t) w - l_i - n) g_i      Q = - the same with g_i o_i      n: their largest logarithm so far

with g the gradient of o and l the logarithm of its divisor: the gradient of v_t is exp(k_t + n) P, of k_t exp(k_t + n) (P v_t + Q), each
with what the token has of its own output. Sums over rows (of the gradients of w and u) are left to the framework, in a fixed order.
Shapes: B rows, T tokens, D width, C tokens in a chunk, N chunks.
"""

from __future__ import annotations

import functools
import math
import threading
from typing import Any

import torch
import triton
import triton.language as tl

from whelp.base.log import log
from whelp.model.kernel_check import find_fault, measure_relative_error
from whelp.model.rwkv import decayed_average
from whelp.model.rwkv.decayed_average import LOWEST_LOG_DECAY, NOTHING, Inputs

# C. Of 16, states take half the memory, but the backward kernel five times as long to compile (9 CPU seconds); of 4, it compiles in a third
# of the time, but the forward kernel has 53 instructions a token, and states take twice the memory.
_CHUNK_TOKENS = 8
_BLOCK = 32  # channels of a program, which is one warp
# Distances from the framework's results, as shares of their lengths: of float32, and of what is rounded to bf16 or float16.
_SUM_ROUNDING, _ROUNDING = 1e-4, 0.01
_trying = threading.Lock()
_NOTHING, _LOG2_E = tl.constexpr(NOTHING), tl.constexpr(math.log2(math.e))


@triton.jit  # type: ignore[untyped-decorator]
def _load_chunk(start, num_left, STRIDE: tl.constexpr, IS_RAGGED: tl.constexpr, C: tl.constexpr):  # type: ignore[no-untyped-def]
    """C tokens of a block, a vector each: all are asked for at once. Those behind the last of `num_left` are zeros."""
    parts = ()
    for step in tl.static_range(C):
        parts = parts + (tl.load(start + step * STRIDE, mask=num_left > (step if IS_RAGGED else 0), other=0),)  # type: ignore[assignment]  # noqa: RUF005  # no stars in Triton
    return parts


@triton.jit
def _weigh(one, other):  # type: ignore[no-untyped-def]
    """The larger of two logarithms, and what the two are beside it."""
    smaller = tl.exp2(tl.abs(one - other) * -_LOG2_E)
    return tl.maximum(one, other), tl.where(one >= other, 1.0, smaller), tl.where(one >= other, smaller, 1.0)


@triton.jit(do_not_specialize=["num_tokens"])  # type: ignore[untyped-decorator]
def _forward(  # type: ignore[no-untyped-def]
    keys, values, log_w, u, state, starts, lengths, out, after, checkpoints, num_tokens,
    D: tl.constexpr, HAS_STARTS: tl.constexpr, HAS_LENGTHS: tl.constexpr, IS_RAGGED: tl.constexpr,
    BLOCK: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """One program for some channels of one row."""
    row = tl.program_id(1).to(tl.int64)
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_inside = columns < D
    num_chunks = (num_tokens + C - 1) // C
    decay = tl.load(log_w + columns, mask=is_inside, other=0.0)
    bonus = tl.load(u + columns, mask=is_inside, other=0.0)
    average = tl.load(state + row * 2 * D + columns, mask=is_inside, other=0.0)
    log_weight = tl.load(state + row * 2 * D + D + columns, mask=is_inside, other=0.0)
    num_left = tl.where(is_inside, num_tokens, 0)  # for each channel, and so are the others
    num_live = num_left
    if HAS_LENGTHS:
        num_live = tl.where(is_inside, tl.load(lengths + row), 0)
    place = row * num_tokens * D + columns
    start_place = starts + row * num_tokens + 0 * columns
    checkpoint = checkpoints + row * num_chunks * 2 * D + columns
    next_keys = _load_chunk(keys + place, num_left, D, IS_RAGGED, C)
    next_values = _load_chunk(values + place, num_left, D, IS_RAGGED, C)
    if HAS_STARTS:
        next_starts = _load_chunk(start_place, num_left, 1, IS_RAGGED, C)
    for _ in range(num_chunks):
        chunk_keys, chunk_values, here = next_keys, next_values, place
        place += C * D
        next_keys = _load_chunk(keys + place, num_left - C, D, IS_RAGGED, C)
        next_values = _load_chunk(values + place, num_left - C, D, IS_RAGGED, C)
        if HAS_STARTS:
            chunk_starts = next_starts
            start_place += C
            next_starts = _load_chunk(start_place, num_left - C, 1, IS_RAGGED, C)
        tl.store(checkpoint, average, mask=is_inside)
        tl.store(checkpoint + D, log_weight, mask=is_inside)
        checkpoint += 2 * D
        total, weight, largest = average, tl.full((BLOCK,), 1.0, tl.float32), log_weight
        for step in tl.static_range(C):
            key, value = chunk_keys[step].to(tl.float32), chunk_values[step].to(tl.float32)
            if HAS_STARTS:
                largest = tl.where(chunk_starts[step] != 0, _NOTHING, largest)
            _, old, own = _weigh(largest, bonus + key)
            found = (old * total + own * value) / (old * weight + own)
            tl.store(out + here + step * D, found.to(out.dtype.element_ty), mask=num_left > (step if IS_RAGGED else 0))
            joined, old, new = _weigh(largest + decay, key)
            if IS_RAGGED:
                is_live = step < num_live
                joined, old, new = tl.where(is_live, joined, largest), tl.where(is_live, old, 1.0), tl.where(is_live, new, 0.0)
            total, weight, largest = old * total + new * value, old * weight + new, joined
        average, log_weight = total / weight, largest + tl.log(weight)
        num_left -= C
        num_live -= C
    tl.store(after + row * 2 * D + columns, average, mask=is_inside)
    tl.store(after + row * 2 * D + D + columns, log_weight, mask=is_inside)


@triton.jit(do_not_specialize=["num_tokens"])  # type: ignore[untyped-decorator]
def _backward(  # type: ignore[no-untyped-def]
    keys, values, log_w, u, starts, lengths, checkpoints, after, out_grad, after_grad,
    key_grad, value_grad, log_w_grad, u_grad, state_grad, num_tokens,
    D: tl.constexpr, HAS_STARTS: tl.constexpr, HAS_LENGTHS: tl.constexpr, IS_RAGGED: tl.constexpr,
    BLOCK: tl.constexpr, C: tl.constexpr,
):  # fmt: skip
    """One program for some channels of one row, whose sums of the gradients of `log_w` and `u` it leaves: (B, D)."""
    row = tl.program_id(1).to(tl.int64)
    columns = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    is_inside = columns < D
    num_chunks = (num_tokens + C - 1) // C
    decay = tl.load(log_w + columns, mask=is_inside, other=0.0)
    bonus = tl.load(u + columns, mask=is_inside, other=0.0)
    last = row * 2 * D + columns
    back_total = tl.load(after_grad + last, mask=is_inside, other=0.0)
    last_average = tl.load(after + last, mask=is_inside, other=0.0)
    back_weight = tl.load(after_grad + last + D, mask=is_inside, other=0.0) - back_total * last_average
    back_log = -tl.load(after + last + D, mask=is_inside, other=0.0)
    decay_sum = tl.zeros((BLOCK,), dtype=tl.float32)
    bonus_sum = tl.zeros((BLOCK,), dtype=tl.float32)
    num_before = tl.where(is_inside, (num_chunks - 1) * C, 0)  # tokens before the chunk
    num_left = tl.where(is_inside, num_tokens, 0) - num_before
    num_live = num_left
    if HAS_LENGTHS:
        num_live = tl.where(is_inside, tl.load(lengths + row), 0) - num_before
    place = (row * num_tokens + (num_chunks - 1) * C) * D + columns
    start_place = starts + row * num_tokens + (num_chunks - 1) * C + 0 * columns
    checkpoint = checkpoints + (row * num_chunks + num_chunks - 1) * 2 * D + columns
    next_keys = _load_chunk(keys + place, num_left, D, IS_RAGGED, C)
    next_values = _load_chunk(values + place, num_left, D, IS_RAGGED, C)
    next_average = tl.load(checkpoint, mask=is_inside, other=0.0)
    next_log = tl.load(checkpoint + D, mask=is_inside, other=0.0)
    for _ in range(num_chunks):
        chunk_keys, chunk_values, average, log_weight = next_keys, next_values, next_average, next_log
        chunk_grads = _load_chunk(out_grad + place, num_left, D, IS_RAGGED, C)
        if HAS_STARTS:
            chunk_starts = _load_chunk(start_place, num_left, 1, IS_RAGGED, C)
            start_place -= C
        here = place
        place -= C * D
        checkpoint -= 2 * D
        next_keys = _load_chunk(keys + place, num_before, D, IS_RAGGED, C)
        next_values = _load_chunk(values + place, num_before, D, IS_RAGGED, C)
        next_average = tl.load(checkpoint, mask=num_before > 0, other=0.0)
        next_log = tl.load(checkpoint + D, mask=num_before > 0, other=0.0)
        totals, weights, logs = (), (), ()  # before each token
        total, weight, largest = average, tl.full((BLOCK,), 1.0, tl.float32), log_weight
        for step in tl.static_range(C):
            key, value = chunk_keys[step].to(tl.float32), chunk_values[step].to(tl.float32)
            if HAS_STARTS:
                largest = tl.where(chunk_starts[step] != 0, _NOTHING, largest)
            totals, weights, logs = totals + (total,), weights + (weight,), logs + (largest,)  # type: ignore[assignment]  # noqa: RUF005
            joined, old, new = _weigh(largest + decay, key)
            if IS_RAGGED:
                is_live = step < num_live
                joined, old, new = tl.where(is_live, joined, largest), tl.where(is_live, old, 1.0), tl.where(is_live, new, 0.0)
            total, weight, largest = old * total + new * value, old * weight + new, joined
        for step in tl.static_range(C - 1, -1, -1):
            total, weight, largest = totals[step], weights[step], logs[step]
            key, value = chunk_keys[step].to(tl.float32), chunk_values[step].to(tl.float32)
            aged = back_log + decay
            to_token, to_before = tl.exp2((key + back_log) * _LOG2_E), tl.exp2((largest + aged) * _LOG2_E)
            if IS_RAGGED:
                is_live = step < num_live
                to_token, to_before = tl.where(is_live, to_token, 0.0), tl.where(is_live, to_before, 0.0)
                aged = tl.where(is_live, aged, back_log)
            decay_sum += to_before * (back_total * total + back_weight * weight)
            joined, old, own = _weigh(largest, bonus + key)
            share = 1.0 / (old * weight + own)
            scaled, found = chunk_grads[step].to(tl.float32) * share, (old * total + own * value) * share
            of_itself = own * scaled * (value - found)
            bonus_sum += of_itself
            mask = num_left > (step if IS_RAGGED else 0)
            of_key = to_token * (back_total * value + back_weight) + of_itself
            tl.store(key_grad + here + step * D, of_key.to(key_grad.dtype.element_ty), mask=mask)
            of_value = to_token * back_total + own * scaled
            tl.store(value_grad + here + step * D, of_value.to(value_grad.dtype.element_ty), mask=mask)
            back_log, later, new = _weigh(aged, -joined)
            back_total = later * back_total + new * scaled
            back_weight = later * back_weight - new * scaled * found
            if HAS_STARTS:
                back_total = tl.where(chunk_starts[step] != 0, 0.0, back_total)
                back_weight = tl.where(chunk_starts[step] != 0, 0.0, back_weight)
                back_log = tl.where(chunk_starts[step] != 0, _NOTHING, back_log)
        num_left = num_before
        num_before -= C
        num_live += C
    tl.store(log_w_grad + row * D + columns, decay_sum, mask=is_inside)
    tl.store(u_grad + row * D + columns, bonus_sum, mask=is_inside)
    average = tl.load(checkpoint + 2 * D, mask=is_inside, other=0.0)
    scale = tl.exp(tl.load(checkpoint + 3 * D, mask=is_inside, other=0.0) + back_log)
    tl.store(state_grad + last, scale * back_total, mask=is_inside)
    tl.store(state_grad + last + D, scale * (back_total * average + back_weight), mask=is_inside)


@torch.library.custom_op("whelp::decayed_average", mutates_args=())
def _run(
    keys: torch.Tensor,
    values: torch.Tensor,
    log_w: torch.Tensor,
    u: torch.Tensor,
    state: torch.Tensor,
    starts: torch.Tensor | None,
    lengths: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What is read (B, T, D), the state after it (B, 2, D), and the states before each chunk (B, N, 2, D)."""
    num_rows, num_tokens, width = keys.shape
    out, after = torch.empty_like(keys), torch.empty_like(state)
    checkpoints = state.new_empty(num_rows, triton.cdiv(num_tokens, _CHUNK_TOKENS), 2, width)
    _forward[(triton.cdiv(width, _BLOCK), num_rows)](
        keys, values, log_w, u, state, keys if starts is None else starts, lengths, out, after, checkpoints, num_tokens,
        **_choose_form(keys, starts, lengths),
    )  # fmt: skip
    return out, after, checkpoints


@torch.library.custom_op("whelp::decayed_average_backward", mutates_args=())
def _run_backward(
    keys: torch.Tensor,
    values: torch.Tensor,
    log_w: torch.Tensor,
    u: torch.Tensor,
    starts: torch.Tensor | None,
    lengths: torch.Tensor | None,
    checkpoints: torch.Tensor,
    after: torch.Tensor,
    out_grad: torch.Tensor,
    after_grad: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of keys, values, log_w, u and the state."""
    num_rows, num_tokens, width = keys.shape
    key_grad, value_grad, state_grad = torch.empty_like(keys), torch.empty_like(values), torch.empty_like(after)
    sums = after.new_empty(2, num_rows, width)
    _backward[(triton.cdiv(width, _BLOCK), num_rows)](
        keys, values, log_w, u, keys if starts is None else starts, lengths, checkpoints, after,
        out_grad.contiguous(), after_grad.contiguous(), key_grad, value_grad, sums[0], sums[1], state_grad, num_tokens,
        **_choose_form(keys, starts, lengths),
    )  # fmt: skip
    log_w_grad, u_grad = sums.sum(dim=1)
    return key_grad, value_grad, log_w_grad.clone(), u_grad.clone(), state_grad


def _choose_form(keys: torch.Tensor, starts: torch.Tensor | None, lengths: torch.Tensor | None) -> dict[str, Any]:
    """What the kernels are compiled for."""
    _, num_tokens, width = keys.shape
    is_ragged = lengths is not None or num_tokens % _CHUNK_TOKENS != 0
    has = {"HAS_STARTS": starts is not None, "HAS_LENGTHS": lengths is not None, "IS_RAGGED": is_ragged}
    return {"D": width, **has, "BLOCK": _BLOCK, "C": _CHUNK_TOKENS, "num_warps": 1}


@_run.register_fake
def _(keys: torch.Tensor, values: torch.Tensor, log_w: torch.Tensor, u: torch.Tensor, state: torch.Tensor, *_: object) -> Any:
    num_rows, num_tokens, width = keys.shape
    num_chunks = (num_tokens + _CHUNK_TOKENS - 1) // _CHUNK_TOKENS
    return torch.empty_like(keys), torch.empty_like(state), state.new_empty(num_rows, num_chunks, 2, width)


@_run_backward.register_fake
def _(keys: torch.Tensor, values: torch.Tensor, log_w: torch.Tensor, u: torch.Tensor, *rest: Any) -> Any:
    after = rest[3]
    return (
        torch.empty_like(keys),
        torch.empty_like(values),
        torch.empty_like(log_w),
        torch.empty_like(u),
        torch.empty_like(after),
    )


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    keys, values, log_w, u, _, starts, lengths = inputs
    _, after, checkpoints = output
    ctx.save_for_backward(keys, values, log_w, u, starts, lengths, checkpoints, after)


def _differentiate(ctx: Any, out_grad: torch.Tensor, after_grad: torch.Tensor, _: object) -> tuple[torch.Tensor | None, ...]:
    return *_run_backward(*ctx.saved_tensors, out_grad, after_grad), None, None


_run.register_autograd(_differentiate, setup_context=_remember)


def scan(
    inputs: Inputs, state: torch.Tensor, starts: torch.Tensor | None = None, counts: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `decayed_average.scan`; what is read is of the type of the keys, which may be bf16 or float16, and values.

    Tokens that do not count read the state behind the last one that does.
    """
    lengths = None if counts is None else counts.sum(dim=1, dtype=torch.int32)
    flags = None if starts is None else starts.contiguous().view(torch.uint8)
    log_w, u = inputs.log_w.float().clamp(min=LOWEST_LOG_DECAY), inputs.u.float()
    k, v = inputs.k.contiguous(), inputs.v.contiguous()
    out, after, _ = _run(k, v, log_w.contiguous(), u.contiguous(), state.float().contiguous(), flags, lengths)
    return out, after


def has_working_kernels(device: torch.device, dtype: torch.dtype, width: int, *, has_documents: bool) -> bool:
    """Whether values and gradients on this device are those of the framework; tried once for each form."""
    with _trying:  # in a thread of `warm_up`, perhaps
        return _try_kernels(device, dtype, width, has_documents)


@functools.cache
def _try_kernels(device: torch.device, dtype: torch.dtype, width: int, has_documents: bool) -> bool:
    fault = find_fault(lambda: _measure_errors(device, dtype, width, has_documents), allowed=1.0)
    if fault is not None:
        log.warning("the memory of RWKV-4 runs in PyTorch, several times slower: kernels of our own fail (%s)", fault)
    return fault is None


def _measure_errors(device: torch.device, dtype: torch.dtype, width: int, has_documents: bool) -> list[float]:
    """Relative distances of values and gradients from the framework's, as shares of what rounding explains."""
    draw = torch.Generator().manual_seed(0)
    num_rows, num_tokens = 2, 3 * _CHUNK_TOKENS  # whole chunks, as in training: the same kernels

    def make(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw).to(device)

    k, v, out_grad = (make(num_rows, num_tokens, width).to(dtype) for _ in range(3))
    given = [k, v, -make(width).exp(), make(width), make(num_rows, 2, width)]
    after_grad, starts = make(num_rows, 2, width), None
    if has_documents:
        starts = torch.zeros(num_rows, num_tokens, dtype=torch.bool, device=device)
        starts[0, _CHUNK_TOKENS + 1] = starts[0, 2 * _CHUNK_TOKENS] = starts[1, 0] = True
    results = []
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(device.type, enabled=False):
        for way, number in ((scan, dtype), (decayed_average.scan, torch.float32)):
            leaves = [part.detach().to(number if part.ndim == 3 and part.shape[1] > 2 else part.dtype) for part in given]
            leaves = [leaf.clone().requires_grad_() for leaf in leaves]
            out, after = way(Inputs(*leaves[:-1]), leaves[-1], starts)
            grads = torch.autograd.grad([out, after], leaves, [out_grad.to(out.dtype), after_grad])
            results.append([out.detach(), after.detach(), *grads])
    rounding = _SUM_ROUNDING if dtype == torch.float32 else _ROUNDING
    pairs = zip(*results, strict=True)
    return [measure_relative_error(*pair) / (rounding if pair[0].dtype == dtype else _SUM_ROUNDING) for pair in pairs]
