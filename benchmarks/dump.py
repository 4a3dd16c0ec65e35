"""Time a MediaWiki dump to text: whelp beside mwxml with mwparserfromhell, and beside wikiextractor.

    python benchmarks/dump.py --dump enwiki-latest-pages-articles1.xml.bz2
    python benchmarks/dump.py --dump enwiki_206_pages.xml.bz2 --repeat 8 --rounds 3 --json out.json

Five questions, each in MB of XML a second of processor time (user and system, children too; wall time says little on a shared
machine), with start-up, in a process of its own for each contestant, in a new order every round; values are medians:

read        pages out of the packed dump, no text made: whelp; mwxml
plain       the same, of the dump unpacked before
same        the same parser behind both: whelp's pages and mwxml's, each through mwparserfromhell's `strip_code`
text        the whole way to JSON lines: whelp; whelp on two processes; mwxml with mwparserfromhell; wikiextractor without templates
plaintext   the same, of the dump unpacked before: whelp; wikiextractor without templates

`--repeat` writes the pages so many times into one multistream dump, as Wikimedia packs them, and uses that. Packages that are
not installed are left out and named.
"""

from __future__ import annotations

import argparse
import bz2
import importlib.util
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGES_A_STREAM = 100
CONTESTANTS = {
    "read": ("whelp", "mwxml"),
    "plain": ("whelp", "mwxml"),
    "same": ("whelp + mwparserfromhell", "mwxml + mwparserfromhell"),
    "text": ("whelp", "whelp, 2 processes", "mwxml + mwparserfromhell", "wikiextractor"),
    "plaintext": ("whelp", "wikiextractor"),
}
SLOW = ("mwparserfromhell",)  # measured in fewer rounds


def write_multistream(source: Path, out: Path, repeat: int) -> None:
    """The pages of a dump, so many times, in streams of a hundred pages."""
    xml = bz2.decompress(source.read_bytes()) if source.suffix == ".bz2" else source.read_bytes()
    header, mark, rest = xml.partition(b"  <page>")
    body, _, footer = (mark + rest).rpartition(b"</page>\n")
    pages = [page + b"</page>\n" for page in body.split(b"</page>\n")]
    groups = [b"".join(pages[start : start + PAGES_A_STREAM]) for start in range(0, len(pages), PAGES_A_STREAM)]
    packed = b"".join(map(bz2.compress, groups))
    out.write_bytes(bz2.compress(header) + packed * repeat + bz2.compress(footer))


def unpack(dump: Path, out: Path) -> int:
    """The dump without its packing; how many bytes that is."""
    with bz2.open(dump) if dump.suffix == ".bz2" else open(dump, "rb") as file, open(out, "wb") as plain:
        return sum(plain.write(block) for block in iter(lambda: file.read(1 << 20), b""))


# ----------------------------------------------------------------------------------------------------
# Inside the process of one contestant; each returns (pages or documents, characters)
# ----------------------------------------------------------------------------------------------------


def read_whelp(dump: Path) -> tuple[int, int]:
    """Pages by whelp."""
    pages = [len(page.text) for page in _iter_whelp_pages(dump)]
    return len(pages), sum(pages)


def read_mwxml(dump: Path) -> tuple[int, int]:
    """Pages by mwxml."""
    pages = [len(text or "") for _, _, text in _iter_mwxml_pages(dump)]
    return len(pages), sum(pages)


def same_whelp(dump: Path) -> tuple[int, int]:
    """Whelp's pages through mwparserfromhell."""
    return _strip(page.text for page in _iter_whelp_pages(dump) if page.namespace == 0 and not page.is_redirect)


def same_mwxml(dump: Path) -> tuple[int, int]:
    """mwxml's pages through mwparserfromhell."""
    return _strip(text or "" for namespace, redirect, text in _iter_mwxml_pages(dump) if namespace == 0 and not redirect)


def text_whelp(dump: Path, workers: int = 1) -> tuple[int, int]:
    """The command's own work."""
    from whelp.collect.dump import DumpConfig, iter_dump

    documents = characters = 0
    with tempfile.TemporaryFile() as out:
        for part in iter_dump(dump, DumpConfig(disambiguation=True), workers=workers):
            out.write(part.lines)
            documents, characters = documents + part.pages["kept"], characters + len(part.lines)
    return documents, characters


def text_wikiextractor(dump: Path) -> tuple[int, int]:
    """The program, as its page says, without expanding templates."""
    with tempfile.TemporaryFile() as out:
        options = ["--json", "-o", "-", "--no-templates", "--processes", "1", "-q"]
        subprocess.run([sys.executable, "-m", "wikiextractor.WikiExtractor", str(dump), *options], stdout=out, check=True)
        out.seek(0)
        lines = out.read().splitlines()
    return len(lines), sum(map(len, lines))


def _iter_whelp_pages(dump: Path) -> Any:
    from whelp.collect.dump.cut_pages import iter_pieces
    from whelp.collect.dump.pages import iter_pages
    from whelp.collect.dump.stream import find_codec, iter_blocks

    for piece in iter_pieces(((block.data, True) for block in iter_blocks(dump, find_codec(dump))), 1 << 26):
        yield from filter(None, iter_pages(piece.pages))


def _iter_mwxml_pages(dump: Path) -> Any:
    import mwxml

    with bz2.open(dump, "rt", encoding="utf-8") if dump.suffix == ".bz2" else open(dump, encoding="utf-8") as file:
        for page in mwxml.Dump.from_file(file):
            for revision in page:
                yield page.namespace, page.redirect, revision.text


def _strip(texts: Any) -> tuple[int, int]:
    import mwparserfromhell

    documents = characters = 0
    with tempfile.TemporaryFile("w", encoding="utf-8") as out:
        for text in texts:
            stripped = mwparserfromhell.parse(text).strip_code()
            out.write(json.dumps({"text": stripped}, ensure_ascii=False) + "\n")
            documents, characters = documents + 1, characters + len(stripped)
    return documents, characters


WORK: dict[tuple[str, str], Callable[[Path], tuple[int, int]]] = {
    ("read", "whelp"): read_whelp,
    ("read", "mwxml"): read_mwxml,
    ("plain", "whelp"): read_whelp,
    ("plain", "mwxml"): read_mwxml,
    ("same", "whelp + mwparserfromhell"): same_whelp,
    ("same", "mwxml + mwparserfromhell"): same_mwxml,
    ("text", "whelp"): text_whelp,
    ("text", "whelp, 2 processes"): lambda dump: text_whelp(dump, 2),
    ("text", "mwxml + mwparserfromhell"): same_mwxml,
    ("text", "wikiextractor"): text_wikiextractor,
    ("plaintext", "whelp"): text_whelp,
    ("plaintext", "wikiextractor"): text_wikiextractor,
}


def work(question: str, name: str, dump: Path) -> None:
    """Do the work of one contestant; print what it took."""
    began = time.perf_counter()
    count, characters = WORK[question, name](dump)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    seconds = sum(usage.ru_utime + usage.ru_stime for usage in used)
    wall = time.perf_counter() - began
    print(json.dumps({"cpu_seconds": seconds, "wall_seconds": wall, "count": count, "characters": characters}))


# ----------------------------------------------------------------------------------------------------


def find_missing(name: str) -> list[str]:
    """Packages that a contestant needs and that are not there."""
    return [part for part in name.split(" + ") if not part.startswith("whelp") and importlib.util.find_spec(part) is None]


def main() -> None:
    """Run all contestants and print a table for each question."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dump", type=Path, required=True)
    parser.add_argument("--repeat", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--work", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(*options.work, options.dump)
        return
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # start-up counts: from compiled files for everybody
    with tempfile.TemporaryDirectory() as folder:
        dump = options.dump
        if options.repeat:
            dump = Path(folder) / "multistream.xml.bz2"
            write_multistream(options.dump, dump, options.repeat)
        plain = Path(folder) / "plain.xml"
        megabytes = unpack(dump, plain) / 1e6
        results: dict[tuple[str, str], list[dict[str, float]]] = {}
        names = [(question, name) for question, all_names in CONTESTANTS.items() for name in all_names]
        for question, name in names:
            if missing := find_missing(name):
                print(f"left out: {question}, {name} (not installed: {', '.join(missing)})")
        for number in range(options.rounds):
            for question, name in names[number % len(names) :] + names[: number % len(names)]:
                if find_missing(name) or (number and any(slow in name for slow in SLOW)):
                    continue
                given = plain if question.startswith("plain") else dump
                program = [sys.executable, __file__, "--dump", str(given), "--work", question, name]
                done = subprocess.run(program, check=True, capture_output=True, text=True, env=environment)
                results.setdefault((question, name), []).append(json.loads(done.stdout.splitlines()[-1]))
    report(results, megabytes)
    if options.json:
        rows = [{"question": question, "name": name, "runs": runs} for (question, name), runs in results.items()]
        options.json.write_text(json.dumps({"megabytes": megabytes, "results": rows}, indent=1))


def report(results: dict[tuple[str, str], list[dict[str, float]]], megabytes: float) -> None:
    """A table for each question."""
    print(f"\n{megabytes:.1f} MB of XML; Python {platform.python_version()}, {os.cpu_count()} cores\n")
    for question, names in CONTESTANTS.items():
        print(f"| {question} | MB/CPU s | whelp's is | MB/s wall | documents | characters |")
        print("|---|---|---|---|---|---|")
        ours = None
        for name in names:
            runs = results.get((question, name))
            if not runs:
                continue
            cpu, wall = (statistics.median(run[key] for run in runs) for key in ("cpu_seconds", "wall_seconds"))
            rate = megabytes / cpu
            ours = ours or rate
            times = "" if name.startswith("whelp") else f"{ours / rate:.1f} x"
            counts = f"{runs[0]['count']:,} | {runs[0]['characters']:,}"
            print(f"| {name} | {rate:.1f} | {times} | {megabytes / wall:.1f} | {counts} |")
        print()


if __name__ == "__main__":
    main()
