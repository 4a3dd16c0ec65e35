"""The strict loader: what a recipe may say, and what it is told when it says something else."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from whelp.base.config import (
    load_config,
    make_schema,
    merge,
    option,
    parse_overrides,
    read_yaml,
    resolve_paths,
    section,
    to_dict,
)
from whelp.base.errors import ConfigError, PlanError


@dataclass(frozen=True, kw_only=True)
class Learn:
    """A mapping that stands in for a word."""

    learn: Literal["bpe", "chars"] = option("bpe", "kind")
    vocab_size: int = option(4096, "size", at_least=2)


@dataclass(frozen=True, kw_only=True)
class Data:
    """A section with paths, lists and unions."""

    source: str | list[str] = option("stdlib", "text", is_path=True)
    tokenizer: str | Learn = option("gpt2", "vocabulary", is_path=True)
    suffixes: list[str] = option([".txt"], "suffixes")
    extra: dict[str, Any] = option({}, "anything", path_keys=("files",))
    elsewhere: list[str] = option([], "paths here, or names elsewhere", is_path=True, if_there=True)
    test_split: int | float = option(0.01, "held out", at_least=0)


@dataclass(frozen=True, kw_only=True)
class Train:
    """A section with numbers and a rule between fields."""

    num_steps: int | None = option(None, "steps", at_least=1)
    learning_rate: float = option(1e-3, "rate", at_least=0.0, at_most=10.0)
    shuffle: bool = option(True, "whether")
    betas: tuple[float, ...] = option((0.9, 0.95), "betas")
    level: Literal[0, 1, 2] = option(0, "level")

    def __post_init__(self) -> None:
        if self.num_steps == 13:
            raise ConfigError("train", ["train.num_steps is 13", "train is unlucky"])
        if self.num_steps == 14:
            raise PlanError("train", "14 does not go")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Two sections, and a name that must be given."""

    name: str
    data: Data = section(Data, "data")
    train: Train = section(Train, "train")


def load(**values: Any) -> Recipe:
    """Load a recipe that has a name."""
    return load_config(Recipe, {"name": "r", **values}, "a.yaml")


def problems_of(**values: Any) -> list[str]:
    """Load a recipe that must fail; say why it did."""
    with pytest.raises(ConfigError) as caught:
        load(**values)
    return caught.value.problems


# --- keys ---


def test_defaults_and_to_dict() -> None:
    """What is not said has its default; to_dict writes all of it out, and loads again to the same."""
    recipe = load()
    assert recipe == Recipe(name="r")
    assert load_config(Recipe, to_dict(recipe), "again") == recipe
    assert recipe.data.suffixes is not load().data.suffixes


def test_config_is_frozen() -> None:
    """Nothing is edited after parsing."""
    with pytest.raises(dataclasses.FrozenInstanceError):
        load().train.num_steps = 5  # type: ignore[misc]


def test_unknown_key_names_the_nearest() -> None:
    """A typo is answered with the key that was meant, by its whole name."""
    with pytest.raises(ConfigError) as caught:
        load(train={"num_step": 5})
    assert str(caught.value) == "a.yaml: unknown key train.num_step. Did you mean train.num_steps?"
    assert problems_of(trian={}) == ["unknown key trian. Did you mean train?"]


def test_unknown_key_far_from_all_lists_them() -> None:
    """Where nothing is near, all known keys are listed; a key may be no text at all."""
    assert problems_of(zzz=1) == ["unknown key zzz. Known: name, data, train."]
    assert problems_of(data={7: 1}) == ["unknown key data.7. Known: source, tokenizer, suffixes, extra, elsewhere, test_split."]


def test_missing_key() -> None:
    """A field without a default must be there."""
    with pytest.raises(ConfigError, match=r"^a\.yaml: name is missing\.$"):
        load_config(Recipe, {}, "a.yaml")


def test_all_problems_at_once() -> None:
    """Every problem of every section is in the one error, in the order of the recipe."""
    values = {"data": {"sources": 1, "suffixes": 3}, "train": {"num_steps": 0, "shuffle": "yes", "level": 5}, "tain": 1}
    with pytest.raises(ConfigError) as caught:
        load_config(Recipe, values, "a.yaml")
    assert caught.value.problems == [
        "unknown key data.sources. Did you mean data.source?",
        "data.suffixes is 3, but expected a list",
        "train.num_steps is 0, but expected at least 1",
        "train.shuffle is 'yes', but expected true or false",
        "train.level is 5, but expected one of 0, 1, 2.",
        "unknown key tain. Did you mean train?",
        "name is missing",
    ]
    lines = str(caught.value).splitlines()
    assert lines[0] == "a.yaml: 7 problems"
    assert lines[1:] == [f"  - {problem}" for problem in caught.value.problems]


def test_section_must_be_a_mapping() -> None:
    """A section, and the recipe itself, is a mapping."""
    assert problems_of(train=[1]) == ["train is [1], but a mapping of fields is expected"]
    with pytest.raises(ConfigError, match="the recipe is 5, but a mapping of fields is expected"):
        load_config(Recipe, 5, "a.yaml")  # type: ignore[arg-type]


def test_rules_between_fields_are_problems_too() -> None:
    """What a section says of its own fields is reported like everything else."""
    expected = ["train.num_steps is 13", "train is unlucky", "unknown key x. Known: name, data, train."]
    assert problems_of(train={"num_steps": 13}, x=1) == expected
    assert problems_of(train={"num_steps": 14}) == ["train: 14 does not go."]


# --- values ---


@pytest.mark.parametrize("value", [3e-4, "3e-4", "3E-4", "0.0003", "3.0e-4"])
def test_float_in_any_spelling(value: object) -> None:
    """YAML calls 3e-4 text; here it is a number."""
    assert load(train={"learning_rate": value}).train.learning_rate == 3e-4


@pytest.mark.parametrize(("value", "expected"), [(5, 5), ("1e3", 1000), (2.0, 2), ("7", 7), (None, None)])
def test_whole_number_in_any_spelling(value: object, expected: int | None) -> None:
    """1e3 is a whole number."""
    number = load(train={"num_steps": value}).train.num_steps
    assert number == expected
    assert number is None or type(number) is int


@pytest.mark.parametrize("value", [2.5, "-0.5", "many", True, [1], float("inf"), float("nan")])
def test_not_a_whole_number(value: object) -> None:
    """What is no whole number is refused; true is none."""
    assert problems_of(train={"num_steps": value}) == [f"train.num_steps is {value!r}, but expected a whole number or nothing"]


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("learning_rate", "fast", "a number"),
        ("learning_rate", True, "a number"),
        ("learning_rate", None, "a number"),
        ("shuffle", 1, "true or false"),
        ("betas", 0.9, "a list"),
    ],
)
def test_wrong_type(key: str, value: object, expected: str) -> None:
    """The type that was expected is said in words."""
    assert problems_of(train={key: value}) == [f"train.{key} is {value!r}, but expected {expected}"]


def test_ranges() -> None:
    """The ends of a range are in it; not-a-number is in no range."""
    assert load(train={"learning_rate": 10}).train.learning_rate == 10.0
    assert load(train={"learning_rate": 0}).train.learning_rate == 0.0
    assert problems_of(train={"learning_rate": 11}) == ["train.learning_rate is 11.0, but expected at most 10.0"]
    assert problems_of(train={"learning_rate": "-1e-9"}) == ["train.learning_rate is -1e-09, but expected at least 0.0"]
    assert "train.learning_rate is nan, but expected at least 0.0" in problems_of(train={"learning_rate": float("nan")})


def test_literals() -> None:
    """A word of a list: the nearest is named; true is not 1."""
    assert problems_of(data={"tokenizer": {"learn": "bpee"}}) == [
        "data.tokenizer.learn is 'bpee', but expected one of bpe, chars. Did you mean bpe?"
    ]
    assert load(train={"level": 1}).train.level == 1
    assert problems_of(train={"level": True}) == ["train.level is True, but expected one of 0, 1, 2."]
    assert problems_of(train={"level": [1]}) == ["train.level is [1], but expected one of 0, 1, 2."]


def test_unions() -> None:
    """A value takes the first form that fits it; a number keeps its kind."""
    assert load(data={"source": "a"}).data.source == "a"
    assert load(data={"source": ["a", "b"]}).data.source == ["a", "b"]
    assert load(data={"tokenizer": {"vocab_size": "1e3"}}).data.tokenizer == Learn(vocab_size=1000)
    for value, kind in ((5, int), (0.5, float), (1.0, float), ("5", int), ("0.5", float)):
        assert type(load(data={"test_split": value}).data.test_split) is kind
    assert problems_of(data={"source": 5}) == ["data.source is 5, but expected text or a list"]
    assert problems_of(data={"source": ["a", 5]}) == ["data.source is ['a', 5], but expected text or a list"]
    assert problems_of(data={"tokenizer": {"size": 5}}) == [
        "unknown key data.tokenizer.size. Did you mean data.tokenizer.vocab_size?"
    ]


def test_lists_and_mappings() -> None:
    """Items are converted one by one, and named by their place; a free mapping is taken as it is."""
    assert load(train={"betas": ["9e-1", 1]}).train.betas == (0.9, 1.0)
    assert problems_of(train={"betas": [0.9, "x", "y"]}) == [
        "train.betas[1] is 'x', but expected a number",
        "train.betas[2] is 'y', but expected a number",
    ]
    assert load(data={"extra": {"a": [1]}}).data.extra == {"a": [1]}
    assert problems_of(data={"extra": 1}) == ["data.extra is 1, but expected a mapping"]


# --- overrides ---


def test_overrides() -> None:
    """section.field=value, at any depth, values read as YAML."""
    tree = parse_overrides(
        ["train.num_steps=5", "data.tokenizer.learn=bpe", "data.tokenizer.vocab_size=9", "data.suffixes=[.a, .b]"]
    )
    assert tree == {
        "train": {"num_steps": 5},
        "data": {"tokenizer": {"learn": "bpe", "vocab_size": 9}, "suffixes": [".a", ".b"]},
    }
    assert parse_overrides(["a.b=x=y", "a.c=3e-4", "a.d="]) == {"a": {"b": "x=y", "c": "3e-4", "d": None}}
    assert parse_overrides(["a.b=1", "a.b=2"]) == {"a": {"b": 2}}


@pytest.mark.parametrize("text", ["[1", "a: b: c", "2024-13-45", "@x"])
def test_override_that_is_no_yaml_is_text(text: str) -> None:
    """What YAML cannot read is the text as it stands."""
    assert parse_overrides([f"a.b={text}"]) == {"a": {"b": text}}


def test_bad_overrides_at_once() -> None:
    """All that are not of the form are named together."""
    with pytest.raises(ConfigError) as caught:
        parse_overrides(["num_steps=5", "a.b", "a..b=1", "=1", "a.b=1", "a.b.c=2"])
    assert caught.value.problems == [
        "'num_steps=5' is not of the form section.field=value",
        "'a.b' is not of the form section.field=value",
        "'a..b=1' is not of the form section.field=value",
        "'=1' is not of the form section.field=value",
        "'a.b.c=2' sets a field inside another override's value",
    ]
    assert str(caught.value).endswith("Example: train.num_steps=500")


def test_merge() -> None:
    """Mappings are laid on one another; anything else is replaced, and the inputs stay as they are."""
    base = {"a": {"x": 1, "y": {"z": 2}}, "b": [1], "c": {"w": 1}}
    assert merge(base, {"a": {"y": {"q": 3}}, "b": [2], "c": "word", "d": 4}) == {
        "a": {"x": 1, "y": {"z": 2, "q": 3}},
        "b": [2],
        "c": "word",
        "d": 4,
    }
    assert base == {"a": {"x": 1, "y": {"z": 2}}, "b": [1], "c": {"w": 1}}


# --- paths ---


def test_paths_are_relative_to_the_recipe(tmp_path: Path) -> None:
    """A file beside the recipe, a path with a slash, a glob: from the recipe's folder. Other words stay."""
    (tmp_path / "book.txt").write_text("x")

    def resolve(value: object) -> object:
        return resolve_paths(Recipe, {"data": {"source": value}}, tmp_path)["data"]["source"]

    assert resolve("book.txt") == str(tmp_path / "book.txt")
    assert resolve("texts/missing.txt") == str(tmp_path / "texts" / "missing.txt")
    assert resolve("*.txt") == str(tmp_path / "*.txt")
    assert resolve(["book.txt", "stdlib"]) == [str(tmp_path / "book.txt"), "stdlib"]
    for same in ("stdlib", "/abs/book.txt", "~/book.txt", None, 5):
        assert resolve(same) == same


@pytest.mark.parametrize(
    ("word", "is_path"),
    [
        ("org/name", False),
        ("org/name-v1.5", False),
        ("hf:org/name.txt", False),
        ("https://host/a.txt", False),
        ("s3://bucket/*.jsonl", False),
        ("texts/", True),
        ("./texts", True),
        ("../texts", True),
        ("texts/a.jsonl", True),
        ("texts/a.jsonl.gz", True),
        ("texts/**/x", True),
        ("here/below", True),
        ("here/missing", True),
        ("a.txt", False),
    ],
)
def test_what_looks_like_a_path(tmp_path: Path, word: str, is_path: bool) -> None:
    """Names, ids of datasets and URLs stay as they are; paths that are not there yet are still below the recipe."""
    (tmp_path / "here" / "below").mkdir(parents=True)
    [found] = resolve_paths(Recipe, {"data": {"source": [word]}}, tmp_path)["data"]["source"]
    assert found == (str(tmp_path / word) if is_path else word)


def test_paths_within_a_mapping(tmp_path: Path) -> None:
    """Only the keys that are paths are resolved, at any depth."""
    extra = {"files": {"train": ["a/b.txt", "x"], "test": "./c"}, "name": "a/b.txt", "number": 3}
    found = resolve_paths(Recipe, {"data": {"extra": extra}}, tmp_path)["data"]["extra"]
    expected = {"train": [str(tmp_path / "a/b.txt"), "x"], "test": str(tmp_path / "c")}
    assert found == {"files": expected, "name": "a/b.txt", "number": 3}


def test_a_path_only_if_it_is_there(tmp_path: Path) -> None:
    """Of what may lie elsewhere, a folder or a glob is resolved when something is found below the recipe."""
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "a.txt").write_text("x")
    words = ["en/*.txt", "en", "./fr", "fr/*.txt", "fr/", "fr/a.txt"]
    found = resolve_paths(Recipe, {"data": {"elsewhere": words}}, tmp_path)["data"]["elsewhere"]
    assert found == [str(tmp_path / word) for word in words[:3]] + words[3:]


def test_only_path_fields_are_resolved(tmp_path: Path) -> None:
    """Fields that are no paths, unknown keys and values of a wrong type are left for the loader to judge."""
    (tmp_path / "r").write_text("x")
    values: dict[str, Any] = {
        "name": "r",
        "data": {"suffixes": ["a/b"], "tokenizer": {"learn": "bpe"}, "what": "a/b"},
        "train": 5,
    }
    assert resolve_paths(Recipe, values, tmp_path) == values


# --- YAML ---


def test_read_yaml(tmp_path: Path) -> None:
    """A mapping; one of comments alone is an empty one."""
    path = tmp_path / "a.yaml"
    path.write_text("name: é\ntrain: {learning_rate: 3e-4}\n", encoding="utf-8")
    recipe = load_config(Recipe, read_yaml(path), path)
    assert recipe.name == "é"
    assert recipe.train.learning_rate == 3e-4
    path.write_text("# nothing yet\n")
    assert read_yaml(path) == {}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"data:\n  source: [a\ntrain: 1\n", r"not valid YAML \(line 3, column 6\): .*\. Check indentation and quotes"),
        (b"a: 'x\n", r"not valid YAML \(line 2, column 1\): found unexpected end of stream"),
        (b"a: !!python/object:os.system 1\n", r"not valid YAML \(line 1, column 4\): could not determine a constructor"),
        (b"data:\n\tsource: x\n", r"not valid YAML \(line 2, column 1\): .*YAML is indented with spaces: replace the tab"),
        (b"just words\n", r"is a single value, not a mapping of sections"),
        (b"a: \x01\n", r"not valid YAML: cannot be parsed"),
        (b"a: 2024-13-45\n", r"holds a value that cannot be read \(month must be in 1\.\.12.*\)\. Put quotes around it"),
        (
            b"a: 1\nb: [{c: 1,\n  c: 2}]\na: 2\n",
            r"2 problems\n.*a stands there twice, in line 1 and in line 4\n.*c stands there twice, in line 2 and in line 3\nOnly one",
        ),
        (b"...\ndata: {}\n", r"not valid YAML \(line 1, column 1\).*A line of three dots ends a YAML document: take it out"),
        (b" \n", r"is an empty file\. Start with `data:`; `whelp new NAME` writes a recipe"),
        (b"- a\n- b\n", r"is a list, not a mapping of sections\. Start with `data:`"),
        (b"a: \xff\n", r"not UTF-8 text \(byte 3\)\. A recipe is a YAML text file"),
    ],
)
def test_bad_yaml(tmp_path: Path, content: bytes, message: str) -> None:
    """What is wrong with the file is said with its name and, where there is one, the line."""
    path = tmp_path / "a.yaml"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_schema() -> None:
    """The JSON schema says of each field its type, meaning, default and range, and allows no other."""
    schema = make_schema(Recipe)
    assert schema["additionalProperties"] is False
    train = schema["properties"]["train"]["properties"]
    assert train["num_steps"] == {
        "anyOf": [{"type": "integer"}, {"type": "null"}],
        "description": "steps",
        "default": None,
        "minimum": 1,
    }
    assert train["learning_rate"]["maximum"] == 10.0
    assert train["level"]["enum"] == [0, 1, 2]
    data = schema["properties"]["data"]["properties"]
    assert data["source"]["anyOf"] == [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
    assert data["extra"]["type"] == "object"
