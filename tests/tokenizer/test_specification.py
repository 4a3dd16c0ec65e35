"""The values of a tokenizer.json, and the text of its model."""

import json

import pytest

from whelp.tokenizer._specification import read_specification
from whelp.tokenizer.encoding.choose import _write

MODEL = {"type": "BPE", "vocab": {'"}, "model": {': 0, "é\n": 1}, "merges": [["a", "b"]]}


@pytest.mark.parametrize("layout", [{"indent": 2}, {"separators": (",", ":")}, {"ensure_ascii": False}, {"indent": "\t"}])
@pytest.mark.parametrize("names", [("model", "version"), ("version", "model"), ("model",)])
def test_the_model_is_found_as_it_stands(layout: dict[str, object], names: tuple[str, ...]) -> None:
    whole = {name: MODEL if name == "model" else {"model": "1.0"} for name in names}
    text = "\n " + json.dumps(whole, **layout) + " \r\n"  # type: ignore[arg-type]

    values, place = read_specification(text)

    assert values == whole
    assert list(values) == list(names)
    assert place is not None
    assert json.loads(text[place]) == MODEL
    assert json.loads(_write({**values, "version": "2"}, text[place])) == {**whole, "version": "2"}


@pytest.mark.parametrize("text", ["{}", "[1, 2]", '"text"', " 7 ", '{"a": {"model": 1}}'])
def test_what_has_no_model_is_read_all_the_same(text: str) -> None:
    assert read_specification(text) == (json.loads(text), None)


def test_of_two_models_the_last_counts() -> None:
    text = '{"model": 1, "model": 2}'
    values, place = read_specification(text)
    assert values == json.loads(text)
    assert place is not None
    assert text[place] == "2"


@pytest.mark.parametrize(
    "text", ["", "{", '{"model"', '{"model": ', '{"model": 1', '{"model": 1,}', '{"model": 1} x', "{7: 1}", '{"a" 1}']
)
def test_broken_ones_fail_as_the_parser_says(text: str) -> None:
    with pytest.raises(json.JSONDecodeError) as expected:
        json.loads(text)
    with pytest.raises(json.JSONDecodeError) as found:
        read_specification(text)
    assert str(found.value) == str(expected.value)


def test_the_model_is_written_where_it_was_not_read() -> None:
    assert json.loads(_write({"model": MODEL}, None)) == {"model": MODEL}
