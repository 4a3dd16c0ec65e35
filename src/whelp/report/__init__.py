"""A run folder in; one HTML file with pictures out, that opens offline.

    html = make_run_report(title, recipe, plan, metrics, samples)

Start reading in `run_report.py`. `compare_report.py` sets several models side by side; `model_card.py` describes one.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.report.compare_report import make_compare_report as make_compare_report
    from whelp.report.model_card import make_model_card as make_model_card
    from whelp.report.run_report import make_run_report as make_run_report

_HOMES = {"make_compare_report": "compare_report", "make_model_card": "model_card", "make_run_report": "run_report"}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
