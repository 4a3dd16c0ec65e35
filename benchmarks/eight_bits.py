"""What products of 8 bits do to a model: GPT-2 124M on one GPU with train.precision bf16 and fp8, and the loss after equal tokens.

    python benchmarks/eight_bits.py
    python benchmarks/eight_bits.py --seeds 0,1,2 --gpus 2 --json out.json      # ten and more seeds tell 0.2 %

First weights and batches of a seed are the same in all its runs: 64 rows of 1,024 tokens a step, GPT-2 without biases, Muon, a rate that
falls to zero at the end. Text and score are those of `time_to_quality.py`: Python source of this machine's packages, a vocabulary of
32,768 in an embedding of GPT-2's 50,304, about 1 % of the files held out. Each run is a process of its own, and is scored in bf16. The runs:

``bf16``    as `train.precision: auto` has it.
``fp8``     the same with products of 8 bits.
``again``   bf16 once more: how far sums in another order take two runs apart, below which no difference means anything.

With AdamW at 6e-4 such runs cannot tell 0.2 %: after 1,000 steps two of bf16, of one seed, were 1.7 % apart.

For each the mean loss of the last 100 steps, the loss of the held-out files, and tokens/s; then how they differ from the first one's of their
seed, and for each kind of run the mean and the range of those differences over all seeds.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import queue
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import time_to_quality

COMMON = [
    *(option for option in time_to_quality.PLAIN if option.startswith("model.")),
    "model.vocab_size=50304",
    "train.optimizer=muon",
    "train.batch_tokens=65536",
]
RUNS = {"bf16": "bf16", "fp8": "fp8", "again": "bf16"}  # name -> train.precision
TOLD = ("late_train_loss", "nats_per_token")


def run_one(store: Path, name: str, steps: int, rate: str, seed: int, gpu: int | None) -> dict | None:
    """One run in a process of its own; None when it failed, which is said."""
    environment = os.environ if gpu is None else {**os.environ, "CUDA_VISIBLE_DEVICES": str(gpu)}
    overrides = [*COMMON, f"train.learning_rate={rate}", f"train.precision={RUNS[name]}", f"train.seed={seed}"]
    program = Path(time_to_quality.__file__)
    options = ["--store", str(store), "--steps", str(steps), "--contestant", "0", json.dumps(overrides)]
    done = subprocess.run([sys.executable, str(program), *options], capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"{name}: {done.stderr.strip()[-1500:]}", file=sys.stderr, flush=True)
        return None
    for line in done.stderr.splitlines():
        if time_to_quality.NOTE in line:
            print(f"{name}: {line}", file=sys.stderr, flush=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    """Run them in turn, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--rate", default="4e-3", help="Muon's learning rate at its peak")
    parser.add_argument("--only", default="bf16,fp8,again", help="runs, by commas; the others are compared with the first")
    parser.add_argument("--seeds", default="0,1", help="of first weights and batches, by commas")
    parser.add_argument("--gpus", type=int, default=1, help="runs at the same time, a GPU each")
    parser.add_argument("--megabytes", type=float, default=130.0, help="of text to train on, about 35 million tokens")
    parser.add_argument("--store", type=Path, help="keep the prepared text here, and use it again")
    parser.add_argument("--json", help="write all measurements here, after each run")
    options = parser.parse_args()
    store = options.store or Path(tempfile.mkdtemp()) / "store"
    if not (store / "manifest.json").exists():
        time_to_quality.prepare_store(store, 1e6 * options.megabytes)
    found: dict[str, dict[str, dict]] = {}
    names = options.only.split(",")
    free: queue.SimpleQueue[int | None] = queue.SimpleQueue()
    for gpu in range(options.gpus):
        free.put(gpu if options.gpus > 1 else None)

    def take_turn(seed: str, name: str) -> tuple[str, str, dict | None]:
        gpu = free.get()
        try:
            return seed, name, run_one(store, name, options.steps, options.rate, int(seed), gpu)
        finally:
            free.put(gpu)

    with concurrent.futures.ThreadPoolExecutor(options.gpus) as pool:
        turns = [pool.submit(take_turn, seed, name) for seed in options.seeds.split(",") for name in names]
        for turn in concurrent.futures.as_completed(turns):
            seed, name, result = turn.result()
            if result is not None:
                found.setdefault(seed, {})[name] = result
                print(f"seed {seed}, {name}: {json.dumps(result)}", file=sys.stderr, flush=True)
            if options.json:
                Path(options.json).write_text(json.dumps(found, indent=1))
    print(
        "| seed | run | tokens | tokens/s | peak GiB | loss, last 100 steps | loss, held-out files |\n|---|---|---|---|---|---|---|"
    )
    for seed, runs in sorted(found.items()):
        first = runs.get(names[0])
        for name, run in sorted(runs.items(), key=lambda item: names.index(item[0])):
            cells = [
                f"{run[key]:.4f}" + ("" if run is first or first is None else _compare(run[key], first[key])) for key in TOLD
            ]
            speed = f"{run['tokens']:,} | {run['tokens_per_second']:,.0f} | {run['peak_gib']:.1f}"
            print(f"| {seed} | {name} | {speed} | {cells[0]} | {cells[1]} |")
    sum_up(found, names)


def _compare(value: float, other: float) -> str:
    return f" ({_difference(value, other):+.2f} %)"


def _difference(value: float, other: float) -> float:
    return 100 * (value / other - 1)


def sum_up(found: dict[str, dict[str, dict]], names: list[str]) -> None:
    """Say for each kind of run how it differs from the first one of the same seed, over all seeds."""
    first, *others = names
    for name in others:
        pairs = [(runs[name], runs[first]) for runs in found.values() if name in runs and first in runs]
        for key in TOLD if pairs else ():
            each = [_difference(run[key], beside[key]) for run, beside in pairs]
            spread = f" (standard error {statistics.stdev(each) / len(each) ** 0.5:.2f})" if len(each) > 1 else ""
            print(
                f"{name} beside {first}, {key}: {statistics.mean(each):+.2f} % on average{spread}, "
                f"{min(each):+.2f} to {max(each):+.2f}, seeds: {len(each)}"
            )


if __name__ == "__main__":
    main()
