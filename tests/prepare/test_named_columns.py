"""Which columns a recipe calls by name: those in which whole numbers are text."""

from __future__ import annotations

from typing import Any

import pytest

from whelp.base.config import load_config
from whelp.prepare import TemplateConfig, make_template

from .fakes import FakeVocabulary


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({}, {}),
        ({"multi_column_keys": ["prompt", "label"]}, dict.fromkeys(("prompt", "label"), "data.multi_column_keys")),
        ({"multi_column_keys": ["input", "output"]}, dict.fromkeys(("input", "output"), "data.multi_column_keys")),
        (
            {"multi_column_keys": ["instruction", "input", "output"]},
            dict.fromkeys(("instruction", "input", "output"), "data.multi_column_keys"),
        ),
        ({"pieces": [{"column": "text"}, {"column": "year"}]}, dict.fromkeys(("text", "year"), "data.pieces")),
        (
            {"conversation_format": "iopairs", "conversation_input_key_prefix_map": {"q": "", "a": "="}},
            dict.fromkeys(("q", "a"), "data.conversation_input_key_prefix_map"),
        ),
        (
            {"conversation_format": "iopairs", "conversation_key": "pairs", "conversation_input_key_prefix_map": {"q": ""}},
            {"pairs": "data.conversation_key"},
        ),
    ],
)
def test_columns_that_the_recipe_names(options: dict[str, Any], named: dict[str, str]) -> None:
    """Each with its option, whether or not another way looks for such a column unasked."""
    assert make_template(load_config(TemplateConfig, options, "test"), vocabulary=FakeVocabulary()).named == named
