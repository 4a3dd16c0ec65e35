"""What processes that have met find out about each other."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whelp.base.errors import PlanError
from whelp.train import process_checks
from whelp.train.process_checks import check_alike, check_own_gpus, check_shared, share_cores
from whelp.train.process_group import ProcessGroup

from .many import run_together


def say(check: Any, *arguments: Any) -> str:
    """What a check says; nothing when it finds nothing."""
    try:
        check(*arguments)
    except PlanError as error:
        return str(error)
    return ""


def test_gather(tmp_path: Path) -> None:
    """Values of different lengths, by rank, the same in all processes."""
    found = run_together(3, tmp_path, lambda processes: processes.gather({"rank": "x" * processes.rank}))
    assert found == [[{"rank": ""}, {"rank": "x"}, {"rank": "xx"}]] * 3
    assert ProcessGroup().gather("alone") == ["alone"]


def test_all_see_the_same(tmp_path: Path) -> None:
    """A process with another store or option is named to all, with its machine; tuples are as the lists that they travel as."""

    def work(processes: ProcessGroup) -> list[str]:
        same = say(check_alike, processes, {"train.seed": 1, "sizes": (1, 2)})
        return [same, say(check_alike, processes, {"train.seed": 7 if processes.rank == 2 else 1, "the token store": "abc"})]

    for same, other in run_together(3, tmp_path, work):
        assert same == ""
        assert other.startswith("process 3 of 3, on ")
        assert ": train.seed is 7, not 1, but expected what process 1 has, on " in other


def test_a_run_folder_of_one_machine_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second process does not see what the first has written, or sees something old; both are told."""
    monkeypatch.setattr(process_checks, "_PATIENCE_SECONDS", 0.0)
    (tmp_path / "plan.json").write_text("new")
    (tmp_path / "old.json").write_text("old")

    def work(processes: ProcessGroup) -> list[str]:
        seen = tmp_path / "plan.json"
        return [
            say(check_shared, processes, path if processes.rank else seen)
            for path in (seen, tmp_path / "none", tmp_path / "old.json")
        ]

    for same, missing, old in run_together(2, tmp_path, work):
        assert same == ""
        for said in (missing, old):
            assert said.startswith("process 2 of 2, on ")
            assert "as process 1 has written it" in said
            assert "Choose an --out on a disk of the network." in said


def test_two_processes_of_one_gpu(tmp_path: Path) -> None:
    """Where each process sees one GPU, it must be another one."""

    def work(processes: ProcessGroup) -> list[str]:
        return [
            say(check_own_gpus, processes, f"GPU-{processes.rank}"),
            say(check_own_gpus, processes, f"GPU-{processes.rank % 2}"),
        ]

    for different, same in run_together(3, tmp_path, work):
        assert different == ""
        assert same.startswith("processes 1 and 3 of 3, on ")


@pytest.mark.parametrize(
    ("cores", "share"),
    [
        ([[0, 1, 2, 3]] * 2, 2),  # one pool for both
        ([[0, 1, 2, 3], [4, 5, 6, 7]], 4),  # each is bound to its own
        ([[0, 1, 2, 3], [4, 5]], 2),  # all have as many threads as the one of the fewest cores
        ([[0], [0]], 1),
    ],
)
def test_cores_of_a_machine(cores: list[list[int]], share: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes divide what they have in common, and nothing else."""

    def work(processes: ProcessGroup) -> int:
        monkeypatch.setattr(process_checks, "find_cores", lambda: cores[processes.rank])
        return share_cores(processes)

    assert run_together(2, tmp_path, work) == [share, share]
