"""`whelp split`: one large file of text, or of JSON lines, becomes several."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, cast

from whelp.artifacts.manifest import Manifest, describe_files, find_kind, read_manifest, write_manifest
from whelp.artifacts.output_place import is_free, refuse_place
from whelp.base.errors import ArtifactError, ConfigError, PlanError, SourceError
from whelp.base.files import atomic_folder, hold_folder
from whelp.base.last_event import run_to_end
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.given_files import FileProgress, describe_given
from whelp.cli.screens.draw_events import draw_bytes, watch

if TYPE_CHECKING:
    from whelp.corpus.split_file import Border

KIND = "split"
_VERSION = 1
DEFAULT_MAX_BYTES = 2_500_000_000


@dataclass(frozen=True, kw_only=True)
class SplitResult(ResultRepr):
    """What `whelp split` made.

    Attributes:
        files: The parts, in order: laid end to end they are the file, to the byte.
        num_documents: Documents of each part: lines, or what stands between blank lines.
        is_reused: The folder was there already, of the same file and options.
    """

    folder: str
    files: list[str]
    num_documents: list[int]
    num_bytes: list[int]
    is_reused: bool


def split(
    file: str | Path,
    *,
    out: str | Path,
    max_bytes: int | None = None,
    parts: int | None = None,
    document: str = "auto",
) -> SplitResult:
    """Cut a file into parts between its documents; laid end to end, the parts are the file.

    The folder appears when all parts are whole. A finished one of the same file and options is left as it is.

    Args:
        file: Text or JSON lines; may be packed (.gz, .bz2, .xz, .zst), the parts are not.
        out: A folder for the parts, named after the file: `wiki-00001.jsonl`, ...
        max_bytes: No part is larger; by default 2.5 GB.
        parts: Or so many parts of about one size.
        document: Where a file may be cut: `line`, `blank_line`, or `auto`: lines of .jsonl, blank lines of text.

    Raises:
        SourceError: When the file cannot be cut at lines: rows of other formats, UTF-16.
        PlanError: When a document is larger than `max_bytes`, or there are fewer documents than parts.
        ArtifactError: When something else stands at `out`.
    """
    events = iter_split(as_path(file), as_path(out), max_bytes=max_bytes, parts=parts, document=document)
    return run_to_end(watch(events, draw_bytes("split")), SplitResult)


def iter_split(
    file: Path, out: Path, *, max_bytes: int | None, parts: int | None, document: str
) -> Iterator[FileProgress | SplitResult]:
    """As `split`, saying how far it is; the result comes last."""
    from whelp.corpus.append_files import LINES, OTHER_ROWS, say_how_to_lines
    from whelp.corpus.compressed import split_name

    if max_bytes is not None and parts is not None:
        raise ConfigError("whelp split", ["--max-bytes and --parts are both given"], "Keep one of them.")
    if document not in ("auto", "line", "blank_line"):
        raise ConfigError("--document", [f"{document!r} is no place to cut"], "Choose auto, line or blank_line.")
    if parts is not None and parts < 1:
        raise ConfigError("--parts", [f"it is {parts}"], "A file has at least one part.")
    if not file.is_file():
        found = "is a folder" if file.is_dir() else "there is no such file"
        raise SourceError(file, found, "one file of text or of JSON lines", "`whelp append` makes one of many.")
    suffix = split_name(file)[0]
    if suffix in OTHER_ROWS:
        raise SourceError(file, "holds rows that cannot be cut at lines", "text or JSON lines", say_how_to_lines(suffix))
    most = max_bytes if max_bytes is not None or parts is not None else DEFAULT_MAX_BYTES
    border = cast("Border", document if document != "auto" else "line" if suffix in LINES else "blank_line")
    request = {
        "made_by": "split",
        "version": _VERSION,
        "file": describe_given([file]),
        "max_bytes": most,
        "parts": parts,
        "document": border,
    }
    with hold_folder(out):
        if (finished := _find_finished(out, request)) is not None:
            yield _describe(out, finished, is_reused=True)
            return
        yield from _iter_split(file, out, request, suffix, border)


def _iter_split(
    file: Path, out: Path, request: dict[str, Any], suffix: str, border: Border
) -> Iterator[FileProgress | SplitResult]:
    most, parts = request["max_bytes"], request["parts"]
    with atomic_folder(out) as folder:
        counts: list[int] = []
        for number, num_documents, progress in _write_parts(file, folder, suffix, border, most, parts):
            counts += [0] * (number + 1 - len(counts))
            counts[number] += num_documents
            yield progress
        names = sorted(path.name for path in folder.iterdir())
        if parts is not None and len(names) != parts:
            found = f"can be cut between documents into {len(names)} only"
            raise PlanError(file, found, f"{parts} parts of about one size", "Ask for fewer, or for --max-bytes.")
        manifest = Manifest(kind=KIND, config=request, counts={"documents": counts}, files=describe_files(folder, names))
        write_manifest(folder, manifest)
    yield _describe(out, manifest, is_reused=False)


def _write_parts(
    file: Path, folder: Path, suffix: str, border: Border, most: int | None, parts: int | None
) -> Iterator[tuple[int, int, FileProgress]]:
    from whelp.corpus.compressed import split_name
    from whelp.corpus.split_file import DocumentTooLarge, iter_slices

    stem = file.name.lower().removesuffix(file.suffix.lower()) if split_name(file)[1] else file.name
    stem = file.name[: len(stem)].removesuffix(suffix)
    size = sum(map(len, _iter_blocks(file))) if split_name(file)[1] and parts else file.stat().st_size
    ends = [size * number // parts for number in range(1, parts)] if parts else []
    handle: IO[bytes] | None = None
    current, position = -1, 0
    try:
        for piece in iter_slices(_iter_blocks(file), border, max_bytes=most, ends=ends):
            if piece.part != current:
                if handle is not None:
                    handle.close()
                current = piece.part
                handle = open(folder / f"{stem}-{current + 1:05}{suffix}", "xb")  # noqa: SIM115 (closed below)
            assert handle is not None, "a part is open"
            handle.write(piece.data)
            position += len(piece.data)
            yield current, piece.num_borders, FileProgress(position, max(size, position), piece.num_borders)
    except DocumentTooLarge as error:
        found = f"a document at byte {error.position:,} has {error.num_bytes:,} bytes or more"
        hint = "Give a larger --max-bytes" + (", or --document line." if border == "blank_line" else ".")
        raise PlanError(file, found, f"at most {most:,} bytes (--max-bytes)", hint) from None
    finally:
        if handle is not None:
            handle.close()


def _iter_blocks(file: Path) -> Iterator[bytes]:
    from whelp.corpus.append_files import LINES, check_lines, describe
    from whelp.corpus.compressed import split_name
    from whelp.corpus.encodings import BadFile
    from whelp.corpus.open_file import BLOCK_BYTES, iter_blocks

    try:
        for number, block in enumerate(iter_blocks(describe(file, file.name, ""), BLOCK_BYTES)):
            if number == 0 and b"\0" in block[:64]:
                raise SourceError(file, "holds NUL bytes: UTF-16 or no text", "UTF-8 text", "Write it as UTF-8 first.")
            if number == 0 and split_name(file)[0] in LINES:
                check_lines(file, block)
            yield block
    except BadFile as error:
        raise SourceError(file, error.reason, "", error.next_step) from None


def _find_finished(out: Path, request: dict[str, Any]) -> Manifest | None:
    if is_free(out):
        return None
    if find_kind(out) != KIND:
        raise refuse_place(out, "the parts of `whelp split`")
    manifest = read_manifest(out, KIND)
    if manifest.config != request:
        changed = ", ".join(name for name, value in request.items() if manifest.config.get(name) != value)
        found = f"holds the parts of another file or of other options ({changed})"
        raise ArtifactError(out, found, "an empty place", "Choose another --out, or delete it; nothing was changed.")
    return manifest


def _describe(out: Path, manifest: Manifest, *, is_reused: bool) -> SplitResult:
    names = sorted(manifest.files)
    return SplitResult(
        folder=str(out),
        files=[str(out / name) for name in names],
        num_documents=manifest.counts["documents"],
        num_bytes=[manifest.files[name]["bytes"] for name in names],
        is_reused=is_reused,
    )
