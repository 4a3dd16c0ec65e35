"""`whelp convert` reads what a source reads: JSON as it is, packed files, WET; and XML, whose elements become rows."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import whelp
from growing import finish_with_stops
from whelp.base.errors import SourceError

from .helpers import Whelp
from .test_convert import read_lines

ROWS: list[dict[str, Any]] = [
    {
        "id": 1,
        "text": "One “quoted”,\nline",
        "user": {"name": "Ann"},
        "tags": ["a", {"b": None}],
        "big": 12345678901234567890123,
    },
    {"id": 2.0, "text": None, "user": {"name": "Bob", "is_new": True}},
    {"id": "three", "text": "", "late": "only here"},
]


def write_json(folder: Path) -> list[Path]:
    """The same rows as JSON lines, packed too, and as arrays."""
    lines = "".join(json.dumps(row) + "\n\n" for row in ROWS)
    contents = {
        "a.jsonl": lines.encode(),
        "b.ndjson.gz": gzip.compress(lines.encode()),
        "c.json": json.dumps(ROWS, indent=1).encode(),
        "d.json.bz2": bz2.compress(json.dumps({"count": 3, "data": ROWS}).encode()),
        "e.json": lines.encode("utf-16"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return [folder / name for name in contents]


def test_json_stays_what_it_is(tmp_path: Path) -> None:
    """Numbers of any size, lists, objects; all columns that any row has, null where one has not."""
    names = ["id", "text", "user", "tags", "big", "late"]
    expected = [{name: row.get(name) for name in names} for row in ROWS]
    for path in write_json(tmp_path):
        result = whelp.convert(path, out=tmp_path / f"{path.name}.out.jsonl")
        rows = read_lines(Path(result.file))
        assert rows == expected, path
        assert [type(row["id"]) for row in rows] == [int, float, str]
        assert result.num_rows == 3


def test_json_to_plain_values(tmp_path: Path) -> None:
    """CSV and text: numbers, true and false as JSON writes them; fields of objects by name; lists are refused, wherever they come."""
    path = write_json(tmp_path)[0]
    whelp.convert(path, out=tmp_path / "o.csv", columns=["id", "user.name", "user.is_new", "text"])
    with open(tmp_path / "o.csv", encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [
            ["id", "user.name", "user.is_new", "text"],
            ["1", "Ann", "", "One “quoted”,\nline"],
            ["2.0", "Bob", "true", ""],
            ["three", "", "", ""],
        ]
    whelp.convert(path, out=tmp_path / "o.txt", columns="user.name", separator="\n")
    assert (tmp_path / "o.txt").read_text() == "Ann\nBob\n"
    (tmp_path / "late.jsonl").write_text('{"a": "x"}\n' * 2000 + '{"a": ["x"]}\n')
    with pytest.raises(SourceError, match=r"has columns of lists or records: a, but expected plain values for \.csv"):
        whelp.convert(tmp_path / "late.jsonl", out=tmp_path / "late.csv")


def test_many_blocks_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows in their order, also where it is stopped between any two writes."""
    rows = [{"text": f"row {number}", "n": number} for number in range(5000)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result, num_stops = finish_with_stops(
        lambda: whelp.convert(tmp_path / "a.jsonl", out=tmp_path / "o.jsonl"), monkeypatch, every=2
    )
    assert (num_stops > 1, result.num_rows, read_lines(tmp_path / "o.jsonl")) == (True, 5000, rows)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl",
            '{"a": 1}\n{"a": \n',
            "a.jsonl, line 2: broken JSON (expecting value at column 6), but expected one JSON object.",
        ),
        ("a.jsonl", '{"a": 1}\n[1]\n', "a.jsonl, line 2: a list, but expected a JSON object."),
        ("a.json", '{"text": {"0": "a"}}', "a JSON object with no array of objects in it"),
        ("a.json", '[{"a": 1}, 2]', "a.json, row 2: a number, but expected a JSON object."),
        ("a.xml", "<a><b>x</b>", "cut off or broken XML (no element found: line 1, column 11)"),
        ("a.xml", "<a>x</a>", "XML with no element below its root, but expected a whole file of rows. Name with --element"),
        ("a.xml", '<!DOCTYPE a [<!ENTITY b "cc">]><a><b>&b;</b></a>', "its XML declares entities of its own"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: str, message: str) -> None:
    """By line or row; no option of recipes is advised."""
    (tmp_path / name).write_text(content)
    with pytest.raises(SourceError) as caught:
        whelp.convert(tmp_path / name, out=tmp_path / "o.jsonl")
    assert message in str(caught.value)
    assert "data." not in str(caught.value)


def test_no_such_column_of_json(tmp_path: Path) -> None:
    """What there is, is named."""
    with pytest.raises(SourceError, match="has no column txt, but expected one of id, text, user, tags, big, late"):
        whelp.convert(write_json(tmp_path)[0], out=tmp_path / "o.jsonl", columns=["txt"])


def test_packed_parquet_and_texts_of_pages(tmp_path: Path) -> None:
    """Whatever a source reads."""
    pq.write_table(pa.table({"text": ["a", "b"]}), tmp_path / "a.parquet")
    (tmp_path / "b.parquet.gz").write_bytes(gzip.compress((tmp_path / "a.parquet").read_bytes()))
    whelp.convert(tmp_path / "b.parquet.gz", out=tmp_path / "b.csv")
    assert (tmp_path / "b.csv").read_text() == "text\na\nb\n"
    head = "WARC/1.0\r\nWARC-Type: conversion\r\nWARC-Target-URI: http://a.org/\r\nContent-Length: 5\r\n\r\n"
    (tmp_path / "c.wet.gz").write_bytes(gzip.compress(f"{head}words\r\n\r\n".encode()))
    whelp.convert(tmp_path / "c.wet.gz", out=tmp_path / "c.jsonl", columns=["url", "text"])
    assert read_lines(tmp_path / "c.jsonl") == [{"url": "http://a.org/", "text": "words"}]


POSTS = """<?xml version="1.0" encoding="utf-8"?>
<posts>
  <row Id="1" PostTypeId="1" Title="How?" Body="&lt;p&gt;I &lt;b&gt;ask&lt;/b&gt;&lt;/p&gt;" />
  <row Id="2" Body="&lt;p&gt;So.&lt;/p&gt;" />
</posts>
"""
ARTICLES = """<!DOCTYPE Set SYSTEM "http://example.org/set.dtd">
<Set><Article Status="new"><PMID Version="1">7</PMID><Title>H<sub>2</sub>O &alpha;</Title><Abstract>
<Text Label="AIM">Dogs  <i>bark</i>.</Text><Text Label="END">They do.</Text></Abstract><Empty/>
<Names><Name><Last>Müller</Last></Name><Name><Last>Li</Last></Name></Names></Article></Set>
"""


def test_xml_of_attributes(tmp_path: Path) -> None:
    """As sites of questions and answers are handed out."""
    (tmp_path / "Posts.xml.gz").write_bytes(gzip.compress(POSTS.encode()))
    whelp.convert(tmp_path / "Posts.xml.gz", out=tmp_path / "o.jsonl")
    assert read_lines(tmp_path / "o.jsonl") == [
        {"Id": "1", "PostTypeId": "1", "Title": "How?", "Body": "<p>I <b>ask</b></p>"},
        {"Id": "2", "PostTypeId": None, "Title": None, "Body": "<p>So.</p>"},
    ]


def test_xml_of_elements(tmp_path: Path) -> None:
    """What marks up a text is no field of it; texts of one name are joined, others are a list; a namespace's prefix goes."""
    (tmp_path / "a.xml").write_text(ARTICLES, encoding="utf-8")
    whelp.convert(tmp_path / "a.xml", out=tmp_path / "o.jsonl")
    assert read_lines(tmp_path / "o.jsonl") == [
        {
            "Status": "new",
            "PMID": "7",
            "PMID@Version": "1",
            "Title": "H2O α",
            "Abstract": {"Text": "Dogs  bark.\n\nThey do.", "Text@Label": "AIM\n\nEND"},
            "Names": {"Name": [{"Last": "Müller"}, {"Last": "Li"}]},
        }
    ]
    whelp.convert(tmp_path / "a.xml", out=tmp_path / "o.txt", columns="Abstract.Text")
    assert (tmp_path / "o.txt").read_text() == "Dogs  bark.\n\nThey do.\n\n"
    (tmp_path / "feed.xml").write_text(
        '<rss xmlns:x="urn:x"><channel><item xmlns="urn:y" id="1">One</item><x:item>Two</x:item></channel></rss>'
    )
    whelp.convert(tmp_path / "feed.xml", out=tmp_path / "feed.jsonl", element="item")
    assert read_lines(tmp_path / "feed.jsonl") == [{"id": "1", "text": "One"}, {"id": None, "text": "Two"}]
    with pytest.raises(SourceError, match="XML with no element entry"):
        whelp.convert(tmp_path / "feed.xml", out=tmp_path / "none.jsonl", element="entry")


def test_xml_of_entities(tmp_path: Path) -> None:
    """Those of HTML stand for their signs, in attributes too, where a document type that lies elsewhere may declare them; it is not read."""
    (tmp_path / "dtd").write_text('<!ENTITY mine "read">')
    (tmp_path / "a.xml").write_text(
        f'<!DOCTYPE a SYSTEM "{(tmp_path / "dtd").as_uri()}"><a><b c="caf&eacute; &amp;">na&iuml;ve &lt; &mine;</b></a>'
    )
    whelp.convert(tmp_path / "a.xml", out=tmp_path / "o.jsonl")
    assert read_lines(tmp_path / "o.jsonl") == [{"c": "café &", "text": "naïve < &mine;"}]


@pytest.mark.parametrize(
    ("name", "codec", "encoding"),
    [("gb2312", "gb18030", "auto"), ("Shift_JIS", "cp932", "auto"), ("utf-16", "utf-16", "auto"), ("utf-8", "cp932", "cp932")],
)
def test_xml_in_other_encodings(tmp_path: Path, name: str, codec: str, encoding: str) -> None:
    """As the file says, or as it is said."""
    (tmp_path / "a.xml").write_bytes(f'<?xml version="1.0" encoding="{name}"?><a><b>日本①</b></a>'.encode(codec))
    whelp.convert(tmp_path / "a.xml", out=tmp_path / "o.jsonl", encoding=encoding)
    assert read_lines(tmp_path / "o.jsonl") == [{"text": "日本①"}]


def test_xml_that_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What would lie in memory whole is refused, with what it might be made of; and so is what is nested without end."""
    monkeypatch.setattr("whelp.corpus.convert_texts._MOST_ROW_BYTES", 1 << 16)
    (tmp_path / "feed.xml").write_text(f"<rss><channel><title>t</title>{'<item>words</item>' * 2000}</channel></rss>")
    said = r"element channel takes more than 65,536 bytes, .* Name with --element .* inside it, such as title, item\."
    with pytest.raises(SourceError, match=said):
        whelp.convert(tmp_path / "feed.xml", out=tmp_path / "o.jsonl")
    whelp.convert(tmp_path / "feed.xml", out=tmp_path / "o.jsonl", element="item")
    assert len(read_lines(tmp_path / "o.jsonl")) == 2000
    (tmp_path / "deep.xml").write_text(f"<a>{'<b>' * 110}x{'</b>' * 110}</a>")
    with pytest.raises(SourceError, match="more than 100 elements in each other"):
        whelp.convert(tmp_path / "deep.xml", out=tmp_path / "deep.jsonl")


def test_options_of_other_formats(whelp: Whelp, tmp_path: Path) -> None:
    """An option that leads to nothing is refused; XML that is read as a text is noted, with what to do."""
    (tmp_path / "a.csv").write_text("text\na\n")
    for option, said in (("--sheet", "no file is a spreadsheet"), ("--element", "no file is XML")):
        result = whelp("convert", "a.csv", option, "x", "--out", "o.jsonl")
        assert (result.code, said in result.said) == (1, True)
    (tmp_path / "Posts.xml").write_text(POSTS)
    result = whelp("prepare", "bark", "data.source=Posts.xml", "--dry-run")
    assert (
        "Posts.xml is read as it stands, with its tags; `whelp convert FILE --out rows.jsonl` makes rows of XML" in result.said
    )
