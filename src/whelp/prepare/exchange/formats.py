"""The formats by name, each with how its files are opened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from whelp.base.errors import ArtifactError
from whelp.prepare.exchange.documents import Documents
from whelp.prepare.exchange.flat import read_llmc, read_nanogpt
from whelp.prepare.exchange.megatron import name_pair, read_megatron
from whelp.prepare.exchange.parquet import Rows, open_parquet

Format = Literal["megatron", "nanogpt", "llmc", "parquet"]
FORMATS: tuple[str, ...] = get_args(Format)


@dataclass(frozen=True, kw_only=True)
class TokenFile:
    """A file of token ids: its name, the files it consists of, bytes of ids, whether it has a loss mask, its documents."""

    label: str
    paths: tuple[Path, ...]
    num_bytes: int
    has_mask: bool
    read: Callable[[], Iterator[Documents]]


def label_path(path: Path) -> str:
    """A path as text: file names may be any bytes; what goes into JSON may not."""
    return str(path).encode("utf-8", "backslashreplace").decode()


def open_token_file(path: Path, format: str, *, end_id: int | None, column: str, rows: Rows) -> TokenFile:
    """Open a file of one of `FORMATS`.

    Args:
        end_id: Where documents are cut, in formats that do not say it.
        column: Parquet: the column of ids.
        rows: Parquet: whether a row is a document.

    Raises:
        ArtifactError: When there is no such file, or it is not of this format.
    """
    paths = name_pair(path) if format == "megatron" else (path,)
    missing = next((needed for needed in paths if not needed.is_file()), None)
    if missing is not None:
        found = "is a folder" if missing.is_dir() else "there is no such file"
        expected = f"{paths[0].name} and {paths[1].name} beside each other" if len(paths) > 1 else "a file of token ids"
        raise ArtifactError(missing, found, expected, "Check the spelling." if len(paths) > 1 else "Give its files.")
    if format == "parquet":
        opened = open_parquet(path, column)
        return TokenFile(
            label=label_path(path),
            paths=paths,
            num_bytes=opened.num_bytes,
            has_mask=opened.has_mask,
            read=lambda: opened.read(rows, end_id),
        )
    readers: dict[str, Callable[[], Iterator[Documents]]] = {
        "megatron": lambda: read_megatron(path),
        "nanogpt": lambda: read_nanogpt(path, end_id),
        "llmc": lambda: read_llmc(path, end_id),
    }
    num_bytes = paths[0].stat().st_size
    return TokenFile(label=label_path(path), paths=paths, num_bytes=num_bytes, has_mask=False, read=readers[format])
