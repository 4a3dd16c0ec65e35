"""Codes of languages: ISO 639-3, which crawls use, as ISO 639-1 where that has one, as BCP 47 asks for."""

from __future__ import annotations

# fmt: off
_PAIRS = (
    "aaraa abkab afraf akaak amham araar argan asmas avaav aveae aymay azeaz bakba bambm belbe benbn bisbi bodbo bosbs brebr bulbg "
    "catca cescs chach chece chucu chvcv corkw cosco crecr cymcy danda deude divdv dzodz ellel engen epoeo estet euseu eweee faofo "
    "fasfa fijfj finfi frafr fryfy fulff glagd glega glggl glvgv grngn gujgu hatht hauha hbssh hebhe herhz hinhi hmoho hrvhr hunhu "
    "hyehy iboig idoio iiiii ikuiu ileie inaia indid ipkik islis itait javjv jpnja kalkl kankn kasks katka kaukr kazkk khmkm kikki "
    "kinrw kirky komkv konkg korko kuakj kurku laolo latla lavlv limli linln litlt ltzlb lublu luglg mahmh malml marmr mkdmk mlgmg "
    "mltmt monmn mrimi msams myamy nauna navnv nblnr ndend ndong nepne nldnl nnonn nobnb norno nyany ocioc ojioj orior ormom ossos "
    "panpa plipi polpl porpt pusps quequ rohrm ronro runrn rusru sagsg sansa sinsi slksk slvsl smese smosm snasn sndsd somso sotst "
    "spaes sqisq srdsc srpsr sswss sunsu swasw swesv tahty tamta tattt telte tgktg tgltl thath tirti tonto tsntn tsots tuktk turtr "
    "twitw uigug ukruk urdur uzbuz venve vievi volvo wlnwa wolwo xhoxh yidyi yoryo zhaza zhozh zulzu"
)
# fmt: on
_SHORT = {pair[:3]: pair[3:] for pair in _PAIRS.split()}


def shorten_language(tag: str) -> str:
    """The language of a tag, without country or script, of two letters where it has such a code.

    >>> [shorten_language(tag) for tag in ("eng", "pt-BR", "DE", "ast", " ")]
    ['en', 'pt', 'de', 'ast', '']
    """
    language = tag.strip().lower().replace("_", "-").partition("-")[0]
    return _SHORT.get(language, language)
