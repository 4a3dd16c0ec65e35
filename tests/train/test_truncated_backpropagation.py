"""Truncated back-propagation through time: which chunks are trained, what flows between them, and what that is good for."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.base.errors import ConfigError
from whelp.model import LanguageModel, ModelConfig, build_model, make_spec
from whelp.train.config import TrainConfig
from whelp.train.fit import Progress, fit
from whelp.train.optimizer import build_optimizer
from whelp.train.plan import Facts, make_plan
from whelp.train.truncated_backpropagation import Chunk, iter_losses, limit_targets, plan_chunks


def make_batch(*lengths: int, width: int) -> RowBatch:
    """Rows of so many tokens, then pads; each position's target is the next token."""
    ids = np.arange(len(lengths) * width).reshape(-1, width) % 50
    targets = np.where(np.arange(width) < np.array(lengths)[:, None] - 1, (ids + 1) % 50, IGNORED)
    return RowBatch(ids, targets)


def make_model(family: str = "rwkv7", *, num_ids: int = 50, n_layer: int = 2, n_embd: int = 16) -> LanguageModel:
    config = ModelConfig(family=family, n_layer=n_layer, n_head=2, n_embd=n_embd)
    model = build_model(make_spec(config, num_ids=num_ids, context_tokens=64), seed=3)
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
    return model


def settings(**options: object) -> TrainConfig:
    return TrainConfig(**{"bptt_tokens": 4, "optimizer": "adamw", "learning_rate": 1e-3, "device": "cpu", **options})


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [(0, 4, True), (4, 8, True), (8, 12, True)]),
        ({"bptt_tokens": None}, [(0, 14, True)]),
        ({"bptt_tokens": 100}, [(0, 14, True)]),
        ({"bptt_tokens": 6}, [(0, 6, True), (6, 12, True)]),
        ({"bptt_learning_range": 1}, [(0, 4, True), (4, 8, False), (8, 12, True)]),
        ({"bptt_learning_range": 2}, [(0, 4, True), (4, 8, True), (8, 12, True)]),
        ({"bptt_learning_range": 1, "bptt_truncated_learning": False}, [(0, 4, True), (4, 8, True), (8, 12, True)]),
    ],
)
def test_chunks_of_a_batch(options: dict[str, object], expected: list[tuple[int, int, bool]]) -> None:
    """Up to the last target, none behind it; one that asks for no gradient is only read."""
    config = settings(**options)
    batch = limit_targets(make_batch(3, 11, width=14), config)
    assert plan_chunks(batch, config) == [Chunk(*chunk) for chunk in expected]


@pytest.mark.parametrize(("most", "first"), [(-1, [0, 0, 0]), (1, [0, 8, 4]), (2, [0, 4, 0]), (9, [0, 0, 0])])
def test_the_last_chunks_of_each_row(most: int, first: list[int]) -> None:
    """Each row keeps the targets of its own last chunks, however long its neighbours are."""
    batch = make_batch(3, 11, 8, width=14)
    limited = limit_targets(batch, settings(bptt_learning_range=most))
    for kept, whole, start in zip(limited.targets, batch.targets, first, strict=True):
        assert (kept[:start] == IGNORED).all()
        assert (kept[start:] == whole[start:]).all()


def gradients(model: LanguageModel, batch: RowBatch, config: TrainConfig, *, documents: np.ndarray | None = None):
    """(nats, gradient of all parameters, number of backward passes)"""
    model.zero_grad()
    ids, targets = torch.from_numpy(batch.ids), torch.from_numpy(batch.targets)
    numbers = None if documents is None else torch.from_numpy(documents)
    total, count = 0.0, 0
    compute = getattr(model, "loss_and_state", None)
    for nats in iter_losses(compute, model.loss, ids, targets, numbers, plan_chunks(batch, config), config):
        nats.backward()
        total, count = total + float(nats.detach()), count + 1
    flat = [torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in model.parameters()]
    return total, torch.cat(flat), count


@pytest.mark.parametrize("family", ["rwkv7", "rwkv6", "rwkv5", "rwkv4"])
def test_gradients_through_all_chunks_are_those_of_the_row(family: str) -> None:
    """Not truncated, cutting a row changes nothing, documents or not; truncated, the loss is the same and the gradient not."""
    model, batch = make_model(family), make_batch(14, 13, width=14)
    documents = np.array([[0] * 5 + [1] * 9, [0] * 14])
    for numbers in (None, documents):
        whole, expected, _ = gradients(model, batch, settings(bptt_tokens=None), documents=numbers)
        nats, found, count = gradients(model, batch, settings(bptt_truncated_learning=False), documents=numbers)
        assert (nats, count) == (pytest.approx(whole, rel=1e-5), 1)
        assert (found - expected).norm() < 1e-4 * expected.norm()
        nats, found, count = gradients(model, batch, settings(), documents=numbers)
        assert (nats, count) == (pytest.approx(whole, rel=1e-5), 4)
        assert 1e-3 * expected.norm() < (found - expected).norm() < expected.norm()


def test_a_model_without_a_state_reads_chunks_alone() -> None:
    """Each chunk is a row of its own: the loss is that of the chunks side by side."""
    model, batch = make_model("qwen3"), make_batch(12, 12, width=12)
    nats, _, count = gradients(model, batch, settings())
    pieces = [torch.from_numpy(part.reshape(6, 4)) for part in (batch.ids, batch.targets)]
    assert nats == pytest.approx(float(model.loss(*pieces).detach()), rel=1e-5)
    assert count == 3


class _Recall:
    """Rows whose second token comes back after the last one, a question, over a dozen chunks of noise."""

    num_keys, width = 4, 32

    def read(self, first: int, count: int, seed: int, *, rank: int = 0, world: int = 1) -> RowBatch:
        draw = np.random.default_rng([seed, first])
        ids = draw.integers(self.num_keys + 1, self.num_keys + 7, (count, self.width))
        ids[:, 1] = draw.integers(0, self.num_keys, count)
        ids[:, -1] = self.num_keys
        targets = np.full_like(ids, IGNORED)
        targets[:, -1] = ids[:, 1]
        return RowBatch(ids, targets)


class _Forgetful:
    """A recurrent model whose states are kept from the loop."""

    def __init__(self, model: LanguageModel) -> None:
        self.model = model

    def __getattr__(self, name: str) -> object:
        if name == "loss_and_state":
            raise AttributeError(name)
        return getattr(self.model, name)


@pytest.mark.parametrize("is_carried", [True, False])
def test_recall_over_many_chunks(is_carried: bool) -> None:
    """A key stated four chunks ago is learned with the state carried, and is no better than a guess without."""
    config = settings(
        bptt_tokens=8,
        bptt_truncated_learning=False,
        num_steps=60,
        warmup_share=0.1,
        batch_tokens=16 * 32,
        learning_rate=7e-3,
        weight_decay=0.0,
    )
    spec = make_spec(ModelConfig(family="rwkv7", n_layer=1, n_head=2, n_embd=32), num_ids=11, context_tokens=32)
    model = build_model(spec, seed=0)
    plan = make_plan(config, make_facts(context_tokens=32, num_rows=10_000))
    optimizer = build_optimizer(model, config)
    trained = model if is_carried else _Forgetful(model)
    reports = list(fit(trained, optimizer, _Recall(), plan, config, Progress()))
    losses = [report.loss for report in reports if report.loss is not None]
    guess = float(np.log(_Recall.num_keys))
    assert losses[0] > guess
    last = float(np.mean(losses[-5:]))
    if is_carried:
        assert last < 0.1 * guess, losses[::5]
    else:
        assert last > 0.8 * guess, losses[::5]


def make_facts(**options: object) -> Facts:
    return Facts(
        **{
            "num_parameters": 10_000,
            "num_layers": 2,
            "width": 16,
            "ffn_width": 64,
            "vocab_size": 64,
            "context_tokens": 64,
            "num_rows": 100,
            "num_train_tokens": 6_400,
            "num_test_rows": 4,
            "device": "cpu",
            "precision": "fp32",
            "is_gpu": False,
            "free_bytes": 0,
            "threads": 1,
            **options,
        }
    )


@pytest.mark.parametrize("options", [{}, {"bptt_truncated_learning": False}, {"bptt_learning_range": 2}])
def test_micro_batches_do_not_change_a_step(options: dict[str, object]) -> None:
    """The gradient is the mean over all targets that are trained, however rows are divided."""

    class Rows:
        def read(self, first: int, count: int, seed: int, *, rank: int = 0, world: int = 1) -> RowBatch:
            return make_batch(14, 9, 12, 3, width=14)

    results = []
    for micro_rows in (4, 1):
        config = settings(num_steps=1, batch_tokens=4 * 14, micro_batch_rows=micro_rows, clip_gradient_norm=0.0, **options)
        model = copy.deepcopy(make_model())
        plan = make_plan(config, make_facts(context_tokens=14))
        (report,) = fit(model, build_optimizer(model, config), Rows(), plan, config, Progress())
        results.append((report.loss, report.gradient_norm, report.num_tokens))
    assert results[0] == pytest.approx(results[1], rel=1e-4)


def test_memory_is_that_of_a_chunk() -> None:
    """The plan divides by what is kept at a time; a warning says what is only read."""
    whole = make_plan(settings(bptt_tokens=None), make_facts(family="rwkv7"))
    cut = make_plan(settings(bptt_tokens=16), make_facts(family="rwkv7", tokens_at_once=16))
    assert whole.estimated_bytes - 16 * 10_000 == pytest.approx(4 * (cut.estimated_bytes - 16 * 10_000))
    ranged = make_plan(settings(bptt_tokens=16, bptt_learning_range=2), make_facts())
    assert any("of rows longer than 32 tokens only the last ones are trained" in warning for warning in ranged.warnings)
    assert not any("only the last ones" in warning for warning in cut.warnings)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"bptt_learning_range": 0}, "train.bptt_learning_range is 0, but expected -1"),
        ({"bptt_tokens": None, "bptt_learning_range": 2}, "need train.bptt_tokens"),
        ({"bptt_truncated_learning": False, "shard": True}, "train.shard and train.bptt_truncated_learning=false"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, object], problem: str) -> None:
    """Each says what to change."""
    with pytest.raises(ConfigError, match=problem):
        settings(**options)
