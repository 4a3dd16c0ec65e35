"""`~` at the beginning of a path, from Python and where a shell leaves it as it is: a home folder, and none that is called so."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import whelp as package
from whelp.base.last_event import run_to_end
from whelp.cli.train import iter_train
from whelp.cli.training.events import Finished

from .helpers import Project, Whelp


@pytest.fixture
def home(made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home folder with a finished project in it, seen from an empty folder beside it."""
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    (home / "made").symlink_to(made.folder, target_is_directory=True)
    (home / "rows.jsonl").write_text('{"text": "One."}\n')
    (home / "two.txt").write_text("One.\n\nTwo.\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(here)
    return home


_RECIPE = "~/made/recipe.yaml"
_CALLS: dict[str, Callable[[], object]] = {
    "append": lambda: package.append(["~/two.txt"], out="~/out"),
    "collect_folder": lambda: package.collect_folder("~/made/text", out="~/out.jsonl"),
    "convert": lambda: package.convert(["~/rows.jsonl"], out="~/out.jsonl"),
    "curate": lambda: package.curate(source="~/made/text", out="~/out", overrides=["curate.preset=none"]),
    "export": lambda: package.export("~/made/run", out="~/out"),
    "export_store": lambda: package.export_store("~/made/store", format="nanogpt", out="~/out"),
    "init": lambda: package.init(_RECIPE, out="~/out", vocab_size=300),
    "inspect": lambda: package.inspect("~/made/store", rows="0", recipe="~/made/run", html="~/out"),
    "iter_train": lambda: run_to_end(iter_train(package.load_recipe(_RECIPE), "~/made/store", "~/out"), Finished),
    "new": lambda: package.new("~/out"),
    "prepare": lambda: package.prepare(_RECIPE, out="~/out"),
    "report": lambda: package.report("~/made/run", out="~/out"),
    "report_corpus": lambda: package.report_corpus("~/made/text", html="~/out"),
    "report_tokenizer": lambda: package.report_tokenizer("~/made/store", corpus="~/made/text", html="~/out"),
    "split": lambda: package.split("~/two.txt", out="~/out", parts=2),
    "train": lambda: package.train(_RECIPE, store="~/made/store", out="~/out"),
    "train_tokenizer": lambda: package.train_tokenizer("~/made/text", out="~/out", learn={"learn": "bpe", "vocab_size": 300}),
}


@pytest.mark.parametrize("name", _CALLS)
def test_calls(home: Path, name: str) -> None:
    """What is named so is read, and written, there."""
    _CALLS[name]()
    assert len(list(home.glob("out*"))) == 1
    assert not list(Path().iterdir())


def test_calls_that_only_read(home: Path) -> None:
    """They find it."""
    assert package.generate("~/made/run", "The", max_tokens=1)
    assert package.evaluate("~/made/run", store="~/made/store").num_tokens
    assert package.trace("~/made/text", "~/made").stores
    assert package.compare("~/made/run", prompts="The", max_tokens=1).models


@pytest.mark.parametrize(
    "arguments",
    [("prepare", _RECIPE, "--out=~/out"), ("train", _RECIPE, "--store=~/made/store", "--out=~/out")],
    ids=lambda arguments: arguments[0],
)
def test_commands(whelp: Whelp, home: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]) -> None:
    """A shell does not look into `--out=~/x`."""
    monkeypatch.chdir(home.parent / "here")
    folder = json.loads(whelp(*arguments, "--json").stdout)["folder"]
    assert Path(folder) == home / "out"
    assert (home / "out").is_dir()
    assert not list(Path().iterdir())
