"""Programs that a model writes, judged by tests: pass@k on problems of the form of HumanEval.

Chen et al. 2021, "Evaluating Large Language Models Trained on Code" (https://arxiv.org/abs/2107.03374), also for the form
of the problems and the stop texts.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from whelp.base.errors import PlanError, SourceError, say_first_line

STOPS = ("\nclass", "\ndef", "\n#", "\nif", "\nprint")  # what begins after a function has ended
_FIELDS = ("task_id", "prompt", "test", "entry_point")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """The beginning of a function, and a `check` of the whole of it."""

    task_id: str
    prompt: str
    test: str
    entry_point: str
    canonical_solution: str = ""

    def make_program(self, completion: str) -> str:
        """The function as a model has ended it, its tests, and the call of them."""
        return f"{self.prompt}{completion}\n{self.test}\ncheck({self.entry_point})\n"


def read_problems(path: Path) -> list[Problem]:
    """Read a file of JSON lines, gzipped or not, with `task_id`, `prompt`, `test` and `entry_point` on each.

    Raises:
        SourceError: When there is no problem in it, a line is none, or two have the same `task_id`.
    """
    problems: dict[str, Problem] = {}
    for number, line in _iter_lines(path):
        try:
            values = json.loads(line)
        except ValueError:
            values = None
        missing = [name for name in _FIELDS if not isinstance(values, dict) or not isinstance(values.get(name), str)]
        if missing:
            raise SourceError(
                path, f"line {number} has no text as {', '.join(missing)}", f"an object with {', '.join(_FIELDS)}"
            )
        problem = Problem(
            **{name: values[name] for name in _FIELDS}, canonical_solution=str(values.get("canonical_solution", ""))
        )
        if problem.task_id in problems:
            raise SourceError(path, f"line {number} has the task_id {problem.task_id!r} again", "one line for each problem")
        problems[problem.task_id] = problem
    if not problems:
        raise SourceError(path, "there is no problem in it", "JSON lines as in HumanEval")
    return list(problems.values())


def _iter_lines(path: Path) -> Iterator[tuple[int, str]]:
    with open(path, "rb") as file:
        is_zipped = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path, "rt", encoding="utf-8") if is_zipped else open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                if line.strip():
                    yield number, line
    except UnicodeDecodeError as error:
        raise SourceError(path, f"not UTF-8 text (byte {error.start})", "JSON lines, gzipped or not") from None
    except (gzip.BadGzipFile, EOFError) as error:
        raise SourceError(
            path, f"cannot be unpacked ({say_first_line(error)})", "JSON lines, gzipped or not", "Copy it again."
        ) from None


def estimate_pass_at_k(num_samples: int, num_passed: int, k: int) -> float:
    """The chance that of k programs at least one passes, without bias, from n >= k programs of which c passed.

    1 - C(n - c, k) / C(n, k), as a product so that nothing overflows (Chen et al. 2021, figure 3).

    >>> estimate_pass_at_k(4, 1, 1), estimate_pass_at_k(4, 1, 4), estimate_pass_at_k(4, 0, 2)
    (0.25, 1.0, 0.0)

    Raises:
        PlanError: When k is not from 1 to n.
    """
    if not 1 <= k <= num_samples:
        raise PlanError("k", f"is {k}", f"1 to {num_samples}, the programs for each problem", "Raise --n, or lower --k.")
    if num_samples - num_passed < k:
        return 1.0
    share = 1.0
    for number in range(num_samples - num_passed + 1, num_samples + 1):
        share *= 1.0 - k / number
    return 1.0 - share
