"""pass@k without bias, and files of problems."""

from __future__ import annotations

import gzip
import itertools
import json
from pathlib import Path

import pytest

from whelp.base.errors import PlanError, SourceError
from whelp.evaluate.pass_at_k import estimate_pass_at_k, read_problems

PROBLEM = {"task_id": "own/0", "prompt": "def f():\n", "test": "def check(f):\n    pass\n", "entry_point": "f"}


@pytest.mark.parametrize("num_samples", [1, 2, 5, 7])
def test_the_estimate_is_the_share_of_all_draws(num_samples: int) -> None:
    """Against counting: of all ways to take k of n programs, how many hold one that passed."""
    for num_passed in range(num_samples + 1):
        programs = [number < num_passed for number in range(num_samples)]
        for k in range(1, num_samples + 1):
            draws = [any(draw) for draw in itertools.combinations(programs, k)]
            assert estimate_pass_at_k(num_samples, num_passed, k) == pytest.approx(sum(draws) / len(draws))


@pytest.mark.parametrize("k", [0, 4])
def test_k_is_one_to_n(k: int) -> None:
    """More programs than there are cannot be drawn."""
    with pytest.raises(PlanError, match=rf"k: is {k}, but expected 1 to 3.*Raise --n"):
        estimate_pass_at_k(3, 1, k)


@pytest.mark.parametrize("is_zipped", [False, True])
def test_problems_are_read(tmp_path: Path, is_zipped: bool) -> None:
    """Zipped or not, whatever the file is called; the program is prompt, completion, tests and their call."""
    text = json.dumps(PROBLEM) + "\n\n" + json.dumps(PROBLEM | {"task_id": "own/1", "canonical_solution": "    return 1\n"})
    (tmp_path / "problems").write_bytes(gzip.compress(text.encode()) if is_zipped else text.encode())
    first, second = read_problems(tmp_path / "problems")
    assert (first.task_id, second.canonical_solution) == ("own/0", "    return 1\n")
    assert second.make_program("    return 1\n") == "def f():\n    return 1\n\ndef check(f):\n    pass\n\ncheck(f)\n"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "there is no problem in it"),
        (b"[1]\n", "line 1 has no text as task_id, prompt, test, entry_point"),
        (json.dumps(PROBLEM | {"test": 1}).encode(), "line 1 has no text as test"),
        (f"{json.dumps(PROBLEM)}\n{json.dumps(PROBLEM)}\n".encode(), "line 2 has the task_id 'own/0' again"),
        (b"\xff\xfe{}", "not UTF-8 text"),
        (gzip.compress(b"{}" * 100, mtime=0)[:-12], "cannot be unpacked"),
    ],
)
def test_what_is_no_file_of_problems(tmp_path: Path, content: bytes, message: str) -> None:
    """The line and what is wrong with it."""
    (tmp_path / "problems.jsonl").write_bytes(content)
    with pytest.raises(SourceError, match=message):
        read_problems(tmp_path / "problems.jsonl")
