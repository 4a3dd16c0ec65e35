"""The memory of RWKV-4: in every channel an average of all values so far, weighed by their keys and their age.

Of "RWKV: Reinventing RNNs for the Transformer Era" (Peng et al. 2023, arXiv 2305.13048), section 3, for each channel by itself:

    o_t = (sum_(i<t) exp((t-1-i) w + k_i) v_i + exp(u + k_t) v_t) / (the same without v)

What is kept is the average before a token, and the logarithm of the weight that all before it have together: the official
state (aa, bb, pp) is (average, 1, logarithm), with which no exponential overflows, whatever the keys. A token moves the average
towards its value by its share of the weight, sigmoid(k_t - logarithm).

`scan` lets all chunks of a row go one token at a time side by side, each as if nothing were before it, then takes what is
carried from chunk to chunk into account: 2 sqrt(T) steps of plain arithmetic. The gradient is such a scan from the end: what a
token is to the averages behind it are sums of the same kind. Both are operators of the framework, which its compiler leaves as
they are.
Shapes: B rows, T tokens, D width, J averages with the same weights, N chunks, C tokens in a chunk.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch.library import Library, register_autograd, register_fake

NOTHING = -1e38  # the logarithm of no weight at all: finite, so that differences of two are numbers
LOWEST_LOG_DECAY = -1e30


class Inputs(NamedTuple):
    """What every token brings, (B, T, D), and what is learned of every channel, (D,); all float32, but for kernels of a GPU."""

    k: torch.Tensor
    v: torch.Tensor
    log_w: torch.Tensor  # logarithm of the decay
    u: torch.Tensor  # how much more a token weighs in its own output


def step(inputs: Inputs, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One token: inputs with T = 1 and a state (B, 2, D) of averages and logarithms; what is read (B, 1, D), and the state after."""
    k, v, (average, log) = inputs.k[:, 0], inputs.v[:, 0], state.unbind(1)  # (B, D)
    aged = log + inputs.log_w.clamp(min=LOWEST_LOG_DECAY)
    after = torch.stack((torch.lerp(average, v, torch.sigmoid(k - aged)), torch.logaddexp(aged, k)), dim=1)
    return _read(inputs, average.unsqueeze(1), log.unsqueeze(1)), after


def scan(
    inputs: Inputs, state: torch.Tensor, starts: torch.Tensor | None = None, counts: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """All tokens of a row: what is read (B, T, D), and the state after the last token (B, 2, D).

    Args:
        starts: (B, T) bool, true where a token begins a document, which knows nothing of what was before.
        counts: (B, T) bool, false at padding behind the tokens of a row, which leaves the state as it is.
    """
    resets = None if starts is None else F.pad(starts, (0, 1))
    log_w = inputs.log_w.clamp(min=LOWEST_LOG_DECAY)
    averages, logs = torch.ops.whelp.average(inputs.k, inputs.v, log_w, state, resets)  # (B, T + 1, D)
    out = _read(inputs, averages[:, :-1], logs[:, :-1])
    if counts is None:
        return out, torch.stack((averages[:, -1], logs[:, -1]), dim=1)
    rows, ends = torch.arange(len(counts), device=counts.device), counts.sum(dim=1)
    return out, torch.stack((averages[rows, ends], logs[rows, ends]), dim=1)


def _read(inputs: Inputs, averages: torch.Tensor, logs: torch.Tensor) -> torch.Tensor:
    """What tokens read of what was before them, and of themselves: (B, T, D)."""
    return torch.lerp(averages, inputs.v, torch.sigmoid(inputs.k + inputs.u - logs))


def _accumulate(
    keys: torch.Tensor,
    values: torch.Tensor,
    log_w: torch.Tensor,
    average: torch.Tensor,
    log: torch.Tensor,
    resets: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Averages before each token and after the last, (J, B, T + 1, D), and the logarithms of their weight, (B, T + 1, D).

    Args:
        keys, values: (B, T, D) and (J, B, T, D).
        average, log: (J, B, D) and (B, D), before the first token.
        resets: (B, T + 1) bool, where all that was before is forgotten.
    """
    num_values, num_rows, num_tokens, width = values.shape
    size = math.isqrt(num_tokens) + 1
    num_chunks = num_tokens // size + 1  # the last holds the place behind the last token
    missing = (0, 0, 0, num_chunks * size - num_tokens)
    keys = F.pad(keys, missing, value=NOTHING).view(num_rows, num_chunks, size, width)
    values = F.pad(values, missing).view(num_values, num_rows, num_chunks, size, width)
    averages, logs = torch.empty_like(values), torch.empty_like(keys)
    if resets is not None:
        resets = F.pad(resets, (0, num_chunks * size - resets.shape[1])).view(num_rows, num_chunks, size, 1)
    own_average, own_log = torch.zeros_like(values[:, :, :, 0]), torch.full_like(keys[:, :, 0], NOTHING)
    for place in range(size):
        if resets is not None:
            own_log.masked_fill_(resets[:, :, place], NOTHING)
        averages[:, :, :, place], logs[:, :, place] = own_average, own_log
        key = keys[:, :, place]
        own_log += log_w
        own_average.lerp_(values[:, :, :, place], torch.sigmoid(key - own_log))
        own_log = torch.logaddexp(own_log, key)
    before, before_log = [], []
    ends = None if resets is None else resets.any(dim=2)  # (B, N, 1): nothing goes through the chunk
    for chunk in range(num_chunks):
        before.append(average)
        before_log.append(log)
        log = log + size * log_w
        if ends is not None:
            log = log.masked_fill(ends[:, chunk], NOTHING)
        end = own_log[:, chunk]
        average = torch.lerp(own_average[:, :, chunk], average, torch.sigmoid(log - end))
        log = torch.logaddexp(log, end)
    ages = torch.arange(size, device=keys.device, dtype=keys.dtype).unsqueeze(1) * log_w  # (C, D)
    carried = torch.stack(before_log, dim=1).unsqueeze(2) + ages  # (B, N, C, D)
    if resets is not None:
        carried.masked_fill_(resets.cumsum(dim=2) > 0, NOTHING)
    averages.lerp_(torch.stack(before, dim=2).unsqueeze(3), torch.sigmoid(carried - logs))
    logs = torch.logaddexp(logs, carried)
    return averages.flatten(2, 3)[:, :, : num_tokens + 1], logs.flatten(1, 2)[:, : num_tokens + 1]


def _average(
    keys: torch.Tensor, values: torch.Tensor, log_w: torch.Tensor, state: torch.Tensor, resets: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    averages, logs = _accumulate(keys, values.unsqueeze(0), log_w, state[:, 0].unsqueeze(0), state[:, 1], resets)
    return averages[0].contiguous(), logs.contiguous()


def _average_backward(
    keys: torch.Tensor,
    values: torch.Tensor,
    log_w: torch.Tensor,
    averages: torch.Tensor,
    logs: torch.Tensor,
    resets: torch.Tensor | None,
    average_grad: torch.Tensor,
    log_grad: torch.Tensor,
) -> list[torch.Tensor]:
    """Gradients of keys, values, log_w and state.

    An average is A / exp(l), with A the weighted sum and l its logarithm of weights, so a gradient g of it and h of l are
    exp(-l) g of A and exp(-l) (h - g average) of exp(l). What a token is to all that follow it are sums of those, decayed by
    the distance: averages from the end, with keys -l.
    """
    sources = torch.stack((average_grad, log_grad - average_grad * averages))[:, :, 1:]  # (2, B, T, D)
    turned = None if resets is None else F.pad(resets[:, 1:].flip(1), (1, 0))
    nothing = torch.zeros_like(sources[:, :, 0]), torch.full_like(logs[:, 0], NOTHING)
    found, weights = _accumulate(-logs[:, 1:].flip(1), sources.flip(2), log_w, *nothing, turned)
    of_sum, of_weight = found[:, :, 1:].flip(2)  # (B, T, D): for each token, of all averages behind it
    weights = weights[:, 1:].flip(1)
    to_token, to_before = (keys + weights).exp(), (logs[:, :-1] + log_w + weights).exp()
    of_before = to_before * (of_sum * averages[:, :-1] + of_weight)
    of_state = average_grad[:, 0] + to_before[:, 0] * of_sum[:, 0], log_grad[:, 0] + of_before[:, 0]
    state_grad = torch.stack(of_state, dim=1)
    if resets is not None:
        state_grad.masked_fill_(resets[:, 0, None, None], 0.0)
    return [to_token * (of_sum * values + of_weight), to_token * of_sum, of_before.sum(dim=(0, 1)), state_grad]


def _define_operator() -> Library:
    """`whelp::average` and its backward pass."""
    library = Library("whelp", "FRAGMENT")
    given = "Tensor keys, Tensor values, Tensor log_w"
    library.define(f"average({given}, Tensor state, Tensor? resets) -> (Tensor, Tensor)")
    kept = "Tensor averages, Tensor logs, Tensor? resets"
    library.define(f"average_backward({given}, {kept}, Tensor average_grad, Tensor log_grad) -> Tensor[]")
    library.impl("average", _average, "CompositeExplicitAutograd")
    library.impl("average_backward", _average_backward, "CompositeExplicitAutograd")

    def describe(keys: torch.Tensor, *others: object) -> tuple[torch.Tensor, torch.Tensor]:
        num_rows, num_tokens, width = keys.shape
        return keys.new_empty(num_rows, num_tokens + 1, width), keys.new_empty(num_rows, num_tokens + 1, width)

    def describe_backward(keys: torch.Tensor, values: torch.Tensor, log_w: torch.Tensor, *others: object) -> list[torch.Tensor]:
        state = keys.new_empty(len(keys), 2, keys.shape[2])
        return [torch.empty_like(keys), torch.empty_like(values), torch.empty_like(log_w), state]

    def keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, torch.Tensor]) -> None:
        keys, values, log_w, _, resets = inputs
        ctx.save_for_backward(keys, values, log_w, *output, resets)

    def backward(ctx: Any, average_grad: torch.Tensor, log_grad: torch.Tensor) -> tuple[Any, ...]:
        return *torch.ops.whelp.average_backward(*ctx.saved_tensors, average_grad, log_grad), None

    register_fake("whelp::average", describe, lib=library)
    register_fake("whelp::average_backward", describe_backward, lib=library)
    register_autograd("whelp::average", backward, setup_context=keep, lib=library)
    return library


_OPERATORS = _define_operator()
