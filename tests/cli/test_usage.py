"""Wrong usage, completion, and how much is said."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from whelp.base.config import list_names
from whelp.cli.commands.complete_words import complete_override
from whelp.cli.main import app
from whelp.cli.recipe import Recipe
from whelp.cli.training.signals import Requests
from whelp.cli.words_elsewhere import COMMANDS, OPTIONS

from .helpers import Project, Whelp


def test_a_wrong_choice_is_explained(whelp: Whelp, made: Project) -> None:
    """Without the library's jargon, with the nearest word."""
    outcome = whelp("export", made.run, "--format", "onx", "--out", "x")
    assert outcome.code == 2
    assert "Invalid value for '--format': 'onx' is not one of 'hf', 'gguf', 'onnx'," in outcome.said
    assert "Did you mean 'onnx'?" in outcome.said
    assert "Value error" not in outcome.said


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
    assert said in outcome.said


@pytest.mark.parametrize(
    ("command", "option", "said"),
    [
        ("train", "--learning_rate=3e-4", "given without dashes: train.learning_rate=..."),
        ("train", "--epochs", "given without dashes: train.num_epochs=..."),
        ("train", "--model.n-layer", "given without dashes: model.n_layer=..."),
        ("train", "--batch_size=12", "A batch is given in tokens: train.batch_tokens"),
        ("train", "--resume", "the same `whelp train` goes on where it stopped"),
        ("train", "--resume_from_checkpoint", "the weights of another run are train.start_from=DIR"),
        ("train", "--fp16", "There is no fp16"),
        ("train", "--bf16", "It is train.precision=bf16"),
        ("train", "--train_on_inputs", "data.multi_column_train_mask says which are"),
        ("train", "--push_to_hub", "`whelp push RUN OWNER/NAME` sends it"),
        ("train", "--lora_r=8", "there are no adapters (LoRA, QLoRA)"),
        ("prepare", "--num_proc", "--workers N"),
        ("train", "--stor", "Possible options: --json, --store"),
    ],
)
def test_an_option_of_the_recipe_after_dashes(whelp: Whelp, command: str, option: str, said: str) -> None:
    """Other programs have flags for what the recipe says here: where it is, not only that there is no such flag."""
    outcome = whelp(command, "demo", option)
    assert outcome.code == 2
    assert f"No such option: {option.partition('=')[0]}" in outcome.said
    assert said in outcome.said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--fast"], "error: No such option: --fast. `whelp --help` says how it goes."),
        (["trian"], "error: No such command 'trian'. Did you mean 'train', 'trace'? `whelp --help` says how it goes."),
        (["tokenizer", "x"], "error: No such command 'x'. `whelp tokenizer --help` says how it goes."),
        (["new"], "error: Missing argument 'NAME'. `whelp new --help` says how it goes."),
        (["split", "a.txt"], "error: Missing option '--out'. `whelp split --help` says how it goes."),
        (["demo", "--minutes"], "error: Option '--minutes' requires an argument. `whelp demo --help` says how it goes."),
        (["new", "a", "b"], "error: Got unexpected extra argument(s) (b). `whelp new --help` says how it goes."),
        (
            ["split", "a", "--out", "b", "--parts", "0"],
            "error: Invalid value for '--parts': This must be greater than or equal to 1.",
        ),
    ],
)
def test_wrong_usage_is_one_line(whelp: Whelp, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str) -> None:
    """As other errors are, however narrow the terminal is: what is wrong, and which command says how it goes."""
    monkeypatch.setenv("COLUMNS", "40")
    outcome = whelp(*arguments)
    assert (outcome.code, outcome.text) == (2, "")
    assert outcome.stderr.startswith(said), outcome.stderr
    assert outcome.stderr.count("\n") == 1


@pytest.mark.parametrize("group", [[], ["tokenizer"], ["collect"]])
def test_a_group_alone_shows_what_it_has(whelp: Whelp, group: list[str]) -> None:
    """It is wrong usage still, as of other programs."""
    outcome = whelp(*group)
    assert (outcome.code, outcome.stderr) == (2, "")
    assert outcome.text == whelp(*group, "--help").text


def test_an_option_of_a_command_without_recipe(whelp: Whelp) -> None:
    """What the recipe says is no answer to a command that takes none."""
    outcome = whelp("generate", "run", "--learning-rate", "1")
    assert outcome.code == 2
    assert "recipe" not in outcome.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("finetune", "whelp train RECIPE train.start_from=MODEL"),
        ("quantize", "--dtype q8_0"),
        ("trian", "Did you mean 'train'"),
    ],
)
def test_a_command_of_another_program(whelp: Whelp, command: str, said: str) -> None:
    """It is told what does that here; a misspelling its spelling."""
    outcome = whelp(command)
    assert outcome.code == 2
    assert said in outcome.said


def test_what_is_named_instead_is_there() -> None:
    """Every option and command that somebody is sent to."""
    options = {place for places in list_names(Recipe).values() for place in places}
    for word, sentence in OPTIONS.items():
        assert not [
            place for place in options if place.endswith(f".{word}") and place.startswith(("model.", "pack.", "train."))
        ]
        named = re.findall(r"\b(?:data|pack|model|train)\.[a-z_]+", sentence)
        assert set(named) <= options, (word, sentence)
    commands = {str(one.name) for one in [*app.registered_commands, *app.registered_groups]}
    for word, sentence in COMMANDS.items():
        assert word not in commands
        assert sentence.split()[0].rstrip(":") in commands, word


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
    [
        (["whelp", "verif"], "verify-resume"),
        (["whelp", "export", "run", "--format", "gg"], "gguf"),
        (["whelp", "train", "shakes"], "shakespeare"),
        (["whelp", "train", "mi"], "mine.yaml"),
        (["whelp", "train", "mine.yaml", "train.learning_r"], "train.learning_rate="),
        (["whelp", "train", "mine.yaml", "pack.plan", "=", "be"], "best_fit"),
        (["whelp", "curate", "mine.yaml", "curate.near_duplicates.jac"], "curate.near_duplicates.jaccard="),
        (["whelp", "train", "mine.yaml", "--store", "st"], ""),
        (["whelp", "train", "mine.yaml", "data.source", "=", "te"], ""),
    ],
)
def test_bash_completes(whelp: Whelp, tmp_path: Path, words: list[str], expected: str) -> None:
    """The script as a shell runs it, which offers files where nothing of ours fits."""
    (tmp_path / "mine.yaml").touch()
    command = tmp_path / "bin" / "whelp"
    command.parent.mkdir()
    command.write_text(f"#!{sys.executable}\nfrom whelp.cli.main import main\n\nmain()\n")
    command.chmod(0o755)
    script = f"""{whelp("completion", "bash").text}
COMP_WORDS=({" ".join(words)}); COMP_CWORD={len(words) - 1}; _whelp_completion whelp; echo "${{COMPREPLY[@]}}" """
    path = f"{command.parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, env={**os.environ, "PATH": path})
    assert (done.stdout.strip(), done.stderr) == (expected, "")


@pytest.mark.parametrize(
    ("incomplete", "expected"),
    [
        ("pack.plan=", ["pack.plan=concat", "pack.plan=best_fit", "pack.plan=none", "pack.plan=stream"]),
        ("train.keep_best=t", ["train.keep_best=true"]),
        ("train.learning_rate=", ["train.learning_rate=auto"]),
        ("train.learning_rate=1", []),
        ("nothing.of=", []),
        ("", []),
        ("books/", []),
    ],
)
def test_options_of_a_recipe_are_completed(monkeypatch: pytest.MonkeyPatch, incomplete: str, expected: list[str]) -> None:
    """In shells that keep a word whole: values where there is a choice; else files."""
    monkeypatch.delenv("COMP_WORDS", raising=False)
    assert complete_override(incomplete) == expected


def test_every_option_of_a_recipe_is_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that a recipe can be given on the command line."""
    monkeypatch.delenv("COMP_WORDS", raising=False)
    places = {place for found in list_names(Recipe).values() for place in found}
    offered = {
        word[0].removesuffix("=") for section in ("data", "pack", "model", "train") for word in complete_override(section)
    }
    assert {place for place in offered if not place.startswith("data.tokenizer.")} <= places
    assert "data.tokenizer.vocab_size" in offered
    assert {place for place in places if place.startswith(("pack.", "model.", "train."))} <= offered
