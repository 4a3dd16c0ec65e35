"""A room's door names what is public without importing it: `whelp --help` must not wait for torch or Arrow."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def make_door(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """A module-level `__getattr__` for `package`: each public name is imported from its file when first used.

    Args:
        homes: Public name -> the file (module) inside the package that defines it.
    """

    def find(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{package}.{homes[name]}"), name)

    return find
