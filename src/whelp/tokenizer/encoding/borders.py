r"""Where a text may be cut so that its ids are those of the parts, by what a tokenizer.json says of normalizing and cutting.

Everything that stands before the model of `tokenizers` cuts text at some neighbours of two kinds of characters, whatever else
the text holds: GPT-2's pattern always between a letter and a digit, BERT always at a space. Such a border, and a
normalizer that does not look across it, make the two sides independent. `Borders` are rules by the kinds of the characters on
both sides; some want to know that a word follows, since a pattern such as `\s+(?!\S)` looks one character ahead.

Kinds are known of characters that Unicode 3.2 had and that have not changed since, nor are changed by NFKC: on those all
versions of Unicode agree. Beside any other there is no border.
"""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from whelp.tokenizer._patterns import PATTERNS, WORD_PATTERN, find_pattern_name
from whelp.tokenizer.encoding.normalizing import NORMAL_FORMS
from whelp.tokenizer.encoding.utf8 import iter_chunks, read_points

Kinds = frozenset[int]

_UNKNOWN, _LETTER, _NUMBER, _SIGN, _QUOTE, _UNDERSCORE, _OTHER_SIGN, _MARK, _SPACE, _TAB, _NEWLINE, _BLANK = range(12)
_NUM_BITS = 4
_ASCII_SIGNS = frozenset({_SIGN, _QUOTE, _UNDERSCORE})
_SIGNS = _ASCII_SIGNS | {_OTHER_SIGN, _MARK}
_WHITE_SPACE = frozenset({_SPACE, _TAB, _NEWLINE, _BLANK})
_WORDS = frozenset({_LETTER, _NUMBER}) | _SIGNS  # all that is known and no white space

_BLANKS = "\v\f\x85\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
_SPACES_OF_SOME = "▁\ufffd"  # SentencePiece spells spaces by the one, and reads both as spaces
_PREPENDED = (  # they are one with the letter behind
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\u0d4e\U000110bd\U000110cd\U000111c2\U000111c3\U000113d1"
    "\U0001193f\U00011941\U00011a3a\U00011a84\U00011a85\U00011a86\U00011a87\U00011a88\U00011a89\U00011d46\U00011f02"
)
_LAST = 0x2FFFF
_MANY_LETTERS = ((0x3400, 0x4DB5), (0x4E00, 0x9FA5), (0xAC00, 0xD7A3), (0x20000, 0x2A6D6))  # Chinese and Korean


class Borders:
    """Between which kinds of characters a text may be cut: `always`, or where a word begins after the second (`before_word`)."""

    def __init__(self, always: Iterable[tuple[Kinds, Kinds]], before_word: Iterable[tuple[Kinds, Kinds]]) -> None:
        self._always, self._before_word = _make_table(always), _make_table(before_word)

    def find(self, text: npt.NDArray[np.uint8], documents: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Whether there is a border before each byte, (bytes + 1,). `documents`: where documents start and the last one ends."""
        kinds = read_kinds(text)
        pairs = kinds[:-1] << _NUM_BITS
        pairs |= kinds[1:]
        raw = pairs.tobytes()
        is_border = np.zeros(len(text) + 1, np.bool_)
        if any(self._before_word):
            is_before = _look_up(raw, self._before_word)
            is_word = _look_up(kinds[2:].tobytes(), _BEGINS_WORD)
            is_border[1:-2] = is_before[:-1] & is_word
            is_border[np.maximum(documents[1:] - 1, 0)] = False  # what follows is of the next document
        is_border[1:-1] |= _look_up(raw, self._always)
        is_border[:-1] &= (text & 0xC0) != 0x80  # never within a character
        return is_border


def _look_up(raw: bytes, table: bytes) -> npt.NDArray[np.bool_]:
    return np.frombuffer(raw.translate(table), np.bool_)  # several times as fast as numpy's take


def _make_table(pairs: Iterable[tuple[Kinds, Kinds]]) -> bytes:
    table = bytearray(1 << 2 * _NUM_BITS)
    for firsts, seconds in pairs:
        for first, second in itertools.product(firsts, seconds):
            table[first << _NUM_BITS | second] = True
    return bytes(table)


_BEGINS_WORD = bytes(kind in _WORDS - {_MARK} for kind in range(256))


def read_kinds(text: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """The kind of the character that each byte is of."""
    beyond = bytes(3)  # broken UTF-8 may end within a character
    kinds = np.frombuffer(bytearray(text.tobytes().translate(_kinds_of_ascii()) + beyond), np.uint8)
    for start, chunk, _ in iter_chunks(text, 0xC0):
        places = start + np.flatnonzero(chunk >= 0xC0)
        found = _kinds_of_all()[np.minimum(read_points(text, places), _LAST + 1)]
        leads = text[places]
        kinds[places] = kinds[places + 1] = found
        for step, lead in ((2, 0xE0), (3, 0xF0)):
            is_longer = leads >= lead
            kinds[places[is_longer] + step] = found[is_longer]
    return kinds[: len(text)]


@cache
def _kinds_of_ascii() -> bytes:
    return bytes(_find_kind(chr(byte)) if byte < 0x80 else _UNKNOWN for byte in range(256))


@cache
def _kinds_of_all() -> npt.NDArray[np.uint8]:
    kinds = np.full(_LAST + 2, _UNKNOWN, np.uint8)
    for first, last in _MANY_LETTERS:
        kinds[first : last + 1] = _LETTER
    others = np.flatnonzero(kinds[: 1 << 16] == _UNKNOWN).tolist()
    kinds[others] = [_find_kind(chr(point)) for point in others]
    return kinds


def _find_kind(character: str) -> int:
    special = {" ": _SPACE, "\t": _TAB, "\n": _NEWLINE, "\r": _NEWLINE, "'": _QUOTE, "_": _UNDERSCORE}.get(character)
    if special is not None:
        return special
    if character in _BLANKS:
        return _BLANK
    if character in _SPACES_OF_SOME:
        return _UNKNOWN
    category = unicodedata.ucd_3_2_0.category(character)
    is_settled = category == unicodedata.category(character) and unicodedata.is_normalized("NFKC", character)
    if not is_settled:
        return _UNKNOWN
    sign = _SIGN if character < "\x80" else _OTHER_SIGN
    return {"L": _LETTER, "N": _NUMBER, "P": sign, "S": sign, "M": _MARK}.get(category[0], _UNKNOWN)


# ----------------------------------------------------------------------------------------------------
# What is known of pre-tokenizers and normalizers
# ----------------------------------------------------------------------------------------------------

_LETTERS, _NUMBERS = frozenset({_LETTER}), frozenset({_NUMBER})
_ALPHANUMERIC = _LETTERS | _NUMBERS

_GPT2 = Borders(
    always=[
        (_LETTERS, _NUMBERS | _SIGNS | _WHITE_SPACE),
        (_NUMBERS, _LETTERS | _SIGNS | _WHITE_SPACE),
        (_SIGNS, _NUMBERS | _WHITE_SPACE),
        (_SIGNS - {_QUOTE}, _LETTERS),  # a quote may begin 's
        (frozenset({_TAB, _NEWLINE}), _WORDS - {_MARK}),
    ],
    before_word=[(_WHITE_SPACE, _WHITE_SPACE)],
)
_GPT4 = Borders(
    always=[
        (_LETTERS, _NUMBERS | _SIGNS | _WHITE_SPACE),
        (_NUMBERS, _LETTERS | _SIGNS | _WHITE_SPACE),
        (_SIGNS, _NUMBERS | _WHITE_SPACE - {_NEWLINE}),  # a sign takes newlines along
        (frozenset({_NEWLINE}), _WORDS),
    ],
    before_word=[(_WHITE_SPACE, _WHITE_SPACE - {_NEWLINE})],
)
_PIECES_OF_WORDS = _ALPHANUMERIC | {_UNDERSCORE}
WORD_BORDERS = Borders(  # of WORD_PATTERN; a space stays with the word, since fewer pieces are sooner found
    always=[
        (_PIECES_OF_WORDS, frozenset({_SIGN, _QUOTE}) | _WHITE_SPACE),
        (frozenset({_SIGN, _QUOTE}), _PIECES_OF_WORDS | {_SIGN, _QUOTE} | _WHITE_SPACE),
        (_WHITE_SPACE - {_SPACE}, _PIECES_OF_WORDS | {_SIGN, _QUOTE}),
        (_WHITE_SPACE, _WHITE_SPACE),
    ],
    before_word=[],
)
_BY_PATTERN = {"gpt2": _GPT2, "gpt4": _GPT4, "code": _GPT4}


def find_borders(specification: dict[str, Any], normalize: Callable[[str], str], hidden: Sequence[str] = ()) -> Borders | None:
    """Where texts may be cut before they are encoded; None where nothing is certain.

    Args:
        normalize: What the normalizer makes of a text.
        hidden: Added tokens besides those of the specification, which stay text: no other is found where one of them stands.
    """
    cutters = _flatten(specification.get("pre_tokenizer"), "pretokenizers")
    normalizers = _flatten(specification.get("normalizer"), "normalizers")
    added = specification["added_tokens"]
    if not normalizers and not added:
        pattern = find_pattern_name(specification.get("pre_tokenizer"))
        if pattern in _BY_PATTERN:
            return _BY_PATTERN[pattern]
        if len(cutters) == 1 and _splits_by(cutters[0], [WORD_PATTERN]):
            return WORD_BORDERS
    takes_spaces = any(entry.get("rstrip") or _holds_space(entry["content"], normalize) for entry in added)
    hides_spaces = bool(added) and any(_holds_space(content, normalize) for content in hidden)
    if not cutters or takes_spaces or hides_spaces or not all(map(_keeps_spaces, normalizers)):
        return None
    white_space = _find_cutting(cutters[0], normalize)
    before = _find_independent(cutters[0], normalize)
    is_bert = (
        not added
        and cutters[0].get("type") == "BertPreTokenizer"
        and all(normalizer.get("type") == "BertNormalizer" for normalizer in normalizers)
    )
    if _SPACE not in white_space or not before:
        return None
    return Borders(
        always=[(_ALPHANUMERIC, _ASCII_SIGNS), (_ASCII_SIGNS, _ALPHANUMERIC | _ASCII_SIGNS)] if is_bert else [],
        before_word=[(before, white_space)],
    )


def _flatten(entry: dict[str, Any] | None, name: str) -> list[dict[str, Any]]:
    """The members of sequences in sequences, one after the other."""
    if not entry:
        return []
    return [part for inner in entry[name] for part in _flatten(inner, name)] if entry.get("type") == "Sequence" else [entry]


def _holds_space(content: str, normalize: Callable[[str], str]) -> bool:
    """Whether an added token may lie across a space, as it is written or as it is looked for in normalized text."""
    return any(not text or re.search(r"[\s▁]", text) for text in (content, normalize(content)))


def _keeps_spaces(normalizer: dict[str, Any]) -> bool:
    """Whether a normalizer does not look across a space between two words, and leaves something of each word."""
    kind = normalizer.get("type")
    if kind == "Strip":
        return not normalizer.get("strip_left")
    if kind == "Replace":
        if normalizer["pattern"].get("Regex") == " {2,}":
            return True
        replaced, content = normalizer["pattern"].get("String"), normalizer["content"]
        is_left = bool(content) and all(_find_kind(character) in _WORDS - {_MARK} for character in content)
        return bool(replaced) and re.search(r"\s", replaced) is None and is_left
    return kind in (*NORMAL_FORMS, "BertNormalizer", "Lowercase", "Nmt", "Precompiled", "StripAccents")


def _find_cutting(first: dict[str, Any], normalize: Callable[[str], str]) -> Kinds:
    """The kinds of white space before which the first pre-tokenizer always cuts; what others cut later lies within words."""
    as_space = normalize("a b")
    if _drops_white_space(first):
        is_cut = {sign: len(normalize(f"a{sign}b").split()) == 2 for sign in " \t\n\r"}
    elif _keeps_white_space(first):
        is_cut = {sign: normalize(f"a{sign}b") == as_space for sign in " \t\n\r"}
    else:
        return frozenset()
    kinds = {_SPACE: " ", _TAB: "\t", _NEWLINE: "\n\r"}
    return frozenset(kind for kind, signs in kinds.items() if all(is_cut[sign] for sign in signs))


def _find_independent(first: dict[str, Any], normalize: Callable[[str], str]) -> Kinds:
    """The kinds of characters that stay, and stay apart from white space behind them, whatever a normalizer makes of them.

    Of a mark it may make nothing where there is no letter before it, and two spaces are left that become one.
    """
    if _drops_white_space(first):
        return _WORDS
    kinds = _WORDS - {_MARK}
    characters = list(map(chr, np.flatnonzero(np.isin(_kinds_of_all(), list(kinds))).tolist()))
    words = [*characters, *(f"{sign}a" for sign in _PREPENDED)]
    normal = normalize(" ".join(words))
    is_apart = len(normal.split(" ")) == len(words) == len(normal.split())
    return kinds if is_apart else frozenset()


def _drops_white_space(cutter: dict[str, Any]) -> bool:
    return cutter.get("type") in ("WhitespaceSplit", "Whitespace", "BertPreTokenizer")


def _keeps_white_space(cutter: dict[str, Any]) -> bool:
    """Whether a pre-tokenizer cuts before a space that follows a word, and puts it at the beginning of the next one."""
    kind = cutter.get("type")
    is_by_space = (kind == "Metaspace" and cutter.get("split", True)) or (kind == "ByteLevel" and cutter.get("use_regex", True))
    return is_by_space or _splits_by(cutter, (*PATTERNS.values(), WORD_PATTERN))


def _splits_by(cutter: dict[str, Any], patterns: Iterable[str]) -> bool:
    is_plain = cutter.get("type") == "Split" and cutter.get("behavior") == "Isolated" and not cutter.get("invert")
    return is_plain and cutter.get("pattern", {}).get("Regex") in patterns
