"""Our ways between Arrow and numpy against Arrow's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from whelp.base.arrays import cut_runs, find_valid, to_arrow, to_numpy, to_texts, view_text
from whelp.tokenizer import LearnConfig, learn

NUMBERS = [np.arange(40, dtype=kind) for kind in ("int8", "uint8", "uint16", "int32", "uint32", "int64", "float64")]
FLAGS = np.arange(40) % 3 == 0


@pytest.mark.parametrize("values", [*NUMBERS, FLAGS], ids=lambda values: str(values.dtype))
@pytest.mark.parametrize("window", [slice(0, 40), slice(3, 29), slice(9, 9), slice(1, 40, 2)])
def test_arrays_equal_those_of_arrow(values, window):
    ours, theirs = to_arrow(values[window]), pa.array(values[window])
    ours.validate(full=True)
    assert ours.equals(theirs)
    assert ours.type == theirs.type
    back = to_numpy(theirs.slice(2))
    assert back.dtype == values.dtype
    assert back.tolist() == values[window][2:].tolist()


def test_numbers_are_not_copied():
    values = np.arange(10)
    assert np.shares_memory(to_numpy(to_arrow(values)), values)


def test_nulls_are_no_numbers():
    with pytest.raises(AssertionError, match="1 nulls"):
        to_numpy(pa.array([1, None]))


def test_find_valid():
    values = pa.array(["a", None, "", None, "b"])
    assert find_valid(values).tolist() == [True, False, True, False, True]
    assert find_valid(values[3:]).tolist() == [False, True]
    assert find_valid(values[4:]).tolist() == [True]
    assert find_valid(pa.nulls(2, pa.string())).tolist() == [False, False]


def test_view_text_of_a_slice():
    data, offsets = view_text(pa.array(["ab", "", "cé", "d"], pa.large_string())[1:3])
    assert data[offsets[0] : offsets[-1]].tobytes().decode() == "cé"
    assert np.diff(offsets).tolist() == [0, 3]
    assert [len(part) for part in view_text(pa.array([], pa.large_string()))] == [0, 1]


def test_texts_of_python():
    strings = ["", "é", "a b", "日本"]
    assert to_texts(strings).equals(pa.array(strings, pa.large_string()))
    assert to_texts([]).equals(pa.array([], pa.large_string()))
    with pytest.raises(UnicodeEncodeError):
        to_texts(["\ud800"])


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.parquet", "text.txt"])
def test_preparing_does_not_import_pandas(name, tmp_path: Path):
    learn([pa.array(["abc abd"])], LearnConfig(vocab_size=258)).save(tmp_path / "vocabulary")
    program = f"""
import sys, pyarrow as pa, pyarrow.parquet as pq, whelp
from pathlib import Path
table = pa.table({{"text": pa.StringArray.from_buffers(2, pa.py_buffer(b"\\0\\0\\0\\0\\3\\0\\0\\0\\6\\0\\0\\0"), pa.py_buffer(b"abcdef"))}})
pq.write_table(table, "rows.parquet")
Path("rows.jsonl").write_text('{{"text": "abc"}}\\n{{"text": "def"}}\\n')
Path("text.txt").write_text("abc\\n\\ndef\\n")
whelp.prepare({{"data": {{"source": {name!r}, "tokenizer": "vocabulary", "test_split": 0}}}}, out="store")
print("pandas" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.split() == ["False"]


@given(st.lists(st.integers(0, 9), max_size=12), st.integers(1, 20))
def test_runs_hold_everything_once(lengths: list[int], limit: int) -> None:
    """Runs touch, and hold no more than the limit unless one thing alone does."""
    offsets = np.cumsum([0, *lengths])
    runs = list(cut_runs(offsets, limit))
    assert [number for first, stop in runs for number in range(first, stop)] == list(range(len(lengths)))
    assert all(offsets[stop] - offsets[first] <= limit or stop - first == 1 for first, stop in runs)
