"""Web archives in (WARC: pages as servers sent them; WET: their text); JSON lines of documents out.

    from whelp.collect.web_archive import Archive, WebArchiveConfig, iter_web_archives

    for part in iter_web_archives([Archive.of(Path("CC-MAIN-00000.warc.wet.gz"))], WebArchiveConfig(languages=["en"])):
        part.lines      # bytes: JSON lines
        part.records    # records kept, of another language, requests, broken, ...

Start reading in `convert.py`. `archive.py` looks at a file, `shares.py` says which process reads what, `page.py` makes a document of
a record, `http_answer.py` takes apart what a server said. The format itself is read by `whelp.base.warc`.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.collect.web_archive.archive import Archive as Archive
    from whelp.collect.web_archive.archive import refuse_wat as refuse_wat
    from whelp.collect.web_archive.config import WebArchiveConfig as WebArchiveConfig
    from whelp.collect.web_archive.convert import ArchivePart as ArchivePart
    from whelp.collect.web_archive.convert import Done as Done
    from whelp.collect.web_archive.convert import iter_web_archives as iter_web_archives

_HOMES = {
    "Archive": "archive",
    "ArchivePart": "convert",
    "Done": "convert",
    "WebArchiveConfig": "config",
    "iter_web_archives": "convert",
    "refuse_wat": "archive",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
