"""On a cluster: the same bytes as on threads, also when a machine's worker is killed midway."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest

import whelp
from cli.processes import SECONDS, find_descendants
from whelp.base.engines import Engine, LocalEngine
from whelp.base.errors import MissingExtraError
from whelp.base.ray_engine import RayEngine
from whelp.prepare import PrepareConfig, SourceToPrepare, prepare
from whelp.tokenizer import LearnConfig, Vocabulary, learn

from .fakes import FakePartition, random_partitions


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """Two nodes of one core each, on this machine, and a connection to them."""
    ray = pytest.importorskip("ray", reason="needs Ray: pip install 'whelp[ray]'")
    from ray.cluster_utils import Cluster

    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    patch.setenv("RAY_gcs_server_port_wait_time_s", str(round(SECONDS)))
    patch.setenv("PYTHONPATH", str(Path(whelp.__file__).parents[1]))  # the nodes import the same package as this process
    slow_clock = SimpleNamespace(**{**vars(time), "monotonic": lambda: time.monotonic() / 10})
    with pytest.MonkeyPatch.context() as patient:  # Ray gives a node half a minute to start: too little for a busy machine
        patient.setattr("ray._private.node.time", slow_clock)
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        nodes.add_node(num_cpus=1)
        ray.init(address=nodes.address, log_to_driver=False)
    yield ray
    ray.shutdown()
    nodes.shutdown()
    patch.undo()


def write(folder: Path, partitions: list[FakePartition], engine: Engine, vocabulary: Vocabulary) -> Iterator[int]:
    """Prepare on an engine; yield the numbers of finished partitions."""
    stream = SourceToPrepare(partitions=partitions, config=PrepareConfig(test_split=0.1))
    reports = prepare([stream], vocabulary, folder, describe_source=dict, sources=list, engine=engine)
    yield from (report.partition for report in reports)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file of a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def find_encoders() -> list[int]:
    """Process ids of the encoders of our own cluster: tests beside these may have one, too."""
    found = []
    for process in find_descendants(os.getpid()):
        with contextlib.suppress(OSError):  # it has ended
            if b"ray::_Worker" in Path(f"/proc/{process}/cmdline").read_bytes():
                found.append(process)
    return found


def test_a_worker_killed_midway(tmp_path: Path, cluster: Any) -> None:
    """The killed encoder is started again with what it had to do; the store equals the one made on threads."""
    partitions = random_partitions(12, 25)
    texts = [pa.array([text for partition in partitions for text in partition.texts])]
    vocabulary = learn(texts, LearnConfig(learn="bpe", vocab_size=300))
    for _ in write(tmp_path / "local", partitions, LocalEngine(), vocabulary):
        pass
    done = []
    for number in write(tmp_path / "ray", partitions, RayEngine(workers=2), vocabulary):
        done.append(number)
        if number == 2:
            running = find_encoders()
            assert running, "no encoder is running"
            os.kill(running[0], signal.SIGKILL)
    assert done == list(range(12))
    assert contents(tmp_path / "local") == contents(tmp_path / "ray")


def test_curating_on_the_cluster(tmp_path: Path, cluster: Any) -> None:
    """Rules, templates, evaluation texts and signatures travel, too: the corpus equals the one made on threads."""
    texts = [text for partition in random_partitions(6, 12) for text in partition.texts]
    rows = pa.table({"prompt": [*texts, *texts[:9]], "completion": ["so they say"] * (len(texts) + 9)})
    exam = tmp_path / "exam.txt"
    exam.write_text(texts[5])
    rules = {
        "preset": "rows",
        "gopher_quality": {"min_words": 9, "min_stop_words": 0},
        "decontaminate": {"against": [str(exam)]},
    }
    for engine in ("local", "ray"):
        whelp.curate({"curate": rules}, out=tmp_path / engine, rows=rows, engine=engine, workers=2)
    assert contents(tmp_path / "local") == contents(tmp_path / "ray")
    assert (tmp_path / "ray" / "dropped" / "00000.jsonl").is_file()


def test_numbers_of_named_columns(tmp_path: Path, cluster: Any) -> None:
    """Whole numbers that are made text give the store of their digits, from threads and from the cluster."""
    rows = [{"question": f"What is {number} + 1?", "answer": number + 1, "is_even": number % 2 == 0} for number in range(40)]
    written = [{**row, "answer": str(row["answer"]), "is_even": str(row["is_even"]).lower()} for row in rows]
    data = {
        "tokenizer": {"learn": "bpe", "vocab_size": 300},
        "multi_column_keys": ["question", "answer", "is_even"],
        "test_split": 4,
    }
    given = {"local": pa.Table.from_pylist(rows), "ray": pa.Table.from_pylist(rows), "text": pa.Table.from_pylist(written)}
    notes = {}
    for name, table in given.items():
        engine = "ray" if name == "ray" else "local"
        made = whelp.prepare({"data": data}, out=tmp_path / name, rows=table, engine=engine, workers=2)
        notes[name] = made.ledger["notes"]
    assert contents(tmp_path / "local") == contents(tmp_path / "ray")
    assert read_split_files(tmp_path / "local") == read_split_files(tmp_path / "text")
    numbers = {"column answer: whole numbers, read as text": 40, "column is_even: true or false, read as text": 40}
    assert notes["ray"] == {**notes["text"], **numbers}


def read_split_files(folder: Path) -> dict[str, bytes]:
    """The token ids of a store, with their masks and places."""
    return {name: data for name, data in contents(folder).items() if name.endswith(".arrow")}


def test_an_error_of_an_encoder_comes_through(tmp_path: Path, cluster: Any) -> None:
    """What cannot be encoded says the same as on threads."""
    vocabulary = learn([pa.array(["ab"])], LearnConfig(learn="chars"))
    partitions = [FakePartition(0, ["ab"] * 30), FakePartition(1, ["abc"])]
    with pytest.raises(Exception, match=r"'c' \(U\+0063\) is not among the \d+ characters of this vocabulary"):
        list(write(tmp_path / "store", partitions, RayEngine(workers=1), vocabulary))


def test_without_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to get it."""
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    vocabulary = learn([pa.array(["ab"])], LearnConfig(learn="chars"))
    with pytest.raises(MissingExtraError, match=r'the package ray is not installed\. Run `pip install "whelp\[ray\]"`'):
        list(write(tmp_path / "store", [FakePartition(0, ["ab"] * 30)], RayEngine(), vocabulary))
