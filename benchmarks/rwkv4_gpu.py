"""RWKV-4 on a GPU: the time of its memory by the kernels and by PyTorch, alone and in training steps, then the kernels checked against PyTorch.

    python benchmarks/rwkv4_gpu.py                 all but compiled models
    python benchmarks/rwkv4_gpu.py --compiled      training steps of compiled models as well, one or two minutes more
    python benchmarks/rwkv4_gpu.py --model         the whole model against PyTorch, too: documents, states, text in pieces

What matters most comes first. A line of JSON for each thing, as soon as it is known.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version

import torch
from rwkv_gpu import WIDTH, Case, check_kernels, measure_distance, measure_step, say, train_ours, use_kernels

from whelp.model.gpu import decayed_average as gpu_decayed_average
from whelp.model.rwkv import decayed_average
from whelp.model.rwkv.decayed_average import Inputs

LIMITS = {torch.float32: 1e-4, torch.bfloat16: 0.01}  # of a distance, as a share of the length
NAMES = ("out", "state", "k", "v", "log_w", "u", "first state")
_Scan = Callable[..., tuple[torch.Tensor, torch.Tensor]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compiled", action="store_true")
    parser.add_argument("--model", action="store_true")
    parser.add_argument("--seconds", type=float, default=1.5, help="of each measurement of training steps")
    options = parser.parse_args()
    assert torch.cuda.is_available(), "this needs a GPU"
    say(what="gpu", name=torch.cuda.get_device_name(), **{name: version(name) for name in ("torch", "triton")})
    time_memory(16, 1024)
    for compiles in (False, True) if options.compiled else (False,):
        for is_ours in (True, False):
            time_training(is_ours, compiles, options.seconds)
    for rows, tokens in ((64, 1024), (8, 4096)):
        time_memory(rows, tokens)
    found = list(check_memory())
    if options.model:
        check_kernels("rwkv4")
    raise SystemExit(0 if all(found) else 1)


def make_case(rows: int, tokens: int, dtype: torch.dtype, *, seed: int = 0) -> list[torch.Tensor]:
    """Keys, values, logarithms of decays as they begin in training, u and a state."""
    draw = torch.Generator("cuda").manual_seed(seed)

    def make(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, device="cuda")

    log_w = -torch.linspace(-5, 3, WIDTH, device="cuda").exp()
    k, v = (make(rows, tokens, WIDTH).to(dtype) for _ in range(2))
    return [2 * k, v, log_w, make(WIDTH), make(rows, 2, WIDTH)]


def run(scan: _Scan, case: list[torch.Tensor], *flow: torch.Tensor | None) -> dict[str, torch.Tensor]:
    """What is read, the state after it, and all gradients."""
    leaves = [part.detach().clone().requires_grad_() for part in case]
    out, state = scan(Inputs(*leaves[:-1]), leaves[-1], *flow)
    draw = torch.Generator("cuda").manual_seed(1)
    out_grad, state_grad = (torch.randn(part.shape, generator=draw, device="cuda") for part in (out, state))
    if len(flow) > 1 and flow[1] is not None:  # what padding reads is of no account
        out_grad = out_grad.masked_fill(~flow[1].unsqueeze(-1), 0)
        out = out.masked_fill(~flow[1].unsqueeze(-1), 0)
    grads = torch.autograd.grad([out, state], leaves, [out_grad.to(out.dtype), state_grad])
    return dict(zip(NAMES, (out.detach(), state.detach(), *grads), strict=True))


def check_memory() -> Iterator[bool]:
    """The kernels against PyTorch in float32 with the same numbers: whole chunks, then rows of any length, documents and padding."""
    for dtype in (torch.float32, torch.bfloat16):
        for name, tokens in (("plain", 1024), ("documents and padding", 1003)):
            case = make_case(8, tokens, dtype)
            flow: list[torch.Tensor] = []
            if name != "plain":
                counts = (
                    torch.arange(tokens, device="cuda")
                    < torch.tensor([1003, 1, 2, 8, 9, 500, 1000, 1002], device="cuda")[:, None]
                )
                flow = [(torch.rand(8, tokens, device="cuda") < 0.01) & counts, counts]
            found = run(gpu_decayed_average.scan, case, *flow)
            wanted = run(decayed_average.scan, [part.float() for part in case], *flow)
            distances = {key: measure_distance(found[key], wanted[key]) for key in NAMES}
            worst = {key: float((found[key].float() - wanted[key]).abs().max() / wanted[key].abs().max()) for key in NAMES}
            is_good = all(value <= LIMITS[dtype] for value in distances.values())
            say(
                what="check",
                case=name,
                dtype=str(dtype).removeprefix("torch."),
                good=is_good,
                distances={key: float(f"{value:.1e}") for key, value in distances.items()},
                largest_error=float(f"{max(worst.values()):.1e}"),
            )
            yield is_good


def time_memory(rows: int, tokens: int) -> None:
    """Milliseconds forward, and forward and backward, of bf16 keys and values, by the kernels and by PyTorch; and memory in use.

    The first use is that of the process, with compiling where nothing was kept.
    """
    case = make_case(rows, tokens, torch.bfloat16)
    grad = torch.randn(rows, tokens, WIDTH, device="cuda").to(torch.bfloat16)
    for name, scan in (("kernels", gpu_decayed_average.scan), ("pytorch", _scan_plain)):
        leaves = [part.detach().clone().requires_grad_() for part in case]

        def forward(scan: _Scan = scan, leaves: list[torch.Tensor] = leaves) -> torch.Tensor:
            return scan(Inputs(*leaves[:-1]), leaves[-1])[0]

        def both(forward: Callable[[], torch.Tensor] = forward, leaves: list[torch.Tensor] = leaves) -> None:
            out = forward()
            torch.autograd.grad(out, leaves, grad.to(out.dtype))

        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before, start = torch.cuda.memory_allocated(), time.perf_counter()
        both()
        torch.cuda.synchronize()
        first_use = time.perf_counter() - start
        megabytes = (torch.cuda.max_memory_allocated() - before) / 1e6
        with torch.no_grad():
            forward_ms = _take_milliseconds(forward)
        answer = {
            "forward_ms": round(forward_ms, 4),
            "both_ms": round(_take_milliseconds(both), 4),
            "megabytes": round(megabytes),
            "first_use_seconds": round(first_use, 2),
        }
        say(what="time", memory_by=name, rows=rows, tokens=tokens, width=WIDTH, **answer)


def _scan_plain(inputs: Inputs, state: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """As RWKV-4 has it without the kernels."""
    return decayed_average.scan(Inputs(*(part.float() for part in inputs)), state)


def _take_milliseconds(work: Callable[[], object], count: int = 10) -> float:
    """Of the GPU, with what Python takes to name its work left out where it is less."""
    for _ in range(2):
        work()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(20_000_000)
    begin.record()
    for _ in range(count):
        work()
    end.record()
    end.synchronize()
    return float(begin.elapsed_time(end)) / count


def time_training(is_ours: bool, compiles: bool, seconds: float) -> None:
    """Training steps of 12 layers of width 768, 16 rows of 1,024 tokens, with the kernels or without."""
    torch.compiler.reset()
    with use_kernels(is_ours):
        step = train_ours("rwkv4", compiles=compiles)
        speed = measure_step(step, Case(16, 1024), seconds)
    say(what="training", memory_by="kernels" if is_ours else "pytorch", compiled=compiles, rows=16, tokens=1024, **speed)


if __name__ == "__main__":
    main()
