"""Our families are the stock architectures: transformers computes the same from the same weights."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    Qwen3Config,
    Qwen3ForCausalLM,
    RwkvConfig,
    RwkvForCausalLM,
)

from whelp.base.errors import ArtifactError
from whelp.model.build import model_from_hugging_face
from whelp.model.config import name_family

VARIANTS = [
    ("gpt2", {}),
    ("gpt2", {"tie_embeddings": False, "ffn_width": 72}),
    ("qwen3", {"n_kv_head": 2}),
    ("qwen3", {"tie_embeddings": False, "rope_base": 500.0}),
    ("qwen3", {"n_kv_head": 2, "head_width": 12, "tie_embeddings": False}),
    ("qwen3", {"n_head": 3, "n_embd": 40, "head_width": 16, "ffn_width": 50, "rope_base": 1e6}),
    ("rwkv4", {"n_layer": 3}),
    ("rwkv4", {"ffn_width": 48}),
]


def _ids() -> torch.Tensor:
    return torch.randint(0, 60, (3, 24), generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def _their_logits(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    return model.eval()(ids).logits


def _save(model, folder) -> None:
    config, weights = model.to_hugging_face()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _load(folder):
    config = json.loads((folder / "config.json").read_text())
    return model_from_hugging_face(config, load_file(folder / "model.safetensors"), folder)


@pytest.mark.parametrize(("family", "options"), VARIANTS)
def test_transformers_computes_the_same(make_model, tmp_path, family, options):
    """A folder of ours, opened by AutoModelForCausalLM, gives our logits to 1e-5, and no weight is missing or left over."""
    model = make_model(family, **options)
    _save(model, tmp_path)
    theirs, info = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert name_family(theirs.config.model_type) == family
    ours = model.eval()(_ids())
    torch.testing.assert_close(ours, _their_logits(theirs, _ids()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("family", "options"), VARIANTS)
def test_there_and_back(make_model, tmp_path, family, options):
    """Our folder opened by us again is the same model, spec and every bit of every weight."""
    model = make_model(family, **options)
    _save(model, tmp_path)
    again = _load(tmp_path)
    assert again.spec == model.spec
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, again.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("tied", [True, False])
def test_their_gpt2_loads(tmp_path, tied):
    """A GPT-2 that transformers saved gives the same logits here."""
    config = GPT2Config(n_layer=2, n_head=2, n_embd=32, n_positions=24, vocab_size=60, n_inner=40, tie_word_embeddings=tied)
    torch.manual_seed(0)
    theirs = GPT2LMHeadModel(config)
    _randomise(theirs)
    theirs.save_pretrained(tmp_path)
    ours = _load(tmp_path).eval()
    assert ours.spec.ffn_width == 40
    torch.testing.assert_close(ours(_ids()), _their_logits(theirs, _ids()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_their_qwen3_loads(tmp_path, tied):
    """A Qwen3 that transformers saved gives the same logits here, its rotary base and grouped heads included."""
    config = Qwen3Config(
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=10,
        hidden_size=32,
        intermediate_size=48,
        vocab_size=60,
        max_position_embeddings=24,
        rope_theta=300.0,
        rms_norm_eps=1e-4,
        tie_word_embeddings=tied,
    )
    theirs = Qwen3ForCausalLM(config)
    _randomise(theirs)
    theirs.save_pretrained(tmp_path)
    ours = _load(tmp_path).eval()
    assert (ours.spec.rope_base, ours.spec.norm_eps, ours.spec.tie_embeddings) == (300.0, 1e-4, tied)
    torch.testing.assert_close(ours(_ids()), _their_logits(theirs, _ids()), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("rescale_every", [0, 1])
def test_their_rwkv_loads(tmp_path, rescale_every):
    """An RWKV-4 that transformers saved gives the same logits here, also where it halves its residual stream while it infers."""
    torch.manual_seed(0)
    config = RwkvConfig(
        num_hidden_layers=3, hidden_size=32, vocab_size=60, context_length=24, intermediate_size=48, rescale_every=rescale_every
    )
    theirs = RwkvForCausalLM(config)
    _randomise(theirs)
    theirs.save_pretrained(tmp_path)
    ours = _load(tmp_path).eval()
    assert (ours.spec.family, ours.spec.ffn_width, ours.spec.context_tokens) == ("rwkv4", 48, 24)
    tolerance = 1e-5 if not rescale_every else 1e-3  # their norms' epsilon weighs four times as much in a halved stream
    torch.testing.assert_close(ours(_ids()), _their_logits(theirs, _ids()), atol=tolerance, rtol=tolerance)


def test_an_rwkv_with_a_wide_memory_is_refused():
    """Time mixing of another width than the model's is not ours."""
    config = {"model_type": "rwkv", "hidden_size": 32, "attention_hidden_size": 64}
    with pytest.raises(ArtifactError, match="its attention_hidden_size is 64, but expected the hidden_size"):
        model_from_hugging_face(config, {}, "folder")


def test_gpt2_without_its_prefix_loads(make_model):
    """The first GPT-2 folders name their weights without `transformer.`, and hold masks that are no weights."""
    model = make_model("gpt2")
    config, weights = model.to_hugging_face()
    bare = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    bare["h.0.attn.bias"] = torch.ones(1, 1, 24, 24)
    again = model_from_hugging_face(config, bare, "folder")
    assert torch.equal(again.eval()(_ids()), model.eval()(_ids()))


def test_a_foreign_architecture_is_refused():
    """An architecture that is not ours is named, and so are ours."""
    with pytest.raises(ArtifactError, match="folder: its architecture is 'llama', but expected one of gpt2, qwen3"):
        model_from_hugging_face({"model_type": "llama"}, {}, "folder")


def test_another_activation_is_refused():
    """GPT-2 with another activation is not GPT-2."""
    with pytest.raises(ArtifactError, match="its activation is 'relu', but expected gelu_new"):
        model_from_hugging_face({"model_type": "gpt2", "activation_function": "relu"}, {}, "folder")


@pytest.mark.parametrize(
    ("family", "settings", "message"),
    [
        ("qwen3", {"attention_bias": True}, "attention_bias is True"),
        ("qwen3", {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        ("qwen3", {"use_sliding_window": True}, "use_sliding_window is True"),
        ("qwen3", {"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rotary positions are scaled \\('yarn'\\)"),
        ("qwen3", {"rope_theta": None, "rope_parameters": {"rope_type": "linear", "rope_theta": 1e4}}, "scaled \\('linear'\\)"),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx is True"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights is False"),
    ],
)
def test_settings_that_change_the_arithmetic_are_refused(make_model, family, settings, message):
    """What our families do not compute is refused, rather than computed wrongly."""
    config, weights = make_model(family).to_hugging_face()
    with pytest.raises(ArtifactError, match=message):
        model_from_hugging_face(config | settings, weights, "folder")


def test_missing_and_misshapen_weights_are_refused(make_model):
    """Weights that do not fit the config are refused by message."""
    config, weights = make_model("gpt2").to_hugging_face()
    with pytest.raises(ArtifactError, match=r"its weights do not fit its config\.json .*wpe"):
        model_from_hugging_face(config, {name: weights[name] for name in weights if "wpe" not in name}, "folder")
    with pytest.raises(ArtifactError, match=r"(?s)its weights do not fit its config\.json .*size mismatch"):
        model_from_hugging_face(config | {"n_positions": 12}, weights, "folder")


def _randomise(model: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
