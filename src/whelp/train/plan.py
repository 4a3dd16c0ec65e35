"""The plan: every number of a run decided, and shown, before the first step. A pure function of what is known."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from whelp.base.counts import say_count, say_duration
from whelp.base.errors import PlanError, TrainingError
from whelp.train.batch_ramp import ROUNDING, BatchRamp
from whelp.train.config import TrainConfig

TOKENS_PER_PARAMETER = 20  # Hoffmann et al. 2022: about the best use of a compute budget
MANY_EPOCHS = 8  # Muennighoff et al. 2023: repeating data more than a few times gains little
_MANY_CUT = 0.05  # of the tokens
_EVALUATIONS_IN_A_RUN = 10
_MOST_LOOKING = 0.25  # of the time of a run, where it has a budget
_HEAD_BYTES = 4 << 30  # what head and loss take on a GPU: a slice of logits, and copies of the head
_EIGHT_BIT_BYTES = 5 << 30  # and with fp8: slices twice as long, and their gradient, as it is and transposed
_HEAD_SHARE = 8  # each of them at most this part of a GPU's free memory: slices are shorter where it is small
_MOST_APPLE_BYTES = 4 << 30  # at a time on Apple's GPU, where single tensors of 4 GiB and more go wrong
_WIDE = 512  # narrower models spend as long on rounding as products of 8 bits save


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What the plan is made from, besides the recipe.

    `seconds_per_step` is from a short probe on `threads` threads, None before one; so are the seconds of an evaluation with its
    samples (`seconds_per_look`) and of a checkpoint.
    `free_bytes` and `threads` are those of one process.
    """

    num_parameters: int
    num_layers: int
    width: int
    ffn_width: int
    vocab_size: int
    context_tokens: int
    num_rows: int
    num_train_tokens: int
    num_test_rows: int
    device: str
    precision: str
    is_gpu: bool
    free_bytes: int
    threads: int
    seconds_per_step: float | None = None
    seconds_per_look: float = 0.0
    seconds_per_save: float = 0.0
    num_processes: int = 1
    keeps_activations: bool = True  # of all blocks; else of one, and what goes into each
    has_fixed_width: bool = True  # whether all batches have rows of `context_tokens`
    family: str = "qwen3"  # `model.family`
    tokens_at_once: int | None = None  # of a row, between two backward passes; None: all
    slices_logits: bool = False  # whether the logits of a batch never exist at once
    can_compile: bool = True  # whether there is a compiler for this device
    num_cut_tokens: int = 0  # left out of documents longer than a row
    most_rows_at_once: int | None = None  # that memory was found to hold: more did not fit when steps were timed
    most_rows_evaluated_at_once: int | None = None  # likewise, of an evaluation
    is_mixture: bool = False  # rows of several sources do not come equally often; how often they do is said elsewhere


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
    """What is going to happen."""

    num_steps: int  # with a time budget: an estimate
    num_epochs: float
    budget_seconds: float | None  # the run's length when it is given in minutes
    context_tokens: int
    batch_rows: int
    batch_tokens: int
    micro_batch_rows: int
    accumulation: int
    total_tokens: int
    num_parameters: int
    warmup_share: float
    evaluate_every_steps: int
    evaluate_rows: int
    save_every_steps: int
    device: str
    precision: str
    compile: bool
    threads: int
    estimated_seconds: float | None
    estimated_bytes: int
    warnings: list[str] = field(default_factory=list)
    source_epochs: dict[str, float] = field(default_factory=dict)  # of a mixture: how often the run trains each source's rows
    num_processes: int = 1  # each computes a slice of every batch, `micro_batch_rows` rows at a time
    is_halved: bool = False  # whether `micro_batch_rows` was halved, once or more often, when memory did not suffice
    smaller_batch_rows: list[int] = field(default_factory=list)  # of the batches before those of `batch_rows`, smallest first
    batch_ramp_share: float = 0.0  # of the run; each smaller size has an equal part of it
    most_rows: int | None = None  # with a time budget: the run is over once so many are trained, too
    evaluate_micro_batch_rows: int | None = None  # the most that memory was found to hold while evaluating

    @property
    def rows_evaluated_at_once(self) -> int:
        """Rows of a micro-batch of an evaluation: as many as are trained at a time, unless memory did not suffice."""
        return min(self.micro_batch_rows, self.evaluate_micro_batch_rows or self.micro_batch_rows)

    @property
    def ramp(self) -> BatchRamp:
        """How the batches grow."""
        return BatchRamp(
            batch_rows=self.batch_rows,
            smaller=tuple(self.smaller_batch_rows),
            share=self.batch_ramp_share,
            by_clock=self.budget_seconds is not None,
        )

    def count_rows(self, steps: int) -> int:
        """Rows of the first `steps` steps; by the clock, an estimate where batches grow."""
        return self.ramp.count_rows(steps, self.num_steps)

    def at_batch(self, batch_rows: int) -> TrainPlan:
        """The plan of the steps whose batches have so many rows: in even pieces that are no larger than the plan's."""
        if batch_rows == self.batch_rows:
            return self
        own_rows = math.ceil(batch_rows / self.num_processes)
        accumulation = math.ceil(own_rows / self.micro_batch_rows)
        return replace(
            self,
            batch_rows=batch_rows,
            batch_tokens=batch_rows * self.context_tokens,
            micro_batch_rows=math.ceil(own_rows / accumulation),
            accumulation=accumulation,
        )

    def to_dict(self) -> dict[str, Any]:
        """For `plan.json`."""
        return asdict(self)


# what a process grows by on a CPU for each block and token, in numbers of a width, besides the feed-forward's 5
# (measured: gpt2 4, qwen3 16, rwkv4 16 to 18, rwkv5 46, rwkv6 72, rwkv7 74 to 82)
_NUMBERS = 14
_RECURRENT_NUMBERS = {"rwkv4": 18, "rwkv5": 50, "rwkv6": 75, "rwkv7": 80}
_MOST_NUMBERS_ON_A_GPU = 55  # whose kernels keep less


def estimate_row_bytes(facts: Facts) -> int:
    """Approximate memory of one row's activations and logits while training, in bytes."""
    is_narrow = facts.precision in ("bf16", "fp8") and facts.is_gpu  # on a CPU bf16 keeps matrices of probabilities, too
    number_bytes = 2 if is_narrow else 4
    numbers = _RECURRENT_NUMBERS.get(facts.family, _NUMBERS)
    if facts.is_gpu:
        numbers = min(numbers, _MOST_NUMBERS_ON_A_GPU)
    per_block = numbers * facts.width + 5 * facts.ffn_width
    kept = facts.num_layers * per_block if facts.keeps_activations else facts.num_layers * facts.width + per_block
    per_token = kept * number_bytes + (0 if facts.slices_logits else 10 * facts.vocab_size)
    return (facts.tokens_at_once or facts.context_tokens) * per_token


def count_batch_rows(config: TrainConfig, context_tokens: int) -> int:
    """Rows of one optimizer step: `batch_tokens` in whole rows, one at least."""
    return max(1, round(config.batch_tokens / context_tokens))


def make_plan(config: TrainConfig, facts: Facts) -> TrainPlan:
    """Decide every number of a run.

    Raises:
        PlanError: When not even one row fits the memory, or there are more processes than rows in a batch.
    """
    length = facts.context_tokens
    batch_rows = count_batch_rows(config, length)
    budget = config.minutes * 60 if config.minutes is not None else None
    first_rows = batch_rows if config.first_batch_tokens is None else max(1, round(config.first_batch_tokens / length))
    ramp = BatchRamp.plan(first_rows, batch_rows, config.batch_ramp_share, by_clock=budget is not None)
    _check_processes(config, facts, ramp)
    if config.compile is True and not facts.can_compile:
        raise PlanError(
            "train.compile",
            "compiling for a GPU takes Triton, which is not installed",
            "Triton",
            "Leave train.compile out, or install Triton (for Windows it is called triton-windows).",
        )
    micro_rows, accumulation = _divide_batch(config, facts, batch_rows)
    row_bytes, fixed_bytes = estimate_row_bytes(facts), 16 * facts.num_parameters
    if config.shard:
        fixed_bytes //= facts.num_processes
    if facts.free_bytes and fixed_bytes + row_bytes > facts.free_bytes:
        raise PlanError(
            "the plan",
            f"weights, optimizer and one row need about {_gigabytes(fixed_bytes + row_bytes)}",
            f"at most the {_gigabytes(facts.free_bytes)} that are free",
            "Lower model.n_embd, model.n_layer or pack.context_tokens.",
        )
    num_evaluations = _count_evaluations(config, facts, budget)
    num_steps, most_rows, is_cut_short = _find_length(config, facts, ramp, budget, num_evaluations)
    _check_decay(config, num_steps)
    total_rows = ramp.count_rows(num_steps, num_steps)
    num_epochs = total_rows / facts.num_rows
    evaluate_every = config.evaluate_every_steps or max(1, math.ceil(num_steps / num_evaluations))
    save_every = config.save_every_steps or evaluate_every
    estimated = budget
    if facts.seconds_per_step and (budget is None or is_cut_short):
        looking = num_steps // evaluate_every * facts.seconds_per_look
        estimated = total_rows / batch_rows * facts.seconds_per_step + looking
        estimated += num_steps // save_every * facts.seconds_per_save
    total_tokens = total_rows * length
    if not facts.is_mixture:  # rows may be padded: what is empty is no token
        total_tokens = min(total_tokens, round(num_epochs * facts.num_train_tokens))
    is_worth_compiling = facts.is_gpu and facts.can_compile and _is_long(estimated, num_steps)
    is_compiled = config.compile is True or (config.compile == "auto" and is_worth_compiling)
    return TrainPlan(
        num_steps=num_steps,
        num_epochs=num_epochs,
        budget_seconds=budget,
        context_tokens=length,
        batch_rows=batch_rows,
        batch_tokens=batch_rows * length,
        micro_batch_rows=micro_rows,
        accumulation=accumulation,
        total_tokens=total_tokens,
        num_parameters=facts.num_parameters,
        warmup_share=config.warmup_share if config.warmup_steps is None else min(config.warmup_steps / num_steps, 1.0),
        evaluate_every_steps=evaluate_every,
        evaluate_rows=min(config.evaluate_rows or facts.num_test_rows, facts.num_test_rows),
        save_every_steps=save_every,
        device=facts.device,
        precision=facts.precision,
        compile=is_compiled,
        threads=facts.threads,
        estimated_seconds=estimated,
        estimated_bytes=fixed_bytes + micro_rows * row_bytes,
        warnings=_find_doubts(
            config, facts, num_epochs, batch_rows, total_tokens, is_compiled, is_cut_short, evaluate_every, save_every
        ),
        num_processes=facts.num_processes,
        is_halved=facts.most_rows_at_once is not None,
        smaller_batch_rows=list(ramp.smaller),
        batch_ramp_share=ramp.share,
        most_rows=most_rows,
        evaluate_micro_batch_rows=facts.most_rows_evaluated_at_once,
    )


def _check_processes(config: TrainConfig, facts: Facts, ramp: BatchRamp) -> None:
    least_rows = min((ramp.batch_rows, *ramp.smaller))
    if least_rows < facts.num_processes:
        name = "train.first_batch_tokens" if ramp.smaller else "train.batch_tokens"
        raise PlanError(
            "the plan",
            f"a batch of {say_count(least_rows, 'row')} is to be divided among {say_count(facts.num_processes, 'process')}",
            "a row for each at least",
            f"Raise {name} to {facts.num_processes * facts.context_tokens:,} or more, or start fewer processes.",
        )


def _find_length(
    config: TrainConfig, facts: Facts, ramp: BatchRamp, budget: float | None, num_evaluations: int
) -> tuple[int, int | None, bool]:
    """Steps; the most rows of a run by the clock; and whether `max_epochs` ends the run before what else was asked for."""
    if config.num_steps is not None:
        num_steps = config.num_steps
    elif budget is not None:
        num_steps = ramp.count_steps_in_time(_find_steps_in_time(config, facts, budget, num_evaluations))
    else:
        num_steps = _count_steps(ramp, config.num_epochs or 1.0, facts.num_rows)
    if config.max_epochs is None:
        return num_steps, None, False
    most_steps = _count_steps(ramp, config.max_epochs, facts.num_rows)
    most_rows = None if budget is None else math.ceil(config.max_epochs * facts.num_rows)
    return min(num_steps, most_steps), most_rows, most_steps < num_steps


def _check_decay(config: TrainConfig, num_steps: int) -> None:
    """Refuse a decay that begins after the end, or before the warm-up is over."""
    begins = config.decay_from_step
    if begins is None:
        return
    length = say_count(num_steps, "step")
    if begins >= num_steps:
        raise PlanError(
            "train.decay_from_step", f"the run is {length} long", f"more than {begins:,}", "Lower it, or lengthen the run."
        )
    warmup_steps = math.floor(config.warmup_share * num_steps + ROUNDING)
    if config.warmup_steps is None and warmup_steps > begins:
        raise PlanError(
            "train.decay_from_step",
            f"train.warmup_share of {length} warms up for {say_count(warmup_steps, 'step')}",
            f"no more than {begins:,}",
            "Let the rate decay later, or lower train.warmup_share.",
        )


def _count_steps(ramp: BatchRamp, num_epochs: float, num_rows: int) -> int:
    """Steps, one at least, in so many passes; by the clock, where batches grow, an estimate."""
    if ramp.by_clock:
        return ramp.count_steps_in_time(math.ceil(num_epochs * num_rows / ramp.batch_rows))
    return ramp.count_steps(num_epochs * num_rows)


def _count_evaluations(config: TrainConfig, facts: Facts, budget: float | None) -> int:
    """How often a run evaluates that is not told: fewer times than usual where that would take much of a time budget."""
    seconds = facts.seconds_per_look + (0.0 if config.save_every_steps else facts.seconds_per_save)
    if budget is None or not seconds:
        return _EVALUATIONS_IN_A_RUN
    return min(_EVALUATIONS_IN_A_RUN, max(1, int(_MOST_LOOKING * budget / seconds)))


def _find_steps_in_time(config: TrainConfig, facts: Facts, budget: float, num_evaluations: int) -> float:
    """Steps of the full batch that a time budget holds beside evaluations, samples and checkpoints."""
    if facts.seconds_per_step is None:
        return 1.0
    seconds_per_step = facts.seconds_per_step
    save_every = config.save_every_steps or config.evaluate_every_steps
    for seconds, every in (
        (facts.seconds_per_look, config.evaluate_every_steps),
        (facts.seconds_per_save, save_every),
    ):
        if every is not None:
            seconds_per_step += seconds / every
        else:  # the last comes when the time is over
            budget -= (num_evaluations - 1) * seconds
    return budget / seconds_per_step


def adapt_plan(plan: TrainPlan, now: TrainPlan, changed: frozenset[str] = frozenset()) -> TrainPlan:
    """The plan a run was started with, for the device, the precision and as many processes as there are now; the run is the same.

    A device that could not hold more rows at a time holds no more of them for another number of processes.

    Args:
        changed: Options that were changed since: what they say of `now` is taken over, too.
    """
    is_elsewhere = (plan.num_processes, plan.device) != (now.num_processes, now.device)
    if is_elsewhere or "threads" in changed:
        plan = replace(plan, threads=now.threads)
    if plan.device != now.device or "compile" in changed:
        plan = replace(plan, compile=now.compile)
    if plan.device != now.device or "micro_batch_rows" in changed:
        plan = replace(plan, evaluate_micro_batch_rows=now.evaluate_micro_batch_rows)
    if is_elsewhere or changed & {"micro_batch_rows", "precision"}:
        is_still_halved = plan.is_halved and plan.device == now.device and "micro_batch_rows" not in changed
        rows_at_once = min(plan.micro_batch_rows, now.micro_batch_rows) if is_still_halved else now.micro_batch_rows
        plan = replace(
            plan,
            micro_batch_rows=rows_at_once,
            accumulation=_count_pieces(now, rows_at_once),
            estimated_bytes=now.estimated_bytes,
            is_halved=is_still_halved or now.is_halved,
        )
    if "precision" in changed:
        plan = replace(plan, precision=now.precision)
    if "evaluate_every_steps" in changed:
        plan = replace(plan, evaluate_every_steps=now.evaluate_every_steps)
    if changed & {"evaluate_every_steps", "save_every_steps"}:
        plan = replace(plan, save_every_steps=now.save_every_steps)
    return replace(plan, device=now.device, num_processes=now.num_processes) if is_elsewhere else plan


def halve_micro_batch(plan: TrainPlan, rows_tried: int | None = None) -> TrainPlan:
    """The same batch in micro-batches of half as many rows as were tried: those of the plan, or fewer while batches grow.

    Raises:
        TrainingError: When that was one row.
    """
    rows_tried = rows_tried or plan.micro_batch_rows
    if rows_tried == 1:
        advice = "Lower pack.context_tokens or the model's size, or set train.checkpoint_activations=true."
        raise TrainingError("the device", "it is out of memory with 1 row at a time", "room", advice)
    rows_at_once = rows_tried // 2
    return replace(plan, micro_batch_rows=rows_at_once, accumulation=_count_pieces(plan, rows_at_once), is_halved=True)


def halve_evaluation(plan: TrainPlan) -> TrainPlan:
    """The same plan, evaluating half as many rows at a time.

    Raises:
        TrainingError: When that was one row.
    """
    rows_tried = plan.rows_evaluated_at_once
    if rows_tried == 1:
        advice = "Lower pack.context_tokens or the model's size."
        raise TrainingError("the device", "it is out of memory in an evaluation with 1 row at a time", "room", advice)
    return replace(plan, evaluate_micro_batch_rows=rows_tried // 2)


def _count_pieces(plan: TrainPlan, rows_at_once: int) -> int:
    """Micro-batches of a process's share of a batch."""
    return math.ceil(math.ceil(plan.batch_rows / plan.num_processes) / rows_at_once)


def _is_long(estimated_seconds: float | None, num_steps: int) -> bool:
    """Whether a run is long enough to earn back the ten seconds that compiling takes."""
    return estimated_seconds >= 60 if estimated_seconds is not None else num_steps >= 500


def _divide_batch(config: TrainConfig, facts: Facts, batch_rows: int) -> tuple[int, int]:
    """Rows at a time, and how many times: even pieces of a process's share that fit most of a GPU, or a third of the machine."""
    batch_rows = math.ceil(batch_rows / facts.num_processes)
    if config.micro_batch_rows is not None:
        micro_rows = min(config.micro_batch_rows, batch_rows)
    else:
        room = facts.free_bytes // 3 if facts.free_bytes else 1 << 30
        if facts.is_gpu:
            head_bytes = [_HEAD_BYTES, *([_EIGHT_BIT_BYTES] if facts.precision == "fp8" else [])]
            room = int(0.8 * facts.free_bytes) - 16 * facts.num_parameters
            room -= sum(min(num_bytes, facts.free_bytes // _HEAD_SHARE) for num_bytes in head_bytes)
        if facts.device.startswith("mps"):
            room = min(room, _MOST_APPLE_BYTES)
        micro_rows = min(batch_rows, max(1, room // max(estimate_row_bytes(facts), 1)))
    micro_rows = min(micro_rows, facts.most_rows_at_once or micro_rows)
    accumulation = math.ceil(batch_rows / micro_rows)
    return math.ceil(batch_rows / accumulation), accumulation


def _find_doubts(
    config: TrainConfig,
    facts: Facts,
    epochs: float,
    batch_rows: int,
    total_tokens: int,
    is_compiled: bool,
    is_cut_short: bool,
    evaluate_every: int,
    save_every: int,
) -> list[str]:
    """What a careful friend would say before the run starts."""
    doubts = []
    wanted = TOKENS_PER_PARAMETER * facts.num_parameters
    is_repeated = epochs > MANY_EPOCHS and not facts.is_mixture
    if total_tokens < wanted:
        advice = "a smaller model, or a longer run, makes better use of the time"
        if is_repeated or is_cut_short:
            advice = "more text, or a smaller model, does better"
        doubts.append(
            f"{total_tokens:,} tokens will be seen, fewer than {TOKENS_PER_PARAMETER} x {facts.num_parameters:,} parameters = "
            f"{wanted:,}: {advice}"
        )
    if is_cut_short:
        doubts.append(
            f"the text is small: after {config.max_epochs:g} passes over it (train.max_epochs) the run ends, not after "
            f"{_say_asked_length(config)}, or the model would learn it by heart"
        )
    elif is_repeated:
        best = "" if config.keep_best else ", and train.keep_best=true keeps the best checkpoint"
        doubts.append(
            f"every row will be seen {epochs:.0f} times: watch the test loss, the model may learn the text by heart. "
            f"train.max_epochs={MANY_EPOCHS} ends the run before{best}"
        )
    if batch_rows > facts.num_rows:
        doubts.append(
            f"one batch ({say_count(batch_rows, 'row')}) is more than all training rows ({facts.num_rows:,}): lower train.batch_tokens"
        )
    if facts.num_cut_tokens > _MANY_CUT * facts.num_train_tokens:
        doubts.append(
            f"{facts.num_cut_tokens / facts.num_train_tokens:.0%} of the tokens are left out, as the rest of documents longer than a row "
            f"({facts.context_tokens:,} tokens; pack.long is truncate): pack.long=split trains them, in more rows"
        )
    if config.bptt_tokens is not None and 0 < config.bptt_learning_range * config.bptt_tokens < facts.context_tokens:
        doubts.append(
            f"of rows longer than {config.bptt_learning_range * config.bptt_tokens:,} tokens only the last ones are trained "
            "(train.bptt_learning_range)"
        )
    if is_compiled and not facts.has_fixed_width:
        doubts.append("batches have many widths, and each is compiled anew: set pack.pad_to=context, or train.compile=false")
    if facts.is_gpu and facts.precision == "fp32":
        doubts.append("matrix products in full fp32 are far slower than a GPU can be: train.precision=tf32, or bf16")
    if facts.precision == "fp8" and facts.width < _WIDE:
        doubts.append(f"a model of n_embd {facts.width} is hardly faster with train.precision=fp8 than with bf16")
    both_every = math.lcm(evaluate_every, save_every)
    if config.keep_best and facts.num_test_rows and both_every > max(evaluate_every, save_every):
        both = say_count(both_every, "step")
        doubts.append(
            f"train.keep_best keeps checkpoints of steps that are evaluated, too: every {both} and the last. Let "
            f"train.save_every_steps ({save_every:,}) be a multiple of train.evaluate_every_steps ({evaluate_every:,})"
        )
    if not facts.num_test_rows:
        doubts.append("nothing is held out: there will be no test loss (data.test_split)")
    return doubts + config.list_unused(has_test_rows=facts.num_test_rows > 0, num_processes=facts.num_processes)


def _say_asked_length(config: TrainConfig) -> str:
    """The length that a recipe gives, in words."""
    if config.minutes is not None:
        return say_duration(config.minutes * 60)
    if config.num_steps is not None:
        return say_count(config.num_steps, "step")
    return f"{config.num_epochs or 1:g}"


def _gigabytes(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB"
