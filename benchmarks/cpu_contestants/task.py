"""The task as every contestant of `cpu_train.py` is given it, the clock it is timed by, and the one scorer of all."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NotRequired, TypedDict

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Settings:
    """The task, as every contestant is given it."""

    steps: int = 2000
    threads: int = 2
    seed: int = 1337
    batch: int = 12
    block: int = 64
    layers: int = 4
    heads: int = 4
    width: int = 128
    peak_lr: float = 1e-3
    final_lr: float = 1e-4
    warmup: int = 100
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.1
    clip: float = 1.0
    log_every: int = 10

    def scored_steps(self) -> frozenset[int]:
        """Every 50 steps until 500, then every 250, and the last step."""
        return frozenset({*range(50, min(self.steps, 500) + 1, 50), *range(750, self.steps + 1, 250), self.steps})


@dataclass(frozen=True)
class Corpus:
    """Where the text lies: as UTF-8 and as unsigned 16-bit character numbers, both parts of each."""

    train_text: Path
    validation_text: Path
    train_numbers: Path
    validation_numbers: Path
    alphabet: str
    """The characters in order: character ``alphabet[i]`` has number ``i``."""

    def validation(self) -> np.ndarray:
        """The held-out characters as numbers."""
        return np.fromfile(self.validation_numbers, dtype=np.uint16).astype(np.int64)

    def training(self) -> np.ndarray:
        """The training characters as numbers."""
        return np.fromfile(self.train_numbers, dtype=np.uint16).astype(np.int64)


class Result(TypedDict):
    """What a worker returns."""

    seconds_per_step: list[float]
    """Wall seconds of each step, batch making included, scoring excluded."""
    curve: list[tuple[int, float, float]]
    """(step, training seconds so far, validation nats per character)."""
    params: int
    startup_seconds: float
    """From the start of the process to the start of the first step."""
    cpu_seconds: NotRequired[float]
    """CPU seconds of the steps, over all threads of the process."""
    threads: NotRequired[int]
    characters_per_step: NotRequired[float]
    """Where it is not ``batch * block``: a recipe with a batch of its own."""


class Recorder:
    """Keeps the clock for a worker: ``begin()`` before the first step, ``step()`` after each, ``result()`` at the end.

    ``score`` is called after the steps that ask for it, while the clock stands still.
    """

    def __init__(self, settings: Settings, started: float, score: Callable[[], float]) -> None:
        self._score = score
        self._started = started
        self._scored_steps = settings.scored_steps()
        self._seconds: list[float] = []
        self._curve: list[tuple[int, float, float]] = []
        self._startup = math.nan
        self._cpu = 0.0
        self._mark = self._cpu_mark = math.nan

    def begin(self) -> None:
        """Start-up is over: the first step starts now."""
        self._startup = time.time() - self._started
        self._resume()

    def step(self) -> None:
        """A step is over, and unless it was the last one the next starts when this returns."""
        now, cpu = time.perf_counter(), time.process_time()
        self._seconds.append(now - self._mark)
        self._cpu += cpu - self._cpu_mark
        done = len(self._seconds)
        if done in self._scored_steps:
            self._curve.append((done, sum(self._seconds), self._score()))
        self._resume()

    def result(self, params: int, characters_per_step: float | None = None) -> Result:
        """The record of the run."""
        result = Result(
            seconds_per_step=self._seconds,
            curve=self._curve,
            params=params,
            startup_seconds=self._startup,
            cpu_seconds=self._cpu,
            threads=torch.get_num_threads(),
        )
        if characters_per_step is not None:
            result["characters_per_step"] = characters_per_step
        return result

    def _resume(self) -> None:
        self._mark, self._cpu_mark = time.perf_counter(), time.process_time()


@torch.inference_mode()
def nats_per_character(
    predict: Callable[[Tensor], Tensor], tokens: np.ndarray, block: int, characters: int | None = None, batch: int = 64
) -> float:
    """Mean loss over a whole text, in consecutive windows of ``block`` that do not overlap; the last one may be shorter.

    ``predict`` turns (windows, length) token numbers into (windows, length, vocabulary) logits. Every token but the very first
    is predicted once. Where a token is not a character, ``characters`` is the number of characters in ``tokens[1:]``.
    """
    ids = torch.from_numpy(np.ascontiguousarray(tokens, dtype=np.int64))
    inputs, targets = ids[:-1], ids[1:]
    whole = len(targets) // block * block
    pairs = list(zip(inputs[:whole].view(-1, block).split(batch), targets[:whole].view(-1, block).split(batch), strict=True))
    if whole < len(targets):
        pairs.append((inputs[whole:][None], targets[whole:][None]))
    total = 0.0
    for seen, wanted in pairs:
        logits = predict(seen).float()
        total += F.cross_entropy(logits.reshape(-1, logits.shape[-1]), wanted.reshape(-1), reduction="sum").item()
    return total / (characters if characters is not None else len(targets))


def module_scorer(
    model: nn.Module, predict: Callable[[Tensor], Tensor], corpus: Corpus, settings: Settings
) -> Callable[[], float]:
    """The scorer for a character-level PyTorch module: in evaluation mode, and back in training mode afterwards."""
    validation = corpus.validation()

    def score() -> float:
        model.eval()
        loss = nats_per_character(predict, validation, settings.block)
        model.train()
        return loss

    return score
