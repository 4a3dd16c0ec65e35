"""A model is called as somebody called it, not by the word that all runs have."""

from __future__ import annotations

from pathlib import Path

import pytest

from whelp.artifacts.run_folder import RunFolder
from whelp.cli.export import export
from whelp.cli.exporting.model_name import choose_model_name

from .helpers import Project, Whelp


@pytest.mark.parametrize(
    ("run", "out", "name"),
    [
        ("bark/muon-2", "out", "muon-2"),
        ("bark/run", "small-fox", "small-fox"),
        ("bark/run-3", "small-fox-gguf", "small-fox"),
        ("bark/run", "exports/hf", "bark"),
        ("bark/RUN_2", "out-gguf", "bark"),
        ("bark/training", "gguf", "bark"),
        ("runs/3", "out", "3"),
    ],
)
def test_the_name_of_a_run(tmp_path: Path, run: str, out: str, name: str) -> None:
    folder = RunFolder(tmp_path / run)
    assert choose_model_name(folder.checkpoints / "step-00000001", folder, tmp_path / out) == name


@pytest.mark.parametrize(
    ("model", "out", "name"), [("fox", "a-gguf", "fox"), ("step-00000010", "fox", "fox"), ("out", "out-gguf", "out")]
)
def test_the_name_of_a_model_folder(tmp_path: Path, model: str, out: str, name: str) -> None:
    """The folder around it says nothing: it may be that of all models."""
    assert choose_model_name(tmp_path / "around" / model, None, tmp_path / out) == name


def test_an_export_says_what_it_calls_the_model(whelp: Whelp, made: Project) -> None:
    """In the result, in the card, in the file's name; a word for people where it is not that of the folder."""
    result = whelp("export", made.run, "--format", "gguf", "--out", "fox-gguf", "--json").json
    assert (result["name"], "fox-f16.gguf" in result["files"]) == ("fox", True)
    assert "# fox\n" in Path("fox-gguf/README.md").read_text(encoding="utf-8")
    assert (
        f"the model is called {made.folder.name}; --name calls it otherwise" in whelp("export", made.run, "--out", "out").said
    )
    assert "the model is called" not in whelp("export", made.run, "--out", "fox").said
    assert export(made.run, out="out-2", name="owl").name == "owl"
