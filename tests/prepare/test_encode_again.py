"""Encoding that was interrupted, or is done again after a change: what is used again, and what is made anew."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from whelp.artifacts.manifest import NAME
from whelp.artifacts.parts_folder import PARTS_FOLDER
from whelp.artifacts.token_store import open_store
from whelp.base.errors import ArtifactError

from .fakes import (
    FakeVocabulary,
    contents,
    finish,
    make_partitions,
    random_partitions,
    run,
)


@pytest.mark.parametrize("num_done", [1, 2, 4])
def test_interrupted_then_run_again(tmp_path: Path, num_done: int) -> None:
    """What was finished is found again, and the store is the same, to the byte, as without the interruption."""
    partitions = random_partitions()
    finish(tmp_path / "whole", partitions)
    work = run(tmp_path / "cut", partitions)
    for _ in range(num_done):
        next(work)
    work.close()
    assert not (tmp_path / "cut" / NAME).exists()
    vocabulary = FakeVocabulary()
    reused = [report.is_reused for report in run(tmp_path / "cut", partitions, vocabulary)]
    assert reused == sorted(reused, reverse=True)
    assert sum(reused) >= num_done  # threads may have been ahead
    assert vocabulary.num_texts == 9 * (4 - sum(reused))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_interrupted_while_the_splits_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed near the end, no partition is encoded again."""
    partitions = random_partitions()
    finish(tmp_path / "whole", partitions)

    def stop(self: FakeVocabulary, folder: Path) -> None:
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(FakeVocabulary, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            finish(tmp_path / "cut", partitions)
    assert (tmp_path / "cut" / "train").exists()
    with pytest.raises(ArtifactError, match="not a finished token store"):
        open_store(tmp_path / "cut")
    assert all(report.is_reused for report in run(tmp_path / "cut", partitions))
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")


def test_half_written_part_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process killed while it writes a part leaves a file of another name."""
    partitions = random_partitions()
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda source, target: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            finish(tmp_path, partitions)
    assert list((tmp_path / PARTS_FOLDER).glob("*.arrow"))
    assert not list((tmp_path / PARTS_FOLDER).glob("part-*.json"))
    assert not any(report.is_reused for report in run(tmp_path, partitions))


def test_changed_text_redoes_only_its_partition(tmp_path: Path) -> None:
    """An edited file costs its own partition; the result is that of a fresh run over the new text."""
    partitions = random_partitions()
    work = run(tmp_path / "cut", partitions)
    for _ in partitions:
        next(work)
    work.close()
    edited = list(partitions)
    edited[2] = replace(edited[2], texts=["new", *edited[2].texts[1:]])
    assert [report.is_reused for report in run(tmp_path / "cut", edited)] == [True, True, False, True]
    finish(tmp_path / "fresh", edited)
    assert contents(tmp_path / "cut") == contents(tmp_path / "fresh")


@pytest.mark.parametrize(
    ("options", "is_reused"),
    [
        ({"separator": "newline"}, False),
        ({"min_token_size": 2}, False),
        ({"max_token_size": 20}, False),
        ({"vocabulary": FakeVocabulary(fingerprint="other")}, False),
        ({"test_split": 3}, True),
        ({"seed": 5}, True),
    ],
)
def test_changed_options(tmp_path: Path, options: dict[str, Any], is_reused: bool) -> None:
    """Only what changes the tokens of a document makes its part anew; how splits are chosen does not."""
    partitions = random_partitions()
    work = run(tmp_path / "cut", partitions)
    for _ in partitions:
        next(work)
    work.close()
    assert {report.is_reused for report in run(tmp_path / "cut", partitions, **options)} == {is_reused}
    finish(tmp_path / "fresh", partitions, **options)
    assert contents(tmp_path / "cut") == contents(tmp_path / "fresh")


@pytest.mark.parametrize(("added", "seed"), [(["new"], 0), ([], 5)])
def test_documents_are_drawn_anew(tmp_path: Path, added: list[str], seed: int) -> None:
    """Where held-out documents are drawn by their numbers, a part hangs on the seed and on how many came before it."""
    texts = [f"document {number}" for number in range(80)]
    work = run(tmp_path / "cut", make_partitions(texts[:40], texts[40:]), test_split=0.1)
    for _ in range(2):
        next(work)
    work.close()
    edited = make_partitions(texts[:40] + added, texts[40:])
    assert not any(report.is_reused for report in run(tmp_path / "cut", edited, test_split=0.1, seed=seed))
    finish(tmp_path / "fresh", edited, test_split=0.1, seed=seed)
    assert contents(tmp_path / "cut") == contents(tmp_path / "fresh")


def test_a_finished_store_is_unfinished_while_it_is_made_again(tmp_path: Path) -> None:
    """From the first partition on, the old manifest does not vouch for a mixture."""
    partitions = random_partitions()
    finish(tmp_path, partitions)
    work = run(tmp_path, partitions)
    next(work)
    with pytest.raises(ArtifactError, match="not a finished token store"):
        open_store(tmp_path)
    for _ in work:
        pass
    assert open_store(tmp_path).split("train").num_documents == 35
