"""`whelp train`: from a token store to a run folder of checkpoints, records and samples."""

from __future__ import annotations

import dataclasses
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import (
    TrainerState,
    find_newest_whole,
    keep_newest,
    point_last,
    read_model_folder,
    read_trainer_state,
    save_checkpoint,
    step_name,
)
from whelp.artifacts.run_folder import RunFolder, append_record
from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.config import to_dict
from whelp.base.errors import ArtifactError, PlanError
from whelp.base.files import read_json, write_atomic
from whelp.base.log import log
from whelp.base.machine import count_cores
from whelp.cli.generate import SAMPLE_STYLE
from whelp.cli.init import check_causal
from whelp.cli.inspect import choose_pad
from whelp.cli.prepare import check_fresh
from whelp.cli.recipe import Recipe, load_recipe
from whelp.cli.report import read_run
from whelp.cli.source_rows import SourceRows, add_repeats, evaluate_by_source, mix_rows, pack_by_source
from whelp.cli.start import load_start, read_start
from whelp.cli.track import iter_tracked

if TYPE_CHECKING:
    from whelp.evaluate.loss import LossResult
    from whelp.model import LanguageModel, ModelSpec
    from whelp.prepare.mixture_rows import MixtureRows
    from whelp.prepare.rows import PackedRows
    from whelp.tokenizer.vocabulary import Vocabulary
    from whelp.train import Progress, StepReport, TrainPlan
    from whelp.train.optimizer import Optimizer

_MAY_CHANGE = {"log_every_steps", "keep_checkpoints", "track"}  # options that do not change what is computed


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
    """The test loss at a step."""

    step: int
    result: LossResult


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
    scale: str | None = None,
) -> TrainResult:
    """Train a model on a token store; write a run folder at `out`. The same call again goes on where it stopped.

    Args:
        scale: Another size of the recipe: `tiny`, or one that it names.

    Raises:
        StaleError: When the store was made from other inputs than the recipe names now.
        PlanError: When the store does not fill a row, or memory is too small.
        TrainingError: When the loss is no longer a finite number.
    """
    result = None
    loaded = load_recipe(recipe, overrides, scale)
    for event in iter_tracked(iter_train(loaded, Path(store), Path(out)), loaded, Path(out)):
        if isinstance(event, Finished):
            result = event.result
    assert result is not None, "a run always ends with a result"
    return result


class Session:
    """Everything a run needs, opened and checked; nothing is written yet."""

    def __init__(self, recipe: Recipe, store: TokenStore) -> None:
        from whelp.model import make_spec
        from whelp.tokenizer import load_tokenizer
        from whelp.train.device import choose_device, choose_precision, keep_freed_memory
        from whelp.train.plan import count_batch_rows

        self.recipe, self.store = recipe, store
        self.vocabulary: Vocabulary = load_tokenizer(store.tokenizer_folder)
        pad_id = choose_pad(self.vocabulary)
        batch_rows = count_batch_rows(recipe.train, recipe.pack.context_tokens)
        self.parts = pack_by_source(store, "train", recipe.pack, pad_id=pad_id, batch_rows=batch_rows)
        self.test_parts: SourceRows = {}
        if store.manifest.counts["splits"].get("test", {}).get("tokens", 0) > 1:
            self.test_parts = pack_by_source(store, "test", recipe.pack, pad_id=pad_id, must_fill_a_row=False)
        self.spec: ModelSpec = make_spec(recipe.model, num_ids=self.vocabulary.size, context_tokens=recipe.pack.context_tokens)
        self.device = choose_device(recipe.train.device)
        self.precision = choose_precision(recipe.train.precision, self.device)
        keep_freed_memory()

    def build(self) -> LanguageModel:
        """The model with its first weights, on its device.

        Raises:
            PlanError: When an architecture of transformers is no causal language model as it is configured.
        """
        from whelp.model import build_model

        model = build_model(self.spec, self.recipe.train.seed).to(self.device)
        if self.spec.family == "hf":
            check_causal(model, self.recipe.model.hf_config)
        return model

    def read_start(self) -> dict[str, Any] | None:
        """The weights that `train.start_from` names, checked against the recipe and the store."""
        start_from = self.recipe.train.start_from
        return None if start_from is None else read_start(start_from, self.spec, self.vocabulary)

    def choose_rows(self, plan: TrainPlan) -> PackedRows | MixtureRows:
        """The rows of a run; of a mixture they depend on how many the run takes."""
        return self.parts[None] if None in self.parts else mix_rows(self.parts, self.recipe, plan)

    def make_ledger(self, plan: TrainPlan) -> dict[str, Any]:
        """Where the tokens go in a pass over all rows; of a mixture, also what the run draws from each source."""
        from whelp.prepare.pack import make_pack_ledger

        ledger: dict[str, Any] = make_pack_ledger(*self.parts.values())
        if None not in self.parts:
            ledger["sources"] = mix_rows(self.parts, self.recipe, plan).make_ledger()["sources"]
        return ledger

    def make_plan(self, *, must_time: bool) -> TrainPlan:
        """Plan the run; a CPU run, and one that must know its time, is probed first."""
        import torch

        from whelp.model.build import count_parameters
        from whelp.prepare.rows import PackedRows
        from whelp.train.plan import MANY_EPOCHS, Facts, make_plan
        from whelp.train.probe import probe_speed

        config = self.recipe.train
        facts = Facts(
            num_parameters=count_parameters(self.spec),
            num_layers=self.spec.n_layer,
            width=self.spec.n_embd,
            ffn_width=self.spec.ffn_width,
            vocab_size=self.spec.vocab_size,
            context_tokens=self.spec.context_tokens,
            num_rows=sum(len(rows) for rows in self.parts.values()),
            num_train_tokens=sum(rows.split.num_tokens for rows in self.parts.values()),
            num_test_rows=sum(len(rows) for rows in self.test_parts.values()),
            device=str(self.device),
            precision="bf16" if self.precision == torch.bfloat16 else "fp32",
            is_gpu=self.device.type == "cuda",
            free_bytes=_free_bytes(self.device),
            threads=config.threads or count_cores(),
            is_mixture=None not in self.parts,
            has_fixed_width=self.recipe.pack.plan != "none" or self.recipe.pack.pad_to == "context",
        )
        plan = make_plan(config, facts)
        if must_time or config.minutes is not None or (self.device.type == "cpu" and config.threads is None):
            probe = probe_speed(self.build, self.choose_rows(plan), plan, config)
            plan = make_plan(config, dataclasses.replace(facts, threads=probe.threads, seconds_per_step=probe.seconds_per_step))
        rows = self.choose_rows(plan)
        return plan if isinstance(rows, PackedRows) else add_repeats(plan, rows, MANY_EPOCHS)


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
    opened = open_store(store)
    check_fresh(opened, recipe)
    session = Session(recipe, opened)
    session.read_start()
    return session.make_plan(must_time=True), session


def iter_train(
    recipe: Recipe, store_folder: Path, out: Path
) -> Iterator[Planned | StepReport | Evaluated | Sampled | Saved | Finished]:
    """Train, yielding what happens: the plan, every step, evaluations, samples, checkpoints, the result."""
    import torch

    from whelp.train import Progress, TrainPlan, build_optimizer
    from whelp.train.fit import fit

    store = open_store(store_folder)
    check_fresh(store, recipe)
    run = RunFolder(out)
    started = run.read_plan()
    if started is None:
        _check_place(run)
    else:
        _check_same(started, recipe, store, out)
    session = Session(recipe, store)
    plan = TrainPlan(**started["plan"]) if started is not None else session.make_plan(must_time=False)
    checkpoint = find_newest_whole(run.checkpoints)
    start = session.read_start() if checkpoint is None else None
    if started is None:
        identity = {"recipe": recipe.to_values(), "store": store.manifest.fingerprint}
        facts = {"plan": plan.to_dict(), "ledger": session.make_ledger(plan), "versions": _versions()}
        run.start(recipe.to_yaml(), {**identity, **facts})
    if session.device.type == "cpu":
        torch.set_num_threads(plan.threads)
    model = session.build()
    if start is not None:
        load_start(model, start, str(recipe.train.start_from))
    trainer = None
    if checkpoint is not None:
        model.load_hugging_face(read_model_folder(checkpoint)[1])
        trainer = read_trainer_state(checkpoint)
    optimizer = build_optimizer(model, recipe.train)
    progress = Progress()
    if trainer is not None:
        optimizer.load_state(trainer.tensors)
        progress = Progress(**trainer.counters)
    run.truncate_after(progress.step if checkpoint is not None else -1)
    rows = session.choose_rows(plan)
    yield Planned(plan=plan, ledger=session.make_ledger(plan), spec=session.spec, resumed_step=progress.step)
    wiring = _Wiring(session, run, plan, model, optimizer, progress)
    if checkpoint is None:
        yield from wiring.look()
    else:
        wiring.tidy(checkpoint)
    if checkpoint is not None and _is_done(plan, progress):
        yield Finished(result=wiring.result(is_finished=True))
        return
    with _StopRequests() as requests:
        for report in fit(model, optimizer, rows, plan, recipe.train, progress):
            if report.loss is not None and (report.step % recipe.train.log_every_steps == 0 or report.is_last):
                wiring.record(report)
            yield report
            is_ending = report.is_last or requests.is_asked
            if report.step % plan.evaluate_every_steps == 0 or report.is_last:
                yield from wiring.look()
            if report.step % plan.save_every_steps == 0 or is_ending:
                yield wiring.save()
            if requests.is_asked and not report.is_last:
                log.warning("asked to stop: step %d is saved; the same command goes on from there", report.step)
                yield Finished(result=wiring.result(is_finished=False))
                raise KeyboardInterrupt
    yield Finished(result=wiring.result(is_finished=True))


def _is_done(plan: TrainPlan, progress: Progress) -> bool:
    if plan.budget_seconds is not None:
        return progress.elapsed_seconds >= plan.budget_seconds
    return progress.step >= plan.num_steps


class _Wiring:
    """What is done between steps: records, evaluation, samples, checkpoints."""

    def __init__(
        self, session: Session, run: RunFolder, plan: TrainPlan, model: LanguageModel, optimizer: Optimizer, progress: Progress
    ) -> None:
        self.session, self.run, self.plan = session, run, plan
        self.model, self.optimizer, self.progress = model, optimizer, progress
        self.last_loss: LossResult | None = None
        self.last_saved: Path | None = None

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
        append_record(self.run.metrics, values)

    def look(self) -> Iterator[Evaluated | Sampled]:
        """Evaluate on the test split, and continue the prompts."""
        from whelp.generate import GenerateConfig, complete

        session, config, step = self.session, self.session.recipe.train, self.progress.step
        if session.test_parts:
            self.last_loss = evaluate_by_source(
                self.model,
                session.test_parts,
                token_bytes=session.vocabulary.token_bytes,
                num_rows=self.plan.evaluate_rows,
                batch_rows=self.plan.micro_batch_rows,
                device=session.device,
                precision=session.precision,
            )
            values = {f"test_{name}": value for name, value in self.last_loss.to_dict().items()}
            append_record(self.run.metrics, {"step": step, **values, "elapsed_seconds": self.progress.elapsed_seconds})
            yield Evaluated(step=step, result=self.last_loss)
        settings = GenerateConfig(max_tokens=config.sample_tokens, seed=config.seed, **SAMPLE_STYLE)
        for prompt in config.sample_prompts:
            text = complete(self.model, session.vocabulary, prompt, settings)[0].text
            append_record(self.run.samples, {"step": step, "prompt": prompt, "text": text})
            yield Sampled(step=step, prompt=prompt, text=text)
        self.model.train()

    def save(self) -> Saved:
        """Write a checkpoint, point `last` at it, delete the oldest."""
        vocabulary, path = self.session.vocabulary, self.run.checkpoints / step_name(self.progress.step)
        config, weights = self.model.to_hugging_face()
        special = {"bos_token_id": None, "eos_token_id": vocabulary.eos_id, "pad_token_id": vocabulary.pad_id}
        counts: dict[str, Any] = {"step": self.progress.step, "num_parameters": self.plan.num_parameters}
        if self.last_loss is not None:
            counts |= {f"test_{name}": value for name, value in self.last_loss.to_dict().items()}
        save_checkpoint(
            path,
            config={**config, **special},
            weights={name: tensor.detach().cpu() for name, tensor in weights.items()},
            save_tokenizer=vocabulary.save,
            generation={name: value for name, value in special.items() if value is not None},
            trainer=TrainerState(dataclasses.asdict(self.progress), self.optimizer.state()),
            counts=counts,
        )
        self.tidy(path)
        return Saved(step=self.progress.step, path=path)

    def tidy(self, newest: Path) -> None:
        """Point `last` at the newest checkpoint, delete the oldest, draw the report; a killed run may not have come to it."""
        point_last(newest)
        keep_newest(self.run.checkpoints, self.session.recipe.train.keep_checkpoints)
        self.last_saved = newest
        self.report()

    def report(self) -> None:
        """Draw the run so far in report.html."""
        from whelp.report import make_run_report

        write_atomic(self.run.report, make_run_report([read_run(self.run.folder)]))

    def result(self, *, is_finished: bool) -> TrainResult:
        """What the run came to; for a run that was finished before, from its last checkpoint."""
        path = self.last_saved or find_newest_whole(self.run.checkpoints)
        counts = read_json(path / "manifest.json")["counts"] if path else {}
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


class _StopRequests:
    """Turn the first SIGINT or SIGTERM into a request to stop after this step; a second one stops at once."""

    def __init__(self) -> None:
        self.is_asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopRequests:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.is_asked:
            raise KeyboardInterrupt
        self.is_asked = True


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
    drawn = {entry["name"]: entry for entry in started["recipe"]["data"].get("mixture", [])}
    for entry in recipe.to_values()["data"]["mixture"]:  # the store does not depend on these
        changes += [
            f"data.mixture.{entry['name']}.{name}: {drawn[entry['name']][name]!r} -> {entry[name]!r}"
            for name in ("weight", "max_repeats")
            if entry["name"] in drawn and drawn[entry["name"]][name] != entry[name]
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
    from whelp.base.machine import count_cores

    versions = {"whelp": whelp.__version__, "torch": torch.__version__, "python": platform.python_version()}
    machine = {"system": f"{platform.system()} {platform.machine()}", "cores": str(count_cores())}
    if torch.cuda.is_available():
        machine["gpu"] = torch.cuda.get_device_name()
    return versions | machine
