"""`whelp trace`: what a text went into."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

import whelp as package
from whelp.artifacts.token_store import open_store
from whelp.base.errors import ArtifactError

from .helpers import Project, Whelp, make_project, snapshot


def count(store: Path, split: str, labels: set[str]) -> tuple[int, int]:
    """Documents and tokens of files, document by document."""
    opened = open_store(store)
    documents = [opened.split(split).document(number) for number in range(opened.split(split).num_documents)]
    ours = [len(row["input_ids"]) for row in documents if opened.sources[row["file_index"]] in labels]
    return len(ours), sum(ours)


def test_a_file_of_a_folder(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """By path, by name, by pattern, and by its contents under another name; store, share, run and checkpoints; only read."""
    before = snapshot(made.folder)
    result = whelp("trace", made.corpus / "07.txt", made.folder, "--json").json
    (store,), (run,) = result["stores"], result["runs"]
    assert store["files"] == ["07.txt"]
    expected = {split: count(made.store, split, {"07.txt"}) for split in ("train", "test")}
    assert {split: (store["num_documents"][split], store["num_tokens"][split]) for split in expected} == expected
    whole = open_store(made.store).split("train").num_tokens
    assert store["share"] == run["share"] == pytest.approx(expected["train"][1] / whole)
    assert run["folder"] == str(made.run)
    assert run["checkpoints"]["step-00000004"] == round(run["share"] * 4 * 64)
    assert result["untold"] == []

    copy = tmp_path / "renamed.md"
    shutil.copy(made.corpus / "07.txt", copy)
    for name in ("07.txt", copy):
        assert (
            package.trace(str(name), [made.folder]).stores == package.trace(str(made.corpus / "07.txt"), [made.folder]).stores
        )
    several = package.trace("1*.txt", [made.folder]).stores[0]
    assert several.files == [f"1{digit}.txt" for digit in range(10)]
    assert sum(several.num_documents.values()) == 10
    assert package.trace(str(made.corpus), [made.folder]).stores[0].share == 1.0

    told = whelp("trace", "07.txt", made.folder)
    assert f"store {made.store}: train 1 document" in told.text
    assert f"run {made.run}: " in told.text
    assert "Weights do not forget: train anew" in told.said
    assert "07.tx is in none of 1 store and 1 run" in whelp("trace", "07.tx", made.folder).text
    assert snapshot(made.folder) == before


def test_a_source_of_a_mixture(whelp: Whelp, tmp_path: Path) -> None:
    """By its name; a run's share is that of its weight, whatever the store's is. Without its store, nothing is said of a run."""
    project = make_project(tmp_path / "project")
    recipe = yaml.safe_load(project.recipe.read_text(encoding="utf-8"))
    (project.folder / "more.jsonl").write_text(
        "".join(json.dumps({"text": f"More of it, number {number}, and so on."}) + "\n" for number in range(40)),
        encoding="utf-8",
    )
    del recipe["data"]["source"]
    recipe["data"]["mixture"] = [{"source": "text/", "weight": 3}, {"source": "more.jsonl", "name": "more", "weight": 1}]
    project.recipe.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    assert whelp("prepare", project.recipe, "--out", project.store).code == 0
    assert whelp("train", project.recipe, "train.num_steps=8", "--store", project.store, "--out", project.run).code == 0
    found = package.trace("more", [project.folder])
    (store,), (run,) = found.stores, found.runs
    assert (store.num_documents["train"], store.num_tokens["train"]) == count(project.store, "train", {"more.jsonl"})
    assert run.share == pytest.approx(0.25, abs=0.02)
    assert store.share != pytest.approx(run.share, abs=0.02)
    (file,) = package.trace("03.txt", [project.folder]).runs
    part = open_store(project.store).split_by_source("train")["text"]
    assert file.share == pytest.approx(0.75 * count(project.store, "train", {"03.txt"})[1] / part.num_tokens, abs=0.01)

    shutil.rmtree(project.store)
    alone = whelp("trace", "more", project.folder)
    assert alone.code == 0
    assert "its store is not in these folders" in alone.said


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_through_a_curated_corpus(tmp_path: Path, format: str) -> None:
    """What was kept of a file is found in the store that was prepared from the kept rows, document by document."""
    project = make_project(tmp_path / "project")
    (project.corpus / "07.txt").write_text("An odd one.\n\nIt has two documents.\n", encoding="utf-8")
    clean = project.folder / "clean"
    rules = ["curate.preset=none", f"curate.format={format}", "data.document=blank_line"]
    kept = package.curate(project.recipe, out=clean, overrides=rules)
    package.prepare(project.recipe, out=project.store, overrides=[f"data.source={kept.source}", "data.test_split=0"])
    found = package.trace("07.txt", [project.folder])
    (store,) = found.stores
    assert store.through == [str(clean)]
    assert store.num_documents["train"] == 2
    assert any("was curated from it" in step for step in found.next_steps)
    if format == "jsonl":
        lines = (clean / "kept" / "00000.jsonl").read_text(encoding="utf-8").splitlines()
        opened = open_store(project.store).split("train")
        ours = [number for number, line in enumerate(lines) if json.loads(line)["origin"] == "07.txt"]
        assert store.num_tokens["train"] == sum(len(opened.document(number)["input_ids"]) for number in ours)


@pytest.mark.parametrize("format", ["hf", "gguf", "onnx"])
def test_an_export(whelp: Whelp, made: Project, tmp_path: Path, format: str) -> None:
    """Moved away from its run it is found by its origin, with as many tokens as its checkpoint; the origin names no place.

    Of a copy without its store, or whose origin is not one, nothing is claimed.
    """
    pytest.importorskip({"hf": "torch", "gguf": "gguf", "onnx": "onnxruntime"}[format], reason=f"pip install 'whelp[{format}]'")
    export = tmp_path / "sent" / "model"
    package.export(made.run, out=export, format=format)
    found = package.trace("07.txt", [made.store, made.run, tmp_path / "sent"])
    (run,), (sent,) = found.runs, found.exports
    last = max(run.checkpoints)
    assert (sent.folder, sent.share, sent.num_tokens) == (str(export), run.share, run.checkpoints[last])
    assert last.endswith(str(sent.step))
    assert str(made.folder) not in (export / "origin.json").read_text(encoding="utf-8")
    assert (
        f"export {export}: about {sent.num_tokens:,} tokens of it"
        in whelp("trace", "07.txt", made.store, tmp_path / "sent").text
    )
    assert package.trace("not.txt", [made.store, tmp_path / "sent"]).exports == []

    assert package.trace("07.txt", [tmp_path / "sent"]).untold == [str(export)]
    (export / "origin.json").write_text('{"kind": "export"}', encoding="utf-8")
    assert package.trace("07.txt", [made.store, tmp_path / "sent"]).num_exports == 0


def test_nothing_to_look_in(tmp_path: Path) -> None:
    """A folder that is not there, or holds nothing, is an error; not an answer that nothing was trained on it."""
    with pytest.raises(ArtifactError, match="there is no such folder"):
        package.trace("a.txt", [tmp_path / "nowhere"])
    with pytest.raises(ArtifactError, match="no store, run or export"):
        package.trace("a.txt", [tmp_path])
