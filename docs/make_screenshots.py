"""Write docs/images/: pictures of the page of `whelp serve`, of a run of yours, with a store beside it; or of a report.

    python docs/make_screenshots.py RUN [--compare MODEL] [--prompt TEXT]
    python docs/make_screenshots.py --corpus SOURCE
    python docs/make_screenshots.py --page REPORT.html --name curate-report [--from "a heading"]

Needs Chromium, and `pip install playwright`. A picture that is larger than 150 KB is an error.
"""

from __future__ import annotations

import argparse
import base64
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("images")
MAX_BYTES = 150_000
DESK, PHONE = (1280, 800), (390, 780)
# The browser itself writes WebP: no library is needed.
TO_WEBP = """async (png) => {
  const image = new Image();
  image.src = `data:image/png;base64,${png}`;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), {width: image.width, height: image.height});
  canvas.getContext("2d").drawImage(image, 0, 0);
  return canvas.toDataURL("image/webp", 0.9).split(",")[1];
}"""


def main() -> None:
    """Serve the run, open the tabs, write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?")
    parser.add_argument("--compare", action="append", default=[])
    parser.add_argument("--prompt", default="ROMEO:")
    parser.add_argument("--corpus", metavar="SOURCE", help="draw `whelp corpus report` of this instead")
    parser.add_argument("--page", metavar="FILE", type=Path, help="draw this report instead")
    parser.add_argument("--name", default="report", help="what the picture of --page is called")
    parser.add_argument("--from", dest="heading", default="", help="scroll --page to this heading")
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    arguments = parser.parse_args()
    if sum(one is not None for one in (arguments.run, arguments.corpus, arguments.page)) != 1:
        parser.error("give RUN, --corpus or --page")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=arguments.chromium, args=["--no-sandbox"])
        if arguments.corpus is not None:
            draw_corpus(browser, arguments.corpus)
        elif arguments.page is not None:
            url = arguments.page.resolve().as_uri()
            png = take(browser, url, "light", DESK, lambda page: scroll_to(page, arguments.heading), ready="h1")
            write(browser, arguments.name, png)
        else:
            draw_page(browser, arguments)
        browser.close()


def draw_page(browser: Any, arguments: argparse.Namespace) -> None:
    """The tabs of `whelp serve`."""
    from whelp.cli.serve import open_server

    serving = open_server(arguments.run, compare=arguments.compare, port=0, drain_seconds=1)
    thread = threading.Thread(target=serving.run)
    thread.start()
    try:
        for name, tab, scheme, size, act in shots(arguments.prompt):
            write(browser, f"serve-{name}", take(browser, f"{serving.url}/#{tab}", scheme, size, act))
    finally:
        serving.stop()
        thread.join()


def draw_corpus(browser: Any, source: str) -> None:
    """The first screens of a corpus report, and the words beside a reference."""
    import whelp

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "corpus.html"
        whelp.report_corpus(source, html=path)
        for name, scheme, act in (
            ("report", "light", lambda page: None),
            ("words", "dark", lambda page: scroll_to(page, "Beside")),
        ):
            write(browser, f"corpus-{name}", take(browser, path.as_uri(), scheme, DESK, act, ready="h1"))


def scroll_to(page: Any, heading: str) -> None:
    """Put the first heading that begins so at the top."""
    if heading:
        find = (
            "(start) => [...document.querySelectorAll('h2')].find((one) => one.textContent.startsWith(start)).scrollIntoView()"
        )
        page.evaluate(find, heading)


def write(browser: Any, name: str, png: bytes) -> None:
    """One picture, as WebP."""
    page = browser.new_page()
    webp = base64.b64decode(page.evaluate(TO_WEBP, base64.b64encode(png).decode()))
    page.close()
    if len(webp) > MAX_BYTES:
        sys.exit(f"{name} has {len(webp):,} bytes, but at most {MAX_BYTES:,} are allowed")
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.webp").write_bytes(webp)
    print(f"{name}.webp: {len(webp):,} bytes")


def take(
    browser: Any,
    url: str,
    scheme: str,
    size: tuple[int, int],
    act: Callable[[Any], None],
    *,
    ready: str = "html[data-ready]",
) -> bytes:
    """Open the page, do something, and look."""
    width, height = size
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce", device_scale_factor=1.5
    )
    context.add_init_script("""localStorage.setItem("whelp-knobs", '{"seed": "4"}')""")
    page = context.new_page()
    page.goto(url)
    page.wait_for_selector(ready)
    act(page)
    page.wait_for_timeout(500)
    picture: bytes = page.screenshot()
    context.close()
    return picture


def shots(prompt: str) -> list[tuple[str, str, str, tuple[int, int], Callable[[Any], None]]]:
    """Name, tab, colours, size, and what to do before looking."""

    def chat(page: Any) -> None:
        page.fill("#chat-text", prompt)
        page.keyboard.press("Enter")
        page.wait_for_selector("text=Retry")
        page.evaluate("document.getElementById('chat-colour')?.click()")
        page.hover(".reply .token >> nth=5")

    def compare(page: Any) -> None:
        page.fill("#compare-text", prompt)
        page.click("#compare-send")
        page.wait_for_selector("#panel-compare .column >> nth=1 >> .foot:not(:empty)")
        page.wait_for_selector("#compare-send:not(.stop)")

    def training(page: Any) -> None:
        page.wait_for_selector("svg polyline")

    def data(page: Any) -> None:
        page.wait_for_selector(".row-text")
        page.select_option("#data-colour", "document")

    def vocabulary(page: Any) -> None:
        page.fill("#vocabulary-text", f"{prompt} naïve café, 12,345 words, and so on.")
        page.wait_for_timeout(500)

    return [
        ("chat", "chat", "light", DESK, chat),
        ("chat-phone", "chat", "dark", PHONE, chat),
        ("compare", "compare", "light", DESK, compare),
        ("training", "training", "light", DESK, training),
        ("training-dark", "training", "dark", DESK, training),
        ("data", "data", "light", DESK, data),
        ("vocabulary", "vocabulary", "dark", DESK, vocabulary),
    ]


if __name__ == "__main__":
    main()
