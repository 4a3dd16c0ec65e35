"""Time reading training batches: every packing plan beside a bare numpy loop over a memory map.

    python benchmarks/loader.py
    python benchmarks/loader.py --tokens 1e9 --context 1024 --batch 16 --rounds 7 --masked --json out.json

A store of random ids is written into a temporary folder: documents of log-normal lengths (median 400 tokens), 16-bit ids.
The contestants read the same number of batches of `batch` rows of `context` tokens, shuffled, as int64 inputs and targets:

``numpy slices``   what a good small training script does: a slice of the memory map for each row at a random place, twice
                   (inputs, and targets one token later), each converted to int64 into one array for the batch; with
                   ``--masked``, -100 where the mask, sliced the same way, says so. The map is a plain array: slicing a
                   ``np.memmap`` itself costs more.
``and documents``  the same, with a third array, the number of each token's document as 32-bit numbers, sliced from one more array
                   in memory: the floor of the plans that tell the model where documents begin (marked with a d).
``nanogpt style``  the same, but each row becomes a tensor of its own and the tensors are stacked, as in nanoGPT.
the plans          whelp's `pack_rows(...).read(...)`, for each plan, with documents isolated as each plan does by itself.

Contestants alternate within a round; the order rotates between rounds. Counted is the processor time of each batch: reported
are the tenth percentile, the median and the mean in microseconds a batch, and the shares of the floor (of a plan that gives
documents: of the floor that does so, too). In one batch of many a plan lays out the next thousands of rows as well: the mean has
that, the others do not. The first batches of each are not counted, nor is planning, whose time is a column of its own.
Below that, the best_fit plan of many documents is timed, and its padding and its cuts are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch

from whelp.artifacts.token_store import TokenSplit, make_batch, make_schema, read_split, write_split
from whelp.prepare import PackConfig, pack_rows
from whelp.prepare.piece_rows import PieceRows

PLANS: list[dict[str, Any]] = [
    {"plan": "concat"},
    {"plan": "concat", "isolate_documents": True},
    {"plan": "concat", "last": "carry"},
    {"plan": "stream"},
    {"plan": "stream", "isolate_documents": True},
    {"plan": "best_fit"},
    {"plan": "none"},
]
MEDIAN_LENGTH, SPREAD = 400, 1.2
SKIPPED_BATCHES = 20

Reader = Callable[[int], object]
"""Reads the k-th batch."""


def draw_lengths(num_documents: int, generator: np.random.Generator) -> np.ndarray:
    """Lengths of documents: log-normal, two tokens at least."""
    return np.exp(generator.normal(np.log(MEDIAN_LENGTH), SPREAD, num_documents)).astype(np.int64) + 2


def write_store(folder: Path, num_tokens: int, is_masked: bool) -> TokenSplit:
    """A split of about `num_tokens` random ids, in record batches of 16 million."""
    generator = np.random.Generator(np.random.PCG64(0))
    schema = make_schema(50_257, has_mask=is_masked)

    def batches() -> Iterator[pa.RecordBatch]:
        left = num_tokens
        while left > 0:
            lengths = draw_lengths(20_000, generator)
            lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), left)) + 1]
            offsets = np.concatenate([[0], np.cumsum(lengths)])
            left -= int(offsets[-1])
            ids = generator.integers(0, 50_257, int(offsets[-1])).astype(np.uint16)
            mask = (ids % 4 > 0).astype(np.uint8) if is_masked else None
            lines = pa.array(np.arange(len(lengths)))
            yield make_batch(schema, ids, offsets, lines, lines, mask)

    write_split(folder / "train", schema, batches())
    return read_split(folder / "train")


def make_slices(split: TokenSplit, context: int, batch: int, path: Path, *, has_documents: bool = False) -> Reader:
    """The bare loop, over memory maps of nothing but ids, and of nothing but the mask; where asked for, with documents' numbers."""
    data = np.asarray(np.memmap(path, dtype=np.uint16, mode="r"))
    mask = np.asarray(np.memmap(path.with_suffix(".mask"), dtype=np.uint8, mode="r")) if split.has_mask else None
    generator = np.random.Generator(np.random.PCG64(1))
    ends = split.document_ends
    owners = np.repeat(np.arange(len(ends), dtype=np.int32), np.diff(ends, prepend=0)) if has_documents else None

    def read(number: int) -> object:
        ids, targets = np.empty((batch, context), dtype=np.int64), np.empty((batch, context), dtype=np.int64)
        documents = None if owners is None else np.empty((batch, context), dtype=np.int32)
        for row, start in enumerate(generator.integers(0, len(data) - context - 1, batch).tolist()):
            ids[row] = data[start : start + context]
            targets[row] = data[start + 1 : start + 1 + context]
            if mask is not None:
                targets[row, mask[start + 1 : start + 1 + context] == 0] = -100
            if documents is not None:
                documents[row] = owners[start : start + context]
        return ids, targets, documents

    return read


def make_stacks(split: TokenSplit, context: int, batch: int, path: Path) -> Reader:
    """As nanoGPT reads: a tensor for each row, stacked."""
    data = np.memmap(path, dtype=np.uint16, mode="r")

    def read(number: int) -> object:
        starts = torch.randint(len(data) - context - 1, (batch,))
        ids = torch.stack([torch.from_numpy(data[i : i + context].astype(np.int64)) for i in starts])
        targets = torch.stack([torch.from_numpy(data[i + 1 : i + 1 + context].astype(np.int64)) for i in starts])
        return ids, targets

    return read


def make_plan(split: TokenSplit, context: int, batch: int, options: dict[str, Any]) -> Reader:
    """One of our plans."""
    rows = pack_rows(split, PackConfig(context_tokens=context, **options), pad_id=0, batch_rows=batch)
    return lambda number: rows.read(number * batch, batch, seed=0)


def time_reader(read: Reader, first: int, count: int) -> list[float]:
    """Microseconds of processor time of each of `count` batches."""
    times = []
    for number in range(first, first + count):
        started = time.thread_time_ns()
        read(number)
        times.append((time.thread_time_ns() - started) / 1e3)
    return times


def compare(split: TokenSplit, path: Path, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Time all contestants in turns."""
    makers: dict[str, Callable[[], Reader]] = {
        "numpy slices": lambda: make_slices(split, args.context, args.batch, path),
        "and documents": lambda: make_slices(split, args.context, args.batch, path, has_documents=True),
        "nanogpt style": lambda: make_stacks(split, args.context, args.batch, path),
    }
    for options in PLANS:
        name = options["plan"] + "".join(f", {key}={value}" for key, value in options.items() if key != "plan")
        makers[name] = lambda options=options: make_plan(split, args.context, args.batch, options)
    readers, planning, times = {}, {}, {name: [] for name in makers}
    for name, make in makers.items():
        started = time.perf_counter()
        readers[name] = make()
        planning[name] = time.perf_counter() - started
        time_reader(readers[name], 0, SKIPPED_BATCHES)
    names = list(makers)
    for number in range(args.rounds):
        for name in names[number % len(names) :] + names[: number % len(names)]:
            times[name] += time_reader(readers[name], SKIPPED_BATCHES + number * args.batches, args.batches)
    summaries = {
        name: {
            "tenth_percentile": float(np.percentile(values, 10)),
            "median": statistics.median(values),
            "mean": statistics.mean(values),
        }
        for name, values in times.items()
    }
    gives_documents = {name: getattr(reader(0), "documents", None) is not None for name, reader in readers.items()}
    return [
        {
            "name": f"{name} (d)" if gives_documents[name] else name,
            "microseconds": summary,
            "shares": {
                kind: value / summaries["and documents" if gives_documents[name] else "numpy slices"][kind]
                for kind, value in summary.items()
            },
            "planning_seconds": planning[name],
        }
        for name, summary in summaries.items()
    ]


class OnlyLengths:
    """A split of which nothing but the documents' ends is known: all that a plan is made from."""

    def __init__(self, lengths: np.ndarray) -> None:
        self.document_ends = np.cumsum(lengths)


def time_best_fit(num_documents: int, context: int) -> dict[str, Any]:
    """The whole plan of many documents: from their ends to rows of pieces."""
    lengths = draw_lengths(num_documents, np.random.Generator(np.random.PCG64(2)))
    split = cast(TokenSplit, OnlyLengths(lengths))
    started = time.perf_counter()
    rows = PieceRows.plan_best_fit(split, context, pad_id=0, isolates=True)
    seconds = time.perf_counter() - started
    pieces_of = np.bincount(rows.pieces.documents, minlength=num_documents)
    plan = (rows.pieces.documents, rows.pieces.starts, rows.pieces.lengths, rows.offsets)
    return {
        "documents": num_documents,
        "context_tokens": context,
        "seconds": seconds,
        "rows": len(rows),
        "megabytes": sum(array.nbytes for array in plan) / 1e6,
        "padding_share": 1 - int(rows.pieces.lengths.sum(dtype=np.int64)) / (len(rows) * context),
        "long_documents_split": int((pieces_of[lengths > context] > 1).sum()),
        "shorter_documents_cut": int((pieces_of[lengths <= context] > 1).sum()),
    }


def main() -> None:
    """Write the store, time, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=float, default=1e8, help="size of the store")
    parser.add_argument("--context", type=int, default=1024, help="tokens in a row")
    parser.add_argument("--batch", type=int, default=16, help="rows in a batch")
    parser.add_argument("--batches", type=int, default=200, help="batches in a round")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--documents", type=float, default=1e7, help="documents of the best_fit plan")
    parser.add_argument("--masked", action="store_true", help="the store has a loss mask")
    parser.add_argument("--folder", type=Path, help="where to write the store; default: a temporary folder")
    parser.add_argument("--json", type=Path, help="write the numbers here, too")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        split = write_store(Path(name), int(args.tokens), args.masked)
        flat = Path(name) / "ids.bin"
        np.concatenate(split.ids.chunks).tofile(flat)
        if args.masked:
            np.concatenate(split.mask.chunks).tofile(flat.with_suffix(".mask"))
        results = compare(split, flat, args)
        counts = f"{split.num_tokens:,} tokens in {split.num_documents:,} documents and {len(split.ids.chunks)} record batches"
    print(
        f"{counts}{', masked' if args.masked else ''}; batches of {args.batch} x {args.context}; {args.rounds} rounds of "
        f"{args.batches}; microseconds of processor time, and shares of the floor\n"
    )
    print(f"{'':38}{'10%':>8}{'median':>8}{'mean':>8}{'10%':>9}{'median':>7}{'mean':>7}{'planning s':>12}")
    for entry in results:
        times = "".join(f"{value:8.1f}" for value in entry["microseconds"].values())
        shares = "".join(f"{value:7.2f}" for value in entry["shares"].values())
        print(f"{entry['name']:38}{times}  {shares}{entry['planning_seconds']:12.2f}")
    plan = time_best_fit(int(args.documents), args.context)
    print(
        f"\nbest_fit of {plan['documents']:,} documents: {plan['seconds']:.2f} s, {plan['rows']:,} rows, "
        f"{plan['padding_share']:.4%} padding, {plan['megabytes']:.0f} MB; {plan['long_documents_split']:,} documents longer than "
        f"a row are split, {plan['shorter_documents_cut']} others are cut"
    )
    if args.json:
        machine = {"processor": platform.processor(), "cores": os.cpu_count(), "numpy": np.__version__}
        args.json.write_text(json.dumps({"machine": machine, "readers": results, "best_fit": plan}, indent=2))


if __name__ == "__main__":
    main()
