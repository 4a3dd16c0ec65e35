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
import hashlib
import importlib
import itertools
import json
import math
import os
import platform
import random
import resource
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

BLOCK = 1024
END, END_TEXT = 50256, "<|endoftext|>"  # texts that spell the control token are left out: not all take it for text
REFERENCE_BYTES = 200_000_000  # the reference encodes some MB a second
SUFFIXES = (".py", ".pyi", ".md", ".rst", ".txt")


# --- the corpus ---


def iter_texts(extra: list[Path]) -> Iterator[str]:
    """Texts of this machine, and those named, without exact duplicates."""
    seen: set[bytes] = set()
    # One environment may lead on to another's packages, so what is imported from is looked at.
    roots = dict.fromkeys([sysconfig.get_path("stdlib"), *(root for root in sys.path if root.endswith("site-packages"))])
    paths = [path for root in roots for path in sorted(Path(root).rglob("*")) if path.suffix in SUFFIXES]
    for path in [*paths, *extra]:
        try:
            data = path.read_bytes()
            text = data.decode()
        except (OSError, UnicodeDecodeError):
            continue
        digest = hashlib.sha256(data).digest()
        if "\0" in text or "\r" in text or END_TEXT in text or not text.strip() or digest in seen:
            continue
        seen.add(digest)
        yield text


def repeat_texts(extra: list[Path]) -> Iterator[str]:
    """The texts in one shuffled order; then again and again, each a little changed."""
    found = list(iter_texts(extra))
    random.Random(0).shuffle(found)
    yield from found
    for repeat in itertools.count(1):
        yield from (f"{text}\n# {repeat}\n" for text in found)


def add_words(text: str, generator: np.random.Generator) -> str:
    """The text with a word of random letters before every line end."""
    data = np.frombuffer(text.encode(), np.uint8)
    places = np.flatnonzero(data == ord("\n"))
    words = generator.integers(ord("a"), ord("z") + 1, (len(places), 9), dtype=np.uint8)
    words[:, 0] = ord(" ")
    return np.insert(data, np.repeat(places, words.shape[1]), words.ravel()).tobytes().decode()


def build_corpus(folder: Path, megabytes: float, extra: list[Path], *, has_files: bool = True) -> dict[str, Any]:
    """Write the same documents in every form that a contestant reads; texts are repeated when there are too few.

    Args:
        has_files: Also as a file for each document, which takes most of the time.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts: list[str] = []
    num_bytes = 0
    for text in repeat_texts(extra):
        if num_bytes >= megabytes * 1e6:
            break
        texts.append(text)
        num_bytes += len(text.encode())
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts]
    (folder / "all.jsonl").write_text("".join(lines), encoding="utf-8", newline="")
    (folder / "two").mkdir(exist_ok=True)
    half = len(lines) // 2
    for index, some in enumerate((lines[:half], lines[half:])):
        (folder / "two" / f"{index}.jsonl").write_text("".join(some), encoding="utf-8", newline="")
    pq.write_table(pa.table({"text": pa.array(texts, pa.large_string())}), folder / "all.parquet", row_group_size=2000)
    for index, text in enumerate(texts if has_files else ()):
        path = folder / "files" / f"{index // 500:04d}" / f"{index:07d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8", newline="")
    return {"documents": len(texts), "bytes": num_bytes}


def import_whelp() -> None:
    """What whelp would import on the way, the packages of its encoder among that."""
    for name in (
        "whelp.cli.prepare",
        "whelp.corpus.source",
        "whelp.corpus.json_rows",
        "whelp.corpus.arrow_rows",
        "pyarrow.parquet",
        "whelp.prepare.encode",
        "whelp.tokenizer.load",
        "gigatoken",
        "awkward",
    ):
        importlib.import_module(name)


def load_fast(vocabulary: Path) -> Any:
    """The vocabulary as whelp opens it."""
    from whelp.tokenizer import load_tokenizer

    return load_tokenizer(str(vocabulary))


def load_slow(vocabulary: Path) -> Any:
    """The vocabulary as transformers opens it."""
    from transformers import GPT2TokenizerFast

    with tempfile.TemporaryDirectory() as folder:
        load_fast(vocabulary).save(Path(folder))
        tokenizer = GPT2TokenizerFast.from_pretrained(folder)
    tokenizer.model_max_length = 10**9
    return tokenizer


# --- contestants: each takes the corpus, an empty folder and the vocabulary; gives a function that returns the ids ---

Prepared = Callable[[], np.ndarray]
Contestant = Callable[[Path, Path, Path], tuple[Callable[[], None], Prepared]]


def read_back(path: Path) -> np.ndarray:
    """A flat file of 16-bit ids."""
    return np.fromfile(path, np.uint16)


def encode_and_write(texts: Any, vocabulary: Any, path: Path) -> None:
    """The floor: pieces of the documents to ids with ends, appended to a file."""
    num_pieces = max(1, texts.nbytes >> 23)
    step = -(-len(texts) // num_pieces)
    with open(path, "wb") as file:
        for first in range(0, len(texts), step):
            ids, offsets = vocabulary.encode_batch(texts[first : first + step])
            joined = np.empty(len(ids) + len(offsets) - 1, np.uint16)
            is_text = np.ones(len(joined), bool)
            is_text[offsets[1:] + np.arange(len(offsets) - 1)] = False
            joined[is_text] = ids
            joined[~is_text] = END
            file.write(joined.data)


def alone(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Encode and write documents that lie in memory."""
    import pyarrow.parquet as pq

    import_whelp()
    texts = pq.read_table(corpus / "all.parquet")["text"].combine_chunks()
    return lambda: encode_and_write(texts, load_fast(vocabulary), out / "ids"), lambda: read_back(out / "ids")


def alone_jsonl(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Read JSON lines at once, then encode and write."""
    import pyarrow as pa
    import pyarrow.json as pj

    import_whelp()

    def work() -> None:
        table = pj.read_json(corpus / "all.jsonl", read_options=pj.ReadOptions(block_size=16 << 20))
        encode_and_write(table["text"].combine_chunks().cast(pa.large_string()), load_fast(vocabulary), out / "ids")

    return work, lambda: read_back(out / "ids")


def make_whelp(source: str) -> Contestant:
    """`whelp.prepare` of one form of the corpus."""

    def contestant(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
        import whelp
        from whelp.artifacts.token_store import open_store

        import_whelp()

        def work() -> None:
            data = {"source": str(corpus / source), "tokenizer": str(vocabulary), "test_split": 0}
            whelp.prepare({"data": data}, out=out / "store")

        def read() -> np.ndarray:
            split = open_store(out / "store").split("train")
            ids = np.empty(split.num_tokens, split.dtype)
            split.read_into(0, ids)
            return ids

        return work, read

    return contestant


def bark(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Map, then `group_texts`: a batch's lists joined with `sum`, cut, the rest dropped."""
    from datasets import load_dataset, load_from_disk

    def work() -> None:
        tokenizer = load_slow(vocabulary)
        rows = load_dataset("json", data_files=str(corpus / "all.jsonl"), split="train", cache_dir=str(out / "cache"))

        def encode(batch: Any) -> Any:
            return {"input_ids": [[*ids, END] for ids in tokenizer(batch["text"])["input_ids"]]}

        def group(batch: Any) -> Any:
            ids = sum(batch["input_ids"], [])  # noqa: RUF017  (what it measures)
            whole = len(ids) // BLOCK * BLOCK
            return {"input_ids": [ids[first : first + BLOCK] for first in range(0, whole, BLOCK)]}

        encoded = rows.map(encode, batched=True, remove_columns=["text"])
        encoded.map(group, batched=True).save_to_disk(str(out / "store"))

    def read() -> np.ndarray:
        return load_from_disk(str(out / "store")).data.column("input_ids").combine_chunks().flatten().to_numpy()

    return work, read


def books(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Map, join up to a million rows, cut; saved after each step."""
    from datasets import load_dataset, load_from_disk

    def work() -> None:
        tokenizer = load_slow(vocabulary)
        rows = load_dataset("json", data_files=str(corpus / "all.jsonl"), split="train", cache_dir=str(out / "cache"))

        def encode(batch: Any) -> Any:
            found = tokenizer(batch["text"])
            return {
                "input_ids": [[*ids, END] for ids in found["input_ids"]],
                "attention_mask": [[*mask, 1] for mask in found["attention_mask"]],
            }

        def join(batch: Any) -> Any:
            return {name: [list(chain.from_iterable(batch[name]))] for name in ("input_ids", "attention_mask")}

        def cut(batch: Any) -> Any:
            pieces: dict[str, list[Any]] = {"input_ids": [], "attention_mask": []}
            for name in pieces:
                values = batch[name][0]
                pieces[name] = [values[first : first + BLOCK] for first in range(0, len(values) - BLOCK + 1, BLOCK)]
            return pieces

        encoded = rows.map(encode, batched=True, remove_columns=["text"], num_proc=2)
        encoded.save_to_disk(str(out / "encoded"))
        joined = encoded.map(join, batched=True, batch_size=1_000_000, num_proc=2)
        joined.map(cut, batched=True, batch_size=1, num_proc=2).save_to_disk(str(out / "store"))

    def read() -> np.ndarray:
        return load_from_disk(str(out / "store")).data.column("input_ids").combine_chunks().flatten().to_numpy()

    return work, read


def codeparrot(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """A buffer of about 1,024 sequences of text, encoded when full, cut into rows; the rows written as they come."""
    import torch
    from datasets import load_dataset

    def work() -> None:
        tokenizer = load_slow(vocabulary)
        rows = iter(load_dataset("json", data_files=str(corpus / "all.jsonl"), split="train", cache_dir=str(out / "cache")))
        is_more = True
        with open(out / "ids", "wb") as file:
            while is_more:
                buffer: list[str] = []
                num_characters = 0.0
                while num_characters < BLOCK * 3.6 * 1024:
                    row = next(rows, None)
                    if row is None:
                        is_more = False
                        break
                    buffer.append(row["text"])
                    num_characters += len(row["text"])
                ids: list[int] = []
                for some in tokenizer(buffer, truncation=False)["input_ids"] if buffer else []:
                    ids.extend([*some, END])
                for first in range(0, len(ids), BLOCK):
                    piece = ids[first : first + BLOCK]
                    if len(piece) == BLOCK:
                        file.write(torch.tensor(piece).numpy().astype(np.uint16).data)

    return work, lambda: read_back(out / "ids")


def keep_for_tiktoken(vocabulary: Path, folder: Path) -> None:
    """Lay GPT-2's files where tiktoken looks for what it has fetched before."""
    folder.mkdir()
    for name in ("vocab.bpe", "encoder.json"):
        address = f"https://openaipublic.blob.core.windows.net/gpt-2/encodings/main/{name}"
        shutil.copyfile(vocabulary / name, folder / hashlib.sha1(address.encode()).hexdigest())
    os.environ["TIKTOKEN_CACHE_DIR"] = str(folder)


def nanogpt(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Map with tiktoken, then the ids copied into a memory map, shard by shard.

    As in the script: rows read by as many processes as encode, the encoding by its name (so that processes need not be sent
    it), one row at a time. Kinder than the script: nothing is shuffled or held out, and there are 64 shards instead of 1,024, of
    which each takes its time.
    """
    import tiktoken
    from datasets import load_dataset

    keep_for_tiktoken(vocabulary, out / "tiktoken")

    def work() -> None:
        files = [str(path) for path in sorted((corpus / "two").iterdir())]
        rows = load_dataset("json", data_files=files, split="train", cache_dir=str(out / "cache"), num_proc=2)
        encoding = tiktoken.get_encoding("gpt2")

        def encode(row: Any) -> Any:
            ids = encoding.encode_ordinary(row["text"])
            ids.append(encoding.eot_token)
            return {"ids": ids, "len": len(ids)}

        encoded = rows.map(encode, remove_columns=["text"], num_proc=2)
        count = int(np.sum(encoded["len"], dtype=np.uint64))
        ids = np.memmap(out / "ids", np.uint16, "w+", shape=(count,))
        place = 0
        for index in range(64):
            batch = encoded.shard(num_shards=64, index=index, contiguous=True).with_format("numpy")
            some = np.concatenate(batch["ids"][:])
            ids[place : place + len(some)] = some
            place += len(some)
        ids.flush()

    return work, lambda: read_back(out / "ids")


def datatrove(corpus: Path, out: Path, vocabulary: Path) -> tuple[Callable[[], None], Prepared]:
    """Its reader and tokenizer on two workers, one file each."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    def work() -> None:
        load_fast(vocabulary).save(out)
        steps = [
            JsonlReader(str(corpus / "two"), text_key="text"),
            DocumentTokenizer(
                str(out / "store"),
                tokenizer_name_or_path=str(out / "tokenizer.json"),
                eos_token="<|endoftext|>",
                shuffle_documents=False,
            ),
        ]
        LocalPipelineExecutor(steps, tasks=2, workers=2, logging_dir=str(out / "logs")).run()

    def read() -> np.ndarray:
        return np.concatenate([read_back(path) for path in sorted((out / "store").glob("*.ds"))])

    return work, read


CONTESTANTS: dict[str, Contestant] = {
    "alone": alone,
    "alone-jsonl": alone_jsonl,
    "whelp-jsonl": make_whelp("all.jsonl"),
    "whelp-parquet": make_whelp("all.parquet"),
    "whelp-files": make_whelp("files"),
    "bark": bark,
    "books": books,
    "codeparrot": codeparrot,
    "nanogpt": nanogpt,
    "datatrove": datatrove,
}


PEERS = {"bark": 0, "books": 0, "codeparrot": 0, "datatrove": 50, "nanogpt": 50}
"""Those that `--peer-megabytes` is for, where it is at least so much.

Of 2 and of 8 MB, bark took 5.5 and 19.8 s of processor time (0.8 s for the start, then 2.3 a MB), codeparrot 4.9 and 13.4 (2.1, then
1.4), nanogpt 2.1 and 3.5 (1.6, then 0.23): with 20 MB a start is 2 and 7 % of it, but a quarter of nanogpt's. The
processes of datatrove import everything anew, which counts. So these two read more.
"""


# --- one contestant in a process of its own ---


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
