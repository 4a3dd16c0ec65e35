"""`whelp completion`: commands and options at the press of Tab."""

from __future__ import annotations

import json
import os
import sys
from enum import Enum
from typing import Annotated

import typer

VARIABLE = "_WHELP_COMPLETE"
"""Set by the shell's script when it asks what may come next."""
_NO_SPACE = """    [[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace 2> /dev/null
"""  # after an option of a recipe, whose value follows


class ShellName(Enum):
    """Shells that can be told."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"
    powershell = "powershell"


def completion(
    shell: Annotated[ShellName, typer.Argument(metavar="SHELL", help="bash, zsh, fish or powershell.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print the script as a field of one JSON object.")] = False,
) -> None:
    """Print the script that lets your shell complete commands, options, recipes and options of recipes with Tab.

    Where your shell reads it when it starts, as below; then open a new terminal: whelp tr[Tab], whelp train recipe.yaml train.le[Tab]

    bash:
      echo 'eval "$(whelp completion bash)"' >> ~/.bashrc

    zsh (after compinit):
      echo 'eval "$(whelp completion zsh)"' >> ~/.zshrc

    fish:
      whelp completion fish > ~/.config/fish/completions/whelp.fish

    powershell:
      whelp completion powershell >> $PROFILE
    """
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # said in its pages, not in its __all__

    script = get_completion_script(prog_name="whelp", complete_var=VARIABLE, shell=shell.value)
    if shell is ShellName.bash:
        script = script.replace("    return 0\n", f"{_NO_SPACE}    return 0\n")
    sys.stdout.write((json.dumps({"shell": shell.value, "script": script}) if as_json else script) + "\n")


def prepare_to_answer() -> None:
    """Make the library ready for the questions of a shell; nothing where no shell asks."""
    if VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # as above

        completion_init()
