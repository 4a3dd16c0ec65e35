"""Sizes as people write them."""

from __future__ import annotations

import re

from whelp.base.errors import ConfigError

_SIZE = re.compile(r"\s*([0-9][0-9_]*(?:\.[0-9]+)?)\s*([kmgt]?)(i?)b?\s*\Z", re.IGNORECASE)
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_size(text: str, name: str = "--max-bytes") -> int:
    """A number of bytes from a size.

    >>> parse_size("2.5GB"), parse_size("700 MiB"), parse_size("4096")
    (2500000000, 734003200, 4096)

    Raises:
        ConfigError: When it is no size, or zero.
    """
    match = _SIZE.match(text)
    size = int(float(match[1].replace("_", "")) * (1024 if match[3] else 1000) ** _UNITS[match[2].lower()]) if match else 0
    if size < 1:
        raise ConfigError(name, [f"{text!r} is no size"], "Write it as 2.5GB, 700MB or a number of bytes.")
    return size
