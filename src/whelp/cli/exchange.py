"""`whelp export` and `whelp import`: token stores to and from other people's formats."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.manifest import Manifest, describe_files, find_kind, read_manifest, write_manifest
from whelp.artifacts.output_place import is_free, refuse_place
from whelp.artifacts.token_store import TOKENIZER_FOLDER, TokenSplit, TokenStore, open_store
from whelp.base.as_list import as_list
from whelp.base.counts import say_count
from whelp.base.errors import ArtifactError, ConfigError
from whelp.base.files import atomic_folder, hold_folder
from whelp.base.hashing import hash_file, hash_json
from whelp.base.last_event import run_to_end
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.prepare import PrepareResult, describe_store, is_imported
from whelp.cli.screens.draw_events import draw_importing, watch, watch_waiting

if TYPE_CHECKING:
    from whelp.prepare.exchange.formats import TokenFile
    from whelp.prepare.exchange.importing import ImportReport
    from whelp.prepare.exchange.parquet import Rows
    from whelp.tokenizer.vocabulary import Vocabulary

_SPLIT_NAMES = {("nanogpt", "test"): "val", ("llmc", "test"): "val"}  # what those who read them call it


@dataclass(frozen=True, kw_only=True)
class ExportResult(ResultRepr):
    """What `whelp export` made. `notes` say what the format could not hold."""

    folder: str
    format: str
    files: list[str]
    splits: dict[str, dict[str, int]]
    notes: list[str]


def export_store(
    store: str | Path,
    *,
    format: str,
    out: str | Path,
    splits: str | Sequence[str] | None = None,
    context_tokens: int | None = None,
) -> ExportResult:
    """Write a token store as another format, into a folder that appears when it is whole.

    Args:
        format: `megatron` (also RWKV's binidx), `nanogpt`, `llmc` (also modded-nanogpt) or `parquet`.
        splits: Which splits; None for all.
        context_tokens: Parquet: packed rows of so many ids; None for one document a row.

    Raises:
        ArtifactError: When `store` is no token store, or something else stands at `out`.
        ConfigError: When there is no such format.
        PlanError: When the format cannot hold the ids.
    """
    _check_format(format)
    if context_tokens is not None and (format != "parquet" or context_tokens < 1):
        found = "--context-tokens is for --format parquet" if format != "parquet" else f"--context-tokens is {context_tokens}"
        raise ConfigError(
            "whelp export", [found], "Packed rows of Parquet have at least one token; other formats have no rows."
        )
    opened, folder = _open(as_path(store)), as_path(out)
    _check_place(folder, opened)
    chosen = [opened.split(name) for name in dict.fromkeys(as_list(splits) if splits else opened.manifest.counts["splits"])]
    notes: list[str] = []
    with watch_waiting("writing"), hold_folder(folder), atomic_folder(folder) as temporary:
        for split in chosen:
            name = _SPLIT_NAMES.get((format, split.name), split.name)
            notes += _write_split(opened, split, format, temporary / name, context_tokens)
        files = sorted(path.name for path in temporary.iterdir())
        shutil.copytree(opened.tokenizer_folder, temporary / TOKENIZER_FOLDER)
        counts = {split.name: {"documents": split.num_documents, "tokens": split.num_tokens} for split in chosen}
        write_manifest(
            temporary,
            Manifest(
                kind="export",
                config={"format": format, "context_tokens": context_tokens},
                counts={"vocab_size": opened.vocab_size, "splits": counts},
                inputs={"store": opened.manifest.fingerprint, "tokenizer": opened.manifest.inputs["tokenizer"]},
                files=describe_files(temporary, files),
            ),
        )
        for note in notes:
            log.warning("%s", note)
    return ExportResult(folder=str(folder), format=format, files=files, splits=counts, notes=notes)


def _open(folder: Path) -> TokenStore:
    kind = find_kind(folder)
    if kind != "token_store" and folder.is_dir():
        found = f"is a {kind}, not a token store" if kind else "is not a token store"
        raise ArtifactError(folder, found, "a folder that `whelp prepare` or `whelp import` made", "Give its token store.")
    return open_store(folder)


def _write_split(store: TokenStore, split: TokenSplit, format: str, path: Path, context_tokens: int | None) -> list[str]:
    """Write one split at `path` (a name without a suffix); return what the format could not hold."""
    from whelp.prepare.exchange.flat import write_llmc, write_nanogpt
    from whelp.prepare.exchange.megatron import write_megatron
    from whelp.prepare.exchange.parquet import write_documents, write_packed
    from whelp.tokenizer import load_tokenizer

    vocabulary = load_tokenizer(store.tokenizer_folder)
    if format == "parquet":
        path = path.with_name(f"{path.name}.parquet")
        if context_tokens is None:
            write_documents(path, split, store.sources)
            return []
        about = {"vocab_size": store.vocab_size, "tokenizer": store.manifest.inputs["tokenizer"]}
        num_pads = write_packed(path, split, context_tokens, _choose_pad(vocabulary), about)
        return [f"{split.name}: the last row is filled with {say_count(num_pads, 'pad')}, masked"] if num_pads else []
    notes = [f"{split.name}: the loss mask is left out, for the format has none"] if split.has_mask else []
    if format == "megatron":
        write_megatron(path, split, store.vocab_size)
        return notes
    write = write_nanogpt if format == "nanogpt" else write_llmc
    num_lost = write(path.with_name(f"{path.name}.bin"), split, store.vocab_size, vocabulary.eos_id)
    if num_lost:
        of = f"of {split.num_documents:,} documents"
        notes.append(f"{split.name}: {num_lost:,} ends {of} cannot be found again: they are not the end-of-text id")
    return notes


def _choose_pad(vocabulary: Vocabulary) -> int:
    return next((token for token in (vocabulary.pad_id, vocabulary.eos_id) if token is not None), 0)


def _check_place(folder: Path, store: TokenStore) -> None:
    if store.folder.resolve() in (folder.resolve(), *folder.resolve().parents):
        raise ArtifactError(folder, "lies in the store itself", "another place", "Choose another --out; nothing was changed.")
    if not is_free(folder) and find_kind(folder) != "export":
        raise refuse_place(folder, "an export")


def _check_format(format: str) -> None:
    from whelp.prepare.exchange.formats import FORMATS

    if format not in FORMATS:
        raise ConfigError("--format", [f"{format!r} is no format of token ids"], f"Choose one of {', '.join(FORMATS)}.")


def import_store(
    files: str | Path | Sequence[str | Path],
    *,
    format: str,
    tokenizer: str | Path,
    out: str | Path,
    test: str | Path | Sequence[str | Path] = (),
    test_split: float = 0.0,
    seed: int = 0,
    column: str = "input_ids",
    rows: Rows = "auto",
) -> PrepareResult:
    """Make a token store of files of token ids.

    A finished import whose files have not changed is left as it is.

    Args:
        files: Files of one format, for the train split; Megatron's also without the suffix.
        format: `megatron` (also RWKV's binidx), `nanogpt`, `llmc` (also modded-nanogpt) or `parquet`.
        tokenizer: The vocabulary that made the ids, by name or folder.
        test: Files for the test split.
        test_split: Or the share of the documents to hold out.
        seed: Draws the held-out documents.
        column: Parquet: the column of ids.
        rows: Parquet: whether a row is a document, or rows are laid end to end (`packed`) and cut at the end-of-text id.

    Raises:
        ArtifactError: When a file is missing, cut off or of another format, or something else stands at `out`.
        PlanError: When an id is none of the vocabulary's.
        TokenizerError: When the vocabulary is not found.
    """
    request = ImportRequest(
        files=_as_paths(files),
        format=format,
        tokenizer=str(tokenizer),
        test=_as_paths(test),
        test_split=test_split,
        seed=seed,
        column=column,
        rows=rows,
    )
    return run_to_end(watch(iter_import(request, as_path(out)), draw_importing), PrepareResult)


@dataclass(frozen=True, kw_only=True)
class ImportRequest:
    """What is to be imported."""

    files: list[Path]
    format: str
    tokenizer: str
    test: list[Path]
    test_split: float
    seed: int
    column: str
    rows: Rows

    def __post_init__(self) -> None:
        _check_format(self.format)
        problems = []
        if not self.files:
            problems.append("no file is given")
        if not 0 <= self.test_split < 1:
            problems.append(f"--test-split is {self.test_split}: give a share from 0 to below 1")
        if self.test_split and self.test:
            problems.append("--test and --test-split are both given: choose one")
        if self.rows not in ("auto", "documents", "packed"):
            problems.append(f"--rows is {self.rows!r}: choose auto, documents or packed")
        if problems:
            raise ConfigError("whelp import", problems)


@dataclass(frozen=True, kw_only=True)
class FilesOpened:
    """The files are there, and are what they should be; `num_bytes` is of their ids."""

    format: str
    num_files: int
    num_bytes: int


def iter_import(request: ImportRequest, out: Path) -> Iterator[FilesOpened | ImportReport | PrepareResult]:
    """Import, yielding what happens: the files, progress, the result."""
    with hold_folder(out):
        yield from _iter_import(request, out)


def _iter_import(request: ImportRequest, out: Path) -> Iterator[FilesOpened | ImportReport | PrepareResult]:
    from whelp.prepare.exchange.formats import open_token_file
    from whelp.prepare.exchange.importing import import_tokens
    from whelp.tokenizer import load_tokenizer

    before = _read_imported(out)
    vocabulary = load_tokenizer(request.tokenizer)
    chosen = [(path, "train") for path in request.files] + [(path, "test") for path in request.test]
    files: list[tuple[TokenFile, str]] = []
    for path, side in chosen:
        opened = open_token_file(path, request.format, end_id=vocabulary.eos_id, column=request.column, rows=request.rows)
        files.append((opened, side))
    yield FilesOpened(format=request.format, num_files=len(files), num_bytes=sum(file.num_bytes for file, _ in files))
    source = _describe_files(request, files, before)
    config = {"test_split": request.test_split, "seed": request.seed}
    inputs = {"source": source, "tokenizer": vocabulary.fingerprint}
    if before is not None and _identify(before.inputs, before.config) == _identify(inputs, config):
        yield describe_store(open_store(out), is_reused=True)
        return
    with atomic_folder(out) as temporary:
        yield from import_tokens(files, vocabulary, temporary, source=source, test_split=request.test_split, seed=request.seed)
    yield describe_store(open_store(out), is_reused=False)


def _read_imported(out: Path) -> Manifest | None:
    """The manifest of a whole import that stands at `out`; None when it is to be made.

    Raises:
        ArtifactError: When something else stands there.
    """
    if is_free(out):
        return None
    if is_imported(out):
        try:
            return read_manifest(out, "token_store")
        except ArtifactError:  # damaged: it is made again
            return None
    if find_kind(out) == "token_store":
        raise refuse_place(out, "an imported store", "holds a token store that was prepared from text")
    raise refuse_place(out, "an imported store")


def _describe_files(request: ImportRequest, files: Sequence[tuple[TokenFile, str]], before: Manifest | None) -> dict[str, Any]:
    """What identifies the files, for the manifest; one that has not been touched since `before` is not read again."""
    from whelp.prepare.exchange.formats import label_path

    known = {entry["path"]: entry for entry in before.inputs["source"]["files"]} if before is not None else {}
    entries = []
    for file, side in files:
        for path in file.paths:
            name, status = label_path(path), path.stat()
            entry = {"path": name, "split": side, "bytes": status.st_size, "mtime_ns": status.st_mtime_ns}
            old = known.get(name, {})
            is_same = (old.get("bytes"), old.get("mtime_ns")) == (status.st_size, status.st_mtime_ns)
            entries.append({**entry, "fingerprint": old["fingerprint"] if is_same else hash_file(path)})
    options = {"column": request.column, "rows": request.rows} if request.format == "parquet" else {}
    return {"imported": request.format, "files": entries, "options": options}


def _identify(inputs: dict[str, Any], config: dict[str, Any]) -> str:
    """One name for what a store is imported from; when the files were touched is not part of it."""
    entries = [{**entry, "mtime_ns": None} for entry in inputs["source"]["files"]]
    return hash_json({**inputs, "source": {**inputs["source"], "files": entries}, "config": config})


def _as_paths(files: str | Path | Sequence[str | Path]) -> list[Path]:
    return [as_path(path) for path in as_list(files)]
