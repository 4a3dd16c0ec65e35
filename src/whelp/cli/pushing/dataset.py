"""A data set, laid out for a hub: a token store, what a curated corpus keeps, or files of rows and text; and its card."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from whelp.artifacts.manifest import find_kind, read_manifest
from whelp.artifacts.token_store import open_store
from whelp.base.counts import list_some
from whelp.base.errors import ArtifactError, ConfigError, SourceError
from whelp.base.files import read_json, write_atomic
from whelp.base.hub_repository import iter_files
from whelp.cli.pushing.layout import CARD, COMMAND, DATASET_KINDS, lay_out_files
from whelp.cli.pushing.origins import find_telling_labels, leave_folders_out_of_store

_LOAD = """```python
from datasets import load_dataset

rows = load_dataset({call})
```"""
_PREPARE = """With whelp:

```bash
hf download {name} --repo-type dataset --local-dir {folder}
whelp prepare my-recipe.yaml data.source={source} --out store
```"""
_TRAIN = """With whelp:

```bash
hf download {name} --repo-type dataset --local-dir {folder}
whelp train my-recipe.yaml --store {folder} --out run
```"""
_DEFAULT = "default"
_SPLITS = {"kept": "train", "test": "test"}
_READ_TOGETHER = {"token_store": re.compile(r"(train|test|tokenizer)/.*"), "curated": re.compile(r"(kept|test)/.*")}


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """What the card of a data set says."""

    what: str
    usage: str
    splits: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    configs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    made: str = ""
    columns: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


def lay_out_dataset(source: Path, target: Path, name: str, *, license: str | None) -> re.Pattern[str] | None:
    """Bring a data set that was checked into an empty folder, with a card where it has none of its own.

    Of a curated corpus only what is kept goes, and its test split: what was dropped, and the examples of it, stay here.

    Returns:
        Paths that are read together with these files: under one of them nothing of an earlier push may stay.

    Raises:
        ArtifactError: When there is nothing, or rows of a curated corpus name folders of this machine.
    """
    lay_out_files(source.parent if source.is_file() else source, target, _choose_files(source))
    if find_kind(target) == "token_store":
        leave_folders_out_of_store(target)
    read_together = _READ_TOGETHER.get(find_kind(source) or "")
    if _has_card(source):
        return read_together
    from whelp.report import make_dataset_card

    facts = _find_facts(source, target, name)
    files = [path.relative_to(target).as_posix() for path in iter_files(target)]
    card = make_dataset_card(
        name,
        what=facts.what,
        splits=facts.splits,
        num_bytes=sum(path.stat().st_size for path in iter_files(target)),
        configs=facts.configs,
        usage=facts.usage,
        made=facts.made,
        columns=facts.columns,
        files=[*files, CARD],
        license_name=license,
    )
    write_atomic(target / CARD, card)
    return read_together


def check_dataset(source: Path, *, format: str | None, dtype: str | None, license: str | None) -> None:
    """Look whether there is a data set that can be pushed as asked, before anybody is asked for anything.

    Raises:
        ArtifactError: When nothing is there.
        ConfigError: When an option is for models, or `source` is one.
    """
    given = [word for word, value in (("--format", format), ("--dtype", dtype)) if value is not None]
    if given:
        raise ConfigError(COMMAND, [f"{' and '.join(given)} is for models, and --dataset is given"], "Leave out one of them.")
    if not source.exists():
        expected = "a token store, a curated corpus, or rows or text"
        raise ArtifactError(source, "there is no such file or folder", expected, "Check the spelling.")
    is_model = source.is_dir() and any((source / name).exists() for name in ("config.json", "plan.json", "checkpoints"))
    if is_model or find_kind(source) not in (None, *DATASET_KINDS):
        raise ConfigError(COMMAND, [f"{source} is no data set"], "To push a model, leave out --dataset.")
    if license is not None and _has_card(source):
        problem = f"{source} has a {CARD}, so it goes as it stands, and --license would change nothing"
        raise ConfigError(COMMAND, [problem], f"Change {CARD}.")


def _has_card(source: Path) -> bool:
    return source.is_dir() and (source / CARD).is_file()


def _choose_files(source: Path) -> Iterable[Path]:
    """What is to go: of a folder that is finished, what its manifest tells of."""
    if source.is_file():
        return [source]
    kind = find_kind(source)
    if kind is None:
        return (path for path in source.rglob("*") if path.is_file())
    manifest = read_manifest(source, kind)
    if kind == "curated" and (told := find_telling_labels(manifest.inputs["source"])):
        found = f"each row says which file it is from, with folders of this machine: {list_some(sorted(told))}"
        next_step = (
            "Curate again, with each folder as a source of its own (`data.mixture`), or with all files below one folder."
        )
        raise ArtifactError(source, found, "names below a folder of texts", next_step)
    names = list(_SPLITS) if kind == "curated" else ["*"]
    return (path for name in names for place in source.glob(name) for path in _iter_below(place))


def _iter_below(place: Path) -> Iterable[Path]:
    return [place] if place.is_file() else (path for path in place.rglob("*") if path.is_file())


def _find_facts(source: Path, target: Path, name: str) -> _Facts:
    words = {"name": name, "folder": name.rpartition("/")[2], "call": f'"{name}"'}
    kind = find_kind(source)
    if kind == "token_store":
        store = open_store(source)
        splits = store.manifest.counts["splits"]
        usage = f"{_LOAD.format(**words)}\n\n{_TRAIN.format(**words)}"
        return _Facts(
            what=f"a store of token ids, of a vocabulary of {store.vocab_size:,} ids",
            usage=usage,
            splits={split: {noun: counts[noun] for noun in ("documents", "tokens")} for split, counts in splits.items()},
            configs={_DEFAULT: {split: f"{split}/*.arrow" for split in splits}},
            made=_list_fates("Of the documents that were read", store.ledger["documents"]),
        )
    if kind == "curated":
        ledger = read_json(source / "ledger.json")
        counts = {"train": ledger["documents_kept"], "test": ledger["documents_test"]}
        configs = _find_parts(target)
        if _DEFAULT not in configs:  # of a mixture each source is a part
            words["call"] += f', "{next(iter(configs))}"'
        usage = f"{_LOAD.format(**words)}\n\n{_PREPARE.format(**words, source=words['folder'] + '/kept')}"
        read = f"Of {ledger['documents_in']:,} documents {ledger['documents_kept']:,} were kept"
        return _Facts(
            what="a curated corpus",
            usage=usage,
            splits={split: {"documents": count} for split, count in counts.items() if count},
            configs=configs,
            made=_list_fates(f"{read}; the others, by the first reason against them", ledger["dropped"]),
            columns=_count_columns(source / "kept"),
        )
    place = words["folder"] + (f"/{source.name}" if source.is_file() else "")
    num_documents = _count_documents(source)
    return _Facts(
        what="a corpus",
        usage=f"{_LOAD.format(**words)}\n\n{_PREPARE.format(**words, source=place)}",
        splits={} if num_documents is None else {"train": {"documents": num_documents}},
        configs=_find_pattern(target),
        columns=_count_columns(source),
    )


def _list_fates(title: str, fates: Mapping[str, int]) -> str:
    lines = [f"- {fate.removeprefix('dropped: ')}: {count:,}" for fate, count in fates.items() if count]
    return f"{title}:\n\n" + "\n".join(lines) if lines else f"{title}: none."


def _find_parts(target: Path) -> dict[str, dict[str, str]]:
    """The patterns of a curated corpus: one part, or of a mixture one for each source, whose columns may be others."""
    parts: dict[str, dict[str, str]] = {}
    for place, split in _SPLITS.items():
        for path in iter_files(target / place):
            source = path.relative_to(target / place).parent.as_posix()
            part = _DEFAULT if source == "." else source
            parts.setdefault(part, {})[split] = f"{path.relative_to(target).parent.as_posix()}/*{path.suffix}"
    return parts


def _find_pattern(target: Path) -> dict[str, dict[str, str]]:
    """A pattern of files of rows, where all are of one kind; else a hub is to find out."""
    suffixes = {"".join(path.suffixes[-2:]) if path.suffix in (".gz", ".zst") else path.suffix for path in iter_files(target)}
    return {_DEFAULT: {"train": f"**/*{suffixes.pop()}"}} if len(suffixes) == 1 and suffixes != {""} else {}


def _count_documents(source: Path) -> int | None:
    """How many documents `whelp prepare` would read; None where it does not read such rows without being told how."""
    from whelp.cli.prepare import open_recipe_sources
    from whelp.cli.recipe import load_recipe

    try:
        opened = open_recipe_sources(load_recipe({"data": {"source": str(source)}}))
        return sum(int(partition.batch.num_rows) for one in opened for partition in one.source.iter_partitions())
    except SourceError:
        return None


def _count_columns(source: Path) -> dict[str, dict[str, int]]:
    """Values of the columns that tell of rights and origins, and how many rows have each."""
    from whelp.cli.corpus_report import count_columns
    from whelp.cli.prepare import open_recipe_sources
    from whelp.cli.recipe import load_recipe

    try:
        opened = open_recipe_sources(load_recipe({"data": {"source": str(source)}}))
        counted = count_columns(opened)
    except SourceError:
        return {}
    return {
        column: {one["text"]: one["count"] for one in values["most"] if one["text"]}
        for column, values in counted.items()
        if any(one["text"] for one in values["most"])
    }
