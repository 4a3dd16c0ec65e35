"""One file to one document, by the ending of its name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from whelp.base.utf8 import is_mostly_utf8
from whelp.collect.charsets import find_named
from whelp.collect.document import Document
from whelp.collect.folder.config import FolderConfig
from whelp.collect.folder.epub import read_epub
from whelp.collect.folder.html_text import read_html
from whelp.collect.folder.notebook import read_notebook
from whelp.collect.folder.office import read_docx
from whelp.collect.folder.pdf import read_pdf
from whelp.collect.left_out import LeftOut

SOURCE = "folder"
_ROWS = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".feather")
_HTML = (".html", ".htm", ".xhtml")

Decode = Callable[[bytes], str]


def read_file(path: Path, label: str, config: FolderConfig, *, decode: Decode) -> Document:
    """Read a file as a document.

    Args:
        label: Its path below the folder, with `/`: what the document says of where it is from.
        decode: Turns the bytes of a text into it, finding out the encoding; raises `LeftOut` for what is no text.

    Raises:
        LeftOut: When it gives no text, with the reason.
    """
    suffix = path.suffix.lower()
    if suffix in _ROWS:
        raise LeftOut("rows", "a file of rows, which is a source of its own: data.source, or `whelp convert`")
    try:
        status = path.stat()
        if status.st_size > config.max_file_bytes:
            raise LeftOut("too large", f"larger than {config.max_file_bytes:,} bytes")
        data = path.read_bytes()
    except OSError as error:
        raise LeftOut("unreadable", f"cannot be read ({(error.strerror or type(error).__name__).lower()})") from None
    title, language, licence, author = path.stem, None, None, None
    if suffix in _HTML:
        page = read_html(_decode_html(data, decode))
        text, title, language = page.text, page.title or title, page.language
    elif suffix == ".docx":
        text = read_docx(data, config.max_unpacked_bytes)
    elif suffix == ".epub":
        book = read_epub(data, config.max_unpacked_bytes, lambda chapter: _decode_html(chapter, decode))
        text, title, author = book.text, book.said.get("title", title), book.said.get("creator")
        language, licence = book.said.get("language"), book.said.get("rights")
    elif suffix == ".ipynb":
        text = read_notebook(decode(data))
    elif suffix == ".pdf":
        text = read_pdf(data, config.max_unpacked_bytes)
    else:
        text = decode(data)
    if not text.strip():
        raise LeftOut("no text", "it holds no text")
    time = datetime.fromtimestamp(int(status.st_mtime), UTC)
    return Document(
        text=text.strip("\n"),
        source=SOURCE,
        title=title,
        url=label,
        language=language,
        licence=config.licence or licence,
        author=author,
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _decode_html(data: bytes, decode: Decode) -> str:
    """By the byte order mark, or what the page says, where that is true; else as any text."""
    codec = find_named(data)
    if codec is not None and not is_mostly_utf8([data]):
        with contextlib.suppress(UnicodeError):
            return data.decode(codec)
    return decode(data)
