"""`whelp trace`: which stores, runs, checkpoints and exports a source of text went into, and what it takes to be without it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whelp.artifacts.checkpoint import find_checkpoints
from whelp.artifacts.manifest import find_kind
from whelp.artifacts.run_folder import RunFolder
from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.as_list import as_list
from whelp.base.errors import ArtifactError, ConfigError
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.exporting.origin import ORIGIN_FILE, UNKNOWN, count_trained, iter_before, read_origin
from whelp.cli.source_licences import list_licences
from whelp.cli.trace_source import Asked, Found, find_in_store

_GGUF = ".gguf"


@dataclass(frozen=True, kw_only=True)
class TracedStore(ResultRepr):
    """A store with some of the source; `share` is that of the tokens of its training split.

    `through`: curated corpora. `named_licences`: of the sources it is in, where they are known.
    """

    folder: str
    files: list[str]
    num_documents: dict[str, int]
    num_tokens: dict[str, int]
    share: float
    through: list[str]
    named_licences: list[str]


@dataclass(frozen=True, kw_only=True)
class TracedRun(ResultRepr):
    """A run that was trained on such a store, or began with weights that were.

    `share` is that of the tokens that the run trains on, with the weights of a mixture. `checkpoints`: step, and about how many
    tokens of the source were trained by then; among them `inherited_tokens`, in the weights that it began with. `store` is None
    when that of the run itself is not in the folders.
    """

    folder: str
    store: str | None
    share: float
    inherited_tokens: int
    checkpoints: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class TracedExport(ResultRepr):
    """A folder of `whelp export`, or a GGUF file of one, made of a checkpoint of such a run; about `num_tokens` of the source were trained."""

    folder: str
    store: str | None
    share: float
    step: int
    inherited_tokens: int
    num_tokens: int


@dataclass(frozen=True, kw_only=True)
class Trace(ResultRepr):
    """What `whelp trace` found. `untold`: runs and exports of which a store is not in the folders, so not all can be said."""

    source: str
    num_stores: int
    num_runs: int
    num_exports: int
    stores: list[TracedStore]
    runs: list[TracedRun]
    exports: list[TracedExport]
    untold: list[str]
    next_steps: list[str]


def trace(source: str | Path, folders: str | Path | Sequence[str | Path]) -> Trace:
    """Find a source of text in token stores, in the runs and checkpoints trained on them, and in their exports. Nothing is written.

    Args:
        source: A file or a folder (by its path, or, of a file, by its contents under whatever name), a pattern of file names, the
            name of a source in a mixture, or what a recipe calls its source, such as a dataset of the hub.
        folders: Where to look, with all folders below; of an export also its GGUF file.

    Raises:
        ArtifactError: When a folder is not there, or there is no store, run or export in any.
    """
    source, folders = str(source), as_list(folders)
    if not folders:
        raise ConfigError("whelp trace", ["no folder is given"], "Example: whelp trace book.txt .")
    asked = Asked.read(source)
    places: dict[str, list[Path]] = {"store": [], "run": [], "export": []}
    for folder in {os.path.realpath(folder): folder for folder in map(as_path, reversed(folders))}.values():
        if not folder.is_dir() and not (folder.is_file() and folder.name.endswith(_GGUF)):
            found = "is no folder and no GGUF file" if folder.exists() else "there is no such folder"
            raise ArtifactError(folder, found, "a folder to look in", "Check the spelling.")
        for kind, place in _iter_artifacts(folder) if folder.is_dir() else _iter_file(folder):
            places[kind].append(place)
    stores, runs, exports = (list(dict.fromkeys(found)) for found in places.values())
    if not stores and not runs and not exports:
        where = ", ".join(map(str, folders))
        raise ArtifactError(where, "there is no store, run or export below", "", "Name the folders that hold them.")
    opened = [open_store(store) for store in stores]
    looked = [(store, find_in_store(store, asked)) for store in opened]
    if not asked.by_name and not any(_is_any(found) for _, found in looked):  # what is here was changed since: by its name
        asked = dataclasses.replace(asked, by_name=True)
        looked = [(store, find_in_store(store, asked)) for store in opened]
    traced = [_describe_store(store, found) for store, found in looked if _is_any(found)]
    known = {
        store.manifest.fingerprint: (str(store.folder), found) for store, found in reversed(looked)
    }  # of copies, the first
    traced_runs, traced_exports, untold = list[TracedRun](), list[TracedExport](), list[str]()
    for run in runs:
        try:
            started = RunFolder(run).read_plan() or {}
            if started["recipe"]["train"].get("start_from") is not None:
                started.setdefault("start", UNKNOWN)  # earlier versions did not ask
            one = _describe_run(run, started, known)
        except (ArtifactError, KeyError, TypeError):  # damaged, or of another version
            untold.append(str(run))
            continue
        untold += [] if _is_told(started, known) else [str(run)]
        if one.share or one.inherited_tokens:
            traced_runs.append(one)
    for export in exports:
        origin = read_origin(export) or {}
        untold += [] if _is_told(origin, known) else [str(export)]
        sent = _describe_export(export, origin, known)
        if sent.share or sent.inherited_tokens:
            traced_exports.append(sent)
    return Trace(
        source=source,
        num_stores=len(opened),
        num_runs=len(runs),
        num_exports=len(exports),
        stores=traced,
        runs=traced_runs,
        exports=traced_exports,
        untold=untold,
        next_steps=list(_find_next_steps(source, traced, bool(traced_runs or traced_exports))),
    )


def _iter_artifacts(folder: Path) -> Iterator[tuple[str, Path]]:
    """Stores, runs and exports below a folder, through links, each once; what a store or a checkpoint has inside is its own."""
    seen: set[str] = set()
    for place, names, files in os.walk(folder, followlinks=True):
        whole = os.path.realpath(place)
        if whole in seen:
            names.clear()
            continue
        seen.add(whole)
        names.sort()
        if "manifest.json" in files and find_kind(Path(place)) == "token_store":
            names.clear()
            yield "store", Path(place)
        elif "plan.json" in files and "recipe.yaml" in files:
            names[:] = [name for name in names if name != RunFolder(Path()).checkpoints.name]
            yield "run", Path(place)
        else:
            yield from (("export", export) for export in _find_exports(Path(place), files))


def _find_exports(folder: Path, files: Sequence[str]) -> Iterator[Path]:
    """A folder that was exported, and GGUF files that were put into it from elsewhere."""
    origin = read_origin(folder) if ORIGIN_FILE in files else None
    if origin is not None:
        yield folder
    for name in sorted(files):
        if name.endswith(_GGUF):
            own = read_origin(folder / name)
            if own is not None and own != origin:
                yield folder / name


def _iter_file(file: Path) -> Iterator[tuple[str, Path]]:
    """A GGUF file that is named itself."""
    if read_origin(file) is not None:
        yield "export", file


def _is_any(found: Found) -> bool:
    return any(count.documents for count in found.splits.values())


def _describe_store(store: TokenStore, found: Found) -> TracedStore:
    known = list_licences(store.manifest.inputs["source"])
    licences = [licence for name, (ours, _) in found.parts.items() if ours for licence in known.get(name, [])]
    ours, total = (sum(pair[place] for pair in found.parts.values()) for place in (0, 1))
    return TracedStore(
        folder=str(store.folder),
        files=found.files,
        num_documents={name: count.documents for name, count in found.splits.items()},
        num_tokens={name: count.tokens for name, count in found.splits.items()},
        share=ours / total if total else 0.0,
        through=found.through,
        named_licences=list(dict.fromkeys(licences)),
    )


Known = Mapping[str, tuple[str, Found]]  # by fingerprint of the store: where it is, and what it has of the source


def _is_told(origin: Mapping[str, Any], known: Known) -> bool:
    """Whether the stores of a run or an export, and of all before it, are there to look into."""
    return all(one.get("store") in known for one in (origin, *iter_before(origin)))


def _look_up(origin: Mapping[str, Any], known: Known) -> tuple[str | None, float]:
    """The store of a run or an export, and the source's share of what was trained on it."""
    folder, found = known.get(str(origin.get("store")), (None, None))
    return folder, 0.0 if found is None else _find_share(found, origin)


def _count_inherited(origin: Mapping[str, Any], known: Known) -> int:
    return round(sum(_look_up(one, known)[1] * int(one["trained_tokens"]) for one in iter_before(origin)))


def _describe_run(run: Path, started: Mapping[str, Any], known: Known) -> TracedRun:
    (store, share), inherited = _look_up(started, known), _count_inherited(started, known)
    steps = {path.name: int(path.name.removeprefix("step-")) for path in find_checkpoints(RunFolder(run).checkpoints)}
    return TracedRun(
        folder=str(run),
        store=store,
        share=share,
        inherited_tokens=inherited,
        checkpoints={name: inherited + round(share * count_trained(started, step)) for name, step in steps.items() if step},
    )


def _describe_export(export: Path, origin: Mapping[str, Any], known: Known) -> TracedExport:
    (store, share), inherited = _look_up(origin, known), _count_inherited(origin, known)
    return TracedExport(
        folder=str(export),
        store=store,
        share=share,
        step=int(origin["step"]),
        inherited_tokens=inherited,
        num_tokens=inherited + round(share * origin["trained_tokens"]),
    )


def _find_share(found: Found, started: Mapping[str, Any]) -> float:
    """Rows of a source come alike often, so a run's share is that of each source's tokens, times the source's share of the run."""
    drawn = started.get("ledger", {}).get("sources", {})
    return sum(
        (1.0 if name is None else drawn.get(name, {}).get("share", 0.0)) * ours / total
        for name, (ours, total) in found.parts.items()
        if total
    )


def _find_next_steps(source: str, stores: Sequence[TracedStore], is_trained: bool) -> Iterator[str]:
    """What it takes to be without it."""
    if not stores:
        return
    for corpus in dict.fromkeys(corpus for store in stores for corpus in store.through):
        yield f"{corpus} was curated from it: `whelp curate` again, without it, into another folder."
    yield (
        f"Take {source} out of the recipe (its entry of data.mixture or of the list data.source), or the files out of their folder; "
        "then `whelp prepare RECIPE --out ANOTHER_STORE`."
    )
    if is_trained:
        yield "Weights do not forget: train anew, `whelp train RECIPE --store ANOTHER_STORE --out ANOTHER_RUN`, and export again."
