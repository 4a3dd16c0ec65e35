"""Few settings for each kernel of a library, so that it starts in a minute. Stand-ins for Triton's classes: there is no GPU here."""

from __future__ import annotations

import itertools
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from whelp.model.rwkv.kernel_tuning import choose_settings, limit_tuning


@dataclass(frozen=True)
class Config:
    kwargs: dict[str, int] = field(hash=False)
    num_warps: int = 4
    num_stages: int = 2


class Tuner:
    __module__ = "triton.runtime.autotuner"

    def __init__(self, configs: list[Config]) -> None:
        self.configs = configs


class LibrarysTuner(Tuner):
    __module__ = "a_library.cache"


class Wrapper:
    __module__ = "triton.runtime.autotuner"

    def __init__(self, fn: Any) -> None:
        self.fn = fn


def make_configs(tiles: list[dict[str, int]], warps: tuple[int, ...], stages: tuple[int, ...] = (2, 3, 4)) -> list[Config]:
    return [Config(*parts) for parts in itertools.product(tiles, warps, stages)]


@pytest.mark.parametrize(
    ("configs", "expected"),
    [
        (make_configs([{}], (2, 4, 8, 16)), [({}, 4, 2), ({}, 8, 2)]),
        (make_configs([{"BK": 32}, {"BK": 64}, {"BK": 128}], (4, 8)), [({"BK": 64}, 4, 2), ({"BK": 64}, 8, 2)]),
        (make_configs([{"BK": 64, "BV": 16}, {"BK": 64, "BV": 128}], (4,)), [({"BK": 64, "BV": 16}, 4, 2)]),
        (make_configs([{"B": 1024}, {"B": 512}], (1, 2, 16), (3,)), [({"B": 512}, 1, 3)]),
    ],
)
def test_what_is_left(configs: list[Config], expected: list[tuple[dict[str, int], int, int]]) -> None:
    """The widest tile that a head fills, the fewest stages, four and eight warps; and never nothing."""
    found = choose_settings(configs)
    assert [(one.kwargs, one.num_warps, one.num_stages) for one in found] == expected
    assert choose_settings(found) == found


@pytest.fixture
def kernels(monkeypatch: pytest.MonkeyPatch) -> dict[str, Tuner]:
    """A library with a kernel that is wrapped and imported twice, one of its own class, and one in another package."""
    tuners = {name: kind(make_configs([{}], (4, 8, 16))) for name, kind in (("a", Tuner), ("b", LibrarysTuner), ("c", Tuner))}
    contents = {
        "a_library": {"number": 3, "none": None, "configs": [1, 2]},
        "a_library.ops": {"a": Wrapper(Wrapper(tuners["a"])), "b": tuners["b"]},
        "a_library.ops.more": {"again": tuners["a"], "wrapped": Wrapper(None)},
        "a_library_of_others": {"c": tuners["c"]},
    }
    for name, values in contents.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return tuners


def test_the_kernels_of_a_package(kernels: dict[str, Tuner]) -> None:
    """Each once, however it is wrapped; others are left alone."""
    assert limit_tuning("a_library") == (18, 4)
    assert limit_tuning("a_library") == (4, 4)
    assert [len(kernel.configs) for kernel in kernels.values()] == [2, 2, 9]


def test_all_settings_on_demand(kernels: dict[str, Tuner], monkeypatch: pytest.MonkeyPatch) -> None:
    """`WHELP_TUNE_KERNELS=full`."""
    monkeypatch.setenv("WHELP_TUNE_KERNELS", "full")
    assert limit_tuning("a_library") == (18, 18)
