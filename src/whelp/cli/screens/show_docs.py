"""What people see of the documentation: a page, through the pager of a terminal, or lines that say where something is."""

from __future__ import annotations

import os

from rich.markdown import Markdown
from rich.markup import escape
from rich.pager import SystemPager
from rich.text import Text

from whelp.cli.docs import DocsResult
from whelp.cli.screens import show
from whelp.cli.screens.result_tables import open_output

_INDENT = "    "  # of what is found, below its place


def show_docs(result: DocsResult) -> None:
    """Draw it: a page goes to standard output, as it is written where that is no terminal."""
    console = open_output()
    if result.is_text:
        (section,) = result.sections
        if not console.is_terminal:
            console.file.write(section.text + "\n")
            return
        os.environ.setdefault("LESS", "-FRX")  # colours, and no pager for what fits the screen
        with console.pager(SystemPager(), styles=True):
            console.print(Markdown(section.text))
        return
    width = max(len(section.name) for section in result.sections)
    for section in result.sections:
        if result.asked:
            console.print(f"[bold]whelp docs {escape(section.name)}[/]")
            for line in Text(section.text, style="dim").wrap(console, console.width - len(_INDENT)):
                line.rstrip()
                console.print(Text(_INDENT) + line, soft_wrap=True)
        else:
            console.print(f"[bold]{escape(section.name):{width}}[/]  {escape(section.text)}", soft_wrap=not console.is_terminal)
    if not result.asked:
        show.say("[dim]whelp docs PAGE shows one, whelp docs WORDS looks for words[/]")
