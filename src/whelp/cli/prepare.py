"""`whelp prepare`: from a recipe's source to a token store."""

from __future__ import annotations

import dataclasses
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.manifest import read_manifest
from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.config import to_dict
from whelp.base.errors import ArtifactError, ConfigError, StaleError, WhelpError
from whelp.base.hashing import hash_json
from whelp.base.log import log
from whelp.cli.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from whelp.corpus import BadRow, Partition, Source
    from whelp.prepare.encode import PrepareReport
    from whelp.prepare.engines import Engine
    from whelp.prepare.ledger import Ledger
    from whelp.tokenizer.vocabulary import Vocabulary

BAD_ROWS_FILE = "bad_rows.jsonl"


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """What `whelp prepare` made. `is_reused` when the store was finished and up to date before."""

    folder: str
    ledger: dict[str, Any]
    splits: dict[str, dict[str, int]]
    vocab_size: int
    is_reused: bool


def prepare(
    recipe: str | Path | dict[str, Any] | Recipe,
    *,
    out: str | Path,
    overrides: Sequence[str] = (),
    rows: Any = None,
    engine: str = "local",
    workers: int | None = None,
    scale: str | None = None,
) -> PrepareResult:
    """Turn a recipe's source into a token store at `out`.

    Killed at any moment, the same call goes on and writes the same bytes. A finished store whose inputs have not changed
    is left as it is.

    Args:
        rows: Rows from Python in place of `data.source`: a pandas frame, a pyarrow table, a `datasets.Dataset`, any iterable
            of dictionaries, or a mapping of the splits `train` and `test` to those.
        engine: `local`, threads of this process, or `ray`, encoders on a Ray cluster. The bytes are the same.
        workers: How many of them; None for one on each core.
        scale: Another size of the recipe: `tiny`, or one that it names.

    Raises:
        SourceError: When there is no text.
        ArtifactError: When something else stands at `out`.
        MissingExtraError: When Ray is asked for, and not installed.
    """
    for _ in iter_prepare(load_recipe(recipe, overrides, scale), Path(out), rows=rows, engine=make_engine(engine, workers)):
        pass
    return describe_store(open_store(Path(out)), is_reused=False)


@dataclass(frozen=True, kw_only=True)
class SourceOpened:
    """The files are known."""

    name: str
    num_files: int
    num_bytes: int
    skipped: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class VocabularyReady:
    """The vocabulary is learned or loaded."""

    kind: str
    size: int
    is_learned: bool


@dataclass(frozen=True, kw_only=True)
class StoreReady:
    """The store is finished."""

    result: PrepareResult


def open_recipe_source(recipe: Recipe, *, rows: Any = None) -> Source:
    """The source of a recipe, with the columns that its template can use; `rows` stand in for it."""
    from whelp.corpus import open_source
    from whelp.prepare.template import make_template

    return open_source(recipe.data, make_template(recipe.data, text_key=recipe.data.custom_text_key), rows=rows)


def make_engine(name: str, workers: int | None) -> Engine:
    """Where partitions are encoded.

    Raises:
        ConfigError: When there is no such engine.
    """
    from whelp.prepare.engines import LocalEngine
    from whelp.prepare.ray_engine import RayEngine

    engines: dict[str, type[LocalEngine] | type[RayEngine]] = {"local": LocalEngine, "ray": RayEngine}
    if name not in engines:
        raise ConfigError("engine", [f"{name!r} is no engine"], "Choose local or ray.")
    return engines[name](workers=workers)


def iter_prepare(
    recipe: Recipe, out: Path, *, vocabulary: Vocabulary | None = None, rows: Any = None, engine: Engine | None = None
) -> Iterator[SourceOpened | VocabularyReady | PrepareReport | StoreReady]:
    """Prepare, yielding what happens. `vocabulary` stands in for the recipe's own, `rows` for its source."""
    from whelp.corpus import count_skipped
    from whelp.prepare.encode import PARTS_FOLDER, clear_parts
    from whelp.prepare.encode import prepare as encode_documents
    from whelp.prepare.template import make_template

    source = open_recipe_source(recipe, rows=rows)
    skipped = count_skipped(source.skipped)
    yield SourceOpened(name=source.name, num_files=len(source.files), num_bytes=source.num_bytes, skipped=skipped)
    changes = find_changes(out, recipe, source, vocabulary)
    if changes == []:
        clear_parts(out)
        store = open_store(out)
        yield StoreReady(result=describe_store(store, is_reused=True))
        return
    if changes:
        log.warning("%s is made again: %s", out, "; ".join(changes[:5]))
    if vocabulary is None:
        vocabulary, is_learned = make_vocabulary(recipe, source)
        yield VocabularyReady(kind=vocabulary.kind, size=vocabulary.size, is_learned=is_learned)
    notes: Counter[str] = Counter()
    files: Counter[str] = Counter()
    quarantine = Quarantine(out / PARTS_FOLDER / BAD_ROWS_FILE)

    def partitions() -> Iterator[Partition]:
        for partition in source.iter_partitions():
            notes.update(partition.notes)
            files.update(f"skipped: {file.kind}" for file in partition.skipped)
            quarantine.add(partition.bad_rows)
            yield partition

    def count_files(ledger: Ledger) -> None:
        ledger.files.update(files)
        ledger.files.update({f"skipped: {reason}": count for reason, count in skipped.items()})
        ledger.files["read"] = len(source.files) - files.total()
        ledger.notes.update(notes)
        num_bad = quarantine.finish(out / BAD_ROWS_FILE)
        if num_bad:
            ledger.notes[f"skipped rows written to {BAD_ROWS_FILE}"] = num_bad

    yield from encode_documents(
        partitions(),
        vocabulary,
        recipe.data,
        out,
        describe_source=lambda: {**source.describe(), "tokenizer_asked": _asked_tokenizer(recipe)},
        sources=lambda: [file.label for file in source.files],
        count_files=count_files,
        template=make_template(recipe.data, text_key=recipe.data.custom_text_key, vocabulary=vocabulary),
        has_own_test=any(file.split == "test" for file in source.files),
        seed=recipe.train.seed,
        engine=engine,
    )
    yield StoreReady(result=describe_store(open_store(out), is_reused=False))


class Quarantine:
    """Writes the rows that were skipped to a file, one JSON object a line, as the partitions pass."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_rows = 0

    def add(self, rows: Sequence[BadRow]) -> None:
        """Write some rows; the first of them begin the file anew."""
        if not rows:
            return
        mode = "a" if self._num_rows else "w"
        with open(
            self._path, mode, encoding="utf-8", errors="backslashreplace"
        ) as file:  # half a surrogate pair, as JSON says it
            file.writelines(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
        self._num_rows += len(rows)

    def finish(self, place: Path) -> int:
        """Put the file in place of one of before; without any row, there is none. Return the number of rows."""
        if self._num_rows:
            os.replace(self._path, place)
        else:
            place.unlink(missing_ok=True)
        return self._num_rows


def make_vocabulary(recipe: Recipe, source: Source) -> tuple[Vocabulary, bool]:
    """Load the recipe's vocabulary, or learn it from the source; true when it was learned."""
    from whelp.corpus import iter_texts
    from whelp.tokenizer import learn, load_tokenizer

    asked = recipe.data.tokenizer
    if isinstance(asked, str):
        return load_tokenizer(asked), False
    return learn(iter_texts(source, asked.max_bytes), asked), True


def describe_store(store: TokenStore, *, is_reused: bool) -> PrepareResult:
    """What is in a store, as the result of preparing it."""
    counts = store.manifest.counts
    return PrepareResult(
        folder=str(store.folder),
        ledger=store.ledger,
        splits=counts["splits"],
        vocab_size=counts["vocab_size"],
        is_reused=is_reused,
    )


def find_changes(out: Path, recipe: Recipe, source: Source, vocabulary: Vocabulary | None = None) -> list[str] | None:
    """What differs between a finished store and what the recipe would make now, in words; None without a store."""
    try:
        manifest = read_manifest(out, "token_store")
    except ArtifactError:
        return None
    before = manifest.inputs["source"]
    changes = source.changed_since(before)
    changes += [
        f"data.{name}: {before['options'].get(name)!r} -> {value!r}"
        for name, value in source.options().items()
        if before["options"].get(name) != value
    ]
    now = {name: value for name, value in to_dict(recipe.data).items() if name in manifest.config}
    now["seed"] = recipe.train.seed
    changes += [
        f"data.{name}: {manifest.config[name]!r} -> {value!r}" for name, value in now.items() if manifest.config[name] != value
    ]
    if vocabulary is not None:
        if vocabulary.fingerprint != manifest.inputs["tokenizer"]:
            changes.append("the tokenizer: another vocabulary")
    else:
        changes += _tokenizer_changes(recipe, manifest.inputs)
    return changes


def _asked_tokenizer(recipe: Recipe) -> Any:
    return to_dict(recipe.data)["tokenizer"]


def _tokenizer_changes(recipe: Recipe, inputs: dict[str, Any]) -> list[str]:
    from whelp.tokenizer import load_tokenizer

    asked, before = recipe.data.tokenizer, inputs["source"].get("tokenizer_asked")
    if isinstance(asked, str):
        vocabulary = load_tokenizer(asked)
        if vocabulary.fingerprint != inputs["tokenizer"]:
            return [f"the tokenizer: {asked} is another vocabulary than the one the store was made with"]
        if recipe.data.conversation_template is not None and hash_json(vocabulary.chat_template) != inputs.get("chat_template"):
            return [f"the tokenizer: {asked} has another chat template than when the store was made"]
        return []
    if isinstance(before, str):  # made with a vocabulary from elsewhere, as `whelp demo` does
        return []
    return [] if _asked_tokenizer(recipe) == before else [f"data.tokenizer: {before} -> {_asked_tokenizer(recipe)}"]


def check_fresh(store: TokenStore, recipe: Recipe) -> None:
    """Refuse a store that the recipe would no longer make. A source that is not here cannot be compared: that is said.

    Raises:
        StaleError: Saying what changed and which command to run.
    """
    if read_manifest(store.folder, "token_store").inputs["source"].get("is_given"):
        log.info("the store's text is not compared with its source: it was made of rows from Python")
        return
    try:
        source = open_recipe_source(recipe)
    except WhelpError as error:
        log.info("the store's text is not compared with its source: %s", error)
        return
    # another seed trains on the store as it is: what is held out was drawn when it was made
    drawn = dataclasses.replace(recipe.train, seed=read_manifest(store.folder, "token_store").config["seed"])
    changes = find_changes(store.folder, dataclasses.replace(recipe, train=drawn), source)
    if changes:
        more = f" and {len(changes) - 5} more" if len(changes) > 5 else ""
        raise StaleError(
            store.folder,
            f"it was made from other inputs ({'; '.join(changes[:5])}{more})",
            "",
            f"Run `whelp prepare` again with --out {store.folder}, or give the recipe it was made with.",
        )
