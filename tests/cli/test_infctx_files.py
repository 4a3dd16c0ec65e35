"""YAML files of the infctx trainer, run as they stand: their rows token by token, and from file to store to model."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pyarrow as pa
import pytest
import torch
import yaml
from safetensors.torch import load_file
from tokenizers import Tokenizer

import whelp as package
from whelp.artifacts.token_store import open_store
from whelp.base.config import load_config, read_yaml
from whelp.cli.infctx import find_data_path, map_infctx
from whelp.cli.recipe import DataConfig, Recipe, load_recipe
from whelp.prepare import SourceToPrepare, make_template, prepare
from whelp.tokenizer import LearnConfig, Vocabulary, learn, load_tokenizer

from .helpers import Outcome, Whelp, run_whelp
from .infctx_files import END, FILES, MUSENET, NAMES, SHARED, WORDS, minimal, write_files


@pytest.fixture(scope="session")
def small() -> Vocabulary:
    """A small vocabulary in the place of GPT-NeoX's."""
    return learn([pa.array([WORDS, "What is 12 plus 24? Output: Instruction: Input:"])], LearnConfig(vocab_size=300))


@pytest.fixture
def folder(tmp_path: Path, small: Vocabulary, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder, with vocabularies where the files look for them."""
    small.save(tmp_path / "shelf" / "neox")
    small.save(tmp_path / "config" / "tokenizer")
    monkeypatch.setenv("WHELP_TOKENIZERS", str(tmp_path / "shelf"))
    return tmp_path


# --- as a recipe ---


def test_a_recipe_with_overrides(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Overrides are of our fields; paths are relative to the file; what is not done here is said."""
    path = write_files(folder, "enwiki")
    with caplog.at_level(logging.INFO, logger="whelp"):
        recipe = load_recipe(path, ["data.test_split=5", "model.n_layer=1", "train.num_steps=null", "train.minutes=1"])
    assert (recipe.data.test_split, recipe.model.n_layer, recipe.train.minutes) == (5, 1, 1)
    assert Path(str(recipe.data.source)) == path.parent / "enwiki.parquet"
    assert "a new rwkv5 of 6 layers and width 512 is trained" in caplog.text
    again = folder / "again.yaml"
    again.write_text(recipe.to_yaml(), encoding="utf-8")
    assert load_recipe(again) == recipe


def test_data_path(folder: Path) -> None:
    """Relative to the file; recipes of ours have none."""
    assert find_data_path(write_files(folder, "enwiki")) == folder / "config" / "../datapath/enwiki_10k_neox_1024"
    assert find_data_path("demo") is None
    (folder / "a.yaml").write_text(yaml.safe_dump(minimal()), encoding="utf-8")
    assert find_data_path(folder / "a.yaml") is None


# --- rows made by hand: what each file makes of them, token by token ---


def make_store(
    folder: Path, name: str, rows: list[dict[str, str]], vocabulary: Vocabulary
) -> list[tuple[list[int], list[int]]]:
    """Prepare rows as a source would deliver them, with all held out turned off; (ids, mask) of each document."""
    values = map_infctx(read_yaml(FILES / f"{name}.yaml"), name).values
    data = load_config(DataConfig, {**values["data"], "test_split": 0}, name)
    template = make_template(data, text_key=data.custom_text_key, vocabulary=vocabulary)
    columns = {field.name: pa.array([row.get(field.name) for row in rows], field.type) for field in template.schema}
    count = len(rows)
    places = {"file_index": pa.array([0] * count, pa.int32()), "line": pa.array(range(1, count + 1), pa.int64())}

    class Partition:
        index, fingerprint, split = 0, "rows", "train"
        batch = pa.record_batch({**columns, **places})

    assert template.find_bad(Partition.batch) == {}
    stream = SourceToPrepare(partitions=[Partition()], config=data, template=template)
    for _ in prepare([stream], vocabulary, folder, describe_source=dict, sources=list):
        pass
    split = open_store(folder).split("train")
    documents = [split.document(index) for index in range(split.num_documents)]
    return [
        (document["input_ids"].tolist(), document["loss_mask"].tolist() if split.has_mask else [1] * len(document["input_ids"]))
        for document in documents
    ]


@pytest.fixture(scope="session", params=["small", "neox"])
def vocabulary(request: pytest.FixtureRequest, small: Vocabulary) -> Vocabulary:
    """A small vocabulary, and GPT-NeoX's own where it is there."""
    if request.param == "small":
        return small
    if not (SHARED / "tokenizers" / "neox").is_dir():
        pytest.skip(f"put GPT-NeoX's tokenizer.json into {SHARED / 'tokenizers' / 'neox'} to run this with it")
    return load_tokenizer(SHARED / "tokenizers" / "neox")


def spell(vocabulary: Vocabulary, folder: Path, *pieces: tuple[str, int]) -> tuple[list[int], list[int]]:
    """Pieces as `tokenizers` itself encodes them, one by one."""
    vocabulary.save(folder / "reference")
    reference = Tokenizer.from_file(str(folder / "reference" / "tokenizer.json"))
    encoded = [(reference.encode(text, add_special_tokens=False).ids, weight) for text, weight in pieces]
    return [token for ids, _ in encoded for token in ids], [weight for ids, weight in encoded for _ in ids]


def test_rows_of_prompt_and_completion(tmp_path: Path, vocabulary: Vocabulary) -> None:
    """The prompt is not trained; the end that the completion spells is the end token, and nothing is added."""
    rows = [{"prompt": "I am happy. Output:", "completion": f" Happy{END}"}, {"prompt": "2", "completion": "3"}]
    found = make_store(tmp_path / "store", "prompt-completion", rows, vocabulary)
    assert found[0] == spell(vocabulary, tmp_path, ("I am happy. Output:", 0), (f" Happy{END}", 1))
    assert found[0][0][-1] == vocabulary.eos_id
    assert found[1] == spell(vocabulary, tmp_path, ("2", 0), ("3", 1))


def test_rows_of_several_columns(tmp_path: Path, vocabulary: Vocabulary) -> None:
    """The input is not trained, nor is what belongs to it; an empty one is not there; newlines are newlines."""
    rows = [
        {"instruction": "When did it start?", "input": "It is an airline.", "output": "In 2000."},
        {"instruction": "Which?", "input": "", "output": "Both."},
    ]
    found = make_store(tmp_path / "store", "multi-column-keys", rows, vocabulary)
    assert found[0] == spell(
        vocabulary,
        tmp_path,
        ("Instruction:\n", 1),
        ("When did it start?", 1),
        ("\n\n", 0),
        ("Input:\n", 0),
        ("It is an airline.", 0),
        ("\n\n", 1),
        ("Output:\n", 1),
        ("In 2000.", 1),
    )
    pieces = [("Instruction:\n", 1), ("Which?", 1), ("\n\n", 1), ("Output:\n", 1), ("Both.", 1)]
    assert found[1] == spell(vocabulary, tmp_path, *pieces)


def test_rows_of_text(tmp_path: Path, vocabulary: Vocabulary) -> None:
    """Texts of 64 tokens or more, each followed by the end token, all of it trained."""
    found = make_store(tmp_path / "store", "enwiki", [{"text": WORDS * 9}, {"text": "short"}], vocabulary)
    assert found == [spell(vocabulary, tmp_path, (WORDS * 9, 1), (END, 1))]
    assert open_store(tmp_path / "store").ledger["documents"] == {"dropped: too short": 1, "train": 1}


def test_rows_of_music(tmp_path: Path, vocabulary: Vocabulary) -> None:
    """The asked column, whatever it is called."""
    found = make_store(tmp_path / "store", "music-tokenizer", MUSENET[:3], vocabulary)
    assert found == [spell(vocabulary, tmp_path, (row["bing"], 1)) for row in MUSENET[:3]]


# --- through files, as a user does it ---

PLANS = {"enwiki": "concat", "prompt-completion": "none", "multi-column-keys": "none", "music-tokenizer": "none"}
SPLITS = {"enwiki": (59, 1), "prompt-completion": (39, 1), "multi-column-keys": (39, 1), "music-tokenizer": (39, 1)}


def prepare_file(path: Path, *overrides: str) -> Outcome:
    """`whelp prepare FILE` without --out."""
    return run_whelp("prepare", path, *overrides, "--json")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_as_it_stands(name: str, folder: Path, whelp: Whelp) -> None:
    """`whelp prepare FILE` writes where data_path says: the right number of rows, and a ledger of what is trained."""
    path = write_files(folder, name)
    result = prepare_file(path, "data.min_token_size=2").json
    assert Path(result["folder"]) == find_data_path(path)
    assert (result["splits"]["train"]["documents"], result["splits"]["test"]["documents"]) == SPLITS[name]
    ledger = result["ledger"]
    for split in ("train", "test"):
        assert ledger["trained"][split] + ledger["masked"][split] == result["splits"][split]["tokens"]
    assert (ledger["masked"]["train"] > 0) is (name in ("prompt-completion", "multi-column-keys"))
    assert prepare_file(path, "data.min_token_size=2").json["is_reused"]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_as_a_recipe(name: str, folder: Path) -> None:
    """Every value of the mapping is one that a recipe may have."""
    recipe = load_recipe(write_files(folder, name))
    assert isinstance(recipe, Recipe)
    assert recipe.pack.plan == PLANS[name]


@pytest.mark.parametrize(("name", "rate"), [("enwiki", 3e-4), ("prompt-completion", 1e-4)])
def test_from_file_to_model(name: str, rate: float, folder: Path, whelp: Whelp) -> None:
    """`whelp train FILE` finds the store that `whelp prepare FILE` wrote, and says which model it trains."""
    path = write_files(folder, name)
    prepared = prepare_file(path)
    assert prepared.code == 0, prepared.stderr
    small = ["model.n_layer=1", "model.n_head=1", "model.n_embd=16", "pack.context_tokens=16", "train.batch_tokens=64"]
    outcome = whelp("train", path, *small, "train.num_steps=2", "train.device=cpu", "train.threads=1", "--out", "run", "--json")
    assert outcome.json["step"] == 2
    assert "L6-D512-neox-init.pth is not there: a new rwkv5" in outcome.said
    saved = yaml.safe_load(Path("run/recipe.yaml").read_text(encoding="utf-8"))
    assert (saved["train"]["beta2"], saved["train"]["weight_decay"], saved["train"]["learning_rate"]) == (0.99, 0.01, rate)


@pytest.mark.parametrize(("family", "num_heads"), [("rwkv7", 2), ("rwkv4", 32)])
def test_from_its_own_weights(family: str, num_heads: int, folder: Path, whelp: Whelp) -> None:
    """The file that load_model names says the sizes and the generation, and the run begins with its weights."""
    path = write_files(folder, "prompt-completion")
    made = ("--family", family, "--n_layer", 1, "--n_embd", 32, "--n_head", 2, "--vocab_size", 320, "--seed", 5)
    assert whelp("init", *made, "--out", "made").code == 0
    (folder / "model").mkdir()
    shutil.copy("made/model.pth", folder / "model" / "L6-D512-neox-init.pth")
    assert prepare_file(path).code == 0
    recipe = load_recipe(path)
    assert (recipe.model.family, recipe.model.n_layer, recipe.model.n_embd, recipe.model.n_head) == (family, 1, 32, num_heads)
    small = ["pack.context_tokens=64", "train.bptt_tokens=16", "train.batch_tokens=128", "train.learning_rate=0"]
    outcome = whelp("train", path, *small, "train.num_steps=1", "train.device=cpu", "train.threads=1", "--out", "run", "--json")
    assert outcome.json["step"] == 1, outcome.said
    assert load_file("run/checkpoints/last/model.safetensors").keys() == load_file("made/model.safetensors").keys()
    for name, tensor in load_file("made/model.safetensors").items():
        assert torch.equal(load_file("run/checkpoints/last/model.safetensors")[name], tensor), name


def test_another_template_is_another_store(folder: Path, whelp: Whelp) -> None:
    """A store is made again when an option of its template changes, and training with another one is refused."""
    path = write_files(folder, "enwiki")
    assert prepare_file(path).code == 0
    outcome = whelp("train", path, "data.data_prefix_skip_mask=3", "--out", "run")
    assert outcome.code == 1
    assert "made from other inputs (data.data_prefix_skip_mask: 0 -> 3)" in outcome.said
    outcome = prepare_file(path, "data.data_prefix_skip_mask=3")
    assert "is made again: data.data_prefix_skip_mask: 0 -> 3" in outcome.said
    ledger = outcome.json["ledger"]
    assert ledger["masked"] == {name: 3 * ledger["documents"][name] for name in ("train", "test")}
    assert prepare_file(path, "data.data_prefix_skip_mask=3").json["is_reused"]


def test_without_a_place(folder: Path, whelp: Whelp) -> None:
    """Where the YAML names no data_path, --out is needed, as ever."""
    path = write_files(folder, "enwiki")
    values = read_yaml(path)
    del values["data"]["data_path"]
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    outcome = prepare_file(path)
    assert outcome.code == 2
    assert "--out" in outcome.said


def test_rows_with_one_column_of_several(tmp_path: Path) -> None:
    """As its documentation says, text in one of the columns is enough, also in a file without the others."""
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"instruction": f"Do {n}.", "x": "y"}) + "\n" for n in range(30)))
    values = map_infctx(minimal(data={"source": str(tmp_path / "rows.jsonl"), "test_split": 1}), "t").values
    data = {**values["data"], "tokenizer": {"learn": "bpe", "vocab_size": 300}}
    package.prepare({**values, "data": data}, out=tmp_path / "store")
    store = open_store(tmp_path / "store")
    assert store.ledger["notes"] == {"rows by template: multi_column": 30}
    text = load_tokenizer(store.tokenizer_folder).decode(store.split("train").document(0)["input_ids"])
    assert text == "Instruction:\nDo 0."
