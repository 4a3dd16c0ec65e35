"""What rounding to 8 bits does to a model, told in a minute: branches of one run, with the same rows, that differ in their products alone.

    python benchmarks/eight_bits_branches.py --at 300 --steps 200
    python benchmarks/eight_bits_branches.py --at 200 --steps 60 --only bf16,fp8,head,again --store STORE --json out.json

GPT-2 124M is trained as by `eight_bits.py`, for `--at` of 500 steps in bf16. From there on it is trained `--steps` farther, once for each
branch, from the same weights, optimizer's state and rows. Whole runs part early and end 0.3 % apart whatever they multiply; such
branches of the same arithmetic stay within some 0.002 %. The branches:

``bf16``      as `train.precision: auto` has it; the others are compared with it.
``fp8``       `train.precision: fp8`; it may be named several times.
``head``      fp8 in the head alone.
``blocks``    fp8 in the blocks alone.
``nearest``   fp8, with the logits' gradient rounded to the nearest number instead of up or down by chance.
``again``     bf16, from weights that differ by 1e-4 of themselves: what chance does.

For each the mean loss of its steps in three thirds, and the loss on held-out rows in float32, as differences from the first branch in %.
"""

from __future__ import annotations

import argparse
import dataclasses
import gc
import itertools
import json
import logging
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import time_to_quality
from eight_bits import COMMON

NAMES = ("bf16", "fp8", "head", "blocks", "nearest", "again")
SCORED_ROWS, SCORED_AT_ONCE = 160, 32
RELATIVE_CHANGE = 1e-4  # of the weights of `again`


class Branches:
    """One run, brought to a step, and what it becomes from there."""

    def __init__(self, store: Path, options: argparse.Namespace) -> None:
        from whelp.train import Progress, build_optimizer

        overrides = [*COMMON, f"train.learning_rate={options.rate}", f"train.seed={options.seed}", *options.change]
        self._setting = time_to_quality.open_setting(store, [*overrides, "train.precision=bf16"], options.device)
        self._model, self._plan, self._config = self._setting.begin(options.planned_steps)
        optimizer, self._progress = build_optimizer(self._model, self._config), Progress()
        self._train(optimizer, self._plan, self._progress, options.at)
        self._weights = {name: tensor.clone() for name, tensor in self._model.state_dict().items()}
        self._state = {name: tensor.clone() for name, tensor in optimizer.state().items()}

    def grow(self, name: str, steps: int, seed: int) -> dict[str, Any]:
        """Train a branch; its losses, the held-out loss, and the seconds of a step."""
        import torch

        from whelp.train import build_optimizer

        self._model.load_state_dict(self._weights)
        if name == "again":
            draw = torch.Generator(self._setting.device).manual_seed(seed)
            with torch.no_grad():
                for weight in self._model.parameters():
                    weight.mul_(1 + RELATIVE_CHANGE * torch.randn(weight.shape, generator=draw, device=weight.device))
        optimizer = build_optimizer(self._model, self._config)
        optimizer.load_state(self._state)
        plan = self._plan if name in ("bf16", "again") else dataclasses.replace(self._plan, precision="fp8")
        with products_of(name):
            losses, seconds = self._train(optimizer, plan, dataclasses.replace(self._progress, recent_losses=[]), steps)
        return {"losses": losses, "held_out": self._score(), "seconds": seconds}

    def _train(self, optimizer: Any, plan: Any, progress: Any, steps: int) -> tuple[list[float], float]:
        from whelp.train.fit import fit

        losses, times = [], [time.perf_counter()]
        reports = fit(self._model, optimizer, self._setting.rows, plan, self._config, progress)
        while len(losses) < steps:
            losses.append(next(reports).loss)
            times.append(time.perf_counter())
        reports.close()
        gc.collect()  # what was recorded holds memory
        return losses, statistics.median(end - begin for begin, end in itertools.pairwise(times)) if steps else 0.0

    def _score(self) -> float:
        """Nats a token of held-out rows, in float32."""
        import torch

        held = self._setting.scored.read(0, SCORED_ROWS, 0)
        self._model.eval()
        torch.set_float32_matmul_precision("highest")
        total, count = 0.0, 0
        with torch.no_grad():
            for first in range(0, len(held.ids), SCORED_AT_ONCE):
                part = slice(first, first + SCORED_AT_ONCE)
                ids, targets = (torch.from_numpy(array[part]).to(self._setting.device) for array in (held.ids, held.targets))
                total += float(self._model.loss(ids, targets))
                count += int((targets >= 0).sum())
        torch.set_float32_matmul_precision("high")
        self._model.train()
        return total / count


@contextmanager
def products_of(name: str) -> Iterator[None]:
    """While it lasts, fp8 is what the branch says."""
    if name not in ("head", "blocks", "nearest"):
        yield
        return
    from whelp.model.gpu import block as gpu_block
    from whelp.model.gpu import block_eight_bits as gpu_block_eight_bits
    from whelp.model.gpu import cross_entropy as gpu_cross_entropy
    from whelp.model.gpu import linear as gpu_linear

    place, attribute, instead = {
        "head": (gpu_block_eight_bits, "WAYS", (gpu_linear.Linear, gpu_block._FeedForward)),
        "blocks": (gpu_cross_entropy, "has_working_eight_bits", lambda device: False),
        "nearest": (gpu_cross_entropy, "write_gradient", round_to_nearest),
    }[name]
    kept = getattr(place, attribute)
    setattr(place, attribute, instead)
    try:
        yield
    finally:
        setattr(place, attribute, kept)


def round_to_nearest(logits: Any, targets: Any, normalisers: Any) -> tuple[Any, Any]:
    """What `write_gradient` gives, to the nearest number; for sizes that are multiples of 16."""
    import torch

    from whelp.model.gpu.head_eight_bits import GRADIENT_FACTOR

    gradient = torch.exp2(logits.float() * 1.4426950408889634 - normalisers[:, None])
    rows = torch.arange(len(logits), device=logits.device)
    gradient[rows, targets.clamp(min=0)] -= (targets >= 0).float()
    rounded = gradient.mul_(GRADIENT_FACTOR.value).to(torch.float8_e5m2)
    return rounded, rounded.t().contiguous()


def main() -> None:
    """Bring the run to where it branches, train each branch, and say how they differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at", type=int, default=300, help="steps in bf16 before")
    parser.add_argument("--steps", type=int, default=200, help="of each branch")
    parser.add_argument("--planned-steps", type=int, default=500, help="of a whole run: what the learning rate follows")
    parser.add_argument("--only", default="bf16,fp8,again,nearest,fp8,again", help="branches, by commas, in their order")
    parser.add_argument("--rate", default="4e-3", help="Muon's learning rate at its peak")
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--megabytes", type=float, default=130.0, help="of text to train on, about 35 million tokens")
    parser.add_argument("--store", type=Path, help="keep the prepared text here, and use it again")
    parser.add_argument("--json", type=Path, help="write all measurements here, after each branch")
    parser.add_argument("--device", default="cuda", help="cpu tries the program; nothing is rounded there")
    parser.add_argument("--change", action="append", default=[], metavar="OPTION", help="of the recipe, section.field=value")
    options = parser.parse_args()
    names = options.only.split(",")
    if unknown := [name for name in names if name not in NAMES]:
        parser.error(f"no branch is called {', '.join(unknown)}; there are {', '.join(NAMES)}")
    logging.basicConfig(format=f"{time_to_quality.NOTE}%(message)s", level=logging.WARNING)
    store = options.store or Path(tempfile.mkdtemp()) / "store"
    if not (store / "manifest.json").exists():
        time_to_quality.prepare_store(store, 1e6 * options.megabytes)
    branches = Branches(store, options)
    found: list[dict[str, Any]] = []
    third = max(1, options.steps // 3)
    print(
        f"| branch from step {options.at} | loss in thirds of {options.steps} steps | held out | ms a step |\n|---|---|---|---|"
    )
    for number, name in enumerate(names):
        found.append({"name": name, **branches.grow(name, options.steps, number)})
        if options.json:
            options.json.write_text(json.dumps(found, indent=1))
        now, first = found[-1], found[0]
        parts = [slice(begin, begin + third) for begin in range(0, 3 * third, third)]
        means = [
            tuple(statistics.mean(branch["losses"][part]) for branch in (now, first)) for part in parts if now["losses"][part]
        ]
        shares = ", ".join(f"{100 * (own / other - 1):+.3f} %" for own, other in means)
        held = 100 * (now["held_out"] / first["held_out"] - 1)
        print(f"| {name} | {shares} | {held:+.3f} % ({now['held_out']:.4f}) | {1e3 * now['seconds']:.1f} |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
