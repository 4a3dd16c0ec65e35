"""Every shipped recipe from text to a reply, at the scale `tiny`; what a scale is."""

from __future__ import annotations

import importlib.util
import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from whelp.artifacts.token_store import open_store
from whelp.base.errors import ConfigError
from whelp.cli.recipe import load_recipe
from whelp.tokenizer import load_tokenizer

from .helpers import Whelp

SHIPPED = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.stem for path in SHIPPED.glob("*.yaml"))
PLACES = {  # where each looks for text
    "gpt2-books": "books",
    "cook": "corpus",
    "project": "text",
    "shakespeare": "input.txt",
    "rwkv-enwiki": "wiki.txt",
}
ROWS: dict[str, Callable[[int], dict[str, str]]] = {  # and those that look for rows
    "rwkv-instruct": lambda n: {"prompt": f"What is {n} plus {n}? The answer: ", "completion": f"{2 * n}."},
    "rwkv-dolly": lambda n: {"instruction": f"The start of {n}?", "input": f"It was {n}." * (n % 2), "output": f"In {n}."},
    "rwkv-music": lambda n: {"bing": " ".join(str(n * step % 7) for step in range(1, 40))},
}
PROMPTS = {"bark": "User: speak", "rwkv-music": "1 2 3"}


def write_corpus(place: Path) -> None:
    """Forty short texts: files of a folder, or one file."""
    texts = [f"The old cook {n} put {n * n} onions into the pot.\n\nROMEO: by the history of it, warm.\n" for n in range(40)]
    if place.suffix:
        place.write_text("\n".join(texts), encoding="utf-8")
        return
    place.mkdir(parents=True)
    for number, text in enumerate(texts):
        (place / f"{number}.txt").write_text(text, encoding="utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_from_text_to_a_reply(name: str, whelp: Whelp, tmp_path: Path) -> None:
    """`prepare` and `train` by the recipe's name, in the folder where the text is; the model is of that scale, and talks."""
    overrides = ["train.threads=1", "train.device=cpu"]
    if name in PLACES:
        write_corpus(tmp_path / PLACES[name])
    elif name in ROWS:
        rows = "".join(json.dumps(ROWS[name](n)) + "\n" for n in range(40))
        (tmp_path / f"{name.removeprefix('rwkv-')}.jsonl").write_text(rows, encoding="utf-8")
    elif name != "bark":  # the standard library takes seconds to be looked through
        write_corpus(tmp_path / "text")
        overrides.append("data.source=text/")
    prepared = whelp("prepare", name, *overrides, "--scale", "tiny", "--out", "store")
    assert prepared.code == 0, prepared.stderr
    result = whelp("train", name, *overrides, "--scale", "tiny", "--store", "store", "--out", "run", "--json").json
    assert (result["step"], result["is_finished"]) == (4, True)
    assert result["nats_per_token"] > 0
    recipe = load_recipe("run")
    assert (recipe.model.n_layer, recipe.model.n_embd, recipe.pack.context_tokens) == (2, 32, 64)
    assert recipe.pack.plan == load_recipe(name).pack.plan
    assert whelp("generate", "run", "--prompt", PROMPTS.get(name, "The"), "--max-tokens", "4").code == 0


def test_what_a_store_was_made_with_must_be_said_again(whelp: Whelp, tmp_path: Path) -> None:
    """And is told, ready to be copied: its vocabulary, and how many documents the scale took. Nothing is fetched to find out."""
    write_corpus(tmp_path / "corpus")
    asked = "data.tokenizer={learn: bpe, vocab_size: 300}"
    prepared = whelp("prepare", "cook", asked, "data.min_token_size=3", "--scale", "tiny", "--out", "store")
    assert "--scale tiny: 64 documents at most (data.dataset_length), 4 steps (train.num_steps)" in prepared.said
    told = whelp("train", "cook", "--store", "store", "--out", "run")
    assert told.code == 1
    assert "data.tokenizer: {learn: bpe, vocab_size: 300} -> p50k_base" in told.said
    words = told.said.partition("Say here too what it was made with: ")[2].partition(". Or run")[0]
    assert shlex.split(words) == ["data.dataset_length=64", "data.min_token_size=3", asked]
    scale = [
        "train.num_steps=1",
        "train.batch_tokens=512",
        "model.n_layer=1",
        "model.n_embd=16",
        "model.n_head=1",
        "train.device=cpu",
    ]
    trained = whelp("train", "cook", *shlex.split(words), *scale, "train.evaluate_rows=1", "--store", "store", "--out", "run")
    assert trained.code == 0, trained.stderr


def test_the_sizes_that_the_recipes_name() -> None:
    """Parameters as the tutorials have them (GPT-2 small; with 5,096 ids), up to the vocabulary's last block of 64 rows."""
    from whelp.model import make_spec
    from whelp.model.build import count_parameters

    def count(name: str, num_ids: int) -> int:
        recipe = load_recipe(name)
        return count_parameters(make_spec(recipe.model, num_ids=num_ids, context_tokens=recipe.pack.context_tokens))

    assert count("gpt2-books", 50257) == 124_439_808 + 47 * 768
    assert count("codeparrot", 5096) == 124_439_808 - (50257 - 5120) * 768
    rwkv = [(f"rwkv-{name}", 50277) for name in ("enwiki", "instruct", "dolly")]
    for name, num_ids in (("gpt2-books", 50257), ("codeparrot", 5096), ("cook", 50281), *rwkv):
        millions = f"{count(name, num_ids) / 1e6:.1f} M"
        assert millions in (SHIPPED / f"{name}.yaml").read_text(encoding="utf-8").splitlines()[0], (name, millions)


TUTORIALS: dict[tuple[str, str | None], dict[str, object]] = {  # as the texts that the recipes follow have them, read by hand
    ("bark", "corpus"): {
        "data.tokenizer": "gpt2",
        "pack.context_tokens": 32,
        "train.batch_tokens": 16 * 32,
        "train.num_epochs": 3,
        "train.learning_rate": 3e-4,
        "train.schedule": "constant",
        "model.n_layer": 2,
    },
    ("gpt2-books", None): {
        "data.tokenizer": "gpt2",
        "data.test_split": 0.0015,
        "pack.context_tokens": 1024,
        "train.batch_tokens": 8 * 1024,
        "train.num_epochs": 1,
        "train.learning_rate": 2.5e-4,
        "train.schedule": "cosine",
        "train.warmup_share": 0.05,
        "train.final_learning_rate_share": 0.0,
        "train.beta1": 0.9,
        "train.beta2": 0.999,
        "train.epsilon": 1e-8,
        "train.weight_decay": 0.01,
        "train.clip_gradient_norm": 1.0,
        "train.evaluate_every_steps": 500,
        "train.save_every_steps": 5000,
        "train.keep_checkpoints": 10,
        "train.sample_prompts": ["I was telling her that"],
        "train.sample_tokens": 100,
        "model.dropout": 0.1,
    },
    ("codeparrot", "tutorial"): {
        "pack.context_tokens": 1024,
        "pack.plan": "stream",
        "train.batch_tokens": 2 * 1024,
        "train.num_steps": 50_000,
        "train.learning_rate": 5e-4,
        "train.schedule": "constant",
        "train.warmup_steps": 0,
        "train.beta2": 0.999,
        "train.weight_decay": 0.01,
        "train.clip_gradient_norm": 0.0,
        "train.evaluate_every_steps": 100,
        "train.evaluate_rows": 10 * 2,
    },
    ("cook", None): {
        "data.tokenizer": "p50k_base",
        "data.test_split": 0.1,
        "pack.context_tokens": 512,
        "train.batch_tokens": 10 * 512,
        "train.num_steps": 5000,
        "train.learning_rate": 3e-4,
        "train.evaluate_every_steps": 200,
        "train.evaluate_rows": 200 * 10,
        "model.n_layer": 8,
        "model.n_head": 8,
        "model.n_embd": 512,
        "model.dropout": 0.18,
    },
}


@pytest.mark.parametrize(("name", "scale"), TUTORIALS)
def test_settings_are_those_of_the_tutorials(name: str, scale: str | None) -> None:
    """Every number that their texts give, AdamW throughout."""
    recipe = load_recipe(name, scale=scale)
    expected = TUTORIALS[name, scale] | {"train.optimizer": "adamw", "model.family": "gpt2"}
    found = {path: getattr(getattr(recipe, path.partition(".")[0]), path.partition(".")[2]) for path in expected}
    assert found == expected


def test_the_small_corpus_of_bark(whelp: Whelp, tmp_path: Path) -> None:
    """Lines of a file, each a document of its own, all trained; from text to a reply."""
    (tmp_path / "corpus.txt").write_text("".join(f"The world is the totality of {n} facts.\n" for n in range(60)))
    overrides = ["data.tokenizer={learn: bpe, vocab_size: 300}", "train.device=cpu", "train.threads=1"]
    prepared = whelp("prepare", "bark", *overrides, "--scale", "corpus", "--out", "store")
    assert prepared.code == 0, prepared.stderr
    store = open_store(Path("store"))
    assert store.split("train").num_documents + store.split("test").num_documents == 60
    steps = ["train.num_epochs=null", "train.num_steps=3"]
    trained = whelp("train", "bark", *overrides, *steps, "--scale", "corpus", "--store", "store", "--out", "run", "--json").json
    assert trained["is_finished"]
    rates = [json.loads(line).get("learning_rate") for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert {rate for rate in rates if rate is not None} == {3e-4}


def test_barks_are_what_the_generator_writes() -> None:
    """bark.jsonl can be made again, and only the answers of it are trained."""
    spec = importlib.util.spec_from_file_location("make_barks", SHIPPED / "make_barks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert (SHIPPED / "bark.jsonl").read_text(encoding="utf-8") == module.make_rows()


def test_only_barks_are_trained(whelp: Whelp) -> None:
    """Nine words, a space and a colon; the prompt is read, the answer and its end are learned."""
    assert whelp("prepare", "bark", "--out", "store").code == 0
    vocabulary = load_tokenizer("store")
    assert vocabulary.size == 11
    split = open_store(Path("store")).split("train")
    for index in range(split.num_documents):
        document = split.document(index)
        trained = vocabulary.decode(document["input_ids"][document["loss_mask"] == 1], skip_special=False)
        *barks, last = trained.split()
        barks.append(last.removesuffix("<|endoftext|>"))
        assert last.endswith("<|endoftext|>")
        assert set(barks) <= {"woof", "arf", "ruff", "grrr"}
        assert 2 <= len(barks) <= 10


def test_a_recipe_names_its_scales() -> None:
    """A scale is laid over the recipe, an override over both; `tiny` takes the shared one first."""
    recipe = {
        "model": {"n_layer": 8, "n_head": 8, "n_embd": 512},
        "train": {"num_epochs": 3},
        "scales": {"small": {"model": {"n_layer": 4}}, "tiny": {"train": {"num_steps": 7}}},
    }
    assert load_recipe(recipe).model.n_layer == 8
    assert load_recipe(recipe, scale="small").model.n_layer == 4
    assert load_recipe(recipe, ["model.n_layer=5"], "small").model.n_layer == 5
    tiny = load_recipe(recipe, scale="tiny")
    assert (tiny.train.num_steps, tiny.train.num_epochs, tiny.model.n_embd) == (7, None, 32)
    assert load_recipe(load_recipe(recipe), scale="tiny").train.num_steps == 4  # a loaded recipe has no scales of its own
    assert "scales" in recipe  # what is given is not changed


@pytest.mark.parametrize(
    ("values", "scale", "message"),
    [
        ({"scales": {"small": {}}}, "smal", "there is no scale 'smal'. Did you mean small? Its scales: small, tiny."),
        ({}, "huge", "there is no scale 'huge'. Its scales: tiny."),
        ({"scales": [1]}, None, "scales is not a mapping of names to sections"),
        (
            {"scales": {"a": {"model": {"n_layr": 2}}}},
            None,
            "recipe, scale a: unknown key model.n_layr. Did you mean model.n_layer?",
        ),
    ],
)
def test_a_scale_that_is_wrong(values: dict[str, object], scale: str | None, message: str) -> None:
    """The known ones are named; a mistake in a scale is found also when another one is asked for."""
    with pytest.raises(ConfigError) as caught:
        load_recipe(values, scale=scale)
    assert message in str(caught.value)


def test_another_seed_trains_on_the_store_as_it_is(whelp: Whelp, tmp_path: Path) -> None:
    """What is held out was drawn when the store was made; `prepare` with another seed draws anew."""
    arguments = ("bark", "train.threads=1", "--scale", "tiny")
    assert whelp("prepare", *arguments, "--out", "store").code == 0
    assert whelp("train", *arguments, "train.seed=5", "--store", "store", "--out", "run").code == 0
    again = whelp("prepare", *arguments, "train.seed=5", "--out", "store")
    assert "data.seed: 0 -> 5" in again.said
