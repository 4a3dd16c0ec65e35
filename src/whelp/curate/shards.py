"""Files of rows, of about the same size, that any recipe can name as its source: JSON lines or Parquet."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from whelp.artifacts.json_lines import make_json_lines

_TEMPORARY = ".tmp"


class ShardWriter:
    """Writes rows to FOLDER/00000.jsonl, 00001.jsonl, ...; a file has its name once it is whole and synced."""

    def __init__(self, folder: Path, format: str, shard_bytes: int) -> None:
        self.names: list[str] = []
        self.num_rows = 0
        self.folder, self._format, self._shard_bytes = folder, format, shard_bytes
        self._file: BinaryIO | None = None
        self._parquet: Any = None
        self._num_bytes = 0

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._finish()
        elif self._file is not None:
            self._file.close()

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows; all batches have one schema."""
        if not batch.num_rows:
            return
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self.names.append(f"{len(self.names):05d}.{self._format}")
            self._file = open(self.folder / (self.names[-1] + _TEMPORARY), "wb")  # noqa: SIM115 (closed by _finish)
            if self._format == "parquet":
                self._parquet = pq.ParquetWriter(self._file, batch.schema, compression="zstd")
        if self._format == "parquet":
            self._parquet.write_batch(batch)
            self._num_bytes += batch.nbytes
        else:
            self._num_bytes += self._file.write(make_json_lines(batch))
        self.num_rows += batch.num_rows
        if self._num_bytes >= self._shard_bytes:
            self._finish()

    def _finish(self) -> None:
        if self._file is None:
            return
        if self._parquet is not None:
            self._parquet.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        os.replace(self.folder / (self.names[-1] + _TEMPORARY), self.folder / self.names[-1])
        self._file = self._parquet = None
        self._num_bytes = 0
