"""Gopher's, C4's and FineWeb's rules decide as datatrove's filters do, given the same words and sentences."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from whelp.curate.config import C4Config, FineWebConfig, GopherQualityConfig, PersonalDataConfig, RepetitionConfig
from whelp.curate.rules.c4 import C4, count_sentences
from whelp.curate.rules.fineweb import FineWeb
from whelp.curate.rules.gopher_quality import GopherQuality
from whelp.curate.rules.outcome import Rule
from whelp.curate.rules.personal_data import PersonalData
from whelp.curate.rules.repetition import Repetition
from whelp.curate.texts import iter_blocks

from .samples import iter_random_texts, list_words, make_array, read_library

pytest.importorskip("datatrove", reason="needs datatrove: pip install datatrove")
from datatrove.data import Document
from datatrove.pipeline.filters import (
    C4QualityFilter,
    FineWebQualityFilter,
    GopherQualityFilter,
    GopherRepetitionFilter,
    c4_filters,
    fineweb_quality_filter,
    gopher_quality_filter,
    gopher_repetition_filter,
)

SHARED = Path(__file__).parents[2].parent / "shared" / "data"
REASONS = {
    "empty": "empty",
    "repeated paragraphs": "dup_para_frac",
    "characters in repeated paragraphs": "dup_para_char_frac",
    "repeated lines": "dup_line_frac",
    "characters in repeated lines": "dup_line_char_frac",
    **{f"one run of {size} words": f"top_{size}_gram" for size in range(2, 5)},
    **{f"repeated runs of {size} words": f"duplicated_{size}_n_grams" for size in range(5, 11)},
    "few words": "gopher_short_doc",
    "many words": "gopher_long_doc",
    "short words": "gopher_below_avg_threshold",
    "long words": "gopher_above_avg_threshold",
    "many #": "gopher_too_many_hashes",
    "many ellipses": "gopher_too_many_ellipsis",
    "bullets": "gopher_too_many_bullets",
    "lines that end with an ellipsis": "gopher_too_many_end_ellipsis",
    "words without letters": "gopher_below_alpha_threshold",
    "few stop words": "gopher_enough_stop_words",
    "lines without an end": "line_punct_ratio",
    "short lines": "short_line_ratio",
    "newlines": "list_ratio",
    "few sentences": "too_few_sentences",
    "lorem ipsum": "lorem_ipsum",
    "curly bracket": "curly_bracket",
}


@pytest.fixture(autouse=True)
def same_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """Datatrove takes spaCy's words; here it is handed ours, so that the rules are compared and not the words."""
    for module in (gopher_quality_filter, gopher_repetition_filter, fineweb_quality_filter):
        monkeypatch.setattr(module, "split_into_words", lambda text, language=None: list_words(text))
    monkeypatch.setattr(
        c4_filters, "split_into_sentences", lambda line, language=None: ["one"] * int(count_sentences(make_array([line]))[0])
    )


def apply_ours(rule: Rule, texts: list[str]) -> Iterator[tuple[str | None, str | None]]:
    """For each text the reason, or None, and the text as the rule changed it."""
    for block in iter_blocks(make_array(texts)):
        outcome = rule.apply(block)
        changed = [None] * len(block) if outcome.texts is None else outcome.texts.to_pylist()
        for code, text in zip(outcome.codes.tolist(), changed, strict=True):
            yield (None if code < 0 else outcome.reasons[code]), text


def apply_theirs(rule: Any, text: str) -> tuple[str | None, str]:
    """The reason, or None, and the text as the filter changed it."""
    document = Document(text=text, id="0")
    answer = rule.filter(document)
    return (None if answer is True else answer[1]), document.text


def compare(ours: Rule, theirs: Any, texts: list[str], names: dict[str, str] | None = None) -> set[str | None]:
    """Assert the same decisions for the same reasons; return the reasons that came up."""
    found: set[str | None] = set()
    names = REASONS | (names or {})
    for text, (reason, changed) in zip(texts, apply_ours(ours, texts), strict=True):
        expected, expected_text = apply_theirs(theirs, text)
        assert (None if reason is None else names.get(reason, reason)) == expected, text[:300]
        if expected is None and changed is not None:
            assert changed == expected_text
        found.add(expected)
    return found


def list_texts() -> list[str]:
    """Random texts, code, and prose and other languages where there are such."""
    texts = [text for group in iter_random_texts(3, 150) for text in group if text.strip()]
    texts += read_library(12, 8_000)
    for path in sorted(SHARED.glob("books/*.txt"))[:3] + sorted(SHARED.glob("multilingual/udhr/*.txt"))[::6]:
        text = path.read_text(encoding="utf-8", errors="replace")
        texts += [text[first : first + 3000] for first in range(0, min(len(text), 24_000), 3000)]
    return texts


TEXTS = list_texts()


def test_repetition() -> None:
    """Every share, also where only the exact count decides."""
    found = compare(Repetition(RepetitionConfig()), GopherRepetitionFilter(), TEXTS)
    assert {None, "dup_line_frac", "dup_line_char_frac", "top_2_gram", "duplicated_5_n_grams"} <= found
    strict = RepetitionConfig(top_ngrams=[0.02, 0.02, 0.02], duplicate_ngrams=[0.02, 0.01, 0.005])
    theirs = GopherRepetitionFilter(
        top_n_grams=((2, 0.02), (3, 0.02), (4, 0.02)), dup_n_grams=((5, 0.02), (6, 0.01), (7, 0.005))
    )
    found = compare(Repetition(strict), theirs, read_library(25, 8_000))
    assert {"top_2_gram", "duplicated_5_n_grams"} <= found


def test_quality() -> None:
    """Gopher's bounds, symbols counted as words."""
    ours = GopherQuality(GopherQualityConfig(symbols_are_words=True))
    assert {None, "gopher_short_doc", "gopher_below_alpha_threshold"} <= compare(ours, GopherQualityFilter(), TEXTS) | {None}
    loose = GopherQualityConfig(symbols_are_words=True, min_words=2, min_mean_word_length=1, max_symbols_per_word=0.2)
    theirs = GopherQualityFilter(min_doc_words=2, min_avg_word_length=1, max_symbol_word_ratio=0.2)
    found = compare(GopherQuality(loose), theirs, TEXTS)
    assert {"gopher_too_many_hashes", "gopher_too_many_ellipsis", "gopher_enough_stop_words"} <= found


def test_bullets_and_ellipses() -> None:
    """Lines are looked at without the white space around them."""
    words = " ".join(f"the dog and cat{number}" for number in range(15))
    texts = ["\n".join(f"  {sign} {words}" for _ in range(9)) + f"\n{words}" for sign in ("•", "-", "*", "--")] + [
        "\n".join(f"{words} {end}" for _ in range(5)) for end in ("... ", "…", "..", ". . .")
    ]
    texts += ["\n".join([f"- {words}"] * 10), "\n".join([f"•{words}"] * 12)]
    found = compare(GopherQuality(GopherQualityConfig(symbols_are_words=True)), GopherQualityFilter(), texts)
    assert {"gopher_too_many_bullets", "gopher_too_many_end_ellipsis", None} <= found


def test_fineweb() -> None:
    """Ends of sentences of all scripts, short lines, repeated lines, newlines."""
    texts = [*TEXTS, "a。\nb！\n" * 3, "x" * 31 + "?\n" + "y" * 31 + "।"]
    texts.append("\n".join(f"{number}" * 40 + "." for number in range(1, 9)))
    names = {"characters in repeated lines": "char_dup_ratio"}
    found = compare(FineWeb(FineWebConfig()), FineWebQualityFilter(), texts, names)
    assert {None, "line_punct_ratio", "short_line_ratio", "char_dup_ratio", "list_ratio"} <= found


def test_c4() -> None:
    """The same documents, and the same lines of those that stay."""
    page = 'A sentence of many words [1]. Another one follows it here.\n  He said "no" to it, then left!  \nMenu\nUse cookies now, please do.\n'
    texts = [
        *TEXTS,
        page * 3,
        page + "We turn javascript on for you.\n" * 2 + "x" * 1001 + " is a word.",
        page * 3 + "So {x} it is.",
    ]
    texts += [page * 3 + "Here is Lorem Ipsum again.", page * 2 + "This goes on and on...\r\nIt ends well[edit]."]
    found = compare(C4(C4Config()), C4QualityFilter(), texts)
    assert {None, "too_few_sentences"} <= found
    open_ended = compare(C4(C4Config(end_punctuation=False)), C4QualityFilter(filter_no_terminal_punct=False), texts)
    assert None in open_ended


def test_e_mail_and_ip_addresses() -> None:
    """The same are found; ours leaves numbers that only begin like an address."""
    from datatrove.pipeline.formatters.pii import PIIFormatter

    config = PersonalDataConfig(email="MAIL", ip="IP", phone=None)
    theirs = PIIFormatter(email_replacement="MAIL", ip_replacement="IP")
    texts = ["write to a.b+c@mail.example.org, or x@y.co!", "at 8.8.8.8 and 192.168.0.1, not 300.1.1.1 or @name"]
    texts += ["version 1.2.3.4.5", *read_library(40)]
    ours = [changed or text for text, (_, changed) in zip(texts, apply_ours(PersonalData(config), texts), strict=True)]
    assert ours[0] == "write to MAIL, or MAIL!"
    assert ours[1] == "at IP and 192.168.0.1, not 300.1.1.1 or @name"
    assert ours[2] == "version 1.2.3.4.5"
    assert theirs.format(texts[2]) != texts[2]
    same = [made == theirs.format(text) for text, made in zip(texts, ours, strict=True)]
    assert [number for number, is_same in enumerate(same) if not is_same] == [2]
