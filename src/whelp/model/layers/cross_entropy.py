"""Output head and cross-entropy in one, a slice of tokens at a time: the logits of a whole batch never exist.

The gradient of softmax cross-entropy is `softmax - onehot`, known as soon as the logits are, so both matrix products of
the backward pass are done while a slice of logits is still in the processor's cache. On a CPU with 2,048 ids this takes a
third of the time of the framework's separate steps; memory is one slice instead of three copies of all logits.
Shapes: N tokens, D width, V vocabulary.
"""

from __future__ import annotations

from typing import Any

import torch

from whelp.model.cpu.bf16_products import rounded_products

_SLICE_NUMBERS = 1 << 20  # logits in a slice: 4 MB of float32


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, ignored: int) -> torch.Tensor:
        num_tokens, vocab_size = hidden.shape[0], weight.shape[0]
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        hidden_grad = torch.empty_like(hidden) if needs_hidden else None
        weight_grad = torch.zeros_like(weight) if needs_weight else None
        is_real = targets != ignored
        columns = torch.where(is_real, targets, 0).unsqueeze(1)  # (N, 1)
        loss = hidden.new_zeros((), dtype=torch.float64)
        size = max(1, min(num_tokens, _SLICE_NUMBERS // vocab_size))
        buffer = hidden.new_empty(size, vocab_size)
        for start in range(0, num_tokens, size):
            part = slice(start, min(start + size, num_tokens))
            rows, column = hidden[part], columns[part]
            logits = torch.mm(rows, weight.t(), out=buffer[: rows.shape[0]])  # (n, V)
            logits.sub_(logits.amax(dim=1, keepdim=True))
            chosen = logits.gather(1, column)  # (n, 1)
            total = logits.exp_().sum(dim=1, keepdim=True)  # (n, 1)
            real = is_real[part].unsqueeze(1)
            loss += torch.where(real, total.log() - chosen, 0.0).sum(dtype=torch.float64)
            if not needs_hidden and not needs_weight:
                continue
            logits.mul_(torch.where(real, 1.0 / total, 0.0))  # softmax; zero where nothing is trained
            logits.scatter_add_(1, column, torch.where(real, -1.0, 0.0).to(logits.dtype))
            if hidden_grad is not None:
                torch.mm(logits, weight, out=hidden_grad[part])
            if weight_grad is not None:
                weight_grad.addmm_(logits.t(), rows)
        ctx.save_for_backward(hidden_grad, weight_grad)
        return loss.to(torch.float32)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None, None]:
        (grad,) = grads
        hidden_grad, weight_grad = ctx.saved_tensors
        scaled = [None if tensor is None else tensor * grad for tensor in (hidden_grad, weight_grad)]
        return scaled[0], scaled[1], None, None


def linear_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, ignored: int) -> torch.Tensor:
    """Summed cross-entropy in nats of `hidden @ weight.T` against `targets`; a float32 scalar.

    Args:
        hidden: (N, D); of bf16 where products may be rounded to it, while logits and loss stay float32.
        weight: (V, D). targets: (N,), `ignored` where nothing is trained.
    """
    is_rounded = hidden.dtype == torch.bfloat16
    with rounded_products(is_rounded):  # the backward pass has no products left
        loss: torch.Tensor = _LinearCrossEntropy.apply(hidden.to(weight.dtype), weight, targets, ignored)
    return loss
