"""The page about rows: what it holds, that it opens offline, that no text can break out of it."""

from __future__ import annotations

import copy
import html
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

import pytest

from whelp.report import make_rows_report

EVIL = "<script>alert('1')</script>\"&amp;"
FATES = {"trained": 70, "masked": 20, "first": 10, "cut": 0, "dropped": 0}
SUMMARY = {
    "store": "store",
    "split": "train",
    "plan": "best_fit",
    "context_tokens": 8,
    "vocabulary": "bpe, 300 ids",
    "num_files": 2,
    "ledger": {
        "tokens": 100,
        "rows": 13,
        "documents": 10,
        "cut_documents": 1,
        **FATES,
        **{f"{name}_share": count / 100 for name, count in FATES.items()},
        "padding_share": 0.04,
    },
    "lengths": [(1, 1, 3), (2, 3, 0), (4, 7, 1234)],
}


def make_token(position: int, token_id: int, spelled: str, role: str) -> dict[str, Any]:
    return {"position": position, "id": token_id, "spelled": spelled, "role": role}


PIECE = {
    "document": 7,
    "file": "a/b.txt",
    "line": 1234,
    "start": 4,
    "length": 4,
    "document_tokens": 20,
    "runs": [
        {"text": "Q", "role": "opening", "tokens": [make_token(0, 11, "Q", "opening")]},
        {"text": " x\n\t", "role": "masked", "tokens": [make_token(1, 12, " x\n\t", "masked")]},
        {
            "text": "日",
            "role": "trained",
            "tokens": [make_token(2, 13, "\\xe6", "trained"), make_token(3, 14, "\\x97\\xa5", "trained")],
        },
    ],
    "next": make_token(4, 15, " next", "trained"),
}
ROW = {
    "row": 5,
    "num_positions": 8,
    "num_trained": 3,
    "num_masked": 1,
    "num_without_target": 0,
    "num_padding": 4,
    "pieces": [PIECE],
}


def make(**changes: Any) -> str:
    """The page of one row, its piece changed."""
    return make_rows_report({"summary": SUMMARY, "rows": [copy.deepcopy({**ROW, "pieces": [{**PIECE, **changes}]})]})


def test_what_it_shows() -> None:
    """The ledger, the histogram, the row's counts and place, its tokens by role, what each of them is."""
    page = make()
    text = html.unescape(re.sub(r"<[^>]*>", " ", page))
    assert "best_fit, 8 tokens a row" in text
    assert "70.00%" in text
    assert "4.00% of all positions are padding" in text
    assert "Row 5 of 13" in text
    assert "8 positions: 3 trained, 1 masked, 4 padding" in text
    assert "a/b.txt , line 1,234  document 7, tokens 4 to 7 of 20 tokens" in text
    assert "1,234 documents of 4 to 7 tokens" in page
    assert '<span class="o" title="Q  id 11, position 0, opening">Q</span>' in page
    assert '<span class="m" title="␣x⏎⇥  id 12, position 1, masked"> x⏎\n\t</span>' in page
    assert 'title="\\xe6  id 13, position 2, trained\n\\x97\\xa5  id 14, position 3, trained">日</span>' in page
    assert 'title="id 15, predicted from position 3, trained">␣next</span>' in page
    assert "4 pads" in text


def test_it_opens_offline_and_is_well_formed() -> None:
    """No script, nothing fetched; every tag is closed; both colour schemes and narrow screens are thought of."""
    page = make()
    assert not re.search(r"<script|<link|src=|@import|https?://", page)
    ElementTree.fromstring(re.sub(r"<(meta[^>]*)>", r"<\1/>", page.replace("<!doctype html>", "")))
    assert "prefers-color-scheme: dark" in page
    assert 'name="viewport"' in page


@pytest.mark.parametrize("field", ["file", "text", "spelled", "next", "store", "vocabulary"])
def test_no_text_breaks_out(field: str) -> None:
    """Whatever a text, a token or a name holds, it is shown, not obeyed."""
    report = {"summary": dict(SUMMARY), "rows": [copy.deepcopy(ROW)]}
    (piece,) = report["rows"][0]["pieces"]
    if field == "file":
        piece["file"] = EVIL
    elif field == "text":
        piece["runs"][0]["text"] = EVIL
    elif field == "spelled":
        piece["runs"][0]["tokens"][0]["spelled"] = EVIL
    elif field == "next":
        piece["next"]["spelled"] = EVIL
    else:
        report["summary"][field] = EVIL
    page = make_rows_report(report)
    assert "<script" not in page
    tree = ElementTree.fromstring(re.sub(r"<(meta[^>]*)>", r"<\1/>", page.replace("<!doctype html>", "")))
    values = [value for element in tree.iter() for value in (element.text, *element.attrib.values()) if value]
    assert any(EVIL in value for value in values)


def test_no_documents_of_a_kind_and_no_rows() -> None:
    """Nothing to draw is left out, not drawn empty."""
    page = make_rows_report({"summary": {**SUMMARY, "lengths": []}, "rows": []})
    assert "<svg" not in page
    assert "<h3" not in page
    assert ">dropped<" not in page
