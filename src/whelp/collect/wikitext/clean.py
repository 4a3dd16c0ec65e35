"""From the wikitext of a page to its text."""

from __future__ import annotations

import html
import re
from collections import Counter
from dataclasses import dataclass, field

from whelp.collect.wikitext.braces import resolve_braces
from whelp.collect.wikitext.lines import LINE_BREAK, Headings, lay_out
from whelp.collect.wikitext.links import Namespaces
from whelp.collect.wikitext.tables import BEGINNING, Tables, show_html_table
from whelp.collect.wikitext.tags import CONTROL, MARKS, Held, take_out_tags

_OUTER_ADDRESS = r"(?:https?:|ftp:|//|mailto:|news:|irc:)[^\s\[\]<>]*+(?:[ \t]++([^\[\]\n]*+))?+\]"
_OUTER_LINK = re.compile(rf"\[{_OUTER_ADDRESS}", re.IGNORECASE)
_LINK = (
    re.compile(  # to a page, with no colon in its name or no label: the others are read with the templates; or to an address
        r"\[(?:\[(?:([^\[\]{}|:#\n][^\[\]{}|:\n]*+)\]\]|[^\[\]{}|:\n]++\|([^\[\]{}|\n]++)\]\])|" rf"{_OUTER_ADDRESS})",
        re.IGNORECASE,
    )
)
_QUOTES = re.compile("'''''|'''|''")
_HTML_TABLE = re.compile(r"<(/?)table\b[^<>]*>", re.IGNORECASE)
_TAG = re.compile(r"</?([a-zA-Z]\w*)[^<>]*>")
_BLOCK_TAGS = "p div blockquote center poem ul ol dl li dt dd h1 h2 h3 h4 h5 h6 table tr caption section"
_SHOWN_TAGS = {  # what stands in the place of a tag; nothing in that of any other
    **dict.fromkeys(_BLOCK_TAGS.split(), "\n"),
    **dict.fromkeys(("br", "hr"), LINE_BREAK),
    **dict.fromkeys(("td", "th"), " "),
}
_POWER = re.compile(r"<sup\b[^<>]*>\s*([+\-−–]?[\w+\-−]{1,8})\s*</sup>", re.IGNORECASE)
_SWITCH = re.compile(r"__(?:[^\W\d_]+_?)+__")
_VARIANT = re.compile(r"-\{(?:[^{}|]*\|)?(?:[^{}:;]*:)?([^{}:;]*)[^{}]*\}-")
_EMPTY_BRACKETS = re.compile(r"\([ ,;:/–—-]*\)")
_AFTER_BRACKET = re.compile(r"\( ?(?:[,;:] ?)+")
_BEFORE_BRACKET = re.compile(r"[,;](?<![,;].)(?<![,;] .)[,; ]*\)")  # from the start of a run only: else quadratic
_TWO_MARKS = re.compile(r"([.,;:])(?<![ .].) [.,](?=\s|\Z)(?! ?\.)")
_COMMAS = re.compile(r",(?: ?,)+")
_SEMICOLONS = re.compile(r";(?<= ;)(?: ;)+ ?")  # what is left of `(a); (b); (c)` when all of them were templates
_STRAY = re.compile("[\x00\x01\x06-\x08\x0b\x0c\x0e-\x1f\x7f]")  # control characters that are no marks of the passes
_HOLE = re.compile(  # what each replacement of `_mend_line` needs; begins with what is rarer than a blank
    r"[.,;:()\x00-\x01\x06-\x08\x0b\x0c\x0e-\x1f\x7f](?:(?<=[ (,;/–—-][.,;:)])|(?<=\()(?= )|(?<=[\x00-\x1f\x7f]))"
)
_BEFORE_STOP = re.compile(r" \.(?<!\. \.)(?=\s|\Z)(?! ?\.)")  # begins with what is searched for fast
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
        language: Whose templates are known, beside those of the English Wikipedia, which others share: de, es, fr, it,
            ja, nl, pl, pt, ru, zh.
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
            text = CONTROL.sub("", text)
        if "<" in text:
            text = take_out_tags(text, held, counts, formulas=self.formulas)
        text = _show_groups(_LINK, text)
        text = resolve_braces(text, self.namespaces, counts, self.tables, self.language)
        text = _show_groups(_OUTER_LINK, "".join(_QUOTES.split(text)))
        text = _take_out_html(text, self.tables)
        if "__" in text:
            text = _SWITCH.sub(lambda match: "" if match[0].isupper() else match[0], text)
        if "{" in text and "-{" in text:  # one character is found ten times as fast as two
            text = _VARIANT.sub(r"\1", text)
        text = lay_out(_fill_holes(_unescape(text)), self.headings)
        return Cleaned(held.give_back(text).replace(BEGINNING, "").strip(), counts)


def _show_groups(pattern: re.Pattern[str], text: str) -> str:
    r"""Replace each match by its groups: what `sub(r"\1\2", text)` does, in half of the time."""
    return "".join(filter(None, pattern.split(text))) if "[" in text else text


def _take_out_html(text: str, tables: Tables) -> str:
    if "<" not in text:
        return text
    if "able" in text:
        text = _take_out_html_tables(text, tables)
    text = _POWER.sub(r"^\1", text)
    return _TAG.sub(_show_tag, text)


def _show_tag(match: re.Match[str]) -> str:
    return _SHOWN_TAGS.get(match[1].lower(), "")


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
        text = html.unescape(text.replace("&thinsp;", " "))
    return _join_blanks(text.replace("\xa0", " ").replace("\t", " "))


def _join_blanks(text: str) -> str:
    """Every run of blanks becomes one, but at the very end none: by `split`, which looks at the text once, and faster than a pattern."""
    first, *others = text.split("  ")
    return " ".join((first, *filter(None, (part.lstrip(" ") for part in others)))) if others else text


def _fill_holes(text: str) -> str:
    """Mend what removed templates leave inside sentences: `A ( , b) , c .` becomes `A (b), c.`; remove control characters."""
    parts: list[str] = []
    position = 0
    for match in _HOLE.finditer(text):
        if match.start() < position:
            continue  # on a line that is mended already
        start = text.rfind("\n", position, match.start()) + 1 or position
        end = text.find("\n", match.end()) + 1 or len(text)
        parts += (text[position:start], _mend_line(text[start:end]))
        position = end
    parts.append(text[position:])
    return "".join(parts)


def _mend_line(line: str) -> str:
    line = _STRAY.sub("", line)
    for _ in range(_MAX_PASSES):
        line, count = _EMPTY_BRACKETS.subn("", line)
        if not count:
            break
    line = _SEMICOLONS.sub("", _TWO_MARKS.sub(r"\1", _join_blanks(line)))
    line = line.replace(" , ", ", ").replace(" ,\n", ",\n")
    line = _AFTER_BRACKET.sub("(", _BEFORE_STOP.sub(".", line))
    line = line.replace("( ", "(").replace(" )", ")")
    return _COMMAS.sub(",", _BEFORE_BRACKET.sub(")", line))
