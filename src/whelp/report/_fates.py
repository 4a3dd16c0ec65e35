"""Where the tokens of a split go: a bar and a table, the same on every page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

_FATES = (
    ("trained", "t", "a target once in a pass"),
    ("masked", "m", "in a row, but the store's mask says not to train it"),
    ("first", "o", "nothing before it to be predicted from"),
    ("cut", "x", "the rest of a document longer than a row"),
    ("dropped", "x", "in no row"),
)
FATES_STYLE = """
:root { --t: #05966930; --m: #d9770640; --o: #2563eb38; --p: #8883; --x: #db277740; }
@media (prefers-color-scheme: dark) { :root { --t: #34d3992e; --m: #fbbf2440; --o: #60a5fa50; } }
.t { background: var(--t); } .m { background: var(--m); border-bottom: 1px dashed; }
.o { background: var(--o); box-shadow: inset 2px 0 currentColor; }
.p { background: repeating-linear-gradient(45deg, var(--p) 0 4px, transparent 4px 8px); } .x { background: var(--x); }
.key { display: inline-block; border-radius: .2em; padding: 0 .5em; margin: 0 .6em .3em 0; }
.share { display: flex; height: .9rem; max-width: 44rem; margin: .3rem 0 .5rem; border-radius: .25rem; overflow: hidden; }
.share div { min-width: 1px; border: 0; box-shadow: none; }
"""


def draw_fates(ledger: Mapping[str, Any]) -> str:
    """A line for each fate that a token of the split has, and how much is padding; `ledger` is that of a packing plan."""
    shown = [(name, style, meaning) for name, style, meaning in _FATES if ledger[name] or name == "trained"]
    lines = "".join(
        f'<tr><th><span class="key {style}">{name}</span></th><td class="number">{ledger[name]:,}</td>'
        f'<td class="number">{ledger[f"{name}_share"]:.2%}</td><td class="dim">{meaning}</td></tr>'
        for name, style, meaning in shown
    )
    bar = draw_shares((style, ledger[f"{name}_share"], name) for name, style, _ in shown)
    padding = f"<p>{ledger['padding_share']:.2%} of all positions are padding.</p>"
    return f'{bar}<div class="wide"><table>{lines}</table></div>{padding}'


def draw_shares(parts: Iterable[tuple[str, float, str]]) -> str:
    """One bar of (class, share, name)."""
    cells = "".join(
        f'<div class="{style}" style="width:{share:.2%}" title="{name} {share:.2%}"></div>'
        for style, share, name in parts
        if share
    )
    return f'<div class="share">{cells}</div>'
