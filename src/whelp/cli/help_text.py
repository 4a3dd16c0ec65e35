"""What `--help` says: how a command is called, what it does, examples, and a list of its options, in the width of the terminal.

The library's own would cut long names, break examples, and take a third of a second to import what draws its frames.
"""

from __future__ import annotations

import enum
import os
import re
import shutil
import textwrap
import typing
from collections.abc import Iterator, Sequence
from typing import Any

import typer

_NARROWEST, _WIDEST = 40, 100  # columns: no text reads well beyond
_WIDEST_NAMES = 30
_INDENT, _GAP = 2, 2
_Entries = list[tuple[str, str]]  # names, and what they mean
_Panels = dict[str, _Entries]


def make_help(command: Any, context: Any) -> str:
    """All that is said of a command, or of a group of them; with colors that the library leaves out where they cannot be shown."""
    width = min(max(shutil.get_terminal_size().columns, _NARROWEST), _WIDEST)
    usage = ["Usage:", context.command_path, *_list_usage(command)]
    parts = [_fill(" ".join(usage), width, hanging=len("Usage: ")), *_wrap_text(command.help or "", width)]
    for panels in (_list_commands(command), *_list_parameters(command, context)):
        column = _find_column([name for entries in panels.values() for name, _ in entries], width)
        parts += [_make_list(title, entries, column, width) for title, entries in panels.items()]
    return "\n\n".join(parts) + "\n"


def describe_argument(parameter: Any) -> str:
    """How an argument is called."""
    name = str(parameter.metavar or parameter.name.upper())
    return name if parameter.nargs == 1 or "..." in name else f"{name}..."


def describe_value(parameter: Any) -> str:
    """What stands after an option: what its values are called, or the choices, `a|b`; nothing after a flag."""
    if parameter.is_flag:
        return ""
    return str(parameter.metavar or "|".join(list_choices(parameter)) or parameter.name.upper())


def list_choices(parameter: Any) -> list[str]:
    """The words that a parameter may be; none where it may be anything."""
    described = getattr(parameter, "type_descriptor", None)
    kind = described.annotation if described is not None else getattr(parameter.type, "choices", ())
    if typing.get_origin(kind) is typing.Literal:
        choices: Sequence[Any] = typing.get_args(kind)
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        choices = list(kind)
    else:
        choices = kind if isinstance(kind, (list, tuple)) else ()
    return [str(getattr(choice, "value", choice)) for choice in choices]


def split_paragraphs(text: str) -> list[str]:
    """Of a help text, as it is written in the code."""
    return re.split(r"\n\s*\n", text.strip())


def _list_usage(command: Any) -> Iterator[str]:
    if hasattr(command, "commands"):
        yield "COMMAND ..."
        return
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            name = describe_argument(parameter)
            yield name if parameter.required or name.startswith("[") else f"[{name}]"
        elif parameter.required:
            yield f"{parameter.opts[0]} {describe_value(parameter)}"
    yield "[OPTIONS]"


def _list_commands(group: Any) -> _Panels:
    """What can be run, by the title that it stands under; nothing of a command."""
    panels: _Panels = {}
    for name, command in getattr(group, "commands", {}).items():
        about = " ".join(split_paragraphs(command.help or "")[0].split())
        panels.setdefault(command.rich_help_panel or "Commands", []).append((name, about))
    return panels


def _list_parameters(command: Any, context: Any) -> tuple[_Panels, _Panels]:
    """Arguments, and options, by the title that they stand under."""
    arguments: _Panels = {}
    options: _Panels = {"Options": []}
    for parameter in command.get_params(context):
        panel = getattr(parameter, "rich_help_panel", None)
        if parameter.param_type_name == "argument":
            arguments.setdefault(panel or "Arguments", []).append((describe_argument(parameter), _describe(parameter)))
        else:
            options.setdefault(panel or "Options", []).append((_name_option(parameter), _describe(parameter)))
    return arguments, options


def _name_option(parameter: Any) -> str:
    """`-q, --quiet`; `--out DIR`; `--n_layer N`: of two spellings of a word one is enough."""
    spellings: dict[str, str] = {}
    for option in [*parameter.opts, *parameter.secondary_opts]:
        spellings.setdefault(option.replace("_", "-"), option)
    names = sorted(spellings.values(), key=lambda name: name.startswith("--"))
    return " ".join(filter(None, [", ".join(names), describe_value(parameter)]))


def _describe(parameter: Any) -> str:
    """The help of a parameter, then what it is where it is not given."""
    about = [" ".join((parameter.help or "").split())]
    low, high = (getattr(parameter, end, None) for end in ("min", "max"))
    default = parameter.default() if callable(parameter.default) else parameter.default
    is_option = parameter.param_type_name == "option"
    if parameter.required and is_option:
        about.append("Needed.")
    if low is not None and high is not None:
        about.append(f"From {low:g} to {high:g}.")
    elif low:
        about.append(f"At least {low:g}.")
    if parameter.show_default and not (default in (None, "", ()) or parameter.required or (is_option and parameter.is_flag)):
        shown = getattr(default, "value", default)
        about.append(f"Default: {f'{shown:g}' if isinstance(shown, float) else shown}.")
    if getattr(parameter, "envvar", None):
        about.append(f"Or the variable {parameter.envvar}.")
    return " ".join(about)


def _find_column(names: Sequence[str], width: int) -> int:
    """Where meanings begin: right of all names but very long ones."""
    longest = min(_WIDEST_NAMES, width * 2 // 5)
    return _INDENT + max((len(name) for name in names if len(name) <= longest), default=longest) + _GAP


def _make_list(title: str, entries: _Entries, column: int, width: int) -> str:
    """Names at the left, their meanings beside them; below a name that is too long for that."""
    lines = [_style(title, bold=True)]
    for name, about in entries:
        place, shown = " " * column, f"{' ' * _INDENT}{_style(name, fg=typer.colors.CYAN)}"
        described = textwrap.wrap(about, width, initial_indent=place, subsequent_indent=place, **_WHOLE_WORDS)
        if described and len(name) + _INDENT + _GAP <= column:
            shown += " " * (column - _INDENT - len(name)) + described.pop(0)[column:]
        lines += [shown, *described]
    return "\n".join(lines)


_WHOLE_WORDS: Any = {"break_long_words": False, "break_on_hyphens": False}


def _wrap_text(text: str, width: int) -> Iterator[str]:
    """The paragraphs of a help text: sentences filled, and lines that stand in, which are to be copied, as they are."""
    for paragraph in split_paragraphs(textwrap.dedent(text)):
        lines = paragraph.splitlines()
        num_sentences = next((place for place, line in enumerate(lines) if line.startswith(" ")), len(lines))
        filled = [_fill(" ".join(lines[:num_sentences]), width)] if num_sentences else []
        yield "\n".join([*filled, *lines[num_sentences:]])


def _fill(text: str, width: int, hanging: int = 0) -> str:
    return textwrap.fill(text, width, subsequent_indent=" " * hanging, **_WHOLE_WORDS)


def _style(text: str, **style: Any) -> str:
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return text
    return typer.style(text, **style)
