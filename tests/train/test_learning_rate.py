"""`train.learning_rate: auto`: a number by optimizer and width; numbers stay as they are."""

from __future__ import annotations

import pytest

from whelp.train import TrainConfig
from whelp.train.learning_rate import choose_learning_rate, settle_learning_rate


@pytest.mark.parametrize(("width", "published"), [(768, 6e-4), (2560, 1.6e-4), (5140, 1e-4)])
def test_adamw_falls_as_the_rates_of_gpt3(width: int, published: float) -> None:
    """Table 2.1 of Brown et al. 2020, for runs far longer: about twice as high, at every width."""
    assert 1.5 < choose_learning_rate("adamw", width) / published < 3.0


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_twice_the_width_half_the_rate(optimizer: str) -> None:
    """To the two digits that a rate is rounded to."""
    for width in (64, 192, 1024):
        half = choose_learning_rate(optimizer, 2 * width)
        assert 2 * half == pytest.approx(choose_learning_rate(optimizer, width), rel=0.05)


def test_numbers_stay_what_they_are() -> None:
    """A recipe that names a rate trains with it, to the bit; `auto` becomes a number, all else stays."""
    given = TrainConfig(learning_rate=3e-4, optimizer="adamw")
    assert settle_learning_rate(given, 64) is given
    settled = settle_learning_rate(TrainConfig(optimizer="adamw", num_steps=5), 64)
    assert settled == TrainConfig(optimizer="adamw", num_steps=5, learning_rate=choose_learning_rate("adamw", 64))


def test_auto_is_no_number() -> None:
    """Whoever forgets to settle it hears so."""
    with pytest.raises(AssertionError, match="settle_learning_rate comes first"):
        _ = TrainConfig().peak_learning_rate
