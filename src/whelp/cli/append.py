"""`whelp append`: many files of text, or of JSON lines, become one."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whelp.artifacts.growing_file import GrowingFile
from whelp.base.errors import ConfigError, SourceError
from whelp.base.last_event import run_to_end
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.given_files import FileProgress, describe_given, list_given
from whelp.cli.screens.draw_events import draw_bytes, watch

_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class AppendResult(ResultRepr):
    """What `whelp append` made.

    Attributes:
        files: The files in it, in that order.
        num_lines: Lines of `file`, with those that stand between two files.
        is_reused: The file was there already, whole, of the same files and options.
    """

    file: str
    files: list[str]
    num_lines: int
    num_bytes: int
    is_reused: bool


def append(
    files: str | Path | Sequence[str | Path], *, out: str | Path, separator: str = "\n", max_bytes: int | None = None
) -> AppendResult:
    """Lay files of text, or of JSON lines, end to end in one file: nothing lost, the borders of documents kept.

    Stopped or killed, the same call goes on; a finished file of the same files and options is left as it is.

    Args:
        files: Files in this order, or folders and globs, whose files are taken in the order of their names.
        separator: Text: what stands between two files; by default a blank line. JSON lines need none.
        max_bytes: Refuse to make a larger file.

    Raises:
        SourceError: When a file is no text, or files are of several kinds.
        ConfigError: When the file would be larger than `max_bytes`.
        ArtifactError: When something else stands at `out`.
    """
    events = iter_append(files, as_path(out), separator=separator, max_bytes=max_bytes)
    return run_to_end(watch(events, draw_bytes("append", "line")), AppendResult)


def iter_append(
    files: str | Path | Sequence[str | Path], out: Path, *, separator: str, max_bytes: int | None
) -> Iterator[FileProgress | AppendResult]:
    """As `append`, saying how far it is; the result comes last."""
    from whelp.corpus.append_files import LINES, Piece, describe, find_kind, iter_appended
    from whelp.corpus.compressed import split_name

    paths = list_given(files, out)
    given = describe_given(paths)
    sources = [describe(path, str(path), split_name(path)[0]) for path in paths]
    kind = find_kind(sources)
    if (kind == "lines") != (out.suffix.lower() in LINES):
        expected = "a name that ends in .jsonl" if kind == "lines" else "a name that does not end in .jsonl"
        raise SourceError(out, f"would hold {'JSON lines' if kind == 'lines' else 'text'}", expected, "Choose another --out.")
    between = separator.encode() if kind == "text" else b""
    request = {"made_by": "append", "version": _VERSION, "files": given, "separator": between.decode()}
    growing = GrowingFile(out, request)
    finished = growing.find_finished()
    if finished is not None:
        yield _describe(out, paths, finished.counts, finished.files[out.name]["bytes"], is_reused=True)
        return
    total = sum(source.num_bytes for source in sources)
    if max_bytes is not None and total > max_bytes:
        found = f"the files have {total:,} bytes, more than {max_bytes:,}"
        raise ConfigError("--max-bytes", [found], "Append fewer, or `whelp split` the result.")
    progress = growing.open() or {"done": 0, "bytes": 0, "lines": 0}
    num_done, lines = int(progress["done"]), int(progress["lines"])
    position = sum(source.num_bytes for source in sources[:num_done])
    skip = int(progress["bytes"])  # of the file that was being appended
    try:
        for index, source in enumerate(sources[num_done:], num_done):
            written = 0
            for piece in itertools.chain([Piece(between)] if index else [], iter_appended(source, kind)):
                written += len(piece.data)
                if piece.is_end:
                    lines += piece.num_lines + (between.count(b"\n") if index else 0)
                    growing.add(b"", {"done": index + 1, "bytes": 0, "lines": lines})
                elif written > skip:
                    data = piece.data[max(0, len(piece.data) - (written - skip)) :]
                    growing.add(data, {"done": index, "bytes": written, "lines": lines})
                    yield FileProgress(position + written, total, lines)
            skip, position = 0, position + source.num_bytes
        manifest = growing.finish({"files": len(paths), "lines": lines})
    finally:
        growing.close()
    yield _describe(out, paths, manifest.counts, manifest.files[out.name]["bytes"], is_reused=False)


def _describe(out: Path, paths: list[Path], counts: dict[str, Any], num_bytes: int, *, is_reused: bool) -> AppendResult:
    return AppendResult(
        file=str(out),
        files=[str(path.absolute()) for path in paths],
        num_lines=counts["lines"],
        num_bytes=num_bytes,
        is_reused=is_reused,
    )
