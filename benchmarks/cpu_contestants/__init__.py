"""Who trains in `cpu_train.py`: a file each, called in a process of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable

from cpu_contestants.hf import worker_hf
from cpu_contestants.nanogpt import worker_nanogpt
from cpu_contestants.ours import worker_whelp, worker_whelp_recipe
from cpu_contestants.plain import worker_plain
from cpu_contestants.task import Corpus, Result, Settings

Worker = Callable[[Corpus, Settings, float], Result]
"""A contestant: called in a fresh process with the text, the task and the time (``time.time()``) at which that was started."""

PEERS = ("nanogpt", "hf", "plain", "nanogpt-bf16", "hf-bf16", "plain-bf16")
"""The contestants which are not whelp: the ratio column is against the fastest of these, in whichever precision."""

WORKERS: dict[str, Worker] = {
    "nanogpt": worker_nanogpt,
    "hf": worker_hf,
    "plain": worker_plain,
    "nanogpt-bf16": functools.partial(worker_nanogpt, bf16=True),
    "hf-bf16": functools.partial(worker_hf, bf16=True),
    "plain-bf16": functools.partial(worker_plain, bf16=True),
    "whelp": worker_whelp,
    "whelp-auto": functools.partial(worker_whelp, precision="auto"),
    "whelp-recipe": worker_whelp_recipe,
}
