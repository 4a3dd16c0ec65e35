"""`whelp demo`: from a text to a model that talks, and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from whelp.cli.demo import iter_demo, make_demo_recipe
from whelp.cli.prepare import StoreReady, VocabularyReady

from .helpers import Project, Whelp, said_once


def test_demo(whelp: Whelp, project: Project, tmp_path: Path) -> None:
    """All of it in one command, on a text of one's own: tokenizer, store and run, and a model that has learned."""
    outcome = whelp("demo", "--corpus", project.corpus, "--minutes", 0.1, "--out", "demo", "--json")
    result = outcome.json
    assert sorted(path.name for path in (tmp_path / "demo").iterdir()) == ["run", "store", "tokenizer"]
    assert result["train"]["is_finished"]
    assert result["train"]["nats_per_token"] < result["nats_per_token_before"]
    assert len(result["examples"]) == 3
    assert all(example["before"] != example["after"] for example in result["examples"])
    generated = whelp("generate", "demo", "--prompt", "The", "--max-tokens", 3, "--json").json
    assert generated["completions"]
    shown = whelp("demo", "--corpus", project.corpus, "--minutes", 0.1, "--out", "demo")  # again: goes on, nothing to do
    assert shown.code == 0, shown.stderr
    assert shown.stdout == b""
    for word in ("before training", "after training", "untrained", "Try next"):
        assert word in shown.said


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf"])
def test_a_length_that_is_none(whelp: Whelp, minutes: str) -> None:
    """It is called by the name that it was given by."""
    said_once(whelp("demo", "--minutes", minutes), f"--minutes: it is {minutes}, but expected a number above 0")


def test_another_length(whelp: Whelp, project: Project) -> None:
    """This command has no options of a recipe: what it advises is what it takes."""
    command = ("demo", "--corpus", project.corpus, "--out", "demo", "--minutes")
    assert whelp(*command, 1e-4).code == 0
    assert "nothing is left to do (--minutes 0.0002, for example, trains on)" in whelp(*command, 1e-4).said
    said_once(whelp(*command, 1e-5), "but expected a length above that", "leave it the length it has: --minutes 0.0001.")


def test_demo_learns_again_from_another_text(project: Project, tmp_path: Path) -> None:
    """A demo that was stopped before its store was whole goes on with its vocabulary, but not on another text."""

    def run_until(kind: type) -> Any:
        events = iter_demo(make_demo_recipe(project.corpus, 0.01), tmp_path / "demo")
        return next(event for event in events if isinstance(event, kind))

    assert not run_until(StoreReady).result.is_reused
    vocabulary = (tmp_path / "demo" / "tokenizer" / "tokenizer.json").read_bytes()
    (tmp_path / "demo" / "store" / "manifest.json").unlink()
    (tmp_path / "demo" / "store" / ".parts").mkdir()
    assert not run_until(VocabularyReady).is_learned
    for path in project.corpus.iterdir():
        path.write_text(f"Zebras of {path.stem} quiz vexed jocks. " * 9)
    assert run_until(VocabularyReady).is_learned
    assert not run_until(StoreReady).result.is_reused
    assert (tmp_path / "demo" / "tokenizer" / "tokenizer.json").read_bytes() != vocabulary
