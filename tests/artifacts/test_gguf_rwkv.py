"""RWKV as GGUF: from the file alone come the model's logits and the vocabulary's ids."""

from __future__ import annotations

import ast
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from whelp.artifacts.gguf_file import write_gguf
from whelp.base.errors import ArtifactError, TokenizerError
from whelp.model import ModelConfig, build_model, make_spec
from whelp.model.rwkv.shared import Rwkv
from whelp.tokenizer import LearnConfig, Vocabulary, learn, load_tokenizer
from whelp.tokenizer.world import make_world_json

from .gguf_reading import compute_logits, read

TEXTS = [
    "the cat and the dog: 12 cafés\n\n\tthe end\r\n",
    "北京 'it' is \"it\" \\n \\x41 \\\\ the\\",
    "[PAD300] and [PAD512], naïve",
]
TRICKY = [b"the", b" the", b"\n\n", b"\\n", b"\\x41", b"\\\\", b"'", b"'it'", b'"it', "é".encode(), b"\xe4\xba", b"\r\n", b"12"]

_LOW_RANKS = {"rwkv7": (24, 40, 16, 72), "rwkv6": (24, 40)}


@pytest.fixture(scope="module")
def learned() -> Vocabulary:
    """A byte-level BPE."""
    return learn([pa.array(TEXTS * 2)], LearnConfig(learn="bpe", vocab_size=320, pattern="gpt4"))


@pytest.fixture(scope="module")
def greedy() -> Vocabulary:
    """Of World's kind: all bytes, and tokens that hold whatever a file could garble."""
    tokens = list(dict.fromkeys([bytes([byte]) for byte in range(256)] + TRICKY))
    return Vocabulary(make_world_json({token: place for place, token in enumerate(tokens, 1)}), guess_control=True)


def make_model(family: str, head_width: int = 64, num_ids: int = 384) -> Rwkv:
    """Two layers, two heads, thin matrices of unlike widths, no weight at rest."""
    config = ModelConfig(family=family, n_layer=2, n_head=2, n_embd=2 * head_width)  # type: ignore[arg-type]
    spec = make_spec(config, num_ids=num_ids, context_tokens=64)
    model = build_model(replace(spec, low_ranks=_LOW_RANKS.get(family)))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * (0.2 if max(parameter.shape) < 999 else 0.1))
    assert isinstance(model, Rwkv)
    return model.eval()


def write(path: Path, model: Rwkv, vocabulary: Vocabulary, dtype: str = "f32", **others: Any) -> dict[str, int]:
    """As `whelp export` does."""
    control = {"eos": vocabulary.eos_id, "pad": vocabulary.pad_id}
    arguments: dict[str, Any] = {
        "name": "fox",
        "config": model.to_hugging_face()[0],
        "weights": model.to_official(),
        "tokenizer": vocabulary.specification(),
        "control_ids": {role: token_id for role, token_id in control.items() if token_id is not None},
        "read_token": lambda token_id: vocabulary.decode_bytes([token_id], skip_special=False),
        "chat_template": None,
        "dtype": dtype,
    }
    return write_gguf(path, **{**arguments, **others})


def find_logits(model: Rwkv, ids: list[int]) -> np.ndarray:
    """(T, V) by the model itself."""
    with torch.no_grad():
        return model(torch.tensor([ids]))[0].numpy()


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("f32", 1e-5), ("f16", 1e-2), ("q8_0", 0.1)]
)  # shares of the largest logit; random weights make errors grow
@pytest.mark.parametrize("family", ["rwkv7", "rwkv6", "rwkv5"])
def test_logits_from_the_file_alone(tmp_path: Path, learned: Vocabulary, family: str, dtype: str, tolerance: float) -> None:
    """RWKV-5 too, as a generation 6 that adds nothing; matrices in the asked type, all else exact."""
    model = make_model(family)
    counts = write(tmp_path / "a.gguf", model, learned, dtype)
    assert set(counts) == {"f32", dtype}
    assert counts[dtype] > 12
    ids = learned.encode(TEXTS[0]).tolist()
    expected = find_logits(model, ids)
    np.testing.assert_allclose(compute_logits(tmp_path / "a.gguf", ids), expected, atol=tolerance * np.abs(expected).max())


def test_sizes_are_said(tmp_path: Path, learned: Vocabulary) -> None:
    """Everything that llama.cpp asks for; the vocabulary may be one that was learned."""
    write(tmp_path / "a.gguf", make_model("rwkv7"), learned)
    fields, tensors = read(tmp_path / "a.gguf")
    expected = {
        "general.architecture": "rwkv7",
        "rwkv7.block_count": 2,
        "rwkv7.embedding_length": 128,
        "rwkv7.feed_forward_length": 512,
        "rwkv7.wkv.head_size": 64,
        "rwkv7.attention.head_count": 0,
        "rwkv7.attention.decay_lora_rank": 24,
        "rwkv7.attention.iclr_lora_rank": 40,
        "rwkv7.attention.value_residual_mix_lora_rank": 16,
        "rwkv7.attention.gate_lora_rank": 72,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "dbrx",
        "tokenizer.ggml.eos_token_id": learned.eos_id,
    }
    assert {name: fields.get(name) for name in expected} == expected
    # The first layer's residual of values is asked for in the rank of the learning rate, and is never read.
    assert tensors["blk.0.time_mix_v1.weight"].shape == tensors["blk.0.time_mix_a1.weight"].shape
    assert not tensors["blk.0.time_mix_v0.weight"].any()


def cut(text: str, tokens: dict[bytes, int]) -> list[int]:
    """The longest token that fits, again and again."""
    rest, ids = text.encode(), []
    while rest:
        length = max(length for length in range(1, len(rest) + 1) if rest[:length] in tokens)
        ids.append(tokens[rest[:length]])
        rest = rest[length:]
    return ids


def unescape(token: str) -> bytes:
    """Python's own reading of backslashes, which llama.cpp's follows."""
    quoted = token.replace("'", "\\'")
    return bytes(ast.literal_eval(f"b'{quoted}'"))


def test_the_longest_token_that_fits(tmp_path: Path, greedy: Vocabulary) -> None:
    """A file's tokens give the ids of a World vocabulary, whatever is in the text; control tokens keep their names."""
    write(tmp_path / "a.gguf", make_model("rwkv6"), greedy)
    fields, _ = read(tmp_path / "a.gguf")
    assert fields["tokenizer.ggml.model"] == "rwkv"
    assert "tokenizer.ggml.pre" not in fields
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert len(tokens) == len(set(tokens)) == 384
    assert (tokens[0], types[0], types[1], types[383]) == ("<|endoftext|>", 3, 1, 5)
    assert fields["tokenizer.ggml.eos_token_id"] == 0
    table = {unescape(token): place for place, token in enumerate(tokens)}
    for text in TEXTS:
        assert cut(text, table) == greedy.encode(text).tolist()


def test_what_llama_cpp_cannot_compute(tmp_path: Path, learned: Vocabulary, caplog: pytest.LogCaptureFixture) -> None:
    """Narrow heads are refused where they would give nonsense, and named where only GPUs do not have them."""
    with pytest.raises(ArtifactError, match=r"its heads are 16 wide, .* but expected 64 or 128\. Train with model\.n_head = "):
        write(tmp_path / "a.gguf", make_model("rwkv7", 16), learned)
    with caplog.at_level(logging.WARNING):
        write(tmp_path / "b.gguf", make_model("rwkv6", 16), learned)
    assert "its heads are 16 wide; on a GPU llama.cpp computes heads of 64 and 128 alone" in caplog.text


def test_vocabularies_that_would_hang_it(tmp_path: Path, greedy: Vocabulary) -> None:
    """At a byte that is no token llama.cpp's greedy rule does not go on."""
    specification = greedy.specification()
    del specification["model"]["vocab"]["!"]
    with pytest.raises(
        TokenizerError, match=r"1 of the 256 single bytes are no tokens, and llama\.cpp would never come to an end"
    ):
        write(tmp_path / "a.gguf", make_model("rwkv6"), greedy, tokenizer=specification)


def test_no_end_of_text(tmp_path: Path, learned: Vocabulary) -> None:
    """Where a vocabulary names none, llama.cpp takes id 11, so an unused one is named."""
    write(tmp_path / "a.gguf", make_model("rwkv6"), learned, control_ids={})
    fields, _ = read(tmp_path / "a.gguf")
    assert fields["tokenizer.ggml.tokens"][fields["tokenizer.ggml.eos_token_id"]].startswith("[PAD")


@pytest.mark.parametrize(("family", "name"), [("rwkv7", "learned"), ("rwkv6", "greedy"), ("rwkv5", "world")])
def test_in_llama_cpp_itself(tmp_path: Path, request: pytest.FixtureRequest, family: str, name: str) -> None:
    """Ids, texts and logits where llama.cpp's Python binding is installed."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="pip install llama-cpp-python compares files with llama.cpp itself")
    vocabulary = load_tokenizer(name) if name == "world" else request.getfixturevalue(name)
    model = make_model(family, num_ids=65536 if name == "world" else 384)
    write(tmp_path / "a.gguf", model, vocabulary)
    opened = llama_cpp.Llama(str(tmp_path / "a.gguf"), n_ctx=256, logits_all=True, verbose=False, n_threads=1)
    for text in TEXTS:
        ids = vocabulary.encode(text).tolist()
        assert opened.tokenize(text.encode(), add_bos=False, special=False) == ids
        assert opened.detokenize(ids) == text.encode()
    opened.eval(ids)
    expected = find_logits(model, ids)
    np.testing.assert_allclose(opened.scores[: len(ids)], expected, atol=1e-5 * np.abs(expected).max())
