"""From what is asked for to a model with every number known."""

import pytest
import torch

from whelp.base.errors import ConfigError
from whelp.model import ModelConfig, build_model, make_spec
from whelp.model.build import count_parameters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_embd": 100, "n_head": 3}, r"model\.n_embd \(100\) must be divisible by model\.n_head \(3\)"),
        ({"n_head": 6, "n_kv_head": 4}, r"model\.n_head \(6\) must be divisible by model\.n_kv_head \(4\)"),
        ({"n_embd": 12, "n_head": 4}, r"the head width \(3\) must be even for rotary positions"),
        ({"head_width": 5}, r"the head width \(5\) must be even"),
        ({"dropout": 0.1}, r"model\.dropout is set, but qwen3 has no such option\. Remove it, or use family gpt2"),
        ({"bias": False}, r"model\.bias is set, but qwen3 has no such option\. Remove it, or use family gpt2"),
        ({"family": "gpt2", "n_kv_head": 2}, r"model\.n_kv_head is set, but gpt2 has no such option"),
        ({"family": "gpt2", "head_width": 64}, r"model\.head_width is set, but gpt2 has no such option"),
        ({"family": "gpt2", "rope_base": 5000}, r"model\.rope_base is set, but gpt2 has no such option"),
    ],
)
def test_shapes_that_do_not_fit(options, message):
    """Each shape that cannot be built is explained."""
    with pytest.raises(ConfigError, match=message):
        ModelConfig(**options)


def test_all_problems_at_once():
    """Two mistakes are two lines of one error."""
    with pytest.raises(ConfigError) as caught:
        ModelConfig(n_head=4, n_kv_head=3, n_embd=12, dropout=0.5)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(("num_ids", "rows"), [(1, 64), (63, 64), (64, 64), (65, 128), (50_257, 50_304)])
def test_vocabulary_is_padded(num_ids, rows):
    """Rows of the embedding are the tokenizer's ids, rounded up to a multiple of 64."""
    assert make_spec(ModelConfig(), num_ids=num_ids, context_tokens=8).vocab_size == rows


def test_asked_vocabulary_is_kept():
    """A vocabulary size that is given is taken as it is, unless ids would be without a row."""
    assert make_spec(ModelConfig(vocab_size=301), num_ids=300, context_tokens=8).vocab_size == 301
    with pytest.raises(
        ConfigError, match=r"model\.vocab_size: is 299, but the tokenizer has 1,300 ids\. Leave it out, or set it to 1300"
    ):
        make_spec(ModelConfig(vocab_size=299), num_ids=1300, context_tokens=8)


def test_defaults_by_family():
    """GPT-2's feed-forward is four times the width; Qwen3's 8/3, rounded up to a multiple of 32."""
    gpt2 = make_spec(ModelConfig(family="gpt2", n_embd=96, n_head=3), num_ids=9, context_tokens=8)
    qwen3 = make_spec(ModelConfig(n_embd=96, n_head=3), num_ids=9, context_tokens=8)
    wide = make_spec(ModelConfig(n_embd=100, n_head=2, ffn_width=7), num_ids=9, context_tokens=8)
    assert (gpt2.ffn_width, gpt2.head_width, gpt2.n_kv_head, gpt2.norm_eps) == (384, 32, 3, 1e-5)
    assert (qwen3.ffn_width, qwen3.head_width, qwen3.n_kv_head, qwen3.norm_eps) == (256, 32, 3, 1e-6)
    assert make_spec(ModelConfig(n_embd=98, n_head=1), num_ids=9, context_tokens=8).ffn_width == 288
    assert wide.ffn_width == 7


@pytest.mark.parametrize(("family", "tied"), [("gpt2", True), ("gpt2", False), ("qwen3", True), ("qwen3", False)])
def test_parameters_are_counted_without_building(family, tied):
    """The count on paper is the built model's; a shared head counts once."""
    spec = make_spec(
        ModelConfig(family=family, n_layer=2, n_head=2, n_embd=16, tie_embeddings=tied), num_ids=60, context_tokens=8
    )
    model = build_model(spec)
    assert count_parameters(spec) == model.num_parameters() == sum(p.numel() for p in model.parameters())
    assert (model.head_weight is model.embed.weight) == tied


def test_gpt2_has_as_many_parameters_as_gpt2():
    """124,439,808: the smallest published GPT-2."""
    config = ModelConfig(family="gpt2", n_layer=12, n_head=12, n_embd=768, vocab_size=50_257)
    assert count_parameters(make_spec(config, num_ids=50_257, context_tokens=1024)) == 124_439_808


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_the_seed_decides_the_first_weights(family):
    """The same seed gives the same weights to the bit; another seed gives others; no global generator decides."""
    spec = make_spec(ModelConfig(family=family, n_layer=1, n_head=2, n_embd=16), num_ids=60, context_tokens=8)
    first = build_model(spec, seed=3).state_dict()
    torch.manual_seed(5)
    again, other = build_model(spec, seed=3).state_dict(), build_model(spec, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["embed.weight"], other["embed.weight"])
