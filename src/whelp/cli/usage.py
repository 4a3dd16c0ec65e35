"""What the terminal says to `--help`, soon, and to wrong usage: the library's words, without its jargon and with a suggestion."""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
import types
from collections.abc import Iterator
from typing import Any, cast

import typer
from typer.core import TyperGroup

from whelp.cli.words_elsewhere import COMMANDS, explain_option

_JARGON = "Value error, "
_PLAIN = {
    "Input should be a valid integer, unable to parse string as an integer": "This is not a whole number.",
    "Input should be a valid number, unable to parse string as a number": "This is not a number.",
}
_WrongUsage: type[Exception] = cast(Any, typer.BadParameter.__bases__[0])  # the library has no public name for it
_CHOICE = re.compile(r"^'(?P<given>.*)' is not one of (?P<known>'.*')\.$")


# What the library imports to show help, and uses only for Markdown and for tracebacks of its own, which there are none of
# here: Markdown's parser and Pygments, a fifth of the processor time of `whelp --help`.
_UNUSED = {"rich.markdown": "Markdown", "rich.traceback": "Traceback"}


class TeachingGroup(TyperGroup):
    """The commands; a wrong value of one of their options is explained before it is shown."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read the options; help, if that is asked for, is shown meanwhile."""
        if "typer.rich_utils" not in sys.modules and set(sys.argv) & {"--help", "-h"}:
            with contextlib.suppress(ImportError), _left_out(_UNUSED):  # where it needs more of them, it imports them itself
                import typer.rich_utils  # noqa: F401 (it is imported for what it imports)
        return super().make_context(*args, **options)

    def get_help_option(self, ctx: Any) -> Any:
        """The option --help, which is false where it is not given: for None, the library imports its checker of types."""
        option = super().get_help_option(ctx)
        if option is not None:
            option.default = False
        return option

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that was asked for; of those that other programs have, say what it is here."""
        try:
            return super().resolve_command(ctx, args)
        except _WrongUsage as error:
            here = COMMANDS.get(args[0])
            if here is not None:
                error.message = f"No such command '{args[0]}'. Here it is: whelp {here}"  # type: ignore[attr-defined]
            raise

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except typer.BadParameter as error:
            error.message = explain(error.message)
            raise
        except _WrongUsage as error:
            _explain_unknown(error)
            raise


def _explain_unknown(error: Any) -> None:
    """Of an option that no command has, say where it is in the recipe, to a command that takes one."""
    name, command = getattr(error, "option_name", None), getattr(error.ctx, "command", None)
    if name is None or not any(parameter.name == "overrides" for parameter in getattr(command, "params", ())):
        return
    here = explain_option(name)
    if here is not None:
        error.message, error.possibilities = f"{error.message}. {here}", None


@contextlib.contextmanager
def _left_out(classes: dict[str, str]) -> Iterator[None]:
    """Let modules of one class be imported in name alone, for as long as this lasts."""
    names = [name for name in classes if name not in sys.modules]
    for name in names:
        module = types.ModuleType(name)
        setattr(module, classes[name], type(classes[name], (), {}))
        sys.modules[name] = module
    try:
        yield
    finally:
        for name in names:
            del sys.modules[name]


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
