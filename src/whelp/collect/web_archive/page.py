"""One record to one document, or why it gives none."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from whelp.base.errors import SourceError
from whelp.base.html_text import read_html
from whelp.base.language_codes import shorten_language
from whelp.base.limited_process import Limits, OverLimitError, call_within
from whelp.base.warc import Record
from whelp.collect.answers import Answer, NotFetched
from whelp.collect.document import Document
from whelp.collect.left_out import LeftOut
from whelp.collect.page_text import PageText, decode, read_page, say_over_limit
from whelp.collect.web_archive.config import Extract, WebArchiveConfig
from whelp.collect.web_archive.http_answer import read_head, unpack_body
from whelp.collect.web_archive.languages import read_languages

SOURCE = "web-archive"
_OTHER_KINDS = {
    "warcinfo": "about the archive",
    "request": "request",
    "metadata": "metadata",
    "revisit": "revisit: as it was before",
    "continuation": "continuation of another record",
}
_MEDIA_TYPE = re.compile(r"[a-z]{1,20}/[a-z0-9.+_-]{1,60}")
_PAGES = ("text/html", "application/xhtml+xml", "")


@dataclass(frozen=True)
class Reader:
    """Makes documents of records."""

    config: WebArchiveConfig

    def read(self, record: Record, following: Record | None = None) -> Document:
        """Make a document.

        Args:
            following: The record behind it, where that tells of the same page.

        Raises:
            LeftOut: When there is none in it, or it is not asked for.
        """
        if record.kind not in ("response", "resource", "conversion"):
            raise LeftOut(_OTHER_KINDS.get(record.kind, "record of another type"))
        if record.content is None:
            raise LeftOut(f"larger than {self.config.max_record_bytes:,} bytes")
        self._check_domain(record.url)
        found = read_languages(record, following)
        is_text = record.kind == "conversion"
        page = self._read_text(record, record.content, found) if is_text else self._read_page(record, record.content, found)
        if not page.text.strip():
            raise LeftOut("no text")
        if len(page.text) < self.config.min_characters:
            raise LeftOut(f"shorter than {self.config.min_characters:,} characters")
        return Document(
            text=page.text,
            source=SOURCE,
            title=page.title,
            url=record.url or None,
            id=record.id or None,
            language=page.language,
            licence=self.config.licence or page.licence,
            author=page.author,
            time=page.date,
            fetched=record.headers.get("warc-date"),
        )

    def _check_domain(self, url: str) -> None:
        if self.config.domains is None:
            return
        try:
            host = (urlsplit(url).hostname or "").rstrip(".")
        except ValueError:
            raise LeftOut("another domain") from None
        wanted = [domain.lower().strip(".") for domain in self.config.domains]
        if not any(host == domain or host.endswith(f".{domain}") for domain in wanted):
            raise LeftOut("another domain")

    def _check_language(self, languages: Sequence[str]) -> None:
        if self.config.languages is None:
            return
        if not languages:
            raise LeftOut("no language said")
        if languages[0] not in map(shorten_language, self.config.languages):
            raise LeftOut("another language")

    def _read_text(self, record: Record, content: bytes, languages: list[str]) -> PageText:
        """The text that somebody has made of a page."""
        if record.media_type not in ("text/plain", ""):
            raise LeftOut("converted, but to no plain text")
        self._check_language(languages)
        text = content.decode("utf-8", "replace").replace("\r\n", "\n").replace("\0", "").strip()
        return PageText(text=text, language=languages[0] if languages else None)

    def _read_page(self, record: Record, content: bytes, found_languages: list[str]) -> PageText:
        if record.kind == "resource":
            answer = Answer(url=record.url, status=200, headers={"content-type": record.media_type}, body=content)
        else:
            answer = read_head(content, record.url)
            if answer.status not in self.config.statuses:
                raise LeftOut(f"status {answer.status}")
        if answer.kind not in self.config.mime_types and (answer.kind or not _looks_like_html(answer.body)):
            raise LeftOut(f"type {answer.kind}" if _MEDIA_TYPE.fullmatch(answer.kind) else "no type said")
        body = unpack_body(answer, self.config.max_record_bytes)
        answer = Answer(url=answer.url, status=answer.status, headers=answer.headers, body=body)
        page = self._extract(answer)
        self._check_language([shorten_language(page.language)] if page.language else found_languages)
        return page if page.language or not found_languages else replace(page, language=found_languages[0])

    def _extract(self, answer: Answer) -> PageText:
        if self.config.extract == "article" and importlib.util.find_spec("trafilatura") is None:
            found = "is a page, in an archive whose name says that it holds texts, and the package trafilatura is not installed"
            raise SourceError(answer.url, found, "", 'Run `pip install "whelp[collect]"`, or give --extract page.')
        seconds = self.config.max_page_seconds
        try:
            return call_within(Limits(seconds), extract, answer, self.config.extract)
        except OverLimitError as error:
            raise LeftOut(say_over_limit(error, seconds)) from None


def extract(answer: Answer, how: Extract) -> PageText:
    """The text of a page: its article, or all that it shows.

    Raises:
        LeftOut: When it cannot be parsed, or has none.
    """
    if how == "page" and answer.kind in _PAGES:
        try:
            shown = read_html(decode(answer))
        except Exception as error:  # as of articles: one page that breaks the parser must not end the work on millions
            raise LeftOut(f"the page cannot be parsed ({type(error).__name__})") from error
        return PageText(text=shown.text, title=shown.title, language=shown.language)
    try:
        return read_page(answer)
    except NotFetched as problem:
        raise LeftOut(problem.reason) from None


def _looks_like_html(body: bytes) -> bool:
    """Whether a page that does not say what it is may be one."""
    return re.match(rb"\s*<(?:!doctype html|html|head|\?xml)", body[:256], re.IGNORECASE) is not None
