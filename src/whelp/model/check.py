"""Proofs, by trying, that a model is a causal language model. For any family, also yours.

    for failure in check_model(model): print(failure)

A sound model prints nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from whelp.base.evaluation_mode import evaluation_mode
from whelp.model.language_model import LanguageModel

_ROUNDING = 1e-5  # what logits of the same tokens may differ by in the quick look


@torch.no_grad()
def check_model(model: LanguageModel, *, num_tokens: int = 24, seed: int = 0, tolerance: float = 1e-4) -> list[str]:
    """Try what must hold of every causal language model; return what does not, in words.

    - changing token t leaves the logits before t as they were (no look into the future);
    - changing an early token changes later logits (the past is used at all);
    - the rows of a batch do not see each other;
    - reading with a cache, token by token or in pieces, gives the logits of reading at once;
    - so does continuing texts of several lengths side by side;
    - documents packed into one row do not see each other: each has the logits that it has alone.
    """
    generator = torch.Generator().manual_seed(seed)
    num_tokens = min(num_tokens, model.spec.context_tokens)
    ids = torch.randint(0, model.spec.vocab_size, (3, num_tokens), generator=generator)
    other = (ids + 1 + torch.randint(0, model.spec.vocab_size - 1, ids.shape, generator=generator)) % model.spec.vocab_size
    ids, other = ids.to(model.head_weight.device), other.to(model.head_weight.device)
    checks = (_check_future, _check_past, _check_rows, _check_cache, _check_documents)
    with evaluation_mode(model):
        tried = _Tried(model, ids, other, model(ids), tolerance)
        failures = [failure for check in checks if (failure := check(tried))]
        if not failures and (failure := _check_slots(tried)):  # it builds on all of them
            failures.append(failure)
    return failures


@torch.no_grad()
def find_leak(model: LanguageModel) -> str | None:
    """What makes a model of any weights no causal language model: a look into the future, or at other rows. Quick."""
    num_tokens = min(8, model.spec.context_tokens)
    ids = torch.arange(2 * num_tokens, device=model.head_weight.device).view(2, num_tokens) % model.spec.vocab_size
    other = (ids + 1) % model.spec.vocab_size
    with evaluation_mode(model):
        tried = _Tried(model, ids, other, model(ids), _ROUNDING)
        return _check_future(tried) or _check_rows(tried)


def _difference(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a - b).abs().max()) if a.numel() else 0.0


@dataclass(frozen=True)
class _Tried:
    """A model, ids (B, T) and others of the same shape, the logits of the ids, and what arithmetic may differ by."""

    model: LanguageModel
    ids: torch.Tensor
    other: torch.Tensor
    logits: torch.Tensor
    tolerance: float


def _check_future(tried: _Tried) -> str | None:
    for position in (1, tried.ids.shape[1] // 2, tried.ids.shape[1] - 1):
        changed = torch.cat(
            (tried.ids[:, :position], tried.other[:, position : position + 1], tried.ids[:, position + 1 :]), dim=1
        )
        leak = _difference(tried.model(changed)[:, :position], tried.logits[:, :position])
        if leak > tried.tolerance:
            return f"it sees the future: changing token {position} changes earlier logits by {leak:.2g}"
    return None


def _check_past(tried: _Tried) -> str | None:
    changed = torch.cat((tried.other[:, :1], tried.ids[:, 1:]), dim=1)
    effect = _difference(tried.model(changed)[:, 1:], tried.logits[:, 1:])
    if effect <= tried.tolerance:
        zeros = [name for name, weight in tried.model.named_parameters() if weight.dim() > 1 and not weight.any()]
        why = f"; {zeros[0]} is all zeros, as in first weights of RWKV: train it for some steps first" if zeros else ""
        return f"it ignores the past: changing token 0 changes later logits by {effect:.2g} only{why}"
    return None


def _check_rows(tried: _Tried) -> str | None:
    changed = torch.cat((tried.ids[:1], tried.other[1:]))
    leak = _difference(tried.model(changed)[0], tried.logits[0])
    if leak > tried.tolerance:
        return f"rows of a batch see each other: changing other rows changes row 0 by {leak:.2g}"
    return None


def _check_cache(tried: _Tried) -> str | None:
    if tried.model.spec.family == "hf":  # which is read by its own decoder, tried below
        return None
    num_tokens = tried.ids.shape[1]
    for sizes in ([1] * num_tokens, [num_tokens // 2, num_tokens - num_tokens // 2]):
        cache = tried.model.make_cache(tried.ids.shape[0], num_tokens)
        pieces = [tried.model(piece, cache) for piece in tried.ids.split(sizes, dim=1)]
        drift = _difference(torch.cat(pieces, dim=1), tried.logits)
        if drift > tried.tolerance:
            return f"reading with a cache differs from reading at once by {drift:.2g} (pieces of {sizes[0]})"
    return None


def _check_documents(tried: _Tried) -> str | None:
    """Rows of three documents and pads, the second of them as long as one token, each row cut elsewhere."""
    num_tokens = tried.ids.shape[1]
    documents = torch.full_like(tried.ids, -1)
    for row in range(tried.ids.shape[0]):
        cut = (row + 1) * num_tokens // 5
        documents[row, :cut], documents[row, cut], documents[row, cut + 1 : num_tokens - 2] = 0, 1, 2
    for row in range(tried.ids.shape[0]):
        packed = tried.model(tried.ids[row : row + 1], None, documents[row : row + 1])[0]
        for number in range(3):
            is_own = documents[row] == number
            leak = _difference(packed[is_own], tried.model(tried.ids[row : row + 1, is_own])[0])
            if leak > tried.tolerance:
                return f"documents in a row see each other: document {number} alone differs by {leak:.2g}"
    return None


def _check_slots(tried: _Tried) -> str | None:
    num_tokens = tried.ids.shape[1]
    if num_tokens < 3:
        return None
    decoder = tried.model.make_decoder(len(tried.ids), num_tokens)
    lengths = [1 + place * (num_tokens - 2) // len(tried.ids) for place in range(len(tried.ids))]
    rows = tried.ids.tolist()
    decoder.read(0, [row[:length] for row, length in zip(rows, lengths, strict=True)])
    stepped = decoder.step([row[length] for row, length in zip(rows, lengths, strict=True)])
    drift = _difference(stepped, torch.stack([tried.logits[place, length] for place, length in enumerate(lengths)]))
    if drift > tried.tolerance:
        return f"texts of several lengths, continued together, differ from each alone by {drift:.2g}"
    return None
