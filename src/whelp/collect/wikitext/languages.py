"""Templates of other Wikipedias that stand for words inside sentences, as data: what each shows.

`{1}` is the first argument, `{1:month}` the month of that number, `{*}` all arguments, one after the other. A template whose first
argument is missing shows nothing. Names in small letters; one name means different things in different languages (`{{citation}}` is
a source on the English Wikipedia and words on the French one), so these come before those of `templates.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

_BLOCK = "\n\n{1}\n\n"

TEMPLATES: dict[str, dict[str, str]] = {
    "de": {
        "zitat|zitat-de|zitat-en|zitat-fr|zitat-la|inschrift": _BLOCK,
        '"': "„{1}“",
        "enS": "englisch {1}", "frS": "französisch {1}", "esS": "spanisch {1}", "itS": "italienisch {1}", "laS": "lateinisch {1}",
        "ruS": "russisch {1}", "plS": "polnisch {1}", "nlS": "niederländisch {1}", "ptS": "portugiesisch {1}", "csS": "tschechisch {1}",
        "elS": "griechisch {1}", "grcS": "altgriechisch {1}", "arS": "arabisch {1}", "heS": "hebräisch {1}", "trS": "türkisch {1}",
        "ukS": "ukrainisch {1}", "svS": "schwedisch {1}", "daS": "dänisch {1}", "huS": "ungarisch {1}", "jaS": "japanisch {1}",
        "höhe": "{1} m",
        "bruch": "{1}/{2}",
        "zahl|formatnum|datumzelle|nowrap|farbe|personenname|tr|polytonisch|unicode|fremdsprache": "{1}",
        "lautschrift": "[{1}]",
        "audio": "{2}",
        "§": "§ {1}", "art.": "Art. {1}",
        "datum": "{1}. {2:month} {3}",
        "eur|euro": "{1} Euro",
    },
    "fr": {
        "citation|citation étrangère|guillemets|guil|« »": "« {1} »",
        "citation bloc|bloc citation|début citation": _BLOCK,
        "unité|unité/2|nombre|nb|dunité|num": "{1} {2}",
        "date|date-|date de naissance|date de naissance-|date de décès|date de décès-": "{1} {2} {3}",
        "heure": "{1} h {2}",
        "s|s-|siècle": "{1}e siècle", "s2|s2-": "{1}e et {2}e siècles", "sap|sav|s av jc": "{1}e siècle av. J.-C.",
        "av jc|av. j.-c.|avjc|-c": "av. J.-C.",
        "1er": "1er", "1re|1ère": "1re", "2e": "2e", "3e": "3e", "4e": "4e", "5e": "5e", "ier": "Ier", "ie": "Ie",
        "er": "er", "e|ème": "e", "re": "re",
        "langue|lang": "{2}", "anglais": "en anglais : {1}", "latin": "en latin : {1}",
        "abréviation discrète|abréviation|abr|abrd|petit|souligner|refnec|référence souhaitée|refsou|référence nécessaire|passage "
        "évasif|pas clair|nobr|nobr romains|terme défini|lien|romain|petites capitales|indice|ind|fchim2": "{1}",
        "incise": "– {1} –",
        "exp|exposant": "^{1}",
        "fchim": "{*}",
        "api|phon": "[{1}]",
        "numéro|n°|no": "no {1}", "p.|page": "p. {1}", "vol.": "vol. {1}",
        "m.": "M. {1}", "mme": "Mme {1}", "st": "saint {1}", "ste": "sainte {1}",
        "japonais": "{1} ({2}, {3})",
    },
    "es": {
        "cita|quote|cita larga": _BLOCK,
        "unidad|unidades": "{1} {2}",
        "fecha|fecha de inicio": "{1} de {2:month} de {3}",
        "siglo": "siglo {1}",
        "esd|nowrap|num|versalita|sc|abreviatura|cita requerida|sin cursiva|negrita|ruby|ac|a.c.": "{1}",
        "comillas": "«{1}»",
        "afi": "[{1}]",
        "lang|idioma": "{2}",
        "euro|eur": "{1} euros",
        "nihongo": "{1} ({2}, {3})",
    },
    "ja": {
        "読み仮名|読み仮名 ruby不使用|ruby|ルビ|ふりがな": "{1}（{2}）",
        "仮リンク|補助漢字フォント|jis2004フォント|拡張漢字|cjk ext|要出典範囲|要検証範囲|smaller|nobold|旧字体|by|和暦": "{1}",
        "lang|lang2": "{2}",
        "lang-en|lang-en-short": "英: {1}", "lang-fr|lang-fr-short": "仏: {1}", "lang-de|lang-de-short": "独: {1}",
        "quotation|quote|cquote|squote": _BLOCK,
        "ipa": "[{1}]",
        "円": "{1}円",
    },
}  # fmt: skip
MONTHS = {
    "de": [
        "Januar",
        "Februar",
        "März",
        "April",
        "Mai",
        "Juni",
        "Juli",
        "August",
        "September",
        "Oktober",
        "November",
        "Dezember",
    ],
    "es": [
        "enero",
        "febrero",
        "marzo",
        "abril",
        "mayo",
        "junio",
        "julio",
        "agosto",
        "septiembre",
        "octubre",
        "noviembre",
        "diciembre",
    ],
}
_PLACE = re.compile(r"\{(\d|\*)(:month)?\}")
_EMPTY = re.compile(r"\(\s*,?\s*\)|（）|,\s*(?=\))|(?<=\()\s*,\s*")
_BLANKS = re.compile("  +")


def make_expanders(language: str) -> Mapping[str, Callable[[list[str]], str]]:
    """By name what a template of a language shows, given its arguments by place.

    >>> make_expanders("fr")["unité"](["1500", "km"]), make_expanders("es")["fecha"](["2", "5", "1808"])
    ('1500 km', '2 de mayo de 1808')
    """
    shown = TEMPLATES.get(language, {})
    return {
        name.lower(): _make_expander(pattern, MONTHS.get(language, ()))
        for names, pattern in shown.items()
        for name in names.split("|")
    }


def _make_expander(pattern: str, months: tuple[str, ...] | list[str]) -> Callable[[list[str]], str]:
    needed = _PLACE.search(pattern)

    def expand(place: list[str]) -> str:
        words = [text.strip() for text in place]

        def show(match: re.Match[str]) -> str:
            if match[1] == "*":
                return "".join(words)
            word = words[int(match[1]) - 1] if int(match[1]) <= len(words) else ""
            is_month = match[2] and word.isascii() and word.isdigit() and 1 <= int(word) <= len(months)
            return months[int(word) - 1] if is_month else word

        if needed is not None and not show(needed):
            return ""
        text = _EMPTY.sub("", _PLACE.sub(show, pattern))
        return text if pattern == _BLOCK else _BLANKS.sub(" ", text).strip()

    return expand
