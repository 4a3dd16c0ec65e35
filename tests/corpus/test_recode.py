"""Files of rows in other encodings than UTF-8."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from whelp.base.errors import SourceError

from .test_rows_files import FORMATS, NASTY
from .test_source import make, read_rows, write

NAMES = ["a.jsonl", "a.ndjson", "a.json", "lines.json", "a.csv", "a.tsv"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-16-be", "utf-32"])
def test_a_mark_says_it(tmp_path: Path, name: str, codec: str) -> None:
    """With a byte order mark, the rows are those of the UTF-8 file; packed, too."""
    mark = "\ufeff" if codec == "utf-16-be" else ""
    content = (mark + FORMATS[name](NASTY).decode()).encode(codec)
    write(tmp_path, {name: content, f"{name}.gz": gzip.compress(content)})
    for found in (name, f"{name}.gz"):
        for block_bytes in (7, 1 << 20):
            rows = read_rows(make(tmp_path / found), block_bytes=block_bytes)
            assert rows == [(found, text, number) for number, text in enumerate(NASTY, 1)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("codec", ["utf-16-le", "utf-16-be"])
def test_without_a_mark(tmp_path: Path, name: str, codec: str) -> None:
    """It is named for what it looks like."""
    write(tmp_path, {name: FORMATS[name](["text"]).decode().encode(codec)})
    with pytest.raises(SourceError, match=rf"{name}: looks like UTF-16 text without a byte order mark.*Write it as UTF-8"):
        make(tmp_path / name)


@pytest.mark.parametrize("name", NAMES)
def test_a_mark_that_lies(tmp_path: Path, name: str) -> None:
    """Half a character after a mark of UTF-16 is an error with the encoding and the place."""
    write(tmp_path, {name: b"\xff\xfe" + FORMATS[name](["text"]).decode().encode("utf-16-le") + b"\x00\xd8"})
    with pytest.raises(SourceError, match=r"not utf-16-le text, though its byte order mark says so \(at or after byte"):
        read_rows(make(tmp_path / name))
