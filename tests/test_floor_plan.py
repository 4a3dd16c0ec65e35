"""Imports go down the picture, never sideways and never up; and the terminal answers before anything heavy is imported."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import whelp

PACKAGE = Path(whelp.__file__).parent
ROOMS = {"collect", "corpus", "curate", "tokenizer", "prepare", "model", "train", "generate", "serve", "evaluate", "report"}
FLOORS = {"base": {"base"}, "artifacts": {"artifacts", "base"}, **{room: {room, "artifacts", "base"} for room in ROOMS}}
FREE = {"cli", "", "__main__"}  # the wiring, `whelp/__init__.py`, which hands out its calls, and `python -m whelp`
HEAVY = {"torch", "pyarrow", "transformers", "datasets", "tokenizers"}


def find_wrong_arrows(package: Path) -> list[str]:
    """Every import below `package` that the picture does not allow, as `file:line: room -> room`."""
    wrong = []
    for path in sorted(package.rglob("*.py")):
        inside = path.relative_to(package)
        room = _room_of(inside.with_suffix("").parts)
        if room in FREE:
            continue
        if room not in FLOORS:
            wrong.append(f"{inside}:1: {room} is not in the picture")
            continue
        for line, target in _iter_imports(ast.parse(path.read_text(encoding="utf-8")), inside, package.name):
            to = _room_of(target)
            if to not in FLOORS[room]:
                wrong.append(f"{inside}:{line}: {room} -> {to or package.name}")
    return wrong


def _room_of(parts: tuple[str, ...]) -> str:
    return parts[0] if parts and parts[0] != "__init__" else ""


def _iter_imports(tree: ast.AST, inside: Path, root: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Line and target, as parts below the package, of every import of the package's own, at whatever depth."""
    folder = inside.parts[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _below(alias.name, node.lineno, root)
        elif isinstance(node, ast.ImportFrom) and node.level:
            start = folder[: len(folder) - node.level + 1]
            target = (*start, *(node.module.split(".") if node.module else ()))
            yield from ((node.lineno, target or (alias.name,)) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" if node.module == root else str(node.module) for alias in node.names]
            for name in names:
                yield from _below(name, node.lineno, root)
        elif isinstance(node, ast.Call):
            called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            first = node.args[0] if node.args else None
            if called in ("import_module", "__import__") and isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield from _below(first.value, node.lineno, root)


def _below(name: str, line: int, root: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    first, *rest = name.split(".")
    if first == root:
        yield line, tuple(rest)


def test_every_import_goes_down() -> None:
    """No room imports its neighbour, the wiring, or the package's root."""
    assert find_wrong_arrows(PACKAGE) == []


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("train/a.py", "import whelp.prepare"),
        ("train/a.py", "import os, whelp.prepare.pack as pack"),
        ("train/a.py", "from whelp.prepare.pack import pack_rows"),
        ("train/a.py", "from whelp import prepare"),
        ("train/a.py", "from ..prepare import pack"),
        ("train/a.py", "from .. import prepare"),
        ("train/deep/a.py", "from ...prepare import pack"),
        ("train/__init__.py", "from ..prepare import pack"),
        ("train/a.py", "def f():\n    from whelp.prepare import pack_rows"),
        ("train/a.py", "class A:\n    def f(self):\n        if True:\n            import whelp.prepare"),
        ("train/a.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from whelp.prepare import PackedRows"),
        ("train/a.py", "try:\n    import whelp.prepare\nexcept ImportError:\n    pass"),
        ("train/a.py", "import importlib\nimportlib.import_module('whelp.prepare')"),
        ("train/a.py", "from whelp.base import errors; from whelp.prepare import pack"),
    ],
)
def test_a_planted_sideways_arrow_is_caught(tmp_path: Path, place: str, text: str) -> None:
    """However a neighbour is imported, the checker names the file and both rooms."""
    wrong = _plant(tmp_path, place, text)
    assert len(wrong) == 1
    assert wrong[0].startswith(f"{place}:")
    assert wrong[0].endswith("train -> prepare")


@pytest.mark.parametrize(
    ("place", "text", "arrow"),
    [
        ("base/a.py", "from whelp.artifacts import manifest", "base -> artifacts"),
        ("base/a.py", "from ..model import build", "base -> model"),
        ("artifacts/a.py", "import whelp.tokenizer", "artifacts -> tokenizer"),
        ("artifacts/a.py", "import whelp.cli.screens.show", "artifacts -> cli"),
        ("corpus/a.py", "from whelp.cli import show", "corpus -> cli"),
        ("corpus/a.py", "import whelp", "corpus -> whelp"),
        ("attic/a.py", "x = 1", "attic is not in the picture"),
    ],
)
def test_a_planted_upward_arrow_is_caught(tmp_path: Path, place: str, text: str, arrow: str) -> None:
    """Going up, or into the root, or a room that nobody drew."""
    wrong = _plant(tmp_path, place, text)
    assert len(wrong) == 1
    assert wrong[0].endswith(arrow)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("train/a.py", "import torch, whelpful\nfrom whelp.train.config import A\nfrom . import b\nfrom .b import c"),
        ("train/a.py", "from whelp.artifacts import manifest\nfrom ..base.errors import WhelpError\nfrom whelp import base"),
        ("artifacts/a.py", "import whelp.base.files\nfrom .manifest import Manifest"),
        ("cli/a.py", "import whelp\nimport whelp.train, whelp.prepare"),
        ("__init__.py", "from whelp.cli.train import train"),
    ],
)
def test_arrows_that_go_down_are_free(tmp_path: Path, place: str, text: str) -> None:
    """The checker does not cry over what the picture allows."""
    assert _plant(tmp_path, place, text) == []


def _plant(folder: Path, place: str, text: str) -> list[str]:
    path = folder / "whelp" / place
    path.parent.mkdir(parents=True)
    path.write_text(text)
    return find_wrong_arrows(folder / "whelp")


def test_files_that_are_named_are_there() -> None:
    """A newcomer who is sent to a file finds it: those that sources, the floor plan and CONTRIBUTING.md name between back-quotes."""
    root = Path(__file__).parents[1]
    sources = [path for folder in ("src", "tests", "docs") for path in root.joinpath(folder).rglob("*.py")]
    known = [f"/{path.relative_to(root).as_posix()}" for path in sources]
    pages = [*root.joinpath("src").rglob("*.py"), root / "docs" / "architecture.md", root / "CONTRIBUTING.md"]
    named = {(page.name, name) for page in pages for name in re.findall(r"`([\w/]+\.py)`", page.read_text(encoding="utf-8"))}
    assert len(named) > 100
    assert [pair for pair in sorted(named) if not any(path.endswith(f"/{pair[1]}") for path in known)] == []


@pytest.mark.parametrize(
    "code",
    [
        "import whelp.cli.main",
        "import whelp, whelp.cli.main, whelp.prepare, whelp.train, whelp.generate, whelp.evaluate, whelp.corpus",
        "import sys; from whelp.cli.main import main; sys.argv = ['whelp', '--version']\ntry: main()\nexcept SystemExit: pass",
    ],
)
def test_the_terminal_does_not_wait_for_heavy_imports(code: str) -> None:
    """Neither the commands nor the doors import torch, Arrow or Hugging Face's packages before they are used."""
    program = f"{code}\nimport sys\nprint('\\n' + ' '.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert HEAVY & set(done.stdout.splitlines()[-1].split()) == set()


@pytest.mark.parametrize("command", [["--help"], ["train", "--help"], ["collect", "wikipedia", "--help"]])
def test_help_does_not_wait_for_what_it_does_not_show(command: list[str]) -> None:
    """Of what the library of the terminal has for others (a checker of types, a parser of Markdown, colours of source code), and
    what is for pools of processes and for clusters."""
    code = (
        f"import sys; from whelp.cli.main import main; sys.argv = ['whelp', *{command}]\ntry: main()\nexcept SystemExit: pass"
    )
    program = f"{code}\nprint('\\n' + ' '.join(sorted({{name.partition('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert "--help" in done.stdout
    others = {"pydantic", "markdown_it", "pygments", "multiprocessing", "socket"}
    assert {*others, *HEAVY} & set(done.stdout.splitlines()[-1].split()) == set()
