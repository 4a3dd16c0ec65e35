"""What every page shares: axes with round numbers, legends, tables that scroll."""

from __future__ import annotations

import re

import pytest

from whelp.report._page import Series, draw_chart


def read_labels(chart: str, anchor: str) -> list[str]:
    """The texts of an axis: `end` is the y axis, and the end of the x axis; `middle` the x axis between its ends."""
    return re.findall(rf'text-anchor="{anchor}">([^<]+)<', chart)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([4.54, 7.66], ["5", "5.5", "6", "6.5", "7", "7.5"]),
        ([0.0003, 0.023], ["0.005", "0.01", "0.015", "0.02"]),
        ([229.0, 16495.0], ["2,500", "5,000", "7,500", "10,000", "12,500", "15,000"]),
        ([0.0, 1.0], ["0", "1"]),  # counts have no halves
        ([3.5, 3.5], ["3.5"]),
    ],
)
def test_axes_have_round_numbers(values: list[float], expected: list[str]) -> None:
    """Nobody has to read off 6.88; the numbers lie within what is drawn."""
    chart = draw_chart("Loss", [Series(points=list(enumerate(values, 1)))], x_name="step")
    assert read_labels(chart, "end") == [*expected, "step 2"]


def test_the_x_axis_has_places_between_its_ends() -> None:
    """Round ones, and none on the labels of the ends."""
    chart = draw_chart("Loss", [Series(points=[(0, 1.0), (155_648, 2.0)])], x_name="tokens")
    assert read_labels(chart, "middle") == ["25,000", "50,000", "75,000", "100,000"]


def test_a_color_stays_with_its_name() -> None:
    """No line is broken between the two."""
    chart = draw_chart("Loss", [Series(points=[(0, 1.0), (1, 2.0)], name="run")], x_name="step")
    assert "■\u00a0run" in chart
