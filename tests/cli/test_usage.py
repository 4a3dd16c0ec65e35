"""Wrong usage, completion, and how much is said."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from whelp.cli.train_signals import Requests

from .helpers import Project, Whelp


def test_a_wrong_choice_is_explained(whelp: Whelp, made: Project) -> None:
    """Without the library's jargon, with the nearest word."""
    outcome = whelp("export", made.run, "--format", "onx", "--out", "x")
    assert outcome.code == 2
    said = " ".join(outcome.stderr.replace("│", " ").split())
    assert "Invalid value for '--format': 'onx' is not one of 'hf', 'gguf', 'onnx'," in said
    assert "Did you mean 'onnx'?" in said
    assert "Value error" not in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["serve", "run", "--port", "80x"], "'--port': This is not a whole number."),
        (["generate", "run", "--prompt", "x", "--temperature", "hot"], "'--temperature': This is not a number."),
    ],
)
def test_a_word_for_a_number(whelp: Whelp, arguments: list[str], said: str) -> None:
    """No talk of parsing."""
    outcome = whelp(*arguments)
    assert outcome.code == 2
    assert said in " ".join(outcome.stderr.replace("│", " ").split())


def test_a_missing_store_is_said_once(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Not by the processes of a check, and then again."""
    outcome = whelp("verify-resume", made.recipe, "--store", tmp_path / "none")
    assert outcome.code == 1
    assert outcome.stderr.count("error:") == 1
    assert "Make one with `whelp prepare`" in outcome.stderr


def test_a_stopped_run_says_once_how_to_go_on(
    whelp: Whelp, made: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was saved, then what to do: each in one place."""
    begin = Requests.__enter__

    def stop_at_once(self: Requests) -> Requests:
        self.must_stop = True
        return begin(self)

    monkeypatch.setattr(Requests, "__enter__", stop_at_once)
    outcome = whelp("train", made.recipe, "--store", made.store, "--out", tmp_path / "run")
    assert outcome.code == 130
    assert "asked to stop: step 1 is saved" in outcome.said
    assert outcome.said.count("the same command goes on") == 1


def test_quiet(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """The result and warnings, no plan, no steps, no notes; with --json nothing but that."""
    arguments = ["train", made.recipe, "--store", made.store, "--out", tmp_path / "run", "--quiet"]
    said = whelp(*arguments, "train.learning_rate=auto").stderr
    assert [line.split()[0] for line in said.splitlines()] == ["test", "finished"]
    outcome = whelp(*arguments[:-2], tmp_path / "other", "-q", "--json")
    assert outcome.json["is_finished"]
    assert outcome.stderr == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_a_script_for_the_shell(whelp: Whelp, shell: str) -> None:
    """It names the command, and asks it in the way that is answered."""
    script = whelp("completion", shell).text
    assert "whelp" in script
    assert "_WHELP_COMPLETE" in script
    assert whelp("completion", shell, "--json").json["script"] == script.removesuffix("\n")


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash: install one")
@pytest.mark.parametrize(
    ("words", "expected"),
    [(["whelp", "verif"], "verify-resume"), (["whelp", "export", "run", "--format", "gg"], "gguf")],
)
def test_bash_completes(whelp: Whelp, tmp_path: Path, words: list[str], expected: str) -> None:
    """The script as a shell runs it."""
    command = tmp_path / "bin" / "whelp"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom whelp.cli.main import main\n\nmain()\n")
    command.chmod(0o755)
    script = f"""{whelp("completion", "bash").text}
COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; _whelp_completion whelp; echo "${{COMPREPLY[@]}}" """
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert done.stdout.split() == [expected], done.stderr
