"""One file to its documents, by the ending of its name."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from whelp.base.charsets import find_named
from whelp.base.errors import say_os_reason
from whelp.base.html_text import read_html
from whelp.base.limited_process import Limits, OverLimitError, iterate_within
from whelp.base.utf8 import is_mostly_utf8
from whelp.collect.document import ConversationDocument, Document
from whelp.collect.folder.chat import Chat, read_whatsapp
from whelp.collect.folder.chat_exports import read_chat_export
from whelp.collect.folder.clippings import read_clippings
from whelp.collect.folder.config import FolderConfig
from whelp.collect.folder.epub import read_epub
from whelp.collect.folder.mail import begins_mailbox, iter_mailbox, read_mail
from whelp.collect.folder.notebook import read_notebook
from whelp.collect.folder.office import read_docx, read_odt
from whelp.collect.folder.pdf import read_pdf
from whelp.collect.folder.subtitles import read_subtitles
from whelp.collect.left_out import LeftOut

SOURCE = "folder"
PACKED = (".docx", ".odt", ".epub", ".pdf")  # what is no text until it is read here
MARKED_UP = (
    ".mbox",
    ".eml",
    ".mht",
    ".mhtml",
    ".srt",
    ".vtt",
    ".html",
    ".htm",
    ".xhtml",
    ".ipynb",
)  # text, with much that nobody wrote
_ROWS = (
    *(".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".feather"),
    *(".xlsx", ".xlsm", ".xlsb", ".xls", ".ods"),
)
_HTML = (".html", ".htm", ".xhtml")
_MAILS = (".eml", ".mht", ".mhtml")  # pages that browsers keep are mails inside
_BEGINS_PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(?:<\?xml[^<>]*\?>\s*)?(?:<!--[^<>]*-->\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE
)

Decode = Callable[[bytes], str]


@dataclass(frozen=True)
class FileRead:
    """What a file gave: `kind` to count it by, and its documents, with what of it gave none and why."""

    kind: str
    items: Iterable[Document | LeftOut]


def iter_items(path: Path, label: str, config: FolderConfig, *, decode: Decode) -> Iterator[tuple[str, Document | LeftOut]]:
    """Read a file in another process, and not for longer than allowed: what it is counted by, with each of its documents.

    Args:
        decode: As of `read_file`; a function of a module.

    Raises:
        LeftOut: When it gives no text, or no more, with the reason.
    """
    try:
        yield from iterate_within(Limits(config.max_document_seconds), _read_items, path, label, config, decode)
    except OverLimitError as error:
        if error.limit == "time":
            raise LeftOut("takes too long", f"takes more than {config.max_document_seconds:g} seconds to read") from None
        raise LeftOut("breaks its reader", "what reads it broke down, for want of memory perhaps") from None


def _read_items(path: Path, label: str, config: FolderConfig, decode: Decode) -> Iterator[tuple[str, Document | LeftOut]]:
    found = read_file(path, label, config, decode=decode)
    return ((found.kind, item) for item in found.items)


def read_file(path: Path, label: str, config: FolderConfig, *, decode: Decode) -> FileRead:
    """Read a file as documents: one, but for mailboxes and exports of several chats.

    Args:
        label: Its path below the folder, with `/`: what the documents say of where they are from.
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
        raise LeftOut("unreadable", f"cannot be read ({say_os_reason(error)})") from None
    time = datetime.fromtimestamp(int(status.st_mtime), UTC)
    plain = Document(
        text="",
        source=SOURCE,
        title=path.stem,
        url=label,
        licence=config.licence,
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ"),
    )

    def make(text: str) -> Document:
        if not text.strip():
            raise LeftOut("no text", "it holds no text")
        return replace(plain, text=text.strip("\n"))

    kind = suffix or "no ending"
    is_known = suffix in (*PACKED, *MARKED_UP)
    is_mailbox = suffix == ".mbox" or (not suffix and begins_mailbox(data))  # as Thunderbird keeps its folders
    if is_mailbox:
        return FileRead(kind, iter_mailbox(data, make))
    if suffix in _MAILS:
        return FileRead(kind, [read_mail(data, make)])
    if suffix in _HTML or (not is_known and _BEGINS_PAGE.match(data)):
        page = read_html(_decode_html(data, decode))
        return FileRead(kind, [replace(make(page.text), title=page.title or plain.title, language=page.language)])
    if suffix == ".epub":
        book = read_epub(data, config.max_unpacked_bytes, lambda chapter: _decode_html(chapter, decode))
        document = replace(
            make(book.text),
            title=book.said.get("title", plain.title),
            language=book.said.get("language"),
            licence=config.licence or book.said.get("rights"),
            author=book.said.get("creator"),
        )
        return FileRead(kind, [document])
    if suffix in _PACKED_READERS:
        return FileRead(kind, [make(_PACKED_READERS[suffix](data, config.max_unpacked_bytes))])
    text = decode(data)
    chats = _find_chats(text, suffix)
    if chats:
        return FileRead(f"{kind} (chat)", [_make_conversation(make(chat.text), chat) for chat in chats])
    books = read_clippings(text) if suffix == ".txt" else None
    if books is not None:
        marked = [replace(make(book.text), title=book.title, author=book.author) for book in books]
        return FileRead(f"{kind} (clippings)", marked)
    return FileRead(kind, [make(_TEXT_READERS[suffix](text) if suffix in _TEXT_READERS else text)])


def _make_conversation(document: Document, chat: Chat) -> Document:
    turns = [vars(turn) for turn in chat.turns]
    return ConversationDocument(**{**vars(document), "title": chat.title or document.title}, turns=turns)


_PACKED_READERS = {".docx": read_docx, ".odt": read_odt, ".pdf": read_pdf}
_TEXT_READERS = {".ipynb": read_notebook, ".srt": read_subtitles, ".vtt": read_subtitles}


def _find_chats(text: str, suffix: str) -> list[Chat]:
    """The chats of an export that have any words; none for other texts.

    Raises:
        LeftOut: When it is an export, and nobody said anything.
    """
    if suffix not in (".txt", ".json"):
        return []
    one = read_whatsapp(text) if suffix == ".txt" else None
    chats = [one] if one is not None else (read_chat_export(text) or []) if suffix == ".json" else []
    spoken = [chat for chat in chats if chat.text]
    if chats and not spoken:
        raise LeftOut("no text", "a chat in which nobody wrote anything")
    return spoken


def _decode_html(data: bytes, decode: Decode) -> str:
    """By the byte order mark, or what the page says, where that is true; else as any text."""
    codec = find_named(data)
    if codec is not None and not is_mostly_utf8([data]):
        with contextlib.suppress(UnicodeError):
            return data.decode(codec)
    return decode(data)
