"""One HTML file about a run, or about several laid over each other: what differs, curves, samples, plan, environment, recipe."""

from __future__ import annotations

import bisect
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from whelp.base.counts import say_bytes
from whelp.report._fates import FATES_STYLE, draw_fates
from whelp.report._page import NUM_COLORS, Series, draw_chart, draw_values, make_page, write_number, write_option

_WIDE_RANGE = 30  # largest over smallest, from where on an axis is logarithmic
_SMOOTH_SHARE = 0.02  # of a run, on each side of a point of the bold line
_STYLE = """
.wide td, .wide th { white-space: nowrap; }
.runs th { white-space: normal; overflow-wrap: normal; vertical-align: bottom; }
@media (max-width: 45rem) {
  .runs tr:first-child { display: none; } .runs tr, .runs td, .runs th { display: block; } .runs tr { margin-bottom: 1rem; }
  .runs td { display: flex; padding: .1rem 0; } .runs td::before { content: attr(data-name); flex: 0 0 11rem; font-weight: normal; }
}
.best { font-weight: bold; }
figcaption { margin-bottom: .4rem; }
td pre { margin: 0; white-space: pre-wrap; } details { margin: .5rem 0; } summary { cursor: pointer; }
"""

Record = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class RunRecords:
    """What is known of a run.

    Attributes:
        recipe: As YAML text.
        settings: The recipe's values: section, option, value.
        store: The fingerprint of the token store that it was trained and tested on.
        plan, ledger, versions: As in `plan.json`.
        metrics, samples: Records of `metrics.jsonl` and `samples.jsonl`.
    """

    name: str
    recipe: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    store: str | None = None
    plan: Mapping[str, Any] = field(default_factory=dict)
    ledger: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    metrics: Sequence[Record] = ()
    samples: Sequence[Record] = ()


def make_run_report(runs: Sequence[RunRecords]) -> str:
    """Draw runs, each in a color of its own; of a single one, more of its numbers."""
    assert runs, "a report is about one run at least"
    title = runs[0].name if len(runs) == 1 else f"{len(runs)} runs"
    parts = [_draw_table(runs), _draw_differences(runs) if len(runs) > 1 else _draw_end(runs[0])]
    parts += ["<h2>Curves</h2>", f'<div class="charts">{"".join(_draw_curves(runs))}</div>']
    parts += [_draw_trouble(run, is_one=len(runs) == 1) for run in runs]
    parts += ["<h2>Samples</h2>", _draw_samples(runs)]
    for run in runs:
        parts.append(_draw_rest(run, is_folded=len(runs) > 1))
    return make_page(title, "".join(parts), FATES_STYLE + _STYLE)


def sum_up(run: RunRecords) -> dict[str, Any]:
    """The numbers of a run that runs are compared by; None where one is not known yet."""
    trained = [record for record in run.metrics if record.get("loss") is not None]
    tested = [record for record in run.metrics if record.get("test_nats_per_token") is not None]
    last = trained[-1] if trained else {}
    end = tested[-1] if tested else {}
    best = min(tested, key=lambda record: float(record["test_nats_per_token"]), default={})
    seconds = float(last.get("elapsed_seconds") or 0.0)
    return {
        "step": last.get("step", 0),
        "tokens": last.get("tokens", 0),
        "elapsed_seconds": seconds,
        "tokens_per_second": last.get("tokens", 0) / seconds if seconds else None,
        "num_parameters": run.plan.get("num_parameters"),
        "train_loss": last.get("loss"),
        "test_nats_per_token": end.get("test_nats_per_token"),
        "test_perplexity": end.get("test_perplexity"),
        "test_bits_per_byte": end.get("test_bits_per_byte"),
        "best_test_nats_per_token": best.get("test_nats_per_token"),
        "best_step": best.get("step"),
    }


def find_warnings(runs: Sequence[RunRecords]) -> list[str]:
    """Why the losses of these runs may not be compared; nothing where they were tested on the same tokens."""
    if len({run.store for run in runs}) == 1:
        return []
    return [
        "These runs have different token stores: their losses are of different texts or tokens, and say nothing about which model "
        "is better. `whelp compare RUN RUN --text-file FILE` measures models on the same text."
    ]


def find_differences(runs: Sequence[RunRecords]) -> dict[str, list[Any]]:
    """Options that are not the same in all recipes, each with its value in every run; None where one has no such option."""
    flat = [_flatten(run.settings) for run in runs]
    names = list(dict.fromkeys(name for values in flat for name in values))
    table = {name: [values.get(name) for values in flat] for name in names}
    return {name: values for name, values in table.items() if any(value != values[0] for value in values)}


def _flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


_COLUMNS = {
    "step": "steps",
    "tokens": "tokens",
    "elapsed_seconds": "seconds",
    "tokens_per_second": "tokens a second",
    "num_parameters": "parameters",
    "train_loss": "training loss",
    "test_nats_per_token": "test loss",
    "test_perplexity": "perplexity",
    "test_bits_per_byte": "bits a byte",
    "best_test_nats_per_token": "best test loss",
    "best_step": "at step",
}
_LOW_IS_GOOD = ("test_nats_per_token", "test_perplexity", "test_bits_per_byte", "best_test_nats_per_token")


def _draw_table(runs: Sequence[RunRecords]) -> str:
    """A row for each run."""
    sums = [sum_up(run) for run in runs]
    columns = [name for name in _COLUMNS if any(values[name] is not None for values in sums)]
    warnings = find_warnings(runs)
    best = {
        name: min((values[name] for values in sums if values[name] is not None), default=None)
        for name in _LOW_IS_GOOD
        if len(runs) > 1 and not warnings
    }
    head = "".join(f"<th>{_COLUMNS[name]}</th>" for name in columns)
    rows = ""
    for index, (run, values) in enumerate(zip(runs, sums, strict=True)):
        cells = ""
        for name in columns:
            is_best = values[name] is not None and best.get(name) == values[name]
            text = "" if values[name] is None else write_number(values[name])
            cells += f'<td data-name="{_COLUMNS[name]}"{" class=best" if is_best else ""}>{html.escape(text)}</td>'
        rows += f"<tr><th>{_mark(runs, index)}{html.escape(run.name)}</th>{cells}</tr>"
    doubts = "".join(f"<p>{html.escape(warning)}</p>" for warning in warnings)
    return f'<div class="wide runs"><table><tr><th>run</th>{head}</tr>{rows}</table></div>{doubts}'


def _mark(runs: Sequence[RunRecords], index: int) -> str:
    return f'<span style="color:var(--c{index % NUM_COLORS})">■</span>\u00a0' if len(runs) > 1 else ""


def _draw_differences(runs: Sequence[RunRecords]) -> str:
    differences = find_differences(runs)
    if not differences:
        return "<h2>What differs</h2><p>The recipes are the same.</p>"
    head = "".join(f"<th>{_mark(runs, index)}{html.escape(run.name)}</th>" for index, run in enumerate(runs))
    rows = ""
    for name, values in differences.items():
        cells = (
            f'<td data-name="{html.escape(run.name)}">{html.escape(write_option(value))}</td>'
            for run, value in zip(runs, values, strict=True)
        )
        rows += f"<tr><th>{html.escape(name)}</th>{''.join(cells)}</tr>"
    return f'<h2>What differs</h2><div class="wide runs"><table><tr><th>option</th>{head}</tr>{rows}</table></div>'


def _draw_end(run: RunRecords) -> str:
    last = next((record for record in reversed(run.metrics) if "test_nats_per_token" in record), {})
    values = {
        name.removeprefix("test_").removeprefix("num_").replace("_", " "): value
        for name, value in last.items()
        if name.startswith("test_") and name != "test_sources"
    }
    parts = last.get("test_sources", {})
    values |= {f"nats per token of {name}": part["nats_per_token"] for name, part in parts.items()}
    return f"<h2>Test split, at the end</h2>{draw_values(values)}" if values else ""


def _draw_curves(runs: Sequence[RunRecords]) -> list[str]:
    """Losses against steps, tokens and time; then what else was recorded, against steps."""
    charts = []
    for axis, name in (("step", "steps"), ("tokens", "tokens"), ("elapsed_seconds", "seconds")):
        series = [one for index, run in enumerate(runs) for one in _losses(runs, index, run, axis)]
        charts.append(draw_chart(f"Loss against {name}, nats per token (line: training, dots: test)", series, x_name=name))
    if len(runs) == 1:
        charts.append(_draw_sources(runs[0]))
    for title, name in (
        ("Learning rate", "learning_rate"),
        ("Gradient norm", "gradient_norm"),
        ("Tokens per second", "tokens_per_second"),
    ):
        series = []
        for index, run in enumerate(runs):
            points = _pick(run.metrics, "step", name)
            series.append(Series(points=points, color=index, is_faint=True))
            bold = points if name == "learning_rate" else _smooth(points)  # which is smooth but for its corners
            series.append(Series(points=bold, color=index, name=run.name if len(runs) > 1 else ""))
        charts.append(draw_chart(title, series, x_name="step", log_y=name == "gradient_norm" and _spans_decades(series)))
    return charts


def _spans_decades(series: Sequence[Series]) -> bool:
    """Whether a few large values would press all others to the floor of a linear axis."""
    values = [y for one in series for _, y in one.points]
    return bool(values) and min(values) > 0 and max(values) > _WIDE_RANGE * min(values)


def _draw_sources(run: RunRecords) -> str:
    """The test losses of the sources of a mixture; nothing where there is but one."""
    points: dict[str, list[tuple[float, float]]] = {}
    for record in run.metrics:
        for name, part in record.get("test_sources", {}).items():
            points.setdefault(name, []).append((record["step"], part["nats_per_token"]))
    series = [Series(points=found, name=name, color=color, has_dots=True) for color, (name, found) in enumerate(points.items())]
    return draw_chart("Test loss of each source, nats per token", series, x_name="step")


def _losses(runs: Sequence[RunRecords], index: int, run: RunRecords, axis: str) -> list[Series]:
    points = _pick(run.metrics, axis, "loss")
    counted = _count_tokens(run.metrics) if axis == "tokens" else run.metrics
    is_one = len(runs) == 1
    return [
        Series(points=points, color=index, is_faint=True),
        Series(points=_smooth(points), color=index, name="" if is_one else run.name),
        Series(points=_pick(counted, axis, "test_nats_per_token"), color=1 if is_one else index, has_dots=True),
        Series(points=_pick(counted, axis, "ema_test_nats_per_token"), color=2 if is_one else index, has_dots=True),
    ]


def _count_tokens(records: Sequence[Record]) -> list[Record]:
    """Evaluations with the tokens that were trained before them, as far as those were recorded."""
    steps = [record["step"] for record in records if "tokens" in record]
    tokens = [record["tokens"] for record in records if "tokens" in record]
    counted: list[Record] = []
    for record in records:
        if "test_nats_per_token" in record and steps:
            place = bisect.bisect_right(steps, record["step"])
            counted.append({**record, "tokens": tokens[place - 1] if place else 0})
    return counted


def _smooth(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Means over a few neighbours on each side."""
    reach = int(len(points) * _SMOOTH_SHARE)
    if reach == 0:
        return list(points)
    sums = [0.0]
    for _, y in points:
        sums.append(sums[-1] + y)
    smoothed = []
    for index, (x, _) in enumerate(points):
        first, stop = max(0, index - reach), min(len(points), index + reach + 1)
        smoothed.append((x, (sums[stop] - sums[first]) / (stop - first)))
    return smoothed


def _draw_trouble(run: RunRecords, *, is_one: bool) -> str:
    """What went wrong and was mended; nothing where nothing did."""
    events = "".join(f"<li>{html.escape(event)}</li>" for event in _describe_events(run.metrics))
    title = "Trouble" if is_one else f"Trouble: {html.escape(run.name)}"
    return f"<h2>{title}</h2><ul>{events}</ul>" if events else ""


def _describe_events(records: Sequence[Record]) -> list[str]:
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


def _draw_samples(runs: Sequence[RunRecords]) -> str:
    """What each prompt became, step by step; of several runs, the last of each side by side."""
    if len(runs) == 1:
        rows = "".join(f"<tr><td>{sample['step']:,}</td><td><pre>{_text(sample)}</pre></td></tr>" for sample in runs[0].samples)
        return f"<table><tr><th>step</th><th>text</th></tr>{rows}</table>"
    rows = ""
    for index, run in enumerate(runs):
        last = {sample["prompt"]: sample for sample in run.samples}
        for sample in last.values():
            rows += (
                f"<tr><th>{_mark(runs, index)}{html.escape(run.name)}</th>"
                f"<td>{sample['step']:,}</td><td><pre>{_text(sample)}</pre></td></tr>"
            )
    return f"<table><tr><th>run</th><th>step</th><th>text</th></tr>{rows}</table>"


def _text(sample: Record) -> str:
    return f"<b>{html.escape(sample['prompt'])}</b>{html.escape(sample['text'])}"


def _draw_rest(run: RunRecords, *, is_folded: bool) -> str:
    """Plan, ledger, environment, recipe."""
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in run.plan.get("warnings", []))
    plan = {name: value for name, value in run.plan.items() if name != "source_epochs"}
    plan |= {f"epochs of {name}": count for name, count in run.plan.get("source_epochs", {}).items()}
    parts = [("Plan", (f"<ul>{notes}</ul>" if notes else "") + _table(plan, leave_out=("warnings",)))]
    if run.ledger:
        parts.append(("Where the tokens go", _draw_ledger(run.ledger)))
    if run.versions:
        parts.append(("Environment", _table(run.versions)))
    start_up = next((record["start_up_seconds"] for record in run.metrics if "start_up_seconds" in record), None)
    if start_up:
        parts.append(("Seconds to the first step", _table({**start_up, "in all": sum(start_up.values())})))
    parts.append(("Recipe", f"<pre>{html.escape(run.recipe)}</pre>"))
    level = "h3" if is_folded else "h2"
    body = "".join(f"<{level}>{name}</{level}>{content}" for name, content in parts)
    return (
        f"<details><summary>{html.escape(run.name)}: plan, environment, recipe</summary>{body}</details>" if is_folded else body
    )


def _table(values: Mapping[str, Any], leave_out: Iterable[str] = ()) -> str:
    """Names and values; counts by what is counted, sizes with their unit; what there is none of is left out."""
    shown: dict[str, Any] = {}
    for name, value in _flatten(values).items():
        if name in leave_out or value is None or value == []:
            continue
        noun = name.removeprefix("num_").removeprefix("is_")
        is_size = noun.endswith("_bytes") and isinstance(value, int | float)
        shown[noun.replace("_bytes", "_memory").replace("_", " ") if is_size else noun.replace("_", " ")] = (
            say_bytes(value) if is_size else value
        )
    return draw_values(shown)


def _draw_ledger(ledger: Mapping[str, Any]) -> str:
    """What there is, and where its tokens go; of a mixture each source's, too."""
    counts = {
        "tokens": ledger["tokens"],
        "rows": ledger["rows"],
        "documents": f"{ledger['documents']:,}, {ledger['cut_documents']:,} of them not whole in one row",
    }
    parts = "".join(
        f"<p><b>{html.escape(name)}</b>, {part['share']:.1%} of the rows</p>{draw_fates(part['ledger'])}"
        for name, part in ledger.get("sources", {}).items()
    )
    return f"{draw_values(counts)}{draw_fates(ledger)}{parts}"


def _pick(records: Iterable[Record], axis: str, name: str) -> list[tuple[float, float]]:
    return [(record[axis], record[name]) for record in records if record.get(name) is not None and record.get(axis) is not None]
