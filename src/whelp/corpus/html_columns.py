"""Columns of HTML, read as the text that a page would show, as questions and posts of forums are kept."""

from __future__ import annotations

import html
import re
from collections import Counter

import numpy as np
import pyarrow as pa

from whelp.base.arrays import find_valid, to_arrow
from whelp.base.html_text import read_html
from whelp.corpus.any_values import is_any
from whelp.corpus.row_shape import is_turns

_TAG = re.compile(r"<[a-zA-Z/!]")
_HAS_ANY = re.compile(r"[<&]")


def read_html_column(name: str, values: pa.Array, counts: Counter[str]) -> pa.Array:
    """A column of text, or of turns whose fields are all read so; `counts` gets how many texts became others, and how many none.

    >>> read_html_column("body", pa.array(["<p>a &lt; b", "1 &lt; 2\\n3"], pa.large_string()), Counter()).to_pylist()
    ['a < b', '1 < 2\\n3']
    """
    if is_any(values.type):
        return values
    if not is_turns(values.type):
        return _read_texts(name, values, counts)
    turns = values.values
    fields = [_read_texts(name, turns.field(place), counts) for place in range(turns.type.num_fields)]
    mask = to_arrow(~find_valid(turns)) if turns.null_count else None
    whole = pa.StructArray.from_arrays(fields, fields=list(turns.type), mask=mask)
    offsets = values.offsets.slice(0, len(values) + 1)
    return pa.LargeListArray.from_arrays(offsets, whole, type=values.type, mask=to_arrow(~find_valid(values)))


def _read_texts(name: str, texts: pa.Array, counts: Counter[str]) -> pa.Array:
    before = texts.to_pylist()
    after = [None if text is None else _read(text) for text in before]
    is_other = np.fromiter((old != new for old, new in zip(before, after, strict=True)), np.bool_, len(before))
    if not is_other.any():
        return texts
    num_without = sum(not after[place] for place in np.flatnonzero(is_other))
    counts[f"column {name}: HTML, read as text"] += int(is_other.sum()) - num_without
    counts[f"column {name}: HTML without any text"] += num_without
    return pa.array(after, texts.type)


def _read(text: str) -> str:
    """What HTML shows. Without a tag, line ends are those of a text in which signs alone are written as HTML has them."""
    if not _HAS_ANY.search(text):
        return text
    return read_html(text).text if _TAG.search(text) else html.unescape(text)
