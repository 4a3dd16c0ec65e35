"""`whelp corpus report`: tables, JSON and a page; every kind of source; what goes wrong."""

from __future__ import annotations

import io
import json
import re
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml

import whelp as package
from whelp.base.errors import ConfigError, MissingExtraError, SourceError
from whelp.base.language_identifier import open_language_model

from .helpers import Whelp

SHARED = Path(__file__).parents[3] / "shared" / "data"
ENGLISH = "The whale swam through the cold sea, and nobody who stood on the shore saw it go.\n"
GERMAN = "Der Wal schwamm durch das kalte Meer, und niemand, der am Ufer stand, sah ihn ziehen.\n"


@pytest.fixture
def books(tmp_path: Path) -> Path:
    """English and German, a copy of a file, and one that is no text."""
    folder = tmp_path / "books"
    for name, text in (("en/a.txt", ENGLISH * 60), ("en/b.txt", ENGLISH * 60), ("de/c.txt", GERMAN * 30)):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "de/licence.txt").write_text("SPDX-License-Identifier: MIT\n" + GERMAN)
    (folder / "image.png").write_bytes(b"\x89PNG\0\0")
    return folder


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Rows with where they are from."""
    path = tmp_path / "rows.jsonl"
    values = [
        {"text": f"{ENGLISH} {number}", "url": f"https://{'ab'[number % 2]}.example/{number}", "license": "CC0", "topic": "sea"}
        for number in range(20)
    ]
    path.write_text("\n".join(map(json.dumps, values)))
    return path


def report(source: Any, **options: Any) -> dict[str, Any]:
    """The Python call, as plain values."""
    return asdict(package.report_corpus(source, **options))


def test_the_terminal_answers_each_question(whelp: Whelp, books: Path) -> None:
    """Where it is from, languages, lengths, copies, words, rights; what was left out."""
    outcome = whelp("corpus", "report", books)
    assert outcome.code == 0, outcome.stderr
    shown = " ".join(outcome.text.split())
    for part in (
        "4 documents (each a file)",
        "left out: files: NUL bytes 1",
        "languages, told from pieces",
        "characters in a document",
        "exact copies: 25.0% of the documents",
        "most frequent lines",
        "the whale swam",
        "beside en (wordfreq)",
        "SPDX identifier",
        "en/a.txt, line 1",
    ):
        assert part in shown, part


@pytest.mark.parametrize("width", [140, 80, 40])
def test_no_number_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """However narrow the terminal: a number on two lines would be two others."""
    from rich.console import Console

    from whelp.cli.screens import show_corpus

    words = " ".join(["alpha"] * 1234 + ["beta gamma delta epsilon"] * 1111)
    (tmp_path / "a-file-with-a-long-name.txt").write_text(f"{words}\n\n{words}\n")
    report = package.report_corpus(tmp_path / "a-file-with-a-long-name.txt")
    shown = io.StringIO()
    monkeypatch.setattr(show_corpus, "open_output", lambda: Console(file=shown, width=width, highlight=False))
    show_corpus.show_corpus_report(report)
    text = shown.getvalue()
    (group,) = report.groups
    for number in (group["num_words"], group["num_documents"], report.words["most"][0]["count"]):
        assert re.search(rf"(?<![\d,]){number:,}(?![\d,])", text.partition("where it is from")[2]), number
    counts = [entry["count"] for one in report.ngrams for entry in one["most"][:3]]
    assert all(f"{count:,}" in text.partition("most frequent")[2] for count in counts)


def test_json_is_what_the_call_gives(whelp: Whelp, books: Path) -> None:
    """One object; counts as counted by hand."""
    found = whelp("corpus", "report", books, "--json").json
    assert found == json.loads(json.dumps(report(str(books))))
    assert found["by"] == "folder"
    assert {group["name"]: group["num_documents"] for group in found["groups"]} == {"en": 2, "de": 2}
    assert found["total"]["num_bytes"] == sum(path.stat().st_size for path in books.rglob("*.txt"))
    assert found["skipped"] == {"files: NUL bytes": 1}
    copies = found["duplicates"]["most"]
    assert [(one["file"], one["count"]) for one in copies] == [("en/a.txt", 2)]
    lines = {one["text"]: one["count"] for one in found["lines"]["most"]}
    assert lines == {ENGLISH.strip(): 120, GERMAN.strip(): 31}
    languages = {one["language"]: one["share"] for one in found["languages"]}
    assert languages["en"] > languages["de"] > 0.05
    assert [one["file"] for one in found["licences"]["signs"]] == ["de/licence.txt"]


def test_the_page_opens_offline(whelp: Whelp, books: Path, tmp_path: Path) -> None:
    """One file; nothing is fetched, nothing of the text is markup."""
    (books / "en/d.txt").write_text("<script>alert(1)</script>\n" * 9)
    outcome = whelp("corpus", "report", books, "--html", "corpus.html")
    assert outcome.code == 0, outcome.stderr
    page = (tmp_path / "corpus.html").read_text()
    assert not re.findall(r"<script|<link|src=|@import|url\(", page)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    for title in ("Where it is from", "Languages", "What repeats", "Words", "Beside en", "Never here", "Rights and origins"):
        assert title in page
    assert "page: corpus.html" in outcome.said


def test_rows_with_their_columns(whelp: Whelp, rows: Path) -> None:
    """What tells of rights and origins is counted unasked; other columns when named; groups by a column."""
    found = whelp("corpus", "report", rows, "--by", "column:url", "--column", "topic", "--json").json
    columns = {name: {one["text"]: one["count"] for one in column["most"]} for name, column in found["columns"].items()}
    assert columns == {"license": {"CC0": 20}, "url": {"a.example": 10, "b.example": 10}, "topic": {"sea": 20}}
    assert found["num_groups"] == 20
    assert found["source"]["document"] == "row"


def test_columns_of_many_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unasked, a column is looked for in the first files; one that is asked for, in all of them."""
    monkeypatch.setattr("whelp.cli.corpus_report._PROBED_FILES", 2)
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(4):
        more = {"license": "MIT"} if number == 3 else {"source": f"s{number}"}
        (folder / f"{number}.jsonl").write_text(json.dumps({"text": f"text {number}", **more}) + "\n")
    assert report(str(folder))["columns"].keys() == {"source"}
    assert report(str(folder))["columns"]["source"]["num_rows"] == 3
    assert report(str(folder), columns=["license"])["columns"]["license"]["most"] == [{"text": "MIT", "count": 1}]


def test_options_of_the_source(whelp: Whelp, tmp_path: Path, books: Path) -> None:
    """`data.field=value` as in a recipe; several sources; a text is what the template makes of the columns."""
    path = tmp_path / "pairs.jsonl"
    path.write_text("\n".join(json.dumps({"question": f"Why {number}?", "answer": "Because."}) for number in range(5)))
    override = "data.multi_column_keys=[question, answer]"
    found = whelp("corpus", "report", path, override, "--reference", "none", "--json").json
    assert found["total"]["num_bytes"] == 5 * len("Why 0?\n\nBecause.")
    assert found["vocabulary"] is None
    both = whelp("corpus", "report", books / "en", books / "de", "data.document=line", "--json").json
    assert both["total"]["num_documents"] == 60 + 60 + 30 + 2
    assert both["duplicates"]["num_distinct"] == 3


def test_a_recipe_names_its_sources(whelp: Whelp, tmp_path: Path, books: Path) -> None:
    """The data section of a recipe; of a mixture, each source is a group."""
    mixture = [{"source": "books/en", "name": "english"}, {"source": "books/de", "name": "german", "document": "line"}]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"data": {"mixture": mixture, "tokenizer": "gpt2"}}))
    found = whelp("corpus", "report", "recipe.yaml", "--json").json
    assert {group["name"]: group["num_documents"] for group in found["groups"]} == {"english": 2, "german": 32}
    assert found["by"] == "source"
    assert found["licences"]["signs"][0]["file"] == "licence.txt"
    outcome = whelp("corpus", "report", "recipe.yaml", "--by", "file")
    assert "a mixture is grouped by source" in outcome.said


def test_beside_another_source(whelp: Whelp, books: Path) -> None:
    """Words of one text against those of another; nothing to download."""
    found = whelp("corpus", "report", books / "de", "--reference", books / "en", "--json").json["vocabulary"]
    assert found["reference"] == str(books / "en")
    assert found["never"][0]["text"] == "the"
    assert "niemand" in {one["text"] for one in found["unknown"]}
    itself = whelp("corpus", "report", books / "en", "--reference", books / "en", "--json").json["vocabulary"]
    assert itself["divergence_bits"] == pytest.approx(0, abs=1e-9)
    assert itself["never"] == []


def test_batches_do_not_matter(books: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers, however the source is cut into partitions."""
    source = {"data": {"source": str(books), "document": "line"}}
    whole = report(source)
    monkeypatch.setattr("whelp.cli.corpus_report._PARTITION_BYTES", 500)
    assert report(source) == whole


def test_bad_rows_are_counted(tmp_path: Path) -> None:
    """Rows that are passed over, and documents without text, are told."""
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "good text"}\n{"text": null}\n{"text": " "}\n')
    found = report(str(path), overrides=["data.on_bad_rows=skip"])
    assert found["skipped"] == {"rows skipped: no text for the template": 1, "empty documents dropped": 1}
    assert found["total"]["num_documents"] == 1


def test_without_the_packages_the_rest_is_measured(books: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Notes say what is missing and how to mend it; a reference that was asked for is an error."""
    open_language_model.cache_clear()
    for name in ("fasttext", "wordfreq"):
        monkeypatch.setitem(sys.modules, name, None)
    found = report(str(books))
    assert found["languages"] is None
    assert found["vocabulary"] is None
    assert found["total"]["num_documents"] == 4
    assert [note.split(":")[0] for note in found["notes"]] == ["languages", "the reference"]
    assert all('pip install "whelp[corpus]"' in note for note in found["notes"])
    with pytest.raises(MissingExtraError, match="wordfreq is not installed"):
        report(str(books), reference="en")


def test_what_goes_wrong(whelp: Whelp, books: Path, rows: Path) -> None:
    """One sentence each, before anything is read."""
    for arguments, message in (
        (["nowhere"], "nowhere"),
        ([books, "--by", "colour"], "by is 'colour', but expected one of language, suffix, folder, file"),
        ([books, "--reference", "xx"], "reference is 'xx', but expected a source, or a language with a word list: ar, bg"),
        ([books, "--reference", "no/such/file"], "no/such/file"),
        ([books, "train.num_steps=3"], "Only data.field=value says how a source is read"),
        ([books, "data.documnt=line"], "document"),
        ([rows, "--column", "colour"], "--column colour"),
        ([books, "--column", "colour"], "there are no files of rows"),
        ([books, "--html", "no/such/folder/page.html"], "Make the folder first"),
        ([rows, "data.conversation_template=tokenizer"], "needs a vocabulary, and there is none yet"),
    ):
        outcome = whelp("corpus", "report", *arguments)
        assert (outcome.code, outcome.text) == (1, ""), arguments
        assert message in outcome.said, (arguments, outcome.said)
    assert whelp("corpus", "report").code == 2
    assert whelp("corpus", "report", "data.document=line").code == 2


def test_errors_of_the_call(books: Path) -> None:
    """The same errors from Python."""
    with pytest.raises(ConfigError, match="by is 'colour'"):
        report(str(books), by="colour")
    with pytest.raises(SourceError, match="nowhere"):
        report("nowhere")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real texts are not beside this checkout, in ../shared/data")
def test_real_books() -> None:
    """Counts of eleven novels as Python counts them; the whale is far more frequent than elsewhere."""
    found = report(str(SHARED / "books"))
    text = "\n".join(
        path.read_bytes().decode("latin-1" if "latin1" in path.name else "utf-8-sig")
        for path in sorted((SHARED / "books").glob("*.txt"))
    ).replace("\u2019", "'")
    lines = Counter(line.strip() for line in text.splitlines() if line.strip())
    assert found["lines"]["most"][0] == {"text": lines.most_common(1)[0][0], "count": lines.most_common(1)[0][1]}
    counts = {one["text"]: one["count"] for one in found["words"]["most"]}
    assert counts["the"] == len(re.findall(r"(?<![\w'])'*_*the_*'*(?![\w'])", text.lower()))
    assert {one["language"] for one in found["languages"] if one["share"] > 0.01} == {"en"}
    assert "whale" in {one["text"] for one in found["vocabulary"]["more"]}
    assert "video" in {one["text"] for one in found["vocabulary"]["never"]}
