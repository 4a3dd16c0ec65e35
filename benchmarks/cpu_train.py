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
import functools
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

PEERS = ("nanogpt", "hf", "plain", "nanogpt-bf16", "hf-bf16", "plain-bf16")
"""The contestants which are not whelp: the ratio column is against the fastest of these, in whichever precision."""

DEFAULT = (*PEERS, "whelp", "whelp-auto")
SKIPPED_STEPS = 20
"""Steps at the start left out of the median, while caches and allocators settle."""


# ----------------------------------------------------------------------------------------------------
# The contract between the program and a contestant
# ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Settings:
    """The task, as every contestant is given it."""

    steps: int = 2000
    threads: int = 2
    seed: int = 1337
    batch: int = 12
    block: int = 64
    layers: int = 4
    heads: int = 4
    width: int = 128
    peak_lr: float = 1e-3
    final_lr: float = 1e-4
    warmup: int = 100
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.1
    clip: float = 1.0
    log_every: int = 10

    def scored_steps(self) -> frozenset[int]:
        """Every 50 steps until 500, then every 250, and the last step."""
        return frozenset({*range(50, min(self.steps, 500) + 1, 50), *range(750, self.steps + 1, 250), self.steps})


@dataclass(frozen=True)
class Corpus:
    """Where the text lies: as UTF-8 and as unsigned 16-bit character numbers, both parts of each."""

    train_text: Path
    validation_text: Path
    train_numbers: Path
    validation_numbers: Path
    alphabet: str
    """The characters in order: character ``alphabet[i]`` has number ``i``."""

    def validation(self) -> np.ndarray:
        """The held-out characters as numbers."""
        return np.fromfile(self.validation_numbers, dtype=np.uint16).astype(np.int64)

    def training(self) -> np.ndarray:
        """The training characters as numbers."""
        return np.fromfile(self.train_numbers, dtype=np.uint16).astype(np.int64)


class Result(TypedDict):
    """What a worker returns."""

    seconds_per_step: list[float]
    """Wall seconds of each step, batch making included, scoring excluded."""
    curve: list[tuple[int, float, float]]
    """(step, training seconds so far, validation nats per character)."""
    params: int
    startup_seconds: float
    """From the start of the process to the start of the first step."""
    cpu_seconds: NotRequired[float]
    """CPU seconds of the steps, over all threads of the process."""
    threads: NotRequired[int]
    characters_per_step: NotRequired[float]
    """Where it is not ``batch * block``: a recipe with a batch of its own."""


Worker = Callable[[Corpus, Settings, float], Result]
"""A contestant: called in a fresh process with the text, the task and the time (``time.time()``) at which that was started."""


class Recorder:
    """Keeps the clock for a worker: ``begin()`` before the first step, ``step()`` after each, ``result()`` at the end.

    ``score`` is called after the steps that ask for it, while the clock stands still.
    """

    def __init__(self, settings: Settings, started: float, score: Callable[[], float]) -> None:
        self._score = score
        self._started = started
        self._scored_steps = settings.scored_steps()
        self._seconds: list[float] = []
        self._curve: list[tuple[int, float, float]] = []
        self._startup = math.nan
        self._cpu = 0.0
        self._mark = self._cpu_mark = math.nan

    def begin(self) -> None:
        """Start-up is over: the first step starts now."""
        self._startup = time.time() - self._started
        self._resume()

    def step(self) -> None:
        """A step is over, and unless it was the last one the next starts when this returns."""
        now, cpu = time.perf_counter(), time.process_time()
        self._seconds.append(now - self._mark)
        self._cpu += cpu - self._cpu_mark
        done = len(self._seconds)
        if done in self._scored_steps:
            self._curve.append((done, sum(self._seconds), self._score()))
        self._resume()

    def result(self, params: int, characters_per_step: float | None = None) -> Result:
        """The record of the run."""
        result = Result(
            seconds_per_step=self._seconds,
            curve=self._curve,
            params=params,
            startup_seconds=self._startup,
            cpu_seconds=self._cpu,
            threads=torch.get_num_threads(),
        )
        if characters_per_step is not None:
            result["characters_per_step"] = characters_per_step
        return result

    def _resume(self) -> None:
        self._mark, self._cpu_mark = time.perf_counter(), time.process_time()


@torch.inference_mode()
def nats_per_character(
    predict: Callable[[Tensor], Tensor], tokens: np.ndarray, block: int, characters: int | None = None, batch: int = 64
) -> float:
    """Mean loss over a whole text, in consecutive windows of ``block`` that do not overlap; the last one may be shorter.

    ``predict`` turns (windows, length) token numbers into (windows, length, vocabulary) logits. Every token but the very first
    is predicted once. Where a token is not a character, ``characters`` is the number of characters in ``tokens[1:]``.
    """
    ids = torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64))
    inputs, targets = ids[:-1], ids[1:]
    whole = len(targets) // block * block
    pairs = list(zip(inputs[:whole].view(-1, block).split(batch), targets[:whole].view(-1, block).split(batch), strict=True))
    if whole < len(targets):
        pairs.append((inputs[whole:][None], targets[whole:][None]))
    total = 0.0
    for seen, wanted in pairs:
        logits = predict(seen).float()
        total += F.cross_entropy(logits.reshape(-1, logits.shape[-1]), wanted.reshape(-1), reduction="sum").item()
    return total / (characters if characters is not None else len(targets))


def module_scorer(
    model: nn.Module, predict: Callable[[Tensor], Tensor], corpus: Corpus, settings: Settings
) -> Callable[[], float]:
    """The scorer for a character-level PyTorch module: in evaluation mode, and back in training mode afterwards."""
    validation = corpus.validation()

    def score() -> float:
        model.eval()
        loss = nats_per_character(predict, validation, settings.block)
        model.train()
        return loss

    return score


# ----------------------------------------------------------------------------------------------------
# The peers' model
# ----------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Causal self-attention with one matrix for queries, keys and values."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        q, k, v = (t.view(rows, length, self.heads, -1).transpose(1, 2) for t in self.qkv(x).split(width, dim=-1))
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(rows, length, width))


class Block(nn.Module):
    """A pre-norm transformer block with an exact GELU."""

    def __init__(self, width: int, heads: int, norm_bias: bool) -> None:
        super().__init__()
        self.norm_a = nn.LayerNorm(width, bias=norm_bias)
        self.attention = Attention(width, heads)
        self.norm_b = nn.LayerNorm(width, bias=norm_bias)
        self.up = nn.Linear(width, 4 * width, bias=False)
        self.down = nn.Linear(4 * width, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm_a(x))
        return x + self.down(F.gelu(self.up(self.norm_b(x))))


class GPT(nn.Module):
    """A GPT of nanoGPT's shape: learned positions, no biases in the matrices, input and output embedding tied."""

    def __init__(self, vocabulary: int, settings: Settings, norm_bias: bool) -> None:
        super().__init__()
        width = settings.width
        self.tokens = nn.Embedding(vocabulary, width)
        self.positions = nn.Embedding(settings.block, width)
        self.blocks = nn.ModuleList(Block(width, settings.heads, norm_bias) for _ in range(settings.layers))
        self.norm = nn.LayerNorm(width, bias=norm_bias)
        for name, weight in self.named_parameters():
            if weight.dim() >= 2:
                residual = name.endswith(("out.weight", "down.weight"))
                nn.init.normal_(weight, std=0.02 / math.sqrt(2 * settings.layers) if residual else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.tokens(ids) + self.positions(torch.arange(ids.shape[1], device=ids.device))
        for block in self.blocks:
            x = block(x)
        return F.linear(self.norm(x), self.tokens.weight)


def count(model: nn.Module) -> int:
    """Parameters, tied ones once."""
    return sum(p.numel() for p in model.parameters())


# ----------------------------------------------------------------------------------------------------
# The contestants
# ----------------------------------------------------------------------------------------------------


def worker_nanogpt(corpus: Corpus, settings: Settings, started: float, *, bf16: bool = False) -> Result:
    """nanoGPT's ``train.py`` with its settings for a CPU, not compiled."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)

    def draw() -> tuple[Tensor, Tensor]:
        # The map is opened anew for each batch, as nanoGPT does to keep the memory it touches from piling up.
        data = np.memmap(corpus.train_numbers, dtype=np.uint16, mode="r")
        starts = torch.randint(len(data) - settings.block, (settings.batch,)).tolist()
        windows = [torch.from_numpy(data[s : s + settings.block + 1].astype(np.int64)) for s in starts]
        return torch.stack([w[:-1] for w in windows]), torch.stack([w[1:] for w in windows])

    def learning_rate(step: int) -> float:
        if step < settings.warmup:
            return settings.peak_lr * (step + 1) / (settings.warmup + 1)
        progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
        return settings.final_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (settings.peak_lr - settings.final_lr)

    model = GPT(len(corpus.alphabet), settings, norm_bias=False)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=settings.peak_lr,
        betas=(settings.beta1, settings.beta2),
    )
    recorder = Recorder(settings, started, module_scorer(model, model, corpus, settings))
    model.train()
    inputs, targets = draw()
    recorder.begin()
    for step in range(settings.steps):
        rate = learning_rate(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(inputs)
            loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))
        inputs, targets = draw()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % settings.log_every == 0:
            print(f"step {step}: loss {loss.item():.4f}")
        recorder.step()
    return recorder.result(count(model))


def worker_hf(corpus: Corpus, settings: Settings, started: float, *, bf16: bool = False) -> Result:
    """The ``Trainer`` of transformers, over random windows drawn beforehand.

    Two choices in its favour, so that it trains the same thing: the exact GELU, which PyTorch has as one operation, in place of
    GPT-2's approximation made of several; and targets given ready shifted, so that all 64 positions of a window are trained.
    """
    torch.set_num_threads(settings.threads)
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        Trainer,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
        set_seed,
    )

    set_seed(settings.seed)
    characters = torch.from_numpy(corpus.training())
    starts = torch.randint(len(characters) - settings.block, (settings.steps * settings.batch, 1))
    windows = characters[starts + torch.arange(settings.block + 1)]

    class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
        def __len__(self) -> int:
            return len(windows)

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            row = windows[index]
            return {"input_ids": row[:-1], "labels": row[:-1], "shift_labels": row[1:]}

    config = GPT2Config(
        vocab_size=len(corpus.alphabet),
        n_positions=settings.block,
        n_embd=settings.width,
        n_layer=settings.layers,
        n_head=settings.heads,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    model = GPT2LMHeadModel(config)
    recorder = Recorder(settings, started, module_scorer(model, lambda ids: model(input_ids=ids).logits, corpus, settings))

    class Clock(TrainerCallback):
        def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
            recorder.begin()

        def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
            recorder.step()

    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output,
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch,
            learning_rate=settings.peak_lr,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr": settings.final_lr},
            warmup_steps=settings.warmup,
            weight_decay=settings.weight_decay,
            adam_beta1=settings.beta1,
            adam_beta2=settings.beta2,
            max_grad_norm=settings.clip,
            logging_steps=settings.log_every,
            eval_strategy="no",
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            disable_tqdm=True,
            use_cpu=True,
            bf16=bf16,
            seed=settings.seed,
        )
        Trainer(model=model, args=arguments, train_dataset=Rows(), callbacks=[Clock()]).train()
    return recorder.result(count(model))


def worker_plain(corpus: Corpus, settings: Settings, started: float, *, bf16: bool = False) -> Result:
    """The tutorials' loop: rows of the text as Python lists, turned into tensors by the loop's own collate function."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)
    numbers: list[int] = corpus.training().tolist()
    size = settings.block + 1  # a row gives one input and one target fewer than it is long
    rows = [{"input_ids": numbers[i : i + size]} for i in range(0, len(numbers) - size + 1, size)]

    def collate(batch: list[dict[str, list[int]]]) -> dict[str, Tensor]:
        tensors = [torch.tensor(item["input_ids"]) for item in batch]
        return {"input_ids": nn.utils.rnn.pad_sequence(tensors, batch_first=True, padding_value=0)}

    loader = torch.utils.data.DataLoader(
        cast("torch.utils.data.Dataset[Any]", rows),
        batch_size=settings.batch,
        shuffle=True,
        drop_last=True,  # every step the same amount of work, as for the others
        collate_fn=collate,
    )
    vocabulary = len(corpus.alphabet)
    model = GPT(vocabulary, settings, norm_bias=True)
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    recorder = Recorder(settings, started, module_scorer(model, model, corpus, settings))

    def batches() -> Iterator[Tensor]:
        while True:
            for batch in loader:
                yield batch["input_ids"]

    model.train()
    total = 0.0
    feed = batches()
    recorder.begin()
    for _ in range(settings.steps):
        ids = next(feed)
        inputs, targets = ids[:, :-1], ids[:, 1:]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(inputs)
            loss = loss_function(logits.reshape(-1, vocabulary), targets.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()
        recorder.step()
    print(f"mean training loss: {total / settings.steps:.4f}")
    return recorder.result(count(model))


def train_with_whelp(corpus: Corpus, settings: Settings, started: float, values: dict[str, dict[str, Any]]) -> Result:
    """Prepare the text and train, through the library's own rooms; `values` are a recipe's `pack`, `model`, `train`."""
    from whelp.artifacts.token_store import open_store
    from whelp.cli.prepare import prepare as prepare_store
    from whelp.cli.recipe import load_recipe
    from whelp.cli.train_session import Session
    from whelp.train import Progress
    from whelp.train.fit import fit

    data = {
        "source": str(corpus.train_text),
        "document": "file",
        "tokenizer": {"learn": "chars"},
        "separator": "none",
        "test_split": 0,
    }
    values["train"] |= {"threads": settings.threads, "seed": settings.seed, "device": "cpu"}
    recipe = load_recipe({"data": data, **values})
    with tempfile.TemporaryDirectory() as folder:
        prepare_store(recipe, out=Path(folder) / "store")
        session = Session(recipe, open_store(Path(folder) / "store"))
        plan = session.make_plan(must_time=False)
        torch.set_num_threads(plan.threads)
        model, optimizer = session.make_trainable()
        tokens = session.vocabulary.encode(Path(corpus.validation_text).read_text(encoding="utf-8")).astype(np.int64)

        def score() -> float:
            model.eval()
            with torch.no_grad():
                value = nats_per_character(model, tokens, plan.context_tokens)
            model.train()
            return value

        recorder = Recorder(replace(settings, steps=plan.num_steps), started, score)
        recorder.begin()
        for _ in fit(model, optimizer, session.choose_rows(plan), plan, recipe.train, Progress()):
            recorder.step()
        return recorder.result(model.num_parameters(), characters_per_step=plan.batch_tokens)


def worker_whelp(corpus: Corpus, settings: Settings, started: float, *, precision: str = "fp32") -> Result:
    """whelp on the same model size, batch, schedule and number of steps. May use fewer threads than allowed, not more."""
    model = {"family": "gpt2", "n_layer": settings.layers, "n_head": settings.heads, "n_embd": settings.width}
    model |= {"bias": False, "activation": "gelu"}  # as in the published settings
    train = {
        "num_steps": settings.steps,
        "precision": precision,
        "batch_tokens": settings.batch * settings.block,
        "optimizer": "adamw",
        "learning_rate": settings.peak_lr,
        "final_learning_rate_share": settings.final_lr / settings.peak_lr,
        "schedule": "cosine",
        "warmup_steps": min(settings.warmup, settings.steps),
        "weight_decay": settings.weight_decay,
        "beta1": settings.beta1,
        "beta2": settings.beta2,
        "clip_gradient_norm": settings.clip,
    }
    return train_with_whelp(
        corpus, settings, started, {"pack": {"context_tokens": settings.block}, "model": model, "train": train}
    )


def worker_whelp_recipe(corpus: Corpus, settings: Settings, started: float) -> Result:
    """whelp's own recipe for small texts (`recipes/shakespeare.yaml`) on the same text, scored in the same way."""
    from whelp.base.config import read_yaml
    from whelp.cli.recipe import find_recipe

    values = read_yaml(find_recipe("shakespeare"))
    return train_with_whelp(corpus, settings, started, {name: values[name] for name in ("pack", "model", "train")})


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
