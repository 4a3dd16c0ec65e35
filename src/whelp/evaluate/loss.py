"""Loss over rows: every row counts, every target once, weighted by tokens and not by batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.base.evaluation_mode import evaluation_mode
from whelp.base.result_repr import ResultRepr


class Rows(Protocol):
    """Rows in their stored order."""

    def __len__(self) -> int: ...

    def read_in_order(self, first: int, count: int) -> RowBatch: ...


class LossModel(Protocol):
    """What is evaluated: `loss(ids, targets, documents)` sums nats."""

    def loss(self, ids: torch.Tensor, targets: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor: ...


@dataclass(frozen=True, kw_only=True)
class LossResult(ResultRepr):
    """Summed loss and what it was summed over; of a mixture, with the part of each source."""

    nats: float
    num_tokens: int
    num_bytes: int
    num_rows: int
    sources: Mapping[str, LossResult] = field(default_factory=dict)

    @classmethod
    def join(cls, sources: Mapping[str, LossResult]) -> LossResult:
        """The loss over all sources, every token counting the same, with the part of each source."""
        parts = list(sources.values())
        return cls(
            nats=sum(part.nats for part in parts),
            num_tokens=sum(part.num_tokens for part in parts),
            num_bytes=sum(part.num_bytes for part in parts),
            num_rows=sum(part.num_rows for part in parts),
            sources=dict(sources),
        )

    @property
    def nats_per_token(self) -> float:
        """Mean cross-entropy, natural logarithm."""
        return self.nats / self.num_tokens

    @property
    def perplexity(self) -> float:
        """exp(nats per token)."""
        return math.exp(min(self.nats_per_token, 700.0))

    @property
    def bits_per_byte(self) -> float | None:
        """Bits to write one byte of text: the same scale for every vocabulary. None when no bytes are known."""
        return self.nats / math.log(2) / self.num_bytes if self.num_bytes else None

    def _list_shown(self) -> dict[str, Any]:
        return self.to_dict()

    def to_dict(self) -> dict[str, Any]:
        """For a JSON record; without `sources` where there is but one."""
        parts = {name: part.to_dict() for name, part in self.sources.items()}
        return {
            "nats_per_token": self.nats_per_token,
            "perplexity": self.perplexity,
            "bits_per_byte": self.bits_per_byte,
            "num_tokens": self.num_tokens,
            "num_bytes": self.num_bytes,
            "num_rows": self.num_rows,
            **({"sources": parts} if parts else {}),
        }


def _read_empty(rows: Rows) -> RowBatch:
    """A row without a target."""
    batch = rows.read_in_order(0, 1)
    return batch._replace(targets=np.full_like(batch.targets, IGNORED))


@torch.no_grad()
def evaluate_loss(
    model: LossModel,
    rows: Rows,
    *,
    token_bytes: npt.NDArray[np.int32],
    num_rows: int | None = None,
    batch_rows: int = 16,
    rank: int = 0,
    world: int = 1,
    add: Callable[[Sequence[float]], list[float]] = list,
    device: torch.device | str = "cpu",
    precision: torch.dtype = torch.float32,
) -> LossResult:
    """Sum the loss over the first `num_rows` rows (all of them by default).

    Args:
        token_bytes: (V,) bytes of text that each id stands for; special ids are 0.
        rank, world: Of `world` processes, this one computes its slice of the rows; each row is in one slice.
        add: Sums numbers over those processes, so that each has the result of all.
        precision: Arithmetic of the matrix products; the loss itself is float32.
    """
    assert len(rows) > 0, "no rows to evaluate"
    total = len(rows) if num_rows is None else min(num_rows, len(rows))
    nats, num_tokens, num_bytes = 0.0, 0, 0
    device_type = torch.device(device).type
    begin, end = total * rank // world, total * (rank + 1) // world
    most = -(-total // world)  # rows of any slice: all compute equally often, as processes that divide a model must
    with evaluation_mode(model):
        for first in range(begin, begin + most, batch_rows):
            batch = rows.read_in_order(first, min(batch_rows, end - first)) if first < end else _read_empty(rows)
            ids, targets = torch.from_numpy(batch.ids).to(device), torch.from_numpy(batch.targets).to(device)
            documents = None if batch.documents is None else torch.from_numpy(batch.documents).to(device)
            with torch.autocast(device_type, precision, enabled=precision != torch.float32):
                loss = model.loss(ids, targets, documents)
            nats += float(loss)
            real = batch.targets[batch.targets != IGNORED]
            num_tokens += real.size
            num_bytes += int(token_bytes[real].sum())
    nats, *counts = add([nats, num_tokens, num_bytes])
    return LossResult(nats=nats, num_tokens=int(counts[0]), num_bytes=int(counts[1]), num_rows=total)
