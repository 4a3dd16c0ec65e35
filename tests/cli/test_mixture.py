"""A mixture of sources in one recipe: its options, its store, its ledger, its rows, and what a run makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import whelp as package
from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.errors import ConfigError, StaleError
from whelp.cli.recipe import Recipe, load_recipe
from whelp.cli.source_rows import mix_rows, pack_by_source
from whelp.cli.train import plan_training
from whelp.tokenizer import load_tokenizer

from .helpers import Whelp, run_whelp, snapshot

BOOKS = [f"The quick brown fox {number} jumps over {number * number} lazy dogs.\n" * (number % 3 + 1) for number in range(24)]
CODE = [{"content": f"def f{number}(x):\n    return x + {number}\n", "title": "t"} for number in range(60)]
CHAT = [{"prompt": f"What is {number}+1? ", "completion": f"It is {number + 1}."} for number in range(30)]
ENTRIES: list[dict[str, Any]] = [
    {"source": "books/", "weight": 2, "max_repeats": 40},
    {"name": "code", "source": "code.jsonl", "custom_text_key": "content", "min_token_size": 9},
    {"source": "chat.jsonl", "weight": 0.5, "test_split": 0.2},
]


def write_project(folder: Path, entries: list[dict[str, Any]] = ENTRIES, **sections: dict[str, Any]) -> Path:
    """Write three small sources and a recipe of them; return its place."""
    (folder / "books").mkdir(parents=True)
    for number, text in enumerate(BOOKS):
        (folder / "books" / f"{number:02}.txt").write_text(text)
    for name, rows in (("code", CODE), ("chat", CHAT)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe: dict[str, dict[str, Any]] = {
        "data": {"tokenizer": {"learn": "bpe", "vocab_size": 320}, "test_split": 0.1, "mixture": entries},
        "pack": {"context_tokens": 16},
        "model": {"family": "qwen3", "n_layer": 1, "n_head": 2, "n_embd": 16},
        "train": {"num_steps": 6, "batch_tokens": 128, "learning_rate": 1e-2, "threads": 1, "device": "cpu"},
    }
    for name, values in sections.items():
        recipe[name] |= values
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return folder / "recipe.yaml"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a recipe, and a finished store and run of it, shared: do not write into it."""
    recipe = write_project(tmp_path_factory.mktemp("mixture") / "project")
    folder = recipe.parent
    assert run_whelp("prepare", recipe, "--out", folder / "store").code == 0
    assert run_whelp("train", recipe, "--store", folder / "store", "--out", folder / "run").code == 0
    return folder


@pytest.fixture
def store(project: Path) -> TokenStore:
    return open_store(project / "store")


# --- the store ---


def test_documents_of_each_source_lie_together(store: TokenStore) -> None:
    """In the order of the recipe, in both splits, each made by its own template; files are counted through all sources."""
    vocabulary = load_tokenizer(store.tokenizer_folder)
    wanted = {
        "books": set(BOOKS),
        "code": {row["content"] for row in CODE},
        "chat": {row["prompt"] + row["completion"] for row in CHAT},
    }
    found: dict[str, list[str]] = {name: [] for name in wanted}
    for side in ("train", "test"):
        parts = store.split_by_source(side)
        assert list(parts) == list(wanted)
        whole = store.split(side)
        assert sum(part.num_documents for part in parts.values()) == whole.num_documents
        assert sum(part.num_tokens for part in parts.values()) == whole.num_tokens
        for name, part in parts.items():
            assert name is not None
            for index in range(part.num_documents):
                document = part.document(index)
                found[name].append(vocabulary.decode(document["input_ids"][:-1]))
                label = store.sources[document["file_index"]]
                assert (label.removesuffix(".jsonl") if label.endswith("l") else "books") == name
                masked = document["loss_mask"] == 0
                assert masked.any() == (name == "chat")
    assert {name: sorted(texts) for name, texts in found.items()} == {name: sorted(texts) for name, texts in wanted.items()}


def test_counts_add_up(store: TokenStore) -> None:
    """The parts of the ledger and of the manifest belong to the tokens that lie there, and add up to the whole."""
    ledger, sources = store.ledger, store.mixture
    assert [(source.name, source.weight, source.max_repeats) for source in sources] == [
        ("books", 2.0, 40.0),
        ("code", 1.0, None),
        ("chat", 0.5, None),
    ]
    parts = ledger["sources"]
    for name in ("documents_in", "tokens_in", "text_bytes", "documents_divided"):
        assert ledger[name] == sum(part[name] for part in parts.values())
    for name in ("documents", "tokens", "trained", "masked"):
        for side in ("train", "test"):
            assert ledger[name][side] == sum(part[name][side] for part in parts.values())
    for side in ("train", "test"):
        for source, (name, split) in zip(sources, store.split_by_source(side).items(), strict=True):
            mask = np.ones(split.num_tokens, np.uint8)
            split.read_mask_into(0, mask)
            assert source.splits[side] == {"documents": split.num_documents, "tokens": split.num_tokens}
            assert parts[name]["tokens"][side] == split.num_tokens
            assert parts[name]["trained"][side] == mask.sum()
    assert [source.splits["test"]["documents"] for source in sources] == [2, 6, 6]  # by each one's own rule


def test_filters_are_of_their_source(tmp_path: Path) -> None:
    """What one entry drops stands in its part of the ledger, and in the sum."""
    entries = [ENTRIES[0], {**ENTRIES[1], "max_token_size": 13}, {**ENTRIES[2], "on_bad_rows": "skip"}]
    recipe = write_project(tmp_path / "p", entries)
    with open(tmp_path / "p" / "chat.jsonl", "a") as file:
        file.write('{"prompt": 3}\n')
    found = package.prepare(recipe, out=tmp_path / "store")
    dropped = {name: part["documents"].get("dropped: too long", 0) for name, part in found.ledger["sources"].items()}
    assert dropped["books"] == dropped["chat"] == 0
    assert 0 < dropped["code"] == found.ledger["documents"]["dropped: too long"] < 60
    bad = [json.loads(line) for line in (tmp_path / "store" / "bad_rows.jsonl").read_text().splitlines()]
    assert [(row["source"], row["file"], row["number"]) for row in bad] == [("chat", "chat.jsonl", 31)]


def test_one_source_does_not_change_another(tmp_path: Path, store: TokenStore) -> None:
    """Without its neighbour a source has the same documents in the same splits: a lot depends on its own name and seed."""
    recipe = write_project(tmp_path / "p", [ENTRIES[2], ENTRIES[1]], data={"tokenizer": str(store.tokenizer_folder)})
    package.prepare(recipe, out=tmp_path / "store")
    other = open_store(tmp_path / "store")
    for side in ("train", "test"):
        before, after = store.split_by_source(side), other.split_by_source(side)
        for name in ("code", "chat"):
            for column in ("input_ids", "loss_mask", "line"):
                assert before[name].table.column(column).to_pylist() == after[name].table.column(column).to_pylist()


def test_killed_and_run_again(tmp_path: Path, store: TokenStore) -> None:
    """Finished parts of all sources are found again, and the bytes are those of an uninterrupted run."""
    from whelp.cli.prepare import iter_prepare
    from whelp.prepare.encode import PrepareReport

    recipe = load_recipe(write_project(tmp_path / "p"))
    work = iter_prepare(recipe, tmp_path / "store")
    seen = 0
    for event in work:
        seen += isinstance(event, PrepareReport)
        if seen == 2:
            break
    work.close()  # type: ignore[attr-defined]
    reports = [event for event in iter_prepare(recipe, tmp_path / "store") if isinstance(event, PrepareReport)]
    assert [report.is_reused for report in reports][:2] == [True, True]
    assert open_store(tmp_path / "store").manifest.files == store.manifest.files


def test_no_document_left_names_the_source(tmp_path: Path, whelp: Whelp) -> None:
    """A source of which nothing can be trained stops the work by name, also when the others have enough."""
    recipe = write_project(tmp_path / "p", [ENTRIES[0], {**ENTRIES[1], "min_token_size": 500}])
    outcome = whelp("prepare", recipe, "--out", "store")
    assert outcome.code == 1
    assert "store, source code: nothing is left to train on (60 dropped: too short)" in outcome.said
    outcome = whelp(
        "prepare", recipe, "data.mixture.code.min_token_size=1", "data.mixture.code.test_split=60", "--out", "store"
    )
    assert "data.test_split of the source code: holds out 60 of 60 documents" in outcome.said


def test_splits_of_one_source_alone(tmp_path: Path) -> None:
    """A source may hold nothing out while another does, by its own way."""
    entries = [{**ENTRIES[0], "test_split": 0}, {**ENTRIES[1], "test_split_by": "tail"}]
    package.prepare(write_project(tmp_path / "p", entries), out=tmp_path / "store")
    store = open_store(tmp_path / "store")
    books, code = store.mixture
    assert books.splits["test"] == {"documents": 0, "tokens": 0}
    assert code.splits["test"]["documents"] == code.splits["train"]["documents"] == 60
    assert store.ledger["sources"]["code"]["documents_divided"] == store.ledger["documents_divided"] == 60
    session = plan_training(load_recipe(tmp_path / "p" / "recipe.yaml"), tmp_path / "store")[1]
    assert list(session.test_parts) == ["code"]


# --- staleness ---


def test_a_change_names_its_source(project: Path, tmp_path: Path, whelp: Whelp) -> None:
    """Training refuses an edited source, and says which; a weight is no part of the store."""
    recipe = write_project(tmp_path / "p")
    assert whelp("prepare", recipe, "--out", "store").code == 0
    before = snapshot(tmp_path / "store")
    assert (
        whelp("prepare", recipe, "data.mixture.code.weight=7", "data.mixture.books.max_repeats=1", "--out", "store").code == 0
    )
    assert snapshot(tmp_path / "store") == before
    with open(tmp_path / "p" / "code.jsonl", "a") as file:
        file.write(json.dumps(CODE[0]) + "\n")
    with pytest.raises(StaleError, match=r"code: code\.jsonl: edited"):
        package.train(recipe, store=tmp_path / "store", out=tmp_path / "run")
    with pytest.raises(StaleError, match=r"code: data\.min_token_size: 9 -> 2"):
        package.train(
            project / "recipe.yaml", store=project / "store", out="x", overrides=["data.mixture.code.min_token_size=2"]
        )
    with pytest.raises(StaleError, match=r"chat: data\.separator: 'eos' -> 'newline'"):
        package.train(project / "recipe.yaml", store=project / "store", out="x", overrides=["data.separator=newline"])
    again = whelp("prepare", recipe, "--out", "store")
    assert "is made again: code: code.jsonl: edited" in again.said


def test_other_sources_are_another_store(project: Path, tmp_path: Path) -> None:
    """Another order, another name, or one source alone: each is said, even where the text is not there to compare."""
    recipe = {"data": {"mixture": [{"name": "code", "source": "gone.jsonl"}]}}
    with pytest.raises(StaleError, match=r"data\.mixture: books, code, chat -> code\)"):
        package.train(recipe, store=project / "store", out=tmp_path / "run")
    with pytest.raises(StaleError, match=r"data\.mixture: books, code, chat -> one source"):
        package.train({"data": {"source": "gone.txt"}}, store=project / "store", out=tmp_path / "run")


# --- training, evaluating, looking ---


def test_rows_are_drawn_by_weight(project: Path, store: TokenStore) -> None:
    """Over a run each source has its share of the rows, no row holds text of two, and every row is one of its source."""
    recipe = load_recipe(project / "recipe.yaml", ["train.num_steps=70"])
    plan, session = plan_training(recipe, project / "store")
    rows = session.choose_rows(plan)
    assert not isinstance(rows, type(session.parts["code"]))
    total = plan.num_steps * plan.batch_rows
    owners, _ = rows.find_rows(0, total, seed=3)  # type: ignore[union-attr]
    assert (np.bincount(owners) / total).tolist() == pytest.approx([2 / 3.5, 1 / 3.5, 0.5 / 3.5], abs=1 / total)
    assert plan.source_epochs == {
        name: pytest.approx(count / len(part))
        for (name, part), count in zip(session.parts.items(), np.bincount(owners), strict=True)
    }
    batch = rows.read(0, 64, seed=3)
    for owner, ids in zip(owners[:64], batch.ids.tolist(), strict=True):
        part = list(session.parts.values())[owner]
        assert ids in part.read_in_order(0, len(part)).ids.tolist()


def test_a_limit_holds_over_the_run(project: Path) -> None:
    """No source comes more often than its limit; when all are at theirs, the run is too long, and it is said how long it may be."""
    limit = ["data.mixture.chat.max_repeats=0.5", "train.num_steps=30"]
    plan, _ = plan_training(load_recipe(project / "recipe.yaml", limit), project / "store")
    assert plan.source_epochs["chat"] == pytest.approx(0.5, abs=0.03)
    limits = [f"data.mixture.{name}.max_repeats=1" for name in ("books", "code", "chat")]
    outcome = run_whelp(
        "train", project / "recipe.yaml", *limits, "train.num_steps=900", "--dry-run", "--store", project / "store"
    )
    assert outcome.code == 1
    assert "data.mixture: max_repeats leaves" in outcome.said
    steps = int(outcome.said.partition("Shorten the run to ")[2].partition(" ")[0])
    fits = [*limits, f"train.num_steps={steps}"]
    assert all(
        count <= 1
        for count in plan_training(load_recipe(project / "recipe.yaml", fits), project / "store")[0].source_epochs.values()
    )


def test_the_plan_shows_repeats(project: Path, whelp: Whelp) -> None:
    """Of each source its epochs and its share; who comes often is warned of."""
    arguments = [
        "train",
        project / "recipe.yaml",
        "data.mixture.chat.weight=9",
        "train.num_steps=90",
        "--store",
        project / "store",
    ]
    shown = whelp(*arguments, "--dry-run")
    values = whelp(*arguments, "--dry-run", "--json").json
    assert values["source_epochs"]["chat"] > 8 > values["source_epochs"]["code"]
    assert f"chat: {values['source_epochs']['chat']:.1f} epochs (75.0% of the rows" in shown.said
    assert f"every row of chat will be seen {values['source_epochs']['chat']:.0f} times" in " ".join(values["warnings"])
    longer = whelp(*arguments[:3], "train.num_steps=2000", *arguments[4:], "--dry-run", "--json").json
    assert len([doubt for doubt in longer["warnings"] if doubt.startswith("every row of ")]) == 3
    assert not any("every row will be" in doubt for doubt in longer["warnings"])  # they do not come equally often
    assert longer["source_epochs"]["books"] == pytest.approx(40)  # its limit
    entries = values["ledger"]["sources"]
    assert sum(entry["ledger"]["tokens"] for entry in entries.values()) == values["ledger"]["tokens"]


def test_losses_of_each_source(project: Path) -> None:
    """The loss over all is that of the sources together; records, report and `evaluate` have both."""
    records = [json.loads(line) for line in (project / "run" / "metrics.jsonl").read_text().splitlines()]
    last = [record for record in records if "test_sources" in record][-1]
    parts = last["test_sources"]
    assert list(parts) == ["books", "code", "chat"]
    nats = sum(part["nats_per_token"] * part["num_tokens"] for part in parts.values())
    assert nats / sum(part["num_tokens"] for part in parts.values()) == pytest.approx(last["test_nats_per_token"])
    found = run_whelp("evaluate", project / "run", "--store", project / "store", "--json").json
    assert found["nats_per_token"] == pytest.approx(last["test_nats_per_token"], abs=1e-4)
    assert found["sources"]["code"]["num_tokens"] == parts["code"]["num_tokens"]
    assert "--- code" in run_whelp("evaluate", project / "run", "--store", project / "store").text
    page = (project / "run" / "report.html").read_text()
    assert "Test loss of each source" in page
    assert "epochs of chat" in page


def test_a_run_that_goes_on(project: Path, tmp_path: Path) -> None:
    """Stopped and gone on with, a run ends as an uninterrupted one; with other weights it is another run."""
    from whelp.cli.train import iter_train
    from whelp.cli.training.events import Saved

    recipe = load_recipe(project / "recipe.yaml", ["train.save_every_steps=3"])
    for folder, stops in (("whole", False), ("cut", True)):
        events = iter_train(recipe, project / "store", tmp_path / folder)
        for event in events:
            if stops and isinstance(event, Saved):
                break
        events.close()  # type: ignore[attr-defined]
    for _ in iter_train(recipe, project / "store", tmp_path / "cut"):
        pass
    weights = "checkpoints/last/model.safetensors"
    assert (tmp_path / "cut" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
    outcome = run_whelp(
        "train",
        tmp_path / "cut" / "recipe.yaml",
        "data.mixture.code.weight=3",
        "--store",
        project / "store",
        "--out",
        tmp_path / "cut",
    )
    assert outcome.code == 1
    assert "data.mixture.code.weight: 1.0 -> 3.0" in outcome.said


def test_inspect_says_the_source(project: Path, store: TokenStore) -> None:
    """Rows and documents are counted through all sources, and each row says whose it is."""
    recipe = load_recipe(project / "recipe.yaml")
    parts = pack_by_source(store, "train", recipe.pack, pad_id=0)
    rows = package.inspect(project / "store", rows="0:100000", recipe=project / "recipe.yaml")
    assert [row.row for row in rows] == list(range(len(rows)))
    assert [row.source for row in rows] == [name for name, part in parts.items() for _ in range(len(part))]
    table = store.split("train").table
    for row in rows[:: len(rows) // 9]:
        for document in row.documents:
            index = int(document["document"])
            assert document["line"] == table.column("line")[index].as_py()
            assert document["file"] == store.sources[table.column("file_index")[index].as_py()]
    shown = run_whelp("inspect", project / "store", "--rows", len(rows) - 1, "--recipe", project / "recipe.yaml")
    assert f"=== row {len(rows) - 1} of {len(rows)} (chat): 16 positions" in shown.text


def test_mixing_is_pure(project: Path, store: TokenStore) -> None:
    """The same recipe and plan give the same rows, whenever they are made."""
    recipe = load_recipe(project / "recipe.yaml")
    plan, _ = plan_training(recipe, project / "store")
    parts = pack_by_source(store, "train", recipe.pack, pad_id=0)
    first, second = (mix_rows(parts, recipe, plan).read(5, 20, seed=1).ids for _ in range(2))
    assert first.tolist() == second.tolist()


# --- the options ---


def read(entries: list[Any], **data: Any) -> Recipe:
    """A recipe with this mixture."""
    return load_recipe({"data": {**data, "mixture": entries}})


@pytest.mark.parametrize(
    ("entry", "name"),
    [
        ({"source": "a/books/"}, "books"),
        ({"source": "code.jsonl.gz"}, "code"),
        ({"source": "texts/*.txt"}, "texts"),
        ({"source": "stdlib"}, "stdlib"),
        ({"source": "hf:org/stories"}, "stories"),
        ({"source": ["x/one.txt", "two.txt"]}, "one"),
        ({"source": "json", "source_data_dir": "rows/"}, "rows"),
        ({"source": "a.txt", "name": "b"}, "b"),
    ],
)
def test_names(entry: dict[str, Any], name: str) -> None:
    """A source is called as its file or folder, unless it has a name."""
    assert list(read([entry]).data.entries) == [name]


def test_values_of_entries_stand_over_those_of_data() -> None:
    """What an entry does not say is as in `data`; the same goes for overrides of `data`, also of a recipe written out."""
    recipe = read([{"source": "a.txt"}, {"source": "b.txt", "min_token_size": 3}], min_token_size=7, separator="newline")
    assert [(entry.min_token_size, entry.separator) for entry in recipe.data.mixture] == [(7, "newline"), (3, "newline")]
    again = load_recipe(yaml.safe_load(recipe.to_yaml()))
    assert again == load_recipe(recipe.to_values())
    assert again.data.mixture[1].label == "b"
    changed = load_recipe(recipe, ["data.min_token_size=9", "data.mixture.b.weight=4"])
    assert [(entry.min_token_size, entry.weight) for entry in changed.data.mixture] == [(9, 1.0), (3, 4.0)]


def test_paths_of_entries_are_those_of_the_file(tmp_path: Path) -> None:
    """As everywhere: relative to the recipe, and absolute in the recipe of a run."""
    recipe = load_recipe(write_project(tmp_path / "p"))
    assert recipe.data.mixture[1].source == str(tmp_path / "p" / "code.jsonl")
    assert yaml.safe_load(recipe.to_yaml())["data"]["mixture"][0]["source"] == str((tmp_path / "p" / "books").resolve())


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"source": "a.txt", "mixture": [{"source": "b.txt"}]}, "data.source and data.mixture are both set"),
        ({"mixture": [{"weight": 2}]}, "data.mixture, an entry: source is missing"),
        (
            {"mixture": [{"source": "a", "wieght": 2}]},
            r"unknown key data.mixture\[0\].wieght. Did you mean data.mixture\[0\].weight",
        ),
        ({"mixture": [{"source": "a", "tokenizer": "gpt2"}]}, r"unknown key data.mixture\[0\].tokenizer"),
        ({"mixture": [{"source": "a", "weight": 0}]}, "data.mixture, a: weight is 0, but expected a number above 0"),
        ({"mixture": [{"source": "a", "weight": float("inf")}]}, "data.mixture, a: weight is inf"),
        ({"mixture": [{"source": "a", "max_repeats": 0}]}, "data.mixture, a: max_repeats is 0, but expected a number above 0"),
        ({"mixture": [{"source": "a"}, {"source": "x/a.txt"}]}, "data.mixture has two sources called a. Give each a name"),
        (
            {"mixture": [{"source": "a", "document": "regex"}]},
            "data.mixture, a: document is regex, but document_regex is missing",
        ),
        ({"mixture": [{"source": "a", "name": " "}]}, "name is empty"),
        ({"mixture": ["a.txt"]}, r"data.mixture\[0\] is 'a.txt', but a mapping of fields is expected"),
        ({"mixture": {"a": 1}}, "data.mixture is {'a': 1}, but expected a list"),
        (
            {"custom_text_key": "x", "mixture": [{"source": "a", "pieces": [{"column": "c"}]}]},
            "data.mixture, a: pieces and custom_text_key are both set",
        ),
    ],
)
def test_wrong_mixtures(data: dict[str, Any], message: str) -> None:
    """Each is refused by the name of its entry."""
    with pytest.raises(ConfigError, match=message):
        load_recipe({"data": data})


def test_wrong_overrides() -> None:
    """An override of a source that is not there names those that are."""
    with pytest.raises(ConfigError, match=r"data.mixture.cod: there is no such source \(known: code\)"):
        load_recipe({"data": {"mixture": [{"source": "code.jsonl"}]}}, ["data.mixture.cod.weight=2"])
    with pytest.raises(ConfigError, match=r"data\.source and data\.mixture are both set"):
        load_recipe({"data": {"mixture": [{"source": "code.jsonl"}]}}, ["data.source=x"])


def test_rows_do_not_stand_in_for_a_mixture(tmp_path: Path) -> None:
    """Rows from Python are one source."""
    with pytest.raises(ConfigError, match=r"rows stand in for data\.source, but the recipe has a mixture"):
        package.prepare({"data": {"mixture": [{"source": "a.txt"}]}}, out=tmp_path / "store", rows=[{"text": "a"}])


def test_dry_run_of_prepare(project: Path, whelp: Whelp) -> None:
    """What would be read, source by source."""
    values = whelp("prepare", project / "recipe.yaml", "--dry-run", "--json").json
    assert {name: part["num_files"] for name, part in values["sources"].items()} == {"books": 24, "code": 1, "chat": 1}


def test_nothing_held_out(project: Path, tmp_path: Path, whelp: Whelp) -> None:
    """A run without test documents has no test loss; a split in which no source has enough is refused."""
    recipe = write_project(
        tmp_path / "p", [{**entry, "test_split": 0} for entry in ENTRIES], data={"tokenizer": str(project / "store")}
    )
    assert whelp("prepare", recipe, "--out", "store").code == 0
    result = whelp("train", recipe, "--store", "store", "--out", "run", "--json").json
    assert result["nats_per_token"] is None
    assert "it has no split 'test'" in whelp("evaluate", "run", "--store", "store").said


def test_a_weight_too_small_and_a_source_too_short(project: Path, tmp_path: Path, whelp: Whelp) -> None:
    """A source that no row is drawn from is noted; one that does not fill a row is an error by its name."""
    arguments = ["--store", project / "store", "--dry-run", "--json"]
    values = whelp("train", project / "recipe.yaml", "data.mixture.chat.weight=1e-6", *arguments).json
    assert "no row of chat will be seen: its weight or max_repeats is too small for so short a run" in values["warnings"]
    outcome = whelp("train", project / "recipe.yaml", "pack.context_tokens=500", "train.batch_tokens=500", *arguments)
    assert "the chat train split: it has" in outcome.said
    assert "fewer than one row" in outcome.said


def test_options_without_effect_are_said_once(tmp_path: Path) -> None:
    """A shared option that one source uses has its effect; one of an entry has to have it there."""
    entries: list[dict[str, Any]] = [ENTRIES[0], {**ENTRIES[1], "delimiter": ";"}, ENTRIES[2]]
    write_project(tmp_path / "a", entries, data={"mixture": entries, "encoding": "utf-8", "quoted_fields": False})
    said = run_whelp("prepare", tmp_path / "a" / "recipe.yaml", "--out", tmp_path / "store").said
    assert said.count("has no effect") == 2
    assert "data.quoted_fields has no effect: no file is CSV" in said
    assert "data.mixture.code.delimiter has no effect: no file is CSV" in said


def test_the_plan_says_what_no_row_has_of_a_source(project: Path, whelp: Whelp) -> None:
    """Of a source that loses tokens its own share: the sum over all would hide it."""
    cut = ["pack.plan=none", "pack.long=truncate", "pack.context_tokens=8"]
    said = whelp("train", project / "recipe.yaml", *cut, "--store", project / "store", "--dry-run").said
    sources = package.plan(project / "recipe.yaml", store=project / "store", overrides=cut).ledger["sources"]
    lost = [one["ledger"]["cut_share"] for one in sources.values() if one["ledger"]["cut"]]
    assert lost
    words = " ".join(said.replace("│", " ").split())
    for share in lost:
        assert f"{share:.1%} of them cut off" in words
