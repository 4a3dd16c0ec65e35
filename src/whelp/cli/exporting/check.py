"""`whelp export --check`: the program that an export is for opens it, and its logits and ids are compared with ours.

Shapes: B rows, T tokens, V vocabulary.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.checkpoint import read_model_config
from whelp.base.errors import ArtifactError, MissingExtraError, PlanError, TokenizerError, WhelpError, say_first_line
from whelp.base.result_repr import ResultRepr
from whelp.model.config import RECURRENT_FAMILIES, name_family

if TYPE_CHECKING:
    import torch

    from whelp.tokenizer.vocabulary import Vocabulary

COMMAND = "whelp export --check"
TOLERANCE = 1e-4  # of the largest logit, where the weights are the same numbers and products are float32
# llama.cpp rounds what it multiplies, keys and values, too: some times the largest differences that were measured (docs/export.md);
# the package rwkv applies the first norm in the file's precision.
_LOOSER = {
    "gguf": {"f32": 1e-2, "f16": 2e-2, "bf16": 0.2, "q8_0": 0.2},
    "pth": {"f16": 5e-3, "bf16": 5e-2},
}
_SHAPES = ((1, 1), (3, 16), (1, 256))  # (B, T): one token, several rows, many tokens
_SAMPLE = "The quick café: 12 dogs,\n\n\tit's 'naïve'  北京 🦊 def main():\r\n"
_SAMPLE_IDS = 64  # whose texts are the sample where a vocabulary cannot say that one
_RWKV_PROGRAM = "from whelp.cli.exporting.check import compute_with_rwkv; compute_with_rwkv()"
_NEXT = (
    "Nothing was written. Another version of that program may agree; if none does, choose another --format, and report this."
)


@dataclass(frozen=True, kw_only=True)
class ExportCheck(ResultRepr):
    """An export beside our model: `largest_difference` and `tolerance` are shares of the largest logit."""

    opened_by: str
    largest_difference: float
    tolerance: float
    num_tokens: int


@dataclass(frozen=True)
class _Opened:
    """An export in the program that it is for.

    Attributes:
        find_logits: Of each (B, T) of ids (B, T, V).
        hint: What the program said that may explain a difference.
    """

    find_logits: Callable[[list[torch.Tensor]], list[torch.Tensor]]
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    hint: str = ""


def require_checker(folder: Path, format: str) -> None:
    """Refuse, before there is any work, what nothing that is installed could check.

    Raises:
        PlanError: When transformers cannot open the model.
        MissingExtraError: When the program is not installed.
    """
    config = read_model_config(folder)
    family = name_family(config.get("model_type"))
    if format == "hf" and family in RECURRENT_FAMILIES:
        step = "Leave --check out, or choose --format pth, which the package rwkv opens."
        if family != "rwkv4":
            found = f"it is an {family}, whose code transformers does not have, so that it cannot check the folder"
            raise PlanError(folder, found, "gpt2, qwen3, rwkv4 or an architecture of transformers", step)
        if config["num_hidden_layers"] == 1:
            raise PlanError(folder, "transformers cannot open an RWKV-4 of one layer", "two or more", step)
    package, extra, other = {
        "hf": ("transformers", "hf", ""),
        "onnx": ("onnxruntime", "onnx", ""),
        "gguf": ("llama_cpp", "", "llama-cpp-python"),
        "pth": ("rwkv", "", "rwkv"),
    }[format]
    if importlib.util.find_spec(package) is None:
        raise MissingExtraError(COMMAND, package, extra, other=other)


def check_export(
    folder: Path, exported: Path, *, name: str, format: str, dtype: str, rounded_to: torch.dtype | None
) -> ExportCheck:
    """Compare an export with the model folder that it was made of.

    Args:
        name: Of the model, for messages.
        dtype: Of the matrices, as `whelp export` calls it.
        rounded_to: What all weights were rounded to; ours are rounded alike.

    Raises:
        ArtifactError: When the program cannot open it, or computes, encodes or decodes otherwise.
        MissingExtraError: When the program is not installed.
    """
    require_checker(folder, format)
    from whelp.tokenizer import load_tokenizer

    distribution = {"hf": "transformers", "onnx": "onnxruntime", "gguf": "llama-cpp-python", "pth": "rwkv"}[format]
    program = f"{distribution} {_find_version(distribution)}"
    tolerance = _LOOSER.get(format, {}).get(dtype, TOLERANCE)
    with _quiet_transformers() if format == "hf" else nullcontext():
        ids, ours = _find_our_logits(folder, rounded_to)
        try:
            opened = _OPENERS[format](exported)
            _compare_texts(load_tokenizer(folder), opened, name, program)
            theirs = opened.find_logits(ids)
        except WhelpError:
            raise
        except Exception as error:  # every program refuses in its own way
            raise ArtifactError(name, f"{program} cannot run it ({say_first_line(error)})", "", _NEXT) from None
    largest = _compare_logits(ours, theirs, name, program, tolerance, opened.hint)
    return ExportCheck(
        opened_by=program, largest_difference=largest, tolerance=tolerance, num_tokens=sum(one.numel() for one in ids)
    )


def _find_version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "of an unknown version"


def _find_our_logits(folder: Path, rounded_to: torch.dtype | None) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Ids, always the same of a size of vocabulary and context, and our model's logits of them."""
    import torch

    from whelp.cli.generate import load_model

    model = load_model(folder, "cpu").model
    model.float()
    longest, draw = model.context_tokens, torch.Generator().manual_seed(0)
    ids = [torch.randint(model.spec.vocab_size, (rows, min(longest, tokens)), generator=draw) for rows, tokens in _SHAPES]
    with torch.no_grad():
        if rounded_to is not None:
            for weight in model.parameters():
                weight.copy_(weight.to(rounded_to))
        return ids, [model(one) for one in ids]


def _compare_texts(vocabulary: Vocabulary, opened: _Opened, name: str, program: str) -> None:
    """A text must become the same ids, and these the same text."""
    text, ids = _choose_sample(vocabulary)
    for makes, part, ours, theirs in (
        ("makes other ids", "token", ids, opened.encode(text)),
        ("makes another text", "character", vocabulary.decode(ids), opened.decode(ids)),
    ):
        pairs: Iterator[tuple[object, object]] = zip_longest(ours, theirs)
        for number, (our, their) in enumerate(pairs, 1):
            if our != their:
                found = f"of {text!r} {program} {makes}: {part} {number} is {their!r}"
                raise ArtifactError(name, found, f"{our!r}, as of whelp", _NEXT)


def _choose_sample(vocabulary: Vocabulary) -> tuple[str, list[int]]:
    """A text and our ids of it: always the same one, or where a vocabulary cannot say that, one of its own tokens."""
    ordinary = [one for one in range(vocabulary.size) if one not in vocabulary.special_ids][:_SAMPLE_IDS]
    tokens = [vocabulary.decode([one]) for one in ordinary]
    for text in (_SAMPLE, "".join(tokens), " ".join(tokens), "\n".join(tokens)):
        try:
            return text, vocabulary.encode(text).tolist()
        except TokenizerError:  # of characters or words, without one that says "unknown"
            continue
    return tokens[0], vocabulary.encode(tokens[0]).tolist()


def _compare_logits(
    ours: Sequence[torch.Tensor], theirs: Sequence[torch.Tensor], name: str, program: str, tolerance: float, hint: str
) -> float:
    """The largest difference, as a share of our largest logit.

    Raises:
        ArtifactError: When it is above `tolerance`, saying where it is, or there are more or fewer logits.
    """
    import torch

    scale = max(float(one.abs().max()) for one in ours) or 1.0
    largest = 0.0
    for our, their in zip(ours, theirs, strict=True):
        if our.shape != their.shape:
            raise ArtifactError(
                name, f"{program} gives logits of {tuple(their.shape)} (rows, tokens, ids)", f"{tuple(our.shape)}", _NEXT
            )
        differences = torch.nan_to_num((their.float() - our).abs().amax(-1) / scale, nan=torch.inf)  # (B, T)
        found = float(differences.max())
        if not found <= tolerance:
            row, token = divmod(int(differences.argmax()), our.shape[1])
            far = (
                f"differ by {found:.2g} of the largest logit" if found < torch.inf else "are no finite numbers, or ours are not"
            )
            raise ArtifactError(
                name,
                f"the logits of {program} {far}, at token {token + 1} of {our.shape[1]} in row {row + 1} of {our.shape[0]}{hint}",
                f"those of the model, to {tolerance:g} of the largest",
                _NEXT,
            )
        largest = max(largest, found)
    return largest


def _open_with_transformers(exported: Path) -> _Opened:
    import torch
    import transformers

    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    model, said = transformers.AutoModelForCausalLM.from_pretrained(
        exported, **options, use_safetensors=True, dtype=torch.float32, output_loading_info=True
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported, **options)
    model.eval()

    @torch.no_grad()
    def find_logits(ids: list[torch.Tensor]) -> list[torch.Tensor]:
        return [model(input_ids=one, use_cache=False).logits for one in ids]

    missing = sorted(said["missing_keys"])
    return _Opened(
        find_logits,
        lambda text: list(tokenizer.encode(text, add_special_tokens=False)),
        lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
        f"; it found no {', '.join(missing[:3])}, and drew those weights" if missing else "",
    )


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """Without its bars, and its report of weights that were missing: those are told here."""
    from transformers.utils import logging

    level, has_bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if has_bars:
            logging.enable_progress_bar()


def _open_with_onnxruntime(exported: Path) -> _Opened:
    import onnxruntime
    import torch

    session = onnxruntime.InferenceSession(str(_find_file(exported, ".onnx")), providers=["CPUExecutionProvider"])

    def find_logits(ids: list[torch.Tensor]) -> list[torch.Tensor]:
        return [torch.from_numpy(session.run(["logits"], {"input_ids": one.numpy()})[0]) for one in ids]

    return _Opened(find_logits, *_open_tokenizer_file(exported))


def _open_with_llama_cpp(exported: Path) -> _Opened:
    import llama_cpp
    import torch

    longest = max(tokens for _, tokens in _SHAPES)
    model = llama_cpp.Llama(str(_find_file(exported, ".gguf")), n_ctx=longest, logits_all=True, verbose=False)

    def read(row: list[int]) -> torch.Tensor:
        model.reset()
        model.eval(row)
        return torch.tensor(model.scores[: len(row)])

    def find_logits(ids: list[torch.Tensor]) -> list[torch.Tensor]:
        return [torch.stack([read(row) for row in one.tolist()]) for one in ids]

    return _Opened(
        find_logits,
        lambda text: list(model.tokenize(text.encode(), add_bos=False, special=False)),
        lambda ids: model.detokenize(ids).decode(errors="replace"),
    )


def _open_with_rwkv(exported: Path) -> _Opened:
    """By a process of its own: the package reads its switches, among them the generation, while it is imported."""
    import numpy as np
    import torch

    from whelp.artifacts.rwkv_file import read_rwkv_shapes

    file = _find_file(exported, ".pth")
    is_v7 = "blocks.0.att.r_k" in read_rwkv_shapes(file)
    model = file.with_suffix("") if is_v7 else file  # of RWKV-7 the package adds the suffix by itself
    switches = {"RWKV_JIT_ON": "0", "RWKV_CUDA_ON": "0", "PYTORCH_JIT": "0", "RWKV_V7_ON": str(int(is_v7))}

    def find_logits(ids: list[torch.Tensor]) -> list[torch.Tensor]:
        rows = [row for one in ids for row in one.tolist()]
        with tempfile.TemporaryDirectory(prefix="whelp-check-") as place:
            given, out = Path(place) / "ids.json", Path(place) / "logits.npy"
            given.write_text(json.dumps(rows), encoding="utf-8")
            command = [sys.executable, "-c", _RWKV_PROGRAM, str(model), str(given), str(out)]
            ran = subprocess.run(command, env={**os.environ, **switches}, capture_output=True, text=True, check=False)
            if ran.returncode:
                raise RuntimeError((ran.stderr.strip().splitlines() or [f"it ended with {ran.returncode}"])[-1])
            found = torch.from_numpy(np.load(out)).split([one.numel() for one in ids])  # (tokens of all rows, V)
        return [logits.view(*one.shape, -1) for logits, one in zip(found, ids, strict=True)]

    return _Opened(find_logits, *_open_tokenizer_file(exported))


def compute_with_rwkv() -> None:
    """What the other process does: `MODEL IDS OUT`, rows of ids as JSON, to the logits of all of them in one array."""
    import numpy as np
    import torch
    from rwkv.model import RWKV

    path, given, out = sys.argv[1:]
    model = RWKV(model=path, strategy="cpu fp32")
    with torch.no_grad():
        rows = [model.forward(row, None, full_output=True)[0] for row in json.loads(Path(given).read_text(encoding="utf-8"))]
    np.save(out, torch.cat([torch.atleast_2d(row) for row in rows]).numpy())


def _open_tokenizer_file(exported: Path) -> tuple[Callable[[str], list[int]], Callable[[list[int]], str]]:
    """Encode and decode with the tokenizer's file beside a model, by the library `tokenizers`."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(exported / "tokenizer.json"))
    return (
        lambda text: list(tokenizer.encode(text, add_special_tokens=False).ids),
        lambda ids: str(tokenizer.decode(ids, skip_special_tokens=True)),
    )


def _find_file(exported: Path, suffix: str) -> Path:
    (path,) = exported.glob(f"*{suffix}")
    return path


_OPENERS: dict[str, Callable[[Path], _Opened]] = {
    "hf": _open_with_transformers,
    "onnx": _open_with_onnxruntime,
    "gguf": _open_with_llama_cpp,
    "pth": _open_with_rwkv,
}
