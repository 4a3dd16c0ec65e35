"""`whelp export --check`: the program that an export is for agrees with the model, or nothing stays."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer

from artifacts.gguf_reading import compute_logits
from whelp.artifacts.rwkv_file import read_rwkv_file, write_rwkv_file
from whelp.base.errors import ArtifactError, ConfigError, MissingExtraError, PlanError
from whelp.cli.export import export
from whelp.cli.exporting.check import ExportCheck
from whelp.model import ModelConfig, build_model, make_spec
from whelp.tokenizer import LearnConfig, learn

from .helpers import Project, Whelp

export_module: Any = sys.modules["whelp.cli.export"]  # the call has the same name
TEXTS = pa.array(["the fox and the dog, and the naïve café"] * 9)


def make_folder(folder: Path, family: str, learned: dict[str, Any] | None = None, noise: float = 0.1, **options: Any) -> Path:
    """A model folder whose weights are none of those that a family begins with, and whose every weight matters."""
    vocabulary = learn([TEXTS], LearnConfig(**(learned or {"learn": "bpe", "vocab_size": 264, "pattern": "gpt2"})))
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 128 if family.startswith("rwkv") else 32, **options}
    model = build_model(make_spec(ModelConfig(family=family, **sizes), num_ids=vocabulary.size, context_tokens=24))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * noise)
    vocabulary.save(folder)
    config, weights = model.to_hugging_face()
    (folder / "config.json").write_text(json.dumps(config))
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    return folder


def tamper(monkeypatch: pytest.MonkeyPatch, writer: str, change: Callable[[Path], None]) -> None:
    """Let something else than the model be written."""
    write = getattr(export_module, writer)

    def write_wrong(folder: Path, target: Path, *others: Any) -> int:
        count: int = write(folder, target, *others)
        change(target)
        return count

    monkeypatch.setattr(export_module, writer, write_wrong)


def change_weights(change: Callable[[dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Weights of a Hugging Face folder, changed."""

    def rewrite(target: Path) -> None:
        weights = load_file(target / "model.safetensors")
        change(weights)
        save_file(weights, target / "model.safetensors", {"format": "pt"})

    return rewrite


@pytest.mark.parametrize("dtype", [None, "f16", "bf16"])
@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("gpt2", {}),
        ("gpt2", {"tie_embeddings": False}),
        ("qwen3", {}),
        ("qwen3", {"tie_embeddings": False}),
        ("rwkv4", {}),
    ],
)
def test_transformers_agrees(tmp_path: Path, family: str, options: dict, dtype: str | None) -> None:
    """To float32's rounding, in every precision: our weights are rounded as those that were written."""
    result = export(make_folder(tmp_path / "model", family, **options), out=tmp_path / "out", dtype=dtype, check=True)
    assert result.check is not None
    assert result.check.opened_by == f"transformers {importlib.metadata.version('transformers')}"
    assert result.check.largest_difference < 1e-5 < result.check.tolerance == 1e-4
    assert result.check.num_tokens == 1 + 3 * 16 + (256 if family == "rwkv4" else 24)
    assert set(result.files) == {path.name for path in (tmp_path / "out").iterdir()}


def test_what_is_told(whelp: Whelp, made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and all of it as JSON; unchecked, neither."""
    outcome = whelp("export", made.run, "--check", "--out", "out")
    version = importlib.metadata.version("transformers")
    assert f"checked transformers {version} opens it: the same ids, and the same logits to " in outcome.said
    assert "of the largest (allowed: 0.0001)" in outcome.said
    found = whelp("export", made.run, "--check", "--out", "again", "--json").json["check"]
    assert ExportCheck(**found).largest_difference <= found["tolerance"]
    outcome = whelp("export", made.run, "--out", "unchecked", "--json")
    assert outcome.json["check"] is None
    refused = whelp("export", made.store, "--format", "parquet", "--check", "--out", "ids")
    assert "--check is for models, and" in refused.said
    assert not Path("ids").exists()


@pytest.mark.parametrize("learned", ["chars", "words", "unigram", "wordpiece"])
def test_any_vocabulary(tmp_path: Path, learned: str) -> None:
    """Those that cannot say every text are asked for one of their own tokens."""
    folder = make_folder(tmp_path / "model", "qwen3", {"learn": learned, "vocab_size": 300})
    assert export(folder, out=tmp_path / "out", check=True).check is not None


def swap_head(weights: dict[str, torch.Tensor]) -> None:
    """The classic of a corrupt export: a head that is not the model's own."""
    weights["lm_head.weight"] = weights["lm_head.weight"].flip(0).contiguous()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (swap_head, r"differ by [\d.]+ of the largest logit, at token 1 of 1 in row 1 of 1, but expected those of the model"),
        (lambda weights: weights.pop("lm_head.weight"), r"in row 1 of 1; it found no lm_head\.weight, and drew those weights"),
        (lambda weights: weights["model.norm.weight"].fill_(torch.nan), r"are no finite numbers, or ours are not, at token 1"),
        (
            lambda weights: weights["model.layers.1.self_attn.q_norm.weight"].mul_(2),
            r"differ by [\d.]+ of the largest logit, at token \d+ of 16 in row \d of 3, but",
        ),
    ],
)
def test_wrong_weights_are_not_handed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[dict[str, torch.Tensor]], object], told: str
) -> None:
    """It says how far off, where, and what to do; nothing stays."""
    folder = make_folder(tmp_path / "model", "qwen3", tie_embeddings=False)
    tamper(monkeypatch, "_write_hf", change_weights(change))
    with pytest.raises(ArtifactError, match=told) as caught:
        export(folder, out=tmp_path / "out", name="fox", check=True)
    assert str(caught.value).startswith("fox: the logits of transformers ")
    assert str(caught.value).endswith("if none does, choose another --format, and report this.")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    export(folder, out=tmp_path / "out")  # who does not ask for a check does not get one
    assert (tmp_path / "out").exists()


def test_a_folder_that_does_not_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the program says of it is told."""
    folder = make_folder(tmp_path / "model", "gpt2")
    tamper(monkeypatch, "_write_hf", lambda target: (target / "model.safetensors").write_bytes(b"garbage"))
    with pytest.raises(ArtifactError, match=r"model: transformers [\d.]+ cannot run it \(.*\)\. Nothing was written"):
        export(folder, out=tmp_path / "out", name="model", check=True)
    assert not (tmp_path / "out").exists()


def test_another_tokenizer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of a text that are others, in a folder whose weights are right."""
    folder = make_folder(tmp_path / "model", "gpt2")

    def swap_tokens(target: Path) -> None:
        values = json.loads((target / "tokenizer.json").read_text(encoding="utf-8"))
        ids = values["model"]["vocab"]
        ids["T"], ids["h"] = ids["h"], ids["T"]
        (target / "tokenizer.json").write_text(json.dumps(values), encoding="utf-8")

    tamper(monkeypatch, "_write_hf", swap_tokens)
    with pytest.raises(
        ArtifactError, match=r"of \"The quick .* makes other ids: token 1 is 104, but expected 84, as of whelp\. Nothing was"
    ):
        export(folder, out=tmp_path / "out", check=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("family", "dtype"), [("rwkv7", None), ("rwkv7", "bf16"), ("rwkv4", "f16")])
def test_the_package_of_its_authors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, family: str, dtype: str | None) -> None:
    """`rwkv` opens a `.pth`, and sees where that is not the model."""
    folder = make_folder(tmp_path / "model", family)
    result = export(folder, out=tmp_path / "out", format="pth", dtype=dtype, check=True)
    assert result.check is not None
    assert result.check.opened_by == f"rwkv {importlib.metadata.version('rwkv')}"
    assert result.check.tolerance == {None: 1e-4, "f16": 5e-3, "bf16": 5e-2}[dtype]
    assert result.check.largest_difference < (1e-5 if family == "rwkv7" else 1e-3)

    def flip_head(path: Path) -> None:
        weights = read_rwkv_file(path)
        write_rwkv_file(path, {**weights, "head.weight": weights["head.weight"].flip(0)})

    tamper(monkeypatch, "_write_pth", flip_head)
    with pytest.raises(ArtifactError, match=r"the logits of rwkv [\d.]+ differ by"):
        export(folder, out=tmp_path / "other", format="pth", check=True)
    tamper(monkeypatch, "_write_pth", lambda path: path.write_bytes(path.read_bytes()[:-100]))
    with pytest.raises(ArtifactError, match=r"is damaged|rwkv [\d.]+ cannot run it"):
        export(folder, out=tmp_path / "other", format="pth", check=True)
    assert not (tmp_path / "other").exists()


class Llama:
    """Of `llama_cpp` the calls that are used, by a reading of the file in numpy."""

    def __init__(self, path: str, **options: Any) -> None:
        assert options == {"n_ctx": 256, "logits_all": True, "verbose": False}
        self.path, self.rows = Path(path), 0
        self.tokenizer = Tokenizer.from_file(str(self.path.parents[1] / "model/tokenizer.json"))

    def reset(self) -> None:
        self.scores = np.zeros((256, 1), np.float32)

    def eval(self, ids: list[int]) -> None:
        found = compute_logits(self.path, ids)
        self.scores = np.zeros((256, found.shape[1]), np.float32)
        self.scores[: len(ids)] = found

    def tokenize(self, text: bytes, *, add_bos: bool, special: bool) -> list[int]:
        assert not add_bos
        assert not special
        return list(self.tokenizer.encode(text.decode()).ids)

    def detokenize(self, ids: list[int]) -> bytes:
        return str(self.tokenizer.decode(ids)).encode()


@pytest.mark.parametrize("dtype", ["f32", "f16", "q8_0"])
def test_llama_cpp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """As a stand-in for it computes the file; weights in few bits may be further off, others may not."""
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: name == "llama_cpp" or find(name, *rest))
    monkeypatch.setitem(sys.modules, "llama_cpp", SimpleNamespace(Llama=Llama))
    folder = make_folder(tmp_path / "model", "rwkv7", noise=0.03)
    result = export(folder, out=tmp_path / "out", format="gguf", dtype=dtype, check=True)
    assert result.check is not None
    assert result.check.opened_by.startswith("llama-cpp-python ")
    assert result.check.tolerance == {"f32": 0.01, "f16": 0.02, "q8_0": 0.2}[dtype]
    assert (result.check.largest_difference < 1e-5) == (dtype == "f32")
    monkeypatch.setattr(Llama, "eval", lambda self, ids: setattr(self, "scores", -compute_logits(self.path, ids)))
    with pytest.raises(ArtifactError, match=r"the logits of llama-cpp-python .* differ by"):
        export(folder, out=tmp_path / "other", format="gguf", dtype=dtype, check=True)


def test_llama_cpp_itself(tmp_path: Path) -> None:
    """Where its Python binding is installed."""
    pytest.importorskip("llama_cpp", reason="pip install llama-cpp-python checks files with llama.cpp itself")
    for family in ("gpt2", "qwen3", "rwkv7"):
        folder = make_folder(tmp_path / family / "model", family)
        assert export(folder, out=tmp_path / family / "out", format="gguf", check=True).check is not None


def test_what_nothing_can_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is refused before anything is written: models that transformers does not know, and programs that are not there."""
    monkeypatch.setattr(export_module, "write_export", None)
    folder = make_folder(tmp_path / "model", "rwkv7")
    with pytest.raises(PlanError, match=r"it is an rwkv7, whose code transformers does not have.* choose --format pth"):
        export(folder, out=tmp_path / "out", check=True)
    one_layer = make_folder(tmp_path / "one", "rwkv4", n_layer=1)
    with pytest.raises(PlanError, match="transformers cannot open an RWKV-4 of one layer, but expected two or more"):
        export(one_layer, out=tmp_path / "out", check=True)
    with pytest.raises(ConfigError, match="--format is 'onyx'"):
        export(folder, out=tmp_path / "out", format="onyx", check=True)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    folder = make_folder(tmp_path / "gpt", "gpt2")
    for format, package, command in (
        ("hf", "transformers", r'"whelp\[hf\]"'),
        ("onnx", "onnxruntime", r'"whelp\[onnx\]"'),
        ("gguf", "llama_cpp", "llama-cpp-python"),
        ("pth", "rwkv", "rwkv"),
    ):
        message = f"whelp export --check: the package {package} is not installed. Run `pip install {command}`"
        with pytest.raises(MissingExtraError, match=message):
            export(folder, out=tmp_path / "out", format=format, check=True)
    assert not (tmp_path / "out").exists()
