"""Small vocabularies that several tests share; nothing of this machine's caches, and no network."""

import json
from collections.abc import Iterator

import pyarrow as pa
import pytest

from whelp.tokenizer import LearnConfig, Vocabulary, learn

TEXTS = [
    "It's the best of times, it was the worst of times; in 1859 the times were 12345 times better.\n",
    "def add(first, second):\n    return first + second  # the sum of the two\n\n\n",
    "naïve café 日本語のテキスト 日本語 👩‍👩‍👧 e\u0301 ß\t\ttabs and\r\nlines",
    "",
    "the cat sat on the mat, and the cat's hat was on the cat. " * 5,
]


@pytest.fixture(scope="session")
def texts() -> pa.Array:
    """Five documents, one of them empty."""
    return pa.array(TEXTS, pa.large_string())


@pytest.fixture(scope="session")
def bpe(texts: pa.Array) -> Vocabulary:
    """A small byte-level BPE."""
    return learn([texts], LearnConfig(vocab_size=320))


@pytest.fixture(autouse=True)
def alone(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Empty caches of Hugging Face and tiktoken, and a network that is down."""
    for variable in ("HF_HOME", "TIKTOKEN_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path_factory.mktemp("empty")))
    for variable in ("HF_HUB_CACHE", "DATA_GYM_CACHE_DIR", "WHELP_TOKENIZERS"):
        monkeypatch.delenv(variable, raising=False)

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("the network is down")

    monkeypatch.setattr("socket.socket.connect", fail)
    monkeypatch.setattr("socket.getaddrinfo", fail)


@pytest.fixture(scope="session", params=["bpe", "bpe-gpt4", "bpe-code", "unigram", "chars", "words"])
def vocabulary(request: pytest.FixtureRequest, texts: pa.Array) -> Vocabulary:
    """Every kind of vocabulary that can be learned and is exact."""
    kind, _, pattern = request.param.partition("-")
    return learn([texts], LearnConfig(learn=kind, vocab_size=320, pattern=pattern or "gpt2"))


@pytest.fixture(scope="session")
def prefix_space_json() -> str:
    """A tokenizer.json of a kind that is not ours: SentencePiece-like, with a byte fallback."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "▁b", "ab", "▁ab"]
    return json.dumps(
        {
            "version": "1.0",
            "truncation": {"max_length": 2, "stride": 0, "strategy": "LongestFirst", "direction": "Right"},
            "padding": None,
            "added_tokens": [
                {
                    "id": i,
                    "content": c,
                    "special": True,
                    "single_word": False,
                    "lstrip": False,
                    "rstrip": False,
                    "normalized": False,
                }
                for i, c in enumerate(pieces[:3])
            ],
            "normalizer": {
                "type": "Sequence",
                "normalizers": [
                    {"type": "Prepend", "prepend": "▁"},
                    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
                ],
            },
            "pre_tokenizer": None,
            "post_processor": None,
            "decoder": {
                "type": "Sequence",
                "decoders": [
                    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
                    {"type": "ByteFallback"},
                    {"type": "Fuse"},
                    {"type": "Strip", "content": " ", "start": 1, "stop": 0},
                ],
            },
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": "<unk>",
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": True,
                "byte_fallback": True,
                "ignore_merges": False,
                "vocab": {piece: index for index, piece in enumerate(pieces)},
                "merges": [["▁", "a"], ["▁", "b"], ["a", "b"], ["▁a", "b"]],
            },
        }
    )


@pytest.fixture
def warnings_logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What whelp warns of."""
    with caplog.at_level("WARNING", logger="whelp"):
        yield caplog
