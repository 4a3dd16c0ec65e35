"""Each way to reshape a distribution against an obvious version with lists."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whelp.generate import GenerateConfig
from whelp.generate.sampling import choose, keep_min_p, keep_top_k, keep_top_p, penalise_repetition

# distinct logits, so that "the k largest" is one set and no border depends on rounding
_ROWS = st.lists(st.lists(st.integers(-60, 60), min_size=6, max_size=6, unique=True), min_size=1, max_size=3)


def _logits(rows: list[list[int]]) -> torch.Tensor:
    return torch.tensor(rows, dtype=torch.float32) / 10


def _kept(logits: torch.Tensor) -> list[set[int]]:
    return [set(row.isfinite().nonzero().flatten().tolist()) for row in logits]


def _probabilities(row: list[float]) -> list[float]:
    total = math.fsum(math.exp(value) for value in row)
    return [math.exp(value) / total for value in row]


def _ranking(row: list[float]) -> list[int]:
    return sorted(range(len(row)), key=lambda index: -row[index])


@settings(max_examples=100, deadline=None)
@given(rows=_ROWS, k=st.integers(0, 8))
def test_top_k(rows, k):
    """The k largest are kept as they are; zero, or more than there are, keeps all."""
    logits = _logits(rows)
    result = keep_top_k(logits, k)
    assert _kept(result) == [set(_ranking(row)[: k or None]) for row in rows]
    assert torch.equal(result[result.isfinite()], logits[result.isfinite()])


def _likeliest(probabilities: list[float], ranking: list[int], p: float) -> set[int]:
    kept, total = set(), 0.0
    for index in ranking:
        if kept and total >= p:
            break
        kept.add(index)
        total += probabilities[index]
    return kept


@settings(max_examples=100, deadline=None)
@given(rows=_ROWS, p=st.floats(0.0, 1.0))
def test_top_p(rows, p):
    """The likeliest are kept until their probability reaches p; the one that reaches it is the last."""
    logits = _logits(rows)
    for row, kept in zip(logits.tolist(), _kept(keep_top_p(logits, p)), strict=True):
        probabilities, ranking = _probabilities(row), _ranking(row)
        # rounding may decide at a border: then one with a p that is a little smaller or larger
        assert kept in [_likeliest(probabilities, ranking, near) for near in (p, p - 1e-5, p + 1e-5)]


@settings(max_examples=50, deadline=None)
@given(rows=_ROWS)
def test_top_p_keeps_at_least_one(rows):
    """Even p = 0 keeps the likeliest token, and no other."""
    assert _kept(keep_top_p(_logits(rows), 0.0)) == [{_ranking(row)[0]} for row in rows]


def test_top_p_of_a_known_distribution():
    """Of 0.5, 0.3, 0.15 and 0.05, in any order."""
    logits = torch.tensor([[0.05, 0.5, 0.15, 0.3]]).log()
    assert [_kept(keep_top_p(logits, p))[0] for p in (0.3, 0.6, 0.9, 0.99, 1.0)] == [
        {1},
        {1, 3},
        {1, 2, 3},
        {0, 1, 2, 3},
        {0, 1, 2, 3},
    ]


@settings(max_examples=100, deadline=None)
@given(rows=_ROWS, share=st.floats(0.0, 1.0))
def test_min_p(rows, share):
    """Tokens less likely than a share of the likeliest are left out; the likeliest never is."""
    logits = _logits(rows)
    for row, kept in zip(logits.tolist(), _kept(keep_min_p(logits, share)), strict=True):
        probabilities = _probabilities(row)
        ratios = [probability / max(probabilities) for probability in probabilities]
        clear = {index for index, ratio in enumerate(ratios) if ratio > share * 1.0001}
        allowed = {index for index, ratio in enumerate(ratios) if ratio > share * 0.9999}
        assert clear | {_ranking(row)[0]} <= kept <= allowed | {_ranking(row)[0]}


@settings(max_examples=50, deadline=None)
@given(rows=_ROWS, penalty=st.floats(0.5, 3.0), data=st.data())
def test_repetition_penalty(rows, penalty, data):
    """Seen tokens: positive logits are divided, negative ones multiplied; others are left alone."""
    logits = _logits(rows)
    seen = [[data.draw(st.booleans()) for _ in row] for row in rows]
    expected = [
        [(x / penalty if x > 0 else x * penalty) if s else x for x, s in zip(row, flags, strict=True)]
        for row, flags in zip(logits.tolist(), seen, strict=True)
    ]
    torch.testing.assert_close(penalise_repetition(logits, torch.tensor(seen), penalty), torch.tensor(expected))


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


def test_temperature_zero_is_the_likeliest():
    """Without temperature every choice is the argmax, after the penalty, whatever else is set."""
    logits = torch.tensor([[1.0, 3.0, 2.5], [0.0, -1.0, -2.0]])
    assert choose(logits, GenerateConfig(temperature=0.0, top_k=2), None, _generator()).tolist() == [1, 0]
    seen = torch.tensor([[False, True, False], [False, False, False]])
    assert choose(logits, GenerateConfig(temperature=0.0, repetition_penalty=2.0), seen, _generator()).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("options", "logits"),
    [
        ({"temperature": 1.0}, [0.0, 1.0, 2.0, -1.0, 0.5]),
        ({"temperature": 0.5}, [0.0, 1.0, 2.0, -1.0, 0.5]),
        ({"temperature": 2.0, "top_k": 3}, [0.0, 1.0, 2.0, -1.0, 0.5]),
        ({"temperature": 1.0, "top_p": 0.8}, [0.0, 1.0, 2.0, -1.0, 0.5]),
        ({"temperature": 1.0, "min_p": 0.2}, [0.0, 1.0, 2.0, -1.0, 0.5]),
    ],
)
def test_choices_follow_the_distribution(options, logits):
    """Twenty thousand choices fit the softmax of what is kept (chi-square), and nothing else is ever chosen."""
    num_draws = 20_000
    heated = [value / options["temperature"] for value in logits]
    kept = set(_ranking(heated)[: options.get("top_k")])
    if "top_p" in options:
        kept = _likeliest(_probabilities(heated), _ranking(heated), options["top_p"])
    if "min_p" in options:
        kept = {index for index in kept if math.exp(heated[index] - max(heated)) >= 0.2}
    weights = [math.exp(heated[index]) if index in kept else 0.0 for index in range(5)]
    chosen = choose(torch.tensor([logits]).expand(num_draws, -1), GenerateConfig(**options), None, _generator())
    counts = chosen.bincount(minlength=5).tolist()
    expected = [num_draws * weight / sum(weights) for weight in weights]
    assert all(count == 0 for count, wanted in zip(counts, expected, strict=True) if wanted == 0)
    chi_square = sum((count - wanted) ** 2 / wanted for count, wanted in zip(counts, expected, strict=True) if wanted > 0)
    assert chi_square < 23.5  # 4 degrees of freedom: 1 in 10,000


def test_filters_are_applied_one_after_the_other():
    """top_p counts the probability of what top_k has left: 0.4 of 0.4 + 0.3 is more than half."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log().expand(500, -1)
    settings = GenerateConfig(temperature=1.0, top_k=2, top_p=0.55)
    assert set(choose(logits, settings, None, _generator()).tolist()) == {0}


def test_the_generator_decides():
    """The same generator state gives the same choices; whole rows of half precision are accepted."""
    logits = torch.randn(64, 50, generator=_generator()).bfloat16()
    first, again = (choose(logits, GenerateConfig(), None, _generator()) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (64,)
