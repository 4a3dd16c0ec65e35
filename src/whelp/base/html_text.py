"""HTML to text: what a page shows, without what leads around it."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from html.parser import HTMLParser

_SILENT = frozenset("script style noscript template svg math canvas iframe object select button textarea".split())  # noqa: SIM905 (easier to read)
_AROUND = frozenset(("nav", "footer", "aside", "form"))
_HEADINGS = {f"h{level}": "#" * level + " " for level in range(1, 7)}
_BLOCKS = frozenset(
    "address article blockquote body center dd details dialog div dl dt fieldset figcaption figure form h1 h2 h3 h4 h5 h6 "  # noqa: SIM905 (easier to read)
    "header hgroup hr html li main menu ol p pre section summary table tbody tfoot thead tr ul".split()
)
_BLANKS = re.compile(r"[ \t\r\n\f\xa0]+")
_COMMENT_OR_SCRIPT = re.compile(r"<(?:!--|(script|style)\b)", re.IGNORECASE)
_CDATA = re.compile(r"<!\[CDATA\[(.*?)(?:\]\]>|\Z)", re.DOTALL)
_NO_TAG = re.compile(r"<(?![^<>]*>)")
_ENDS = {name: re.compile(rf"</{name}\b[^<>]*>", re.IGNORECASE) for name in ("script", "style")}


@dataclass(frozen=True)
class HtmlText:
    """The text of a page, and what it says of itself."""

    text: str
    title: str | None = None
    language: str | None = None


class _Parser(HTMLParser):
    def __init__(self, left_out: frozenset[str]) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []  # of the text, each with what separates it from the one before
        self.title: list[str] = []
        self.language: str | None = None
        self.open: Counter[str] = Counter()  # elements that are left out
        self._left_out = left_out
        self._line: list[str] = []
        self._prefix = ""
        self._was_item = False
        self._num_pre = 0
        self._is_title = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "html":
            self.language = dict(attributes).get("lang") or self.language
        if tag in self._left_out:
            self.open[tag] += 1
        self._is_title = tag == "title"
        if tag == "br":
            self._line.append("\n" if self._num_pre else "\0")
        elif tag in ("td", "th") and self._line:
            self._line.append("\t")
        elif tag in _BLOCKS:
            self.end_block()
            self._num_pre += tag == "pre"
            self._prefix = "- " if tag == "li" else _HEADINGS.get(tag, self._prefix if tag == "p" else "")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        if tag == "br" or tag in _BLOCKS:
            self.handle_starttag(tag, attributes)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.open:
            self.open -= Counter((tag,))  # none is left where it was one
        self._is_title = False
        if tag in _BLOCKS:
            self.end_block()
            self._num_pre = max(0, self._num_pre - (tag == "pre"))

    def handle_data(self, data: str) -> None:
        if self._is_title:
            self.title.append(data)
        elif not self.open:
            self._line.append(data if self._num_pre else _BLANKS.sub(" ", data))

    def end_block(self) -> None:
        line = "".join(self._line)
        self._line.clear()
        if self._num_pre:
            line = line.strip("\n")
        else:
            line = re.sub(r" *\0[ \0]*", "\n", re.sub(" {2,}", " ", line).replace(" \t", "\t").replace("\t ", "\t")).strip()
        if line.strip():
            is_item = self._prefix == "- "
            separator = "" if not self.parts else "\n" if is_item and self._was_item else "\n\n"
            self.parts.append(separator + self._prefix + line)
            self._prefix, self._was_item = "", is_item


def read_html(html: str) -> HtmlText:
    """Make text of a page: one block a paragraph, headings with `#`, list items with `-`, cells of a row with tabs.

    Scripts, styles, menus, forms, footers and asides are left out; those of a name that is not closed every time stay.

    >>> read_html("<title>Dogs</title><nav>Home</nav><h1>Dogs</h1><p>A <b>whelp</b><br>is young.<ul><li>a<li>b</ul>").text
    '# Dogs\\n\\nA whelp\\nis young.\\n\\n- a\\n- b'
    """
    source = _make_safe(html)
    left_out = _SILENT | _AROUND
    while True:
        parser = _Parser(left_out)
        parser.feed(source)
        parser.close()
        if not parser.open:
            break
        left_out = left_out.difference(parser.open)
    parser.end_block()
    title = _BLANKS.sub(" ", "".join(parser.title)).strip()
    return HtmlText("".join(parser.parts), title or None, parser.language)


def _make_safe(html: str) -> str:
    """Without comments, scripts and styles, and with no tag that has no end: for those the parser takes quadratic time."""
    parts: list[str] = []
    position = 0
    while (match := _COMMENT_OR_SCRIPT.search(html, position)) is not None:
        parts.append(html[position : match.start()])
        if match[1] is None:
            end = html.find("-->", match.end())
            position = end + 3 if end >= 0 else len(html)
        else:
            closing = _ENDS[match[1].lower()].search(html, match.end())
            position = closing.end() if closing else len(html)
    parts.append(html[position:])
    source = _NO_TAG.sub("&lt;", _CDATA.sub(r"\1", "".join(parts)))
    return source.replace(
        "<!", "<?"
    )  # passed over up to the next >; at declarations that it does not know the parser would stop
