"""A MediaWiki XML dump in; JSON lines of documents out.

    from whelp.collect.dump import DumpConfig, iter_dump

    for part in iter_dump(Path("simplewiki-latest-pages-articles.xml.bz2"), DumpConfig()):
        part.lines     # bytes: JSON lines
        part.counts    # pages kept, redirects, other namespaces, ...; templates, tables, references taken out

Start reading in `convert.py`. `stream.py` opens and unpacks, `cut_pages.py` finds whole pages in bytes, `parts.py` says which
process reads what, `pages.py` reads XML.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.collect.dump.config import DumpConfig as DumpConfig
    from whelp.collect.dump.convert import DumpPart as DumpPart
    from whelp.collect.dump.convert import describe_dump as describe_dump
    from whelp.collect.dump.convert import iter_dump as iter_dump

_HOMES = {"DumpConfig": "config", "DumpPart": "convert", "describe_dump": "convert", "iter_dump": "convert"}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
