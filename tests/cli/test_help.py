"""The examples of every command's help: there, short enough to be pasted, and right."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
import typer.main

from whelp.cli.main import app

_WIDEST = 76  # of 80 columns, beside the frame and the indentation


def _iter_commands(command: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        yield name.strip(), command
    for word, inner in getattr(command, "commands", {}).items():
        yield from _iter_commands(inner, f"{name} {word}")


ROOT = typer.main.get_command(app)
COMMANDS = dict(_iter_commands(ROOT))


def _examples(name: str) -> list[str]:
    """Lines of the help that stand in from the margin, without the marks of rich."""
    lines = inspect.cleandoc(COMMANDS[name].help or "").replace("\\[", "[").splitlines()
    inside = [line for line in lines if line.startswith("  ")]
    assert all(len(line.strip()) <= _WIDEST for line in inside), f"{name}: a wrapped command cannot be pasted"
    return "\n".join(inside).replace("\\\n", " ").splitlines()


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
