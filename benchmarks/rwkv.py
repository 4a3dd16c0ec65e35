"""RWKV on a CPU: speed of training beside GPTs of the same size; speed and memory of generating.

    python benchmarks/rwkv.py --train              tokens/s of training, beside GPTs of the same size, at 512 tokens
    python benchmarks/rwkv.py --generate           speed and memory of generating 100,000 tokens

Times are of the processor (user + system) on one thread, so that other work on the machine does not count.
`rwkv_recall.py` shows what a carried state is good for; `rwkv_gpu.py` checks and times the kernels.
"""

from __future__ import annotations

import argparse
import resource
import time

import numpy as np
import torch
from rwkv_gpu import build, say

from whelp.train.config import TrainConfig
from whelp.train.optimizer import build_optimizer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("--generate", action="store_true")
    parser.add_argument("--n_layer", type=int, default=6)
    parser.add_argument("--n_embd", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=100_000, help="--generate: how many")
    options = parser.parse_args()
    if options.train:
        time_training(options.n_layer, options.n_embd)
    if options.generate:
        time_generating(options.n_layer, options.n_embd, options.tokens)


def time_training(n_layer: int, n_embd: int, *, num_ids: int = 4096, rows: int = 4, length: int = 512) -> None:
    """The median of five steps of AdamW, in processor time."""
    torch.set_num_threads(1)
    for family in ("gpt2", "qwen3", "rwkv7", "rwkv5", "rwkv4"):
        model = build(family, n_layer, n_embd, num_ids=num_ids, context_tokens=length)
        optimizer = build_optimizer(model, TrainConfig(optimizer="adamw", learning_rate=1e-3))
        ids, targets = torch.randint(0, num_ids, (2, rows, length))
        times = []
        for _ in range(6):
            start = time.process_time()
            model.loss(ids, targets).backward()
            optimizer.clip(1.0)
            optimizer.step(1e-3)
            optimizer.zero_grad()
            times.append(time.process_time() - start)
        tokens = rows * length / float(np.median(times[1:]))
        say(what="train", family=family, parameters=model.num_parameters(), tokens_per_cpu_second=round(tokens))


def time_generating(n_layer: int, n_embd: int, num_tokens: int) -> None:
    """Tokens a processor second, and the process's largest memory, at every tenth of the way."""
    torch.set_num_threads(1)
    model = build("rwkv7", n_layer, n_embd, num_ids=4096, context_tokens=512)
    with torch.inference_mode():
        decoder = model.make_decoder(1, 0)
        logits = decoder.read(0, [list(range(512))])
        start = time.process_time()
        for number in range(1, num_tokens + 1):
            logits = decoder.step([int(logits[0].argmax())])
            if number % max(1, num_tokens // 10) == 0:
                now = time.process_time()
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
                speed = num_tokens // 10 / (now - start)
                say(what="generate", tokens=number, tokens_per_cpu_second=round(speed, 1), largest_megabytes=round(memory))
                start = now


if __name__ == "__main__":
    main()
