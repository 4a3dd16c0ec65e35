"""Run as a program: training runs by several numbers of processes in turn, each killed before the next begins.

    echo '[["recipe.yaml", "store", "run", [[1, 4], [2, 7], [4, 10], [1, 0]]]]' | python relay.py

One process that dies after step 4, then two from step 3 on until step 7, ...; 0: to the end. torch is imported once, then
forked.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import sys
from pathlib import Path

from whelp.cli.recipe import load_recipe
from whelp.cli.train import iter_train
from whelp.train import StepReport
from whelp.train.process_rank import MEETING_FILE

SLOW = [  # all that training takes long to import; what is not installed is passed over
    *("awkward", "gigatoken", "pandas", "pyarrow.json", "pyarrow.parquet", "safetensors.torch", "tokenizers", "torch._dynamo"),
    *(f"whelp.{name}" for name in ("evaluate", "generate", "model.build", "report", "train.fit", "train.shard")),
]


def run_leg(recipe: Path, store: Path, run: Path, num_processes: int, die_after: int) -> None:
    """Train from where the run stands."""
    meeting = run.with_name(f"{run.name}-meeting-{die_after}")
    children = []
    for rank in range(num_processes):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": num_processes, "LOCAL_WORLD_SIZE": num_processes}
                os.environ.update({name: str(value) for name, value in place.items()} | {MEETING_FILE: str(meeting)})
                for event in iter_train(load_recipe(recipe), store, run):
                    if isinstance(event, StepReport) and event.step == die_after:
                        os.kill(os.getpid(), signal.SIGKILL)
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    expected = -signal.SIGKILL if die_after else 0
    assert expected in codes, f"{num_processes} processes until step {die_after} ended with {codes}"


if __name__ == "__main__":
    for slow in SLOW:
        with contextlib.suppress(ImportError):
            importlib.import_module(slow)
    for *paths, legs in json.load(sys.stdin):
        for num_processes, die_after in legs:
            run_leg(*map(Path, paths), num_processes, die_after)
