"""Documents to a token store: encode partition by partition, then lay the splits out.

1. Each partition of the source becomes a part in STORE/.parts, named by a fingerprint of its text, the vocabulary and
   the options. A killed run finds the finished ones again; an edited file changes only its own. The template makes pieces
   of text of the rows; a part has a mask where some tokens are not trained.
2. Parts become the files of the splits: linked as they are, or written anew where documents are held out afterwards.
3. The manifest is written last, then the parts go.

Partitions depend on the source alone, so the store is the same, to the byte, on any number of workers, and however often
the work was interrupted.
"""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa

from whelp.artifacts.manifest import NAME as MANIFEST_NAME
from whelp.artifacts.manifest import Manifest, describe_files, find_kind, write_manifest
from whelp.artifacts.token_store import LEDGER_FILE, SOURCES_FILE, TOKENIZER_FOLDER, write_splits
from whelp.base.errors import ArtifactError, PlanError
from whelp.base.files import sync_tree, write_json
from whelp.base.hashing import hash_json
from whelp.prepare.config import PrepareConfig, TemplateConfig
from whelp.prepare.engines import Engine, Job, LocalEngine
from whelp.prepare.held_out import can_draw, draw_held_out
from whelp.prepare.lay_out import lay_out_splits
from whelp.prepare.ledger import Ledger
from whelp.prepare.parts import Part, Rules, VocabularyLike, encode_partition, read_part
from whelp.prepare.template import Template, make_template

PARTS_FOLDER = ".parts"
_FORMAT = 2  # raise it when the same inputs would give another store


class PartitionLike(Protocol):
    """A piece of the source. It may have a `split`, train or test; without one it is of train."""

    @property
    def index(self) -> int: ...
    @property
    def batch(self) -> pa.RecordBatch: ...
    @property
    def fingerprint(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """Progress after one partition."""

    partition: int
    num_documents: int
    num_tokens: int
    num_bytes: int
    is_reused: bool


def prepare(
    partitions: Iterable[PartitionLike],
    vocabulary: VocabularyLike,
    config: PrepareConfig,
    folder: Path,
    *,
    describe_source: Callable[[], Mapping[str, Any]],
    sources: Callable[[], list[str]],
    count_files: Callable[[Ledger], None] = lambda ledger: None,
    template: Template | None = None,
    has_own_test: bool = False,
    seed: int = 0,
    engine: Engine | None = None,
) -> Iterator[PrepareReport]:
    """Write a token store at `folder`; yield a report after each partition.

    Args:
        partitions: Pieces of the source, in order; each a record batch of the template's columns (as far as there are
            such), `file_index` and `line`.
        describe_source: What identifies the source, for the manifest; asked on a thread of its own, since it may take
            as long as reading everything once.
        sources: Names of the source's files; asked once all partitions are read.
        count_files: Fills in the ledger's files and notes; asked at the same time.
        template: Makes text of rows; by default the one of a recipe that says nothing of templates.
        has_own_test: Whether some partitions are of the test split; then none is drawn from the others.
        seed: Draws the held-out documents.
        engine: Where partitions are encoded; threads of this process by default.

    Raises:
        ArtifactError: When something else than a token store stands at `folder`.
        PlanError: When there is no document to train on.
    """
    _check_place(folder)
    parts_folder = folder / PARTS_FOLDER
    parts_folder.mkdir(parents=True, exist_ok=True)
    (folder / MANIFEST_NAME).unlink(missing_ok=True)  # from here on it is not finished
    template = template or make_template(TemplateConfig())
    rules = Rules(
        separator=_separator_ids(vocabulary, config),
        is_separator_trained=config.separator_mask,
        min_tokens=config.min_token_size,
        max_tokens=config.max_token_size,
    )
    encode = partial(encode_partition, template=template, vocabulary=vocabulary, rules=rules)
    parts: list[Part] = []
    ledger = Ledger()
    with ThreadPoolExecutor(1, thread_name_prefix="describe") as background:
        description = background.submit(describe_source)
        options = {"format": _FORMAT, "vocabulary": vocabulary.fingerprint, "template": template.fingerprint, **rules.to_dict()}
        jobs = _iter_jobs(partitions, config, seed, options, parts_folder, may_draw=not has_own_test)
        for job, part in (engine or LocalEngine()).run(jobs, encode):
            ledger.add_part(part)
            parts.append(part)
            yield PrepareReport(
                partition=job.index,
                num_documents=part.count("documents"),
                num_tokens=part.count("tokens"),
                num_bytes=part.text_bytes,
                is_reused=job.done is not None,
            )
        source = dict(description.result())
    count_files(ledger)
    if ledger.documents_in == ledger.documents.total():  # all of them are dropped
        dropped = ", ".join(f"{count:,} {fate}" for fate, count in ledger.documents.items()) or "no document at all"
        raise PlanError(
            folder, f"nothing is left to train on ({dropped})", "at least one document", "Check data.source and its filters."
        )
    if not any("train" in part.files for part in parts):
        raise PlanError(folder, "every document is of the test split", "some to train on", "Add a train split to data.source.")
    splits, names = lay_out_splits(folder, parts, vocabulary.size, config, ledger, seed)
    shutil.rmtree(folder / TOKENIZER_FOLDER, ignore_errors=True)
    (folder / TOKENIZER_FOLDER).mkdir()
    vocabulary.save(folder / TOKENIZER_FOLDER)
    write_json(folder / SOURCES_FILE, sources())
    write_json(folder / LEDGER_FILE, ledger.to_dict())
    write_splits(folder, list(splits))
    sync_tree(folder)
    inputs = {"source": source, "tokenizer": vocabulary.fingerprint, "format": _FORMAT}
    if template.chat_template is not None:
        inputs["chat_template"] = hash_json(template.chat_template)
    write_manifest(
        folder,
        Manifest(
            kind="token_store",
            config={
                **{field.name: getattr(config, field.name) for field in fields(PrepareConfig)},
                **template.options,
                "seed": seed,
            },
            counts={"vocab_size": vocabulary.size, "splits": splits, "text_bytes": ledger.text_bytes},
            inputs=inputs,
            files=names | describe_files(folder, [SOURCES_FILE, LEDGER_FILE]),
        ),
    )
    clear_parts(folder)


def clear_parts(folder: Path) -> None:
    """Remove the parts of a finished store; a run that was killed just before its end has left them."""
    shutil.rmtree(folder / PARTS_FOLDER, ignore_errors=True)


def _iter_jobs(
    partitions: Iterable[PartitionLike],
    config: PrepareConfig,
    seed: int,
    options: dict[str, Any],
    parts_folder: Path,
    *,
    may_draw: bool,
) -> Iterator[Job]:
    """What there is to do for each partition; a part that a run before has finished is found by its name."""
    remaining = iter(partitions)
    head = list(itertools.islice(remaining, 2))
    is_drawn = may_draw and bool(head) and can_draw(config, head[0].batch.num_rows, is_all=len(head) == 1)
    if is_drawn:
        options = {**options, "test_split": config.test_split, "seed": seed}
    num_before = 0
    for partition in itertools.chain(head, remaining):
        count = partition.batch.num_rows
        is_test = draw_held_out(num_before, count, config.test_split, seed) if is_drawn else None
        split = getattr(partition, "split", "train")
        if split == "test":
            is_test = np.ones(count, dtype=bool)
        key = hash_json({**options, "text": partition.fingerprint, "split": split, "first": num_before if is_drawn else 0})
        place = parts_folder / f"part-{partition.index:05d}-{key}"
        num_before += count
        yield Job(partition.index, partition.batch, is_test, place, read_part(place))


def _check_place(folder: Path) -> None:
    if not folder.exists():
        return
    if not folder.is_dir():
        raise ArtifactError(folder, "is a file", "a folder for the token store", "Choose another --out.")
    kind = find_kind(folder)
    is_ours = kind == "token_store" or (folder / PARTS_FOLDER).is_dir() or not any(folder.iterdir())
    if not is_ours:
        found = f"holds a {kind}" if kind else "holds other files"
        raise ArtifactError(folder, found, "an empty folder or a token store", "Choose another --out; nothing was changed.")


def _separator_ids(vocabulary: VocabularyLike, config: PrepareConfig) -> tuple[int, ...]:
    text = config.separator_text
    if text is not None:
        return tuple(np.asarray(vocabulary.encode(text)).tolist())
    if vocabulary.eos_id is None:
        raise PlanError(
            "data.separator",
            "is eos, but the tokenizer has no end-of-text token",
            "",
            "Set data.separator to newline, none or a text.",
        )
    return (vocabulary.eos_id,)
