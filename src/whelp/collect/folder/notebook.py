"""Jupyter notebooks: text and code, without what running it gave."""

from __future__ import annotations

import json
from typing import Any

from whelp.collect.left_out import LeftOut


def read_notebook(text: str) -> str:
    """Make text of a notebook: its cells, separated by a blank line; code stands between fences.

    Raises:
        LeftOut: When it is no notebook.
    """
    try:
        notebook = json.loads(text)
        cells = notebook["cells"] if "cells" in notebook else notebook["worksheets"][0]["cells"]  # version 4, version 3
        language = str(notebook.get("metadata", {}).get("language_info", {}).get("name", ""))
        shown = [_show(cell, language) for cell in cells]
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError) as error:
        raise LeftOut("damaged", f"not a notebook ({type(error).__name__})") from None
    return "\n\n".join(cell for cell in shown if cell)


def _show(cell: dict[str, Any], language: str) -> str:
    source = cell.get("source", cell.get("input", ""))
    text = ("".join(source) if isinstance(source, list) else str(source)).strip("\n")
    if not text.strip():
        return ""
    return f"```{language}\n{text}\n```" if cell["cell_type"] == "code" else text
