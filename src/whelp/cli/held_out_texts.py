"""Texts that nobody trains on, to compare models of different data and vocabularies by."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from whelp.artifacts.token_store import TokenSplit, TokenStore, open_store
from whelp.base.errors import SourceError, WhelpError
from whelp.base.hashing import hash_bytes
from whelp.base.seeds import make_generator
from whelp.cli.mixture import MixtureEntry
from whelp.cli.recipe import load_recipe

if TYPE_CHECKING:
    from whelp.tokenizer.vocabulary import Vocabulary

_LEAST_CUT = 1000  # characters of a text that stands for others: how it goes on is worth more than how it begins
_NAMED = re.compile(r"(\w[\w .-]*)=(.+)", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class HeldOutTexts:
    """Texts and where they are from: `sources[number]` is a place in `names`. `left_out` counts texts by reason."""

    names: list[str]
    texts: list[str]
    sources: npt.NDArray[np.int64]
    left_out: dict[str, int] = field(default_factory=dict)

    @cached_property
    def num_bytes(self) -> npt.NDArray[np.int64]:
        """(D,) length of each text in UTF-8."""
        return np.array([len(text.encode()) for text in self.texts], np.int64)

    @cached_property
    def fingerprint(self) -> str:
        """One name for these texts in this order."""
        return hash_bytes(*(part for text in self.texts for part in (text.encode(), b"\0")))

    def without(self, is_out: npt.NDArray[np.bool_], reason: str) -> HeldOutTexts:
        """The others; counted under the reason."""
        kept = np.flatnonzero(~is_out)
        counts = {**self.left_out, reason: int(is_out.sum())} if is_out.any() else self.left_out
        return HeldOutTexts(
            names=self.names, texts=[self.texts[number] for number in kept], sources=self.sources[kept], left_out=counts
        )

    def sample(self, max_bytes: int) -> HeldOutTexts:
        """About so much of them, of each source its share: texts from its beginning to its end, long ones cut."""
        if self.num_bytes.sum() <= max_bytes:
            return self
        texts, sources = list[str](), list[int]()
        for source in range(len(self.names)):
            own = np.flatnonzero(self.sources == source)
            if not len(own):
                continue
            num_bytes = int(self.num_bytes[own].sum())
            wanted = max_bytes * num_bytes / int(self.num_bytes.sum())
            count = min(len(own), math.ceil(wanted / min(num_bytes / len(own), _LEAST_CUT)))
            most = max(_LEAST_CUT, int(wanted / count))
            chosen = own[np.linspace(0, len(own) - 1, count).round().astype(np.int64)]
            texts += [self.texts[number][:most] for number in chosen]
            sources += [source] * count
        return HeldOutTexts(names=self.names, texts=texts, sources=np.array(sources, np.int64))


def read_held_out(asked: Sequence[str], max_bytes: int) -> HeldOutTexts:
    """Read sources, each `SOURCE` or `NAME=SOURCE`, as `data.source` names them; of each, about `max_bytes` from all over.

    Raises:
        SourceError: When one has no text.
    """
    from whelp.cli.prepare import open_recipe_sources
    from whelp.corpus import iter_texts

    found: dict[str, list[str]] = {}
    for entry in asked:
        match = _NAMED.fullmatch(entry)
        is_named = match is not None and not Path(entry).exists()
        source = match[2] if match is not None and is_named else entry
        name = match[1] if match is not None and is_named else MixtureEntry(source=source).label
        opened = open_recipe_sources(load_recipe({"data": {"source": source}}))
        texts = [text for part in iter_texts(opened[0].source, max_bytes) for text in part.to_pylist()]
        found.setdefault(name, []).extend(texts)
    return _lay_out(found)


def read_test_splits(stores: Mapping[str, Path], max_bytes: int, seed: int) -> HeldOutTexts:
    """The test split of each store as text, in the name of its recipe; of each, about `max_bytes`, drawn with the seed.

    Raises:
        SourceError: When no store has one.
    """
    from whelp.tokenizer import load_tokenizer

    found: dict[str, list[str]] = {}
    for name, folder in stores.items():
        store = open_store(folder)
        if not store.manifest.counts["splits"].get("test", {}).get("tokens"):
            continue
        found[name] = _decode(store.split("test"), load_tokenizer(store.tokenizer_folder), max_bytes, seed)
    if not found:
        raise SourceError(
            "the recipes",
            "none of them holds anything out",
            "texts to measure on",
            "Name some: --held-out FILE_OR_FOLDER, or set data.test_split.",
        )
    return _lay_out(found)


def _decode(split: TokenSplit, vocabulary: Vocabulary, max_bytes: int, seed: int) -> list[str]:
    order = make_generator(seed, "held-out texts").permutation(split.num_documents)
    texts, left = dict[int, str](), max_bytes
    for number in order:
        if left <= 0:
            break
        texts[int(number)] = vocabulary.decode(split.document(int(number))["input_ids"])
        left -= len(texts[int(number)].encode())
    return [texts[number] for number in sorted(texts)]


def _lay_out(found: Mapping[str, Sequence[str]]) -> HeldOutTexts:
    """All texts, one source after the other; what is empty, or was there before, is left out and counted."""
    names, texts, sources, seen = list(found), list[str](), list[int](), set[str]()
    num_empty = num_twice = 0
    for place, own in enumerate(found.values()):
        for text in own:
            if not text.strip():
                num_empty += 1
            elif text in seen:
                num_twice += 1
            else:
                seen.add(text)
                texts.append(text)
                sources.append(place)
    counts = {"empty": num_empty, "there twice": num_twice}
    return HeldOutTexts(
        names=names,
        texts=texts,
        sources=np.array(sources, np.int64),
        left_out={reason: count for reason, count in counts.items() if count},
    )


@dataclass(frozen=True)
class EncodedTexts:
    """Held-out texts in the ids of one vocabulary, flat; text i is `ids[offsets[i]:offsets[i + 1]]`."""

    ids: npt.NDArray[Any]
    offsets: npt.NDArray[np.int64]

    def split(self) -> list[npt.NDArray[Any]]:
        """The ids of each text."""
        return np.split(self.ids, self.offsets[1:-1])


def encode_texts(texts: Sequence[str], vocabulary: Vocabulary, where: str) -> EncodedTexts:
    """Encode texts; a vocabulary that does not know a character and has no sign for that is an error.

    Raises:
        WhelpError: Naming the recipe.
    """
    import pyarrow as pa

    try:
        return EncodedTexts(*vocabulary.encode_batch(pa.array(texts, pa.large_string())))
    except WhelpError as error:
        next_step = error.next_step or "Give it a vocabulary that writes any text, such as {learn: bpe}."
        raise type(error)(f"{where}, held-out texts", error.found, error.expected, next_step) from None


def count_unfaithful(texts: Sequence[str], encoded: EncodedTexts, vocabulary: Vocabulary) -> int:
    """Texts that the vocabulary does not give back as they were: what it leaves out, it need not predict."""
    return sum(vocabulary.decode(ids) != text for text, ids in zip(texts, encoded.split(), strict=True))


def find_trained(encoded: EncodedTexts, store: TokenStore, vocabulary: Vocabulary) -> npt.NDArray[np.bool_]:
    """Which of the texts are documents of the training split, word for word, with or without what ends a document."""
    from whelp.prepare.document_hashes import hash_documents, hash_ids

    trained = hash_documents(store.split("train"))
    lengths = np.diff(encoded.offsets)
    is_found = np.isin(hash_ids(encoded.ids, encoded.offsets), trained)
    endings = [vocabulary.encode("\n")]
    if vocabulary.eos_id is not None:
        endings.append(np.array([vocabulary.eos_id]))
    for ending in endings:
        ids = np.insert(
            encoded.ids.astype(np.int64), np.repeat(encoded.offsets[1:], len(ending)), np.tile(ending, len(lengths))
        )
        offsets = np.concatenate(([0], np.cumsum(lengths + len(ending))))
        is_found |= np.isin(hash_ids(ids, offsets), trained)
    return is_found
