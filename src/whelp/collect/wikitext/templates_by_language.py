"""Templates of other Wikipedias that stand for words inside sentences, as data: what each shows.

`{1}` is the first argument, `{u}` the one of that name, `{2,1}` the first of several that is there, `{1:month}` the month of that
number, `{*}` all arguments, one after the other. A template shows nothing where what its pattern begins with is missing. Names in
small letters; one name means different things in different languages (`{{citation}}` is a source on the English Wikipedia and words
on the French one), so these come before those of `templates.py`.
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
    "it": {
        "citazione": _BLOCK,
        "m": "{1} {2}{3}{ul}{u}", "converti": "{1} {2}",
        "senza fonte|citazione necessaria|ta|maiuscoletto": "{1}",
        "a.c.": "a.C.", "d.c.": "d.C.",
    },
    "nl": {
        "citaat": _BLOCK,
        "e": "e", "de": "de", "ste": "ste",
        "bron?|feit": "{1}",
        "audio": "{2}",
    },
    "pl": {
        "cytat|cytatd": "\n\n{1,treść}\n\n",
        "lang": "{2}",  # {{lang|en}} says in which language a link is
        "fakt|kapitaliki": "{1}",
        "link-interwiki": "{tekst,1}",
    },
    "pt": {
        "citação|citação2": _BLOCK,
        "fmtn|converter": "{1} {2}",
        "dtlink": "{1} de {2:month} de {3}",
        "séc": "século {1}", "ac": "{1} a.C.", "dc": "{1} d.C.",
        "ilc|versalete|afi": "{1}",
    },
    "ru": {
        "цитата": _BLOCK,
        "date|дата": "{1} {2:month} {3}", "oldstyledate": "{3} [{1}] {2}",
        "num": "{1} {2}",
        "s|число|comment|подсказка": "{1}",
        "не переведено 2|не переведено 3|не переведено 5|нп2|нп3|нп5|iw": "{2,1}",
        "lang-en": "англ. {1}", "lang-de": "нем. {1}", "lang-fr": "фр. {1}", "lang-la": "лат. {1}", "lang-it": "итал. {1}",
        "lang-es": "исп. {1}", "lang-pt": "порт. {1}", "lang-el": "греч. {1}", "lang-grc": "др.-греч. {1}", "lang-uk": "укр. {1}",
        "lang-be": "белор. {1}", "lang-pl": "польск. {1}", "lang-cs": "чеш. {1}", "lang-nl": "нидерл. {1}", "lang-sv": "швед. {1}",
        "lang-fi": "фин. {1}", "lang-hu": "венг. {1}", "lang-tr": "тур. {1}", "lang-ar": "араб. {1}", "lang-he": "ивр. {1}",
        "lang-fa": "перс. {1}", "lang-ja": "яп. {1}", "lang-zh": "кит. {1}", "lang-tt": "тат. {1}", "lang-kk": "каз. {1}",
    },
    "zh": {
        "bd": "（{1}{2}－{3}{4}）",
        "le|link-en|link-ja|link-de|link-fr|link-ru|link-ko|link-es|link-it|link-pt": "{3,1}",
        "tsl|translink": "{4,3,2}",
        "僻字": "{1}", "ruby": "{1}（{2}）",
        "lang-en": "英語：{1}", "lang-ja": "日語：{1}", "lang-de": "德語：{1}", "lang-fr": "法語：{1}", "lang-ru": "俄語：{1}",
        "lang-ko": "韓語：{1}", "lang-la": "拉丁語：{1}", "lang-es": "西班牙語：{1}",
    },
}  # fmt: skip
MONTHS = {
    "pt": [
        "janeiro",
        "fevereiro",
        "março",
        "abril",
        "maio",
        "junho",
        "julho",
        "agosto",
        "setembro",
        "outubro",
        "novembro",
        "dezembro",
    ],
    "ru": [
        "января",
        "февраля",
        "марта",
        "апреля",
        "мая",
        "июня",
        "июля",
        "августа",
        "сентября",
        "октября",
        "ноября",
        "декабря",
    ],
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
_PLACE = re.compile(r"\{(\*|\w+(?:,\w+)*)(:month)?\}")
_EMPTY = re.compile(r"\(\s*,?\s*\)|（）|,\s*(?=\))|(?<=\()\s*,\s*")
_BLANKS = re.compile("  +")


def make_expanders(language: str) -> Mapping[str, Callable[[list[str], Mapping[str, str]], str]]:
    """By name what a template of a language shows, given its arguments by place and those by name.

    >>> make_expanders("es")["fecha"](["2", "5", "1808"], {}), make_expanders("it")["m"](["15"], {"ul": "km"})
    ('2 de mayo de 1808', '15 km')
    """
    shown = TEMPLATES.get(language, {})
    return {
        name.lower(): _make_expander(pattern, MONTHS.get(language, ()))
        for names, pattern in shown.items()
        for name in names.split("|")
    }


def _make_expander(pattern: str, months: tuple[str, ...] | list[str]) -> Callable[[list[str], Mapping[str, str]], str]:
    needed = _PLACE.search(pattern)

    def expand(place: list[str], named: Mapping[str, str]) -> str:
        words = [text.strip() for text in place]
        known = {**named, **{str(number): word for number, word in enumerate(words, 1)}}

        def show(match: re.Match[str]) -> str:
            if match[1] == "*":
                return "".join(words)
            word = next((known[key] for key in match[1].split(",") if known.get(key)), "")
            is_month = match[2] and word.isascii() and word.isdigit() and 1 <= int(word) <= len(months)
            return months[int(word) - 1] if is_month else word

        if needed is not None and not show(needed):
            return ""
        text = _EMPTY.sub("", _PLACE.sub(show, pattern))
        return text if pattern.startswith("\n") else _BLANKS.sub(" ", text).strip()

    return expand
