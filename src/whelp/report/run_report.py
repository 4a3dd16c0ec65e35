"""One HTML file about a run: curves, the timeline of samples, the plan, the recipe."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from whelp.report._page import Series, draw_chart, draw_values, make_page

_NOT_VALUES = ("warnings", "source_epochs")


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
    losses = [
        Series(points=_pick(records, "loss")),
        Series(points=_pick(records, "test_nats_per_token"), color=1, has_dots=True),
    ]
    charts = [
        draw_chart("Loss, nats per token (line: training batch, dots: test split)", losses, x_name="step"),
        _chart_sources(records),
        _chart("Learning rate", records, "learning_rate"),
        _chart("Gradient norm", records, "gradient_norm"),
        _chart("Tokens per second", records, "tokens_per_second"),
    ]
    last = next((record for record in reversed(records) if "test_nats_per_token" in record), None)
    numbers = draw_values(_name_values(last or {}))
    plan_table = draw_values({name.replace("_", " "): value for name, value in plan.items() if name not in _NOT_VALUES})
    plan_table += draw_values({f"epochs of {name}": count for name, count in plan.get("source_epochs", {}).items()})
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in plan.get("warnings", []))
    timeline = "".join(
        f"<tr><td>{sample['step']:,}</td><td><pre><b>{html.escape(sample['prompt'])}</b>{html.escape(sample['text'])}</pre></td></tr>"
        for sample in samples
    )
    return make_page(
        title,
        f"<h2>Test split, at the end</h2>{numbers}<h2>Curves</h2>{''.join(charts)}"
        f"<h2>Samples</h2><table><tr><th>step</th><th>text</th></tr>{timeline}</table>"
        f"<h2>Plan</h2><ul>{notes}</ul>{plan_table}<h2>Recipe</h2><pre>{html.escape(recipe)}</pre>",
    )


def _chart_sources(records: Sequence[Mapping[str, Any]]) -> str:
    """The test losses of the sources of a mixture; nothing where there is but one."""
    points: dict[str, list[tuple[float, float]]] = {}
    for record in records:
        for name, part in record.get("test_sources", {}).items():
            points.setdefault(name, []).append((record["step"], part["nats_per_token"]))
    series = [Series(points=found, name=name, color=color, has_dots=True) for color, (name, found) in enumerate(points.items())]
    return draw_chart("Test loss of each source, nats per token", series, x_name="step")


def _name_values(record: Mapping[str, Any]) -> dict[str, Any]:
    """What was measured on the test split, by names for people; then the loss of each source."""
    values = {
        name.removeprefix("test_").replace("_", " "): value
        for name, value in record.items()
        if name.startswith("test_") and name != "test_sources"
    }
    parts = record.get("test_sources", {})
    return values | {f"nats per token of {name}": part["nats_per_token"] for name, part in parts.items()}


def _chart(title: str, records: Sequence[Mapping[str, Any]], name: str) -> str:
    return draw_chart(title, [Series(points=_pick(records, name))], x_name="step")


def _pick(records: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(record["step"], record[name]) for record in records if record.get(name) is not None]
