"""Time encoding and learning of vocabularies: whelp beside the libraries that people use for it.

    python benchmarks/vocabularies.py --text books/ --shelf vocabularies/
    python benchmarks/vocabularies.py --text corpus.txt --megabytes 100 --rounds 5 --only learn --json out.json
    python benchmarks/vocabularies.py --text books/ --only encode --vocabularies unigram/ --encoders whelp,tokenizers --slow-megabytes 20

Encoding: MB/s and MB per CPU second with each number of threads, of the vocabularies gpt2, p50k_base, neox and world, or of
`--vocabularies` (what `load_tokenizer` finds, in `--shelf` too, and folders of learned ones), the first pass over the text and a
second one with warm caches. `bare` is the fast encoder that whelp uses, called without whelp around it; of World,
`pyrwkv-tokenizer`. Both get all texts in one call; before the clock starts, both have encoded one long text of few words, so that
each thread has its memory of words. The column `of bare` (first pass, by the clock / by processor time) is whelp's goal: 95 % or
more. `same ids` compares a hash of all ids with whelp's.

Learning: a byte-level BPE of `--vocab-size` with GPT-2's pattern from the first nine tenths of the text: wall time, CPU time,
the largest memory of the process up to then, and bytes a token on the last tenth. `whelp` and the others get batches of
Arrow strings, read from a file one after the other, or lists of them; `whelp-jsonl` reads JSON lines as any source of a recipe;
`whelp-tenth` learns with `max_bytes` from a tenth: its memory must not grow with the corpus. `gigatoken` is the trainer that
whelp uses, called bare on a file of the text in its own format, `gigatoken-jsonl` on the same JSON lines as `whelp-jsonl`.
All files are there before the clock starts.

Each contestant runs in a process of its own, one at a time; they alternate within a round and the order rotates between
rounds. Values are medians over rounds. Libraries that are not installed are left out and named.
"""

from __future__ import annotations

import sys
from pathlib import Path

if sys.path and sys.path[0] and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    del sys.path[0]  # this file has the name of a package that it imports

import argparse
import contextlib
import hashlib
import importlib.util
import itertools
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa

VOCABULARIES = ("gpt2", "p50k_base", "neox", "world")
ENCODERS = ("whelp", "bare", "tokenizers", "tiktoken", "rwkv")
LEARNERS = ("whelp", "whelp-jsonl", "whelp-tenth", "gigatoken", "gigatoken-jsonl", "tokenizers", "rustbpe", "bpeasy")
PACKAGES = {"bare": "gigatoken", "whelp-jsonl": "whelp", "whelp-tenth": "whelp", "gigatoken-jsonl": "gigatoken"}
GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BATCH_DOCUMENTS = 1000
WARM_UP = "a few words over and over again " * 150_000
"""So long that every thread of the fast encoder makes its memory of words, before the clock starts."""


# ----------------------------------------------------------------------------------------------------
# Inside the process of one contestant
# ----------------------------------------------------------------------------------------------------


def run_worker(arguments: argparse.Namespace) -> None:
    """Do one job and print its result as JSON."""
    if arguments.worker == "learn":
        result = learn(arguments)
    else:
        table = pa.ipc.open_file(pa.memory_map(arguments.table)).read_all()
        result = encode(arguments, pa.concat_arrays(table.column("text").chunks))
    print(json.dumps({"peak_megabytes": peak_megabytes(), **result}))


def peak_megabytes() -> float:
    """The largest memory of this process. getrusage would give what the program that started it held at that moment."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def encode(arguments: argparse.Namespace, texts: pa.Array) -> dict[str, Any]:
    """Encode the text twice, each time from the same Arrow array."""
    started = time.perf_counter()
    encoder = make_encoder(arguments.library, arguments.vocabulary, arguments.threads)
    load_seconds = time.perf_counter() - started
    if encoder is None:
        return {"missing": True}
    if arguments.library in ("tokenizers", "rwkv"):
        ends = np.asarray(texts.buffers()[1]).view(np.int64)[1 : len(texts) + 1]
        texts = texts.slice(0, max(1, int(np.searchsorted(ends, arguments.slow_megabytes * 1e6))))
    num_bytes = sum(chunk.nbytes for chunk in (texts,)) - 8 * (len(texts) + 1)
    encoder(pa.array([WARM_UP], pa.large_string()) if arguments.library in ("whelp", "bare") else texts.slice(0, 1))
    passes = []
    ids = None
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        ids = encoder(texts)
        passes.append((time.perf_counter() - wall, time.process_time() - cpu))
    flat = (
        np.concatenate([np.asarray(part, np.uint32) for part in ids]) if isinstance(ids, list) else np.asarray(ids, np.uint32)
    )
    return {
        "load_seconds": load_seconds,
        "megabytes": num_bytes / 1e6,
        "first_seconds": passes[0][0],
        "first_cpu_seconds": passes[0][1],
        "second_seconds": passes[1][0],
        "second_cpu_seconds": passes[1][1],
        "num_tokens": len(flat),
        "hash": hashlib.blake2b(flat.tobytes(), digest_size=8).hexdigest(),
    }


def make_encoder(library: str, vocabulary: str, threads: int) -> Callable[[pa.Array], Any] | None:
    """A function from an Arrow array to flat ids or a list of ids by document; None where the library has no such vocabulary."""
    from whelp.tokenizer import load_tokenizer

    loaded = load_tokenizer(vocabulary)
    if library == "whelp":
        return lambda texts: loaded.encode_batch(texts)[0]
    if library == "tokenizers":
        from tokenizers import Tokenizer

        reference = Tokenizer.from_str(json.dumps(loaded.specification()))
        reference.encode_special_tokens = True
        return lambda texts: [entry.ids for entry in reference.encode_batch_fast(texts.to_pylist(), add_special_tokens=False)]
    if vocabulary == "world":
        return make_world_encoder(library)
    if library == "bare":
        return make_bare_encoder(loaded.specification())
    if library == "tiktoken" and vocabulary in ("gpt2", "p50k_base"):
        import tiktoken

        ranks = {loaded.decode_bytes([rank]): rank for rank in range(loaded.size) if loaded.decode_bytes([rank])}
        encoding = tiktoken.Encoding(vocabulary, pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
        return lambda texts: encoding.encode_ordinary_batch(texts.to_pylist(), num_threads=threads)
    return None


def make_bare_encoder(specification: dict[str, Any]) -> Callable[[pa.Array], Any]:
    """gigatoken over the same Arrow buffers, without control tokens in text."""
    import awkward
    import gigatoken
    from gigatoken.gigatoken_rs import load_hf_json

    specification["added_tokens"] = [entry for entry in specification["added_tokens"] if not entry["special"]]
    tokenizer = gigatoken.Tokenizer(load_hf_json(json.dumps(specification)))

    def run(texts: pa.Array) -> Any:
        _, offsets, data = texts.buffers()
        starts = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
        characters = awkward.contents.NumpyArray(np.frombuffer(data, np.uint8), parameters={"__array__": "char"})
        layout = awkward.contents.ListOffsetArray(awkward.index.Index64(starts), characters, parameters={"__array__": "string"})
        return np.asarray(tokenizer.encode_batch(awkward.Array(layout)).layout.content.data)

    return run


def make_world_encoder(library: str) -> Callable[[pa.Array], Any] | None:
    """The two other encoders of World."""
    if library == "bare" and importlib.util.find_spec("pyrwkv_tokenizer"):
        import pyrwkv_tokenizer

        fast = pyrwkv_tokenizer.RWKVTokenizer()
        return lambda texts: fast.encode_batch(texts.to_pylist())
    if library == "rwkv" and (found := importlib.util.find_spec("rwkv")) and found.origin:
        from rwkv.rwkv_tokenizer import TRIE_TOKENIZER

        slow = TRIE_TOKENIZER(str(Path(found.origin).with_name("rwkv_vocab_v20230424.txt")))
        return lambda texts: [slow.encode(text) for text in texts.to_pylist()]
    return None


def learn(arguments: argparse.Namespace) -> dict[str, Any]:
    """Learn from the batches that are for learning; count the tokens of the others."""
    reader = pa.ipc.open_file(pa.OSFile(arguments.table))  # not mapped, or all that was read would count as memory
    num_train = max(1, reader.num_record_batches * 9 // 10)
    is_whelp = arguments.library.startswith("whelp")
    module = "whelp.cli.tokenizer" if is_whelp else arguments.library.removesuffix("-jsonl")
    importlib.import_module(module)  # or imports would be counted
    wall, cpu = time.perf_counter(), time.process_time()
    batches = (reader.get_batch(number).column("text") for number in range(num_train))
    count = learn_with(arguments.library, batches, arguments.vocab_size, Path(arguments.table))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    peak = peak_megabytes()
    held_out = pa.concat_arrays(
        [reader.get_batch(number).column("text") for number in range(num_train, reader.num_record_batches)]
    )
    num_bytes = sum(len(text.encode()) for text in held_out.to_pylist())
    return {"seconds": wall, "cpu_seconds": cpu, "peak_megabytes": peak, "bytes_per_token": num_bytes / max(1, count(held_out))}


def learn_with(library: str, batches: Iterator[pa.Array], vocab_size: int, table: Path) -> Callable[[pa.Array], int]:
    """Learn `vocab_size` ids (without control tokens); a function that counts the tokens of other texts."""
    rows = (batch.to_pylist() for batch in batches)
    if library.startswith("whelp"):
        from whelp.corpus import SourceConfig, iter_texts, open_source
        from whelp.tokenizer import LearnConfig
        from whelp.tokenizer import learn as learn_vocabulary

        budget = int(table.with_suffix(".txt").stat().st_size // 10) if library == "whelp-tenth" else None
        source = SourceConfig(source=str(table.with_suffix(".jsonl")))
        texts = iter_texts(open_source(source)) if library == "whelp-jsonl" else batches
        vocabulary = learn_vocabulary(texts, LearnConfig(vocab_size=vocab_size + 2, max_bytes=budget))
        return lambda texts: len(vocabulary.encode_batch(texts)[0])
    if library == "tokenizers":
        from tokenizers import Tokenizer, models, pre_tokenizers, trainers

        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False)
        tokenizer.train_from_iterator(rows, trainer)
        return lambda texts: sum(len(entry.ids) for entry in tokenizer.encode_batch_fast(texts.to_pylist()))
    each = itertools.chain.from_iterable(rows)
    if library.startswith("gigatoken"):
        import gigatoken

        if library == "gigatoken-jsonl":
            tokens, _ = gigatoken.train_bpe(gigatoken.JsonlFileSource([table.with_suffix(".jsonl")]), vocab_size, [])
        else:
            text_file = gigatoken.TextFileSource([table.with_suffix(".txt")], separator=b"\xff")
            tokens, _ = gigatoken.train_bpe(text_file, vocab_size, [], separator=b"\xff")
        ranks = {token: rank for rank, token in tokens.items()}
    elif library == "rustbpe":
        import rustbpe

        learned = rustbpe.Tokenizer()
        learned.train_from_iterator(each, vocab_size, pattern=GPT2_PATTERN)
        ranks = {bytes(token): rank for token, rank in learned.get_mergeable_ranks()}
    else:
        import bpeasy

        ranks = bpeasy.train_bpe(each, GPT2_PATTERN, 128, vocab_size)
    import tiktoken

    encoding = tiktoken.Encoding(library, pat_str=GPT2_PATTERN, mergeable_ranks=ranks, special_tokens={})
    return lambda texts: sum(map(len, encoding.encode_ordinary_batch(texts.to_pylist(), num_threads=1)))


# ----------------------------------------------------------------------------------------------------
# The program around them
# ----------------------------------------------------------------------------------------------------


def main() -> None:
    arguments = parse_arguments()
    if arguments.worker:
        run_worker(arguments)
        return
    with tempfile.TemporaryDirectory(prefix="whelp-benchmark-") as folder:
        table = Path(folder) / "texts.arrow"
        num_documents, num_bytes = write_texts(arguments.text, int(arguments.megabytes * 1e6), table)
        print(f"{num_bytes / 1e6:.1f} MB in {num_documents:,} documents; {describe_machine()}; {', '.join(iter_versions())}\n")
        found: dict[str, Any] = {"megabytes": num_bytes / 1e6, "machine": describe_machine()}
        if "encode" in arguments.only:
            found["encode"] = measure_encoding(arguments, table)
            show_encoding(found["encode"])
        if "learn" in arguments.only:
            write_other_files(table)
            found["learn"] = measure_learning(arguments, table)
            show_learning(found["learn"], arguments.vocab_size)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=2) + "\n")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", nargs="+", type=Path, help="text files, or folders of them")
    parser.add_argument("--megabytes", type=float, default=20.0, help="how much of the text (repeated if it is shorter)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=lambda value: [int(item) for item in value.split(",")], default=[1, 2])
    parser.add_argument("--vocabularies", type=lambda value: value.split(","), default=list(VOCABULARIES))
    parser.add_argument("--shelf", type=Path, help="a folder of vocabularies, as $WHELP_TOKENIZERS")
    parser.add_argument("--vocab-size", type=int, default=32_768)
    parser.add_argument("--only", type=lambda value: value.split(","), default=["encode", "learn"], help="encode, learn")
    parser.add_argument("--encoders", type=lambda value: value.split(","), default=list(ENCODERS), help="who encodes")
    parser.add_argument("--learners", type=lambda value: value.split(","), default=list(LEARNERS), help="who learns")
    parser.add_argument("--slow-megabytes", type=float, default=2.0, help="of which the slow libraries encode so much")
    parser.add_argument("--json", type=Path, help="write every number here")
    parser.add_argument("--worker", choices=["encode", "learn"], help=argparse.SUPPRESS)
    parser.add_argument("--table", help=argparse.SUPPRESS)
    parser.add_argument("--library", help=argparse.SUPPRESS)
    parser.add_argument("--vocabulary", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.worker and not arguments.text:
        parser.error("--text is needed")
    if arguments.worker:
        arguments.threads = arguments.threads[0]
    return arguments


def write_texts(paths: list[Path], num_bytes: int, table: Path) -> tuple[int, int]:
    """Cut the texts into documents, again from the start where there is too little, and write them as an Arrow file."""
    files = sorted(file for path in paths for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
    once = [document for file in files for document in iter_documents(file)]
    if not once:
        sys.exit("there is no text in the files given")
    documents, written = [], 0
    for document in itertools.cycle(once):
        documents.append(document)
        written += len(document.encode())
        if written >= num_bytes:
            break
    schema = pa.schema([("text", pa.large_string())])
    with pa.ipc.new_file(str(table), schema) as writer:
        for first in range(0, len(documents), BATCH_DOCUMENTS):
            texts = pa.array(documents[first : first + BATCH_DOCUMENTS], pa.large_string())
            writer.write_batch(pa.record_batch([texts], schema))
    return len(documents), written


def write_other_files(table: Path) -> None:
    """What is for learning as documents that end with a byte 255, and as JSON lines."""
    reader = pa.ipc.open_file(str(table))
    with open(table.with_suffix(".txt"), "wb") as text_file, open(table.with_suffix(".jsonl"), "w", encoding="utf-8") as lines:
        for number in range(max(1, reader.num_record_batches * 9 // 10)):
            for text in reader.get_batch(number).column("text").to_pylist():
                text_file.write(text.encode() + b"\xff")
                lines.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def iter_documents(file: Path) -> Iterator[str]:
    """Whole lines of a file, some two thousand characters at a time."""
    lines: list[str] = []
    size = 0
    with open(file, encoding="utf-8", errors="ignore") as text:
        for line in text:
            lines.append(line)
            size += len(line)
            if size >= 2000:
                yield "".join(lines)
                lines, size = [], 0
    if size:
        yield "".join(lines)


def start_encoder(
    arguments: argparse.Namespace, table: Path, threads: int, vocabulary: str, library: str
) -> dict[str, Any] | None:
    """One library on one vocabulary, in a process of its own."""
    return start_worker(arguments, table, threads, ["--worker", "encode", "--library", library, "--vocabulary", vocabulary])


def measure_encoding(arguments: argparse.Namespace, table: Path) -> list[dict[str, Any]]:
    """Every vocabulary, library and number of threads."""
    rows = []
    for vocabulary in arguments.vocabularies:
        for threads in arguments.threads:
            libraries = [name for name in arguments.encoders if is_installed(name)]
            start = partial(start_encoder, arguments, table, threads, vocabulary)
            runs = run_rounds(libraries, arguments.rounds, start)
            for library, results in runs.items():
                if not any("missing" in result for result in results):
                    rows.append({"vocabulary": vocabulary, "threads": threads, "library": library, "runs": results})
    return rows


def measure_learning(arguments: argparse.Namespace, table: Path) -> list[dict[str, Any]]:
    libraries = [name for name in arguments.learners if is_installed(name)]
    threads = max(arguments.threads)
    runs = run_rounds(
        libraries,
        arguments.rounds,
        lambda library: start_worker(
            arguments,
            table,
            threads,
            ["--worker", "learn", "--library", library, "--vocab-size", str(arguments.vocab_size)],
        ),
    )
    return [{"library": library, "threads": threads, "runs": results} for library, results in runs.items()]


def is_installed(library: str) -> bool:
    package = PACKAGES.get(library, library)
    is_there = importlib.util.find_spec(package) is not None
    if not is_there:
        print(f"({package} is not installed: left out)")
    return is_there


def run_rounds(libraries: list[str], num_rounds: int, run: Callable[[str], dict[str, Any] | None]) -> dict[str, list[Any]]:
    """Alternate the libraries, from another one in each round; one that fails is left out and named."""
    found: dict[str, list[Any]] = {library: [] for library in libraries}
    for number in range(num_rounds):
        shift = number % len(libraries)
        for library in [*libraries[shift:], *libraries[:shift]]:
            if library in found:
                result = run(library)
                if result is None or "missing" in result:
                    del found[library]
                else:
                    found[library].append(result)
    return found


def start_worker(arguments: argparse.Namespace, table: Path, threads: int, words: list[str]) -> dict[str, Any] | None:
    """Run one contestant in a process of its own."""
    environment = {
        **os.environ,
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true" if threads > 1 else "false",
    }
    if arguments.shelf:
        environment["WHELP_TOKENIZERS"] = str(arguments.shelf.resolve())
    words += ["--slow-megabytes", str(arguments.slow_megabytes)]
    command = [sys.executable, __file__, "--table", str(table), "--threads", str(threads), *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        print(f"({' '.join(words)} failed: {done.stderr.strip().splitlines()[-1:]})")
        return None
    return dict(json.loads(done.stdout.splitlines()[-1]))


def median_speed(runs: list[dict[str, Any]], name: str) -> float:
    """MB in each of the seconds that are measured under this name."""
    return median(runs, lambda run: run["megabytes"] / max(run[name], 1e-9))


def median(runs: list[dict[str, Any]], compute: Callable[[dict[str, Any]], float]) -> float:
    return statistics.median(map(compute, runs))


def show_encoding(rows: list[dict[str, Any]]) -> None:
    print(
        "| vocabulary | threads | library | MB/s, first pass | MB per CPU s | of bare | warm: MB/s | MB per CPU s | same ids | opens in s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    names = ("first_seconds", "first_cpu_seconds", "second_seconds", "second_cpu_seconds")
    for row in rows:
        group = {
            other["library"]: other["runs"]
            for other in rows
            if (other["vocabulary"], other["threads"]) == (row["vocabulary"], row["threads"])
        }
        first, first_cpu, warm, warm_cpu = (median_speed(row["runs"], name) for name in names)
        share = ""
        if row["library"] == "whelp" and "bare" in group:
            share = " / ".join(
                f"{median_speed(row['runs'], name) / median_speed(group['bare'], name):.0%}" for name in names[:2]
            )
        same = "-"
        if "whelp" in group and row["runs"][0]["megabytes"] == group["whelp"][0]["megabytes"]:
            same = "yes" if row["runs"][0]["hash"] == group["whelp"][0]["hash"] else "no"
        opens = median(row["runs"], lambda run: run["load_seconds"])
        print(
            f"| {row['vocabulary']} | {row['threads']} | {row['library']} | {first:.1f} | {first_cpu:.1f} | {share} | {warm:.1f} "
            f"| {warm_cpu:.1f} | {same} | {opens:.2f} |"
        )
    print()


def show_learning(rows: list[dict[str, Any]], vocab_size: int) -> None:
    print(f"| learning {vocab_size:,} ids | wall s | CPU s | peak MB | bytes a token, held out |")
    print("|---|---|---|---|---|")
    for row in rows:
        wall, cpu, peak, size = (
            median(row["runs"], itemgetter(name)) for name in ("seconds", "cpu_seconds", "peak_megabytes", "bytes_per_token")
        )
        print(f"| {row['library']} | {wall:.1f} | {cpu:.1f} | {peak:.0f} | {size:.3f} |")


def describe_machine() -> str:
    return (
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, {os.uname().sysname}"
    )


def iter_versions() -> Iterator[str]:
    """Name and version of every library that takes part."""
    import importlib.metadata

    for package in ("whelp", "gigatoken", "tokenizers", "tiktoken", "pyrwkv_tokenizer", "rwkv", "rustbpe", "bpeasy"):
        if importlib.util.find_spec(package) is not None:
            with contextlib.suppress(importlib.metadata.PackageNotFoundError):  # a folder on the path, not installed
                yield f"{package} {importlib.metadata.version(package)}"


if __name__ == "__main__":
    main()
