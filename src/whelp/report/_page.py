"""What every page shares: one file, no script, no font, no network; curves as SVG; light and dark as the reader has it."""

from __future__ import annotations

import html
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 640, 240, 64, 28
_MOST_POINTS = 1000
_LETTER = 9  # width of one on a phone
_MOST_TICKS = 7  # spaces between the round places of an axis
_APART = 0.09  # of the height: two labels on a phone
NUM_COLORS = 6
_STYLE = """
:root { color-scheme: light dark; --grid: #8884;
  --c0: #2563eb; --c1: #d97706; --c2: #059669; --c3: #db2777; --c4: #7c3aed; --c5: #0891b2; }
@media (prefers-color-scheme: dark) {
  :root { --c0: #60a5fa; --c1: #fbbf24; --c2: #34d399; --c3: #f472b6; --c4: #a78bfa; --c5: #22d3ee; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 84rem; margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word; }
figure { display: inline-block; margin: 0 1rem 1.5rem 0; max-width: 100%; }
svg { max-width: 100%; height: auto; overflow: visible; } text { font-size: 11px; fill: currentColor; }
pre { background: #8881; padding: .6rem; overflow-x: auto; white-space: pre-wrap; overflow-wrap: anywhere; }
table { border-collapse: collapse; }
/* a shadow at the side where there is more to see; what moves with the table covers it at the end */
.wide { overflow-x: auto; background: linear-gradient(to right, Canvas 50%, #0000) 0 0 / 2.5rem 100% no-repeat local,
  linear-gradient(to left, Canvas 50%, #0000) 100% 0 / 2.5rem 100% no-repeat local,
  linear-gradient(to right, #8886, #0000) 0 0 / .8rem 100% no-repeat scroll,
  linear-gradient(to left, #8886, #0000) 100% 0 / .8rem 100% no-repeat scroll; }
.wide { margin-bottom: 1rem; }
td, th { text-align: left; padding: .15rem 1rem .15rem 0; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.dim { opacity: .7; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(30rem, 100%), 1fr)); gap: 1.5rem; }
.charts figure { margin: 0; }
@media (max-width: 40rem) { text { font-size: 16px; } td, th { padding-right: .6rem; } }
"""

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True)
class Series:
    """One line of a chart, or its dots. `color` counts through the palette; a `name` goes into the legend.

    A faint line is what a bold one is the mean of; `lows` and `highs`, at the same places, are how far the values reach.
    """

    points: Points
    lows: Sequence[float] = ()
    highs: Sequence[float] = ()
    name: str = ""
    color: int = 0
    has_dots: bool = False
    is_faint: bool = False


def make_page(title: str, body: str, style: str = "") -> str:
    """Put a body of HTML into the frame. `style` is added to the shared one."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{_STYLE}{style}</style></head><body>'
        f"<h1>{html.escape(title)}</h1>{body}</body></html>\n"
    )


def draw_values(values: Mapping[str, Any]) -> str:
    """A table of names and values."""
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(write_number(value))}</td></tr>" for name, value in values.items()
    )
    return f"<table>{rows}</table>"


def draw_table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, has_names: bool = False) -> str:
    """A table of ready HTML; nothing where there is no row.

    Args:
        heads: One that begins with - is of numbers.
        has_names: Whether the first cell of each row is its name.
    """
    kinds = [' class="number"' if head.startswith("-") else "" for head in heads]
    names = "".join(f"<th{kind}>{head.removeprefix('-')}</th>" for head, kind in zip(heads, kinds, strict=True))
    tags = ["th" if has_names and not number else "td" for number in range(len(heads))]
    body = "".join(
        f"<tr>{''.join(f'<{tag}{kind}>{cell}</{tag}>' for cell, tag, kind in zip(row, tags, kinds, strict=True))}</tr>"
        for row in rows
    )
    return f'<div class="wide"><table><tr>{names}</tr>{body}</table></div>' if body else ""


def write_option(value: Any) -> str:
    """A value of an option, as a recipe has it."""
    if value is None:
        return "not set"
    return yaml.safe_dump(value, default_flow_style=True, width=1000).strip().removesuffix("\n...")


def write_number(value: Any) -> str:
    """1234567 -> '1,234,567'; 12345.6 -> '12,346'; 0.123456 -> '0.1235'; True -> 'yes'"""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:,.4g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def write_share(value: float) -> str:
    """0.123 -> '12%'"""
    return f"{value:.0%}"


def draw_chart(
    title: str,
    series: Iterable[Series],
    *,
    x_name: str,
    log_x: bool = False,
    log_y: bool = False,
    from_zero: bool = False,
    x_ticks: Sequence[float] = (),
    write_y: Callable[[float], str] | None = None,
) -> str:
    """Draw curves in one frame; nothing when there are no points.

    Args:
        log_x, log_y: Logarithmic axes, which take positive numbers alone.
        x_ticks: Places to name on the x axis between its ends; nothing: round ones.
        write_y: How to write numbers on the y axis.
    """
    drawn = [one for one in series if one.points]
    if not drawn:
        return ""
    points = [point for one in drawn for point in one.points]
    x_axis = _Axis([x for x, _ in points], is_log=log_x)
    reaches = [value for one in drawn for value in (*one.lows, *one.highs)]
    y_axis = _Axis([y for _, y in points] + reaches + ([0.0] if from_zero else []), is_log=log_y)

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            _LEFT + x_axis.share(x) * (_WIDTH - _LEFT - 8),
            8 + (1 - y_axis.share(y)) * (_HEIGHT - _BOTTOM - 8),
        )

    labels = ""
    for value in y_axis.ticks():
        _, y = place(x_axis.low, value)
        labels += f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--grid)"/>'
        labels += f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{(write_y or _label)(value)}</text>'
    labels += f'<text x="{_LEFT}" y="{_HEIGHT - 8}">{_end(x_axis.low)}</text>'
    room = max(130, 60 + _LETTER * len(f"{x_name} {_end(x_axis.high)}"))
    for value in x_ticks or x_axis.ticks():
        x, _ = place(value, y_axis.low)
        if _LEFT + 60 < x < _WIDTH - room:  # the ends have labels of their own
            labels += f'<text x="{x:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{_end(value)}</text>'
    labels += f'<text x="{_WIDTH}" y="{_HEIGHT - 8}" text-anchor="end">{html.escape(x_name)} {_end(x_axis.high)}</text>'
    curves = "".join(_draw_series(one, place) for one in drawn)
    names = "".join(
        f' <span style="color:var(--c{one.color % NUM_COLORS})">■\u00a0{html.escape(one.name)}</span>'
        for one in drawn
        if one.name
    )
    return (
        f'<figure><figcaption>{html.escape(title)}{names}</figcaption><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" '
        f'role="img" aria-label="{html.escape(title)}: from {points[0][1]:.3g} to {points[-1][1]:.3g}">{labels}{curves}</svg></figure>'
    )


class _Axis:
    """Where numbers lie between the lowest and the highest."""

    def __init__(self, values: Sequence[float], *, is_log: bool) -> None:
        self.low, self.high, self.is_log = min(values), max(values), is_log
        self._is_whole = all(float(value).is_integer() for value in values)  # counts have no halves
        assert not is_log or self.low > 0, self.low

    def share(self, value: float) -> float:
        """0 at the low end, 1 at the high end."""
        low, high, at = (
            (math.log(number) for number in (self.low, self.high, value)) if self.is_log else (self.low, self.high, value)
        )
        return (at - low) / ((high - low) or 1.0)

    def ticks(self) -> list[float]:
        """Round places between the ends; of a logarithmic axis, and of one without length, the ends as well."""
        if self.low == self.high:
            return [self.low]
        if not self.is_log:
            step = _round_up((self.high - self.low) / _MOST_TICKS, is_whole=self._is_whole)
            first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
            return [index * step for index in range(first, last + 1)]
        decades = (10.0**exponent for exponent in range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))))
        return [self.low, *(decade for decade in decades if _APART < self.share(decade) < 1 - _APART), self.high]


def _round_up(length: float, *, is_whole: bool) -> float:
    """The next of 1, 2, 2.5 and 5 with noughts.   0.3 -> 0.5; 18 -> 20; of whole numbers 0.3 -> 1, 2.1 -> 5"""
    length = max(length, 1.0) if is_whole else length
    power = 10.0 ** math.floor(math.log10(length))
    steps = (factor * power for factor in (1, 2, 2.5, 5, 10))
    return next(step for step in steps if step >= length * (1 - 1e-9) and not (is_whole and step % 1))


def _draw_series(series: Series, place: Callable[[float, float], tuple[float, float]]) -> str:
    color = f"var(--c{series.color % NUM_COLORS})"
    if series.has_dots:
        places = (place(x, y) for x, y in series.points)
        return "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{color}"/>' for x, y in places)
    thinned = series.points[:: max(1, len(series.points) // _MOST_POINTS)]
    path = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in thinned)
    look = 'stroke-width="1" stroke-opacity=".3"' if series.is_faint else 'stroke-width="1.5"'
    return f'{_draw_band(series, place, color)}<polyline points="{path}" fill="none" stroke="{color}" {look}/>'


def _draw_band(series: Series, place: Callable[[float, float], tuple[float, float]], color: str) -> str:
    """The area between the lows and the highs."""
    if not series.lows:
        return ""
    places = [x for x, _ in series.points]
    edge = [*zip(places, series.highs, strict=True), *reversed(list(zip(places, series.lows, strict=True)))]
    corners = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in edge)
    return f'<polygon points="{corners}" fill="{color}" fill-opacity=".15" stroke="none"/>'


def _end(value: float) -> str:
    """1234.5 -> '1,234'; 0.2303 -> '0.23', the seconds of a short run"""
    return f"{value:,.0f}" if abs(value) >= 10 or float(value).is_integer() else f"{value:.2g}"


def _label(value: float) -> str:
    """1234 -> '1,234'; 250000 -> '250k'; 0.12345 -> '0.123'"""
    if abs(value) >= 1e6:
        return f"{value / 1e6:,.3g}M" if abs(value) < 1e9 else f"{value:.2g}"
    if abs(value) >= 1e5:
        return f"{value / 1e3:.0f}k"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
