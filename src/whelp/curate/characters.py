"""What kind of character each code point is, as tables, so that a whole text is judged by one look-up.

FLAGS = character_flags();  FLAGS[code_points] & SPACE      # of every character, whether it is white space
"""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
import numpy.typing as npt

NUM_CODE_POINTS = 0x110000
SPACE = 1  # str.isspace
LETTER = 2  # str.isalpha
ALPHANUMERIC = 4  # str.isalnum
LINE_BREAK = 8  # where str.splitlines cuts
SYMBOL = 16  # a word of these alone is none
SENTENCE_END = 32  # what a line of prose ends with
WORD = 64  # joins its neighbours to a word: letters, digits, marks, the underscore
ALONE = 128  # a word on its own: scripts that write no spaces

_LINE_BREAKS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"
_PUNCTUATION = "!/—”:％１〈&(、━\\【#%「」，】；+^]~“《„';’{|∶´[=-`*．（–？！：$～«〉,><》)?）。…@_.\"}►»"
_CONTROLS = ((0, 9), (11, 13), (13, 32), (127, 160))
# The ends of sentences of all scripts, as code points: many have no glyph in the fonts of an editor.
_SENTENCE_ENDS = (
    "21 2e 3f 589 61d 61e 61f 6d4 700 701 702 7f9 837 839 83d 83e 964 965 104a 104b 1362 1367 1368 166e 1735 1736 17d4 17d5 17d6 17d9 "
    "17da 1803 1809 1944 1945 1aa8 1aa9 1aaa 1aab 1b5a 1b5b 1b5e 1b5f 1b7d 1b7e 1c3b 1c3c 1c7e 1c7f 203c 203d 2047 2048 2049 "
    "2e2e 2e3c 2e53 2e54 3002 a4ff a60e a60f a6f3 a6f7 a876 a877 a8ce a8cf a92f a9c8 a9c9 aa5d aa5e aa5f aaf0 aaf1 abeb "
    "fe52 fe56 fe57 ff01 ff0e ff1f ff61 10a56 10a57 10f55 10f56 10f57 10f58 10f59 10f86 10f87 10f88 10f89 11047 11048 110be "
    "110bf 110c0 110c1 11141 11142 11143 111c5 111c6 111cd 111de 111df 11238 11239 1123b 1123c 112a9 1144b 1144c 115c2 115c3 "
    "115c9 115ca 115cb 115cc 115cd 115ce 115cf 115d0 115d1 115d2 115d3 115d4 115d5 115d6 115d7 11641 11642 1173c 1173d 1173e "
    "11944 11946 11a42 11a43 11a9b 11a9c 11c41 11c42 11ef7 11ef8 11f43 11f44 16a6e 16a6f 16af5 16b37 16b38 16b44 16e98 1bc9f 1da88"
)
_ALONE = (  # Thai, Lao, Myanmar, Khmer; kana; Han
    *((0x0E00, 0x0F00), (0x1000, 0x10A0), (0x1780, 0x1800), (0x3040, 0x3100), (0x31F0, 0x3200), (0x3400, 0x4DC0)),
    *((0x4E00, 0xA000), (0xF900, 0xFB00), (0xFF66, 0xFFA0), (0x20000, 0x323B0)),
)
_ASSIGNED = (range(0x40000), range(0xE0000, 0xE0200))  # what lies elsewhere is private or not assigned


@cache
def sentence_ends() -> frozenset[str]:
    """The characters that end a sentence, of all scripts."""
    return frozenset(chr(int(point, 16)) for point in _SENTENCE_ENDS.split())


@cache
def symbols() -> frozenset[str]:
    """The characters that make no word: punctuation, control characters, ends of sentences."""
    controls = (chr(point) for first, end in _CONTROLS for point in range(first, end))
    return frozenset(_PUNCTUATION).union(controls, sentence_ends())


@cache
def character_flags() -> npt.NDArray[np.uint8]:
    """The flags above of every code point, shape (0x110000,)."""
    table = np.zeros(NUM_CODE_POINTS, np.uint8)
    for points in _ASSIGNED:
        table[points.start : points.stop] = [_find_flags(chr(point)) for point in points]
    for flag, characters in ((LINE_BREAK, _LINE_BREAKS), (SYMBOL, symbols()), (SENTENCE_END, sentence_ends())):
        table[[ord(character) for character in characters]] |= flag
    for first, end in _ALONE:
        is_word = table[first:end] & WORD > 0
        table[first:end][is_word] |= ALONE
    return table


def _find_flags(character: str) -> int:
    letter, either = character.isalpha(), character.isalnum()
    joins = either or character == "_" or unicodedata.category(character)[0] == "M"
    return SPACE * character.isspace() | LETTER * letter | ALPHANUMERIC * either | WORD * joins


@cache
def lower_case() -> npt.NDArray[np.uint32]:
    """The code point of the lower case of every code point, where that is one character; shape (0x110000,)."""
    table = np.arange(NUM_CODE_POINTS, dtype=np.uint32)
    for point in _ASSIGNED[0]:
        lower = chr(point).lower()
        if len(lower) == 1:
            table[point] = ord(lower)
    return table
