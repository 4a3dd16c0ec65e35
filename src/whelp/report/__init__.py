"""A run folder in; one HTML file with pictures out, that opens offline.

    html = make_run_report(title, recipe, plan, metrics, samples)

Start reading in `run_report.py`.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.report.run_report import make_run_report as make_run_report

_HOMES = {"make_run_report": "run_report"}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
