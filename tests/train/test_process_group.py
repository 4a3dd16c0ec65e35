"""What processes tell each other, with the other process played by the test."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from whelp.base.errors import PlanError, TrainingError
from whelp.train import process_group as process_group_module
from whelp.train.process_group import ProcessGroup, join_process_group
from whelp.train.process_rank import ProcessRank

TWO = ProcessRank(rank=0, num_processes=2, local_rank=0, num_local_processes=2)


def test_a_lost_process_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the library says about a broken connection becomes a message with a next step."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise RuntimeError(
            "[/build/gloo/tcp/pair.cc:553] Connection closed by peer [::1]:5. Check the logs of it. GLHF!\nand a trace"
        )

    monkeypatch.setattr(process_group_module.dist, "all_reduce", fail)
    message = (
        r"process 1 of 2: another process of this run is gone.*\(Connection closed by peer \[::1\]:5\)\. See what that one said"
    )
    with pytest.raises(TrainingError, match=message):
        ProcessGroup(TWO).add([1.0])


def test_want_of_memory_is_no_lost_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message takes memory of its own: where there is none, nobody else is to blame."""

    def fail(*arguments: Any, **options: Any) -> None:
        raise torch.distributed.DistBackendError(
            "NCCL error: unhandled cuda error\nLast error:\nCuda failure 2 'out of memory'"
        )

    monkeypatch.setattr(process_group_module.dist, "all_reduce", fail)
    with pytest.raises(torch.distributed.DistBackendError, match="out of memory"):
        ProcessGroup(TWO).add_tensor(torch.ones(2))


def test_alone_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A group of one answers itself."""
    monkeypatch.delattr(process_group_module.dist, "all_reduce")
    monkeypatch.delattr(process_group_module.dist, "broadcast")
    processes = ProcessGroup()
    assert (processes.add([1, 2.5]), processes.largest([True, False]), processes.share({"a": None})) == (
        [1, 2.5],
        [1, 0],
        {"a": None},
    )
    tensor = torch.ones(2)
    processes.add_tensor(tensor)
    processes.copy_from_first(tensor)
    processes.wait()
    assert tensor.tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        ("is_available", r"many processes: this PyTorch was built without torch\.distributed.*Train in one process"),
        ("is_nccl_available", r"many processes: this PyTorch was built without NCCL.*train\.device=cpu"),
    ],
)
def test_builds_without_messages(monkeypatch: pytest.MonkeyPatch, missing: str, message: str) -> None:
    """PyTorch for Windows has no NCCL, some builds have no way to send messages at all: said before anybody is waited for."""
    for name in ("is_available", "is_nccl_available"):
        monkeypatch.setattr(process_group_module.dist, name, lambda name=name: name != missing)
    with (
        pytest.raises(PlanError, match=message),
        join_process_group(ProcessRank(rank=0, num_processes=2), uses_gpu=True, timeout_minutes=1),
    ):
        pass
