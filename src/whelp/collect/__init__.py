"""Search words, titles, channels, addresses or files in; documents with their provenance out.

    from whelp.collect import Document, make_line

    make_line(Document(text="A whelp is a young dog.", source="wikipedia", title="Whelp"))  # one JSON line

A file for each source, and `client.py` for the manners of all that ask the network. Start reading in `document.py`, which
says what a document is, then `gather.py`, the loop of every collector of the network.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.collect.britannica import Britannica as Britannica
    from whelp.collect.client import Client as Client
    from whelp.collect.config import MannersConfig as MannersConfig
    from whelp.collect.document import Document as Document
    from whelp.collect.document import make_line as make_line
    from whelp.collect.gather import Asking as Asking
    from whelp.collect.gather import Collector as Collector
    from whelp.collect.gather import Event as Event
    from whelp.collect.gather import gather_documents as gather_documents
    from whelp.collect.journal import Journal as Journal
    from whelp.collect.left_out import LeftOut as LeftOut
    from whelp.collect.urls import Urls as Urls
    from whelp.collect.wikipedia import Wikipedia as Wikipedia
    from whelp.collect.youtube import YouTube as YouTube

_HOMES = {
    "Asking": "gather",
    "Britannica": "britannica",
    "Client": "client",
    "Collector": "gather",
    "Document": "document",
    "Event": "gather",
    "Journal": "journal",
    "LeftOut": "left_out",
    "MannersConfig": "config",
    "Urls": "urls",
    "Wikipedia": "wikipedia",
    "YouTube": "youtube",
    "gather_documents": "gather",
    "make_line": "document",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
