"""Byte-level BPE: start from the 256 bytes, merge the most frequent neighbours, again and again.

Sennrich et al. 2016 (arXiv:1508.07909); byte-level as in GPT-2 (Radford et al. 2019). The merges are those of
`tokenizers.trainers.BpeTrainer`, ties included; learned by gigatoken, some four times faster and in less memory.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from whelp.tokenizer._arrow import Texts, iter_lists, join_bytes
from whelp.tokenizer._bytes import spell_bytes
from whelp.tokenizer.config import LearnConfig
from whelp.tokenizer.learning.build import build_bpe, make_cutter, make_splitter
from whelp.tokenizer.learning.counted_merges import open_counter
from whelp.tokenizer.vocabulary import Vocabulary

_SEPARATOR = b"\xff"  # a byte that UTF-8 never uses: no text can hold it by accident
_BLOCK_BYTES = 1 << 17  # looked through at once for a word that is not merged to its end


def learn_bpe(strings: Iterator[Texts], config: LearnConfig) -> Vocabulary:
    """Learn a byte-level BPE from large_string arrays; no merge crosses two documents.

    Deterministic. With `pattern: gpt2` the text waits in a temporary file, so memory stays flat.
    """
    num_merges = config.vocab_size - 256 - len(config.control_tokens())
    if config.pattern == "gpt2":
        merges = _learn_fast(strings, num_merges, make_cutter(config))
    else:
        merges = _learn_by_pattern(strings, num_merges, config)
    return build_bpe(merges, config)


def _learn_fast(strings: Iterator[Texts], num_merges: int, cutter: Any) -> list[tuple[str, str]]:
    import gigatoken

    with tempfile.TemporaryDirectory(prefix="whelp-bpe-") as folder:
        path = Path(folder) / "text"
        with open(path, "wb") as file:
            for batch in strings:
                file.write(join_bytes(batch, _SEPARATOR))
                file.write(_SEPARATOR)
        source = gigatoken.TextFileSource([path], separator=_SEPARATOR)
        with _silence:
            _, merges = gigatoken.train_bpe(source, 256 + num_merges, [], separator=_SEPARATOR)
            is_exhausted = _is_exhausted(merges, path)
        if is_exhausted:
            documents = ([row.decode() for row in block.split(_SEPARATOR)] for block in _iter_blocks(path))
            return _train_reference(documents, num_merges, cutter)
    return [(spell_bytes(left), spell_bytes(right)) for left, right in merges]


def _is_exhausted(merges: list[tuple[bytes, bytes]], path: Path) -> bool:
    """Whether every word of the text is one token, so that nothing is left to merge.

    There gigatoken goes on out of nothing: pairs that occur no more, and earlier merges again, out of their order. A text
    with any word still in parts is not exhausted, so the first block of all but tiny corpora ends the search.
    """
    from gigatoken.gigatoken_rs import pretokenized_counts

    tokens = {bytes([byte]) for byte in range(256)} | {left + right for left, right in merges}
    return all(word in tokens for block in _iter_blocks(path) for word, _ in pretokenized_counts(block, separator=_SEPARATOR))


def _iter_blocks(path: Path) -> Iterator[bytes]:
    """Yield the file in blocks of whole documents."""
    with open(path, "rb") as file:
        rest = b""
        while block := file.read(_BLOCK_BYTES):
            whole, separator, rest_of_block = block.rpartition(_SEPARATOR)
            if separator:
                yield rest + whole
                rest = rest_of_block
            else:
                rest += block


def _learn_by_pattern(strings: Iterator[Texts], num_merges: int, config: LearnConfig) -> list[tuple[str, str]]:
    cutter = make_cutter(config)
    counter = open_counter(config.pattern_regex or config.pattern, make_splitter(config))
    if counter is None:
        return _train_reference(iter_lists(strings), num_merges, cutter)
    for rows in iter_lists(strings):
        counter.add(rows)
    return counter.learn_merges(num_merges)


def _train_reference(batches: Iterator[list[str]], num_merges: int, cutter: Any) -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = cutter
    trainer = trainers.BpeTrainer(
        vocab_size=256 + num_merges, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(batches, trainer)
    return [(left, right) for left, right in json.loads(tokenizer.to_str())["model"]["merges"]]


class _Silence:
    """Keeps the trainer's own progress lines, which it prints from Rust, out of standard output and error.

    Both are the whole process's: of several threads that learn at once, the first saves them, and the last gives them back.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._num_learning = 0
        self._saved: dict[int, int] = {}

    def __enter__(self) -> None:
        with self._changing:
            if not self._num_learning:
                self._begin()
            self._num_learning += 1

    def __exit__(self, *error: object) -> None:
        with self._changing:
            self._num_learning -= 1
            if not self._num_learning:
                self._end()

    def _begin(self) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        self._saved = {number: os.dup(number) for number in (1, 2)}
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in self._saved:
            os.dup2(nowhere, number)
        os.close(nowhere)

    def _end(self) -> None:
        for number, copy in self._saved.items():
            os.dup2(copy, number)
            os.close(copy)


_silence = _Silence()
