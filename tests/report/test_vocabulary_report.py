"""The pages about vocabularies: what they hold, that they open offline, that no text can break out of them."""

from __future__ import annotations

import copy
import re
import xml.etree.ElementTree as ElementTree
from typing import Any

from whelp.report import list_facts, make_vocabulary_guide, make_vocabulary_report

MISSING = {"missing_alone": ["elif", "nonlocal"], "missing_after_space": ["elif"]}
EVIL = "<script>alert('1')</script>\""
TOTAL = {
    "name": "all",
    "num_documents": 2,
    "num_bytes": 100,
    "num_characters": 90,
    "num_tokens": 40,
    "num_unknown": 0,
    "num_words": 20,
    "bytes_per_token": 2.5,
    "characters_per_token": 2.25,
    "tokens_per_word": 1.25,
    "continued_words_share": 0.2,
    "unknown_share": 0.0,
}


def make_one(name: str, num_tokens: int = 40, **changes: Any) -> dict[str, Any]:
    """A vocabulary of two groups and one text."""
    total = TOTAL | {"num_tokens": num_tokens, "bytes_per_token": 100 / num_tokens}
    return {
        "name": name,
        "kind": "bpe",
        "vocab_size": 300,
        "num_special": 2,
        "fingerprint": "f" * 32,
        "use": {
            "total": total,
            "groups": [total | {"name": "eng"}, total | {"name": "deu", "num_unknown": 3, "unknown_share": 0.5}],
            "num_ordinary": 298,
            "num_used": 30,
            "never_used_share": 0.9,
            "rarely_used_share": 0.95,
            "num_kept": 1,
            "num_sampled": 2,
            "rank_frequency": [(1, 20), (10, 4), (30, 1)],
            "coverage": [(1, 0.5), (10, 0.9), (30, 1.0)],
            "ids_for_share": {"90.0%": 10},
            "longest": [{"id": 299, "text": "-" * 60, "bytes": 60, "count": 1}],
        },
        "first": [{"id": 256, "text": " t", "bytes": 2}],
        "last": [{"id": 299, "text": "zz", "bytes": 2}],
        "numbers": [{"text": "2026", "tokens": ["20", "26"]}],
        "indents": {
            "spaces": [1, 2, 3],
            "spaces_in_code": [0, 1, None],
            "tabs": [1, 1, 1],
            "tabs_in_code": [1, 1, 1],
        },
        "keywords": {"Python keywords": {"num_words": 4, "alone": 1, "after_space": 2, "missing": ["elif"], **MISSING}},
        "texts": [
            {
                "text": "ab\n",
                "is_kept": False,
                "num_unknown": 1,
                "tokens": [{"id": 7, "text": "ab", "start": 0, "end": 2}, {"id": 0, "text": "<unk>", "start": 2, "end": 3}],
                "stages": [
                    {"stage": "split", "name": "Split", "is_changed": False, "pieces": [{"text": "ab", "start": 0, "end": 2}]},
                    {
                        "stage": "model",
                        "name": "BPE",
                        "is_changed": True,
                        "pieces": [{"text": "ab", "id": 7, "start": 0, "end": 2}],
                    },
                ],
            }
        ],
    } | changes


def make_report(*vocabularies: dict[str, Any]) -> dict[str, Any]:
    """A report of one corpus."""
    found = vocabularies or (make_one("small"), make_one("large", 25))
    return {
        "corpus": {
            "name": "books",
            "num_documents": 2,
            "num_bytes": 100,
            "num_words": 20,
            "num_distinct_words": 9,
            "by": "language",
        },
        "vocabularies": list(found),
        "split_words": [{"word": " being", "count": 7, "tokens": [[" be", "ing"] for _ in found]}],
        "html": None,
    }


GUIDE = {
    "corpus": {"name": "books", "num_bytes": 1000},
    "model": {"family": "gpt2", "n_layer": 2, "n_embd": 64, "body_parameters": 12345},
    "rows": [
        {
            "vocab_size": size,
            "embedding_parameters": size * 64,
            "untied_parameters": size * 128,
            "embedding_share": size / 10000,
            "untied_share": size / 5000,
            "num_tokens": 500 - size // 10,
            "bytes_per_token": 1000 / (500 - size // 10),
            "num_rare_ids": size // 2,
            "softmax_flops": size * 128,
            "flops_per_byte": cost,
        }
        for size, cost in ((512, 3e6), (1024, 2e6), (4096, 2.5e6))
    ],
    "cheapest_vocab_size": 1024,
    "html": None,
}


def test_everything_is_on_the_page() -> None:
    """The numbers, groups, cuts, keywords, tokens and stages of each vocabulary, side by side."""
    page = make_vocabulary_report(make_report())
    for shown in (
        "Vocabularies: small, large",
        "By language",
        "eng",
        "50.0% unknown",
        "neither: 1",
        "Split alone: elif, nonlocal",
        "␣being",
        "lost",
    ):
        assert shown in page, shown
    assert '<span class="best">4.00</span>' in page  # bytes a token, of the larger one
    assert '<span class="t t0">20</span><span class="t t1">26</span>' in page
    assert 'title="id 7, bytes 0-2">ab</span>' in page
    assert "does not come back exactly" in page
    assert page.count("<svg") == 3
    assert page.count("<polyline") == 6


def test_one_group_and_no_text_leave_their_sections_out() -> None:
    """A corpus of one group has no table of groups; nobody's texts, no section of texts."""
    one = make_one("only", texts=[])
    one["use"]["groups"] = one["use"]["groups"][:1]
    page = make_vocabulary_report(make_report(one) | {"split_words": []})
    assert "By language" not in page
    assert "<h2>Texts</h2>" not in page
    assert "words that are split" not in page


def test_nothing_but_the_page_is_needed() -> None:
    """No script, and no address to fetch anything from."""
    for page in (make_vocabulary_report(make_report()), make_vocabulary_guide(GUIDE)):
        assert "<script" not in page
        assert not re.search(r"https?://|@import|url\(|<link|<img", page)
        assert "prefers-color-scheme: dark" in page


def test_text_is_only_text() -> None:
    """Markup in names, tokens, groups and texts is shown, not obeyed."""
    one = make_one(EVIL)
    one["use"]["groups"][0]["name"] = EVIL
    one["use"]["longest"][0]["text"] = one["first"][0]["text"] = EVIL[:20]
    one["numbers"][0] = {"text": EVIL, "tokens": [EVIL]}
    one["keywords"] = {
        EVIL: {
            "num_words": 1,
            "alone": 0,
            "after_space": 0,
            "missing": [EVIL],
            "missing_alone": [EVIL],
            "missing_after_space": [EVIL],
        }
    }
    text = one["texts"][0]
    text["text"] = text["tokens"][0]["text"] = text["stages"][1]["pieces"][0]["text"] = text["stages"][1]["name"] = EVIL
    report = make_report(one)
    report["corpus"] |= {"name": EVIL, "by": EVIL}
    report["split_words"] = [{"word": EVIL, "count": 1, "tokens": [[EVIL]]}]
    page = make_vocabulary_report(report)
    assert "<script" not in page
    guide = copy.deepcopy(GUIDE)
    guide["corpus"]["name"] = guide["model"]["family"] = EVIL
    assert "<script" not in make_vocabulary_guide(guide)


def test_curves_lie_inside_their_frames() -> None:
    """On logarithmic axes, too; every size has its point, from left to right."""
    charts = re.findall(r"<svg.*?</svg>", make_vocabulary_report(make_report()) + make_vocabulary_guide(GUIDE))
    assert len(charts) == 7
    for chart in charts:
        for line in ElementTree.fromstring(chart).findall("polyline"):
            points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
            assert len(points) == 3
            assert points == sorted(points)
            assert all(0 <= x <= 640 and 0 <= y <= 240 for x, y in points)
    assert "1,024" in charts[3]  # a size between the ends is named on the axis


def test_the_guide_marks_the_cheapest_size() -> None:
    """One row in bold, and all the numbers."""
    page = make_vocabulary_guide(GUIDE)
    assert re.findall(r'<tr class="best"><td class="number">([\d,]+)</td>', page) == ["1,024"]
    for shown in ("12,345", "262,144", "41%", "82%", "0.52", "2.50"):
        assert f"{shown}" in page


def test_best_is_said_where_it_can_be() -> None:
    """Where all are equal, or more is neither better nor worse, none is best."""
    facts = {name: best for name, _, best in list_facts([make_one("a", 40), make_one("b", 25)])}
    assert (facts["bytes a token"], facts["tokens"]) == (1, 1)
    assert facts["kind"] is facts["ids"] is facts["tokens a word"] is None
