"""The ledger: every document and every token has one fate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whelp.artifacts.token_store import open_store
from whelp.prepare import PrepareConfig, SourceToPrepare, prepare
from whelp.prepare.ledger import Ledger

from .fakes import FakeVocabulary, random_partitions, run


@pytest.mark.parametrize("separator", ["eos", "none", "\\n\\n"])
@pytest.mark.parametrize("test_split", [0, 0.2, 3])
@pytest.mark.parametrize("by", ["document", "auto", "tail"])
@pytest.mark.parametrize("sizes", [(1, -1), (5, 20), (0, 10)])
def test_adds_up(tmp_path: Path, separator: str, test_split: float, by: str, sizes: tuple[int, int]) -> None:
    """For all options together: fates add up to what came in, shares to 1, and the splits hold what the ledger says."""
    if by == "tail" and test_split >= 1:
        by = "auto"
    partitions = random_partitions(3, 6)
    options: dict[str, Any] = {"min_token_size": sizes[0], "max_token_size": sizes[1]}
    for _ in run(tmp_path, partitions, separator=separator, test_split=test_split, test_split_by=by, **options):
        pass
    store = open_store(tmp_path)
    ledger = store.ledger
    texts = [text.encode() for partition in partitions for text in partition.texts]
    is_kept = [sizes[0] <= len(text) and (sizes[1] < 0 or len(text) <= sizes[1]) for text in texts]
    num_separators = {"eos": 1, "none": 0}.get(separator, 2)
    assert ledger["documents_in"] == len(texts)
    assert ledger["text_bytes"] == sum(map(len, texts))
    assert ledger["tokens_in"] == sum(map(len, texts)) + num_separators * sum(is_kept)
    assert sum(ledger["documents"].values()) - ledger["documents_divided"] == len(texts)
    assert sum(ledger["tokens"].values()) == ledger["tokens_in"]
    assert sum(ledger["token_shares"].values()) == pytest.approx(1)
    dropped = sum(count for fate, count in ledger["documents"].items() if fate.startswith("dropped: "))
    assert dropped == len(texts) - sum(is_kept)
    for name in store.manifest.counts["splits"]:
        split = store.split(name)
        assert ledger["documents"][name] == split.num_documents
        assert ledger["tokens"][name] == ledger["trained"][name] == split.num_tokens
        assert ledger["masked"][name] == 0


def test_files_and_notes_are_asked_for_at_the_end(tmp_path: Path) -> None:
    """What became of files is known once all are read."""
    partitions = random_partitions(2)
    seen: list[int] = []

    def count_files(ledger: Ledger) -> None:
        seen.append(ledger.documents_in)
        ledger.files["read"] = 2
        ledger.notes["files with a byte order mark"] = 1

    stream = SourceToPrepare(partitions=partitions, config=PrepareConfig())
    work = prepare([stream], FakeVocabulary(), tmp_path, describe_source=dict, sources=list, count_files=count_files)
    for _ in work:
        assert seen == []
    assert seen == [18]
    ledger = open_store(tmp_path).ledger
    assert ledger["files"] == {"read": 2}
    assert ledger["notes"] == {"files with a byte order mark": 1}


def test_check_finds_what_is_lost() -> None:
    """A document or a token without a fate is a broken promise of ours, said with both numbers."""
    ledger = Ledger(documents_in=3, tokens_in=10)
    ledger.documents.update(train=2)
    ledger.tokens.update(train=10)
    with pytest.raises(AssertionError, match="3 documents came in, 2 have a fate"):
        ledger.to_dict()
    ledger.documents.update(test=1)
    ledger.tokens.update(test=1)
    with pytest.raises(AssertionError, match="10 tokens came in, 11 have a fate"):
        ledger.to_dict()
    ledger.tokens_in = 11
    ledger.check()


def test_divided_documents_are_counted_once() -> None:
    """A document whose tail is held out is in both splits, and came in once."""
    ledger = Ledger(documents_in=2, tokens_in=9, documents_divided=1)
    ledger.documents.update(train=2, test=1)
    ledger.tokens.update(train=6, test=3)
    assert ledger.to_dict()["token_shares"] == {"train": 6 / 9, "test": 3 / 9}


def test_empty_ledger() -> None:
    """Nothing in, nothing out, no division by it."""
    assert Ledger().to_dict()["token_shares"] == {}


def make_ledger(documents: int, tokens: int, masked: int = 0) -> Ledger:
    """One of a source that is trained whole."""
    ledger = Ledger(documents_in=documents, tokens_in=tokens)
    ledger.documents["train"], ledger.tokens["train"], ledger.masked["train"] = documents, tokens, masked
    return ledger


def test_sources_add_up() -> None:
    """The ledger of a mixture is the sum of its parts, which are checked as well."""
    parts = {"a": make_ledger(3, 30), "b": make_ledger(2, 5, masked=4)}
    parts["b"].documents["dropped: too long"] = 1
    parts["b"].documents_in += 1
    found = Ledger.join(parts).to_dict()
    assert (found["documents_in"], found["tokens"], found["trained"]) == (6, {"train": 35}, {"train": 31})
    assert found["sources"]["b"]["masked"] == {"train": 4}
    assert found["documents"] == {"train": 5, "dropped: too long": 1}
    assert "sources" not in make_ledger(1, 1).to_dict()


def test_sources_that_do_not_add_up() -> None:
    """A part with a document without a fate, and a whole that has another count than its parts, are found."""
    parts = {"a": make_ledger(3, 30), "b": make_ledger(2, 5)}
    whole = Ledger.join(parts)
    whole.tokens["train"] += 1
    whole.tokens_in += 1
    with pytest.raises(AssertionError, match=r"tokens_in: \[30, 5\] of the sources, 36"):
        whole.check()
    parts["b"].documents_in += 1
    with pytest.raises(AssertionError, match="3 documents came in, 2 have a fate"):
        Ledger.join(parts).check()
