"""Each way to reshape a distribution against an obvious version with lists."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from whelp.generate import GenerateConfig
from whelp.generate.batch import Batch
from whelp.generate.next_tokens import choose_for_rows
from whelp.generate.row import Row
from whelp.generate.sampling import (
    _keep_likeliest,
    choose,
    find_rivals,
    keep_min_p,
    keep_top_k,
    keep_top_p,
    penalise_repetition,
)

from .helpers import PieceVocabulary, ScriptedModel

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
@given(rows=_ROWS, k=st.integers(1, 8))
def test_top_k(rows, k):
    """The k largest, largest first; more than there are is all."""
    logits = _logits(rows)
    values, ids = keep_top_k(logits, k)
    assert ids.tolist() == [_ranking(row)[:k] for row in rows]
    assert torch.equal(values, logits.gather(-1, ids))


def _top_p(logits: torch.Tensor, p: float) -> list[set[int]]:
    """The ids that are kept."""
    values, ids = keep_top_k(logits, logits.shape[-1])
    finite = keep_top_p(values, p).isfinite()
    return [set(row[keep].tolist()) for row, keep in zip(ids, finite, strict=True)]


@settings(max_examples=50, deadline=None)
@given(rows=_ROWS, p=st.floats(0.0, 1.0))
def test_top_p_of_a_whole_vocabulary(rows, p):
    """In the vocabulary's own order it keeps what it keeps of the ordered logits."""
    assert _kept(_keep_likeliest(_logits(rows), p)) == _top_p(_logits(rows), p)


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
    for row, kept in zip(logits.tolist(), _top_p(logits, p), strict=True):
        probabilities, ranking = _probabilities(row), _ranking(row)
        # rounding may decide at a border: then one with a p that is a little smaller or larger
        assert kept in [_likeliest(probabilities, ranking, near) for near in (p, p - 1e-5, p + 1e-5)]


@settings(max_examples=50, deadline=None)
@given(rows=_ROWS)
def test_top_p_keeps_at_least_one(rows):
    """Even p = 0 keeps the likeliest token, and no other."""
    assert _top_p(_logits(rows), 0.0) == [{_ranking(row)[0]} for row in rows]


def test_top_p_of_a_known_distribution():
    """Of 0.5, 0.3, 0.15 and 0.05, in any order."""
    logits = torch.tensor([[0.05, 0.5, 0.15, 0.3]]).log()
    assert [_top_p(logits, p)[0] for p in (0.3, 0.6, 0.9, 0.99, 1.0)] == [
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


def _numbers(count: int) -> torch.Tensor:
    """Numbers above 0, up to 1."""
    return 1 - torch.rand(count, 1, generator=torch.Generator().manual_seed(0))


def test_temperature_zero_is_the_likeliest():
    """Without temperature, or among one, every choice is the argmax, whatever else is set."""
    logits = torch.tensor([[1.0, 3.0, 2.5], [0.0, -1.0, -2.0]])
    assert choose(logits, GenerateConfig(temperature=0.0, top_k=2), None).tolist() == [1, 0]
    assert choose(logits, GenerateConfig(temperature=5.0, top_k=1), None).tolist() == [1, 0]


_LARGE = [math.sin(number * 12.9898) * 3 for number in range(3000)]  # more than top-p looks at first


@pytest.mark.parametrize(
    ("options", "logits"),
    [
        ({"temperature": 1.0}, [0.0, 1.0, 2.0, -1.0, 0.5]),
        ({"temperature": 0.5}, [0.0, 1.0, 2.0, -1.0, 0.5]),
        ({"temperature": 2.0, "top_k": 3}, [0.0, 1.0, 2.0, -1.0, 0.5]),
        ({"temperature": 1.0, "top_p": 0.8}, [0.0, 1.0, 2.0, -1.0, 0.5]),
        ({"temperature": 1.0, "min_p": 0.2}, [0.0, 1.0, 2.0, -1.0, 0.5]),
        ({"temperature": 1.0, "top_k": 4, "min_p": 0.2, "top_p": 0.9}, [0.0, 1.0, 2.0, -1.0, 0.5]),
        ({"temperature": 1.0, "top_p": 0.5}, _LARGE),
        ({"temperature": 2.0, "top_p": 0.95}, _LARGE),
    ],
)
def test_choices_follow_the_distribution(options, logits):
    """Thousands of choices fit the softmax of what is kept (chi-square), and nothing else is ever chosen."""
    num_draws = 20_000 if logits is not _LARGE else 4_000
    heated = [value / options["temperature"] for value in logits]
    kept = set(_ranking(heated)[: options.get("top_k")])
    if "top_p" in options:
        left = [heated[index] if index in kept else -math.inf for index in range(len(logits))]
        kept = _likeliest(_probabilities(left), _ranking(left), options["top_p"])
    if "min_p" in options:
        kept = {index for index in kept if math.exp(heated[index] - max(heated)) >= options["min_p"]}
    weights = [math.exp(heated[index]) if index in kept else 0.0 for index in range(len(logits))]
    rows = torch.tensor([logits]).expand(500, -1)
    settings = GenerateConfig(**options)
    chosen = torch.cat([choose(rows, settings, numbers) for numbers in _numbers(num_draws).split(500)])
    counts = chosen.bincount(minlength=len(logits)).tolist()
    expected = [num_draws * weight / sum(weights) for weight in weights]
    border = min(kept, key=lambda index: heated[index])  # rounding may decide about one more or less at the border of top-p
    outside = sum(count for index, count in enumerate(counts) if expected[index] == 0 and index != border)
    assert outside <= (num_draws * 0.001 if logits is _LARGE else 0)
    counts, expected = _pool(counts, expected)
    chi_square = sum((count - wanted) ** 2 / wanted for count, wanted in zip(counts, expected, strict=True))
    degrees = len(counts) - 1
    assert chi_square < degrees + 4 * math.sqrt(2 * degrees) + 10  # for 4 degrees: about 1 in 10,000


def _pool(counts: list[int], expected: list[float]) -> tuple[list[int], list[float]]:
    """Put the rarest together, so that each is expected at least ten times."""
    pooled_counts, pooled_expected = [0], [0.0]
    for wanted, count in sorted(zip(expected, counts, strict=True)):
        if pooled_expected[-1] >= 10:
            pooled_counts.append(0)
            pooled_expected.append(0.0)
        pooled_counts[-1] += count
        pooled_expected[-1] += wanted
    return pooled_counts, pooled_expected


def test_filters_are_applied_one_after_the_other():
    """top_p counts the probability of what top_k has left: 0.4 of 0.4 + 0.3 is more than half."""
    logits = torch.tensor([[0.4, 0.3, 0.2, 0.1]]).log().expand(500, -1)
    settings = GenerateConfig(temperature=1.0, top_k=2, top_p=0.55)
    assert set(choose(logits, settings, _numbers(500)).tolist()) == {0}


def test_the_numbers_decide():
    """The same numbers give the same choices, in any company; whole rows of half precision are accepted."""
    logits = torch.randn(64, 50, generator=torch.Generator().manual_seed(1)).bfloat16()
    numbers = _numbers(64)
    for config in (GenerateConfig(), GenerateConfig(top_k=9), GenerateConfig(top_p=0.7), GenerateConfig(min_p=0.1)):
        chosen = choose(logits, config, numbers)
        assert chosen.shape == (64,)
        assert torch.equal(choose(logits[7:9], config, numbers[7:9]), chosen[7:9])


@pytest.mark.parametrize(
    ("options", "num_left"),
    [
        ({"temperature": 0.0}, 1),
        ({"temperature": 0.7}, 1),
        ({"temperature": 1.5, "top_k": 3}, 3),
        ({"temperature": 1.0, "top_k": 3, "top_p": 0.5, "min_p": 0.1}, 3),
        ({"temperature": 1.5, "min_p": 0.3}, None),
        ({"temperature": 1.0, "top_p": 0.5}, 30),
    ],
)
def test_rivals_hold_whatever_may_be_chosen(options, num_left):
    """Also where one logit is as high as it can be and all others as low; where bounds leave no doubt there are as few as can be."""
    generator = torch.Generator().manual_seed(0)
    middle = 2 * torch.randn(20, 30, generator=generator)
    slack = torch.rand(20, 30, generator=generator)
    times = torch.empty(20, 30).exponential_(generator=generator)
    settings = GenerateConfig(**options)
    rivals = find_rivals(middle - slack, middle + slack, settings, None if settings.is_greedy else times)
    for token in range(30):
        logits = middle - slack
        logits[:, token] += 2 * slack[:, token]
        chosen = choose(logits, settings, times)
        assert rivals.gather(-1, chosen.unsqueeze(1)).all()
    certain = find_rivals(middle, middle, settings, times)
    if num_left is None:
        assert torch.equal(certain, keep_min_p(middle / settings.temperature, settings.min_p).isfinite())
    else:
        assert certain.sum(dim=-1).tolist() == [num_left] * 20


def _rows(count: int, **options: float) -> list[Row]:
    """So many continuations of one prompt."""
    vocabulary = PieceVocabulary([])
    return Batch(ScriptedModel(vocabulary.size, []), vocabulary, max_rows=1).make_rows("x", GenerateConfig(**options), count)


def test_a_text_draws_from_the_distribution():
    """The numbers of many continuations and places: tokens come as often as they are likely (chi-square)."""
    weights = torch.tensor([0.1, 0.2, 0.3, 0.4])
    rows = _rows(50, temperature=1.0)
    chosen = torch.cat([choose_for_rows(rows, weights.log().expand(50, -1), is_slow=False) for _ in range(60)])
    counts = chosen.bincount(minlength=4)
    assert ((counts - 3000 * weights) ** 2 / (3000 * weights)).sum() < 16  # of 3 degrees: about 1 in 1,000


@pytest.mark.parametrize(("bits", "chosen"), [(0, 1), ((1 << 24) - 1, 3)])
def test_the_borders_of_what_a_text_draws(bits, chosen):
    """The least and the most that random bits can be still choose tokens that have a probability."""
    (row,) = _rows(1, temperature=1.0)
    row.random.getrandbits = lambda _: bits
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 0.0, -torch.inf]])
    assert choose_for_rows([row], logits, is_slow=False).tolist() == [chosen]


@pytest.mark.parametrize("number", [2.0**-24, 1.0])
def test_the_borders_of_a_draw(number):
    """The smallest and the largest number still choose tokens that have a probability."""
    logits = torch.tensor([[-torch.inf, 1.0, -torch.inf, 0.0, -torch.inf]])
    chosen = choose(logits, GenerateConfig(temperature=1.0), torch.tensor([[number]]))
    assert chosen.tolist() == [1 if number < 0.5 else 3]


@pytest.mark.parametrize("temperature", [0.0, 1e-300, 1e-40, 1e-5])
def test_a_temperature_near_zero_takes_the_likeliest(temperature):
    """No division that float32 cannot do, whatever else is asked for."""
    logits = torch.tensor([[0.1, 3.0, -2.0], [5.0, 4.999, 0.0]])
    for options in ({}, {"top_k": 2}, {"top_p": 0.5}, {"min_p": 0.1}):
        config = GenerateConfig(temperature=temperature, **options)
        assert config.is_greedy
        assert choose(logits, config, None).tolist() == [1, 0]
