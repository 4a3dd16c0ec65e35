"""Several processes of one test: forked from it, so that nothing is imported again."""

from __future__ import annotations

import io
import multiprocessing
import os
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from whelp.train.process_group import ProcessGroup, join_process_group
from whelp.train.process_rank import ProcessRank

SECONDS = 120


def run_together(num_processes: int, folder: Path, function: Callable[[ProcessGroup], Any]) -> list[Any]:
    """What a function gives in each of several processes that have met (gloo); fails with what went wrong in any of them."""
    context = multiprocessing.get_context("fork")
    ranks = [
        ProcessRank(
            rank=rank,
            num_processes=num_processes,
            local_rank=rank,
            num_local_processes=num_processes,
            meeting=f"file://{folder / f'meeting-{num_processes}'}",
        )
        for rank in range(num_processes)
    ]
    children, pipes = [], []
    for process in ranks:
        ours, theirs = context.Pipe(duplex=False)
        children.append(context.Process(target=_work, args=(process, function, theirs)))
        with warnings.catch_warnings():  # from 3.12 on: other threads may hold locks; a child here needs none of theirs
            warnings.simplefilter("ignore", DeprecationWarning)
            children[-1].start()
        theirs.close()
        pipes.append(ours)
    results = []
    for pipe in pipes:
        assert pipe.poll(SECONDS), "it takes too long"
        is_good, result = torch.load(io.BytesIO(pipe.recv_bytes()))
        assert is_good, result
        results.append(result)
    for child in children:
        child.join(SECONDS)
    return results


def _work(process: ProcessRank, function: Callable[[ProcessGroup], Any], pipe: Any) -> None:
    torch.set_num_threads(1)
    try:
        with join_process_group(process, uses_gpu=False, timeout_minutes=1) as processes:
            outcome = (True, function(processes))
    except BaseException:
        outcome = (False, traceback.format_exc())
    written = io.BytesIO()
    torch.save(outcome, written)  # the pipe's own way would share the memory of tensors, which ends with this process
    pipe.send_bytes(written.getvalue())
    os._exit(0)  # no tidying up of what belongs to the process of the tests
