"""Files of a folder in; JSON lines of documents out.

    from whelp.collect.folder import FolderConfig, iter_items

    for kind, document in iter_items(Path("book.epub"), "book.epub", FolderConfig(), decode=bytes.decode): ...

Text, code, HTML, DOCX, ODT, EPUB, mail, chats, subtitles, notebooks; PDF where the package pypdf is there. A file that cannot be read raises
`whelp.collect.LeftOut`, with a word to count by. A file for each format; start reading in `reader.py`.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.collect.folder.config import FolderConfig as FolderConfig
    from whelp.collect.folder.reader import MARKED_UP as MARKED_UP
    from whelp.collect.folder.reader import PACKED as PACKED
    from whelp.collect.folder.reader import iter_items as iter_items

_HOMES = {"FolderConfig": "config", "MARKED_UP": "reader", "PACKED": "reader", "iter_items": "reader"}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
