"""nanoGPT's CPU recipe, written anew from its published settings."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cpu_contestants.model import GPT, count
from cpu_contestants.task import Corpus, Recorder, Result, Settings, module_scorer


def worker_nanogpt(corpus: Corpus, settings: Settings, started: float, *, bf16: bool = False) -> Result:
    """nanoGPT's ``train.py`` with its settings for a CPU, not compiled."""
    torch.set_num_threads(settings.threads)
    torch.manual_seed(settings.seed)

    def draw() -> tuple[Tensor, Tensor]:
        # The map is opened anew for each batch, as nanoGPT does to keep the memory it touches from piling up.
        data = np.memmap(corpus.train_numbers, dtype=np.uint16, mode="r")
        starts = torch.randint(len(data) - settings.block, (settings.batch,)).tolist()
        windows = [torch.from_numpy(data[s : s + settings.block + 1].astype(np.int64)) for s in starts]
        return torch.stack([w[:-1] for w in windows]), torch.stack([w[1:] for w in windows])

    def learning_rate(step: int) -> float:
        if step < settings.warmup:
            return settings.peak_lr * (step + 1) / (settings.warmup + 1)
        progress = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
        return settings.final_lr + 0.5 * (1 + math.cos(math.pi * progress)) * (settings.peak_lr - settings.final_lr)

    model = GPT(len(corpus.alphabet), settings, norm_bias=False)
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": settings.weight_decay},
            {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
        ],
        lr=settings.peak_lr,
        betas=(settings.beta1, settings.beta2),
    )
    recorder = Recorder(settings, started, module_scorer(model, model, corpus, settings))
    model.train()
    inputs, targets = draw()
    recorder.begin()
    for step in range(settings.steps):
        rate = learning_rate(step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(inputs)
            loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))
        inputs, targets = draw()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), settings.clip)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % settings.log_every == 0:
            print(f"step {step}: loss {loss.item():.4f}")
        recorder.step()
    return recorder.result(count(model))
