"""What a rule answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.curate.texts import Mask, Texts

KEEP = -1


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """For every text KEEP or the number of a reason; where a rule changes texts, the new ones, and how many it changed of what."""

    codes: npt.NDArray[np.int16]
    reasons: tuple[str, ...] = ()
    texts: pa.LargeStringArray | None = None
    changes: dict[str, int] = field(default_factory=dict)


class Rule(Protocol):
    """Judges texts, and may change them."""

    def apply(self, texts: Texts) -> Outcome:
        """Answer for each text."""
        ...


def judge(num_texts: int, checks: Sequence[tuple[str, Mask]]) -> Outcome:
    """Each text gets the first of the reasons that hold for it."""
    codes = np.full(num_texts, KEEP, np.int16)
    for number, (_, holds) in reversed(list(enumerate(checks))):
        codes[holds] = number
    return Outcome(codes=codes, reasons=tuple(reason for reason, _ in checks))


def keep_all(num_texts: int, texts: pa.LargeStringArray | None = None, changes: dict[str, int] | None = None) -> Outcome:
    """The answer of a rule that only changes texts."""
    return Outcome(codes=np.full(num_texts, KEEP, np.int16), texts=texts, changes=changes or {})


def share(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """part / whole, and 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(len(part)), where=whole != 0)
