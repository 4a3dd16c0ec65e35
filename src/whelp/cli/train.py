"""`whelp train`: from a token store to a run folder of checkpoints, records and samples."""

from __future__ import annotations

import contextlib
import json
import logging
import tempfile
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from whelp.artifacts.checkpoint import find_newest_whole, set_damaged_aside, unfold_links
from whelp.artifacts.run_folder import RunFolder
from whelp.artifacts.token_store import open_store
from whelp.base.counts import check_count
from whelp.base.errors import BusyError
from whelp.base.files import hold_folder
from whelp.base.gpu_context import open_gpu_early
from whelp.base.interactive import shows_progress
from whelp.base.last_event import run_to_end
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.base.start_up import start_up
from whelp.cli.exporting.origin import find_origin_of_start
from whelp.cli.prepare import check_fresh
from whelp.cli.recipe import Recipe, load_recipe
from whelp.cli.screens.draw_events import draw_training, watch
from whelp.cli.track import iter_tracked
from whelp.cli.training.checks import (
    check_place,
    check_plan,
    check_same,
    check_targets,
    describe_seen,
    describe_versions,
    find_changed,
    keep_choices,
    keep_length,
)
from whelp.cli.training.events import Evaluated, Finished, Planned, Rewound, Sampled, Saved, TrainResult
from whelp.cli.training.launch import launch
from whelp.cli.training.pace import Pace
from whelp.cli.training.plan_changes import change_length, change_precision
from whelp.cli.training.session import Session
from whelp.cli.training.signals import Requests
from whelp.cli.training.wiring import RunWiring

if TYPE_CHECKING:
    from whelp.train import StepReport, TrainPlan
    from whelp.train.process_group import ProcessGroup

    TrainEvent: TypeAlias = Planned | StepReport | Evaluated | Sampled | Saved | Rewound | Finished


def train(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    *,
    store: str | Path,
    out: str | Path,
    overrides: Sequence[str] = (),
    scale: str | None = None,
    nproc: int = 1,
) -> TrainResult:
    """Train a model on a token store; write a run folder at `out`. The same call again goes on where it stopped.

    While another thread of this process trains, it trains in a process of its own, and says nothing on the way.

    Args:
        scale: Another size of the recipe: `tiny`, or one that it names.
        nproc: Processes of this machine that train together; another number may go on.

    Raises:
        StaleError: When the store was made from other inputs than the recipe names now.
        PlanError: When the store does not fill a row, or memory is too small.
        TrainingError: When the loss is no longer a finite number.
    """
    check_count("nproc", nproc)
    loaded = load_recipe(recipe, overrides, scale)
    if nproc > 1:
        is_told = shows_progress()
        return train_together(loaded, as_path(store), as_path(out), nproc, quiet=not is_told, is_heard=is_told)
    with contextlib.suppress(BusyError):  # raised before anything was made
        return run_to_end(watch(iter_train(loaded, store, out), draw_training), Finished).result
    return train_together(loaded, as_path(store), as_path(out), 1, quiet=True, is_heard=False)


def train_together(
    recipe: Recipe, store: Path, out: Path, num_processes: int, *, quiet: bool = False, is_heard: bool = True
) -> TrainResult:
    """Train in several processes of this machine; `quiet`: they say only warnings and errors, which `is_heard` lets out."""
    with _written(recipe) as path:
        arguments = ["train", path, "--store", str(store), "--out", str(out), "--json", *(["--quiet"] if quiet else [])]
        return TrainResult(**json.loads(launch(arguments, num_processes, is_heard=is_heard)))


def plan_together(
    recipe: Recipe, store: Path, num_processes: int, *, price_per_hour: float | None = None, as_json: bool
) -> str:
    """Show the plan of a run of several processes, timed by a short probe of all; or return it as JSON."""
    with _written(recipe) as path:
        arguments = ["train", path, "--store", str(store), "--dry-run", *(["--json"] if as_json else [])]
        arguments += [] if price_per_hour is None else ["--price-per-hour", str(price_per_hour)]
        return launch(arguments, num_processes)


@contextlib.contextmanager
def _written(recipe: Recipe) -> Iterator[str]:
    """A recipe as a file, for other processes."""
    with tempfile.TemporaryDirectory(prefix="whelp-") as folder:
        path = Path(folder) / "recipe.yaml"
        path.write_text(recipe.to_yaml(), encoding="utf-8")
        yield str(path)


def plan_training(recipe: Recipe, store: Path) -> tuple[TrainPlan, Session]:
    """Make the plan of a run, timed by a short probe, and write nothing."""
    from whelp.train.process_checks import check_alike

    with _join(recipe) as processes:
        opened = open_store(store)
        check_alike(processes, describe_seen(recipe, opened))
        if processes.is_first:
            check_fresh(opened, recipe)
        session = Session(recipe, opened, processes)
        session.read_start()
        return session.make_plan(must_time=True), session


@contextlib.contextmanager
def _join(recipe: Recipe) -> Iterator[ProcessGroup]:
    """Meet the other processes, if a launcher has started several."""
    from whelp.train.process_rank import count_tasks_left_out, find_process_rank

    start_up.begin()
    process, num_tasks = find_process_rank(), count_tasks_left_out()
    if num_tasks:
        log.warning(
            "Slurm was asked for %d tasks, and this is one process alone: `srun whelp train` starts them all", num_tasks
        )
    if not process.is_first:
        log.setLevel(logging.ERROR)  # one speaks for all
    if recipe.train.device in ("auto", "cuda"):
        open_gpu_early(process.local_rank)
    start_up.reach("command")

    from whelp.train.device import choose_device, kept_settings
    from whelp.train.process_group import join_process_group

    start_up.reach("imports")
    device = choose_device(recipe.train.device, process)
    with (
        kept_settings(device),
        join_process_group(process, uses_gpu=device.type == "cuda", timeout_minutes=recipe.train.timeout_minutes) as processes,
    ):
        start_up.reach("device")
        yield processes


def iter_train(recipe: Recipe, store: str | Path, out: str | Path) -> Generator[TrainEvent]:
    """Train, yielding what happens: the plan, every step, evaluations, samples, checkpoints, rewound spikes, the result.

    Of several processes that a launcher started, each calls this; the first one writes, tracks, and has the samples.
    """
    store, out = as_path(store), as_path(out)
    with _join(recipe) as processes, hold_folder(out) if processes.is_first else contextlib.nullcontext():
        events = _iter_train(recipe, store, out, processes)
        with contextlib.closing(events):
            yield from iter_tracked(events, recipe, out) if processes.is_first else events


def _iter_train(recipe: Recipe, store_folder: Path, out: Path, processes: ProcessGroup) -> Generator[TrainEvent]:
    run = RunFolder(out)
    wiring = _begin(recipe, store_folder, run, processes)
    session, plan, is_new = wiring.session, wiring.plan, wiring.last_saved is None
    step_before_decay, pace = wiring.step_before_decay, Pace(plan)
    ledger, more = session.make_ledger(plan), wiring.find_more()
    yield Planned(plan=plan, ledger=ledger, spec=session.spec, resumed_step=wiring.progress.step, more=more)
    if is_new:
        yield from wiring.look()
        start_up.reach("first_look")
    elif wiring.is_done:
        yield Finished(result=wiring.result(is_finished=True))
        return
    with Requests() as requests, contextlib.closing(wiring):
        while True:
            with contextlib.closing(wiring.iter_steps()) as reports:
                for report in reports:
                    if wiring.is_spike(report):
                        break
                    if report.loss is not None and (report.step % recipe.train.log_every_steps == 0 or report.is_last):
                        wiring.record(report)
                    wiring.record_start_up(report.step)
                    yield report
                    pace.watch(report)
                    asked = processes.largest([requests.must_stop, requests.must_save, wiring.is_writing])
                    must_stop, must_save, is_writing = map(bool, asked)
                    if not is_writing:
                        yield from wiring.finish_saving()
                    if report.step % plan.evaluate_every_steps == 0 or report.is_last:
                        yield from wiring.look()
                    is_over = report.is_last or wiring.has_stopped_gaining
                    is_due = report.step % plan.save_every_steps == 0 or report.step == step_before_decay
                    if is_due or is_over or must_stop or must_save:
                        yield from wiring.save()
                        requests.must_save = False
                    if must_stop or is_over:
                        yield from wiring.finish_saving()
                    if is_over:
                        yield Finished(result=wiring.result(is_finished=True))
                        return
                    if must_stop:
                        log.warning("asked to stop: step %d is saved", report.step)
                        yield Finished(result=wiring.result(is_finished=False))
                        raise KeyboardInterrupt
                else:
                    break
            yield from wiring.finish_saving()
            processes.wait()  # the first one may have waited for its disk: now all can read what it wrote
            yield wiring.rewind(report)
    yield Finished(result=wiring.result(is_finished=True))


def _begin(recipe: Recipe, store_folder: Path, run: RunFolder, processes: ProcessGroup) -> RunWiring:
    """Open a run where it stands: its plan, its newest whole checkpoint; or start its folder."""
    import torch

    from whelp.model.gpu.warm_up import warm_up
    from whelp.train import TrainPlan
    from whelp.train.process_checks import check_alike, check_shared

    store, started, is_length_kept = open_store(store_folder), None, True
    check_alike(processes, describe_seen(recipe, store))
    if processes.is_first:
        check_fresh(store, recipe)
        started = run.read_plan()
        if started is None:
            check_place(run)
        else:
            check_plan(started, run)
            check_same(started, recipe, store, run.folder)
            is_length_kept = keep_length(recipe, started, run.folder)
    started = processes.share(started)
    session = Session(keep_choices(recipe, started), store, processes)
    start_up.reach("data")
    start = session.read_start() if started is None else None  # first: timing is for nothing where the weights do not fit
    if started is None:
        plan = session.make_plan(must_time=False)
    else:
        plan = session.adapt_plan(TrainPlan(**started["plan"]), find_changed(started, recipe))
    former = None
    if not processes.share(is_length_kept):
        former, plan = plan, session.lengthen_plan(plan)
    start_up.reach("plan")
    if plan.compile:
        warm_up(session.spec, session.device, eight_bits=session.precision == "fp8")
    newest = None
    if processes.is_first:
        unfold_links(run.checkpoints)
        newest = find_newest_whole(run.checkpoints)
        set_damaged_aside(run.checkpoints, newest)
    name = processes.share(newest.name if newest is not None else None)
    checkpoint = run.checkpoints / name if name is not None else None
    if started is not None and checkpoint is None:
        start = session.read_start()
    if started is None and processes.is_first:
        ledger = session.make_ledger(plan)
        check_targets(ledger)
        identity = {"recipe": session.recipe.to_values(), "store": store.manifest.fingerprint}
        facts = {"plan": plan.to_dict(), "ledger": ledger, "versions": describe_versions()}
        begins = {"start": find_origin_of_start(session.recipe.train.start_from)}
        run.start(session.recipe.to_yaml(), {**identity, **facts, **begins})
    check_shared(processes, run.plan)
    if session.device.type == "cpu":
        torch.set_num_threads(plan.threads)
    wiring = RunWiring(session, run, plan, checkpoint, start)
    start_up.reach("model")
    if started is not None:
        change_precision(session, run, plan, wiring.progress)
    if former is not None:
        assert started is not None, "a run that had another length has a plan"
        former_decay = started["recipe"]["train"].get("decay_from_step")
        change_length(session, run, plan, wiring.progress, former=former, former_decay=former_decay)
    if processes.is_first:
        run.truncate_after(wiring.progress.step if checkpoint is not None else -1)
    if checkpoint is not None:
        wiring.tidy(checkpoint)
    return wiring
