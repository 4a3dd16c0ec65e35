"""A step that is asked for before the last one's tokens are known gives the same texts, whoever joins and leaves."""

import numpy as np
import pytest
import torch

from whelp.generate import GenerateConfig, complete
from whelp.generate.batch import Batch
from whelp.generate.run_ahead import start_fetching
from whelp.model.decoding.decoder import Decoder
from whelp.model.gpu.decode_step import FixedStep

from .helpers import NumberVocabulary
from .test_speculation import FAMILIES, STYLES

VOCABULARY = NumberVocabulary(60, eos_id=9)
CONTEXT = 40


class Recorded:
    """Steps that are done again, in place of graphs; counts the ids that came as a tensor."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.num_ahead = 0
        made, called, counter = Decoder.__init__, FixedStep.__call__, self

        def make(self, *arguments):
            made(self, *arguments)
            self._fixed_step = FixedStep(self.model, self.cache, lambda work: work)

        def call(self, ids):
            counter.num_ahead += isinstance(ids, torch.Tensor)
            return called(self, ids)

        monkeypatch.setattr(Decoder, "__init__", make)
        monkeypatch.setattr(FixedStep, "__call__", call)


def _make_requests() -> list[tuple[list[int], dict[str, object], int]]:
    generator = np.random.default_rng(0)
    requests = []
    for number in range(10):
        prompt = generator.integers(0, 60, int(generator.integers(1, 20))).tolist()
        style = STYLES[number % len(STYLES)] | {"max_tokens": int(generator.integers(1, 60))}
        requests.append((prompt, style, 1 + number % 3))
    return requests


@pytest.mark.parametrize(("family", "options"), FAMILIES)
@pytest.mark.parametrize("max_rows", [3, 9])
def test_requests_that_join_and_leave(make_model, monkeypatch, family, options, max_rows):
    """Every style, end-of-text, stop texts, full contexts that end and that slide: the texts of requests that run alone."""
    model = make_model(family, context_tokens=CONTEXT, **options)
    requests = _make_requests()
    alone = [complete(model, VOCABULARY, prompt, GenerateConfig(**style), n=n) for prompt, style, n in requests]
    recorded = Recorded(monkeypatch)
    batch = Batch(model, VOCABULARY, max_rows=max_rows)
    generations = []
    for prompt, style, n in requests:
        generations.append(batch.submit(prompt, GenerateConfig(**style), n=n))
        batch.step()
        batch.step()
    while batch.step():
        pass
    assert recorded.num_ahead > 30
    for texts, group in zip(alone, generations, strict=True):
        assert ["".join(piece.text for piece in generation) for generation in group] == [whole.text for whole in texts]
        assert [generation.finish_reason for generation in group] == [whole.reason for whole in texts]


def test_cancelled_rows_and_other_weights(make_model, monkeypatch):
    """What was under way for a row that is cancelled, or before weights are exchanged, reaches nobody else."""
    model = make_model("qwen3", context_tokens=CONTEXT)
    settings = GenerateConfig(temperature=0.7, max_tokens=30, ignore_end=True)
    (expected,) = complete(model, VOCABULARY, [1, 2, 3], settings)
    recorded = Recorded(monkeypatch)
    batch = Batch(model, VOCABULARY, max_rows=2)
    first, second, third = (batch.submit([1, 2, 3], settings)[0] for _ in range(3))
    for _ in range(5):
        batch.step()
    first.cancel()
    while batch.step():
        pass
    assert first.finish_reason == "cancelled"
    assert ["".join(piece.text for piece in generation) for generation in (second, third)] == [expected.text] * 2
    (alone,) = batch.submit([1, 2, 3], settings)
    for _ in range(5):
        batch.step()
    alone.cancel()
    batch.step()
    batch.renew()
    (again,) = batch.submit([1, 2, 3], settings)
    while batch.step():
        pass
    assert "".join(piece.text for piece in again) == expected.text
    assert recorded.num_ahead > 30


def test_guesses_that_were_asked_for_come_first(make_model, monkeypatch):
    """They need the tokens before the step."""
    model = make_model("qwen3", context_tokens=CONTEXT)
    recorded = Recorded(monkeypatch)
    complete(model, VOCABULARY, [1, 2, 3], GenerateConfig(temperature=0.0, max_tokens=30, prompt_lookup_tokens=4))
    assert recorded.num_ahead == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_ids_are_fetched_from_a_gpu(make_model):
    """And a whole text is that of a processor."""
    assert start_fetching(torch.arange(5, device="cuda"))() == [0, 1, 2, 3, 4]
    model = make_model("qwen3", context_tokens=CONTEXT)
    settings = GenerateConfig(temperature=0.0, max_tokens=30)
    expected = complete(model, VOCABULARY, [1, 2, 3], settings, n=3)
    found = complete(model.to("cuda"), VOCABULARY, [1, 2, 3], settings, n=3)
    assert [one.text for one in found] == [one.text for one in expected]
