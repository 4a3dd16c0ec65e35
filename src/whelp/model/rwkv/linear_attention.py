"""The memory of RWKV-5: a matrix for each head to which every token adds, and which decays, each channel at its own rate.

Of "Eagle and Finch" (Peng et al. 2024, arXiv 2404.05892), section 4, with the state S laid out (key, value):

    o_t = (S_(t-1) + diag(u) k_t v_t^T)^T r_t        S_t = diag(w_t) S_(t-1) + k_t v_t^T

The decay may differ from token to token, so that padding can leave the state as it is.
Shapes: B rows, T tokens, H heads, K head width (of keys and values alike), N chunks, C tokens in a chunk.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from whelp.model.rwkv.chunk_masks import divide, make_masks

# A decay may be any number below one. Half a chunk of the lowest that is told from zero, exp(-80), is what float64 holds
# (8 * 80 < 709), so weights between tokens are computed in it; float32 would end in infinities.
CHUNK_TOKENS = 16
_LOWEST_LOG_DECAY = -80.0
_HAVE_FLOAT64 = ("cpu", "cuda")  # not Apple's GPU


class Inputs(NamedTuple):
    """What every token brings, each (B, T, H, K); `u` is (H, K)."""

    r: torch.Tensor  # receptance: what is read
    log_w: torch.Tensor  # logarithm of the decay, float32
    k: torch.Tensor
    v: torch.Tensor
    u: torch.Tensor  # how much a token reads of itself


def step(inputs: Inputs, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One token: inputs with T = 1 and a state (B, H, K, K); what is read (B, 1, H, K), and the state after it."""
    r, log_w, k, v = (part[:, 0] for part in inputs[:4])  # (B, H, K)
    new = k.unsqueeze(-1) * v.unsqueeze(-2)
    read = r.unsqueeze(-2) @ (state + inputs.u.unsqueeze(-1) * new)  # (B, H, 1, K)
    return read.transpose(1, 2), state * log_w.exp().unsqueeze(-1) + new


def scan(
    inputs: Inputs, state: torch.Tensor, starts: torch.Tensor | None = None, chunk_tokens: int = CHUNK_TOKENS
) -> tuple[torch.Tensor, torch.Tensor]:
    """All tokens of a row: what is read (B, T, H, K), and the state after the last token (B, H, K, K).

    Args:
        starts: (B, T) bool, true where a token begins a document, which knows nothing of what was before.
    """
    num_tokens = inputs.r.shape[1]
    size = min(chunk_tokens, num_tokens)
    r, k, v = (divide(part.float(), size) for part in (inputs.r, inputs.k, inputs.v))  # (B, H, N, C, K)
    number = torch.float64 if r.device.type in _HAVE_FLOAT64 else torch.float32
    log_w = divide(inputs.log_w.to(number).clamp(min=_LOWEST_LOG_DECAY), size)
    total = log_w.cumsum(3)  # of the decays from the chunk's begin on, this token's included
    last = total[..., -1:, :]
    weights = _weigh(r, k, total - log_w, total)  # (B, H, N, C, C)
    seen, before = make_masks(size, starts, r.device)
    weights = weights.masked_fill(before.whole == 0, 0.0).float()  # of later tokens they may be infinite
    weights = weights + torch.diag_embed((r * k * inputs.u[:, None, None]).sum(-1))
    from_state, to_state, carry = r * (total - log_w).exp().float(), k * (last - total).exp().float(), last.exp().float()
    if seen.from_state is not None and seen.to_state is not None and seen.carried is not None:
        from_state, to_state, carry = from_state * seen.from_state, to_state * seen.to_state, carry * seen.carried
    gain = to_state.mT @ v  # (B, H, N, K, K)
    states = [state.float()]
    for add, decay in zip(gain.unbind(2), carry.mT.unbind(2), strict=True):
        states.append(torch.addcmul(add, decay, states[-1]))
    out = weights @ v + from_state @ torch.stack(states[:-1], dim=2)  # (B, H, N, C, K)
    return out.flatten(2, 3)[:, :, :num_tokens].transpose(1, 2), states[-1]


def _weigh(r: torch.Tensor, k: torch.Tensor, before: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
    """What each token reads of each earlier one, (B, H, N, C, C); of itself and later ones any number.

    Args:
        before, total: (B, H, N, C, K) sums of the logarithms of decays, up to a token, and with its own.
    """
    if total.dtype == torch.float64:
        middle = total[..., total.shape[3] // 2, None, :]
        return (r * (before - middle).exp()) @ (k * (middle - total).exp()).mT
    decays = (before.unsqueeze(4) - total.unsqueeze(3)).clamp(max=0.0).exp()  # (B, H, N, C, C, K), pair by pair
    return (r.unsqueeze(4) * k.unsqueeze(3) * decays).sum(-1)
