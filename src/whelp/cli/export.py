"""`whelp export`: a model for other programs, as a Hugging Face folder or as one GGUF file, with a model card."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import choose_model_folder, find_weight_files, read_model_config, read_model_folder
from whelp.artifacts.output_place import is_free
from whelp.base.errors import ConfigError, PlanError
from whelp.base.files import atomic_folder, hold_folder, write_atomic, write_json
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.exporting.card import UsePlace, describe_usage, make_card
from whelp.cli.exporting.check import ExportCheck, check_export, require_checker
from whelp.cli.exporting.model_name import choose_model_name
from whelp.cli.exporting.origin import ORIGIN_FILE, ORIGIN_KEY, Origin, find_origin, find_run
from whelp.cli.screens.draw_events import watch_waiting
from whelp.model.config import RECURRENT_FAMILIES, name_family

if TYPE_CHECKING:
    import torch

FORMATS = ("hf", "gguf", "onnx", "pth")
HF_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True)
class ExportResult(ResultRepr):
    """What was written; `name` is what the model is called in it, `check` is None of what nothing has opened."""

    name: str
    folder: str
    format: str
    dtype: str
    files: list[str]
    num_parameters: int
    num_bytes: int
    check: ExportCheck | None = None


@dataclass(frozen=True)
class WrittenExport:
    """The files of an export, the card last."""

    files: list[str]
    num_parameters: int
    check: ExportCheck | None


def export(
    model: str | Path,
    *,
    out: str | Path,
    format: str = "hf",
    dtype: str | None = None,
    name: str | None = None,
    license: str | None = None,
    check: bool = False,
) -> ExportResult:
    """Write a model for other programs into the folder `out`, whole or not at all.

    Args:
        model: A run, a checkpoint or a Hugging Face model folder.
        format: `hf` (safetensors, tokenizer, configs, model card), `gguf` (one file for llama.cpp, model card), `onnx` (a graph
            from ids to logits, tokenizer, model card), or, of an RWKV model, `pth` (one file in the layout of its authors,
            tokenizer, model card).
        dtype: f32, f16 or bf16, for gguf also q8_0, for onnx f32 alone. Default: as stored (hf, pth), f16 (gguf), f32 (onnx).
        name: Of the model, in its card and in the name of its one file. Default: that of the run's folder; where it says nothing
            (run, run-2, model), that of `out`, else that of the folder around the run.
        license: Of the weights, for the card.
        check: Open what was written with the program that it is for (transformers, llama.cpp, onnxruntime, rwkv), and compare its
            logits and ids with ours. Of `onnx` this is always done.

    Raises:
        PlanError: When `out` is not empty, `pth` is asked for of a model that is no RWKV, `onnx` of one that is neither gpt2
            nor qwen3, or `check` of one that transformers cannot open.
        MissingExtraError: When a package for the format, or for the check, is not installed.
        ArtifactError, TokenizerError: When llama.cpp could not run the model, or would read the vocabulary otherwise; when the
            check finds a difference.
    """
    folder, target = choose_model_folder(as_path(model)), as_path(out)
    check_wishes("whelp export", format, dtype)
    if not is_free(target):
        raise PlanError(target, "something stands there", "an empty place", "Choose another --out; nothing was changed.")
    if check:
        require_checker(folder, format)
    name = name or choose_model_name(folder, find_run(folder), target)
    with watch_waiting("writing"), hold_folder(target), atomic_folder(target) as temporary:
        written = write_export(
            folder, temporary, format=format, dtype=dtype, name=name, license=license, place=UsePlace(target.name), check=check
        )
        num_bytes = sum(path.stat().st_size for path in temporary.iterdir())
    shown = dtype or {"gguf": "f16", "onnx": "f32"}.get(format, "as stored")
    return ExportResult(name, str(target), format, shown, written.files, written.num_parameters, num_bytes, written.check)


def check_wishes(command: str, format: str, dtype: str | None) -> None:
    """Refuse a format that is none, and numbers that it does not have.

    Raises:
        ConfigError: Saying which there are.
    """
    allowed: Iterable[str] = HF_DTYPES if format in ("hf", "pth") else ("f32", "f16", "bf16", "q8_0")
    if format == "onnx":
        allowed = ("f32",)
    problems = [] if format in FORMATS else [f"--format is {format!r}, but expected one of {', '.join(FORMATS)}"]
    if dtype is not None and dtype not in allowed:
        problems.append(f"--dtype is {dtype!r}, but expected one of {', '.join(allowed)} for {format}")
    if problems:
        raise ConfigError(command, problems)


def write_export(
    folder: Path,
    target: Path,
    *,
    format: str,
    dtype: str | None,
    name: str,
    license: str | None,
    place: UsePlace,
    take: Callable[[Path, Path], object] = shutil.copy,
    check: bool = False,
) -> WrittenExport:
    """Write the files of an export, the card last, into an empty folder, and check them: a graph of ONNX always.

    Args:
        folder: The model folder.
        place: Where the files will be, for the card.
        take: Brings a file that stays as it is, from the first path to the second.
    """
    find_weight_files(folder)
    run, origin = find_run(folder), find_origin(folder)
    file = stem = re.split(r"[/\\]", name)[-1] or "model"  # of a name of the hub, without its owner
    if format == "hf":
        num_parameters = _write_hf(folder, target, dtype, take)
    elif format == "pth":
        num_parameters = _write_pth(folder, target / f"{stem}.pth", dtype)
    elif format == "onnx":
        from whelp.cli.exporting.export_onnx import write_onnx

        file = f"{stem}.onnx"
        num_parameters = write_onnx(folder, target / file)
    else:
        file = f"{stem}-{dtype or 'f16'}.gguf"
        num_parameters = _write_gguf(folder, target / file, name, dtype or "f16", license, origin)
    if origin is not None:
        write_json(target / ORIGIN_FILE, origin)
    files = [*sorted(path.name for path in target.iterdir()), "README.md"]
    usage = describe_usage(format, place, file, folder)
    write_atomic(target / "README.md", make_card(name, folder, run, format, num_parameters, files, usage, license))
    checked = None
    if check or format == "onnx":
        written = dtype or ("f16" if format == "gguf" else "f32")
        rounded_to = _find_rounding(format, dtype)
        checked = check_export(folder, target, name=name, format=format, dtype=written, rounded_to=rounded_to)
    return WrittenExport(files, num_parameters, checked)


def _find_rounding(format: str, dtype: str | None) -> torch.dtype | None:
    """What all weights of an export are rounded to; None where they stay as they are, or some do."""
    import torch

    return getattr(torch, HF_DTYPES[dtype]) if dtype is not None and format in ("hf", "pth") else None


def _write_hf(folder: Path, target: Path, dtype: str | None, take: Callable[[Path, Path], object]) -> int:
    """Weights and configs as they are (or in another precision), and the tokenizer's files."""
    from whelp.tokenizer import load_tokenizer

    load_tokenizer(folder).save(target)
    for name in ("generation_config.json", "chat_template.jinja"):
        if (folder / name).is_file():
            take(folder / name, target / name)
    config = read_model_config(folder)
    config.pop("_name_or_path", None)  # a folder of whoever saved it, which others need not know
    _, weights = read_model_folder(folder)
    num_parameters = sum(tensor.numel() for tensor in weights.values())
    if dtype is None:
        for name in [*find_weight_files(folder), "model.safetensors.index.json"]:
            if (folder / name).is_file():
                take(folder / name, target / name)
    else:
        import torch
        from safetensors.torch import save_file

        precision = getattr(torch, HF_DTYPES[dtype])
        cast = {name: tensor.to(precision) if tensor.is_floating_point() else tensor for name, tensor in weights.items()}
        save_file(cast, target / "model.safetensors", {"format": "pt"})
        config.pop("dtype", None)
        config["torch_dtype"] = HF_DTYPES[dtype]
    write_json(target / "config.json", config)
    return num_parameters


def _write_pth(folder: Path, path: Path, dtype: str | None) -> int:
    """The weights in the official layout, and the tokenizer's files; how many."""
    import torch

    from whelp.artifacts.rwkv_file import write_rwkv_file
    from whelp.tokenizer import load_tokenizer

    config, weights = read_model_folder(folder)
    family = name_family(config.get("model_type"))
    if family not in RECURRENT_FAMILIES:
        raise PlanError(folder, f"is a {family}", "an RWKV model", "Choose --format hf or gguf.")
    official = _name_officially(folder, config, weights)
    load_tokenizer(folder).save(path.parent)
    precision = getattr(torch, HF_DTYPES[dtype or "f32"])
    write_rwkv_file(path, {name: tensor.to(precision) for name, tensor in official.items()})
    return sum(tensor.numel() for tensor in official.values())


def _name_officially(folder: Path, config: dict[str, Any], weights: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """An RWKV's weights by the names of its authors."""
    from whelp.model import model_from_hugging_face
    from whelp.model.rwkv.shared import Rwkv

    model = model_from_hugging_face(config, weights, folder)
    assert isinstance(model, Rwkv), type(model)
    return model.to_official()


def _write_gguf(folder: Path, path: Path, name: str, dtype: str, license: str | None, origin: Origin | None) -> int:
    """One file, in which its origin stays with it; how many weights."""
    from whelp.artifacts.gguf_file import check_fit, write_gguf
    from whelp.tokenizer import load_tokenizer

    vocabulary = load_tokenizer(folder)
    specification = vocabulary.specification()
    check_fit(read_model_config(folder), specification, name)
    config, weights = read_model_folder(folder)
    control = {"eos": vocabulary.eos_id, "bos": vocabulary.bos_id, "pad": vocabulary.pad_id, "unk": vocabulary.unk_id}
    if name_family(config["model_type"]) in RECURRENT_FAMILIES:
        weights = _name_officially(folder, config, weights)
    write_gguf(
        path,
        name=name,
        config=config,
        weights=weights,
        tokenizer=specification,
        control_ids={role: token_id for role, token_id in control.items() if token_id is not None},
        read_token=lambda token_id: vocabulary.decode_bytes([token_id], skip_special=False),
        chat_template=vocabulary.chat_template,
        dtype=dtype,
        license=license,
        more={} if origin is None else {ORIGIN_KEY: json.dumps(origin)},
    )
    return sum(tensor.numel() for tensor in weights.values())
