"""`whelp collect folder`: from files of many kinds to JSON lines that grow, and go on after a kill."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from whelp.artifacts.growing_file import GrowingFile
from whelp.base.as_list import as_list
from whelp.base.config import load_config
from whelp.base.counts import say_count
from whelp.base.errors import SourceError
from whelp.base.hashing import hash_json
from whelp.base.last_event import run_to_end
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.given_files import FileProgress
from whelp.cli.screens.draw_events import draw_bytes, watch
from whelp.collect import LeftOut, make_line
from whelp.collect.folder import FolderConfig, iter_items
from whelp.collect.output import check_json_lines

_VERSION = 5  # raised when the same file would give another text
_MAX_NAMED = 100  # skipped files that a result names
_OTHER_SUFFIX = "other suffix"  # left out by who asks: counted, not named


@dataclass(frozen=True, kw_only=True)
class FolderResult(ResultRepr):
    """What `whelp collect folder` made.

    Attributes:
        num_documents: Documents in the file: one of a file, but several of mailboxes and exports of chats.
        num_files: Files by what became of them: by ending those that were read, by reason those that were not, and mails that were not.
        skipped_files: Path and reason of the first hundred files that were left out, but for those of another suffix than asked.
        is_reused: The file was there already, whole, of the same files and options.
    """

    file: str
    num_documents: int
    num_bytes: int
    num_files: dict[str, dict[str, int]]
    skipped_files: list[dict[str, str]]
    is_reused: bool


def collect_folder(
    folder: str | Path,
    *,
    out: str | Path,
    include_suffixes: str | Sequence[str] | None = None,
    licence: str | None = None,
    max_file_bytes: int = 256 << 20,
    max_unpacked_bytes: int = 256 << 20,
    max_document_seconds: float = 300.0,
) -> FolderResult:
    """Turn the files of a folder into documents, one JSON line each: text, code, HTML, DOCX, ODT, EPUB, PDF, notebooks, mail, chats, subtitles.

    Files of a folder come by name, then its folders. What cannot be read is counted by reason. Stopped or killed, the same call goes
    on; a finished file of the same files and options is left as it is.

    Args:
        include_suffixes: Read only files that end like this.
        licence: What the text may be used for; None: what a file says of itself.
        max_file_bytes: A larger file is left out.
        max_unpacked_bytes: A file that unpacks to more is left out.
        max_document_seconds: A document that takes longer is left out, with what stands behind it in its file.

    Raises:
        SourceError: When there is no such folder.
        ArtifactError: When something else stands at `out`.
    """
    values = {
        "include_suffixes": as_list(include_suffixes) if include_suffixes else None,
        "licence": licence,
        "max_file_bytes": max_file_bytes,
        "max_unpacked_bytes": max_unpacked_bytes,
        "max_document_seconds": max_document_seconds,
    }
    config = load_config(FolderConfig, values, "whelp collect folder")
    events = iter_collect_folder(as_path(folder), as_path(out), config)
    return run_to_end(watch(events, draw_bytes("collect", "document")), FolderResult)


def iter_collect_folder(folder: Path, out: Path, config: FolderConfig) -> Iterator[FileProgress | FolderResult]:
    """As `collect_folder`, saying how far it is; the result comes last."""
    files, skipped = _list_files(folder, out, config)
    check_json_lines(out)
    if os.path.realpath(out).startswith(os.path.realpath(folder) + os.sep):
        twice = "name the file as a source (data.source), for in the folder its texts stand twice"
        log.warning("%s lies in the folder that it is made of: %s", out, twice)
    listing = [(label, size, mtime_ns) for _, label, size, mtime_ns in files]
    request = {"made_by": "collect folder", "version": _VERSION, "files": hash_json(listing), **asdict(config)}
    growing = GrowingFile(out, request)
    finished = growing.find_finished()
    if finished is not None:
        yield _describe(out, finished.counts, finished.files[out.name]["bytes"], is_reused=True)
        return
    progress = growing.open() or {
        "num_done": 0,
        "documents": 0,
        "read": {},
        "skipped": Counter(kind for kind, _, _ in skipped),
        "named": [],
    }
    num_done, num_documents = int(progress["num_done"]), int(progress["documents"])
    read, kinds = Counter(progress["read"]), Counter(progress["skipped"])
    unwanted = [(path, reason) for kind, path, reason in skipped if kind != _OTHER_SUFFIX]
    named = progress["named"] or [{"path": path, "reason": reason} for path, reason in unwanted[:_MAX_NAMED]]
    if num_done:
        log.info("%s: going on after %s files", out, f"{num_done:,}")
    total = sum(size for _, _, size, _ in files)
    position = sum(size for _, _, size, _ in files[:num_done])
    try:
        for path, label, size, _ in files[num_done:]:
            lines, left_out, kind = _read(path, label, config)
            if kind is not None:
                read = read + Counter([kind])  # not in place: what was added holds the old one
            if left_out:
                kinds = kinds + Counter(error.kind for error in left_out)
                named = [*named, *({"path": label, "reason": error.reason} for error in left_out)][:_MAX_NAMED]
            num_done, position, num_documents = num_done + 1, position + size, num_documents + len(lines)
            state = {"num_done": num_done, "documents": num_documents, "read": read, "skipped": kinds, "named": named}
            growing.add(b"".join(lines), state)
            yield FileProgress(position, total, num_documents)
        counts = {
            "documents": num_documents,
            "files": {"read": dict(read.most_common()), "skipped": dict(kinds.most_common())},
            "skipped_files": named,
        }
        manifest = growing.finish(counts)
    finally:
        growing.close()
    yield _describe(out, counts, manifest.files[out.name]["bytes"], is_reused=False)


def _read(path: Path, label: str, config: FolderConfig) -> tuple[list[bytes], list[LeftOut], str | None]:
    """The lines of a file's documents, what of it was left out, and what it is counted by; None where it gave no document."""
    lines: list[bytes] = []
    left_out: list[LeftOut] = []
    kind: str | None = None
    try:
        for counted_as, item in iter_items(path, label, config, decode=decode_text):
            if isinstance(item, LeftOut):
                left_out.append(item)
            else:
                lines.append(make_line(item))
                kind = counted_as
    except LeftOut as error:
        behind = f", behind the first {say_count(len(lines), 'document')} of it" if lines else ""
        left_out.append(LeftOut(error.kind, error.reason + behind))
    return lines, left_out, kind


def decode_text(data: bytes) -> str:
    """The text of a file, in whatever encoding a source of text would be read.

    Raises:
        LeftOut: When it is no text.
    """
    from whelp.corpus.encodings import BadFile, inspect_bytes, iter_text
    from whelp.corpus.magic import ANOTHER_FORMAT, PACKED

    try:
        inspection = inspect_bytes(data, "auto")
        return b"".join(iter_text([data], inspection, strip_carriage_returns=True)).decode()
    except BadFile as error:
        advice = (
            f". {error.next_step}" if error.kind == ANOTHER_FORMAT else ". Unpack it there." if error.kind == PACKED else ""
        )
        raise LeftOut(error.kind, error.reason + advice) from None


def _list_files(
    folder: Path, out: Path, config: FolderConfig
) -> tuple[list[tuple[Path, str, int, int]], list[tuple[str, str, str]]]:
    """Files as (path, label, size, time), in order, and what is left out as (kind, label, reason)."""
    from whelp.corpus.find_files import SkippedFile, look_at, walk_folder

    if not folder.is_dir():
        found = "is a file" if folder.exists() else "there is no such folder"
        raise SourceError(folder, found, "a folder", "Give the folder that holds the files.")
    paths, left_out = walk_folder(folder, config.include_suffixes)
    skipped = [(file.kind, _label(Path(file.path), folder), file.reason) for file in left_out]
    files: list[tuple[Path, str, int, int]] = []
    root = os.path.realpath(folder)
    ours = os.path.realpath(out)
    for path in paths:
        label, real = _label(path, folder), os.path.realpath(path)
        status = look_at(path)
        if real == ours:
            continue
        if not real.startswith(root + os.sep):
            skipped.append(("path outside", label, f"a link out of the folder, to {real}"))
        elif isinstance(status, SkippedFile):
            skipped.append((status.kind, label, status.reason))
        else:
            files.append((path, label, status.st_size, status.st_mtime_ns))
    return files, skipped


def _label(path: Path, folder: Path) -> str:
    return os.path.relpath(path, folder).replace(os.sep, "/")


def _describe(out: Path, counts: dict[str, Any], num_bytes: int, *, is_reused: bool) -> FolderResult:
    return FolderResult(
        file=str(out),
        num_documents=counts["documents"],
        num_bytes=num_bytes,
        num_files=counts["files"],
        skipped_files=counts["skipped_files"],
        is_reused=is_reused,
    )
