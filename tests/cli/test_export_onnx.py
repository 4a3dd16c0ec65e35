"""An ONNX graph gives the model's logits for any number of rows and tokens; what cannot be one is refused."""

import importlib.util
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer

from whelp.base.errors import ArtifactError, MissingExtraError, PlanError
from whelp.cli.export import export
from whelp.cli.exporting import export_onnx
from whelp.cli.generate import load_model

from .helpers import Project, Whelp


def test_a_graph_for_other_programs(whelp: Whelp, made: Project) -> None:
    """onnxruntime, with the folder's own tokenizer and nothing of ours, computes our logits; the card says how."""
    result = whelp("export", made.run, "--format", "onnx", "--out", "out", "--name", "fox", "--json").json
    assert set(result["files"]) == {path.name for path in Path("out").iterdir()}
    assert (result["dtype"], "fox.onnx" in result["files"]) == ("f32", True)
    assert "onnxruntime.InferenceSession" in Path("out/README.md").read_text()
    session = onnxruntime.InferenceSession("out/fox.onnx")
    loaded = load_model(made.run, "cpu")
    ids = Tokenizer.from_file("out/tokenizer.json").encode("The quick café").ids
    assert ids == loaded.vocabulary.encode("The quick café").tolist()
    for rows in ([ids], [ids[:1]], [ids, ids[::-1]], [(ids * 99)[: loaded.model.context_tokens]]):
        (logits,) = session.run(["logits"], {"input_ids": np.array(rows)})
        with torch.no_grad():
            torch.testing.assert_close(torch.from_numpy(logits), loaded.model(torch.tensor(rows)), atol=1e-4, rtol=1e-4)


def test_what_differs_is_not_handed_over(tmp_path: Path, whelp: Whelp, made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other family; a graph is always compared, and where the model is another, nothing is written, and it says by how much."""
    vocabulary = made.run / "checkpoints/last"
    assert whelp("init", "--family", "gpt2", "--n_layer", 1, "--n_embd", 64, "--vocab_size", vocabulary, "--out", "g").code == 0
    result = export("g", out="out", format="onnx")
    assert "g.onnx" in result.files
    assert result.check is not None
    assert result.check.opened_by == f"onnxruntime {onnxruntime.__version__}"
    write = export_onnx._write_graph

    def write_another(model, path):
        with torch.no_grad():
            model.norm.weight.mul_(1.01)
        write(model, path)

    monkeypatch.setattr(export_onnx, "_write_graph", write_another)
    with pytest.raises(ArtifactError, match=r"onnxruntime .* differ by .* at token .* the model, to 0\.0001 of the largest"):
        export("g", out=tmp_path / "other", format="onnx")
    assert not (tmp_path / "other").exists()


def test_what_cannot_be_a_graph(whelp: Whelp, made: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recurrent model, with the reason; a missing package, with the command that mends it."""
    vocabulary = made.run / "checkpoints/last"
    assert (
        whelp("init", "--family", "rwkv7", "--n_layer", 1, "--n_embd", 64, "--vocab_size", vocabulary, "--out", "r").code == 0
    )
    with pytest.raises(PlanError, match="is a rwkv7, which reads token after token into a state"):
        export("r", out="out", format="onnx")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "onnxscript" else find(name, *rest))
    with pytest.raises(MissingExtraError, match=r'onnxscript is not installed. Run `pip install "whelp\[onnx\]"`'):
        export(made.run, out="out", format="onnx")
    assert not Path("out").exists()
