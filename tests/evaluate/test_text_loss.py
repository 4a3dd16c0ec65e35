"""The loss of a text, and of each of many."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from whelp.evaluate import evaluate_text, measure_texts
from whelp.model import LanguageModel


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "rwkv7", "rwkv4"])
def test_each_text_as_it_is_alone(make_model: Callable[..., LanguageModel], family: str) -> None:
    """Whatever stands beside it, and however long it is: the loss is that of the text measured by itself."""
    model = make_model(family)
    generator = np.random.default_rng(0)
    texts = [generator.integers(0, 60, length) for length in (1, 5, 24, 25, 90, 3)]
    found = measure_texts(model, texts, first_id=0, context_tokens=24, vocab_size=60)
    for ids, nats in zip(texts, found, strict=True):
        alone = evaluate_text(model, ids, first_id=0, num_bytes=1, context_tokens=24)
        assert nats == pytest.approx(alone.nats, rel=1e-5)


def test_without_a_first_token(make_model: Callable[..., LanguageModel]) -> None:
    """The first token of a text costs as if all were equally likely, so that no vocabulary gets it for nothing."""
    model, ids = make_model("gpt2"), np.arange(1, 10)
    (found,) = measure_texts(model, [ids], first_id=None, context_tokens=24, vocab_size=60)
    rest = evaluate_text(model, ids, first_id=None, num_bytes=1, context_tokens=24)
    assert found == pytest.approx(rest.nats + np.log(60), rel=1e-5)
