"""The other trainers that `gpu_train.py` times: each gives the seconds of its steps, a loss, its size, and when its first step ended.

``hf``              the Hugging Face Trainer at its best settings: GPT2Config, bf16, torch_compile, fused AdamW, no dropout.
``hf-tutorial``     the same as tutorials have it: 8 rows at a time, float32, not compiled, dropout 0.1.
``lightning``       Lightning as a notebook on training from scratch has it: the same model, 16-mixed, not compiled, 2 rows at a time,
                    dropout 0.1.
``lightning-best``  the same at its best settings: bf16-mixed, compiled, fused AdamW, clipping, no dropout, padded vocabulary.
``litgpt``          litgpt's GPT with the step of its `pretrain`: Fabric in bf16-mixed (its default there), the model compiled, AdamW fused,
                    clipping, loss in chunks of 128 tokens. GPT-2's sizes, without biases, embedding shared; its positions are rotary.
``litgpt-best``     the same with the loss in one piece, which its function offers.

A loss is read only at the end, as the loops of these tools allow; the steps are timed on a GPU that has finished.
"""

from __future__ import annotations

import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

NAMES = ("hf", "hf-tutorial", "lightning", "lightning-best", "litgpt", "litgpt-best")
ROWS = {"hf-tutorial": 8, "lightning": 2}  # as they have it, whatever the others take


@dataclass(frozen=True)
class Sizes:
    """Of the model and its rows."""

    layers: int
    width: int
    heads: int
    tokens: int
    ids: int
    padded: int


@dataclass(frozen=True)
class Step:
    """A step: how long it took, the last loss known, and the model's parameters."""

    seconds: float
    loss: float
    parameters: int
    first_step_seconds: float


class Rows(torch.utils.data.Dataset):
    """Rows of random ids, drawn when they are asked for; `extra` tokens longer than the model reads."""

    def __init__(self, count: int, sizes: Sizes, *, extra: int = 0, as_pairs: bool = False) -> None:
        self.count, self.length, self.num_ids, self.as_pairs = count, sizes.tokens + extra, sizes.ids, as_pairs

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        ids = torch.from_numpy(np.random.default_rng(index).integers(0, self.num_ids, self.length))
        return {"input_ids": ids, "labels": ids} if self.as_pairs else ids


class Clock:
    """When steps begin and end on a device that has finished all it was given."""

    def __init__(self, started: float) -> None:
        self.started, self.times, self.first = started, [], 0.0

    def begin(self) -> None:
        _finish()
        self.begun = time.perf_counter()

    def end(self) -> None:
        _finish()
        self.times.append(time.perf_counter() - self.begun)
        self.first = self.first or time.perf_counter() - self.started

    def steps(self, loss: float, parameters: int) -> Iterator[Step]:
        for seconds in self.times:
            yield Step(seconds, loss, parameters, self.first)


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def run(name: str, rows: int, steps: int, sizes: Sizes, started: float) -> Iterator[Step]:
    """Train with one of the tools; what it took, step by step."""
    rows = ROWS.get(name, rows)
    if name.startswith("litgpt"):
        return _run_litgpt(rows, steps, sizes, Clock(started), chunk_tokens=0 if name.endswith("best") else 128)
    function = _run_trainer if name.startswith("hf") else _run_lightning
    return function(rows, steps, sizes, Clock(started), is_tutorial=name in ROWS)


def _build_gpt2(sizes: Sizes, *, is_tutorial: bool) -> Any:
    from transformers import GPT2Config, GPT2LMHeadModel

    dropout = 0.1 if is_tutorial else 0.0
    config = GPT2Config(
        vocab_size=sizes.ids if is_tutorial else sizes.padded,
        n_layer=sizes.layers,
        n_embd=sizes.width,
        n_head=sizes.heads,
        n_positions=sizes.tokens,
        resid_pdrop=dropout,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
    )
    return GPT2LMHeadModel(config)


def _run_trainer(rows: int, steps: int, sizes: Sizes, clock: Clock, *, is_tutorial: bool) -> Iterator[Step]:
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Watch(TrainerCallback):
        def on_step_begin(self, *_, **__) -> None:
            clock.begin()

        def on_step_end(self, *_, **__) -> None:
            clock.end()

    best = {"bf16": True, "torch_compile": True, "optim": "adamw_torch_fused", "dataloader_num_workers": 4}
    best["logging_nan_inf_filter"] = False
    model = _build_gpt2(sizes, is_tutorial=is_tutorial)
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=rows,
            max_steps=steps,
            logging_steps=steps,
            save_strategy="no",
            report_to=[],
            learning_rate=6e-4,
            **({"tf32": False} if is_tutorial and torch.cuda.is_available() else {} if is_tutorial else best),
        )
        data = Rows(rows * steps, sizes, as_pairs=True)
        result = Trainer(model=model, args=settings, train_dataset=data, callbacks=[Watch()]).train()
    yield from clock.steps(result.training_loss, model.num_parameters())


def _run_lightning(rows: int, steps: int, sizes: Sizes, clock: Clock, *, is_tutorial: bool) -> Iterator[Step]:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model, self.last = _build_gpt2(sizes, is_tutorial=is_tutorial), torch.zeros(())
            self.num_parameters = self.model.num_parameters()
            if not is_tutorial:
                self.model = torch.compile(self.model)

        def training_step(self, batch: torch.Tensor, _: int) -> torch.Tensor:
            loss = self.model(batch, labels=batch).loss
            self.last = loss.detach()
            if is_tutorial:
                self.log_dict({"train_loss": loss}, on_step=False, on_epoch=True, prog_bar=True, logger=True)
            return loss

        def configure_optimizers(self) -> torch.optim.Optimizer:
            if is_tutorial:
                return torch.optim.AdamW(self.parameters(), lr=5e-4)
            return torch.optim.AdamW(self.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=True)

        def configure_gradient_clipping(self, *_: Any, **__: Any) -> None:
            if not is_tutorial:  # by hand: Lightning itself refuses to clip for a fused AdamW under autocast
                torch.nn.utils.clip_grad_norm_(self.parameters(), 1.0)

        def on_train_batch_start(self, *_: Any) -> None:
            clock.begin()

        def on_train_batch_end(self, *_: Any) -> None:
            clock.end()

    torch.set_float32_matmul_precision("highest" if is_tutorial else "high")
    has_gpu = torch.cuda.is_available()
    module = Module()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        loader = torch.utils.data.DataLoader(
            Rows(rows * steps, sizes), batch_size=rows, num_workers=4, pin_memory=has_gpu, persistent_workers=True
        )
        trainer = lightning.Trainer(
            accelerator="gpu" if has_gpu else "cpu",
            devices=1,
            max_steps=steps,
            precision=("16-mixed" if is_tutorial else "bf16-mixed") if has_gpu else "32-true",
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)
    yield from clock.steps(float(module.last), module.num_parameters)


def _run_litgpt(rows: int, steps: int, sizes: Sizes, clock: Clock, *, chunk_tokens: int) -> Iterator[Step]:
    import lightning
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.pretrain import initialize_weights
    from litgpt.utils import chunked_cross_entropy, num_parameters

    has_gpu = torch.cuda.is_available()
    torch.set_float32_matmul_precision("high")
    fabric = lightning.Fabric(devices=1, accelerator="gpu" if has_gpu else "cpu", precision="bf16-mixed")
    config = Config(
        name="gpt2-sizes",
        block_size=sizes.tokens,
        n_layer=sizes.layers,
        n_embd=sizes.width,
        n_head=sizes.heads,
        vocab_size=sizes.ids,
        padded_vocab_size=sizes.padded,
        parallel_residual=False,
        bias=False,
        gelu_approximate="tanh",
    )
    with fabric.init_module(empty_init=True):
        model = GPT(config)
    initialize_weights(fabric, model, n_layer=config.n_layer, n_embd=config.n_embd)
    model.transformer.wte.weight = model.lm_head.weight
    parameters = num_parameters(model)
    model = fabric.setup(torch.compile(model))
    adam = torch.optim.AdamW(model.parameters(), lr=6e-4, betas=(0.9, 0.95), weight_decay=0.1, fused=has_gpu)
    optimizer = fabric.setup_optimizers(adam)
    data = Rows(rows * steps, sizes, extra=1)
    loader = fabric.setup_dataloaders(
        torch.utils.data.DataLoader(data, batch_size=rows, num_workers=4, pin_memory=has_gpu, persistent_workers=True)
    )
    loss = torch.zeros(())
    for batch in loader:
        clock.begin()
        ids, targets = batch[:, : sizes.tokens].contiguous().long(), batch[:, 1:].contiguous().long()
        loss = chunked_cross_entropy(model(ids), targets, chunk_size=chunk_tokens)
        fabric.backward(loss)
        fabric.clip_gradients(model, optimizer, max_norm=1.0)
        optimizer.step()
        optimizer.zero_grad()
        clock.end()
    yield from clock.steps(float(loss.detach()), parameters)
