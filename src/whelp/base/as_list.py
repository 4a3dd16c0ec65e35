"""Arguments that take one thing or several."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any


def as_list(given: object) -> list[Any]:
    """One thing, or several, as a list. A text or a path is one thing, and no sequence of letters.

    >>> as_list("wikipedia"), as_list(["a", "b"]), as_list(())
    (['wikipedia'], ['a', 'b'], [])
    """
    if isinstance(given, (str, bytes, os.PathLike)) or not isinstance(given, Iterable):
        return [given]
    return list(given)
