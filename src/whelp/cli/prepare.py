"""`whelp prepare`: from a recipe's source to a token store."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shlex
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.manifest import NAME as MANIFEST_NAME
from whelp.artifacts.manifest import Manifest, read_manifest
from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.config import to_dict
from whelp.base.engines import make_engine
from whelp.base.errors import ArtifactError, ConfigError, SourceError, StaleError, TokenizerError, WhelpError
from whelp.base.files import hold_folder, read_json
from whelp.base.hashing import hash_json
from whelp.base.last_event import run_to_end
from whelp.base.log import log
from whelp.base.machine import count_cores, share_heaps
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.mixture import MixtureEntry
from whelp.cli.reading_counts import LedgerLike, ReadingCounts, say_marked_up
from whelp.cli.recipe import DataConfig, Recipe, load_recipe
from whelp.cli.screens.draw_events import draw_preparing, watch
from whelp.cli.source_licences import find_licences

if TYPE_CHECKING:
    from whelp.base.engines import Engine
    from whelp.corpus import Source, SourceFile
    from whelp.corpus.row_shape import RowShape
    from whelp.prepare.encode import PrepareReport
    from whelp.prepare.template import Template
    from whelp.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class PrepareResult(ResultRepr):
    """What `whelp prepare` made. `is_reused` when the store was finished and up to date before."""

    folder: str
    ledger: dict[str, Any]
    splits: dict[str, dict[str, int]]
    vocab_size: int
    is_reused: bool


def prepare(
    recipe: str | Path | Mapping[str, Any] | Recipe,
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
        rows: Rows from Python in place of `data.source`: a frame or a column of pandas or polars, a pyarrow table, a
            `datasets.Dataset`, any iterable of dictionaries or of texts, or a mapping of the splits `train` and `test` to those.
        engine: `local`, threads of this process, or `ray`, encoders on a Ray cluster. The bytes are the same.
        workers: How many of them; None for one on each core.
        scale: Another size of the recipe: `tiny`, or one that it names.

    Raises:
        SourceError: When there is no text.
        ArtifactError: When something else stands at `out`.
        MissingExtraError: When Ray is asked for, and not installed.
    """
    loaded = load_recipe(recipe, overrides, scale)
    events = iter_prepare(loaded, as_path(out), rows=rows, engine=make_engine(engine, workers))
    return run_to_end(watch(events, draw_preparing), StoreReady).result


@dataclass(frozen=True, kw_only=True)
class SourceOpened:
    """The files are known, in the order in which they are read."""

    name: str
    files: Sequence[SourceFile]
    skipped: dict[str, int]

    @property
    def file_bytes(self) -> list[int]:
        """Their sizes."""
        return [file.num_bytes for file in self.files]

    @property
    def num_files(self) -> int:
        """How many there are."""
        return len(self.files)

    def find_position(self, number: int) -> int | None:
        """How many bytes of a packed file are read so far; None of others."""
        return self.files[number].find_position()

    @property
    def num_bytes(self) -> int:
        """How large they are together."""
        return sum(self.file_bytes)


@dataclass(frozen=True, kw_only=True)
class VocabularyReady:
    """The vocabulary is learned or loaded."""

    kind: str
    vocab_size: int
    is_learned: bool


@dataclass(frozen=True, kw_only=True)
class StoreReady:
    """The store is finished."""

    result: PrepareResult


@dataclass(frozen=True, kw_only=True)
class OpenedSource:
    """A source of a recipe: how it is read, and its files; `first_file` is where these begin among those of all sources."""

    name: str | None  # of a mixture
    config: DataConfig | MixtureEntry
    source: Source
    first_file: int

    @property
    def weight(self) -> float:
        """Its weight in a mixture; alone it is all there is."""
        return self.config.weight if isinstance(self.config, MixtureEntry) else 1.0

    @property
    def max_repeats(self) -> float | None:
        """Its limit in a mixture; alone it has none."""
        return self.config.max_repeats if isinstance(self.config, MixtureEntry) else None


def open_recipe_sources(
    recipe: Recipe, *, rows: Any = None, shape: Callable[[Template], RowShape] | None = None
) -> list[OpenedSource]:
    """The source of a recipe, or those of its mixture, with the columns that their templates can use.

    Args:
        rows: Stand in for the source.
        shape: Says for a template which columns are wanted; by default those of the template.

    Raises:
        ConfigError: When rows are given for a mixture.
    """
    from whelp.corpus import open_source
    from whelp.prepare.template import make_template

    if rows is not None and recipe.data.mixture:
        raise ConfigError("rows", ["rows stand in for data.source, but the recipe has a mixture"], "Remove data.mixture.")
    opened: list[OpenedSource] = []
    first_file = 0
    for name, config in recipe.data.entries.items():
        template = make_template(config, text_key=config.custom_text_key)
        try:
            source = open_source(config, template if shape is None else shape(template), rows=rows)
        except SourceError as error:
            if error.where != str(config.source):
                raise
            key = "data.source" if name is None else f"data.mixture.{name}.source"
            next_step = f"{error.next_step} {key}=PATH takes another."
            raise SourceError(error.where, error.found, error.expected, next_step) from None
        opened.append(OpenedSource(name=name, config=config, source=source, first_file=first_file))
        first_file += len(source.files)
    return opened


def name_sources(sources: Sequence[OpenedSource]) -> str:
    """What all sources together are called."""
    if len(sources) == 1:
        return sources[0].source.name
    return f"the mixture {', '.join(str(one.name) for one in sources)}"


def iter_prepare(
    recipe: Recipe, out: Path, *, vocabulary: Vocabulary | None = None, rows: Any = None, engine: Engine | None = None
) -> Iterator[SourceOpened | VocabularyReady | PrepareReport | StoreReady]:
    """Prepare, yielding what happens. `vocabulary` stands in for the recipe's own, `rows` for its source."""
    share_heaps(count_cores())
    with hold_folder(out):
        yield from _iter_prepare(recipe, out, vocabulary=vocabulary, rows=rows, engine=engine)


def _iter_prepare(
    recipe: Recipe, out: Path, *, vocabulary: Vocabulary | None, rows: Any, engine: Engine | None
) -> Iterator[SourceOpened | VocabularyReady | PrepareReport | StoreReady]:
    from whelp.artifacts.parts_folder import check_place, clear_parts
    from whelp.cli.learned_vocabulary import make_vocabulary
    from whelp.corpus import count_skipped
    from whelp.prepare.encode import SourceToPrepare
    from whelp.prepare.encode import prepare as encode_documents
    from whelp.prepare.template import make_template

    if is_imported(out):
        expected = "an empty folder or a store prepared from text"
        raise ArtifactError(out, "holds an imported store", expected, "Choose another --out; nothing was changed.")
    check_place(out, "token_store", "a token store")  # now, not after a vocabulary has been learned
    opened = open_recipe_sources(recipe, rows=rows)
    files = [file for one in opened for file in one.source.files]
    labels = [file.label for file in files]
    skipped = count_skipped([file for one in opened for file in one.source.skipped])
    yield SourceOpened(name=name_sources(opened), files=files, skipped=skipped)
    say_marked_up(files)
    _say_unused(recipe, opened)
    changes = find_changes(out, recipe, opened, vocabulary)
    if changes == []:
        clear_parts(out)
        store = open_store(out)
        yield StoreReady(result=describe_store(store, is_reused=True))
        return
    if changes:
        log.warning("%s is made again: %s", out, "; ".join(changes[:5]))
    if vocabulary is None:
        vocabulary, is_learned = make_vocabulary(recipe, opened)
        yield VocabularyReady(kind=vocabulary.kind, vocab_size=vocabulary.size, is_learned=is_learned)
        _say_inexact(vocabulary)
    counts = ReadingCounts(len(labels), skipped, out)

    def count_files(ledger: LedgerLike) -> None:
        counts.fill(ledger)
        own = Counter(file.split_name or "test" for one in opened for file in one.source.files if file.split == "test")
        ledger.notes.update({f"files of the source's own split {name}, held out": count for name, count in own.items()})

    streams = [
        SourceToPrepare(
            partitions=counts.watch(one.source.iter_partitions(), one.name),
            config=one.config,
            template=make_template(one.config, text_key=one.config.custom_text_key, vocabulary=vocabulary),
            has_own_test=any(file.split == "test" for file in one.source.files),
            first_file=one.first_file,
            name=one.name,
            weight=one.weight,
            max_repeats=one.max_repeats,
        )
        for one in opened
    ]
    with fingerprinting_apart(opened) as fingerprint:
        yield from encode_documents(
            streams,
            vocabulary,
            out,
            describe_source=lambda: {**describe_sources(opened), "tokenizer_asked": _asked_tokenizer(recipe)},
            sources=lambda: labels,
            count_files=count_files,
            look_through=fingerprint,
            seed=recipe.train.seed,
            engine=engine,
        )
    yield StoreReady(result=describe_store(open_store(out), is_reused=False))


def _say_unused(recipe: Recipe, opened: Sequence[OpenedSource]) -> None:
    """Say which options have no effect: of a mixture's shared ones, those that no source uses."""
    found = [one.source.find_unused() for one in opened]
    shared = set(found[0]).intersection(*found)
    for one, unused in zip(opened, found, strict=True):
        for name, reason in unused.items():
            is_own = one.name is not None and getattr(one.config, name) != getattr(recipe.data, name)
            if is_own or (name in shared and one is opened[0]):
                log.warning("data.%s%s has no effect: %s", f"mixture.{one.name}." if is_own else "", name, reason)


def _say_inexact(vocabulary: Vocabulary) -> None:
    """Say when texts do not come back from their ids as they were: the model never sees what is gone."""
    if vocabulary.is_byte_exact:
        return
    text = "Two  words,\n\tand more."
    try:
        found = vocabulary.decode(vocabulary.encode(text))
    except TokenizerError:  # letters that it has not
        return
    if found != text:
        log.warning("this vocabulary gives back %r as %r: what is lost there, the model never sees", text, found)


def is_imported(folder: Path) -> bool:
    """Whether a token store was made from ids, not from text; damaged or not."""
    try:
        return "imported" in read_json(folder / MANIFEST_NAME)["inputs"]["source"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


@contextlib.contextmanager
def fingerprinting_apart(opened: Sequence[OpenedSource]) -> Iterator[Callable[[], None]]:
    """What fingerprints the files that reading the documents does not; on another thread it ends soon after the block."""
    is_over = threading.Event()

    def fingerprint() -> None:
        for one in opened:
            one.source.fingerprint_apart(lambda: not is_over.is_set())

    try:
        yield fingerprint
    finally:
        is_over.set()


def describe_sources(opened: Sequence[OpenedSource]) -> dict[str, Any]:
    """What identifies the sources, for the manifest."""
    parts = {
        one.name: one.source.describe() | ({"named_licences": licences} if (licences := find_licences(one.source)) else {})
        for one in opened
    }
    if None in parts:
        return parts[None]
    return {"name": name_sources(opened), "sources": parts}


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


def find_changes(
    out: Path, recipe: Recipe, sources: Sequence[OpenedSource], vocabulary: Vocabulary | None = None
) -> list[str] | None:
    """What differs between a finished store and what the recipe would make now, in words; None without a store."""
    try:
        manifest = read_manifest(out, "token_store")
    except ArtifactError:
        return None
    changes = _mixture_changes(recipe, manifest)
    for one in sources:
        if one.name is None and "mixture" not in manifest.config:
            changes += _source_changes(one, manifest.inputs["source"], manifest.config)
        elif one.name in manifest.config.get("mixture", {}):
            before = manifest.inputs["source"]["sources"][one.name]
            changes += [
                f"{one.name}: {change}" for change in _source_changes(one, before, manifest.config["mixture"][one.name])
            ]
    if manifest.config["seed"] != recipe.train.seed:
        changes.append(f"data.seed: {manifest.config['seed']!r} -> {recipe.train.seed!r}")
    if vocabulary is not None:
        if vocabulary.fingerprint != manifest.inputs["tokenizer"]:
            changes.append("the tokenizer: another vocabulary")
    else:
        changes += _tokenizer_changes(recipe, manifest.inputs)
    return changes


def _mixture_changes(recipe: Recipe, manifest: Manifest) -> list[str]:
    """Whether there are other sources, or the same in another order."""
    before, now = (
        ", ".join(names) or "one source"
        for names in (manifest.config.get("mixture", {}), [entry.label for entry in recipe.data.mixture])
    )
    return [] if before == now else [f"data.mixture: {before} -> {now}"]


def _source_changes(one: OpenedSource, before: dict[str, Any], config: dict[str, Any]) -> list[str]:
    """What differs in one source: its files, and the options that change its documents."""
    changes = one.source.changed_since(before)
    now = {name: value for name, value in to_dict(one.config).items() if name in config}
    return changes + [
        f"data.{name}: {_say_value(config[name])} -> {_say_value(value)}"
        for name, value in now.items()
        if config[name] != value
    ]


def _say_value(value: Any) -> str:
    return "not set" if value is None else repr(value)


def _asked_tokenizer(recipe: Recipe) -> Any:
    return to_dict(recipe.data)["tokenizer"]


def _tokenizer_changes(recipe: Recipe, inputs: dict[str, Any]) -> list[str]:
    from whelp.tokenizer import load_tokenizer

    asked, before = recipe.data.tokenizer, inputs["source"].get("tokenizer_asked")
    if isinstance(asked, str):
        if isinstance(before, dict) and not os.path.exists(asked):  # a name: not fetched only to say that it is another one
            return [f"data.tokenizer: {say_tokenizer(before)} -> {asked}"]
        vocabulary = load_tokenizer(asked)
        if vocabulary.fingerprint != inputs["tokenizer"]:
            return [f"the tokenizer: {asked} is another vocabulary than the one the store was made with"]
        is_used = any(entry.conversation_template is not None for entry in recipe.data.entries.values())
        if is_used and hash_json(vocabulary.chat_template) != inputs.get("chat_template"):
            return [f"the tokenizer: {asked} has another chat template than when the store was made"]
        return []
    if isinstance(before, str):  # made with a vocabulary from elsewhere, as `whelp demo` does
        return []
    now = _asked_tokenizer(recipe)
    return [] if now == before else [f"data.tokenizer: {say_tokenizer(before)} -> {say_tokenizer(now)}"]


def say_tokenizer(asked: str | dict[str, Any]) -> str:
    """What a recipe says of its vocabulary, as one would write it: without what is left as it comes.

    >>> say_tokenizer({"learn": "bpe", "vocab_size": 2048, "pattern": "gpt2", "special_tokens": []})
    '{learn: bpe, vocab_size: 2048}'
    """
    from whelp.tokenizer import LearnConfig

    if isinstance(asked, str):
        return asked
    usual = to_dict(LearnConfig())
    return _write_yaml({name: value for name, value in asked.items() if name == "learn" or value != usual.get(name)})


def _write_yaml(value: Any) -> str:
    import yaml

    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1 << 16).removesuffix("...\n").strip()


def _list_repeats(recipe: Recipe, manifest: Manifest, options: Mapping[str, Any]) -> list[str]:
    """The overrides that make a recipe of one source read what a store was made of, as one types them.

    Args:
        options: Those of reading the source now. What they were is in the store, `document` as it came out: a row is none to ask for.
    """
    source, now = manifest.inputs["source"], to_dict(recipe.data)
    reading = {
        name: value
        for name, value in source.get("options", {}).items()
        if name.startswith("dataset_") or (options.get(name, value) != value and not str(value).startswith("row"))
    }
    before, asked = manifest.config | reading, source.get("tokenizer_asked")
    if "mixture" in before or asked is None:
        return []
    found = {name: _write_yaml(before[name]) for name, value in now.items() if before.get(name, value) != value}
    if now["tokenizer"] != asked:
        found["tokenizer"] = say_tokenizer(asked)
    return [f"data.{name}={shlex.quote(value)}" for name, value in found.items()]


def check_fresh(store: TokenStore, recipe: Recipe) -> None:
    """Refuse a store that the recipe would no longer make. What cannot be compared is said: an imported store, a source not here.

    Raises:
        StaleError: Saying what changed and which command to run.
    """
    if is_imported(store.folder):
        log.info("%s was imported: it is not compared with the recipe's source and tokenizer", store.folder)
        return
    manifest = read_manifest(store.folder, "token_store")
    changes: list[str] | None = _mixture_changes(recipe, manifest)
    options: dict[str, Any] = {}
    if not changes:
        if manifest.inputs["source"].get("is_given"):
            log.info("the store's text is not compared with its source: it was made of rows from Python")
            return
        try:
            opened = open_recipe_sources(recipe)
        except WhelpError as error:
            log.info("the store's text is not compared with its source: %s", error)
            return
        # another seed trains on the store as it is: what is held out was drawn when it was made
        drawn = dataclasses.replace(recipe.train, seed=manifest.config["seed"])
        changes = find_changes(store.folder, dataclasses.replace(recipe, train=drawn), opened)
        options = opened[0].source.options()
    if changes:
        more = f" and {len(changes) - 5} more" if len(changes) > 5 else ""
        repeats = " ".join(_list_repeats(recipe, manifest, options))
        raise StaleError(
            store.folder,
            f"it was made from other inputs ({'; '.join(changes[:5])}{more})",
            "",
            (f"Say here too what it was made with: {repeats}. Or run" if repeats else "Run")
            + f" `whelp prepare` again with --out {store.folder}"
            + (", or give the recipe it was made with." if not repeats else "."),
        )
