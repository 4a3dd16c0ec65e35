"""Time generation: whelp beside the `generate` of transformers, on the same weights, with the same greedy tokens.

    python benchmarks/generate.py
    python benchmarks/generate.py --models demo --batches 1,8 --tokens 64 --rounds 5 --threads 2 --json out.json
    python benchmarks/generate.py --device cuda --tokens 256
    python benchmarks/generate.py --device cuda --tokens 256 --dtype bfloat16
    whelp demo --minutes 0.3 --out demo
    python benchmarks/generate.py --models demo/run --batches 1 --prompt-tokens 48 --temperatures 0,0.8

Models: `demo` (qwen3, 4 layers, width 256, 4,096 ids, 4.2 million parameters) and `gpt2` (the 124-million-parameter GPT-2), with
random weights, written once with whelp's own checkpoint writer; or a run, checkpoint or model folder of the families gpt2 and
qwen3, with the weights it has. Every contestant is given the same prompts as ids and adds the same number of tokens; no text is made
of them. Prompts are random ids for random weights, and pieces of a text (`--text`, else a file of the standard library) for
others. How often guesses from a text's own past are right hangs on the text: **what random weights say counts for nothing there**, so
compare `whelp-alone` and `hf` on them, and `whelp` and `hf-lookup` on a trained model. Contestants:

``whelp``         `whelp.generate.Batch`, all prompts submitted at once. On a GPU its step is recorded as a CUDA graph.
``whelp-alone``   the same without guesses from the text's own past (`prompt_lookup_tokens=0`).
``whelp-drafted`` that with guesses by a copy in 8 bits (`draft_tokens=None`), of a large model on a CPU.
``whelp-waiting`` `whelp-alone` without asking for the next step before the last one's tokens are known; on a GPU alone.
``whelp-plain``   that without the recorded step; on a GPU alone, elsewhere there is none.
``hf``            `model.generate`, one batch, its key/value cache.
``hf-lookup``     the same with `prompt_lookup_num_tokens=8`, which it can for one prompt at a time.
``hf-static``     the same with `cache_implementation="static"`, not compiled.
``hf-compiled``   the same, compiled as transformers does by default on a GPU; on a GPU alone.
``hf-paged``      `model.generate_batch`, the continuous batching of transformers, where it runs on the device.

As a server would, each contestant keeps its model, its memory and what it has compiled or recorded from round to round.

Contestants alternate within a round and the order rotates. A number is the median over rounds of new tokens per second, with the
reading of the prompt counted. Before that, each contestant runs once untimed, and its tokens are compared with those of `hf`:
in float32 they must be the same, or differ first where the two likeliest tokens are nearer than rounding. Above temperature 0 each
library draws its own numbers: ours are compared with one another. A contestant that
cannot run is named with the reason. `--cpu-seconds` counts the processor's time instead of the clock's, for a machine that has
other work to do; with one thread it means the same.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import statistics
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from whelp.artifacts.checkpoint import find_model_folder, read_model_config, read_model_folder, save_checkpoint
from whelp.base.log import log
from whelp.generate import GenerateConfig
from whelp.generate.batch import Batch
from whelp.model import ModelConfig, build_model, make_spec, model_from_hugging_face

Ids = list[list[int]]
Contestant = Callable[[Ids, int, float], Ids]
"""Prompts, a number of new tokens and the temperature; the new tokens."""

CONFIGS = {
    "demo": (ModelConfig(family="qwen3", n_layer=4, n_head=4, n_embd=256), 4096, 512),
    "gpt2": (ModelConfig(family="gpt2", n_layer=12, n_head=12, n_embd=768, vocab_size=50257), 50257, 1024),
}
NEAR = 1e-3
"""Logits nearer than this may change places by rounding (of random models, whose logits are a few units wide)."""


class IdsAlone:
    """A vocabulary that makes no text."""

    eos_id = None

    def __init__(self, size: int) -> None:
        self.size = size

    def encode(self, text: str) -> np.ndarray:
        raise AssertionError("prompts are ids here")

    def stream(self) -> IdsAlone:
        return self

    def push(self, token_id: int) -> str:
        return ""

    def finish(self) -> str:
        return ""

    def decode_bytes(self, ids: list[int], *, skip_special: bool) -> bytes:
        return b""


def write_model(name: str, folder: Path) -> None:
    """Random weights as a model folder."""
    config, num_ids, context_tokens = CONFIGS[name]
    model = build_model(make_spec(config, num_ids=num_ids, context_tokens=context_tokens), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():  # first weights give logits that are nearly all the same
            if parameter.ndim > 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.02)
    values, weights = model.to_hugging_face()
    save_checkpoint(
        folder, config=values, weights=weights, save_tokenizer=lambda path: None, generation={}, trainer=None, counts={}
    )


def open_whelp(
    folder: Path,
    device: torch.device,
    dtype: torch.dtype,
    *,
    is_recorded: bool = True,
    is_ahead: bool = True,
    lookup: int | None = None,
    draft: int | None = 0,
) -> Contestant:
    """The engine's batch, without its thread."""
    model = model_from_hugging_face(*read_model_folder(folder), folder).to(device=device, dtype=dtype)
    vocabulary = IdsAlone(model.spec.vocab_size)
    batches: dict[tuple[int, int], Batch] = {}

    def run(prompts: Ids, num_tokens: int, temperature: float) -> Ids:
        size = len(prompts), max(map(len, prompts)) + num_tokens
        if size not in batches:
            batches[size] = Batch(model, vocabulary, max_rows=size[0], max_context_tokens=size[1])
            if not is_recorded:
                batches[size].decoder._fixed_step = None
            if not is_ahead:
                batches[size]._may_run_ahead = lambda rows: False
        batch = batches[size]
        should_record = is_recorded and device.type == "cuda"
        guesses = {"prompt_lookup_tokens": lookup, "draft_tokens": draft}
        options = {"max_tokens": num_tokens, "temperature": temperature, **guesses}
        generations = [batch.submit(prompt, GenerateConfig(seed=seed, **options))[0] for seed, prompt in enumerate(prompts)]
        while batch.step():
            pass
        if should_record and batch.decoder._fixed_step is None:
            raise RuntimeError("its step could not be recorded; the note above says why")
        return [[token for piece in generation for token in piece.token_ids] for generation in generations]

    return run


def open_hf(folder: Path, device: torch.device, dtype: torch.dtype, **options: Any) -> Contestant:
    """`model.generate` of transformers."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).to(device).eval()

    def run(prompts: Ids, num_tokens: int, temperature: float) -> Ids:
        style = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        settings = GenerationConfig(
            max_new_tokens=num_tokens, min_new_tokens=num_tokens, pad_token_id=0, eos_token_id=None, **style, **options
        )
        torch.manual_seed(0)
        ids = torch.tensor(prompts, device=device)
        with torch.inference_mode():
            output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=settings)
        return output[:, ids.shape[1] :].tolist()

    return run


def open_hf_paged(folder: Path, device: torch.device, dtype: torch.dtype) -> Contestant:
    """`model.generate_batch` of transformers: its continuous batching."""
    from transformers import AutoModelForCausalLM, GenerationConfig

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa").to(device).eval()

    def run(prompts: Ids, num_tokens: int, temperature: float) -> Ids:
        style = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
        settings = GenerationConfig(max_new_tokens=num_tokens, pad_token_id=0, eos_token_id=-1, **style)
        outputs = model.generate_batch(inputs=prompts, generation_config=settings, persistent_manager=True)
        found = sorted(outputs.values(), key=lambda output: int(output.request_id.rpartition("_")[2]))
        return [list(output.generated_tokens) for output in found]

    return run


OPENERS: dict[str, Callable[..., Contestant]] = {
    "hf": open_hf,
    "whelp": open_whelp,
    "whelp-alone": lambda *arguments: open_whelp(*arguments, lookup=0),
    "whelp-drafted": lambda *arguments: open_whelp(*arguments, lookup=0, draft=None),
    "whelp-waiting": lambda *arguments: open_whelp(*arguments, is_ahead=False, lookup=0),
    "whelp-plain": lambda *arguments: open_whelp(*arguments, is_recorded=False, lookup=0),
    "hf-lookup": lambda *arguments: open_hf(*arguments, prompt_lookup_num_tokens=8),
    "hf-static": lambda *arguments: open_hf(*arguments, cache_implementation="static", disable_compile=True),
    "hf-compiled": lambda *arguments: open_hf(*arguments, cache_implementation="static"),
    "hf-paged": open_hf_paged,
}
GPU_ALONE = {"whelp-waiting", "whelp-plain", "hf-compiled", "hf-paged"}  # elsewhere the same as another, or very slow


def compare(folder: Path, prompts: Ids, expected: Ids, found: Ids) -> str:
    """Whether tokens are the same; where they first differ, whether both were as likely."""
    from transformers import AutoModelForCausalLM

    if expected == found:
        return "same"
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    widest = 0.0
    for prompt, ours, theirs in zip(prompts, found, expected, strict=True):
        place = next((place for place, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), None)
        if place is None:
            if len(ours) != len(theirs):
                return "another number of tokens"
            continue
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + theirs[:place]])).logits[0, -1]
        widest = max(widest, float((logits[ours[place]] - logits[theirs[place]]).abs()))
    return f"same up to ties (nearest logits {widest:.1e} apart)" if widest < NEAR else f"DIFFERENT by {widest:.2g}"


def make_prompts(name: str, folder: Path, batch: int, arguments: argparse.Namespace) -> Ids:
    """Random ids for random weights; for others, pieces of a text."""
    count = arguments.prompt_tokens
    if name in CONFIGS:
        return np.random.default_rng(batch).integers(0, CONFIGS[name][1], (batch, count)).tolist()
    from whelp.tokenizer import load_tokenizer

    text = (arguments.text or Path(textwrap.__file__)).read_text(encoding="utf-8")
    ids = load_tokenizer(folder).encode(text).tolist()
    if len(ids) < batch * count:
        raise SystemExit(f"the text has {len(ids):,} tokens, fewer than {batch} x {count}: give a longer one with --text")
    first = (len(ids) - batch * count) // 2  # from its middle: beginnings are alike
    return [ids[first + row * count :][:count] for row in range(batch)]


def measure(name: str, batch: int, temperature: float, arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """One model at one batch size and temperature, all contestants in turn."""
    device, dtype = torch.device(arguments.device), getattr(torch, arguments.dtype)
    clock = time.process_time if arguments.cpu_seconds else time.perf_counter
    prompts = make_prompts(name, folder, batch, arguments)
    runners: dict[str, Contestant] = {}
    notes: dict[str, str] = {}
    expected: dict[str, Ids] = {}  # of each library, where it draws
    for contestant in arguments.only.split(","):
        try:
            run = OPENERS[contestant](folder, device, dtype)
            tokens = run(prompts, arguments.tokens, temperature)
        except Exception as error:
            notes[contestant] = f"cannot run: {type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
            continue
        runners[contestant] = run
        library = contestant.partition("-")[0] if temperature else ""
        if (temperature and library == "hf") or dtype != torch.float32:
            notes[contestant] = "drawn" if temperature else "rounded"
        else:
            notes[contestant] = compare(folder, prompts, expected.setdefault(library, tokens), tokens)
    seconds: dict[str, list[float]] = {contestant: [] for contestant in runners}
    order = list(runners)
    for _ in range(arguments.rounds):
        for contestant in order:
            _wait(device)
            started = clock()
            runners[contestant](prompts, arguments.tokens, temperature)
            _wait(device)
            seconds[contestant].append(clock() - started)
        order = order[1:] + order[:1]
    speeds = {
        contestant: statistics.median(batch * arguments.tokens / value for value in values)
        for contestant, values in seconds.items()
    }
    return {"model": name, "batch": batch, "temperature": temperature, "tokens_per_second": speeds, "notes": notes}


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def make_table(results: list[dict[str, Any]]) -> str:
    """A Markdown table: tokens per second, and how many times those of `hf`."""
    names = list(dict.fromkeys(name for result in results for name in result["notes"]))
    lines = [
        "| model | batch | temperature | " + " | ".join(names) + " | whelp / hf |",
        "|---|---|---|" + "---|" * (len(names) + 1),
    ]
    for result in results:
        speeds = result["tokens_per_second"]
        cells = [f"{speeds[name]:,.0f}" if name in speeds else "-" for name in names]
        ratio = f"{speeds['whelp'] / speeds['hf']:.2f}" if {"whelp", "hf"} <= speeds.keys() else "-"
        lines.append(
            f"| {result['model']} | {result['batch']} | {result['temperature']:g} | " + " | ".join(cells) + f" | {ratio} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print the table, and the notes below it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="demo,gpt2", help="demo, gpt2, or folders; with commas between them")
    parser.add_argument(
        "--text", type=Path, help="what prompts for folders are pieces of; default: a file of the standard library"
    )
    parser.add_argument("--temperatures", default="0")
    parser.add_argument("--batches", default="1,8,32")
    parser.add_argument("--only", help="contestants; default: all on a GPU, those that differ there on a CPU")
    parser.add_argument("--prompt-tokens", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--cpu-seconds", action="store_true", help="count the processor's time instead of the clock's")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    arguments.only = arguments.only or ",".join(name for name in OPENERS if name not in GPU_ALONE or arguments.device != "cpu")
    torch.set_num_threads(arguments.threads)
    log.addHandler(logging.StreamHandler())
    log.setLevel(logging.INFO)
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        for name in arguments.models.split(","):
            if name in CONFIGS:
                folder = Path(temporary) / name
                write_model(name, folder)
            else:
                folder = find_model_folder(Path(name))
                context = read_model_config(folder).get("max_position_embeddings") or read_model_config(folder).get(
                    "n_positions", 0
                )
                if arguments.prompt_tokens + arguments.tokens > context:
                    parser.error(f"{name} has a context of {context} tokens: ask for fewer with --prompt-tokens and --tokens")
            for batch in map(int, arguments.batches.split(",")):
                for temperature in map(float, arguments.temperatures.split(",")):
                    result = measure(name, batch, temperature, arguments, folder)
                    results.append(result)
                    notes = "; ".join(f"{contestant}: {note}" for contestant, note in result["notes"].items())
                    if arguments.json:  # at once: what comes later may be cut off
                        settings = {**vars(arguments), "json": None}
                        arguments.json.write_text(json.dumps({"settings": settings, "results": results}, indent=2, default=str))
                    sys.stderr.write(f"{name}, batch {batch}, temperature {temperature:g}: {notes}\n")
    import transformers

    place = (
        torch.cuda.get_device_name()
        if arguments.device.startswith("cuda")
        else f"{platform.machine()}, {arguments.threads} threads"
    )
    print(f"{place}; {arguments.dtype}; torch {torch.__version__}, transformers {transformers.__version__}")
    print(
        f"{arguments.tokens} new tokens after {arguments.prompt_tokens}; new tokens per second, median of {arguments.rounds}\n"
    )
    print(make_table(results))
    if arguments.dtype == "float32" and any("DIFFERENT" in note for result in results for note in result["notes"].values()):
        print("\nSome contestants chose other tokens, which rounding does not explain: see above.")
    if any(note.startswith("cannot run") for result in results for name, note in result["notes"].items() if name == "whelp"):
        sys.exit(1)


if __name__ == "__main__":
    main()
