"""Texts to compare encoders on: the shared data, Python's own source, and strings made at random to be nasty."""

import gzip
import json
import os
import random
import sysconfig
import unicodedata
from pathlib import Path

import pytest

SHARED = Path(__file__).parents[3] / "shared" / "data"
TOKENIZERS = SHARED / "tokenizers"
NEEDS_SHARED = pytest.mark.skipif(
    not (TOKENIZERS / "world").is_dir(),
    reason=f"put gpt2/, neox/, p50k_base/ and world/ with the published files into {TOKENIZERS} to compare with them",
)
# Whole files and many strings take minutes: WHELP_TEST_TEXT_BYTES=100000000 WHELP_TEST_FUZZ=100000 pytest ...
TEXT_BYTES = int(os.environ.get("WHELP_TEST_TEXT_BYTES", 4_000))
NUM_FUZZED = int(os.environ.get("WHELP_TEST_FUZZ", 400))

LITERALS = ["<|endoftext|>", "<|padding|>", "<|fim_prefix|>", "<|reserved_65530|>", "<s>", "</s>", "<|endoftext"]
_POOLS = [
    [chr(point) for point in (*range(0x300, 0x345), 0x5B0, 0x5C1, 0x1ACE, 0x11F0, 0x3099, 0xFE20, 0x1D165)],
    ["👍🏽", "👩‍👩‍👧‍👦", "🇩🇪", "🏴\u200d☠️", "☺️", "\ufe0f", "\u200d", "1️⃣", "🧑🏿‍🚀"],
    [
        "a",
        "e",
        "o",
        "A",
        "é",
        "ß",
        "ſ",
        "İ",
        "ﬁ",
        "Ǆ",
        "ς",
        "\u1100",
        "\u1161",
        "\u11a8",
        "가",
        "日",
        "本",
        "の",
        "ไ",
        "ท",
        "ع",
        "\u0958",
        "Å",
    ],
    [" ", " ", "  ", "\n", "\t", "\r\n", "\u00a0", "\u3000", "\u2028", "\x1c", "\x85", "\u200b", "\ufeff", "\x00", "\x7f"],
    ["0", "7", "12", "345", "²", "½", "Ⅷ", "٣", "１"],
    [".", ",", "'", "'s", "'LL", "’", "--", "/", "\\", "<|", "|>", "_", "==", "//", "…", "。", "！"],
    LITERALS,
]


def read_texts(name: str) -> list[str]:
    """The texts of one kind: `text`, `multilingual`, `unicode` or `code`, the first TEXT_BYTES of each file."""
    if name == "code":
        paths = [Path(sysconfig.get_path("stdlib")) / file for file in ("argparse.py", "tokenize.py", "json/decoder.py")]
    elif name == "unicode":
        return [
            *json.loads((SHARED / "unicode" / "blns.json").read_text(encoding="utf-8")),
            _read(SHARED / "unicode" / "blns.txt"),
        ]
    else:
        paths = sorted(path for path in (SHARED / name).rglob("*") if path.is_file())
    return [text[:TEXT_BYTES] for path in paths if (text := _read(path, 4 * TEXT_BYTES))]  # a character has at most four


def _read(path: Path, num_bytes: int = -1) -> str:
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        return file.read(num_bytes).decode(errors="replace")


def make_fuzzed(seed: int, number: int = NUM_FUZZED) -> list[str]:
    """Strings of what is known to break encoders: lone marks, emoji, long runs, literals of control tokens, any character."""
    rng = random.Random(seed)
    found = []
    for _ in range(number):
        parts: list[str] = []
        for _ in range(rng.randrange(1, 12)):
            choice = rng.randrange(len(_POOLS) + 2)
            if choice < len(_POOLS):
                parts += rng.choices(_POOLS[choice], k=rng.randrange(1, 4))
            elif choice == len(_POOLS):
                parts.append(rng.choice([" ", "a", "=", "\n", "字", "\u0301", "é", "-"]) * rng.choice([2, 5, 17, 33, 129, 300]))
            else:
                character = chr(
                    rng.choice([rng.randrange(0x20, 0x3000), rng.randrange(0xE000, 0x20000), rng.randrange(0x110000)])
                )
                # No surrogates; and none that newer Unicode has and older has not, on which tiktoken and tokenizers differ.
                parts.append(character if unicodedata.category(character) not in ("Cs", "Cn") else "\ud7ff")
        found.append("".join(parts))
    return found


def make_charsmap(rules: dict[str, str]) -> bytes:
    """The table by which SentencePiece normalizes, as `normalizers.Precompiled` takes it: a double array, then the texts."""
    texts = bytearray()
    nodes: list[dict[int, int]] = [{}]  # byte -> node; 0 -> where the text begins
    for source, target in rules.items():
        node = 0
        for byte in source.encode():
            if byte not in nodes[node]:
                nodes[node][byte] = len(nodes)
                nodes.append({})
            node = nodes[node][byte]
        nodes[node][0] = len(texts)
        texts += target.encode() + b"\0"
    units = [0] * (256 * (len(nodes) + 1))
    units[0] = 256 << 10  # the root's children; those of each node have 256 units of their own
    for node, children in enumerate(nodes):
        for byte, child in children.items():
            place = 256 * (node + 1) + byte
            offset = place ^ 256 * (child + 1)
            units[place] = child | 1 << 31 if byte == 0 else offset << 10 | (0 in nodes[child]) << 8 | byte
    raw = b"".join(unit.to_bytes(4, "little") for unit in units)
    return len(raw).to_bytes(4, "little") + raw + bytes(texts)


CHARSMAP = make_charsmap(  # a few of the rules of `nmt_nfkc_cf`
    {
        **dict.fromkeys(["\t", "\n", "\r", "\u00a0", "\u2003", "\u3000", "\u200b", " \u0301", "\ufffd", "▁"], " "),
        **dict.fromkeys(["\x01", "\x07", "\u200d", "\ufe0f"], ""),
        "Ａ": "a",
        "ﬁ": "fi",
        "½": "1⁄2",
        "…": "...",
        "´": " \u0301",
        "E\u0301": "é",
        "A": "a",
        "É": "é",
        "ß": "ss",
    }
)
