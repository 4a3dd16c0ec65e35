r"""Clean the plain text that MediaWiki makes of an article.

Its headings come as `== Name ==`; sections that held only a list of references are left as headings without text; a formula
comes twice, letter by letter on lines of its own, then as `{\displaystyle ...}`.
"""

from __future__ import annotations

import re

_HEADING = re.compile(r"^(={2,6})\s*(.*?)\s*\1\s*$")
_FORMULA = re.compile(r"\{\\(?:displaystyle|textstyle|scriptstyle) ?")

_GAP = re.compile(r"[ \t]*\n[ \t]+\n?|[ \t]+")

END_MATTER = frozenset(
    {
        *("references", "notes", "footnotes", "citations", "sources", "bibliography", "further reading", "external links"),
        *("see also", "notes and references", "works cited", "einzelnachweise", "weblinks", "literatur", "siehe auch"),
        *("références", "notes et références", "liens externes", "voir aussi", "bibliographie", "articles connexes"),
        *("referencias", "enlaces externos", "véase también", "bibliografía", "note", "voci correlate", "collegamenti esterni"),
    }
)
"""Headings of sections that hold lists of other texts, in English, German, French, Spanish and Italian."""


def clean_extract(text: str, *, dropped: frozenset[str] = END_MATTER) -> str:
    r"""Headings and paragraphs, one blank line between them.

    Args:
        dropped: Headings, in lower case, of sections that are left out with all that is below them.

    >>> clean_extract("A dog.\nIt barks.\n\n\n== Names ==\nMany.\n\n\n== Kinds ==\n\n\n== Notes ==\nBarker.\n=== Books ===\nOne.")
    'A dog.\n\nIt barks.\n\nNames\n\nMany.'
    """
    blocks: list[str] = []
    headings: list[tuple[int, str]] = []  # not yet followed by text
    dropped_level: int | None = None
    for line in _join_formulas(text).split("\n"):
        match = _HEADING.match(line)
        if match is not None:
            level, name = len(match[1]), match[2]
            if dropped_level is None or level <= dropped_level:
                dropped_level = level if name.lower() in dropped else None
            headings = [heading for heading in headings if heading[0] < level]
            headings.append((level, name))
        elif line.strip() and dropped_level is None:
            blocks.extend(name for _, name in headings if name)
            headings = []
            blocks.append(line.strip())
    return "\n\n".join(blocks)


def _join_formulas(text: str) -> str:
    """Put each formula back into its sentence, once, between dollar signs."""
    parts: list[str] = []
    done = 0
    while (match := _FORMULA.search(text, done)) is not None:
        end = _closing_brace(text, match.start())
        if end is None:
            break
        parts.append(_drop_letters(text[done : match.start()]))
        parts.append(f"${text[match.end() : end].strip()}$")
        done = end + 1
        gap = _GAP.match(text, done)
        if gap is not None:
            done = gap.end()
            parts.append("" if text[done : done + 1] in ".,;:)" else " ")
    return "".join([*parts, text[done:]])


def _drop_letters(before: str) -> str:
    """Cut the indented lines that spell the formula to come."""
    lines = before.split("\n")
    while len(lines) > 1 and (not lines[-1].strip() or lines[-1].startswith("  ")):
        lines.pop()
    sentence = "\n".join(lines)
    return f"{sentence.rstrip(' ')} " if sentence.strip() and not sentence.endswith("(") else sentence


def _closing_brace(text: str, start: int) -> int | None:
    depth = 0
    for place in range(start, min(len(text), start + 20_000)):
        if text[place] in "{}" and text[place - 1] != "\\":
            depth += 1 if text[place] == "{" else -1
            if depth == 0:
                return place
    return None
