"""The page as people use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import whelp
from cli.helpers import Project
from cli.processes import wait_for as wait_for_process
from serve.conftest import Serve
from serve.fakes import SAYING, FakeEngine, make_model
from waiting import wait_until
from whelp.cli.serve import Serving

from .conftest import OpenPage, run_in_thread

SERIOUS = {"serious", "critical"}
TABS = ["chat", "compare", "training", "data", "vocabulary"]


def wait_for(page: Any, expression: str) -> None:
    """Until an expression of JavaScript is true. (Playwright's own way needs `eval`, which the page does not allow.)"""
    wait_until(lambda: page.evaluate(expression), every_seconds=0.02)


def ask(page: Any, text: str) -> None:
    page.fill("#chat-text", text)
    page.keyboard.press("Enter")


def test_a_chat_streams(serve: Serve, open_page: OpenPage) -> None:
    """The reply grows while it is written; each turn is sent with those before it."""
    running = serve(
        make_model(seconds=0.1, context_tokens=4000, encode_chat=lambda messages: list(json.dumps(list(messages)).encode()))
    )
    page = open_page(running.url)
    ask(page, "Who are you?")
    wait_for(page, "document.querySelector('.reply-text')?.textContent.length > 3")
    assert page.locator(".reply.writing").count() == 1
    early = page.locator(".reply-text").inner_text()
    running.engine.seconds = 0.0
    page.wait_for_selector("text=Retry")
    whole = page.locator(".reply-text").inner_text()
    assert whole.startswith(early)
    assert len(whole) > len(early)
    ask(page, "And now?")
    wait_for(page, "document.querySelectorAll('.actions button').length >= 6")
    sent = json.loads(bytes(running.engine.asked[1][0]))
    assert [message["role"] for message in sent] == ["user", "assistant", "user"]
    assert sent[2]["content"] == "And now?"


def test_stop_ends_the_work(serve: Serve, open_page: OpenPage) -> None:
    """The button turns into Stop; what was written stays; the engine is told."""
    running = serve(make_model(seconds=1.0))
    page = open_page(running.url)
    ask(page, "Once")
    page.wait_for_selector(".reply .token")
    assert page.locator("#chat-send").inner_text() == "Stop"
    page.click("#chat-send")
    page.wait_for_selector("text=stopped by you")
    running.engine.wait_until_idle()
    assert running.engine.ended == ["cancelled"]
    assert page.locator("#chat-send").inner_text() == "Continue"


def test_retry_and_edit(serve: Serve, open_page: OpenPage) -> None:
    """Retry asks the same again; an edited turn replaces what came after it."""
    running = serve()
    page = open_page(running.url)
    ask(page, "Once")
    page.click("text=Retry")
    wait_until(lambda: len(running.engine.asked) == 2)
    page.wait_for_selector(".actions >> text=Copy")
    assert [bytes(prompt) for prompt, _, _ in running.engine.asked] == [b"Once", b"Once"]
    page.click("text=Edit")
    page.fill("[aria-label='Edit your text']", "Twice")
    page.keyboard.press("Enter")
    page.wait_for_selector(".said >> text=Twice")
    wait_until(lambda: len(running.engine.asked) == 3)
    page.wait_for_selector("text=Retry")
    assert bytes(running.engine.asked[2][0]) == b"Twice"
    assert page.locator(".said").all_inner_texts() == ["Twice"]


def test_the_knobs_are_sent(serve: Serve, open_page: OpenPage) -> None:
    """What is set is asked for, and is still set when the page is opened again."""
    running = serve()
    page = open_page(running.url)
    page.fill("#chat-max", "12")
    page.fill("#chat-seed", "5")
    page.fill("#chat-stop", "\\n")
    page.locator("#chat-temperature").fill("0")
    ask(page, "Once")
    page.wait_for_selector("text=Retry")
    _, settings, _ = running.engine.asked[0]
    assert (settings["max_tokens"], settings["seed"], settings["stop"], settings["temperature"]) == (12, 5, ["\n"], 0)
    page.reload()
    page.wait_for_selector("html[data-ready]")
    assert page.input_value("#chat-max") == "12"


def test_probabilities_of_tokens(serve: Serve, open_page: OpenPage) -> None:
    """Pointing at a token shows its probability and the others; so do the arrow keys, which also say it."""
    page = open_page(serve().url)
    ask(page, "Once")
    page.wait_for_selector("text=Retry")
    page.hover(".reply .token >> nth=1")
    assert "50.0 %" in page.locator("#tip").inner_text()
    page.focus(".reply-text")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    assert page.locator("#tip").is_visible()
    assert "t: 50.0 %" in page.locator("#announcer").text_content()
    page.keyboard.press("Escape")
    assert not page.locator("#tip").is_visible()


def test_an_error_is_told_and_can_be_tried_again(serve: Serve, open_page: OpenPage) -> None:
    """The server's own words, in the conversation."""
    engine = FakeEngine(error=ValueError("broken"))
    page = open_page(serve(make_model(engine=engine)).url)
    ask(page, "Once")
    page.wait_for_selector("[role=alert] >> text=The server made a mistake")
    engine.error = None
    page.click("text=Try again")
    page.wait_for_selector("text=Retry")
    assert page.locator(".reply-text").inner_text().strip().startswith(SAYING.strip()[:10])


def test_what_a_model_writes_is_text(serve: Serve, open_page: OpenPage, tmp_path: Path) -> None:
    """Markup in prompts, replies, samples and names is shown, never read."""
    evil = "<img src=x onerror=\"document.title='broken'\"><script>document.title='broken'</script>"
    (tmp_path / "plan.json").write_text('{"plan": {"num_steps": 2}}')
    (tmp_path / "samples.jsonl").write_text(json.dumps({"step": 1, "prompt": evil, "text": evil}) + "\n")
    page = open_page(serve(make_model(evil), run=tmp_path).url)
    ask(page, evil)
    page.wait_for_selector("text=Retry")
    assert page.locator(".said").inner_text() == evil
    page.click("#tab-training")
    page.wait_for_selector(".sample")
    assert evil in page.locator(".sample").inner_text()
    page.click("#tab-vocabulary")
    page.fill("#vocabulary-text", evil)
    page.wait_for_selector(f"text={len(evil)} tokens")
    assert page.locator("main img[src=x], main script").count() == 0
    assert "broken" not in page.title()


def test_a_token_is_asked_for(serve: Serve, open_page: OpenPage, browser: Any) -> None:
    """The page opens with the token of its address, or asks for one; the address does not keep it."""
    running = serve(token="right")
    page = open_page(f"{running.url}/?", "token=right")
    assert "right" not in page.url
    context = browser.new_context()
    other = context.new_page()
    other.goto(running.url)
    other.fill("#token", "wrong")
    other.click("text=Open")
    other.wait_for_selector("text=The token is wrong")
    other.fill("#token", "right")
    other.click("text=Open")
    other.wait_for_selector("html[data-ready]")
    context.close()


def test_compare_shows_two_columns(serving: Serving, open_page: OpenPage) -> None:
    """Two checkpoints answer the same text, side by side."""
    page = open_page(serving.url, "compare")
    page.fill("#compare-text", "The quick")
    page.click("#compare-send")
    wait_for(page, "document.querySelectorAll('#panel-compare .foot:not(:empty)').length == 2")
    columns = page.locator(".column")
    assert columns.count() == 2
    names = [columns.nth(index).locator("select").input_value() for index in range(2)]
    assert names == ["pup", "pup@step-00000002"]
    left, right = (columns.nth(index).bounding_box() for index in range(2))
    assert left["x"] + left["width"] <= right["x"]
    assert left["y"] == right["y"]


def test_rows_of_the_store(serving: Serving, project: Project, open_page: OpenPage) -> None:
    """The store beside the run is shown: rows, their documents, the ledger; the next rows follow."""
    page = open_page(serving.url, "data")
    page.wait_for_selector("text=Row 0")
    assert page.input_value("#data-length") == "16", "rows are cut as the run cuts them"
    rows, ledger = page.locator(".rows").bounding_box(), page.locator("section >> text=Ledger").bounding_box()
    assert rows["y"] + rows["height"] <= ledger["y"], "rows come first"
    first = page.locator(".row-text").first.inner_text().replace("↵", "")
    told = page.request.get(
        f"{serving.url}/api/store/rows?first=0&count=1&context_tokens={page.input_value('#data-length')}"
    ).json()
    assert first.replace("\n", "") == "".join(token["text"] for token in told["rows"][0]["tokens"]).replace("\n", "")
    assert ".txt" in page.locator(".sources").last.inner_text()
    page.hover(".row-text .token >> nth=0")
    assert "id " in page.locator("#tip").inner_text()
    page.fill("#data-length", "24")
    page.keyboard.press("Tab")
    page.wait_for_selector("text=24 tokens")
    page.click("text=Next")
    page.wait_for_selector("h2 >> text=Row 3")


def test_tokens_of_a_text(serving: Serving, open_page: OpenPage) -> None:
    """Typing shows tokens, ids and byte offsets."""
    page = open_page(serving.url, "vocabulary")
    page.fill("#vocabulary-text", "日")
    page.wait_for_selector("text=for 1 character and 3 bytes")
    last = page.locator("table.tokens tbody tr").last.locator("td").all_inner_texts()
    assert last[3].endswith("–3")


_LABELS = """() => [...document.querySelectorAll(".chart svg")].map((chart) => [...chart.querySelectorAll("text")].map((text) => {
  const { x, y, width, height } = text.getBoundingClientRect();
  return [text.textContent, { x, y, width, height }];
}))"""


@pytest.mark.parametrize("width", [390, 1280])
def test_charts_can_be_read(serving: Serving, open_page: OpenPage, width: int) -> None:
    """On a phone as on a desk the letters of a chart keep their size, and do not lie on each other; the axis has a name."""
    page = open_page(serving.url, "training", width=width)
    page.wait_for_selector("polyline.curve >> nth=0")
    for labels in page.evaluate(_LABELS):  # at one moment: charts are drawn anew every few seconds
        assert "step" in [name for name, _ in labels]
        assert min(box["height"] for _, box in labels) >= 12
        for index, (name, one) in enumerate(labels):
            for other, two in labels[index + 1 :]:
                apart = one["x"] + one["width"] <= two["x"] or two["x"] + two["width"] <= one["x"]
                assert apart or abs(one["y"] - two["y"]) >= one["height"] - 2, (name, other)


def test_all_tabs_are_seen_on_a_phone(serving: Serving, open_page: OpenPage) -> None:
    """None is cut off, so nobody has to guess that the row of tabs scrolls."""
    page = open_page(serving.url, width=390)
    last = page.locator("#tab-vocabulary").bounding_box()
    assert last["x"] + last["width"] <= 390


def test_training_moves(open_page: OpenPage, project: Project, tmp_path: Path) -> None:
    """A run that goes on is drawn as it goes: served before its first checkpoint, watched while it is trained."""
    recipe = yaml.safe_load(project.recipe.read_text())
    recipe["data"]["source"] = str(project.corpus)
    recipe["train"] |= {"num_steps": 100_000, "evaluate_every_steps": 20, "save_every_steps": 100_000}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-c", "from whelp.cli.main import main; main()", "train", str(tmp_path / "recipe.yaml")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    out = tmp_path / "run"
    training = subprocess.Popen(
        [*command, "--store", str(project.store), "--out", str(out)], env=environment, stderr=subprocess.PIPE, text=True
    )
    try:
        wait_for_process((out / "plan.json").is_file, training)
        for serving in run_in_thread(out):
            page = open_page(serving.url, "training")
            step = "Number(document.querySelector('.tiles')?.dataset.step ?? 0)"
            wait_for(page, f"{step} > 0")
            curve = page.locator("polyline.curve").first.get_attribute("points")
            before = page.evaluate(step)
            wait_for(page, f"{step} > {before}")
            page.wait_for_selector(".badge.live")
            assert page.locator("polyline.curve").first.get_attribute("points") != curve
            page.click("#tab-chat")
            page.wait_for_selector("text=No model yet")
    finally:
        training.send_signal(signal.SIGKILL)
        training.communicate()


def test_a_run_that_stopped_early_is_finished(open_page: OpenPage, project: Project, tmp_path: Path) -> None:
    """However far its plan went."""
    early = ["train.learning_rate=0", "train.num_steps=100", "train.evaluate_every_steps=1", "train.early_stopping_patience=2"]
    result = whelp.train(project.recipe, overrides=early, store=project.store, out=tmp_path / "run")
    assert (result.step, result.is_stopped_early) == (2, True)
    for serving in run_in_thread(tmp_path / "run"):
        page = open_page(serving.url, "training")
        wait_for(page, "document.querySelector('.tiles')?.dataset.step === '2'")
        assert page.locator("#panel-training .badge").inner_text() == "Finished"


def test_the_keyboard_is_enough(serving: Serving, open_page: OpenPage) -> None:
    """Arrow keys go through the tabs; every control can be reached; nothing is lost behind a mouse."""
    page = open_page(serving.url)
    page.focus("#tab-chat")
    for name in TABS[1:]:
        page.keyboard.press("ArrowRight")
        assert page.locator(f"#panel-{name}").is_visible()
        assert page.evaluate("document.activeElement.id") == f"tab-{name}"
    page.keyboard.press("Home")
    assert page.locator("#panel-chat").is_visible()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_everybody_can_use_it(serving: Serving, open_page: OpenPage, scheme: str, width: int) -> None:
    """axe finds nothing serious on any tab, with something in it; on a phone nothing is wider than the screen."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python").Axe()
    page = open_page(serving.url, scheme=scheme, width=width)
    ask(page, "The quick")
    page.wait_for_selector("text=Retry")
    for name in TABS:
        page.click(f"#tab-{name}")
        if name == "compare":
            page.fill("#compare-text", "The quick")
            page.click("#compare-send")
            wait_for(page, "document.querySelectorAll('#panel-compare .foot:not(:empty)').length == 2")
        elif name in ("training", "data", "vocabulary"):
            page.wait_for_selector(
                {"training": "svg polyline", "data": ".row-text", "vocabulary": "#panel-vocabulary tbody td"}[name]
            )
        found = [
            (violation["id"], [node["html"][:120] for node in violation["nodes"]])
            for violation in axe.run(page).response["violations"]
            if violation["impact"] in SERIOUS
        ]
        assert found == [], name
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
