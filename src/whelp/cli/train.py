"""`whelp train`: from a token store to a run folder of checkpoints, records and samples."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import signal
import statistics
import tempfile
import threading
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import (
    BEST,
    TrainerState,
    find_best,
    find_newest_whole,
    keep_newest,
    point_last,
    read_model_folder,
    read_trainer_state,
    save_checkpoint,
    step_name,
)
from whelp.artifacts.run_folder import RunFolder, append_record, iter_records
from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.config import to_dict
from whelp.base.errors import ArtifactError, PlanError, TrainingError
from whelp.base.files import read_json, write_atomic, write_json
from whelp.base.log import log
from whelp.base.machine import count_cores
from whelp.cli.generate import SAMPLE_STYLE
from whelp.cli.inspect import choose_pad
from whelp.cli.launch import launch
from whelp.cli.prepare import check_fresh
from whelp.cli.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from whelp.evaluate.loss import LossResult
    from whelp.model import LanguageModel, ModelSpec
    from whelp.prepare.rows import PackedRows
    from whelp.tokenizer.vocabulary import Vocabulary
    from whelp.train import Progress, StepReport, TrainPlan
    from whelp.train.average import WeightAverage
    from whelp.train.optimizer import Optimizer
    from whelp.train.plan import Facts
    from whelp.train.shard import ShardedAdamW
    from whelp.train.team import Team

_MAY_CHANGE = {  # options that do not change what is computed
    "log_every_steps",
    "keep_checkpoints",
    "keep_every_steps",
    "keep_best",
    "record_rows",
    "checkpoint_activations",
    "shard",
    "timeout_minutes",
}
_SPIKE_WINDOW = 50  # losses that a spike is compared with
_SPIKE_LEAST = 10  # fewer say nothing
_MOST_REWINDS = 10  # of one run; more are no accident


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """What a run came to. Losses are of the test split; None when nothing is held out."""

    folder: str
    step: int
    checkpoint: str | None
    nats_per_token: float | None
    perplexity: float | None
    bits_per_byte: float | None
    elapsed_seconds: float
    is_finished: bool


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What is going to happen; `resumed_step` is where a run goes on from."""

    plan: TrainPlan
    ledger: dict[str, Any]
    spec: ModelSpec
    resumed_step: int


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """The test loss at a step; `average` is that of the averaged weights, where they are kept."""

    step: int
    result: LossResult
    average: LossResult | None = None


@dataclass(frozen=True, kw_only=True)
class Sampled:
    """A prompt and its continuation at a step."""

    step: int
    prompt: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint was written."""

    step: int
    path: Path


@dataclass(frozen=True, kw_only=True)
class Finished:
    """The run is over, or was asked to stop."""

    result: TrainResult


def train(
    recipe: str | Path | dict[str, Any] | Recipe,
    *,
    store: str | Path,
    out: str | Path,
    overrides: Sequence[str] = (),
    nproc: int = 1,
) -> TrainResult:
    """Train a model on a token store; write a run folder at `out`. The same call again goes on where it stopped.

    Args:
        nproc: Processes of this machine that train together; another number may go on.

    Raises:
        StaleError: When the store was made from other inputs than the recipe names now.
        PlanError: When the store does not fill a row, or memory is too small.
        TrainingError: When the loss is no longer a finite number.
    """
    loaded, result = load_recipe(recipe, overrides), None
    if nproc > 1:
        return train_together(loaded, Path(store), Path(out), nproc)
    for event in iter_train(loaded, Path(store), Path(out)):
        if isinstance(event, Finished):
            result = event.result
    assert result is not None, "a run always ends with a result"
    return result


def train_together(recipe: Recipe, store: Path, out: Path, num_processes: int) -> TrainResult:
    """Train in several processes of this machine."""
    with _written(recipe) as path:
        arguments = ["train", path, "--store", str(store), "--out", str(out), "--json"]
        return TrainResult(**json.loads(launch(arguments, num_processes)))


def plan_together(recipe: Recipe, store: Path, num_processes: int, *, as_json: bool) -> str:
    """Show the plan of a run of several processes, timed by a short probe of all; or return it as JSON."""
    with _written(recipe) as path:
        arguments = ["train", path, "--store", str(store), "--dry-run", *(["--json"] if as_json else [])]
        return launch(arguments, num_processes)


@contextlib.contextmanager
def _written(recipe: Recipe) -> Iterator[str]:
    """A recipe as a file, for other processes."""
    with tempfile.TemporaryDirectory(prefix="whelp-") as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(recipe.to_yaml(), encoding="utf-8")
        yield str(path)


class Session:
    """Everything a run needs, opened and checked; nothing is written yet."""

    def __init__(self, recipe: Recipe, store: TokenStore, team: Team | None = None) -> None:
        from whelp.model import make_spec
        from whelp.prepare.pack import make_pack_ledger, pack_rows
        from whelp.tokenizer import load_tokenizer
        from whelp.train.device import choose_device, choose_precision, keep_freed_memory
        from whelp.train.plan import count_batch_rows
        from whelp.train.team import Team

        self.recipe, self.store, self.team = recipe, store, team or Team()
        self.vocabulary: Vocabulary = load_tokenizer(store.tokenizer_folder)
        pad_id = choose_pad(self.vocabulary)
        batch_rows = count_batch_rows(recipe.train, recipe.pack.context_tokens)
        self.rows: PackedRows = pack_rows(store.split("train"), recipe.pack, pad_id=pad_id, batch_rows=batch_rows)
        self.test_rows: PackedRows | None = None
        if store.manifest.counts["splits"].get("test", {}).get("tokens", 0) > 1:
            self.test_rows = pack_rows(store.split("test"), recipe.pack, pad_id=pad_id, must_fill_a_row=False)
        self.ledger = make_pack_ledger(self.rows)
        self.spec: ModelSpec = make_spec(recipe.model, num_ids=self.vocabulary.size, context_tokens=recipe.pack.context_tokens)
        self.device = choose_device(recipe.train.device, self.team.place)
        self.precision = choose_precision(recipe.train.precision, self.device)
        keep_freed_memory()

    def make_trainable(self, checkpoint: Path | None = None) -> tuple[LanguageModel, Optimizer | ShardedAdamW]:
        """The model on its device, with its first weights or a checkpoint's, and its optimizer without state."""
        from whelp.train import build_optimizer

        model = self.build_whole()
        model.checkpoints_activations = self.recipe.train.checkpoint_activations
        if checkpoint is not None:
            model.load_hugging_face(read_model_folder(checkpoint)[1])
        if self.is_sharded:
            from whelp.train.shard import ShardedAdamW, shard_model

            shard_model(model, self.device, self.team)
            return model, ShardedAdamW(model, self.recipe.train, self.team)
        model.to(self.device)
        return model, build_optimizer(model, self.recipe.train, self.team)

    @property
    def is_sharded(self) -> bool:
        """Whether the processes divide the model; one alone has nobody to divide it with."""
        return self.recipe.train.shard and self.team.size > 1

    def build_whole(self) -> LanguageModel:
        """The model with its first weights, on the CPU."""
        from whelp.model import build_model

        return build_model(self.spec, self.recipe.train.seed)

    def find_facts(self) -> Facts:
        """What a plan is made from; the same in every process."""
        import torch

        from whelp.model.build import count_parameters
        from whelp.train.plan import Facts

        place = self.team.place
        free_bytes = _free_bytes(self.device) // (place.local_size if self.device.type == "cpu" else 1)
        return Facts(
            num_parameters=count_parameters(self.spec),
            num_layers=self.spec.n_layer,
            width=self.spec.n_embd,
            ffn_width=self.spec.ffn_width,
            vocab_size=self.spec.vocab_size,
            context_tokens=self.spec.context_tokens,
            num_rows=len(self.rows),
            num_train_tokens=self.rows.split.num_tokens,
            num_test_rows=len(self.test_rows) if self.test_rows is not None else 0,
            device=str(self.device),
            precision="bf16" if self.precision == torch.bfloat16 else "fp32",
            is_gpu=self.device.type == "cuda",
            free_bytes=-int(self.team.largest([-free_bytes])[0]),
            threads=self.recipe.train.threads or max(1, int(self.team.share(count_cores())) // place.local_size),
            num_processes=place.size,
            keeps_activations=not self.recipe.train.checkpoint_activations,
            has_fixed_width=self.recipe.pack.plan != "none" or self.recipe.pack.pad_to == "context",
        )

    def make_plan(self, *, must_time: bool) -> TrainPlan:
        """Plan the run; a CPU run, and one that must know its time, is probed first."""
        from whelp.train.plan import make_plan
        from whelp.train.probe import probe_speed

        config, facts = self.recipe.train, self.find_facts()
        plan = make_plan(config, facts)
        must_choose = self.device.type == "cpu" and config.threads is None and self.team.size == 1
        if must_time or config.minutes is not None or must_choose:
            probe = probe_speed(self.make_trainable, self.rows, plan, config, team=self.team)
            plan = make_plan(config, dataclasses.replace(facts, threads=probe.threads, seconds_per_step=probe.seconds_per_step))
        return plan

    def adapt_plan(self, plan: TrainPlan) -> TrainPlan:
        """The plan a run was started with, for the processes there are now."""
        from whelp.train.plan import adapt_plan, make_plan

        if plan.num_processes == self.team.size:
            return plan
        return adapt_plan(plan, make_plan(self.recipe.train, self.find_facts()))


def _free_bytes(device: Any) -> int:
    """Memory there is room in; 0 when the system does not say."""
    import torch

    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            fields = dict(line.split(":", 1) for line in file)
        return int(fields["MemAvailable"].split()[0]) * 1024
    except (OSError, KeyError, ValueError):
        return 0


def plan_training(recipe: Recipe, store: Path) -> tuple[TrainPlan, Session]:
    """Make the plan of a run, timed by a short probe, and write nothing."""
    with _join(recipe) as team:
        opened = open_store(store)
        if team.is_first:
            check_fresh(opened, recipe)
        session = Session(recipe, opened, team)
        return session.make_plan(must_time=True), session


@contextlib.contextmanager
def _join(recipe: Recipe) -> Iterator[Team]:
    """Meet the other processes, if a launcher has started several."""
    from whelp.train.device import choose_device
    from whelp.train.place import find_place
    from whelp.train.team import join_team

    place = find_place()
    if not place.is_first:
        log.setLevel(logging.ERROR)  # one speaks for all
    uses_gpu = choose_device(recipe.train.device, place).type == "cuda"
    with join_team(place, uses_gpu=uses_gpu, timeout_minutes=recipe.train.timeout_minutes) as team:
        yield team


def iter_train(
    recipe: Recipe, store_folder: Path, out: Path
) -> Iterator[Planned | StepReport | Evaluated | Sampled | Saved | Finished]:
    """Train, yielding what happens: the plan, every step, evaluations, samples, checkpoints, the result.

    Of several processes that a launcher started, each calls this; the first one writes, and has the samples.
    """
    with _join(recipe) as team:
        yield from _iter_train(recipe, store_folder, out, team)


def _iter_train(
    recipe: Recipe, store_folder: Path, out: Path, team: Team
) -> Iterator[Planned | StepReport | Evaluated | Sampled | Saved | Finished]:
    import torch

    from whelp.train import TrainPlan

    store, run, started = open_store(store_folder), RunFolder(out), None
    if team.is_first:
        check_fresh(store, recipe)
        started = run.read_plan()
        if started is None:
            _check_place(run)
        else:
            _check_same(started, recipe, store, out)
    started = team.share(started)
    session = Session(recipe, store, team)
    if started is not None:
        plan = session.adapt_plan(TrainPlan(**started["plan"]))
    else:
        plan = session.make_plan(must_time=False)
        if team.is_first:
            identity = {"recipe": to_dict(recipe), "store": store.manifest.fingerprint}
            run.start(recipe.to_yaml(), {**identity, "plan": plan.to_dict(), "versions": _versions()})
    if session.device.type == "cpu":
        torch.set_num_threads(plan.threads)
    newest = find_newest_whole(run.checkpoints) if team.is_first else None
    name = team.share(newest.name if newest is not None else None)
    checkpoint = run.checkpoints / name if name is not None else None
    wiring = _Wiring(session, run, plan, checkpoint)
    if team.is_first:
        run.truncate_after(wiring.progress.step if checkpoint is not None else -1)
    yield Planned(plan=plan, ledger=session.ledger, spec=session.spec, resumed_step=wiring.progress.step)
    if checkpoint is None:
        yield from wiring.look()
    else:
        wiring.tidy(checkpoint)
    if checkpoint is not None and _is_done(plan, wiring.progress):
        yield Finished(result=wiring.result(is_finished=True))
        return
    with _Requests() as requests:
        while True:
            with contextlib.closing(wiring.iter_steps()) as reports:
                for report in reports:
                    if wiring.is_spike(report):
                        break
                    if report.loss is not None and (report.step % recipe.train.log_every_steps == 0 or report.is_last):
                        wiring.record(report)
                    yield report
                    must_stop, must_save = map(bool, team.largest([requests.must_stop, requests.must_save]))
                    if report.step % plan.evaluate_every_steps == 0 or report.is_last:
                        yield from wiring.look()
                    if report.step % plan.save_every_steps == 0 or report.is_last or must_stop or must_save:
                        yield wiring.save()
                        requests.must_save = False
                    if must_stop and not report.is_last:
                        log.warning("asked to stop: step %d is saved; the same command goes on from there", report.step)
                        yield Finished(result=wiring.result(is_finished=False))
                        raise KeyboardInterrupt
                else:
                    break
            wiring.rewind(report)
    yield Finished(result=wiring.result(is_finished=True))


def _is_done(plan: TrainPlan, progress: Progress) -> bool:
    if plan.budget_seconds is not None:
        return progress.elapsed_seconds >= plan.budget_seconds
    return progress.step >= plan.num_steps


class _Wiring:
    """What is done around steps: restoring, records, evaluation, samples, checkpoints."""

    def __init__(self, session: Session, run: RunFolder, plan: TrainPlan, checkpoint: Path | None) -> None:
        self.session, self.run, self.plan, self.team = session, run, plan, session.team
        self.last_loss: LossResult | None = None
        self.last_average_loss: LossResult | None = None
        self.average: WeightAverage | None
        self.last_look = -1
        self.last_saved: Path | None = None
        self.model: LanguageModel
        self.optimizer: Optimizer | ShardedAdamW
        self.progress: Progress
        self.restore(checkpoint)

    def restore(self, checkpoint: Path | None) -> None:
        """Take up a checkpoint's weights, optimizer state and counters; without one, begin."""
        from whelp.train import Progress
        from whelp.train.average import WeightAverage
        from whelp.train.optimizer import Optimizer

        self.model, self.optimizer = self.session.make_trainable(checkpoint)
        self.progress, self.average = Progress(), None
        decay = self.session.recipe.train.ema_decay
        if decay is not None and isinstance(self.optimizer, Optimizer):
            self.average = WeightAverage(self.optimizer, decay)
        if checkpoint is not None:
            trainer = read_trainer_state(checkpoint)
            self.optimizer.load_state(trainer.tensors)
            if self.average is not None:
                self.average.load_state(trainer.tensors)
            self.progress = Progress(**trainer.counters)

    def iter_steps(self) -> Generator[StepReport]:
        """Train to the end of the plan; out of memory, in micro-batches of half the rows."""
        import torch

        try:
            yield from self._fit()
            return
        except torch.OutOfMemoryError:
            pass  # leave the handler first: the error holds on to what filled the memory
        self._halve_micro_batch()
        try:
            yield from self._fit()
        except torch.OutOfMemoryError:
            self._halve_micro_batch()

    def _fit(self) -> Iterator[StepReport]:
        from whelp.train.fit import fit

        session, config = self.session, self.session.recipe.train
        for report in fit(self.model, self.optimizer, session.rows, self.plan, config, self.progress, team=self.team):
            if self.average is not None and not report.is_skipped:
                self.average.update(report.step)
            yield report

    def _halve_micro_batch(self) -> None:
        """Halve the micro-batch and remember it in the run folder; it can be done once."""
        import torch

        from whelp.train.plan import halve_micro_batch

        plan = halve_micro_batch(self.plan)
        started = self.run.read_plan()
        assert started is not None, "a run that trains has a plan"
        write_json(self.run.plan, {**started, "plan": plan.to_dict()})
        found = f"out of memory with {self.plan.micro_batch_rows} rows at a time; from now on {plan.micro_batch_rows}"
        if self.team.size > 1:  # the others are in the middle of the step, and wait for this one's gradient
            raise TrainingError(f"process {self.team.rank + 1}", found, "", "The same command goes on so.")
        log.warning("%s", found)
        self.plan = plan
        self.optimizer.zero_grad()
        if self.session.device.type == "cuda":
            torch.cuda.empty_cache()

    def is_spike(self, report: StepReport) -> bool:
        """Whether a step's loss is far above those before; remembers it if not."""
        factor, recent = self.session.recipe.train.spike_factor, self.progress.recent_losses
        if factor is None or report.loss is None or report.is_skipped:
            return False
        if len(recent) >= _SPIKE_LEAST and report.loss > factor * statistics.median(recent):
            return True
        recent.append(report.loss)
        del recent[:-_SPIKE_WINDOW]
        return False

    def rewind(self, report: StepReport) -> None:
        """Go back to the last checkpoint, and on with the rows after those of the spike.

        Raises:
            TrainingError: When that has not helped many times before.
        """
        num_rewinds, rows_read, seconds = self.progress.rewinds + 1, self.progress.rows_read, self.progress.elapsed_seconds
        median = statistics.median(self.progress.recent_losses)
        found = f"the loss is {report.loss:.3f}, and the median of the steps before {median:.3f}"
        if num_rewinds > _MOST_REWINDS:
            advice = "Lower train.learning_rate, or raise train.spike_factor, then start a new run."
            found = f"{found}; the run was rewound {_MOST_REWINDS} times before"
            raise TrainingError(f"step {report.step}", found, "fewer spikes", advice)
        self.restore(self.last_saved)
        first_row, step = self.progress.rows_read, self.progress.step
        self.progress.rewinds, self.progress.rows_read, self.progress.elapsed_seconds = num_rewinds, rows_read, seconds
        log.warning(
            "step %d: %s; back to step %d, leaving out %d rows", report.step, found, step, self.progress.rows_read - first_row
        )
        if self.team.is_first:
            self.run.truncate_after(step)
            event = {"rewound_from": report.step, "spike_loss": report.loss, "skipped_rows": [first_row, rows_read]}
            append_record(self.run.metrics, {"step": step, **event})

    def record(self, report: StepReport) -> None:
        """One line of metrics.jsonl."""
        values = {
            "step": report.step,
            "loss": report.loss,
            "learning_rate": report.learning_rate,
            "gradient_norm": report.gradient_norm,
            "tokens": self.progress.tokens_trained,
            "tokens_per_second": report.num_tokens / report.seconds,
            "elapsed_seconds": self.progress.elapsed_seconds,
        }
        if report.rows_checksum is not None:
            values |= {"first_row": report.first_row, "rows": self.plan.batch_rows, "rows_checksum": report.rows_checksum}
        if report.is_skipped:  # what is no number is not JSON either
            values |= {"loss": None, "gradient_norm": None, "is_skipped": True}
            log.warning("step %d: loss or gradient is no number; its batch is passed over", report.step)
        if self.team.is_first:
            append_record(self.run.metrics, values)

    def look(self) -> Iterator[Evaluated | Sampled]:
        """Evaluate on the test split, and continue the prompts."""
        from whelp.generate import GenerateConfig, complete

        session, config, step = self.session, self.session.recipe.train, self.progress.step
        if session.test_rows is not None:
            self.last_loss, self.last_look = self._evaluate(session.test_rows), step
            values = {f"test_{name}": value for name, value in self.last_loss.to_dict().items()}
            if self.average is not None:
                with self.average.in_place():
                    self.last_average_loss = self._evaluate(session.test_rows)
                values |= self._describe_average()
            if self.team.is_first:
                append_record(self.run.metrics, {"step": step, **values, "elapsed_seconds": self.progress.elapsed_seconds})
            yield Evaluated(step=step, result=self.last_loss, average=self.last_average_loss)
        settings = GenerateConfig(max_tokens=config.sample_tokens, seed=config.seed, **SAMPLE_STYLE)
        model = self.find_whole_model() if config.sample_prompts else None
        for prompt in config.sample_prompts if model is not None else ():
            assert model is not None, "there are prompts, and this process has the model"
            device = "cpu" if session.is_sharded else session.device
            text = complete(model, session.vocabulary, prompt, settings, device=device)[0].text
            append_record(self.run.samples, {"step": step, "prompt": prompt, "text": text})
            yield Sampled(step=step, prompt=prompt, text=text)
        self.model.train()

    def _evaluate(self, rows: PackedRows) -> LossResult:
        from whelp.evaluate import evaluate_loss

        return evaluate_loss(
            self.model,
            rows,
            token_bytes=self.session.vocabulary.token_bytes,
            num_rows=self.plan.evaluate_rows,
            batch_rows=self.plan.micro_batch_rows,
            rank=self.team.rank,
            world=self.team.size,
            add=self.team.add,
            device=self.session.device,
            precision=self.session.precision,
        )

    def _describe_average(self) -> dict[str, Any]:
        """The test loss of the averaged weights, as a record and a manifest have it."""
        if self.last_average_loss is None:
            return {}
        names = ("nats_per_token", "perplexity", "bits_per_byte")
        return {f"ema_test_{name}": getattr(self.last_average_loss, name) for name in names}

    def find_whole_model(self) -> LanguageModel | None:
        """The model with all weights, in the first process; one that is divided is gathered, by all, on the CPU."""
        if not self.session.is_sharded:
            return self.model if self.team.is_first else None
        from whelp.train.shard import gather_weights

        weights = gather_weights(self.model, self.team)
        if not self.team.is_first:
            return None
        whole = self.session.build_whole()
        whole.load_state_dict(weights)
        return whole

    def save(self) -> Saved:
        """Write a checkpoint, point `last` at it, delete the oldest."""
        vocabulary, path = self.session.vocabulary, self.run.checkpoints / step_name(self.progress.step)
        model = self.find_whole_model()
        state = self.optimizer.state() if self.team.is_first or self.session.is_sharded else {}
        if model is None:
            self.last_saved = path
            return Saved(step=self.progress.step, path=path)
        config, weights = model.to_hugging_face()
        special = {"bos_token_id": None, "eos_token_id": vocabulary.eos_id, "pad_token_id": vocabulary.pad_id}
        counts: dict[str, Any] = {"step": self.progress.step, "num_parameters": self.plan.num_parameters}
        if self.last_loss is not None:
            counts |= {f"test_{name}": value for name, value in self.last_loss.to_dict().items()}
            counts |= {"evaluated_step": self.last_look, **self._describe_average()}
        average = None
        if self.average is not None:
            state |= self.average.state()
            with self.average.in_place():  # what the model gives may be its own memory: copied while it is the average
                average = {name: tensor.detach().cpu().clone() for name, tensor in model.to_hugging_face()[1].items()}
        save_checkpoint(
            path,
            config={**config, **special},
            weights={name: tensor.detach().cpu() for name, tensor in weights.items()},
            save_tokenizer=vocabulary.save,
            generation={name: value for name, value in special.items() if value is not None},
            trainer=TrainerState(dataclasses.asdict(self.progress), state),
            counts=counts,
            average=average,
        )
        self.tidy(path)
        return Saved(step=self.progress.step, path=path)

    def tidy(self, newest: Path) -> None:
        """Point `last` at the newest checkpoint, delete the oldest, draw the report; a killed run may not have come to it."""
        self.last_saved = newest
        if not self.team.is_first:
            return
        point_last(newest)
        config, folder = self.session.recipe.train, self.run.checkpoints
        best = find_best(folder) if config.keep_best else None
        if best is not None:
            point_last(best, BEST)
        keep_newest(folder, config.keep_checkpoints, every_steps=config.keep_every_steps, best=best)
        self.report()

    def report(self) -> None:
        """Draw the run so far in report.html."""
        from whelp.report import make_run_report

        folder = self.run.folder.resolve()
        page = make_run_report(
            f"{folder.parent.name}/{folder.name}",
            self.session.recipe.to_yaml(),
            self.plan.to_dict(),
            iter_records(self.run.metrics),
            iter_records(self.run.samples),
        )
        write_atomic(self.run.report, page)

    def result(self, *, is_finished: bool) -> TrainResult:
        """What the run came to; for a run that was finished before, from its last checkpoint."""
        path = self.last_saved
        counts = self.team.share(read_json(path / "manifest.json")["counts"] if path and self.team.is_first else {})
        return TrainResult(
            folder=str(self.run.folder),
            step=self.progress.step,
            checkpoint=str(path) if path else None,
            nats_per_token=counts.get("test_nats_per_token"),
            perplexity=counts.get("test_perplexity"),
            bits_per_byte=counts.get("test_bits_per_byte"),
            elapsed_seconds=self.progress.elapsed_seconds,
            is_finished=is_finished,
        )


class _Requests:
    """Turn signals into requests that are met after the step that is running.

    SIGINT, SIGTERM: save and stop; a second one stops at once. SIGUSR1: save and go on.
    """

    def __init__(self) -> None:
        self.must_stop = self.must_save = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Requests:
        if threading.current_thread() is threading.main_thread():
            handlers = {"SIGINT": self._stop, "SIGTERM": self._stop, "SIGUSR1": self._save}
            for name, handler in handlers.items():
                if hasattr(signal, name):
                    number = getattr(signal, name)
                    self._before[number] = signal.signal(number, handler)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        if self.must_stop:
            raise KeyboardInterrupt
        self.must_stop = True

    def _save(self, number: int, frame: FrameType | None) -> None:
        self.must_save = True


def _check_place(run: RunFolder) -> None:
    out = run.folder
    if out.exists() and (not out.is_dir() or any(out.iterdir())) and not run.is_half_started():
        raise ArtifactError(
            out, "something else stands there", "an empty place or a run", "Choose another --out; nothing was changed."
        )


def _check_same(started: dict[str, Any], recipe: Recipe, store: TokenStore, out: Path) -> None:
    """Refuse to go on with other settings, or on other data, than the run was started with."""
    changes = []
    if started["store"] != store.manifest.fingerprint:
        changes.append("the token store is another one")
    now = to_dict(recipe)
    for part in ("pack", "model", "train"):
        before = started["recipe"][part]
        changes += [
            f"{part}.{name}: {before[name]!r} -> {value!r}"
            for name, value in now[part].items()
            if name in before and before[name] != value and name not in _MAY_CHANGE
        ]
    if changes:
        raise PlanError(
            out,
            f"this run was started with other settings ({'; '.join(changes[:6])})",
            "",
            f"Choose another --out for a new run, or go on with the old settings: {out / 'recipe.yaml'}.",
        )


def _versions() -> dict[str, str]:
    import platform

    import torch

    import whelp

    return {"whelp": whelp.__version__, "torch": torch.__version__, "python": platform.python_version()}
