"""YAML files of RWKV's infctx trainer as recipes: each of its options is used, has no effect here, or is refused.

`OPTIONS` is the whole table; docs/infctx.md shows it, with where the results differ.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from whelp.artifacts.rwkv_file import is_rwkv_file, read_rwkv_shapes
from whelp.base.config import read_yaml
from whelp.base.errors import ConfigError
from whelp.prepare.config import TemplateConfig

USED, NO_EFFECT, REFUSED = "used", "no effect", "refused"
_DEFAULT_CONTEXT = 2048
_DEFAULT_CHUNK = 4096
_MOST_CHUNKS = 16  # of ctx_len in a row that is a document; longer ones go over several rows
_DEFAULT_WEIGHT_DECAY = 0.01
_DEFAULT_BETA2 = 0.99
_SMALLEST_ROW = 2  # shorter rows are always left out there
_HEAD_WIDTH = 64  # of RWKV
_LOADERS = ("text", "json", "csv", "parquet", "pandas", "arrow")
_MARKS = ("load_model", "ctx_len", "ctx_len_cutoffs", "lr_init", "bptt_learning")
_SECTIONS = ("trainer", "model", "data")


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

_SAME = [name.partition(".")[2] for name, known in OPTIONS.items() if known == _used("the same")] + ["multi_column_keys"]


def is_infctx(values: Mapping[str, Any]) -> bool:
    """Whether a mapping is of the infctx trainer, by its section `trainer` or by options that are its alone."""
    model, data = values.get("model"), values.get("data")
    if "trainer" in values or (isinstance(data, Mapping) and "data_path" in data):
        return True
    return isinstance(model, Mapping) and any(name in model for name in _MARKS)


@dataclass(frozen=True)
class Mapped:
    """A recipe made of an infctx YAML: the values of our sections, and what its writer should know."""

    values: dict[str, dict[str, Any]]
    notices: list[str]


def map_infctx(values: Mapping[str, Any], where: object) -> Mapped:
    """Turn the sections trainer, model and data into those of a recipe.

    Raises:
        ConfigError: With every option that is unknown or refused.
    """
    problems = _find_problems(values)
    if problems:
        raise ConfigError(where, problems)
    trainer, model, data = ({**(values.get(name) or {})} for name in _SECTIONS)
    for options in (trainer, model, data):  # nothing is the default
        for name in [name for name, value in options.items() if value is None]:
            del options[name]
    folder = where.parent if isinstance(where, Path) else Path()
    reader = _Reader(values.get("seed_everything"), trainer, model, data, folder)
    recipe = {"data": reader.data_section(), "pack": reader.pack_section()}
    recipe |= {"model": reader.model_section(), "train": reader.train_section()}
    if reader.problems:
        raise ConfigError(where, reader.problems)
    idle = [
        f"{section}.{name}"
        for section, options in zip(_SECTIONS, (trainer, model, data), strict=True)
        for name in options
        if OPTIONS[f"{section}.{name}"].fate == NO_EFFECT
    ]
    if idle:
        reader.notices.append(f"without effect here: {', '.join(idle)}")
    return Mapped(recipe, reader.notices)


def find_data_path(recipe: str | Path) -> Path | None:
    """The folder that an infctx YAML calls data_path, relative to the file; None for any other recipe."""
    from whelp.cli.recipe import find_recipe

    path = find_recipe(recipe)
    values = read_yaml(path)
    data = values.get("data")
    if not is_infctx(values) or not isinstance(data, Mapping) or not isinstance(data.get("data_path"), str):
        return None
    return path.parent / Path(data["data_path"]).expanduser()


def make_table() -> str:
    """The table of all options, as Markdown."""
    rows = [f"| `{name}` | {known.fate} | {known.text} |" for name, known in OPTIONS.items()]
    return "\n".join(["| option | | what it sets, or why not |", "|---|---|---|", *rows])


def _find_problems(values: Mapping[str, Any]) -> list[str]:
    problems = []
    for key, options in values.items():
        if key not in _SECTIONS:
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
        hint = f" Did you mean {near[0]}?" if near else f" Sections: {', '.join(_SECTIONS)}."
        return [f"unknown option {name} of the infctx trainer.{hint}"]
    known = OPTIONS[name]
    if known.fate == REFUSED and value is not None and value not in known.harmless:
        return [f"{name} is {value!r}, which whelp does not do: {known.text}"]
    return []


class _Reader:
    """Makes the sections; gathers problems and notices."""

    def __init__(self, seed: Any, trainer: dict[str, Any], model: dict[str, Any], data: dict[str, Any], folder: Path) -> None:
        self.seed, self.trainer, self.model, self.data, self.folder = seed, trainer, model, data, folder
        self.problems: list[str] = []
        self.notices: list[str] = []
        source = data.get("source")
        is_text = source == "text" or (isinstance(source, str) and source.endswith(".txt"))
        wants_chunks = data.get("text_rechunk_force") or (is_text and data.get("text_rechunk_auto", True))
        self.chunk_tokens = self._whole("data.text_rechunk_size", _DEFAULT_CHUNK)
        self.is_chunked = bool(wants_chunks) and self.chunk_tokens > 0
        self.is_packed = bool(data.get("packing_enable")) and not self.is_chunked
        self.context_tokens = self._whole("model.ctx_len", _DEFAULT_CONTEXT)
        self.row_tokens = self._find_row_tokens()

    def data_section(self) -> dict[str, Any]:
        data = self.data
        if "source" not in data:
            self.problems.append("data.source is missing: give the text; finished data sets of the infctx trainer are not read")
        section = {name: data[name] for name in _SAME if name in data}
        section.setdefault("multi_column_keys", list(TemplateConfig().columns))  # named, text in one of them is enough
        if section.get("source") in _LOADERS and not (data.get("source_data_dir") or data.get("source_dataset_params")):
            self.problems.append(
                f"data.source is {data['source']}, but nothing says which files: "
                "set data.source_data_dir, or data.source to their path"
            )
        if data.get("tokenizer") == "binidx":
            self.problems.append("data.tokenizer is binidx, which is no tokenizer: give the text that the file was made from")
        if "://" in str(data.get("data_path", "")):
            self.problems.append(f"data.data_path is {data['data_path']!r}, but a token store is a folder of this machine")
        tokenizer = data.get("tokenizer", "neox")
        section |= {
            "tokenizer": tokenizer,
            "separator": self._separator(),
            "min_token_size": max(self._whole("data.min_token_size", _SMALLEST_ROW), _SMALLEST_ROW),
            "max_token_size": self._whole("data.max_token_size", -1) if self._whole("data.max_token_size", -1) > 0 else -1,
            "test_split": self._test_split(),
            # Blocks of rechunked text are held out there, so one large file is no reason to fail: the end of it is as good.
            "test_split_by": "auto" if self.is_chunked else "document",
            "test_split_shuffle": data.get("test_split_shuffle", False),
            "special_tokens_in_text": tokenizer != "world" or bool(data.get("world_add_endoftext_token", True)),
        }
        for name in ("dataset_offset", "dataset_length"):
            if self._number(f"data.{name}", -1.0) > 0:
                section[name] = data[name]
        return section

    def pack_section(self) -> dict[str, Any]:
        plan = "concat" if self.is_chunked else "best_fit" if self.is_packed else "none"
        return {"context_tokens": self.row_tokens, "plan": plan}

    def _find_row_tokens(self) -> int:
        """The longest row: a block of rechunked text, packed rows of ctx_len, or a document, up to many times ctx_len."""
        if self.is_chunked:
            return self.chunk_tokens
        if self.is_packed:
            return self.context_tokens
        longest = self._whole("data.max_token_size", -1)
        return longest if longest > 0 else _MOST_CHUNKS * self.context_tokens

    def model_section(self) -> dict[str, Any]:
        n_layer, n_embd = self._whole("model.n_layer", -1), self._whole("model.n_embd", -1)
        name = Path(str(self.model.get("load_model", ""))).name
        weights = self.find_weights()
        if weights is not None:
            return self._read_sizes(weights)
        size = re.search(r"L(\d+)-D(\d+)", name)
        if size is not None:
            n_layer = n_layer if n_layer > 0 else int(size[1])
            n_embd = n_embd if n_embd > 0 else int(size[2])
        if n_layer < 1 or n_embd < 1:
            self.problems.append(
                f"model.load_model is {name!r}, a name that does not say how large the model is: "
                "call it L6-D512-... (layers, width), or set model.n_layer and model.n_embd"
            )
            return {}
        head_width = next((width for width in (_HEAD_WIDTH, _HEAD_WIDTH // 2) if n_embd % width == 0), n_embd)
        self.notices.append(
            f"{name or 'model.load_model'} is not there: a new rwkv5 of {n_layer} layers and width {n_embd} is trained "
            "(model.family=rwkv7 is the current generation)"
        )
        section = {"family": "rwkv5", "n_layer": n_layer, "n_embd": n_embd, "n_head": n_embd // head_width}
        for theirs, ours in (("dim_ffn", "ffn_width"), ("vocab_size", "vocab_size")):
            if self._whole(f"model.{theirs}", -1) > 0:
                section[ours] = self._whole(f"model.{theirs}", -1)
        return section

    def find_weights(self) -> Path | None:
        """The file that load_model names, relative to the YAML file; None when it is not there."""
        name = self.model.get("load_model")
        path = self.folder / Path(name).expanduser() if isinstance(name, str) else None
        return path if path is not None and path.is_file() and is_rwkv_file(path) else None

    def _read_sizes(self, path: Path) -> dict[str, Any]:
        from whelp.model.build import find_official_family

        weights = read_rwkv_shapes(path)
        spec = find_official_family(weights, path).spec_from_official(weights, self.context_tokens)
        names = ("family", "n_layer", "n_head", "n_embd", "ffn_width", "vocab_size")
        return {name: getattr(spec, name) for name in names}

    def train_section(self) -> dict[str, Any]:
        trainer, model = self.trainer, self.model
        samples = self._whole("trainer.target_batch_size", -1)
        accumulated = self._whole("trainer.accumulate_grad_batches", 1)
        if samples > 0 and accumulated > 1:
            self.problems.append("trainer.target_batch_size and trainer.accumulate_grad_batches are both set. Keep one of them")
        if samples < 1:
            samples = max(accumulated, 1) * max(self._whole("trainer.microbatch_size", 1), 1)
        section: dict[str, Any] = {
            "batch_tokens": samples * self.row_tokens,
            "optimizer": "adamw",
            "beta2": model.get("beta2", _DEFAULT_BETA2),
            "weight_decay": model.get("weight_decay", _DEFAULT_WEIGHT_DECAY),
            "device": "cpu" if trainer.get("accelerator") == "cpu" else "auto",
            "precision": "fp32" if str(trainer.get("precision", "")).startswith("32") else "auto",
            **self._back_propagation(),
            **self._length(),
            **self._learning_rate(),
            **self._checkpoints(),
        }
        renamed = {"beta1": ("model.beta1", model), "epsilon": ("model.adam_eps", model)}
        renamed |= {
            "log_every_steps": ("trainer.log_every_n_steps", trainer),
            "micro_batch_rows": ("trainer.microbatch_size", trainer),
        }
        renamed |= {"clip_gradient_norm": ("trainer.gradient_clip_val", trainer)}
        for ours, (theirs, options) in renamed.items():
            if (value := options.get(theirs.partition(".")[2])) is not None:
                section[ours] = value
        interval = trainer.get("val_check_interval")
        if isinstance(interval, int) and not isinstance(interval, bool):
            section["evaluate_every_steps"] = interval
        if isinstance(self.seed, int):
            section["seed"] = 0 if isinstance(self.seed, bool) else self.seed
        return section

    def _back_propagation(self) -> dict[str, Any]:
        """Chunks of ctx_len, where rows are longer; and which weights the run begins with."""
        model, section = self.model, dict[str, Any]()
        weights = self.find_weights()
        if weights is not None:
            section["start_from"] = str(model["load_model"])
        if model.get("grad_cp"):
            section["checkpoint_activations"] = True
        if self.row_tokens <= self.context_tokens:
            return section
        section["bptt_tokens"] = self.context_tokens
        if not model.get("bptt_learning", True):
            return {**section, "bptt_truncated_learning": False}
        section["bptt_truncated_learning"] = model.get("bptt_truncated_learning", True)
        return {**section, "bptt_learning_range": self._whole("model.bptt_learning_range", -1)}

    def _length(self) -> dict[str, Any]:
        steps, epochs = self._number("trainer.max_steps", -1.0), self._number("trainer.max_epochs", 0.0)
        if steps > 0:
            return {"num_steps": int(steps)}
        if epochs > 0:
            return {"num_epochs": epochs}
        if epochs < 0:
            self.problems.append(
                "trainer.max_epochs is below 0, so there is no end: set trainer.max_steps or trainer.max_epochs"
            )
        return {"num_epochs": 1.0}

    def _learning_rate(self) -> dict[str, Any]:
        first, last = self._number("model.lr_init", -1.0), self._number("model.lr_final", -1.0)
        if first <= 0:
            self.problems.append("model.lr_init is missing, but expected a learning rate above 0")
            return {}
        warmup = self._whole("model.warmup_steps", -1)
        section: dict[str, Any] = {"warmup_steps": warmup} if warmup > 0 else {"warmup_share": 0.0}
        if last >= 0 and self._number("model.lr_period", -1.0) == 0:
            return {**section, "learning_rate": last, "schedule": "constant"}
        if last < 0 or last == first:
            return {**section, "learning_rate": first, "schedule": "constant"}
        if last > first:
            self.problems.append(
                f"model.lr_final ({last:g}) is above model.lr_init ({first:g}), but a learning rate only decays"
            )
        schedule = self.model.get("lr_type", "cosine")
        return {**section, "learning_rate": first, "schedule": schedule, "final_learning_rate_share": last / first}

    def _checkpoints(self) -> dict[str, Any]:
        callbacks = self.trainer.get("callbacks")
        section = {}
        for callback in callbacks if isinstance(callbacks, list) else [callbacks]:
            if not isinstance(callback, Mapping) or not str(callback.get("class_path", "")).endswith("ModelCheckpoint"):
                continue
            options = callback.get("init_args")
            if isinstance(options, Mapping):
                if isinstance(options.get("every_n_train_steps"), int) and options["every_n_train_steps"] > 0:
                    section["save_every_steps"] = options["every_n_train_steps"]
                if isinstance(options.get("save_top_k"), int) and options["save_top_k"] > 0:
                    section["keep_checkpoints"] = options["save_top_k"]
        return section

    def _separator(self) -> str:
        """What the trainer puts between documents: the end token where it joins them, nothing where a row is a document."""
        asked = self.data.get("text_rechunk_separator", "eos")
        if asked not in ("eos", "newline"):
            self.problems.append(f"data.text_rechunk_separator is {asked!r}, but expected eos or newline")
        if self.is_chunked:
            return str(asked)
        return "eos" if self.is_packed else "none"

    def _test_split(self) -> float:
        """At least one document is held out; a whole number stays a number of documents."""
        share = self._number("data.test_split", 0.01)
        if share <= 0:
            return 1
        return int(share) if share >= 1 and share.is_integer() else share

    def _number(self, name: str, default: float) -> float:
        section, _, option = name.partition(".")
        value = getattr(self, section).get(option, default)
        try:
            if isinstance(value, bool):
                raise ValueError
            return float(value)  # YAML reads 3e-4 as text
        except (TypeError, ValueError):
            self.problems.append(f"{name} is {value!r}, but expected a number")
            return default

    def _whole(self, name: str, default: int) -> int:
        number = self._number(name, default)
        if not number.is_integer():
            self.problems.append(f"{name} is {number:g}, but expected a whole number")
            return default
        return int(number)
