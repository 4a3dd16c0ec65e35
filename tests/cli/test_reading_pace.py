"""How far reading has come, and how long it takes on: with files of uneven size, packed ones, rows, and parts of a run before."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import random
from pathlib import Path

import pyarrow as pa
import pytest

from whelp.cli.screens.reading_pace import ReadingPace
from whelp.corpus import SourceConfig, open_source


def test_files_of_uneven_size_are_counted_by_bytes() -> None:
    """Many small files say little of few large ones."""
    pace = ReadingPace([1] * 100 + [4_950, 4_950], now=0.0)
    pace.count(100, 99, 10.0)  # opening took long
    assert pace.find_seconds_left(10.0) is None
    pace.count(4_950, 100, 20.0)
    assert pace.done == 5_050
    assert pace.find_bytes_per_second(20.0) == pytest.approx(495)
    assert pace.find_seconds_left(20.0) == pytest.approx(10)


@pytest.mark.parametrize("text_per_byte", [3.0, 0.2], ids=["packed", "rows"])
def test_text_that_is_larger_or_smaller_than_its_file(text_per_byte: float) -> None:
    """The place is that of the files, to a piece: half of them is half of the bar, and the time is right."""
    pace = ReadingPace([1_000] * 8, now=0.0)
    for file in range(4):
        for piece in range(4):
            pace.count(round(250 * text_per_byte), file, 1.0 + file + piece / 4)
    assert pace.done == pytest.approx(4_000, abs=250)
    assert pace.find_seconds_left(4.75) == pytest.approx(4, rel=0.2)


def test_a_packed_file_that_goes_on_is_not_said_to_be_done() -> None:
    """Where nobody knows how far one is read: the bar is full, but no time is told."""
    pace = ReadingPace([1_000], now=0.0)
    for second in range(1, 9):
        pace.count(500, 0, float(second))
    assert pace.done == 1_000
    assert pace.find_seconds_left(8.0) is None


PACKERS = {
    ".gz": gzip.compress,
    ".zst": lambda data: pa.compress(data, "zstd", asbytes=True),
    ".bz2": lambda data: bz2.compress(data, 1),  # in small blocks
    ".xz": lzma.compress,
}


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_packed_file_alone_has_a_time(tmp_path: Path, suffix: str) -> None:
    """It is known how far it is read, whatever it holds: half of it is half of the time."""
    rows = "".join(json.dumps({"text": random.Random(number).randbytes(300).hex()}) + "\n" for number in range(4_000))
    (tmp_path / f"rows.jsonl{suffix}").write_bytes(PACKERS[suffix](rows.encode()))
    source = open_source(SourceConfig(source=str(tmp_path)))
    packed = source.files[0]
    pace = ReadingPace([packed.num_bytes], now=0.0, find_position=lambda number: source.files[number].find_position())
    told = []
    for second, partition in enumerate(source.iter_partitions(partition_bytes=50_000, block_bytes=20_000), 1):
        pace.count(sum(map(len, partition.batch.column("text").to_pylist())), 0, float(second))
        told.append((second, pace.find_seconds_left(float(second))))
    last = told[-1][0]
    halfway = [left for second, left in told if second == last // 2]
    assert halfway == [pytest.approx(last / 2, rel=0.3)]
    assert packed.find_position() == packed.num_bytes


def test_a_file_that_is_not_packed_has_no_position(tmp_path: Path) -> None:
    """Its text says how far it is read, and it may be read in another way."""
    (tmp_path / "a.txt").write_text("words")
    assert open_source(SourceConfig(source=str(tmp_path))).files[0].find_position() is None


def test_parts_of_a_run_before_are_no_pace() -> None:
    """What was found finished took no time; the rest will."""
    pace = ReadingPace([1_000] * 10, now=0.0)
    for file in range(8):
        pace.count(1_000, file, 0.1, is_reused=True)
    pace.count(1_000, 8, 10.1)
    assert pace.find_seconds_left(10.1) == pytest.approx(10)


def test_work_before_the_first_piece_is_no_pace() -> None:
    """A vocabulary that is learned for a minute says nothing of encoding."""
    pace = ReadingPace([1_000] * 10, now=0.0)
    pace.wait(60.0)
    pace.count(1_000, 0, 61.0)
    assert pace.find_seconds_left(61.0) == pytest.approx(9)


def test_pieces_without_a_file_are_counted_as_they_are() -> None:
    """Imported ids, and partitions without a document."""
    pace = ReadingPace([1_000], now=0.0)
    pace.count(300, None, 1.0)
    assert (pace.done, pace.find_seconds_left(1.0)) == (300, pytest.approx(7 / 3))
