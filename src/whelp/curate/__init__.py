"""Takes partitions of rows; gives a corpus: rows that are kept, rows that are dropped with the reason, a ledger.

    pipeline = Pipeline(CurateConfig(preset="prose"))
    stream = SourceToCurate(partitions=source.iter_partitions(), pipeline=pipeline)
    for event in curate([stream], out, labels=..., describe_source=...): ...
    # out/kept/00000.jsonl, out/dropped/00000.jsonl, out/ledger.json, out/manifest.json

Rules that look at one document are in `rules/`, one file each, and run over Arrow batches (`pipeline.py`); what they look at is
made in `texts.py`. Rules that compare documents are in `duplicates.py`, by the numbers of `signatures.py`.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.curate.config import CurateConfig as CurateConfig
    from whelp.curate.ledger import Ledger as Ledger
    from whelp.curate.pipeline import Pipeline as Pipeline
    from whelp.curate.rules.contamination import make_index as make_index
    from whelp.curate.run import SourceToCurate as SourceToCurate
    from whelp.curate.run import curate as curate

_HOMES = {
    "CurateConfig": "config",
    "Ledger": "ledger",
    "Pipeline": "pipeline",
    "SourceToCurate": "run",
    "curate": "run",
    "make_index": "rules.contamination",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
