"""Control tokens that stand in somebody's text."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from whelp.prepare.spelled import SpelledTokens

TOKENS = ["<|endoftext|>", "<|pad|>", "<|", "<unk>", "[PAD]", "a.c", "é"]


@settings(deadline=None)  # the first call opens Arrow's functions
@given(
    texts=st.lists(st.lists(st.sampled_from([*TOKENS, "<", "abc", "\0", "x\n", "[P", ""])).map("".join)),
    first=st.integers(0, 3),
)
def test_counts_as_python_does(texts: list[str], first: int) -> None:
    """Every text that holds one of the tokens, once; also in a slice of an array, which shares its bytes."""
    array = pa.array(texts, pa.large_string())[first:]
    expected = sum(any(token in text for token in TOKENS) for text in texts[first:])
    assert SpelledTokens(TOKENS).count_texts(array) == expected


@pytest.mark.parametrize("tokens", [[], [""]])
def test_no_tokens(tokens: list[str]) -> None:
    """A vocabulary may have no control token at all."""
    assert SpelledTokens(tokens).count_texts(pa.array(["<|endoftext|>", "", None], pa.large_string())) == 0
