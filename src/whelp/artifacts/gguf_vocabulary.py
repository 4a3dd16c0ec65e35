"""A vocabulary in a GGUF file: the rule by which llama.cpp makes ids of text, and its tokens.

Of llama.cpp's rules two take any tokens: `gpt2`, a byte-level BPE, and `rwkv`, the longest token that fits. For the first it cuts text
before merging by regular expressions of its own, which `tokenizer.ggml.pre` names, so the vocabulary's must be one of them. The
second reads past the end of its table, for ever, at a byte that no token begins with: all 256 must be tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from whelp.base.errors import TokenizerError
from whelp.base.log import log

GREEDY = "rwkv"
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
_TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PRE_OF_PATTERN = {  # a tokenizer.json's pattern -> llama.cpp's name of the same rule
    _CONTRACTIONS + r"\p{N}{1,3}" + _TAIL: "dbrx",
    _CONTRACTIONS + r"\p{N}" + _TAIL: "qwen2",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+": "gpt-2",
}
_MARKS = {
    "byte_fallback": "bytes as a last resort",
    "continuing_subword_prefix": "a mark inside of words",
    "end_of_word_suffix": "a mark at the end of words",
}
_ADD_ROLE = {"eos": "add_eos_token_id", "bos": "add_bos_token_id", "pad": "add_pad_token_id", "unk": "add_unk_token_id"}
_EXPECTED = "a byte-level BPE, or RWKV's World vocabulary"
_NEXT_STEP = (
    "Choose --format hf for this model. For llama.cpp, prepare and train with data.tokenizer.learn=bpe and a pattern of "
    "gpt2, gpt4 or code, or with data.tokenizer=world."
)


def find_pre_tokenizer(tokenizer: Mapping[str, Any], name: str) -> str:
    """llama.cpp's name of the rule by which a tokenizer.json makes ids of text; `rwkv` for the longest token that fits.

    Raises:
        TokenizerError: When llama.cpp has no such rule.
    """
    model = tokenizer.get("model") or {}
    before = tokenizer.get("pre_tokenizer") or {}
    parts = before.get("pretokenizers", [before])
    if _is_greedy(tokenizer, parts):
        return GREEDY
    kind = model.get("type", "BPE")  # old files do not say it
    marks = [mark for mark in _MARKS if model.get(mark)]
    if kind != "BPE" or marks:
        described = f"{kind} with {_MARKS[marks[0]]}" if marks and kind == "BPE" else kind
        raise TokenizerError(
            name, f"its vocabulary is a {described}, which llama.cpp would read otherwise", _EXPECTED, _NEXT_STEP
        )
    normalizer = (tokenizer.get("normalizer") or {}).get("type")
    if normalizer not in (None, "NFC"):
        found = f"it changes text before cutting it ({normalizer}), and llama.cpp does not"
        raise TokenizerError(name, found, _EXPECTED, _NEXT_STEP)
    last = parts[-1]
    pattern = None
    if last.get("type") == "ByteLevel" and not last.get("add_prefix_space"):
        if len(parts) == 1 and last.get("use_regex", True):
            return "gpt-2"
        is_split = parts[0].get("type") == "Split" and parts[0].get("behavior", "Isolated") == "Isolated"
        if len(parts) == 2 and is_split and not last.get("use_regex", True):
            pattern = parts[0].get("pattern", {}).get("Regex")
    pre = _PRE_OF_PATTERN.get(str(pattern))
    if pre is None:
        found = "it cuts text by a rule that llama.cpp is not known to have"
        raise TokenizerError(name, found, "GPT-2's, GPT-4's or Qwen's", _NEXT_STEP)
    return "llama-bpe" if pre == "dbrx" and model.get("ignore_merges") else pre


def _is_greedy(tokenizer: Mapping[str, Any], parts: list[Mapping[str, Any]]) -> bool:
    """Whether it is RWKV's kind: bytes, of which the longest token that fits is taken."""
    model, decoder = tokenizer.get("model") or {}, tokenizer.get("decoder") or {}
    is_greedy = model.get("type") == "WordPiece" and not model.get("continuing_subword_prefix")
    return is_greedy and decoder.get("type") == "ByteLevel" and parts[0].get("type") == "ByteLevel"


def add_vocabulary(
    writer: Any,
    *,
    name: str,
    tokenizer: Mapping[str, Any],
    control_ids: Mapping[str, int],
    num_ids: int,
    read_token: Callable[[int], bytes],
) -> None:
    """Add tokens by id, their types, and the merges; ids that no token has become unused ones.

    Args:
        num_ids: Rows of the embedding.
        read_token: From an id to the bytes that it stands for.

    Raises:
        TokenizerError: As `find_pre_tokenizer`, and when a greedy vocabulary lacks a byte.
    """
    import gguf

    pre = find_pre_tokenizer(tokenizer, name)
    if (tokenizer.get("normalizer") or {}).get("type") == "NFC":
        log.warning(
            "%s: its vocabulary joins accents to their letters (NFC), which llama.cpp does not: give it such text.", name
        )
    added = tokenizer.get("added_tokens") or []
    added_ids = {entry["id"] for entry in added}
    tokens = [f"[PAD{token_id}]" for token_id in range(num_ids)]
    types = [gguf.TokenType.UNUSED] * num_ids
    if pre == GREEDY:
        # This rule looks up all tokens in text, whatever their type; a byte that is in no text keeps them from being found.
        tokens = [f"\\xff{token}" for token in tokens]
    for token, token_id in tokenizer["model"]["vocab"].items():
        is_spelled = pre == GREEDY and token_id not in added_ids
        tokens[token_id] = _escape(read_token(token_id)) if is_spelled else token
        types[token_id] = gguf.TokenType.NORMAL
    for entry in added:
        is_control = entry.get("special") or entry["id"] in control_ids.values()
        tokens[entry["id"]] = entry["content"]
        types[entry["id"]] = gguf.TokenType.CONTROL if is_control else gguf.TokenType.USER_DEFINED
    if pre == GREEDY:
        known = set(tokens)
        missing = [byte for byte in range(256) if _escape(bytes([byte])) not in known]
        if missing:
            found = f"{len(missing)} of the 256 single bytes are no tokens, and llama.cpp would never come to an end"
            raise TokenizerError(name, found, "all of them", _NEXT_STEP)
        writer.add_tokenizer_model(GREEDY)
    else:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(pre)
        writer.add_token_merges([pair if isinstance(pair, str) else " ".join(pair) for pair in tokenizer["model"]["merges"]])
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if "eos" not in control_ids and pre != GREEDY:  # llama.cpp would take GPT-2's default, 11, and end texts there
        if gguf.TokenType.UNUSED in types:
            control_ids = {**control_ids, "eos": types.index(gguf.TokenType.UNUSED)}
        else:
            log.warning("%s: its vocabulary has no token for the end of a text: llama.cpp takes id 11 for it.", name)
    for role, token_id in control_ids.items():
        getattr(writer, _ADD_ROLE[role])(token_id)
    writer.add_add_bos_token(False)


def _escape(raw: bytes) -> str:
    r"""Bytes as llama.cpp's greedy rule reads them: b"a\\\n\xff" -> 'a\\\\\\n\\xff'."""
    named = {ord("\\"): r"\\", ord("\t"): r"\t", ord("\n"): r"\n", ord("\r"): r"\r"}
    return "".join(named.get(byte) or (chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}") for byte in raw)
