"""Which splits of a source are trained on and held out."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from whelp.base.errors import SourceError
from whelp.corpus.find_files import FoundFile, SkippedFile

_HELD_OUT = ("test", "validation")
_WORDS = {  # those of `datasets`
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
_ABOUT = ("readme", "license", "licence", "changelog", "dataset_info", "dataset_infos")


def choose_splits(where: object, names: Iterable[str], asked: str) -> Iterator[tuple[str, str]]:
    """Pairs of a split's name and what it is here: the one asked for is `train`; `test`, or else `validation`, is `test`.

    >>> list(choose_splits("a", ["test", "train", "validation"], "train"))
    [('train', 'train'), ('test', 'test')]

    Raises:
        SourceError: When there is no such split; it lists those there are.
    """
    known = list(names)
    if asked not in known:
        raise SourceError(
            where,
            f"has no split {asked!r}; it has {', '.join(known) or 'none'}",
            "",
            "Set data.source_dataset_split to one of them.",
        )
    yield asked, "train"
    for name in _HELD_OUT:
        if name in known and name != asked:
            yield name, "test"
            return


def skip_others(where: object, names: Iterable[str], asked: str) -> list[SkippedFile]:
    """The splits that are neither trained on nor held out, to be counted.

    >>> [other.kind for other in skip_others("a", ["test", "train", "validation"], "train")]
    ['split validation']
    """
    known = list(names)
    used = dict(choose_splits(where, known, asked))
    return [SkippedFile(f"{where}[{name}]", f"of the split {name}", f"split {name}") for name in known if name not in used]


def choose_by_name(found: list[FoundFile], root: Path, asked: str, where: object) -> tuple[list[FoundFile], list[SkippedFile]]:
    """Take the splits that the names of a folder's files say; return the files of those in use, and the others.

    As in datasets of the hub, a folder below `root` is called `train`, `test` or `validation` (or a word for one of these), or
    a file has such a word in its name: `train.jsonl`, `data/test-00000-of-00001.parquet`. That counts only where every file
    belongs to one split, besides a README and the like, and there are several: else a folder of programs with a folder of
    tests would be divided. Otherwise all files are returned as they are.

    Raises:
        SourceError: When there are splits, but not the one asked for; it names the folder as `where`.
    """
    names = []
    for file in found:
        names.append(_name_split(file.path, root))
        if names[-1] is None and not _is_about(file.path):
            return found, []  # at the first: a folder may hold very many files
    known = {name for name in names if name is not None}
    if len(known) < 2 and (asked == "train" or asked not in known):
        return found, []
    if asked not in known and asked == "train":
        return found, []
    splits = dict(choose_splits(where, sorted(known), asked))
    chosen = [
        replace(file, split=splits[name], split_name=name) for name, file in zip(names, found, strict=True) if name in splits
    ]
    left_out = [
        SkippedFile(str(file.path), f"of the split {name}", f"split {name}")
        if name
        else SkippedFile(str(file.path), "about the splits, of none of them", "about the splits")
        for name, file in zip(names, found, strict=True)
        if name not in splits
    ]
    return chosen, left_out


def _name_split(path: Path, root: Path) -> str | None:
    """The split that a file's folders, or else its name, say; None where they say none, or several.

    >>> [_name_split(Path(name), Path("a")) for name in ("a/train/b.txt", "a/my_test.csv", "a/contest.txt", "a/train-test.txt")]
    ['train', 'test', None, None]
    """
    *folders, name = path.relative_to(root).parts if path.is_relative_to(root) else path.parts[-1:]
    for folder in folders:
        if folder.lower() in _WORDS:
            return _WORDS[folder.lower()]
    found = {_WORDS[word] for word in re.split("[^a-z]+", name.partition(".")[0].lower()) if word in _WORDS}
    return found.pop() if len(found) == 1 else None


def _is_about(path: Path) -> bool:
    """Whether a file tells people of the others."""
    return path.name.partition(".")[0].lower() in _ABOUT
