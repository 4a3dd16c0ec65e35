"""Files of rows: what comes out equals what other readers give; compressed, mixed, cut, and through `whelp.prepare`."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

import whelp
from whelp.artifacts.token_store import open_store
from whelp.base.errors import SourceError
from whelp.corpus import iter_texts

from .test_source import make, read_notes, read_rows, write

SHARED = Path(__file__).parents[3] / "shared" / "data"
NASTY = [
    "plain",
    'quotes "inside" and ""doubled""',
    "line\nends\r\nof\rall kinds",
    " spaces, commas;\ttabs ",
    "Été 日本 🐕 \u2028 \u00a0",
    '"',
    "back\\slash \\n \\u0041",
    "ends with a line end\n",
    "{not: json}",
    "x" * 3000,
]


@pytest.mark.parametrize(
    "data",
    [
        '[{"text": "one [1]"}, {"text": "two"}]',
        '\n[\n  {"text": "one [1]"},\n  {"text": "two"}\n]\n',
        '[{"text": "one [1]"},\n{"text": "two"}]\n',
        '\ufeff[\n{\n "text": "one [1]"}\n,\n{"text": "two"}\n]',
    ],
)
def test_an_array_under_the_name_of_lines(tmp_path: Path, data: str) -> None:
    """Some programs write arrays to `.jsonl`: its rows are read, however it is broken into lines, and bad ones are named."""
    name = "a.jsonl.gz"
    write(tmp_path, {name: gzip.compress(data.encode())})
    assert read_rows(make(tmp_path / name)) == [(name, "one [1]", 1), (name, "two", 2)]
    write(tmp_path, {"bad.jsonl": data.replace('"two"', "2")})
    with pytest.raises(SourceError, match=r"bad.jsonl, row 2: 'text' is a number"):
        read_rows(make(tmp_path / "bad.jsonl"))


@pytest.mark.parametrize("first", ['[{"text": "one"}]', '[{"text": "one"', "[broken"])
def test_a_first_line_that_is_no_object_is_a_bad_line(tmp_path: Path, first: str) -> None:
    """A bracket alone does not make an array of lines."""
    write(tmp_path, {"a.jsonl": first + '\n{"text": "two"}\n{"text": "three"}\n'})
    assert read_rows(make(tmp_path, on_bad_rows="skip")) == [("a.jsonl", "two", 2), ("a.jsonl", "three", 3)]


def read_texts(source: Any, **sizes: int) -> list[str]:
    return [row[1] for row in read_rows(source, **sizes)]


def need(*names: str) -> list[Path]:
    """Real files; skip where the checkout has none."""
    paths = [SHARED / name for name in names]
    if not all(path.exists() for path in paths):
        pytest.skip(f"no {SHARED}: put the shared data folder beside the repository to run this on real files")
    return paths


def as_csv(texts: list[str], **options: Any) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, **options)
    writer.writerows([["id", "text"], *enumerate(texts)])
    return file.getvalue().encode()


def as_parquet(texts: list[str]) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), file, row_group_size=3)
    return file.getvalue()


def as_ipc(texts: list[str], opener: Any) -> bytes:
    file = io.BytesIO()
    table = pa.table({"id": range(len(texts)), "text": pa.array(texts).dictionary_encode()})
    with opener(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    return file.getvalue()


def as_feather(texts: list[str]) -> bytes:
    file = io.BytesIO()
    pyarrow.feather.write_feather(pa.table({"text": texts}), file)
    return file.getvalue()


FORMATS: dict[str, Any] = {
    "a.jsonl": lambda texts: "".join(json.dumps({"id": 1, "text": text}) + "\n" for text in texts).encode(),
    "a.ndjson": lambda texts: "\r\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in texts).encode(),
    "a.json": lambda texts: json.dumps([{"id": 1, "text": text} for text in texts], indent=1).encode(),
    "object.json": lambda texts: json.dumps({"version": 1, "tags": ["a"], "data": [{"text": text} for text in texts]}).encode(),
    "lines.json": lambda texts: "\n".join(json.dumps({"text": text}) for text in texts).encode(),
    "a.csv": as_csv,
    "unix.csv": lambda texts: as_csv(texts, lineterminator="\n", quoting=csv.QUOTE_ALL),
    "a.tsv": lambda texts: as_csv(texts, delimiter="\t"),
    "a.parquet": as_parquet,
    "a.arrow": lambda texts: as_ipc(texts, pa.ipc.new_file),
    "stream.arrow": lambda texts: as_ipc(texts, pa.ipc.new_stream),
    "a.feather": as_feather,
}


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip(tmp_path: Path, name: str) -> None:
    """Every format gives back the texts as they were, in order, with the number of each row."""
    write(tmp_path, {name: FORMATS[name](NASTY)})
    source = make(tmp_path / name)
    assert source.document == "row"
    assert read_rows(source) == [(name, text, number) for number, text in enumerate(NASTY, 1)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.tsv"])
def test_byte_order_mark(tmp_path: Path, name: str) -> None:
    """A UTF-8 mark is no part of the first name or row."""
    write(tmp_path, {name: b"\xef\xbb\xbf" + FORMATS[name](NASTY)})
    assert read_texts(make(tmp_path / name)) == NASTY


@pytest.mark.parametrize("name", ["a.jsonl", "a.json", "a.csv", "a.parquet", "a.arrow", "a.feather"])
@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_compressed(tmp_path: Path, name: str, suffix: str) -> None:
    """A packed file gives the same rows; cut off, it stops the work, also in a folder."""
    pack = {
        ".gz": gzip.compress,
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
        ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
    }
    packed = pack[suffix](FORMATS[name](NASTY))
    write(tmp_path, {"good/" + name + suffix: packed, "bad/" + name + suffix: packed[: len(packed) // 2], "bad/b.txt": "text"})
    assert read_texts(make(tmp_path / "good")) == NASTY
    for source in (tmp_path / "bad", tmp_path / "bad" / (name + suffix)):
        with pytest.raises(SourceError, match=rf"{name}{suffix}: cut off or broken .* data.*Get a whole copy"):
            read_rows(make(source))


def test_compressed_members(tmp_path: Path) -> None:
    """A gzip file of several members is read to its end; one of another kind is refused, and one with anything after it."""
    members = gzip.compress(b'{"text": "a"}\n') + gzip.compress(b'{"text": "b"}\n')
    write(tmp_path, {"a.jsonl.gz": members, "b.csv.gz": "text\nx\n", "c.jsonl.gz": members + b"junk"})
    assert read_texts(make(tmp_path / "a.jsonl.gz")) == ["a", "b"]
    with pytest.raises(SourceError, match=r"b\.csv\.gz: no gzip data, though its name says so.*take \.gz from its name"):
        make(tmp_path / "b.csv.gz")
    with pytest.raises(SourceError, match=r"c\.jsonl\.gz: cut off or broken gzip data"):
        read_rows(make(tmp_path / "c.jsonl.gz"))


def test_compressed_text(tmp_path: Path) -> None:
    """Packed plain text is text; a packed file that does not say what is inside is not unpacked."""
    text = "Tyger Tyger,\n\nburning bright\n\nin the forests\n" * 50
    write(
        tmp_path,
        {"a.txt.gz": gzip.compress(text.encode()), "b.txt": text, "c.gz": gzip.compress(b"c"), "d.tar.gz": gzip.compress(b"d")},
    )
    packed = read_rows(make(tmp_path / "a.txt.gz"), partition_bytes=100, block_bytes=7)
    assert [row[1:] for row in packed] == [row[1:] for row in read_rows(make(tmp_path / "b.txt"))]
    assert len(packed) == 101
    source = make(tmp_path)
    assert [row[:2] for row in read_rows(source)] == [("a.txt.gz", text), ("b.txt", text)]


def test_an_object_that_is_a_row(tmp_path: Path) -> None:
    """A file for each article: the column that is wanted makes it one, and other objects stay what they are."""
    article = {"title": "A", "text": "a\nb", "links": [{"to": "x", "why": "y"}], "tags": ["t"]}
    write(
        tmp_path,
        {
            "a.json": json.dumps(article, indent=2),
            "b.json": '{"text": "c", "body": "d"}',
            "many.json": '{"text": "about", "data": [{"text": "e"}]}',
            "package.json": '{"name": "x"}',
        },
    )
    assert [row[:2] for row in read_rows(make(tmp_path))] == [("a.json", "a\nb"), ("b.json", "c"), ("many.json", "e")]
    assert [row[:2] for row in read_rows(make(tmp_path / "b.json", custom_text_key="body"))] == [("b.json", "d")]
    whelp.convert(tmp_path / "package.json", out=tmp_path / "out.jsonl")
    assert (tmp_path / "out.jsonl").read_text() == '{"name": "x"}\n'
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}]
    write(tmp_path / "chats", {f"{number}.json": json.dumps({"id": number, "messages": turns}) for number in range(2)})
    data: dict[str, Any] = {"source": str(tmp_path / "chats"), "tokenizer": {"learn": "chars"}, "test_split": 0}
    data |= {"conversation_format": "sender", "conversation_key": "messages", "conversation_sender_key": "role"}
    data |= {"conversation_input_key_map": {"content": ""}}
    whelp.prepare({"data": data}, out=tmp_path / "store")
    assert open_store(tmp_path / "store").split("train").num_documents == 2


def test_mixed_sources(tmp_path: Path) -> None:
    """Each file is read by its kind; what is no rows among the files found is skipped and counted."""
    write(
        tmp_path, {"a.jsonl": '{"text": "row"}\n', "b.txt": "one\n\ntwo", "package.json": '{"name": "x"}', "c.csv": "body\nx\n"}
    )
    source = make(tmp_path)
    assert source.document == "row or file"
    assert [row[:2] for row in read_rows(source)] == [("a.jsonl", "row"), ("b.txt", "one\n\ntwo"), ("c.csv", "x")]
    [partition] = source.iter_partitions()
    assert [(file.path, file.kind) for file in partition.skipped] == [("package.json", "no rows")]
    assert "custom_text_key" in source.options()
    assert "custom_text_key" not in make(tmp_path / "b.txt").options()


@pytest.mark.parametrize("document", ["file", "line", "blank_line", "regex"])
def test_given_document_means_text(tmp_path: Path, document: str) -> None:
    """A document that is given makes every file text."""
    write(tmp_path, {"a.jsonl": '{"text": "a"}'})
    source = make(tmp_path / "a.jsonl", document=document, document_regex="\n+" if document == "regex" else None)
    assert source.document == document
    assert read_texts(source) == ['{"text": "a"}']


@pytest.mark.parametrize("name", FORMATS)
def test_blocks_do_not_matter(tmp_path: Path, name: str) -> None:
    """Rows, partitions and fingerprints are the same whatever the size of a read."""
    texts = [f"{number} " + "é\n" * (number * 7 % 23) for number in range(200)] + ["", " \n"]
    write(tmp_path, {name: FORMATS[name](texts), "z.txt": "text"})
    source = make(tmp_path)
    expected = [(partition.fingerprint, partition.notes) for partition in source.iter_partitions(partition_bytes=500)]
    assert len(expected) > 5
    assert read_texts(source, partition_bytes=500) == [*texts[:-2], "text"]
    assert read_notes(source, partition_bytes=500) == {"empty documents dropped": 2}
    for block_bytes in (13, 64, 1000):
        found = list(source.iter_partitions(partition_bytes=500, block_bytes=block_bytes))
        assert [partition.fingerprint for partition in found] == [fingerprint for fingerprint, _ in expected]
    sizes = [sum(map(len, partition.batch["text"].to_pylist())) for partition in found]
    assert max(sizes) < 600


@pytest.mark.parametrize("name", ["a.csv", "a.tsv"])
def test_line_ends_at_the_end_of_a_block(tmp_path: Path, name: str) -> None:
    """Wherever a block ends, quoted CR LF, quotes and delimiters are kept."""
    texts = ["\r\n" * 20, 'a\r\n\t""\n\t\r\n}', "k\r\n,\r\n", 'é""},\t}' + "x" * 30, "k\\"]
    write(tmp_path, {name: FORMATS[name](["x", *texts, "x"])})
    for block_bytes in range(1, 120):
        rows = read_rows(make(tmp_path / name), block_bytes=block_bytes)
        assert [row[1:] for row in rows] == [
            ("x", 1),
            *((text, number) for number, text in enumerate(texts, 2) if text.strip()),
            ("x", 7),
        ]


@pytest.mark.parametrize(
    "first",
    [
        {"text": "2026-11-29", "other": "long"},
        {"number": 3, "inner": {"text": "not this"}, "text": "a \u201cb\u201d \U0001f642\n"},
        {"content": "only another", "list": [1, "two"], "text": None},
        {"text": "half \ud800"},
        "no object",
    ],
)
@pytest.mark.parametrize("ending", ["", "\n", "\n\n"])
def test_the_columns_of_a_long_first_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: Any, ending: str) -> None:
    """Found by another parser, in less memory: the same rows, or the same complaint."""
    lines = "\n".join(map(json.dumps, [first, {"text": "second"}, {"content": "third"}][: 1 if ending == "" else 3]))
    write(tmp_path, {"a.jsonl": lines + ending})

    def read() -> Any:
        try:
            return read_texts(make(tmp_path))
        except SourceError as error:
            return str(error)

    expected = read()
    monkeypatch.setattr("whelp.corpus.json_rows.LONG_LINE_BYTES", 0)
    monkeypatch.setattr("whelp.corpus.json_rows.HEAD_BYTES", 7)
    assert read() == expected


def test_options_make_a_store_stale(tmp_path: Path) -> None:
    """Another column, another rule for bad rows, or another reading of the file is a change."""
    write(tmp_path, {"a.jsonl": '{"text": "a", "other": "b"}\n'})
    before = make(tmp_path / "a.jsonl").describe()
    assert make(tmp_path / "a.jsonl").changed_since(before) == []
    assert make(tmp_path / "a.jsonl", custom_text_key="other").changed_since(before) == [
        "data.custom_text_key: was not set, now 'other'"
    ]
    assert make(tmp_path / "a.jsonl", on_bad_rows="skip").changed_since(before) == ["data.on_bad_rows: was 'stop', now 'skip'"]
    assert make(tmp_path / "a.jsonl", document="line").changed_since(before) == ["data.document: was 'row', now 'line'"]


def test_vocabulary_texts(tmp_path: Path) -> None:
    """A vocabulary is learned from the rows' texts alone."""
    write(tmp_path, {"a.jsonl": FORMATS["a.jsonl"](NASTY)})
    assert [text for texts in iter_texts(make(tmp_path / "a.jsonl")) for text in texts.to_pylist()] == NASTY


def test_prepare(tmp_path: Path) -> None:
    """From JSON lines to a store; skipped rows are in the ledger, and an edited option makes it again."""
    lines = [json.dumps({"id": number, "body": f"document {number}"}) for number in range(40)]
    lines[3:3] = ["{broken", '{"body": 3.5}']
    write(tmp_path, {"a.jsonl": "\n".join(lines)})
    data = {"source": str(tmp_path / "a.jsonl"), "tokenizer": {"learn": "chars"}, "test_split": 4}
    with pytest.raises(SourceError, match=r"a\.jsonl, line 4: broken JSON .*on_bad_rows=skip"):
        whelp.prepare({"data": data}, out=tmp_path / "store")
    data["on_bad_rows"] = "skip"
    result = whelp.prepare({"data": data}, out=tmp_path / "store")
    assert (result.splits["train"]["documents"], result.splits["test"]["documents"]) == (36, 4)
    assert result.ledger["notes"] == {
        "rows skipped: broken JSON": 1,
        "rows skipped: a value that is not text": 1,
        "skipped rows written to bad_rows.jsonl": 2,
    }
    again = whelp.prepare({"data": data | {"custom_text_key": "body"}}, out=tmp_path / "store")
    assert again.splits == result.splits


# --- real files ---


def test_real_json() -> None:
    """Instruction data as it is published, against the json module."""
    lines, packed, array = need(
        "instruct/gsm8k_test.jsonl", "instruct/gsm8k_train.jsonl.gz", "instruct/instruction_data_1100.json"
    )
    expected = [json.loads(line)["question"] for line in lines.read_text(encoding="utf-8").splitlines()]
    assert read_texts(make(lines, custom_text_key="question"), partition_bytes=100_000, block_bytes=5000) == expected
    expected = [json.loads(line)["answer"] for line in gzip.decompress(packed.read_bytes()).splitlines()]
    assert read_texts(make(packed, custom_text_key="answer")) == expected
    expected = [row["output"] for row in json.loads(array.read_text(encoding="utf-8"))]
    assert read_texts(make(array, custom_text_key="output")) == [text for text in expected if text.strip()]
    with pytest.raises(SourceError, match="has no column 'text', and 2 columns hold text: answer, question"):
        make(lines)


def test_real_parquet() -> None:
    """Parquet as it is published, against the same rows as JSON, and files of other types."""
    rows, lines, wiki, binary = need(
        "parquet/gsm8k_test.parquet", "instruct/gsm8k_test.jsonl", "parquet/enwiki_lines_text.parquet", "parquet/binary.parquet"
    )
    assert read_texts(make(rows, custom_text_key="answer")) == read_texts(make(lines, custom_text_key="answer"))
    expected = [text for text in pq.read_table(wiki)["text"].to_pylist() if text.strip()]
    assert read_texts(make(wiki)) == expected
    with pytest.raises(SourceError, match=r"its column foo holds binary, but expected rows with text.*whelp convert"):
        make(binary, custom_text_key="foo")


def test_real_tsv(tmp_path: Path) -> None:
    """Sentences in twenty languages, given a header, against the csv module."""
    [path] = need("multilingual/tatoeba_20lang_eng.tsv")
    write(tmp_path, {"a.tsv": b"language\tsentence\tenglish\n" + path.read_bytes()})
    with open(tmp_path / "a.tsv", encoding="utf-8", newline="") as file:
        expected = [row["sentence"] for row in csv.DictReader(file, delimiter="\t")]
    assert read_texts(make(tmp_path / "a.tsv", custom_text_key="sentence"), block_bytes=4096) == expected


def pack_with_a_large_window(data: bytes) -> bytes:
    """As `zstd --long=31` packs, in two frames."""
    zstandard = pytest.importorskip("zstandard", reason="needs zstandard: pip install zstandard")
    parameters = zstandard.ZstdCompressionParameters.from_level(1, window_log=31)
    frames = []
    for part in (data[:10], data[10:]):
        packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
        frames.append(packer.compress(part) + packer.flush())
    return b"".join(frames)


def test_zstd_of_a_large_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives of forums are packed so: read by the package zstandard; without it, it is said what to do; half of one is damaged."""
    rows = "".join(json.dumps({"text": f"row {number}"}) + "\n" for number in range(1000)).encode()
    packed = pack_with_a_large_window(rows)
    broken = packed[:40] + bytes(20) + packed[60:]
    write(tmp_path, {"a.jsonl.zst": packed, "b.jsonl.zst": packed[:-9], "c.jsonl.zst": packed[:20], "d.jsonl.zst": broken})
    assert read_texts(make(tmp_path / "a.jsonl.zst")) == [f"row {number}" for number in range(1000)]
    for name in ("b.jsonl.zst", "c.jsonl.zst", "d.jsonl.zst"):
        with pytest.raises(SourceError, match=rf"{name}: cut off or broken zstd data"):
            read_texts(make(tmp_path / name))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(
        SourceError, match=r"the package zstandard is needed, and it is not installed.* Run `pip install zstandard`"
    ):
        make(tmp_path / "a.jsonl.zst")
