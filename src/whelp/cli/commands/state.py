"""`whelp state`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from whelp.base.counts import say_count
from whelp.cli.commands.options import AsJson, Device, ModelPath, StateFile


def state(
    model: ModelPath,
    prompt: Annotated[str, typer.Option(metavar="TEXT", help="What to read; - reads standard input.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="Where the state goes: safetensors.")],
    before: StateFile = None,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Read a text once with an RWKV model and keep what it remembers, to go on from at once and as often as you like.

    Example:
      whelp state run --prompt "$(cat rules.txt)" --out rules.state

    Then, or with `whelp chat`:
      whelp generate run --state rules.state --prompt "Question: ..."
    """
    from rich.markup import escape

    from whelp.cli.screens import show
    from whelp.cli.state import save_state

    text = sys.stdin.read() if prompt == "-" else prompt
    result = save_state(model, text, out=out, state=before, device=device)
    if as_json:
        show.print_json(result)
        return
    show.say(
        f"[bold]{escape(result.file)}[/]: the state after {say_count(result.num_tokens, 'token')}, {show.megabytes(result.num_bytes)}"
    )
