"""RWKV-7 learns to recall a key stated 4,096 tokens earlier, in chunks of 512: with the state carried, and not without.

    python benchmarks/rwkv_recall.py                    half a minute on one CPU thread; on a GPU as well
    python benchmarks/rwkv_recall.py --family rwkv7 --length 16384 --seed 1

A row is noise of eight ids. It begins with a marker and one of eight keys, and ends with the marker: what comes next is the key.
(Without the first marker, one layer learned nothing in 1,000 steps, even in rows of 64 tokens.) Rows begin with 64 tokens and
double whenever the last steps were right, so what is to be learned at each length is little. Three ways, on the same rows:
gradients through all chunks; gradients cut off between chunks (what `bptt_truncated_learning` does); chunks that know nothing
of each other: these learn rows of one chunk, and are then given the whole length for as many steps again, at least 50.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np
import torch

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.model import LanguageModel, ModelConfig, build_model, make_spec
from whelp.model.rwkv import kernels as rwkv_kernels
from whelp.train.config import TrainConfig
from whelp.train.optimizer import build_optimizer
from whelp.train.truncated_backpropagation import iter_losses, plan_chunks

NUM_KEYS = NUM_NOISE = 8
GUESS = math.log(NUM_KEYS)
SOLVED = 0.1  # nats: 90 % sure of each answer
LEARNING_RATE = 7e-3
WAYS = {"carried": (True, False), "truncated": (True, True), "alone": (False, True)}  # the state carried; the gradient cut off


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is trained, and how long at most."""

    family: str
    width: int
    rows: int
    first: int
    length: int
    chunk: int
    num_steps: int
    seed: int
    device: torch.device
    precision: torch.dtype
    seconds: float

    def autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == torch.bfloat16)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--family", choices=["rwkv7", "rwkv5"], default="rwkv7")
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--rows", type=int, default=16, help="of a step")
    parser.add_argument("--first", type=int, default=64, help="tokens of the first rows")
    parser.add_argument("--length", type=int, default=4096, help="tokens of the last rows")
    parser.add_argument("--chunk", type=int, default=512)
    parser.add_argument("--steps", type=int, default=1000, help="at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=300, help="of each way at most")
    options = parser.parse_args()
    torch.set_num_threads(1)
    is_gpu = torch.cuda.is_available()
    with_kernels = [torch.bfloat16] if is_gpu and rwkv_kernels.find_kernels() else []
    holds = True
    for precision in [torch.float32, *with_kernels]:  # in float32 it runs in PyTorch
        task = Task(
            family=options.family,
            width=options.width,
            rows=options.rows,
            first=options.first,
            length=options.length,
            chunk=options.chunk,
            num_steps=options.steps,
            seed=options.seed,
            device=torch.device("cuda" if is_gpu else "cpu"),
            precision=precision,
            seconds=options.seconds,
        )
        losses = {way: learn(task, way) for way in WAYS}
        holds = holds and losses["carried"] < SOLVED and losses["alone"] > 0.9 * GUESS
    print(json.dumps({"what": "recall", "holds": holds}), flush=True)
    raise SystemExit(0 if holds else 1)


def make_rows(task: Task, length: int, draw: np.random.Generator) -> RowBatch:
    """The marker and a key, noise, the marker again; the one target is the key."""
    ids = draw.integers(NUM_KEYS + 1, NUM_KEYS + 1 + NUM_NOISE, (task.rows, length))
    ids[:, 0] = ids[:, -1] = NUM_KEYS
    ids[:, 1] = draw.integers(0, NUM_KEYS, task.rows)
    targets = np.full_like(ids, IGNORED)
    targets[:, -1] = ids[:, 1]
    return RowBatch(ids, targets)


def learn(task: Task, way: str) -> float:
    """Train until the longest rows are answered, or time is up; the nats of an answer over rows that were not trained."""
    is_carried, is_truncated = WAYS[way]
    config = TrainConfig(
        bptt_tokens=task.chunk,
        bptt_truncated_learning=is_truncated,
        optimizer="adamw",
        learning_rate=LEARNING_RATE,
        weight_decay=0.0,
    )
    sizes = ModelConfig(family=task.family, n_layer=1, n_head=max(1, task.width // 64), n_embd=task.width)
    model = build_model(make_spec(sizes, num_ids=NUM_KEYS + 1 + NUM_NOISE, context_tokens=task.length), seed=task.seed)
    model = model.to(task.device)
    optimizer, draw = build_optimizer(model, config), np.random.default_rng(task.seed)
    start, length, losses = time.perf_counter(), task.first, list[float]()

    def tell(step: int, event: str, nats: float) -> None:
        seconds, processor = round(time.perf_counter() - start, 1), round(time.process_time() - begun, 1)
        said = {"what": "recall", "way": way, "precision": str(task.precision).removeprefix("torch."), "event": event}
        said |= {"step": step, "length": length, "nats": round(nats, 4), "guess": round(GUESS, 4)}
        print(json.dumps({**said, "seconds": seconds, "cpu_seconds": processor}), flush=True)

    begun, step = time.process_time(), 0
    steps_before = 0  # of the shorter rows
    for step in range(1, task.num_steps + 1):
        batch = make_rows(task, length, draw)
        nats = _compute(task, model, batch, config, is_carried=is_carried, learns=True)
        optimizer.clip(1.0)
        optimizer.step(LEARNING_RATE * min(1.0, step / 10))
        optimizer.zero_grad()
        losses.append(nats)
        is_solved = len(losses) >= 5 and max(losses[-3:]) < SOLVED
        if is_solved:
            tell(step, "solved", float(np.mean(losses[-3:])))
            if length >= task.length:
                break
            # what is alone cannot answer once a row is longer than a chunk: it goes to the whole length at once
            length = 2 * length if is_carried or length < task.chunk else task.length
            losses, steps_before = [], step
        elif len(losses) % 50 == 0:
            tell(step, "training", float(np.mean(losses[-10:])))
        gives_up = not is_carried and length == task.length and len(losses) >= max(50, steps_before)
        if gives_up or time.perf_counter() - start > task.seconds:
            break
    fresh = np.random.default_rng(task.seed + 1000)
    with torch.no_grad():
        batches = (make_rows(task, task.length, fresh) for _ in range(4))
        last = float(np.mean([_compute(task, model, b, config, is_carried=is_carried, learns=False) for b in batches]))
    length = task.length
    tell(step, "tested", last)
    return last


def _compute(
    task: Task, model: LanguageModel, batch: RowBatch, config: TrainConfig, *, is_carried: bool, learns: bool
) -> float:
    """The nats of an answer, and where it learns, the gradients."""
    ids, targets = (torch.from_numpy(part).to(task.device) for part in (batch.ids, batch.targets))
    compute = getattr(model, "loss_and_state") if is_carried else None  # noqa: B009  # only recurrent models have it
    total = 0.0
    with task.autocast():
        for nats in iter_losses(compute, model.loss, ids, targets, None, plan_chunks(batch, config), config):
            total += float(nats.detach()) / task.rows
            if learns:
                (nats / task.rows).backward()
    return total


if __name__ == "__main__":
    main()
