"""Results as tables on standard output."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from whelp.cli.screens.result_tables import print_records

COLUMNS = ("run", "tokens", "test loss")
RECORDS = [("experiments/a-long-name/run", "155,648", "5.2065"), ("b", "96,482", "4.0131")]


def draw(width: int) -> list[str]:
    """What a terminal of so many columns shows."""
    shown = io.StringIO()
    print_records(Console(file=shown, width=width, highlight=False), COLUMNS, RECORDS)
    return [line.rstrip() for line in shown.getvalue().splitlines()]


@pytest.mark.parametrize("width", [47, 80, 200])
def test_a_line_for_each_record_where_it_fits(width: int) -> None:
    """Under the names of the columns."""
    assert draw(width) == [
        "run                          tokens   test loss",
        "experiments/a-long-name/run  155,648  5.2065",
        "b                            96,482   4.0131",
    ]


@pytest.mark.parametrize("width", [20, 46])
def test_a_block_for_each_record_where_it_does_not(width: int) -> None:
    """No name and no number is broken, however narrow."""
    assert draw(width) == [
        "experiments/a-long-name/run",
        "  tokens     155,648",
        "  test loss  5.2065",
        "b",
        "  tokens     96,482",
        "  test loss  4.0131",
    ]


def test_numbers_end_below_each_other() -> None:
    """In the columns that are said to be of numbers."""
    shown = io.StringIO()
    print_records(Console(file=shown, width=80, highlight=False), COLUMNS, RECORDS, right=["tokens", "test loss"])
    assert [line.rstrip() for line in shown.getvalue().splitlines()] == [
        "run                           tokens  test loss",
        "experiments/a-long-name/run  155,648     5.2065",
        "b                             96,482     4.0131",
    ]
