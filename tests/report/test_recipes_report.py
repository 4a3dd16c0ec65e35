"""What a comparison of data says in words."""

from __future__ import annotations

from typing import Any

import pytest

from whelp.report import say_difference

UNDECIDED: dict[str, Any] = {
    "difference": -0.004,
    "share": -0.002,
    "by_seed": [-0.01, 0.0, -0.002],
    "both": {"low": -0.012, "high": 0.004},
    "confidence": 0.95,
    "num_texts": 150,
    "smallest": 0.008,
    "verdict": "undecided",
    "num_seeds_needed": None,
    "num_texts_needed": None,
}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"verdict": "better", "both": {"low": -0.007, "high": -0.001}},
            "b is better than a: 0.0040 bits per byte less (0.2%), between -0.0070 and -0.0010 at 95% confidence.",
        ),
        (
            {
                "verdict": "worse",
                "difference": 0.04,
                "share": 0.02,
                "both": {"low": 0.01, "high": 0.07},
                "confidence": 1 - 0.05 / 3,
            },
            "b is worse than a: 0.0400 bits per byte more (2.0%), between +0.0100 and +0.0700 at 98.3% confidence.",
        ),
        (
            {"difference": 0.0, "share": 0.0, "smallest": 0.0, "both": {"low": 0.0, "high": 0.0}},
            "b and a give the same models: there is no difference at all.",
        ),
        ({"num_seeds_needed": 9, "num_texts_needed": 70}, "9 seeds in all, 6 more, would decide it (--seeds 9)."),
        ({"num_texts_needed": 1200}, "1,200 held-out texts would, in place of 150."),
        ({}, "a difference below 0.0080 cannot be seen here"),
    ],
)
def test_a_difference_in_words(changes: dict[str, Any], said: str) -> None:
    """Who is better, how much, how surely; else what would decide it, and only what would."""
    sentence = say_difference({"name": "b", "baseline": "a", "whole": UNDECIDED | changes})
    assert said in sentence
    is_open = "verdict" not in changes and changes.get("difference") != 0.0
    assert sentence.startswith("It cannot be told which is better, b or a") == is_open
