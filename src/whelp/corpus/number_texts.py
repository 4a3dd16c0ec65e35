"""Whole numbers, and true and false, as text: the same text whichever format they come from.

Numbers with a fraction or an exponent have no such text: 0.1 of 32 bits is 0.10000000149011612 of 64, and 7.0, 7 and 7e0 are one number.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa


def holds_numbers(kind: pa.DataType) -> bool:
    """Whether an Arrow type is of whole numbers, or of true and false."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_integer(kind) or pa.types.is_boolean(kind))


def is_number(value: Any) -> bool:
    """Whether a value of parsed JSON is a whole number, or true or false."""
    return isinstance(value, int)


def write_number(value: int) -> str:
    """A whole number in decimal digits; true and false as JSON writes them.

    >>> write_number(-7), write_number(True)
    ('-7', 'true')
    """
    return str(value).lower()


def write_numbers(values: pa.Array) -> pa.LargeStringArray:
    """As `write_number`, of an array; null stays null.

    >>> write_numbers(pa.array([7, None], pa.int8())).to_pylist(), write_numbers(pa.array([True])).to_pylist()
    (['7', None], ['true'])
    """
    values = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
    return values.cast(pa.large_string())


def count_numbers(name: str, values: pa.Array) -> Counter[str]:
    """Notes of how many values of a column become text by `write_numbers`."""
    if not holds_numbers(values.type):
        return Counter()
    kind = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    count = len(values) - values.null_count
    return Counter({name_note(name, is_truth=pa.types.is_boolean(kind)): count} if count else {})


def name_note(name: str, *, is_truth: bool) -> str:
    """What values of a column that became text are counted as.

    >>> name_note("label", is_truth=False)
    'column label: whole numbers, read as text'
    """
    return f"column {name}: {'true or false' if is_truth else 'whole numbers'}, read as text"
