"""Tiny models of every kind."""

from __future__ import annotations

import pytest
import torch
import transformers

from whelp.model.decoding import decoder, draft, screened_head
from whelp.model.hugging_face import HuggingFaceModel, describe_config

from .prefixes import CONTEXT

SHORT = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}


@pytest.fixture
def make_kind(make_model):
    """Tiny models: of our families, and of transformers, one of them with a sliding window, whose cache cannot be cut."""

    def make(kind: str, context_tokens: int = CONTEXT):
        if kind == "llama":
            config = transformers.LlamaConfig(**SHORT, num_key_value_heads=2, max_position_embeddings=context_tokens)
            inner = transformers.LlamaForCausalLM(config)
        elif kind == "mistral":
            config = transformers.MistralConfig(
                **SHORT, num_key_value_heads=2, max_position_embeddings=context_tokens, sliding_window=6
            )
            inner = transformers.MistralForCausalLM(config)
        else:
            options = {"gpt2": {}, "qwen3": {"n_kv_head": 2}}.get(kind, {"n_head": 2})
            return make_model(kind, context_tokens=context_tokens, **options)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in inner.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        return HuggingFaceModel(describe_config(inner.config.to_dict(), context_tokens), inner)

    return make


@pytest.fixture
def seem_large(monkeypatch):
    """From now on tiny models are taken for large ones, with heads of which not all is read."""
    monkeypatch.setattr(decoder, "LEAST_SCREENED", 0)
    monkeypatch.setattr(screened_head, "LEAST_ASKED", 1)
    monkeypatch.setattr(draft, "LEAST_DRAFTED", 0)
    monkeypatch.setattr(draft, "LEAST_ROUNDED", 0)


@pytest.fixture
def make_large(make_model, seem_large):
    """Tiny models that are taken for large ones."""
    return make_model
