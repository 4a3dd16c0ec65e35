"""RWKV: speed of training and generating, memory, recall far back; on a GPU the kernels checked and timed.

    python benchmarks/rwkv.py --train              tokens/s of training on a CPU, beside GPTs of the same size, at 512 tokens
    python benchmarks/rwkv.py --generate           speed and memory of generating 100,000 tokens
    python benchmarks/rwkv.py --recall             a key stated 4,000 tokens earlier: with the state carried, and without
    python benchmarks/rwkv.py --gpu-check          on a GPU: the kernels against the PyTorch form (loss, gradients, documents)
    python benchmarks/rwkv.py --gpu                on a GPU: tokens/s beside flash-linear-attention's own model, 1k to 64k tokens

CPU times are of the processor (user + system) on one thread, so that other work on the machine does not count.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import time
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import torch

from whelp.artifacts.row_batch import RowBatch
from whelp.artifacts.targets import IGNORED
from whelp.model import LanguageModel, ModelConfig, build_model, make_spec, rwkv_kernels
from whelp.train.chunks import iter_losses, plan_chunks
from whelp.train.config import TrainConfig
from whelp.train.optimizer import build_optimizer

WIDTH, LAYERS = 768, 12  # of the GPU part
TOLERANCE = 0.02  # of the kernels against PyTorch in float32, as a share of the length; in bf16 three times what PyTorch has


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("train", "generate", "recall", "gpu-check", "gpu"):
        parser.add_argument(f"--{name}", action="store_true")
    parser.add_argument("--n_layer", type=int, default=6)
    parser.add_argument("--n_embd", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=100_000, help="--generate: how many")
    parser.add_argument("--steps", type=int, default=3000, help="--recall: how many")
    parser.add_argument("--rows", type=int, default=32, help="--recall: rows of a step")
    parser.add_argument("--seconds", type=float, default=5.0, help="--gpu: of each measurement")
    options = parser.parse_args()
    if options.train:
        time_training(options.n_layer, options.n_embd)
    if options.generate:
        time_generating(options.n_layer, options.n_embd, options.tokens)
    if options.recall:
        try_recall(options.steps, rows=options.rows)
    if options.gpu_check:
        check_kernels()
    if options.gpu:
        time_gpu(options.seconds)


def say(**values: object) -> None:
    """One line of JSON."""
    print(json.dumps(values), flush=True)


def build(family: str, n_layer: int, n_embd: int, *, num_ids: int, context_tokens: int) -> LanguageModel:
    """A model with heads of 64."""
    config = ModelConfig(family=family, n_layer=n_layer, n_head=max(1, n_embd // 64), n_embd=n_embd)
    return build_model(make_spec(config, num_ids=num_ids, context_tokens=context_tokens), seed=0)


# --- on a CPU ---


def time_training(n_layer: int, n_embd: int, *, num_ids: int = 4096, rows: int = 4, length: int = 512) -> None:
    """The median of five steps of AdamW, in processor time."""
    torch.set_num_threads(1)
    for family in ("gpt2", "qwen3", "rwkv7", "rwkv5"):
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


def make_recall_rows(count: int, length: int, draw: np.random.Generator, *, num_keys: int = 8) -> RowBatch:
    """Noise with a key in the second place, asked for in the last."""
    ids = draw.integers(num_keys + 1, num_keys + 9, (count, length))
    ids[:, 1] = draw.integers(0, num_keys, count)
    ids[:, -1] = num_keys
    targets = np.full_like(ids, IGNORED)
    targets[:, -1] = ids[:, 1]
    return RowBatch(ids, targets)


def try_recall(num_steps: int, *, rows: int, length: int = 4096, chunk: int = 512) -> None:
    """Train with gradients through all chunks, and with chunks that know nothing of each other.

    Rows double from 64 tokens to their full length over the first two thirds of the steps. It takes more than a few hundred steps:
    neither so, nor with full rows from the start, was anything learned in 100.
    """
    doublings = int(np.log2(length // 64))
    config = TrainConfig(
        bptt_tokens=chunk, bptt_truncated_learning=False, optimizer="adamw", learning_rate=7e-3, weight_decay=0.0
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    for is_carried in (True, False):
        model = build("rwkv7", 1, 64, num_ids=17, context_tokens=length).to(device)
        optimizer, draw = build_optimizer(model, config), np.random.default_rng(0)
        compute = model.loss_and_state if is_carried else None
        losses = []
        for step in range(num_steps):
            width = min(length, 64 << (step * (doublings + 1) * 3 // (num_steps * 2)))
            batch = make_recall_rows(rows, width, draw)
            ids, targets = (torch.from_numpy(part).to(device) for part in (batch.ids, batch.targets))
            losses.append(0.0)
            for nats in iter_losses(compute, model.loss, ids, targets, None, plan_chunks(batch, config), config):
                (nats / rows).backward()
                losses[-1] += float(nats.detach()) / rows
            optimizer.clip(1.0)
            optimizer.step(7e-3 * min(1.0, (step + 1) / 20) * (1 - 0.9 * step / num_steps))
            optimizer.zero_grad()
            if (step + 1) % max(1, num_steps // 10) == 0:
                mean = float(np.mean(losses[-5:]))
                say(
                    what="recall",
                    carried=is_carried,
                    step=step + 1,
                    length=width,
                    nats=round(mean, 4),
                    guess=round(float(np.log(8)), 4),
                )


# --- on a GPU ---


def check_kernels() -> None:
    """The model with the kernels against the same model in PyTorch and float32; fails loudly."""
    assert torch.cuda.is_available(), "--gpu-check needs a GPU"
    assert rwkv_kernels.find_kernels(), "the kernels are not installed: pip install 'whelp[rwkv]'"
    problems = []
    for family in ("rwkv7", "rwkv5"):
        model = build(family, 3, 256, num_ids=512, context_tokens=512).cuda()
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=draw).cuda(), alpha=0.02)
        ids, targets = torch.randint(0, 512, (2, 4, 700), generator=draw).cuda()
        starts = (torch.rand(4, 700, generator=draw) < 0.01).cuda()
        starts[:, 0] = False
        starts[0, :2] = True  # a document that begins with the row, and one of one token
        state = model.read(ids[:, :100])[1].detach()
        for name, begins, before in (("plain", None, None), ("state", None, state), ("documents", starts, state)):
            for precision in (torch.float32, torch.bfloat16):
                expected = _run(model, ids, targets, begins, before, torch.float32, uses_kernels=False)
                found = _run(model, ids, targets, begins, before, precision, uses_kernels=True)
                rounded = _run(model, ids, targets, begins, before, precision, uses_kernels=False)
                worst = {key: _distance(found[key], expected[key]) for key in expected}
                limits = {key: max(TOLERANCE, 3 * _distance(rounded[key], expected[key])) for key in expected}
                if precision == torch.bfloat16:
                    limits = {key: max(0.05, limit) for key, limit in limits.items()}
                is_good = all(value <= limits[key] for key, value in worst.items())
                top = dict(sorted(worst.items(), key=lambda item: -item[1])[:4])
                case = f"{family} {name} {str(precision).removeprefix('torch.')}"
                say(what="gpu-check", case=case, good=is_good, worst={key: round(value, 5) for key, value in top.items()})
                problems += [] if is_good else [case]
        pieces = [ids[:, :300], ids[:, 300:301], ids[:, 301:]]
        with torch.no_grad():
            whole, end = model.read(ids)
            parts, carried = [], None
            for piece in pieces:
                hidden, carried = model.read(piece, carried)
                parts.append(hidden)
            drift = max(_distance(torch.cat(parts, 1), whole), _distance(carried.memory, end.memory))
        say(what="gpu-check", case=f"{family} in pieces", good=drift < TOLERANCE, drift=round(drift, 6))
        problems += [] if drift < TOLERANCE else [f"{family} in pieces"]
    say(what="gpu-check", holds=not problems, problems=problems)
    if problems:
        raise SystemExit(1)


def _run(
    model: LanguageModel,
    ids: torch.Tensor,
    targets: torch.Tensor,
    starts: torch.Tensor | None,
    before: object,
    precision: torch.dtype,
    *,
    uses_kernels: bool,
) -> dict[str, torch.Tensor]:
    """Loss, state and gradients, the first state's among them."""
    model.zero_grad()
    leaf = None if before is None else type(before)(*(part.clone().requires_grad_() for part in before.tensors().values()))
    with _kernels(uses_kernels), torch.autocast("cuda", precision, enabled=precision != torch.float32):
        nats, state = model.loss_and_state(ids, targets, leaf, starts)
    (nats / ids.numel() + 1e-3 * state.memory.square().mean()).backward()
    found = {"loss": nats.detach().view(1), "memory": state.memory.detach()}
    found |= {f"gradient of {name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    if leaf is not None:
        found |= {f"gradient of the first {name}": part.grad for name, part in leaf.tensors().items()}
    return found


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of two tensors, as a share of the second one's length."""
    return float((one.float() - other.float()).norm() / (other.float().norm() + 1e-12))


@contextlib.contextmanager
def _kernels(are_used: bool) -> Iterator[None]:
    """Use the kernels, or PyTorch, and nothing else: a kernel that is distrusted must not be replaced by what it is compared with."""
    replaced = {"find_kernels": lambda: are_used, "find_disagreement": lambda *_: None}
    before = {name: getattr(rwkv_kernels, name) for name in replaced}
    for name, function in replaced.items():
        setattr(rwkv_kernels, name, function)
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(rwkv_kernels, name, function)


def time_gpu(seconds: float) -> None:
    """Training steps (forward, backward, AdamW) in bf16: ours and the library's, 4,096 tokens; then ours from 1k to 64k."""
    say(what="gpu", name=torch.cuda.get_device_name(), torch=torch.__version__)
    for rows in (8, 2):
        makers = {"whelp": _ours, "whelp, compiled": _ours_compiled, "fla": _theirs, "fla, bf16 weights": _theirs_narrow}
        for name, make in makers.items():
            _report(name, make, rows, 4096, seconds)
    for length in (1024, 4096, 16384, 65536):
        _report("whelp, compiled", _ours_compiled, max(1, 16384 // length), length, seconds)
    for length in (4096, 16384, 65536):  # chunks of 4,096 with the state carried: memory stays
        _report("whelp, chunks of 4,096", _ours_in_chunks, 1, length, seconds)


def _report(name: str, make: Callable[[int], Callable[[torch.Tensor], None]], rows: int, length: int, seconds: float) -> None:
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    try:
        step = make(length)
        ids = torch.randint(0, 50_000, (rows, length + 1), device="cuda")
        for _ in range(3):
            step(ids)
        torch.cuda.synchronize()
        start, count = time.perf_counter(), 0
        while time.perf_counter() - start < seconds:
            step(ids)
            torch.cuda.synchronize()
            count += 1
        speed = count * rows * length / (time.perf_counter() - start)
        memory = torch.cuda.max_memory_allocated() / 1e9
        say(what="gpu", model=name, rows=rows, length=length, tokens_per_second=round(speed), gigabytes=round(memory, 2))
    except Exception as error:  # one that fails must not take the others with it
        say(what="gpu", model=name, rows=rows, length=length, error=f"{type(error).__name__}: {str(error)[:300]}")


def _ours(length: int, *, compiles: bool = False, chunk: int | None = None) -> Callable[[torch.Tensor], None]:
    model = build("rwkv7", LAYERS, WIDTH, num_ids=50_304, context_tokens=length).cuda()
    config = TrainConfig(optimizer="adamw", learning_rate=1e-4, bptt_tokens=chunk)
    optimizer = build_optimizer(model, config)
    if compiles:
        model.compile_parts()

    def step(ids: torch.Tensor) -> None:
        inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        state = None
        for begin in range(0, inputs.shape[1], chunk or inputs.shape[1]):
            part = slice(begin, begin + (chunk or inputs.shape[1]))
            with torch.autocast("cuda", torch.bfloat16):
                nats, state = model.loss_and_state(inputs[:, part], targets[:, part], state)
            (nats / inputs.numel()).backward()
            state = state.detach()
        optimizer.clip(1.0)
        optimizer.step(1e-4)
        optimizer.zero_grad()

    return step


def _ours_compiled(length: int) -> Callable[[torch.Tensor], None]:
    return _ours(length, compiles=True)


def _ours_in_chunks(length: int) -> Callable[[torch.Tensor], None]:
    return _ours(length, compiles=True, chunk=4096)


def _theirs(length: int, *, is_narrow: bool = False) -> Callable[[torch.Tensor], None]:
    """The library's own model of the same sizes, with its fused norms and loss; its weights in float32, or in bf16."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from fla.models.rwkv7 import RWKV7Config, RWKV7ForCausalLM

        ours = build("rwkv7", LAYERS, WIDTH, num_ids=50_304, context_tokens=length)
        config, weights = ours.to_hugging_face()
        names = {"architectures", "model_type", "torch_dtype"}
        model = RWKV7ForCausalLM(RWKV7Config(**{name: value for name, value in config.items() if name not in names}))
    missing = model.load_state_dict(weights, strict=False)
    assert not missing.unexpected_keys, missing.unexpected_keys
    model = model.to("cuda", torch.bfloat16 if is_narrow else torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(ids: torch.Tensor) -> None:
        with torch.autocast("cuda", torch.bfloat16, enabled=not is_narrow):
            loss = model(input_ids=ids[:, :-1].contiguous(), labels=ids[:, :-1].contiguous(), use_cache=False).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def _theirs_narrow(length: int) -> Callable[[torch.Tensor], None]:
    return _theirs(length, is_narrow=True)


if __name__ == "__main__":
    main()
