"""Real files through the whole way to rows: nothing lost, nothing added but separators, masks where the template has them.

Every case says how a file is prepared, and reads the same file with Python alone into what each document has to be: parts of
text, trained or not. The tokens of the store, decoded, are compared with those parts; the rows of every plan with the tokens.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import whelp
from whelp.artifacts.token_store import TokenSplit, open_store
from whelp.base.errors import SourceError
from whelp.prepare import PackConfig, pack_rows
from whelp.tokenizer import Vocabulary, load_tokenizer

SHARED = Path(__file__).parents[2] / "shared" / "data"
END = "<|endoftext|>"
Parts = list[tuple[str, bool]]  # texts, and whether they are trained
Row = dict[str, Any]


def read_lines(path: Path) -> list[Row]:
    """JSON lines, packed or not."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    return [json.loads(line) for line in data.decode().split("\n") if line]


def read_array(path: Path) -> list[Row]:
    rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def read_parquet(path: Path) -> list[Row]:
    rows: list[Row] = pq.read_table(path).to_pylist()
    return rows


def read_text(path: Path) -> str:
    """A text file with LF."""
    data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    text = data.decode("latin-1" if "latin1" in path.name else "utf-8-sig")
    return text.replace("\r\n", "\n")


def read_text_lines(path: Path) -> list[Row]:
    return [{"text": line} for line in read_text(path).split("\n")]


def write_columns(row: Row, columns: dict[str, tuple[str, bool]]) -> Parts:
    """Columns with a prefix each, and two line ends between them, which belong to the column after; empty ones left out."""
    parts: Parts = []
    for column, (prefix, is_trained) in columns.items():
        if row[column]:
            parts.append((("\n\n" if parts else "") + prefix + row[column], is_trained))
    return parts


def write_default_columns(row: Row) -> Parts:
    return write_columns(
        row, {"instruction": ("Instruction:\n", True), "input": ("Input:\n", False), "output": ("Output:\n", True)}
    )


def write_text(row: Row) -> Parts:
    return [(row["text"], True)]


@dataclass(frozen=True, kw_only=True)
class Case:
    """A file, how it is prepared, and how it is read without us."""

    path: str
    read: Callable[[Path], list[Row]]
    write: Callable[[Row], Parts]
    data: dict[str, Any] = field(default_factory=dict)


COLUMNS = {"multi_column_keys": ["instruction", "context", "response"], "multi_column_train_mask": [False, False, True]}
QUESTIONS = [
    {"text": "Question: ", "train": False},
    {"column": "question", "train": False},
    {"text": r"\nAnswer: ", "train": False},
    {"column": "answer"},
]
CASES = {
    "gsm8k by pieces": Case(
        path="instruct/gsm8k_test.jsonl",
        read=read_lines,
        data={"pieces": QUESTIONS},
        write=lambda row: [(f"Question: {row['question']}\nAnswer: ", False), (row["answer"], True)],
    ),
    "gsm8k of Parquet": Case(
        path="parquet/gsm8k_test.parquet",
        read=read_parquet,
        data={"multi_column_keys": ["question", "answer"], "multi_column_train_mask": [False, True]},
        write=lambda row: [(row["question"], False), ("\n\n" + row["answer"], True)],
    ),
    "dolly": Case(
        path="instruct/dolly_fixture.json",
        read=read_array,
        data=COLUMNS,
        write=lambda row: write_columns(row, {"instruction": ("", False), "context": ("", False), "response": ("", True)}),
    ),
    "instructions": Case(path="instruct/instruction_data_1100.json", read=read_array, write=write_default_columns),
    "identity": Case(path="instruct/llama_factory_identity.json", read=read_array, write=write_default_columns),
    "HumanEval": Case(
        path="instruct/HumanEval.jsonl.gz",
        read=read_lines,
        data={"pieces": [{"column": "prompt", "train": False}, {"column": "canonical_solution"}], "separator_mask": False},
        write=lambda row: [(row["prompt"], False), (row["canonical_solution"], True)],
    ),
    # the instruction stands beside the pairs, where a template of pairs does not reach; see the test of flattened rows below
    "self_instruct, the pairs": Case(
        path="instruct/self_instruct_seed_tasks.jsonl",
        read=read_lines,
        data={
            "conversation_format": "iopairs",
            "conversation_key": "instances",
            "conversation_input_key_prefix_map": {"input": r"\n\nQ: ", "output": r"\n\nA: "},
            "conversation_input_key_mask": {"input": False},
        },
        write=lambda row: [
            (prefix + pair[key], key == "output")
            for pair in row["instances"]
            for key, prefix in (("input", "\n\nQ: "), ("output", "\n\nA: "))
            if pair[key]
        ],
    ),
    "wiki of Parquet": Case(path="parquet/enwiki_lines_text.parquet", read=read_parquet, write=write_text),
    "Japanese by lines": Case(
        path="multilingual/ja_wagahaiwa_nekodearu.txt.gz", read=read_text_lines, data={"document": "line"}, write=write_text
    ),
    "naughty strings by lines": Case(
        path="unicode/blns.txt", read=read_text_lines, data={"document": "line"}, write=write_text
    ),
    "a book in Latin-1 with CR LF": Case(
        path="books/a_tale_of_two_cities.latin1.crlf.txt",
        read=lambda path: [{"text": read_text(path)}],
        data={"document": "file"},
        write=write_text,
    ),
}


@pytest.fixture(autouse=True)
def vocabularies(monkeypatch: pytest.MonkeyPatch) -> None:
    """GPT-2's vocabulary from the shared files."""
    if not (SHARED / "tokenizers" / "gpt2").is_dir():
        pytest.skip(f"no {SHARED}: put the shared data folder beside the repository to run this on real files")
    monkeypatch.setenv("WHELP_TOKENIZERS", str(SHARED / "tokenizers"))


def prepare(folder: Path, rows: Any = None, **data: Any) -> tuple[TokenSplit, Vocabulary, list[str]]:
    """Prepare with GPT-2's vocabulary, nothing held out; the split, the vocabulary, the names of the files."""
    whelp.prepare({"data": {"tokenizer": "gpt2", "test_split": 0, **data}}, out=folder / "store", rows=rows)
    store = open_store(folder / "store")
    return store.split("train"), load_tokenizer(store.tokenizer_folder), store.sources


def join(parts: Parts) -> Parts:
    """Neighbours of one kind together."""
    groups = groupby(parts, key=lambda part: part[1])
    joined = [("".join(text for text, _ in group), is_trained) for is_trained, group in groups]
    return [part for part in joined if part[0]]


def read_documents(split: TokenSplit, vocabulary: Vocabulary) -> list[Parts]:
    """Each document of a store: its trained and its masked stretches, decoded each for itself."""
    documents = []
    for index in range(split.num_documents):
        document = split.document(index)
        ids, mask = document["input_ids"], document.get("loss_mask", np.ones(len(document["input_ids"]), np.uint8))
        bounds = [0, *(np.flatnonzero(np.diff(mask)) + 1).tolist(), len(ids)]
        documents.append(
            [(vocabulary.decode(ids[begin:end], skip_special=False), bool(mask[begin])) for begin, end in pairwise(bounds)]
        )
    return documents


def expect(rows: list[Row], write: Callable[[Row], Parts], *, trains_end: bool = True) -> Iterator[tuple[int, Parts]]:
    """Row numbers from 1, and what their documents have to be; rows of white space alone are none."""
    for number, row in enumerate(rows, 1):
        parts = write(row)
        if "".join(text for text, _ in parts).strip():
            yield number, join([*parts, (END, trains_end)])


def check_rows(whole: TokenSplit) -> None:
    """The rows of every plan hold each token of each document once, and train those that the mask lets be trained.

    Of the first 100 documents: the others are as these.
    """
    split = TokenSplit(whole.name, whole.table.slice(0, 100))
    stream, mask = np.empty(split.num_tokens, split.dtype), np.empty(split.num_tokens, np.uint8)
    assert split.read_into(0, stream) == split.read_mask_into(0, mask) == split.num_tokens
    ends = split.document_ends
    starts = ends - np.diff(ends, prepend=0)
    for config in (
        PackConfig(context_tokens=300),
        PackConfig(context_tokens=300, isolate_documents=True),
        PackConfig(context_tokens=300, plan="stream"),
        PackConfig(context_tokens=300, plan="best_fit"),
        PackConfig(context_tokens=300, plan="none"),
    ):
        rows = pack_rows(split, config, pad_id=50256)
        held, trained = np.zeros(len(stream), np.int64), np.zeros(len(stream) + 1, np.int64)
        for number in range(len(rows)):
            view = rows.look(number)
            places = np.concatenate([starts[piece.document] + piece.start + np.arange(piece.length) for piece in view.pieces])
            count = len(places)
            np.testing.assert_array_equal(view.ids[:count], stream[places])
            assert view.is_padding.tolist() == [False] * count + [True] * (len(view.ids) - count)
            assert not view.is_trained[count:].any()
            counted = view.is_trained[:count]
            np.testing.assert_array_equal(view.targets[:count][counted], stream[places[counted] + 1])
            np.add.at(held, places, 1)
            np.add.at(trained, places[counted] + 1, 1)
        firsts = starts if rows.isolates else starts[:1]  # nothing before them
        expected = mask.astype(np.int64)
        expected[firsts] = 0
        np.testing.assert_array_equal(trained[:-1], expected)
        assert held.max() == 1
        lasts = np.flatnonzero(held == 0)  # a document's last token alone makes no row: it is a target only
        assert np.isin(lasts + 1, ends).all()
        assert config.plan in ("best_fit", "none") or not len(lasts)
    check_endless_stream(split)


def check_endless_stream(split: TokenSplit) -> None:
    """Shuffled, the rows of one epoch, joined, are the documents in another order."""
    documents = [split.document(index)["input_ids"].tolist() for index in range(split.num_documents)]
    rows = pack_rows(split, PackConfig(context_tokens=300, plan="stream"), pad_id=50256)
    count = -(-split.num_tokens // 300)
    ids = rows.read(0, count, seed=3).ids.reshape(-1)[: split.num_tokens]
    ends = np.flatnonzero(ids == 50256) + 1
    found = [part.tolist() for part in np.split(ids, ends)[:-1]]
    assert sorted(found) == sorted(documents)
    assert len(documents) < 3 or found != documents


@pytest.mark.parametrize("name", CASES)
def test_documents_and_rows(name: str, tmp_path: Path) -> None:
    """Decoded, the trained and the masked parts are those of the file; every plan gives the documents back."""
    case = CASES[name]
    path = SHARED / case.path
    split, vocabulary, _ = prepare(tmp_path, source=str(path), **case.data)
    expected = list(expect(case.read(path), case.write, trains_end=case.data.get("separator_mask", True)))
    assert read_documents(split, vocabulary) == [parts for _, parts in expected]
    assert split.table.column("line").to_pylist() == [number for number, _ in expected]
    check_rows(split)


def test_prompt_and_completion_by_renaming(tmp_path: Path) -> None:
    """Rows given in Python under the names prompt and completion: the completion alone is trained."""
    rows = [
        {"prompt": row["question"] + "\n", "completion": row["answer"]}
        for row in read_lines(SHARED / "instruct" / "gsm8k_train.jsonl.gz")[:2000]
    ]
    split, vocabulary, _ = prepare(tmp_path, rows=rows)
    expected = [[(row["prompt"], False), (row["completion"] + END, True)] for row in rows]
    assert read_documents(split, vocabulary) == expected


def test_nested_tasks_flattened(tmp_path: Path) -> None:
    """A template reaches columns, and pairs in one column, but not both; a line of Python makes columns of them."""
    tasks = read_lines(SHARED / "instruct" / "self_instruct_seed_tasks.jsonl")
    rows = [{"instruction": task["instruction"], **pair} for task in tasks for pair in task["instances"]]
    split, vocabulary, _ = prepare(tmp_path, rows=rows)
    assert read_documents(split, vocabulary) == [parts for _, parts in expect(rows, write_default_columns)]
    check_rows(split)


def test_pairs_of_sentences_in_twenty_languages(tmp_path: Path) -> None:
    """A file of tab-separated columns, given a header."""
    lines = (SHARED / "multilingual" / "tatoeba_20lang_eng.tsv").read_text(encoding="utf-8")
    path = tmp_path / "pairs.tsv"
    path.write_text("language\tsentence\tenglish\n" + lines, encoding="utf-8", newline="")
    data = {
        "multi_column_keys": ["sentence", "english"],
        "multi_column_separator": r"\t",
        "multi_column_train_mask": [False, True],
    }
    split, vocabulary, _ = prepare(tmp_path, source=str(path), **data)
    with open(path, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    expected = [[(row["sentence"], False), (f"\t{row['english']}{END}", True)] for row in rows]
    assert read_documents(split, vocabulary) == expected
    check_rows(split)


def test_a_folder_of_languages(tmp_path: Path) -> None:
    """Forty files of many scripts: each is one document, under its name, with all its bytes."""
    folder = SHARED / "multilingual" / "udhr"
    split, vocabulary, sources = prepare(tmp_path, source=str(folder))
    names = [sources[index] for index in split.table.column("file_index").to_pylist()]
    assert sorted(names) == sorted(path.name for path in folder.iterdir())
    for name, parts in zip(names, read_documents(split, vocabulary), strict=True):
        assert parts == [(read_text(folder / name) + END, True)], name


def test_books_by_blank_lines(tmp_path: Path) -> None:
    """Paragraphs, joined, are the book without its blank lines; each stands at the line that it says."""
    path = SHARED / "books" / "alice_in_wonderland.txt"
    split, vocabulary, _ = prepare(tmp_path, source=str(path), separator="none")
    texts = [parts[0][0] for parts in read_documents(split, vocabulary)]
    lines = read_text(path).split("\n")
    assert "\n".join(texts).split("\n") == [line for line in lines if line.strip()]
    for text, line in zip(texts, split.table.column("line").to_pylist(), strict=True):
        assert lines[line - 1 : line + text.count("\n")] == text.split("\n")


def test_an_array_of_texts_is_no_rows(tmp_path: Path) -> None:
    """A JSON array of strings is refused with what it is; as a text it can be had."""
    path = SHARED / "unicode" / "blns.json"
    with pytest.raises(SourceError, match=r"blns\.json"):
        prepare(tmp_path, source=str(path))
    split, vocabulary, _ = prepare(tmp_path, source=str(path), document="file")
    assert read_documents(split, vocabulary) == [[(read_text(path) + END, True)]]


def test_columns_of_other_types_are_refused(tmp_path: Path) -> None:
    """Files of bytes, lists and maps: one error that names the file and the column. Whole numbers are their digits, unless one is null."""
    num_read = 0
    for path in sorted((SHARED / "parquet").iterdir()):
        schema = pq.read_schema(path)
        if {"text", "question"} & set(schema.names):
            continue
        column = schema.names[0]
        kind = str(schema.field(column).type)
        if kind in ("string", "large_string"):
            continue
        values = pq.read_table(path, columns=[column]).column(0).to_pylist() if "int" in kind.partition("<")[0] else [None]
        if None not in values:
            split, vocabulary, _ = prepare(tmp_path / path.name, source=str(path), custom_text_key=column)
            assert read_documents(split, vocabulary) == [[(f"{value}{END}", True)] for value in values]
            num_read += 1
            continue
        with pytest.raises(SourceError, match=re.escape(path.name)) as error:
            prepare(tmp_path, source=str(path), custom_text_key=column)
        assert column in str(error.value) or "rows" in str(error.value)
    assert num_read >= 4
