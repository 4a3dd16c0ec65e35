"""The one interface by which every other room sees a vocabulary."""

from __future__ import annotations

import copy
import json
import threading
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tokenizers import Tokenizer

from whelp.artifacts.gguf_vocabulary import find_pre_tokenizer
from whelp.base.errors import TokenizerError, say_first_line
from whelp.base.files import write_atomic, write_json
from whelp.base.hashing import hash_bytes, hash_json
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.tokenizer._arrow import Texts, as_strings, check_utf8
from whelp.tokenizer._bytes import read_spelling
from whelp.tokenizer._cache import keep, read_cached
from whelp.tokenizer._patterns import CHARACTER_PATTERN, WORD_PATTERN
from whelp.tokenizer._specification import read_specification
from whelp.tokenizer._spelled_tokens import find_spellings
from whelp.tokenizer.config import END_TOKEN, PAD_TOKEN, UNKNOWN_TOKEN
from whelp.tokenizer.encoding.choose import open_engine
from whelp.tokenizer.encoding.engine import Engine
from whelp.tokenizer.encoding.engines import CharacterEngine, WordEngine
from whelp.tokenizer.encoding.greedy import GreedyEngine
from whelp.tokenizer.encoding.threads import begin_anew_when_forked
from whelp.tokenizer.streaming import ByteStreamDecoder, StreamDecoder, WindowStreamDecoder

Kind = Literal["bpe", "unigram", "greedy", "wordpiece", "chars", "words", "other"]
Ids = npt.NDArray[Any] | Sequence[int]

_END_GUESSES = (END_TOKEN, "</s>", "<eos>")
_PAD_GUESSES = (PAD_TOKEN, "<pad>", "[PAD]", "<|padding|>")
_UNKNOWN_GUESSES = (UNKNOWN_TOKEN, "[UNK]")
_KEPT_FROM_CHARACTERS = 500_000  # the fingerprints of smaller ones take no time
_NO_LIMIT = int(1e30)  # what transformers writes for "no longest input"


class Vocabulary:
    """A vocabulary: encode, decode, save. Holds the text of a tokenizer.json; nothing heavy is built before its first use.

    Attributes:
        kind: `bpe` (byte-level), `unigram`, `greedy` (RWKV World), `wordpiece`, `chars`, `words`, or `other` (whatever else
            `tokenizers` can read).
        is_byte_exact: whether each id stands for fixed bytes, so that a text's ids stand for the text's own bytes.
        size: largest id + 1. A vocabulary may have holes.
        eos_id, pad_id, unk_id, bos_id: ids of the control tokens, or None. `pad_id` is never `eos_id`: where a file
            names one token for both, there is no pad.
        special_ids: ids that plain text never becomes, and that `decode` leaves out.
        chat_template: the Jinja template of a conversation, or None.

    `decode(encode(x)) == x` for every text with `bpe`, `greedy` and byte-level `unigram`, unless the file asks for a
    normalizer (GPT-NeoX: NFC) or a prefix space; for `chars` and `words` where every character or word is known.
    """

    def __init__(
        self,
        tokenizer_json: str,
        *,
        eos_token: str | None = None,
        pad_token: str | None = None,
        unk_token: str | None = None,
        bos_token: str | None = None,
        chat_template: str | None = None,
        guess_control: bool = False,
        name: str = "tokenizer.json",
    ) -> None:
        """Open the text of a tokenizer.json.

        Args:
            guess_control: Take the usual names for control tokens that are not given (`<|endoftext|>`, `</s>`, ...).
        """
        self.name = name
        self._json = tokenizer_json
        self._specification: dict[str, Any]
        self._specification, self._model_place = read_specification(tokenizer_json)
        self.chat_template = chat_template
        self._ids, self._added = _read_ids(self._specification, name)
        self.size: int = max(self._ids.values()) + 1
        self.kind: Kind = _read_kind(self._specification)
        self._is_byte_level = _has_byte_decoder(self._specification)
        self.is_byte_exact: bool = self._is_byte_level or self.kind in ("chars", "words")

        if guess_control:
            eos_token, pad_token, unk_token = (
                token or next((guess for guess in guesses if guess in self._ids), None)
                for token, guesses in ((eos_token, _END_GUESSES), (pad_token, _PAD_GUESSES), (unk_token, _UNKNOWN_GUESSES))
            )
        pad_token = None if pad_token == eos_token else pad_token
        unk_token = None if unk_token == eos_token else unk_token
        self._control = {"eos_token": eos_token, "pad_token": pad_token, "unk_token": unk_token, "bos_token": bos_token}
        for role, token in self._control.items():
            if token is not None and token not in self._ids:
                log.warning("%s: its %s is %r, which is not in the vocabulary; going on without.", name, role, token)
                self._control[role] = None
        self.eos_id, self.pad_id, self.unk_id, self.bos_id = (
            None if token is None else self._ids[token] for token in self._control.values()
        )
        control_ids = {token_id for token_id in (self.eos_id, self.pad_id, self.unk_id, self.bos_id) if token_id is not None}
        marked_ids = {entry["id"] for entry in self._added if entry.get("special")}
        self.special_ids: frozenset[int] = frozenset(control_ids | marked_ids)
        self._engines: dict[bool, Engine] = {}
        begin_anew_when_forked(self)

    def _begin(self) -> None:
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<Vocabulary {self.name}: {self.kind}, {self.size:,} ids>"

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self._json, {**self._control, "chat_template": self.chat_template, "name": self.name})

    @cached_property
    def fingerprint(self) -> str:
        """32 hexadecimal digits; the same for the same tokenizer.json values and control tokens."""
        if len(self._json) < _KEPT_FROM_CHARACTERS:
            return hash_json({"tokenizer": self._specification, **self._control})
        # Of a large one it is kept under the hash of its text, which takes a fiftieth of the time.
        record = f"{hash_bytes(self._json.encode(), json.dumps(self._control).encode())}.fingerprint"
        found = read_cached(record)
        if found is None:
            found = hash_json({"tokenizer": self._specification, **self._control})
            keep(record, found)
        return found

    @property
    def gguf_name(self) -> str | None:
        """What llama.cpp calls its way of making ids, such as `gpt-2` or `rwkv`; None where it has no such way."""
        try:
            return find_pre_tokenizer(self._specification, self.name)
        except TokenizerError:
            return None

    @property
    def id_type(self) -> type[np.uint16] | type[np.uint32]:
        """The dtype of ids: 16 bits where they fit."""
        return np.uint16 if self.size <= 1 << 16 else np.uint32

    @property
    def control_tokens(self) -> dict[str, str]:
        """Role (`eos_token`, `bos_token`, ...) -> token, as the file spells it."""
        return {role: token for role, token in self._control.items() if token is not None}

    def to_json(self) -> str:
        """The text of its tokenizer.json."""
        return self._json

    def specification(self) -> dict[str, Any]:
        """The values of its tokenizer.json, a copy."""
        return copy.deepcopy(self._specification)

    def id_of(self, token: str) -> int | None:
        """The id of a token as the file spells it (`<|endoftext|>`, `Ġthe`), or None."""
        return self._ids.get(token)

    def encode_batch(self, texts: Texts, *, allow_special: bool = False) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Encode an Arrow array of strings into flat ids (`id_type`) and offsets (documents + 1).

        Document i is `ids[offsets[i]:offsets[i + 1]]`. No control token is added. `<|endoftext|>` in the text stays text;
        with `allow_special` it becomes the control token, as in `tokenizers` - only for text that you wrote yourself.

        Raises: TokenizerError: When a row is null or no UTF-8, or a character or word is unknown and there is no `<unk>`.
        """
        strings = as_strings(texts)
        try:
            ids, offsets = self._engine(allow_special).encode_batch(strings)
        except (UnicodeDecodeError, pa.ArrowInvalid):
            check_utf8(strings)
            raise
        return ids.astype(self.id_type, copy=False), offsets

    def encode(self, text: str, *, allow_special: bool = False) -> npt.NDArray[Any]:
        """Encode one text into ids. Many texts: `encode_batch` is far faster."""
        try:
            text.encode()
        except UnicodeEncodeError as error:
            found = f"character {error.start} is half a surrogate pair (U+{ord(text[error.start]):04X})"
            raise TokenizerError("text", found, "Unicode text", 'Read it with errors="replace".') from None
        return self._engine(allow_special).encode(text).astype(self.id_type, copy=False)

    def decode(self, ids: Ids, *, skip_special: bool = True) -> str:
        """Decode ids into text; bytes that are no UTF-8 become U+FFFD."""
        if not self.is_byte_exact:
            return str(self._decoder.decode(self._check_ids(ids), skip_special_tokens=skip_special))
        return self.decode_bytes(ids, skip_special=skip_special).decode(errors="replace")

    def decode_bytes(self, ids: Ids, *, skip_special: bool = True) -> bytes:
        """Decode ids into the exact bytes they stand for (of kinds that are not `is_byte_exact`: the UTF-8 of their text)."""
        if not self.is_byte_exact:
            return self.decode(ids, skip_special=skip_special).encode()
        table = self._text_bytes if skip_special else self._all_bytes
        return b"".join([table[token_id] for token_id in self._check_ids(ids)])

    def token_text(self, token_id: int) -> str:
        r"""One id for display: its text; bytes that are no text of their own as `\xe2\x96`; control tokens by name."""
        (checked,) = self._check_ids([token_id])
        name = self._special_names.get(checked)
        return self._all_bytes[checked].decode(errors="backslashreplace") if name is None else name

    def stream(self, *, skip_special: bool = True) -> StreamDecoder:
        """A decoder for ids that come one by one."""
        if not self.is_byte_exact:
            return WindowStreamDecoder(lambda ids: self.decode(ids, skip_special=skip_special))
        return ByteStreamDecoder(lambda token_id: self.decode_bytes([token_id], skip_special=skip_special))

    def spell_tokens(self) -> tuple[list[bytes], list[bytes]]:
        """What each id adds to a text that it begins, and to one that it goes on: bytes, none for control tokens and holes.

        Raises: TokenizerError: When that depends on more than whether the id is the first.
        """
        if self.is_byte_exact:
            return self._text_bytes, self._text_bytes
        return find_spellings(self.decode, self._all_bytes, self.name)

    @cached_property
    def token_bytes(self) -> npt.NDArray[np.int32]:
        """How many bytes of text each id stands for: int32, (size,); 0 for control tokens and holes.

        Exact where `is_byte_exact`: summed over `encode(x)` it is `len(x.encode())`. Else an estimate.
        """
        return np.fromiter(map(len, self._text_bytes), np.int32, self.size)

    def save(self, folder: Path | str) -> None:
        """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json into `folder`, beside what is there."""
        folder = as_path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        control = self.control_tokens
        config: dict[str, Any] = {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": _NO_LIMIT,
            "clean_up_tokenization_spaces": False,
            **control,
        }
        if self.chat_template is not None:
            config["chat_template"] = self.chat_template
        write_json(folder / "tokenizer_config.json", config)
        write_json(folder / "special_tokens_map.json", control)
        write_atomic(folder / "tokenizer.json", self._json)

    def _check_ids(self, ids: Ids) -> list[int]:
        array = np.asarray(ids)
        if not array.size:
            return []
        low, high = int(array.min()), int(array.max())
        if low < 0 or high >= self.size:
            wrong = low if low < 0 else high
            raise TokenizerError(
                self.name, f"there is no id {wrong}", f"0 to {self.size - 1}", "Take the vocabulary of this model."
            )
        return [int(token_id) for token_id in array.ravel().tolist()]

    @cached_property
    def _special_names(self) -> dict[int, str]:
        """Added control tokens by id: to name one, the bytes of all others need not be found."""
        return {entry["id"]: entry["content"] for entry in self._added if entry["id"] in self.special_ids}

    @cached_property
    def _all_bytes(self) -> list[bytes]:
        table = [b""] * self.size
        added = {entry["id"] for entry in self._added}
        for token, token_id in self._ids.items():
            if self._is_byte_level and token_id not in self.special_ids:
                table[token_id] = read_spelling(token)
            elif not self.is_byte_exact and token_id not in added:
                table[token_id] = _guess_bytes(token)
            else:
                table[token_id] = token.encode()
        return table

    @cached_property
    def _text_bytes(self) -> list[bytes]:
        return [b"" if token_id in self.special_ids else raw for token_id, raw in enumerate(self._all_bytes)]

    def _engine(self, allow_special: bool) -> Engine:
        with self._lock:  # or each of several threads would open one of its own, with its own memory of words
            if allow_special not in self._engines:
                self._engines[allow_special] = self._open_engine(allow_special)
            return self._engines[allow_special]

    def _open_engine(self, allow_special: bool) -> Engine:
        if self.kind == "chars" and not allow_special:
            return CharacterEngine(self._ids, self.unk_id)
        if self.kind == "greedy":
            added = {entry["content"]: entry["id"] for entry in self._added}
            tokens = {read_spelling(token): token_id for token, token_id in self._ids.items() if token not in added}
            return GreedyEngine(tokens, added if allow_special else {})
        engine = self._open_tokenizers_engine(allow_special)
        return (
            WordEngine(engine, lambda: self._reference(allow_special), self._ids) if self.kind in ("chars", "words") else engine
        )

    def _open_tokenizers_engine(self, allow_special: bool) -> Engine:
        specification = self._encoding_specification()
        ordinary_first = sorted(specification["added_tokens"], key=lambda entry: bool(entry["special"]))
        literals = [entry["content"] for entry in ordinary_first]
        if not allow_special:
            specification["added_tokens"] = [entry for entry in specification["added_tokens"] if not entry["special"]]
        return open_engine(
            specification,
            lambda: self._reference(allow_special),
            literals[:64],
            self.id_type,
            self.name,
            model_json=None if self._model_place is None else self._json[self._model_place],
        )

    @cached_property
    def _decoder(self) -> Tokenizer:
        return self._reference(True)

    def _encoding_specification(self) -> dict[str, Any]:
        """The specification with every control token marked as such, and without what would bend a batch."""
        specification = copy.copy(self._specification)
        specification["truncation"] = specification["padding"] = None
        specification["added_tokens"] = [{**entry, "special": entry["id"] in self.special_ids} for entry in self._added]
        return specification

    def _reference(self, allow_special: bool) -> Tokenizer:
        """`tokenizers` itself, freshly built."""
        try:
            reference = Tokenizer.from_str(json.dumps(self._encoding_specification()))
        except Exception as error:
            raise TokenizerError(
                self.name, f"cannot be used ({say_first_line(error)})", "a Hugging Face tokenizer.json"
            ) from None
        reference.encode_special_tokens = not allow_special
        return reference


def _rebuild(tokenizer_json: str, keywords: dict[str, Any]) -> Vocabulary:
    return Vocabulary(tokenizer_json, **keywords)


def _read_ids(specification: dict[str, Any], name: str) -> tuple[dict[str, int], list[dict[str, Any]]]:
    """All tokens with their ids, and the entries of the added ones."""
    model = specification.get("model") if isinstance(specification, dict) else None
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if not isinstance(vocabulary, (dict, list)):
        raise TokenizerError(name, "there is no model.vocab in it", "a Hugging Face tokenizer.json", "Choose another file.")
    try:
        if isinstance(vocabulary, list):  # Unigram: [piece, score]
            vocabulary = {piece: index for index, (piece, _) in enumerate(vocabulary)}
        added: list[dict[str, Any]] = specification.get("added_tokens") or []
        ids = {**vocabulary, **{entry["content"]: entry["id"] for entry in added}}
        is_sound = set(map(type, ids.values())) <= {int} and min(ids.values(), default=0) >= 0
    except (KeyError, TypeError, ValueError):
        is_sound = False
    if not is_sound:
        found = "its tokens are no texts with ids"
        raise TokenizerError(name, found, "a Hugging Face tokenizer.json", "The file may be of another kind, or damaged.")
    if not ids:
        raise TokenizerError(name, "the vocabulary has no token", "at least one", "Choose another file.")
    return ids, added


def _read_kind(specification: dict[str, Any]) -> Kind:
    model, before = specification["model"], specification.get("pre_tokenizer")
    kind = model.get("type", "BPE")
    if kind == "WordLevel" and before and before.get("type") == "Split" and before.get("behavior") == "Isolated":
        pattern = before.get("pattern", {}).get("Regex")
        if pattern == CHARACTER_PATTERN and not specification.get("normalizer"):
            return "chars"
        if pattern == WORD_PATTERN and not specification.get("normalizer"):
            return "words"
    is_byte_level = _has_byte_decoder(specification)
    if kind == "WordPiece":
        return "greedy" if is_byte_level and not model.get("continuing_subword_prefix") else "wordpiece"
    if kind == "Unigram":
        return "unigram"
    return "bpe" if kind == "BPE" and is_byte_level else "other"


def _has_byte_decoder(specification: dict[str, Any]) -> bool:
    """Whether tokens are spelled byte by byte, so that each stands for fixed bytes."""
    decoder, model = specification.get("decoder"), specification["model"]
    decoders: Iterable[dict[str, Any]] = (decoder or {}).get("decoders") or [decoder or {}]
    return [entry.get("type") for entry in decoders] == ["ByteLevel"] and not model.get("byte_fallback")


def _guess_bytes(token: str) -> bytes:
    """What a SentencePiece or WordPiece token stands for, as far as a token alone can tell."""
    if len(token) == 6 and token.startswith("<0x") and token.endswith(">"):
        return bytes([int(token[3:5], 16)])
    return token.removeprefix("##").replace("▁", " ").encode()
