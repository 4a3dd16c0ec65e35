"""A model as it is used, for a while, whatever it was set to before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(model: object) -> Iterator[None]:
    """Inside, a module does not train (no dropout); after it, also after an error, it does what it did before."""
    if not isinstance(model, nn.Module):
        yield
        return
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
