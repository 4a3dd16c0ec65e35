"""Documents to a store: every token arrives once, whatever the options and however often the work is cut off."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from whelp.artifacts.manifest import NAME, Manifest, find_damage, read_manifest, write_manifest
from whelp.artifacts.parts_folder import PARTS_FOLDER
from whelp.artifacts.token_store import open_store
from whelp.base.engines import LocalEngine
from whelp.base.errors import ArtifactError, ConfigError, PlanError
from whelp.prepare import PrepareConfig, SourceToPrepare, prepare

from .fakes import (
    EOS,
    FakePartition,
    FakeVocabulary,
    contents,
    expect,
    finish,
    make_partitions,
    random_partitions,
    read_split,
    run,
)

# --- every token in one split ---


@pytest.mark.parametrize(
    ("separator", "ids"),
    [("eos", [EOS]), ("newline", [10]), ("none", []), ("\\n--\\t\\n", [*b"\n--\t\n"]), ("é", [*"é".encode()])],
)
@pytest.mark.parametrize("options", [{}, {"test_split": 0}, {"test_split_by": "tail", "test_split": 0.3}])
def test_every_token_once(tmp_path: Path, separator: str, ids: list[int], options: dict[str, Any]) -> None:
    """Train and test together are each document encoded alone, with the separator after it, and nothing else."""
    partitions = random_partitions()
    train, test = finish(tmp_path, partitions, separator=separator, **options)
    expected = expect(partitions, ids)
    found: dict[tuple[int, int], list[int]] = {}
    for split in (train, test):  # the test tokens of a document come after its train tokens
        for place, document in zip(split.places, split.documents, strict=True):
            found[place] = found.get(place, []) + document
    assert found == expected
    order = list(expected)
    assert train.places == [place for place in order if place in set(train.places)]  # the source's order
    assert test.places == [place for place in order if place in set(test.places)]


def test_store_opens(tmp_path: Path) -> None:
    """What comes out is a finished, whole store with everything in it; the parts are gone."""
    finish(tmp_path, random_partitions(), test_split=2)
    store = open_store(tmp_path)
    assert find_damage(tmp_path, store.manifest) == []
    assert store.vocab_size == 257
    assert store.sources == [f"file-{index}.txt" for index in range(4)]
    assert (store.tokenizer_folder / "tokenizer.json").is_file()
    assert store.manifest.inputs == {"source": {"name": "fake"}, "tokenizer": "bytes", "format": 3}
    for name, counts in store.manifest.counts["splits"].items():
        split = store.split(name)
        assert counts == {"documents": split.num_documents, "tokens": split.num_tokens}
    assert not (tmp_path / PARTS_FOLDER).exists()


def test_reports(tmp_path: Path) -> None:
    """One report a partition, with what it kept; text counts in bytes."""
    reports = list(run(tmp_path, make_partitions(["ab", "é"], [], ["cde"])))
    assert [report.partition for report in reports] == [0, 1, 2]
    assert [report.num_documents for report in reports] == [2, 0, 1]
    assert [report.num_tokens for report in reports] == [6, 0, 4]
    assert [report.num_bytes for report in reports] == [4, 0, 3]
    assert not any(report.is_reused for report in reports)


def test_wide_ids(tmp_path: Path) -> None:
    """A vocabulary beyond 16 bits gives 32-bit ids."""
    finish(tmp_path, random_partitions(1), vocabulary=FakeVocabulary(size=70_000, eos_id=69_999))
    split = open_store(tmp_path).split("train")
    assert split.dtype.name == "uint32"


def test_real_vocabulary_and_partition(tmp_path: Path) -> None:
    """The rooms fit together: a real partition, one without rows too, and a learned vocabulary."""
    from whelp.corpus import Partition
    from whelp.tokenizer import LearnConfig, learn

    schema = pa.schema([("text", pa.large_string()), ("file_index", pa.int32()), ("line", pa.int64())])
    texts = ["the cat", "sat on the mat", "日本"] * 7
    vocabulary = learn([pa.array(texts)], LearnConfig(learn="chars"))
    rows = [texts, [0] * len(texts), list(range(len(texts)))]
    batch = pa.record_batch([pa.array(row, kind.type) for row, kind in zip(rows, schema, strict=True)], schema=schema)
    empty = pa.record_batch([pa.array([], kind.type) for kind in schema], schema=schema)
    partitions = [Partition(0, empty, "x", [], {}), Partition(1, batch, "y", [], {}), Partition(2, empty, "z", [], {})]
    stream = SourceToPrepare(partitions=partitions, config=PrepareConfig(test_split=0))
    reports = list(prepare([stream], vocabulary, tmp_path, describe_source=dict, sources=lambda: ["a.txt"]))
    assert [report.num_documents for report in reports] == [0, 21, 0]
    documents = read_split(tmp_path, "train").documents
    assert [vocabulary.decode(document) for document in documents] == texts
    assert all(document[-1] == vocabulary.eos_id for document in documents)


# --- separators and filters ---


def test_eos_without_such_a_token(tmp_path: Path) -> None:
    """A vocabulary without an end token needs another separator, and that is said."""
    with pytest.raises(PlanError) as caught:
        finish(tmp_path, random_partitions(), vocabulary=FakeVocabulary(eos_id=None))
    assert str(caught.value) == (
        "data.separator: is eos, but the tokenizer has no end-of-text token. Set data.separator to newline, none or a text."
    )
    finish(tmp_path, random_partitions(), vocabulary=FakeVocabulary(eos_id=None), separator="newline")


def test_filters_are_counted(tmp_path: Path) -> None:
    """Too short and too long documents are left out and counted, the separator not being part of a length."""
    partitions = make_partitions(["a", "bb", "ccc"], ["dddd", "eeeee", "ff"], ["g"])
    train, _ = finish(tmp_path, partitions, min_token_size=2, max_token_size=4, test_split=0)
    assert [bytes(document[:-1]).decode() for document in train.documents] == ["bb", "ccc", "dddd", "ff"]
    assert train.places == [(0, 2), (0, 3), (1, 1), (1, 3)]
    ledger = open_store(tmp_path).ledger
    assert ledger["documents_in"] == 7
    assert ledger["documents"] == {"dropped: too short": 2, "dropped: too long": 1, "train": 4}
    assert ledger["tokens"] == {"dropped: too short": 2, "dropped: too long": 5, "train": 11 + 4}
    assert ledger["text_bytes"] == 18


def test_documents_of_no_token(tmp_path: Path) -> None:
    """Empty documents are dropped; where the filter lets them in and nothing follows them, they stay, without tokens."""
    partitions = make_partitions(["", "ab", ""], [""], ["cd", ""])
    train, _ = finish(tmp_path / "a", partitions, test_split=0)
    assert train.places == [(0, 2), (2, 1)]
    last = {"test_split": 2, "test_split_by": "document", "test_split_shuffle": False}
    for options in ({"test_split": 0}, {"test_split": 3, "test_split_by": "document"}, {"test_split": 0.5}, last):
        train, test = finish(tmp_path / "b", partitions, min_token_size=0, separator="none", **options)
        assert {*train.places, *test.places} == {(0, 1), (0, 2), (0, 3), (1, 1), (2, 1), (2, 2)}
        tokens = sorted(token for split in (train, test) for document in split.documents for token in document)
        assert bytes(tokens) == b"abcd"
        assert all(test.documents)


def test_nothing_left(tmp_path: Path) -> None:
    """When the filters leave nothing, it is said what they dropped; the same folder can be used again."""
    message = r"nothing is left to train on \(2 dropped: too short\), but expected at least one document\. Check data\.source"
    with pytest.raises(PlanError, match=message):
        finish(tmp_path, make_partitions(["a"], ["b"]), min_token_size=5)
    with pytest.raises(PlanError, match=r"nothing is left to train on \(no document at all\)"):
        finish(tmp_path, [])
    assert not (tmp_path / NAME).exists()
    train, _ = finish(tmp_path, make_partitions(["a"], ["b"]), test_split=0)
    assert len(train.documents) == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_token_size": 5, "max_token_size": 4}, r"data\.max_token_size \(4\) is below data\.min_token_size \(5\)"),
        ({"test_split": 1.5}, r"data\.test_split is 1\.5: give a share below 1 or a whole number of documents"),
        ({"test_split": 3, "test_split_by": "tail"}, r"data\.test_split_by: tail needs a data\.test_split below 1"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    """Options that contradict each other are refused before any work."""
    with pytest.raises(ConfigError, match=message):
        PrepareConfig(**options)


# --- what is held out ---


@pytest.mark.parametrize(
    ("test_split", "num_test"), [(0.25, 10), (0.01, 1), (1e-9, 1), (5, 5), (1, 1), (39, 39), (2.0, 2), (0.9, 36)]
)
@pytest.mark.parametrize("is_shuffled", [True, False])
def test_split_by_document(tmp_path: Path, test_split: float, num_test: int, is_shuffled: bool) -> None:
    """A share or a number of whole documents, drawn or the last ones; a share is never less than one document."""
    partitions = random_partitions(4, 10)
    train, test = finish(tmp_path, partitions, test_split=test_split, test_split_shuffle=is_shuffled)
    everything = expect(partitions, [EOS])
    assert len(test.places) == num_test
    assert len(train.places) == 40 - num_test
    assert not {*train.places} & {*test.places}
    assert all(everything[place] == document for place, document in zip(test.places, test.documents, strict=True))
    if not is_shuffled:
        assert test.places == list(everything)[-num_test:]


def test_split_is_drawn_by_seed(tmp_path: Path) -> None:
    """The same seed holds out the same documents, another one others."""
    partitions = random_partitions()
    draws = [
        finish(tmp_path / name, partitions, seed=seed, test_split=8)[1] for name, seed in zip("abc", (0, 0, 1), strict=True)
    ]
    assert draws[0].places == draws[1].places
    assert draws[0].places != draws[2].places


def test_split_by_tail(tmp_path: Path) -> None:
    """The end of each document is held out, by its share; what is left of it is never nothing."""
    partitions = make_partitions(["a" * 99], ["b" * 9, "c"], ["d" * 49])
    train, test = finish(tmp_path, partitions, test_split=0.1, test_split_by="tail")
    assert [len(document) for document in train.documents] == [90, 9, 2, 45]
    assert [len(document) for document in test.documents] == [10, 1, 5]
    assert test.places == [(0, 1), (1, 1), (2, 1)]
    assert all(document[-1] == EOS for document in test.documents)
    ledger = open_store(tmp_path).ledger
    assert ledger["documents_divided"] == 3
    assert ledger["documents"] == {"train": 4, "test": 3}


def test_tail_is_never_empty(tmp_path: Path) -> None:
    """A share of less than a token still holds out two: one to predict from, and one to predict."""
    train, test = finish(tmp_path, make_partitions(["abc", "abcdef"]), test_split=0.01)
    assert [len(document) for document in test.documents] == [2]
    assert test.places == [(0, 2)]
    assert [len(document) for document in train.documents] == [4, 5]


@pytest.mark.parametrize(("num_documents", "num_train"), [(19, 19), (20, 18)])
def test_auto(tmp_path: Path, num_documents: int, num_train: int) -> None:
    """Few documents are divided, many are held out whole; a number of documents is always of whole ones."""
    partitions = make_partitions(["abcdefghij"] * num_documents)
    train, _ = finish(tmp_path / "a", partitions, test_split=0.1)
    assert len(train.documents) == num_train
    for name, test_split, by in (("b", 3, "auto"), ("c", 3, "document"), ("d", 3 / num_documents, "document")):
        train, test = finish(tmp_path / name, partitions, test_split=test_split, test_split_by=by)
        assert (len(train.documents), len(test.documents)) == (num_documents - 3, 3)


@pytest.mark.parametrize(("test_split", "found"), [(36, "36 of 36"), (50, "50 of 36"), (0.999, "36 of 36")])
def test_split_too_large(tmp_path: Path, test_split: float, found: str) -> None:
    """Holding out everything is refused; with a smaller share the work done is not done again."""
    partitions = random_partitions()
    with pytest.raises(PlanError) as caught:
        finish(tmp_path, partitions, test_split=test_split)
    assert str(caught.value) == (
        f"data.test_split: holds out {found} documents, which leaves none to train on. "
        "Lower it, or set data.test_split_by=tail to hold out the end of each document."
    )
    assert all(report.is_reused for report in run(tmp_path, partitions, test_split=5))


def test_split_that_is_not_wanted_any_more(tmp_path: Path) -> None:
    """Made again without a test split, the store has none; the old one is not left lying there."""
    partitions = random_partitions()
    finish(tmp_path, partitions, test_split=5)
    finish(tmp_path, partitions, test_split=0)
    assert not (tmp_path / "test").exists()
    assert list(open_store(tmp_path).manifest.counts["splits"]) == ["train"]


@pytest.mark.parametrize("share", [0.01, 0.05, 0.3, 0.5, 0.9])
@pytest.mark.parametrize("num_documents", [200, 333])
def test_share_of_many_documents(tmp_path: Path, share: float, num_documents: int) -> None:
    """Drawn while they come: the share is exact, evenly spread, and does not depend on where partitions end."""
    texts = [f"document {number}" for number in range(num_documents)]
    found = []
    for size in (40, 70):
        cuts = [texts[first : first + size] for first in range(0, num_documents, size)]
        train, test = finish(tmp_path / str(size), make_partitions(*cuts), test_split=share)
        found.append([bytes(document[:-1]).decode() for document in test.documents])
        assert len(train.documents) + len(test.documents) == num_documents
    assert found[0] == found[1]
    assert abs(len(found[0]) - num_documents * share) < 1
    numbers = [int(text.split()[1]) for text in found[0]]
    assert numbers == sorted(set(numbers))
    assert max(b - a for a, b in itertools.pairwise([0, *numbers, num_documents])) < 2 / share + 1


def test_a_drawn_share_is_never_nothing(tmp_path: Path) -> None:
    """A share that comes to no document still holds out one; so does the number one, which is no share."""
    texts = [f"document {number}" for number in range(60)]
    for test_split in (0.001, 1):
        train, test = finish(tmp_path / str(test_split), make_partitions(texts[:30], texts[30:]), test_split=test_split)
        assert (len(train.documents), len(test.documents)) == (59, 1)


def test_nothing_is_drawn_beside_a_test_split_of_its_own(tmp_path: Path) -> None:
    """All documents of the other partitions are trained."""
    texts = [f"document {number}" for number in range(60)]
    partitions = [*make_partitions(texts[:30], texts[30:]), FakePartition(2, ["held out"] * 5, "test")]
    stream = SourceToPrepare(partitions=partitions, config=PrepareConfig(test_split=0.1), has_own_test=True)
    for _ in prepare([stream], FakeVocabulary(), tmp_path, describe_source=dict, sources=list):
        pass
    train, test = (read_split(tmp_path, name) for name in ("train", "test"))
    assert (len(train.documents), len(test.documents)) == (60, 5)


# --- many workers ---


@pytest.mark.parametrize("options", [{"test_split": 0.1}, {"test_split": 7}, {"test_split": 0}])
def test_any_number_of_workers(tmp_path: Path, options: dict[str, Any]) -> None:
    """One, two or seven workers write the same bytes."""
    partitions = random_partitions(9, 25)
    for workers in (1, 2, 7):
        finish(tmp_path / str(workers), partitions, engine=LocalEngine(workers), **options)
    assert contents(tmp_path / "1") == contents(tmp_path / "2") == contents(tmp_path / "7")


def test_an_error_of_a_worker_comes_through(tmp_path: Path) -> None:
    """What cannot be encoded stops the work with its own message; what was finished before is kept."""

    class Picky(FakeVocabulary):
        def encode_batch(self, texts: pa.Array) -> Any:
            if "bad" in texts.to_pylist():
                raise ValueError("cannot write 'bad'")
            return super().encode_batch(texts)

    partitions = make_partitions(["a"], ["b"], ["bad"], ["c"])
    with pytest.raises(ValueError, match="cannot write 'bad'"):
        finish(tmp_path, partitions, vocabulary=Picky())
    reused = [report.is_reused for report in run(tmp_path, make_partitions(["a"], ["b"], ["good"], ["c"]))]
    assert reused[:3] == [True, True, False]


# --- the place ---


def test_folder_with_other_files(tmp_path: Path) -> None:
    """A folder of something else is not written into, and a file is no folder."""
    (tmp_path / "thesis.txt").write_text("mine")
    message = r"holds other files, but expected an empty folder or a token store\. Choose another --out; nothing was changed"
    with pytest.raises(ArtifactError, match=message):
        finish(tmp_path, random_partitions())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(ArtifactError, match=r"thesis\.txt: is a file, but expected a folder for the token store"):
        finish(tmp_path / "thesis.txt", random_partitions())


def test_folder_of_another_kind(tmp_path: Path) -> None:
    """A checkpoint is named as one."""
    write_manifest(tmp_path, Manifest(kind="checkpoint"))
    with pytest.raises(ArtifactError, match=r"holds a checkpoint, but expected an empty folder or a token store"):
        finish(tmp_path, random_partitions())


def test_empty_folder_and_new_parents(tmp_path: Path) -> None:
    """An empty folder is taken, a missing one is made with its parents."""
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "x" / "y"):
        finish(folder, random_partitions(1))
        read_manifest(folder, "token_store")


def test_streams_of_a_mixture(tmp_path: Path) -> None:
    """Each stream by its own rules and template, one after the other, its files counted on; the same on any number of threads."""
    first, second = make_partitions(["aa", "b"] * 20, ["cc"] * 30), make_partitions(["d", "eee"] * 15, ["ff"] * 25)

    def write(folder: Path, *streams: SourceToPrepare, workers: int) -> list[int]:
        files = {"describe_source": dict, "sources": lambda: ["1", "2", "3", "4"]}
        reports = prepare(streams, FakeVocabulary(), folder, engine=LocalEngine(workers), **files)
        return [report.partition for report in reports]

    streams = [
        SourceToPrepare(partitions=first, config=PrepareConfig(test_split=0.1, separator="none"), name="first"),
        SourceToPrepare(
            partitions=second,
            config=PrepareConfig(test_split=2, min_token_size=2),
            first_file=2,
            name="second",
            weight=3,
            max_repeats=5,
        ),
    ]
    assert write(tmp_path / "one", *streams, workers=1) == write(tmp_path / "three", *streams, workers=3) == [0, 1, 2, 3]
    bytes_of = [
        {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        for folder in (tmp_path / "one", tmp_path / "three")
    ]
    assert bytes_of[0] == bytes_of[1]
    train, test = (read_split(tmp_path / "one", side) for side in ("train", "test"))
    num_first = 63  # of 70
    assert all(EOS not in document for document in train.documents[:num_first])
    assert all(document[-1] == EOS and len(document) > 2 for document in train.documents[num_first:])
    assert [index < 2 for index, _ in train.places] == [True] * num_first + [False] * (15 + 25 - 2)
    assert [index < 2 for index, _ in test.places] == [True] * 7 + [False] * 2
    counts = open_store(tmp_path / "one").manifest.counts["sources"]
    assert counts[1] == {
        "name": "second",
        "weight": 3,
        "max_repeats": 5,
        "splits": {
            side: {"documents": len(chosen), "tokens": sum(map(len, chosen))}
            for side, chosen in (("train", train.documents[num_first:]), ("test", test.documents[7:]))
        },
    }
