"""The page about a curated corpus: what it holds, that it opens offline, that no text can break out of it."""

from __future__ import annotations

import copy
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from whelp.report import make_curate_report

EVIL = "<script>alert('1')</script>\"&amp;"
NEAR = "near_duplicates: nearly as an earlier document"
EXAMPLE = {"origin": "a.txt", "line": 1234, "text": "One\ntwo \x07", "num_characters": 5000}
REPORT: dict[str, Any] = {
    "name": "books",
    "sources": [
        {
            "name": None,
            "preset": "prose",
            "rules": {"length": {"min_characters": 50}, "language": {"keep": ["en", "de"]}, "exact_duplicates": {}},
        }
    ],
    "ledger": {
        "documents_in": 2000,
        "documents_kept": 1500,
        "documents_test": 0,
        "bytes_in": 3_000_000,
        "bytes_kept": 2_500_000,
        "dropped": {"length: too short": 400, NEAR: 100},
        "dropped_bytes": {"length: too short": 8000, NEAR: 90_000},
        "changes": {"personal_data: email masked": 7},
        "notes": {},
        "files": {"read": 3},
        "sizes_in": [0, 400, 1600, *[0] * 37],
        "sizes_kept": [0, 0, 1500, *[0] * 37],
        "examples": {
            "length: too short": [EXAMPLE | {"duplicate_of": None, "similarity": None}],
            NEAR: [EXAMPLE | {"duplicate_of": "b.txt:7", "similarity": 0.912}],
        },
    },
}


def read(page: str) -> str:
    """What a reader sees, on one line."""
    tree = ElementTree.fromstring(re.sub(r"<(meta[^>]*)>", r"<\1/>", page.replace("<!doctype html>", "")))
    return " ".join(" ".join(tree.itertext()).split())


def test_what_it_says() -> None:
    """Every reason with its share, what was changed, examples with where they are and what they repeat, the numbers."""
    text = read(make_curate_report(REPORT))
    assert "2,000 read, 1,500 kept (75.0%)" in text
    assert "length: too short 400 20.0% 8.0 kB" in text
    assert "personal_data: email masked 7" in text
    assert "a.txt, line 1,234; 5,000 characters" in text
    assert "repeats b.txt:7 (91% alike)" in text
    assert "One two \\x07 …" in text
    assert "min_characters: 50" in text
    assert "keep: en, de" in text
    assert "rows that the source holds out" not in text


def test_it_opens_offline() -> None:
    """No script, nothing fetched, both colour schemes, narrow screens."""
    page = make_curate_report(REPORT)
    assert not re.search(r"<script|<link|src=|@import|https?://", page)
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page
    assert "<svg" in page


@pytest.mark.parametrize("field", ["name", "preset", "text", "origin", "duplicate_of", "reason", "note"])
def test_no_text_breaks_out(field: str) -> None:
    """Whatever a text or a name holds, it is shown, not obeyed."""
    report = copy.deepcopy(REPORT)
    if field == "name":
        report[field] = EVIL
    elif field == "preset":
        report["sources"][0][field] = EVIL
    elif field == "note":
        report["ledger"]["notes"][EVIL] = 1
    elif field == "reason":
        for values in (report["ledger"]["dropped"], report["ledger"]["dropped_bytes"], report["ledger"]["examples"]):
            values[EVIL] = values.pop(NEAR)
    else:
        report["ledger"]["examples"][NEAR][0][field] = EVIL
    page = make_curate_report(report)
    assert "<script" not in page
    assert EVIL in read(page)


def test_sources_of_a_mixture() -> None:
    """Each with what is kept of it, and its own rules where they differ."""
    report = copy.deepcopy(REPORT)
    rules = report["sources"][0]["rules"]
    one = {"documents_in": 500, "documents_kept": 100, "bytes_kept": 9000, "dropped": {"length: too short": 400}}
    report["ledger"]["sources"] = {"books": {**one, "documents_in": 1500, "documents_kept": 1400}, EVIL: one}
    report["sources"] = [{"name": name, "preset": "prose", "rules": rules} for name in ("books", EVIL)]
    text = read(make_curate_report(report))
    assert "books 1,500 1,400 93.3% 9.0 kB length: too short 400" in text
    assert f"{EVIL} 500 100 20.0% 9.0 kB length: too short 400" in text
    assert text.count("min_characters: 50") == 1
    report["sources"][1] = {"name": EVIL, "preset": "code", "rules": {"length": {"min_characters": 7}}}
    text = read(make_curate_report(report))
    assert "preset prose, code" in text
    assert f"books length min_characters: 50 language keep: en, de exact_duplicates on {EVIL} length min_characters: 7" in text


def test_nothing_dropped() -> None:
    """Nothing to show is left out."""
    report = copy.deepcopy(REPORT)
    report["ledger"] |= {"dropped": {}, "dropped_bytes": {}, "examples": {}, "changes": {}, "documents_test": 5}
    text = read(make_curate_report(report))
    assert "Examples of each reason" not in text
    assert "What was changed" not in text
    assert "5 rows that the source holds out" in text
