"""Guesses from a text's own past: they save steps, and change nothing."""

import dataclasses

import numpy as np
import pytest
import torch
import transformers
from transformers import AutoModelForCausalLM, GenerationConfig

from whelp.generate import Engine, GenerateConfig, complete
from whelp.generate.batch import Batch
from whelp.generate.generation import Completion, TextPiece
from whelp.generate.prompt_lookup import LOSS_AT_ONCE, LOSS_SHARE, SIZES, Lookup, Trust
from whelp.generate.speculation import GUESS_TOKENS, MOST_ROWS, Guesser, Speculation
from whelp.model.hugging_face import open_hugging_face

from .helpers import NumberVocabulary, PieceVocabulary, ScriptedModel, check_joining

NUM_IDS = 60
VOCABULARY = NumberVocabulary(NUM_IDS, eos_id=9)
PROMPT = [5, 17, 42, 3, 8] * 3
FAMILIES = [("gpt2", {"tie_embeddings": False}), ("qwen3", {"n_kv_head": 2})]
STYLES = [
    {"temperature": 0.0},
    {"temperature": 0.3, "seed": 1},
    {"temperature": 0.4, "top_k": 7, "seed": 2, "ignore_end": True},
    {"temperature": 0.4, "top_p": 0.8, "seed": 3, "repetition_penalty": 1.05},
    {"temperature": 0.3, "min_p": 0.1, "seed": 4, "presence_penalty": 0.2, "frequency_penalty": 0.05},
    {"temperature": 0.3, "seed": 5, "logit_bias": {7: 2.0, 8: -1.0}, "stop": ["7 7 7 7 7 7 7 7"]},
    {"temperature": 0.2, "top_k": 20, "top_p": 0.9, "seed": 6, "when_full": "slide", "logprobs": 2, "prompt_logprobs": 1},
    {"temperature": 0.0, "when_full": "slide", "logprobs": 0, "stop": ["no such number"], "ignore_end": True},
]


def _run(
    model, vocabulary, prompt, settings: GenerateConfig, n: int = 1
) -> tuple[list[list[TextPiece]], list[Completion], int]:
    """The pieces, the whole texts, and the steps that they took."""
    batch = Batch(model, vocabulary, max_rows=n)
    generations = batch.submit(prompt, settings, n=n)
    while batch.step():
        pass
    pieces = [list(generation) for generation in generations]
    wholes = [
        Completion("".join(p.text for p in some), generation.finish_reason, len(some), None, generation.prompt_logprobs)
        for some, generation in zip(pieces, generations, strict=True)
    ]
    return pieces, wholes, batch.num_steps


@pytest.mark.parametrize("style", STYLES, ids=str)
@pytest.mark.parametrize(("family", "options"), FAMILIES)
@pytest.mark.parametrize("n", [1, 2])
def test_the_text_is_the_same(make_model, family, options, style, n):
    """With every setting, greedy and drawn: the same tokens, pieces, reasons and log-probabilities, in fewer steps or as many."""
    model = make_model(family, context_tokens=60, **options)
    settings = GenerateConfig(max_tokens=70, prompt_lookup_tokens=0, **style)
    pieces, wholes, num_steps = _run(model, VOCABULARY, PROMPT, settings, n)
    for count in (5, None):
        asked = dataclasses.replace(settings, prompt_lookup_tokens=count)
        found_pieces, found, found_steps = _run(model, VOCABULARY, PROMPT, asked, n)
        assert found_steps <= num_steps
        assert [(whole.text, whole.reason) for whole in found] == [(whole.text, whole.reason) for whole in wholes]
        for some, others in zip(pieces, found_pieces, strict=True):
            assert [(piece.text, piece.token_ids) for piece in some] == [(piece.text, piece.token_ids) for piece in others]
            for piece, other in zip(some, others, strict=True):
                assert (piece.logprobs is None) == (other.logprobs is None) == (settings.logprobs is None)
                for entry, again in zip(piece.logprobs or [], other.logprobs or [], strict=True):
                    assert (entry.id, len(entry.top)) == (again.id, len(again.top))
                    assert entry.logprob == pytest.approx(again.logprob, abs=1e-4)


def test_steps_are_saved(make_model):
    """A text that repeats itself takes a part of its tokens in steps, greedy and drawn; without guesses, all of them."""
    model = make_model("qwen3", context_tokens=400)
    for style in ({"temperature": 0.0}, {"temperature": 0.2, "seed": 1}):
        settings = GenerateConfig(max_tokens=300, ignore_end=True, **style)
        assert _run(model, VOCABULARY, PROMPT, dataclasses.replace(settings, prompt_lookup_tokens=0))[2] == 299
        assert _run(model, VOCABULARY, PROMPT, settings)[2] < 299
        assert _run(model, VOCABULARY, PROMPT, dataclasses.replace(settings, prompt_lookup_tokens=9))[2] < 250


def test_transformers_generates_the_same(make_model, tmp_path):
    """Greedy tokens of transformers, with guesses and without them here."""
    from whelp.artifacts.checkpoint import save_checkpoint

    for family, options in FAMILIES:
        model = make_model(family, context_tokens=200, **options)
        config, weights = model.to_hugging_face()
        save_checkpoint(
            tmp_path / family,
            config=config,
            weights=weights,
            save_tokenizer=lambda path: None,
            generation={},
            trainer=None,
            counts={},
        )
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / family)
        greedy = GenerationConfig(do_sample=False, max_new_tokens=150, pad_token_id=0, eos_token_id=None)
        ids = torch.tensor([PROMPT])
        output = theirs.generate(ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        expected = output[0, len(PROMPT) :].tolist()
        for count in (0, None, 7):
            settings = GenerateConfig(temperature=0.0, max_tokens=150, prompt_lookup_tokens=count)
            pieces, _, num_steps = _run(model, NumberVocabulary(64), PROMPT, settings)
            assert [token for piece in pieces[0] for token in piece.token_ids] == expected
            assert (num_steps < 149) == (count != 0)


@pytest.mark.parametrize(("family", "options"), FAMILIES)
def test_requests_that_join_and_leave(make_model, family, options):
    """Requests that come while others run and are guessed, in few slots, get the text that they get alone and unguessed."""
    model = make_model(family, context_tokens=60, **options)
    generator = np.random.default_rng(0)
    requests = []
    for number in range(12):
        prompt = generator.integers(0, NUM_IDS, int(generator.integers(1, 8))).tolist() * 3
        style = STYLES[number % len(STYLES)] | {"max_tokens": int(generator.integers(1, 70))}
        requests.append((prompt, style, 1 + number % 3))
    for count in (None, 4):
        together = {"prompt_lookup_tokens": count}
        check_joining(model, VOCABULARY, requests, {"prompt_lookup_tokens": 0}, together, max_rows=MOST_ROWS)


def test_a_cancelled_request_leaves_the_others_alone(make_model):
    """A row that leaves between two checks, and one that fills its place."""
    model = make_model("gpt2", context_tokens=120)
    settings = GenerateConfig(temperature=0.0, max_tokens=80, ignore_end=True)
    (expected,) = complete(model, VOCABULARY, PROMPT, dataclasses.replace(settings, prompt_lookup_tokens=0))
    batch = Batch(model, VOCABULARY, max_rows=2)
    first, second, third = (batch.submit(PROMPT, settings)[0] for _ in range(3))
    for _ in range(4):
        batch.step()
    first.cancel()
    while batch.step():
        pass
    assert first.finish_reason == "cancelled"
    assert [Completion.collect(generation).text for generation in (second, third)] == [expected.text] * 2


def _say(text: str, **options) -> tuple[list[TextPiece], Completion, int]:
    """What comes when a model says a text, letter by letter."""
    vocabulary = PieceVocabulary([])
    model = ScriptedModel(vocabulary.size, list(text.encode()))
    pieces, (whole,), num_steps = _run(
        model, vocabulary, "x", GenerateConfig(**{"temperature": 0.0, "max_tokens": 99} | options)
    )
    return pieces[0], whole, num_steps


@pytest.mark.parametrize("count", [0, None, 6, 40])
def test_a_text_ends_inside_what_was_guessed(count):
    """By a stop text, by its length, by end-of-text: nothing is shown behind it, and every token has a piece of its own."""
    text = "abcde " * 8 + "fin"
    pieces, whole, num_steps = _say(text, prompt_lookup_tokens=count)
    assert (whole.text, whole.reason, len(pieces)) == (text, "stop", len(text) + 1)
    assert all(len(piece.token_ids) == 1 for piece in pieces)
    assert (num_steps < len(text)) == (count != 0)
    pieces, whole, _ = _say(text, prompt_lookup_tokens=count, stop=["e abc"], max_tokens=40)
    assert (whole.text, whole.reason) == ("abcd", "stop")
    pieces, whole, _ = _say(text, prompt_lookup_tokens=count, stop=["de fin"])
    assert (whole.text, whole.reason) == ("abcde " * 7 + "abc", "stop")
    for limit in range(25, 32):
        pieces, whole, _ = _say(text, prompt_lookup_tokens=count, max_tokens=limit)
        assert (whole.text, whole.reason, len(pieces)) == (text[:limit], "length", limit)


def test_nothing_is_read_beyond_the_context(make_model):
    """A guess is cut where the context or the asked length ends."""
    model = make_model("gpt2", context_tokens=20)
    for count in (0, 50):
        pieces, (whole,), _ = _run(
            model, NumberVocabulary(NUM_IDS), PROMPT, GenerateConfig(temperature=0.0, max_tokens=50, prompt_lookup_tokens=count)
        )
        assert (len(pieces[0]), whole.reason) == (20 - len(PROMPT) + 1, "length")


KINDS = {
    "llama": (transformers.LlamaForCausalLM, transformers.LlamaConfig, {}),
    "mistral": (transformers.MistralForCausalLM, transformers.MistralConfig, {"sliding_window": 6}),  # which cannot forget
}


@pytest.mark.parametrize("kind", KINDS)
def test_other_architectures(tmp_path, kind):
    """Models of transformers are guessed for too, where their caches can forget; side by side and one after the other."""
    build, configure, options = KINDS[kind]
    torch.manual_seed(0)
    config = configure(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        max_position_embeddings=90, bos_token_id=None, eos_token_id=None, **options,
    )  # fmt: skip
    inner = build(config)
    with torch.no_grad():
        for parameter in inner.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    inner.save_pretrained(tmp_path)
    model = open_hugging_face(tmp_path, config.to_dict())
    for style in ({"temperature": 0.0}, {"temperature": 0.2, "seed": 1, "frequency_penalty": 0.01}):
        settings = GenerateConfig(max_tokens=60, ignore_end=True, prompt_lookup_tokens=0, **style)
        _, expected, num_steps = _run(model, VOCABULARY, PROMPT, settings, n=2)
        asked = dataclasses.replace(settings, prompt_lookup_tokens=4)
        _, found, found_steps = _run(model, VOCABULARY, PROMPT, asked, n=2)
        assert [whole.text for whole in found] == [whole.text for whole in expected]
        assert (found_steps < num_steps) == (kind == "llama")
        with Engine(model, VOCABULARY, max_rows=2) as engine:
            waiting = [generation for _ in range(2) for generation in engine.submit(PROMPT, asked, n=2)]
            assert ["".join(p.text for p in one) for one in waiting] == [whole.text for whole in expected] * 2


def test_a_recurrent_model_is_not_guessed_for(make_model):
    """A state that went on cannot be taken back."""
    model = make_model("rwkv7", n_head=2)
    settings = GenerateConfig(temperature=0.0, max_tokens=30, ignore_end=True, prompt_lookup_tokens=4)
    assert _run(model, VOCABULARY, PROMPT, settings)[2] == 29


def test_recorded_steps(monkeypatch):
    """Where single tokens are replayed from a recording, guesses are checked only when they are asked for."""
    monkeypatch.setattr(ScriptedModel, "is_step_recorded", True)
    text = "abcde " * 8
    assert _say(text)[2] == len(text)
    assert _say(text, prompt_lookup_tokens=4)[2] < len(text)


def test_lookup_finds_the_last_place():
    """Against looking through the whole text: the longest known run of tokens, where it last stood; what repeats goes round."""
    generator = np.random.default_rng(1)
    for _ in range(20):
        ids, lookup = generator.integers(0, 3, 40).tolist(), Lookup()
        for length in range(1, len(ids)):
            text, expected = ids[:length], ([], 0)
            for size in sorted(SIZES):
                ends = [end for end in range(size, length) if text[end - size : end] == text[length - size :]]
                if ends:
                    longer = text[ends[-1] :] * 5
                    expected = longer[:5], size
            assert lookup.guess(text, 5) == expected
    assert Lookup().guess([], 5) == ([], 0)


def test_wrong_guesses_cost_little():
    """Whatever a check costs, no more steps are lost than were set, and guesses that are right again are believed again."""
    for cost in (1.2, 2.0, 6.0):
        trust, lost = Trust(), 0.0
        for _ in range(2000):
            if trust.is_left:
                trust.note_check(3, 8, 0, cost)
                lost += cost - 1.0
            else:
                trust.note_step(3)
        assert 0 < lost < LOSS_AT_ONCE + cost + 2000 * LOSS_SHARE
    trust, left = Trust(), []
    for _ in range(3):
        trust.note_check(3, 8, 0, 1.7)
        left.append(trust.is_left)
    assert left == [True, True, False], "0.7 steps are lost each time: of any check one token comes"
    trust = Trust()
    for _ in range(30):
        trust.note_check(3, 8, 1, 1.7)
        assert trust.is_left, "two tokens for less than two steps"
    trust = Trust()
    for _ in range(30):
        trust.note_check(6, 4, 0, 1.5)
    doubted = trust.expect(6)
    for _ in range(30):
        trust.note_check(6, 4, 4, 1.5)
    assert doubted < 0.2 < 0.9 < trust.expect(6)


@pytest.mark.parametrize(("most", "is_left_alone"), [(None, True), (4, False)])
def test_a_text_that_is_guessed_wrong_is_left_alone(most, is_left_alone):
    """Its own past is no longer asked, unless so many tokens were asked for."""
    guesser = Guesser(most, is_draft=True)
    for _ in range(4):
        guesser.look_up([1, 2, 3] * 4, 9)
        guesser.note_check(len(guesser.tokens), 0, 1.9)
    assert not guesser.is_draft
    assert (guesser.tokens == []) == is_left_alone


def test_as_many_as_pay():
    """Long guesses where they come and cost little, short ones where they cost more, none where they cost all that they bring."""

    def plan(expected: float, seconds: dict[int, float], rows: int = 1) -> int:
        speculation = Speculation()
        for num_tokens in (1, *(count + 1 for count in GUESS_TOKENS)):
            for _ in range(3):
                speculation.note(rows, num_tokens, seconds.get(num_tokens, 99.0))
        guessers = [Guesser(None) for _ in range(rows)]
        for guesser in guessers:
            guesser.look_up([1, 2, 3, 4, 5, 6, 7] * 3, 99)
            guesser.trust._right[6], guesser.trust._tried[6] = 1e6 * expected, 1e6
        guesses = speculation.plan(guessers)
        return 0 if guesses is None else len(guesses[0])

    flat = {1: 1.0, 3: 1.0, 5: 1.0, 9: 1.0, 17: 1.1}
    steep = {1: 1.0, 3: 1.5, 5: 2.4, 9: 5.0, 17: 9.0}
    assert plan(1.0, flat) == plan(1.0, flat, rows=3) == 16
    assert plan(0.9, steep) == 2
    assert plan(0.1, steep) == 0
    assert plan(1.0, {1: 1.0}) == 0
    assert plan(1.0, flat, rows=MOST_ROWS + 1) == 0
