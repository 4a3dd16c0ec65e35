"""The runs of `whelp compare-recipes`: one after the other in this process, or several at once, each in one of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType
from typing import Any

from whelp.base.counts import say_count
from whelp.base.errors import ConfigError
from whelp.base.log import log
from whelp.base.machine import count_cores
from whelp.base.side_by_side import ENDED, iter_side_by_side
from whelp.cli.recipe_comparison.events import RunAdvanced, RunStarted
from whelp.cli.recipe_comparison.runs import ComparedRun, iter_run
from whelp.cli.recipe_comparison.settle import Settled
from whelp.cli.training.signals import is_hangup_ignored

_VISIBLE = "CUDA_VISIBLE_DEVICES"


def find_places(settled: Mapping[str, Settled], num_jobs: int) -> list[dict[str, str]]:
    """Where runs may go on at once, at most `num_jobs`: on GPUs one each, on a CPU as many as have their threads.

    Raises:
        ConfigError: When several are asked for, and a recipe names one device.
    """
    if num_jobs == 1:
        return [{}]
    named = [f"{name}: {one.device}" for name, one in settled.items() if ":" in one.device or one.device == "mps"]
    if named:
        problem = f"several runs at once (--jobs {num_jobs}) would share one device ({', '.join(named)})"
        raise ConfigError("compare-recipes: --jobs", [problem], "Use train.device=cuda, for a GPU each, or leave --jobs out.")
    if any(one.device == "cuda" for one in settled.values()):
        import torch

        visible = [name for name in os.environ.get(_VISIBLE, "").split(",") if name]
        visible = visible or [str(number) for number in range(torch.cuda.device_count())]
        torch.cuda.empty_cache()  # what taking the time left
        places, found = [{_VISIBLE: name} for name in visible], f"there are {len(visible)} GPUs"
    else:
        threads = max(one.threads for one in settled.values())
        places = [{} for _ in range(max(1, count_cores() // threads))]
        found = f"each takes {threads} of {count_cores()} threads, as was settled when the comparison began"
    if len(places) < num_jobs:
        log.warning("%s at once, not %d: %s", say_count(len(places), "run"), num_jobs, found)
    return places[:num_jobs]


def iter_runs(
    runs: Sequence[ComparedRun], places: Sequence[Mapping[str, str]]
) -> Iterator[RunStarted | RunAdvanced | ComparedRun]:
    """Do all runs; yields when one begins, how far it is, and the run itself once it is done."""
    if min(len(places), len(runs)) <= 1:
        for run in runs:
            yield _start(run)
            with contextlib.closing(iter_run(run)) as events:
                yield from events
            yield run
        return
    started: set[int] = set()
    with _stop_like_ctrl_c(), contextlib.closing(iter_side_by_side(iter_run, runs, places)) as told:
        for number, event in told:
            if number not in started:
                started.add(number)
                yield _start(runs[number])
            yield runs[number] if event == ENDED else event


def _start(run: ComparedRun) -> RunStarted:
    return RunStarted(name=run.name, seed=run.seed, number=run.number)


@contextlib.contextmanager
def _stop_like_ctrl_c() -> Iterator[None]:
    """Inside, SIGTERM and SIGHUP stop as Ctrl-C does, so that runs in other processes are asked to save."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            if hasattr(signal, name) and not is_hangup_ignored(name):
                before[getattr(signal, name)] = signal.signal(getattr(signal, name), stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
