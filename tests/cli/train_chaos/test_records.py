"""Records and plans that are damaged, of another version or machine, and a disk that is full."""

from __future__ import annotations

import errno
import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import whelp
from whelp.artifacts.checkpoint import LAST, step_name
from whelp.artifacts.run_folder import RunFolder
from whelp.base.errors import ArtifactError
from whelp.cli.training import wiring

from ..helpers import Project
from .helpers import assert_goes_on, names


def test_damaged_records(ready: Project, run: RunFolder, whole: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Half a line, half a character, zeros, other JSON: left out and counted; the records of a run that goes on are whole again."""
    with open(run.metrics, "ab") as file:
        file.write(b'12\nnull\n{"a": 1}\n' + bytes(300) + b'\n{"step": 6, "lo')
    with open(run.samples, "ab") as file:
        file.write('{"step": 6, "text": "日'.encode()[:-1])
    assert_goes_on(ready, run, whole)
    assert "metrics.jsonl: left out 5 lines that cannot be read" in caplog.text
    assert "samples.jsonl: left out 1 line that cannot be read" in caplog.text
    assert run.samples.read_text() == (whole / "samples.jsonl").read_text()


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda plan: plan.clear(), r"an unknown one wrote it \(store is missing; plan is missing; recipe is missing\)"),
        (lambda plan: plan["plan"].update(tomorrow=1), r"wrote it \(plan\.tomorrow is unknown\)"),
        (lambda plan: plan["plan"].pop("threads"), r"wrote it \(plan\.threads is missing\)"),
    ],
)
def test_a_plan_of_another_version(ready: Project, run: RunFolder, change: Callable[[Any], object], found: str) -> None:
    """What is missing or unknown is named, and how the weights can be used all the same."""
    values = json.loads(run.plan.read_text())
    change(values)
    run.plan.write_text(json.dumps(values))
    with pytest.raises(ArtifactError, match=found + r".* begin a new run with its weights: train\.start_from="):
        whelp.train(ready.recipe, store=ready.store, out=run.folder)
    assert names(run) == [LAST, step_name(2), step_name(4)]


@pytest.mark.parametrize(
    "written",
    [{}, {"device": "cuda", "compile": True, "micro_batch_rows": 64, "save_every_steps": 3}],
    ids=["by itself", "its recipe named the GPU"],
)
def test_a_run_moves_to_a_machine_without_its_gpu(
    ready: Project, run: RunFolder, whole: Path, caplog: pytest.LogCaptureFixture, written: dict[str, object]
) -> None:
    """It goes on on what there is, in other pieces, and that is said."""
    values = json.loads(run.plan.read_text())
    values["plan"] |= {"device": "cuda", "compile": True}
    values["recipe"]["train"] |= written
    run.plan.write_text(json.dumps(values))
    assert_goes_on(ready, run, whole)
    assert "this run was on cuda so far, and goes on on cpu, in fp32 as before" in caplog.text


def test_a_full_disk_names_the_file(ready: Project, run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system says only on closing that a record did not fit, and not of which file."""
    resource = pytest.importorskip("resource", reason="limits are of POSIX: run the tests on Linux or macOS")
    limit = run.metrics.stat().st_size + 1
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match=r"metrics\.jsonl") as caught:
            wiring.append_record(run.metrics, {"step": 6, "loss": 1.0})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.errno == errno.EFBIG
