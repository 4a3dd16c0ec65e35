"""How long a Triton kernel of a library takes to start: it compiles and times each of its settings at first use.

flash-linear-attention 0.6 offers 424 settings for the 13 kernels of RWKV-7, at a second or more each; four and eight warps with
the widest tile up to 64 are 27, and what they are chosen from differs little. Triton keeps what it chose on disk.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Any

_WARPS = (4, 8)
_WIDEST_TILE = 64  # a head's width; wider ones read past it


def limit_tuning(*packages: str) -> tuple[int, int]:
    """Leave few settings to every kernel in the loaded modules of packages: (settings before, settings after).

    `WHELP_TUNE_KERNELS=full` leaves all of them.
    """
    before = after = 0
    for kernel in _iter_tuners(packages):
        few = kernel.configs if os.environ.get("WHELP_TUNE_KERNELS") == "full" else choose_settings(kernel.configs)
        before, after = before + len(kernel.configs), after + len(few)
        kernel.configs = few
    return before, after


def choose_settings(configs: Sequence[Any]) -> list[Any]:
    """Of settings (Triton's `Config`) those with the widest tile, the fewest stages and four or eight warps; one at least."""
    fitting = [config for config in configs if all(size <= _WIDEST_TILE for size in _tile(config))]
    widest = max((_tile(config) for config in fitting), key=sum, default=min(map(_tile, configs), key=sum))
    alike = [config for config in configs if _tile(config) == widest]
    fewest = min(config.num_stages for config in alike)
    alike = [config for config in alike if config.num_stages == fewest]
    return [config for config in alike if config.num_warps in _WARPS] or alike[:1]


def _tile(config: Any) -> tuple[int, ...]:
    return tuple(value for value in config.kwargs.values() if isinstance(value, int) and not isinstance(value, bool))


def _iter_tuners(packages: tuple[str, ...]) -> Iterator[Any]:
    """Each tuned kernel once: it may be wrapped, and imported by several modules."""
    seen = set()
    for name, module in list(sys.modules.items()):
        if not any(name == package or name.startswith(f"{package}.") for package in packages):
            continue
        for value in list(vars(module).values()):
            while _is_tritons(value) and not hasattr(value, "configs"):
                value = getattr(value, "fn", None)
            if _is_tritons(value) and id(value) not in seen:
                seen.add(id(value))
                yield value


def _is_tritons(value: Any) -> bool:
    """Whether a class of Triton's, or one made of it, is what something is of."""
    return any(kind.__module__.startswith("triton.") for kind in type(value).__mro__)
