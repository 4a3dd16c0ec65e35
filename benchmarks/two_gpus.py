"""What a second GPU brings: `whelp train` in one process and in two, GPT-2 124M of 1,024 tokens in bf16, compiled.

    python benchmarks/two_gpus.py
    python benchmarks/two_gpus.py --warm --rounds 3 --only apart,two,apart-512,two-512     # medians of rounds in turn
    python benchmarks/two_gpus.py --scale tiny          # the same program on a CPU in a minute: two processes, gloo

The text: Python source of this machine's own packages; a vocabulary of 32,768 is learned from it, and the embedding padded to
50,304, GPT-2's. Every part is a command as a user gives it, in a process group of its own, with a time limit of its own; a part that
fails says so and the next one begins. One JSON line each on standard output:

``one``           1 process, 64 rows a step
``two``           2 processes, 64 rows each: 128 rows a step
``two-sharded``   the same with train.shard=true (FSDP2)
``two-same``      2 processes, 32 rows each: the same batches as ``one``, whose losses must be the same but for rounding
``one-halves``    1 process, 64 rows a step in two micro-batches of 32: how far rounding alone takes the losses apart

Only where `--only` names them:

``one-saves``, ``one-saves-meanwhile``   a checkpoint every 20 steps, at once or while training goes on; the slowest step has the pause in it
``two-bf16``      as ``two``, with gradients that are added up in bf16
``one-fp8``, ``two-fp8``   with products of 8 bits
``apart``         two runs as ``one`` at the same time, a GPU each, that know nothing of each other: what two processes could reach if
                  talking cost nothing (the slower GPU decides); its tokens/s is the mean of both GPUs
``apart-512``, ``two-512``   512 rows a step, GPT-2's batch, in micro-batches of 64: gradients travel once in four

Then ``scaling``: tokens/s of each part (medians of all rounds) as a multiple of one GPU's, alone, at the same settings, and
``losses``: the largest difference of the loss curves.

tokens/s: tokens of a step by the median time from one step's record to the next, after a third of the steps. First step: from the
command's start to its first record, with imports, plan, compiling (each part from an empty cache), and a first evaluation.
Memory: the most that the first process has reserved. Notes: what a run says about ways it tried and which it kept. `--warm`: one cache of
compiled parts for all, so that more runs fit the time; their first steps then mean nothing.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import itertools
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROGRAM = [sys.executable, "-c", "from whelp.cli.main import main; main()"]
TOLERANCE = 0.05  # nats per token, of bf16 products that are added up in another order
NOTES = ("a step takes", "recorded", "slower", "fails", "Warning")  # lines of a run's log that are kept
SOURCES = str(Path(__file__).resolve().parents[1] / "src")


@dataclass(frozen=True)
class Scale:
    """How large everything is."""

    rows: int
    tokens: int
    steps: int
    prepare: list[str]
    train: list[str]


SCALES = {
    "full": Scale(
        rows=64,
        tokens=1024,
        steps=60,
        prepare=[
            f"data.source={sysconfig.get_path('purelib')}",
            "data.include_suffixes=[.py]",
            "data.dataset_length=8000",
            "data.tokenizer={learn: bpe, vocab_size: 32768, max_bytes: 30000000}",
        ],
        train=[
            *("model.n_layer=12", "model.n_head=12", "model.n_embd=768", "model.vocab_size=50304"),
            *("train.device=cuda", "train.precision=bf16", "train.compile=true"),
        ],
    ),
    "tiny": Scale(
        rows=8,
        tokens=64,
        steps=12,
        prepare=["data.source=stdlib", "data.dataset_length=60", "data.tokenizer={learn: bpe, vocab_size: 512}"],
        train=[
            *("model.n_layer=2", "model.n_head=2", "model.n_embd=64"),
            *("train.device=cpu", "train.threads=1", "train.compile=false"),
        ],
    ),
}


@dataclass(frozen=True)
class Part:
    """One run: processes, rows of a step as a multiple of the scale's, more options."""

    processes: int
    batches: int
    options: list[str] = field(default_factory=list)
    copies: int = 1  # such runs at the same time, a GPU each


def list_parts(rows: int) -> dict[str, Part]:
    """The runs, in order."""
    return {
        "one": Part(1, 1),
        "two": Part(2, 2),
        "two-sharded": Part(2, 2, ["train.shard=true"]),
        "two-same": Part(2, 1),
        "one-halves": Part(1, 1, [f"train.micro_batch_rows={rows // 2}"]),
        "one-saves": Part(1, 1, ["train.save_every_steps=20", "train.save_in_background=false"]),
        "one-saves-meanwhile": Part(1, 1, ["train.save_every_steps=20", "train.save_in_background=true"]),
        "two-bf16": Part(2, 2, ["train.add_gradients_in=bf16"]),
        "apart": Part(1, 1, copies=2),
        "one-fp8": Part(1, 1, ["train.precision=fp8"]),
        "two-fp8": Part(2, 2, ["train.precision=fp8"]),
        "apart-512": Part(1, 8, [f"train.micro_batch_rows={rows}"], copies=2),
        "two-512": Part(2, 8, [f"train.micro_batch_rows={rows}"]),
    }


ALONE = {
    "two-fp8": ("one-fp8",),
    "two-512": ("apart-512",),
}  # what a part is a multiple of; others: of one GPU with 64 rows a step


def say(name: str, **values: Any) -> None:
    """One JSON line."""
    print(json.dumps({"part": name, **values}), flush=True)


def run(
    arguments: list[str], limit: float, log: Path, cache: Path, first_record: Path | None = None, gpu: int | None = None
) -> dict[str, Any]:
    """Run a whelp command; what became of it, how long it took, and when the first record was there."""
    paths = os.pathsep.join(filter(None, [SOURCES, os.environ.get("PYTHONPATH")]))
    environment = {
        **os.environ,
        "PYTHONPATH": paths,
        "TORCHINDUCTOR_CACHE_DIR": str(cache),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        **({} if gpu is None else {"CUDA_VISIBLE_DEVICES": str(gpu)}),
    }
    begun, first = time.monotonic(), None
    with open(log, "wb") as file:
        process = subprocess.Popen(
            [*PROGRAM, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True
        )
        try:
            while process.poll() is None and time.monotonic() - begun < limit:
                if (
                    first is None
                    and first_record is not None
                    and first_record.exists()
                    and b'"loss"' in first_record.read_bytes()
                ):
                    first = time.monotonic() - begun
                time.sleep(0.02)
        finally:
            is_late = process.poll() is None
            if is_late:
                os.killpg(process.pid, signal.SIGKILL)  # its processes end by themselves when it is gone
            process.wait()
    outcome = "too late" if is_late else process.returncode
    return {"outcome": outcome, "seconds": time.monotonic() - begun, "first_step_seconds": first}


def measure(metrics: Path) -> dict[str, Any]:
    """Speed, memory and losses from the records of a run, finished or not."""
    records = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    steps = [record for record in records if "loss" in record]
    found: dict[str, Any] = {"steps": len(steps), "losses": [round(record["loss"], 5) for record in steps]}
    pairs = list(itertools.pairwise(steps))[len(steps) // 3 :]
    if pairs:
        seconds = [later["elapsed_seconds"] - earlier["elapsed_seconds"] for earlier, later in pairs]
        tokens = statistics.median(later["tokens"] - earlier["tokens"] for earlier, later in pairs)
        found |= {
            "tokens_per_second": round(tokens / statistics.median(seconds)),
            "step_milliseconds": round(1000 * statistics.median(seconds), 2),
            "slowest_step_milliseconds": round(1000 * max(seconds), 2),
            "peak_gib": round(steps[-1]["peak_memory_bytes"] / 2**30, 2),
        }
    return found


def read_notes(log: Path) -> list[str]:
    """What a run said about ways it tried."""
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return [line.strip() for line in lines if any(word in line for word in NOTES)][:8]


def compare(rounds: dict[str, list[dict[str, Any]]]) -> None:
    """Say how the parts stand to each other."""
    found = {name: results[0] for name, results in rounds.items()}
    measured = {name: [run["tokens_per_second"] for run in runs if "tokens_per_second" in run] for name, runs in rounds.items()}
    speeds = {name: statistics.median(all_runs) for name, all_runs in measured.items() if all_runs}
    say("speeds", **{name: {"median": round(speed), "all": measured[name]} for name, speed in speeds.items()})
    multiples = {}
    for name, speed in speeds.items():
        alone = next((other for other in ALONE.get(name, ("one", "apart")) if other in speeds), None)
        if alone not in (None, name):
            multiples[name] = {"of": alone, "times": round(speed / speeds[alone], 3)}
    say("scaling", **multiples)
    if "two" in speeds and "two-sharded" in speeds:
        say("sharded", share_of_two=round(speeds["two-sharded"] / speeds["two"], 3))
    for name, other in (("two-same", "one"), ("one-halves", "one"), ("two-sharded", "two"), ("two-bf16", "two")):
        expected, losses = found.get(other, {}).get("losses", []), found.get(name, {}).get("losses", [])
        differences = [abs(a - b) for a, b in zip(expected, losses, strict=False)]
        if differences:
            say(
                "losses",
                of=name,
                beside=other,
                steps=len(differences),
                largest_difference=round(max(differences), 5),
                mean_difference=round(statistics.mean(differences), 5),
                tolerance=TOLERANCE,
                holds=max(differences) <= TOLERANCE,
            )


def run_at_once(arguments: list[str], out: Path, copies: int, limit: float, log: Path, cache: Path) -> dict[str, Any]:
    """Several runs at the same time, a GPU each: the first, as `run` and `measure` have it, with the mean speed of all."""

    def run_copy(number: int) -> dict[str, Any]:
        folder = out if number == 0 else out.with_name(f"{out.name}-{number}")
        own_log = log if number == 0 else log.with_suffix(f".{number}.log")
        return run(
            [*arguments, str(folder)],
            limit,
            own_log,
            cache.with_name(f"{cache.name}-{number}"),
            folder / "metrics.jsonl",
            number,
        )

    with concurrent.futures.ThreadPoolExecutor(copies) as pool:
        done = list(pool.map(run_copy, range(copies)))
    each = [
        measure(out.with_name(f"{out.name}-{number}" if number else out.name) / "metrics.jsonl") for number in range(copies)
    ]
    speeds = [found["tokens_per_second"] for found in each if "tokens_per_second" in found]
    mean = {"tokens_per_second": round(statistics.mean(speeds)), "each_tokens_per_second": speeds} if speeds else {}
    return {**done[0], **each[0], **mean}


def main() -> None:
    """Prepare the text, run the parts, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", choices=list(SCALES), default="full")
    parser.add_argument("--steps", type=int, help="steps of each run")
    parser.add_argument("--rounds", type=int, default=1, help="of all parts, in turn")
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="adamw")
    parser.add_argument("--only", help="parts, by commas (a comma alone: prepare the text, no more)")
    parser.add_argument("--limit", type=float, default=340.0, help="seconds that all may take")
    parser.add_argument("--part-limit", type=float, default=75.0, help="seconds that a run may take")
    parser.add_argument("--warm", action="store_true", help="one cache of compiled parts for all runs")
    parser.add_argument("--keep", type=Path, help="keep the store, the runs and what they said here")
    options = parser.parse_args()
    scale, begun = SCALES[options.scale], time.monotonic()
    folder = options.keep or Path(tempfile.mkdtemp(prefix="two-gpus-"))
    folder.mkdir(parents=True, exist_ok=True)
    steps = options.steps or scale.steps
    recipe, store = folder / "recipe.yaml", folder / "store"
    recipe.write_text("data: {test_split: 0.01}\nmodel: {family: gpt2}\ntrain: {num_steps: 1}\n")
    overrides = [*scale.prepare, f"pack.context_tokens={scale.tokens}", "pack.plan=concat"]
    if not (store / "manifest.json").exists():
        small = [
            "data.source=stdlib",
            "data.tokenizer={learn: bpe, vocab_size: 4096, max_bytes: 5000000}",
            "data.dataset_length=300",
        ]
        for attempt in (overrides, [*overrides, *small]):
            arguments = ["prepare", str(recipe), *attempt, "--out", str(store)]
            done = run(arguments, 110, folder / "prepare.log", folder / "cache")
            overrides = attempt
            if done["outcome"] == 0:
                counts = json.loads((store / "manifest.json").read_text())["counts"]
                say("prepare", **done, splits=counts["splits"])
                break
            say("prepare", **done, said=(folder / "prepare.log").read_text(errors="replace")[-1500:])
            shutil.rmtree(store, ignore_errors=True)
    found: dict[str, list[dict[str, Any]]] = {}
    parts = list_parts(scale.rows)
    names = [name for name in options.only.split(",") if name] if options.only else list(parts)[:5]
    for number, name in itertools.product(range(options.rounds), names):
        part = parts[name]
        place = folder / (f"{name}-round-{number + 1}" if options.rounds > 1 else name)
        log = place.with_suffix(".log")
        left = options.limit - (time.monotonic() - begun)
        if left < 15:
            say(name, outcome="no time left")
            continue
        arguments = [
            *("train", str(recipe), *overrides, *scale.train, f"train.optimizer={options.optimizer}"),
            *(f"train.num_steps={steps}", f"train.batch_tokens={scale.rows * scale.tokens * part.batches}"),
            *(f"train.learning_rate={3e-4 if options.optimizer == 'adamw' else 3e-3}", "train.warmup_share=0.1"),
            *("train.evaluate_every_steps=100000", "train.evaluate_rows=8", "train.save_every_steps=100000", *part.options),
            *("--nproc", str(part.processes), "--store", str(store), "--json", "--out"),
        ]
        cache, limit = folder / ("cache" if options.warm else f"cache-{name}"), min(options.part_limit, left)
        if part.copies == 1:
            result = {
                **run([*arguments, str(place)], limit, log, cache, place / "metrics.jsonl"),
                **measure(place / "metrics.jsonl"),
            }
        else:
            result = run_at_once(arguments, place, part.copies, limit, log, cache)
        if result["outcome"] != 0:
            result["said"] = log.read_text(errors="replace")[-2000:]
        found.setdefault(name, []).append(result)
        say(name, processes=part.processes, rows_a_step=scale.rows * part.batches, notes=read_notes(log), **result)
        if options.keep is None:
            shutil.rmtree(place, ignore_errors=True)
    compare(found)
    if options.keep is None:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
