"""Rows and files without good text: each is named by place, or counted."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whelp.base.errors import SourceError

from .test_source import make, read_notes, read_rows, write


def as_parquet(**columns: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file)
    return file.getvalue()


@pytest.mark.parametrize(
    ("row", "message", "reason"),
    [
        (b'{"text": 1}', "'text' is a number, but expected text", "a value that is not text"),
        (b'{"text": 1e9999}', "'text' is a number", "a value that is not text"),
        (b'{"text": ' + b"1" * 5000 + b"}", "'text' is a number", "a value that is not text"),
        (b'{"text": true}', "'text' is true or false", "a value that is not text"),
        (b'{"text": ["a"]}', "'text' is a list", "a value that is not text"),
        (b'{"text": {"a": 1}}', "'text' is an object", "a value that is not text"),
        (b'{"text": null}', "'text' is null, but expected text", "null or missing text"),
        (b'{"txt": "a"}', "has no 'text', but expected text", "null or missing text"),
        (b'["a"]', "a list, but expected a JSON object", "not an object"),
        (b'"a"', "text, but expected a JSON object", "not an object"),
        (b'{"text": "a"', r"broken JSON \(expecting ',' delimiter at column 13\), but expected one JSON object", "broken JSON"),
        (b'{"text": "a"}{"text": "b"}', r"broken JSON \(extra data at column 14\)", "broken JSON"),
        (b'{"text": "a",}', r"broken JSON", "broken JSON"),
        (b"{'text': 'a'}", r"broken JSON", "broken JSON"),
        (
            b'{"text": "a\tb"}',
            r"broken JSON \(control character \\x09, which JSON writes as \\t, at column 12\)",
            "broken JSON",
        ),
        (b'{"a": ' * 100_000, r"broken JSON", "broken JSON"),
        (b"text", r"broken JSON", "broken JSON"),
        (b'{"text": "\\ud800"}', "half of a surrogate pair", "text that is not UTF-8"),
        (b'{"text": "\\udc00 b"}', "half of a surrogate pair", "text that is not UTF-8"),
        (b'{"text": "\xff"}', r"not UTF-8 text \(byte 0xff at column 11\), but expected UTF-8", "text that is not UTF-8"),
    ],
)
def test_bad_json_line(tmp_path: Path, row: bytes, message: str, reason: str) -> None:
    """A bad line is named by its number in the file, blank lines counted in; or it is skipped and counted."""
    good = b'{"text": "good"}\n'
    write(tmp_path, {"a.jsonl": good + b"\n \n" + good * 5 + row + b"\r\n" + good, "a.ndjson": good * 3 + row})
    for block_bytes in (20, 1 << 20):
        with pytest.raises(SourceError, match=rf"a\.jsonl, line 9: .*{message}.*set data.on_bad_rows=skip"):
            list(make(tmp_path / "a.jsonl").iter_partitions(block_bytes=block_bytes))
        source = make(tmp_path / "a.jsonl", on_bad_rows="skip")
        rows = read_rows(source, block_bytes=block_bytes)
        assert rows == [("a.jsonl", "good", line) for line in (1, 4, 5, 6, 7, 8, 10)]
        assert read_notes(source, block_bytes=block_bytes) == {f"rows skipped: {reason}": 1}
    with pytest.raises(SourceError, match=rf"a\.ndjson, line 4: .*{message}"):
        read_rows(make(tmp_path / "a.ndjson"))


def test_json_over_several_lines(tmp_path: Path) -> None:
    """An object that is spread over lines is no JSON line; nor do two on one line make up for it."""
    write(tmp_path, {"a.jsonl": '{"text": "a"}\n{\n"text": "b"\n}\n', "b.jsonl": '{"text": "a"}{"text": "b"}\n{"x": {\n}}\n'})
    with pytest.raises(SourceError, match=r"a\.jsonl, line 2: broken JSON"):
        make(tmp_path / "a.jsonl")
    with pytest.raises(SourceError, match=r"b\.jsonl, line 1: broken JSON"):
        make(tmp_path / "b.jsonl")


def test_json_that_python_and_arrow_read_alike(tmp_path: Path) -> None:
    """Odd but good lines: names twice, numbers of other kinds, spaces around, an escaped name."""
    lines = [
        '{"text": "a", "text": "b"}',
        ' {"text": "c", "n": NaN} ',
        '{"n": 1, "text": "d"}',
        '{"n": "x", "\\u0074ext": "e"}',
    ]
    write(tmp_path, {"a.jsonl": "\n".join(lines)})
    for block_bytes in (1, 30, 1 << 20):
        rows = read_rows(make(tmp_path / "a.jsonl"), block_bytes=block_bytes)
        assert [(text, line) for _, text, line in rows] == [("b", 1), ("c", 2), ("d", 3), ("e", 4)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"},\n {"text": }]', r"a\.json: broken JSON at line 2 \(expecting value at column 11\)"),
        ('[{"text": "a"}', r"broken JSON at line 1"),
        ('["a", "b"]', r"JSON, but an array without objects, but expected rows with text.*Each of its texts is an object"),
        ('{"text": {"0": "a"}}', r"no array of objects in it.*frame\.to_json\(path, orient='records', lines=True\)"),
        ("[]", "an array without objects"),
        ("3", "JSON, but a number"),
        (
            '{"body": "a"}',
            "a JSON object with no array of objects in it.*a row itself, name its column of text in data.custom_text_key",
        ),
        ('{"text": "a"}{"text": "b"}', "broken JSON at line 1 .*one behind the other, write each on a line of its own"),
        ('{\n"text": "a"\n}\n{\n"text": "b"\n}', "broken JSON at line 4 .*jq -c"),
        ('{"a": [{"x": 1}], "b": [{"x": 1}]}', r"2 arrays of objects \(a, b\)"),
        ('[{"text": "a"}, {"text": 1}]', "row 2: 'text' is a number"),
        ('[{"text": "a"}, 5]', "row 2: a number, but expected a JSON object"),
        (b'[{"text": "\xff"}]', r"not UTF-8 text \(first bad byte 0xff at byte 11\)"),
    ],
)
def test_bad_json_file(tmp_path: Path, content: str | bytes, message: str) -> None:
    """A `.json` that holds no array of objects."""
    write(tmp_path, {"a.json": content})
    with pytest.raises(SourceError, match=message):
        make(tmp_path / "a.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,text\n1,a\n2\n", r"a\.csv, row 2 \(line 3\): 1 field, but expected 2, as in the header"),
        ("id,text\r\n\r\n1,a\r\n2,b,c\r\n", r"row 2 \(line 4\): 3 fields, but expected 2"),
        (
            "id,text\n1,é\n2,".encode() + b"\xff\n",
            r"row 2 \(line 3\): 'text' is not UTF-8 text \(byte 0xff in it\), but expected UTF-8",
        ),
        ('id,text\n1,"a\n2,b\n', r"a quote that opens in row 1 \(line 2\) is never closed"),
        ('id,text\n1,a\n"2,b\n3,c\n', r"a quote that opens in row 2 \(line 3\) is never closed"),
        ('id,text\n"1,a\n2,b\n3,c\n', r"a quote that opens in row 1 \(line 2\) is never closed"),
        ('id,text\n1,a\n2\n3,c\n"4,d\n5,e\n', r"row 2 \(line 3\): 1 field, but expected 2"),
        ('text,note\na,n\nb,"n\nc,n\n', r"a quote that opens in row 2 \(line 3\) is never closed"),
        ("text,text\na,b\n", "has 2 columns 'text'"),
        ("id,text\n", "no row has any text"),
        ("\n\n", "no header and no rows"),
        ("title,body,n\na,b,1\n", "has no column 'text', and 2 columns hold text: title, body"),
        ("n,m\n1,2\n", "has no column 'text', and none holds text: n, m"),
    ],
)
def test_bad_csv(tmp_path: Path, content: str | bytes, message: str) -> None:
    """Each mistake of a CSV file, in blocks of any size."""
    write(tmp_path, {"a.csv": content})
    for block_bytes in (8, 1 << 20):
        with pytest.raises(SourceError, match=message):
            list(make(tmp_path / "a.csv").iter_partitions(block_bytes=block_bytes))


def test_skipped_csv_rows(tmp_path: Path) -> None:
    """Rows keep their numbers when bad ones between them are skipped."""
    lines = [f"{number}" if number % 7 == 0 else f'{number},"täxt\n{number}"' for number in range(1, 60)]
    write(tmp_path, {"a.csv": ("id,text\n" + "\n".join(lines) + "\n").encode() + b"60,\xff\n"})
    expected = [("a.csv", f"täxt\n{number}", number) for number in range(1, 60) if number % 7]
    for block_bytes in (8, 50, 1 << 20):
        source = make(tmp_path / "a.csv", on_bad_rows="skip")
        assert read_rows(source, block_bytes=block_bytes) == expected
        notes = read_notes(source, block_bytes=block_bytes)
        assert notes == {"rows skipped: wrong number of fields": 8, "rows skipped: text that is not UTF-8": 1}


def test_open_quote_is_never_one_bad_row(tmp_path: Path) -> None:
    """An open quote swallows the rest of the file, so it stops the work even where bad rows are skipped."""
    write(tmp_path, {"a.csv": 'id,text\n1,a\n"2,b\n3,c\n', "b.csv": "id,text\n1,a\n2\n"})
    for block_bytes in (16, 1 << 20):
        with pytest.raises(SourceError, match=r"a quote that opens in row 2 \(line 3\) is never closed"):
            list(make(tmp_path / "a.csv", on_bad_rows="skip").iter_partitions(block_bytes=block_bytes))
    assert [row[1] for row in read_rows(make(tmp_path / "b.csv", on_bad_rows="skip"))] == ["a"]


def test_bad_parquet(tmp_path: Path) -> None:
    """Nulls by row; a column of another type, no column, and a file cut off or of another kind."""
    good = as_parquet(text=["a", None, "b", ""], x=[1.0, 2.5, 3.0, 4.0])
    write(
        tmp_path, {"a.parquet": good, "cut.parquet": good[:-20], "other.parquet": "text", "b.parquet.gz": gzip.compress(good)}
    )
    for name in ("a.parquet", "b.parquet.gz"):
        with pytest.raises(SourceError, match=rf"{name}, row 2: 'text' is null, but expected text"):
            make(tmp_path / name)
        source = make(tmp_path / name, on_bad_rows="skip")
        assert read_rows(source) == [(name, "a", 1), (name, "b", 3)]
        assert read_notes(source) == {"rows skipped: null or missing text": 1, "empty documents dropped": 1}
    with pytest.raises(SourceError, match="its column x holds double, but expected rows with text"):
        make(tmp_path / "a.parquet", custom_text_key="x")
    with pytest.raises(SourceError, match="has no column 'txt'; it has text, x"):
        make(tmp_path / "a.parquet", custom_text_key="txt")
    for name in ("cut.parquet", "other.parquet"):
        with pytest.raises(SourceError, match=rf"{name}: cut off or broken Parquet data"):
            make(tmp_path / name)


def test_parquet_broken_in_the_middle(tmp_path: Path) -> None:
    """Damage that shows late stops the work: some rows are out already."""
    content = bytearray(as_parquet(text=[f"{number} text" * 9 for number in range(5000)]))
    content[len(content) // 3 : len(content) // 3 + 200] = b"\xff" * 200
    write(tmp_path, {"a.parquet": bytes(content), "b.txt": "text"})
    with pytest.raises(SourceError, match=r"a\.parquet"):
        read_rows(make(tmp_path, on_bad_rows="stop"))


def test_bad_arrow(tmp_path: Path) -> None:
    """An IPC file cut off, an old Feather file, and something else."""
    table = pa.table({"text": ["a", "b"]})
    file, stream = io.BytesIO(), io.BytesIO()
    with pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    write(
        tmp_path,
        {"a.arrow": file.getvalue()[:-90], "b.arrow": stream.getvalue()[:-40], "c.arrow": "words", "d.feather": "FEA1xx"},
    )
    for name in ("a.arrow", "b.arrow", "c.arrow"):
        with pytest.raises(SourceError, match=rf"{name}: cut off or broken Arrow data"):
            make(tmp_path / name)
    with pytest.raises(SourceError, match=r"a Feather file of version 1.*Write it as version 2"):
        make(tmp_path / "d.feather")


def test_choice_of_the_column(tmp_path: Path) -> None:
    """The one asked for, else text, else the only one that holds text; each file for itself."""
    write(tmp_path, {"a.jsonl": '{"n": 1, "body": null}\n{"n": 2, "body": "x"}\n', "b.jsonl": '{"title": "t", "text": "y"}\n'})
    with pytest.raises(SourceError, match=r"a\.jsonl, line 1: 'body' is null"):
        make(tmp_path)
    assert [row[1] for row in read_rows(make(tmp_path, on_bad_rows="skip"))] == ["x", "y"]
    assert [row[1] for row in read_rows(make(tmp_path / "b.jsonl", custom_text_key="title"))] == ["t"]
    with pytest.raises(SourceError, match=r"has no column 'titel'; it has title, text, but.*Set data\.custom_text_key"):
        make(tmp_path / "b.jsonl", custom_text_key="titel")


def test_a_folder_without_the_column(tmp_path: Path) -> None:
    """Files found that have no such column are skipped and counted; when all are, that is the error."""
    write(tmp_path, {"a.jsonl": '{"title": "t"}\n', "b.csv": "text\nx\n"})
    source = make(tmp_path, custom_text_key="text")
    assert [row[1] for row in read_rows(source)] == ["x"]
    [partition] = source.iter_partitions()
    assert [(file.path, file.kind) for file in partition.skipped] == [("a.jsonl", "no text column")]
    with pytest.raises(
        SourceError, match=r"none of the 2 files found .*2 no text column.*The first: a\.jsonl: has no column 'body'"
    ):
        make(tmp_path, custom_text_key="body")
    with pytest.raises(SourceError, match=r"a\.jsonl: has no column 'text'; it has title.*Or set on_bad_files to skip"):
        list(make(tmp_path, custom_text_key="text", on_bad_files="stop").iter_partitions())


def test_a_file_that_changes(tmp_path: Path) -> None:
    """A file that is not the one listed stops the work."""
    write(tmp_path, {"a.jsonl": '{"text": "a"}\n'})
    source = make(tmp_path / "a.jsonl")
    write(tmp_path, {"a.jsonl": '{"text": "abc"}\n'})
    with pytest.raises(SourceError, match="changed while it was being read"):
        read_rows(source)
