"""Templates that stand for words inside sentences. All others leave nothing.

Without these, sentences have holes: "an area of  and a population of ". Names are those of the English Wikipedia, which
many other wikis share; those of some others are in `templates_by_language.py`.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable

from whelp.collect.wikitext.templates_by_language import make_expanders

Expand = Callable[[list[str], dict[str, str]], str]  # arguments by place, arguments by name

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_NAMED = re.compile(r"\s*([^=<>\[\]{}\n]{1,40}?)\s*=(.*)", re.DOTALL)
_SPEAKERS = re.compile(r"(?i:uk|us|also|lang|local|icon|pron|audio|small|small|general|en|au|aus|nz|ca|can|ie)[\w-]*\Z|,")
_UNITS = {
    "sqmi": "sq mi", "sqkm": "km²", "km2": "km²", "m2": "m²", "sqft": "sq ft", "sqm": "m²", "m3": "m³", "km3": "km³",
    "C": "°C", "F": "°F", "K": "K", "lb": "lb", "lbs": "lb", "ft": "feet", "in": "inches", "mi": "miles", "km": "km",
    "acre": "acres", "ha": "hectares", "nmi": "nautical miles", "kn": "knots", "t": "tonnes", "ST": "short tons",
    "LT": "long tons", "yd": "yards", "mph": "mph", "ftin": "feet", "USgal": "US gallons", "cuft": "cu ft", "km/h": "km/h",
    "m": "m", "cm": "cm", "mm": "mm", "kg": "kg", "g": "g", "kph": "km/h",
}  # fmt: skip
_RANGES = {"to": " to ", "-": "–", "–": "–", "and": " and ", "x": " × ", "by": " by ", "or": " or "}


def _nothing(place: list[str], named: dict[str, str]) -> str:
    return ""


def _argument(number: int, *names: str) -> Expand:
    """Show one argument, counted from 1, or else one by name."""

    def expand(place: list[str], named: dict[str, str]) -> str:
        if len(place) >= number and place[number - 1].strip():
            return place[number - 1]
        return next((named[name] for name in names if named.get(name, "").strip()), "")

    return expand


def _last(place: list[str], named: dict[str, str]) -> str:
    return next((text for text in reversed(place) if text.strip()), "")


def _label(place: list[str], named: dict[str, str]) -> str:
    """A second argument is shown in place of the first."""
    return next((text for text in (*place[1:2], *place[:1]) if text.strip()), "")


def _text(text: str) -> Expand:
    return lambda place, named: text


def _around(before: str, after: str = "") -> Expand:
    return lambda place, named: f"{before}{place[0].strip()}{after}" if place and place[0].strip() else ""


def _joined(separator: str) -> Expand:
    return lambda place, named: separator.join(text.strip() for text in place if text.strip())


def _block(*names: str) -> Expand:
    """A paragraph of its own, which begins a line of its own."""

    def expand(place: list[str], named: dict[str, str]) -> str:
        text = next((named[name] for name in names if named.get(name, "").strip()), place[0] if place else "")
        return f"\n\n{text.strip()}\n\n" if text.strip() else ""

    return expand


def _bullets(place: list[str], named: dict[str, str]) -> str:
    return "".join(f"\n* {text.strip()}" for text in place if text.strip()) + "\n"


def _convert(place: list[str], named: dict[str, str]) -> str:
    """`5|km|mi` -> `5 km`; `5|to|7|km` -> `5 to 7 km`; `5|ft|11|in` -> `5 feet 11 inches`. The conversion is left out."""
    words = [text.strip() for text in place]
    if len(words) < 2:
        return "".join(words)
    if words[1] in _RANGES and len(words) >= 4:
        return f"{words[0]}{_RANGES[words[1]]}{words[2]} {_UNITS.get(words[3], words[3])}"
    if len(words) >= 4 and words[2][:1].isdigit() and words[3] in ("in", "oz", "lb"):
        return f"{words[0]} {_UNITS.get(words[1], words[1])} {words[2]} {_UNITS.get(words[3], words[3])}"
    return f"{words[0]} {_UNITS.get(words[1], words[1])}"


def _fraction(place: list[str], named: dict[str, str]) -> str:
    words = [text.strip() for text in place if text.strip()]
    if len(words) == 1:
        return f"1/{words[0]}"
    return "/".join(words) if len(words) == 2 else f"{words[0]} {words[1]}/{words[2]}" if len(words) == 3 else ""


def _value(place: list[str], named: dict[str, str]) -> str:
    if not place:
        return ""
    unit = named.get("u") or named.get("ul") or named.get("up") or named.get("upl") or ""
    exponent = f" × 10^{named['e'].strip()}" if named.get("e") else ""
    error = f" ± {place[1].strip()}" if len(place) == 2 else ""
    return f"{place[0].strip()}{error}{exponent}{' ' + unit.strip() if unit else ''}"


def _ship(prefix: str) -> Expand:
    return lambda place, named: f"{prefix} {place[0].strip()}" if place else ""


def _date(place: list[str], named: dict[str, str]) -> str:
    words = [text.strip() for text in place if text.strip().isdigit()][:3]
    if len(words) == 3 and 1 <= int(words[1]) <= 12:
        return f"{int(words[2])} {_MONTHS[int(words[1]) - 1]} {words[0]}"
    return words[0] if len(words) == 1 else ""


def _as_of(place: list[str], named: dict[str, str]) -> str:
    if named.get("alt"):
        return named["alt"]
    words = [text.strip() for text in place if text.strip()]
    if len(words) > 1 and words[1].isdigit() and 1 <= int(words[1]) <= 12:
        words[1] = _MONTHS[int(words[1]) - 1]
    since = "Since" if named.get("since") else "As of"
    return f"{since.lower() if named.get('lc') else since} {' '.join(reversed(words))}"


def _money(sign: str) -> Expand:
    return lambda place, named: sign + (place[0].strip() if place else "")


def _japanese(place: list[str], named: dict[str, str]) -> str:
    english, *others = [text.strip() for text in place[:3]] or [""]
    others = [text for text in others if text]
    return f"{english} ({', '.join(others)})" if english and others else english or ", ".join(others)


def _chinese(place: list[str], named: dict[str, str]) -> str:
    shown = [*place[:1], *(named[name] for name in ("c", "t", "s", "p", "w") if named.get(name))]
    return ", ".join(dict.fromkeys(text.strip() for text in shown if text.strip()))


def _pronunciation(place: list[str], named: dict[str, str]) -> str:
    """`UK|ˈ|æ|s|f|æ|l|t` -> `/ˈæsfælt/`: a phoneme an argument, after words on who says it so."""
    phonemes = [text.strip() for text in place if text.strip() and not _SPEAKERS.match(text.strip())]
    return f"/{''.join(phonemes)}/" if phonemes else ""


def _coordinates(place: list[str], named: dict[str, str]) -> str:
    """`8|8|N|165|1|W` -> `8°8′N 165°1′W`; nothing where it is shown beside the title only."""
    if "inline" not in named.get("display", "inline").replace(" ", "") and "i" not in named.get("display", "").split(","):
        return ""
    parts, marks = [""], iter("°′″")
    for text in (text.strip() for text in place):
        if text in ("N", "S", "E", "W"):
            parts[-1] += text
            parts.append("")
            marks = iter("°′″")
        elif text.replace(".", "").replace("-", "").isdigit():
            parts[-1] += text + next(marks, "")
        else:
            break
    return " ".join(part for part in parts if part)


def _language(place: list[str], named: dict[str, str]) -> str:
    return place[1] if len(place) > 1 else _last(place, named)


_first = _argument(1)
_second = _argument(2)
_quote = _block("text", "quote", "1", "content", "quotetext")


def _same(names: str, expand: Expand) -> dict[str, Expand]:
    return dict.fromkeys(names.split("|"), expand)


_EXPANDERS: dict[str, Expand] = {
    **_same("convert|cvt|conv", _convert),
    **_same("lang|langx|rtl-lang|wikt-lang|script|nastaliq", _language),
    **_same("transl|transliteration", _last),  # the system of writing may stand before the text: ar|ALA|ilāh
    **_same("native name|native phrase", _second),
    **_same(
        "nowrap|nobr|nobreak|no wrap|small|smaller|big|larger|resize|center|mvar|math|var|em|strong|mono|code|tt|kbd|samp|"
        "smallcaps|sc|sm|sc2|smallcaps all|unicode|lrm|font|color|abbrlink|tooltip|abbr|hover title|visible anchor|vanchor|"
        "anchor text|angbr|angle bracket|pslink|as written|not a typo|proper name|typo|notatypo|as is|term|gloss|"
        "linktext|interlanguage link|ill|interlanguage link multi|illm|red link|link-interwiki|iw|nihongo2|nihongo krt|"
        "polytonic|hebrew|arabic|iast|unichar|keypress|key press|bigger|larger|strikethrough|underline|u|ul|overline|oline|"
        "nobold|noitalic|normal|nbhyph|delink|plain link|plainlink|wikicite|harvid|text|main other|nsndns|serif|sans-serif|"
        "pnac|lang-en|flag|flagcountry|flagu|flag+link|navy|army|air force|nts|ntsh|number table sorting|formatnum|"
        "no italic|italic title|em dash text|aut|hebr|he|okina text|ipalink|script/hebrew|script/arabic|music text|nowiki",
        _first,
    ),
    "link": _first,
    **_same("lcfirst|ucfirst|lc|uc|#formatnum", _first),
    **_same("font color|colored link|color|fontcolor|background color|bg|colored text", _last),
    **_same("section link|slink|see section", _last),
    **_same("quote|blockquote|cquote|quotation|rquote|quote box|pull quote|bquote|centered pull quote|long quote", _quote),
    **_same("poem quote|poemquote|verse translation|verse", _quote),
    **_same("block indent|blockindent|indented plainlist|in5|center block|div col content|divbox", _block("1")),
    **_same("hlist|flatlist|comma separated entries|cslist", _joined(", ")),
    **_same("unbulleted list|ubl|ublist|plain list items|collapsible list items", _joined(", ")),
    **_same("bulleted list|ordered list|unordered list", _bullets),
    **_same("plainlist|plain list|columns-list|colbegin content|div col text|cols", _block("1")),
    **_same("circa|c.|ca", lambda place, named: f"c. {_joined('–')(place, named)}".strip()),
    **_same("floruit|fl.", _around("fl. ")),
    **_same("died-in|d.", _around("d. ")),
    **_same("born-in|b.", _around("b. ")),
    **_same("reign|r.", lambda place, named: f"r. {_joined('–')(place, named)}".strip()),
    **_same("as of|asof", _as_of),
    **_same("frac|sfrac|fraction|tfrac|mfrac", _fraction),
    **_same("val|gaps", _value),
    **_same("e|esp", lambda place, named: f" × 10^{place[0].strip()}" if place else ""),
    **_same("sup", _around("^")),
    **_same("sub", _first),
    **_same("chem|chem2|chemf", _joined("")),
    **_same("nuclide|element cell", _nothing),
    **_same("start date|end date|film date|birth date|death date|dob|start-date|birth-date|death date and age|date", _date),
    **_same("ndash|en dash|nbndash", _text("–")),
    **_same("snd|spaced ndash|spnd|sndash|spndash|spaced en dash|spaced endash|nsnd|–", _text(" – ")),
    **_same("mdash|em dash|emdash", _text("—")),
    **_same("spaced mdash|spaced em dash|smd", _text(" — ")),
    **_same("nbsp|spaces|space|thin space|thinsp|zwsp|hair space|hsp|ensp|emsp|indent|pad|0|gap", _text(" ")),
    **_same("'|’|apostrophe", _text("'")),
    **_same("'s|’s|'s-|apostrophe s", _text("'s")),
    '"': _around('"', '"'),
    **_same("bullet|·|•|middot|dot|mdot|\\", _text(" · ")),
    **_same("=|equals", _text("=")),
    **_same("!|pipe|bar", _text(" ")),
    **_same("sic", lambda place, named: place[0] if place and named.get("hide") else f"{_first(place, named)} [sic]".strip()),
    **_same("okina|hamza|ayin", _text("ʻ")),
    **_same("pi|π", _text("π")),
    **_same("times|×", _text("×")),
    **_same("sqrt|radic|surd", _around("√")),
    **_same("abs|mabs", _around("|", "|")),
    **_same("degree|deg|°", _text("°")),
    **_same("sharp|music sharp|#", _text("♯")),
    **_same("flat", _text("♭")),
    **_same("br|break|clear line|crlf|-br|newline|pb|paragraph break|paragraph", _text("\n\n")),
    **_same("us$|usd|$|dollar", _money("US$")),
    **_same("gbp|£|pound", _money("£")),
    **_same("eur|euro|€", _money("€")),
    **_same("inr|indian rupee|rupee|₹", _money("₹")),
    **_same("jpy|yen|¥", _money("¥")),
    **_same("a$|aud", _money("A$")),
    **_same("c$|cad", _money("C$")),
    **_same("nihongo|nihongo3|korean|ko", _japanese),
    **_same("zh|chinese|zh-full", _chinese),
    **_same("ship", lambda place, named: " ".join(text.strip() for text in place[:2] if text.strip())),
    **_same("sclass|sclass2|sclass-", lambda place, named: f"{place[0].strip()}-class {_second(place, named)}" if place else ""),
    **{name.lower(): _ship(name) for name in ("USS", "HMS", "HMAS", "HMCS", "SMS", "RMS", "SS", "MV", "USNS", "USCGC", "INS")},
    **_same("ipa|ipa all|angle ipa", _first),
    **_same("ipac-en|ipac", _pronunciation),
    "coord": _coordinates,
    **_same("railgauge|rail gauge|track gauge", _first),
    **_same("us patent|uspatent", _around("U.S. Patent ")),
    **_same("bibleverse|bible verse|bibleref2|bibleref|bibleverse-nb", _joined(" ")),
    **_same("by|blp|mlby|nowrap begin|nowrap end|wrap", _first),
    **_same("rp|r|sfn|sfnp|efn|refn|cn|fact|citation needed|dead link|page needed|who|when|clarify", _nothing),
}  # fmt: skip


@functools.lru_cache(maxsize=16)
def _find_own(language: str) -> dict[str, Expand]:
    """Templates of a language's own Wikipedia."""

    return dict(make_expanders(language))


@functools.lru_cache(maxsize=1 << 12)
def _find(name: str, language: str) -> Expand | None:
    key = name.strip().replace("_", " ").lower()
    found = _find_own(language).get(key) or _EXPANDERS.get(key)
    if found is not None:
        return found
    if key.startswith("lang-"):
        return _first
    if key.startswith("ipa-"):
        return _around("[", "]")
    function, colon, _ = key.partition(":")
    if colon and function in ("formatnum", "lc", "uc", "lcfirst", "ucfirst"):
        return lambda place, named: name.partition(":")[2]
    return None


def is_expanded(name: str, language: str = "en") -> bool:
    """Whether a template of this name leaves anything."""
    return _find(name, language) is not None


def expand_template(content: str, language: str = "en") -> str:
    """What a template shows, given what stands between its braces; its arguments are resolved already.

    >>> expand_template("convert|300|km|mi"), expand_template("lang|fr|chien"), expand_template("citation needed|date=May")
    ('300 km', 'chien', '')
    """
    name, *arguments = content.split("|")
    expand = _find(name, language)
    if expand is None:
        return ""
    place: list[str] = []
    named: dict[str, str] = {}
    for argument in arguments:
        match = _NAMED.match(argument) if "=" in argument else None
        if match is None:
            place.append(argument)
        elif match[1].isdigit() and int(match[1]) == len(place) + 1:
            place.append(match[2].strip())
        else:
            named[match[1]] = match[2].strip()
    return expand(place, named)
