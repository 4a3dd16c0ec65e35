"""Programs that a model writes: run only when allowed, judged by their tests, kept with what became of them."""

from __future__ import annotations

import io
import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

import whelp as package
from whelp.base.errors import PlanError
from whelp.cli import evaluate_code as module
from whelp.cli.evaluate_code import evaluate_code
from whelp.cli.screens import show
from whelp.evaluate.sandbox import Limits, Outcome, run_program

from .helpers import Project, Whelp, make_project, run_whelp, snapshot

PROBLEMS = [
    {
        "task_id": "own/add",
        "prompt": "def add(a, b):\n",
        "entry_point": "add",
        "test": "def check(add):\n    assert add(1, 2) == 3, 'wrong sum'\n",
    },
    {
        "task_id": "own/last",
        "prompt": 'def last(a):\n    """The end."""\n',
        "entry_point": "last",
        "test": "def check(last):\n    assert last([1, 2]) == 2\n",
    },
]
WRITTEN = {
    "add": ["    return a + b\n", "    return a - b\n", "    while True: pass\n", "    return a + b + 0\n"],
    "last": ["    return a[-1]\n", "    return a[0]\n", "    import sys; sys.exit(0)\n", "    retur\n"],
}


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    """Two problems of our own."""
    path = tmp_path / "problems.jsonl"
    path.write_text("".join(json.dumps(problem) + "\n" for problem in PROBLEMS))
    return path


@pytest.fixture(scope="module")
def made_wider(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A finished run whose model sees the whole of a problem."""
    project = make_project(tmp_path_factory.mktemp("wider") / "project", pack={"context_tokens": 96})
    for arguments in (
        ("prepare", project.recipe, "--out", project.store),
        ("train", project.recipe, "--store", project.store, "--out", project.run),
    ):
        outcome = run_whelp(*arguments)
        assert outcome.code == 0, outcome.stderr
    return project


@pytest.fixture
def own_run(made_wider: Project, tmp_path: Path) -> Path:
    """A copy of the run, to be written beside."""
    shutil.copytree(made_wider.run, tmp_path / "run", symlinks=True)
    return tmp_path / "run"


@pytest.fixture
def says(made_wider: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model of a few steps writes nothing that runs: words are put into its mouth, behind its own engine."""
    from whelp.generate import Completion, Generation
    from whelp.tokenizer import load_tokenizer

    vocabulary = load_tokenizer(made_wider.store / "tokenizer")
    names = {len(vocabulary.encode(str(problem["prompt"]))): str(problem["entry_point"]) for problem in PROBLEMS}
    assert len(names) == len(PROBLEMS), "the prompts are told apart by their lengths"
    original = Completion.collect

    def collect(generation: Generation) -> Completion:
        told = original(generation)
        text = WRITTEN[names[generation.prompt_tokens]][generation.index]
        return Completion(text=text, reason="stop", num_tokens=told.num_tokens)

    def run_patiently(program: str, limits: Limits) -> Outcome:
        """A busy machine may let a program that does end wait for long."""
        return run_program(program, limits if "while True" in program else replace(limits, timeout_seconds=60.0))

    monkeypatch.setattr(Completion, "collect", collect)
    monkeypatch.setattr("whelp.evaluate.sandbox.run_program", run_patiently)


OPTIONS: dict[str, Any] = {"n": 4, "k": [1, 2, 4], "max_tokens": 2, "timeout_seconds": 1.0, "device": "cpu"}


@pytest.mark.usefixtures("says")
def test_programs_are_judged_by_their_tests(own_run: Path, problems: Path) -> None:
    """Two of four pass, and one of four: pass@k as counted by hand; every program is kept with its reason."""
    before = snapshot(own_run)
    result = evaluate_code(own_run, problems, run_generated_code=True, **OPTIONS)
    assert result.pass_at_k == pytest.approx({"pass@1": (2 / 4 + 1 / 4) / 2, "pass@2": (5 / 6 + 3 / 6) / 2, "pass@4": 1.0})
    assert result.reasons == {"passed": 3, "AssertionError": 2, "timeout": 1, "SystemExit": 1, "NameError": 1}
    assert (result.num_problems, result.num_samples, result.num_cut, result.num_too_long) == (2, 4, 0, 0)
    assert result.file is not None
    assert result.samples_file is not None
    samples = [json.loads(line) for line in Path(result.samples_file).read_text().splitlines()]
    assert [(sample["task_id"], sample["completion"]) for sample in samples] == [
        (f"own/{name}", text) for name, texts in WRITTEN.items() for text in texts
    ]
    assert [sample["passed"] for sample in samples] == [True, False, False, True, True, False, False, False]
    assert samples[1]["reason"] == "AssertionError: wrong sum"
    assert json.loads(Path(result.file).read_text())["pass_at_k"] == result.pass_at_k
    after = snapshot(own_run)
    assert {name: after[name] for name in before} == before
    assert {name.partition("/")[0] for name in set(after) - set(before)} == {"evaluations"}


@pytest.mark.usefixtures("says")
def test_who_looks_on_sees_bars(own_run: Path, problems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call draws what its command draws; who wants the numbers gets them in place of bars."""
    terminal, told = io.StringIO(), list[tuple[str, int, int]]()
    monkeypatch.setattr(show, "console", Console(file=terminal, force_terminal=True, width=100))
    package.show_progress(True)
    try:
        evaluate_code(own_run, problems, run_generated_code=True, **OPTIONS)
        assert "writing programs" in terminal.getvalue()
        assert "running programs" in terminal.getvalue()
        terminal.truncate(0)
        evaluate_code(own_run, problems, run_generated_code=True, on_progress=lambda *one: told.append(one), **OPTIONS)
    finally:
        package.show_progress(None)
    assert terminal.getvalue() == ""
    assert told[-1] == ("running programs", 8, 8)


def test_a_model_of_a_few_steps(own_run: Path, problems: Path, whelp: Whelp) -> None:
    """The real engine, through the terminal: nothing passes, all is counted, the same seed gives the same."""
    asked = ("evaluate", own_run, "--code-tasks", problems, "--run-generated-code", "--n", 2, "--k", "1,2", "--max-tokens", 2)
    first = whelp(*asked, "--device", "cpu", "--json").json["code"]
    assert first["pass_at_k"] == {"pass@1": 0.0, "pass@2": 0.0}
    assert sum(first["reasons"].values()) == 4
    assert "limits" in first["protections"]
    assert first["num_too_long"] == 0
    assert first["num_cut"] > 0
    programs = Path(first["samples_file"]).read_bytes()
    outcome = whelp(*asked, "--device", "cpu")
    assert outcome.text == "pass@1   0.0000\npass@2   0.0000\n"
    assert "2 problems, 2 programs each:" in outcome.said
    assert re.search(r"run with: .+ kept in", outcome.said)
    assert Path(first["samples_file"]).read_bytes() == programs


def test_prompts_that_do_not_fit_are_counted(own_run: Path, tmp_path: Path) -> None:
    """A longer prompt is not cut to something else, and none of its programs passes."""
    path = tmp_path / "long.jsonl"
    path.write_text(json.dumps(PROBLEMS[0] | {"prompt": "# many words to read\n" * 50}))
    result = evaluate_code(own_run, path, run_generated_code=True, **OPTIONS)
    assert (result.num_too_long, result.reasons) == (1, {"prompt too long": 4})
    assert set(result.pass_at_k.values()) == {0.0}


def test_nothing_runs_without_consent(own_run: Path, problems: Path, whelp: Whelp, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag says what it allows; without it neither model nor program is touched."""
    monkeypatch.setattr(module, "load_model", None)
    before = snapshot(own_run)
    outcome = whelp("evaluate", own_run, "--code-tasks", problems)
    assert (outcome.code, outcome.text) == (1, "")
    assert "it runs programs that the model writes and nobody has read, on this machine" in outcome.said
    assert "--run-generated-code" in outcome.said
    assert snapshot(own_run) == before


def test_a_k_above_n_is_refused_first(own_run: Path, problems: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not after an hour of programs."""
    monkeypatch.setattr(module, "load_model", None)
    with pytest.raises(PlanError, match="k: is 10, but expected 1 to 4, the programs for each problem"):
        evaluate_code(own_run, problems, run_generated_code=True, **{**OPTIONS, "k": [1, 10]})
