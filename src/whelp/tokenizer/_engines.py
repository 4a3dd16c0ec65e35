"""Encoders behind `Vocabulary.encode_batch`: large_string arrays in, flat ids and offsets out.

`FastEngine` (gigatoken) is 60 to 80 times faster than `ReferenceEngine` (tokenizers), and young: `open_engine` compares
the two on a sample made to be nasty, and takes the slow one where they differ.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from whelp.base.arrays import to_texts, view_text
from whelp.base.errors import TokenizerError
from whelp.base.hashing import hash_bytes
from whelp.base.log import log
from whelp.tokenizer._arrow import Texts, code_points
from whelp.tokenizer._cache import keep, read_cached
from whelp.tokenizer._new_letters import AgreeingEngine
from whelp.tokenizer._normalizing import NORMAL_FORMS, NormalizingEngine

Encoded = tuple[npt.NDArray[Any], npt.NDArray[np.int64]]  # flat ids, offsets (documents + 1)

_KEPT_FROM_IDS = 16_384  # smaller ones are compared in no time

_NASTY = (
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


class Engine(Protocol):
    """What `Vocabulary` asks of an encoder."""

    def encode_batch(self, strings: Texts) -> Encoded: ...

    def encode(self, text: str) -> npt.NDArray[Any]: ...


class FastEngine:
    """gigatoken over Arrow's own buffers: no Python object per document or token."""

    def __init__(self, specification_json: str) -> None:
        import gigatoken
        from gigatoken.gigatoken_rs import load_hf_json

        # The wrapper chooses threads, or none inside a worker process, where the thread pool would hang after a fork.
        self._tokenizer = gigatoken.Tokenizer(load_hf_json(specification_json))

    def encode_batch(self, strings: Texts) -> Encoded:
        import awkward

        data, offsets = view_text(strings)
        if not len(strings):
            return np.zeros(0, np.uint32), offsets
        bytes_layout = awkward.contents.NumpyArray(data, parameters={"__array__": "char"})
        lists = awkward.contents.ListOffsetArray(
            awkward.index.Index64(offsets), bytes_layout, parameters={"__array__": "string"}
        )
        layout = self._tokenizer.encode_batch(awkward.Array(lists)).layout
        ends = np.asarray(layout.offsets.data)
        return np.asarray(layout.content.data)[ends[0] : ends[-1]], ends - ends[0]

    def encode(self, text: str) -> npt.NDArray[Any]:
        return np.asarray(self._tokenizer.encode(text))


def _write(specification: dict[str, Any]) -> str:
    return json.dumps(specification, ensure_ascii=False, separators=(",", ":"))


class ReferenceEngine:
    """tokenizers: slow and exact by definition; makes Python lists."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode_batch(self, strings: Texts) -> Encoded:
        parts = [np.zeros(0, np.uint32)]
        lengths = [np.zeros(1, np.int64)]
        for start in range(0, len(strings), 1024):
            encodings = self._tokenizer.encode_batch_fast(strings.slice(start, 1024).to_pylist(), add_special_tokens=False)
            lists = [encoding.ids for encoding in encodings]
            lengths.append(np.fromiter(map(len, lists), np.int64, len(lists)))
            parts.append(np.fromiter(itertools.chain.from_iterable(lists), np.uint32))
        return np.concatenate(parts), np.cumsum(np.concatenate(lengths))

    def encode(self, text: str) -> npt.NDArray[Any]:
        return self.encode_batch(to_texts([text]))[0]


class WordEngine(ReferenceEngine):
    """The reference, with an error that says which word is unknown, and where."""

    def __init__(self, tokenizer: Tokenizer, vocabulary: dict[str, int]) -> None:
        super().__init__(tokenizer)
        self._vocabulary = vocabulary

    def encode_batch(self, strings: Texts) -> Encoded:
        try:
            return super().encode_batch(strings)
        except Exception:
            for document, text in enumerate(strings.to_pylist()):
                for piece, (start, _) in self._tokenizer.pre_tokenizer.pre_tokenize_str(text):
                    if piece not in self._vocabulary:
                        raise TokenizerError(
                            f"document {document}, character {start}",
                            f"{piece!r} is not in this vocabulary of words",
                            "",
                            "Learn it from this text too, with a larger vocab_size, or with unknown: token.",
                        ) from None
            raise


class CharacterEngine:
    """One table look-up per character."""

    def __init__(self, vocabulary: dict[str, int], unk_id: int | None) -> None:
        self._num_known = sum(len(token) == 1 for token in vocabulary)
        self._unk_id = unk_id
        self._table = np.full(0x110000, -1 if unk_id is None else unk_id, np.int32)
        for token, token_id in vocabulary.items():
            if len(token) == 1:
                self._table[ord(token)] = token_id

    def encode_batch(self, strings: Texts) -> Encoded:
        points, offsets = code_points(strings)
        ids = self._table[points]
        if self._unk_id is None and len(ids) and ids.min() < 0:
            position = int(np.argmax(ids < 0))
            document = int(np.searchsorted(offsets, position, side="right")) - 1
            character = chr(points[position])
            raise TokenizerError(
                f"document {document}, character {position - int(offsets[document])}",
                f"{character!r} (U+{ord(character):04X}) is not among the {self._num_known} characters of this vocabulary",
                "",
                "Learn it from this text too, learn with unknown: token, or choose learn: bpe, which can write every text.",
            )
        return ids, offsets

    def encode(self, text: str) -> npt.NDArray[Any]:
        return self.encode_batch(to_texts([text]))[0]


def open_engine(
    specification: dict[str, Any], open_reference: Callable[[], Tokenizer], literals: Sequence[str], name: str
) -> Engine:
    """Open the fast engine if it agrees with the reference on the nasty sample and on `literals`, else the reference.

    The comparison of a large vocabulary takes a second, most of it to build the reference; that it went well is kept.
    """
    if specification["model"].get("type", "BPE") != "BPE":  # gigatoken knows no other of these kinds
        return ReferenceEngine(open_reference())
    sample = [*_NASTY, *(f"a {literal}{literal} b\n{literal}" for literal in literals)]
    is_large = len(specification["model"]["vocab"]) > _KEPT_FROM_IDS
    specification_json = _write(specification)
    record = f"{_hash_comparison(specification_json, sample)}.agrees" if is_large else ""
    is_known = is_large and read_cached(record) is not None
    reference = None if is_known else open_reference()
    try:
        fast: Engine
        is_normalized = (specification.get("normalizer") or {}).get("type") in NORMAL_FORMS
        if is_normalized and all(not entry["special"] for entry in specification["added_tokens"]):
            without = FastEngine(_write({**specification, "normalizer": None}))
            fast = NormalizingEngine(without, specification["normalizer"]["type"])
        else:
            fast = FastEngine(specification_json)
        fast = AgreeingEngine(fast, lambda: ReferenceEngine(open_reference()))
        if reference is None:
            return fast
        strings = to_texts(sample)
        ids, offsets = fast.encode_batch(strings)
    except BaseException as error:  # a Rust panic is no Exception
        if isinstance(error, (KeyboardInterrupt, SystemExit, MemoryError)):
            raise
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        log.warning("%s: the fast encoder cannot read it (%s); encoding with the slow one.", name, reason)
        return ReferenceEngine(reference or open_reference())
    slow = ReferenceEngine(reference)
    expected_ids, expected_offsets = slow.encode_batch(strings)
    if np.array_equal(offsets, expected_offsets) and np.array_equal(ids, expected_ids):
        if is_large:
            keep(record, name)
        return fast
    differs = next(
        text
        for row, text in enumerate(sample)
        if not np.array_equal(
            ids[offsets[row] : offsets[row + 1]], expected_ids[expected_offsets[row] : expected_offsets[row + 1]]
        )
    )
    log.warning("%s: the fast encoder differs from the reference at %.40r; encoding with the slow one.", name, differs)
    return slow


def _hash_comparison(specification_json: str, sample: Sequence[str]) -> str:
    versions = [importlib.metadata.version(package) for package in ("gigatoken", "tokenizers")]
    return hash_bytes(json.dumps([versions, sample]).encode(), specification_json.encode())
