"""Vocabularies of OpenAI's tiktoken: a file of ranks, and the same as a tokenizer.json.

A line of the file is a token in Base64 and its rank: `IQ== 0`. The file has neither merges nor a pattern. The pattern and
the special tokens belong to the name; the merges are found by merging each token's bytes with the ranks below its own,
down to its last two parts (the one pair that can become this token).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from whelp.base.errors import TokenizerError
from whelp.tokenizer._bytes import describe_missing, spell_bytes
from whelp.tokenizer._patterns import make_cutter_entry
from whelp.tokenizer._specification import write_specification
from whelp.tokenizer.config import END_TOKEN

_FIM = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
_NEXT_STEP = "Copy the file again."


@dataclass(frozen=True, kw_only=True)
class Encoding:
    """What a rank file does not say.

    Attributes:
        ranks: The name of its rank file, without the suffix.
        cached: The name of that file in tiktoken's own cache.
        pattern: `gpt2`, or a name of `PATTERNS`.
    """

    ranks: str
    cached: str
    pattern: str
    special: dict[str, int]


_R50K = Encoding(
    ranks="r50k_base", cached="0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4", pattern="gpt2", special={END_TOKEN: 50256}
)
_P50K = Encoding(
    ranks="p50k_base", cached="ec7223a39ce59f226a68acc30dc1af2788490e15", pattern="gpt2", special={END_TOKEN: 50256}
)
_O200K = Encoding(
    ranks="o200k_base",
    cached="fb374d419588a4632f3f557e76b4b70aebbca790",
    pattern="o200k",
    special={END_TOKEN: 199_999, "<|endofprompt|>": 200_018},
)
_HARMONY = {
    "<|startoftext|>": 199_998,
    "<|return|>": 200_002,
    "<|constrain|>": 200_003,
    "<|channel|>": 200_005,
    "<|start|>": 200_006,
    "<|end|>": 200_007,
    "<|message|>": 200_008,
    "<|call|>": 200_012,
}

ENCODINGS = {
    "gpt2": _R50K,
    "r50k_base": _R50K,
    "p50k_base": _P50K,
    "p50k_edit": dataclasses.replace(_P50K, special={END_TOKEN: 50256, **dict(zip(_FIM, range(50281, 50284), strict=True))}),
    "cl100k_base": Encoding(
        ranks="cl100k_base",
        cached="9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        pattern="gpt4",
        special={
            END_TOKEN: 100_257,
            **dict(zip(_FIM, range(100_258, 100_261), strict=True)),
            "<|endofprompt|>": 100_276,
        },
    ),
    "o200k_base": _O200K,
    "o200k_harmony": dataclasses.replace(
        _O200K,
        special={
            END_TOKEN: 199_999,
            **_HARMONY,
            # 200,018 has two names there; the later one is what tiktoken decodes it to
            **{f"<|reserved_{i}|>": i for i in range(200_000, 201_088) if i not in _HARMONY.values()},
        },
    ),
}


def find_encoding(name: str) -> str | None:
    """The encoding of a name: its own, or that of an OpenAI model as tiktoken maps them; None if it has none.

    >>> find_encoding("text-davinci-003")
    'p50k_base'
    """
    if name in ENCODINGS:
        return name
    if name in ("text-davinci-003", "text-davinci-002"):
        return "p50k_base"
    if importlib.util.find_spec("tiktoken") is None:
        return None
    from tiktoken.model import encoding_name_for_model

    try:
        found = encoding_name_for_model(name)
    except KeyError:
        return None
    return found if found in ENCODINGS else None


def read_ranks(path: Path) -> dict[bytes, int]:
    """Read a rank file: bytes -> rank, in the order of ranks.

    Raises: TokenizerError: When a line cannot be read, a rank or a token stands there twice, or a single byte is missing.
    """
    ranks: dict[bytes, int] = {}
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if not line:
            continue
        try:
            spelled, rank_text = line.split()
            token, rank = base64.b64decode(spelled, validate=True), int(rank_text)
        except (ValueError, binascii.Error):
            token, rank = b"", -1
        if not token or rank < 0:
            found = f"line {number} is {line[:60].decode(errors='replace')!r}"
            raise TokenizerError(path, found, "a token in Base64 and its rank, such as IQ== 0", _NEXT_STEP)
        if token in ranks:
            raise TokenizerError(path, f"line {number} has the token {token!r} a second time", "each once", _NEXT_STEP)
        ranks[token] = rank
    if len(set(ranks.values())) < len(ranks):
        raise TokenizerError(path, "two tokens have the same rank", "each rank once", _NEXT_STEP)
    missing = describe_missing(ranks)
    if missing is not None:
        raise TokenizerError(path, missing, "all of them, so that every text can be written", _NEXT_STEP)
    return dict(sorted(ranks.items(), key=lambda pair: pair[1]))


def find_merges(ranks: dict[bytes, int]) -> tuple[list[tuple[bytes, bytes]], bool]:
    """The merge of every token, in the order of ranks; and whether every token can be reached by merging.

    What cannot be reached is found as a whole piece alone, which a tokenizer.json calls `ignore_merges`.
    """
    merges = []
    is_reachable = True
    find = ranks.get
    for token, rank in ranks.items():
        if len(token) == 1:
            continue
        parts = [token[index : index + 1] for index in range(len(token))]
        pairs = [find(token[index : index + 2]) for index in range(len(token) - 1)]
        while len(parts) > 2:
            lowest, at = rank, -1
            for index, found in enumerate(pairs):
                if found is not None and found < lowest:
                    lowest, at = found, index
            if at < 0:
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
            del pairs[at]
            if at < len(pairs):
                pairs[at] = find(parts[at] + parts[at + 1])
            if at:
                pairs[at - 1] = find(parts[at - 1] + parts[at])
        if len(parts) == 2:
            merges.append((parts[0], parts[1]))
        else:
            is_reachable = False
    return merges, is_reachable


def make_ranks_json(ranks: dict[bytes, int], pattern: str, special: dict[str, int], path: Path) -> str:
    """The tokenizer.json of a rank file.

    Raises: TokenizerError: When a rank is the id of a special token.
    """
    taken = set(ranks.values()) & set(special.values())
    if taken:
        raise TokenizerError(
            path, f"rank {min(taken)} belongs to a special token of this name", "the rank file of this name", _NEXT_STEP
        )
    merges, is_reachable = find_merges(ranks)
    spelled = {token: spell_bytes(token) for token in ranks}
    return make_bpe_json(
        {spelled[token]: rank for token, rank in ranks.items()},
        [(spelled[left], spelled[right]) for left, right in merges],
        pattern,
        special,
        ignore_merges=not is_reachable,
    )


def make_bpe_json(
    ids: dict[str, int],
    merges: Sequence[tuple[str, str]],
    pattern: str,
    special: dict[str, int],
    *,
    ignore_merges: bool = False,
) -> str:
    """The tokenizer.json of a byte-level BPE; `ids` without the special tokens."""
    by_id = sorted(special.items(), key=lambda pair: pair[1])
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": ignore_merges,
        "vocab": {**ids, **special},
        "merges": merges,
    }
    return write_specification(model, special=dict(by_id), pre_tokenizer=make_cutter_entry(pattern))
