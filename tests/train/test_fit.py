"""The training loop against a plain one, and the promises it makes about batches, resuming and time."""

import copy
import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import GPT2Config, GPT2LMHeadModel

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.base.errors import TrainingError
from whelp.model import LanguageModel
from whelp.train import Progress, StepReport, TrainConfig, TrainPlan, build_optimizer, make_plan
from whelp.train.backward import Backward
from whelp.train.device import get_product_type
from whelp.train.fit import _check_rows, fit
from whelp.train.plan import Facts, halve_micro_batch
from whelp.train.schedule import Schedule

LENGTH = 16


class _Rows:
    """Some rows, over and over; how often each was read is kept."""

    def __init__(self, tokens: np.ndarray, ignored: np.ndarray | None = None) -> None:
        self.ids = tokens[:, :-1].copy()
        self.targets = tokens[:, 1:].copy()
        if ignored is not None:
            self.targets[ignored] = IGNORED
        self.places: list[int] = []

    def read(self, first: int, count: int, seed: int, *, rank: int = 0, world: int = 1) -> RowBatch:
        self.places += range(first, first + count)
        rows = np.arange(first, first + count) % len(self.ids)
        return RowBatch(self.ids[rows].copy(), self.targets[rows].copy())


def _tokens(num_rows: int = 64, seed: int = 0) -> np.ndarray:
    """A text with something to learn: each id is the one before, times three plus a little noise."""
    generator = np.random.default_rng(seed)
    tokens = generator.integers(0, 60, (num_rows, LENGTH + 1))
    for place in range(1, LENGTH + 1):
        tokens[:, place] = (3 * tokens[:, place - 1] + generator.integers(0, 4, num_rows)) % 60
    return tokens


def _plan(config: TrainConfig, seconds_per_step: float | None = None) -> TrainPlan:
    return make_plan(
        config,
        Facts(
            num_parameters=1,
            num_layers=1,
            width=1,
            ffn_width=1,
            vocab_size=64,
            context_tokens=LENGTH,
            num_rows=64,
            num_train_tokens=64 * LENGTH,
            num_test_rows=1,
            device="cpu",
            precision="fp32",
            is_gpu=False,
            free_bytes=0,
            threads=1,
            seconds_per_step=seconds_per_step,
        ),
    )


@pytest.mark.parametrize("family", ["qwen3", "rwkv4"])
def test_bf16_learns_what_fp32_learns(make_model, family):
    """The same losses within what rounding factors to eight bits does; the switch for products is left as it was."""
    losses = {}
    for precision in ("fp32", "bf16"):
        config = _config(num_steps=30, optimizer="muon")
        model = make_model(family)
        optimizer = build_optimizer(model, config, product_type=get_product_type(precision))
        plan = dataclasses.replace(_plan(config), precision=precision)
        losses[precision] = [report.loss for report in fit(model, optimizer, _Rows(_tokens()), plan, config, Progress())]
    assert losses["bf16"] != losses["fp32"]
    assert losses["bf16"] == pytest.approx(losses["fp32"], abs=0.1)
    assert losses["bf16"][-1] < losses["bf16"][0] - 0.3
    assert torch.get_float32_matmul_precision() == "highest"


def test_fp8_rounds_while_training_alone(make_model):
    """The model is told before its first loss, and is as it was when training is over; all other products are those of bf16."""
    model, config, told = make_model("gpt2"), _config(num_steps=2), []
    loss = model.loss

    def watch(*given):
        told.append((model.uses_eight_bits, torch.get_autocast_dtype("cpu"), torch.is_autocast_enabled("cpu")))
        return loss(*given)

    model.loss = watch
    for precision in ("fp8", "bf16"):
        plan = dataclasses.replace(_plan(config), precision=precision)
        list(fit(model, build_optimizer(model, config), _Rows(_tokens()), plan, config, Progress()))
        assert not model.uses_eight_bits
    assert told == [(True, torch.bfloat16, True)] * 2 + [(False, torch.bfloat16, True)] * 2


def _config(**options) -> TrainConfig:
    return TrainConfig(**{"num_steps": 10, "batch_tokens": 4 * LENGTH, "learning_rate": 1e-2} | options)


def _train(model: LanguageModel, config: TrainConfig, rows: _Rows | None = None) -> list[StepReport]:
    return list(fit(model, build_optimizer(model, config), rows or _Rows(_tokens()), _plan(config), config, Progress()))


def _weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def _plain_losses(model: GPT2LMHeadModel, rows: _Rows, config: TrainConfig) -> list[float]:
    """What anybody would write: logits, cross-entropy, clip, AdamW with two groups, a cosine with a warm-up."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.0, betas=(config.beta1, config.beta2), eps=config.epsilon)
    losses, num_warm = [], round(config.warmup_share * config.num_steps)
    for step in range(1, config.num_steps + 1):
        ids, targets = (torch.from_numpy(array) for array in rows.read((step - 1) * 4, 4, 0)[:2])
        logits = model(ids).logits
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, config.clip_gradient_norm)
        share = min(step / num_warm, 1.0)
        if step > num_warm:
            share = 0.1 + 0.9 * (1 + math.cos(math.pi * (step - num_warm) / (config.num_steps - num_warm))) / 2
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * share
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("tied", [True, False])
def test_fifty_steps_equal_a_plain_loop(make_model, tied):
    """Fifty steps from the same weights on the same rows: the losses of a plain loop over transformers' GPT-2, to 1e-5."""
    config = _config(num_steps=50, optimizer="adamw", learning_rate=3e-3, warmup_share=0.1)
    model = make_model("gpt2", context_tokens=LENGTH, scrambled=False, tie_embeddings=tied)
    described, weights = model.to_hugging_face()
    theirs = GPT2LMHeadModel(GPT2Config.from_dict(described))
    theirs.load_state_dict(weights, strict=not tied)  # tied: the head has no weights of its own
    theirs.train()  # without dropout
    ours = [report.loss for report in _train(model, config)]
    plain = _plain_losses(theirs, _Rows(_tokens()), config)
    assert plain[-1] < plain[0] - 0.5  # something was learned
    assert max(abs(a - b) for a, b in zip(ours, plain, strict=True)) < 1e-5
    final = theirs.state_dict()
    for name, tensor in model.to_hugging_face()[1].items():
        if not name.endswith("c_attn.bias"):  # a key's bias has no effect: its gradient is rounding, which AdamW makes large
            torch.testing.assert_close(tensor, final[name], atol=1e-5, rtol=0.0)


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
@pytest.mark.parametrize("micro_batch_rows", [1, 2, 3])
def test_micro_batches_equal_one_batch(make_model, family, micro_batch_rows):
    """However a batch is divided, losses, norms and weights come out the same; targets are not spread evenly."""
    ignored = np.random.default_rng(1).random((64, LENGTH)) < np.linspace(0, 0.9, 64)[::-1, None]
    reports, weights = [], []
    for rows_at_a_time in (4, micro_batch_rows):
        model = make_model(family)
        # epsilon: a gradient of nothing but rounding (of the keys' biases) shall not become a step of full size
        config = _config(num_steps=5, micro_batch_rows=rows_at_a_time, optimizer="adamw", learning_rate=1e-3, epsilon=1e-3)
        reports.append(_train(model, config, _Rows(_tokens(), ignored)))
        weights.append(_weights(model))
    for whole, divided in zip(*reports, strict=True):
        assert divided.loss == pytest.approx(whole.loss, rel=1e-5)
        assert divided.gradient_norm == pytest.approx(whole.gradient_norm, rel=1e-4)
        assert divided.num_tokens == whole.num_tokens
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], atol=1e-5, rtol=0.0)


def test_the_mean_is_over_tokens(make_model):
    """A row with one target weighs one target, not a quarter of the batch: loss, norm and count say so."""
    ignored = np.zeros((64, LENGTH), dtype=bool)
    ignored[0, 1:], ignored[2, :] = True, True  # one target, and none
    model = make_model("gpt2")
    other = copy.deepcopy(model)
    rows = _Rows(_tokens(), ignored)
    (report,) = _train(model, _config(num_steps=1, micro_batch_rows=1), rows)
    ids, targets = (torch.from_numpy(array) for array in rows.read(0, 4, 0)[:2])
    loss = F.cross_entropy(other(ids).flatten(0, 1), targets.flatten())
    loss.backward()
    assert report.loss == pytest.approx(loss.item(), rel=1e-5)
    assert report.gradient_norm == pytest.approx(
        torch.nn.utils.get_total_norm([p.grad for p in other.parameters()]).item(), rel=1e-4
    )
    assert report.num_tokens == 1 + LENGTH + 0 + LENGTH


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
@pytest.mark.parametrize("micro_batch_rows", [1, 4])
def test_documents_are_kept_apart(make_model, family, micro_batch_rows):
    """With document numbers the loss is the mean over the targets of every document alone."""

    class PackedRows(_Rows):
        def read(self, first: int, count: int, seed: int, *, rank: int = 0, world: int = 1) -> RowBatch:
            batch = super().read(first, count, seed, rank=rank, world=world)
            documents = np.repeat(np.arange(LENGTH // 4, dtype=np.int32), 4)
            return batch._replace(documents=np.tile(documents, (count, 1)))

    ignored = np.tile(np.arange(LENGTH) % 4 == 3, (64, 1))
    model, rows = make_model(family), PackedRows(_tokens(), ignored)
    ids, targets = (torch.from_numpy(array).view(-1, 4) for array in rows.read(0, 4, 0)[:2])  # a document a row
    expected = model.loss(ids, targets).item() / (4 * 12)
    (report,) = _train(model, _config(num_steps=1, micro_batch_rows=micro_batch_rows), rows)
    assert report.loss == pytest.approx(expected, rel=1e-5)
    assert report.num_tokens == 4 * 12


def test_a_batch_without_targets(make_model):
    """A batch in which everything is ignored has a loss of zero and harms nothing."""
    model = make_model("gpt2")
    (report,) = _train(model, _config(num_steps=1, weight_decay=0.0), _Rows(_tokens(), np.ones((64, LENGTH), dtype=bool)))
    assert (report.loss, report.gradient_norm, report.num_tokens) == (0.0, 0.0, 0)
    assert all(torch.equal(tensor, make_model("gpt2").state_dict()[name]) for name, tensor in model.state_dict().items())


RESUMABLE = [
    ("gpt2", {"dropout": 0.2}, "adamw", "fp32"),
    ("gpt2", {}, "muon", "fp32"),
    ("gpt2", {}, "adamw", "bf16"),
    ("qwen3", {}, "adamw", "fp32"),
    ("qwen3", {"n_kv_head": 2}, "muon", "bf16"),
]


@pytest.mark.parametrize(("family", "options", "kind", "precision"), RESUMABLE)
def test_resuming_is_exact(make_model, family, options, kind, precision):
    """Stopped after four steps and taken up by a new process's objects: every loss and every weight to the bit."""
    config = _config(optimizer=kind, micro_batch_rows=3)
    plan = dataclasses.replace(_plan(config), precision=precision)
    product_type = get_product_type(precision)
    straight = make_model(family, **options)
    rows = _Rows(_tokens())
    first = build_optimizer(straight, config, product_type=product_type)
    expected = list(fit(straight, first, rows, plan, config, Progress()))

    stopped, first_rows, progress = make_model(family, **options), _Rows(_tokens()), Progress()
    optimizer = build_optimizer(stopped, config, product_type=product_type)
    reports = list(itertools.islice(fit(stopped, optimizer, first_rows, plan, config, progress), 4))
    saved, state, noted = _weights(stopped), optimizer.state(), dataclasses.asdict(progress)
    torch.manual_seed(12345)  # another process has another global generator

    resumed, second_rows = make_model(family, scrambled=False, **options), _Rows(_tokens())
    continued = build_optimizer(resumed, config, product_type=product_type)
    resumed.load_state_dict(saved)
    continued.load_state(state)
    reports += fit(resumed, continued, second_rows, plan, config, Progress(**noted))

    assert [report.loss for report in reports] == [report.loss for report in expected]
    assert [report.gradient_norm for report in reports] == [report.gradient_norm for report in expected]
    assert [report.learning_rate for report in reports] == [report.learning_rate for report in expected]
    assert [report.step for report in reports] == list(range(1, 11))
    assert first_rows.places + second_rows.places == rows.places == list(range(40))
    assert all(torch.equal(tensor, resumed.state_dict()[name]) for name, tensor in straight.state_dict().items())


@pytest.mark.parametrize(("options", "kind"), [({}, "muon"), ({}, "adamw"), ({"dropout": 0.2}, "adamw")])
def test_running_ahead_changes_nothing(make_model, monkeypatch, options, kind):
    """With the next batch's gradient in hand while a loss is read, as on a GPU: the same bits, also when stopped in between."""
    config = _config(optimizer=kind, micro_batch_rows=3)
    plan, expected_model = _plan(config), make_model("gpt2", **options)
    expected = _train(expected_model, config)
    monkeypatch.setattr("whelp.train.fit._works_alone", lambda _: True)
    model, rows, progress, reports = make_model("gpt2", **options), _Rows(_tokens()), Progress(), []
    optimizer = build_optimizer(model, config)
    for count in (4, 6):
        steps = fit(model, optimizer, rows, plan, config, progress)
        reports += itertools.islice(steps, count)
        steps.close()
    read_twice = (
        [] if options else list(range(16, 20))
    )  # in hand when it was stopped; nothing is where random numbers are drawn
    assert [report.loss for report in reports] == [report.loss for report in expected]
    assert [report.gradient_norm for report in reports] == [report.gradient_norm for report in expected]
    assert rows.places == list(range(16)) + read_twice + list(range(16, 40))
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in expected_model.state_dict().items())


def test_no_memory_for_the_batch_ahead(make_model, monkeypatch):
    """Its want of memory is met after the step before it is told: that step is done once, and training can go on from there."""
    config = _config(micro_batch_rows=3)
    plan, expected_model = _plan(config), make_model("gpt2")
    _train(expected_model, config)
    monkeypatch.setattr("whelp.train.fit._works_alone", lambda _: True)
    model, rows, progress, steps = make_model("gpt2"), _Rows(_tokens()), Progress(), []
    optimizer, loss, is_full = build_optimizer(model, config), LanguageModel.loss, True

    def fail_once_in_a_while(self, *arguments):
        if is_full and set(rows.places) >= {16}:
            raise torch.OutOfMemoryError("no room")
        return loss(self, *arguments)

    monkeypatch.setattr(LanguageModel, "loss", fail_once_in_a_while)
    with pytest.raises(torch.OutOfMemoryError):
        steps += (report.step for report in fit(model, optimizer, rows, plan, config, progress))
    assert progress.step == 4
    is_full = False
    steps += (report.step for report in fit(model, optimizer, rows, plan, config, progress))
    assert steps == list(range(1, 11))
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in expected_model.state_dict().items())


@pytest.mark.parametrize("runs_ahead", [False, True])
@pytest.mark.parametrize("num_steps", [0, 1, 5])
def test_smaller_pieces_after_want_of_memory(make_model, monkeypatch, runs_ahead, num_steps):
    """The same bits as with smaller pieces from that step on, where they are added up as a GPU's recorded ones are."""

    class AsOnGpu(Backward):
        def __init__(self, model, optimizer, plan, *others):
            super().__init__(model, optimizer, plan, *others)
            self.adds_recorded = plan.micro_batch_rows < self.most_rows

    def fail(_):
        if max(rows.places) >= 4 * num_steps:
            raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr("whelp.train.fit.Backward", AsOnGpu)
    monkeypatch.setattr("whelp.train.fit._works_alone", lambda _: runs_ahead)
    config, rows, progress, expected_model = _config(micro_batch_rows=4), _Rows(_tokens()), Progress(), make_model("gpt2")
    plan, optimizer = _plan(config), build_optimizer(expected_model, config)
    pieces = halve_micro_batch(plan)
    expected = list(itertools.islice(fit(expected_model, optimizer, rows, plan, config, progress), num_steps))
    expected += fit(expected_model, optimizer, rows, pieces, config, progress)
    model, rows, progress, reports = make_model("gpt2"), _Rows(_tokens()), Progress(), []
    optimizer, hook = build_optimizer(model, config), model.embed.weight.register_hook(fail)  # of the gradient that comes last
    with pytest.raises(torch.OutOfMemoryError):
        reports += fit(model, optimizer, rows, plan, config, progress)
    hook.remove()
    reports += fit(model, optimizer, rows, pieces, config, progress)
    assert [report.step for report in reports] == list(range(1, 11))
    assert [report.gradient_norm for report in reports] == [report.gradient_norm for report in expected]
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in expected_model.state_dict().items())


def test_a_finished_run_has_nothing_to_do(make_model):
    """Going on after the last step reads nothing and reports nothing."""
    model, config, rows = make_model("gpt2"), _config(), _Rows(_tokens())
    assert list(fit(model, build_optimizer(model, config), rows, _plan(config), config, Progress(step=10))) == []
    assert rows.places == []


def test_reports_and_progress(make_model):
    """Steps count from one, rates follow the schedule, only the last report is last, and progress keeps up."""
    config = _config(num_steps=4, schedule="linear", warmup_share=0.5, final_learning_rate_share=0.0)
    model, progress = make_model("gpt2", dropout=0.1).eval(), Progress()
    seen = []
    for report in fit(model, build_optimizer(model, config), _Rows(_tokens()), _plan(config), config, progress):
        assert model.training
        assert progress.step == report.step
        assert progress.rows_read == 4 * report.step
        assert progress.tokens_trained == 4 * LENGTH * report.step
        seen.append((report.step, report.learning_rate, report.share_done, report.is_last))
    assert seen == [(1, 0.005, 0.25, False), (2, 0.01, 0.5, False), (3, 0.005, 0.75, False), (4, 0.0, 1.0, True)]


def test_a_loss_that_is_no_number(make_model):
    """A loss that is no longer finite ends training with advice."""
    model = make_model("gpt2")
    with torch.no_grad():
        model.embed.weight[3, 0] = math.nan
    with pytest.raises(
        TrainingError, match=r"step 1: the loss is nan, but expected a finite number\. Lower train\.learning_rate"
    ):
        _train(model, _config())


def test_a_rate_that_is_far_too_high(make_model):
    """A learning rate without reason is noticed within the run."""
    with pytest.raises(TrainingError, match=r"step \d+: the loss is (nan|inf)"):
        _train(make_model("gpt2"), _config(learning_rate=1e30, optimizer="adamw"))


@pytest.mark.parametrize("kind", ["adamw", "muon"])
@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_one_row_is_learned_by_heart(make_model, family, kind):
    """The loss of one row, again and again, falls towards zero."""
    tokens = _tokens(1)
    model = make_model(family, scrambled=False)
    reports = _train(model, _config(num_steps=60, optimizer=kind, batch_tokens=LENGTH, weight_decay=0.0), _Rows(tokens))
    assert reports[0].loss == pytest.approx(math.log(64), rel=0.1)
    assert reports[-1].loss < 0.05


class _SlowRows(_Rows):
    """Reading a batch takes a second, by a clock of its own."""

    now = 100.0

    def read(self, first: int, count: int, seed: int, *, rank: int = 0, world: int = 1) -> RowBatch:
        self.now += 1.0
        return super().read(first, count, seed, rank=rank, world=world)


def test_a_budget_of_time(make_model):
    """A run of six seconds ends by the clock, in the step that uses them up; its learning rate follows the clock."""
    config = _config(num_steps=None, minutes=0.1, schedule="linear", warmup_share=0.0, final_learning_rate_share=0.0)
    plan = _plan(config, seconds_per_step=1.0)
    model, rows, progress = make_model("gpt2"), _SlowRows(_tokens()), Progress()
    reports = list(fit(model, build_optimizer(model, config), rows, plan, config, progress, clock=lambda: rows.now))
    assert [report.is_last for report in reports] == [False] * 5 + [True]
    assert [report.seconds for report in reports] == [1.0] * 6
    assert progress.elapsed_seconds == 6.0
    schedule = Schedule(kind="linear", final_share=0.0)
    assert [report.learning_rate for report in reports] == pytest.approx([1e-2 * schedule.at(step / 6) for step in range(1, 7)])


def test_a_budget_of_time_is_resumed(make_model):
    """Seconds used before a stop are used; time between the steps, when somebody evaluates, counts as well."""
    config = _config(num_steps=None, minutes=0.1)
    plan = _plan(config, seconds_per_step=1.0)
    model, rows, progress = make_model("gpt2"), _SlowRows(_tokens()), Progress(step=9, rows_read=36, elapsed_seconds=2.5)
    steps = []
    for report in fit(model, build_optimizer(model, config), rows, plan, config, progress, clock=lambda: rows.now):
        steps.append(report.step)
        rows.now += 0.5
    assert steps == [10, 11, 12]
    assert progress.elapsed_seconds == 6.5


def test_a_budget_of_time_and_of_rows(make_model):
    """Rows that are used up end a run before its time, and its learning rate has come down by then."""
    config = _config(
        num_steps=None, minutes=1, max_epochs=0.25, schedule="linear", warmup_share=0.0, final_learning_rate_share=0.0
    )
    plan = _plan(config, seconds_per_step=1.0)
    model, rows, progress = make_model("gpt2"), _SlowRows(_tokens()), Progress()
    reports = list(fit(model, build_optimizer(model, config), rows, plan, config, progress, clock=lambda: rows.now))
    assert len(reports) == plan.num_steps == 16 // plan.batch_rows
    assert rows.places == list(range(16))
    assert [report.is_last for report in reports] == [False] * (len(reports) - 1) + [True]
    assert reports[-1].learning_rate == pytest.approx(0.0)


def test_the_lowest_test_loss_is_remembered():
    """The first of equal ones; a loss that is no number is none."""
    progress, seen = Progress(), []
    for step, loss in enumerate([math.nan, 3.0, 2.0, 2.0, math.inf, 1.5]):
        progress.step = step
        progress.count_evaluation(loss)
        seen.append((progress.best_step, progress.best_test_loss, progress.evaluations_since_best))
    assert seen == [(0, None, 1), (1, 3.0, 0), (2, 2.0, 0), (2, 2.0, 1), (2, 2.0, 2), (5, 1.5, 0)]


@pytest.mark.parametrize(("family", "options"), [("gpt2", {"dropout": 0.2}), ("qwen3", {})])
def test_computing_again_is_the_same(make_model, family, options):
    """Blocks that are computed again in the backward pass give the same bits; and they are computed again."""
    calls = []
    runs = []
    for checkpoints_activations in (False, True):
        model = make_model(family, **options)
        model.checkpoints_activations = checkpoints_activations
        model.blocks[0].register_forward_pre_hook(lambda *_: calls.append(checkpoints_activations))  # noqa: B023
        reports = _train(model, _config(num_steps=3, micro_batch_rows=2))
        runs.append(([report.loss for report in reports], _weights(model)))
    assert calls.count(False) == 3 * 2
    assert calls.count(True) == 3 * 2 * 2
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(tensor, runs[1][1][name]) for name, tensor in runs[0][1].items())


def test_slices_of_a_batch_make_the_batch():
    """Checksums of the rows of slices add up to that of the batch; another row or another order is another checksum."""
    rows = _Rows(_tokens(), np.random.default_rng(1).random((64, LENGTH)) < 0.3)
    batch = rows.read(0, 10, 0)
    whole = _check_rows(batch, 0)
    for world in (2, 3, 4, 10):
        bounds = [10 * rank // world for rank in range(world + 1)]
        slices = [(rows.read(begin, end - begin, 0), begin) for begin, end in itertools.pairwise(bounds)]
        assert sum(_check_rows(part, begin) for part, begin in slices) % (1 << 40) == whole
    assert _check_rows(rows.read(1, 10, 0), 0) != whole
    assert _check_rows(RowBatch(batch.ids[::-1], batch.targets[::-1]), 0) != whole
    ids = batch.ids.copy()
    ids[batch.targets == IGNORED] = 59
    assert _check_rows(batch._replace(ids=ids), 0) == whole  # what is not trained may be padding


def test_a_gradient_that_is_no_number(make_model):
    """A loss that is fine, and a gradient that is not: the weights are not touched."""
    model = make_model("gpt2")
    before = _weights(model)
    model.embed.weight.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(TrainingError, match=r"step 1: the gradient's norm is nan, but expected a finite number"):
        _train(model, _config())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
