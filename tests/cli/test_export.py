"""Exported models: what other programs read is what was trained."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import gguf
import numpy as np
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from whelp.artifacts.checkpoint import find_model_folder, read_model_folder
from whelp.artifacts.gguf_file import write_gguf
from whelp.artifacts.gguf_vocabulary import find_pre_tokenizer
from whelp.base.errors import ArtifactError, ConfigError, TokenizerError
from whelp.cli.export import export
from whelp.cli.generate import load_model
from whelp.model import ModelConfig, build_model, make_spec
from whelp.tokenizer import LearnConfig, learn

from .helpers import Project, Whelp, snapshot


def test_a_folder_for_transformers(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Transformers opens it and computes our logits."""
    before = snapshot(made.folder)
    result = whelp("export", made.run, "--out", "out", "--license", "mit", "--name", "fox", "--json").json
    assert snapshot(made.folder) == before
    assert result["format"] == "hf"
    assert set(result["files"]) == {path.name for path in Path("out").iterdir()}
    assert not list(Path("out").rglob("optimizer*"))
    loaded = load_model(made.run, "cpu")
    theirs, tokenizer = AutoModelForCausalLM.from_pretrained("out"), AutoTokenizer.from_pretrained("out")
    ids = loaded.vocabulary.encode("The quick café")
    assert tokenizer("The quick café")["input_ids"] == ids.tolist()
    batch = torch.from_numpy(ids.astype(np.int64)).unsqueeze(0)
    torch.testing.assert_close(theirs(batch).logits, loaded.model(batch), atol=1e-4, rtol=1e-4)
    assert whelp("generate", "out", "--prompt", "The", "--max-tokens", 3, "--json").json["completions"]


def test_another_precision(made: Project, tmp_path: Path) -> None:
    """Weights can be written in half the bytes; transformers opens them as such."""
    result = export(made.run, out=tmp_path / "half", dtype="bf16")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto")
    assert model.dtype == torch.bfloat16
    assert result.num_bytes < export(made.run, out=tmp_path / "full").num_bytes
    expected = read_model_folder(find_model_folder(made.run))[1]["model.norm.weight"].bfloat16()
    assert torch.equal(model.model.norm.weight, expected)


def _read(path: Path) -> tuple[dict[str, object], dict[str, np.ndarray]]:
    """Metadata and tensors (dequantised), by gguf's own reader."""
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    tensors = {tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type) for tensor in reader.tensors}
    return fields, tensors


def test_gguf_of_qwen3(whelp: Whelp, made: Project) -> None:
    """Sizes, vocabulary and every tensor, as llama.cpp's loader names and shapes them."""
    result = whelp("export", made.run, "--format", "gguf", "--dtype", "f32", "--out", "out", "--name", "fox", "--json").json
    assert result["files"] == ["fox-f32.gguf", "origin.json", "README.md"]
    fields, tensors = _read(Path("out/fox-f32.gguf"))
    config, weights = read_model_folder(find_model_folder(made.run))
    loaded = load_model(made.run, "cpu")
    vocabulary = loaded.vocabulary
    expected = {
        "general.architecture": "qwen3",
        "general.name": "fox",
        "qwen3.block_count": 1,
        "qwen3.context_length": 16,
        "qwen3.embedding_length": 16,
        "qwen3.feed_forward_length": config["intermediate_size"],
        "qwen3.attention.head_count": 2,
        "qwen3.attention.head_count_kv": 2,
        "qwen3.attention.key_length": 8,
        "qwen3.attention.value_length": 8,
        "qwen3.rope.freq_base": 10_000.0,
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.eos_token_id": vocabulary.eos_id,
        "tokenizer.ggml.padding_token_id": vocabulary.pad_id,
        "tokenizer.ggml.add_bos_token": False,
    }
    assert {name: fields.get(name) for name in expected} == expected
    assert fields["qwen3.attention.layer_norm_rms_epsilon"] == pytest.approx(1e-6)
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    assert len(tokens) == len(types) == config["vocab_size"]
    assert all(vocabulary.id_of(token) == place for place, token in enumerate(tokens[: vocabulary.size]))
    assert [types[token_id] for token_id in sorted(vocabulary.special_ids)] == [gguf.TokenType.CONTROL] * 2
    assert set(types[vocabulary.size :]) == {gguf.TokenType.UNUSED}
    assert types[:256] == [gguf.TokenType.NORMAL] * 256
    assert len(fields["tokenizer.ggml.merges"]) == vocabulary.size - 256 - 2
    names = {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "blk.0.attn_norm.weight": "model.layers.0.input_layernorm.weight",
        "blk.0.attn_q.weight": "model.layers.0.self_attn.q_proj.weight",
        "blk.0.attn_k.weight": "model.layers.0.self_attn.k_proj.weight",
        "blk.0.attn_v.weight": "model.layers.0.self_attn.v_proj.weight",
        "blk.0.attn_q_norm.weight": "model.layers.0.self_attn.q_norm.weight",
        "blk.0.attn_k_norm.weight": "model.layers.0.self_attn.k_norm.weight",
        "blk.0.attn_output.weight": "model.layers.0.self_attn.o_proj.weight",
        "blk.0.ffn_norm.weight": "model.layers.0.post_attention_layernorm.weight",
        "blk.0.ffn_gate.weight": "model.layers.0.mlp.gate_proj.weight",
        "blk.0.ffn_up.weight": "model.layers.0.mlp.up_proj.weight",
        "blk.0.ffn_down.weight": "model.layers.0.mlp.down_proj.weight",
    }
    assert set(tensors) == set(names)
    for ours, theirs in names.items():
        np.testing.assert_array_equal(tensors[ours], weights[theirs].numpy())


@pytest.mark.parametrize(("dtype", "tolerance"), [("f16", 1e-3), ("bf16", 1e-2), ("q8_0", 2e-2)])
def test_gguf_of_gpt2(tmp_path: Path, dtype: str, tolerance: float) -> None:
    """Matrices that the folder holds as (in, out) are turned; vectors and positions stay exact; a head of its own is there."""
    config = ModelConfig(family="gpt2", n_layer=1, n_head=2, n_embd=32, tie_embeddings=False)
    model = build_model(make_spec(config, num_ids=300, context_tokens=16))
    values, weights = model.to_hugging_face()
    vocabulary = learn([pa.array(["the fox and the dog"] * 3)], LearnConfig(learn="bpe", vocab_size=264, pattern="gpt4"))
    counts = write_gguf(
        tmp_path / "a.gguf",
        name="a",
        config=values,
        weights=weights,
        tokenizer=json.loads(vocabulary.to_json()),
        control_ids={"eos": vocabulary.eos_id},
        read_token=lambda token_id: vocabulary.decode_bytes([token_id]),
        chat_template="{{ messages }}",
        dtype=dtype,
    )
    fields, tensors = _read(tmp_path / "a.gguf")
    assert fields["general.architecture"] == "gpt2"
    assert fields["tokenizer.ggml.pre"] == "dbrx"
    assert fields["tokenizer.chat_template"] == "{{ messages }}"
    assert set(counts) == {"f32", dtype}
    state = model.state_dict()
    for ours, theirs in {
        "token_embd.weight": "embed.weight",
        "output.weight": "head.weight",
        "blk.0.attn_qkv.weight": "blocks.0.query_key_value.weight",
        "blk.0.attn_output.weight": "blocks.0.project.weight",
        "blk.0.ffn_up.weight": "blocks.0.expand.weight",
        "blk.0.ffn_down.weight": "blocks.0.contract.weight",
    }.items():
        expected = state[theirs].numpy()
        np.testing.assert_allclose(tensors[ours], expected, atol=tolerance * np.abs(expected).max())
    for ours, theirs in {
        "position_embd.weight": "positions.weight",
        "output_norm.bias": "norm.bias",
        "blk.0.attn_norm.weight": "blocks.0.norm_1.weight",
        "blk.0.ffn_up.bias": "blocks.0.expand.bias",
    }.items():
        np.testing.assert_array_equal(tensors[ours], state[theirs].numpy())


_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True}


@pytest.mark.parametrize(
    ("tokenizer", "message"),
    [
        (
            {"model": {"type": "BPE", "byte_fallback": True}, "pre_tokenizer": _BYTES},
            "a BPE with bytes as a last resort, which",
        ),
        (
            {"model": {"type": "BPE", "end_of_word_suffix": "</w>"}, "pre_tokenizer": _BYTES},
            "with a mark at the end of words, which",
        ),
        ({"model": {"type": "BPE"}, "pre_tokenizer": {"type": "Whitespace"}}, "a rule that llama.cpp is not known to have"),
        ({"model": {"type": "BPE"}, "pre_tokenizer": {**_BYTES, "add_prefix_space": True}}, "is not known to have"),
        (
            {"model": {"type": "BPE"}, "pre_tokenizer": _BYTES, "normalizer": {"type": "Lowercase"}},
            r"it changes text before cutting it \(Lowercase\), and llama.cpp does not",
        ),
    ],
)
def test_vocabularies_that_gguf_cannot_say(tokenizer: dict, message: str) -> None:
    """They are refused: a model whose text is cut otherwise would be silently wrong."""
    with pytest.raises(TokenizerError, match=message):
        find_pre_tokenizer(tokenizer, "v")


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"learn": "unigram"}, "its vocabulary is a Unigram, which llama.cpp would read otherwise"),
        ({"learn": "wordpiece"}, "its vocabulary is a WordPiece, which"),
        ({"learn": "chars"}, "its vocabulary is a WordLevel, which"),
        ({"learn": "words"}, "its vocabulary is a WordLevel, which"),
        (
            {"learn": "bpe", "pattern": "regex", "pattern_regex": r"\S+|\s+"},
            "it cuts text by a rule that llama.cpp is not known to have",
        ),
    ],
)
def test_learned_kinds_that_gguf_cannot_say(options: dict, found: str) -> None:
    """The message says what to train instead."""
    vocabulary = learn([pa.array(["the fox and the dog"] * 9)], LearnConfig(vocab_size=320, **options))
    with pytest.raises(TokenizerError) as caught:
        find_pre_tokenizer(vocabulary.specification(), "v")
    assert found in str(caught.value)
    assert "prepare and train with data.tokenizer.learn=bpe and a pattern of gpt2, gpt4 or code" in str(caught.value)
    assert vocabulary.gguf_name is None


def test_joined_accents_are_named(made: Project, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """llama.cpp does not join accents to letters, as vocabularies such as GPT-NeoX's do."""
    folder = shutil.copytree(find_model_folder(made.run), tmp_path / "model")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps({**tokenizer, "normalizer": {"type": "NFC"}}))
    export(folder, out=tmp_path / "out", format="gguf")
    assert "its vocabulary joins accents to their letters (NFC), which llama.cpp does not" in caplog.text


def test_other_architectures_have_other_converters(tmp_path: Path) -> None:
    """What is not of our families is not guessed."""
    with pytest.raises(ArtifactError, match="its architecture is 'llama', but expected gpt2, qwen3, rwkv7, rwkv6 or rwkv5"):
        write_gguf(
            tmp_path / "a", name="a", config={"model_type": "llama"}, weights={}, tokenizer={}, control_ids={}, chat_template=None,
            dtype="f16", read_token=lambda _: b"",
        )  # fmt: skip


def test_a_name_of_the_hub(made: Project, tmp_path: Path) -> None:
    """The card has all of it, the file what comes after the owner."""
    result = export(made.run, out=tmp_path / "out", format="gguf", name="org/model")
    assert "model-f16.gguf" in result.files
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "# org/model" in card
    assert "out/model-f16.gguf" in card


def test_wrong_wishes(whelp: Whelp, made: Project) -> None:
    """A full place is left alone; formats and precisions are named."""
    Path("full").mkdir()
    Path("full/letter.txt").write_text("mine")
    outcome = whelp("export", made.run, "--out", "full")
    assert outcome.code == 1
    assert "something stands there, but expected an empty place" in outcome.said
    assert [path.name for path in Path("full").iterdir()] == ["letter.txt"]
    assert whelp("export", made.run, "--out", "x", "--format", "onyx").code == 2
    assert (
        "--dtype is 'f16', but expected one of f32"
        in whelp("export", made.run, "--out", "x", "--format", "onnx", "--dtype", "f16").said
    )
    assert "--dtype is 'q2'" in whelp("export", made.run, "--out", "x", "--format", "gguf", "--dtype", "q2").said
    with pytest.raises(ConfigError, match="--format is 'onyx', but expected one of hf, gguf"):
        export(made.run, out="x", format="onyx")
    assert not Path("x").exists()
