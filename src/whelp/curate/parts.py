"""A partition after the rules, on disk: the unit of work and of resuming.

    PLACE.kept.arrow  PLACE.dropped.arrow  PLACE.signatures  PLACE.json

A part is finished when its JSON file is there: that is written last, and says what is in the others.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.base.files import read_json, sync_file, write_atomic
from whelp.curate.pipeline import CuratedPart
from whelp.curate.signatures import Signatures

_COUNTS = ("documents_in", "bytes_in", "bytes_kept", "changes", "notes", "sizes_in", "sizes_kept")
_ROWS = ("kept", "dropped")
_SIGNATURES = tuple(Signatures.__dataclass_fields__)


@dataclass(frozen=True, kw_only=True)
class Part:
    """A finished part. `num_kept` and `num_dropped` are rows; the other counts are those of `CuratedPart`."""

    place: Path
    num_kept: int
    num_dropped: int
    num_minhash: int
    num_paragraphs: int
    files: dict[str, int]  # name -> bytes
    signatures: dict[str, tuple[str, list[int], int]]  # name -> type, shape, and where in the file
    documents_in: int
    bytes_in: int
    bytes_kept: int
    changes: dict[str, int]
    notes: dict[str, int]
    sizes_in: list[int]
    sizes_kept: list[int]

    def read_rows(self, name: str) -> pa.RecordBatch:
        """The `kept` or the `dropped` rows."""
        with pa.OSFile(str(_path(self.place, f"{name}.arrow"))) as file, pa.ipc.open_file(file) as reader:
            return reader.get_batch(0)

    def read_schema(self) -> pa.Schema:
        """The columns of the kept rows."""
        with pa.OSFile(str(_path(self.place, "kept.arrow"))) as file, pa.ipc.open_file(file) as reader:
            return reader.schema

    def read_signature(self, name: str) -> npt.NDArray[Any]:
        """A field of `Signatures`, mapped into memory."""
        dtype, shape, offset = self.signatures[name]
        if 0 in shape:
            return np.zeros(shape, dtype)
        return np.memmap(_path(self.place, "signatures"), dtype, "r", offset, tuple(shape))


def write_part(part: CuratedPart, place: Path) -> Part:
    """Write a part, synced to disk."""
    written: list[Path] = []
    for name in _ROWS:
        batch: pa.RecordBatch = getattr(part, name)
        path = _path(place, f"{name}.arrow")
        options = pa.ipc.IpcWriteOptions(compression="lz4")
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batch.schema, options=options) as writer:
            writer.write_batch(batch)
        written.append(path)
    written.append(_path(place, "signatures"))
    signatures: dict[str, tuple[str, list[int], int]] = {}
    with open(written[-1], "wb") as raw:
        for name in _SIGNATURES:
            array = np.ascontiguousarray(getattr(part.signatures, name))
            raw.write(b"\0" * (-raw.tell() % 8))
            signatures[name] = (array.dtype.str, list(array.shape), raw.tell())
            array.tofile(raw)
    for path in written:
        sync_file(path)
    counts = {name: getattr(part, name) for name in _COUNTS} | {
        "num_kept": part.kept.num_rows,
        "num_dropped": part.dropped.num_rows,
        "num_minhash": len(part.signatures.minhash),
        "num_paragraphs": len(part.signatures.paragraphs),
        "signatures": signatures,
        "files": {path.name: path.stat().st_size for path in written},
    }
    write_atomic(_path(place, "json"), json.dumps(counts))
    return Part(place=place, **counts)


def read_part(place: Path) -> Part | None:
    """The finished part at a place, or None."""
    path = _path(place, "json")
    if not path.is_file():
        return None
    part = Part(place=place, **read_json(path))
    found = {name: place.with_name(name) for name in part.files}
    is_whole = all(file.is_file() and file.stat().st_size == part.files[name] for name, file in found.items())
    return part if is_whole else None


def _path(place: Path, ending: str) -> Path:
    return place.with_name(f"{place.name}.{ending}")
