"""A large model's copy in 8 bits guesses ahead: steps are saved, and no text changes."""

import dataclasses

import numpy as np
import pytest
import torch
from scipy import stats

from whelp.generate import GenerateConfig
from whelp.generate.batch import Batch
from whelp.generate.sampling import choose
from whelp.generate.speculation import LEAST_DRAFTED_TOKENS, LEAST_PLAIN, MOST_ROWS, Guesser, Speculation
from whelp.model.decoding import decoder, draft
from whelp.model.decoding.decoder import Decoder
from whelp.model.decoding.screened_head import Screen, ScreenedHead

from .helpers import NumberVocabulary, check_joining
from .test_speculation import FAMILIES, PROMPT, STYLES, VOCABULARY, _run


@pytest.mark.parametrize("number", range(len(STYLES)))
def test_the_text_is_the_same(make_large, number):
    """With every setting, greedy and drawn: tokens, pieces and reasons; with the text's own past as well, and two side by side."""
    style, (family, options) = STYLES[number], FAMILIES[number % 2]
    model = make_large(family, context_tokens=60, **options)
    settings = GenerateConfig(max_tokens=70, prompt_lookup_tokens=0, draft_tokens=0, **style)
    pieces, wholes, num_steps = _run(model, VOCABULARY, PROMPT, settings, 2)
    for drafted, looked_up in ((5, 0), (None, None), (3, 4)):
        asked = dataclasses.replace(settings, draft_tokens=drafted, prompt_lookup_tokens=looked_up)
        found_pieces, found, found_steps = _run(model, VOCABULARY, PROMPT, asked, 2)
        assert found_steps <= num_steps
        assert [(whole.text, whole.reason) for whole in found] == [(whole.text, whole.reason) for whole in wholes]
        for some, others in zip(pieces, found_pieces, strict=True):
            assert [(piece.text, piece.token_ids) for piece in some] == [(piece.text, piece.token_ids) for piece in others]


def _bound_by_the_whole_head(head: ScreenedHead, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Bounds as a copy in 8 bits would give them, on any processor: as wide, and the logits anywhere between."""
    logits = x @ head._weight.t()
    width = 0.05 * logits.std(dim=1, keepdim=True)
    place = torch.rand(logits.shape, generator=torch.Generator().manual_seed(0))
    return logits - place * width, logits + (1 - place) * width


@pytest.mark.parametrize("number", [0, 1, 2, 4])  # one of a kind: greedy, drawn, among the likeliest, penalised
def test_the_text_is_the_same_with_the_whole_head(make_large, monkeypatch, number):
    """With every setting, of two rows side by side and with checks of several tokens; few logits are made, if the setting allows."""
    style, (family, options) = STYLES[number], FAMILIES[number % 2]
    model = make_large(family, context_tokens=60, **options)
    num_left_out = []
    ask = ScreenedHead.__call__

    def count(head: ScreenedHead, x: torch.Tensor, screen: Screen | None = None) -> torch.Tensor:
        logits = ask(head, x, screen)
        num_left_out.append(int(logits.isinf().sum()))
        return logits

    monkeypatch.setattr(ScreenedHead, "__call__", count)
    monkeypatch.setattr(ScreenedHead, "bound", _bound_by_the_whole_head)
    monkeypatch.setattr(decoder, "can_multiply_bytes", lambda: True)
    found, expected = [], []
    for least, texts in ((0, found), (1 << 40, expected)):
        monkeypatch.setattr(decoder, "LEAST_SCREENED", least)
        num_left_out.clear()
        for drafted, options in ((0, {}), (4, {}), (0, {"max_tokens": 9, "logprobs": 3})):
            settings = GenerateConfig(
                **{"max_tokens": 50, "prompt_lookup_tokens": 0, "draft_tokens": drafted} | style | options
            )
            texts.append(_run(model, VOCABULARY, PROMPT, settings, 2)[0])
        assert any(num_left_out) == (least == 0 and not settings.is_penalised)
    assert found == expected


@pytest.mark.parametrize("style", [{"temperature": 0.0}, {"temperature": 0.8}, {"temperature": 1.0, "top_k": 20, "top_p": 0.9}])
def test_steps_are_saved(make_large, style):
    """Most guesses are right, also where tokens are drawn: of five, more than three come."""
    model = make_large("gpt2", context_tokens=200)
    settings = GenerateConfig(max_tokens=150, prompt_lookup_tokens=0, draft_tokens=0, ignore_end=True, **style)
    assert _run(model, VOCABULARY, PROMPT, settings)[2] == 149
    assert _run(model, VOCABULARY, PROMPT, dataclasses.replace(settings, draft_tokens=5))[2] < 149 / 4


@pytest.mark.parametrize(("family", "options"), FAMILIES)
def test_requests_that_join_and_leave(make_large, family, options):
    """Drafted, undrafted and penalised requests in few slots get the text that they get alone and undrafted."""
    model = make_large(family, context_tokens=60, **options)
    generator = np.random.default_rng(0)
    requests = []
    for number in range(9):
        prompt = generator.integers(0, 60, int(generator.integers(1, 20))).tolist()
        style = STYLES[number % 4] | {"max_tokens": int(generator.integers(1, 50))}
        requests.append((prompt, style, 1 + number % 2))
    alone = {"prompt_lookup_tokens": 0, "draft_tokens": 0}
    for drafted in (None, 4):
        check_joining(model, VOCABULARY, requests, alone, {"draft_tokens": drafted}, max_rows=MOST_ROWS)


def test_waiting_times_draw_from_the_distribution(make_large):
    """The numbers of many places of a text: chi-square against the model's own probabilities, also among the k likeliest."""
    model = make_large("gpt2")
    with torch.inference_mode():
        logits = model(torch.tensor([PROMPT]))[0, -1, :60]
    for options, count in (({"temperature": 0.7}, 60), ({"temperature": 1.3, "top_k": 8}, 8)):
        kept = torch.full((60,), -torch.inf).scatter(0, logits.topk(count).indices, logits.topk(count).values)
        expected = (kept / options["temperature"]).softmax(dim=-1).numpy().astype(np.float64)
        config = GenerateConfig(seed=7, **options)
        (row,) = Batch(model, NumberVocabulary(60), max_rows=1).make_rows(PROMPT, config, 1)
        times = torch.from_numpy(np.stack([row.waits(place, 60) for place in range(4000)]))
        found = np.bincount(choose(logits.expand(4000, -1), config, times), minlength=60)
        frequent = expected * found.sum() >= 5
        rest = [[values[~frequent].sum()] for values in (found, expected * found.sum())]
        observed, wanted = (
            np.concatenate((values[frequent], other))
            for values, other in zip((found, expected * found.sum()), rest, strict=True)
        )
        kept_places = wanted > 0
        assert observed[~kept_places].sum() == 0
        assert stats.chisquare(observed[kept_places], wanted[kept_places], sum_check=False).pvalue > 1e-3


def test_waiting_times_choose_alike():
    """Logits that differ a little choose the same token nearly always; summed probabilities do not."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2000, 500, generator=generator)
    other = logits + 0.02 * torch.randn(logits.shape, generator=generator)
    settings = GenerateConfig(temperature=1.0)
    times = torch.empty_like(logits).exponential_(generator=generator)
    numbers = torch.rand(2000, 1, generator=generator).clamp_(min=1e-6)
    alike, summed = (
        (choose(logits, settings, drawn) == choose(other, settings, drawn)).float().mean() for drawn in (times, numbers)
    )
    assert alike > 0.97
    assert summed < 0.8


def test_a_plan_drafts_where_it_pays():
    """As many tokens as pay by what was measured; none before plain steps were, where they are wrong or slow, or unwanted."""

    def make_plan(*, share=0.97, draft=0.3, wide=1.3, most=60, **options):
        speculation, guesser = Speculation(), Guesser(0, **options)
        speculation.note(1, 1, 1.0)
        assert options or speculation.plan([guesser], most) is None
        for _ in range(LEAST_PLAIN):
            speculation.note(1, 1, 1.0)
        for count in range(2, 14):
            for _ in range(2):
                speculation.note(1, count, wide)
        for _ in range(2):
            speculation.note_draft(1, 4, 4 * draft)
        guesser.num_drafts_right, guesser.num_drafts = 1e6 * share, 1e6
        return speculation.plan([guesser], most)

    assert make_plan() == 12
    assert make_plan(most=7) == 6
    assert make_plan(most=1) is None
    assert make_plan(share=0.6) == 2
    assert make_plan(share=0.3) is None
    assert make_plan(draft=0.9) is None
    assert make_plan(wide=9.0, share=0.9) is None
    assert make_plan(most_drafted=0) is None
    assert make_plan(most_drafted=5, share=0.1) == 5
    assert make_plan(most_drafted=5, most=3) == 3


def test_wrong_drafts_are_given_up(make_large, monkeypatch):
    """A copy that knows nothing is left alone after a few guesses; the text is the same."""
    model = make_large("gpt2", context_tokens=200)
    settings = GenerateConfig(temperature=0.0, max_tokens=150, prompt_lookup_tokens=0, draft_tokens=0, ignore_end=True)
    expected = _run(model, VOCABULARY, PROMPT, settings)[1]
    tried = []

    def guess(self, ids, num_tokens, choose):
        tried.append(num_tokens)
        return [[59 - token] * num_tokens for token in ids]

    monkeypatch.setattr(draft.Drafter, "guess", guess)
    found = _run(model, VOCABULARY, PROMPT, dataclasses.replace(settings, draft_tokens=None))[1]
    assert [whole.text for whole in found] == [whole.text for whole in expected]
    assert len(tried) < 30


def test_who_drafts(make_model, monkeypatch):
    """Large float32 models on a CPU; the copy is made when it is needed, and not for the end of a text."""
    model = make_model("gpt2", context_tokens=200)
    assert Decoder(model, 1, 20).drafter is None
    assert not Decoder(model, 1, 20).is_slow
    monkeypatch.setattr(draft, "LEAST_DRAFTED", 0)
    assert Decoder(model, 1, 20).is_slow
    assert Decoder(make_model("gpt2").bfloat16(), 1, 20).drafter is None
    assert Decoder(make_model("rwkv7"), 1, 20).drafter is None
    batch = Batch(model, VOCABULARY, max_rows=1)
    for length, is_ready in ((LEAST_DRAFTED_TOKENS // 2, False), (150, True)):
        batch.submit(
            [1, 2],
            GenerateConfig(temperature=0.0, max_tokens=length, prompt_lookup_tokens=0, draft_tokens=None, ignore_end=True),
        )
        while batch.step():
            pass
        assert batch.decoder.drafter.is_ready == is_ready


def test_products_of_eight_bits():
    """Near the product, with a bias and without, for one row and several, whatever the processor; zeros stay zeros."""
    generator = torch.Generator().manual_seed(0)
    weight, bias = torch.randn(96, 64, generator=generator), torch.randn(96, generator=generator)
    weight[5] = 0.0
    for rows in (1, 3):
        x = torch.randn(rows, 64, generator=generator)
        for added in (None, bias):
            expected = torch.nn.functional.linear(x, weight, added)
            product = draft.EightBitProduct(weight, added)
            torch.testing.assert_close(product(x), expected, rtol=0, atol=0.5)
            torch.testing.assert_close(product.add_to(expected, x), 2 * expected, rtol=0, atol=0.5)
    assert not draft.EightBitProduct(weight)(torch.zeros(1, 64)).any()
