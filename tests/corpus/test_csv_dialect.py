"""CSV as spreadsheets write it: separators, encodings, first lines, and what people get wrong."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import lzma
import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from whelp.base.errors import SourceError
from whelp.corpus import Source
from whelp.corpus.csv_dialect import find_dialect, find_line

from .test_rows_files import NASTY
from .test_source import make, read_notes, read_rows, write

PACKED = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
}
WESTERN = ['Größe; "groß"', "l’été\nà Noël", "señor, mañana", "50 € — ½", "plain"]


def as_csv(texts: list[str], delimiter: str = ",", codec: str = "utf-8", header: tuple[str, str] = ("id", "text")) -> bytes:
    file = io.StringIO(newline="")
    writer = csv.writer(file, delimiter=delimiter)
    writer.writerows([header, *([f"{number}", text] for number, text in enumerate(texts))])
    return file.getvalue().encode(codec)


def read_texts(source: Source, **sizes: int) -> list[str]:
    return [row[1] for row in read_rows(source, **sizes)]


@pytest.mark.parametrize("block_bytes", [16, 40, 1 << 20])
def test_broken_rows_are_told_by_what_is_wrong_with_them(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], block_bytes: int
) -> None:
    """A row that is ragged and not UTF-8 is a ragged one; a broken column that nobody reads breaks no row."""
    rows = [b"id,text", "1,naïve à la".encode(), b"2,b,caf\xe9", b"3,caf\xe9", b"\xe9,fin", b"5", b"6,end\xc3"]
    write(tmp_path, {"a.csv": b"\n".join(rows)})
    source = make(tmp_path / "a.csv", on_bad_rows="skip")
    assert read_rows(source, block_bytes=block_bytes) == [("a.csv", "naïve à la", 1), ("a.csv", "fin", 4)]
    assert read_notes(source) == {"rows skipped: wrong number of fields": 2, "rows skipped: text that is not UTF-8": 2}
    bad = [row for partition in source.iter_partitions() for row in partition.bad_rows]
    assert [(row.number, row.text) for row in bad if row.text] == [(2, "2,b,caf\\xe9"), (5, "5")]
    with pytest.raises(SourceError, match=r"row 2 \(line 3\): 3 fields, but expected 2, as in the header"):
        read_rows(make(tmp_path / "a.csv"))
    assert capfd.readouterr().err == ""


# --- separators ---


@pytest.mark.parametrize("suffix", PACKED)
@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_header_shows_the_separator(tmp_path: Path, delimiter: str, suffix: str) -> None:
    """Whatever the ending of the name, packed or not, in blocks of any size: the rows, with their numbers."""
    texts = [*NASTY, "a;b|c,d\te", "'", "3,50"]
    for stem in ("a.csv", "a.tsv"):
        name = stem + suffix
        write(tmp_path, {name: PACKED[suffix](as_csv(texts, delimiter))})
        for block_bytes in (8, 1 << 20):
            rows = read_rows(make(tmp_path / name), block_bytes=block_bytes)
            assert rows == [(name, text, number) for number, text in enumerate(texts, 1)]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id;text\n1;3,50\n2;4,50\n", ";"),
        ("id;price, net;text\n1;3,50;a\n2;4,50;b\n", ";"),  # a comma in a name, and decimal commas
        ('"a;b",text\n1,2\n', ","),  # quoted: no separator
        ('"id";"a,b|c"\n1;"2,3"\n', ";"),
        ("a;b,c\n1;2,5\n3;4\n", ";"),
        ("a;b,c\n1,2\n3,4\n", ","),
        ("text\na;b\n", ","),  # one column: what stands in the rows says nothing
        ("Question; answered\nwhy\nhow\n", ","),  # one column, whose name has a semicolon
        ("id;text\n1;a\n2;b\n3\n4;c\n", ";"),  # one row is ragged
        ("id;text\n", ";"),
        ("id;text", ";"),
        ("\n\r\nid|text\r\n1|a\r\n", "|"),
        ("id;text\r1;a\r", ";"),
        ("", ","),
        ('"never closed;x\n', ","),
        ("sep=|\nid;x|text\n", "|"),
        ("\ufeffSEP=;\r\nid,text\r\n", ";"),
        ("sep=ab\n1\n", ","),
    ],
)
def test_finding_the_separator(content: str, expected: str) -> None:
    """It must cut the rows as it cuts the header."""
    assert find_dialect(lambda: io.BytesIO(content.encode()), None, ",").delimiter == expected


def test_a_first_line_for_spreadsheets(tmp_path: Path) -> None:
    """`sep=;` is no header; rows count as ever, lines count it."""
    write(tmp_path, {"a.csv": "sep=;\r\nid;text\r\n1;a, b\r\n2;c\r\n", "b.csv": "\ufeffsep=;\nid;text\n1;a\n2\n"})
    assert read_rows(make(tmp_path / "a.csv")) == [("a.csv", "a, b", 1), ("a.csv", "c", 2)]
    with pytest.raises(SourceError, match=r"b\.csv, row 2 \(line 4\): 1 field, but expected 2"):
        read_rows(make(tmp_path / "b.csv"))


def test_a_separator_that_is_said(tmp_path: Path) -> None:
    """Any character; it holds for every CSV file of the source, and its change makes a store stale."""
    write(tmp_path, {"a.csv": "id^text\n1^a;b,c\n", "b.tsv": "id^text\n1^d\n", "c.txt": "plain^text"})
    source = make(tmp_path, delimiter="^")
    assert read_texts(source) == ["a;b,c", "d", "plain^text"]
    assert make(tmp_path, delimiter="^").changed_since(source.describe()) == []
    other = make(tmp_path, delimiter="^", column_names=["id", "text"])
    assert other.changed_since(source.describe()) == ["data.column_names: was not set, now ['id', 'text']"]
    assert source.changed_since(other.describe()) == ["data.column_names: was ['id', 'text'], now not set"]
    write(tmp_path, {"tabs.csv": "id;text\tnote\n1;a\tb\n"})
    for word in ("\t", "\\t", "tab"):
        assert read_texts(make(tmp_path / "tabs.csv", delimiter=word, custom_text_key="note")) == ["b"]


def test_numbers_with_commas_are_no_text(tmp_path: Path) -> None:
    """A column of decimal commas is not taken for one that holds text; what is asked for comes as it stands."""
    write(tmp_path, {"a.csv": "price;weight;review\n3,50;1.5;good\n4,00;2.5;bad\n"})
    assert read_texts(make(tmp_path / "a.csv")) == ["good", "bad"]
    assert read_texts(make(tmp_path / "a.csv", custom_text_key="price")) == ["3,50", "4,00"]


# --- without a header ---


def test_names_for_columns(tmp_path: Path) -> None:
    """A file without a header: the first row is one, and counts as one."""
    rows = "\n".join(f"{number}|row {number}" for number in range(1, 40))
    write(tmp_path, {"a.csv": rows + "\n", "b.csv": "one\ntwo\n", "c.csv": rows + "\n40\n", "d.csv": "1;x\n2;y\n3\n"})
    for block_bytes in (16, 1 << 20):
        source = make(tmp_path / "a.csv", column_names=["id", "text"], delimiter="|")
        assert read_rows(source, block_bytes=block_bytes) == [("a.csv", f"row {number}", number) for number in range(1, 40)]
    assert read_texts(make(tmp_path / "b.csv", column_names=["text"])) == ["one", "two"]
    assert read_texts(make(tmp_path / "d.csv", column_names=["n", "text"], on_bad_rows="skip")) == ["x", "y"]
    with pytest.raises(SourceError, match=r"c\.csv, row 40 \(line 40\): 1 field, but expected 2, as in data\.column_names"):
        read_rows(make(tmp_path / "c.csv", column_names=["id", "text"]))
    with pytest.raises(SourceError, match=r"b\.csv.*data\.column_names"):
        read_rows(make(tmp_path / "b.csv", column_names=["id", "text"]))


def test_a_text_where_a_name_should_be(tmp_path: Path) -> None:
    """A file without a header would lose its first row: that is said, with the ways on."""
    write(
        tmp_path,
        {
            "a.csv": "The cat sat on the mat.\nIt slept.\n",
            "b.csv": "What did you like about our product\nall\n",
            "c.csv": "1,The cat sat.\n2,It slept.\n",
            "d.csv": "1,a,The cat\n2,b,It slept\n",
            "e.csv": "id,note,review\n1,a,b\n",
        },
    )
    with pytest.raises(
        SourceError, match=r"d\.csv: has no column 'text', and 2 columns hold text: .*data\.column_names to the"
    ):
        make(tmp_path / "d.csv")
    with pytest.raises(SourceError, match=r"e\.csv: has no column 'text'.*to the column that holds the text\.$"):
        make(tmp_path / "e.csv")
    assert read_texts(make(tmp_path / "c.csv", column_names=["id", "text"])) == ["The cat sat.", "It slept."]
    for name in ("a.csv", "b.csv", "c.csv"):
        with pytest.raises(
            SourceError, match=r"its first row looks like a text.*data\.column_names to.*document=line.*custom_text_key"
        ):
            make(tmp_path / name)
    assert read_texts(make(tmp_path / "a.csv", document="line")) == ["The cat sat on the mat.", "It slept."]
    assert read_texts(make(tmp_path / "b.csv", custom_text_key="What did you like about our product")) == ["all"]


def test_commas_in_one_column(tmp_path: Path) -> None:
    """Unquoted commas of a file with one column stop the work, with the ways on."""
    write(tmp_path, {"a.csv": "text\nplain\nHello, world\n"})
    with pytest.raises(SourceError, match=r"row 2 \(line 3\): 2 fields, but expected 1.*data\.document=line"):
        read_rows(make(tmp_path / "a.csv"))


# --- encodings ---


@pytest.mark.parametrize("delimiter", [",", ";"])
@pytest.mark.parametrize("header", [("id", "text"), ("größe", "text")])
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_windows_1252_is_found(tmp_path: Path, delimiter: str, header: tuple[str, str], suffix: str) -> None:
    """As of a text file, and counted; in the header, in values, and after any amount of plain ASCII."""
    for num_plain in (0, 30_000):
        texts = ["It rained all day, and the next; nobody came."] * num_plain + WESTERN
        data = as_csv(texts, delimiter, "cp1252", header)
        write(tmp_path, {f"a.csv{suffix}": PACKED[suffix](data)})
        source = make(tmp_path / f"a.csv{suffix}")
        for block_bytes in (1 << 16, 1 << 20) if num_plain else (8, 1 << 20):
            assert read_texts(source, block_bytes=block_bytes) == texts
        assert read_notes(source) == {"files read as Windows-1252": 1}


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_mark_and_semicolons(tmp_path: Path, codec: str) -> None:
    """What a spreadsheet saves as Unicode text."""
    write(tmp_path, {"a.csv": as_csv(WESTERN, ";", codec), "b.csv": as_csv(WESTERN, "\t", codec)})
    for name in ("a.csv", "b.csv"):
        assert read_texts(make(tmp_path / name)) == WESTERN
        assert read_notes(make(tmp_path / name)) == {}


@pytest.mark.parametrize("codec", ["cp1251", "shift_jis", "utf-16-le", "latin-1", "utf-16"])
def test_an_encoding_that_is_named(tmp_path: Path, codec: str) -> None:
    """It holds for CSV and text, not for JSON, which is UTF-8."""
    text = {"cp1251": "Привет, мир", "shift_jis": "こんにちは世界"}.get(codec, "été à Noël")
    write(tmp_path, {"a.csv": as_csv([text], codec=codec), "b.txt": text.encode(codec), "c.jsonl": '{"text": "é"}'})
    assert read_texts(make(tmp_path, encoding=codec)) == [text, text, "é"]


def test_neither_utf8_nor_windows_1252(tmp_path: Path) -> None:
    """The error says where, and which option takes the name of the encoding, also when it shows late."""
    russian = ["Привет, мир! Как дела?"] * 20
    write(
        tmp_path,
        {
            "a.csv": as_csv(russian, codec="cp1251"),
            "b.csv": b"text\n" + b"plain\n" * 300_000 + b"caf\xe9\x81\n",
            "c.csv": as_csv(["été"], codec="utf-16-le"),
        },
    )
    with pytest.raises(
        SourceError, match=r"a\.csv: not UTF-8 text, nor Windows-1252 \(first bad byte 0xcf at byte 12\).*Set enc"
    ):
        make(tmp_path / "a.csv")
    with pytest.raises(SourceError, match=r"b\.csv: not UTF-8 text, nor Windows-1252.*but expected rows with text"):
        read_rows(make(tmp_path / "b.csv"), block_bytes=1 << 16)
    with pytest.raises(
        SourceError, match=r"c\.csv: looks like UTF-16 text without a byte order mark.*data\.encoding to utf-16"
    ):
        make(tmp_path / "c.csv")
    with pytest.raises(SourceError, match=r"not ascii text, though data\.encoding says so"):
        make(tmp_path / "a.csv", encoding="ascii")


def test_utf8_with_broken_places_stays_utf8(tmp_path: Path) -> None:
    """A bad byte among good characters makes a bad row, and no other row is read otherwise; whichever comes first."""
    good = "id,text\n" + "".join(f"{number},naïve café {number}\n" for number in range(1, 9))
    write(tmp_path, {"late.csv": good.encode() + b"9,caf\xe9\n", "early.csv": good.encode().replace("ï".encode(), b"\xef", 1)})
    for name, number in (("late.csv", 9), ("early.csv", 1)):
        for block_bytes in (8, 1 << 20):
            with pytest.raises(SourceError, match=rf"{name}, row {number} \(line {number + 1}\): 'text' is not UTF-8 text"):
                read_rows(make(tmp_path / name), block_bytes=block_bytes)
        source = make(tmp_path / name, on_bad_rows="skip")
        assert read_texts(source) == [f"naïve café {other}" for other in range(1, 9) if other != number]
        assert read_notes(source) == {"rows skipped: text that is not UTF-8": 1}


def test_a_broken_header(tmp_path: Path) -> None:
    """A name that is not UTF-8 in a file that is."""
    write(tmp_path, {"a.csv": b"t\xe9xt,n\n" + "é,1\n".encode() * 9})
    with pytest.raises(SourceError, match=r"a\.csv: a header that is not UTF-8 text.*data\.encoding"):
        make(tmp_path / "a.csv")


# --- places ---


def test_lines_of_rows(tmp_path: Path) -> None:
    """Rows with line ends, blank lines, any line ends: the line is that of an editor."""
    content = 'id,text\r\n1,"a\r\nb\r\n\r\nc"\r\n\r\n2,d\r\n"3\n\n",e\n4\n'
    write(tmp_path, {"a.csv": content})
    dialect = find_dialect(lambda: io.BytesIO(content.encode()), None, ",")
    lines = [find_line(lambda: io.BytesIO(content.encode()), dialect, row, 1 << 20) for row in (1, 2, 3, 4, 5)]
    assert lines == [2, 7, 8, 11, None]
    with pytest.raises(SourceError, match=r"a\.csv, row 4 \(line 11\): 1 field, but expected 2, as in the header"):
        read_rows(make(tmp_path / "a.csv"))


def test_cut_off_in_a_quote(tmp_path: Path) -> None:
    """Where the quote opens is said, by row and line."""
    write(tmp_path, {"a.csv": 'id;text\n1;"a\nb"\n2;c\n3;"never\nclosed\n4;x\n'})
    for block_bytes in (8, 1 << 20):
        with pytest.raises(
            SourceError, match=r"a\.csv: a quote that opens in row 3 \(line 5\) is never closed.*get a whole copy"
        ):
            read_rows(make(tmp_path / "a.csv"), block_bytes=block_bytes)


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_cut_off_in_the_last_field(tmp_path: Path, end: str) -> None:
    """Also where no line end in the text tells; quotes that are closed, or stand within a text, are fine."""
    cut = ['2,"It was a d', '2,"', '2,"say ""hi"" and', '2,";x']
    for number, row in enumerate(cut):
        write(tmp_path, {f"{number}.csv": f'id,text\n1,"a"\n{row}{end}', f"{number}.tsv": f"text\na\n{row[2:]}{end}"})
        for suffix in ("csv", "tsv"):
            with pytest.raises(
                SourceError, match=rf"{number}\.{suffix}: a quote that opens in row 2 \(line 3\) is never closed"
            ):
                read_rows(make(tmp_path / f"{number}.{suffix}"))
    good = {'2,"say ""hi"""': 'say "hi"', '2,say "hi': 'say "hi', '2,5" and 7"': '5" and 7"', '2,"a"': "a", '2,"a,""b"': 'a,"b'}
    for row, text in good.items():
        write(tmp_path, {"good.csv": f'id,text\n1,"a"\n{row}{end}'})
        assert read_texts(make(tmp_path / "good.csv")) == ["a", text]


def test_quotes_that_are_text(tmp_path: Path) -> None:
    """As in TSV that knows no quotes: they stay, and swallow nothing."""
    texts = ['"Open', "fine", 'a "b" c', '"all"', '""', "é"]
    write(tmp_path, {"a.tsv": "id\ttext\n" + "".join(f"{number}\t{text}\n" for number, text in enumerate(texts)) + "7\n"})
    write(tmp_path, {"b.tsv": 'id\ttext\n1\t"Open\n2\tx\n'})
    with pytest.raises(SourceError, match=r"data\.quoted_fields=false"):
        read_rows(make(tmp_path / "b.tsv"))
    for block_bytes in (16, 1 << 20):
        source = make(tmp_path / "a.tsv", quoted_fields=False, on_bad_rows="skip")
        assert read_texts(source, block_bytes=block_bytes) == texts
    with pytest.raises(SourceError, match=r"a\.tsv, row 7 \(line 8\): 1 field, but expected 2"):
        read_rows(make(tmp_path / "a.tsv", quoted_fields=False))


def test_empty_lines_and_fields_at_the_end(tmp_path: Path) -> None:
    """Blank lines are none of the rows; rows of separators alone are empty documents."""
    write(tmp_path, {"a.csv": "id;text\r\n1;a\r\n;\r\n;\r\n\r\n\r\n"})
    assert read_rows(make(tmp_path / "a.csv")) == [("a.csv", "a", 1)]
    assert read_notes(make(tmp_path / "a.csv")) == {"empty documents dropped": 2}


def test_a_long_cell(tmp_path: Path) -> None:
    """A cell of many blocks, with separators and line ends in it, comes as it is."""
    cell = 'x;y,"z"\n' * 400_000
    write(tmp_path, {"a.csv": as_csv(["a", cell, "b"], ";", "cp1252", ("größe", "text"))})
    assert read_texts(make(tmp_path / "a.csv"), block_bytes=1 << 16) == ["a", cell, "b"]


def test_memory_is_flat(tmp_path: Path) -> None:
    """A file in another encoding is decoded as it is read."""
    row = "1;" + "grün und blau, " * 60 + "\n"
    write(tmp_path, {"a.csv": b"id;text\n" + row.encode("cp1252") * 90_000})
    source = make(tmp_path / "a.csv")
    tracemalloc.start()
    num_rows = sum(partition.batch.num_rows for partition in source.iter_partitions(1 << 20, block_bytes=1 << 16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert num_rows == 90_000
    assert peak < source.num_bytes / 2, peak


# --- cards of Anki ---


def test_cards_of_anki(tmp_path: Path) -> None:
    """Their first lines say the separator, and that there is no header; columns have the names that are known of them."""
    lines = '#separator:tab\r\n#html:true\n#tags column:3\n<b>who</b>\tme &amp; "you"\tgood\nwhy\tso\t\n'
    write(tmp_path, {"a.tsv": lines, "b.csv": "#separator:Semicolon\n#columns:Front;Back\na;b\n", "c.csv": "#deck;text\n1;a\n"})
    options: dict[str, Any] = {"custom_text_key": "field_2", "quoted_fields": False, "html_columns": ["field_2"]}
    assert read_rows(make(tmp_path / "a.tsv", **options)) == [("a.tsv", 'me & "you"', 1), ("a.tsv", "so", 2)]
    assert read_texts(make(tmp_path / "a.tsv", custom_text_key="tags")) == ["good"]
    assert read_texts(make(tmp_path / "a.tsv", column_names=["q", "a", "t"], custom_text_key="q")) == ["<b>who</b>", "why"]
    assert read_texts(make(tmp_path / "b.csv", custom_text_key="Back")) == ["b"]
    assert read_texts(make(tmp_path / "c.csv")) == ["a"]  # a sign in a name
    with pytest.raises(SourceError, match="3 columns hold text: tags, field_1, field_2"):
        make(tmp_path / "a.tsv")
    write(tmp_path, {"a.tsv": lines + "one\n"})
    with pytest.raises(SourceError, match=r"a\.tsv, row 3 \(line 6\): 1 field, but expected 3, as in the first row"):
        read_rows(make(tmp_path / "a.tsv", custom_text_key="tags"))
