"""One HTML file that sets models side by side: their losses, and what each says to the same prompts. No script, no network."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any

from whelp.report._page import make_page, write_number


def make_compare_report(
    title: str, models: Sequence[Mapping[str, Any]], prompts: Sequence[str], settings: Mapping[str, Any]
) -> str:
    """Draw a comparison.

    Args:
        models: Each with `name`, `numbers` (measurements by name; may be empty) and `texts`: for each prompt, a list of
            continuations.
        settings: How the continuations were made.
    """
    heads = "".join(f"<th>{html.escape(model['name'])}</th>" for model in models)
    names = list(dict.fromkeys(name for model in models for name in model["numbers"]))
    numbers = "".join(
        f"<tr><th>{html.escape(name.removeprefix('num_').replace('_', ' '))}</th>"
        + "".join(f"<td>{_show(model['numbers'].get(name))}</td>" for model in models)
        + "</tr>"
        for name in names
    )
    rows = ""
    for place, prompt in enumerate(prompts):
        cells = "".join(
            "<td>" + "".join(f"<pre>{html.escape(text)}</pre>" for text in model["texts"][place]) + "</td>" for model in models
        )
        rows += f"<tr><td><pre><b>{html.escape(prompt)}</b></pre></td>{cells}</tr>"
    sampled = ", ".join(f"{html.escape(name)} {html.escape(write_number(value))}" for name, value in settings.items())
    return make_page(
        title,
        (f'<h2>Numbers</h2><div class="wide"><table><tr><th></th>{heads}</tr>{numbers}</table></div>' if numbers else "")
        + (
            f'<h2>Texts</h2><p>{sampled}</p><div class="wide"><table><tr><th>prompt</th>{heads}</tr>{rows}</table></div>'
            if rows
            else ""
        ),
    )


def _show(value: Any) -> str:
    return "" if value is None else html.escape(write_number(value))
