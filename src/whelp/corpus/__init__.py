"""Takes a source of text or rows; gives a stream of Arrow record batches of documents.

    source = open_source(SourceConfig(source="poems/*.txt"))
    for partition in source.iter_partitions():
        partition.batch         # columns text, file_index, line: one row per document
        partition.skipped       # files that are not text, each with the reason
        partition.bad_rows      # rows that cannot be used, each with the reason

A source is the word `stdlib`, a file of text or of rows, a folder, a glob, a URL, a list of files, a saved dataset, a dataset of the hub,
rows from Python, or a list of those. With a `RowShape` of your own, a batch has the columns of that shape. The documents
and the partitions depend on the contents and on the config alone.

Start reading in `source.py`. What a word stands for: `locate.py`, then `stdlib.py`, `saved_datasets.py`, `hub.py`,
`file_kinds.py`, `remote.py`, `path_list.py`, `python_rows.py`. How it is read: `reader.py`, then for text `encodings.py`
(decodes) and `document_splitters.py` (cuts documents); for rows `row_shape.py` (what is wanted), `columns.py`, `rows.py`
(leads to the formats), and `row_window.py` (offset and length).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.corpus.config import SourceConfig as SourceConfig
    from whelp.corpus.find_files import SkippedFile as SkippedFile
    from whelp.corpus.listing import count_skipped as count_skipped
    from whelp.corpus.open_file import SourceFile as SourceFile
    from whelp.corpus.partition import Partition as Partition
    from whelp.corpus.row_shape import BadValue as BadValue
    from whelp.corpus.row_shape import RowShape as RowShape
    from whelp.corpus.row_shape import TextShape as TextShape
    from whelp.corpus.rows import BadRow as BadRow
    from whelp.corpus.source import Source as Source
    from whelp.corpus.source import open_source as open_source
    from whelp.corpus.texts import iter_texts as iter_texts

_HOMES = {
    "BadRow": "rows",
    "BadValue": "row_shape",
    "Partition": "partition",
    "RowShape": "row_shape",
    "SkippedFile": "find_files",
    "Source": "source",
    "SourceConfig": "config",
    "SourceFile": "open_file",
    "TextShape": "row_shape",
    "count_skipped": "listing",
    "iter_texts": "texts",
    "open_source": "source",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
