"""One HTML file about a run: curves, the timeline of samples, the plan, the recipe. No script, no font, no network."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 240, 56, 28
STYLE = """
:root { color-scheme: light dark; --line: #2563eb; --other: #d97706; --grid: #8884; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 84rem; margin: 2rem auto; padding: 0 1rem; }
figure { display: inline-block; margin: 0 1rem 1.5rem 0; max-width: 100%; }
svg { max-width: 100%; height: auto; } text { font-size: 11px; fill: currentColor; }
pre { background: #8881; padding: .6rem; overflow-x: auto; white-space: pre-wrap; }
td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; }
"""

Points = Sequence[tuple[float, float]]


def make_run_report(
    title: str, recipe: str, plan: Mapping[str, Any], metrics: Iterable[Mapping[str, Any]], samples: Iterable[Mapping[str, Any]]
) -> str:
    """Draw a run.

    Args:
        recipe: The recipe as YAML.
        plan: Contents of `plan.json`'s plan.
        metrics: Records of `metrics.jsonl`.
        samples: Records of `samples.jsonl`.
    """
    records = list(metrics)
    train = [(record["step"], record["loss"]) for record in records if record.get("loss") is not None]
    test = [(record["step"], record["test_nats_per_token"]) for record in records if "test_nats_per_token" in record]
    charts = [
        _chart("Loss, nats per token (line: training batch, dots: test split)", train, test),
        _chart("Learning rate", _pick(records, "learning_rate")),
        _chart("Gradient norm", _pick(records, "gradient_norm")),
        _chart("Tokens per second", _pick(records, "tokens_per_second")),
    ]
    last = next((record for record in reversed(records) if "test_nats_per_token" in record), None)
    numbers = _table(
        {name.removeprefix("test_").replace("_", " "): value for name, value in last.items() if name.startswith("test_")}
        if last
        else {}
    )
    plan_table = _table({name.replace("_", " "): value for name, value in plan.items() if name != "warnings"})
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in plan.get("warnings", []))
    timeline = "".join(
        f"<tr><td>{sample['step']:,}</td><td><pre><b>{html.escape(sample['prompt'])}</b>{html.escape(sample['text'])}</pre></td></tr>"
        for sample in samples
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head><body>'
        f"<h1>{html.escape(title)}</h1><h2>Test split, at the end</h2>{numbers}<h2>Curves</h2>{''.join(charts)}"
        f"<h2>Samples</h2><table><tr><th>step</th><th>text</th></tr>{timeline}</table>"
        f"<h2>Plan</h2><ul>{notes}</ul>{plan_table}<h2>Recipe</h2><pre>{html.escape(recipe)}</pre></body></html>\n"
    )


def _pick(records: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(record["step"], record[name]) for record in records if record.get(name) is not None]


def _table(values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(show_number(value))}</td></tr>" for name, value in values.items()
    )
    return f"<table>{rows}</table>"


def show_number(value: Any) -> str:
    """A number as people read it; anything else as text."""
    if isinstance(value, float):
        return f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _label(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _chart(title: str, line: Points, dots: Points = ()) -> str:
    """A curve as SVG; nothing when there are no points."""
    points = [*line, *dots]
    if not points:
        return ""
    (left, right), (low, high) = ((min(axis), max(axis)) for axis in zip(*points, strict=True))
    across, up = (right - left) or 1.0, (high - low) or 1.0

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + (x - left) / across * (_WIDTH - _LEFT - 8),
            8 + (high - y) / up * (_HEIGHT - _BOTTOM - 8),
        )

    thinned = line[:: max(1, len(line) // 1000)]
    path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in thinned)
    marks = "".join('<circle cx="{:.1f}" cy="{:.1f}" r="3" fill="var(--other)"/>'.format(*place(x, y)) for x, y in dots)
    labels = ""
    for index in range(5):
        value = low + up * index / 4
        _, y = place(left, value)
        labels += f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--grid)"/>'
        labels += f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{_label(value)}</text>'
    ends = f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{left:,.0f}</text>'
    ends += f'<text x="{_WIDTH}" y="{_HEIGHT - 8}" text-anchor="end">step {right:,.0f}</text>'
    return (
        f'<figure><figcaption>{html.escape(title)}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" role="img" '
        f'aria-label="{html.escape(title)}: from {points[0][1]:.3g} to {points[-1][1]:.3g}">{labels}{ends}'
        f'<polyline points="{path}" fill="none" stroke="var(--line)" stroke-width="1.5"/>{marks}</svg></figure>'
    )
