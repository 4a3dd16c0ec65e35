"""How the processes of a divided run end a checkpoint together, with the other process played by the test."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from whelp.artifacts.checkpoint_parts import OwnRows, begin_parts, describe_whole, unfinished_folder, write_part
from whelp.artifacts.manifest import read_manifest
from whelp.base.errors import LostProcessError
from whelp.cli.training.saving import Writing, finish_together
from whelp.train.process_group import ProcessGroup
from whelp.train.process_rank import ProcessRank


class _Pair(ProcessGroup):
    """The first of two processes; the other one's writing went well, or not."""

    def __init__(self, *, other_fails: bool) -> None:
        super().__init__(ProcessRank(rank=0, num_processes=2, local_rank=0, num_local_processes=2))
        self.other_fails = other_fails

    def largest(self, values: Sequence[float]) -> list[float]:
        return [max(value, self.other_fails) for value in values]


def write(path: Path) -> None:
    """The parts of both."""
    for rank in (0, 1):
        write_part(path, rank, 2, {"adamw.mean.x": OwnRows(torch.ones(2, 3), 2 * rank)})
    describe_whole(path)


@pytest.mark.parametrize("in_background", [False, True])
def test_all_have_written(tmp_path: Path, in_background: bool) -> None:
    """It is whole, and nothing of its making is left."""
    path = tmp_path / "step-1"
    begin_parts(path)
    finish_together(Writing(1, path, lambda: write(path), {"step": 1}, in_background=in_background), _Pair(other_fails=False))
    assert len(read_manifest(path, "checkpoint").files) == 2
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("in_background", [False, True])
@pytest.mark.parametrize("is_ours", [False, True])
def test_one_has_no_room(tmp_path: Path, is_ours: bool, in_background: bool) -> None:
    """Nothing half is left, and who had no room says so; another one only lost it."""
    path = tmp_path / "step-1"
    begin_parts(path)

    def fail() -> None:
        write(path)
        if is_ours:
            raise OSError(28, "No space left on device", str(path))

    writing = Writing(1, path, fail, {"step": 1}, in_background=in_background)
    assert unfinished_folder(path).exists()
    with pytest.raises(OSError if is_ours else LostProcessError, match="No space" if is_ours else "could not write its part"):
        finish_together(writing, _Pair(other_fails=not is_ours))
    assert list(tmp_path.iterdir()) == []
