"""Time to the first token of each turn of a conversation, with and without the memory of what was read before.

    python benchmarks/conversation.py
    python benchmarks/conversation.py --models demo,gpt2,rwkv7 --rounds 5 --threads 2 --json out.json
    python benchmarks/conversation.py --device cuda --models gpt2

Models with random weights: `demo` (qwen3, 4 layers, width 256) and `gpt2` (124 million parameters) as `generate.py` has them, and
`rwkv7` (12 layers, width 768, 65,536 ids). A turn says 80 tokens more than the one before had come to, and gets 32; all of it is sent
again, as `whelp chat` and clients of `whelp serve` do. Two engines on one model, `kept` (its default memory) and `read`
(`prefix_cache_bytes=0`), take the same turn one after the other, who is first changes from turn to turn. A number is the median over
rounds of milliseconds from `submit` to the first piece, in the clock's time and in processor time. The greedy tokens of both must be the
same, or differ first where the two likeliest are nearer than rounding.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from generate import CONFIGS, NEAR, IdsAlone
from whelp.generate import Engine, GenerateConfig, TokenLogprob
from whelp.model import ModelConfig, build_model, make_spec

MODELS = {**CONFIGS, "rwkv7": (ModelConfig(family="rwkv7", n_layer=12, n_head=12, n_embd=768), 65_536, 1024)}
NUM_TURNS, SAID_TOKENS, ANSWER_TOKENS = 8, 80, 32
WAYS = {"kept": None, "read": 0}


def take_turn(engine: Engine, said: list[int]) -> tuple[float, float, list[TokenLogprob], int]:
    """Seconds to the first token by the clock and by the processor, the answer, and how many tokens were known."""
    settings = GenerateConfig(max_tokens=ANSWER_TOKENS, temperature=0.0, logprobs=2, prompt_lookup_tokens=0)
    started = time.perf_counter(), time.process_time()
    (generation,) = engine.submit(said, settings)
    pieces = iter(generation)
    first = next(pieces)
    seconds = time.perf_counter() - started[0], time.process_time() - started[1]
    answer = [entry for piece in (first, *pieces) for entry in piece.logprobs or ()]
    while engine.num_running:
        time.sleep(0.001)  # what is kept is kept then
    return *seconds, answer, generation.cached_tokens


def agree(one: list[TokenLogprob], other: list[TokenLogprob], near: float) -> bool:
    """Whether two answers are the same up to where the two likeliest tokens are as likely."""
    for mine, yours in zip(one, other, strict=True):
        if mine.id != yours.id:
            return abs(mine.top[0].logprob - mine.top[1].logprob) < near
    return True


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """All turns of all rounds on one model."""
    config, num_ids, context_tokens = MODELS[name]
    context_tokens = max(context_tokens, NUM_TURNS * (SAID_TOKENS + ANSWER_TOKENS))
    model = build_model(make_spec(config, num_ids=num_ids, context_tokens=context_tokens), seed=0)
    model.to(torch.device(arguments.device), getattr(torch, arguments.dtype)).eval()
    times: dict[str, list[list[tuple[float, float]]]] = {way: [[] for _ in range(NUM_TURNS)] for way in WAYS}
    engines = {
        way: Engine(
            model,
            IdsAlone(num_ids),
            max_rows=4,
            max_context_tokens=context_tokens,
            device=arguments.device,
            prefix_cache_bytes=size,
        )
        for way, size in WAYS.items()
    }
    draw, is_same, num_known = np.random.default_rng(0), True, 0
    for number in range(arguments.rounds + 1):  # the first one warms up
        said: list[int] = []
        for turn in range(NUM_TURNS):
            said += draw.integers(0, num_ids, SAID_TOKENS).tolist()
            answers = {}
            for way in sorted(WAYS, reverse=bool((number + turn) % 2)):
                clock, processor, answers[way], known = take_turn(engines[way], said)
                num_known = max(num_known, known)
                if number:
                    times[way][turn].append((clock * 1e3, processor * 1e3))
            is_same = is_same and agree(answers["kept"], answers["read"], arguments.near)
            said += [entry.id for entry in answers["read"]]
    for engine in engines.values():
        engine.close()
    medians = {
        way: [[statistics.median(column) for column in zip(*turn, strict=True)] for turn in turns]
        for way, turns in times.items()
    }
    return {"model": name, "is_same": is_same, "num_known": num_known, "milliseconds": medians}


def main() -> None:
    """Measure each model, and print a table for it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="demo,gpt2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument(
        "--near", type=float, default=NEAR, help="two tokens whose log-probabilities are nearer may change places"
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers there, too")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    results = [measure(name, arguments) for name in arguments.models.split(",")]
    for result in results:
        print(f"{result['model']}: the answers are {'the same' if result['is_same'] else 'NOT THE SAME'}")
        print("turn   kept ms   read ms  read/kept   processor: kept ms   read ms  read/kept")
        both = zip(*result["milliseconds"].values(), strict=True)
        for turn, ((kept, kept_processor), (read, read_processor)) in enumerate(both, 1):
            clock = f"{kept:10.1f}{read:10.1f}{read / kept:11.1f}"
            print(f"{turn:4}{clock}{kept_processor:21.1f}{read_processor:10.1f}{read_processor / kept_processor:11.1f}")
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
