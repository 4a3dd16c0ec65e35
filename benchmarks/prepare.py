"""Time the path from raw text to packed token ids on disk: whelp beside the ways people prepare such data today.

    python benchmarks/prepare.py --vocabulary gpt2_folder
    python benchmarks/prepare.py --vocabulary gpt2_folder --megabytes 20 --rounds 1 --only alone,whelp-jsonl,nanogpt
    python benchmarks/prepare.py --vocabulary gpt2_folder --megabytes 100 --peer-megabytes 20 --rounds 1 --text books/*.txt
    python benchmarks/prepare.py --vocabulary gpt2_folder --megabytes 1000 --peer-megabytes 100 --rounds 1 --only whelp-jsonl,nanogpt
    python benchmarks/prepare.py --vocabulary gpt2_folder --memory 400,4000      (peak memory of whelp-jsonl)
    python benchmarks/prepare.py --vocabulary gpt2_folder --memory 400,4000 --memory-new      (and a new word in every line)

The folder holds GPT-2's `vocab.bpe` and `encoder.json` (and nothing is downloaded). The corpus is made on the machine: the
sources of the Python standard library and of the installed packages, their text files, and the English texts named with
`--text`; exact duplicates are left out, the order is shuffled once, and the same documents are written as one file of JSON
lines, as two, as one Parquet file, and as a folder of text files. The contestants:

``alone``            encoding and writing alone: the fast encoder over documents that lie in memory already, end-of-text ids put
                     in, written as 16-bit numbers. Nothing is read, hashed, divided or counted: the floor.
``alone-jsonl``      the same, with reading the JSON lines counted.
``whelp-jsonl``, ``whelp-parquet``, ``whelp-files``   `whelp.prepare`, to a finished store with its checksums and ledger.
``bark``             BarkGPT's: `datasets` map, then `group_texts`, which joins lists with `sum`.
``books``            a GPT-2-on-books tutorial's: map, join a million rows, cut into 1,024, two processes.
``codeparrot``       CodeParrot's constant-length dataset: a buffer of text, encoded when full, cut into 1,024.
``nanogpt``          nanoGPT's style of `prepare.py`: `datasets` map with tiktoken in two processes, then a memory map of 16-bit ids.
``datatrove``        its JSON lines reader and document tokenizer, two local workers.

The peers are written anew from their published descriptions, with two changes that make the ids comparable: no truncation, and
an end-of-text id after every document. Each contestant runs in a process of its own; they alternate within a round, and the
order rotates between rounds. Imports are not counted, loading the vocabulary is. CPU seconds and memory include child processes.
Every contestant's ids are compared with the reference encoder's: at least the first 100,000, all of them where nothing is dropped
(of a corpus of more than 200 MB, those of the first 200 MB).

What others do on the same cores makes some runs slower and none faster, so that the least of many short rounds is steadier than their
median: the floor is compared by both.

Of memory, the peak is VmHWM: all that the system counts to the process, mapped files with it. Beside it stands what is the process's
own (RssAnon, looked at every 20 ms). The texts of a larger corpus repeat themselves, since a machine has some 500 MB of them, and an
encoder that remembers words has then met them all; with ``--memory-new`` eight random letters stand in front of every line end, so
that new words never cease.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from prepare_contestants import CONTESTANTS, PEERS
from prepare_contestants.corpus import add_words, build_corpus, repeat_texts
from prepare_contestants.task import END, load_slow

REFERENCE_BYTES = 200_000_000  # the reference encodes some MB a second


def count_cpu_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def peak_megabytes() -> float:
    """The largest memory of this process or of one of its children."""
    # getrusage would give what the program that started this one held at that moment
    lines = Path("/proc/self/status").read_text().splitlines()
    own = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
    return max(own, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss) / 1024


class OwnMemory(threading.Thread):
    """Looks every 20 ms at the memory that is the process's own."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_megabytes = 0.0

    def run(self) -> None:
        while True:
            lines = Path("/proc/self/status").read_text().splitlines()
            own = next(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
            self.peak_megabytes = max(self.peak_megabytes, own / 1024)
            time.sleep(0.02)


def run_one(name: str, corpus: Path, vocabulary: Path, reference: Path | None, *, watches: bool) -> None:
    """Time one contestant; print one JSON line. `watches`: look at its memory all the while, besides."""
    own = OwnMemory()
    if watches:
        own.start()
    with tempfile.TemporaryDirectory(dir=corpus) as folder:
        out = Path(folder)
        work, read = CONTESTANTS[name](corpus, out, vocabulary)
        before, started = count_cpu_seconds(), time.perf_counter()
        work()
        seconds, cpu_seconds = time.perf_counter() - started, count_cpu_seconds() - before
        result = {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_megabytes": peak_megabytes()}
        result["own_megabytes"] = own.peak_megabytes
        if reference is not None:
            ids, expected = read().astype(np.uint16), np.load(reference, mmap_mode="r")
            shared = min(len(ids), len(expected))
            differs = np.flatnonzero(ids[:shared] != expected[:shared])
            result["same_ids"] = int(differs[0]) if len(differs) else shared
            result["ids"], result["ids_expected"] = len(ids), len(expected)
    print(json.dumps(result))


def write_reference(corpus: Path, vocabulary: Path, path: Path) -> None:
    """The ids of the reference library, document by document, with ends; of the first `REFERENCE_BYTES` of text."""
    import pyarrow.parquet as pq

    tokenizer = load_slow(vocabulary)
    table = pq.read_table(corpus / "all.parquet")["text"]
    pieces: list[np.ndarray] = []
    num_bytes = 0
    for first in range(0, len(table), 256):
        some = table.slice(first, 256)
        num_bytes += some.nbytes
        for ids in tokenizer(some.to_pylist())["input_ids"]:
            pieces.append(np.array([*ids, END], np.uint16))
        if num_bytes >= REFERENCE_BYTES:
            break
    np.save(path, np.concatenate(pieces))


def call(arguments: list[str]) -> dict[str, Any]:
    """Run this program for one contestant; its JSON line."""
    environment = {
        **os.environ,
        "TOKENIZERS_PARALLELISM": "true",
        "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    done = subprocess.run([sys.executable, __file__, *arguments], capture_output=True, text=True, env=environment)
    if done.returncode:
        return {"error": (done.stderr.strip().splitlines() or ["no message"])[-1]}
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


def median(values: list[float]) -> float:
    """The middle one."""
    return statistics.median(values)


def main() -> None:
    """Build the corpus, run the rounds, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocabulary", type=Path, required=True, help="folder with GPT-2's vocab.bpe and encoder.json")
    parser.add_argument("--megabytes", type=float, default=100.0)
    parser.add_argument("--text", type=Path, nargs="*", default=[], help="English text files to add")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", help="contestants, by commas")
    parser.add_argument("--memory", help="instead: peak memory of whelp-jsonl for corpora of these megabytes, by commas")
    parser.add_argument("--memory-new", action="store_true", help="with --memory: texts with a new word in every line")
    parser.add_argument("--peer-megabytes", type=float, help="a smaller corpus for the peers, whose time is linear in it")
    parser.add_argument("--work", type=Path, help="where the corpus is built (default: a temporary folder)")
    parser.add_argument("--json", type=Path, help="write all measurements here")
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--reference", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--watch", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        run_one(options.contestant, options.work, options.vocabulary, options.reference, watches=options.watch)
        return
    with tempfile.TemporaryDirectory() as temporary:
        work = options.work or Path(temporary)
        if options.memory:
            measure_memory(work, options)
        else:
            measure_speed(work, options)


def measure_memory(work: Path, options: argparse.Namespace) -> None:
    """Peak memory of preparing small and large corpora."""
    for megabytes in map(float, options.memory.split(",")):
        corpus = work / f"{megabytes:.0f}"
        corpus.mkdir(parents=True, exist_ok=True)
        num_bytes = 0
        generator = np.random.default_rng(0)
        with open(corpus / "all.jsonl", "w", encoding="utf-8", newline="") as file:
            for text in repeat_texts(options.text):
                text = add_words(text, generator) if options.memory_new else text
                file.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
                num_bytes += len(text.encode())
                if num_bytes >= megabytes * 1e6:
                    break
        found = call(["--vocabulary", str(options.vocabulary), "--work", str(corpus), "--contestant", "whelp-jsonl", "--watch"])
        if "error" in found:
            raise SystemExit(found["error"])
        rates = f"{num_bytes / 1e6 / found['seconds']:.0f} MB/s, {num_bytes / 1e6 / found['cpu_seconds']:.0f} MB per CPU s"
        peaks = f"peak {found['peak_megabytes']:6.0f} MB, own memory {found['own_megabytes']:6.0f} MB"
        print(f"{megabytes:6.0f} MB: {peaks}, {rates}", flush=True)
        (corpus / "all.jsonl").unlink()


def measure_speed(work: Path, options: argparse.Namespace) -> None:
    """The rounds."""
    names = options.only.split(",") if options.only else list(CONTESTANTS)
    share = options.peer_megabytes or 0
    corpora = {name: work / ("share" if share and share >= PEERS.get(name, math.inf) else "whole") for name in names}
    sizes = {"whole": options.megabytes, "share": options.peer_megabytes}
    facts = {}
    for corpus in sorted(set(corpora.values())):
        facts[corpus] = build_corpus(corpus, sizes[corpus.name], options.text, has_files="whelp-files" in names)
        write_reference(corpus, options.vocabulary, corpus / "reference.npy")
    megabytes = {name: facts[corpus]["bytes"] / 1e6 for name, corpus in corpora.items()}
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores")
    for corpus, fact in facts.items():
        print(f"{corpus.name}: {fact['documents']:,} documents, {fact['bytes'] / 1e6:.1f} MB")
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for index in range(options.rounds):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            arguments = ["--vocabulary", str(options.vocabulary), "--work", str(corpora[name])]
            arguments += ["--reference", str(corpora[name] / "reference.npy")]
            found[name].append(call([*arguments, "--contestant", name]))
            print(f"round {index + 1} {name}: {found[name][-1]}", file=sys.stderr, flush=True)
    if options.json:
        options.json.write_text(json.dumps({"megabytes": megabytes, "runs": found}, indent=1))
    print(
        "| contestant | MB | seconds | MB/s | of alone | least of alone | whelp-jsonl is | CPU s | MB per CPU s | peak MB | ids |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    good = {name: runs for name, runs in found.items() if not any("error" in run for run in runs)}
    medians = {name: megabytes[name] / median([run["seconds"] for run in runs]) for name, runs in good.items()}
    bests = {name: megabytes[name] / min(run["seconds"] for run in runs) for name, runs in good.items()}
    for name, runs in found.items():
        errors = [run["error"] for run in runs if "error" in run]
        if errors:
            print(f"| {name} | failed: {errors[0]} |")
            continue
        seconds, cpu = [run["seconds"] for run in runs], [run["cpu_seconds"] for run in runs]
        same, ids, expected = runs[0]["same_ids"], runs[0]["ids"], runs[0]["ids_expected"]
        verdict = "all identical" if same == ids == expected else f"the first {same:,} of {ids:,} identical"
        assert same >= min(100_000, expected), f"{name} differs from the reference at id {same}"
        print(
            f"| {name} | {megabytes[name]:.1f} | {median(seconds):.2f} ({min(seconds):.2f}..{max(seconds):.2f}) | "
            f"{medians[name]:.1f} | {divide(medians, name, 'alone')} | {divide(bests, name, 'alone')} | "
            f"{divide(medians, 'whelp-jsonl', name)} | {median(cpu):.2f} ({min(cpu):.2f}..{max(cpu):.2f}) | "
            f"{megabytes[name] / median(cpu):.1f} | {max(run['peak_megabytes'] for run in runs):.0f} | {verdict} |"
        )


def divide(rates: dict[str, float], one: str, other: str) -> str:
    """How many times as fast one is as the other; nothing where one of them did not run."""
    return f"{rates[one] / rates[other]:.2f}" if one in rates and other in rates else ""


if __name__ == "__main__":
    main()
