"""Time GPT training on one GPU: whelp beside a compiled plain PyTorch loop, GPT-2 124M in bf16.

    python benchmarks/gpu_train.py
    python benchmarks/gpu_train.py --rows 8 --only plain,gpt2,qwen3 --steps 60 --json out.json

One process a contestant, one after the other, rounds alternating. Work: 12 layers, width 768, 12 heads, 1,024 tokens, rows of
random ids from a vocabulary of 50,257 padded to 50,304 (the time of a step does not depend on the text). The contestants:

``plain``        what a careful user writes: a GPT-2 of one file, whole model compiled with its loss, autocast, fused AdamW.
``hf``           the Hugging Face Trainer at its best settings: GPT2Config, bf16, torch_compile, fused AdamW, no dropout.
``hf-tutorial``  the same as tutorials have it: 8 rows at a time, float32, not compiled, dropout 0.1.
``gpt2``         whelp's gpt2 with AdamW, compiled: with biases, as GPT-2 has them.
``gpt2-bare``    the same without biases, as the plain loop.
``gpt2-eager``   the same, not compiled.
``qwen3``        whelp's qwen3 of the same width and depth with Muon, compiled: another model, with more arithmetic a token.
``packed``       gpt2 with four documents in a row kept apart.

tokens/s is the median step after warm-up: data, clipping and the optimizer are in it. MFU is against the bf16 product measured in
the same call. First step: from the process's start to the end of the first optimizer step, imports included.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

STARTED = time.perf_counter()
LAYERS, WIDTH, HEADS, TOKENS, IDS, PADDED = 12, 768, 12, 1024, 50257, 50304
NAMES = ("plain", "hf", "hf-tutorial", "gpt2", "gpt2-bare", "gpt2-eager", "qwen3", "packed")


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
    open_gpu_early()
    import torch

    from whelp.base.machine import count_cores
    from whelp.model import ModelConfig, build_model, make_spec
    from whelp.model.build import count_parameters
    from whelp.model.warm_up import warm_up
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
        log_every_steps=1,
        **optimizer,
    )
    has_bias = name != "gpt2-bare"
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
        warm_up(spec, torch.device("cuda", 0))
    model = build_model(spec, 0).cuda()
    torch.set_float32_matmul_precision("high")
    source = RandomRows(rows, has_documents=name == "packed")
    steps_done = fit(model, build_optimizer(model, config), source, plan, config, Progress())
    start_up.reach("model")
    begun = time.perf_counter()
    for report in steps_done:  # each has waited for its own loss
        now = time.perf_counter()
        start_up.reach("first_step")
        if stages := start_up.end():
            print(f"seconds to the first step: {stages}", file=sys.stderr)
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


def run_trainer(rows: int, steps: int, *, is_tutorial: bool):
    """Seconds of each step of the Hugging Face Trainer; its log has them."""
    import tempfile

    import numpy as np
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

    class Data(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return rows * steps

        def __getitem__(self, index: int):
            ids = torch.from_numpy(np.random.default_rng(index).integers(0, IDS, TOKENS))
            return {"input_ids": ids, "labels": ids}

    class Clock(TrainerCallback):
        def __init__(self) -> None:
            self.times = []

        def on_step_begin(self, *_, **__) -> None:
            torch.cuda.synchronize()
            self.begun = time.perf_counter()

        def on_step_end(self, *_, **__) -> None:
            torch.cuda.synchronize()
            self.times.append(time.perf_counter() - self.begun)
            self.first = getattr(self, "first", time.perf_counter() - STARTED)

    dropout = 0.1 if is_tutorial else 0.0
    config = GPT2Config(vocab_size=IDS if is_tutorial else PADDED, resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout)
    best = {"bf16": True, "torch_compile": True, "optim": "adamw_torch_fused", "dataloader_num_workers": 4}
    best["logging_nan_inf_filter"] = False
    clock, model = Clock(), GPT2LMHeadModel(config)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=rows,
            max_steps=steps,
            logging_steps=steps,
            save_strategy="no",
            report_to=[],
            learning_rate=6e-4,
            **({"tf32": False} if is_tutorial else best),
        )
        result = Trainer(model=model, args=settings, train_dataset=Data(), callbacks=[clock]).train()
    for seconds in clock.times:
        yield seconds, result.training_loss, model.num_parameters(), clock.first


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


def run_one(name: str, rows: int, steps: int) -> None:
    """One contestant in this process; print one JSON line."""
    seconds: list[float] = []
    losses: list[float] = []
    first_step, num_parameters = 0.0, 0
    if name == "hf-tutorial":
        rows = 8
    if name == "plain":
        run = run_plain(rows, steps)
    else:
        run = run_trainer(rows, steps, is_tutorial=name != "hf") if name.startswith("hf") else run_ours(name, rows, steps)
    for step_seconds, loss, count, *first in run:
        first_step, num_parameters = first_step or (first[0] if first else time.perf_counter() - STARTED), count
        seconds.append(step_seconds)
        losses.append(loss)
    import torch

    result = {
        "tokens_per_second": rows * TOKENS / statistics.median(seconds[len(seconds) // 3 :]),
        "first_step_seconds": first_step,
        "peak_gib": torch.cuda.max_memory_allocated() / 2**30,
        "parameters": num_parameters,
        "losses": [losses[0], losses[-1]],
        "ceiling": measure_ceiling(),
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
    }
    print(json.dumps(result))


def main() -> None:
    """Run the rounds, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=64)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", help="contestants, by commas")
    parser.add_argument("--json", help="write all measurements here")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        run_one(options.contestant, options.rows, options.steps)
        return
    names = options.only.split(",") if options.only else list(NAMES)
    found: dict[str, list[dict]] = {name: [] for name in names}
    for index in range(options.rounds):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            arguments = ["--contestant", name, "--rows", str(options.rows), "--steps", str(options.steps)]
            done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True)
            if done.returncode:
                print(f"{name}: {done.stderr.strip()[-1500:]}", file=sys.stderr)
                continue
            for line in done.stderr.splitlines():
                if "slower" in line or "first step" in line:  # what whelp says where a faster way failed, or of its start
                    print(f"{name}: {line}", file=sys.stderr)
            found[name].append(json.loads(done.stdout.strip().splitlines()[-1]))
            print(f"round {index + 1} {name}: {found[name][-1]}", file=sys.stderr, flush=True)
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
            f"{max(run['peak_gib'] for run in runs):.1f} | {statistics.median(run['first_step_seconds'] for run in runs):.0f} |"
        )


if __name__ == "__main__":
    main()
