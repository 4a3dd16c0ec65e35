"""Recipes: found by path or name, strict, overridden, and every problem said at once."""

from __future__ import annotations

import dataclasses
import shlex
from pathlib import Path

import pytest
import yaml

from whelp.base.config import to_dict
from whelp.base.errors import ConfigError
from whelp.cli.recipe import Recipe, find_recipe, load_recipe, schema
from whelp.tokenizer import LearnConfig

SHIPPED = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def write(path: Path, text: str) -> Path:
    """Write a recipe."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def problems_of(*arguments: object) -> list[str]:
    """What `load_recipe` complains about."""
    with pytest.raises(ConfigError) as caught:
        load_recipe(*arguments)
    return caught.value.problems


@pytest.mark.parametrize("name", NAMES)
def test_every_shipped_recipe_loads(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name from any folder, and by path; nothing in it is unknown, and it says how long it trains."""
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe(name)
    assert recipe == load_recipe(SHIPPED / f"{name}.yaml")
    assert recipe.train.num_steps or recipe.train.minutes or recipe.train.num_epochs
    assert find_recipe(name).read_text(encoding="utf-8").startswith("# ")  # what it gives, and in which time


def test_a_file_in_the_current_folder_wins_over_a_shipped_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`demo` is the shipped recipe unless a file of that very name is here."""
    monkeypatch.chdir(tmp_path)
    assert find_recipe("demo").resolve().parent == SHIPPED.resolve()
    write(tmp_path / "demo", "train: {seed: 7}")
    assert load_recipe("demo").train.seed == 7


def test_a_folder_means_its_recipe(tmp_path: Path) -> None:
    """A project or a run folder stands for the recipe.yaml in it."""
    write(tmp_path / "project" / "recipe.yaml", "train: {seed: 7}")
    assert load_recipe(tmp_path / "project").train.seed == 7


@pytest.mark.parametrize(("asked", "near"), [("dmeo", "demo"), ("projct", "project"), ("recpie.yaml", "recipe.yaml")])
def test_an_unknown_recipe_names_the_nearest(asked: str, near: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shipped ones and files nearby are candidates; all shipped ones are listed."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "recipe.yaml", "")
    with pytest.raises(ConfigError) as caught:
        load_recipe(asked)
    assert str(caught.value).startswith(f"{asked}: there is no such recipe file. Did you mean {near}? Shipped recipes: bark, ")


def test_an_override_in_the_place_of_the_recipe() -> None:
    """It says what is missing, not that there is no such file."""
    with pytest.raises(
        ConfigError, match=r"data\.source=books/: is an override, but a recipe is expected before it\. Give one"
    ):
        load_recipe("data.source=books/")


def test_all_problems_at_once(tmp_path: Path) -> None:
    """One run over a recipe finds every mistake in it, each with its key and the nearest known one."""
    path = write(
        tmp_path / "a.yaml",
        "data: {test_spilt: 0.1, source: 3}\n"
        "pack: {context_tokens: 1}\n"
        "model: {family: gpt3, n_layer: two}\n"
        "train: {num_step: 5, learning_rate: -1}\n"
        "trian: {}\n",
    )
    found = problems_of(path)
    expected = [
        "unknown key data.test_spilt. Did you mean data.test_split?",
        "data.source is 3",
        "pack.context_tokens is 1, but expected at least 2",
        "model.family is 'gpt3'",
        "model.n_layer is 'two', but expected a whole number",
        "unknown key train.num_step. Did you mean train.num_steps?",
        "train.learning_rate is -1",
        "unknown key trian. Did you mean train?",
    ]
    assert len(found) == len(expected)
    for start in expected:
        assert any(problem.startswith(start) for problem in found), start


@pytest.mark.parametrize(
    ("values", "hint"),
    [
        ({"data": {"sources": ["a", "b"]}}, "unknown key data.sources. Did you mean data.mixture?"),
        ({"train": {"lr": 1e-3}}, "unknown key train.lr. Did you mean train.learning_rate?"),
        ({"train": {"warmup_ratio": 0.1}}, "unknown key train.warmup_ratio. Did you mean train.warmup_share?"),
        ({"pack": {"block_size": 64}}, "unknown key pack.block_size. Did you mean pack.context_tokens?"),
        ({"model": {"num_hidden_layers": 2}}, "unknown key model.num_hidden_layers. Did you mean model.n_layer?"),
        ({"model": {"lr": 2}}, "unknown key model.lr. Did you mean train.learning_rate?"),
        ({"tokenizer": "gpt2"}, "unknown key tokenizer. Did you mean data.tokenizer?"),
        ({"train": {"context_tokens": 64}}, "unknown key train.context_tokens. Did you mean pack.context_tokens?"),
        ({"train": {"muon": True}}, "unknown key train.muon. It is train.optimizer=muon."),
        (
            {"train": {"output_dir": "run"}},
            "unknown key train.output_dir. The run folder is given on the command line: --out RUN.",
        ),
        ({"train": {"num_step": 2}}, "unknown key train.num_step. Did you mean train.num_steps?"),
    ],
)
def test_names_of_other_programs_and_places(values: dict[str, object], hint: str) -> None:
    """What is called otherwise elsewhere, or belongs into another section, is told its place; a misspelling its spelling."""
    assert problems_of(values) == [hint]


def test_no_other_name_hides_an_option() -> None:
    """A name by which others know an option is no option of that section, and leads to one option there."""
    for section in dataclasses.fields(Recipe):
        kind = getattr(Recipe(), section.name)
        fields = dataclasses.fields(kind)
        known = [name for field in fields for name in field.metadata.get("known_as", ())]
        assert len(known) == len(set(known))
        assert not set(known) & {field.name for field in fields}


def test_a_wrong_choice_names_the_choices() -> None:
    """An option of a few words says which words there are."""
    (found,) = problems_of({"model": {"family": "qwen"}})
    assert "gpt2" in found
    assert "qwen3" in found


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"train": {"num_steps": 5, "minutes": 1}}, "train.num_steps and train.minutes are both set"),
        ({"model": {"n_embd": 10, "n_head": 4}}, "by model.n_head (4). Set model.n_head to 5, or another divisor"),
        ({"model": {"n_embd": 32}}, "by model.n_head (6, if nothing is set). Set model.n_head to 4, or another divisor"),
        ({"data": {"min_token_size": 5, "max_token_size": 2}}, "data.max_token_size (2) is below data.min_token_size (5)"),
        ({"data": {"tokenizer": {"learn": "bpe", "vocab_size": 100}}}, "vocab_size is 100, but expected at least 258"),
        ({"data": ["a"]}, "data is ['a'], but a mapping of fields is expected"),
    ],
)
def test_values_that_do_not_fit(values: dict[str, object], problem: str) -> None:
    """Fields are checked against each other before anything runs."""
    assert any(problem in found for found in problems_of(values))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("data: [unclosed", "not valid YAML (line 1, column"),
        ("- data\n- model", "is a list, not a mapping of sections"),
        ("data: {source: 2024-13-45}", "holds a value that cannot be read"),
    ],
)
def test_a_file_that_is_no_recipe(tmp_path: Path, text: str, problem: str) -> None:
    """The error names the file and, where YAML is broken, the line."""
    path = write(tmp_path / "a.yaml", text)
    with pytest.raises(ConfigError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize("name", ["plays.txt", "notes.md", "rows.jsonl", "rows.csv.gz", "my table.xlsx"])
def test_a_text_is_no_recipe(tmp_path: Path, name: str) -> None:
    """Who gives text in place of the recipe is told how it becomes the source, whatever YAML would make of it."""
    path = write(tmp_path / name, "data: {source: stdlib}")
    source = shlex.quote(f"data.source={path}")
    with pytest.raises(ConfigError, match="is a file of text or rows by its name, but a recipe is expected") as caught:
        load_recipe(path)
    assert str(caught.value).endswith(f"Give one, of yours or shipped, and the file as its source: project {source}")
    with pytest.raises(ConfigError, match=r"is a folder without a recipe\.yaml\. .* it is a source: project data\.source="):
        load_recipe(tmp_path)


@pytest.mark.parametrize("name", ["a.json", "a.yml", "a", "a.conf"])
def test_a_recipe_may_be_called_otherwise(tmp_path: Path, name: str) -> None:
    """Only names of text and of rows are refused; YAML may be JSON."""
    assert load_recipe(write(tmp_path / name, '{"data": {"source": "stdlib"}}')).data.source == "stdlib"


def test_a_file_of_comments_is_all_defaults(tmp_path: Path) -> None:
    """Every option has a default."""
    assert load_recipe(write(tmp_path / "a.yaml", "# all as it is\n")) == Recipe() == load_recipe({})


def test_numbers_without_a_dot(tmp_path: Path) -> None:
    """`3e-4` is a number, in a file and in an override; YAML alone calls it text."""
    path = write(tmp_path / "a.yaml", "train: {learning_rate: 3e-4}")
    assert load_recipe(path).train.learning_rate == 3e-4
    assert load_recipe(path, ["train.learning_rate=5e-5"]).train.learning_rate == 5e-5


def test_overrides(tmp_path: Path) -> None:
    """They replace single fields of the file, in nested values too, and may unset with null; the last one wins."""
    path = write(tmp_path / "a.yaml", "data: {tokenizer: {learn: bpe, vocab_size: 300}}\ntrain: {num_steps: 5, seed: 1}")
    overrides = [
        "data.tokenizer.vocab_size=400",
        "train.num_steps=null",
        "train.minutes=2",
        "train.sample_prompts=[The, 'a: b']",
        "train.seed=2",
        "train.seed=3",
    ]
    recipe = load_recipe(path, overrides)
    assert recipe.data.tokenizer == LearnConfig(learn="bpe", vocab_size=400)
    assert (recipe.train.num_steps, recipe.train.minutes) == (None, 2)
    assert recipe.train.sample_prompts == ["The", "a: b"]
    assert recipe.train.seed == 3


def test_overrides_that_are_wrong() -> None:
    """Every malformed override is named; an unknown field is as wrong as in a file."""
    assert len(problems_of({}, ["num_steps=5", "train.num_steps", ".=1"])) == 3
    assert problems_of({}, ["train.num_step=5"]) == ["unknown key train.num_step. Did you mean train.num_steps?"]


def test_a_vocabulary_to_learn_anew_is_relative_to_the_file(tmp_path: Path) -> None:
    """In the recipe's own folder, as every path; a name that stands nowhere stays a name."""
    (tmp_path / "tok").mkdir()
    for word, expected in (("tok", str(tmp_path / "tok")), ("gpt2", "gpt2")):
        recipe = load_recipe(write(tmp_path / "recipe.yaml", f"data: {{tokenizer: {{retrain: {word}, vocab_size: 640}}}}"))
        assert isinstance(recipe.data.tokenizer, LearnConfig)
        assert recipe.data.tokenizer.retrain == expected
        assert yaml.safe_load(recipe.to_yaml())["data"]["tokenizer"]["retrain"] == expected


def test_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A recipe means the same from wherever it is used; an override is relative to where it is typed."""
    folder = tmp_path / "project"
    write(folder / "book.txt", "x")
    (folder / "my-tokenizer").mkdir()
    path = write(folder / "a.yaml", "data: {source: [text/, '*.md', book.txt, stdlib], tokenizer: my-tokenizer}")
    monkeypatch.chdir(tmp_path)
    data = load_recipe("project/a.yaml").data
    assert [Path(source) for source in data.source[:3]] == [
        Path("project/text"),
        Path("project/*.md"),
        Path("project/book.txt"),
    ]
    assert data.source[3] == "stdlib"
    assert Path(str(data.tokenizer)) == Path("project/my-tokenizer")
    assert load_recipe(path, ["data.source=here/"]).data.source == "here/"


def test_resolved_recipe_reads_back(tmp_path: Path) -> None:
    """`to_yaml` writes every value, and reads as the same recipe."""
    recipe = load_recipe("demo", ["train.learning_rate=3e-4", "data.document=regex", r"data.document_regex='\n=+\n'"])
    path = write(tmp_path / "a.yaml", recipe.to_yaml())
    assert load_recipe(path) == recipe
    assert yaml.safe_load(recipe.to_yaml()) == to_dict(recipe)


def test_resolved_paths_mean_the_same_anywhere(tmp_path: Path) -> None:
    """What is there becomes absolute, wherever a path may stand; ids of datasets stay."""
    write(tmp_path / "rows" / "a.jsonl", "{}")
    values = {
        "source": ["org/name", "rows/a.jsonl"],
        "source_data_dir": "rows",
        "source_dataset_params": {"data_files": {"train": "rows/a.jsonl"}},
    }
    recipe = load_recipe(write(tmp_path / "a.yaml", yaml.safe_dump({"data": values})))
    data = yaml.safe_load(recipe.to_yaml())["data"]
    folder = tmp_path.resolve() / "rows"
    assert data["source"] == ["org/name", str(folder / "a.jsonl")]
    assert data["source_data_dir"] == str(folder)
    assert data["source_dataset_params"] == {"data_files": {"train": str(folder / "a.jsonl")}}


def test_a_recipe_object_passes_through() -> None:
    """A loaded recipe may be given where a name may, with overrides too."""
    recipe = load_recipe("demo")
    assert load_recipe(recipe) is recipe
    assert load_recipe(recipe, ["train.seed=5"]).train.seed == 5


def test_schema_knows_what_the_recipes_say() -> None:
    """Every key of every shipped recipe is in the schema, and every option there has its meaning."""
    made = schema()
    assert made["$schema"].startswith("https://json-schema.org/")
    assert list(made["patternProperties"]) == ["^scales$"]
    for name in NAMES:
        values = yaml.safe_load(find_recipe(name).read_text(encoding="utf-8"))
        for sections in (values, *values.pop("scales", {}).values()):
            for section, fields in sections.items():
                assert set(fields) <= set(made["properties"][section]["properties"])
    for section in made["properties"].values():
        assert section["additionalProperties"] is False
        for key, entry in section["properties"].items():
            assert entry.get("description"), key
