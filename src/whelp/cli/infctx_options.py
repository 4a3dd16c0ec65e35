"""The options of RWKV's infctx trainer, each with what becomes of it in a recipe; docs/infctx.md shows the table."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

USED, NO_EFFECT, REFUSED = "used", "no effect", "refused"
SECTIONS = ("trainer", "model", "data")


@dataclass(frozen=True)
class Known:
    """What becomes of an option: the fields of ours that it sets, or why it sets none.

    A refused one is fine at the values of `harmless`, and without a value.
    """

    fate: Literal["used", "no effect", "refused"]
    text: str
    harmless: tuple[Any, ...] = ()


def _used(text: str) -> Known:
    return Known("used", text)


def _no_effect(text: str) -> Known:
    return Known("no effect", text)


def _refused(text: str, *harmless: Any) -> Known:
    return Known("refused", text, harmless)


_LIGHTNING = "of Lightning's loop, which is not used here"
_ONE_PROCESS = "data are prepared in a stream of bounded memory, and the result does not depend on it"
_ROW_ORDER = "rows are read from disk in an order that is drawn for each epoch"

OPTIONS: dict[str, Known] = {
    "seed_everything": _used("`train.seed`; true is 0"),
    "ckpt_path": _refused("`whelp train` goes on from its own run folder"),
    # trainer
    "trainer.accelerator": _used("`train.device`: cpu is cpu, anything else auto"),
    "trainer.accumulate_grad_batches": _used("`train.batch_tokens`, when there is no `target_batch_size`"),
    "trainer.barebones": _no_effect(_LIGHTNING),
    "trainer.benchmark": _no_effect(_LIGHTNING),
    "trainer.callbacks": _used(
        "`train.save_every_steps` and `train.keep_checkpoints` of a ModelCheckpoint; the rest has no effect"
    ),
    "trainer.check_val_every_n_epoch": _no_effect("`train.evaluate_every_steps` is by steps; default: ten times a run"),
    "trainer.default_root_dir": _no_effect("a run is where `--out` says"),
    "trainer.detect_anomaly": _no_effect("a loss that is no number always stops the run"),
    "trainer.deterministic": _no_effect(_LIGHTNING),
    "trainer.devices": _no_effect("`whelp train --nproc` says how many processes train"),
    "trainer.enable_checkpointing": _no_effect("a run always has checkpoints"),
    "trainer.enable_model_summary": _no_effect(_LIGHTNING),
    "trainer.enable_progress_bar": _no_effect(_LIGHTNING),
    "trainer.fast_dev_run": _refused("set `trainer.max_steps`", False, 0),
    "trainer.gradient_clip_algorithm": _refused("gradients are clipped by their norm", "norm"),
    "trainer.gradient_clip_val": _used("`train.clip_gradient_norm`"),
    "trainer.inference_mode": _no_effect(_LIGHTNING),
    "trainer.limit_predict_batches": _no_effect(_LIGHTNING),
    "trainer.limit_test_batches": _no_effect(_LIGHTNING),
    "trainer.limit_train_batches": _refused("set `trainer.max_steps`, or `data.dataset_length`", 1.0),
    "trainer.limit_val_batches": _no_effect("the whole test split is evaluated; `train.evaluate_rows` limits that"),
    "trainer.log_every_n_steps": _used("`train.log_every_steps`"),
    "trainer.logger": _no_effect("the records of a run are in its folder"),
    "trainer.max_epochs": _used("`train.num_epochs`, when there is no `max_steps`"),
    "trainer.max_steps": _used("`train.num_steps`"),
    "trainer.max_time": _refused("set `train.minutes=N train.num_steps=null train.num_epochs=null`"),
    "trainer.microbatch_size": _used("`train.micro_batch_rows`"),
    "trainer.min_epochs": _no_effect(_LIGHTNING),
    "trainer.min_steps": _no_effect(_LIGHTNING),
    "trainer.num_nodes": _no_effect("`whelp train --nproc` says how many processes train"),
    "trainer.num_sanity_val_steps": _no_effect("a run begins with a whole evaluation"),
    "trainer.overfit_batches": _refused("set `data.dataset_length`", 0, 0.0),
    "trainer.plugins": _refused("there are none"),
    "trainer.precision": _used("`train.precision`: 32 is fp32, anything else auto (see the guide to training)"),
    "trainer.profiler": _no_effect(_LIGHTNING),
    "trainer.reload_dataloaders_every_n_epochs": _no_effect(_LIGHTNING),
    "trainer.strategy": _no_effect("`whelp train --nproc` says how many processes train"),
    "trainer.sync_batchnorm": _no_effect("the models have no batch norm"),
    "trainer.target_batch_size": _used(
        "`train.batch_tokens`: so many samples, of `ctx_len` or, rechunked, of `text_rechunk_size` tokens"
    ),
    "trainer.use_distributed_sampler": _no_effect(_LIGHTNING),
    "trainer.val_check_interval": _used("`train.evaluate_every_steps`, when it is a number of steps"),
    # model
    "model.adam_eps": _used("`train.epsilon`"),
    "model.beta1": _used("`train.beta1`"),
    "model.beta2": _used("`train.beta2`; default 0.99"),
    "model.bptt_learning": _used("false: `train.bptt_truncated_learning: false`, over all chunks"),
    "model.bptt_learning_range": _used("`train.bptt_learning_range`"),
    "model.bptt_truncated_learning": _used("`train.bptt_truncated_learning`; default true"),
    "model.ctx_len": _used("`train.bptt_tokens`; default 2048"),
    "model.ctx_len_cutoffs": _refused("set `model.ctx_len`", []),
    "model.ctx_len_warmup_steps": _refused("set `model.ctx_len`", []),
    "model.dim_att": _no_effect("always n_embd"),
    "model.dim_ffn": _used("`model.ffn_width`"),
    "model.dropout": _refused("the RWKV families have none", 0, 0.0),
    "model.grad_cp": _used("`train.checkpoint_activations`"),
    "model.layerwise_lr": _refused("decays always learn twice as fast, as they do there by default", True),
    "model.load_model": _used(
        "`train.start_from`, where the file is there; else `model.n_layer` and `model.n_embd`, from a name such as L6-D512-..."
    ),
    "model.lr_final": _used("`train.final_learning_rate_share` and `train.schedule`; below 0: constant"),
    "model.lr_init": _used("`train.learning_rate`"),
    "model.lr_period": _used("0 is `lr_final` from the start; with anything else the decay takes the whole run"),
    "model.lr_period_type": _no_effect("the decay takes the whole run"),
    "model.lr_type": _used("`train.schedule`: cosine or linear"),
    "model.n_embd": _used("`model.n_embd`, before the name of `load_model`"),
    "model.n_layer": _used("`model.n_layer`, before the name of `load_model`"),
    "model.position_loss_bias": _no_effect("nor has it there"),
    "model.position_loss_bias_in_validation": _no_effect("nor has it there"),
    "model.substep_cuda_cache_clear": _no_effect("memory is planned before the run"),
    "model.substep_logging": _no_effect("the record of a run is by steps"),
    "model.target_lr_final": _refused("set `model.lr_final`", -1, -1.0),
    "model.target_lr_init": _refused("set `model.lr_init`", -1, -1.0),
    "model.token_dropout_rate": _refused("every token that is not masked is trained", 0, 0.0),
    "model.token_loss_threshold": _refused("every token that is not masked is trained", 0, 0.0),
    "model.torch_set_float32_matmul_precision": _no_effect("`train.precision` decides"),
    "model.vocab_size": _used("`model.vocab_size`; below 0: that of the tokenizer"),
    "model.warmup_steps": _used("`train.warmup_steps`; below 1: none"),
    "model.weight_decay": _used("`train.weight_decay`; default 0.01"),
    # data
    "data.autoTokenizer": _refused("save the tokenizer as you want it, and name its folder", {}),
    "data.conversation_end_of_conversation": _used("the same"),
    "data.conversation_format": _used("the same"),
    "data.conversation_input_key_map": _used("the same"),
    "data.conversation_input_key_mask": _used("the same"),
    "data.conversation_input_key_prefix_map": _used("the same"),
    "data.conversation_key": _used("the same"),
    "data.conversation_sender_key": _used("the same"),
    "data.conversation_sender_mask": _used("the same"),
    "data.conversation_sender_suffix": _used("the same"),
    "data.conversation_sender_value_map": _used("the same"),
    "data.custom_text_key": _used("the same"),
    "data.data_path": _used("where `whelp prepare` writes without `--out`, and `whelp train` looks without `--store`"),
    "data.data_path_storage_options": _refused("a token store is a folder of this machine", {}),
    "data.data_prefix_skip_mask": _used("the same"),
    "data.datapack_config_path": _refused("write its data sets as entries of `data.mixture` of a recipe, each with a weight"),
    "data.dataloader_pin_memory": _no_effect(_ROW_ORDER),
    "data.dataloader_prefetch_factor": _no_effect(_ROW_ORDER),
    "data.dataloader_shuffle_training": _no_effect(_ROW_ORDER),
    "data.dataloader_swap_train_test_split": _refused("swap the files", False),
    "data.dataset_index": _no_effect("of data packs"),
    "data.dataset_length": _used("the same; below 0: all"),
    "data.dataset_name": _no_effect("of data packs"),
    "data.dataset_offset": _used("the same; below 0: none"),
    "data.disable_prompt_completion_mask": _used("the same"),
    "data.is_random_datapack": _no_effect("of data packs"),
    "data.max_token_size": _used("the same; below 1: no limit"),
    "data.min_token_size": _used("the same; at least 2, as there"),
    "data.multi_column_keys": _used("the same; default instruction, input, output: text in one of them is enough"),
    "data.multi_column_prefix": _used("the same"),
    "data.multi_column_separator": _used("the same"),
    "data.multi_column_suffix": _used("the same"),
    "data.multi_column_train_mask": _used("the same"),
    "data.packing_batchsize": _no_effect("rows are packed to `ctx_len` tokens, over the whole split"),
    "data.packing_chunksize": _no_effect("rows are packed to `ctx_len` tokens, over the whole split"),
    "data.packing_enable": _used("`pack.plan: best_fit`, with `data.separator: eos`"),
    "data.packing_in_sequence": _no_effect("rows are packed to `ctx_len` tokens, over the whole split"),
    "data.packing_min_ctx_len": _no_effect("rows are packed to `ctx_len` tokens, over the whole split"),
    "data.processing_max_batch_size": _no_effect(_ONE_PROCESS),
    "data.reverse_train_dataset_before_save": _no_effect(_ROW_ORDER),
    "data.skip_datapath_setup": _no_effect("`whelp prepare` is a step of its own, and does nothing twice"),
    "data.sort_asc": _no_effect(_ROW_ORDER),
    "data.sort_by_length": _no_effect(_ROW_ORDER),
    "data.source": _used("the same"),
    "data.source_data_dir": _used("the same"),
    "data.source_dataset_params": _used("the same"),
    "data.source_dataset_split": _used("the same"),
    "data.test_split": _used("the same; below 1 document, or 0: one document"),
    "data.test_split_shuffle": _used("the same; default false, the last documents"),
    "data.text_rechunk_auto": _used("as `text_rechunk_force`, for a source of text files; default true"),
    "data.text_rechunk_force": _used("`pack.plan: concat`"),
    "data.text_rechunk_separator": _used("ours alone: `data.separator` of rechunked text, eos (default) or newline"),
    "data.text_rechunk_size": _used("0: no rechunking; else the tokens of a sample of `target_batch_size`; default 4096"),
    "data.tokenizer": _used("the same; default neox"),
    "data.world_add_endoftext_token": _used("`data.special_tokens_in_text`, with the tokenizer world; else that is true"),
}

SAME_OPTIONS = [name.partition(".")[2] for name, known in OPTIONS.items() if known == _used("the same")] + ["multi_column_keys"]


def make_table() -> str:
    """The table of all options, as Markdown."""
    rows = [f"| `{name}` | {known.fate} | {known.text} |" for name, known in OPTIONS.items()]
    return "\n".join(["| option | | what it sets, or why not |", "|---|---|---|", *rows])


def find_problems(values: Mapping[str, Any]) -> list[str]:
    """Every option that is unknown, refused or in the wrong place, in words."""
    problems = []
    for key, options in values.items():
        if key not in SECTIONS:
            problems += _check(str(key), options)
        elif isinstance(options, Mapping):
            for name, value in options.items():
                problems += _check(f"{key}.{name}", value)
        elif options is not None:
            problems.append(f"{key} is {options!r}, but a mapping of options is expected")
    return problems


def _check(name: str, value: Any) -> list[str]:
    if name not in OPTIONS:
        near = difflib.get_close_matches(name, OPTIONS, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]}?" if near else f" Sections: {', '.join(SECTIONS)}."
        return [f"unknown option {name} of the infctx trainer.{hint}"]
    known = OPTIONS[name]
    if known.fate == REFUSED and value is not None and value not in known.harmless:
        return [f"{name} is {value!r}, which whelp does not do: {known.text}"]
    return []
