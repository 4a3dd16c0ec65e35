"""Regular expressions that cut text before merging, as the fast encoder knows them."""

from __future__ import annotations

from typing import Any

_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_SIGNS = r" ?[^\s\p{L}\p{N}]+[\r\n]*"
_SPACES = r"\s*[\r\n]+|\s+(?!\S)|\s+"
_CAPITALS = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]"
_SMALLS = r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_BEFORE = r"[^\r\n\p{L}\p{N}]?"

# `gpt4`: OpenAI's cl100k_base, as its Hugging Face conversions and Llama 3 spell it. `code`: the same with digits one by
# one, as Qwen 2 has it. `o200k`: OpenAI's o200k_base, which also cuts before capitals.
PATTERNS = {
    "gpt4": rf"{_CONTRACTIONS}|{_BEFORE}\p{{L}}+|\p{{N}}{{1,3}}|{_SIGNS}|{_SPACES}",
    "code": rf"{_CONTRACTIONS}|{_BEFORE}\p{{L}}+|\p{{N}}|{_SIGNS}|{_SPACES}",
    "o200k": (
        rf"{_BEFORE}{_CAPITALS}*{_SMALLS}+{_CONTRACTIONS}?|{_BEFORE}{_CAPITALS}+{_SMALLS}*{_CONTRACTIONS}?|\p{{N}}{{1,3}}"
        rf"| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]*|{_SPACES}"
    ),
}
CHARACTER_PATTERN = r"[\s\S]"
WORD_PATTERN = r"\w+|[^\w\s]|\s"


def make_cutter_entry(pattern: str) -> dict[str, Any]:
    """The `pre_tokenizer` of a tokenizer.json: `gpt2`, another of PATTERNS by name, or a regular expression."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": pattern == "gpt2"}
    if pattern == "gpt2":
        return byte_level
    regex = {"Regex": PATTERNS.get(pattern, pattern)}
    split = {"type": "Split", "pattern": regex, "behavior": "Isolated", "invert": False}
    return {"type": "Sequence", "pretokenizers": [split, byte_level]}


def find_pattern_name(cutter: dict[str, Any] | None) -> str | None:
    """The name of a pre-tokenizer: `gpt2`, or another of PATTERNS; None for any other."""
    parts = (cutter or {}).get("pretokenizers") or [cutter or {}]
    last = parts[-1]
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        return None
    if len(parts) == 1:
        return "gpt2" if last.get("use_regex", True) else None
    regex = parts[0].get("pattern", {}).get("Regex")
    is_plain = len(parts) == 2 and parts[0].get("type") == "Split" and parts[0].get("behavior") == "Isolated"
    name = next((name for name, pattern in PATTERNS.items() if pattern == regex), None)
    return name if is_plain and not last.get("use_regex", True) else None
