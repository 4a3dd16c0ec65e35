"""Numbers with their nouns, as people write them."""

from __future__ import annotations


def say_count(number: int, noun: str) -> str:
    """A number with its noun, in the plural where it is not one.

    >>> say_count(1, "document"), say_count(0, "row"), say_count(12_345, "batch"), say_count(2, "query")
    ('1 document', '0 rows', '12,345 batches', '2 queries')
    """
    if number == 1:
        return f"1 {noun}"
    if noun.endswith(("s", "x", "ch", "sh")):
        noun = f"{noun}es"
    elif noun.endswith("y") and noun[-2] not in "aeiou":
        noun = f"{noun[:-1]}ies"
    else:
        noun = f"{noun}s"
    return f"{number:,} {noun}"
