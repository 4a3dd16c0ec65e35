"""`train.learning_rate: auto`: a number by optimizer and width; numbers stay as they are."""

from __future__ import annotations

import pytest

from whelp.train import TrainConfig
from whelp.train.learning_rate import choose_learning_rate, settle_learning_rate


@pytest.mark.parametrize(("width", "published"), [(768, 6e-4), (2560, 1.6e-4), (5140, 1e-4)])
def test_adamw_falls_as_the_rates_of_gpt3(width: int, published: float) -> None:
    """Table 2.1 of Brown et al. 2020, for runs far longer: about twice as high, at every width."""
    assert 1.5 < choose_learning_rate("adamw", width, "gpt2") / published < 3.0


@pytest.mark.parametrize(
    ("optimizer", "rates"),
    [
        ("adamw", {64: 0.0039, 128: 0.0039, 256: 0.0039, 384: 0.0026, 512: 0.002, 768: 0.0013, 1024: 0.00098}),
        ("muon", {64: 0.023, 128: 0.023, 256: 0.012, 384: 0.0078, 512: 0.0059, 768: 0.0039, 1024: 0.0029}),
    ],
)
def test_rates_of_usual_widths(optimizer: str, rates: dict[int, float]) -> None:
    """What the page says, and what a run without a rate gets."""
    assert {width: choose_learning_rate(optimizer, width, "qwen3") for width in rates} == rates


def test_gpt2_bears_less_of_adamw() -> None:
    """Where it is narrow; from a width of 512 on it has the rate of the others, and with Muon everywhere."""
    widths = (64, 256, 512, 768)
    assert [choose_learning_rate("adamw", width, "gpt2") for width in widths] == [0.002, 0.002, 0.002, 0.0013]
    assert [choose_learning_rate("muon", width, "gpt2") for width in widths] == [0.023, 0.012, 0.0059, 0.0039]


@pytest.mark.parametrize(("optimizer", "narrowest"), [("adamw", 256), ("muon", 128)])
def test_twice_the_width_half_the_rate(optimizer: str, narrowest: int) -> None:
    """To the two digits that a rate is rounded to; narrow models have one rate."""
    for width in (narrowest, 3 * narrowest, 8 * narrowest):
        half = choose_learning_rate(optimizer, 2 * width, "qwen3")
        assert 2 * half == pytest.approx(choose_learning_rate(optimizer, width, "qwen3"), rel=0.05)
    narrow = {choose_learning_rate(optimizer, width, "qwen3") for width in (1, 16, narrowest // 2, narrowest)}
    assert len(narrow) == 1


@pytest.mark.parametrize(
    ("optimizer", "width", "best"),
    [
        ("adamw", 64, [0.0042, 0.0034, 0.0061, 0.0070, 0.0033, 0.0024]),
        ("adamw", 128, [0.0033, 0.0030, 0.0052]),
        ("adamw", 256, [0.0021]),
        ("muon", 64, [0.0141, 0.0194, 0.0293, 0.0270, 0.0207, 0.0084]),
        ("muon", 128, [0.0121, 0.0213]),
        ("muon", 256, [0.0105]),
    ],
)
def test_near_the_best_rates_that_were_found(optimizer: str, width: int, best: list[float]) -> None:
    """Of docs/log.md: three texts, two vocabularies, 2 and 6 layers, 200 and 1,000 steps; within a factor of three of each."""
    chosen = choose_learning_rate(optimizer, width, "qwen3")
    assert all(chosen / 3 < rate < chosen * 3 for rate in best), (chosen, best)


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_no_wider_model_has_a_higher_rate(optimizer: str) -> None:
    """At any width, also beside the one where the rate begins to fall."""
    rates = [choose_learning_rate(optimizer, width, "qwen3") for width in range(1, 8193)]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] > 0


def test_numbers_stay_what_they_are() -> None:
    """A recipe that names a rate trains with it, to the bit; `auto` becomes a number, all else stays."""
    given = TrainConfig(learning_rate=3e-4, optimizer="adamw")
    assert settle_learning_rate(given, 64, "qwen3") is given
    settled = settle_learning_rate(TrainConfig(optimizer="adamw", num_steps=5), 64, "qwen3")
    assert settled == TrainConfig(optimizer="adamw", num_steps=5, learning_rate=choose_learning_rate("adamw", 64, "qwen3"))


def test_auto_is_no_number() -> None:
    """Whoever forgets to settle it hears so."""
    with pytest.raises(AssertionError, match="settle_learning_rate comes first"):
        _ = TrainConfig().peak_learning_rate
