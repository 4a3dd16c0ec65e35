"""Models side by side: the same prompts, seeds and text for each."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from whelp.cli.compare import compare
from whelp.cli.generate import generate, load_model
from whelp.evaluate import evaluate_text
from whelp.report import make_compare_report

from .helpers import Project, Whelp, make_project, run_whelp

TEXT = "The quick brown fox 3 jumps over 9 lazy dogs.\nNaïve café, 日本語 3.\n" * 3


@pytest.fixture(scope="session")
def stepped(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A run that keeps several checkpoints."""
    project = make_project(tmp_path_factory.mktemp("stepped") / "p", train={"save_every_steps": 2, "keep_checkpoints": 9})
    run_whelp("prepare", project.recipe, "--out", project.store)
    assert run_whelp("train", project.recipe, "--store", project.store, "--out", project.run).code == 0
    return project


def test_texts_and_numbers(whelp: Whelp, made: Project, stepped: Project) -> None:
    """Each column is what `whelp generate` says with that model, prompt and seed."""
    Path("text.txt").write_text(TEXT)
    Path("prompts.txt").write_text("The quick\n\nNaïve\n")
    options = ["--prompts", "prompts.txt", "--prompt", "A", "--max-tokens", 5, "--seed", 3, "--n", 2, "--device", "cpu"]
    outcome = whelp("compare", made.run, stepped.run, *options, "--text-file", "text.txt", "--html", "page.html", "--json")
    assert "page:" not in outcome.said
    result = outcome.json
    assert result["prompts"] == ["A", "The quick", "Naïve"]
    for model, run in zip(result["models"], (made.run, stepped.run), strict=True):
        assert model["name"] == str(run)
        for prompt, texts in zip(result["prompts"], model["texts"], strict=True):
            found = generate(run, prompt, n=2, max_tokens=5, seed=3, device="cpu")
            assert texts == [completion.text for completion in found]
        assert model["numbers"]["perplexity"] == pytest.approx(math.exp(model["numbers"]["nats_per_token"]))
    page = Path("page.html").read_text()
    for words in ("<!doctype html>", str(made.run), "The quick", "bits per byte"):
        assert words in page
    for stranger in ("http:", "https:", "<script"):
        assert stranger not in page
    shown = whelp("compare", made.run, stepped.run, *options, "--text-file", "text.txt", "--html", "page.html")
    assert "page: page.html" in shown.said
    assert "perplexity" in shown.text
    assert "Naïve" in shown.text


def test_one_run_through_time(whelp: Whelp, stepped: Project) -> None:
    """A run becomes its checkpoints of the asked steps, in that order; a step that is not there is named."""
    everything = compare([stepped.run], text_file=_write(TEXT), steps="all", device="cpu")
    assert [model.name.removeprefix(f"{stepped.run} ") for model in everything.models] == ["step 2", "step 4"]
    losses = [model.numbers["nats_per_token"] for model in everything.models]
    assert losses[0] != losses[1]
    told = whelp("compare", stepped.run, "--steps", "all", "--text-file", _write(TEXT), "--device", "cpu", "--json")
    assert [model["name"] for model in told.json["models"]] == [model.name for model in everything.models]
    for number, model in enumerate(everything.models, 1):
        assert f"model {model.name} ({number} of 2)" in told.said
    some = compare([stepped.run], text_file=_write(TEXT), steps="last, 2", device="cpu")
    assert [model.numbers["nats_per_token"] for model in some.models] == losses[::-1]
    outcome = whelp("compare", stepped.run, "--steps", "3", "--prompt", "a")
    assert "there is no checkpoint of step 3, but expected one of 2, 4" in outcome.said
    assert "'x' is no step" in whelp("compare", stepped.run, "--steps", "x", "--prompt", "a").said


def _write(text: str) -> Path:
    path = Path("measured.txt")
    path.write_text(text)
    return path


def test_a_model_is_named_before_it_is_asked(stepped: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that whoever waits knows what for."""
    monkeypatch.chdir(tmp_path)
    said: list[Any] = []

    def load(folder: Path, *_: Any) -> Any:
        said.append(folder.name)
        return load_model(folder, "cpu")

    monkeypatch.setattr("whelp.cli.compare.load_model", load)

    def tell(name: str, done: int, total: int) -> None:
        said.append((done, total))

    compare([stepped.run], text_file=_write(TEXT), steps="all", on_progress=tell)
    assert said == [(0, 2), "step-00000002", (1, 2), "step-00000004"]


def test_what_is_missing_is_said(whelp: Whelp, made: Project) -> None:
    """Nothing to compare by, an empty text, no text: each by message."""
    assert "there is nothing to compare by" in whelp("compare", made.run).said
    Path("empty.txt").write_text("")
    assert "empty.txt: the file is empty" in whelp("compare", made.run, "--text-file", "empty.txt").said
    Path("latin.txt").write_bytes(b"caf\xe9")
    assert "latin.txt: not UTF-8 (byte 3)" in whelp("compare", made.run, "--text-file", "latin.txt").said


def test_a_text_that_a_vocabulary_cannot_write(whelp: Whelp, tmp_path: Path) -> None:
    """Which file, which character, and which of the models."""
    project = make_project(tmp_path / "letters", data={"tokenizer": {"learn": "chars"}}, train={"num_steps": 1})
    assert whelp("prepare", project.recipe, "--out", project.store).code == 0
    assert whelp("train", project.recipe, "--store", project.store, "--out", project.run).code == 0
    Path("greek.txt").write_text("The\u03a9", encoding="utf-8")
    outcome = whelp("compare", project.run, "--text-file", "greek.txt")
    assert outcome.code == 1
    assert "greek.txt, character 3: '\u03a9' (U+03A9) is not among the" in outcome.said
    assert f"{project.run} cannot be measured on it: take another text, or leave that model out." in outcome.said


def test_the_loss_of_a_text(made: Project) -> None:
    """Windows change how much of the text before a token is seen, never which tokens are predicted; one window is the plain loss."""
    loaded = load_model(made.run, "cpu")
    ids = loaded.vocabulary.encode(TEXT)
    eos = loaded.vocabulary.eos_id
    seen: list[int] = []
    heights: list[int] = []

    class Spy:
        def loss(self, rows: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
            assert rows.shape[1] <= 16
            heights.append(len(rows))
            for row in targets:
                seen.extend(target for target in row.tolist() if target >= 0)
                kept = row >= 0
                start = int(kept.int().argmax())
                assert bool(kept[start:].all())
                assert start in (0, 8)  # later windows see half a window of text before what they predict
            return loaded.model.loss(rows, targets)

    result = evaluate_text(Spy(), ids, first_id=eos, num_bytes=len(TEXT.encode()), context_tokens=16)
    assert seen == ids.tolist()
    assert result.num_tokens == len(ids)
    assert result.num_rows == sum(heights)
    assert len(heights) <= 3 < result.num_rows  # side by side, but for those that are shorter
    assert result.bits_per_byte == pytest.approx(result.nats / math.log(2) / len(TEXT.encode()))
    few = ids[:10]
    whole = np.concatenate(([eos], few)).astype(np.int64)
    expected = loaded.model.loss(torch.from_numpy(whole[None, :-1]), torch.from_numpy(whole[None, 1:])).detach()
    found = evaluate_text(loaded.model, few, first_id=eos, num_bytes=1, context_tokens=16)
    assert found.nats == pytest.approx(float(expected), rel=1e-5)
    without = evaluate_text(loaded.model, few, first_id=None, num_bytes=1, context_tokens=16)
    assert without.num_tokens == 9


def test_a_page_shows_what_it_is_given() -> None:
    """Whatever a model says is text on the page."""
    models = [
        {"name": "<a>", "numbers": {"loss": 1234.5}, "texts": [["<script>", "b&c"]]},
        {"name": "b", "numbers": {}, "texts": [["x", "y"]]},
    ]
    page = make_compare_report("A & B", models, ["<p>"], {"temperature": 0.5})
    for words in ("&lt;script&gt;", "b&amp;c", "&lt;p&gt;", "&lt;a&gt;", "temperature 0.5", "A &amp; B"):
        assert words in page
    assert "<script>" not in page
