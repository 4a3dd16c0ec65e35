"""Whether somebody looks on while this process works: at a prompt of Python, or at a notebook."""

from __future__ import annotations

import sys
import threading
from typing import Any

_NOTEBOOK_SHELL = "ZMQInteractiveShell"  # Jupyter's; those of others derive from it
_asked: bool | None = None


def show_progress(is_wanted: bool | None = None) -> None:
    """Say whether calls that take long tell how they get on, as the commands of the terminal do.

    Args:
        is_wanted: True: they do, also in a script. False: they do not, anywhere. None, as it is without this call: they do in a
            notebook and at a prompt, but not in a thread.
    """
    global _asked
    _asked = is_wanted


def shows_progress() -> bool:
    """Whether calls tell how they get on."""
    if _asked is not None:
        return _asked
    is_interactive = hasattr(sys, "ps1") or _find_shell() is not None
    return is_interactive and threading.current_thread() is threading.main_thread()


def is_notebook() -> bool:
    """Whether what is printed goes into a notebook, and not to a terminal."""
    shell = _find_shell()
    return any(kind.__name__ == _NOTEBOOK_SHELL for kind in type(shell).__mro__)


def _find_shell() -> Any:
    """The shell of IPython in which this runs; None where there is none, and then IPython is not imported."""
    found = sys.modules.get("IPython")
    return found.get_ipython() if found is not None and hasattr(found, "get_ipython") else None
