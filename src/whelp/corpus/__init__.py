"""Takes a source of raw text; gives a stream of Arrow record batches of documents.

    source = open_source(SourceConfig(source="poems/*.txt"))
    for partition in source.iter_partitions():
        partition.batch         # columns text, file_index, line: one row per document
        partition.skipped       # files that are not text, each with the reason

A source is the word `stdlib`, a file of text or of rows, a folder, a glob, or a list of those. The documents and the
partitions depend on the bytes of the files and on the config alone. Start reading in `source.py`; `text.py` decodes,
`split.py` cuts documents, `rows.py` leads to the formats of rows, `packed.py` unpacks, `stdlib.py` picks the files of the
Python standard library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.corpus._files import SkippedFile as SkippedFile
    from whelp.corpus.config import SourceConfig as SourceConfig
    from whelp.corpus.source import Partition as Partition
    from whelp.corpus.source import Source as Source
    from whelp.corpus.source import SourceFile as SourceFile
    from whelp.corpus.source import count_skipped as count_skipped
    from whelp.corpus.source import iter_texts as iter_texts
    from whelp.corpus.source import open_source as open_source

_HOMES = {
    "SkippedFile": "_files",
    "SourceConfig": "config",
    "Partition": "source",
    "Source": "source",
    "SourceFile": "source",
    "count_skipped": "source",
    "iter_texts": "source",
    "open_source": "source",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
