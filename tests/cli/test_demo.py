"""`whelp demo`: from a text to a model that talks, and again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from whelp.cli.demo import iter_demo, make_demo_recipe
from whelp.cli.prepare import StoreReady, VocabularyReady

from .helpers import Project, Whelp


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
