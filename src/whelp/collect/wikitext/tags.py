"""The first pass: comments, and tags whose content is not wikitext."""

from __future__ import annotations

import re
from collections import Counter

_REMOVED = (  # with their content
    "ref|references|gallery|timeline|hiero|score|graph|mapframe|maplink|templatedata|templatestyles|imagemap|inputbox|"
    "categorytree|indicator|includeonly|style|script"
)
_CODE = "pre|source|syntaxhighlight"
_FORMULAS = "math|chem|ce"
_NAMES = f"{_REMOVED}|nowiki|{_CODE}|{_FORMULAS}"
_OPENING = re.compile(  # first a whole reference with no tag inside: most are
    rf"<(?:ref(?:\s[^<>]*+(?<!/))?+>[^<]*+</ref\s*>()|!--|(/?)((?i:{_NAMES}))(?=[\s/>])([^<>]*+)>)"
)
_CLOSING = {name: re.compile(rf"</{name}\s*>", re.IGNORECASE) for name in _NAMES.split("|")}
_KINDS = {
    **dict.fromkeys(_REMOVED.split("|"), "removed"),
    **dict.fromkeys(_CODE.split("|"), "code"),
    **dict.fromkeys(_FORMULAS.split("|"), "formula"),
    "nowiki": "nowiki",
}
_REST_OF_LINE = re.compile(r"[ \t]*(?:\n|\Z)")
MARKS = "\x02\x03\x04\x05"  # of the passes: around the number of a held text, for a line break, where a table begins
CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_HELD = re.compile("\x02(\\d+)\x03")
_BLANK = re.compile(r"\s+")


class Held:
    """Text that later passes must not touch: they see a mark in its place."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def hold(self, text: str) -> str:
        """The mark for a text."""
        self._texts.append(CONTROL.sub("", text))
        return f"\x02{len(self._texts) - 1}\x03"

    def give_back(self, text: str) -> str:
        """The text with every mark replaced by what it stands for."""
        return _HELD.sub(lambda match: self._texts[int(match[1])], text) if self._texts else text


def take_out_tags(text: str, held: Held, counts: Counter[str], *, formulas: bool) -> str:
    """Remove comments, references and what draws; hold code, formulas and text that says it is no wikitext.

    A tag that is never closed is itself removed, and nothing after it.
    """
    parts: list[str] = []
    position = num_references = 0
    unclosed: set[str] = set()  # never looked for again: else many of them would take quadratic time
    while (match := _OPENING.search(text, position)) is not None:
        start, end = match.span()
        parts.append(text[position:start])
        position = end
        if match.lastindex == 1:
            num_references += 1
            continue
        if match.lastindex is None:
            position = _after_comment(text, start, end)
            continue
        slash, name, attributes = match[2], match[3].lower(), match[4]
        if slash or attributes.endswith("/") or name in unclosed:
            num_references += name == "ref" and not slash
            continue
        closing = _CLOSING[name].search(text, position)
        if closing is None:
            unclosed.add(name)
            continue
        parts.append(_replace(name, text[position : closing.start()], held, counts, formulas=formulas))
        position = closing.end()
    parts.append(text[position:])
    if num_references:
        counts["references"] += num_references
    return "".join(parts)


def _after_comment(text: str, start: int, end: int) -> int:
    """Where text goes on after a comment; one that has a line to itself takes the line with it."""
    closing = text.find("-->", end)
    if closing < 0:
        return len(text)
    position = closing + 3
    line_start = text.rfind("\n", max(0, start - 100), start) + 1
    rest = _REST_OF_LINE.match(text, position)
    is_alone = rest is not None and (line_start > 0 or start == 0) and not text[line_start:start].strip()
    return rest.end() if is_alone and rest is not None else position


def _replace(name: str, content: str, held: Held, counts: Counter[str], *, formulas: bool) -> str:
    kind = _KINDS[name]
    if kind == "removed":
        counts["references" if name == "ref" else "galleries and drawings"] += 1
        return ""
    if kind == "formula":
        formula = _BLANK.sub(" ", content).strip()
        if formulas and formula:
            return held.hold(f"${formula}$")
        counts["formulas"] += 1
        return ""
    if kind == "code":
        return "\n\n" + held.hold(content.strip("\n")) + "\n\n" if content.strip() else ""
    return held.hold(content)
