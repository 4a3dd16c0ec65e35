"""Write the pages that come from the code: docs/options.md from `whelp schema`, docs/commands.md from the command line.

The table of docs/infctx.md comes from the code in the same way. Run `python docs/make_options.py` after changing an option of a recipe
or of a command; `python docs/make_options.py --check` fails when a page is old.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import make_commands

import whelp
from whelp.cli.infctx_options import make_table as make_infctx_table

PAGE = Path(__file__).with_name("options.md")
COMMANDS_PAGE = Path(__file__).with_name("commands.md")
INFCTX_PAGE = Path(__file__).with_name("infctx.md")
MARKS = ("<!-- options -->\n", "\n<!-- end of options -->")
HEAD = """<!-- Written by docs/make_options.py from `whelp schema`; do not edit. -->

# Options

Every option of a recipe, with its default and range. How recipes work is told in [Recipes](recipes.md); `whelp schema` has the same
for editors.
"""


def make_page(schema: dict[str, Any]) -> str:
    """The whole page as Markdown."""
    return HEAD + "".join(_make_table(name, entry) for name, entry in schema["properties"].items())


def _make_table(path: str, entry: dict[str, Any], above: dict[str, Any] | None = None) -> str:
    """A section; options that the section above has, too, are left out, and a sentence names it."""
    rows, below = [], []
    shared = [name for name, field in entry["properties"].items() if above is not None and above.get(name) == field]
    for name, field in entry["properties"].items():
        if name in shared:
            continue
        rows.append(
            f"| `{name}` | {_describe_type(field)} | {_describe_default(field)} | {_clean(field.get('description', ''))} |"
        )
        kinds = [kind.get("items", kind) for kind in field.get("anyOf", [field])]
        inner = next((kind for kind in kinds if "properties" in kind), None)
        if inner is not None:
            below.append(_make_table(f"{path}.{name}", inner, entry["properties"]))
    about = _clean(entry.get("description", ""))
    lead = f"\n{about[:1].upper()}{about[1:]}.\n" if about else ""
    if shared:
        section = path.rpartition(".")[0]
        others = " and ".join(f"`{name}`" for name in above or {} if name not in entry["properties"])
        lead += f"\nAn entry also takes the options of `{section}`, all but {others}; without them it is as `{section}` says.\n"
    table = "\n".join(["| option | value | default | meaning |", "|---|---|---|---|", *rows])
    return f"\n## `{path}`\n{lead}\n{table}\n" + "".join(below)


def _describe_type(field: dict[str, Any]) -> str:
    kinds = [kind for kind in field.get("anyOf", [field]) if kind.get("type") != "null"]
    names = {"integer": "whole number", "number": "number", "string": "text", "boolean": "true or false", "object": "a mapping"}
    words = []
    for kind in kinds:
        if "enum" in kind:
            words.append(", ".join(f"`{choice}`" for choice in kind["enum"]))
        elif kind.get("type") == "array":
            words.append("list")
        else:
            of = kind["type"]
            words.append(names[of[0] if isinstance(of, list) else of])  # a number may be written so that YAML takes it for text
    if {"whole number", "number"} <= set(words):
        words.remove("whole number")
    low, high = field.get("minimum"), field.get("maximum")
    range_words = [f"from {low:g}"] if low is not None else []
    range_words += [f"to {high:g}"] if high is not None else []
    return " or ".join(words) + (f" {' '.join(range_words)}" if range_words else "")


def _describe_default(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "see below" if any("properties" in kind for kind in field.get("anyOf", [field])) else "empty"
    default = field["default"]
    if default is None:
        return "not set"
    if default == "":
        return "empty"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _clean(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


def make_infctx_page(page: str) -> str:
    """The page with its table as the code has it."""
    before, _, rest = page.partition(MARKS[0])
    return before + MARKS[0] + "\n" + make_infctx_table() + "\n" + MARKS[1] + rest.partition(MARKS[1])[2]


if __name__ == "__main__":
    pages = {
        PAGE: make_page(whelp.schema()),
        COMMANDS_PAGE: make_commands.make_page(),
        INFCTX_PAGE: make_infctx_page(INFCTX_PAGE.read_text(encoding="utf-8")),
    }
    for path, page in pages.items():
        if "--check" not in sys.argv[1:]:
            path.write_text(page, encoding="utf-8")
        elif not path.exists() or path.read_text(encoding="utf-8") != page:
            sys.exit(f"{path} is out of date: run `python docs/make_options.py`")
