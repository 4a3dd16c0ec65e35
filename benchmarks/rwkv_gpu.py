"""RWKV on a GPU: its kernels checked against PyTorch, and its speed beside flash-linear-attention's own model.

    python benchmarks/rwkv_gpu.py                          both, for at most four minutes
    python benchmarks/rwkv_gpu.py --check                  the kernels against PyTorch: loss, gradients, states, documents
    python benchmarks/rwkv_gpu.py --speed --seconds 5      tokens/s of training steps at 4,096 tokens, then from 1k to 64k
    python benchmarks/rwkv_gpu.py --speed --only whelp-compiled,fla
    WHELP_TUNE_KERNELS=full python benchmarks/rwkv_gpu.py --budget 900      every setting of every kernel tried

Each model has a process of its own, one after the other. Each line is printed as soon as it is known. A model that has not started within
`--start` seconds is ended and said to be skipped.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import multiprocessing.connection
import os
import time
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch

from whelp.model import LanguageModel, ModelConfig, build_model, make_spec
from whelp.model.rwkv import kernels as rwkv_kernels
from whelp.model.rwkv import shared
from whelp.train.config import TrainConfig
from whelp.train.optimizer import build_optimizer

WIDTH, LAYERS, NUM_IDS = 768, 12, 50_304
TOLERANCE = (
    0.05  # of bf16 kernels against PyTorch in float32, as a share of the length; or three times what PyTorch has in bf16
)
_Step = Callable[[torch.Tensor], None]
_START = time.perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--speed", action="store_true")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each measurement")
    parser.add_argument("--only", help=f"--speed: {', '.join(MODELS)}")
    parser.add_argument("--start", type=float, default=150.0, help="seconds until a model that has not started is left out")
    parser.add_argument("--profile", type=Path, help="--speed: a folder for the time of each kernel in a step, a file a model")
    parser.add_argument("--budget", type=float, default=240.0, help="seconds, after which nothing more is begun")
    options = parser.parse_args()
    assert torch.cuda.is_available(), "this needs a GPU"
    assert rwkv_kernels.find_kernels(), "the kernels are not installed: pip install 'whelp[rwkv]'"
    versions = {name: version(name) for name in ("torch", "triton", "fla-core")}
    tuning = os.environ.get("WHELP_TUNE_KERNELS", "short")
    say(what="gpu", name=torch.cuda.get_device_name(), tuning=tuning, **versions)
    both, problems = options.check == options.speed, 0
    if options.speed or both:
        problems += measure_all((options.only or ",".join(MODELS)).split(","), options)
    for family in ("rwkv7", "rwkv5"):
        if not (options.check or both):
            continue
        if time.perf_counter() - _START > options.budget:
            say(what="skipped", name=f"check of {family}")
            continue
        try:
            check_kernels(family)
        except Exception as error:  # one that fails must not take the others with it
            problems += 1
            say(what="failed", name=f"check of {family}", error=_name(error))
    raise SystemExit(1 if problems else 0)


def say(**values: object) -> None:
    """One line of JSON, with the seconds since the start."""
    print(json.dumps({**values, "at": round(time.perf_counter() - _START, 1)}), flush=True)


def _name(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:300]}"


def build(family: str, n_layer: int, n_embd: int, *, num_ids: int, context_tokens: int) -> LanguageModel:
    """A model with heads of 64."""
    config = ModelConfig(family=family, n_layer=n_layer, n_head=max(1, n_embd // 64), n_embd=n_embd)
    return build_model(make_spec(config, num_ids=num_ids, context_tokens=context_tokens), seed=0)


# --- right ---


def check_kernels(family: str) -> None:
    """The model of a family with the kernels in bf16 against the same model in PyTorch and float32.

    As many heads as the model that is timed, so that nothing is compiled for the check alone.
    """
    model = build(family, 2, WIDTH, num_ids=512, context_tokens=512).cuda()
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw).cuda(), alpha=0.02)
    ids, targets = torch.randint(0, 512, (2, 4, 700), generator=draw).cuda()
    starts = (torch.rand(4, 700, generator=draw) < 0.01).cuda()
    starts[:, 0] = False
    starts[0, :2] = True  # a document that begins with the row, and one of one token
    with use_kernels(False), torch.no_grad():
        state = model.read(ids[:, :100])[1].detach()
    problems = []
    for name, begins, before in (("plain", None, None), ("state", None, state), ("documents", starts, state)):
        arguments = (model, ids, targets, begins, before)
        expected = _run(*arguments, torch.float32, uses_kernels=False)
        rounded = _run(*arguments, torch.bfloat16, uses_kernels=False)
        found = _run(*arguments, torch.bfloat16, uses_kernels=True)
        worst = {key: measure_distance(found[key], expected[key]) for key in expected}
        limits = {key: max(TOLERANCE, 3 * measure_distance(rounded[key], expected[key])) for key in expected}
        is_good = all(value <= limits[key] for key, value in worst.items())
        top = dict(sorted(worst.items(), key=lambda item: -item[1])[:3])
        say(what="check", case=f"{family} {name}", good=is_good, worst={key: round(value, 4) for key, value in top.items()})
        problems += [] if is_good else [name]
    with torch.no_grad(), use_kernels(True), torch.autocast("cuda", torch.bfloat16):
        whole, end = model.read(ids)
        parts, carried = [], None
        for piece in (ids[:, :300], ids[:, 300:301], ids[:, 301:]):
            hidden, carried = model.read(piece, carried)
            parts.append(hidden)
    drift = max(measure_distance(torch.cat(parts, 1), whole), measure_distance(carried.memory, end.memory))
    say(what="check", case=f"{family} in pieces", good=drift < TOLERANCE, drift=round(drift, 5))
    problems += [] if drift < TOLERANCE else ["in pieces"]
    assert not problems, f"{family}: {', '.join(problems)}"


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
    with use_kernels(uses_kernels), torch.autocast("cuda", precision, enabled=precision != torch.float32):
        nats, state = model.loss_and_state(ids, targets, leaf, starts)
    (nats / ids.numel() + 1e-3 * state.memory.square().mean()).backward()
    found = {"loss": nats.detach().view(1), "memory": state.memory.detach()}
    found |= {f"gradient of {name}": p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    if leaf is not None:
        found |= {f"gradient of the first {name}": part.grad for name, part in leaf.tensors().items()}
    return found


def measure_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of two tensors, as a share of the second one's length."""
    return float((one.float() - other.float()).norm() / (other.float().norm() + 1e-12))


@contextlib.contextmanager
def use_kernels(are_used: bool) -> Iterator[None]:
    """Use the kernels, or PyTorch, and nothing else: a kernel that is distrusted must not be replaced by what it is compared with."""
    before = shared.choose_kernel
    shared.choose_kernel = lambda name, *_, **__: name if are_used else None
    try:
        yield
    finally:
        shared.choose_kernel = before


# --- fast ---


class Case(NamedTuple):
    """Rows of a length, trained in chunks of 4,096 tokens with the state carried where they are longer."""

    rows: int
    length: int


AT_ONCE = Case(8, 4096)
OTHERS = [Case(8, 1024), Case(8, 2048), Case(8, 16384), Case(8, 65536)]


class Contestant(NamedTuple):
    """A model, and what it is timed at; it starts with the first."""

    make: Callable[[], _Step]
    cases: list[Case]


MODELS = {
    "whelp-compiled": Contestant(lambda: train_ours(compiles=True), [AT_ONCE, *OTHERS]),
    "fla": Contestant(lambda: _theirs(), [AT_ONCE]),
    "fla-bf16": Contestant(lambda: _theirs(is_narrow=True), [AT_ONCE]),
    "whelp": Contestant(lambda: train_ours(), [AT_ONCE, *OTHERS]),
}


def measure_all(names: list[str], options: argparse.Namespace) -> int:
    """Start and time one model after the other; how many failed."""
    problems = 0
    for name in names:
        if time.perf_counter() - _START > options.budget:
            say(what="skipped", model=name)
            continue
        context = multiprocessing.get_context("spawn")  # a GPU that was used here cannot be used by a copy of this process
        pipe, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(name, theirs), daemon=True)
        process.start()
        theirs.close()
        if pipe.poll(options.start):
            problems += _time_one(name, pipe, options)
        else:
            say(what="skipped", model=name, why="not started in time")
        process.kill()
        process.join()
    return problems


def _time_one(name: str, pipe: multiprocessing.connection.Connection, options: argparse.Namespace) -> int:
    """Time a model that has started; how often it failed."""
    answers = [_receive(pipe)]
    say(**answers[0], model=name)
    wishes: list[tuple[Case, float | Path]] = [(case, options.seconds) for case in MODELS[name].cases]
    if options.profile is not None:
        wishes.insert(1, (MODELS[name].cases[0], options.profile / f"{name}.txt"))
    for case, wish in wishes:
        if answers[-1]["what"] == "failed" or time.perf_counter() - _START > options.budget:
            say(what="skipped", model=name, **case._asdict())
            continue
        pipe.send((case, wish))
        answers.append(_receive(pipe))
        say(**answers[-1], model=name, **case._asdict())
    return sum(answer["what"] == "failed" for answer in answers)


def _receive(pipe: multiprocessing.connection.Connection) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = pipe.recv()
    except EOFError:
        return {"what": "failed", "error": "the process has ended"}
    return answer


def _serve(name: str, pipe: multiprocessing.connection.Connection) -> None:
    """Start a model, say so, then do what is asked for."""
    start, contestant = time.perf_counter(), MODELS[name]
    torch.set_num_threads(4)
    try:
        step = contestant.make()
        step(_draw_ids(contestant.cases[0]))
        torch.cuda.synchronize()
        pipe.send({"what": "started", "seconds": round(time.perf_counter() - start, 1)})
    except Exception as error:
        pipe.send({"what": "failed", "error": _name(error)})
        raise
    with contextlib.suppress(EOFError):  # the one who asks has ended
        _answer(pipe, step)


def _answer(pipe: multiprocessing.connection.Connection, step: _Step) -> None:
    while True:
        case, wish = pipe.recv()
        try:
            if isinstance(wish, Path):
                _profile(step, case, wish)
                pipe.send({"what": "profile", "file": str(wish)})
            else:
                pipe.send({"what": "speed", **measure_step(step, case, wish)})
        except Exception as error:
            pipe.send({"what": "failed", "error": _name(error)})
        torch.cuda.empty_cache()


def _draw_ids(case: Case) -> torch.Tensor:
    return torch.randint(0, NUM_IDS, (case.rows, case.length + 1), device="cuda")


def measure_step(step: _Step, case: Case, seconds: float) -> dict[str, float]:
    """Tokens a second, and the most memory in use, of training steps: forward, backward, AdamW, in bf16."""
    ids = _draw_ids(case)
    for _ in range(1 if case.length > 4096 else 3):
        step(ids)
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step(ids)
        torch.cuda.synchronize()
        count += 1
    speed = count * case.rows * case.length / (time.perf_counter() - start)
    return {"tokens_per_second": round(speed), "gigabytes": round(torch.cuda.max_memory_allocated() / 1e9, 2)}


def _profile(step: _Step, case: Case, file: Path) -> None:
    ids = _draw_ids(case)
    step(ids)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        step(ids)
        torch.cuda.synchronize()
    file.parent.mkdir(parents=True, exist_ok=True)
    table = profile.key_averages().table(sort_by="self_device_time_total", row_limit=80, max_name_column_width=90)
    file.write_text(table, encoding="utf-8")


@contextlib.contextmanager
def _drawn_fast() -> Iterator[None]:
    """Orthogonal first weights take a processor seconds, and do not change how long a step takes."""
    before = torch.nn.init.orthogonal_
    torch.nn.init.orthogonal_ = lambda tensor, *_, **__: tensor.data.normal_(0, 0.02)  # type: ignore[assignment]  # takes less
    try:
        yield
    finally:
        torch.nn.init.orthogonal_ = before


def train_ours(family: str = "rwkv7", *, compiles: bool = False, chunk: int = 4096) -> _Step:
    """A training step of our model, with the state carried from chunk to chunk."""
    with _drawn_fast():
        model = build(family, LAYERS, WIDTH, num_ids=NUM_IDS, context_tokens=4096).cuda()
    config = TrainConfig(optimizer="adamw", learning_rate=1e-4, bptt_tokens=chunk)
    optimizer = build_optimizer(model, config)
    if compiles:
        model.compile_parts()

    def step(ids: torch.Tensor) -> None:
        inputs, targets = ids[:, :-1].contiguous(), ids[:, 1:].contiguous()
        state = None
        for begin in range(0, inputs.shape[1], chunk):
            part = slice(begin, begin + chunk)
            with torch.autocast("cuda", torch.bfloat16):
                nats, state = model.loss_and_state(inputs[:, part], targets[:, part], state)
            (nats / inputs.numel()).backward()
            state = state.detach()
        optimizer.clip(1.0)
        optimizer.step(1e-4)
        optimizer.zero_grad()

    return step


def _theirs(*, is_narrow: bool = False) -> _Step:
    """The library's own model of the same sizes, with its fused norms and loss; its weights in float32, or in bf16."""
    with warnings.catch_warnings(), _drawn_fast():
        warnings.simplefilter("ignore")
        from fla.models.rwkv7 import RWKV7Config, RWKV7ForCausalLM
        from fla.ops.rwkv7 import fused_addcmul

        mixing = (fused_addcmul.fused_addcmul_fwd_kernel, fused_addcmul.addcmul_bwd_kernel1)
        short = [[one for one in kernel.configs if one.num_stages == 1 and one.num_warps in (4, 8)] for kernel in mixing]
        rwkv_kernels.limit_tuning("fla")  # of what this brings besides: norms, token shift, loss
        for kernel, configs in zip(mixing, short, strict=True):
            kernel.configs = configs  # the widest tile, whole rows of 768, may be too wide here
        ours = build("rwkv7", LAYERS, WIDTH, num_ids=NUM_IDS, context_tokens=4096)
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


if __name__ == "__main__":
    main()
