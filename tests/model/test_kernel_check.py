"""Kernels are compared with PyTorch before they are relied on: what is found, and what is no fault."""

from collections.abc import Iterable, Iterator

import pytest
import torch

from whelp.model.kernel_check import find_fault, measure_relative_error


@pytest.mark.parametrize(
    ("errors", "fault"),
    [
        ([0.01, 0.02], None),
        ([], None),
        ([0.01, 0.03, 0.021], "off by 0.03, where 0.02 is allowed"),
        ([float("nan"), 0.01], "off by nan, where 0.02 is allowed"),
        ([0.01, float("nan")], "off by nan, where 0.02 is allowed"),
        ([0.5, float("nan"), 0.7], "off by nan, where 0.02 is allowed"),
        ([float("inf")], "off by inf, where 0.02 is allowed"),
    ],
)
def test_the_worst_result_counts(errors: Iterable[float], fault: str | None) -> None:
    """Wherever it stands; what is not a number is worse than any."""
    assert find_fault(lambda: errors, allowed=0.02) == fault


def test_what_is_raised_speaks_against_it() -> None:
    """Also after results that were right; its first line is told."""

    def measure() -> Iterator[float]:
        yield 0.0
        raise OSError("libcublasLt.so.13: cannot open shared object file\nand more")

    assert find_fault(measure, allowed=1.0) == "OSError: libcublasLt.so.13: cannot open shared object file"


def test_distances_are_shares_of_the_length() -> None:
    """Of numbers of any precision; without a gradient."""
    one = torch.tensor([3.0, 4.0], dtype=torch.bfloat16, requires_grad=True)
    assert measure_relative_error(one, torch.tensor([0.0, 5.0])) == pytest.approx(10**0.5 / 5)
    assert measure_relative_error(one, one) == 0.0
