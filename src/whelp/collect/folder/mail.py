"""Mail (mbox, eml): what people wrote, without headers, attachments, signatures and what they quote."""

from __future__ import annotations

import email
import email.policy
import re
from collections.abc import Callable, Iterator
from datetime import UTC
from email.message import EmailMessage, MIMEPart
from email.utils import parsedate_to_datetime
from itertools import pairwise

from whelp.base.errors import say_first_line
from whelp.base.html_text import read_html
from whelp.collect.document import Document
from whelp.collect.left_out import LeftOut

_BORDER = re.compile(rb"(?:\A|(?<=\n\n)|(?<=\n\r\n))From [^\n]*\n")
_QUOTED = re.compile(
    r"(?:^[^\n]*:[ \t]*\n(?:[ \t]*\n)?)?(?:^>[^\n]*(?:\n|\Z))+", re.MULTILINE
)  # with the line that introduces it
_SIGNATURE = re.compile(r"^-- $.*", re.MULTILINE | re.DOTALL)
_MAILBOX = re.compile(rb"From [^\n]*\d\d:\d\d[^\n]*\n[A-Za-z][A-Za-z-]*:[ \t]")
_ESCAPED = re.compile(rb"^>(>*From )", re.MULTILINE)


def begins_mailbox(data: bytes) -> bool:
    r"""Whether a file is a mailbox, whatever its name.

    >>> begins_mailbox(b"From - Mon Jan 1 00:00:00 2024\nSubject: Hi\n\nHi.\n"), begins_mailbox(b"From here on\nall is well\n")
    (True, False)
    """
    return _MAILBOX.match(data) is not None


def iter_mailbox(data: bytes, make: Callable[[str], Document]) -> Iterator[Document | LeftOut]:
    """The mails of an mbox, in its order; of each that gives no text, why. `make` makes a document of a text."""
    borders = [match.span() for match in _BORDER.finditer(data)]
    if not borders:
        raise LeftOut("damaged", "not a mailbox: no line in it begins with From")
    for number, ((_, start), (end, _)) in enumerate(pairwise([*borders, (len(data), 0)]), 1):
        try:
            yield read_mail(_ESCAPED.sub(rb"\1", data[start:end]), make)
        except LeftOut as error:
            yield LeftOut(f"mail: {error.kind}", f"mail {number:,}: {error.reason}")


def read_mail(data: bytes, make: Callable[[str], Document]) -> Document:
    """Make a document of one mail, with its subject, its writer and its time.

    Raises:
        LeftOut: When it has no text, or is damaged.
    """
    try:
        message = email.message_from_bytes(data, policy=email.policy.default)
        assert isinstance(message, EmailMessage), type(message)
        body = message.get_body(("plain", "html"))
        words = "" if body is None else _read_body(body)
        said = {"title": message["subject"], "author": message["from"], "id": message["message-id"]}
        said = {name: " ".join(str(value).split()) for name, value in said.items() if value}
        time = _read_time(message["date"])
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError) as error:  # the parser of headers has holes
        raise LeftOut("damaged", f"a broken mail ({say_first_line(error, with_kind=True)})") from None
    text = _SIGNATURE.sub("", _QUOTED.sub("", words)).strip()
    if not text:
        raise LeftOut("no text", "it holds no text of its own")
    document = make(text)
    return Document(**{**vars(document), **said, "time": time or document.time})


def _read_body(body: MIMEPart) -> str:
    content = body.get_content()
    text = content if isinstance(content, str) else bytes(content).decode("utf-8", "replace")
    text = text.replace("\r\n", "\n")
    return read_html(text).text if body.get_content_subtype() == "html" else text


def _read_time(date: object) -> str | None:
    try:
        return parsedate_to_datetime(str(date)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if date else None
    except (ValueError, OverflowError):
        return None
