"""Texts as gigatoken takes them without a Python object for each: as an array of awkward, over Arrow's own buffers.

gigatoken asks awkward for the bytes of all texts and for their lengths. Awkward finds that out by walking through its
layout, which takes as long as it takes to encode 50 kB of text, for every batch. These arrays answer by themselves, by awkward's
protocol for functions that are overloaded.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import awkward
import numpy as np
import numpy.typing as npt

_NAME = "whelp_texts"


class _Texts(awkward.Array):  # type: ignore[misc]  # awkward carries no types
    """Lists of bytes."""

    def __awkward_function__(self, function: Callable[..., Any], *rest: Any) -> Any:
        offsets = self.layout.offsets.data
        if function is awkward.without_parameters:
            return self
        if function is awkward.flatten:
            return _Numbers(self.layout.content.data[offsets[0] : offsets[-1]])
        if function is awkward.num:
            return _Numbers(np.diff(offsets))
        return NotImplemented  # an error: another version of gigatoken, which is then not taken


@dataclass(frozen=True)
class _Numbers:
    """What is made numpy's next."""

    values: npt.NDArray[Any]

    def __awkward_function__(self, function: Callable[..., Any], *rest: Any) -> Any:
        return self.values if function is awkward.to_numpy else NotImplemented


_BEHAVIOR = {_NAME: _Texts}


def as_awkward(data: npt.NDArray[np.uint8], offsets: npt.NDArray[np.int64]) -> Any:
    """Texts as an array of awkward: text i is `data[offsets[i]:offsets[i + 1]]`."""
    content = awkward.contents.NumpyArray(data)
    lists = awkward.contents.ListOffsetArray(awkward.index.Index64(offsets), content, parameters={"__list__": _NAME})
    return awkward.Array(lists, behavior=_BEHAVIOR)
