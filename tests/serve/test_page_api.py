"""What the page asks for: the records of a run that is being written, rows, tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from whelp.artifacts.run_folder import RunFolder, append_record
from whelp.base.errors import ArtifactError
from whelp.serve import ServedStore
from whelp.serve.run_records import MAX_RECORDS, read_new

from .conftest import Serve
from .fakes import make_model


def test_records_come_once(tmp_path: Path) -> None:
    """Each call gives what was written since the last, and only whole lines."""
    path = tmp_path / "metrics.jsonl"
    assert read_new(path, "") == {"records": [], "cursor": "", "is_reset": False, "has_more": False}
    append_record(path, {"step": 1, "loss": 2.0})
    first = read_new(path, "")
    assert first["records"] == [{"step": 1, "loss": 2.0}]
    with open(path, "a") as file:
        file.write('{"step": 2, "lo')
    second = read_new(path, first["cursor"])
    assert (second["records"], second["is_reset"], second["has_more"]) == ([], False, False)
    with open(path, "a") as file:
        file.write('ss": 1.5}\n')
    assert read_new(path, second["cursor"])["records"] == [{"step": 2, "loss": 1.5}]


def test_a_run_that_went_back(tmp_path: Path) -> None:
    """A resumed run writes its records anew: reading begins at the start again, and says so."""
    run = RunFolder(tmp_path)
    for step in range(5):
        append_record(run.metrics, {"step": step, "loss": 1.0})
    cursor = read_new(run.metrics, "")["cursor"]
    run.truncate_after(2)
    append_record(run.metrics, {"step": 3, "loss": 0.5})
    again = read_new(run.metrics, cursor)
    assert again["is_reset"]
    assert [record["step"] for record in again["records"]] == [0, 1, 2, 3]


@pytest.mark.parametrize("cursor", ["", "x", "1:", ":1", "1:2:3", "0:99999999999", "-1:-1", "²:³"])
def test_a_cursor_from_elsewhere(tmp_path: Path, cursor: str) -> None:
    """Whatever it says, reading begins at the start."""
    path = tmp_path / "metrics.jsonl"
    append_record(path, {"step": 1})
    assert read_new(path, cursor)["records"] == [{"step": 1}]


def test_a_long_run_is_thinned(tmp_path: Path) -> None:
    """Of very many training records every k-th is given; what was measured on the test split is all there."""
    path = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "loss": 1.0}) for step in range(10_000)]
    lines[5001] = json.dumps({"step": 5001, "test_nats_per_token": 2.0})
    path.write_text("\n".join(lines) + "\n")
    records = read_new(path, "")["records"]
    assert len(records) <= MAX_RECORDS + 1
    assert {"step": 5001, "test_nats_per_token": 2.0} in records
    assert (records[0]["step"], records[-1]["step"] > 9_900) == (0, True)


def test_a_file_of_many_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file comes in several answers, and nothing is lost between them."""
    monkeypatch.setattr("whelp.serve.run_records.MAX_BYTES", 100)
    path = tmp_path / "samples.jsonl"
    for step in range(50):
        append_record(path, {"step": step, "text": "é" * (step % 7)})
    steps, cursor, has_more = [], "", True
    while has_more:
        found = read_new(path, cursor)
        steps += [record["step"] for record in found["records"]]
        cursor, has_more = found["cursor"], found["has_more"]
    assert steps == list(range(50))


def test_a_run_over_http(serve: Serve, tmp_path: Path) -> None:
    """Plan, recipe, and records with cursors for metrics and samples."""
    run = RunFolder(tmp_path / "demo" / "run")
    run.start("data: {}\n", {"plan": {"num_steps": 7}})
    append_record(run.metrics, {"step": 1, "loss": 2.0})
    append_record(run.samples, {"step": 1, "prompt": "A", "text": "<b>"})
    client = serve(run=run.folder).client
    assert client.get("/api/run").json() == {"name": "demo/run", "plan": {"num_steps": 7}, "recipe": "data: {}\n"}
    first = client.get("/api/run/records").json()
    assert first["samples"]["records"] == [{"step": 1, "prompt": "A", "text": "<b>"}]
    assert first["finished_step"] is None
    append_record(run.metrics, {"step": 2, "loss": 1.0})
    query = {name: first[name]["cursor"] for name in ("metrics", "samples")}
    second = client.get("/api/run/records", params=query).json()
    assert (second["metrics"]["records"], second["samples"]["records"]) == ([{"step": 2, "loss": 1.0}], [])
    assert client.get("/api/state").json()["run"] == "demo/run"


def test_what_is_not_served_says_how_to_serve_it(serve: Serve) -> None:
    """404 with the next step, for a run and for a store."""
    client = serve().client
    for path, words in (
        ("/api/run", "Serve a run folder"),
        ("/api/run/records", "Serve a run folder"),
        ("/api/store", "--store STORE"),
    ):
        answer = client.get(path)
        assert answer.status_code == 404
        assert words in answer.json()["error"]["message"]


def _read_rows(split: str, first: int, count: int, context_tokens: int) -> list[dict[str, Any]]:
    if split != "train":
        raise ArtifactError("store", f"it has no split {split!r}", "one of train", "Choose one of those.")
    return [{"row": row, "tokens": [context_tokens]} for row in range(first, first + count)]


def test_rows(serve: Serve) -> None:
    """They come from the function that was handed over; its errors are told; limits name both numbers."""
    client = serve(store=ServedStore(about={"splits": {}}, read_rows=_read_rows)).client
    rows = client.get("/api/store/rows", params={"first": 4, "count": 2, "context_tokens": 9}).json()["rows"]
    assert rows == [{"row": 4, "tokens": [9]}, {"row": 5, "tokens": [9]}]
    assert client.get("/api/store").json() == {"splits": {}}
    for query, message in (
        ({"split": "dev"}, "store: it has no split 'dev', but expected one of train. Choose one of those."),
        ({"count": 0}, "count is 0, but at least 1 is expected."),
        ({"count": 51}, "count is 51, but at most 50 is allowed."),
        ({"first": "x"}, "first is 'x', but a whole number is expected."),
        ({"context_tokens": 8192, "count": 3}, "3 rows of 8,192 tokens are 24,576, but at most 20,000 are shown at a time."),
    ):
        answer = client.get("/api/store/rows", params=query)
        assert answer.status_code == 400
        assert answer.json()["error"]["message"].startswith(message)


def test_tokens_of_a_text(serve: Serve) -> None:
    """Offsets are bytes, each token begins where the one before it ends, and together they are the text."""
    text = "Aä🦊"
    found = serve().post("/api/tokenize", {"text": text}).json()
    assert found["num_tokens"] == found["num_bytes"] == len(text.encode())
    assert (found["num_characters"], found["is_exact"]) == (3, True)
    assert [(token["start"], token["end"]) for token in found["tokens"]] == [(i, i + 1) for i in range(7)]
    assert bytes(token["id"] for token in found["tokens"]) == text.encode()


def test_half_a_character_is_an_error_that_speaks(serve: Serve) -> None:
    """What no vocabulary encodes is a 400."""
    client = serve(make_model()).client
    answer = client.post("/api/tokenize", content=b'{"text": "\\ud800"}', headers={"content-type": "application/json"})
    assert (answer.status_code, "half a surrogate" in answer.json()["error"]["message"]) == (400, True)
