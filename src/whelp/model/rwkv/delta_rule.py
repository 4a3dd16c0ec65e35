"""The memory of RWKV-7: a matrix for each head that decays, forgets along a direction and learns, token by token.

Of "RWKV-7 Goose" (Peng et al. 2025, arXiv 2503.14456), section 4, with the state S laid out (key, value):

    S_t = diag(w_t) S_(t-1) + b_t (a_t^T S_(t-1)) + k_t v_t^T        o_t = S_t^T r_t

Two forms of one arithmetic. `step` is the formula. `scan` takes a chunk of tokens at a time: inside of it everything is
matrix products, by solving for all a_t^T S_(t-1) at once (the WY form of Yang et al. 2024, arXiv 2406.06484, with a decay for
each channel as in 2412.06464); from chunk to chunk the state goes through one matrix product. Where documents begin, the
state is forgotten.
Shapes: B rows, T tokens, H heads, K head width (of keys and values alike), N chunks, C tokens in a chunk.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from whelp.model.rwkv.chunk_masks import divide, make_masks

LOWEST_LOG_DECAY = -0.6065306597126334  # -exp(-1/2): what the sigmoid of RWKV-7 allows
# Over a chunk the decay is at most exp(32 * 0.61) = 3e8, divided in half around the middle: far inside of float32.
CHUNK_TOKENS = 32


class Inputs(NamedTuple):
    """What every token brings, each (B, T, H, K)."""

    r: torch.Tensor  # receptance: what is read
    log_w: torch.Tensor  # logarithm of the decay, float32
    k: torch.Tensor
    v: torch.Tensor
    a: torch.Tensor  # the direction that is looked up before the token is learned
    b: torch.Tensor  # where what was found there is added (with a's sign: taken away)


def step(inputs: Inputs, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """One token: inputs with T = 1 and a state (B, H, K, K); what is read (B, 1, H, K), and the state after it."""
    r, log_w, k, v, a, b = (part[:, 0] for part in inputs)  # (B, H, K)
    found = (a.unsqueeze(-2) @ state).squeeze(-2)  # (B, H, K)
    state = state * log_w.exp().unsqueeze(-1)
    state = state + b.unsqueeze(-1) * found.unsqueeze(-2) + k.unsqueeze(-1) * v.unsqueeze(-2)
    return (r.unsqueeze(-2) @ state).transpose(1, 2), state


def scan(
    inputs: Inputs, state: torch.Tensor, starts: torch.Tensor | None = None, chunk_tokens: int = CHUNK_TOKENS
) -> tuple[torch.Tensor, torch.Tensor]:
    """All tokens of a row: what is read (B, T, H, K), and the state after the last token (B, H, K, K).

    Args:
        starts: (B, T) bool, true where a token begins a document, which knows nothing of what was before.
    """
    num_tokens = inputs.r.shape[1]
    size = min(chunk_tokens, num_tokens)
    r, log_w, k, v, a, b = (divide(part.float(), size) for part in inputs)  # (B, H, N, C, K)
    total = log_w.cumsum(3)  # of the decays from the chunk's begin on, this token's included
    middle, last = total[..., size // 2, None, :], total[..., -1:, :]
    decay_in, decay_out = middle.exp(), (last - middle).exp()  # (B, H, N, 1, K)
    fall, rise = (total - middle).exp(), (middle - total).exp()
    r, a = r * fall, a * (total - log_w - middle).exp()
    sources = torch.cat((k * rise, b * rise), dim=3)  # (B, H, N, 2C, K)
    read_weights = r @ sources.mT  # (B, H, N, C, 2C)
    look_weights = a @ sources.mT
    seen, before = make_masks(size, starts, r.device)
    read_weights = read_weights * torch.cat((seen.whole, seen.whole), dim=-1)
    look_weights = look_weights * torch.cat((before.whole, before.whole), dim=-1)
    look_k, look_b = look_weights.split(size, dim=-1)
    from_state = a * decay_in if seen.from_state is None else a * decay_in * seen.from_state
    # found = from_state S + look_k V + look_b found, solved for all tokens of a chunk at once
    width = r.shape[-1]
    solved = torch.linalg.solve_triangular(
        -look_b, torch.cat((from_state, look_k @ v), dim=-1), upper=False, unitriangular=True
    )
    of_state, of_chunk = solved.split(width, dim=-1)
    kept, learned = (sources * decay_out).mT, torch.cat((v, of_chunk), dim=3)
    carry = last.exp()
    if seen.to_state is not None and seen.carried is not None:
        kept = kept * torch.cat((seen.to_state, seen.to_state), dim=3).mT
        carry = carry * seen.carried
    gain = kept @ learned  # (B, H, N, K, K): what the chunk adds to a state
    turn = kept[..., size:] @ of_state + torch.diag_embed(carry.squeeze(3))  # and what it makes of the state that was
    states = [state.float()]
    for add, turned in zip(gain.unbind(2), turn.unbind(2), strict=True):
        states.append(add + turned @ states[-1])
    at_begin = torch.stack(states[:-1], dim=2)  # (B, H, N, K, K)
    learned = torch.cat((v, of_chunk + of_state @ at_begin), dim=3)
    r = r * decay_in if seen.from_state is None else r * decay_in * seen.from_state
    out = r @ at_begin + read_weights @ learned  # (B, H, N, C, K)
    return out.flatten(2, 3)[:, :, :num_tokens].transpose(1, 2), states[-1]
