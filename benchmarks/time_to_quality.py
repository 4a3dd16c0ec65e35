"""How good a model is after a minute of training on one GPU: bits per byte on whole held-out files, against seconds.

    python benchmarks/time_to_quality.py
    python benchmarks/time_to_quality.py --seconds 30,60 --only modern,plain --rounds 2 --json out.json

The text: Python source of this machine's own packages and standard library, exact duplicates removed, about 1 % of the files held
out (by their checksum). A vocabulary of 32,768 is learned from the rest. Every contestant trains for the same seconds of steps
(compiling, evaluating and saving are not counted; both are shown), each in a process of its own, and is scored the same
way: every held-out file whole, in chunks of at most 1,024 tokens from its start, every token but a chunk's first counted in full.

``modern``   the recipe `modern` at `--scale gpu-minute`: a stock qwen3, Muon.
``plain``    GPT-2 124M without biases, AdamW 6e-4, cosine, batches of 65,536 tokens: nanoGPT's published settings, on our engine.

More contestants: `--try NAME:section.field=value,...` is `modern` with other options, as often as you like.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
import json
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import Any

STARTED = time.perf_counter()
VOCABULARY, CHUNK_TOKENS, LONGEST_FILE = 32_768, 1024, 1 << 20
LATE_STEPS = 100  # whose mean loss is told
NOTE = "whelp says: "  # before what whelp logs: which faster ways work here, and which do not
PLAIN = [
    "model.family=gpt2",
    "model.bias=false",
    "model.n_layer=12",
    "model.n_head=12",
    "model.n_embd=768",
    "model.tie_embeddings=true",
    "train.optimizer=adamw",
    "train.learning_rate=6e-4",
    "train.schedule=cosine",
    "train.warmup_share=0.05",
    "train.final_learning_rate_share=0.1",
    "train.batch_tokens=65536",
]


def find_texts() -> dict[str, list[dict[str, str]]]:
    """Python files of this machine, each content once, divided by checksum."""
    paths = {Path(sysconfig.get_path(name)) for name in ("stdlib", "purelib", "platlib")}
    texts: dict[str, str] = {}
    for root in sorted(paths):
        for path in sorted(root.rglob("*.py")):
            try:
                content = path.read_bytes()
                text = content.decode("utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            if 0 < len(content) <= LONGEST_FILE:
                texts.setdefault(hashlib.sha256(content).hexdigest(), text)
    divided: dict[str, list[dict[str, str]]] = {"train": [], "test": []}
    for checksum, text in sorted(texts.items()):
        divided["test" if int(checksum[:8], 16) % 100 == 0 else "train"].append({"text": text})
    return divided


def prepare_store(folder: Path, largest_bytes: float = float("inf")) -> None:
    """Learn the vocabulary and prepare the store, once; of no more than so much text to train on."""
    import whelp

    begun = time.perf_counter()
    rows = find_texts()
    ends = itertools.accumulate(len(row["text"].encode()) for row in rows["train"])
    rows["train"] = [row for row, end in zip(rows["train"], ends, strict=True) if end <= largest_bytes]
    recipe = {"data": {"tokenizer": {"learn": "bpe", "vocab_size": VOCABULARY, "pattern": "gpt4"}}}
    whelp.prepare(recipe, out=folder, rows=rows)
    sizes = {name: (len(part), sum(len(row["text"].encode()) for row in part)) for name, part in rows.items()}
    print(f"corpus {sizes}, prepared in {time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)


@dataclasses.dataclass(frozen=True)
class Setting:
    """What a contestant trains on: its recipe, its model's shape, the rows to train on and those to be scored on."""

    recipe: Any
    spec: Any
    vocabulary: Any
    rows: Any
    scored: Any
    num_train_tokens: int
    device: str

    def begin(self, num_steps: int) -> tuple[Any, Any, Any]:
        """A new model, the plan of its training and the configuration."""
        import torch

        from whelp.base.machine import count_cores
        from whelp.model import build_model
        from whelp.model.build import count_parameters
        from whelp.train import make_plan
        from whelp.train.plan import Facts

        config, spec = dataclasses.replace(self.recipe.train, num_steps=num_steps, log_every_steps=1), self.spec
        facts = Facts(
            num_parameters=count_parameters(spec),
            num_layers=spec.n_layer,
            width=spec.n_embd,
            ffn_width=spec.ffn_width,
            vocab_size=spec.vocab_size,
            context_tokens=self.recipe.pack.context_tokens,
            num_rows=len(self.rows),
            num_train_tokens=self.num_train_tokens,
            num_test_rows=0,
            device=self.device,
            precision="bf16" if config.precision == "auto" else config.precision,
            is_gpu=self.device == "cuda",
            slices_logits=True,
            free_bytes=torch.cuda.mem_get_info()[0] if self.device == "cuda" else 8 << 30,
            threads=count_cores(),
        )
        return build_model(spec, config.seed).to(self.device), make_plan(config, facts), config


def open_setting(store_folder: Path, overrides: list[str], device: str = "cuda") -> Setting:
    """`modern` at its minute on a GPU, with other options."""
    import torch

    from whelp.artifacts.token_store import open_store
    from whelp.cli.recipe import load_recipe
    from whelp.model import make_spec
    from whelp.prepare.config import PackConfig
    from whelp.prepare.pack import pack_rows
    from whelp.tokenizer import load_tokenizer

    store = open_store(store_folder)
    vocabulary = load_tokenizer(store.tokenizer_folder)
    options = ["train.minutes=null", "train.num_steps=100000", "train.compile=true", *overrides]
    recipe = load_recipe("modern", options, "gpu-minute")
    length = recipe.pack.context_tokens
    split = store.split_by_source("train")[None]
    torch.set_float32_matmul_precision("high")
    whole = PackConfig(context_tokens=min(CHUNK_TOKENS, length), plan="none", long="split", pad_to="context")
    return Setting(
        recipe=recipe,
        spec=make_spec(recipe.model, num_ids=vocabulary.size, context_tokens=length),
        vocabulary=vocabulary,
        rows=pack_rows(split, recipe.pack, pad_id=0),
        scored=pack_rows(store.split_by_source("test")[None], whole, pad_id=0, must_fill_a_row=False),
        num_train_tokens=split.num_tokens,
        device=device,
    )


def run_one(store_folder: Path, seconds: float, num_steps: int | None, overrides: list[str]) -> dict:
    """Train for so many seconds of steps, or for so many steps, then score."""
    import logging

    import torch

    from whelp.evaluate import evaluate_loss
    from whelp.train import Progress, build_optimizer
    from whelp.train.fit import fit

    logging.basicConfig(format=f"{NOTE}%(message)s", level=logging.WARNING)
    setting = open_setting(store_folder, overrides)

    def train(num_steps: int):
        model, plan, config = setting.begin(num_steps)
        begun, times, losses = time.perf_counter(), [], []
        for report in fit(model, build_optimizer(model, config), setting.rows, plan, config, Progress()):
            torch.cuda.synchronize()
            times.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            losses += [] if report.loss is None else [report.loss]
        return model, plan, times, losses

    if num_steps is None:
        _, _, times, _ = train(40)
        num_steps = max(1, round(seconds / statistics.median(times[10:])))
    first_step = time.perf_counter() - STARTED
    model, plan, times, losses = train(num_steps)
    typical = statistics.median(times)
    result = evaluate_loss(
        model,
        setting.scored,
        token_bytes=setting.vocabulary.token_bytes,
        batch_rows=32,
        device=torch.device(setting.device),
        precision=torch.bfloat16,
    )
    return {
        "bits_per_byte": result.bits_per_byte,
        "nats_per_token": result.nats_per_token,
        "scored_bytes": result.num_bytes,
        "steps": len(times),
        "seconds": sum(min(step, 2 * typical) for step in times),  # without what is compiled or recorded anew
        "wall_seconds": sum(times),
        "tokens": len(times) * plan.batch_tokens,
        "tokens_per_second": plan.batch_tokens / typical,
        "parameters": model.num_parameters(),
        "last_train_loss": losses[-1],
        "late_train_loss": statistics.mean(losses[-LATE_STEPS:]),
        "probe_ended_at": first_step,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }


def main() -> None:
    """Run the rounds, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", default="30,60", help="budgets, by commas")
    parser.add_argument("--steps", type=int, help="the same number of steps for all, whatever time they take")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="modern,plain", help="contestants, by commas")
    parser.add_argument("--try", dest="tries", action="append", default=[], metavar="NAME:OPTION,...", help="modern, otherwise")
    parser.add_argument("--store", type=Path, help="keep the prepared text here, and use it again")
    parser.add_argument("--json", help="write all measurements here")
    parser.add_argument("--contestant", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        seconds, overrides = options.contestant
        print(json.dumps(run_one(options.store, float(seconds), options.steps, json.loads(overrides))))
        return
    contestants = {name: {"modern": [], "plain": PLAIN}[name] for name in options.only.split(",") if name}
    for text in options.tries:
        name, _, changes = text.partition(":")
        contestants[name] = [change for change in changes.split(",") if change]
    budgets = [float(part) for part in options.seconds.split(",")]
    folder = options.store or Path(tempfile.mkdtemp()) / "store"
    if not (folder / "manifest.json").exists():
        prepare_store(folder)
    found: dict[str, list[dict]] = {}
    for index in range(options.rounds):
        for budget in budgets:
            for name, overrides in contestants.items():
                arguments = [
                    "--store",
                    str(folder),
                    "--contestant",
                    str(budget),
                    json.dumps([*overrides, f"train.seed={index}"]),
                    *(["--steps", str(options.steps)] if options.steps else []),
                ]
                done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
                if done.returncode:
                    print(f"{name}: {done.stderr.strip()[-1500:]}", file=sys.stderr, flush=True)
                    continue
                result = json.loads(done.stdout.strip().splitlines()[-1])
                found.setdefault(f"{name}, {budget:g} s", []).append(result)
                print(f"round {index + 1}, {name}, {budget:g} s: {json.dumps(result)}", file=sys.stderr, flush=True)
                if options.json:
                    Path(options.json).write_text(json.dumps(found, indent=1))
    print("| contestant | parameters | steps | tokens/s | seconds of steps | bits/byte |\n|---|---|---|---|---|---|")
    for name, runs in found.items():
        middle = {key: statistics.median(run[key] for run in runs) for key in ("steps", "tokens_per_second", "seconds")}
        bits = [run["bits_per_byte"] for run in runs]
        print(
            f"| {name} | {runs[0]['parameters']:,} | {middle['steps']:.0f} | {middle['tokens_per_second']:,.0f} | "
            f"{middle['seconds']:.1f} | {statistics.median(bits):.3f} ({min(bits):.3f}..{max(bits):.3f}) |"
        )


if __name__ == "__main__":
    main()
