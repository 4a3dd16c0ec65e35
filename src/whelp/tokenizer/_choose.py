"""Which engine encodes: the fastest one that agrees with the reference on a sample made to be nasty."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from whelp.base.arrays import to_texts
from whelp.base.errors import TokenizerError
from whelp.base.hashing import hash_bytes
from whelp.base.log import log
from whelp.tokenizer._arrow import Encoded, Texts
from whelp.tokenizer._borders import find_borders
from whelp.tokenizer._cache import keep, read_cached
from whelp.tokenizer._engine import Engine
from whelp.tokenizer._engines import FastEngine, PatternEngine, ReferenceEngine
from whelp.tokenizer._long_texts import PartwiseEngine, can_cut
from whelp.tokenizer._new_letters import AgreeingEngine
from whelp.tokenizer._normalizing import NORMAL_FORMS, NormalizingEngine
from whelp.tokenizer._pieces import PiecewiseEngine
from whelp.tokenizer._specification import dump_json
from whelp.tokenizer._wordwise import WordwiseEngine

_KEPT_FROM_IDS = 16_384  # smaller ones are compared in no time
# package -> engine, the fastest first
_FAST: dict[str, type[FastEngine] | type[PatternEngine]] = {"gigatoken": FastEngine, "fastokens": PatternEngine}

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


# Is it of a word, or white space? On these encoders differ.
_BESIDE = "aé1²_-\u0301\u0903\u20dd\u200c\u200d字🙂 \n\t\r\v\f\x1c\x85\u00a0\u1680\u180e\u2028\u200b\u3000"
_PECULIARITIES = ("single_word", "lstrip", "rstrip")  # of added tokens, which want to know it

BROAD = tuple(  # one character in 29 of those in use, between letters, digits and signs
    "".join(f"a{chr(point)}1{chr(point)}. {chr(point)}" for point in range(start, start + 29 * 32, 29))
    for start in (*range(0x250, 0xD400, 29 * 32), *range(0xF900, 0x1FC00, 29 * 32))
)


def open_engine(
    specification: dict[str, Any],
    open_reference: Callable[[], Tokenizer],
    literals: Sequence[str],
    id_type: type[np.uint16] | type[np.uint32],
    name: str,
    model_json: str | None = None,
) -> Engine:
    """Open the first fast engine that agrees with the reference on the nasty sample and on `literals`, else the reference.

    The comparison of a large vocabulary takes a second, most of it to build the reference; that it went well is kept.

    Args:
        model_json: The text of `specification["model"]`, where it is at hand: writing it again takes as long as encoding 20 MB.
    """
    peculiar = [entry["content"] for entry in specification["added_tokens"] if any(map(entry.get, _PECULIARITIES))]
    sample = [*NASTY, *(f"a {literal}{literal} b\n{literal}" for literal in literals), *map(_surround, peculiar[:64])]
    if specification["model"].get("type", "BPE") != "BPE":  # no fast engine knows other kinds
        return _open_wordwise(specification, open_reference(), sample)
    is_large = len(specification["model"]["vocab"]) > _KEPT_FROM_IDS
    written = _write(specification, model_json)
    reference: ReferenceEngine | None = None
    problem = ""
    for package, engine in _FAST.items():
        if engine is PatternEngine:  # what the classes of a pattern hold is its own matter
            sample = [*sample, *BROAD]
        if importlib.util.find_spec(package) is None:
            problem += '; `pip install "whelp[patterns]"` may help'
            continue
        is_cut = engine is FastEngine and can_cut(specification)
        record = f"{_hash_comparison(package, written, sample, is_cut)}.agrees" if is_large else ""
        is_known = is_large and read_cached(record) is not None
        differs = None
        try:
            opened = _open_fast(engine, specification, written, model_json)
            fast = AgreeingEngine(opened, lambda: ReferenceEngine(open_reference()))
            if not is_known:
                reference = reference or ReferenceEngine(open_reference())
                differs = _find_difference(fast, reference, to_texts(sample))
                if is_cut and differs is None:  # cut wherever it may be
                    differs = _find_difference(PartwiseEngine(fast, part_bytes=1), reference, to_texts(sample))
        except BaseException as error:  # a Rust panic is no Exception
            if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError, TokenizerError)):
                raise
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            problem = problem or f"the fast encoder cannot read it ({reason})"
            continue
        if differs is None:
            if is_large and not is_known:
                keep(record, name)
            if engine is not FastEngine:
                return fast
            piecewise = PiecewiseEngine(fast, id_type)
            return PartwiseEngine(piecewise) if is_cut else piecewise
        problem = problem or f"the fast encoder differs from the reference at {differs!r:.40}"
    log.warning("%s: %s; encoding with the slow one.", name, problem)
    return reference or ReferenceEngine(open_reference())


def _surround(literal: str) -> str:
    """An added token that wants to stand alone, or to take white space along, beside what is hard to tell."""
    return "".join(
        f"{character} {literal}{character} {character}{literal} {character}{literal}{character}" for character in _BESIDE
    )


def _open_wordwise(specification: dict[str, Any], tokenizer: Tokenizer, sample: Sequence[str]) -> Engine:
    """The reference behind a memory of words, where it is certain that texts may be cut into words; else the reference."""
    reference = ReferenceEngine(tokenizer)
    normalizer = tokenizer.normalizer
    added = {entry["content"] for entry in specification["added_tokens"]}
    hidden = [entry.content for entry in tokenizer.get_added_tokens_decoder().values() if entry.content not in added]
    borders = find_borders(specification, normalizer.normalize_str if normalizer else str, hidden)
    if borders is None:
        return reference
    wordwise = WordwiseEngine(reference, borders)
    strings = to_texts(sample)
    try:
        reference.encode_batch(strings)
    except Exception:  # there is no id for the unknown: nothing to compare; what `tokenizers` raises has no type of its own
        return PartwiseEngine(wordwise)
    return PartwiseEngine(wordwise) if _find_difference(wordwise, reference, strings) is None else reference


def _open_fast(
    engine: type[FastEngine] | type[PatternEngine], specification: dict[str, Any], written: str, model_json: str | None
) -> Engine:
    form = (specification.get("normalizer") or {}).get("type")
    if form in NORMAL_FORMS and all(not entry["special"] for entry in specification["added_tokens"]):
        return NormalizingEngine(engine(_write({**specification, "normalizer": None}, model_json)), form)
    return engine(written)


def _find_difference(fast: Engine, reference: Engine, strings: Texts) -> str | None:
    """The first text of which the two give different ids, or None."""
    found, expected = fast.encode_batch(strings), reference.encode_batch(strings)
    if all(np.array_equal(one, other) for one, other in zip(found, expected, strict=True)):
        return None
    rows = range(len(strings))
    row = next(row for row in rows if not np.array_equal(_read_row(found, row), _read_row(expected, row)))
    return str(strings[row].as_py())


def _read_row(encoded: Encoded, row: int) -> Any:
    ids, offsets = encoded
    return ids[offsets[row] : offsets[row + 1]]


def _write(specification: dict[str, Any], model_json: str | None) -> str:
    if model_json is None:
        model_json = dump_json(specification["model"])
    rest = dump_json({name: value for name, value in specification.items() if name != "model"})
    return f'{rest[:-1]}{"," if len(rest) > 2 else ""}"model":{model_json}}}'


def _hash_comparison(package: str, written: str, sample: Sequence[str], is_cut: bool) -> str:
    versions = [importlib.metadata.version(name) for name in (package, "tokenizers")]
    return hash_bytes(json.dumps([package, versions, sample, is_cut]).encode(), written.encode())
