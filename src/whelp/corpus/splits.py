"""Which splits of a source are trained on and held out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from whelp.base.errors import SourceError

_HELD_OUT = ("test", "validation")


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
