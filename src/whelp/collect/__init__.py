"""Search words, titles, channels, addresses or files in; documents with their provenance out.

    from whelp.collect import Document, make_line

    make_line(Document(text="A whelp is a young dog.", source="wikipedia", title="Whelp"))  # one JSON line

A file for each source. Start reading in `document.py`, which says what a document is.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.collect.document import Document as Document
    from whelp.collect.document import make_line as make_line

_HOMES = {"Document": "document", "make_line": "document"}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
