"""A browser without a window, and servers for it: with a fake engine, and with a small trained model."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import whelp
from cli.helpers import Project, make_project
from serve.conftest import serve as serve
from waiting import SECONDS
from whelp.cli.serve import Serving, open_server

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium as the system has it; nothing is downloaded."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pip install playwright")
    if CHROMIUM is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with playwright.sync_playwright() as driver:
        arguments = ["--no-sandbox", "--disable-dev-shm-usage"]
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=arguments, timeout=1000 * SECONDS)
        yield chromium
        chromium.close()


OpenPage = Callable[..., Any]


@pytest.fixture
def open_page(browser: Any) -> Iterator[OpenPage]:
    """Open a tab of the page; afterwards nothing may have gone wrong in it."""
    contexts, troubles = [], []

    def open_it(url: str, tab: str = "chat", *, scheme: str = "light", width: int = 1280, height: int = 800) -> Any:
        context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": height}, reduced_motion="reduce")
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(1000 * SECONDS)
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("console", lambda message: troubles.append(message.text) if "Content Security Policy" in message.text else None)
        page.goto(f"{url}/#{tab}")
        page.wait_for_selector("html[data-ready]")
        return page

    yield open_it
    for context in contexts:
        context.close()
    assert troubles == []


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A store and a run of a small model, with two checkpoints."""
    made = make_project(
        tmp_path_factory.mktemp("browser") / "pup", train={"save_every_steps": 2, "sample_prompts": ["The quick"]}
    )
    whelp.prepare(made.recipe, out=made.store)
    whelp.train(made.recipe, store=made.store, out=made.run)
    return made


@pytest.fixture(scope="session")
def serving(project: Project) -> Iterator[Serving]:
    """The run, its earlier checkpoint beside it, and its store, as `whelp serve` serves them."""
    yield from run_in_thread(project.run, compare=[project.run / "checkpoints" / "step-00000002"])


def run_in_thread(run: Path, **options: Any) -> Iterator[Serving]:
    """A server of `whelp serve` that ends with the fixture."""
    opened = open_server(run, port=0, device="cpu", drain_seconds=1, **options)
    thread = threading.Thread(target=opened.run)
    thread.start()
    yield opened
    opened.stop()
    thread.join(SECONDS)
