"""The encoders themselves, each of which reads all of a text.

`FastEngine` (gigatoken) is 60 to 80 times faster than `ReferenceEngine` (tokenizers), and young; `choose.py` says which one
is taken.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from whelp.base.arrays import view_text
from whelp.base.errors import TokenizerError
from whelp.tokenizer._arrow import Encoded, Texts, code_points
from whelp.tokenizer.encoding.engine import Engine
from whelp.tokenizer.encoding.word_limit import WordLimit


class FastEngine(Engine):
    """gigatoken over Arrow's own buffers: no Python object per document or token. What it remembers of words has a limit."""

    def __init__(self, specification_json: str) -> None:
        self._json = specification_json
        self._tokenizer = self._open()
        self._limit = WordLimit()

    def _open(self) -> Any:
        import gigatoken
        from gigatoken.gigatoken_rs import load_hf_json

        # The wrapper chooses threads, or none inside a worker process, where the thread pool would hang after a fork.
        return gigatoken.Tokenizer(load_hf_json(self._json))

    def encode_batch(self, strings: Texts) -> Encoded:
        from whelp.tokenizer.encoding.awkward_texts import as_awkward

        data, offsets = view_text(strings)
        if not len(strings):
            return np.zeros(0, np.uint32), offsets
        layout = self._tokenizer.encode_batch(as_awkward(data, offsets)).layout
        ends = np.asarray(layout.offsets.data)
        if self._limit.is_reached(int(offsets[-1] - offsets[0])):
            self._tokenizer = self._open()  # other threads end what they do with the one of before, which then goes
        return np.asarray(layout.content.data)[ends[0] : ends[-1]], ends - ends[0]

    def encode(self, text: str) -> npt.NDArray[Any]:
        return np.asarray(self._tokenizer.encode(text))


class PatternEngine(Engine):
    """fastokens, for what gigatoken refuses, such as splitting patterns of one's own: 5 to 18 times as fast as `tokenizers`.

    Takes Python strings, and gives flat buffers.
    """

    def __init__(self, specification_json: str) -> None:
        import fastokens

        self._tokenizer = fastokens.Tokenizer.from_json_str(specification_json)

    def encode_batch(self, strings: Texts) -> Encoded:
        ids, offsets = self._tokenizer.encode_batch_flat(strings.to_pylist())
        return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.uint64).astype(np.int64)


class ReferenceEngine(Engine):
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


class WordEngine(Engine):
    """`engine`, with an error that says which word is unknown, and where."""

    def __init__(self, engine: Engine, open_reference: Callable[[], Tokenizer], vocabulary: dict[str, int]) -> None:
        self._engine, self._open_reference, self._vocabulary = engine, open_reference, vocabulary

    def encode_batch(self, strings: Texts) -> Encoded:
        try:
            return self._engine.encode_batch(strings)
        except Exception:
            cutter = self._open_reference().pre_tokenizer
            for document, text in enumerate(strings.to_pylist()):
                for piece, (start, _) in cutter.pre_tokenize_str(text):
                    if piece not in self._vocabulary:
                        raise TokenizerError(
                            _say_place(document, start, len(strings)),
                            f"{piece!r} is not in this vocabulary of words",
                            "",
                            "Learn it from this text too, with a larger vocab_size, or with unknown: token.",
                        ) from None
            raise


class CharacterEngine(Engine):
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
                _say_place(document, position - int(offsets[document]), len(strings)),
                f"{character!r} (U+{ord(character):04X}) is not among the {self._num_known} characters of this vocabulary",
                "",
                "Learn it from this text too, learn with unknown: token, or choose learn: bpe, which can write every text.",
            )
        return ids, offsets


def _say_place(document: int, character: int, num_documents: int) -> str:
    """Where a text cannot be encoded; a single one, such as a prompt, has no number."""
    return f"text, character {character}" if num_documents == 1 else f"document {document}, character {character}"
