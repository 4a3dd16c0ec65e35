"""Time small-model training on a CPU: whelp beside three ways people train such a model today.

    python benchmarks/cpu_train.py --text input.txt
    python benchmarks/cpu_train.py --text input.txt --steps 500 --rounds 1 --only nanogpt,whelp --json out.json
    python benchmarks/cpu_train.py --text input.txt --recipe

The task is the same for everybody: character-level text (tiny Shakespeare is the usual file), the first 90 % of the characters
to train on, the last 10 % to score; 4 layers, 4 heads, width 128, context 64, batch 12, 2,000 steps.
The contestants, in float32:

``nanogpt``       nanoGPT's CPU recipe, written anew from its published settings: random windows cut from a memory map,
                  AdamW as PyTorch configures it by default, cosine schedule with warm-up, gradient clipping.
``hf``            the ``Trainer`` of transformers on a ``GPT2Config`` of the same size, with the same schedule.
``plain``         the training loop of many tutorials: rows as Python lists, AdamW at 3e-4, no schedule, no clipping.
``whelp``         this package on the same model, batch, schedule and number of steps.
``whelp-auto``    the same, with the precision that the package chooses for this processor (bf16 where it has AMX).
``nanogpt-bf16``, ``hf-bf16``, ``plain-bf16``  the peers with bf16 autocast, as each has it.
``whelp-recipe``  this package's own default recipe, free to choose model, batch and optimizer (``--recipe`` adds it).

Each contestant runs in a process of its own, one at a time. They alternate within a round and the order rotates between rounds,
so that a machine which grows slower or faster does so for everybody. Cutting the text and writing it as numbers is done once,
beforehand, and counted for nobody. Start-up is the wall time from starting the process to the start of the first step; training
time is the sum of the steps. Scoring is kept out of both. The score is one function for all: mean nats per character over the
whole of the held-out text, in consecutive windows.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from cpu_contestants import PEERS, WORKERS
from cpu_contestants.task import Corpus, Result, Settings

DEFAULT = (*PEERS, "whelp", "whelp-auto")
SKIPPED_STEPS = 20
"""Steps at the start left out of the median, while caches and allocators settle."""


# ----------------------------------------------------------------------------------------------------
# Running them
# ----------------------------------------------------------------------------------------------------


def prepare(text: Path, folder: Path) -> Corpus:
    """Cut the text and write both parts, as text and as numbers, under ``folder``."""
    content = text.read_bytes().decode("utf-8")
    alphabet = "".join(sorted(set(content)))
    if len(alphabet) > 2**16:
        raise SystemExit(f"{text} has {len(alphabet)} different characters; at most {2**16} fit")
    number = {character: i for i, character in enumerate(alphabet)}
    cut = int(len(content) * 0.9)
    corpus = Corpus(folder / "train.txt", folder / "validation.txt", folder / "train.bin", folder / "validation.bin", alphabet)
    for part, as_text, as_numbers in (
        (content[:cut], corpus.train_text, corpus.train_numbers),
        (content[cut:], corpus.validation_text, corpus.validation_numbers),
    ):
        as_text.write_bytes(part.encode("utf-8"))
        np.array([number[c] for c in part], dtype=np.uint16).tofile(as_numbers)
    return corpus


def run_worker(name: str, job: Path) -> None:
    """In the contestant's own process: read the job, do it, leave the result beside it."""
    order = json.loads(job.read_text("utf-8"))
    paths = {key: Path(value) for key, value in order["corpus"].items() if key != "alphabet"}
    corpus = Corpus(**paths, alphabet=order["corpus"]["alphabet"])
    result = WORKERS[name](corpus, Settings(**order["settings"]), order["started"])
    job.with_suffix(".result").write_text(json.dumps(result), "utf-8")


def run_contestant(name: str, corpus: Corpus, settings: Settings, folder: Path) -> Result | str:
    """Run one contestant in a fresh process. A string is the reason why there is no result."""
    job = folder / "job.json"
    outcome = job.with_suffix(".result")
    outcome.unlink(missing_ok=True)
    env = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    if name in PEERS:  # whelp is given the number in its settings and may choose up to it
        env |= {"OMP_NUM_THREADS": str(settings.threads), "MKL_NUM_THREADS": str(settings.threads)}
    where = {key: str(value) for key, value in asdict(corpus).items()}
    order = {"corpus": where, "settings": asdict(settings), "started": time.time()}
    job.write_text(json.dumps(order), "utf-8")
    command = [sys.executable, str(Path(__file__).resolve()), "--worker", name, "--job", str(job)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, errors="replace")
    if done.returncode != 0 or not outcome.exists():
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        return lines[-1].strip() if lines else f"ended with status {done.returncode}"
    result = cast(Result, json.loads(outcome.read_text("utf-8")))
    used = result.get("threads", settings.threads)
    if used > settings.threads:
        return f"used {used} threads where {settings.threads} were allowed"
    return result


def run_rounds(
    names: Sequence[str], corpus: Corpus, settings: Settings, rounds: int, folder: Path
) -> tuple[dict[str, dict[int, Result]], list[dict[str, Any]]]:
    """All rounds, the order rotated from one to the next. Who fails is left out from there on.

    Returns the results by contestant and round, and a log of every run.
    """
    results: dict[str, dict[int, Result]] = {name: {} for name in names}
    log: list[dict[str, Any]] = []
    failed: set[str] = set()
    for number in range(rounds):
        turn = number % len(names)
        for name in [*names[turn:], *names[:turn]]:
            if name in failed:
                continue
            load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
            say(f"round {number + 1} of {rounds}: {name} ...")
            outcome = run_contestant(name, corpus, Settings(**asdict(settings) | {"seed": settings.seed + number}), folder)
            entry: dict[str, Any] = {"round": number + 1, "contestant": name, "load_before": load}
            if isinstance(outcome, str):
                failed.add(name)
                say(f"  {name} is skipped: {outcome}")
                log.append(entry | {"skipped": outcome})
                continue
            results[name][number] = outcome
            log.append(entry | {"result": outcome})
            say(f"  {step_seconds(outcome) * 1e3:.1f} ms a step, validation loss {outcome['curve'][-1][2]:.4f}")
    return {name: runs for name, runs in results.items() if runs}, log


def say(line: str) -> None:
    """Progress, kept apart from the table."""
    print(line, file=sys.stderr, flush=True)


# ----------------------------------------------------------------------------------------------------
# Reporting
# ----------------------------------------------------------------------------------------------------


def step_seconds(result: Result) -> float:
    """Median step, the first ones left out."""
    seconds = result["seconds_per_step"]
    return statistics.median(seconds[SKIPPED_STEPS:] or seconds)


def seconds_to(curve: Sequence[tuple[int, float, float]], target: float) -> float | None:
    """Training seconds until the loss reached ``target``, by a straight line between scored steps; None if it never did."""
    before: tuple[float, float] | None = None
    for _, seconds, loss in curve:
        if loss <= target:
            if before is None:
                return seconds
            return before[0] + (seconds - before[0]) * (before[1] - target) / (before[1] - loss)
        before = seconds, loss
    return None


@dataclass(frozen=True)
class Spread:
    """A median over rounds, with the least and the greatest."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(statistics.median(values), min(values), max(values))

    def show(self, digits: int) -> str:
        """``median (least..most)``, or the median alone when there is nothing between them."""
        text = f"{self.median:,.{digits}f}"
        return text if self.least == self.most else f"{text} ({self.least:,.{digits}f}..{self.most:,.{digits}f})"


@dataclass(frozen=True)
class Row:
    """One contestant's line in the table."""

    name: str
    params: int
    rounds: int
    milliseconds: Spread
    cpu_milliseconds: Spread | None
    tokens_per_second: Spread
    ratio: Spread | None
    loss: Spread
    to_target: Spread | None
    reached: int
    startup: Spread

    def cells(self) -> list[str]:
        """The line's text."""
        target = self.to_target.show(1) if self.to_target else "not reached"
        if self.to_target and self.reached < self.rounds:
            target += f", {self.reached} of {self.rounds} rounds"
        return [
            self.name,
            f"{self.params:,}",
            self.milliseconds.show(1),
            self.cpu_milliseconds.show(1) if self.cpu_milliseconds else "-",
            self.tokens_per_second.show(0),
            self.ratio.show(2) if self.ratio else "-",
            self.loss.show(4),
            target,
            self.startup.show(1),
        ]


def summarise(results: dict[str, dict[int, Result]], settings: Settings, target: float) -> list[Row]:
    """Medians over rounds. The ratio compares runs of the same round."""

    def speed(result: Result) -> float:
        return result.get("characters_per_step", settings.batch * settings.block) / step_seconds(result)

    speeds = {name: {number: speed(run) for number, run in runs.items()} for name, runs in results.items()}
    best = max((n for n in speeds if n in PEERS), key=lambda n: statistics.median(speeds[n].values()), default=None)
    rows = []
    for name, by_round in results.items():
        runs = list(by_round.values())
        ratios = [speeds[name][n] / speeds[best][n] for n in by_round if n in speeds[best]] if best else []
        cpu = [run["cpu_seconds"] * 1e3 / len(run["seconds_per_step"]) for run in runs if "cpu_seconds" in run]
        times = [t for run in runs if (t := seconds_to(run["curve"], target)) is not None]
        rows.append(
            Row(
                name=name,
                params=runs[0]["params"],
                rounds=len(runs),
                milliseconds=Spread.of([step_seconds(run) * 1e3 for run in runs]),
                cpu_milliseconds=Spread.of(cpu) if cpu else None,
                tokens_per_second=Spread.of(list(speeds[name].values())),
                ratio=Spread.of(ratios) if ratios else None,
                loss=Spread.of([run["curve"][-1][2] for run in runs]),
                to_target=Spread.of(times) if times else None,
                reached=len(times),
                startup=Spread.of([run["startup_seconds"] for run in runs]),
            )
        )
    return rows


def table(rows: Sequence[Row], target: float) -> str:
    """A Markdown table, its columns aligned."""
    head = ["contestant", "params", "ms a step", "CPU ms a step", "tokens/s", "x best peer", "val loss", f"s to {target:.2f}"]
    lines = [[*head, "start-up s"], *(row.cells() for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    shown = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines]
    return "\n".join([shown[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *shown[1:]])


def machine(threads: int) -> dict[str, Any]:
    """What it ran on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text("utf-8").splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": threads,
    }


def positive(text: str) -> int:
    """A whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is less than 1")
    return value


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Time small-model training on a CPU: whelp beside three peers.")
    parser.add_argument("--text", type=Path, help="the text to train on, UTF-8; tiny Shakespeare is the usual one")
    parser.add_argument("--steps", type=positive, default=2000)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--target", type=float, default=1.90, help="validation loss to report the time to (default 1.90)")
    parser.add_argument("--only", metavar="NAMES", help=f"contestants, with commas between: {','.join(WORKERS)}")
    parser.add_argument("--recipe", action="store_true", help="add whelp's own default recipe (whelp-recipe)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every number here")
    parser.add_argument("--worker", choices=WORKERS, help=argparse.SUPPRESS)
    parser.add_argument("--job", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        return args
    if args.text is None or not args.text.is_file():
        parser.error("--text needs a file")
    args.names = list(dict.fromkeys(args.only.split(","))) if args.only else list(DEFAULT)
    if unknown := [name for name in args.names if name not in WORKERS]:
        parser.error(f"no such contestant: {', '.join(unknown)} (there are {', '.join(WORKERS)})")
    if args.recipe and "whelp-recipe" not in args.names:
        args.names.append("whelp-recipe")
    return args


def main() -> None:
    """Run the comparison, or one contestant of it."""
    args = parse()
    if args.worker:
        run_worker(args.worker, args.job)
        return
    settings = Settings(steps=args.steps, threads=args.threads)
    with tempfile.TemporaryDirectory() as temporary:
        corpus = prepare(args.text, Path(temporary))
        shortest = min(len(corpus.validation()), len(corpus.training()))
        if shortest < (settings.block + 1) * settings.batch:
            raise SystemExit(f"{args.text} is too short: a part of it has only {shortest} characters")
        results, log = run_rounds(args.names, corpus, settings, args.rounds, Path(temporary))
    if not results:
        raise SystemExit("no contestant finished")
    rows = summarise(results, settings, args.target)
    where = machine(args.threads)
    print(table(rows, args.target))
    print(f"\n{args.steps:,} steps, {args.rounds} round(s), median (least..most); a token is a character.")
    print(
        f"{where['cpu']}, {where['cores']} cores, {where['system']}, Python {where['python']},"
        f" torch {where['torch']}, {where['threads']} thread(s)."
    )
    if args.json:
        everything = {
            "machine": where,
            "settings": asdict(settings),
            "target": args.target,
            "summary": [asdict(row) for row in rows],
            "runs": log,
        }
        args.json.write_text(json.dumps(everything, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
