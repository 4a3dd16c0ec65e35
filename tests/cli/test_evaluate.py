"""`whelp evaluate` on a store, where memory does not hold as many rows at a time as usual."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import whelp
from whelp.base.errors import PlanError
from whelp.model import LanguageModel

from .helpers import Project


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many rows the device holds at a time."""
    rows, original = [100], LanguageModel.loss

    def loss(self: LanguageModel, ids: torch.Tensor, *arguments: Any) -> torch.Tensor:
        if len(ids) > rows[0]:
            raise torch.OutOfMemoryError("no room")
        return original(self, ids, *arguments)

    monkeypatch.setattr(LanguageModel, "loss", loss)
    return rows


def test_fewer_rows_at_a_time_give_the_same_loss(made: Project, room: list[int], caplog: pytest.LogCaptureFixture) -> None:
    whole = whelp.evaluate(made.run, store=made.store, split="train", device="cpu")
    room[0] = 5
    found = whelp.evaluate(made.run, store=made.store, split="train", device="cpu")
    assert (found.num_tokens, found.num_rows) == (whole.num_tokens, whole.num_rows)
    assert found.nats == pytest.approx(whole.nats)
    assert "out of memory with 16 rows at a time; from now on 8" in caplog.text
    assert "out of memory with 8 rows at a time; from now on 4" in caplog.text


def test_not_even_a_row_fits(made: Project, room: list[int]) -> None:
    room[0] = 0
    with pytest.raises(
        PlanError, match=r"the device: it is out of memory with 1 row at a time, but expected room\. Use a device"
    ):
        whelp.evaluate(made.run, store=made.store, device="cpu")


def test_other_errors_are_not_taken_for_want_of_memory(made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def loss(*arguments: Any) -> torch.Tensor:
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(LanguageModel, "loss", loss)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        whelp.evaluate(made.run, store=made.store, device="cpu")
