"""Plain values about a run, about rows or about vocabularies in; one HTML file with pictures out, that opens offline.

    html = make_run_report([RunRecords(name="run", recipe=text, settings=values, metrics=records)])

Start reading in `run_report.py`, `rows_report.py`, `vocabulary_report.py`; `_page.py` has the frame, the tables and the curves.
`compare_report.py` sets several models side by side, `recipes_report.py` several recipes; `model_card.py` describes a model,
`dataset_card.py` a data set; `corpus_report.py` draws a corpus, `curate_report.py` what became of one.
"""

from typing import TYPE_CHECKING

from whelp.base.lazy import make_door

if TYPE_CHECKING:
    from whelp.report.compare_report import make_compare_report as make_compare_report
    from whelp.report.corpus_report import make_corpus_report as make_corpus_report
    from whelp.report.curate_report import make_curate_report as make_curate_report
    from whelp.report.dataset_card import make_dataset_card as make_dataset_card
    from whelp.report.model_card import RunFacts as RunFacts
    from whelp.report.model_card import make_model_card as make_model_card
    from whelp.report.recipes_report import make_recipes_report as make_recipes_report
    from whelp.report.recipes_report import say_difference as say_difference
    from whelp.report.rows_report import make_rows_report as make_rows_report
    from whelp.report.run_report import RunRecords as RunRecords
    from whelp.report.run_report import find_differences as find_differences
    from whelp.report.run_report import find_warnings as find_warnings
    from whelp.report.run_report import make_run_report as make_run_report
    from whelp.report.run_report import sum_up as sum_up
    from whelp.report.vocabulary_report import list_facts as list_facts
    from whelp.report.vocabulary_report import make_vocabulary_guide as make_vocabulary_guide
    from whelp.report.vocabulary_report import make_vocabulary_report as make_vocabulary_report

_HOMES = {
    "RunRecords": "run_report",
    "find_differences": "run_report",
    "find_warnings": "run_report",
    "list_facts": "vocabulary_report",
    "make_compare_report": "compare_report",
    "make_corpus_report": "corpus_report",
    "make_curate_report": "curate_report",
    "make_dataset_card": "dataset_card",
    "make_recipes_report": "recipes_report",
    "say_difference": "recipes_report",
    "RunFacts": "model_card",
    "make_model_card": "model_card",
    "make_rows_report": "rows_report",
    "make_run_report": "run_report",
    "make_vocabulary_guide": "vocabulary_report",
    "make_vocabulary_report": "vocabulary_report",
    "sum_up": "run_report",
}
__all__ = sorted(_HOMES)
__getattr__ = make_door(__name__, _HOMES)
