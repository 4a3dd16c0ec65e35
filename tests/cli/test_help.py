"""The help of every command: it fits the terminal, with examples that are there, short enough to be pasted, and right."""

from __future__ import annotations

import inspect
import itertools
import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from whelp.cli.help_text import make_help
from whelp.cli.main import app

from .helpers import Whelp

_WIDEST = 76  # of 80 columns, beside the frame and the indentation


def _iter_commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Groups, too."""
    yield name.strip(), command
    for word, inner in getattr(command, "commands", {}).items():
        yield from _iter_commands(inner, f"{name} {word}")


ROOT = typer.main.get_command(app)
ALL = dict(_iter_commands(ROOT))
COMMANDS = {name: command for name, command in ALL.items() if not hasattr(command, "commands")}


def _examples(name: str) -> list[str]:
    """Lines of the help that stand in from the margin."""
    lines = inspect.cleandoc(COMMANDS[name].help or "").splitlines()
    inside = [line for line in lines if line.startswith("  ")]
    assert all(len(line.strip()) <= _WIDEST for line in inside), f"{name}: a wrapped command cannot be pasted"
    return [line for line in "\n".join(inside).replace("\\\n", " ").splitlines() if not line.lstrip().startswith("#")]


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"completion"}))
def test_examples_are_right(name: str) -> None:
    """Each is understood by the command that it calls: names of options, numbers, words."""
    examples = _examples(name)
    assert any(f"whelp {name} " in f"{example} " for example in examples), "an example teaches more than a list"
    for example in examples:
        call = example.split("|")[-1].partition(" > ")[0]
        words = shlex.split(call)
        assert words[0] == "whelp", example
        called, arguments = ROOT, words[1:]
        while hasattr(called, "commands"):
            called, arguments = called.commands[arguments[0]], arguments[1:]
        called.make_context("whelp", arguments)


@pytest.mark.parametrize("width", [40, 60, 80, 300])
def test_help_fits_the_terminal(whelp: Whelp, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    """Of every command: sentences are filled to the edge, and not beyond; names stand whole; examples are not broken."""
    monkeypatch.setenv("COLUMNS", str(width))
    for name, command in ALL.items():
        shown = whelp(*name.split(), "--help").text
        assert "\x1b" not in shown  # nobody looks on
        lines = shown.splitlines()
        examples = set(_lines_to_copy(command))
        assert examples <= set(lines), name
        edge = min(width, 100)
        wide = [line for line in lines if len(line) > edge and line not in examples]
        assert [line for line in wide if len(line.split()) > 2] == [], name  # a name alone, and its value, may be longer
        assert _find_ragged([line for line in lines if line not in examples], edge) == [], name
        options = [parameter.opts[0] for parameter in command.params if parameter.param_type_name == "option"]
        assert [option for option in options if not re.search(rf"^  (-\w, )?{option}\b", shown, re.M)] == [], name


def _lines_to_copy(command: Any) -> list[str]:
    return [line for line in inspect.cleandoc(command.help or "").splitlines() if line.startswith("  ")]


def _find_ragged(lines: list[str], width: int) -> list[str]:
    """Lines of sentences, at the margin, that had room for the first word of the next."""
    return [
        line
        for line, after in itertools.pairwise(lines)
        if line[:1].strip() and after[:1].strip() and len(line) + 1 + len(after.split()[0]) <= width
    ]


def test_what_help_says_of_an_option(whelp: Whelp, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its value or its choices, what holds without it, its range, and whether it must be given."""
    monkeypatch.setenv("COLUMNS", "100")
    shown = " ".join(whelp("import", "--help").text.split())
    assert "whelp import FILE... --format megatron|nanogpt|llmc|parquet --tokenizer NAME_OR_DIR --out STORE [OPTIONS]" in shown
    assert "--out STORE Where the token store goes. Needed. --test FILE" in shown
    assert "--test-split SHARE Or: hold out this share of the documents. Default: 0. --seed" in shown
    shown = " ".join(whelp("evaluate", "--help").text.split())
    assert "--timeout SECONDS Longest time of one program. At least 0.1. Default: 5." in shown
    assert "--top-p P Likeliest tokens to choose among. From 0 to 1. Default: 0.95." in shown
    assert "-q, --quiet Say only warnings" in " ".join(whelp("train", "--help").text.split())
    shown = " ".join(whelp("collect", "urls", "--help").text.split())
    assert (
        "--contact MAIL|URL Where site owners reach you; part of every request. Needed. Or the variable WHELP_CONTACT." in shown
    )


@pytest.mark.parametrize(("settings", "is_coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_of_help(monkeypatch: pytest.MonkeyPatch, settings: dict[str, str], is_coloured: bool) -> None:
    """As the terminal, and whoever sits at it, have it."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with ROOT.make_context("whelp", ["train"]) as context:
        assert ("\x1b" in make_help(COMMANDS["train"], context)) == is_coloured
