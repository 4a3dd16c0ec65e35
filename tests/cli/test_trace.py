"""`whelp trace`: what a text went into."""

from __future__ import annotations

import dataclasses
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
    assert "its store, or one of the weights it began with, is not in these folders" in alone.said


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
    assert package.trace("07.txt", [made.store, tmp_path / "sent"]).num_exports == (format == "gguf")  # which says it, too


def write_rows(path: Path, licences: list[str | None]) -> Path:
    """JSON lines as collectors write them."""
    rows = (
        {"text": f"The {number}th sled dog runs over the snow. " * 5, "licence": one} for number, one in enumerate(licences)
    )
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return path


def test_licences_of_sources(whelp: Whelp, tmp_path: Path) -> None:
    """What the recipe says, else what rows name; of the sources that the text is in, and in the card of what was trained."""
    wiki = write_rows(tmp_path / "wiki.jsonl", ["CC BY-SA 4.0", None, "CC BY-SA 4.0", " ", "CC BY 4.0"] * 8)
    own = write_rows(tmp_path / "own.jsonl", ["wrong"] * 40)
    plain = tmp_path / "plain.txt"
    plain.write_text("\n\n".join(f"Line {number} of a text without any." for number in range(40)))
    mixture = [
        {"source": str(wiki), "name": "wiki"},
        {"source": str(own), "name": "own", "licence": "by permission"},
        {"source": str(plain), "name": "plain"},
    ]
    project = make_project(tmp_path / "project")
    recipe = yaml.safe_load(project.recipe.read_text(encoding="utf-8"))
    del recipe["data"]["source"]
    recipe["data"]["mixture"] = mixture
    project.recipe.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    package.prepare(project.recipe, out=project.store)
    for source, licences in {"wiki": ["CC BY-SA 4.0", "CC BY 4.0"], "own": ["by permission"], "plain": []}.items():
        (store,) = package.trace(source, project.store).stores
        assert store.named_licences == licences
    assert "  licence: CC BY-SA 4.0, CC BY 4.0\n" in whelp("trace", "wiki", project.store).text
    assert "  licence:" not in whelp("trace", "plain", project.store).text
    package.train(project.recipe, store=project.store, out=project.run)
    package.export(project.run, out=tmp_path / "model")
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "| documents | licence |" in card
    assert [line.split(" | ")[-1] for line in card.splitlines() if line.startswith(("| wiki", "| own", "| plain"))] == [
        "CC BY-SA 4.0, CC BY 4.0 |",
        "by permission |",
        "not known |",
    ]


@pytest.mark.parametrize("kind", ["Parquet", "rows of Python", "a dataset", "a curated corpus"])
def test_licences_of_one_source(tmp_path: Path, kind: str) -> None:
    """Wherever rows name them."""
    import datasets
    import pandas

    rows = write_rows(tmp_path / "rows.jsonl", ["CC BY 4.0"] * 40)
    frame = pandas.read_json(rows, lines=True)
    recipe = {"data": {"source": rows, "tokenizer": {"learn": "bpe", "vocab_size": 300}}, "pack": {"context_tokens": 16}}
    given, licence = None, "CC BY 4.0"
    if kind == "Parquet":
        frame.to_parquet(tmp_path / "rows.parquet")
        recipe["data"]["source"] = tmp_path / "rows.parquet"
    elif kind == "a curated corpus":
        curated = package.curate(recipe, out=tmp_path / "clean", overrides=["curate.preset=none"])
        recipe["data"]["source"] = curated.source
    else:
        given = frame
        if kind == "a dataset":
            given, licence = datasets.Dataset.from_pandas(frame.drop(columns="licence")), "cc0-1.0"
            given.info.license = licence
    package.prepare(recipe, out=tmp_path / "store", rows=given)
    source = open_store(tmp_path / "store").manifest.inputs["source"]
    assert source["named_licences"] == [licence]


def test_a_gguf_file_alone(whelp: Whelp, made: Project, tmp_path: Path) -> None:
    """Taken out of its folder, and renamed, it is found by its metadata, as its folder is; beside that folder's record, once."""
    pytest.importorskip("gguf", reason="pip install 'whelp[gguf]'")
    export, alone = tmp_path / "sent" / "model", tmp_path / "alone" / "mine.gguf"
    alone.parent.mkdir()
    package.export(made.run, out=export, format="gguf", license="mit")
    shutil.copy(next(export.glob("*.gguf")), alone)
    (sent,) = package.trace("07.txt", [made.store, tmp_path / "sent"]).exports
    assert sent.folder == str(export)
    for place in (alone.parent, alone):
        assert package.trace("07.txt", [made.store, place]).exports == [dataclasses.replace(sent, folder=str(alone))]
    assert f"export {alone}: about {sent.num_tokens:,} tokens" in whelp("trace", "07.txt", made.store, alone).text
    assert package.trace("07.txt", [alone]).untold == [str(alone)]
    assert str(made.folder).encode() not in alone.read_bytes()

    other = tmp_path / "other"
    package.export(sorted((made.run / "checkpoints").glob("step-*"))[0], out=other, format="gguf")
    shutil.copy(next(other.glob("*.gguf")), export / "other.gguf")  # of another step
    found = [one.folder for one in package.trace("07.txt", [made.store, tmp_path / "sent"]).exports]
    assert found == [str(export), str(export / "other.gguf")]


@pytest.mark.parametrize("damage", ["cut short", "of another kind", "without an origin"])
def test_a_gguf_file_that_says_nothing(made: Project, tmp_path: Path, damage: str) -> None:
    """Is passed over, and named alone it is no export."""
    gguf = pytest.importorskip("gguf", reason="pip install 'whelp[gguf]'")
    path = tmp_path / "model.gguf"
    if damage == "without an origin":
        writer = gguf.GGUFWriter(path, "gpt2")
        writer.add_token_list(["a", "b"])
        writer.add_string("whelp.other", "{}")
        writer.add_rope_scaling_factor(1.0)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.close()
    else:
        package.export(made.run, out=tmp_path / "model", format="gguf")
        whole = next((tmp_path / "model").glob("*.gguf")).read_bytes()
        path.write_bytes(whole[: whole.index(b"whelp.origin") + 40] if damage == "cut short" else b"GGML" + whole[4:])
        shutil.rmtree(tmp_path / "model")
    assert package.trace("07.txt", [made.store, tmp_path]).num_exports == 0
    with pytest.raises(ArtifactError, match="there is no store, run or export below"):
        package.trace("07.txt", [path])
    other = tmp_path / "notes.txt"
    other.write_text("text")
    with pytest.raises(ArtifactError, match=r"notes.txt: is no folder and no GGUF file"):
        package.trace("07.txt", [other])


def test_the_weights_that_a_run_began_with(made: Project, tmp_path: Path) -> None:
    """What they were trained on is in all that comes of them: runs, exports, and exports of exports."""
    other = make_project(tmp_path / "other", data={"tokenizer": str(made.store / "tokenizer"), "source": "more/"})
    (other.folder / "more").mkdir()
    for number in range(12):
        (other.folder / "more" / f"m{number}.txt").write_text(f"Quite another text, number {number}.\n" * 5, encoding="utf-8")
    package.prepare(other.recipe, out=other.store)
    package.train(other.recipe, store=other.store, out=other.run, overrides=[f"train.start_from={made.run}"])
    package.export(other.run, out=tmp_path / "first")
    package.export(tmp_path / "first", out=tmp_path / "second")
    (before,) = package.trace("07.txt", [made.store, made.run]).runs
    found = package.trace("07.txt", [made.store, tmp_path])
    (run,) = found.runs
    trained = before.checkpoints["step-00000004"]
    assert (run.folder, run.store, run.share) == (str(other.run), str(other.store), 0.0)
    assert run.inherited_tokens == trained > 0
    assert set(run.checkpoints.values()) == {trained}
    assert [(one.folder, one.num_tokens, one.inherited_tokens) for one in found.exports] == [
        (str(tmp_path / name), trained, trained) for name in ("first", "second")
    ]
    assert found.untold == []
    (own,) = package.trace("m3.txt", [made.store, tmp_path]).runs
    assert own.share > 0 == own.inherited_tokens

    alone = package.trace("07.txt", [tmp_path])
    assert (alone.runs, sorted(alone.untold)) == ([], sorted(map(str, (tmp_path / "first", other.run, tmp_path / "second"))))
    lost = package.trace("07.txt", [made.store, other.run])
    assert [(one.store, one.inherited_tokens) for one in lost.runs] == [(None, trained)]


def test_exports_of_averaged_weights_and_in_odd_places(made: Project, whelp: Whelp, tmp_path: Path) -> None:
    """Inside the folder of their run, and behind a link; each once."""
    run, sent = tmp_path / "sent" / "run", tmp_path / "sent"
    options = ["train.ema_decay=0.9", "--store", made.store, "--out", run]
    assert whelp("train", made.recipe, *options).code == 0
    package.export(run / "checkpoints" / "last" / "ema", out=run / "export")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]
    average = [record["ema_test_bits_per_byte"] for record in records if "ema_test_bits_per_byte" in record][-1]
    assert f"| bits a byte | {average:.4f} |" in (run / "export" / "README.md").read_text(encoding="utf-8")
    (sent / "again").symlink_to(sent, target_is_directory=True)
    (tmp_path / "looked").mkdir()
    (tmp_path / "looked" / "link").symlink_to(sent, target_is_directory=True)
    found = package.trace("07.txt", [made.store, tmp_path / "looked"])
    assert [one.folder for one in found.runs] == [str(tmp_path / "looked" / "link" / "run")]
    assert [(one.folder, one.num_tokens) for one in found.exports] == [
        (str(tmp_path / "looked" / "link" / "run" / "export"), max(found.runs[0].checkpoints.values()))
    ]


def test_renamed_changed_and_alike(whelp: Whelp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that moved is known by its contents, a file that changed by its name; one that only has the name of another is not."""
    project = make_project(tmp_path / "project")
    (project.corpus / "a[1].txt").write_text("A file with brackets in its name.\n", encoding="utf-8")
    (project.corpus / "a1.txt").write_text("A file without them.\n", encoding="utf-8")
    assert whelp("prepare", project.recipe, "--out", project.store).code == 0
    brackets = package.trace(str(project.corpus / "a[1].txt"), [project.store]).stores[0]
    assert brackets.files == ["a[1].txt"]
    moved = project.corpus.rename(project.folder / "moved")
    whole = package.trace(str(moved), [project.store]).stores[0]
    assert (len(whole.files), whole.share) == (26, 1.0)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(moved / "03.txt", elsewhere / "07.txt")
    monkeypatch.chdir(elsewhere)
    assert package.trace("07.txt", [project.store]).stores[0].files == ["03.txt"]
    (elsewhere / "07.txt").write_text("Changed since.\n", encoding="utf-8")
    assert package.trace("07.txt", [project.store]).stores[0].files == ["07.txt"]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_through_a_corpus_curated_twice(tmp_path: Path, format: str) -> None:
    """Row by row: of the second corpus, those that came from rows of the first that came from the file."""
    project = make_project(tmp_path / "project")
    (project.corpus / "07.txt").write_text("An odd one.\n\nIt has two documents.\n", encoding="utf-8")
    rules = ["curate.preset=none", f"curate.format={format}", "data.document=blank_line"]
    first = package.curate(project.recipe, out=project.folder / "first", overrides=rules)
    again = [*rules[:2], f"data.source={first.source}", "curate.length.min_characters=15"]
    second = package.curate(project.recipe, out=project.folder / "second", overrides=again)
    package.prepare(project.recipe, out=project.store, overrides=[f"data.source={second.source}", "data.test_split=0"])
    (store,) = package.trace("07.txt", [project.folder]).stores
    assert store.num_documents["train"] == 1  # the shorter one was dropped
    assert store.through == [str(project.folder / "second")]


def test_a_damaged_run_does_not_hide_the_others(made: Project, tmp_path: Path) -> None:
    """Of one whose plan cannot be read nothing can be said; of the others, as ever."""
    for name, plan in (("cut", '{"plan": '), ("other", '{"store": "x", "plan": {"steps": 1}, "recipe": {"train": {}}}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").touch()
        (tmp_path / name / "plan.json").write_text(plan, encoding="utf-8")
    found = package.trace("07.txt", [made.folder, tmp_path])
    assert [run.folder for run in found.runs] == [str(made.run)]
    assert sorted(found.untold) == [str(tmp_path / "cut"), str(tmp_path / "other")]


def test_nothing_to_look_in(tmp_path: Path) -> None:
    """A folder that is not there, or holds nothing, is an error; not an answer that nothing was trained on it."""
    with pytest.raises(ArtifactError, match="there is no such folder"):
        package.trace("a.txt", [tmp_path / "nowhere"])
    with pytest.raises(ArtifactError, match="no store, run or export"):
        package.trace("a.txt", [tmp_path])
