"""What the terminal says to wrong usage: the library's words, without its jargon and with a suggestion."""

from __future__ import annotations

import difflib
import re
from typing import Any

import typer
from typer.core import TyperGroup

_JARGON = "Value error, "
_PLAIN = {
    "Input should be a valid integer, unable to parse string as an integer": "This is not a whole number.",
    "Input should be a valid number, unable to parse string as a number": "This is not a number.",
}
_CHOICE = re.compile(r"^'(?P<given>.*)' is not one of (?P<known>'.*')\.$")


class TeachingGroup(TyperGroup):
    """The commands; a wrong value of one of their options is explained before it is shown."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = explain(error.message)
            raise


def explain(message: str) -> str:
    """A message about a wrong value, for people.

    >>> explain("Value error, 'onx' is not one of 'hf', 'gguf', 'onnx'.")
    "'onx' is not one of 'hf', 'gguf', 'onnx'. Did you mean 'onnx'?"
    >>> explain("Input should be a valid integer, unable to parse string as an integer")
    'This is not a whole number.'
    """
    plain = _PLAIN.get(message, message.removeprefix(_JARGON))
    found = _CHOICE.match(plain)
    if found is None:
        return plain
    near = difflib.get_close_matches(found["given"], re.findall("'([^']*)'", found["known"]), n=1)
    return f"{plain} Did you mean '{near[0]}'?" if near else plain
