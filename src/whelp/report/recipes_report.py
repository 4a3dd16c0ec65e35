"""One HTML file about a comparison of recipes: what is better, how sure that is, where it differs. No script, no network."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from whelp.base.counts import say_bytes, say_count
from whelp.base.visible_text import cut_short
from whelp.report._page import NUM_COLORS, Series, draw_chart, draw_table, make_page, write_number, write_option

_FEW_VERDICTS = 4
_MOST_SIGNS = 28  # of a name
_WIDTH, _LEFT, _MOST_LEFT, _RIGHT, _LINE, _LETTER = 640, 200, 264, 16, 26, 9
_STYLE = """
.wide { overflow-x: auto; } .wide td, .wide th { white-space: nowrap; } td pre { margin: 0; }
.verdict { font-size: 1.15rem; max-width: 60rem; }
.wide + figure { margin-top: 1rem; }
"""
_HOW = (
    "Every recipe's model was trained once for each seed, as long as the table says; the runs of a seed begin with the same "
    "weights, where their shapes are the same. All were measured on the same held-out texts, of which none is in any training data "
    "word for word. The intervals: by seeds, what other seeds could have given on these texts (Student's t over the paired "
    "differences); by texts, what other texts could have given with these runs (bootstrap); both, the two together, by which it is "
    "decided."
)

Values = Mapping[str, Any]


def make_recipes_report(result: Values) -> str:
    """Draw what `whelp compare-recipes` found, given as plain values."""
    sides, differences = result["sides"], result["differences"]
    has_pairs = len(differences) > len(sides) - 1
    names = [side["name"] for side in sides]
    title = ", ".join(names) if has_pairs else " against ".join([names[0], ", ".join(names[1:])])
    confidence = f"{result['confidence']:.0%}"
    together = ", which hold together" if len(differences) > 1 else ""
    notes = "".join(f"<li>{html.escape(note)}</li>" for note in result["notes"])
    parts = [
        _draw_verdicts(differences),
        f"<ul>{notes}</ul>" if notes else "",
        f"<h2>{'Differences' if has_pairs else f'Difference to {html.escape(names[0])}'}, bits per byte</h2>",
        _draw_pairs(sides, differences) if has_pairs else "",
        _draw_intervals(
            sides, differences, f"{confidence} intervals{together}; left of the line is better", has_pairs=has_pairs
        ),
        _draw_seeds(sides, result["seeds"]),
        _draw_differences(differences, has_pairs=has_pairs),
        _draw_curves(sides),
        f"<h2>The recipes</h2>{_draw_sides(sides)}{_draw_options(sides, result['options'])}",
        f"<h2>Held-out texts</h2>{_draw_held_out(result)}",
        _draw_examples(differences[: len(sides) - 1]),  # of those with the first
        f"<h2>How it was measured</h2><p>{html.escape(_HOW)}</p><p>{html.escape(_say_runs(result))}</p>",
    ]
    return make_page(title, "".join(parts), _STYLE)


def _draw_verdicts(differences: Sequence[Values]) -> str:
    """A sentence for each difference, large where they are few."""
    said = [html.escape(say_difference(one)) for one in differences]
    if len(said) > _FEW_VERDICTS:
        return f"<ul>{''.join(f'<li>{one}</li>' for one in said)}</ul>"
    return "".join(f'<p class="verdict">{one}</p>' for one in said)


def say_difference(difference: Values) -> str:
    """One difference in words: which is better, how much, how surely; and what would decide it where that cannot be told."""
    name, baseline, whole = difference["name"], difference["baseline"], difference["whole"]
    low, high = whole["both"]["low"], whole["both"]["high"]
    between = f"between {low:+.4f} and {high:+.4f} at {100 * whole['confidence']:.3g}% confidence"
    amount = f"{abs(whole['difference']):.4f} bits per byte {'less' if whole['difference'] < 0 else 'more'} ({abs(whole['share']):.1%})"
    if whole["verdict"] != "undecided":
        return f"{name} is {whole['verdict']} than {baseline}: {amount}, {between}."
    if whole["difference"] == 0.0 and whole["smallest"] == 0.0:
        return f"{name} and {baseline} give the same models: there is no difference at all."
    return f"It cannot be told which is better, {name} or {baseline}: {name} needs {amount}, {between}. {_say_what_would_decide(whole)}"


def _say_what_would_decide(whole: Values) -> str:
    seeds, texts, now = whole["num_seeds_needed"], whole["num_texts_needed"], len(whole["by_seed"])
    if seeds is not None:
        return (
            f"If difference and spread stayed as they are, {say_count(seeds, 'seed')} in all, {seeds - now:,} more, would decide "
            f"it (--seeds {seeds})."
        )
    if texts is not None:
        return f"More seeds would not decide it; if all stayed as it is, {texts:,} held-out texts would, in place of {whole['num_texts']:,}."
    return (
        f"Neither more seeds nor more texts alone would decide it if all stayed as it is: a difference below {whole['smallest']:.4f} "
        "cannot be seen here, and may not matter."
    )


def _name(difference: Values, *, has_pairs: bool) -> str:
    return f"{difference['name']} against {difference['baseline']}" if has_pairs else str(difference["name"])


def _draw_pairs(sides: Sequence[Values], differences: Sequence[Values]) -> str:
    """Each recipe of a row against each of a column; what can be told is bold."""
    found: dict[tuple[str, str], tuple[float, str]] = {}
    turned = {"better": "worse", "worse": "better", "undecided": "undecided"}
    for one in differences:
        difference, verdict = one["whole"]["difference"], one["whole"]["verdict"]
        found[one["name"], one["baseline"]] = difference, verdict
        found[one["baseline"], one["name"]] = -difference, turned[verdict]
    names = [side["name"] for side in sorted(sides, key=lambda side: float(side["bits_per_byte"]))]
    rows = ""
    for name in names:
        cells = ""
        for other in names:
            difference, verdict = found.get((name, other), (0.0, ""))
            text = f"{difference:+.4f} {verdict if verdict != 'undecided' else ''}".strip() if verdict else ""
            cells += f"<td>{f'<b>{text}</b>' if verdict in ('better', 'worse') else text}</td>"
        rows += f"<tr><th>{html.escape(name)}</th>{cells}</tr>"
    head = "".join(f"<th>{html.escape(name)}</th>" for name in names)
    caption = "<p>Each row against each column, best first; below zero: the row is better. Bold: it can be told.</p>"
    return f'{caption}<div class="wide"><table><tr><th></th>{head}</tr>{rows}</table></div>'


def _draw_curves(sides: Sequence[Values]) -> str:
    """How the losses fell, against tokens and minutes: the mean of the seeds, and from the lowest to the highest."""
    drawn = ""
    if max(len(side["curve"]) for side in sides) < 2:  # runs that were trained before these texts were asked for
        return drawn
    for axis, words in (("seen_tokens", "tokens"), ("training_minutes", "minutes")):
        series = [
            Series(
                points=[(point[axis], sum(point["by_seed"]) / len(point["by_seed"])) for point in side["curve"]],
                lows=[min(point["by_seed"]) for point in side["curve"]],
                highs=[max(point["by_seed"]) for point in side["curve"]],
                color=color,
                name=side["name"],
            )
            for color, side in enumerate(sides)
        ]
        drawn += draw_chart(f"Bits per byte against {words}", series, x_name=words)
    how = (
        "On a sample of the held-out texts; the mean of the seeds, and from the lowest to the highest. Minutes are those of training alone, as "
        "the runs took them. Where the learning rate decays, only the ends compare what the recipes come to."
    )
    return f'<h2>On the way</h2><p>{how}</p><div class="charts">{drawn}</div>' if drawn else ""


def _draw_intervals(sides: Sequence[Values], differences: Sequence[Values], caption: str, *, has_pairs: bool) -> str:
    """A line for each comparison and source: the interval of both, those of seeds and of texts below it, and the difference."""
    colors = {side["name"]: color for color, side in enumerate(sides)}
    lines = [
        (
            cut_short(f"{_name(one, has_pairs=has_pairs)}{f', {source}' if source else ''}", _MOST_SIGNS),
            colors[one["name"]],
            values,
        )
        for one in differences
        for source, values in (("", one["whole"]), *one["sources"].items())
    ]
    left = min(_MOST_LEFT, max(_LEFT, 12 + _LETTER * max(len(name) for name, _, _ in lines)))
    ends: list[float] = [
        values[kind][end] for _, _, values in lines for kind in ("both", "seeds", "texts") for end in ("low", "high")
    ]
    low, high = min(0.0, *ends), max(0.0, *ends)
    room = (high - low) or 1.0

    def place(value: float) -> float:
        return left + (value - low) / room * (_WIDTH - left - _RIGHT)

    height = _LINE * len(lines) + 34
    drawn = (
        f'<line x1="{place(0):.1f}" x2="{place(0):.1f}" y1="0" y2="{height - 24}" stroke="currentColor" stroke-opacity=".6"/>'
    )
    for number, (name, color, values) in enumerate(lines):
        y, stroke = _LINE * number + 10, f"var(--c{color % NUM_COLORS})"
        drawn += f'<text x="{left - 8}" y="{y + 5}" text-anchor="end">{html.escape(name)}</text>'
        for kind, at, look in (
            ("both", y, 'stroke-width="4"'),
            ("seeds", y + 7, 'stroke-width="1.5"'),
            ("texts", y + 11, 'stroke-width="1.5" stroke-dasharray="3 2"'),
        ):
            begin, end = place(values[kind]["low"]), place(values[kind]["high"])
            drawn += f'<line x1="{begin:.1f}" x2="{end:.1f}" y1="{at}" y2="{at}" stroke="{stroke}" {look}/>'
        drawn += f'<circle cx="{place(values["difference"]):.1f}" cy="{y}" r="5" fill="{stroke}"/>'
    for value in dict.fromkeys((low, 0.0, high)):
        drawn += (
            f'<text x="{place(value):.1f}" y="{height - 8}" text-anchor="middle">{f"{value:+.3g}" if value else "0"}</text>'
        )
    names = ", ".join(name for name, _, _ in lines)
    legend = "thick: both; thin: seeds; dashed: texts"
    return (
        f'<figure><figcaption>{html.escape(caption)} ({legend})</figcaption><svg viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" role="img" aria-label="Differences of {html.escape(names)}">{drawn}</svg></figure>'
    )


def _draw_seeds(sides: Sequence[Values], seeds: Sequence[int]) -> str:
    series = []
    for color, side in enumerate(sides):
        points = list(zip(map(float, seeds), side["by_seed"], strict=True))
        series.append(Series(points=points, color=color, name=side["name"]))
        series.append(Series(points=points, color=color, has_dots=True))
    return draw_chart("Bits per byte after each seed's run", series, x_name="seed")


def _draw_differences(differences: Sequence[Values], *, has_pairs: bool) -> str:
    rows = []
    for one in differences:
        for source, values in (("all texts", one["whole"]), *one["sources"].items()):
            intervals = [f"{values[kind]['low']:+.4f} to {values[kind]['high']:+.4f}" for kind in ("both", "seeds", "texts")]
            rows.append(
                [_name(one, has_pairs=has_pairs), source, f"{values['difference']:+.4f}", *intervals, values["verdict"]]
            )
    return _draw_table(["", "measured on", "difference", "both", "by seeds", "by texts", ""], rows)


def _draw_sides(sides: Sequence[Values]) -> str:
    rows = []
    for side in sides:
        read = f" of {side['num_documents_curated']:,}" if side["num_documents_curated"] is not None else ""
        rows.append(
            [
                side["name"],
                f"{side['bits_per_byte']:.4f}",
                f"{side['num_documents']:,}{read}",
                f"{side['num_tokens']:,}",
                f"{side['num_epochs']:.2f}",
                f"{side['num_parameters']:,}",
                f"{side['num_steps']:,}",
                f"{side['seen_tokens']:,}",
                say_bytes(side["seen_bytes"]),
                f"{side['compute_flops']:.3g}",
                "" if side["training_minutes"] is None else f"{side['training_minutes']:.3g}",
                f"{side['vocab_size']:,}",
                f"{side['bytes_per_token']:.2f}",
            ]
        )
    heads = [
        "",
        "bits per byte",
        "documents",
        "tokens",
        "epochs",
        "parameters",
        "steps",
        "tokens seen",
        "text seen",
        "FLOP",
        "minutes",
        "vocabulary",
        "bytes a token",
    ]
    return _draw_table(heads, rows)


def _draw_options(sides: Sequence[Values], options: Mapping[str, Sequence[Any]]) -> str:
    if not options:
        return "<p>The recipes are the same.</p>"
    return "<h3>What differs</h3>" + _draw_table(
        ["option", *(side["name"] for side in sides)], [[name, *map(write_option, values)] for name, values in options.items()]
    )


def _draw_held_out(result: Values) -> str:
    names = [side["name"] for side in result["sides"]]
    rows = [
        [
            one["name"],
            f"{one['num_texts']:,}",
            say_bytes(one["num_bytes"]),
            *(f"{side['sources'][one['name']]:.4f}" for side in result["sides"]),
        ]
        for one in result["held_out"]
    ]
    left_out = "; ".join(f"{reason} {write_number(count)}" for reason, count in result["skipped"].items())
    table = _draw_table(["source", "texts", "", *(f"{name}, bits per byte" for name in names)], rows)
    return table + (f"<p>Left out: {html.escape(left_out)}.</p>" if left_out else "")


def _draw_examples(differences: Sequence[Values]) -> str:
    drawn = ""
    for one in differences:
        rows = "".join(
            f"<tr><td>{example['difference']:+.3f}</td><td>{html.escape(example['source'])}</td>"
            f"<td><pre>{html.escape(example['text'])}</pre></td></tr>"
            for example in one["examples"]
        )
        if rows:
            title = f"Texts where {one['name']} differs most from {one['baseline']}"
            drawn += (
                f"<h2>{html.escape(title)}</h2><table><tr><th>bits per byte</th><th>from</th><th>begins</th></tr>{rows}</table>"
            )
    return drawn


def _say_runs(result: Values) -> str:
    return (
        f"{say_count(len(result['seeds']), 'seed')}, from {result['seeds'][0]} on; equal {result['equal']} for each recipe, "
        "to the nearest step."
    )


def _draw_table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of plain text."""
    return draw_table([html.escape(name) for name in heads], ([html.escape(cell) for cell in row] for row in rows))
