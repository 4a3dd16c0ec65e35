"""What is done around the steps of a run: restoring, records, evaluation, samples, checkpoints, rewinding."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import statistics
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import (
    BEST,
    TrainerState,
    find_best,
    keep_newest,
    point_last,
    read_trainer_state,
    save_checkpoint,
    step_name,
    write_contents,
)
from whelp.artifacts.checkpoint_parts import begin_parts, describe_whole, unfinished_folder, write_part
from whelp.artifacts.manifest import find_kind
from whelp.artifacts.run_folder import RunFolder, append_record
from whelp.base.errors import TrainingError, say_os_reason
from whelp.base.files import read_json, write_atomic
from whelp.base.links import is_link
from whelp.base.log import log
from whelp.base.start_up import start_up
from whelp.cli.report import read_run
from whelp.cli.training.events import Evaluated, Rewound, Sampled, Saved, TrainResult
from whelp.cli.training.plan_changes import remember_plan
from whelp.cli.training.saving import Writing, finish_together
from whelp.cli.training.session import Session, say_out_of_memory

if TYPE_CHECKING:
    from whelp.evaluate.loss import LossResult
    from whelp.model import LanguageModel
    from whelp.train import Progress, StepReport, TrainPlan
    from whelp.train.optimizer import Optimizer
    from whelp.train.shard import ShardedOptimizer
    from whelp.train.weight_average import WeightAverage

_SPIKE_WINDOW = 50  # losses that a spike is compared with
_SPIKE_LEAST = 10  # fewer say nothing
_MOST_REWINDS = 10  # of one run; more are no accident


class RunWiring:
    """A run in this process: model, optimizer, counters, and what is done with them between steps."""

    def __init__(
        self, session: Session, run: RunFolder, plan: TrainPlan, checkpoint: Path | None, start: dict[str, Any] | None = None
    ) -> None:
        self.session, self.run, self.plan, self.processes = session, run, plan, session.processes
        self.last_loss: LossResult | None = None
        self.last_average_loss: LossResult | None = None
        self.average: WeightAverage | None
        self.last_look = -1
        self.last_saved: Path | None = None
        self.writing: Writing | None = None
        self.model: LanguageModel
        self.optimizer: Optimizer | ShardedOptimizer
        self.progress: Progress
        self.restore(checkpoint, start)

    def restore(self, checkpoint: Path | None, start: dict[str, Any] | None = None) -> None:
        """Take up a checkpoint's weights, optimizer state and counters; without one, begin, with `start`'s weights if any.

        With `train.start_optimizer` the optimizer begins with that of `train.start_from`.
        """
        from whelp.train import Progress
        from whelp.train.optimizer import Optimizer
        from whelp.train.weight_average import WeightAverage

        self.model, self.optimizer = self.session.make_trainable(checkpoint, start)
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
        elif self.session.recipe.train.start_optimizer:
            self.optimizer.load_state(self.session.read_start_state())

    def iter_steps(self) -> Generator[StepReport]:
        """Train to the end of the plan; out of memory, in micro-batches of half the rows, and of half of those, down to one."""
        from whelp.train.awake_clock import AwakeClock
        from whelp.train.device import is_out_of_memory
        from whelp.train.fit import TornStepError

        with AwakeClock() as clock:
            told = clock()
            while True:
                try:
                    with contextlib.closing(self._fit(clock, told)) as steps:
                        for report in steps:
                            told = clock()
                            if self.average is not None and not report.is_skipped:
                                self.average.update(report.step)
                            yield report
                    return
                except TornStepError:
                    self._halve_micro_batch(self._count_rows_at_once())  # for the one who goes on
                    raise
                except (RuntimeError, MemoryError) as error:
                    if not is_out_of_memory(error):
                        raise
                self._halve_micro_batch(self._count_rows_at_once())  # outside of the handler: the error holds on to much memory

    def _fit(self, clock: Callable[[], float], told: float) -> Generator[StepReport]:
        """The steps by the plan as it is now; what passed since `told` by the clock counts, too."""
        from whelp.train.fit import fit

        rows, config = self.session.choose_rows(self.plan), self.session.recipe.train
        parts = self.model, self.optimizer, rows, self.plan, config, self.progress
        return fit(*parts, processes=self.processes, clock=clock, told=told)

    def _count_rows_at_once(self) -> int:
        """Rows of a micro-batch of the next step, which has fewer than others while batches grow."""
        from whelp.train.fit import find_share_done

        return self.plan.at_batch(self.plan.ramp.find_rows(find_share_done(self.progress, self.plan))).micro_batch_rows

    def _halve_micro_batch(self, rows_tried: int) -> None:
        """Halve the micro-batch, and remember that in the run folder.

        Raises:
            TrainingError: When it is one row, or when other processes are in the middle of what failed here.
        """
        from whelp.train.plan import halve_micro_batch

        self.plan = halve_micro_batch(self.plan, rows_tried)
        self._take_fewer_rows(say_out_of_memory(rows_tried), self.plan.micro_batch_rows)
        self.optimizer.zero_grad()

    def _take_fewer_rows(self, found: str, rows_now: int) -> None:
        """Say what did not fit, remember the plan as it is now, and make room, where no other process waits in the midst of this one."""
        from whelp.train.device import free_idle_memory

        remember_plan(self.session, self.run, self.plan)
        found = f"{found}; from now on {rows_now}"
        if self.processes.size > 1:
            raise TrainingError(f"process {self.processes.rank + 1}", found, "", "The same command goes on so.")
        log.warning("%s", found)
        free_idle_memory(self.session.device)

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

    def rewind(self, report: StepReport) -> Rewound:
        """Go back to the last checkpoint, and on with the rows after those of the spike.

        Raises:
            TrainingError: When that has not helped many times before.
        """
        before, num_rewinds, rows_read = self.progress, self.progress.rewinds + 1, self.progress.rows_read
        median = statistics.median(self.progress.recent_losses)
        found = f"the loss is {report.loss:.3f}, and the median of the steps before {median:.3f}"
        if num_rewinds > _MOST_REWINDS:
            advice = "Lower train.learning_rate, or raise train.spike_factor, then start a new run."
            found = f"{found}; the run was rewound {_MOST_REWINDS} times before"
            raise TrainingError(f"step {report.step}", found, "fewer spikes", advice)
        self.restore(self.last_saved, self.session.read_start() if self.last_saved is None else None)
        first_row, step = self.progress.rows_read, self.progress.step
        self.progress.rewinds, self.progress.rows_read = num_rewinds, rows_read
        self.progress.elapsed_seconds, self.progress.training_seconds = before.elapsed_seconds, before.training_seconds
        log.warning(
            "step %d: %s; back to step %d, leaving out %d rows", report.step, found, step, self.progress.rows_read - first_row
        )
        assert report.loss is not None, "a spike has a loss"
        rewound = Rewound(step=step, from_step=report.step, loss=report.loss, skipped_rows=(first_row, rows_read))
        if self.processes.is_first:
            self.run.truncate_after(step, keep_rewinds=True)
            event = {"rewound_from": report.step, "spike_loss": report.loss, "skipped_rows": [first_row, rows_read]}
            append_record(self.run.metrics, {"step": step, **event})
        return rewound

    def record(self, report: StepReport) -> None:
        """One line of metrics.jsonl."""
        from whelp.train.device import used_memory

        values = {
            "step": report.step,
            "loss": report.loss,
            "learning_rate": report.learning_rate,
            "gradient_norm": report.gradient_norm,
            "tokens": self.progress.tokens_trained,
            "tokens_per_second": report.num_tokens / report.seconds,
            "elapsed_seconds": self.progress.elapsed_seconds,
            "training_seconds": self.progress.training_seconds,
            "peak_memory_bytes": used_memory(self.session.device),
        }
        if report.rows_checksum is not None:
            values |= {"first_row": report.first_row, "rows": report.num_rows, "rows_checksum": report.rows_checksum}
        if report.is_skipped:  # what is no number is not JSON either
            values |= {"loss": None, "gradient_norm": None, "is_skipped": True}
            log.warning("step %d: loss or gradient is no number; its batch is passed over", report.step)
        if self.processes.is_first:
            append_record(self.run.metrics, values)

    def record_start_up(self, step: int) -> None:
        """After this process's first step, a line of metrics.jsonl on where the seconds before went."""
        start_up.reach("first_step")
        seconds = start_up.end()
        if seconds is not None and self.processes.is_first:
            append_record(self.run.metrics, {"step": step, "start_up_seconds": seconds})

    def look(self) -> Iterator[Evaluated | Sampled]:
        """Evaluate on the test split, and continue the prompts."""
        session, config, step = self.session, self.session.recipe.train, self.progress.step
        if session.test_parts:
            self.last_loss, self.last_look = self._evaluate(), step
            self.progress.count_evaluation(self.last_loss.nats_per_token)
            values = {f"test_{name}": value for name, value in self.last_loss.to_dict().items()}
            if self.average is not None:
                with self.average.in_place():
                    self.last_average_loss = self._evaluate()
                values |= self._describe_average()
            if self.processes.is_first:
                append_record(self.run.metrics, {"step": step, **values, "elapsed_seconds": self.progress.elapsed_seconds})
            yield Evaluated(step=step, result=self.last_loss, average=self.last_average_loss)
        model = self.find_whole_model() if config.sample_prompts else None
        for prompt in config.sample_prompts if model is not None else ():
            assert model is not None, "there are prompts, and this process has the model"
            with self._uncompiled():
                text = session.continue_prompt(model, prompt, config.sample_tokens)
            append_record(self.run.samples, {"step": step, "prompt": prompt, "text": text})
            yield Sampled(step=step, prompt=prompt, text=text)
        self.model.train()

    def _evaluate(self) -> LossResult:
        """The loss over the test rows, each process computing a slice of them; out of memory, of fewer rows at a time."""
        from whelp.train.device import is_out_of_memory
        from whelp.train.plan import halve_evaluation

        while True:
            try:
                with self._uncompiled():
                    return self.session.evaluate(self.model, self.plan)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            rows_tried = self.plan.rows_evaluated_at_once
            self.plan = halve_evaluation(self.plan)
            self._take_fewer_rows(say_out_of_memory(rows_tried, " in an evaluation"), self.plan.rows_evaluated_at_once)

    def _uncompiled(self) -> contextlib.AbstractContextManager[object]:
        """Inside, a compiled model runs as it is written: other sizes than a training step's would be compiled anew, each."""
        import torch

        is_compiler_here = "torch._dynamo" in sys.modules  # asking it would bring it in: two seconds
        return torch.compiler.set_stance("force_eager") if self.plan.compile and is_compiler_here else contextlib.nullcontext()

    def _describe_average(self) -> dict[str, Any]:
        """The test loss of the averaged weights, as a record and a manifest have it."""
        if self.last_average_loss is None:
            return {}
        names = ("nats_per_token", "perplexity", "bits_per_byte")
        return {f"ema_test_{name}": getattr(self.last_average_loss, name) for name in names}

    def find_whole_model(self) -> LanguageModel | None:
        """The model with all weights, in the first process; one that is divided is gathered, by all, on the CPU."""
        if not self.session.is_sharded:
            return self.model if self.processes.is_first else None
        from whelp.train.shard import gather_weights

        weights = gather_weights(self.model, self.processes)
        if not self.processes.is_first:
            return None
        whole = self.session.build_whole()
        whole.load_state_dict(weights)
        return whole

    def save(self) -> Iterator[Saved]:
        """Begin to write a checkpoint; tells of those that are whole: one before, and this one if it is written at once.

        Raises:
            TrainingError: When a weight is no finite number: such a checkpoint would push out those that are of use.
        """
        yield from self.finish_saving()
        self._check_weights()
        if self.processes.is_first:
            self.run.sync_records()
        path, counts = self.run.checkpoints / step_name(self.progress.step), self._count()
        if self.session.is_sharded and self.processes.is_first:
            begin_parts(path)
        write, is_ours = self._copy_contents(path, counts), self.plan.device.startswith("cuda")
        if self.session.is_sharded:
            self.processes.wait()  # for the place where all write
        choice = self.session.recipe.train.save_in_background
        in_background = is_ours if choice == "auto" else choice
        self.writing = Writing(self.progress.step, path, write, counts, in_background=in_background)
        if not in_background:
            yield from self.finish_saving()

    def _check_weights(self) -> None:
        """Between two logged steps on a GPU, and while bad batches are passed over, nobody has looked at them."""
        from whelp.train.fit import has_only_numbers

        if any(self.processes.largest([not has_only_numbers(self.model)])):
            last = f"; the last checkpoint ({self.last_saved.name}) stands" if self.last_saved is not None else ""
            advice = "Lower train.learning_rate or raise train.warmup_share, then start a new run."
            found = f"weights are no finite numbers, so nothing is saved{last}"
            raise TrainingError(f"step {self.progress.step}", found, "finite numbers", advice)

    @property
    def is_writing(self) -> bool:
        """Whether this process still writes a checkpoint."""
        return self.writing is not None and self.writing.is_going

    def finish_saving(self) -> Iterator[Saved]:
        """Wait for the checkpoint that is being written, if any; point `last` at it, delete the oldest."""
        if self.writing is None:
            return
        writing, self.writing = self.writing, None
        if self.session.is_sharded:
            finish_together(writing, self.processes)
        else:
            writing.wait()
        self.tidy(writing.path)
        yield Saved(step=writing.step, path=writing.path)

    def close(self) -> None:
        """Leave no thread behind."""
        if self.writing is not None:
            self.writing.abandon()

    def _count(self) -> dict[str, Any]:
        """What the manifest of a checkpoint says of it."""
        counts: dict[str, Any] = {
            "step": self.progress.step,
            "num_parameters": self.plan.num_parameters,
            "is_finished": self.is_done,
        }
        if self.last_loss is not None:
            counts |= {f"test_{name}": value for name, value in self.last_loss.to_dict().items()}
            counts |= {"evaluated_step": self.last_look, **self._describe_average()}
        return counts

    def _copy_contents(self, path: Path, counts: dict[str, Any]) -> Callable[[], None] | None:
        """Copy to the CPU what this process has to write of a checkpoint; return what writes it."""
        from whelp.train.optimizer import Optimizer

        processes, model, vocabulary = self.processes, self.find_whole_model(), self.session.vocabulary
        write_own = None
        if not isinstance(self.optimizer, Optimizer):  # nobody else imports what divides models: a second
            write_own = functools.partial(write_part, path, processes.rank, processes.size, self.optimizer.own_rows())
        if model is None:
            return write_own
        config, weights = model.to_hugging_face()
        weights = {name: tensor.detach().to("cpu", copy=True) for name, tensor in weights.items()}
        state = self.optimizer.state() if isinstance(self.optimizer, Optimizer) else {}
        average = None
        if self.average is not None:
            state |= self.average.state()
            with self.average.in_place():  # what the model gives may be its own memory: copied while it is the average
                average = {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.to_hugging_face()[1].items()}
        special = {"bos_token_id": None, "eos_token_id": vocabulary.eos_id, "pad_token_id": vocabulary.pad_id}
        contents: dict[str, Any] = {
            "config": {**config, **special},
            "weights": weights,
            "save_tokenizer": vocabulary.save,
            "generation": {name: value for name, value in special.items() if value is not None},
            "trainer": TrainerState(dataclasses.asdict(self.progress), state),
            "average": average,
        }
        if write_own is None:
            return functools.partial(save_checkpoint, path, counts=counts, **contents)

        def write() -> None:
            write_own()
            write_contents(unfinished_folder(path), **contents)
            describe_whole(path)

        return write

    def tidy(self, newest: Path) -> None:
        """Point `last` at the newest checkpoint, delete the oldest, draw the report; a killed run may not have come to it."""
        self.last_saved = newest
        if not self.processes.is_first:
            return
        point_last(newest)
        config, folder = self.session.recipe.train, self.run.checkpoints
        best = find_best(folder) if config.keep_best else None
        if best is not None:
            point_last(best, BEST)
        elif is_link(folder / BEST):
            (folder / BEST).unlink()  # of a time when the best was kept: it may be passed by now
        kept = [path for path in (best, self._before_decay_path()) if path is not None]
        keep_newest(folder, config.keep_checkpoints, every_steps=config.keep_every_steps, kept=kept)
        self.report()

    @property
    def step_before_decay(self) -> int | None:
        """The step whose checkpoint is kept because a longer run may go on from it."""
        from whelp.train.schedule import find_step_before_decay

        return find_step_before_decay(self.session.recipe.train, self.plan)

    def _before_decay_path(self) -> Path | None:
        step = self.step_before_decay
        return None if step is None else self.run.checkpoints / step_name(step)

    def report(self) -> None:
        """Draw the run so far in report.html; a disk without room for it ends no run, whose records it is drawn from."""
        from whelp.report import make_run_report

        page = make_run_report([read_run(self.run.folder)])
        try:
            write_atomic(self.run.report, page)
        except OSError as error:
            note = "%s is not drawn (%s): `whelp report %s` draws it later"
            log.warning(note, self.run.report, say_os_reason(error), self.run.folder)

    def result(self, *, is_finished: bool) -> TrainResult:
        """What the run came to; for a run that was finished before, from its last checkpoint."""
        path, progress = self.last_saved, self.progress
        counts = self.processes.share(read_json(path / "manifest.json")["counts"] if path and self.processes.is_first else {})
        has_best = progress.best_test_loss is not None
        best_path = self.run.checkpoints / step_name(progress.best_step)
        num_rows = self.plan.count_rows(self.plan.num_steps)
        return TrainResult(
            folder=str(self.run.folder),
            step=self.progress.step,
            checkpoint=str(path) if path else None,
            nats_per_token=counts.get("test_nats_per_token"),
            perplexity=counts.get("test_perplexity"),
            bits_per_byte=counts.get("test_bits_per_byte"),
            elapsed_seconds=self.progress.elapsed_seconds,
            is_finished=is_finished,
            is_stopped_early=self.has_stopped_gaining,
            num_epochs=progress.rows_read * self.plan.num_epochs / num_rows if num_rows else None,
            best_step=progress.best_step if has_best else None,
            best_test_nats_per_token=progress.best_test_loss,
            best_checkpoint=str(best_path) if has_best and find_kind(best_path) == "checkpoint" else None,
        )

    @property
    def is_done(self) -> bool:
        """Whether there is nothing left to train: the plan is done, or patience has come to its end."""
        from whelp.train.fit import find_share_done

        return find_share_done(self.progress, self.plan) >= 1.0 or self.has_stopped_gaining

    def find_more(self) -> str | None:
        """An option with which a run that is done would train on; None when it is not done."""
        config, plan = self.session.recipe.train, self.plan
        if not self.is_done:
            return None
        if self.has_stopped_gaining:
            return "train.early_stopping_patience=null"
        is_limited = plan.num_steps != config.num_steps if plan.most_rows is None else self.progress.rows_read >= plan.most_rows
        if config.max_epochs is not None and is_limited:
            return f"train.max_epochs={2 * config.max_epochs:g}"
        return f"train.num_steps={2 * plan.num_steps}" if config.minutes is None else f"train.minutes={2 * config.minutes:g}"

    @property
    def has_stopped_gaining(self) -> bool:
        """Whether as many evaluations in a row as `early_stopping_patience` says gave no lower test loss."""
        patience = self.session.recipe.train.early_stopping_patience
        return patience is not None and self.progress.evaluations_since_best >= patience
