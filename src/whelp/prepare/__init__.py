"""Rows and a vocabulary in, the token store out; and the packing plan that turns a store into training rows.

    template = make_template(TemplateConfig())                           # template.py: columns -> pieces, trained or not
    stream = SourceToPrepare(partitions=partitions, config=config)       # a source; a mixture has several
    for report in prepare([stream], vocabulary, out, ...): ...           # encode.py: documents -> store
    rows = pack_rows(store.split("train"), PackConfig(context_tokens=256))   # pack.py: a plan, no rewrite
    batch = rows.read(first=0, count=8, seed=0)                          # rows.py: ids and targets, (8, 256) each

Nothing is lost silently: `ledger.py` accounts for every document and every token.
`exchange/` reads and writes other trainers' files of ids.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.prepare.config import PackConfig as PackConfig
    from whelp.prepare.config import PrepareConfig as PrepareConfig
    from whelp.prepare.config import TemplateConfig as TemplateConfig
    from whelp.prepare.encode import SourceToPrepare as SourceToPrepare
    from whelp.prepare.encode import prepare as prepare
    from whelp.prepare.mixture_rows import MixtureRows as MixtureRows
    from whelp.prepare.mixture_rows import MixtureSource as MixtureSource
    from whelp.prepare.pack import pack_rows as pack_rows
    from whelp.prepare.rows import PackedRows as PackedRows
    from whelp.prepare.template import make_template as make_template

_HOMES = {
    "PackConfig": "config",
    "PrepareConfig": "config",
    "TemplateConfig": "config",
    "SourceToPrepare": "encode",
    "prepare": "encode",
    "MixtureRows": "mixture_rows",
    "MixtureSource": "mixture_rows",
    "pack_rows": "pack",
    "PackedRows": "rows",
    "make_template": "template",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
