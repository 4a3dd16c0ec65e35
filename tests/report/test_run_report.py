"""The page about a run: what it holds, that it opens offline, that nothing in a run can break out of it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from whelp.report import make_run_report

METRICS = [
    {"step": 0, "test_nats_per_token": 4.0, "test_perplexity": 54.6},
    {"step": 1, "loss": 4.1, "learning_rate": 0.1, "gradient_norm": 2.0, "tokens_per_second": 12345.0},
    {"step": 2, "loss": 3.0, "learning_rate": 0.2, "gradient_norm": 1.0, "tokens_per_second": 23456.0},
    {"step": 2, "test_nats_per_token": 3.5, "test_perplexity": 33.1},
]


def make_page(**changes: object) -> str:
    """A page about a run of two steps."""
    values = {"title": "a/run", "recipe": "data: {}\n", "plan": {"num_steps": 2, "warnings": ["too <short>"]}}
    values |= {"metrics": METRICS, "samples": [{"step": 2, "prompt": "Once", "text": " upon a time"}]}
    return make_run_report(**{**values, **changes})


def test_numbers_curves_samples_and_doubts() -> None:
    """The last test loss, four curves with every point, the samples, the plan's doubts."""
    page = make_page()
    assert "<th>nats per token</th><td>3.5</td>" in page
    assert page.count("<svg") == 4
    assert page.count("<circle") == 2  # two evaluations
    assert "<b>Once</b> upon a time" in page
    assert "too &lt;short&gt;" in page
    assert "23,456" in page


def test_sources_of_a_mixture() -> None:
    """A curve of each source's test loss, with its name, and the last of them in numbers."""
    parts = [{"a<b": {"nats_per_token": 4.25 - step}, "code": {"nats_per_token": 3.0}} for step in (0, 1)]
    metrics = [{"step": step, "test_nats_per_token": 3.0, "test_sources": part} for step, part in enumerate(parts)]
    plan = {"num_steps": 2, "source_epochs": {"a<b": 1.25, "code": 3.5}}
    page = make_page(metrics=metrics, plan=plan)
    chart = re.search(r"<figure><figcaption>Test loss of each source.*?</figure>", page)
    assert chart is not None
    assert chart.group().count("<circle") == 4
    assert "■ a&lt;b" in chart.group()
    assert "<th>nats per token of a&lt;b</th><td>3.25</td>" in page
    assert "<th>epochs of code</th><td>3.5</td>" in page
    assert "Test loss of each source" not in make_page()


def test_opens_offline() -> None:
    """No script, and no address to fetch anything from."""
    page = make_page()
    assert "<script" not in page
    assert not re.search(r"https?://|@import|url\(|<link|<img", page)


def test_points_lie_inside_the_picture() -> None:
    """Every point of a curve is within its frame, the highest loss at the top."""
    chart = re.search(r"<svg.*?</svg>", make_page())
    assert chart is not None
    line = ElementTree.fromstring(chart.group()).find("polyline")
    assert line is not None
    points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
    assert all(0 <= x <= 640 and 0 <= y <= 240 for x, y in points)
    assert points[0][1] < points[1][1]


def test_text_of_a_run_is_only_text() -> None:
    """Markup in prompts, samples, recipe and title is shown, not obeyed."""
    evil = "<script>alert(1)</script>"
    page = make_page(title=evil, recipe=evil, samples=[{"step": 0, "prompt": evil, "text": evil}])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 5  # the title twice


def test_a_run_without_records() -> None:
    """A run that has only just begun has a page, too."""
    page = make_page(metrics=[], samples=[])
    assert "<svg" not in page
    assert "<h2>Plan</h2>" in page
