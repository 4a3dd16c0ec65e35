"""From the wikitext of a page to its text."""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass, field

from whelp.collect.wikitext.braces import resolve_braces
from whelp.collect.wikitext.lines import LINE_BREAK, Headings, lay_out
from whelp.collect.wikitext.links import Namespaces
from whelp.collect.wikitext.tables import Tables, show_html_table
from whelp.collect.wikitext.tags import MARKS, Held, take_out_tags

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_PLAIN_LINK = re.compile(r"\[\[(?:([^\[\]{}|:#\n][^\[\]{}|:\n]*)|[^\[\]{}|:\n]+\|([^\[\]{}|\n]+))\]\]")
_QUOTES = re.compile("'''''|'''|''")
_OUTER_LINK = re.compile(r"\[(?:https?:|ftp:|//|mailto:|news:|irc:)[^\s\[\]<>]*(?:[ \t]+([^\[\]\n]*))?\]", re.IGNORECASE)
_LINE_TAG = re.compile(r"<(?:br|hr)\b[^<>]*>|</br>", re.IGNORECASE)
_BLOCK_TAG = re.compile(
    r"</?(?:p|div|blockquote|center|poem|ul|ol|dl|li|dt|dd|h[1-6]|table|tr|caption|section)\b[^<>]*>", re.IGNORECASE
)
_TABLE_CELL = re.compile(r"</?(?:td|th)\b[^<>]*>", re.IGNORECASE)
_HTML_TABLE = re.compile(r"<(/?)table\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_POWER = re.compile(r"<sup\b[^<>]*>\s*([+\-−–]?[\w+\-−]{1,8})\s*</sup>", re.IGNORECASE)
_SWITCH = re.compile(r"__(?:[^\W\d_]+_?)+__")
_VARIANT = re.compile(r"-\{(?:[^{}|]*\|)?(?:[^{}:;]*:)?([^{}:;]*)[^{}]*\}-")
_COMMON_ENTITIES = (("&nbsp;", " "), ("&ndash;", "–"), ("&mdash;", "—"), ("&thinsp;", " "))
_EMPTY_BRACKETS = re.compile(r"\([ ,;:/–—-]*\)")
_AFTER_BRACKET = re.compile(r"\( ?(?:[,;:] ?)+")
_BEFORE_BRACKET = re.compile(r"[,;](?<![,;].)(?<![,;] .)[,; ]*\)")  # from the start of a run only: else quadratic
_TWO_MARKS = re.compile(r"([.,;:])(?<![ .].) [.,](?=\s|\Z)(?! ?\.)")
_COMMAS = re.compile(r",(?: ?,)+")
_BEFORE_STOP = re.compile(r" \.(?<!\. \.)(?=\s|\Z)(?! ?\.)")  # begins with what is searched for fast
_BLANKS = re.compile("  +")
_MAX_PASSES = 3  # over holes in holes: "((, ))"


@dataclass(frozen=True)
class Cleaned:
    """The text of a page, and how many templates, tables, references, files ... were taken out."""

    text: str
    counts: Counter[str]


@dataclass(frozen=True, kw_only=True)
class Wikitext:
    """Turns wikitext into text.

    Attributes:
        namespaces: What the wiki calls files and categories.
        headings: How headings look: `Title` (plain), `== Title ==` (wiki), `## Title` (markdown), or left out (none).
        formulas: Keep formulas, as TeX between dollar signs.
        tables: Leave tables out (drop), or make each a paragraph with a line for each row, `cell | cell` (rows).
        language: Whose templates are known, beside those of the English Wikipedia, which others share: de, fr, es, ja.
    """

    namespaces: Namespaces = field(default_factory=Namespaces.make)
    headings: Headings = "plain"
    formulas: bool = True
    tables: Tables = "drop"
    language: str = "en"

    def clean(self, wikitext: str) -> Cleaned:
        """Make the text of a page: paragraphs separated by one blank line, headings and list items kept.

        >>> Wikitext().clean("The '''whelp''' is a [[dog|young dog]].<ref>A book.</ref>\\n\\n== Food ==\\n* milk").text
        'The whelp is a young dog.\\n\\nFood\\n\\n- milk'
        """
        counts: Counter[str] = Counter()
        held = Held()
        text = wikitext.replace("\r\n", "\n") if "\r" in wikitext else wikitext
        if any(mark in text for mark in MARKS):
            text = _CONTROL.sub("", text)
        if "<" in text:
            text = take_out_tags(text, held, counts, formulas=self.formulas)
        text = _show_groups(_OUTER_LINK, _show_groups(_PLAIN_LINK, text))
        text = resolve_braces(text, self.namespaces, counts, self.tables, self.language)
        text = _show_groups(_OUTER_LINK, _QUOTES.sub("", text))
        text = _take_out_html(text, self.tables)
        if "__" in text:
            text = _SWITCH.sub(lambda match: "" if match[0].isupper() else match[0], text)
        if "-{" in text:
            text = _VARIANT.sub(r"\1", text)
        text = lay_out(_fill_holes(_unescape(text)), self.headings)
        return Cleaned(_CONTROL.sub("", held.give_back(text)).strip(), counts)


def _show_groups(pattern: re.Pattern[str], text: str) -> str:
    r"""Replace each match by its groups: what `sub(r"\1\2", text)` does, in half of the time."""
    return "".join(filter(None, pattern.split(text)))


def _take_out_html(text: str, tables: Tables) -> str:
    if "<" not in text:
        return text
    if "able" in text:
        text = _take_out_html_tables(text, tables)
    text = _POWER.sub(r"^\1", text)
    text = _LINE_TAG.sub(LINE_BREAK, text)
    text = _BLOCK_TAG.sub("\n", text)
    return _TAG.sub("", _TABLE_CELL.sub(" ", text))


def _take_out_html_tables(text: str, tables: Tables) -> str:
    """Remove tables written in HTML, or make rows of them; one that is never closed loses its tags only."""
    parts: list[str] = []
    position = depth = start = 0
    for match in _HTML_TABLE.finditer(text):
        if not match[1]:
            if depth == 0:
                start = match.start()
            depth += 1
        elif depth:
            depth -= 1
            if depth == 0:
                parts.append(text[position:start])
                if tables == "rows":
                    parts.append(show_html_table(text[start : match.start()]))
                position = match.end()
    parts.append(text[position:])
    return "\n".join(parts)


def _unescape(text: str) -> str:
    """Entities become characters; every run of blanks becomes one."""
    if "&" in text:
        for entity, character in _COMMON_ENTITIES:  # `html.unescape` calls a function for each
            text = text.replace(entity, character)
        text = html.unescape(text)
    return _join_blanks(text.replace("\xa0", " ").replace("\t", " "))


def _join_blanks(text: str) -> str:
    return _BLANKS.sub(" ", text) if "  " in text else text


def _fill_holes(text: str) -> str:
    """Mend what removed templates leave inside sentences: `A ( , b) , c .` becomes `A (b), c.`

    Plain replacements where they do: a pattern that begins with a blank is tried at every word.
    """
    for _ in range(_MAX_PASSES):
        text, count = _EMPTY_BRACKETS.subn("", text)
        if not count:
            break
    if " ." in text or " ," in text:
        text = _TWO_MARKS.sub(r"\1", _join_blanks(text))
        text = text.replace(" , ", ", ").replace(" ,\n", ",\n")
        if " ." in text:
            text = _BEFORE_STOP.sub(".", text)
    text = _AFTER_BRACKET.sub("(", text)
    text = text.replace("( ", "(").replace(" )", ")")
    if ",)" in text or ";)" in text:
        text = _BEFORE_BRACKET.sub(")", text)
    text = _COMMAS.sub(",", text)
    return _join_blanks(text)
