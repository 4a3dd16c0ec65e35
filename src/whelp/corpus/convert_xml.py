"""Rows of XML files, for conversion: the elements below the root, one row each, with what is inside them by name.

<posts><row Id="1" Body="&lt;p&gt;Hi"/></posts>      -> {"Id": "1", "Body": "<p>Hi"}
<set><item><by><name>Ann</name></by><p>One</p><p>Two <i>and</i> more</p></item></set>
                                                     -> {"by": {"name": "Ann"}, "p": "One\\n\\nTwo and more"}
"""

from __future__ import annotations

import html
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn
from xml.parsers import expat

from whelp.corpus.compressed import DAMAGED
from whelp.corpus.encodings import BadFile
from whelp.corpus.rows import Reading

SUFFIX = ".xml"
_TEXT = "text"  # the field of a row that is nothing but text
_BETWEEN = "\n\n"  # texts of several elements of one name


@dataclass
class _Element:
    """An element that is open: all text in it, and what is in the elements in it."""

    name: str
    attributes: Mapping[str, str]
    texts: list[str] = field(default_factory=list)
    has_own_text: bool = False
    inside: dict[str, Any] = field(default_factory=dict)

    def add(self, name: str, value: Any) -> None:
        """One more value of this name: texts are joined, others are listed."""
        if value is None:
            return
        known = self.inside.get(name)
        if known is None:
            self.inside[name] = value
        elif isinstance(known, str) and isinstance(value, str):
            self.inside[name] = f"{known}{_BETWEEN}{value}"
        else:
            self.inside[name] = [*(known if isinstance(known, list) else [known]), value]

    @property
    def is_text(self) -> bool:
        """Whether it has text of its own, so that elements in it only mark up parts of that; or nothing at all."""
        return self.has_own_text or not self.inside

    @property
    def text(self) -> str | None:
        return "".join(self.texts).strip() or None

    def to_object(self) -> dict[str, Any]:
        """Its attributes, and what is in it; where it is text, that as a field."""
        below = {_TEXT: self.text} if self.is_text and self.text else {} if self.is_text else self.inside
        return {**{f"@{name}" if name in below else name: value for name, value in self.attributes.items()}, **below}


class _Rows:
    """Gathers the rows as the parser calls."""

    def __init__(self, element: str | None) -> None:
        self.found: deque[dict[str, Any]] = deque()
        self._wanted = element
        self._depth = 0  # of elements around a row
        self._open: list[_Element] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        is_row = self._depth == 1 if self._wanted is None else name == self._wanted
        if self._open or is_row:
            self._open.append(_Element(name, attributes))
        else:
            self._depth += 1

    def end(self, name: str) -> None:
        if not self._open:
            self._depth -= 1
            return
        element = self._open.pop()
        if not self._open:
            self.found.append(element.to_object())
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

    def skip_entity(self, name: str, is_parameter: bool) -> None:
        """An entity that a document type elsewhere names: as HTML has it."""
        if not is_parameter:
            self.text(html.unescape(f"&{name};"))


def iter_xml_objects(reading: Reading, element: str | None) -> Iterator[dict[str, Any]]:
    """The rows of a file, as they come. Memory: a row, or a block.

    Args:
        element: The name of those elements that are a row each; None for all below the root.

    Raises:
        BadFile: When it is broken, has no such element, or declares entities, which may fill any memory.
    """
    rows = _Rows(element)
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.EntityDeclHandler = _refuse
    parser.StartElementHandler, parser.EndElementHandler = rows.start, rows.end
    parser.CharacterDataHandler, parser.SkippedEntityHandler = rows.text, rows.skip_entity
    num_rows = 0
    with reading.open_file() as stream:
        while True:
            block = stream.read(reading.block_bytes)
            try:
                parser.Parse(block, not block)
            except (expat.ExpatError, ValueError, LookupError) as error:
                raise BadFile(DAMAGED, f"cut off or broken XML ({error})", "Get a whole copy of the file.") from None
            num_rows += len(rows.found)
            while rows.found:
                yield rows.found.popleft()
            if not block:
                break
    if not num_rows:
        what = f"no element {element}" if element is not None else "no element below its root"
        raise BadFile("no rows", f"XML with {what}", "Name with --element what a row is.")


def _refuse(*declaration: object) -> NoReturn:
    raise BadFile("declares entities", "its XML declares entities of its own", "Take them out, and write what they stand for.")
