"""Texts are cut for encoding only where the pre-tokenizer cuts them, too: the pieces of the parts are those of the whole."""

import itertools
import json
import random

import numpy as np
import pytest
from tokenizers import Regex, normalizers, pre_tokenizers

from whelp.tokenizer._patterns import PATTERNS, WORD_PATTERN
from whelp.tokenizer.encoding.borders import find_borders

from .samples import CHARSMAP, NUM_FUZZED, make_charsmap

_RUNS = normalizers.Replace(Regex(" {2,}"), " ")
_SIGNS = (normalizers.Replace("``", '"'), normalizers.Replace("''", '"'))


def cut_by(pattern: str) -> pre_tokenizers.PreTokenizer:
    """As learned vocabularies have it."""
    split = pre_tokenizers.Split(Regex(pattern), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


CERTAIN = {
    "gpt2": (None, pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "gpt2-prefix": (None, pre_tokenizers.ByteLevel(add_prefix_space=True)),
    "gpt2-nfc": (normalizers.NFC(), pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "gpt4": (None, cut_by(PATTERNS["gpt4"])),
    "code": (None, cut_by(PATTERNS["code"])),
    "o200k": (None, cut_by(PATTERNS["o200k"])),
    "words": (None, pre_tokenizers.Split(Regex(WORD_PATTERN), "isolated")),
    "metaspace": (None, pre_tokenizers.Metaspace()),
    "metaspace-first": (normalizers.NFKC(), pre_tokenizers.Metaspace(prepend_scheme="first")),
    "metaspace-never": (
        normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC(), normalizers.Lowercase(), _RUNS]),
        pre_tokenizers.Metaspace(prepend_scheme="never"),
    ),
    "albert": (
        normalizers.Sequence(
            [*_SIGNS, normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), normalizers.Nmt(), _RUNS]
        ),
        pre_tokenizers.Metaspace(),
    ),
    "xlm-r": (normalizers.Sequence([normalizers.Precompiled(CHARSMAP), _RUNS]), pre_tokenizers.Metaspace()),
    "mt5": (
        normalizers.Precompiled(CHARSMAP),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
    ),
    "t5": (
        normalizers.Sequence([normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), "▁")]),
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]),
    ),
    "bert": (normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()),
    "bert-cased": (normalizers.BertNormalizer(lowercase=False, strip_accents=False), pre_tokenizers.BertPreTokenizer()),
    "digits": (
        normalizers.NFD(),
        pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(individual_digits=True)]),
    ),
}
UNCERTAIN = {
    "no pre-tokenizer": (None, None),
    "one piece": (None, pre_tokenizers.Metaspace(split=False)),
    "unknown pattern": (None, cut_by(r"[^ ]* [^ ]*")),
    "first digits": (None, pre_tokenizers.Sequence([pre_tokenizers.Digits(), pre_tokenizers.WhitespaceSplit()])),
    "a prefix": (normalizers.Prepend("▁"), pre_tokenizers.Metaspace()),
    "stripped on the left": (normalizers.Strip(), pre_tokenizers.Metaspace(prepend_scheme="never")),
    "spaces replaced": (normalizers.Replace(" ", "_"), pre_tokenizers.Metaspace()),
    "any white space replaced": (normalizers.Replace(Regex(r"\s"), ""), pre_tokenizers.WhitespaceSplit()),
    "spaces made": (normalizers.Replace("a", " "), pre_tokenizers.Metaspace()),
    "words taken out": (normalizers.Sequence([normalizers.Replace("xy", ""), _RUNS]), pre_tokenizers.Metaspace()),
    "letters taken out": (normalizers.Sequence([normalizers.Replace("é", ""), _RUNS]), pre_tokenizers.Metaspace()),
    "letters taken out with what is before them": (
        normalizers.Sequence([normalizers.Precompiled(make_charsmap({"\u0600": ""})), _RUNS]),
        pre_tokenizers.Metaspace(),
    ),
    "spaces made of letters": (normalizers.Precompiled(make_charsmap({"a": "\u0301 "})), pre_tokenizers.Metaspace()),
    "made small and taken out": (
        normalizers.Sequence([normalizers.Replace("q", "k"), normalizers.Lowercase(), normalizers.Replace("qq", ""), _RUNS]),
        pre_tokenizers.Metaspace(),
    ),
    "words that become marks": (normalizers.Replace("xy", "\u0301"), pre_tokenizers.Metaspace()),
    "put in everywhere": (normalizers.Replace("", "x"), pre_tokenizers.Metaspace()),
}


def find(normalizer, cutter, added=(), hidden=()):
    """The borders by what a tokenizer.json says."""
    specification = {
        "normalizer": json.loads(normalizer.__getstate__()) if normalizer else None,
        "pre_tokenizer": json.loads(cutter.__getstate__()) if cutter else None,
        "added_tokens": list(added),
    }
    return find_borders(specification, normalizer.normalize_str if normalizer else str, hidden)


def find_pieces(normalizer, cutter, texts: list[str]) -> list[str]:
    """All that is encoded by itself, one after the other."""
    normal = [normalizer.normalize_str(text) if normalizer else text for text in texts]
    return [piece for text in normal for piece, _ in cutter.pre_tokenize_str(text)]


def cut(borders, documents: list[str]) -> list[list[str]]:
    """The parts of each document, all documents at once."""
    raw = [document.encode() for document in documents]
    places = np.concatenate([[0], np.cumsum([len(document) for document in raw])])
    text = b"".join(raw)
    is_start = borders.find(np.frombuffer(text, np.uint8), places)
    assert len(is_start) == len(text) + 1
    is_start[places] = True
    starts = np.flatnonzero(is_start)
    parts = [text[first:end].decode() for first, end in itertools.pairwise(starts.tolist())]
    rows = itertools.pairwise(np.searchsorted(starts, places).tolist())
    return [parts[first:end] for first, end in rows]


def make_contexts(characters: list[str]) -> list[str]:
    """Each character beside letters, digits, signs, quotes, marks, itself, and all kinds of white space."""
    return [
        f"a{c}b {c}c 1{c}1\n{c}\n {c}{c} .{c}. '{c} {c}'s  {c}x \n{c}\t\n{c} \n {c}  \n\n{c}a{c}  a{c} b{c}\nc,{c}\n{c},\u0301{c} \u0301 b  "
        for c in characters
    ]


SOME = [
    chr(point) for point in (*range(0x20), 0x20, 0x27, 0x30, 0x41, 0x5F, 0x7F, *range(0x80, 0xB8), *range(0x2000, 0x2070))
] + [chr(point) for point in range(0xB9, 0x1FC00, 997) if not 0xD800 <= point < 0xE000]
POOL = [
    *" \n\t\r'aé1²½_.,-▁«字ीsStTlL…ＡⅧ",
    *"\u0301\u00a0\u3000\u2028\x1c\x85\v\u180e\u200b\u200d\ufeff\u0e33\u0600\u1100\uff9e\ufffd🙂",
]


@pytest.mark.parametrize("name", CERTAIN)
def test_parts_have_the_pieces_of_the_whole(name):
    """Whatever stands beside whatever; and there are borders at all."""
    normalizer, cutter = CERTAIN[name]
    borders = find(normalizer, cutter)
    assert borders is not None
    rng = random.Random(name)
    pools = [POOL[:6], POOL[:12], POOL]
    fuzzed = ["".join(rng.choices(rng.choice(pools), k=rng.randrange(14))) for _ in range(4 * NUM_FUZZED)]
    documents = [*make_contexts(SOME), "", *fuzzed, "the end"]
    found = cut(borders, documents)
    for document, parts in zip(documents, found, strict=True):
        assert "".join(parts) == document
        assert find_pieces(normalizer, cutter, parts) == find_pieces(normalizer, cutter, [document])
    assert sum(map(len, found[: len(SOME)])) > 3 * len(SOME)


def test_words_are_cut_off():
    """What a border is for: words recur, also where they stand before signs and newlines."""
    (gpt2,) = cut(find(*CERTAIN["gpt2"]), ["It isn't, no.\n\n  Why: été 日本 12"])
    assert gpt2 == ["It", " isn", "'t", ",", " no", ".", "\n\n ", " Why", ":", " été", " 日本", " 12"]
    (metaspace,) = cut(find(*CERTAIN["metaspace-never"]), ["It isn't, no.\nWhy:  or"])
    assert metaspace == ["It", " isn't,", " no.", "\nWhy:  or"]


def test_the_charsmap_of_these_tests():
    """`tokenizers` reads it: what stands for nothing, for a space, for several letters, and a mark that goes with its letter."""
    normal = normalizers.Precompiled(CHARSMAP).normalize_str("Ａ\u3000ﬁ½\x01\u200bE\u0301 \u0301b")
    assert normal == "a fi1⁄2 é b"


@pytest.mark.parametrize("name", UNCERTAIN)
def test_no_borders_without_certainty(name):
    """What may look across a space, or is not known."""
    assert find(*UNCERTAIN[name]) is None


@pytest.mark.parametrize(
    ("added", "is_certain"),
    [
        ({"content": "<mask>", "lstrip": True}, True),
        ({"content": "<mask>", "rstrip": True}, False),
        ({"content": "a b"}, False),
        ({"content": "a▁b"}, False),
        ({"content": "\ufdfa"}, False),  # four words
        ({"content": "\u0301"}, False),  # nothing
    ],
)
def test_added_tokens(added, is_certain):
    """None may lie across a space, nor take the one behind it along; the finer borders would cut them."""
    forms = normalizers.Sequence([normalizers.NFKC(), normalizers.StripAccents()])
    borders = find(forms, pre_tokenizers.Metaspace(), [added])
    assert (borders is not None) == is_certain
    if borders is not None:
        assert cut(borders, ["a <mask>, b"]) == [["a", " <mask>,", " b"]]


def test_hidden_tokens():
    """A control token that stays text hides other added tokens within it, also across a space."""
    ordinary = [{"content": "b|"}]
    assert find(*CERTAIN["metaspace"], ordinary, ["<|a b|>"]) is None
    assert find(*CERTAIN["metaspace"], ordinary, ["<|ab|>"]) is not None
    assert find(*CERTAIN["metaspace"], [], ["<|a b|>"]) is not None
