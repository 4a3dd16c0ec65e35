"""YAML files of RWKV's infctx trainer as recipes; `infctx_options.py` says what becomes of each option."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whelp.artifacts.rwkv_file import is_rwkv_file, read_rwkv_shapes
from whelp.base.config import read_yaml
from whelp.base.errors import ConfigError
from whelp.base.paths import as_path
from whelp.cli.infctx_options import NO_EFFECT, OPTIONS, SAME_OPTIONS, SECTIONS, find_problems
from whelp.prepare.config import TemplateConfig

_DEFAULT_CONTEXT = 2048
_DEFAULT_CHUNK = 4096
_MOST_CHUNKS = 16  # of ctx_len in a row that is a document; longer ones go over several rows
_DEFAULT_WEIGHT_DECAY = 0.01
_DEFAULT_BETA2 = 0.99
_SMALLEST_ROW = 2  # shorter rows are always left out there
_HEAD_WIDTH = 64  # of RWKV
_LOADERS = ("text", "json", "csv", "parquet", "pandas", "arrow")
_MARKS = ("load_model", "ctx_len", "ctx_len_cutoffs", "lr_init", "bptt_learning")


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
    problems = find_problems(values)
    if problems:
        raise ConfigError(where, problems)
    trainer, model, data = ({**(values.get(name) or {})} for name in SECTIONS)
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
        for section, options in zip(SECTIONS, (trainer, model, data), strict=True)
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
    return path.parent / as_path(data["data_path"])


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
        section = {name: data[name] for name in SAME_OPTIONS if name in data}
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
        family = _name_generation(name)
        advice = "" if family == "rwkv7" else " (model.family=rwkv7 is the current generation)"
        self.notices.append(
            f"{name or 'model.load_model'} is not there: a new {family} of {n_layer} layers and width {n_embd} is trained{advice}"
        )
        section = {"family": family, "n_layer": n_layer, "n_embd": n_embd, "n_head": n_embd // head_width}
        for theirs, ours in (("dim_ffn", "ffn_width"), ("vocab_size", "vocab_size")):
            if self._whole(f"model.{theirs}", -1) > 0:
                section[ours] = self._whole(f"model.{theirs}", -1)
        return section

    def find_weights(self) -> Path | None:
        """The file that load_model names, relative to the YAML file; None when it is not there."""
        name = self.model.get("load_model")
        path = self.folder / as_path(name) if isinstance(name, str) else None
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


def _name_generation(name: str) -> str:
    """The family that the name of a published file says (RWKV-4-Pile-169M-..., RWKV-x060-World-...); else what the trainer makes."""
    said = re.match(r"RWKV-(?:x0)?([4-7])", name)
    return f"rwkv{said[1]}" if said else "rwkv5"
