"""Architectures of transformers behind our interface: the same logits, sound, saved so that transformers opens them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from whelp.artifacts.checkpoint import read_model_folder, save_checkpoint
from whelp.base.errors import ConfigError, MissingExtraError
from whelp.model import ModelConfig, ModelSpec, build_model, check_model, make_spec
from whelp.model.build import count_parameters
from whelp.model.check import find_leak
from whelp.model.hugging_face import open_hugging_face
from whelp.train import TrainConfig, build_optimizer

SMALL = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48}
KINDS: dict[str, dict[str, Any]] = {
    "llama": {**SMALL, "num_key_value_heads": 2},
    "gpt_neox": SMALL,
    "gpt2": {"n_layer": 2, "n_embd": 32, "n_head": 4},  # its own names; a shared head
    "mamba": {"num_hidden_layers": 2, "hidden_size": 32},  # no attention, no positions, no list of keys and values
    "mixtral": {**SMALL, "num_key_value_heads": 2, "num_local_experts": 4},  # matrices of experts in one
}


def spec_of(kind: str, *, num_ids: int = 60, context_tokens: int = 24, **overrides: Any) -> ModelSpec:
    """The spec of a small model of a kind."""
    config = ModelConfig(family="hf", hf_config=kind, hf_overrides={**KINDS.get(kind, {}), **overrides})
    return make_spec(config, num_ids=num_ids, context_tokens=context_tokens)


def scramble(model: torch.nn.Module) -> None:
    """Weights far from those at the start."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_sound(kind: str) -> None:
    """No future, no other rows, reading in pieces as at once, documents in a row each as alone."""
    model = build_model(spec_of(kind))
    assert find_leak(model) is None
    scramble(model)
    assert check_model(model) == []


def test_activations_computed_again() -> None:
    """The same gradient, with each block computed once more; an architecture that cannot do it says so."""
    gradients, calls = [], []
    for is_asked in (False, True):
        model = build_model(spec_of("llama")).train()
        if is_asked:
            model.checkpoint_activations()
        model.inner.model.layers[0].mlp.register_forward_pre_hook(lambda *_, is_asked=is_asked: calls.append(is_asked))
        ids = torch.arange(24).view(2, 12)
        model.loss(ids, ids.roll(-1, 1)).backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    assert calls == [False, True, True]
    torch.testing.assert_close(gradients[1], gradients[0])
    model.inner.supports_gradient_checkpointing = False
    with pytest.raises(ConfigError, match=r"train\.checkpoint_activations: llama of transformers keeps all activations"):
        model.checkpoint_activations()


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_opened_by_transformers(kind: str, tmp_path: Path) -> None:
    """The same logits there, in our own words, and from a spec of the same recipe."""
    from transformers import AutoModelForCausalLM

    model = build_model(spec_of(kind)).eval()
    scramble(model)
    config, weights = model.to_hugging_face()
    folder = tmp_path / "model"
    save_checkpoint(
        folder, config=config, weights=weights, save_tokenizer=lambda _: None, generation={}, trainer=None, counts={}
    )
    ids = torch.arange(20).view(2, 10)
    expected = model(ids)
    theirs = AutoModelForCausalLM.from_pretrained(folder).eval()
    assert type(theirs) is type(model.inner)
    torch.testing.assert_close(theirs(input_ids=ids).logits, expected)
    again = build_model(spec_of(kind), seed=9).eval()
    again.load_hugging_face(read_model_folder(folder)[1])
    torch.testing.assert_close(again(ids), expected)
    opened = open_hugging_face(folder, read_model_folder(folder)[0]).eval()
    torch.testing.assert_close(opened(ids), expected)
    assert opened.spec.n_layer == 2


def test_the_seed_draws_the_weights() -> None:
    """The same seed, the same weights, whatever was drawn before; and nothing else's random numbers move."""
    first = build_model(spec_of("llama"), seed=3).state_dict()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    second = build_model(spec_of("llama"), seed=3).state_dict()
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = build_model(spec_of("llama"), seed=4).state_dict()
    assert not torch.equal(first["inner.lm_head.weight"], other["inner.lm_head.weight"])


def test_sizes() -> None:
    """Ids and positions are the recipe's, derived sizes follow the overrides, parameters are counted without memory."""
    spec = spec_of("llama", num_ids=100, context_tokens=48)
    assert (spec.vocab_size, spec.context_tokens, spec.n_layer, spec.n_embd, spec.head_width) == (128, 48, 2, 32, 8)
    assert spec.hf_config is not None
    assert spec.hf_config["max_position_embeddings"] == 48
    assert count_parameters(spec) == sum(p.numel() for p in build_model(spec).parameters())
    assert spec_of("gpt_neox", hidden_dropout=0.1).dropout == 0.1


def test_a_folder_with_a_config(tmp_path: Path) -> None:
    """A folder gives its values, without its weights; overrides replace single ones."""
    from transformers import LlamaConfig

    LlamaConfig(**KINDS["llama"], rope_theta=500.0).save_pretrained(tmp_path)
    spec = spec_of(str(tmp_path), num_hidden_layers=3)
    assert (spec.n_layer, spec.n_embd) == (3, 32)
    assert spec.hf_config is not None
    assert spec.hf_config["rope_parameters"]["rope_theta"] == 500.0


def test_matrices_of_blocks_go_to_muon() -> None:
    """Two-dimensional weights of numbered blocks; not the embedding, not the head, not experts in one tensor."""
    model = build_model(spec_of("mixtral"))
    optimizer = build_optimizer(model, TrainConfig(optimizer="muon"))
    assert optimizer.matrices is not None
    assert all(".layers." in name for name in optimizer.matrices.names)
    decayed = next(group for group in optimizer.others if group.decays)
    odd = {name.rsplit(".", 1)[1] if "experts" in name else name for name in decayed.parameters.names}
    assert odd == {"inner.model.embed_tokens.weight", "inner.lm_head.weight", "gate_up_proj", "down_proj"}


def test_a_bidirectional_one_is_found_out() -> None:
    """BERT reads both ways, until it is told to be a decoder."""
    leak = find_leak(build_model(spec_of("bert", **SMALL)))
    assert leak is not None
    assert leak.startswith("it sees the future")
    assert find_leak(build_model(spec_of("bert", **SMALL, is_decoder=True))) is None


@pytest.mark.parametrize(
    ("kind", "overrides", "message"),
    [
        ("lama", {}, "there is no folder 'lama', and transformers knows no such kind. Did you mean llama?"),
        ("llama", {"num_layers": 2}, "unknown key model.hf_overrides.num_layers: llama has no such value"),
        ("llama", {"num_hidden_layer": 2}, "Did you mean num_hidden_layers?"),
        ("llama", {"vocab_size": 99}, "Use model.vocab_size"),
        ("llama", {"max_position_embeddings": 8}, "max_position_embeddings is 8, but a row has 24 tokens"),
        ("vit", {}, "transformers has no causal language model of the kind vit"),
        ("llama", {"hidden_size": 30}, "model.hf_overrides: llama "),
    ],
)
def test_what_cannot_be_built(kind: str, overrides: dict[str, Any], message: str) -> None:
    """Every mistake is named by its option."""
    with pytest.raises(ConfigError) as caught:
        build_model(spec_of(kind, **overrides))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"family": "hf"}, "model.hf_config is missing"),
        ({"family": "hf", "hf_config": "llama", "n_layer": 2}, "model.n_layer is set, but with family hf"),
        ({"hf_config": "llama"}, "model.hf_config is set, but model.family is qwen3"),
    ],
)
def test_options_that_do_not_fit(values: dict[str, Any], message: str) -> None:
    """Sizes are said in one place."""
    with pytest.raises(ConfigError) as caught:
        ModelConfig(**values)
    assert message in str(caught.value)


def test_without_transformers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    import sys

    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r'pip install "whelp\[hf\]"'):
        spec_of("llama")


def test_flops_of_a_token() -> None:
    """GPT-2 small at 1,024 tokens, by hand; an embedding that is no head is not multiplied."""
    from whelp.model.build import count_token_flops

    gpt2 = ModelConfig(family="gpt2", n_layer=12, n_head=12, n_embd=768, vocab_size=50257)
    assert count_token_flops(make_spec(gpt2, num_ids=50257, context_tokens=1024)) == 6 * 124_439_808 + 12 * 12 * 768 * 1024
    tied, untied = (
        count_token_flops(make_spec(ModelConfig(tie_embeddings=is_tied), num_ids=640, context_tokens=64))
        for is_tied in (True, False)
    )
    assert tied == untied
