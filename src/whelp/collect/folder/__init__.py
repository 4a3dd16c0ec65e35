"""Files of a folder in; JSON lines of documents out.

    from whelp.collect.folder import FolderConfig, read_file

    read = read_file(Path("book.epub"), "book.epub", FolderConfig(), decode=bytes.decode)
    read.items  # its documents

Text, code, HTML, DOCX, ODT, EPUB, mail, chats, subtitles, notebooks; PDF where the package pypdf is there. A file that cannot be read raises
`whelp.collect.LeftOut`, with a word to count by. A file for each format; start reading in `reader.py`.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.collect.folder.config import FolderConfig as FolderConfig
    from whelp.collect.folder.reader import MARKED_UP as MARKED_UP
    from whelp.collect.folder.reader import PACKED as PACKED
    from whelp.collect.folder.reader import read_file as read_file

_HOMES = {"FolderConfig": "config", "MARKED_UP": "reader", "PACKED": "reader", "read_file": "reader"}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
