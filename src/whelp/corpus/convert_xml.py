"""Rows of XML files, for conversion: the elements below the root, one row each, with what is inside them by name.

<posts><row Id="1" Body="&lt;p&gt;Hi"/></posts>      -> {"Id": "1", "Body": "<p>Hi"}
<set><item><by><name>Ann</name></by><p>One</p><p>Two <i>and</i> more</p></item></set>
                                                     -> {"by": {"name": "Ann"}, "p": "One\\n\\nTwo and more"}
"""

from __future__ import annotations

import codecs
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from html.entities import html5
from itertools import chain, islice
from typing import Any, NoReturn
from xml.parsers import expat

from whelp.base.charsets import find_named
from whelp.base.errors import say_first_line
from whelp.corpus.compressed import DAMAGED
from whelp.corpus.encodings import BadFile
from whelp.corpus.rows import Reading

SUFFIX = ".xml"
_TEXT = "text"  # the field of a row that is nothing but text
_BETWEEN = "\n\n"  # texts of several elements of one name
_UTF8 = "utf-8"
_WHAT_IS_A_ROW = "Name with --element what a row is."
_MOST_DEPTH = 100  # of elements in each other
_MOST_NAMED = 5
_ELEMENT_BYTES = 500  # that an element takes beside its text, about
_ENTITIES = "".join(  # of HTML, for documents that say they have some
    f'<!ENTITY {name[:-1]} "{"".join(f"&#38;#{ord(sign)};" for sign in signs)}">'
    for name, signs in html5.items()
    if name.endswith(";")
)


@dataclass
class _Element:
    """An element that is open: all text in it, and what is in the elements in it."""

    name: str
    attributes: Mapping[str, str]
    texts: list[str] = field(default_factory=list)
    has_own_text: bool = False
    inside: dict[str, list[Any]] = field(default_factory=dict)

    def add(self, name: str, value: Any) -> None:
        """One more value of this name."""
        if value is not None:
            self.inside.setdefault(name, []).append(value)

    @property
    def is_text(self) -> bool:
        """Whether it has text of its own, so that elements in it only mark up parts of that; or nothing at all."""
        return self.has_own_text or not self.inside

    @property
    def text(self) -> str | None:
        return "".join(self.texts).strip() or None

    def to_object(self) -> dict[str, Any]:
        """Its attributes, and what is in it; where it is text, that as a field."""
        if not self.is_text:
            below = {name: _join(values) for name, values in self.inside.items()}
        else:
            below = {_TEXT: self.text} if self.text else {}
        return {**{f"@{name}" if name in below else name: value for name, value in self.attributes.items()}, **below}


def _join(values: list[Any]) -> Any:
    """The values of one name as one: texts are joined, others are listed."""
    if all(isinstance(value, str) for value in values):
        return _BETWEEN.join(values)
    return values if len(values) > 1 else values[0]


class _Rows:
    """Gathers the rows as the parser calls.

    Args:
        most_bytes: A row of more is refused.
    """

    def __init__(self, element: str | None, most_bytes: int) -> None:
        self.found: deque[dict[str, Any]] = deque()
        self._wanted, self._most_bytes = element, most_bytes
        self._depth = 0  # of elements around a row
        self._num_bytes = 0  # of the row that is open
        self._open: list[_Element] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        is_row = self._depth == 1 if self._wanted is None else name == self._wanted
        if not self._open and not is_row:
            self._depth += 1
            return
        said = {key: value for key, value in attributes.items() if key.partition(":")[0] != "xmlns"}
        self._open.append(_Element(name, said))
        self._count(_ELEMENT_BYTES + sum(map(len, said.values())))
        if len(self._open) > _MOST_DEPTH:
            raise BadFile("no rows", f"XML with more than {_MOST_DEPTH} elements in each other", _WHAT_IS_A_ROW)

    def end(self, name: str) -> None:
        if not self._open:
            self._depth -= 1
            return
        element = self._open.pop()
        if not self._open:
            self.found.append(element.to_object())
            self._num_bytes = 0
            return
        above = self._open[-1]
        above.texts += element.texts
        if not element.is_text:
            above.add(element.name, element.to_object())
        else:
            above.add(element.name, element.text)
            for attribute, value in element.attributes.items():
                above.add(f"{element.name}@{attribute}", value)

    def text(self, data: str) -> None:
        if self._open:
            self._open[-1].texts.append(data)
            self._open[-1].has_own_text |= not data.isspace()
            self._count(len(data))

    def skip_entity(self, name: str, is_parameter: bool) -> None:
        """An entity that only a document elsewhere declares stays as it is written."""
        if not is_parameter:
            self.text(f"&{name};")

    def _count(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        if self._num_bytes > self._most_bytes:
            row = self._open[0]
            inside = f", such as {', '.join(islice(row.inside, _MOST_NAMED))}" if row.inside else ""
            reason = f"XML whose element {row.name} takes more than {self._most_bytes:,} bytes, which is too much for a row"
            raise BadFile("no rows", reason, f"Name with --element what a row is: an element inside it{inside}.")


def iter_xml_objects(reading: Reading, element: str | None, encoding: str) -> Iterator[dict[str, Any]]:
    """The rows of a file, as they come. Memory: a row, or a block.

    Args:
        element: The name of those elements that are a row each; None for all below the root.
        encoding: As `SourceConfig.encoding`; `auto` for the one that the file names.

    Raises:
        BadFile: When it is broken, has no such element, has a row of more than `reading.max_row_bytes`, or declares entities,
            which may fill any memory.
    """
    rows = _Rows(element, reading.max_row_bytes)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler, parser.EndElementHandler = rows.start, rows.end
    parser.CharacterDataHandler, parser.SkippedEntityHandler = rows.text, rows.skip_entity
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_UNLESS_STANDALONE)
    parser.ExternalEntityRefHandler = partial(_declare_entities, parser)
    num_rows = 0
    with reading.open_file() as stream:
        try:
            for block in chain(_iter_blocks(stream, reading.block_bytes, encoding), [b""]):
                parser.Parse(block, not block)
                num_rows += len(rows.found)
                while rows.found:
                    yield rows.found.popleft()
        except (expat.ExpatError, ValueError, LookupError) as error:
            next_step = "Get a whole copy of the file, or set encoding to the one it was written in."
            raise BadFile(DAMAGED, f"cut off or broken XML ({say_first_line(error)})", next_step) from None
    if not num_rows:
        what = f"no element {element}" if element is not None else "no element below its root"
        raise BadFile("no rows", f"XML with {what}", _WHAT_IS_A_ROW)


def _iter_blocks(stream: Any, num_bytes: int, encoding: str) -> Iterable[bytes | str]:
    """What the parser takes: bytes where it knows their encoding, text of all others."""
    head = stream.read(num_bytes)
    blocks = chain([head], iter(partial(stream.read, num_bytes), b""))
    codec = find_named(head) or _UTF8
    if encoding == "auto" and codec == _UTF8:
        return blocks
    return codecs.iterdecode(blocks, codec if encoding == "auto" else encoding)


def _declare_entities(parser: Any, context: str | None, *place: str | None) -> int:
    """In place of a document type that lies elsewhere, which is not fetched: the entities of HTML."""
    declarations = parser.ExternalEntityParserCreate(context)
    declarations.EntityDeclHandler = None
    declarations.Parse(_ENTITIES, True)
    return 1


def _refuse(*declaration: object) -> NoReturn:
    raise BadFile("declares entities", "its XML declares entities of its own", "Take them out, and write what they stand for.")
