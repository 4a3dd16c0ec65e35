"""Control tokens that stand in somebody's text, letter by letter."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import to_arrow, to_numpy, view_text


class SpelledTokens:
    """Finds texts that spell a control token.

    Looking through 8 MB that spell none takes a thousandth of a second: an expression whose alternatives begin alike is looked for
    by its beginning, so there is one for each beginning.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        alike: dict[str, list[str]] = {}
        for token in tokens:
            if token:
                alike.setdefault(token[:2], []).append(re.escape(token))
        self._patterns = ["|".join(group) for group in alike.values()]

    def count_texts(self, texts: pa.LargeStringArray) -> int:
        """How many of the texts spell one of the tokens, or several."""
        data, offsets = view_text(texts)
        bounds = to_arrow(offsets[[0, -1]].astype(np.int64))
        joined = pa.LargeStringArray.from_buffers(1, bounds.buffers()[1], pa.py_buffer(data))
        found: npt.NDArray[np.bool_] | None = None
        for pattern in self._patterns:
            if pc.match_substring_regex(joined, pattern)[0].as_py():
                here = to_numpy(pc.match_substring_regex(texts, pattern))
                found = here if found is None else found | here
        return 0 if found is None else int(np.count_nonzero(found))
