"""Everything a run needs, opened and checked before anything is written: rows, model, optimizer, plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import read_model_folder
from whelp.artifacts.token_store import TokenStore
from whelp.base.counts import say_count
from whelp.base.errors import PlanError, TrainingError
from whelp.base.log import log, say_if_long
from whelp.base.start_up import start_up
from whelp.cli.init import check_causal
from whelp.cli.inspect import choose_pad
from whelp.cli.recipe import Recipe
from whelp.cli.source_rows import SourceRows, add_repeats, evaluate_by_source, mix_rows, pack_by_source
from whelp.cli.training.start_from import load_start, read_start, read_start_state

if TYPE_CHECKING:
    import torch

    from whelp.evaluate.loss import LossResult
    from whelp.model import LanguageModel, ModelSpec
    from whelp.prepare.config import PackConfig
    from whelp.prepare.mixture_rows import MixtureRows
    from whelp.prepare.rows import PackedRows
    from whelp.tokenizer.vocabulary import Vocabulary
    from whelp.train import TrainPlan
    from whelp.train.optimizer import Optimizer
    from whelp.train.plan import Facts
    from whelp.train.process_group import ProcessGroup
    from whelp.train.shard import ShardedOptimizer

_SLOW = 2.0  # times as long as products of fp32; where there are instructions for bf16 a step takes at most 1.3 times as long


class Session:
    """What a recipe and a store come to in this process; of many processes, each has one. Nothing is written."""

    def __init__(self, recipe: Recipe, store: TokenStore, processes: ProcessGroup | None = None) -> None:
        import torch

        from whelp.base.machine import count_cores, keep_freed_memory
        from whelp.generate.prompt import encode_prompt
        from whelp.model import make_spec
        from whelp.model.rwkv.kernels import KERNELS, find_kernels
        from whelp.tokenizer import load_tokenizer
        from whelp.train.device import allow_fast_products, choose_device, choose_precision
        from whelp.train.plan import count_batch_rows
        from whelp.train.process_checks import check_own_gpus
        from whelp.train.process_group import ProcessGroup

        self.recipe, self.store, self.processes = recipe, store, processes or ProcessGroup()
        self.vocabulary: Vocabulary = load_tokenizer(store.tokenizer_folder)
        for number, prompt in enumerate(recipe.train.sample_prompts, 1):
            encode_prompt(prompt, self.vocabulary, f"train.sample_prompts, number {number}")  # else refused at the first sample
        pad_id = choose_pad(self.vocabulary)
        pack = cut_rows(recipe)
        batch_rows = count_batch_rows(recipe.train, pack.context_tokens)
        self.parts = pack_by_source(store, "train", pack, pad_id=pad_id, batch_rows=batch_rows)
        self.test_parts: SourceRows = {}
        if store.manifest.counts["splits"].get("test", {}).get("tokens", 0) > 1:
            self.test_parts = pack_by_source(store, "test", pack, pad_id=pad_id, must_fill_a_row=False)
        self.spec: ModelSpec = make_spec(recipe.model, num_ids=self.vocabulary.size, context_tokens=pack.context_tokens)
        self.device = choose_device(recipe.train.device, self.processes.process)
        self.precision = choose_precision(
            recipe.train.precision,
            self.device,
            family=self.spec.family,
            width=self.spec.n_embd,
            num_processes=self.processes.size,
        )
        if self.device.type == "cuda":
            allow_fast_products(self.precision)
            if self.processes.size > 1 and self.processes.process.may_see_one_gpu:
                check_own_gpus(self.processes, str(torch.cuda.get_device_properties(self.device).uuid))
        if self.is_sharded and self.spec.family == "hf":
            raise PlanError(
                "train.shard", "the blocks of model.family: hf are not known", "a family of ours", "Leave train.shard out."
            )
        if self.device.type == "cuda" and self.spec.family in KERNELS and self.processes.is_first and not find_kernels():
            log.warning(
                "%s runs without its GPU kernels, several times slower: pip install 'whelp[rwkv]' (then start again)",
                self.spec.family,
            )
        if self.device.type == "cpu" and self.precision == "bf16" and self.processes.is_first:
            self._say_bf16()
        num_threads = recipe.train.threads or 1
        if self.device.type == "cpu" and self.processes.is_first and num_threads > count_cores():
            note = "train.threads is %d, and there are %s here: threads that wait for a core make steps many times slower"
            log.warning(note, num_threads, say_count(count_cores(), "core"))
        self._settle_learning_rate()
        keep_freed_memory()

    def _say_bf16(self) -> None:
        """Say why products are bf16 on this processor, or that they take long on it."""
        from whelp.train.device import measure_slowdown

        if self.recipe.train.precision == "auto":
            log.info("train.precision: auto is bf16, which this processor multiplies in tiles (AMX)")
            return
        slowdown = measure_slowdown(self.device, "bf16")
        if slowdown >= _SLOW:
            note = (
                "matrix products in bf16 take %.0f times as long as in fp32 on this processor, which has no instructions for them: "
                "train.precision=fp32 is far faster, also for a run that goes on"
            )
            log.warning(note, slowdown)

    def _settle_learning_rate(self) -> None:
        """Make a number of `train.learning_rate: auto`, and say it."""
        from whelp.train.learning_rate import settle_learning_rate

        train = settle_learning_rate(self.recipe.train, self.spec.n_embd, self.spec.architecture)
        if train is not self.recipe.train:
            self.recipe = dataclasses.replace(self.recipe, train=train)
            if self.processes.is_first:
                note = "train.learning_rate: auto is %g, for %s, %s and a width of %d"
                log.info(note, train.peak_learning_rate, train.optimizer, self.spec.architecture, self.spec.n_embd)

    @property
    def is_sharded(self) -> bool:
        """Whether the processes divide the model; one alone has nobody to divide it with."""
        return self.recipe.train.shard and self.processes.size > 1

    def build_whole(self) -> LanguageModel:
        """The model with its first weights, on the CPU."""
        from whelp.model import build_model

        return build_model(self.spec, self.recipe.train.seed)

    def make_trainable(
        self, checkpoint: Path | None = None, start: dict[str, Any] | None = None
    ) -> tuple[LanguageModel, Optimizer | ShardedOptimizer]:
        """The model on its device, with its first weights or others, and its optimizer without state.

        Args:
            checkpoint: Gives the weights of a run that goes on.
            start: What `read_start` gave, for a run that begins with the weights of another model.

        Raises:
            PlanError: When an architecture of transformers is no causal language model as it is configured.
        """
        import torch

        from whelp.train import build_optimizer

        if self.is_sharded:
            return self._make_divided(self._build_begun(checkpoint, start) if self.processes.is_first else None)
        model = self._build_begun(checkpoint, start)
        start_up.reach("weights")
        if self.recipe.train.checkpoint_activations:
            model.checkpoint_activations()
        model.to(self.device)
        if self.spec.family == "hf":
            check_causal(model, self.recipe.model.hf_config)
        product_type = torch.bfloat16 if self.precision == "bf16" else None
        return model, build_optimizer(model, self.recipe.train, self.processes, product_type=product_type)

    def _build_begun(self, checkpoint: Path | None, start: dict[str, Any] | None) -> LanguageModel:
        """The whole model on the CPU, with the weights that `make_trainable` is asked for."""
        model = self.build_whole()
        if checkpoint is not None:
            model.load_hugging_face(read_model_folder(checkpoint)[1])
        elif start is not None:
            load_start(model, start, str(self.recipe.train.start_from))
        return model

    def _make_divided(self, whole: LanguageModel | None) -> tuple[LanguageModel, ShardedOptimizer]:
        """A model that never exists as a whole, but in the memory of the first process's CPU while it is handed out."""
        from whelp.model.build import build_skeleton
        from whelp.train.shard import ShardedOptimizer, fill_model, shard_model

        model = build_skeleton(self.spec)
        if self.recipe.train.checkpoint_activations:
            model.checkpoint_activations()
        shard_model(model, self.device, self.processes)
        fill_model(model, whole, self.device, self.processes)
        return model, ShardedOptimizer(model, self.recipe.train, self.processes)

    def read_start(self) -> dict[str, Any] | None:
        """The weights that `train.start_from` names, checked against the recipe and the store; who hands them out reads them."""
        start_from = self.recipe.train.start_from
        if self.recipe.train.start_optimizer:
            self.read_start_state()  # what is wrong with it is said before anything is written
        return (
            None
            if start_from is None or (self.is_sharded and not self.processes.is_first)
            else read_start(start_from, self.spec, self.vocabulary)
        )

    def read_start_state(self) -> Mapping[str, torch.Tensor]:
        """The state of the optimizer that `train.start_optimizer` asks for; every process reads what it needs of it."""
        start_from = self.recipe.train.start_from
        assert start_from is not None, "train.start_optimizer needs train.start_from"
        return read_start_state(start_from, self.recipe.train.optimizer)

    def choose_rows(self, plan: TrainPlan) -> PackedRows | MixtureRows:
        """The rows of a run; of a mixture they depend on how many the run takes."""
        return self.parts[None] if None in self.parts else mix_rows(self.parts, self.recipe, plan)

    def make_ledger(self, plan: TrainPlan) -> dict[str, Any]:
        """Where the tokens go in a pass over all rows; of a mixture, also what the run draws from each source."""
        from whelp.prepare.pack import make_pack_ledger

        ledger: dict[str, Any] = make_pack_ledger(*self.parts.values())
        if None not in self.parts:
            ledger["sources"] = mix_rows(self.parts, self.recipe, plan).make_ledger()["sources"]
        return ledger

    def find_facts(self) -> Facts:
        """What a plan is made from; the same in every process."""
        from whelp.model.build import count_parameters
        from whelp.model.gpu.triton_support import HAS_TRITON
        from whelp.train.device import can_compile_for, count_free_memory
        from whelp.train.plan import Facts
        from whelp.train.process_checks import share_cores

        process = self.processes.process
        has_gpu_kernels = self.device.type == "cuda" and HAS_TRITON
        free_bytes = count_free_memory(self.device) // (process.num_local_processes if self.device.type == "cpu" else 1)
        return Facts(
            num_parameters=count_parameters(self.spec),
            num_layers=self.spec.n_layer,
            width=self.spec.n_embd,
            ffn_width=self.spec.ffn_width,
            vocab_size=self.spec.vocab_size,
            context_tokens=self.spec.context_tokens,
            num_rows=sum(len(rows) for rows in self.parts.values()),
            num_train_tokens=sum(rows.split.num_tokens for rows in self.parts.values()),
            num_test_rows=sum(len(rows) for rows in self.test_parts.values()),
            num_cut_tokens=sum(rows.find_fates().cut for rows in self.parts.values()),
            device=str(self.device),
            precision=self.precision,
            is_gpu=self.device.type == "cuda",
            free_bytes=-int(self.processes.largest([-free_bytes])[0]),
            threads=self.recipe.train.threads or share_cores(self.processes),
            num_processes=process.num_processes,
            keeps_activations=not self.recipe.train.checkpoint_activations,
            family=self.spec.family,
            tokens_at_once=self._count_tokens_at_once(),
            slices_logits=self.spec.family != "hf" and (self.device.type == "cpu" or has_gpu_kernels),
            can_compile=can_compile_for(self.device),
            is_mixture=None not in self.parts,
            has_fixed_width=self.recipe.pack.plan != "none" or self.recipe.pack.pad_to == "context",
        )

    def _count_tokens_at_once(self) -> int | None:
        """Tokens of a row whose activations are kept at a time; None: all of them."""
        config = self.recipe.train
        if config.bptt_tokens is None or config.bptt_tokens >= self.spec.context_tokens:
            return None
        if config.bptt_truncated_learning:
            return config.bptt_tokens
        return config.bptt_tokens * config.bptt_learning_range if config.bptt_learning_range > 0 else None

    def evaluate(self, model: LanguageModel, plan: TrainPlan, *, num_rows: int | None = None) -> LossResult:
        """The loss over the test rows, or `num_rows` of them, each process computing a slice."""
        from whelp.train.device import get_product_type

        return evaluate_by_source(
            model,
            self.test_parts,
            token_bytes=self.vocabulary.token_bytes,
            num_rows=plan.evaluate_rows if num_rows is None else num_rows,
            batch_rows=plan.rows_evaluated_at_once,
            rank=self.processes.rank,
            world=self.processes.size,
            add=self.processes.add,
            device=self.device,
            precision=get_product_type(self.precision),
        )

    def continue_prompt(self, model: LanguageModel, prompt: str, num_tokens: int) -> str:
        """A sample, always by the same random numbers."""
        from whelp.cli.generate import SAMPLE_STYLE
        from whelp.generate import GenerateConfig, complete

        settings = GenerateConfig(max_tokens=num_tokens, seed=self.recipe.train.seed, **SAMPLE_STYLE)
        return complete(model, self.vocabulary, prompt, settings)[0].text

    def make_plan(self, *, must_time: bool) -> TrainPlan:
        """Plan the run; a CPU run, and one that must know its time, is probed first."""
        from whelp.prepare.rows import PackedRows
        from whelp.train.plan import MANY_EPOCHS, make_plan

        config, facts = self.recipe.train, self.find_facts()
        plan = make_plan(config, facts)
        must_time = must_time or config.minutes is not None
        must_choose = self.device.type == "cpu" and config.threads is None and self.processes.size == 1
        if must_time or must_choose:
            note = "timing a few steps of the model on this machine, which takes some time with a large one"
            with say_if_long(note):
                plan = make_plan(config, self._find_times(facts, must_time=must_time))
        rows = self.choose_rows(plan)
        return plan if isinstance(rows, PackedRows) else add_repeats(plan, rows, MANY_EPOCHS)

    def _find_times(self, facts: Facts, *, must_time: bool) -> Facts:
        """What a probe adds to the facts; out of memory, each part of it is tried with half the rows at a time, and so on.

        Raises:
            TrainingError: When not even one row fits, or others are in the middle of the probe.
        """
        from whelp.cli.costs import estimate_saving_seconds

        facts, model = self._time_steps(facts)
        if not must_time:
            return facts
        saving = estimate_saving_seconds(self.recipe.train, self.spec, is_gpu=facts.is_gpu)
        return dataclasses.replace(self._time_looking(facts, model), seconds_per_save=saving)

    def _time_steps(self, facts: Facts) -> tuple[Facts, LanguageModel]:
        """The time of a step, on how many threads; and the model that was stepped."""
        from whelp.train.device import is_out_of_memory
        from whelp.train.fit import TornStepError
        from whelp.train.plan import halve_micro_batch, make_plan
        from whelp.train.speed_probe import probe_speed

        built: list[LanguageModel] = []

        def build() -> tuple[LanguageModel, Optimizer | ShardedOptimizer]:
            built.clear()  # one at a time: they may be large
            trainable = self.make_trainable()
            built.append(trainable[0])
            return trainable

        while True:
            plan = make_plan(self.recipe.train, facts)
            try:
                probe = probe_speed(build, self.choose_rows(plan), plan, self.recipe.train, processes=self.processes)
                return dataclasses.replace(facts, threads=probe.threads, seconds_per_step=probe.seconds_per_step), built[0]
            except TornStepError:
                pass  # the next probe builds its model anew
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            rows_at_once = halve_micro_batch(plan).micro_batch_rows
            self._take_fewer_rows(plan.micro_batch_rows, rows_at_once)
            facts = dataclasses.replace(facts, most_rows_at_once=rows_at_once)

    def _time_looking(self, facts: Facts, model: LanguageModel) -> Facts:
        """The time of an evaluation with its samples."""
        from whelp.cli.training.times import time_looking
        from whelp.train.device import is_out_of_memory
        from whelp.train.plan import halve_evaluation, make_plan

        while True:
            plan = make_plan(self.recipe.train, facts)
            try:
                return dataclasses.replace(facts, seconds_per_look=time_looking(self, model, plan, threads=facts.threads))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            rows_at_once = halve_evaluation(plan).rows_evaluated_at_once
            self._take_fewer_rows(plan.rows_evaluated_at_once, rows_at_once, " in an evaluation")
            facts = dataclasses.replace(facts, most_rows_evaluated_at_once=rows_at_once)

    def _take_fewer_rows(self, rows_tried: int, rows_now: int, doing: str = "") -> None:
        """Say what did not fit; make room for the next try, where no other process waits in the midst of this one."""
        from whelp.train.device import free_idle_memory

        if self.processes.size > 1:
            found, advice = say_out_of_memory(rows_tried, doing), f"Set train.micro_batch_rows={rows_now}."
            raise TrainingError(f"process {self.processes.rank + 1}", found, "room", advice)
        log.warning("%s; from now on %d", say_out_of_memory(rows_tried, doing), rows_now)
        free_idle_memory(self.device)

    def adapt_plan(self, plan: TrainPlan, changed: frozenset[str] = frozenset()) -> TrainPlan:
        """The plan a run was started with, for the processes and the device there are now; another device, or fewer cores, is said.

        Args:
            changed: Options of where and when that are others than at the start.
        """
        from whelp.train.plan import adapt_plan, make_plan

        if plan.precision != self.precision:
            changed |= {"precision"}
        is_same_place = plan.num_processes == self.processes.size and plan.device == str(self.device)
        if is_same_place and self._lacks_cores(plan):
            changed |= {"threads"}
        if is_same_place and not changed:
            return plan
        if plan.device != str(self.device) and self.processes.is_first:
            precision = f"{self.precision} as before" if plan.precision == self.precision else self.precision
            note = "this run was on %s so far, and goes on on %s, in %s: losses are the same but for rounding"
            log.warning(note, plan.device, self.device, precision)
        return adapt_plan(plan, make_plan(self.recipe.train, self.find_facts()), changed)

    def _lacks_cores(self, plan: TrainPlan) -> bool:
        """Whether a run that was begun on a CPU of more cores has more threads than there are here; said."""
        from whelp.train.process_checks import share_cores

        if self.device.type != "cpu" or self.recipe.train.threads is not None:
            return False
        num_threads = share_cores(self.processes)
        if num_threads < plan.threads and self.processes.is_first:
            note = "this run had %s so far, and has %d here, as many as there are cores for it: losses are the same but for rounding"
            log.warning(note, say_count(plan.threads, "thread"), num_threads)
        return num_threads < plan.threads

    def lengthen_plan(self, plan: TrainPlan) -> TrainPlan:
        """The plan a run was started with, as long as the recipe says now."""
        from whelp.train.length_change import lengthen_plan

        return lengthen_plan(plan, self.make_plan(must_time=False), self.recipe.train)


def say_out_of_memory(rows_tried: int, doing: str = "") -> str:
    """What did not fit."""
    return f"out of memory{doing} with {say_count(rows_tried, 'row')} at a time"


def cut_rows(recipe: Recipe) -> PackConfig:
    """The rows that a family is trained on: one without a state cannot read on, so its rows are as long as its chunks."""
    from whelp.model.config import RECURRENT_FAMILIES

    pack, tokens = recipe.pack, recipe.train.bptt_tokens
    if tokens is None or recipe.model.family in RECURRENT_FAMILIES:
        return pack
    return dataclasses.replace(pack, context_tokens=min(pack.context_tokens, tokens))
