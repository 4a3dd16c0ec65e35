"""The `Trainer` of transformers."""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from torch import Tensor

from cpu_contestants.model import count
from cpu_contestants.task import Corpus, Recorder, Result, Settings, module_scorer


def worker_hf(corpus: Corpus, settings: Settings, started: float, *, bf16: bool = False) -> Result:
    """The ``Trainer`` of transformers, over random windows drawn beforehand.

    Two choices in its favour, so that it trains the same thing: the exact GELU, which PyTorch has as one operation, in place of
    GPT-2's approximation made of several; and targets given ready shifted, so that all 64 positions of a window are trained.
    """
    torch.set_num_threads(settings.threads)
    from transformers import (
        GPT2Config,
        GPT2LMHeadModel,
        Trainer,
        TrainerCallback,
        TrainerControl,
        TrainerState,
        TrainingArguments,
        set_seed,
    )

    set_seed(settings.seed)
    characters = torch.from_numpy(corpus.training())
    starts = torch.randint(len(characters) - settings.block, (settings.steps * settings.batch, 1))
    windows = characters[starts + torch.arange(settings.block + 1)]

    class Rows(torch.utils.data.Dataset[dict[str, Tensor]]):
        def __len__(self) -> int:
            return len(windows)

        def __getitem__(self, index: int) -> dict[str, Tensor]:
            row = windows[index]
            return {"input_ids": row[:-1], "labels": row[:-1], "shift_labels": row[1:]}

    config = GPT2Config(
        vocab_size=len(corpus.alphabet),
        n_positions=settings.block,
        n_embd=settings.width,
        n_layer=settings.layers,
        n_head=settings.heads,
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=None,
        eos_token_id=None,
        use_cache=False,
    )
    model = GPT2LMHeadModel(config)
    recorder = Recorder(settings, started, module_scorer(model, lambda ids: model(input_ids=ids).logits, corpus, settings))

    class Clock(TrainerCallback):
        def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
            recorder.begin()

        def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
            recorder.step()

    with tempfile.TemporaryDirectory() as output:
        arguments = TrainingArguments(
            output_dir=output,
            max_steps=settings.steps,
            per_device_train_batch_size=settings.batch,
            learning_rate=settings.peak_lr,
            lr_scheduler_type="cosine_with_min_lr",
            lr_scheduler_kwargs={"min_lr": settings.final_lr},
            warmup_steps=settings.warmup,
            weight_decay=settings.weight_decay,
            adam_beta1=settings.beta1,
            adam_beta2=settings.beta2,
            max_grad_norm=settings.clip,
            logging_steps=settings.log_every,
            eval_strategy="no",
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            disable_tqdm=True,
            use_cpu=True,
            bf16=bf16,
            seed=settings.seed,
        )
        Trainer(model=model, args=arguments, train_dataset=Rows(), callbacks=[Clock()]).train()
    return recorder.result(count(model))
