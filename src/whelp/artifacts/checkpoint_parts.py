"""Optimizer state in parts: each process of a divided model writes the rows it has; any number of processes read them.

    trainer/optimizer-00001-of-00004.safetensors    rows of every tensor; its header says where they belong
    trainer/.part-00001.json                        size and checksum, until the manifest has them

The header is that of the safetensors of `torch.distributed.checkpoint`, whose `HuggingFaceStorageReader` reads them, too; its other
formats keep their list of contents as a pickle.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.manifest import Manifest, describe_file, describe_files, write_manifest
from whelp.base.files import read_json, replace_folder, sync_file, sync_folder, write_json

if TYPE_CHECKING:
    import torch

_HEADER, _OFFSETS = "DCP_SHARDING_INFO", "saved_offsets"  # as torch writes them


@dataclass(frozen=True)
class OwnRows:
    """The rows of a tensor that a process has; the first of them is number `first_row` of the whole."""

    tensor: torch.Tensor
    first_row: int = 0


class SavedTensors(Mapping[str, "torch.Tensor"]):
    """Tensors of safetensors files, whole or in parts, read one at a time when they are asked for."""

    def __init__(self, paths: list[Path]) -> None:
        from safetensors import safe_open

        self._pieces: dict[str, list[tuple[int, Any]]] = {}
        for path in paths:
            file = safe_open(path, framework="pt")
            places = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
            for name in file.keys():  # noqa: SIM118 - it is no mapping
                first_row = places[name][_OFFSETS][0] if name in places else 0
                self._pieces.setdefault(name, []).append((first_row, file))
        for pieces in self._pieces.values():
            pieces.sort(key=lambda piece: piece[0])

    def __getitem__(self, name: str) -> torch.Tensor:
        import torch

        tensors = [file.get_tensor(name) for _, file in self._pieces[name]]
        return tensors[0] if len(tensors) == 1 else torch.cat(tensors)

    def __iter__(self) -> Iterator[str]:
        return iter(self._pieces)

    def __len__(self) -> int:
        return len(self._pieces)


def find_state_files(checkpoint: Path) -> list[Path]:
    """The files of optimizer state in a checkpoint: one, or one of each process that wrote it."""
    return sorted((checkpoint / "trainer").glob("optimizer*.safetensors"))


def write_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write safetensors; what the system refused is an `OSError` again, not the library's own."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        code = int(number[1])
        raise OSError(code, os.strerror(code), str(path)) from error


def begin_parts(folder: Path) -> None:
    """Make an empty place for a checkpoint that becomes `folder`; one process does this before any writes."""
    place = unfinished_folder(folder)
    shutil.rmtree(place, ignore_errors=True)
    (place / "trainer").mkdir(parents=True)


def unfinished_folder(folder: Path) -> Path:
    """Where a checkpoint that becomes `folder` is written."""
    return folder.with_name(f".{folder.name}.tmp")


def write_part(folder: Path, rank: int, num_processes: int, rows: Mapping[str, OwnRows]) -> None:
    """Write what one process has, synced, with its size and checksum; rows that are none are left out."""
    trainer = unfinished_folder(folder) / "trainer"
    path = trainer / f"optimizer-{rank + 1:05d}-of-{num_processes:05d}.safetensors"
    kept = {name: own for name, own in rows.items() if own.tensor.numel()}
    offsets = {name: [own.first_row, *[0] * (own.tensor.dim() - 1)] for name, own in kept.items()}
    header = json.dumps({name: {_OFFSETS: offset} for name, offset in offsets.items()})
    write_tensors(path, {name: own.tensor for name, own in kept.items()}, {"format": "pt", _HEADER: header})
    sync_file(path)
    write_json(trainer / f".part-{rank + 1:05d}.json", {f"trainer/{path.name}": describe_file(path)})


def describe_whole(folder: Path) -> None:
    """Sync, and note size and checksum of, what the first process wrote besides its part."""
    place = unfinished_folder(folder)
    names = [path.relative_to(place).as_posix() for path in sorted(place.rglob("*")) if path.is_file()]
    names = [name for name in names if not name.startswith(("trainer/optimizer-", "trainer/.part-"))]
    for name in names:
        sync_file(place / name)
    write_json(place / "trainer" / ".part-whole.json", describe_files(place, names))


def finish_parts(folder: Path, counts: Mapping[str, Any]) -> None:
    """Declare a checkpoint whole, once every process has written its part; one process does this."""
    place = unfinished_folder(folder)
    notes = sorted((place / "trainer").glob(".part-*.json"))
    files = {name: entry for path in notes for name, entry in read_json(path).items()}
    for path in notes:
        path.unlink()
    write_manifest(place, Manifest(kind="checkpoint", counts=dict(counts), files=dict(sorted(files.items()))))
    sync_folder(place / "trainer")
    sync_folder(place)
    replace_folder(folder, place)
