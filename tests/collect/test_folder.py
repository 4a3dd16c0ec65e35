"""Files of many kinds to documents; what cannot be read is counted, and no file can fill memory or reach outside."""

from __future__ import annotations

import builtins
import io
import json
import os
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import whelp
from growing import finish_with_stops
from whelp.base.errors import ArtifactError, ConfigError, SourceError
from whelp.base.html_text import read_html
from whelp.collect.folder import reader
from whelp.collect.folder.office import read_docx
from whelp.collect.folder.pdf import read_pdf
from whelp.collect.left_out import LeftOut

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
DOCX = f"""<?xml version="1.0" encoding="UTF-8" standalone="yes"?><w:document {W}><w:body>
<w:p><w:pPr><w:pStyle w:val="Heading1"/><w:tabs><w:tab w:val="left"/></w:tabs></w:pPr><w:r><w:t>Dogs</w:t></w:r></w:p>
<w:p><w:r><w:t xml:space="preserve">A </w:t></w:r><w:r><w:t>whelp</w:t><w:br/><w:t>is young &amp; small.</w:t></w:r>
<w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>
<w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>one</w:t></w:r></w:p><w:p><w:pPr><w:numPr/></w:pPr><w:r><w:t>two</w:t></w:r></w:p>
<w:tbl><w:tr><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>b</w:t></w:r></w:p></w:tc></w:tr></w:tbl>
</w:body></w:document>"""
CONTAINER = '<container><rootfiles><rootfile full-path="{}"/></rootfiles></container>'
PACKAGE = """<package xmlns:dc="x"><metadata><dc:title>The Whelp</dc:title><dc:creator>A. Author</dc:creator><dc:language>en</dc:language>
<dc:rights>CC0</dc:rights></metadata><manifest><item id="t" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>
<item id="b" href="text/two.xhtml" media-type="application/xhtml+xml"/><item id="a" href="../one%20x.xhtml" media-type="application/xhtml+xml"/>
<item id="i" href="x.png" media-type="image/png"/></manifest>
<spine><itemref idref="a"/><itemref idref="b"/><itemref idref="i"/></spine></package>"""
PDF_OBJECTS = (
    "<</Type/Catalog/Pages 2 0 R>>",
    "<</Type/Pages/Kids[3 0 R]/Count 1>>",
    "<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R/Resources<</Font<</F 5 0 R>>>>>>",
    "<</Length 45>>stream\nBT /F 12 Tf 20 100 Td (A printed whelp.) Tj ET\nendstream",
    "<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
)


def make_pdf() -> bytes:
    """One page with one line."""
    body, places = "%PDF-1.4\n", []
    for number, content in enumerate(PDF_OBJECTS, 1):
        places.append(len(body))
        body += f"{number} 0 obj{content}endobj\n"
    table = "".join(f"{place:010} 00000 n \n" for place in places)
    end = f"trailer<</Root 1 0 R/Size 6>>\nstartxref\n{len(body)}\n%%EOF\n"
    return f"{body}xref\n0 6\n0000000000 65535 f \n{table}{end}".encode()


def make_zip(files: dict[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def make_epub(package: str = PACKAGE, root: str = "OPS/content.opf", **more: str) -> bytes:
    chapters = {
        "OPS/nav.xhtml": "<p>Contents</p>",
        "one x.xhtml": '<?xml version="1.0"?><!DOCTYPE html><html><body><h2>One</h2><p>First.</p></body></html>',
        "OPS/text/two.xhtml": "<html><body><p>Second.</p></body></html>",
    }
    return make_zip({"META-INF/container.xml": CONTAINER.format(root), root: package, **chapters, **more})


def collect(folder: Path, files: dict[str, bytes], **options: Any) -> tuple[dict[str, dict[str, Any]], Any]:
    """Documents by file, and the result."""
    for name, data in files.items():
        (folder / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "in" / name).write_bytes(data)
    result = whelp.collect_folder(folder / "in", out=folder / "out.jsonl", **options)
    lines = (folder / "out.jsonl").read_text(encoding="utf-8").splitlines()
    return {row["url"]: row for row in map(json.loads, lines)}, result


NOTEBOOK = {
    "cells": [
        {"cell_type": "markdown", "source": ["# Title\n", "Text."]},
        {"cell_type": "code", "source": "print(1)\n", "outputs": [{"text": "secret"}]},
        {"cell_type": "code", "source": []},
    ],
    "metadata": {"language_info": {"name": "python"}},
}


def test_every_kind_of_file(tmp_path: Path) -> None:
    """One of each: text, title, and what a file says of itself."""
    pytest.importorskip("pypdf")
    files = {
        "a.txt": "Grüße.\r\nZwei.\n".encode(),
        "b/code.py": b"def f():\n    return 1\n",
        "c.html": b"<html lang=de><title>Hunde &amp; so</title><p>Ein <i>Welpe</i>.</html>",
        "d.docx": make_zip({"word/document.xml": DOCX}),
        "e.epub": make_epub(),
        "f.ipynb": json.dumps(NOTEBOOK).encode(),
        "g.pdf": make_pdf(),
    }
    rows, result = collect(tmp_path, files)
    assert {name: row["text"] for name, row in rows.items()} == {
        "a.txt": "Grüße.\nZwei.",
        "b/code.py": "def f():\n    return 1",
        "c.html": "Ein Welpe.",
        "d.docx": "# Dogs\n\nA whelp\nis young & small.\n\n- one\n- two\n\na\tb",
        "e.epub": "## One\n\nFirst.\n\nSecond.",
        "f.ipynb": "# Title\nText.\n\n```python\nprint(1)\n```",
        "g.pdf": "A printed whelp.",
    }
    assert list(rows) == [*sorted(set(rows) - {"b/code.py"}), "b/code.py"]  # files of a folder, then its folders
    assert (rows["c.html"]["title"], rows["c.html"]["language"]) == ("Hunde & so", "de")
    said = {name: rows["e.epub"][name] for name in ("title", "author", "language", "licence", "source")}
    assert said == {"title": "The Whelp", "author": "A. Author", "language": "en", "licence": "CC0", "source": "folder"}
    assert rows["a.txt"]["title"] == "a"
    assert result.num_files["read"] == dict.fromkeys([".txt", ".py", ".html", ".docx", ".epub", ".ipynb", ".pdf"], 1)
    assert (result.num_documents, result.num_files["skipped"]) == (7, {})


UNREADABLE: dict[str, tuple[str, bytes, str, str]] = {
    "binary": ("a.bin", bytes(range(256)), "NUL bytes", "contains NUL bytes"),
    "an image": ("a.png", b"\x89PNG\r\n\x1a\n" + b"\x01\x02" * 50, "binary", "binary data"),
    "empty": ("a.txt", b" \n", "no text", "it holds no text"),
    "rows": ("a.csv", b"a,b\n", "rows", "a source of its own"),
    "packed": ("a.zip", make_zip({"a.txt": "x"}), "packed", "zip data, not text"),
    "too large": ("a.txt", b"x" * 100_001, "too large", "larger than 100,000 bytes"),
    "no zip": ("a.docx", b"PK\x03\x04" + b"x" * 50, "damaged", "a broken zip archive"),
    "no document": ("a.docx", make_zip({"x.xml": ""}), "damaged", "it has no word/document.xml"),
    "cut off": ("a.docx", make_zip({"word/document.xml": DOCX[:300]}), "damaged", "broken XML"),
    "entities": ("a.docx", make_zip({"word/document.xml": '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'}), "declares entities", "its XML"),
    "a zip bomb": ("a.docx", make_zip({"word/document.xml": b" " * 3_000_000}), "unpacks to too much", "more than 200,000 bytes"),
    "a way out": ("a.epub", make_epub(PACKAGE.replace("../one%20x.xhtml", "../../../../etc/passwd")), "path outside", "'OPS/../../../../"),
    "an absolute way": ("a.epub", make_epub(root="/etc/passwd"), "path outside", "'/etc/passwd'"),
    "no chapters": ("a.epub", make_epub(PACKAGE.replace("<itemref", "<x")), "no text", "it lists no chapters"),
    "no notebook": ("a.ipynb", b'{"cells": 3}', "damaged", "not a notebook"),
    "deep JSON": ("a.ipynb", b"[" * 90_000, "damaged", "not a notebook"),
    "a broken PDF": ("a.pdf", b"%PDF-1.4\nnothing", "damaged", "a broken PDF"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_counted(name: str, tmp_path: Path) -> None:
    """With a word to count by, and a reason that says more; the file beside it is read."""
    if name == "a broken PDF":
        pytest.importorskip("pypdf")
    file, data, kind, reason = UNREADABLE[name]
    rows, result = collect(tmp_path, {file: data, "z.txt": b"good"}, max_file_bytes=100_000, max_unpacked_bytes=200_000)
    assert list(rows) == ["z.txt"]
    assert result.num_files["skipped"] == {kind: 1}
    assert result.skipped_files[0]["path"] == file
    assert reason in result.skipped_files[0]["reason"]


def test_a_bomb_of_many_members(tmp_path: Path) -> None:
    """The limit is of a file, not of a member of it."""
    chapter = "<p>" + "x " * 60_000 + "</p>"
    epub = make_epub(**{"OPS/text/two.xhtml": chapter, "one x.xhtml": chapter})
    _, result = collect(tmp_path, {"a.epub": epub}, max_unpacked_bytes=200_000)
    assert result.num_files["skipped"] == {"unpacks to too much": 1}


def test_links_stay_inside(tmp_path: Path) -> None:
    """A link out of the folder is not followed; one within it is."""
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "in").mkdir()
    os.symlink(tmp_path / "secret.txt", tmp_path / "in" / "link.txt")
    os.symlink(tmp_path / "in" / "a.txt", tmp_path / "in" / "same.txt")
    rows, result = collect(tmp_path, {"a.txt": b"open"})
    assert set(rows) == {"a.txt", "same.txt"}
    assert result.num_files["skipped"] == {"path outside": 1}


@pytest.mark.parametrize(
    ("data", "text"),
    [
        ('<meta charset="iso-8859-2"><p>žluť'.encode("iso-8859-2"), "žluť"),
        ('<?xml version="1.0" encoding="shift_jis"?><p>犬'.encode("shift_jis"), "犬"),
        ('<meta http-equiv=content-type content="text/html; charset=windows-1251"><p>щенок'.encode("cp1251"), "щенок"),
        ("<meta charset=ascii><p>Welpe ü".encode(), "Welpe ü"),
        ("<meta charset=no-such><p>Welpe ü".encode(), "Welpe ü"),
        ("<meta charset=punycode><p>Welpe ü".encode(), "Welpe ü"),
        ("<meta charset=utf-8><p>Welpe ü".encode("cp1252"), "Welpe ü"),
        ("\ufeff<meta charset=latin-1><p>犬".encode(), "犬"),
        ("<p>犬".encode("utf-16"), "犬"),
    ],
)
def test_charsets_true_and_false(data: bytes, text: str, tmp_path: Path) -> None:
    """A page in the encoding it says; where that is not true, in the one it has."""
    rows, _ = collect(tmp_path, {"a.html": data})
    assert rows["a.html"]["text"] == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<p>a\n b<p>c", "a b\n\nc"),
        ("<script>var a = '<p>x';</script><style>p{}</style>b<!-- c -->", "b"),
        ("<nav>menu<ul><li>x</ul></nav><main>text</main><footer>foot</footer>", "text"),
        ("<nav>never closed<p>text", "never closed\n\ntext"),
        ("<pre>\n a\n  b</pre>", " a\n  b"),
        ("<table><tr><th>a<th>b<tr><td>1<td>2</table>", "a\tb\n\n1\t2"),
        ("<ul><li><p>a</p><li>b</ul>c", "- a\n- b\n\nc"),
        ("a &lt;b&gt; &amp; &#8364; <b", "a <b> & € <b"),
        ("<h1>A</h1><h3>B</h3>", "# A\n\n### B"),
        ("1 < 2 and 3 > 2", "1 < 2 and 3 > 2"),
        ("<![CDATA[a]]> b", "a b"),
        ("<!DOCTYPE html><![foo[><p>a<![if !IE]><!x <!-- > -->y>b<![endif]><![<!a>foo[>", "ab<![foo[>"),
        ("", ""),
    ],
)
def test_html(html: str, text: str) -> None:
    """What a page shows."""
    assert read_html(html).text == text


@pytest.mark.parametrize(
    "unit", ["<a ", "<a b='", "</", "<!--", "<script>", "<?", "<![CDATA[>", "&", "<li>x", "<a b='>", "<nav>", "<b"]
)
def test_hostile_html_takes_linear_time(unit: str) -> None:
    """The parser of the standard library alone would take minutes for some."""
    before = time.process_time()
    read_html(unit * (200_000 // len(unit)))
    assert time.process_time() - before < 30


def test_copies_for_old_programs_are_left_out() -> None:
    """A text box is in a DOCX twice."""
    box = "<w:p><w:r><w:t>box</w:t></w:r></w:p>"
    both = f"<mc:AlternateContent><mc:Choice>{box}</mc:Choice><mc:Fallback>{box}</mc:Fallback></mc:AlternateContent>"
    body = f'<w:document {W} xmlns:mc="x">{both}</w:document>'
    assert read_docx(make_zip({"word/document.xml": body}), 10_000) == "box"


def test_without_pypdf(monkeypatch: pytest.MonkeyPatch) -> None:
    """A PDF says which package it needs."""
    real = builtins.__import__

    def without(name: str, *args: Any, **options: Any) -> Any:
        if name == "pypdf":
            raise ImportError(name)
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(LeftOut, match=r'PDF, which needs `pip install "whelp\[pdf\]"`'):
        read_pdf(make_pdf(), 10_000)


def hang_or_read(path: Path, *arguments: Any) -> Iterator[Any]:
    """As some files have it that nobody thought of."""
    for number, found in enumerate(reader._read_items(path, *arguments), 1):
        if (path.stem == "hang" and number == 2) or path.stem == "hang at once":
            time.sleep(600)
        if path.stem == "kill":
            os.abort()
        yield found


def test_a_file_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds nothing up: what was read before is kept, it is counted, and the others are read."""
    monkeypatch.setattr(reader, "_read_items", hang_or_read)
    mails = b"".join(b"From a\nSubject: %d\n\nmail %d\n\n" % (number, number) for number in range(3))
    files = {"a.txt": b"a", "hang.mbox": mails, "hang at once.txt": b"x", "kill.txt": b"x", "z.mbox": mails}
    _, result = collect(tmp_path, files, max_document_seconds=3)
    lines = (tmp_path / "out.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in lines] == [
        "a",
        "mail 0",
        "mail 0",
        "mail 1",
        "mail 2",
    ]
    assert result.num_files == {"read": {".mbox": 2, ".txt": 1}, "skipped": {"takes too long": 2, "breaks its reader": 1}}
    reasons = {skipped["path"]: skipped["reason"] for skipped in result.skipped_files}
    assert reasons["hang.mbox"] == "takes more than 3 seconds to read, behind the first 1 document of it"
    assert reasons["hang at once.txt"] == "takes more than 3 seconds to read"


def test_stopped_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped after some files: the same bytes and counts, and no file read twice into it."""
    files = {f"{number:02}.txt": f"text {number}".encode() for number in range(30)} | {"05.txt": b"\0\0\0", "x.csv": b"a"}
    whole, first = collect(tmp_path, files)
    expected = (tmp_path / "out.jsonl").read_bytes()
    for found in (*tmp_path.glob("out*"), *tmp_path.glob(".out*")):
        found.unlink()

    def collect_again() -> Any:
        return whelp.collect_folder(tmp_path / "in", out=tmp_path / "out.jsonl")

    result, num_stops = finish_with_stops(collect_again, monkeypatch, every=11)
    assert num_stops >= 2
    assert (tmp_path / "out.jsonl").read_bytes() == expected
    assert (result.num_files, result.num_documents) == (first.num_files, len(whole))
    assert whelp.collect_folder(tmp_path / "in", out=tmp_path / "out.jsonl").is_reused
    (tmp_path / "in" / "new.txt").write_text("new")
    with pytest.raises(ArtifactError, match=r"other inputs or options \(files\)"):
        whelp.collect_folder(tmp_path / "in", out=tmp_path / "out.jsonl")


def test_wrong_arguments(tmp_path: Path) -> None:
    """All at once, and before anything is written."""
    with pytest.raises(SourceError, match="there is no such folder"):
        whelp.collect_folder(tmp_path / "x", out=tmp_path / "o")
    with pytest.raises(ConfigError) as caught:
        whelp.collect_folder(tmp_path, out=tmp_path / "o", include_suffixes=["txt"], max_file_bytes=0)
    assert "include_suffixes has 'txt'" in str(caught.value)
    assert "max_file_bytes is 0" in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_what_is_unreadable_says_so() -> None:
    """For callers from Python."""
    with pytest.raises(LeftOut) as caught:
        read_docx(b"no zip", 10)
    assert caught.value.kind == "damaged"


def test_other_suffixes_are_counted_and_not_named(tmp_path: Path) -> None:
    """Who asks for some suffixes knows that the others are left out; what is broken among the asked ones is named."""
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.txt").write_text("A whelp.")
    (source / "b.py").write_text("b = 1")
    (source / "c.txt").write_bytes(b"\0")
    result = whelp.collect_folder(source, out=tmp_path / "out.jsonl", include_suffixes=[".txt"])
    assert result.num_files["skipped"] == {"other suffix": 1, "NUL bytes": 1}
    assert [skipped["path"] for skipped in result.skipped_files] == ["c.txt"]
