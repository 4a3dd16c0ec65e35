"""Beginnings that were read before: fewer tokens are read, and no text changes."""

from __future__ import annotations

import pytest
import torch

from whelp.generate import GenerateConfig, complete
from whelp.generate import batch as batch_module
from whelp.generate.prefix_cache import LEAST_SHARED

from .prefixes import (
    CONTEXT,
    FORGETFUL,
    KINDS,
    NUM_IDS,
    VOCABULARY,
    Watched,
    ask_alone,
    draw_ids,
    make_settings,
)
from .test_run_ahead import Recorded
from .test_speculation import STYLES


@pytest.mark.parametrize("kind", KINDS)
def test_a_conversation_reads_each_turn_once(make_kind, kind):
    """Greedy and drawn: the texts are those without memory, and what is read is the newest turn alone."""
    model = make_kind(kind)
    for style in ({}, {"temperature": 0.8, "seed": 3}):
        batch, said = Watched(model), []
        for turn in range(4):
            said += draw_ids(40, turn)
            num_before = sum(batch.read)
            (generation,), (answer,) = batch.ask(said, max_tokens=20, **style)
            assert [answer] == ask_alone(model, said, max_tokens=20, **style)
            known = 0 if turn == 0 else len(said) - 40 - 1  # the last token of an answer was chosen, but not read
            assert generation.cached_tokens == known
            assert sum(batch.read) - num_before == len(said) - known
            said += answer


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_that_comes_back_changed(make_kind, kind):
    """The conversation goes on from where it parts: with keys and values at once, with a state from the end of the last prompt."""
    model = make_kind(kind)
    batch, prompt = Watched(model), draw_ids(50)
    (answer,) = batch.ask(prompt, max_tokens=60)[1]
    changed = [*prompt, *answer[:45], (answer[45] + 1) % NUM_IDS, *draw_ids(10, 1)]
    (generation,), (text,) = batch.ask(changed)
    assert [text] == ask_alone(model, changed)
    assert generation.cached_tokens == (95 if kind in FORGETFUL else 50)
    again = [*changed[:95], *draw_ids(20, 2)]  # now a state is kept where they part
    (generation,), (text,) = batch.ask(again)
    assert [text] == ask_alone(model, again)
    assert generation.cached_tokens == 95


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_prompt_again(make_kind, kind):
    """The last token is read in any case; a state before it is there at the third time."""
    model = make_kind(kind)
    batch, prompt = Watched(model), draw_ids(50)
    found = [batch.ask(prompt) for _ in range(3)]
    assert [texts for _, texts in found] == [ask_alone(model, prompt)] * 3
    assert [generations[0].cached_tokens for generations, _ in found] == ([0, 49, 49] if kind in FORGETFUL else [0, 0, 49])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("chunk_tokens", [16, 512])
def test_prompts_side_by_side_share_their_beginning(make_kind, monkeypatch, kind, chunk_tokens):
    """Few-shot prompts that are there at once: the examples go through the model once, each question once."""
    monkeypatch.setattr(batch_module, "CHUNK_TOKENS", chunk_tokens)
    model = make_kind(kind)
    batch, examples = Watched(model, max_rows=3), draw_ids(70)
    batch.ask([1])  # of a model of transformers, its first text tells what its cache is like
    batch.read.clear()
    prompts = [[*examples, *draw_ids(5 + number, number + 1)] for number in range(7)]
    generations = [batch.submit(prompt, make_settings())[0] for prompt in prompts]
    assert batch.finish(*generations) == [ask_alone(model, prompt)[0] for prompt in prompts]
    assert sum(batch.read) == 70 + sum(len(prompt) - 70 for prompt in prompts)
    assert [generation.cached_tokens for generation in generations] == [0] + [70] * 6


@pytest.mark.parametrize("kind", FORGETFUL)
def test_prompts_side_by_side_need_no_memory_beside_the_slots(make_kind, kind):
    """With 0 bytes for texts that have ended, those under way still share what they begin with."""
    model, examples = make_kind(kind), draw_ids(70)
    batch = Watched(model, 0)
    prompts = [[*examples, *draw_ids(9, number + 1)] for number in range(4)]
    generations = [batch.submit(prompt, make_settings())[0] for prompt in prompts]
    assert batch.finish(*generations) == [ask_alone(model, prompt)[0] for prompt in prompts]
    assert sum(batch.read) == 70 + 4 * 9
    assert batch.prefixes.num_bytes == 0


@pytest.mark.parametrize("kind", ["rwkv7", "mistral"])
def test_states_are_not_shared_without_memory(make_kind, kind):
    """With 0 bytes there is nowhere to keep a state: nobody waits for one, and the texts are the same."""
    model, examples = make_kind(kind), draw_ids(70)
    batch = Watched(model, 0)
    prompts = [[*examples, *draw_ids(9, number + 1)] for number in range(4)]
    generations = [batch.submit(prompt, make_settings())[0] for prompt in prompts]
    assert batch.finish(*generations) == [ask_alone(model, prompt)[0] for prompt in prompts]
    assert sum(generation.cached_tokens for generation in generations) == 0


@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
def test_steps_that_are_asked_for_early(make_kind, monkeypatch, kind):
    """As on a GPU: a text that has ended may have read one token too much, which is kept when it is the text's own last one."""
    recorded, model, examples = Recorded(monkeypatch), make_kind(kind), draw_ids(70)
    alone = [ask_alone(model, [*examples, *draw_ids(9, number + 1)], max_tokens=12) for number in range(5)]
    recorded.num_ahead = 0
    batch = Watched(model, max_rows=3)
    prompts = [[*examples, *draw_ids(9, number + 1)] for number in range(5)]
    asked = [make_settings(max_tokens=12 if number % 2 else 7) for number in range(5)]
    generations = [batch.submit(prompt, settings)[0] for prompt, settings in zip(prompts, asked, strict=True)]
    answers = batch.finish(*generations)
    assert [[answer] for answer in answers] == [[text[0][: len(answer)]] for text, answer in zip(alone, answers, strict=True)]
    for prompt, answer in zip(prompts, answers, strict=True):
        more = [*prompt, *answer, *draw_ids(20, 7)]
        (generation,), text = batch.ask(more)
        assert generation.cached_tokens >= len(prompt) + len(answer) - 1
        assert text == ask_alone(model, more)
    assert recorded.num_ahead > 20


@pytest.mark.parametrize("kind", KINDS)
def test_a_beginning_within_a_beginning(make_kind, kind):
    """Prompts that share more with one another than with the rest; one that is the beginning of another; with every setting."""
    model = make_kind(kind)
    root, branch = draw_ids(50), draw_ids(50, 1)
    prompts = [
        [*root, *draw_ids(8, 2)],
        [*root, *branch, *draw_ids(8, 3)],
        [*root, *branch, *draw_ids(8, 4)],
        root,
        [*root, *branch],
    ]
    batch = Watched(model, max_rows=2)
    asked = [(prompt, style, n) for prompt in prompts for style, n in zip(STYLES, (1, 2, 1, 1, 2, 1, 1, 1), strict=True)]
    asked = [(prompt, {**style, "max_tokens": 12, "prompt_lookup_tokens": None}, n) for prompt, style, n in asked]
    generations = [batch.submit(prompt, GenerateConfig(**style), n=n) for prompt, style, n in asked]
    while batch.step():
        pass
    for (prompt, style, n), group in zip(asked, generations, strict=True):
        alone = complete(model, VOCABULARY, prompt, GenerateConfig(**style), n=n)
        assert ["".join(piece.text for piece in one) for one in group] == [whole.text for whole in alone]
        for one, whole in zip(group, alone, strict=True):
            assert [entry.id for entry in one.prompt_logprobs or []] == [entry.id for entry in whole.prompt_logprobs or []]


@pytest.mark.parametrize("kind", KINDS)
def test_a_beginning_gives_nearly_the_same_numbers(make_kind, kind):
    """A memory that is put back is the same to the bit; reading on from it rounds otherwise than reading all at once, no more."""
    model, prompt = make_kind(kind).eval(), draw_ids(120)
    decoder = model.make_decoder(3, CONTEXT)
    with torch.inference_mode():
        (whole,) = decoder.read(0, [prompt])
        decoder.read(1, [prompt[:70]])
        snapshot = decoder.snapshot(1, 0, 70).detach()
        (on,) = decoder.read(1, [prompt[70:]])
        decoder.restore(2, snapshot, 70)
        (restored,) = decoder.read(2, [prompt[70:]])
        if kind in FORGETFUL:
            decoder.restore(0, snapshot, 50)
            (cut,) = decoder.read(0, [prompt[50:]])
            torch.testing.assert_close(cut, whole, atol=1e-4, rtol=1e-4)
    assert torch.equal(restored, on)
    assert restored.argmax() == whole.argmax()
    torch.testing.assert_close(restored, whole, atol=1e-4, rtol=1e-4)


def test_short_beginnings_are_read(make_kind):
    """Below so many tokens nothing is kept or waited for: prompts are read together, as ever."""
    model, start = make_kind("qwen3"), draw_ids(LEAST_SHARED - 1)
    batch = Watched(model)
    prompts = [[*start, 1, 2], [*start, 3, 4]]
    generations = [batch.submit(prompt, make_settings(max_tokens=1))[0] for prompt in prompts]
    batch.finish(*generations)
    assert batch.read == [2 * (LEAST_SHARED + 1)]
    assert [generation.cached_tokens for generation in generations] == [0, 0]


@pytest.mark.parametrize("kind", KINDS)
def test_scores_of_a_prompt_need_all_of_it(make_kind, kind):
    """Echo with log-probabilities reads the whole prompt, whatever is remembered; others may take over what it read."""
    model, prompt = make_kind(kind), draw_ids(90)
    batch = Watched(model)
    batch.ask(prompt)
    batch.read.clear()
    (scored,), (text,) = batch.ask(prompt, prompt_logprobs=2)
    (alone,) = complete(model, VOCABULARY, prompt, make_settings(prompt_logprobs=2))
    assert (sum(batch.read), scored.cached_tokens) == (90, 0)
    assert [text] == ask_alone(model, prompt)
    assert [entry.id for entry in scored.prompt_logprobs] == prompt[1:]
    for found, expected in zip(scored.prompt_logprobs, alone.prompt_logprobs, strict=True):
        assert found.logprob == pytest.approx(expected.logprob, abs=1e-4)
    (after,), (text,) = batch.ask([*prompt, 7, 7])
    assert after.cached_tokens == 90
    assert [text] == ask_alone(model, [*prompt, 7, 7])


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_sliding_windows(make_model, family):
    """Texts and prompts longer than the context: what the slot holds then is no beginning, and is not taken for one."""
    model = make_model(family, context_tokens=64)
    batch = Watched(model)
    prompt = draw_ids(50)
    for length in (50, 50, 200):
        asked = [*prompt, *draw_ids(length - 50, 5)]
        for settings in ({"max_tokens": 90}, {"max_tokens": 10}):
            assert batch.ask(asked, when_full="slide", **settings)[1] == ask_alone(model, asked, when_full="slide", **settings)
    text = ask_alone(model, prompt, when_full="slide", max_tokens=90)[0]
    for start in range(40, 80, 7):  # what the window saw last
        asked = [*prompt, *text][start : start + 45]
        assert batch.ask(asked)[1] == ask_alone(model, asked)


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_a_running_text_that_has_slid(make_model, family):
    """Its slot no longer begins as its prompt does: a prompt that shares the beginning is read."""
    model, prompt = make_model(family, context_tokens=64), draw_ids(50)
    batch = Watched(model, 0)
    (endless,) = batch.submit(prompt, make_settings(max_tokens=10**6, when_full="slide"))
    while not (batch.rows and batch.rows[0].has_slid and batch.num_running and batch.decoder.lengths[0] > 45):
        batch.step()
    (generation,) = batch.submit([*prompt[:45], 1], make_settings())
    while generation.finish_reason is None:
        batch.step()
    endless.cancel()
    batch.step()
    assert generation.cached_tokens == 0
    assert [token for piece in generation for token in piece.token_ids] == ask_alone(model, [*prompt[:45], 1])[0]


@pytest.mark.parametrize("kind", KINDS)
def test_a_cancelled_prompt_leaves_what_was_read(make_kind, monkeypatch, kind):
    """Whoever waits for it goes on without it, or from as far as it came."""
    monkeypatch.setattr(batch_module, "CHUNK_TOKENS", 40)
    model = make_kind(kind)
    batch, examples = Watched(model), draw_ids(150)
    (first,) = batch.submit([*examples, 1, 2], make_settings())
    (second,) = batch.submit([*examples, 3, 4], make_settings())
    batch.step()
    batch.step()
    first.cancel()
    found = batch.finish(second)
    assert first.finish_reason == "cancelled"
    assert found == ask_alone(model, [*examples, 3, 4])
    assert second.cached_tokens == 80
    assert sum(batch.read) == 152
