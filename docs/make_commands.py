"""The page docs/commands.md: every command with its arguments, options and examples, as the command line itself has them.

`python docs/make_options.py` writes it, and `--check` compares it.
"""

from __future__ import annotations

import enum
import textwrap
from collections.abc import Iterator
from typing import Any

import typer

from whelp.cli.help_text import describe_argument, list_choices, split_paragraphs
from whelp.cli.main import app

HEAD = """<!-- Written by docs/make_options.py from the command line; do not edit. -->

# Commands

Every command with its options, as `whelp COMMAND --help` prints them. Which one to take is told in [Choosing](choosing.md).

- `[section.field=value ...]` replaces single options of the recipe; all of these are in [Options](options.md).
- RECIPE is a YAML file, the name of a shipped recipe, or a folder with a `recipe.yaml` ([Recipes](recipes.md)). STORE is what `whelp prepare`
  writes, RUN what `whelp train` writes. MODEL is a RUN, one of its checkpoints, or a Hugging Face model folder.
- Every command takes `--json`: one JSON value on standard output, the result, and nothing else there.
- Exit codes: 0 done, 1 you can mend it, 2 wrong usage, 130 interrupted ([Errors](errors.md)).
"""
TITLES = {"Example:", "Another:", "Then:"}


def make_page() -> str:
    """The whole page as Markdown: a table of the commands, then one section each, grouped as `whelp --help` groups them."""
    commands = list(_iter_commands(typer.main.get_command(app), "whelp"))
    parts = [HEAD]
    for panel in dict.fromkeys(panel for panel, _, _ in commands):
        lines = [f"\n## {panel}\n\n| command | what it does |\n|---|---|"]
        inside = [(path, command) for its_panel, path, command in commands if its_panel == panel]
        lines += [f"| [`{path}`](#{_anchor(path)}) | {_cell(split_paragraphs(command.help)[0])} |" for path, command in inside]
        parts += ["\n".join(lines) + "\n", *(_make_section(path, command) for path, command in inside)]
    return "".join(parts)


def _iter_commands(group: Any, path: str, panel: str = "") -> Iterator[tuple[str, str, Any]]:
    """The panel, the words typed, and the command, of all that can be run."""
    for name, command in group.commands.items():
        its_panel = panel or command.rich_help_panel
        if hasattr(command, "commands"):
            yield from _iter_commands(command, f"{path} {name}", its_panel)
        else:
            yield its_panel, f"{path} {name}", command


def _make_section(path: str, command: Any) -> str:
    parameters = [parameter for parameter in command.params if parameter.name not in {"json_output", "as_json", "json"}]
    usage = [describe_argument(each) for each in parameters if each.param_type_name == "argument"]
    usage += [
        f"{each.opts[0]} {_name_value(each)}" for each in parameters if each.param_type_name == "option" and each.required
    ]
    lines = [f"\n### `{path}`\n", "```text", " ".join([path, *usage, "[OPTIONS]"]), "```"]
    texts, examples = [], []
    for paragraph in split_paragraphs(command.help):
        title, _, body = paragraph.partition("\n")
        if body.startswith("  "):
            shown = "" if title in TITLES else f"# {title.removesuffix(':')}\n"
            examples.append(shown + textwrap.dedent(body))
        else:
            texts.append(paragraph.replace("<", "&lt;"))
    lines += [f"\n{text}" for text in texts]
    if examples:
        lines += ["\n```bash", "\n\n".join(examples), "```"]
    if parameters:
        lines += ["\n| option | value | default | meaning |", "|---|---|---|---|", *map(_make_row, parameters)]
    return "\n".join(lines) + "\n"


def _make_row(parameter: Any) -> str:
    is_argument = parameter.param_type_name == "argument"
    is_flag = not is_argument and parameter.is_flag
    name = describe_argument(parameter) if is_argument else ", ".join([*parameter.opts, *parameter.secondary_opts])
    value = "" if is_argument or is_flag else _name_value(parameter)
    default = parameter.default.value if isinstance(parameter.default, enum.Enum) else parameter.default
    if parameter.required:
        shown = "must be given"
    elif default is None or default is False or default == "":
        shown = ""
    else:
        shown = f"`{parameter.opts[0] if is_flag else default}`"
    return f"| `{name}` | {_cell(value)} | {_cell(shown)} | {_cell(parameter.help or '')} |"


def _name_value(parameter: Any) -> str:
    """What stands after the option: the choices where there are some, else its name."""
    return ", ".join(list_choices(parameter)) or str(parameter.metavar or "")


def _anchor(path: str) -> str:
    return path.replace(" ", "-")


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").replace("<", "&lt;").split())
