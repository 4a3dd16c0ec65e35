"""`whelp export`: a model for other programs, as a Hugging Face folder or as one GGUF file, with a model card."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from whelp.artifacts.checkpoint import find_model_folder, find_weight_files, read_model_config, read_model_folder
from whelp.artifacts.run_folder import RunFolder, iter_records
from whelp.base.errors import ConfigError, PlanError
from whelp.base.files import atomic_folder, hold_folder, read_json, write_atomic, write_json
from whelp.model.config import RECURRENT_FAMILIES

FORMATS = ("hf", "gguf", "onnx", "pth")
HF_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}
_LOADING_HF = """```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
ids = tokenizer("Once upon a time", return_tensors="pt")
print(tokenizer.decode(model.generate(**ids, max_new_tokens=40)[0]))
```

Or `whelp generate {folder} --prompt "Once upon a time"`."""
_LOADING_RWKV7 = """```python
import fla  # flash-linear-attention: it registers RWKV-7 with transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("{folder}")
tokenizer = AutoTokenizer.from_pretrained("{folder}")
```

Or `whelp generate {folder} --prompt "Once upon a time"`."""
_LOADING_OURS = '`whelp generate {folder} --prompt "Once upon a time"`; for RWKV\'s own tools, `whelp export --format pth`.'
_LOADING_PTH = """```python
import os

os.environ["RWKV_V7_ON"] = "{is_v7}"
from rwkv.model import RWKV  # pip install rwkv

model = RWKV(model="{folder}/{file}", strategy="cpu fp32")
logits, state = model.forward([1, 2, 3], None)
```"""
_LOADING_GGUF = """```bash
llama-cli -m {folder}/{file} -p "Once upon a time" -n 40 -no-cnv
```

For Ollama, a file `Modelfile` with the line `FROM ./{file}`, then `ollama create NAME -f Modelfile`."""

_LOADING_ONNX = """```python
import onnxruntime  # any number of rows, and of tokens up to the context
from tokenizers import Tokenizer

session = onnxruntime.InferenceSession("{folder}/{file}")
ids = Tokenizer.from_file("{folder}/tokenizer.json").encode("Once upon a time").ids
(logits,) = session.run(["logits"], {{"input_ids": [ids]}})  # (1, tokens, vocabulary)
```"""


@dataclass(frozen=True)
class ExportResult:
    """What was written."""

    folder: str
    format: str
    dtype: str
    files: list[str]
    num_parameters: int
    num_bytes: int


def export(
    model: str | Path,
    *,
    out: str | Path,
    format: str = "hf",
    dtype: str | None = None,
    name: str | None = None,
    license: str | None = None,
) -> ExportResult:
    """Write a model for other programs into the folder `out`, whole or not at all.

    Args:
        model: A run, a checkpoint or a Hugging Face model folder.
        format: `hf` (safetensors, tokenizer, configs, model card), `gguf` (one file for llama.cpp, model card), `onnx` (a graph
            from ids to logits, tokenizer, model card), or, of an RWKV model, `pth` (one file in the layout of its authors,
            tokenizer, model card).
        dtype: f32, f16 or bf16, for gguf also q8_0, for onnx f32 alone. Default: as stored (hf, pth), f16 (gguf), f32 (onnx).
        name: Of the model, in its card. Default: of the run.
        license: Of the weights, for the card.

    Raises:
        PlanError: When `out` is not empty, `pth` is asked for of a model that is no RWKV, or `onnx` of one that is neither gpt2
            nor qwen3.
        MissingExtraError: When a package for the format is not installed.
        TokenizerError: When GGUF cannot say this vocabulary.
    """
    folder, target = find_model_folder(Path(model)), Path(out)
    allowed: Iterable[str] = HF_DTYPES if format in ("hf", "pth") else ("f32", "f16", "bf16", "q8_0")
    if format == "onnx":
        allowed = ("f32",)
    problems = [] if format in FORMATS else [f"--format is {format!r}, but expected one of {', '.join(FORMATS)}"]
    if dtype is not None and dtype not in allowed:
        problems.append(f"--dtype is {dtype!r}, but expected one of {', '.join(allowed)} for {format}")
    if problems:
        raise ConfigError("whelp export", problems)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise PlanError(target, "something stands there", "an empty place", "Choose another --out; nothing was changed.")
    find_weight_files(folder)
    run = _find_run(folder)
    name = name or (run.folder.resolve().name if run is not None else folder.resolve().name)
    with hold_folder(target), atomic_folder(target) as temporary:
        if format == "hf":
            num_parameters = _write_hf(folder, temporary, dtype)
            kind = read_model_config(folder).get("model_type")
            loading = {"rwkv7": _LOADING_RWKV7, "rwkv6": _LOADING_OURS, "rwkv5": _LOADING_OURS}.get(
                str(kind), _LOADING_HF
            ).format(folder=target)
        elif format == "pth":
            num_parameters, is_v7 = _write_pth(folder, temporary / f"{name}.pth", dtype)
            file = name if is_v7 else f"{name}.pth"  # for RWKV-7 the package adds the suffix by itself
            loading = _LOADING_PTH.format(folder=target, file=file, is_v7=int(is_v7))
        elif format == "onnx":
            from whelp.cli.export_onnx import write_onnx

            num_parameters = write_onnx(folder, temporary / f"{name}.onnx")
            loading = _LOADING_ONNX.format(folder=target, file=f"{name}.onnx")
        else:
            file = f"{name}-{dtype or 'f16'}.gguf"
            num_parameters = _write_gguf(folder, temporary / file, name, dtype or "f16")
            loading = _LOADING_GGUF.format(folder=target, file=file)
        files = sorted(path.name for path in temporary.iterdir())
        card = _make_card(name, folder, run, num_parameters, [*files, "README.md"], loading, license)
        write_atomic(temporary / "README.md", card)
        num_bytes = sum(path.stat().st_size for path in temporary.iterdir())
    shown = dtype or {"gguf": "f16", "onnx": "f32"}.get(format, "as stored")
    return ExportResult(str(target), format, shown, [*files, "README.md"], num_parameters, num_bytes)


def _find_run(folder: Path) -> RunFolder | None:
    """The run that a checkpoint belongs to."""
    run = RunFolder(folder.resolve().parent.parent)
    return run if run.plan.is_file() and run.checkpoints == folder.resolve().parent else None


def _write_hf(folder: Path, target: Path, dtype: str | None) -> int:
    """Weights and configs as they are (or in another precision), and the tokenizer's files."""
    from whelp.tokenizer import load_tokenizer

    load_tokenizer(folder).save(target)
    for name in ("generation_config.json", "chat_template.jinja"):
        if (folder / name).is_file():
            shutil.copy(folder / name, target / name)
    config = read_model_config(folder)
    _, weights = read_model_folder(folder)
    num_parameters = sum(tensor.numel() for tensor in weights.values())
    if dtype is None:
        for name in [*find_weight_files(folder), "model.safetensors.index.json"]:
            if (folder / name).is_file():
                shutil.copy(folder / name, target / name)
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


def _write_pth(folder: Path, path: Path, dtype: str | None) -> tuple[int, bool]:
    """The weights in the official layout, and the tokenizer's files; how many, and whether they are RWKV-7's."""
    import torch

    from whelp.artifacts.rwkv_file import write_rwkv_file
    from whelp.model import model_from_hugging_face
    from whelp.model.rwkv import Rwkv
    from whelp.tokenizer import load_tokenizer

    config, weights = read_model_folder(folder)
    family = str(config.get("model_type"))
    model = model_from_hugging_face(config, weights, folder) if family in RECURRENT_FAMILIES else None
    if not isinstance(model, Rwkv):
        raise PlanError(folder, f"is a {family}", "an RWKV model", "Choose --format hf or gguf.")
    load_tokenizer(folder).save(path.parent)
    precision = getattr(torch, HF_DTYPES[dtype or "f32"])
    write_rwkv_file(path, {name: tensor.to(precision) for name, tensor in model.to_official().items()})
    return model.num_parameters(), family == "rwkv7"


def _write_gguf(folder: Path, path: Path, name: str, dtype: str) -> int:
    from whelp.artifacts.gguf_file import write_gguf
    from whelp.tokenizer import load_tokenizer

    config, weights = read_model_folder(folder)
    vocabulary = load_tokenizer(folder)
    control = {"eos": vocabulary.eos_id, "bos": vocabulary.bos_id, "pad": vocabulary.pad_id, "unk": vocabulary.unk_id}
    write_gguf(
        path,
        name=name,
        config=config,
        weights=weights,
        tokenizer=json.loads(vocabulary.to_json()),
        control_ids={role: token_id for role, token_id in control.items() if token_id is not None},
        chat_template=vocabulary.chat_template,
        dtype=dtype,
    )
    return sum(tensor.numel() for tensor in weights.values())


def _make_card(
    name: str, folder: Path, run: RunFolder | None, num_parameters: int, files: list[str], loading: str, license: str | None
) -> str:
    from whelp.report import make_model_card
    from whelp.tokenizer import load_tokenizer

    vocabulary = load_tokenizer(folder)
    facts: dict[str, Any] = {}
    if run is not None:
        started = run.read_plan() or {}
        facts = {
            "recipe": _read_recipe(run),
            "plan": started.get("plan"),
            "ledger": started.get("ledger"),
            "numbers": _find_numbers(folder, run),
        }
    return make_model_card(
        name,
        config=read_model_config(folder),
        num_parameters=num_parameters,
        vocabulary={"kind": vocabulary.kind, "size": vocabulary.size},
        files=files,
        loading=loading,
        license_name=license,
        **facts,
    )


def _read_recipe(run: RunFolder) -> str | None:
    """The recipe, without the name of the home folder: a card is for others."""
    if not run.recipe.is_file():
        return None
    return run.recipe.read_text(encoding="utf-8").replace(str(Path.home()), "~")


def _find_numbers(folder: Path, run: RunFolder) -> dict[str, Any] | None:
    """The measurements of this checkpoint's step, or the newest before it."""
    counts = read_json(folder / "manifest.json")["counts"]
    records = [
        record
        for record in iter_records(run.metrics)
        if "test_nats_per_token" in record and record["step"] <= counts.get("step", record["step"])
    ]
    if not records:
        return None
    return {key: value for key, value in records[-1].items() if key == "step" or key.startswith("test_")}
