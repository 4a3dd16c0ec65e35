"""What adding up gradients over two GPUs of one host costs, alone and beside matrix products.

    python benchmarks/link.py
    python benchmarks/link.py --tiny                    # the same program on a CPU (gloo)

The gradient is GPT-2 124M's: 498 MB in float32. One JSON line for each setting of NCCL (`NCCL_MAX_CTAS`: how many multiprocessors
its kernel may take), with milliseconds, the slower process's, medians:

``sum``            the whole gradient as one message, and in messages of 64 and 16 MiB; ``half``: one message in bf16
``products``       matrix products as a backward pass has them, alone; ``beside``: with each of these sums going on at the same time;
                   what ``beside`` takes longer is the price of a sum that travels while gradients are computed
``copy``           the other's gradient copied over by the copy engine, which takes no multiprocessors, and so beside products
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

NUMBERS, TINY_NUMBERS = 124_475_904, 1 << 16
MESSAGES = {"one message": 1 << 40, "64 MiB": 1 << 24, "16 MiB": 1 << 22}  # numbers in each


def work(rank: int, folder: str, is_tiny: bool, pipes: list[Any], answers: Any) -> None:
    """One of the two processes."""
    try:
        answers.put((rank, measure(rank, folder, is_tiny, pipes)))
    except Exception:
        answers.put((rank, {"failed": traceback.format_exc()[-1500:]}))


def measure(rank: int, folder: str, is_tiny: bool, pipes: list[Any]) -> dict[str, Any]:
    """All that this file measures, in one of the two processes."""
    device = torch.device("cpu") if is_tiny else torch.device(f"cuda:{rank}")
    if not is_tiny:
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if is_tiny else "nccl", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    size = 64 if is_tiny else 1
    gradient = torch.zeros(TINY_NUMBERS if is_tiny else NUMBERS, device=device)
    number = torch.float32 if is_tiny else torch.bfloat16
    tokens, width, hidden = 65536 // size, 768 // size, 3072 // size
    x, weight = (torch.randn(*sizes, device=device, dtype=number) for sizes in ((tokens, width), (hidden, width)))
    out = torch.empty(tokens, hidden, device=device, dtype=number)
    found: dict[str, Any] = {}

    def wait() -> None:
        if not is_tiny:
            torch.cuda.synchronize()

    def time_it(action: Callable[[], None], rounds: int = 7) -> float:
        times = []
        for _ in range(rounds):
            wait()
            dist.barrier()
            wait()
            begun = time.perf_counter()
            action()
            wait()
            times.append(1000 * (time.perf_counter() - begun))
        return round(statistics.median(times[2:]), 3)

    def add_up(numbers: int, tensor: torch.Tensor = gradient) -> list[Any]:
        return [dist.all_reduce(part, async_op=True) for part in tensor.split(min(numbers, tensor.numel()))]

    def multiply() -> None:
        for _ in range(2 if is_tiny else 100):
            torch.mm(x, weight.t(), out=out)
            torch.mm(out, weight, out=x)
            x.mul_(0.0)

    def finish(works: list[Any]) -> None:
        for each in works:
            each.wait()

    half = gradient.to(torch.bfloat16)
    found["sum"] = {name: time_it(lambda numbers=numbers: finish(add_up(numbers))) for name, numbers in MESSAGES.items()}
    found["sum"]["half"] = time_it(lambda: finish(add_up(1 << 40, half)))
    found["products"] = time_it(multiply)

    def both(start: Callable[[], list[Any]]) -> None:
        works = start()
        multiply()
        finish(works)

    found["beside"] = {
        name: time_it(lambda numbers=numbers: both(lambda: add_up(numbers))) for name, numbers in MESSAGES.items()
    }
    found["beside"]["half"] = time_it(lambda: both(lambda: add_up(1 << 40, half)))
    if not is_tiny:
        try:
            found["copy"] = measure_copy(gradient, rank, pipes, time_it, multiply)
        except Exception as problem:
            found["copy"] = f"{type(problem).__name__}: {str(problem)[:300]}"
        dist.barrier()
    dist.destroy_process_group()
    return found


def measure_copy(
    gradient: torch.Tensor, rank: int, pipes: list[Any], time_it: Callable[..., float], multiply: Callable[[], None]
) -> dict[str, float]:
    """The same through memory that both processes see."""
    pipes[1 - rank].put(gradient)
    theirs = pipes[rank].get(timeout=20)
    mine, side = torch.empty_like(gradient), torch.cuda.Stream()

    def copy() -> None:
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            mine.copy_(theirs, non_blocking=True)

    def both() -> None:
        copy()
        multiply()

    return {
        "alone": time_it(copy),
        "beside": time_it(both),
        "products": time_it(multiply),
        "adding": time_it(lambda: gradient.add_(mine)),
    }


def run(is_tiny: bool, limit: float) -> dict[str, Any]:
    """Both processes; the slower one's times."""
    context = mp.get_context("spawn")
    pipes, answers = [context.Queue(), context.Queue()], context.Queue()
    with tempfile.TemporaryDirectory() as folder:
        processes = [context.Process(target=work, args=(rank, folder, is_tiny, pipes, answers)) for rank in range(2)]
        for process in processes:
            process.start()
        found: dict[int, dict[str, Any]] = {}
        begun = time.monotonic()
        while len(found) < 2 and time.monotonic() - begun < limit:
            try:
                rank, result = answers.get(timeout=1)
            except Exception:  # nothing yet
                continue
            found[rank] = result
            if "failed" in result:
                break
        for process in processes:
            process.join(5 if len(found) == 2 else 0)
            if process.is_alive():
                process.kill()
    failed = [result["failed"] for result in found.values() if "failed" in result]
    if failed or len(found) < 2:
        return {"failed": failed[0] if failed else f"no answer within {limit:.0f} s"}
    return slower(found[0], found[1])


def slower(one: Any, other: Any) -> Any:
    """The larger of each two numbers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {name: slower(value, other[name]) for name, value in one.items() if name in other}
    return max(one, other) if isinstance(one, float) and isinstance(other, float) else one


def main() -> None:
    """One line a setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--ctas", default="0,8,4", help="settings of NCCL_MAX_CTAS, by commas; 0: its own choice")
    parser.add_argument("--limit", type=float, default=40.0, help="seconds that each may take")
    options = parser.parse_args()
    for ctas in options.ctas.split(","):
        os.environ.pop("NCCL_MAX_CTAS", None)
        if ctas != "0":
            os.environ["NCCL_MAX_CTAS"] = ctas
        begun = time.monotonic()
        result = run(options.tiny, options.limit)
        print(json.dumps({"ctas": ctas, "seconds": round(time.monotonic() - begun, 1), **result}), flush=True)


if __name__ == "__main__":
    main()
