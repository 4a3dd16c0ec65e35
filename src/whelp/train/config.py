"""The `train` section of a recipe."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Literal

from whelp.base.config import option
from whelp.base.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. Exactly one of num_steps, num_epochs and minutes says how long; without any, one epoch."""

    num_steps: int | None = option(
        None, "optimizer steps", at_least=1, known_as=("max_steps", "max_iters", "max_train_steps", "steps", "train_steps")
    )
    num_epochs: float | None = option(
        None, "passes over the training rows", at_least=0.0, known_as=("epochs", "num_train_epochs")
    )
    minutes: float | None = option(None, "a budget of wall-clock time; the learning rate follows the clock", at_least=0.0)
    start_from: str | None = option(
        None,
        "a run, a checkpoint or a Hugging Face model folder whose weights a new run begins with (its optimizer is fresh); "
        "`model` must describe it",
        is_path=True,
        known_as=("init_from", "load_model"),
    )
    start_optimizer: bool = option(
        False,
        "with start_from, a run or a checkpoint of whelp: begin with the state of its optimizer, too, instead of a fresh one",
    )
    max_epochs: float | None = option(
        None,
        "no more passes over the training rows than this, however long the run was to be: a small text is learned by heart",
        at_least=0.0,
    )
    batch_tokens: int = option(
        8192,
        "tokens in one optimizer step; rounded to whole rows",
        at_least=1,
        known_as=(
            "batch_size",
            "total_batch_size",
            "global_batch_size",
            "train_batch_size",
            "target_batch_size",
            "gradient_accumulation_steps",
        ),
    )
    first_batch_tokens: int | None = option(
        None,
        "tokens in the first steps, fewer than batch_tokens: doubled until they are; default: batch_tokens from the start",
        at_least=1,
    )
    batch_ramp_share: float = option(
        0.2,
        "with first_batch_tokens: share of the run with smaller batches, each size for an equal part of it",
        at_least=0.0,
        at_most=1.0,
    )
    micro_batch_rows: int | None = option(
        None,
        "rows computed at a time, by each process; default: as many as memory is sure to hold",
        at_least=1,
        known_as=("micro_batch_size", "microbatch_size", "per_device_train_batch_size", "device_batch_size"),
    )
    bptt_tokens: int | None = option(
        None,
        "rows longer than this are trained in chunks of so many tokens: recurrent models carry their state from chunk to "
        "chunk, others read each as a row of its own; default: whole rows",
        at_least=1,
    )
    bptt_learning_range: int = option(-1, "with bptt_tokens: train the last so many chunks of each row; -1: all", at_least=-1)
    bptt_truncated_learning: bool = option(
        True,
        "with bptt_tokens: no gradient flows from a chunk into those before it, so memory is that of one chunk; false: "
        "through all that are trained",
    )
    optimizer: Literal["adamw", "muon"] = option(
        "muon", "muon: Muon for the blocks' matrices, AdamW for the rest; adamw for all"
    )
    learning_rate: float | Literal["auto"] = option(
        "auto",
        "peak learning rate; auto: by the optimizer and the model's width, 1 / n_embd with adamw, but at most 1 / 256 (gpt2: 1 / 512); "
        "3 / n_embd with muon, but at most 3 / 128",
        at_least=0.0,
        known_as=("lr", "max_lr", "lr_init"),
    )
    schedule: Literal["cosine", "linear", "constant", "warmup_stable_decay"] = option(
        "cosine", "course of the learning rate", known_as=("lr_scheduler", "lr_scheduler_type", "lr_schedule", "scheduler")
    )
    warmup_share: float = option(0.02, "share of the run that warms up", at_least=0.0, at_most=1.0, known_as=("warmup_ratio",))
    warmup_steps: int | None = option(None, "warm-up in steps, instead of warmup_share", at_least=0, known_as=("warmup_iters",))
    decay_share: float = option(0.3, "warmup_stable_decay: share of the run that decays", at_least=0.0, at_most=1.0)
    decay_from_step: int | None = option(
        None,
        "constant and warmup_stable_decay: the step after which the learning rate decays, linearly to the run's end; may be given, "
        "with the run's new length, to a run that has not come further",
        at_least=0,
    )
    final_learning_rate_share: float = option(
        0.1,
        "learning rate at the end, as a share of the peak",
        at_least=0.0,
        at_most=1.0,
        known_as=("min_lr", "final_lr", "lr_final"),
    )
    weight_decay: float = option(
        0.1, "decoupled weight decay of matrices; norms, biases and single vectors have none", at_least=0.0, known_as=("wd",)
    )
    beta1: float = option(0.9, "AdamW: decay of the mean", at_least=0.0, at_most=1.0, known_as=("adam_beta1",))
    beta2: float = option(0.95, "AdamW: decay of the squared mean", at_least=0.0, at_most=1.0, known_as=("adam_beta2",))
    epsilon: float = option(
        1e-8, "AdamW: added to the root of the squared mean", at_least=0.0, known_as=("adam_epsilon", "adam_eps", "eps")
    )
    momentum: float = option(0.95, "muon: momentum", at_least=0.0, at_most=1.0)
    clip_gradient_norm: float = option(
        1.0,
        "largest norm of the whole gradient; 0: no clipping",
        at_least=0.0,
        known_as=("grad_clip", "max_grad_norm", "gradient_clip_val", "clip_grad_norm", "gradient_clipping"),
    )
    ema_decay: float | None = option(
        None,
        "keep a moving average of the weights, each step so much of the old one (0.999, ...); it is evaluated, and saved "
        "in ema/ of every checkpoint",
        at_least=0.0,
        at_most=1.0,
        known_as=("ema",),
    )
    precision: Literal["auto", "fp32", "tf32", "bf16", "fp8"] = option(
        "auto",
        "auto: bf16 on a GPU that has it, and on a CPU with AMX for gpt2 and qwen3 of n_embd 128 or more in one process; else "
        "fp32; tf32: fp32 with faster products (NVIDIA); fp8: bf16 with the backward pass in 8 bits, faster and a little rougher (NVIDIA "
        "since Ada and Hopper)",
        known_as=("dtype",),
    )
    compile: bool | Literal["auto"] = option(
        "auto", "torch.compile; auto: on a GPU, in runs long enough to earn it back", known_as=("torch_compile",)
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:1 or mps; of many processes each takes its own GPU")
    threads: int | None = option(
        None,
        "CPU threads of a process; default: all cores, unless a short probe finds one thread faster; of many processes, "
        "each its share",
        at_least=1,
        known_as=("num_threads",),
    )
    log_every_steps: int = option(
        1,
        "one record in metrics.jsonl every so many steps",
        at_least=1,
        known_as=("logging_steps", "log_interval", "log_every_n_steps"),
    )
    evaluate_every_steps: int | None = option(
        None,
        "evaluate every so many steps; default: ten times a run, in one of minutes fewer where that took over a quarter of them",
        at_least=1,
        known_as=("eval_interval", "eval_steps", "eval_every", "evaluation_strategy", "eval_strategy"),
    )
    evaluate_rows: int | None = option(
        None,
        "rows of the test split to evaluate; default: all",
        at_least=1,
        known_as=("eval_iters", "max_eval_steps", "eval_batches"),
    )
    save_every_steps: int | None = option(
        None,
        "checkpoint every so many steps; default: as often as evaluation",
        at_least=1,
        known_as=("save_steps", "save_interval", "save_checkpoint_steps", "checkpoint_interval"),
    )
    save_in_background: bool | Literal["auto"] = option(
        "auto",
        "write a checkpoint while training goes on, from a copy in memory; a kill meanwhile leaves the one before. auto: on a GPU",
    )
    keep_checkpoints: int = option(2, "newest checkpoints to keep", at_least=1, known_as=("save_total_limit",))
    keep_every_steps: int | None = option(None, "keep every checkpoint of a multiple of so many steps, too", at_least=1)
    keep_best: bool = option(
        False,
        "keep the checkpoint of the lowest test loss, too: checkpoints/best is a link to it, and commands that are given the "
        "run take that one",
    )
    early_stopping_patience: int | None = option(
        None,
        "stop when so many evaluations in a row gave no lower test loss than the lowest before",
        at_least=1,
        known_as=("patience",),
    )
    on_bad_loss: Literal["stop", "skip"] = option(
        "stop", "when loss or gradient is no number: stop, or skip the batch (at most ten in a row)"
    )
    spike_factor: float | None = option(
        None,
        "when the loss exceeds so many times the median of the last 50 steps: go back to the last checkpoint and skip "
        "those rows",
        at_least=1.0,
    )
    record_rows: bool = option(False, "put a checksum of every step's rows into metrics.jsonl")
    checkpoint_activations: bool = option(
        False,
        "compute each block again in the backward pass instead of keeping what it computed: less memory, more time",
        known_as=("gradient_checkpointing", "activation_checkpointing", "grad_cp"),
    )
    shard: bool = option(
        False,
        "many processes: divide weights, gradients and the optimizer's state over them (FSDP2); each keeps a part",
        known_as=("fsdp",),
    )
    add_gradients_in: Literal["fp32", "bf16"] = option(
        "fp32",
        "many processes: the numbers in which their gradients travel and are added up; bf16: half as much travels, and sums are rounded",
    )
    timeout_minutes: float = option(10.0, "many processes: how long to wait for one that does not answer", at_least=0.1)
    sample_prompts: list[str] = option([], "continued at every evaluation, kept in samples.jsonl")
    sample_tokens: int = option(48, "tokens of each sample", at_least=1)
    track: list[Literal["tensorboard", "wandb", "trackio"]] = option(
        [],
        "tools that get the run's records, too, besides metrics.jsonl (pip install 'whelp[tracking]')",
        known_as=("report_to", "wandb", "logger"),
    )
    seed: int = option(0, "seed of the first weights, the row order and the samples", at_least=0)

    @property
    def peak_learning_rate(self) -> float:
        """The number that `learning_rate` is once it is settled (`settle_learning_rate`)."""
        assert self.learning_rate != "auto", "train.learning_rate is still auto: settle_learning_rate comes first"
        return self.learning_rate

    def __post_init__(self) -> None:
        problems = []
        if self.shard and self.ema_decay is not None:
            problems.append("train.shard and train.ema_decay cannot be combined. Leave one of them out")
        if self.shard and self.add_gradients_in != "fp32":
            problems.append("train.shard and train.add_gradients_in cannot be combined. Leave one of them out")
        if self.shard and self.precision == "fp8":
            problems.append("train.shard and train.precision=fp8 cannot be combined. Leave one of them out")
        if self.start_optimizer and self.start_from is None:
            problems.append("train.start_optimizer needs train.start_from, whose optimizer it is")
        if self.first_batch_tokens is not None and self.first_batch_tokens > self.batch_tokens:
            problems.append(
                f"train.first_batch_tokens is {self.first_batch_tokens}, more than train.batch_tokens ({self.batch_tokens})"
            )
        if self.bptt_learning_range == 0:
            problems.append(
                "train.bptt_learning_range is 0, but expected -1 (all chunks) or the number of last chunks to train"
            )
        if self.bptt_tokens is None and (self.bptt_learning_range != -1 or not self.bptt_truncated_learning):
            problems.append("train.bptt_learning_range and train.bptt_truncated_learning need train.bptt_tokens")
        if self.shard and not self.bptt_truncated_learning:
            problems.append("train.shard and train.bptt_truncated_learning=false cannot be combined. Leave one of them out")
        given = [name for name in ("num_steps", "num_epochs", "minutes") if getattr(self, name) is not None]
        if len(given) > 1:
            problems.append(f"train.{' and train.'.join(given)} are both set. Keep one of them (override the other with null)")
        if self.warmup_steps is not None and self.num_steps is not None and self.warmup_steps > self.num_steps:
            problems.append(f"train.warmup_steps is {self.warmup_steps}, but train.num_steps only {self.num_steps}")
        if self.warmup_steps is not None and self.minutes is not None:
            problems.append("train.warmup_steps needs a known number of steps. With train.minutes, use train.warmup_share")
        if self.warmup_share + self.decay_share > 1 and self.schedule == "warmup_stable_decay" and self.decay_from_step is None:
            problems.append("train.warmup_share and train.decay_share add up to more than 1")
        if self.decay_from_step is not None:
            if self.schedule not in ("constant", "warmup_stable_decay"):
                problems.append(
                    f"train.decay_from_step is for train.schedule=constant and warmup_stable_decay: {self.schedule} decays all the time"
                )
            if self.minutes is not None:
                problems.append(
                    "train.decay_from_step needs a known number of steps. With train.minutes, use train.decay_share"
                )
            if self.num_steps is not None and self.decay_from_step >= self.num_steps:
                problems.append(f"train.decay_from_step is {self.decay_from_step}, but train.num_steps only {self.num_steps}")
            if self.warmup_steps is not None and self.warmup_steps > self.decay_from_step:
                problems.append(
                    f"train.warmup_steps is {self.warmup_steps}, more than train.decay_from_step ({self.decay_from_step})"
                )
        for name in ("num_epochs", "max_epochs", "minutes"):
            if getattr(self, name) in (0, math.inf):
                problems.append(f"train.{name} is {getattr(self, name):g}, but expected a number above 0")
        for name in ("beta1", "beta2", "momentum", "ema_decay"):  # an average that never takes in anything new
            if getattr(self, name) == 1:
                problems.append(f"train.{name} is 1, but expected less than 1")
        if problems:
            raise ConfigError("train", problems)

    def list_unused(self, *, has_test_rows: bool = True, num_processes: int = 2) -> list[str]:
        """What is set, but changes nothing in a run like this, in sentences that say why."""
        reasons = (
            ("decay_share", self.schedule != "warmup_stable_decay", f"train.schedule is {self.schedule}"),
            ("decay_share", self.decay_from_step is not None, "train.decay_from_step says where the decay begins"),
            ("final_learning_rate_share", self.schedule == "constant" and self.decay_from_step is None, "nothing decays"),
            ("warmup_share", self.warmup_steps is not None, "train.warmup_steps says it in steps"),
            ("momentum", self.optimizer != "muon", f"train.optimizer is {self.optimizer}"),
            ("batch_ramp_share", self.first_batch_tokens is None, "train.first_batch_tokens is not set"),
            ("sample_tokens", not self.sample_prompts, "train.sample_prompts is empty"),
            ("evaluate_rows", not has_test_rows, "nothing is held out"),
            ("keep_best", not has_test_rows, "nothing is held out"),
            ("early_stopping_patience", not has_test_rows, "nothing is held out"),
            ("shard", num_processes == 1, "there is one process"),
            ("add_gradients_in", num_processes == 1, "there is one process"),
        )
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        return [
            f"train.{name}={json.dumps(getattr(self, name))} has no effect: {reason}"
            for name, holds, reason in reasons
            if holds and getattr(self, name) != defaults[name]
        ]
