"""The page about a run: what it holds, that it opens offline, that nothing in a run can break out of it."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from whelp.report import RunRecords, find_differences, make_run_report, sum_up

METRICS = [
    {"step": 0, "test_nats_per_token": 4.0, "test_perplexity": 54.6, "elapsed_seconds": 0.0},
    {"step": 1, "loss": 4.1, "learning_rate": 0.1, "gradient_norm": 2.0, "tokens_per_second": 12345.0}
    | {"tokens": 100, "elapsed_seconds": 5.0},
    {"step": 2, "loss": 3.0, "learning_rate": 0.2, "gradient_norm": 1.0, "tokens_per_second": 23456.0}
    | {"tokens": 200, "elapsed_seconds": 10.0},
    {"step": 2, "test_nats_per_token": 3.5, "test_perplexity": 33.1, "elapsed_seconds": 10.0},
]


LEDGER = {"tokens": 1000, "rows": 20, "documents": 7, "cut_documents": 3, "padding_share": 0.25}
LEDGER |= {"trained": 900, "masked": 93, "first": 7, "cut": 0, "dropped": 0}
LEDGER |= {"trained_share": 0.9, "masked_share": 0.093, "first_share": 0.007, "cut_share": 0.0, "dropped_share": 0.0}


def make_page(**changes: object) -> str:
    """A page about a run of two steps."""
    return make_run_report([make_run(**changes)])


def make_run(**changes: object) -> RunRecords:
    """A run of two steps."""
    values = {"name": "a/run", "recipe": "data: {}\n", "plan": {"num_steps": 2, "warnings": ["too <short>"]}}
    values |= {"metrics": METRICS, "samples": [{"step": 2, "prompt": "Once", "text": " upon a time"}]}
    values |= {"ledger": LEDGER, "versions": {"torch": "9.9"}}
    return RunRecords(**{**values, **changes})


def test_numbers_curves_samples_and_doubts() -> None:
    """The last test loss, six curves with every point, the samples, the plan's doubts, ledger, versions."""
    page = make_page()
    assert "<th>nats per token</th><td>3.5</td>" in page
    assert page.count("<svg") == 6
    assert page.count("<circle") == 3 * 2  # two evaluations against steps, tokens and time
    assert '900</td><td class="number">90.00%</td><td class="dim">a target once in a pass</td>' in page
    assert "7, 3 of them not whole in one row" in page
    assert "25.00% of all positions are padding." in page
    assert "<th>steps</th><td>2</td>" in page
    assert "<th>torch</th><td>9.9</td>" in page
    assert "<b>Once</b> upon a time" in page
    assert "too &lt;short&gt;" in page
    assert ">20,000</text>" in page


def test_where_the_first_seconds_went() -> None:
    """Of the process that began the run; one that went on is another story."""
    starts = [
        {"step": 1, "start_up_seconds": {"imports": 2.5, "first_step": 0.5}},
        {"step": 9, "start_up_seconds": {"imports": 7.0}},
    ]
    page = make_page(metrics=starts)
    assert "<th>imports</th><td>2.5</td>" in page
    assert "<th>in all</th><td>3</td>" in page
    assert "Seconds to the first step" not in make_page()


def test_sources_of_a_mixture() -> None:
    """A curve of each source's test loss, with its name, and the last of them in numbers."""
    parts = [{"a<b": {"nats_per_token": 4.25 - step}, "code": {"nats_per_token": 3.0}} for step in (0, 1)]
    metrics = [{"step": step, "test_nats_per_token": 3.0, "test_sources": part} for step, part in enumerate(parts)]
    plan = {"num_steps": 2, "source_epochs": {"a<b": 1.25, "code": 3.5}}
    page = make_page(metrics=metrics, plan=plan)
    chart = re.search(r"<figure><figcaption>Test loss of each source.*?</figure>", page)
    assert chart is not None
    assert chart.group().count("<circle") == 4
    assert "■\u00a0a&lt;b" in chart.group()
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
    page = make_page(name=evil, recipe=evil, samples=[{"step": 0, "prompt": evil, "text": evil}])
    assert "<script" not in page
    assert page.count("&lt;script&gt;") == 6  # the name three times


def test_a_short_run() -> None:
    """Its seconds are not rounded to none; what is true or false is said in words."""
    metrics = [{**METRICS[0], "elapsed_seconds": 0.1}, {**METRICS[0], "step": 2, "elapsed_seconds": 0.234}]
    page = make_page(metrics=metrics, plan={"num_steps": 2, "compile": False, "warnings": []})
    assert ">seconds 0.23</text>" in page
    assert "<th>compile</th><td>no</td>" in page


def test_a_run_without_records() -> None:
    """A run that has only just begun has a page, too."""
    page = make_page(metrics=[], samples=[])
    assert "<svg" not in page
    assert "<h2>Plan</h2>" in page


def test_several_runs_lie_over_each_other() -> None:
    """What differs comes first; each run has its color in every chart, its row in the table, the better loss in bold."""
    better = [*METRICS[:-1], {**METRICS[-1], "test_nats_per_token": 2.25}]
    runs = [
        make_run(name="slow", settings={"train": {"learning_rate": 0.1, "seed": 0}, "pack": {"plan": "concat"}}),
        make_run(name="fast", settings={"train": {"learning_rate": 0.3, "seed": 0}}, metrics=better),
    ]
    assert find_differences(runs) == {"train.learning_rate": [0.1, 0.3], "pack.plan": ["concat", None]}
    page = make_run_report(runs)
    assert page.index("<h2>What differs</h2>") < page.index("<h2>Curves</h2>")
    assert '<th>train.learning_rate</th><td data-name="slow">0.1</td><td data-name="fast">0.3</td>' in page
    assert '<th>pack.plan</th><td data-name="slow">concat</td><td data-name="fast">not set</td>' in page
    assert " class=best>2.25</td>" in page
    assert " class=best>3.5</td>" not in page
    assert page.count("<svg") == 6
    assert page.count("■\u00a0slow") == page.count("■\u00a0fast") == 6
    assert "train.seed" not in page.partition("<h2>Curves</h2>")[0]
    assert "The recipes are the same." in make_run_report([runs[0], runs[0]])


def test_losses_of_other_texts_are_not_ranked() -> None:
    """Runs of different stores were tested on different tokens: none is in bold, and the page says why."""
    better = [*METRICS[:-1], {**METRICS[-1], "test_nats_per_token": 2.25}]
    runs = [make_run(name="a", store="1f"), make_run(name="b", store="2e", metrics=better)]
    page = make_run_report(runs)
    assert "class=best" not in page
    assert "These runs have different token stores" in page
    same = make_run_report([runs[0], make_run(name="b", store="1f", metrics=better)])
    assert " class=best>2.25</td>" in same
    assert "different token stores" not in same


def test_one_large_gradient_hides_no_other() -> None:
    """Its axis is logarithmic then: the small ones are not all on the floor."""
    metrics = [{**METRICS[1], "step": step, "gradient_norm": norm} for step, norm in enumerate((900.0, 2.0, 0.5), 1)]
    chart = re.search(r"Gradient norm.*?</svg>", make_page(metrics=metrics))
    assert chart is not None
    heights = [float(point.partition(",")[2]) for point in re.findall(r"[\d.]+,[\d.]+", chart.group())]
    assert heights[2] - heights[1] > 20


def test_the_numbers_of_a_run() -> None:
    """Its end, its speed over the whole run, and its best test loss."""
    turned = [*METRICS, {"step": 3, "loss": 2.0, "tokens": 300, "elapsed_seconds": 12.0}]
    turned.append({"step": 3, "test_nats_per_token": 3.75})
    found = sum_up(make_run(metrics=turned))
    assert (found["step"], found["tokens"], found["tokens_per_second"]) == (3, 300, 25.0)
    assert (found["test_nats_per_token"], found["best_test_nats_per_token"], found["best_step"]) == (3.75, 3.5, 2)
    assert sum_up(make_run(metrics=[]))["test_nats_per_token"] is None
