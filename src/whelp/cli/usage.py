"""The groups of commands, and what the terminal says to `--help` and to wrong usage: without jargon, and with a suggestion."""

from __future__ import annotations

import difflib
import functools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, cast

import typer
from typer.core import TyperCommand, TyperGroup

from whelp.base.paths import as_path
from whelp.cli.help_text import make_help
from whelp.cli.words_elsewhere import COMMANDS, explain_option

_WRONG = 2  # the exit code
_JARGON = "Value error, "
_PLAIN = {
    "Input should be a valid integer, unable to parse string as an integer": "This is not a whole number.",
    "Input should be a valid number, unable to parse string as a number": "This is not a number.",
}
_WrongUsage: type[Exception] = cast(Any, typer.BadParameter.__bases__[0])  # the library has no public name for it
_CHOICE = re.compile(r"^'(?P<given>.*)' is not one of (?P<known>'.*')\.$")


class _Helpful:
    """What commands and groups of them share: how they say what they are."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the whole help."""
        formatter.write(make_help(self, ctx))

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what was typed; what is wrong with it is known to be of this command."""
        try:
            return cast(list[str], super().parse_args(ctx, args))  # type: ignore[misc]  # of the library's class beside this one
        except _WrongUsage as error:
            error.ctx = error.ctx or ctx  # type: ignore[attr-defined]
            raise

    def get_help_option(self, ctx: Any) -> Any:
        """The option --help, which is false where it is not given: for None, the library imports its checker of types."""
        option = super().get_help_option(ctx)  # type: ignore[misc]  # of the library's class beside this one
        if option is not None:
            option.default, option.help = False, "Show this."
        return option


class _TeachingCommand(_Helpful, TyperCommand):
    pass


class _TeachingGroup(_Helpful, TyperGroup):
    """The commands; what is wrong with the words that were typed is explained before it is said."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Run a command, and leave with its exit code."""
        try:
            code = super().main(*args, **{**options, "standalone_mode": False})
        except _WrongUsage as error:
            _fail(error)
        sys.exit(code if isinstance(code, int) else 0)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read what stands before the command; without any, show which there are."""
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit(_WRONG)
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that was asked for; of those that other programs have, say what it is here."""
        try:
            return super().resolve_command(ctx, args)
        except _WrongUsage as error:
            here = COMMANDS.get(args[0])
            if here is not None:
                error.message = f"No such command '{args[0]}'. Here it is: whelp {here}"  # type: ignore[attr-defined]
            raise


class Commands(typer.Typer):
    """A group of commands, each with our help."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            cls=_TeachingGroup,
            rich_markup_mode=None,
            add_completion=False,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"]},
            **options,
        )

    def command(self, name: str | None = None, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # type: ignore[override]
        """Make a command of a function; paths come to it as `as_path` gives them, also where a shell leaves `~` as it is."""
        register = super().command(name, cls=_TeachingCommand, **options)

        def make(function: Callable[..., Any]) -> Callable[..., Any]:
            @functools.wraps(function)
            def run(**values: Any) -> Any:
                return function(**{name: _expand(value) for name, value in values.items()})

            register(run)
            return function

        return make


def _expand(value: Any) -> Any:
    if isinstance(value, list):
        return [_expand(one) for one in value]
    return as_path(value) if isinstance(value, Path) else value


def _fail(error: Any) -> NoReturn:
    """Say in one line what is wrong with what was typed, and where it is told how it goes."""
    command = getattr(error.ctx, "command_path", "whelp")
    if isinstance(error, typer.BadParameter):
        error.message = explain(error.message)
    _explain_unknown(error)
    hint = getattr(error, "param_hint", None)
    if (
        isinstance(error, typer.BadParameter) and isinstance(hint, str) and error.param is None
    ):  # it comes from a command of ours
        said = f"{hint}{'' if error.message.startswith('is ') else ':'} {error.message}"
    else:
        said = error.format_message()
    if not said.endswith((".", "?", "!")):
        said += "."
    sys.stderr.write(f"error: {said} `{command} --help` says how it goes.\n")
    sys.exit(_WRONG)


def _explain_unknown(error: Any) -> None:
    """Of an option that no command has, say where it is in the recipe, to a command that takes one."""
    name, command = getattr(error, "option_name", None), getattr(error.ctx, "command", None)
    if name is None or not any(parameter.name == "overrides" for parameter in getattr(command, "params", ())):
        return
    here = explain_option(name)
    if here is not None:
        error.message, error.possibilities = f"{error.message}. {here}", None


def explain(message: str) -> str:
    """A message about a wrong value, for people.

    >>> explain("Value error, 'onx' is not one of 'hf', 'gguf', 'onnx'.")
    "'onx' is not one of 'hf', 'gguf', 'onnx'. Did you mean 'onnx'?"
    >>> explain("Input should be a valid integer, unable to parse string as an integer")
    'This is not a whole number.'
    """
    plain = _PLAIN.get(message, message.removeprefix(_JARGON)).replace("Input should be", "This must be")
    found = _CHOICE.match(plain)
    if found is None:
        return plain
    near = difflib.get_close_matches(found["given"], re.findall("'([^']*)'", found["known"]), n=1)
    return f"{plain} Did you mean '{near[0]}'?" if near else plain
