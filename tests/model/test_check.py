"""The proofs of causality: sound models pass, and every kind of broken one is caught."""

import pytest
import torch
import torch.nn.functional as F

from whelp.model import Cache, ModelConfig, build_model, make_spec
from whelp.model.check import check_model
from whelp.model.gpt2 import GPT2
from whelp.model.qwen3 import Qwen3

VARIANTS = [
    ("gpt2", {}),
    ("gpt2", {"tie_embeddings": False, "dropout": 0.5}),
    ("gpt2", {"n_head": 1, "n_layer": 1}),
    ("qwen3", {}),
    ("qwen3", {"n_kv_head": 2}),
    ("qwen3", {"n_kv_head": 1, "head_width": 6, "tie_embeddings": False}),
    ("qwen3", {"n_head": 3, "n_embd": 40, "head_width": 16, "ffn_width": 50}),
    ("rwkv7", {}),
    ("rwkv7", {"n_head": 1, "n_layer": 1}),
    ("rwkv6", {}),
    ("rwkv5", {}),
    ("rwkv5", {"n_head": 8, "ffn_width": 40}),
    ("rwkv4", {}),
    ("rwkv4", {"n_layer": 1, "n_head": 5, "ffn_width": 40}),
]


@pytest.mark.parametrize(("family", "options"), VARIANTS)
def test_every_family_is_sound(make_model, family, options):
    """No family sees the future or other rows; each uses the past; each reads with a cache as without."""
    model = make_model(family, **options)
    assert check_model(model) == []
    assert model.training  # as it was before


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_first_weights_are_sound(make_model, family):
    """Freshly drawn weights pass as well."""
    assert check_model(make_model(family, scrambled=False), tolerance=1e-6) == []


def _scrambled(kind: type, **options):
    family = "gpt2" if issubclass(kind, GPT2) else "qwen3"
    config = ModelConfig(family=family, **{"n_layer": 2, "n_head": 2, "n_embd": 16} | options)
    model = kind(make_spec(config, num_ids=60, context_tokens=24))
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0.0, 0.3, generator=generator)
    return model


def _starts(failures: list[str]) -> list[str]:
    return [failure.split(":")[0].split(" by ")[0] for failure in failures]


class _NextToken(GPT2):
    def hidden(self, ids, cache=None, documents=None):
        x = super().hidden(ids, cache, documents)
        return x + 0.1 * x.roll(-1, dims=1)


def test_a_look_at_the_next_token_is_caught():
    """A hidden state that holds a little of its successor's is a look into the future."""
    assert "it sees the future" in _starts(check_model(_scrambled(_NextToken)))


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_attention_without_a_mask_is_caught(make_model, monkeypatch, family):
    """Attention to all tokens is a look into the future."""

    def attend_to_all(queries, keys, values, **settings):
        return F.scaled_dot_product_attention(queries, keys, values)

    monkeypatch.setattr(f"whelp.model.{family}.causal_attention", attend_to_all)
    failures = check_model(make_model(family))
    assert _starts(failures)[0] == "it sees the future"
    assert "changing token 1 changes earlier logits by" in failures[0]


class _MixedRows(Qwen3):
    def hidden(self, ids, cache=None, documents=None):
        x = super().hidden(ids, cache, documents)
        return x + 0.1 * x.mean(dim=0, keepdim=True)


def test_mixed_rows_are_caught():
    """A mean over the batch lets rows see each other, and nothing else is wrong with it."""
    assert _starts(check_model(_scrambled(_MixedRows))) == ["rows of a batch see each other"]


class _Forgetful(GPT2):
    def hidden(self, ids, cache=None, documents=None):
        return self.norm(self.embed(ids))


def test_ignoring_the_past_is_caught():
    """A model that knows the last token only is no language model."""
    assert _starts(check_model(_scrambled(_Forgetful))) == ["it ignores the past"]


class _UnusedCache(GPT2):
    def hidden(self, ids, cache=None, documents=None):
        return super().hidden(ids, None, documents)


class _RestartedPositions(Qwen3):
    def rotation(self, positions, num_positions, device):
        return super().rotation(slice(0, positions.stop - positions.start), num_positions, device)


class _UncountedTokens(Qwen3):
    def hidden(self, ids, cache=None, documents=None):
        x = super().hidden(ids, cache, documents)
        if cache is not None and ids.shape[1] > 1:
            cache.lengths[:] = [length - 1 for length in cache.lengths]
        return x


@pytest.mark.parametrize("kind", [_UnusedCache, _RestartedPositions, _UncountedTokens])
def test_a_wrong_cache_is_caught(kind):
    """A cache that is not used, positions that begin anew, tokens that are not counted: each reads differently."""
    assert _starts(check_model(_scrambled(kind))) == ["reading with a cache differs from reading at once"]


class _SamePositions(Qwen3):
    def rotation(self, positions, num_positions, device):
        is_uneven = isinstance(positions, torch.Tensor)
        return super().rotation(positions * 0 if is_uneven else positions, num_positions, device)


def test_wrong_positions_side_by_side_are_caught():
    """Texts of several lengths, each at its own position, are a case of their own."""
    assert _starts(check_model(_scrambled(_SamePositions))) == [
        "texts of several lengths, continued together, differ from each alone"
    ]


def test_a_wrong_mask_over_the_cache_is_caught(make_model, monkeypatch):
    """New tokens that see each other's future only when read in pieces are caught by the pieces."""

    monkeypatch.setattr(Cache, "_make_mask", lambda self, positions, num_all: None)
    failures = check_model(make_model("gpt2"))
    assert _starts(failures) == ["reading with a cache differs from reading at once"]
    assert "(pieces of 12)" in failures[0]


def test_first_weights_of_rwkv_are_named_as_the_reason() -> None:
    """Matrices that begin at zero pass nothing on: no defect of the model."""
    failures = check_model(
        build_model(make_spec(ModelConfig(family="rwkv7", n_layer=2, n_head=1, n_embd=64), num_ids=64, context_tokens=16))
    )
    assert _starts(failures) == ["it ignores the past"]
    assert "is all zeros, as in first weights of RWKV: train it for some steps first" in failures[0]
