"""Gradients of all processes, with the other process played by the test, and with real ones."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whelp.train import TrainConfig, build_optimizer, flat_group, gradient_sum
from whelp.train.gradient_buffers import GradientBuffers
from whelp.train.gradient_sum import GradientSum
from whelp.train.process_group import ProcessGroup
from whelp.train.process_rank import ProcessRank

from .many import run_together


class _Done:
    def wait(self) -> None:
        """Nothing to wait for."""


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[torch.Tensor]:
    """All tensors that were added up, on their way however small; the other process has the same numbers, so that each sum is twice them."""
    tensors: list[torch.Tensor] = []

    def all_reduce(tensor: torch.Tensor, async_op: bool = False) -> _Done:
        tensors.append(tensor)
        tensor.mul_(2)
        return _Done()

    monkeypatch.setattr(flat_group, "_LATE_NUMBERS", 0)
    monkeypatch.setattr(gradient_sum.dist, "all_reduce", all_reduce)
    monkeypatch.setattr(gradient_sum.dist, "broadcast", lambda tensor, source: None)
    return tensors


TWO = ProcessRank(rank=0, num_processes=2, local_rank=0, num_local_processes=2)


@pytest.mark.parametrize("least_numbers", [1, 3000, 1 << 40])
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize(("family", "options"), [("gpt2", {}), ("qwen3", {"tie_embeddings": False})])
def test_every_gradient_is_added_once(
    make_model: Any,
    sent: list[torch.Tensor],
    monkeypatch: pytest.MonkeyPatch,
    family: str,
    options: dict[str, Any],
    optimizer: str,
    least_numbers: int,
) -> None:
    """However large the pieces: after the last of two backward passes each number was sent once, and when it was final."""
    monkeypatch.setattr(gradient_sum, "_LEAST_NUMBERS", least_numbers)
    model, alone = make_model(family, **options), make_model(family, **options)
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 60, (4, 13)))
    config = TrainConfig(optimizer=optimizer)
    built, processes = build_optimizer(model, config, ProcessGroup(TWO)), ProcessGroup(TWO)
    adding = GradientSum(processes, built, dict(model.named_parameters()))
    orders = []
    for _ in range(2):  # of two steps: the second begins as clean as the first
        built.zero_grad()
        alone.zero_grad()
        sent.clear()
        for half, is_last in ((tokens[:2], False), (tokens[2:], True)):
            adding.is_last = is_last
            model.loss(half[:, :-1], half[:, 1:]).backward()
            alone.loss(half[:, :-1], half[:, 1:]).backward()
            assert is_last or not sent
        adding.finish()
        assert sum(tensor.numel() for tensor in sent) == sum(group.grad.numel() for group in built.groups)
        orders.append([tensor.data_ptr() for tensor in sent])
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.grad, 2 * alone.get_parameter(name).grad, atol=1e-5, rtol=1e-4)
    assert orders[0] == orders[1]
    assert len(sent) >= len(built.groups)
    assert (least_numbers > 1 << 30) == (len(sent) == len(built.groups))
    adding.close()
    sent.clear()
    adding.is_last = True
    model.loss(tokens[:, :-1], tokens[:, 1:]).backward()
    assert not sent, "after `close` nobody listens"


def test_most_travels_before_the_end(make_model: Any, sent: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of the last blocks are sent while the first block is still to come."""
    monkeypatch.setattr(gradient_sum, "_LEAST_NUMBERS", 1000)
    model = make_model("qwen3", n_layer=4)
    built = build_optimizer(model, TrainConfig(optimizer="muon"))
    adding, seen = GradientSum(ProcessGroup(TWO), built, dict(model.named_parameters())), []
    model.blocks[0].down.weight.register_hook(lambda _: seen.append(len(sent)))
    adding.is_last = True
    model.loss(torch.arange(12).view(1, -1), torch.arange(12).view(1, -1)).backward()
    adding.finish()
    assert 0 < seen[0] < len(sent)
    adding.close()


def test_recorded_work_is_sent_where_it_is_marked(
    make_model: Any, sent: list[torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A recording marks where pieces are ready. After each replay every piece waits for its mark; what has none goes at the end."""
    waits: list[int] = []

    class _Mark:
        def wait(self) -> None:
            waits.append(len(sent))

    monkeypatch.setattr(gradient_sum, "_LEAST_NUMBERS", 1000)
    monkeypatch.setattr(gradient_sum, "mark", _Mark)
    model, alone = make_model("gpt2", n_layer=3), make_model("gpt2", n_layer=3)
    built = build_optimizer(model, TrainConfig(optimizer="adamw"))
    monkeypatch.setattr(
        flat_group, "_LATE_NUMBERS", built.groups[-1].grad.numel()
    )  # norms and biases, which are its last group
    adding = GradientSum(ProcessGroup(TWO), built, dict(model.named_parameters()))
    with adding.marking():
        model.loss(torch.arange(12).view(1, -1), torch.arange(12).view(1, -1)).backward()
    assert not sent, "a recording sends nothing"
    for shift in (0, 1):
        ids = torch.arange(12).view(1, -1) + shift
        for each in (built, alone):
            each.zero_grad()
        sent.clear()
        waits.clear()
        for each in (model, alone):  # the hooks of a replay are silent
            each.loss(ids, ids).backward()
        assert not sent
        adding.send_marked()
        assert waits == list(range(len(sent)))
        assert len(sent) >= 3
        assert built.groups[-1].grad.data_ptr() not in {tensor.data_ptr() for tensor in sent}
        adding.finish()
        assert sum(tensor.numel() for tensor in sent) == sum(group.grad.numel() for group in built.groups)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.grad, 2 * alone.get_parameter(name).grad, atol=1e-5, rtol=1e-4)
    adding.at_end = True
    adding.send_marked()
    assert not adding._sent
    adding.close()


def test_how_gpt2_is_divided() -> None:
    """Its blocks' gradients in messages that become smaller; the embedding's apart from all that is ready before it."""
    block = [3 * 768 * 768, 768 * 768, 768 * 3072, 768 * 3072]
    sizes = [50304 * 768, 1024 * 768, *(12 * block)]
    starts = [sum(sizes[:number]) for number in range(len(sizes))]
    whole = torch.empty(sum(sizes), device="meta")
    group = flat_group.FlatGroup(
        [str(number) for number in range(50)], [torch.Size([size]) for size in sizes], starts, whole, whole
    )
    pieces = gradient_sum.divide(group)
    assert [number for piece in pieces for number in reversed(range(piece.start, piece.stop))] == list(reversed(range(50)))
    numbers = [sum(sizes[piece]) for piece in pieces]
    assert numbers[:-1] == sorted(numbers[:-1], reverse=True)
    assert len(pieces) <= 5
    assert numbers[0] > sum(sizes) // 3
    assert numbers[-1] < sizes[0] + (1 << 22)
    assert not flat_group.comes_late(group)


def test_all_at_the_end(make_model: Any, sent: list[torch.Tensor]) -> None:
    """Where all processes agreed on it, nothing travels before the end, and then each buffer as a whole; the sums are the same."""
    model, alone = make_model("gpt2"), make_model("gpt2")
    built = build_optimizer(model, TrainConfig(optimizer="muon"))
    adding = GradientSum(ProcessGroup(TWO), built, dict(model.named_parameters()))
    ids = torch.arange(12).view(1, -1)
    for at_end in (True, False, True):  # switched between steps, as a trial does
        built.zero_grad()
        alone.zero_grad()
        sent.clear()
        adding.at_end, adding.is_last = at_end, True
        model.loss(ids, ids).backward()
        alone.loss(ids, ids).backward()
        assert bool(sent) != at_end
        adding.finish()
        if at_end:
            assert [tensor.data_ptr() for tensor in sent] == [group.grad.data_ptr() for group in built.groups]
        assert sum(tensor.numel() for tensor in sent) == sum(group.grad.numel() for group in built.groups)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter.grad, 2 * alone.get_parameter(name).grad, atol=1e-5, rtol=1e-4)
    adding.close()


@pytest.mark.parametrize("at_end", [False, True])
def test_gradients_travel_in_bf16_where_asked_for(make_model: Any, sent: list[torch.Tensor], at_end: bool) -> None:
    """Messages are bf16, and their sums are back in the buffers, rounded and no more."""
    model, alone = make_model("gpt2"), make_model("gpt2")
    built = build_optimizer(model, TrainConfig(optimizer="adamw"))
    adding = GradientSum(ProcessGroup(TWO), built, dict(model.named_parameters()), torch.bfloat16)
    ids = torch.arange(12).view(1, -1)
    built.zero_grad()
    adding.at_end, adding.is_last = at_end, True
    model.loss(ids, ids).backward()
    alone.loss(ids, ids).backward()
    adding.finish()
    assert {tensor.dtype for tensor in sent} == {torch.bfloat16}
    assert sum(tensor.numel() for tensor in sent) == sum(group.grad.numel() for group in built.groups)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter.grad, 2 * alone.get_parameter(name).grad.to(torch.bfloat16).float()), name
    adding.close()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX: run the tests on Linux or macOS")
@pytest.mark.parametrize("late_numbers", [0, 1 << 20])
def test_two_processes_add_up_to_one(
    make_model: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late_numbers: int
) -> None:
    """Really sent: the gradient of both halves is that of the whole, whatever travels when; in bf16 it is rounded."""
    monkeypatch.setattr(flat_group, "_LATE_NUMBERS", late_numbers)
    monkeypatch.setattr(gradient_sum, "_LEAST_NUMBERS", 1000)
    config, whole = TrainConfig(optimizer="muon"), make_model("gpt2")
    tokens = torch.from_numpy(np.random.default_rng(0).integers(0, 60, (4, 13)))
    (whole.loss(tokens[:, :-1], tokens[:, 1:]) / 48).backward()
    expected = {name: parameter.grad for name, parameter in whole.named_parameters()}
    ways = [(False, torch.float32), (True, torch.float32), (False, torch.bfloat16)]

    def work(processes: ProcessGroup) -> Any:
        model = make_model("gpt2")
        optimizer = build_optimizer(model, config, processes)
        buffers, found = GradientBuffers(optimizer, dict(model.named_parameters()), is_alone=False), []
        for at_end, number in ways:
            adding = GradientSum(processes, optimizer, dict(model.named_parameters()), number)
            adding.at_end = at_end
            buffers.begin()
            for row in (0, 1):
                own = tokens[2 * processes.rank + row :][:1]
                adding.is_last = row == 1
                (model.loss(own[:, :-1], own[:, 1:]) / 48).backward()
            buffers.finish()
            adding.finish()
            adding.close()
            found.append({name: parameter.grad.clone() for name, parameter in model.named_parameters()})
        return found

    one, other = run_together(2, tmp_path, work)
    for (_, number), mine, theirs in zip(ways, one, other, strict=True):
        rounding = 1e-6 if number == torch.float32 else 1e-2
        for name, gradient in expected.items():
            assert torch.equal(mine[name], theirs[name]), f"{name}: not alike in both processes"
            largest = float(gradient.abs().max())
            torch.testing.assert_close(mine[name], gradient, atol=rounding * max(largest, 1.0), rtol=0.0)
