"""Text to documents: against slow, obvious versions."""

from __future__ import annotations

import random
import re

import pytest

from whelp.corpus.document_splitters import (
    BlankLineSplitter,
    FileSplitter,
    LineSplitter,
    PatternTooLong,
    RegexSplitter,
    Splitter,
    iter_documents,
)

Row = tuple[str, int]


def run(text: str, splitter: Splitter, block_characters: int = 1 << 20) -> list[Row]:
    """Split; return (text, line) of every document with text in it."""
    blocks = [text[start : start + block_characters].encode() for start in range(0, len(text), block_characters)]
    rows: list[Row] = []
    for documents in iter_documents(blocks, splitter):
        triples = zip(documents.texts.to_pylist(), documents.lines.tolist(), documents.offsets.tolist(), strict=True)
        for (document, line, offset), is_empty in zip(triples, documents.is_empty.tolist(), strict=True):
            assert text.encode()[offset : offset + len(document.encode())].decode() == document
            assert is_empty == (not document.strip())
            if not is_empty:
                rows.append((document, line))
    return rows


def slow_lines(text: str) -> list[Row]:
    """Each line."""
    return [(line, number) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def slow_blank_lines(text: str) -> list[Row]:
    """Each run of lines that are not blank."""
    rows: list[list[str]] = []
    starts: list[int] = []
    is_open = False
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip(" \t\r\f\v"):
            is_open = False
        elif is_open:
            rows[-1].append(line)
        else:
            rows.append([line])
            starts.append(number)
            is_open = True
    return [("\n".join(lines), start) for lines, start in zip(rows, starts, strict=True) if "\n".join(lines).strip()]


def slow_regex(text: str, pattern: str) -> list[Row]:
    """What stands between matches."""
    rows, start = [], 0
    bounds = [match.span() for match in re.finditer(pattern, text)]
    for match_start, match_end in [*bounds, (len(text), len(text))]:
        document = text[start:match_start]
        if document.strip():
            rows.append((document, text.count("\n", 0, start) + 1))
        start = match_end
    return rows


def make_text(seed: int) -> str:
    """Make text full of line ends, blanks and wide characters."""
    draw = random.Random(seed)
    return "".join(draw.choices(["a", "bc", "é", "日本", "🐕", " ", "\t", "\n", "\n\n", "\r\n", "---\n", "\f", "\n \n"], k=200))


BLOCKS = [1, 2, 3, 10, 100, 1 << 20]
EDGES = [
    "",
    "\n",
    "\n\n\n",
    "a",
    "a\n",
    "\na",
    "\n\na\n\n",
    "  \n\n  a\n b\n\t\nc",
    "a\n\n\n\nb\n\n",
    "a\n   ",
    "   \na",
    "\r\n\r\na\r\n",
]
TEXTS = [*EDGES, *(make_text(seed) for seed in range(12))]


@pytest.mark.parametrize("block_characters", BLOCKS)
def test_lines(block_characters: int) -> None:
    """Lines and their numbers equal the slow version, for every size of block."""
    for text in TEXTS:
        assert run(text, LineSplitter(), block_characters) == slow_lines(text)


@pytest.mark.parametrize("block_characters", BLOCKS)
def test_blank_lines(block_characters: int) -> None:
    """Paragraphs and their numbers equal the slow version, for every size of block."""
    for text in TEXTS:
        assert run(text, BlankLineSplitter(), block_characters) == slow_blank_lines(text)


@pytest.mark.parametrize("tail", ["", "\n", " ", " \n"])
def test_many_lines_with_white_space_at_both_ends(tail: str) -> None:
    """Some of them are blank, some are not."""
    text = "".join(f" {draw} \n" for draw in random.Random(3).choices(["", " ", "\t", "a", "é b"], k=900)) + tail
    assert run(text, BlankLineSplitter(), 10_000) == slow_blank_lines(text)


@pytest.mark.parametrize("block_characters", BLOCKS)
@pytest.mark.parametrize("pattern", [r"\n{2,}", r"---\n", r"(?m)^---$", r"\b(a|bc)\b", r"(\n)(\s*)", "é"])
def test_regex(pattern: str, block_characters: int) -> None:
    """Separators, groups and anchors work as in one search over the whole text, for every size of block."""
    for text in TEXTS:
        expected = slow_regex(text, pattern.replace("$", "(?=\n|\\Z)") if "(?m)" not in pattern else pattern)
        if r"\b" in pattern:  # a word of RE2 is ASCII
            expected = slow_regex(text, "(?a)" + pattern)
        for horizon_bytes in (0, 64, 1 << 16):
            try:
                found = run(text, RegexSplitter(pattern, horizon_bytes), block_characters)
            except PatternTooLong:
                assert horizon_bytes == 0
                continue
            if horizon_bytes:
                assert found == expected


def test_regex_that_depends_on_too_much_text_is_refused() -> None:
    """A final match that grows when more text comes is an error, never another result."""
    with pytest.raises(PatternTooLong):
        run("x<" + "-" * 50 + ">y" * 40, RegexSplitter("<(-*>)?", horizon_bytes=8), block_characters=10)


@pytest.mark.parametrize("block_characters", BLOCKS)
def test_file(block_characters: int) -> None:
    """A whole file comes back exactly."""
    for text in TEXTS:
        assert run(text, FileSplitter(), block_characters) == ([(text, 1)] if text.strip() else [])


@pytest.mark.parametrize("splitter", [LineSplitter, BlankLineSplitter])
def test_nothing_but_separators_is_lost(splitter: type[Splitter]) -> None:
    """Documents put back between the gaps give the text; a gap holds white space only."""
    for text in TEXTS:
        rebuilt, end = b"", 0
        content = text.encode()
        for documents in iter_documents([content], splitter()):
            for document, offset in zip(documents.texts.to_pylist(), documents.offsets.tolist(), strict=True):
                gap = content[end:offset]
                assert not gap.strip(b" \t\r\n\f\v"), gap
                rebuilt += gap + document.encode()
                end = len(rebuilt)
        assert not content[end:].strip(b" \t\r\n\f\v")
        assert rebuilt + content[end:] == content
