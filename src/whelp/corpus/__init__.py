"""Takes a source of raw text; gives a stream of Arrow record batches of documents.

    source = open_source(SourceConfig(source="poems/*.txt"))
    for partition in source.iter_partitions():
        partition.batch         # columns text, file_index, line: one row per document
        partition.skipped       # files that are not text, each with the reason

A source is the word `stdlib`, a text file, a folder, a glob, or a list of those. The documents and the partitions depend
on the bytes of the files and on the config alone. Start reading in `source.py`; `text.py` decodes, `split.py` cuts
documents, `stdlib.py` picks the files of the Python standard library.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from whelp.corpus.config import SourceConfig

if TYPE_CHECKING:
    from whelp.corpus._files import SkippedFile
    from whelp.corpus.source import Partition, Source, SourceFile, count_skipped, iter_texts, open_source

__all__ = [
    "Partition",
    "SkippedFile",
    "Source",
    "SourceConfig",
    "SourceFile",
    "count_skipped",
    "iter_texts",
    "open_source",
]


def __getattr__(name: str) -> Any:
    # Late, because `source.py` needs pyarrow, which `whelp --help` should not wait for.
    if name in __all__:
        return getattr(importlib.import_module("whelp.corpus.source"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
