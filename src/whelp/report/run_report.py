"""One HTML file about a run: curves, the timeline of samples, the plan, the recipe."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from whelp.report._page import Series, draw_chart, draw_values, make_page


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
        Series(points=_pick(records, "ema_test_nats_per_token"), color=2, has_dots=True),
    ]
    charts = [
        draw_chart("Loss, nats per token (line: training batch, dots: test split)", losses, x_name="step"),
        _chart("Learning rate", records, "learning_rate"),
        _chart("Gradient norm", records, "gradient_norm"),
        _chart("Tokens per second", records, "tokens_per_second"),
    ]
    last = next((record for record in reversed(records) if "test_nats_per_token" in record), None)
    numbers = draw_values(
        {name.removeprefix("test_").replace("_", " "): value for name, value in last.items() if name.startswith("test_")}
        if last
        else {}
    )
    events = "".join(f"<li>{html.escape(event)}</li>" for event in _describe_events(records))
    trouble = f"<h2>Trouble</h2><ul>{events}</ul>" if events else ""
    plan_table = draw_values({name.replace("_", " "): value for name, value in plan.items() if name != "warnings"})
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in plan.get("warnings", []))
    timeline = "".join(
        f"<tr><td>{sample['step']:,}</td><td><pre><b>{html.escape(sample['prompt'])}</b>{html.escape(sample['text'])}</pre></td></tr>"
        for sample in samples
    )
    return make_page(
        title,
        f"<h2>Test split, at the end</h2>{numbers}<h2>Curves</h2>{''.join(charts)}{trouble}"
        f"<h2>Samples</h2><table><tr><th>step</th><th>text</th></tr>{timeline}</table>"
        f"<h2>Plan</h2><ul>{notes}</ul>{plan_table}<h2>Recipe</h2><pre>{html.escape(recipe)}</pre>",
    )


def _describe_events(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Batches that were passed over, and spikes that were rewound."""
    skipped = [record["step"] for record in records if record.get("is_skipped")]
    events = []
    if skipped:
        first = ", ".join(f"{step:,}" for step in skipped[:10]) + (" ..." if len(skipped) > 10 else "")
        events.append(f"{len(skipped):,} batches were skipped, as their loss or gradient was no number: steps {first}")
    for record in records:
        if "rewound_from" in record:
            begin, end = record["skipped_rows"]
            events.append(
                f"step {record['rewound_from']:,}: a loss of {record['spike_loss']:.3f}; rewound to step {record['step']:,}, "
                f"rows {begin:,} to {end - 1:,} were left out"
            )
    return events


def _chart(title: str, records: Sequence[Mapping[str, Any]], name: str) -> str:
    return draw_chart(title, [Series(points=_pick(records, name))], x_name="step")


def _pick(records: Sequence[Mapping[str, Any]], name: str) -> list[tuple[float, float]]:
    return [(record["step"], record[name]) for record in records if record.get(name) is not None]
