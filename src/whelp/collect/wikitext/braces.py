"""The second pass: templates, tables and links, which nest in each other."""

from __future__ import annotations

import re
from collections import Counter
from typing import Literal

from whelp.collect.wikitext.links import Namespaces, show_link
from whelp.collect.wikitext.tables import Tables, show_table
from whelp.collect.wikitext.templates import expand_template, is_expanded

_MARKS = re.compile(r"\{\{+|\}\}+|\[\[|\]\]|\{\||\|\}+")  # all begin with a character: anchors are tried everywhere
_SIMPLE = re.compile(r"\{\{(?<!\{\{\{)([^{}|\[\]]*+)((?:\|[^{}\[\]]*+)?+)\}\}(?!\})")  # a template with nothing in it
_MARGINS = {"{": " \t:*#", "|": " \t:"}  # what may stand on its line before `{|` and `|}`
_MAX_DEPTH = 40  # MediaWiki's own limit; what lies deeper is left out, so that no page takes quadratic time
_BLANK_LINE = re.compile(r"\n[ \t]*\n")

Kind = Literal["template", "parameter", "link", "table"]


class _Nest:
    """What is open: for each, its kind and where its content begins in `pieces`."""

    def __init__(self, namespaces: Namespaces, counts: Counter[str], tables: Tables, language: str) -> None:
        self.pieces: list[str] = []
        self.frames: list[tuple[Kind, int]] = []
        self._namespaces, self._counts, self._tables, self._language = namespaces, counts, tables, language

    def open(self, kind: Kind) -> None:
        self.frames.append((kind, len(self.pieces)))

    def open_braces(self, num_braces: int) -> None:
        """Three are a parameter, two a template; more are a nest of those, the parameter innermost."""
        for _ in range(num_braces // 2 - num_braces % 2):
            self.open("template")
        if num_braces % 2:
            self.open("parameter")

    def close_braces(self, num_braces: int) -> None:
        """Close as many templates and parameters; braces that close nothing are left out."""
        while num_braces >= 2 and (kind := self._give_up_to("template", "parameter")):
            self.close()
            num_braces -= 3 if kind == "parameter" and num_braces > 2 else 2

    def close_link(self) -> None:
        """Close a link, unless a template or a table was opened since: then the brackets are left out."""
        if self.frames and self.frames[-1][0] == "link":
            self.close()

    def close_table(self, num_braces: int) -> None:
        """Read `|}`, `|}}`, ...: the end of a table, or of a template whose last argument is empty."""
        if num_braces > 1 and (not self.frames or self.frames[-1][0] != "table"):
            self.close_braces(num_braces)
        elif self._give_up_to("table"):
            self.close()
            self.close_braces(num_braces - 1)

    def _give_up_to(self, *kinds: Kind) -> Kind | None:
        """Forget what was opened since the last of these kinds and never closed; None when there is none."""
        for depth in range(len(self.frames) - 1, max(-1, len(self.frames) - 1 - _MAX_DEPTH), -1):
            if self.frames[depth][0] in kinds:
                del self.frames[depth + 1 :]
                return self.frames[depth][0]
        return None

    def close(self) -> None:
        """Replace the content of what was opened last by what readers see of it."""
        kind, start = self.frames.pop()
        is_too_deep = len(self.frames) >= _MAX_DEPTH
        if kind == "table" and self._tables == "rows" and not is_too_deep:
            self.pieces[start:] = [show_table("".join(self.pieces[start:]))]
            return
        if kind in ("template", "table"):
            self._counts[f"{kind}s"] += 1
        if kind == "table" or is_too_deep or (kind == "template" and not self._is_shown(start)):
            del self.pieces[start:]
            if kind == "table":
                self.pieces.append("\n")
            return
        content = "".join(self.pieces[start:])
        del self.pieces[start:]
        if kind == "link":
            self.pieces.append(show_link(content, self._namespaces, self._counts))
        elif kind == "template":
            self.pieces.append(expand_template(content, self._language))
        else:
            self.pieces.append(content.partition("|")[2])

    def _is_shown(self, start: int) -> bool:
        """Look at the name alone, where it stands in one piece: most templates are long, and leave nothing."""
        first = self.pieces[start] if start < len(self.pieces) else "|"
        return "|" not in first or is_expanded(first.partition("|")[0], self._language)

    def finish(self) -> str:
        """The whole text. What was never closed is left out up to the next blank line; of a table, its first line."""
        if not self.frames:
            return "".join(self.pieces)
        parts = self.pieces[: self.frames[0][1]]
        ends = [start for _, start in self.frames[1:]] + [len(self.pieces)]
        for (kind, start), end in zip(self.frames, ends, strict=True):
            content = "".join(self.pieces[start:end])
            if kind != "link":
                found = _BLANK_LINE.search(content) if kind != "table" else re.search("\n", content)
                content = content[found.start() :] if found else ""
            parts.append(content)
        return "".join(parts)


def _find_margin(text: str, position: int) -> int | None:
    """Where the line begins that a mark of a table begins; None when other text stands before it."""
    characters = _MARGINS[text[position]]
    while position and text[position - 1] in characters:
        position -= 1
    return None if position and text[position - 1] != "\n" else position


def _resolve_simple_templates(text: str, counts: Counter[str], language: str) -> str:
    """Those with nothing inside them, which are nearly all: a fifth of the time that a stack of open ones takes."""
    parts = _SIMPLE.split(text)
    names, arguments = parts[1::3], parts[2::3]
    if names:
        counts["templates"] += len(names)
    expanded = {name: is_expanded(name, language) for name in set(names)}
    for place, name in enumerate(names):
        parts[3 * place + 1] = expand_template(name + arguments[place], language) if expanded[name] else ""
        parts[3 * place + 2] = ""
    return "".join(parts)


def resolve_braces(
    text: str, namespaces: Namespaces, counts: Counter[str], tables: Tables = "drop", language: str = "en"
) -> str:
    """Replace templates and links by what readers see of them; remove files, categories, and tables if asked to."""
    text = _resolve_simple_templates(text, counts, language)
    nest = _Nest(namespaces, counts, tables, language)
    position = 0
    for match in _MARKS.finditer(text):
        start, end = match.span()
        mark = match[0]
        if "|" in mark:
            margin = _find_margin(text, start)
            if margin is not None:
                start = margin
            elif len(mark) < 3:
                continue
            else:  # the end of a template whose last argument is empty
                start, mark = start + 1, mark[1:]
        if start > position:
            nest.pieces.append(text[position:start])
        position = end
        if mark == "[[":
            nest.open("link")
        elif mark == "]]":
            nest.close_link()
        elif mark == "{|":
            nest.open("table")
        elif mark[0] == "{":
            nest.open_braces(len(mark))
        elif mark[0] == "}":
            nest.close_braces(len(mark))
        else:
            nest.close_table(len(mark) - 1)
    nest.pieces.append(text[position:])
    return nest.finish()
