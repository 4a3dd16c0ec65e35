"""What a source config refuses."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from whelp.base.config import load_config
from whelp.base.errors import ConfigError
from whelp.corpus import SourceConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": []}, "source is an empty list"),
        ({"source": ""}, "source has an empty name"),
        ({"source": ["a", " "]}, "source has an empty name"),
        ({"source": "a\0b"}, "source has a NUL character"),
        ({"document": "regex"}, "document is regex, but document_regex is missing"),
        ({"document_regex": "---"}, "document_regex is given, but document is auto"),
        ({"document": "regex", "document_regex": "(a"}, r"'\(a' is not a pattern that RE2 knows"),
        ({"document": "regex", "document_regex": "(?=a)"}, "is not a pattern that RE2 knows"),
        ({"document": "regex", "document_regex": "a*"}, "matches the empty text"),
        ({"encoding": "utf-9"}, "encoding 'utf-9' is not a text encoding"),
        ({"encoding": "base64"}, "encoding 'base64' is not a text encoding"),
        ({"encoding": ""}, "encoding '' is not a text encoding"),
        ({"include_suffixes": ["txt"]}, "include_suffixes has 'txt'"),
        ({"include_suffixes": []}, "include_suffixes is an empty list"),
        ({"delimiter": "||"}, r"delimiter is .\|\|., but expected one character"),
        ({"delimiter": "\n"}, "delimiter is .*, but expected one character"),
        ({"source": "csv", "source_dataset_params": {"sep": "ab"}}, "delimiter is .ab., but expected one character"),
        ({"column_names": []}, "column_names has no names"),
        ({"column_names": ["a", "a"]}, "column_names has a name twice"),
    ],
)
def test_bad_values(values: dict[str, Any], message: str) -> None:
    """Each mistake is named."""
    with pytest.raises(ConfigError, match=message):
        SourceConfig(**values)


def test_all_problems_at_once() -> None:
    """Two mistakes give one error with both."""
    with pytest.raises(ConfigError, match=r"(?s)2 problems.*document_regex is missing.*utf-9"):
        load_config(SourceConfig, {"document": "regex", "encoding": "utf-9"}, "recipe.yaml")


def test_the_door_is_light() -> None:
    """Importing the room loads neither pyarrow nor numpy."""
    code = "import sys, whelp.corpus; print([name for name in ('pyarrow', 'numpy') if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
