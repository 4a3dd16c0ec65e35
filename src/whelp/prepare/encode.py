"""Documents to a token store: encode partition by partition, then lay the splits out.

1. Each partition of the source becomes a part in STORE/.parts, decided by its text, the vocabulary and the options
   (artifacts/source_stream.py). The template makes pieces of text of the rows; a part has a mask where some tokens are not
   trained.
2. Parts become the files of the splits: linked as they are, or written anew where documents are held out afterwards.
3. The manifest is written last, then the parts go.

A mixture has several sources: their partitions come one source after the other, each made by its own template and rules.
Partitions depend on the source alone, so the store is the same, to the byte, on any number of workers, and however often
the work was interrupted.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.artifacts.parts_folder import begin_folder, clear_parts
from whelp.artifacts.source_stream import PartJob, SourceStream, StreamPartition, find_job, iter_partitions
from whelp.artifacts.token_store import read_split
from whelp.base.engines import Engine, LocalEngine
from whelp.base.errors import PlanError
from whelp.base.hashing import hash_json
from whelp.base.log import log
from whelp.base.seeds import make_seed
from whelp.base.worker_threads import working_apart
from whelp.prepare.config import PrepareConfig, TemplateConfig
from whelp.prepare.conversation_templates import OPTIONS_OF_SENDERS, SENDER_OPTION, TRAINED_OPTION, Conversation
from whelp.prepare.finish_store import finish_store
from whelp.prepare.held_out import can_draw, draw_held_out
from whelp.prepare.leak import Leak, find_leak
from whelp.prepare.ledger import Ledger
from whelp.prepare.parts import EncodedPart, Part, Rules, VocabularyLike, encode_partition, read_part, write_part
from whelp.prepare.template import Template, make_template
from whelp.prepare.unused import find_unused
from whelp.prepare.write_splits import Group, lay_out_splits

_NOTHING = {"documents": 0, "tokens": 0}
_MUCH_LEAKED = 0.1  # of the test tokens: short documents, such as lines of talk, come again by nature
_MOST_SPEAKERS = 5  # named where one is not found
_FORMAT = 3  # raise it when the same inputs would give another store


@dataclass(frozen=True, kw_only=True)
class SourceToPrepare(SourceStream):
    """One source of a store, and how its documents are made.

    Attributes:
        config: What becomes of its documents.
        template: Makes text of rows, of its columns as far as there are such; by default the one of a recipe that says nothing
            of templates.
        has_own_test: Whether some partitions are of the test split; then none is drawn from the others.
        weight: In a mixture, its share of training rows, beside the weights of the others.
        max_repeats: In a mixture, how often its rows may be trained; None: as the weight wants.
    """

    config: PrepareConfig
    template: Template = field(default_factory=lambda: make_template(TemplateConfig()))
    has_own_test: bool = False
    weight: float = 1.0
    max_repeats: float | None = None

    @property
    def options(self) -> dict[str, Any]:
        """The options that change its documents, besides those that say where they are."""
        return {**{field.name: getattr(self.config, field.name) for field in fields(PrepareConfig)}, **self.template.options}


@dataclass(frozen=True, kw_only=True)
class PrepareReport:
    """Progress after one partition; `last_file` is the number, among the files of all sources, of the last that gave a document."""

    partition: int
    last_file: int | None
    num_documents: int
    num_tokens: int
    num_bytes: int
    is_reused: bool


def prepare(
    streams: Sequence[SourceToPrepare],
    vocabulary: VocabularyLike,
    folder: Path,
    *,
    describe_source: Callable[[], Mapping[str, Any]],
    sources: Callable[[], list[str]],
    count_files: Callable[[Ledger], None] = lambda ledger: None,
    look_through: Callable[[], object] = lambda: None,
    seed: int = 0,
    engine: Engine | None = None,
) -> Iterator[PrepareReport]:
    """Write a token store at `folder`; yield a report after each partition.

    Args:
        streams: The source, or those of a mixture, each with a name: their documents lie one source after the other.
        describe_source: What identifies the sources, for the manifest; asked once all partitions are read.
        sources: Names of the files of all sources; asked once all partitions are read.
        count_files: Fills in the ledger's files and notes; asked at the same time.
        look_through: Finds out for `describe_source` what reading the partitions does not; called on a thread of its own, since
            it may take as long as reading everything once.
        seed: Draws the held-out documents.
        engine: Where partitions are encoded; threads of this process by default.

    Raises:
        ArtifactError: When something else than a token store stands at `folder`.
        PlanError: When there is no document to train on.
    """
    made = [_Made(stream) for stream in streams]
    yield from _iter_encoded(made, vocabulary, folder, look_through, seed, engine or LocalEngine())
    described = dict(describe_source())
    for one in made:
        _check_named(one.stream.name, one.ledger)
        _check_trainable(folder, one.stream.name, one.ledger, one.parts)
        _say_unknown(one.stream.name, one.ledger)
    _say_unused(streams, [one.ledger for one in made])
    groups = [
        Group(one.parts, one.stream.config, one.ledger, seed=_own_seed(one.stream, seed), name=one.stream.name) for one in made
    ]
    files = lay_out_splits(folder, groups, vocabulary.size)
    is_mixture = any(stream.name is not None for stream in streams)
    ledger = Ledger.join({str(one.stream.name): one.ledger for one in made}) if is_mixture else made[0].ledger
    count_files(ledger)
    splits = ledger.count_splits()
    if "test" in splits and not ledger.documents_divided:
        _say_leak(ledger, find_leak(read_split(folder / "train"), read_split(folder / "test")))
    own = {str(stream.name): stream.options for stream in streams}
    config = {"mixture": own} if is_mixture else streams[0].options
    inputs: dict[str, Any] = {"format": _FORMAT}
    for stream in streams:
        if stream.template.chat_template is not None:
            inputs["chat_template"] = hash_json(stream.template.chat_template)
    finish_store(
        folder,
        vocabulary,
        ledger,
        sources=sources(),
        source=described,
        config={**config, "seed": seed},
        files=files,
        more_inputs=inputs,
        more_counts={"sources": _count_sources(made, splits)} if is_mixture else {},
    )
    clear_parts(folder)


@dataclass(frozen=True)
class _Made:
    """A source and what was made of it: its encoded parts, in order, and what became of its documents."""

    stream: SourceToPrepare
    parts: list[Part] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)


def _iter_encoded(
    made: Sequence[_Made],
    vocabulary: VocabularyLike,
    folder: Path,
    look_through: Callable[[], object],
    seed: int,
    engine: Engine,
) -> Iterator[PrepareReport]:
    """Encode every partition, and fill in what was made; yield a report after each."""
    parts_folder = begin_folder(folder, "token_store", "a token store")
    streams = [one.stream for one in made]
    rules = [_make_rules(vocabulary, stream.config) for stream in streams]
    encode = partial(_encode, vocabulary=vocabulary, templates=[stream.template for stream in streams], rules=rules)
    jobs = _iter_jobs(streams, vocabulary, rules, seed, parts_folder)
    with working_apart(partial(vocabulary.encode, ""), look_through):  # opens the encoder while the first partition is read
        for job, part in engine.run(jobs, encode, write_part):
            one = made[job.partition.stream]
            one.ledger.add_part(part)
            one.parts.append(part)
            yield PrepareReport(
                partition=job.partition.index,
                last_file=job.last_file,
                num_documents=part.count("documents"),
                num_tokens=part.count("tokens"),
                num_bytes=part.text_bytes,
                is_reused=job.done is not None,
            )


def _count_sources(made: Sequence[_Made], splits: Iterable[str]) -> list[dict[str, Any]]:
    """What the manifest says of each source of a mixture."""
    return [
        {
            "name": one.stream.name,
            "weight": one.stream.weight,
            "max_repeats": one.stream.max_repeats,
            "splits": {side: one.ledger.count_splits().get(side, _NOTHING) for side in splits},
        }
        for one in made
    ]


def _make_rules(vocabulary: VocabularyLike, config: PrepareConfig) -> Rules:
    return Rules(
        separator=_separator_ids(vocabulary, config),
        is_separator_trained=config.separator_mask,
        min_tokens=config.min_token_size,
        max_tokens=config.max_token_size,
    )


def _encode(
    stream: int,
    batch: pa.RecordBatch,
    is_test: npt.NDArray[np.bool_] | None,
    *,
    vocabulary: VocabularyLike,
    templates: list[Template],
    rules: list[Rules],
) -> EncodedPart:
    """Encode a partition as its source wants it; a function of the module, so that it can travel."""
    return encode_partition(batch, is_test, template=templates[stream], vocabulary=vocabulary, rules=rules[stream])


def _own_seed(stream: SourceToPrepare, seed: int) -> int:
    """Draws the held-out documents of a source; of a mixture's by name, so that no source changes those of another."""
    return seed if stream.name is None else make_seed(seed, "source", stream.name)


def _check_named(name: str | None, ledger: Ledger) -> None:
    """Say which columns and fields that a recipe names hold no text; without any sender, prefixes and masks would be wrong."""
    source = "" if name is None else f"{name}: "
    for asked in (asked for asked, count in ledger.named.items() if not count):
        option, _, field_name = asked.partition(": ")
        if option == SENDER_OPTION and ledger.strategies[Conversation.name]:
            expected = "the field that says who speaks: masks, prefixes and suffixes go by it"
            raise PlanError(f"{source}{option}", f"no turn has text in its field {field_name}", expected, "Correct the name.")
        found = "no turn is of" if option in OPTIONS_OF_SENDERS else "no text is in"
        others = _name_speakers(ledger) if option == TRAINED_OPTION else ""
        log.warning("%s%s: %s %s%s. Where it should be, correct the name", source, option, found, field_name, others)


def _name_speakers(ledger: Ledger) -> str:
    """Who speaks most, with how many turns."""
    start = f"{TRAINED_OPTION}: "
    counts = {asked.removeprefix(start): count for asked, count in ledger.named.items() if asked.startswith(start) and count}
    most = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_MOST_SPEAKERS]
    return f" (those who speak most: {', '.join(f'{name} {count:,}' for name, count in most)})" if most else ""


def _say_unused(streams: Sequence[SourceToPrepare], ledgers: Sequence[Ledger]) -> None:
    """Say which options of templates have no effect in any source; those of a mixture share them."""
    found = [find_unused(stream.template.config, ledger.strategies) for stream, ledger in zip(streams, ledgers, strict=True)]
    for name in found[0]:
        if all(name in unused for unused in found):
            log.warning("data.%s has no effect: %s", name, found[0][name])


def _say_unknown(name: str | None, ledger: Ledger) -> None:
    """What became the unknown token is lost to the model, which guesses it with ease."""
    if ledger.unknown:
        log.warning(
            "%s%.3g %% of the tokens are unknown: what stood there is lost to the model, and its bits/byte come out too low. "
            "data.tokenizer.learn=bpe writes every text",
            "" if name is None else f"{name}: ",
            100 * ledger.unknown / ledger.tokens_in,
        )


def _say_leak(ledger: Ledger, leak: Leak) -> None:
    """A test document that is trained on is remembered: the loss of many comes out too low."""
    if not leak.num_documents:
        return
    ledger.notes["test documents that stand in train, too, word for word"] = leak.num_documents
    share = leak.num_tokens / ledger.tokens["test"]
    if share >= _MUCH_LEAKED:
        log.warning(
            "%.3g %% of the test tokens are of documents that stand in train, too: the test loss will come out too low. "
            "`whelp curate` drops copies",
            100 * share,
        )


def _check_trainable(folder: Path, name: str | None, ledger: Ledger, parts: list[Part]) -> None:
    where, option = (folder, "data.source") if name is None else (f"{folder}, source {name}", "its entry in data.mixture")
    if ledger.documents_in == ledger.documents.total():  # all of them are dropped
        dropped = ", ".join(f"{count:,} {fate}" for fate, count in ledger.documents.items()) or "no document at all"
        raise PlanError(
            where, f"nothing is left to train on ({dropped})", "at least one document", f"Check {option} and its filters."
        )
    if not any("train" in part.files for part in parts):
        raise PlanError(where, "every document is of the test split", "some to train on", f"Add a train split to {option}.")


def _iter_jobs(
    streams: Sequence[SourceToPrepare], vocabulary: VocabularyLike, rules: list[Rules], seed: int, parts_folder: Path
) -> Iterator[PartJob[Part]]:
    """What there is to do for the partitions of all sources."""
    for number, partitions in itertools.groupby(iter_partitions(streams), lambda partition: partition.stream):
        stream = streams[number]
        decided_by = {
            "format": _FORMAT,
            "vocabulary": vocabulary.fingerprint,
            "template": stream.template.fingerprint,
            **rules[number].to_dict(),
        }
        yield from _iter_jobs_of_one(stream, partitions, _own_seed(stream, seed), decided_by, parts_folder)


def _iter_jobs_of_one(
    stream: SourceToPrepare,
    partitions: Iterator[StreamPartition],
    seed: int,
    decided_by: dict[str, Any],
    parts_folder: Path,
) -> Iterator[PartJob[Part]]:
    """What there is to do for the partitions of one source, and which of its documents are held out."""
    config = stream.config
    head = list(itertools.islice(partitions, 2))
    is_drawn = not stream.has_own_test and can_draw(config, head[0].batch.num_rows, is_all=len(head) == 1)
    if is_drawn:
        decided_by = {**decided_by, "test_split": config.test_split, "seed": seed}
    num_before = 0
    for partition in itertools.chain(head, partitions):
        count = partition.batch.num_rows
        is_test = draw_held_out(num_before, count, config.test_split, seed) if is_drawn else None
        if partition.split == "test":
            is_test = np.ones(count, dtype=bool)
        own = {**decided_by, "split": partition.split, "first": num_before if is_drawn else 0}
        num_before += count
        yield find_job(partition, parts_folder, own, read_part, (partition.stream, partition.batch, is_test))


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
