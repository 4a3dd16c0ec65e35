"""What pages and messages say to install: the extras that there are, in the one form that works from any folder."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PLACES = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "src").rglob("*.py")]


def test_extras_are_added_to_the_installed_package() -> None:
    """`.[hub]` works in a checkout alone; only `dev`, for which one is needed, is installed from there."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    found = [
        (path.name, *match)
        for path in PLACES
        for match in re.findall(r"pip install (?:-e )?\W*?(whelp|\.)\\*\[([a-z,]+)\\*\]", path.read_text(encoding="utf-8"))
    ]
    assert len(found) > 20
    wrong = [line for line in found if line[2] not in extras or (line[1] == ".") != (line[2] == "dev")]
    assert wrong == []
