"""`whelp curate`: from a recipe's source to a corpus: what is kept, what is dropped and why, and a report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.manifest import read_manifest
from whelp.base.as_list import as_list
from whelp.base.engines import make_engine
from whelp.base.errors import ArtifactError, ConfigError
from whelp.base.files import hold_folder, read_json, write_atomic
from whelp.base.last_event import run_to_end
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.curate_rules import make_pipelines
from whelp.cli.curated_recipe import write_curated_recipe
from whelp.cli.prepare import (
    OpenedSource,
    SourceOpened,
    describe_sources,
    fingerprinting_apart,
    name_sources,
    open_recipe_sources,
)
from whelp.cli.reading_counts import ReadingCounts
from whelp.cli.recipe import Recipe, load_recipe
from whelp.cli.screens.draw_events import draw_curating, watch

if TYPE_CHECKING:
    import pyarrow as pa

    from whelp.base.engines import Engine
    from whelp.curate import Pipeline
    from whelp.curate.run import PartCurated, StageStarted
    from whelp.prepare.template import Template

REPORT_FILE = "report.html"
RECIPE_FILE = "recipe.yaml"


@dataclass(frozen=True, kw_only=True)
class CurateResult(ResultRepr):
    """What `whelp curate` made. `ledger` says what became of every document; `is_reused` when it was there and up to date."""

    folder: str
    source: str  # what to name as data.source to go on with what is kept
    recipe: str | None  # of a mixture, the recipe to go on with: the same, of what is kept of each source
    html: str
    ledger: dict[str, Any]
    is_reused: bool


@dataclass(frozen=True, kw_only=True)
class CorpusReady:
    """The corpus is finished."""

    result: CurateResult


def curate(
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
    *,
    out: str | Path,
    source: str | Path | Sequence[str | Path] | None = None,
    overrides: Sequence[str] = (),
    rows: Any = None,
    engine: str = "local",
    workers: int | None = None,
    scale: str | None = None,
) -> CurateResult:
    """Keep of a source what is worth training on; write it to `out`, with what was dropped, the reasons, and a report.

    Killed at any moment, the same call goes on and writes the same bytes. A finished corpus whose inputs have not changed is
    left as it is.

    Args:
        recipe: Its `curate` section says what is kept, its `data` section what the rows are.
        source: In place of a recipe, or of its `data.source`.
        rows: Rows from Python in place of `data.source`, as `whelp.prepare` takes them.
        engine: `local`, threads of this process, or `ray`, workers on a Ray cluster. The bytes are the same.
        workers: How many of them; None for one on each core.
        scale: Another size of the recipe: `tiny`, or one that it names.

    Raises:
        SourceError: When there is no text.
        PlanError: When no document is kept.
        ArtifactError: When something else stands at `out`.
        MissingExtraError: When a rule, or the engine, needs a package that is not installed.
    """
    if rows is not None and source is not None:
        raise ConfigError("rows", ["rows stand in for data.source, but a source is given"], "Leave one of them out.")
    loaded = load_curate_recipe({} if recipe is None and rows is not None else recipe, source, overrides, scale)
    events = iter_curate(loaded, as_path(out), rows=rows, engine=make_engine(engine, workers))
    return run_to_end(watch(events, draw_curating), CorpusReady).result


def load_curate_recipe(
    recipe: str | Path | Mapping[str, Any] | Recipe | None,
    source: str | Path | Sequence[str | Path] | None,
    overrides: Sequence[str] = (),
    scale: str | None = None,
) -> Recipe:
    """The recipe, or one of a source alone.

    Raises:
        ConfigError: When there is neither.
    """
    if recipe is None and source is None:
        raise ConfigError("whelp curate", ["neither a recipe nor a source is given"], "Give RECIPE, or --source.")
    if source is None:
        assert recipe is not None
        return load_recipe(recipe, overrides, scale)
    given = [str(one) for one in as_list(source)]
    named = given[0] if len(given) == 1 else given
    if recipe is None:
        return load_recipe({"data": {"source": named}}, overrides, scale)
    return load_recipe(load_recipe(recipe, overrides, scale), [f"data.source={json.dumps(named)}"])


def iter_curate(
    recipe: Recipe, out: Path, *, rows: Any = None, engine: Engine | None = None
) -> Iterator[SourceOpened | PartCurated | StageStarted | CorpusReady]:
    """Curate, yielding what happens. `rows` stand in for the source of the recipe."""
    with hold_folder(out):
        yield from _iter_curate(recipe, out, rows=rows, engine=engine)


def _iter_curate(
    recipe: Recipe, out: Path, *, rows: Any, engine: Engine | None
) -> Iterator[SourceOpened | PartCurated | StageStarted | CorpusReady]:
    from whelp.artifacts.parts_folder import clear_parts
    from whelp.corpus import count_skipped
    from whelp.curate import Ledger, SourceToCurate
    from whelp.curate import curate as curate_rows
    from whelp.prepare.template import make_template

    templates = [make_template(config, text_key=config.custom_text_key) for config in recipe.data.entries.values()]
    _check_names(recipe, templates)
    opened = open_recipe_sources(recipe, rows=rows, shape=lambda template: _Shape(template, recipe.curate.keep_columns))
    labels = [file.label for one in opened for file in one.source.files]
    skipped = count_skipped([file for one in opened for file in one.source.skipped])
    yield SourceOpened(name=name_sources(opened), files=[file for one in opened for file in one.source.files], skipped=skipped)
    pipelines = make_pipelines(recipe, opened, templates)
    inputs = [_describe_inputs(pipeline, template) for pipeline, template in zip(pipelines, templates, strict=True)]
    changes = _find_changes(out, opened, pipelines, inputs)
    if changes == []:
        clear_parts(out)
        ledger = read_json(out / "ledger.json")
        if not (out / REPORT_FILE).is_file():
            _write_report(out, name_sources(opened), recipe, pipelines, ledger)
        yield CorpusReady(result=_make_result(out, recipe, ledger, is_reused=True))
        return
    if changes:
        log.warning("%s is made again: %s", out, "; ".join(changes[:5]))
    counts = ReadingCounts(len(labels), skipped, out)
    streams = [
        SourceToCurate(
            partitions=counts.watch(one.source.iter_partitions(), one.name),
            pipeline=pipeline,
            first_file=one.first_file,
            name=one.name,
            inputs=own,
        )
        for one, pipeline, own in zip(opened, pipelines, inputs, strict=True)
    ]
    with fingerprinting_apart(opened) as fingerprint:
        for event in curate_rows(
            streams,
            out,
            labels=lambda: labels,
            describe_source=lambda: describe_sources(opened),
            count_files=counts.fill,
            look_through=fingerprint,
            engine=engine,
        ):
            if not isinstance(event, Ledger):
                yield event
                continue
            values = event.to_dict()
            _write_report(out, name_sources(opened), recipe, pipelines, values)
            yield CorpusReady(result=_make_result(out, recipe, values, is_reused=False))


def _check_names(recipe: Recipe, templates: Sequence[Template]) -> None:
    """Refuse columns of text that have the names of those that are written beside them."""
    from whelp.curate.columns import WRITTEN

    taken = sorted({name for template in templates for name in template.schema.names} & set(WRITTEN))
    if taken:
        problems = [f"the template reads a column called {name}, which `whelp curate` writes itself" for name in taken]
        raise ConfigError("whelp curate", problems, "Give the column another name.")


class _Shape:
    """What rows are wanted: the columns of a template, and those to keep beside them."""

    def __init__(self, template: Template, keep: Sequence[str]) -> None:
        import pyarrow as pa

        from whelp.corpus.any_values import ANY

        self._template = template
        more = [pa.field(name, ANY) for name in keep if name not in template.schema.names]
        self.schema = pa.schema([*template.schema, *more])

    @property
    def companions(self) -> dict[str, str]:
        """Those of the template."""
        return self._template.companions

    @property
    def named(self) -> dict[str, str]:
        """Those of the template."""
        return self._template.named

    def find_bad(self, rows: pa.RecordBatch) -> Any:
        """Rows that the template can make no text of."""
        return self._template.find_bad(rows)


def _describe_inputs(pipeline: Pipeline, template: Template) -> dict[str, Any]:
    """What decides the result besides the source and the section."""
    inputs: dict[str, Any] = {"template": template.fingerprint}
    if pipeline.index is not None:
        inputs["evaluations"] = pipeline.index.fingerprint
    if pipeline.vocabulary is not None:
        inputs["tokenizer"] = getattr(pipeline.vocabulary, "fingerprint", "")
    return inputs


def _find_changes(
    out: Path, opened: Sequence[OpenedSource], pipelines: Sequence[Pipeline], inputs: Sequence[dict[str, Any]]
) -> list[str] | None:
    """What differs between a finished corpus and what would be made now, in words; None without a corpus."""
    from whelp.curate.run import FORMAT, KIND

    try:
        manifest = read_manifest(out, KIND)
    except ArtifactError:
        return None
    before, now = (
        ", ".join(filter(None, names)) or "one source"
        for names in (manifest.config.get("sources", {}), [one.name for one in opened])
    )
    changes = [] if before == now else [f"data.mixture: {before} -> {now}"]
    if manifest.inputs.get("format") != FORMAT:
        changes.append("another version of the rules")
    for one, pipeline, own in zip(opened, pipelines, inputs, strict=True):
        files, config, others = manifest.inputs["source"], manifest.config, manifest.inputs
        if one.name is not None:
            if one.name not in config.get("sources", {}):
                continue
            files, config, others = (values["sources"][one.name] for values in (files, config, others))
        elif "sources" in config:
            continue
        found = one.source.changed_since(files) + _compare_rules(config, pipeline.config.resolved())
        found += [
            f"{name}: another one" for name in own | {"evaluations": "", "tokenizer": ""} if own.get(name) != others.get(name)
        ]
        changes += [change if one.name is None else f"{one.name}: {change}" for change in found]
    return changes


def _compare_rules(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    changes = []
    for name in now["rules"] | before["rules"]:
        old, new = (values["rules"].get(name) for values in (before, now))
        if old != new:
            changes.append(f"curate.{name}: {_name_rule(old)} -> {_name_rule(new)}")
    return changes + [
        f"curate.{name}: {before[name]!r} -> {now[name]!r}" for name in now if name != "rules" and before[name] != now[name]
    ]


def _name_rule(numbers: dict[str, Any] | None) -> str:
    return "off" if numbers is None else str(numbers or "on")


def _write_report(out: Path, name: str, recipe: Recipe, pipelines: Sequence[Pipeline], ledger: dict[str, Any]) -> None:
    from whelp.report import make_curate_report

    names = list(recipe.data.entries)
    values: dict[str, Any] = {"name": name, "ledger": ledger}
    values["sources"] = [
        {"name": own, "preset": pipeline.config.preset, "rules": pipeline.config.resolved()["rules"]}
        for own, pipeline in zip(names, pipelines, strict=True)
    ]
    write_atomic(out / REPORT_FILE, make_curate_report(values))


def _make_result(out: Path, recipe: Recipe, ledger: dict[str, Any], *, is_reused: bool) -> CurateResult:
    written = None
    if recipe.data.mixture:
        written = out / RECIPE_FILE
        write_atomic(written, write_curated_recipe(recipe, ledger))
    return CurateResult(
        folder=str(out),
        source=str(out / "kept"),
        recipe=None if written is None else str(written),
        html=str(out / REPORT_FILE),
        ledger=ledger,
        is_reused=is_reused,
    )
