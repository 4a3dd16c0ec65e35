"""Write docs/transcripts/: what `whelp demo` prints, run here and now; and the shortened one in README.md.

    python docs/make_transcripts.py demo
    python docs/make_transcripts.py books FOLDER
    python docs/make_transcripts.py shakespeare FILE
    python docs/make_transcripts.py                # README.md alone, from docs/transcripts/demo.md

A run takes two minutes of training, and learns as much as the machine allows: let nothing else run beside it.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import re
import subprocess
import sys
import tempfile
import textwrap
import time
from importlib.metadata import version
from pathlib import Path

FOLDER = Path(__file__).with_name("transcripts")
README = Path(__file__).parents[1] / "README.md"
MARKS = ("<!-- demo -->\n", "\n<!-- end of demo -->")
TITLES = {"demo": "The demo", "books": "Eleven books", "shakespeare": "Tiny Shakespeare"}
COLUMNS = 90
NUM_PANELS_SHOWN = 1


def main() -> None:
    """Run the demo that was asked for, and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", choices=TITLES)
    parser.add_argument("corpus", nargs="?", type=Path, help="the text; of the demo itself none")
    arguments = parser.parse_args()
    if (arguments.corpus is None) != (arguments.name in {None, "demo"}):
        parser.error("books and shakespeare need a corpus, demo takes none")
    if arguments.name is not None:
        page = FOLDER / f"{arguments.name}.md"
        page.write_text(make_page(arguments.name, arguments.corpus), encoding="utf-8")
    before, _, rest = README.read_text(encoding="utf-8").partition(MARKS[0])
    if MARKS[1] not in rest:
        sys.exit(f"{README} lacks {MARKS[1].strip()!r} after {MARKS[0].strip()!r}: what follows the demo would be lost")
    shortened = shorten((FOLDER / "demo.md").read_text(encoding="utf-8"))
    README.write_text(f"{before}{MARKS[0]}{shortened}{MARKS[1]}{rest.partition(MARKS[1])[2]}", encoding="utf-8")


def make_page(name: str, corpus: Path | None) -> str:
    """The page, of a run in an empty folder, in which the corpus lies under its own name."""
    options: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        if corpus is not None:
            (Path(folder) / corpus.name).symlink_to(corpus.resolve())
            options = ["--corpus", corpus.name, "--out", f"{name}-demo"]
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "whelp", "demo", *options],
            cwd=folder,
            env={**os.environ, "COLUMNS": str(COLUMNS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        seconds = round(time.monotonic() - started)
    if done.returncode != 0:
        sys.exit(done.stdout)
    printed = "\n".join(line.rstrip() for line in done.stdout.strip().splitlines())
    command = " ".join(["whelp demo", *options])
    about = (
        f"{datetime.date.today()}, {describe_machine()}. `{command}`, as it came out when not written to a terminal (a terminal "
        f"gets a moving bar instead of the `train` lines). {seconds // 60} min {seconds % 60:02} s in all."
    )
    return f"# {TITLES[name]}\n\n{textwrap.fill(about, 130)}\n\n```text\n{printed}\n```\n"


def describe_machine() -> str:
    """Processor, cores, versions."""
    information = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    model = re.search(r"model name\s*: (.*)", information)
    flags = set(re.findall(r"\w+", next(iter(re.findall(r"flags\s*: (.*)", information)), "")))
    units = next((name for flag, name in (("amx_tile", "AMX"), ("avx512f", "AVX-512"), ("avx2", "AVX2")) if flag in flags), "")
    torch = version("torch")
    return ", ".join(
        [
            (model.group(1) if model else platform.processor()) + (f" with {units}" if units else ""),
            f"{os.cpu_count()} cores",
            f"Python {'.'.join(platform.python_version_tuple()[:2])}",
            f"torch {torch.partition('+')[0]}" + (" (CPU build)" if torch.endswith("+cpu") else ""),
        ]
    )


def shorten(page: str) -> str:
    """The block of README.md: the beginning, the last line of progress, and the first texts before and after training."""
    printed = page.partition("```text\n")[2].rpartition("\n```")[0].splitlines()
    first_sample = next(index for index, line in enumerate(printed) if line.startswith("step 0"))
    last_progress = max(index for index, line in enumerate(printed) if line.startswith("train"))
    top = next(index for index, line in enumerate(printed) if line.startswith("┏"))
    bottom = next(index for index, line in enumerate(printed) if line.startswith("└"))
    borders = [index for index, line in enumerate(printed) if line.startswith("├")]
    panels = printed[top : [*borders, bottom][NUM_PANELS_SHOWN - 1]]
    lines = [*printed[:first_sample], "...", printed[last_progress], "", *panels, *printed[bottom:]]
    return "```text\n" + "\n".join(lines) + "\n```"


if __name__ == "__main__":
    main()
