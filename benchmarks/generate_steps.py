"""Where the time of a step of generating goes on a GPU: the recorded step alone, the batch around it, and the longest kernels.

    python benchmarks/generate_steps.py --batches 1,32 --dtypes float32,bfloat16

The 124-million-parameter GPT-2 with random weights, 16 tokens of prompt, 64 new ones, greedy. Milliseconds for each new token of a row:
`alone`, the recording replayed without anything else; `ahead`, `Batch` as it is; `waiting`, where the next step waits until the tokens
of the last are known. `alone` is what the GPU takes; what `waiting` takes beyond is the processor's part, which `ahead` hides.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch

from generate import CONFIGS, IdsAlone
from whelp.generate import GenerateConfig
from whelp.generate.batch import Batch
from whelp.model import build_model, make_spec
from whelp.model.gpu.triton_support import HAS_TRITON

if HAS_TRITON:
    from whelp.model.gpu import step_attention as gpu_step_attention

NUM_PROMPT, NUM_NEW = 16, 64


def time_batch(batch: Batch, num_rows: int, temperature: float) -> float:
    """Milliseconds a token of a row, the best of three after two that record; prompts are not counted."""
    best = []
    for _ in range(5):
        for row in range(num_rows):
            settings = GenerateConfig(max_tokens=NUM_NEW, temperature=temperature, seed=row, prompt_lookup_tokens=0)
            batch.submit([row + 1] * NUM_PROMPT, settings)
        while batch.num_running < num_rows:
            batch.step()
        torch.cuda.synchronize()
        started = time.perf_counter()
        while batch.step():
            pass
        torch.cuda.synchronize()
        best.append((time.perf_counter() - started) / (NUM_NEW - 1) * 1e3)
    return min(best[2:])


def main() -> None:
    """Print a line for each number of rows and each type, and the kernels below."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batches", default="1,32")
    parser.add_argument("--dtypes", default="float32")
    parser.add_argument("--kernels", type=int, default=12)
    arguments = parser.parse_args()
    config, num_ids, context_tokens = CONFIGS["gpt2"]
    model = build_model(make_spec(config, num_ids=num_ids, context_tokens=context_tokens), seed=0).cuda()
    for dtype in arguments.dtypes.split(","):
        model.to(getattr(torch, dtype))
        for num_rows in map(int, arguments.batches.split(",")):
            batch = Batch(model, IdsAlone(num_ids), max_rows=num_rows, max_context_tokens=NUM_PROMPT + NUM_NEW)
            times = {"ahead": time_batch(batch, num_rows, 0.0), "ahead, drawn": time_batch(batch, num_rows, 0.8)}
            batch._may_run_ahead = lambda rows: False  # type: ignore[method-assign]  # the same loop, made to wait
            times |= {"waiting": time_batch(batch, num_rows, 0.0), "waiting, drawn": time_batch(batch, num_rows, 0.8)}
            fixed = batch.decoder._fixed_step  # type: ignore[attr-defined]  # only decoders of GPTs have one
            if HAS_TRITON:
                heads = model.spec.n_head, model.spec.n_kv_head, model.spec.head_width
                is_trusted = gpu_step_attention.agrees(fixed._cache.keys.device, fixed._cache.keys.dtype, *heads)
                print(f"{dtype}: the kernel of the step's attention {'is' if is_trusted else 'is NOT'} used")
            (replay,) = [work for (rows, _), work in fixed._work.items() if rows == num_rows and work is not None]
            seconds = []
            for _ in range(5):
                torch.cuda.synchronize()
                started = time.perf_counter()
                for _ in range(20):
                    replay()
                torch.cuda.synchronize()
                seconds.append((time.perf_counter() - started) / 20)
            times["alone"] = statistics.median(seconds) * 1e3
            print(f"{dtype}, {num_rows} rows:", ", ".join(f"{name} {value:.3f} ms" for name, value in times.items()))
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                for _ in range(5):
                    replay()
                torch.cuda.synchronize()
            events = sorted(profile.key_averages(), key=lambda event: -event.self_device_time_total)
            total = sum(event.self_device_time_total for event in events)
            print(f"  kernels of a step: {sum(event.count for event in events) // 5}, together {total / 5e3:.3f} ms")
            for event in events[: arguments.kernels]:
                print(f"  {event.self_device_time_total / 5:8.1f} us, {event.count // 5:3d} x {event.key[:110]}")


if __name__ == "__main__":
    main()
