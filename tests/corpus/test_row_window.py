"""`dataset_offset` and `dataset_length`: applied once, in the order of the source, before anything else."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from whelp.base.errors import ConfigError, SourceError
from whelp.corpus import SourceConfig

from .test_rows_files import FORMATS
from .test_source import make, read_notes, read_rows, write

TEXTS = [f"document {number}" for number in range(100)]
CASES: list[tuple[dict[str, Any], slice]] = [
    ({"dataset_offset": 10}, slice(10, None)),
    ({"dataset_length": 7}, slice(0, 7)),
    ({"dataset_offset": 95, "dataset_length": 50}, slice(95, None)),
    ({"dataset_offset": 0.29, "dataset_length": 0.5}, slice(29, 79)),
    ({"dataset_offset": 0.999, "dataset_length": 1}, slice(99, 100)),
    ({"dataset_offset": 33, "dataset_length": 0.015}, slice(33, 34)),
    ({"dataset_offset": -1, "dataset_length": -1}, slice(None)),
    ({"dataset_offset": 0}, slice(None)),
]


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "lines.json"])
@pytest.mark.parametrize(("options", "wanted"), CASES, ids=str)
def test_rows_of_every_format(tmp_path: Path, name: str, options: dict[str, Any], wanted: slice) -> None:
    """The same rows as a slice of the list, whatever the blocks; numbers stay those of the file."""
    write(tmp_path, {name: FORMATS[name](TEXTS)})
    expected = [(name, text, number) for number, text in list(enumerate(TEXTS, 1))[wanted]]
    source = make(tmp_path / name, **options)
    assert read_rows(source) == expected
    assert read_rows(source, partition_bytes=300, block_bytes=50) == expected


@pytest.mark.parametrize(("options", "wanted"), CASES, ids=str)
def test_documents_of_text(tmp_path: Path, options: dict[str, Any], wanted: slice) -> None:
    """Documents of text count the same way; over several files, and over rows and text in turn."""
    halves = ["".join(f"{text}\n" for text in TEXTS[start : start + 50]) for start in (0, 50)]
    write(tmp_path, {"a.txt": halves[0], "b.txt": halves[1]})
    for sizes in ({}, {"partition_bytes": 200, "block_bytes": 30}):
        assert [row[1] for row in read_rows(make(tmp_path, document="line", **options), **sizes)] == TEXTS[wanted]
    rows = "".join(json.dumps({"text": text}) + "\n\n" for text in TEXTS[:60])
    write(tmp_path / "mixed", {"a.jsonl": rows} | {f"b{number}.txt": TEXTS[number] for number in range(60, 100)})
    assert [row[1] for row in read_rows(make(tmp_path / "mixed", **options))] == TEXTS[wanted]


def test_bad_and_empty_rows_are_counted_in(tmp_path: Path) -> None:
    """The window is on the rows as they stand; what lies outside is not judged."""
    rows = ['{"text": 1}', '{"text": "a"}', "{broken", '{"text": " "}', '{"text": "b"}', '{"text": null}']
    write(tmp_path, {"a.jsonl": "\n".join(rows)})
    for block_bytes in (8, 1 << 20):
        source = make(tmp_path / "a.jsonl", dataset_offset=1, dataset_length=1)
        assert read_rows(source, block_bytes=block_bytes) == [("a.jsonl", "a", 2)]
        source = make(tmp_path / "a.jsonl", dataset_offset=2, dataset_length=3, on_bad_rows="skip")
        assert read_rows(source, block_bytes=block_bytes) == [("a.jsonl", "b", 5)]
        assert read_notes(source, block_bytes=block_bytes) == {
            "rows skipped: broken JSON": 1,
            "empty documents dropped": 1,
        }
    with pytest.raises(SourceError, match=r"a\.jsonl, line 6: 'text' is null"):
        read_rows(make(tmp_path / "a.jsonl", dataset_offset=4))


def test_ragged_rows_are_counted_in(tmp_path: Path) -> None:
    """CSV rows with too few fields have their place, too; those outside do not stop the work."""
    lines = ["id,text", *(f"{number}" if number % 5 == 0 else f"{number},t{number}" for number in range(1, 41)), ""]
    write(tmp_path, {"a.csv": "\n".join(lines), "b.csv": "id,text\n41,t41\n42,t42\n"})
    for block_bytes in (16, 100, 1 << 20):
        rows = read_rows(make(tmp_path, dataset_offset=10, dataset_length=4), block_bytes=block_bytes)
        assert rows == [("a.csv", f"t{number}", number) for number in (11, 12, 13, 14)]
        rows = read_rows(make(tmp_path, dataset_offset=38, dataset_length=0.1, on_bad_rows="skip"), block_bytes=block_bytes)
        assert [row[1] for row in rows] == ["t39", "t41", "t42"]
        with pytest.raises(SourceError, match=r"a\.csv, row 15 \(line 16\): 1 field, but expected 2"):
            read_rows(make(tmp_path, dataset_offset=10, dataset_length=5), block_bytes=block_bytes)


def test_reading_ends_with_the_window(tmp_path: Path) -> None:
    """What comes after the last row asked for is not read: it may be broken."""
    file = io.BytesIO()
    pq.write_table(pa.table({"text": [f"{number} text" * 9 for number in range(3000)]}), file, row_group_size=1000)
    content = bytearray(file.getvalue())
    content[-9000:-8000] = b"\xff" * 1000
    write(tmp_path, {"a.parquet": bytes(content)})
    assert len(read_rows(make(tmp_path / "a.parquet", dataset_length=2000))) == 2000
    with pytest.raises(SourceError, match=r"a\.parquet"):
        read_rows(make(tmp_path / "a.parquet", dataset_length=2001))
    write(tmp_path, {"a.parquet": file.getvalue()})
    assert [row[2] for row in read_rows(make(tmp_path / "a.parquet", dataset_offset=2998))] == [2999, 3000]


def test_what_is_left_may_be_nothing(tmp_path: Path) -> None:
    """An offset beyond the end says how many documents there are."""
    write(tmp_path, {"a.txt": "a\n\nb\n\nc\n"})
    with pytest.raises(
        SourceError, match=r"no document is left by dataset_offset and dataset_length \(it has 3\).*Lower dataset_offset"
    ):
        read_rows(make(tmp_path / "a.txt", dataset_offset=3))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"dataset_offset": -0.5}, "dataset_offset is -0.5, but expected a share below 1, a whole number of documents, or -1"),
        ({"dataset_offset": 1.5}, "dataset_offset is 1.5, but expected a share below 1"),
        ({"dataset_length": -2}, "dataset_length is -2, but expected"),
        ({"dataset_length": 0}, "dataset_length is 0, which leaves nothing"),
    ],
)
def test_amounts_that_are_wrong(options: dict[str, Any], problem: str) -> None:
    """Each is said before anything is read."""
    with pytest.raises(ConfigError, match=problem):
        SourceConfig(**options)


def test_a_change_makes_a_store_stale(tmp_path: Path) -> None:
    """Both are among the options that change documents; where neither is set, they are not mentioned."""
    write(tmp_path, {"a.txt": "a\n\nb\n\nc\n"})
    before, limited = make(tmp_path / "a.txt").describe(), make(tmp_path / "a.txt", dataset_length=2).describe()
    assert "dataset_length" not in before["options"]
    assert make(tmp_path / "a.txt", dataset_length=-1).changed_since(before) == []
    assert make(tmp_path / "a.txt", dataset_length=2).changed_since(before) == ["data.dataset_length: was not set, now 2"]
    assert make(tmp_path / "a.txt").changed_since(limited) == ["data.dataset_length: was 2, now not set"]
    assert make(tmp_path / "a.txt", dataset_length=2).changed_since(limited) == []
