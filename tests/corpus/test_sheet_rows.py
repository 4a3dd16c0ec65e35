"""Spreadsheets as sources: which sheet, which row is which, and every value as text."""

from __future__ import annotations

import gzip
import io
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import whelp
from whelp.base.errors import SourceError
from whelp.corpus import count_skipped, sheet_rows
from whelp.corpus.sheet_size import SheetLimits

from .sheets import DATE, Rows, make_ods, make_shared, make_xlsb, make_xlsx, make_zip, read_members
from .test_source import make, read_notes, read_rows, write

HERE = "needs the extra sheets: pip install 'whelp[sheets]'"
REVIEWS: Rows = [
    [None, None, None],
    [None, "text", "stars"],
    [None, "good\nbook", 5],
    [],
    [None, "naïve 日本", 3.5],
    [None, None, 1],
    [None, 12, 1e20],
]


@pytest.fixture
def calamine() -> Any:
    return pytest.importorskip("python_calamine", reason=HERE)


@pytest.mark.usefixtures("calamine")
def test_rows_are_those_of_the_sheet(tmp_path: Path) -> None:
    """The first row that is not blank is the header; numbers are those that stand beside the rows; empty cells are no text."""
    write(tmp_path, {"a.xlsx": make_xlsx({"Reviews": REVIEWS}), "b.xlsx.gz": gzip.compress(make_xlsx({"Reviews": REVIEWS}))})
    for name in ("a.xlsx", "b.xlsx.gz"):
        source = make(tmp_path / name)
        assert read_rows(source) == [(name, "good\nbook", 3), (name, "naïve 日本", 5), (name, "12", 7)]
        assert read_notes(source) == {"empty documents dropped": 1}
        assert source.document == "row"
    stars = read_rows(make(tmp_path / "a.xlsx", custom_text_key="stars"))
    assert [text for _, text, _ in stars] == ["5", "3.5", "1", "1e+20"]


@pytest.mark.usefixtures("calamine")
def test_many_rows(tmp_path: Path) -> None:
    """More than are read at a time, and a part of them."""
    write(tmp_path, {"a.xlsx": make_xlsx({"A": [["id", "text"], *([number, f"row {number}"] for number in range(2, 3002))]})})
    rows = read_rows(make(tmp_path / "a.xlsx"))
    assert rows == [("a.xlsx", f"row {number}", number) for number in range(2, 3002)]
    part = read_rows(make(tmp_path / "a.xlsx", dataset_offset=1500, dataset_length=2))
    assert [line for _, _, line in part] == [1502, 1503]


@pytest.mark.usefixtures("calamine")
def test_values_as_text(tmp_path: Path) -> None:
    """Dates as ISO 8601, true and false as JSON writes them; a column without a name is called by its letter."""
    rows: Rows = [["day", "is_good", None, "text"], [DATE, True, "extra", "a"], [DATE, False, None, "b"]]
    write(tmp_path, {"a.xlsx": make_xlsx({"A": rows})})
    whelp.convert(tmp_path / "a.xlsx", out=tmp_path / "a.csv")
    assert (tmp_path / "a.csv").read_text() == "day,is_good,C,text\n2024-03-01,true,extra,a\n2024-03-01,false,,b\n"
    assert [row[1] for row in read_rows(make(tmp_path / "a.xlsx", custom_text_key="text"))] == ["a", "b"]


@pytest.mark.usefixtures("calamine")
def test_open_document(tmp_path: Path) -> None:
    """A sheet of LibreOffice."""
    write(tmp_path, {"a.ods": make_ods("A", [["text"], ["Été"], ["two"]])})
    assert read_rows(make(tmp_path / "a.ods")) == [("a.ods", "Été", 2), ("a.ods", "two", 3)]


@pytest.mark.usefixtures("calamine")
def test_which_sheet(tmp_path: Path) -> None:
    """The only one with anything in it, that is not hidden; of several the one that is named, which makes another store."""
    sheets: dict[str, Rows] = {"Notes": [], "Data": [["text"], ["a"]], "Old": [["text"], ["b"]]}
    write(tmp_path, {"one.xlsx": make_xlsx(sheets, hidden=["Old"]), "two.xlsx": make_xlsx(sheets)})
    assert [row[1] for row in read_rows(make(tmp_path / "one.xlsx"))] == ["a"]
    assert [row[1] for row in read_rows(make(tmp_path / "one.xlsx", sheet="Old"))] == ["b"]
    source = make(tmp_path / "two.xlsx", sheet="Data")
    assert make(tmp_path / "two.xlsx", sheet="Old").changed_since(source.describe()) == ["data.sheet: was 'Data', now 'Old'"]
    with pytest.raises(SourceError, match=r"two\.xlsx: has 2 sheets: Data, Old, .* Choose one: data\.sheet='Data'\."):
        make(tmp_path / "two.xlsx")
    with pytest.raises(SourceError, match=r"has no sheet 'data'; it has Notes, Data, Old, .* Correct data\.sheet"):
        make(tmp_path / "two.xlsx", sheet="data")
    with pytest.raises(SourceError, match=r"has 2 sheets: Data, Old, .* Choose with --sheet"):
        whelp.convert(tmp_path / "two.xlsx", out=tmp_path / "o.jsonl")
    whelp.convert(tmp_path / "two.xlsx", out=tmp_path / "o.jsonl", sheet="Old")
    assert (tmp_path / "o.jsonl").read_text() == '{"text": "b"}\n'


@pytest.mark.usefixtures("calamine")
def test_no_header(tmp_path: Path) -> None:
    """A first row that looks like a text would be lost; its columns can be named, all of them."""
    write(tmp_path, {"a.xlsx": make_xlsx({"A": [["The cat sat on the mat.", 1], ["The dog did not.", 2]]})})
    with pytest.raises(
        SourceError, match=r"its first row looks like a text, .*\('The cat sat on the mat\.'\).* set data\.column_names"
    ):
        make(tmp_path / "a.xlsx")
    rows = read_rows(make(tmp_path / "a.xlsx", column_names=["text", "label"]))
    assert [text for _, text, _ in rows] == ["The cat sat on the mat.", "The dog did not."]
    with pytest.raises(SourceError, match=r"has 2 columns, but data\.column_names has 1 names, .* Name every column"):
        make(tmp_path / "a.xlsx", column_names=["text"])


@pytest.mark.usefixtures("calamine")
@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", make_xlsx({"A": REVIEWS})[:300], "cut off or broken data of a spreadsheet .* Get a whole copy"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "cut off or broken data of a spreadsheet"),
        ("a.xlsx", b"%PDF-1.7\0\xe2", "PDF data, and no spreadsheet, though its name says so.*whelp collect folder"),
        ("a.xlsx", make_xlsx({"A": [], "B": []}), r"no sheet of it holds anything \(A, B\), .* Name another file"),
        ("a.xlsx", make_xlsx({"A": [["n"], [1]]}), "has no column 'text', and none holds text: n"),
        (
            "a.xlsx",
            make_xlsx({"A": [["a", "b"], ["x", "y"]]}),
            "has no column .text., and 2 columns hold text: a, b.* Set data.custom_text_key",
        ),
        ("a.xlsx", make_xlsx({"A": [["text", "text"], ["x", "y"]]}), "has 2 columns 'text'.* Give each its own name"),
    ],
)
def test_what_cannot_be_read(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    """Said with what to do."""
    write(tmp_path, {name: content})
    with pytest.raises(SourceError, match=rf"{name}: {message}"):
        make(tmp_path / name)


@pytest.mark.usefixtures("calamine")
def test_what_would_take_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cell far off, with or without a place of its own, or more than may lie in memory: said, not tried. Empty cells are none."""
    far: Rows = [["text"], *[["a"]] * 20, [*[None] * 119, "b"]]
    write(tmp_path, {"far.xlsx": make_xlsx({"A": far}), "near.xlsx": make_xlsx({"A": [["text"], ["a"], [None] * 120]})})
    monkeypatch.setattr(sheet_rows, "LIMITS", SheetLimits(max_cells=2000))
    assert [row[1] for row in read_rows(make(tmp_path / "near.xlsx"))] == ["a"]
    with pytest.raises(SourceError, match=r"far\.xlsx: a sheet with cells in row 22 and in column 120, .*Ctrl\+End"):
        make(tmp_path / "far.xlsx")
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr(
            "xl/worksheets/sheet1.xml",
            '<x:sheetData xmlns:x="u"><x:row><x:c s="1" r="XFD9"><x:v>1</x:v></x:c></x:row></x:sheetData>',
        )
    write(tmp_path, {"placed.xlsx": data.getvalue()})
    with pytest.raises(SourceError, match=r"cells in row 9 and in column 16,384"):
        make(tmp_path / "placed.xlsx")
    monkeypatch.setattr(sheet_rows, "LIMITS", SheetLimits(max_bytes=2000))
    with pytest.raises(SourceError, match=r"unpacks to more than .* Save the sheet as CSV"):
        make(tmp_path / "near.xlsx")


@pytest.mark.usefixtures("calamine")
def test_binary_and_shared(tmp_path: Path) -> None:
    """What the hostile ones below are made like."""
    write(tmp_path, {"a.xlsb": make_xlsb({(0, 0): "text", (2, 0): "a"}), "b.xlsx": make_shared("b", 2)})
    assert read_rows(make(tmp_path / "a.xlsb")) == [("a.xlsb", "a", 3)]
    assert read_rows(make(tmp_path / "b.xlsx")) == [("b.xlsx", "b", 2), ("b.xlsx", "b", 3)]


@pytest.mark.usefixtures("calamine")
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("far.xlsb", make_xlsb({(0, 0): "text", (1 << 19, 1 << 11): "far"})),
        ("shared.xlsx", make_shared("words " * 20_000, 10_000)),
    ],
)
def test_what_fills_the_memory_while_it_is_read(
    name: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few kilobytes that would take gigabytes: the process that reads them is ended, and reads the next."""
    monkeypatch.setattr(sheet_rows, "LIMITS", SheetLimits(max_memory_bytes=400 << 20))
    write(tmp_path, {name: content, "good.xlsx": make_xlsx({"A": [["text"], ["a"]]})})
    assert len(content) < 1 << 20
    with pytest.raises(SourceError, match=rf"{name}: a spreadsheet that takes more memory to read than .*Ctrl\+End .* as CSV"):
        make(tmp_path / name)
    assert [row[1] for row in read_rows(make(tmp_path / "good.xlsx"))] == ["a"]
    source = make(tmp_path)
    assert [row[0] for row in read_rows(source)] == ["good.xlsx"]
    assert count_skipped(file for partition in source.iter_partitions() for file in partition.skipped) == {"too large": 1}


@pytest.mark.usefixtures("calamine")
def test_a_text_that_is_longer_than_a_row_may_be(tmp_path: Path) -> None:
    """As of other rows."""
    write(tmp_path, {"a.xlsx": make_xlsx({"A": [["text"], ["a" * 2000], ["b"]]})})
    with pytest.raises(SourceError, match=r"a\.xlsx, row 2: a row of more than 1,000 bytes"):
        read_rows(make(tmp_path / "a.xlsx", max_row_bytes=1000))
    assert read_rows(make(tmp_path / "a.xlsx", max_row_bytes=1000, on_bad_rows="skip")) == [("a.xlsx", "b", 3)]


@pytest.mark.usefixtures("calamine")
def test_broken_xml(tmp_path: Path) -> None:
    """Wherever content.xml of an .ods breaks off, it is said; its reader would wait for ever."""
    members = read_members(make_ods("A", [["text"], ["a"]]))
    content = members["content.xml"]
    for end in range(0, len(content), 37):
        write(tmp_path, {"a.ods": make_zip({**members, "content.xml": content[:end]})})
        with pytest.raises(SourceError, match=r"a\.ods: .*\(content\.xml in it is no whole XML: .*Get a whole copy"):
            make(tmp_path / "a.ods")


def _wait(*arguments: object) -> Iterator[object]:
    time.sleep(60)
    yield None


@pytest.mark.usefixtures("calamine")
def test_a_reader_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is ended, and said."""
    write(tmp_path, {"a.xls": b"any"})
    monkeypatch.setattr(sheet_rows, "LIMITS", SheetLimits(seconds=0.2))
    monkeypatch.setattr(sheet_rows, "iter_sheet_cells", _wait)
    with pytest.raises(
        SourceError, match=r"a\.xls: a spreadsheet that is not read after 0 seconds, .* save it anew, or as CSV"
    ):
        make(tmp_path / "a.xls")


@pytest.mark.usefixtures("calamine")
def test_a_whole_archive_that_is_no_sheet(tmp_path: Path) -> None:
    """It is not said to be cut off."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as archive:
        archive.writestr("word/document.xml", "<a/>")
    write(tmp_path, {"a.xlsx": data.getvalue()})
    with pytest.raises(
        SourceError, match=r"python-calamine cannot read: broken, or with more than 100,000,000 cells .* or as CSV"
    ):
        make(tmp_path / "a.xlsx")


@pytest.mark.usefixtures("calamine")
def test_titles_and_columns_without_a_name(tmp_path: Path) -> None:
    """A title above the names is no header; an index without a name is; what first stands in a late row is not lost."""
    rows: list[Any] = [[None, "text"], *([number, f"row {number}"] for number in range(200))]
    rows.append([200, "last", "only here"])
    write(
        tmp_path,
        {"a.xlsx": make_xlsx({"A": rows}), "b.xlsx": make_xlsx({"A": [["Reviews of 2024"], ["text", "stars"], ["a", 1]]})},
    )
    with pytest.raises(
        SourceError, match=r"names one column alone \('Reviews of 2024'\), as a title would, .* Delete the rows above"
    ):
        make(tmp_path / "b.xlsx")
    whelp.convert(tmp_path / "a.xlsx", out=tmp_path / "a.csv")
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert (lines[0], lines[1], lines[-1]) == ("A,text,C", "0,row 0,", "200,last,only here")


def test_without_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Named, the command that installs it is said; in a folder the file is left out, and counted."""
    monkeypatch.setitem(sys.modules, "python_calamine", None)
    write(tmp_path, {"a.xlsx": make_xlsx({"A": REVIEWS}), "b.txt": "text"})
    with pytest.raises(SourceError, match=r'the package python-calamine, .*, is not installed.*pip install "whelp\[sheets\]"'):
        make(tmp_path / "a.xlsx")
    with pytest.raises(SourceError, match=r'pip install "whelp\[sheets\]"'):
        whelp.convert(tmp_path / "a.xlsx", out=tmp_path / "o.jsonl")
    source = make(tmp_path)
    assert [row[1] for row in read_rows(source)] == ["text"]
    assert count_skipped(file for partition in source.iter_partitions() for file in partition.skipped) == {"spreadsheet": 1}
