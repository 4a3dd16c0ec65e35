"""Time GPT training on one GPU: whelp beside a compiled plain PyTorch loop and other trainers, GPT-2 124M in bf16.

    python benchmarks/gpu_train.py
    python benchmarks/gpu_train.py --only gpt2-bare,gpt2,plain,hf,litgpt,lightning-best --steps 25 --limit 500
    python benchmarks/gpu_train.py --rows 8 --only plain,gpt2,qwen3 --steps 60 --json out.json
    python benchmarks/gpu_train.py --rows 8 --only gpt2-bare --profile     # and the kernels of its steps

One process a contestant, one after the other, rounds alternating. Work: 12 layers, width 768, 12 heads, 1,024 tokens, rows of
random ids from a vocabulary of 50,257 padded to 50,304 (the time of a step does not depend on the text). The contestants:

``plain``        what a careful user writes: a GPT-2 of one file, whole model compiled with its loss, autocast, fused AdamW.
``gpt2``         whelp's gpt2 with AdamW, compiled: with biases, as GPT-2 has them.
``gpt2-bare``    the same without biases, as the plain loop.
``gpt2-fp8``, ``gpt2-bare-fp8``   the same two with train.precision=fp8 (`eight_bits.py` says what that does to the loss).
``gpt2-eager``   gpt2, not compiled.
``qwen3``        whelp's qwen3 of the same width and depth with Muon, compiled: another model, with more arithmetic a token.
``packed``       gpt2 with four documents in a row kept apart.

and those of `gpu_peers.py`: ``hf``, ``hf-tutorial``, ``lightning``, ``lightning-best``, ``litgpt``, ``litgpt-best`` (they need lightning and
litgpt).

tokens/s is the median step after warm-up: data, clipping and the optimizer are in it. MFU is against the bf16 product measured in
the same call. First step: from the process's start to the end of the first optimizer step, imports included, in the first round, in which
nothing is compiled yet. A contestant that `--limit`
leaves no time for is named, and so is one that fails; the table has what was measured.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import gpu_peers

STARTED = time.perf_counter()
LAYERS, WIDTH, HEADS, TOKENS, IDS, PADDED = 12, 768, 12, 1024, 50257, 50304
OURS = ("gpt2", "gpt2-bare", "gpt2-eager", "qwen3", "packed")
ROUGHER = ("gpt2-fp8", "gpt2-bare-fp8")  # only where --only names them
NAMES = ("plain", *OURS, *gpu_peers.NAMES)
PROFILED = 5  # steps
NOTE = "whelp says: "  # before what whelp logs: which faster ways work here, and which do not


class RandomRows:
    """Rows of random ids, drawn once; `documents` cuts each into four."""

    def __init__(self, num_rows: int, *, has_documents: bool) -> None:
        import numpy as np

        draw = np.random.default_rng(0)
        self._ids = draw.integers(0, IDS, (num_rows, TOKENS + 1))
        cuts = np.sort(draw.integers(1, TOKENS, (num_rows, 3)), axis=1)
        numbers = (np.arange(TOKENS) >= cuts[:, :, None]).sum(1)
        self._documents = numbers.astype(np.int32) if has_documents else None

    def read(self, first: int, count: int, seed: int, rank: int = 0, world: int = 1):
        """The same rows every time."""
        from whelp.artifacts.row_batch import RowBatch

        return RowBatch(self._ids[:, :-1].copy(), self._ids[:, 1:].copy(), self._documents)


def run_ours(name: str, rows: int, steps: int):
    """Seconds of each step, by `fit`, with what `whelp train` does to start early."""
    from whelp.base.gpu_context import open_gpu_early
    from whelp.base.start_up import start_up

    start_up.begin(with_process=True)
    start_up.reach("python")
    open_gpu_early()
    import torch

    from whelp.base.machine import count_cores
    from whelp.model import ModelConfig, build_model, make_spec
    from whelp.model.build import count_parameters
    from whelp.model.gpu.warm_up import warm_up
    from whelp.train import Progress, TrainConfig, build_optimizer, make_plan
    from whelp.train.fit import fit
    from whelp.train.plan import Facts

    start_up.reach("imports")
    family = "qwen3" if name == "qwen3" else "gpt2"
    optimizer = (
        {"optimizer": "muon", "learning_rate": 4e-3} if name == "qwen3" else {"optimizer": "adamw", "learning_rate": 6e-4}
    )
    config = TrainConfig(
        num_steps=steps,
        batch_tokens=rows * TOKENS,
        micro_batch_rows=rows,
        compile=name != "gpt2-eager",
        precision="fp8" if name in ROUGHER else "auto",
        log_every_steps=1,
        **optimizer,
    )
    has_bias = not name.startswith("gpt2-bare")
    model_config = ModelConfig(family=family, n_layer=LAYERS, n_head=HEADS, n_embd=WIDTH, bias=has_bias)
    spec = make_spec(model_config, num_ids=IDS, context_tokens=TOKENS)
    facts = Facts(
        num_parameters=count_parameters(spec),
        num_layers=LAYERS,
        width=WIDTH,
        ffn_width=spec.ffn_width,
        vocab_size=spec.vocab_size,
        context_tokens=TOKENS,
        num_rows=rows * steps,
        num_train_tokens=rows * steps * TOKENS,
        num_test_rows=0,
        device="cuda",
        precision="bf16" if config.precision == "auto" else config.precision,
        is_gpu=True,
        slices_logits=True,
        free_bytes=torch.cuda.mem_get_info()[0],
        threads=count_cores(),
    )
    start_up.reach("device")
    plan = make_plan(config, facts)
    if plan.compile:
        warm_up(spec, torch.device("cuda", 0), eight_bits=plan.precision == "fp8")
    model = build_model(spec, 0)
    start_up.reach("weights")
    model.cuda()
    start_up.reach("to_gpu")
    torch.set_float32_matmul_precision("high")
    source = RandomRows(rows, has_documents=name == "packed")
    steps_done = fit(model, build_optimizer(model, config), source, plan, config, Progress())
    start_up.reach("model")
    begun = time.perf_counter()
    for report in steps_done:  # each has waited for its own loss
        now = time.perf_counter()
        start_up.reach("first_step")
        if stages := start_up.end():
            print(f"{NOTE}seconds to the first step: {stages}", file=sys.stderr)
        yield now - begun, report.loss, model.num_parameters()
        begun = now


def run_plain(rows: int, steps: int):
    """Seconds of each step of the plain loop."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm_1, self.norm_2 = nn.LayerNorm(WIDTH, bias=False), nn.LayerNorm(WIDTH, bias=False)
            self.attend, self.project = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
            self.expand, self.contract = nn.Linear(WIDTH, 4 * WIDTH, bias=False), nn.Linear(4 * WIDTH, WIDTH, bias=False)

        def forward(self, x):
            count, length, _ = x.shape
            queries, keys, values = (
                part.view(count, length, HEADS, -1).transpose(1, 2) for part in self.attend(self.norm_1(x)).chunk(3, -1)
            )
            mixed = F.scaled_dot_product_attention(queries, keys, values, is_causal=True)
            x = x + self.project(mixed.transpose(1, 2).reshape(count, length, WIDTH))
            return x + self.contract(F.gelu(self.expand(self.norm_2(x))))

    class GPT(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.positions = nn.Embedding(PADDED, WIDTH), nn.Embedding(TOKENS, WIDTH)
            self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
            self.norm, self.head = nn.LayerNorm(WIDTH, bias=False), nn.Linear(WIDTH, PADDED, bias=False)
            for parameter in self.parameters():
                if parameter.ndim > 1:
                    nn.init.normal_(parameter, 0.0, 0.02)
            self.head.weight = self.embed.weight

        def forward(self, ids, targets):
            x = self.embed(ids) + self.positions.weight
            for block in self.blocks:
                x = block(x)
            logits = self.head(self.norm(x))
            return F.cross_entropy(logits.view(-1, PADDED), targets.view(-1))

    torch.set_float32_matmul_precision("high")
    model = GPT().cuda()
    compiled = torch.compile(model)
    optimizer = torch.optim.AdamW(model.parameters(), 6e-4, (0.9, 0.95), weight_decay=0.1, fused=True)
    source = RandomRows(rows, has_documents=False)
    for _ in range(steps):
        begun = time.perf_counter()
        batch = source.read(0, rows, 0)
        ids, targets = (torch.from_numpy(array).pin_memory().cuda(non_blocking=True) for array in (batch.ids, batch.targets))
        with torch.autocast("cuda", torch.bfloat16):
            loss = compiled(ids, targets)
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        value = float(loss)
        torch.cuda.synchronize()
        yield time.perf_counter() - begun, value, sum(parameter.numel() for parameter in model.parameters())


def measure_ceiling() -> float:
    """TFLOP/s of a large bf16 product."""
    import torch

    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = 0.0
    for _ in range(4):
        torch.cuda.synchronize()
        begun = time.perf_counter()
        for _ in range(20):
            a @ b
        torch.cuda.synchronize()
        best = max(best, 20 * 2 * 8192**3 / (time.perf_counter() - begun) / 1e12)
    return best


def run_one(name: str, rows: int, steps: int, *, profiles: bool) -> None:
    """One contestant in this process; print one JSON line."""
    logging.basicConfig(format=f"{NOTE}%(message)s", level=logging.WARNING)
    logging.getLogger("whelp").setLevel(logging.DEBUG)
    seconds: list[float] = []
    losses: list[float] = []
    first_step, num_parameters = 0.0, 0
    if name in gpu_peers.NAMES:
        sizes = gpu_peers.Sizes(LAYERS, WIDTH, HEADS, TOKENS, IDS, PADDED)
        for step in gpu_peers.run(name, rows, steps, sizes, STARTED):
            seconds.append(step.seconds)
            losses.append(step.loss)
            first_step, num_parameters = step.first_step_seconds, step.parameters
    else:
        run = run_plain(rows, steps) if name == "plain" else run_ours(name, rows, steps)
        for step_seconds, loss, count in profile_last(run, steps) if profiles else run:
            first_step, num_parameters = first_step or time.perf_counter() - STARTED, count
            seconds.append(step_seconds)
            losses.append(loss)
    import torch

    timed = seconds[len(seconds) // 3 : -PROFILED if profiles else None]
    result = {
        "tokens_per_second": gpu_peers.ROWS.get(name, rows) * TOKENS / statistics.median(timed),
        "first_step_seconds": first_step,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
        "parameters": num_parameters,
        "losses": [losses[0], losses[-1]],
        "ceiling": measure_ceiling(),
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }
    print(json.dumps(result))


def profile_last(run, steps: int):
    """The steps of a run; of the last ones, a table of their kernels on standard error."""
    import torch
    from torch.profiler import ProfilerActivity, profile

    profiler = profile(activities=[ProfilerActivity.CUDA])
    for number, step in enumerate(run, 1):
        if number == steps - PROFILED:
            profiler.start()
        yield step
    torch.cuda.synchronize()
    profiler.stop()
    kernels = [event for event in profiler.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    if not kernels:
        print("profile: no kernels seen", file=sys.stderr)
        return
    span = max(event.time_range.end for event in kernels) - min(event.time_range.start for event in kernels)
    totals: dict[str, list[float]] = {}
    for event in kernels:
        total = totals.setdefault(event.name[:100], [0.0, 0])
        total[0] += event.time_range.elapsed_us()
        total[1] += 1
    busy = sum(total for total, _ in totals.values())
    print(f"profile of {PROFILED} steps: {span / 1e3:.2f} ms from first to last, {busy / 1e3:.2f} in kernels", file=sys.stderr)
    for name, (total, count) in sorted(totals.items(), key=lambda item: -item[1][0])[:45]:
        print(f"profile {total / PROFILED / 1e3:8.3f} ms a step, {count / PROFILED:6.1f} times  {name}", file=sys.stderr)
    idle: dict[str, list[float]] = {}  # before kernels of a name
    busy_until = None
    for event in sorted(kernels, key=lambda event: event.time_range.start):
        if busy_until is not None and event.time_range.start > busy_until:
            total = idle.setdefault(event.name[:100], [0.0, 0])
            total[0] += event.time_range.start - busy_until
            total[1] += 1
        busy_until = max(busy_until or 0, event.time_range.end)
    for name, (total, count) in sorted(idle.items(), key=lambda item: -item[1][0])[:14]:
        print(f"profile idle {total / 1e3:7.3f} ms in all, {count} times, before {name}", file=sys.stderr)


def main() -> None:
    """Run the rounds, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", help="contestants, by commas")
    parser.add_argument("--json", help="write all measurements here, after each")
    parser.add_argument("--limit", type=float, default=float("inf"), help="seconds that all may take")
    parser.add_argument("--each-limit", type=float, default=150.0, help="seconds that a contestant may take")
    parser.add_argument(
        "--profile", action="store_true", help=f"show the kernels of the last {PROFILED} steps of whelp and plain"
    )
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        run_one(options.contestant, options.rows, options.steps, profiles=options.profile)
        return
    names = options.only.split(",") if options.only else list(NAMES)
    found: dict[str, list[dict]] = {name: [] for name in names}
    longest: dict[str, float] = {}  # seconds that a contestant took
    caches = tempfile.TemporaryDirectory(prefix="gpu-train-")
    for index in range(options.rounds):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            left = options.limit - (time.perf_counter() - STARTED)
            if left < min(longest.get(name, 20), 40):
                print(f"round {index + 1} {name}: no time left", file=sys.stderr, flush=True)
                continue
            begun = time.perf_counter()
            result = run_apart(name, options, min(left, options.each_limit), caches.name)
            longest[name] = time.perf_counter() - begun
            if result is not None:
                found[name].append(result)
                print(f"round {index + 1} {name} ({longest[name]:.0f} s): {result}", file=sys.stderr, flush=True)
            if options.json:
                with open(options.json, "w") as file:
                    json.dump(found, file, indent=1)
    print("| contestant | parameters | tokens/s | MFU | peak GiB | first step s |\n|---|---|---|---|---|---|")
    for name, runs in found.items():
        if not runs:
            continue
        speed = statistics.median(run["tokens_per_second"] for run in runs)
        per_token = 6 * runs[0]["parameters"] + 12 * LAYERS * WIDTH * TOKENS
        ceiling = statistics.median(run["ceiling"] for run in runs)
        print(
            f"| {name} | {runs[0]['parameters']:,} | {speed:,.0f} | {speed * per_token / ceiling / 1e12:.1%} | "
            f"{max(run['peak_gib'] for run in runs):.1f} | {runs[0]['first_step_seconds']:.0f} |"
        )


def run_apart(name: str, options: argparse.Namespace, limit: float, folder: str) -> dict | None:
    """A contestant in a process of its own: what it measured, or None after saying why there is nothing."""
    arguments = ["--contestant", name, "--rows", str(options.rows), "--steps", str(options.steps)]
    command = [sys.executable, __file__, *arguments, *(["--profile"] if options.profile else [])]
    cache = os.path.join(folder, name)  # of compiled parts: empty in the first round
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": cache, "TRITON_CACHE_DIR": os.path.join(cache, "triton")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )
    try:
        said, complained = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # with the processes that read its rows
        process.communicate()
        print(f"{name}: took longer than {limit:.0f} s", file=sys.stderr, flush=True)
        return None
    for line in complained.splitlines():
        if line.startswith((NOTE, "profile")):
            print(f"{name}: {line}", file=sys.stderr, flush=True)
    if process.returncode:
        print(f"{name}: {complained.strip()[-1500:]}", file=sys.stderr, flush=True)
        return None
    return json.loads(said.strip().splitlines()[-1])


if __name__ == "__main__":
    main()
