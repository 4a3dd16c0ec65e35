"""`whelp convert`: the rows of a file, in another format, with nothing added and nothing lost unsaid."""

from __future__ import annotations

import csv
import datetime
import decimal
import json
import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest

import whelp
from growing import finish_with_stops
from whelp.artifacts.token_store import open_store
from whelp.base.errors import ArtifactError, ConfigError, SourceError
from whelp.cli.convert import convert
from whelp.tokenizer import load_tokenizer

from .helpers import Whelp

SHARED = Path(__file__).parents[3] / "shared" / "data" / "parquet"
BOMB = "large_string_map.brotli.parquet"
ROWS: list[dict[str, Any]] = [
    {"id": 1, "text": 'One "quoted", with\na line.', "tags": ["a", "b"], "score": 0.5},
    {"id": 2, "text": "日本語 ü", "tags": [], "score": None},
    {"id": 3, "text": "", "tags": None, "score": math.nan},
    {"id": 4, "text": "Two\n\nparagraphs\n", "tags": ["c"], "score": math.inf},
]


def write_parquet(path: Path, rows: list[dict[str, Any]], group: int = 2) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return path


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_to_json_lines(tmp_path: Path) -> None:
    """Every column with its value; what JSON cannot hold is null, and counted."""
    result = whelp.convert(write_parquet(tmp_path / "a.parquet", ROWS), out=tmp_path / "a.jsonl")
    expected = [{**row, "score": row["score"] if row["score"] == 0.5 else None} for row in ROWS]
    assert read_lines(tmp_path / "a.jsonl") == expected
    assert (result.num_rows, result.notes) == (4, {"numbers_without_json": 2})


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl"])
def test_truth_is_written_as_json_writes_it(tmp_path: Path, ending: str) -> None:
    """Also where it is a category. Read as text it is what it is of the file that was converted."""
    truth = pa.array([True, False, None])
    table = pa.table({"text": ["a", "b", "c"], "label": truth, "kind": truth.dictionary_encode()})
    pq.write_table(table, tmp_path / "a.parquet")
    whelp.convert(tmp_path / "a.parquet", out=tmp_path / f"b.{ending}")
    assert "True" not in (tmp_path / f"b.{ending}").read_text()
    texts = []
    for name in ("a.parquet", f"b.{ending}"):
        data = {"source": str(tmp_path / name), "multi_column_keys": ["text", "label", "kind"], "test_split": 0}
        recipe = {"data": {**data, "tokenizer": {"learn": "chars"}, "separator": "none"}}
        whelp.prepare(recipe, out=tmp_path / f"store-{name}")
        split, vocabulary = (
            open_store(tmp_path / f"store-{name}").split("train"),
            load_tokenizer(tmp_path / f"store-{name}" / "tokenizer"),
        )
        texts.append([vocabulary.decode(split.document(row)["input_ids"]) for row in range(3)])
    assert texts[0] == texts[1] == ["a\n\ntrue\n\ntrue", "b\n\nfalse\n\nfalse", "c"]


def test_chosen_columns_in_their_order(tmp_path: Path) -> None:
    """As asked, not as in the file."""
    path = write_parquet(tmp_path / "a.parquet", ROWS)
    whelp.convert(path, out=tmp_path / "a.jsonl", columns=["text", "id"])
    assert [list(row.items()) for row in read_lines(tmp_path / "a.jsonl")] == [
        [("text", row["text"]), ("id", row["id"])] for row in ROWS
    ]


def test_to_csv_and_back(tmp_path: Path) -> None:
    """Quotes, commas and line feeds survive; read again as a source of rows, it is the same."""
    path = write_parquet(tmp_path / "a.parquet", ROWS)
    whelp.convert(path, out=tmp_path / "a.csv", columns=["id", "text"])
    with open(tmp_path / "a.csv", encoding="utf-8", newline="") as file:
        assert list(csv.DictReader(file)) == [{"id": str(row["id"]), "text": row["text"]} for row in ROWS]
    whelp.convert(tmp_path / "a.csv", out=tmp_path / "b.tsv")
    whelp.convert(tmp_path / "b.tsv", out=tmp_path / "c.jsonl")
    assert read_lines(tmp_path / "c.jsonl") == [{"id": str(row["id"]), "text": row["text"]} for row in ROWS]


def test_to_text(tmp_path: Path) -> None:
    """The text alone: no header, no ids, no quotes; rows without text, and borders that are not clear, are counted."""
    path = write_parquet(tmp_path / "a.parquet", ROWS)
    result = whelp.convert(path, out=tmp_path / "a.txt", columns=["text"], separator="\n%%\n")
    text = (tmp_path / "a.txt").read_text(encoding="utf-8")
    assert text == 'One "quoted", with\na line.\n%%\n日本語 ü\n%%\nTwo\n\nparagraphs\n%%\n'
    assert result.notes == {"empty_texts": 1, "texts_with_blank_lines": 1}


def test_other_types(tmp_path: Path) -> None:
    """Dates, decimals, bytes that are text, words of a dictionary, records and maps."""
    table = pa.table(
        {
            "date": [datetime.date(2024, 5, 6)],
            "time": [datetime.datetime(2024, 5, 6, 7, 8, tzinfo=datetime.UTC)],
            "decimal": [decimal.Decimal("1.50")],
            "bytes": [b"text"],
            "word": pa.array(["a"]).dictionary_encode(),
            "record": [{"x": 1, "raw": b"y"}],
            "map": pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        }
    )
    feather.write_feather(table, tmp_path / "a.feather")
    whelp.convert(tmp_path / "a.feather", out=tmp_path / "a.jsonl")
    assert read_lines(tmp_path / "a.jsonl") == [
        {
            "date": "2024-05-06",
            "time": "2024-05-06T07:08:00+00:00",
            "decimal": "1.50",
            "bytes": "text",
            "word": "a",
            "record": {"x": 1, "raw": "y"},
            "map": [["k", 1]],
        }
    ]


def test_many_files_in_order(tmp_path: Path) -> None:
    """As given; of a folder by name. One header."""
    for name in ("b", "a", "c"):
        write_parquet(tmp_path / f"{name}.parquet", [{"text": f"{name}{number}"} for number in range(3)])
    result = whelp.convert([tmp_path / "c.parquet", tmp_path / "a.parquet"], out=tmp_path / "o.csv")
    assert (tmp_path / "o.csv").read_text() == "text\nc0\nc1\nc2\na0\na1\na2\n"
    assert [Path(file).name for file in result.files] == ["c.parquet", "a.parquet"]
    whelp.convert(str(tmp_path / "*.parquet"), out=tmp_path / "o.jsonl")
    assert [row["text"][0] for row in read_lines(tmp_path / "o.jsonl")] == [*"aaabbbccc"]


def test_stopped_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between any two writes; the same bytes and counts."""
    paths = [write_parquet(tmp_path / f"{name}.parquet", ROWS * 3, group=1) for name in "ab"]
    whole = whelp.convert(paths, out=tmp_path / "whole.csv", columns=["text"])

    def convert() -> Any:
        return whelp.convert(paths, out=tmp_path / "o.csv", columns=["text"])

    result, num_stops = finish_with_stops(convert, monkeypatch, every=5)
    assert num_stops > 4
    assert (tmp_path / "o.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert result.num_rows == whole.num_rows == 24


@pytest.mark.parametrize(
    ("out", "options", "message"),
    [
        ("a.xlsx", {}, "ends in none of .jsonl, .csv, .tsv, .txt"),
        ("a.csv", {}, "has columns of lists or records: tags, but expected plain values for .csv"),
        (
            "a.txt",
            {},
            "has the columns id, text, tags, score, but expected one column of text for .txt. Choose it with --column: text.",
        ),
        ("a.txt", {"columns": ["id"]}, "id holds no text"),
        ("a.txt", {"columns": ["text"], "separator": ""}, "it is empty, so texts could not be told apart"),
        ("a.jsonl", {"columns": ["txt"]}, "has no column txt, but expected one of id, text, tags, score"),
    ],
)
def test_what_cannot_be_written(out: str, options: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Said before anything stands there."""
    path = write_parquet(tmp_path / "in.parquet", ROWS)
    with pytest.raises((ConfigError, SourceError)) as caught:
        whelp.convert(path, out=tmp_path / out, **options)
    assert message in str(caught.value)
    assert not (tmp_path / out).exists()


def test_what_cannot_be_read(tmp_path: Path) -> None:
    """Broken files, bytes that are no text, other columns in the second file, nothing, the same twice."""
    (tmp_path / "broken.parquet").write_bytes(b"PAR1nonsense")
    write_parquet(tmp_path / "bytes.parquet", [{"b": b"\xff\xfe"}])
    write_parquet(tmp_path / "deep.parquet", [{"b": [b"\xff\xfe"]}])
    write_parquet(tmp_path / "x.parquet", [{"x": 1}])
    write_parquet(tmp_path / "y.parquet", [{"y": 1}])
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "a.HTML").write_text("a")
    for files, message in (
        ("broken.parquet", "cannot be read"),
        ("bytes.parquet", "b holds bytes that are no text"),
        ("deep.parquet", "has bytes that are no text inside a list or a record"),
        (["x.parquet", "y.parquet"], "has the columns y, but expected those of the first file: x"),
        ("a.txt", "is of a kind that is not read here (.txt)"),
        (
            "a.HTML",
            "parquet, .arrow, .feather, .wet, .xlsx, .xlsm, .xlsb, .xls, .ods, .xml, .sqlite, .sqlite3, .db. Take its text with",
        ),
        ("missing.parquet", "there is no such file or folder, but expected a file, a folder or a glob"),
        (["x.parquet", "x.parquet"], "is given twice"),
    ):
        given = [tmp_path / name for name in ([files] if isinstance(files, str) else files)]
        with pytest.raises(SourceError) as caught:
            whelp.convert(given, out=tmp_path / "out.jsonl")
        assert message in str(caught.value)
    assert not (tmp_path / "out.jsonl").exists()


def test_csv_of_spreadsheets(whelp: Whelp, tmp_path: Path) -> None:
    """Separators and encodings are found as a source finds them, or taken as they are said; every column is text."""
    rows = [{"größe": "1,5", "text": "naïve; “café”\n…"}, {"größe": "", "text": ""}]
    content = 'größe;text\n1,5;"naïve; “café”\n…"\n;\n'
    for codec in ("cp1252", "utf-8", "utf-8-sig", "utf-16"):
        (tmp_path / f"{codec}.csv").write_bytes(content.encode(codec))
        convert(tmp_path / f"{codec}.csv", out=tmp_path / f"{codec}.jsonl")
        assert read_lines(tmp_path / f"{codec}.jsonl") == rows
    (tmp_path / "odd.csv").write_bytes("имя^text\n1^Привет; мир\n".encode("cp1251"))
    found = whelp("convert", "odd.csv", "--delimiter", "^", "--encoding", "cp1251", "--out", "odd.jsonl")
    assert (found.code, read_lines(tmp_path / "odd.jsonl")) == (0, [{"имя": "1", "text": "Привет; мир"}])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"id,text\n1,a\n2\n", "row 2 (line 3): 1 field, but expected 2, as in the header. Correct the row."),
        (b"text\na, b\n", "row 1 (line 2): 2 fields, but expected 1, as in the header. Correct the row."),
        (b'id,text\n1,"a\n2,b\n', "a quote that opens in row 1 (line 2) is never closed, but expected a whole file of rows."),
        (b"a,a\n1,2\n", "has 2 columns 'a'"),
        ("Привет,text\nмир,a\n".encode("cp1251"), "Set encoding to the one it was written in, such as latin-1, cp1251"),
    ],
)
def test_broken_csv(tmp_path: Path, content: bytes, message: str) -> None:
    """By row and line; no option of recipes is advised."""
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(SourceError) as caught:
        convert(tmp_path / "a.csv", out=tmp_path / "a.jsonl")
    assert message in str(caught.value)
    assert "data." not in str(caught.value)


def test_in_the_terminal(whelp: Whelp, tmp_path: Path) -> None:
    """One JSON object, or a line for people; run again, nothing is written."""
    write_parquet(tmp_path / "in.parquet", ROWS)
    arguments = ("convert", "in.parquet", "--column", "text", "--separator", r"\n--\n", "--out", "o.txt")
    result = whelp(*arguments, "--json").json
    assert (result["num_rows"], result["is_reused"]) == (4, False)
    again = whelp(*arguments)
    assert (again.code, "the file is finished" in again.said) == (0, True)
    assert "\n--\n" in Path("o.txt").read_text(encoding="utf-8")
    other = whelp("convert", "in.parquet", "--column", "id", "--column", "text", "--separator", "x", "--out", "o.txt")
    assert (other.code, "made from other inputs or options (columns, separator)" in other.said) == (1, True)


def test_real_files(tmp_path: Path) -> None:
    """Parquet files of other writers, with every codec, encoding and nesting: each row as pyarrow reads it."""
    if not SHARED.is_dir():
        pytest.skip(f"no {SHARED}: put the shared data folder beside the repository to run this on real files")
    with pytest.raises(SourceError, match="unpacks to 1,073,741,913 bytes a row"):  # three kilobytes that hold gigabytes
        whelp.convert(SHARED / BOMB, out=tmp_path / "bomb.jsonl")
    for path in sorted(set(SHARED.glob("*.parquet")) - {SHARED / BOMB}):
        out = tmp_path / f"{path.stem}.jsonl"
        result = whelp.convert(path, out=out)
        rows = pq.read_table(path).to_pylist()
        assert result.num_rows == len(rows)
        expected = json.loads(
            json.dumps(rows, default=lambda value: value.decode() if isinstance(value, bytes) else value.isoformat())
        )
        assert read_lines(out) == expected, path.name
    with pytest.raises(ArtifactError):
        whelp.convert(SHARED / "gsm8k_test.parquet", out=tmp_path / "binary.jsonl")
