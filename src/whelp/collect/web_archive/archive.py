"""One file of a web archive: whether it can be read, and how it is packed."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from whelp.base.errors import MissingExtraError, SourceError
from whelp.base.warc import Broken, BrokenDataError, Codec, Record, Span, SpanRecords, find_codec, is_packed_by_record
from whelp.collect.web_archive.config import WebArchiveConfig

_LOOKED_AT = 20  # records: an archive begins with one that describes it
_OTHER_PACKINGS = {
    b"BZh": "bzip2 data",
    b"\xfd7zXZ": "xz data",
    b"PK\x03\x04": "zip data",
}
_WAT_NAME = re.compile(r"\.wat(?:\.gz|\.zst)?\Z", re.IGNORECASE)
_TEXTS_NAME = re.compile(r"\.wet(?:\.gz|\.zst)?\Z", re.IGNORECASE)


@dataclass(frozen=True)
class Archive:
    """A file to read, wherever it is.

    Attributes:
        name: What people know it by: a path, an address.
        fetch: Gives the file on this machine; what it raises ends the work.
        num_bytes: How large it is, where that is known before it is fetched.
    """

    name: str
    fetch: Callable[[], Path]
    num_bytes: int | None = None

    @staticmethod
    def of(path: Path) -> Archive:
        """A file on this machine.

        Raises:
            SourceError: When it is not there.
        """
        if not path.is_file():
            found = "is a folder" if path.is_dir() else "there is no such file"
            raise SourceError(path, found, "a .warc.gz or .wet.gz file", "Check the spelling.")
        return Archive(str(path), lambda: path, path.stat().st_size)


@dataclass(frozen=True)
class Layout:
    """How a file is packed. `is_by_record`: spans of it can be read apart."""

    num_bytes: int
    codec: Codec
    is_by_record: bool


def refuse_wat(name: str) -> None:
    """Say of an archive by its name that it holds no text.

    Raises:
        SourceError: When it is called `.wat` or `.wat.gz`.
    """
    if _WAT_NAME.search(name):
        raise _no_text(name)


def check_packages(names: Iterable[str], config: WebArchiveConfig) -> None:
    """Ask for the packages that archives need, by their names: what is not called WET is taken to hold pages.

    Raises:
        MissingExtraError: Naming the first that is missing.
    """
    has_articles = importlib.util.find_spec("trafilatura") is not None
    for name in names:
        if name.lower().endswith(".zst"):
            _need_zstandard(name)
        if config.extract == "article" and not has_articles and not _TEXTS_NAME.search(name):
            raise MissingExtraError("whelp collect web-archive (or give --extract page)", "trafilatura", "collect")


def _need_zstandard(name: str) -> None:
    if importlib.util.find_spec("zstandard") is None:
        raise MissingExtraError(name, "zstandard", "collect")


def look_at(path: Path, name: str) -> Layout:
    """Look at the beginning of a file.

    Raises:
        SourceError: When it is no web archive, or one without text.
        MissingExtraError: When it is packed with zstd, and the package that unpacks it is not there.
    """
    refuse_wat(name)
    with open(path, "rb") as file:
        head = file.read(16)
    if not head:
        raise SourceError(name, "the file is empty", "a web archive", "Get it again.")
    codec, size = find_codec(head), path.stat().st_size
    if codec == "zstd":
        _need_zstandard(name)
    try:
        first = list(islice(SpanRecords(path, codec, Span(0, size, is_exact=True), 0), _LOOKED_AT))
    except BrokenDataError as error:
        raise SourceError(name, error.found, "a whole web archive", "Get it again.") from None
    kinds = [found.kind for found in first if isinstance(found, Record) and found.kind != "warcinfo"]
    if all(isinstance(found, Broken) and found.found.startswith("no record") for found in first):
        raise _no_archive(name, head)
    tells = next((found for found in first if isinstance(found, Record) and found.kind == "metadata"), None)
    if tells is not None and tells.media_type == "application/json" and set(kinds) == {"metadata"}:
        raise _no_text(name)
    is_by_record = codec == "none" or is_packed_by_record(path, codec)
    return Layout(size, codec, is_by_record)


def _no_text(name: str) -> SourceError:
    return SourceError(
        name,
        "is a WAT archive: what is known of pages (headers, links), and no text of theirs",
        "a WET archive (text) or a WARC archive (pages)",
        "At Common Crawl the same pages are in .../wet/NAME.warc.wet.gz and .../warc/NAME.warc.gz.",
    )


def _no_archive(name: str, head: bytes) -> SourceError:
    expected = "a WARC or WET archive: WARC/1.0 at its beginning, packed with gzip or zstd, or not at all"
    if head.startswith(b"filedesc:"):
        found = "is an ARC archive, the format before WARC"
        return SourceError(
            name, found, expected, "`warcio recompress FILE.arc.gz FILE.warc.gz` makes WARC of it (pip install warcio)."
        )
    packing = next((packing for sign, packing in _OTHER_PACKINGS.items() if head.startswith(sign)), None)
    if packing is not None:
        return SourceError(name, f"is {packing}", expected, "Unpack it first.")
    return SourceError(name, "is no web archive: it does not begin with a record", expected, "Name another file.")
