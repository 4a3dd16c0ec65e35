"""`whelp report`: one page about one run or several."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.manifest import find_kind
from whelp.artifacts.run_folder import RunFolder, iter_records
from whelp.base.as_list import as_list
from whelp.base.counts import list_some
from whelp.base.errors import ArtifactError, ConfigError
from whelp.base.files import write_atomic
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr

if TYPE_CHECKING:
    from whelp.report import RunRecords

_PAGE = "report.html"


@dataclass(frozen=True, kw_only=True)
class RunsReport(ResultRepr):
    """Where the page is; each run's numbers; options that differ between the recipes, with their value in each run.

    `warnings`: why their losses may not be compared.
    """

    html: str
    runs: list[dict[str, Any]]
    differences: dict[str, list[Any]]
    warnings: list[str]

    def _repr_html_(self) -> str:
        from whelp.cli.screens.result_tables import make_html
        from whelp.cli.screens.show_training import print_runs

        return make_html(print_runs, self)


def report(runs: str | Path | Sequence[str | Path], *, out: str | Path | None = None) -> RunsReport:
    """Draw runs into one HTML file that opens offline: what differs, curves over each other, samples, plans.

    Args:
        runs: Run folders, finished or not.
        out: The file; None: `report.html`, of one run in its folder, of several here.

    Raises:
        ArtifactError: When a folder is no run.
    """
    from whelp.report import find_differences, find_warnings, make_run_report, sum_up

    folders = [as_path(run) for run in as_list(runs)]
    if not folders:
        raise ConfigError("whelp report", ["no run is given"], "Example: whelp report run-1 run-2")
    records = [read_run(folder) for folder in folders]
    names = _tell_apart(folders)
    if len(records) > 1:
        records = [dataclasses.replace(record, name=name) for record, name in zip(records, names, strict=True)]
    page = as_path(out) if out is not None else folders[0] / _PAGE if len(folders) == 1 else Path(_PAGE)
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(page, make_run_report(records))
    numbers = [
        {"name": record.name, "folder": str(folder), **sum_up(record)} for record, folder in zip(records, folders, strict=True)
    ]
    return RunsReport(html=str(page), runs=numbers, differences=find_differences(records), warnings=find_warnings(records))


def read_run(folder: Path) -> RunRecords:
    """What a run folder says of its run.

    Raises:
        ArtifactError: When it is no run folder.
    """
    from whelp.report import RunRecords

    run = RunFolder(folder)
    started = run.read_plan()
    if started is None:
        kind = find_kind(folder)
        found, next_step = "there is no such folder", "Check the spelling."
        if folder.is_dir():
            found = f"is a {kind.replace('_', ' ')}" if kind else "there is no plan.json in it"
            inside = sorted(str(plan.parent) for plan in folder.glob("*/plan.json"))
            runs = f": {list_some(inside)}" if inside else " (its --out)"
            next_step = f"Give {'runs' if inside else 'the folder'} that `whelp train` wrote{runs}."
        raise ArtifactError(folder, found, "a run folder of `whelp train`", next_step)
    place = folder.resolve()
    return RunRecords(
        name=f"{place.parent.name}/{place.name}",
        recipe=run.recipe.read_text(encoding="utf-8") if run.recipe.is_file() else "",
        settings=started.get("recipe", {}),
        store=started.get("store"),
        plan=started.get("plan", {}),
        ledger=started.get("ledger", {}),
        versions=started.get("versions", {}),
        metrics=list(iter_records(run.metrics)),
        samples=list(iter_records(run.samples)),
    )


def _tell_apart(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of paths that differ: a/run, b/run -> a/run, b/run; x/a, x/b -> a, b."""
    parts = [folder.resolve().parts for folder in folders]
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(one[-length:]) for one in parts]
        if len(set(names)) == len(set(parts)):
            return names
    return [str(folder) for folder in folders]
