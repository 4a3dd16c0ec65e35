"""Data sets go through a hub: stores, what curating keeps, and rows; each opens with the package `datasets`, and with whelp."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from datasets import load_dataset, load_from_disk
from huggingface_hub import DatasetCard, snapshot_download

import whelp as package
from hub import Hub
from whelp.artifacts.manifest import find_damage
from whelp.artifacts.token_store import open_store
from whelp.base.errors import ArtifactError
from whelp.report import make_dataset_card

from .helpers import Project, Whelp, make_project, said_once
from .test_push import hub as hub

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def fetch(hub: Hub, name: str, folder: Path) -> Path:
    """As `hf download NAME --repo-type dataset --local-dir FOLDER` does."""
    return Path(snapshot_download(name, repo_type="dataset", local_dir=folder, endpoint=hub.endpoint))


def test_a_store(whelp: Whelp, made: Project, hub: Hub, tmp_path: Path) -> None:
    """The same ids, a store to train on; its manifest names no folder of this machine."""
    result = package.push(made.store, "ada/ids", dataset=True, license="cc-by-4.0")
    assert (result.repository, result.url) == ("dataset", f"{hub.endpoint}/datasets/ada/ids")
    folder = fetch(hub, "ada/ids", tmp_path / "ids")
    ours, theirs = open_store(made.store), open_store(folder)
    assert theirs.manifest.fingerprint == ours.manifest.fingerprint
    rows = load_dataset(str(folder), cache_dir=tmp_path / "cache")
    for split in ("train", "test"):
        assert rows[split]["input_ids"][:] == load_from_disk(str(made.store))[split]["input_ids"][:]
    assert str(made.folder.parent) not in "".join(path.read_text() for path in folder.rglob("*.json"))
    assert whelp("train", made.recipe, "--store", folder, "--out", "run").code == 0
    card = (folder / "README.md").read_text()
    counts = ours.manifest.counts["splits"]["train"]
    assert f"| train | {counts['documents']:,} documents, {counts['tokens']:,} tokens |" in card
    assert "whelp train my-recipe.yaml --store ids --out run" in card


def test_what_curating_keeps(whelp: Whelp, hub: Hub, tmp_path: Path) -> None:
    """What was dropped, and the examples of it, stay here; the card counts the reasons, and the licences of rows."""
    rows = [{"text": f"A tale of fox {number}.", "licence": "MIT" if number % 2 else "CC0"} for number in range(10)]
    secret = {"text": "A tale of fox 3.", "licence": "secret"}
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, secret]))
    recipe = {
        "data": {"source": "rows.jsonl", "tokenizer": "gpt2"},
        "curate": {"preset": "none", "exact_duplicates": True, "keep_columns": ["licence"]},
    }
    package.curate(recipe, out="clean")
    result = package.push("clean", "ada/tales", dataset=True)
    assert [one.file for one in result.contents] == ["README.md", "kept/00000.jsonl"]
    folder = fetch(hub, "ada/tales", tmp_path / "tales")
    assert load_dataset(str(folder), cache_dir=tmp_path / "cache")["train"]["text"][:] == [row["text"] for row in rows]
    assert not any(b"secret" in content for content in hub.read("ada/tales", kind="dataset").values())
    for words in ("Of 11 documents 10 were kept", "- exact_duplicates: equal to an earlier document: 1", "| MIT | 5 rows |"):
        assert words in result.card, words
    assert "The texts have licenses of their own, which each row names." in result.card


def test_a_curated_mixture_has_a_part_for_each_source(whelp: Whelp, hub: Hub, tmp_path: Path) -> None:
    """So that each may have columns of its own."""
    for name, column in (("books", "title"), ("code", "path")):
        rows = [{"text": f"{name} {number}", column: str(number)} for number in range(4)]
        Path(f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    mixture = [{"source": f"{name}.jsonl", "name": name, "weight": 1} for name in ("books", "code")]
    package.curate(
        {"data": {"mixture": mixture, "tokenizer": "gpt2"}, "curate": {"preset": "none", "keep_columns": ["title", "path"]}},
        out="clean",
    )
    result = package.push("clean", "ada/both", dataset=True)
    folder = fetch(hub, "ada/both", tmp_path / "both")
    assert 'load_dataset("ada/both", "books")' in result.card
    assert load_dataset(str(folder), "code", cache_dir=tmp_path / "cache")["train"]["path"][:] == ["0", "1", "2", "3"]


def test_rows_and_text(whelp: Whelp, made: Project, hub: Hub, tmp_path: Path) -> None:
    """A file, and a folder, as they are; a folder with a card goes with that card."""
    Path("rows.jsonl").write_text('{"text": "one", "license": "MIT"}\n{"text": "two"}\n')
    Path("beside.txt").write_text("not asked for")
    outcome = whelp("push", "rows.jsonl", "ada/rows", "--dataset", "--license", "My own")
    assert outcome.code == 0, outcome.stderr
    there = hub.read("ada/rows", kind="dataset")
    assert there.keys() == {"README.md", "rows.jsonl"}
    data = DatasetCard(there["README.md"].decode()).data
    assert (data.license, data.license_name, data.size_categories) == ("other", "my-own", ["n<1K"])
    folder = fetch(hub, "ada/rows", tmp_path / "rows")
    assert load_dataset(str(folder), cache_dir=tmp_path / "cache")["train"]["text"][:] == ["one", "two"]
    result = package.push(made.corpus, "ada/text", dataset=True)
    assert "| train | 24 documents |" in result.card
    assert hub.read("ada/text", kind="dataset")["03.txt"] == (made.corpus / "03.txt").read_bytes()
    Path("own").mkdir()
    Path("own/README.md").write_text("# Mine\n")
    Path("own/rows.jsonl").write_text('{"words": 1}\n')
    assert package.push("own", "ada/own", dataset=True).card == "# Mine\n"
    said_once(whelp("push", "own", "ada/own", "--dataset", "--license", "mit"), "own has a README.md, so it goes as it stands")


def test_a_store_that_is_not_whole_stays(whelp: Whelp, hub: Hub, tmp_path: Path) -> None:
    """A damaged one is refused before anything is made there."""
    project = make_project(tmp_path / "project")
    package.prepare(project.recipe, out=project.store)
    (project.store / "train/data-00000-of-00001.arrow").write_bytes(b"half")
    said_once(whelp("push", project.store, "ada/ids", "--dataset"), "has 4 bytes, but expected")
    assert hub.repositories == {}


@pytest.mark.parametrize(("count", "size"), [(1, "n<1K"), (1000, "1K<n<10K"), (99_999, "10K<n<100K"), (2 * 10**9, "1B<n<10B")])
def test_sizes_as_hubs_name_them(count: int, size: str) -> None:
    """The group of a number of documents."""
    card = make_dataset_card(
        "x", what="a corpus", splits={"train": {"documents": count}}, num_bytes=1, configs={}, usage="", made="", columns={}, files=[]
    )  # fmt: skip
    assert yaml.safe_load(card.split("---")[1])["size_categories"] == [size]


def test_an_earlier_corpus_is_not_read_with_the_new(whelp: Whelp, made: Project, hub: Hub) -> None:
    """What is no longer kept is not there any more; nor are other shards of a store."""
    Path("rows.jsonl").write_text('{"text": "one"}\n')
    package.curate({"data": {"source": "rows.jsonl", "tokenizer": "gpt2"}, "curate": {"preset": "none"}}, out="clean")
    old = {"kept/00001.jsonl": b'{"text": "secret"}\n', "test/00000.jsonl": b"{}\n", "notes.txt": b"mine"}
    hub.make("ada/tales", kind="dataset", files=old)
    said_once(whelp("push", "clean", "ada/tales", "--dataset"), "2 files of an earlier push would be removed")
    result = package.push("clean", "ada/tales", dataset=True, replace=True)
    assert (result.others, hub.read("ada/tales", kind="dataset").keys()) == (
        ["notes.txt"], {"README.md", "kept/00000.jsonl", "notes.txt"}
    )  # fmt: skip
    hub.make("ada/ids", kind="dataset", files={"train/data-00001-of-00002.arrow": b"old"})
    package.push(made.store, "ada/ids", dataset=True, replace=True)
    assert "train/data-00001-of-00002.arrow" not in hub.read("ada/ids", kind="dataset")


def test_folders_of_this_machine_stay_here(whelp: Whelp, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """That of the vocabulary, and labels of files that have only the home folder's parent in common."""
    project = make_project(tmp_path / "home/ada/project")
    package.prepare(project.recipe, out=project.store)
    monkeypatch.setenv("HOME", str(tmp_path / "home/ada"))
    (tmp_path / "home/shared").mkdir()
    (tmp_path / "home/shared/more.txt").write_text("A tale of fox and dog.")
    texts = [str(project.corpus / "03.txt"), str(tmp_path / "home/shared/more.txt")]
    recipe = {"data": {"source": texts, "tokenizer": str(project.store / "tokenizer"), "test_split": 0}}
    package.prepare(recipe, out="store")
    package.push("store", "ada/ids", dataset=True)
    there = hub.read("ada/ids", kind="dataset")
    assert json.loads(there["sources.json"]) == ["03.txt", "more.txt"]
    assert not [name for name, content in there.items() if b"home/" in content]
    again = open_store(fetch(hub, "ada/ids", tmp_path / "ids"))
    assert again.manifest.inputs["source"]["tokenizer_asked"] == "tokenizer"
    assert find_damage(again.folder, again.manifest) == []
    package.curate({**recipe, "curate": {"preset": "none"}}, out="clean")
    with pytest.raises(
        ArtifactError, match=r"clean: each row says which file it is from, .*: ada/project/.*03\.txt, shared/more"
    ):
        package.push("clean", "ada/tales", dataset=True)


def test_an_imported_store_tells_of_no_folder(whelp: Whelp, hub: Hub, tmp_path: Path) -> None:
    """Its files were given as paths."""
    project = make_project(tmp_path / "project")
    package.prepare(project.recipe, out=project.store)
    assert whelp("export", project.store, "--format", "nanogpt", "--out", "ids").code == 0
    ids = Path("ids/train.bin").absolute()
    outcome = whelp("import", ids, "--format", "nanogpt", "--tokenizer", project.store / "tokenizer", "--out", "imported")
    assert outcome.code == 0, outcome.stderr
    package.push("imported", "ada/ids", dataset=True)
    there = hub.read("ada/ids", kind="dataset")
    assert not [
        name for name, content in there.items() if str(tmp_path).encode() in content or str(ids.parent).encode() in content
    ]
    assert json.loads(there["sources.json"]) == ["train.bin"]
