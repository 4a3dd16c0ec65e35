"""Work in processes side by side: what it tells, how it fails, and that nothing stays behind."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
from collections.abc import Iterator

import pytest

from whelp.base.errors import TrainingError
from whelp.base.side_by_side import ENDED, iter_side_by_side


def test_all_is_told_and_in_order_of_each() -> None:
    """Of each task what its work yields, then its end; three tasks in two processes."""
    told: dict[int, list[object]] = {}
    for number, value in iter_side_by_side(range, [3, 1, 2], [{}, {}]):
        told.setdefault(number, []).append(value)
    assert told == {0: [0, 1, 2, ENDED], 1: [0, ENDED], 2: [0, 1, ENDED]}


def test_each_process_has_its_place() -> None:
    """In its environment; that of the caller stays."""
    before = dict(os.environ)
    told = list(iter_side_by_side(os.getenv, ["WHELP_PLACE", "WHELP_PLACE"], [{"WHELP_PLACE": "a"}, {"WHELP_PLACE": "b"}]))
    assert {number: value for number, value in told if value != ENDED} == {0: "a", 1: "b"}
    assert dict(os.environ) == before


def test_what_fails() -> None:
    """Is raised here; a process that is killed is said to be."""
    with pytest.raises(FileNotFoundError, match="no-such-file"):
        list(iter_side_by_side(open, ["no-such-file"], [{}]))
    with pytest.raises(ValueError, match="invalid literal") as caught:
        list(iter_side_by_side(int, ["x"], [{}]))
    assert "in _serve" in "".join(caught.value.__notes__)
    with pytest.raises(TrainingError, match="task 1: its process was killed by SIGKILL"):
        list(iter_side_by_side(signal.raise_signal, [signal.SIGKILL], [{}]))


def test_nothing_stays_behind() -> None:
    """Who is told no more ends the processes, however much they have to tell."""
    before = multiprocessing.active_children()
    events = iter_side_by_side(itertools.count, [1, 5], [{}, {}])
    assert next(events)[1] in (1, 5)
    assert isinstance(events, Iterator)
    events.close()
    assert set(multiprocessing.active_children()) <= set(before)
