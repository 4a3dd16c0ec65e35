"""`whelp curate`: from a recipe's source to a corpus: what is kept, what is dropped and why, and a report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.manifest import read_manifest
from whelp.base.engines import make_engine
from whelp.base.errors import ArtifactError, ConfigError
from whelp.base.files import read_json, write_atomic
from whelp.base.log import log
from whelp.cli.prepare import BAD_ROWS_FILE, Quarantine, SourceOpened
from whelp.cli.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    import pyarrow as pa

    from whelp.base.engines import Engine
    from whelp.corpus import Partition, Source
    from whelp.curate import Ledger, Pipeline
    from whelp.curate.rules.contamination import EvaluationIndex
    from whelp.curate.run import PartCurated, StageStarted
    from whelp.prepare.template import Template
    from whelp.tokenizer.vocabulary import Vocabulary

REPORT_FILE = "report.html"
_EVALUATION_COLUMNS = (
    *(
        "question",
        "answer",
        "prompt",
        "completion",
        "canonical_solution",
        "test",
        "problem",
        "solution",
        "instruction",
        "input",
    ),
    *("output", "query", "passage", "context", "ctx", "goal", "sentence", "text"),
)


@dataclass(frozen=True, kw_only=True)
class CurateResult:
    """What `whelp curate` made. `ledger` says what became of every document; `is_reused` when it was there and up to date."""

    folder: str
    source: str  # what to name as data.source to go on with what is kept
    report: str
    ledger: dict[str, Any]
    is_reused: bool


@dataclass(frozen=True, kw_only=True)
class CorpusReady:
    """The corpus is finished."""

    result: CurateResult


def curate(
    recipe: str | Path | dict[str, Any] | Recipe | None = None,
    *,
    out: str | Path,
    source: str | list[str] | None = None,
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
    loaded = load_curate_recipe(recipe, source, overrides, scale)
    result = None
    for event in iter_curate(loaded, Path(out), rows=rows, engine=make_engine(engine, workers)):
        if isinstance(event, CorpusReady):
            result = event.result
    assert result is not None, "curating ends with a corpus"
    return result


def load_curate_recipe(
    recipe: str | Path | dict[str, Any] | Recipe | None,
    source: str | list[str] | None,
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
    if recipe is None:
        return load_recipe({"data": {"source": source}}, overrides, scale)
    return load_recipe(load_recipe(recipe, overrides, scale), [f"data.source={json.dumps(source)}"])


def iter_curate(
    recipe: Recipe, out: Path, *, rows: Any = None, engine: Engine | None = None
) -> Iterator[SourceOpened | PartCurated | StageStarted | CorpusReady]:
    """Curate, yielding what happens. `rows` stand in for the source of the recipe.

    Raises:
        ConfigError: When the recipe has a mixture.
    """
    from whelp.corpus import count_skipped, open_source
    from whelp.curate import Ledger
    from whelp.curate import curate as curate_rows
    from whelp.curate.run import PARTS_FOLDER, clear_parts
    from whelp.prepare.template import make_template

    if recipe.data.mixture:
        next_step = "Curate each source by itself (--source), then name what is kept in the mixture."
        raise ConfigError("whelp curate", ["the recipe has a mixture of sources"], next_step)
    template = make_template(recipe.data, text_key=recipe.data.custom_text_key)
    source = open_source(recipe.data, _Shape(template, recipe.curate.keep_columns), rows=rows)
    skipped = count_skipped(list(source.skipped))
    yield SourceOpened(name=source.name, num_files=len(source.files), num_bytes=source.num_bytes, skipped=skipped)
    pipeline = make_pipeline(recipe, source)
    inputs = _describe_inputs(pipeline, template)
    changes = _find_changes(out, recipe, source, inputs)
    if changes == []:
        clear_parts(out)
        ledger = read_json(out / "ledger.json")
        if not (out / REPORT_FILE).is_file():
            _write_report(out, source.name, recipe, ledger)
        yield CorpusReady(result=_make_result(out, ledger, is_reused=True))
        return
    if changes:
        log.warning("%s is made again: %s", out, "; ".join(changes[:5]))
    notes: Counter[str] = Counter()
    files: Counter[str] = Counter()
    quarantine = Quarantine(out / PARTS_FOLDER / BAD_ROWS_FILE)

    def iter_partitions() -> Iterator[Partition]:
        for partition in source.iter_partitions():
            notes.update(partition.notes)
            files.update(f"skipped: {file.kind}" for file in partition.skipped)
            quarantine.add(partition.bad_rows)
            yield partition

    def count_files(ledger: Ledger) -> None:
        num_bad = quarantine.finish(out / BAD_ROWS_FILE)
        ledger.files.update(files)
        ledger.files.update({f"skipped: {reason}": count for reason, count in skipped.items()})
        ledger.files["read"] = len(source.files) - files.total()
        ledger.notes.update(notes)
        if num_bad:
            ledger.notes[f"skipped rows written to {BAD_ROWS_FILE}"] = num_bad

    for event in curate_rows(
        iter_partitions(),
        pipeline,
        out,
        labels=lambda: [file.label for file in source.files],
        describe_source=source.describe,
        inputs=inputs,
        count_files=count_files,
        engine=engine,
    ):
        if not isinstance(event, Ledger):
            yield event
            continue
        values = event.to_dict()
        _write_report(out, source.name, recipe, values)
        yield CorpusReady(result=_make_result(out, values, is_reused=False))


class _Shape:
    """What rows are wanted: the columns of a template, and those to keep beside them."""

    def __init__(self, template: Template, keep: Sequence[str]) -> None:
        import pyarrow as pa

        self._template = template
        more = [pa.field(name, pa.large_string()) for name in keep if name not in template.schema.names]
        self.schema = pa.schema([*template.schema, *more])

    @property
    def companions(self) -> dict[str, str]:
        """Those of the template."""
        return self._template.companions

    def find_bad(self, rows: pa.RecordBatch) -> Any:
        """Rows that the template can make no text of."""
        return self._template.find_bad(rows)


def make_pipeline(recipe: Recipe, source: Source) -> Pipeline:
    """The rules, with what they need of other rooms: evaluation texts, and a vocabulary.

    Raises:
        MissingExtraError: When a rule needs a package that is not installed.
    """
    from whelp.curate import Pipeline

    per_token = recipe.curate.find("characters_per_token")
    pipeline = Pipeline(
        recipe.curate,
        index=_index_evaluations(recipe, source),
        vocabulary=None if per_token is None else _load_vocabulary(per_token.tokenizer),
    )
    _ = pipeline.rules  # what is missing, or wrong, is said before anything is read
    return pipeline


def _load_vocabulary(name: str) -> Vocabulary:
    from whelp.tokenizer import load_tokenizer

    return load_tokenizer(name)


def _index_evaluations(recipe: Recipe, source: Source) -> EvaluationIndex | None:
    """Index the texts to decontaminate against; None where there are none."""
    from whelp.corpus import SourceConfig, iter_texts, open_source
    from whelp.curate import make_index

    asked = recipe.curate.find("decontaminate")
    if asked is None:
        return None
    sets: dict[str, Iterator[pa.LargeStringArray]] = {}
    for name in asked.against:
        opened = open_source(SourceConfig(source=name, on_bad_rows="skip"), _EvaluationShape())
        sets[Path(name).name] = iter_texts(opened)
    if asked.own_test_split and any(file.split == "test" for file in source.files):
        sets["the test split"] = _iter_test_texts(source, recipe.curate.keep_columns)
    return make_index(sets, asked.num_words) if sets else None


def _iter_test_texts(source: Source, keep: Sequence[str]) -> Iterator[pa.LargeStringArray]:
    for partition in source.iter_partitions():
        if partition.split == "test":
            for name in partition.batch.schema.names:
                if name not in {"file_index", "line", *keep}:
                    yield partition.batch.column(name).drop_null()


class _EvaluationShape:
    """The columns that sets of questions usually have; a file without any is read for its one column of text."""

    def __init__(self) -> None:
        import pyarrow as pa

        self.schema = pa.schema([(name, pa.large_string()) for name in _EVALUATION_COLUMNS])
        self.companions: dict[str, str] = {}

    def find_bad(self, rows: pa.RecordBatch) -> dict[int, Any]:
        """None: a question without an answer is one, too."""
        return {}


def _describe_inputs(pipeline: Pipeline, template: Template) -> dict[str, Any]:
    """What decides the result besides the source and the section."""
    inputs: dict[str, Any] = {"template": template.fingerprint}
    if pipeline.index is not None:
        inputs["evaluations"] = pipeline.index.fingerprint
    if pipeline.vocabulary is not None:
        inputs["tokenizer"] = getattr(pipeline.vocabulary, "fingerprint", "")
    return inputs


def _find_changes(out: Path, recipe: Recipe, source: Source, inputs: dict[str, Any]) -> list[str] | None:
    """What differs between a finished corpus and what would be made now, in words; None without a corpus."""
    from whelp.curate.run import FORMAT, KIND

    try:
        manifest = read_manifest(out, KIND)
    except ArtifactError:
        return None
    changes = source.changed_since(manifest.inputs["source"])
    now = recipe.curate.resolved()
    for name in now["rules"] | manifest.config["rules"]:
        before, after = (values["rules"].get(name) for values in (manifest.config, now))
        if before != after:
            changes.append(f"curate.{name}: {before or 'off'} -> {after or 'off'}")
    changes += [
        f"curate.{name}: {manifest.config[name]!r} -> {now[name]!r}"
        for name in now
        if name != "rules" and manifest.config[name] != now[name]
    ]
    changes += [
        f"{name}: another one" for name, value in {**inputs, "format": FORMAT}.items() if manifest.inputs.get(name) != value
    ]
    return changes


def _write_report(out: Path, name: str, recipe: Recipe, ledger: dict[str, Any]) -> None:
    from whelp.report import make_curate_report

    values = {"name": name, "ledger": ledger, "preset": recipe.curate.preset, "rules": recipe.curate.resolved()["rules"]}
    write_atomic(out / REPORT_FILE, make_curate_report(values))


def _make_result(out: Path, ledger: dict[str, Any], *, is_reused: bool) -> CurateResult:
    return CurateResult(
        folder=str(out), source=str(out / "kept"), report=str(out / REPORT_FILE), ledger=ledger, is_reused=is_reused
    )
