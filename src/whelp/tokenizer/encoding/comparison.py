"""How a fast library is held against the reference: texts made to be nasty, and what its failures mean."""

from __future__ import annotations

from whelp.base.errors import TokenizerError, say_first_line

NASTY = (
    "",
    " ",
    "Hello world, it's 12345 and we'll've done. DON'T  stop\tnow\n",
    "  leading, trailing  \n\n\n \r\n \t\t mixed   \u00a0\u2003\u3000 end ",
    "def f(x):\n    if x:\n\t\treturn [1, 2.5e-3]  # note\n\n\n        pass\n",
    "naïve café Ünïcödé ﬁ ﬀ ß ſ İ ı Ǆ ΑΒΓ ς жыё עברית العربية ไทย हिन्दी ༄ ᚠᛇ",
    "e\u0301 o\u0308\u0301 a\u0316\u0301\u0327 \u1e9b\u0323 \u0344 \u0958 \u2126 \u212b \u1100\u1161\u11a8 \u0f73\u0f71",
    "日本語のテキスト。中文，没有空格！한국어 텍스트 ｆｕｌｌ １２３",
    "👍🏽👩‍👩‍👧‍👦🇩🇪🏴\u200d☠️ \U0001f9ff\U000e0061 🙂🙂",
    "\x00\x01\x07\x1b[0m\x7f\x80\x9f\ufeff\u200b\u200e\u2028\u2029\ufffd\ufffe\U0010ffff",
    "①②½²³ⅷ٣٤५ 1,234,567.89 0xFF 1e10 １ 𝟘𝟙 12345678901234567890",
    "’s 'S 'T'LL 'ſ ''' --- ... !!!!???? $$$ <<>> {}[]()|\\/ ~`@#%^&*_+=",
    "https://example.org/a?b=c&d=%20#e user@mail.example C:\\dir\\file.txt",
    "<|endoftext|> <|pad|> <unk> <s></s> <|im_start|>user<|endoftext|><|endoftext|> < |endoftext| >",
    "a" * 300 + " " * 70 + "\n" * 20 + "=" * 100 + "字" * 50 + "\u0301" * 12,
    "".join(map(chr, range(0x20, 0x250))),
    " ".join(map(chr, range(0x2000, 0x2070))),
)

BROAD = tuple(  # one character in 29 of those in use, between letters, digits and signs
    "".join(f"a{chr(point)}1{chr(point)}. {chr(point)}" for point in range(start, start + 29 * 32, 29))
    for start in (*range(0x250, 0xD400, 29 * 32), *range(0xF900, 0x1FC00, 29 * 32))
)

# Is it of a word, or white space? On these encoders differ.
_BESIDE = "aé1²_-\u0301\u0903\u20dd\u200c\u200d字🙂 \n\t\r\v\f\x1c\x85\u00a0\u1680\u180e\u2028\u200b\u3000"


def surround(literal: str) -> str:
    """An added token that wants to stand alone, or to take white space along, beside what is hard to tell."""
    return "".join(
        f"{character} {literal}{character} {character}{literal} {character}{literal}{character}" for character in _BESIDE
    )


def describe_failure(error: BaseException) -> str:
    """Why a library written in Rust has failed, whose panics are no `Exception`; what is not its own is raised again."""
    if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError, TokenizerError)):
        raise error
    return say_first_line(error)
