"""Optimizer state in parts: whole again for whoever reads it, and no checkpoint before every part is there."""

from __future__ import annotations

import warnings
from pathlib import Path

import pytest
import torch

from whelp.artifacts.checkpoint import TrainerState, find_newest_whole, read_trainer_state, step_name, write_contents
from whelp.artifacts.checkpoint_parts import (
    OwnRows,
    begin_parts,
    describe_whole,
    find_state_files,
    finish_parts,
    unfinished_folder,
    write_part,
)
from whelp.artifacts.manifest import find_damage, read_manifest

STATE = {"mean": torch.arange(21.0).view(7, 3), "short": torch.arange(2.0), "step": torch.tensor([5.0])}


def write_all(folder: Path, num_processes: int) -> None:
    """All that the processes write; the first also the counters and the weights, and alone what is not divided."""
    begin_parts(folder)
    for rank in range(num_processes):
        rows = {}
        for name in ("mean", "short"):
            whole = STATE[name]
            at_most = -(-len(whole) // num_processes)
            first = min(rank * at_most, len(whole))
            rows[name] = OwnRows(whole[first : first + at_most], first)
        if rank == 0:
            rows["step"] = OwnRows(STATE["step"])
        write_part(folder, rank, num_processes, rows)
    counters = TrainerState({"step": 5}, {})
    write_contents(unfinished_folder(folder), {"n_layer": 1}, {"w": torch.ones(2)}, lambda place: None, {}, counters)
    describe_whole(folder)


@pytest.mark.parametrize("num_processes", [1, 2, 3, 9])
def test_parts_are_read_as_a_whole(tmp_path: Path, num_processes: int) -> None:
    """Rows that do not divide evenly, processes without any; every file is in the manifest with its checksum."""
    folder = tmp_path / step_name(5)
    write_all(folder, num_processes)
    assert find_newest_whole(tmp_path) is None, "not before all is declared whole"
    finish_parts(folder, {"step": 5})
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    manifest = read_manifest(folder, "checkpoint")
    assert find_damage(folder, manifest) == []
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert set(manifest.files) == files - {"manifest.json"}
    assert len(find_state_files(folder)) == num_processes
    state = read_trainer_state(folder)
    assert state.counters == {"step": 5}
    assert set(state.tensors) == set(STATE)
    assert len(state.tensors) == len(STATE)
    for name, tensor in STATE.items():
        assert torch.equal(state.tensors[name], tensor), name


def test_torch_reads_the_parts(tmp_path: Path) -> None:
    """Its own reader of distributed checkpoints makes them whole, as it would divide them anew."""
    from torch.distributed.checkpoint import HuggingFaceStorageReader, load

    folder = tmp_path / step_name(5)
    write_all(folder, 3)
    finish_parts(folder, {"step": 5})
    found = {name: torch.zeros_like(tensor) for name, tensor in STATE.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # one process reads
        load(found, storage_reader=HuggingFaceStorageReader(str(folder / "trainer")))
    assert {name: tensor.tolist() for name, tensor in found.items()} == {
        name: tensor.tolist() for name, tensor in STATE.items()
    }


def test_a_damaged_or_missing_part(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The checkpoint before is taken, and that is said."""
    for step in (1, 2, 3):
        write_all(tmp_path / step_name(step), 2)
        finish_parts(tmp_path / step_name(step), {"step": step})
    damaged = find_state_files(tmp_path / step_name(3))[1]
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    find_state_files(tmp_path / step_name(2))[0].unlink()
    assert find_newest_whole(tmp_path) == tmp_path / step_name(1)
    assert f"trainer/{damaged.name}" in caplog.text
    assert "is missing" in caplog.text


def test_saving_the_same_step_again(tmp_path: Path) -> None:
    """By another number of processes: nothing of the parts before is left, finished or not."""
    folder = tmp_path / step_name(5)
    for num_processes in (3, 2):
        write_all(folder, num_processes)  # killed here
        write_all(folder, num_processes)
        finish_parts(folder, {})
    assert len(find_state_files(folder)) == 2
    assert torch.equal(read_trainer_state(folder).tensors["mean"], STATE["mean"])
