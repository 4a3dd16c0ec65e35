"""A file that is written over many hours: killed at any moment, the same work goes on where it stood.

Beside `wiki.jsonl` stand, hidden, `.wiki.jsonl.partial` (what there is so far), `.wiki.jsonl.progress.json` (how far that is)
and at the end `.wiki.jsonl.manifest.json`: what it was made of, and what was left out. Hidden, so that a folder of such files
can be a source. The file itself appears when it is whole.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import IO, Any

from whelp.artifacts.manifest import Manifest, describe_file
from whelp.base.errors import ArtifactError
from whelp.base.files import hold_file, read_json, sync_folder, write_json
from whelp.base.log import log

KIND = "file"
_SAVE_SECONDS = 1.0  # a kill costs so much work


class GrowingFile:
    """Grows by `add`, becomes `path` by `finish`.

    Args:
        request: What the contents depend on, as JSON values: options, and fingerprints of the inputs.
    """

    def __init__(self, path: Path, request: dict[str, Any]) -> None:
        self.path, self._request = path, request
        self._partial, self._progress, self._manifest = (
            path.with_name(f".{path.name}.{end}") for end in ("partial", "progress.json", "manifest.json")
        )
        self._file: IO[bytes] | None = None
        self._held = contextlib.ExitStack()
        self._num_bytes, self._latest = 0, dict[str, Any]()
        self._saved_at = time.monotonic()

    def find_finished(self) -> Manifest | None:
        """The manifest of a whole file that this request made before; None when there is still work.

        Raises:
            ArtifactError: When something else stands there, or a file that was changed since.
        """
        if not self.path.exists():
            return None
        try:
            manifest = Manifest(**read_json(self._manifest))
        except (OSError, ValueError, TypeError):
            saved = self._read_progress()
            if saved is None or saved["counts"] is None:
                raise self._occupied("something stands there that was not made by this command") from None
            return self._declare(saved["counts"])  # killed after the file had got its name
        if manifest.config != self._request:
            changed = [name for name, value in self._request.items() if manifest.config.get(name) != value]
            raise self._occupied(f"it was made from other inputs or options ({', '.join(changed)})")
        if self.path.stat().st_size != manifest.files[self.path.name]["bytes"]:
            raise self._occupied("it was changed since it was made")
        return manifest

    def _occupied(self, found: str) -> ArtifactError:
        return ArtifactError(
            self.path, found, "an empty place", "Choose another --out, or delete the file; nothing was changed."
        )

    def open(self) -> dict[str, Any] | None:
        """Begin, or go on: return the progress given with the last `add` of a run before, None at the beginning.

        Raises:
            ArtifactError: When another process writes this file, or has just finished it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._held.enter_context(hold_file(self.path))
        try:
            if self.path.exists():
                found = "another process has finished it just now"
                raise ArtifactError(self.path, found, "", "The same command says what is in it.")
            return self._open()
        except BaseException:
            self._held.close()
            raise

    def _open(self) -> dict[str, Any] | None:
        saved = self._read_progress()
        size = self._partial.stat().st_size if self._partial.exists() else 0
        if saved is None or saved["num_bytes"] > size:
            if size:
                log.info("%s: an unfinished file of other inputs or options is begun anew", self.path)
            self._progress.unlink(missing_ok=True)
            self._file = open(self._partial, "wb")  # noqa: SIM115 (closed by `close`)
            return None
        self._file = open(self._partial, "r+b")  # noqa: SIM115 (closed by `close`)
        self._num_bytes, self._latest = int(saved["num_bytes"]), dict(saved["progress"])
        self._file.truncate(self._num_bytes)
        self._file.seek(self._num_bytes)
        return self._latest

    def add(self, data: bytes, progress: dict[str, Any]) -> None:
        """Append; `progress` says what the file now holds."""
        assert self._file is not None, "open it first"
        self._file.write(data)
        self._num_bytes, self._latest = self._num_bytes + len(data), progress
        if time.monotonic() - self._saved_at >= _SAVE_SECONDS:
            self._save(None)

    def _save(self, counts: dict[str, Any] | None) -> None:
        assert self._file is not None, "open it first"
        self._file.flush()
        os.fsync(self._file.fileno())
        saved = {"request": self._request, "num_bytes": self._num_bytes, "progress": self._latest, "counts": counts}
        write_json(self._progress, saved)
        self._saved_at = time.monotonic()

    def _read_progress(self) -> dict[str, Any] | None:
        try:
            saved = dict(read_json(self._progress))
            return saved if saved["request"] == self._request and {"num_bytes", "progress", "counts"} <= set(saved) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def finish(self, counts: dict[str, Any]) -> Manifest:
        """Make it whole: give it its name, then write the manifest."""
        assert self._file is not None, "open it first"
        self._save(counts)
        self._file.close()
        os.replace(self._partial, self.path)
        sync_folder(self.path.parent)
        return self._declare(counts)

    def _declare(self, counts: dict[str, Any]) -> Manifest:
        files = {self.path.name: describe_file(self.path)}
        manifest = Manifest(kind=KIND, config=self._request, counts=counts, files=files)
        write_json(self._manifest, vars(manifest))
        self._progress.unlink(missing_ok=True)
        return manifest

    def close(self) -> None:
        """Stop here; what was added is kept for the next run."""
        if self._file is not None and not self._file.closed:
            if self._latest:
                self._save(None)
            self._file.close()
        self._held.close()
