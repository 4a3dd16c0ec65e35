"""Beginnings that were read before: fewer tokens are read, and no text changes."""

from __future__ import annotations

import threading

import numpy as np
import pytest
import torch
import transformers

from whelp.base.errors import PlanError
from whelp.generate import Engine, GenerateConfig, PrefixCache, complete, stream_text
from whelp.generate import batch as batch_module
from whelp.generate import prefix_cache as module
from whelp.generate.batch import Batch
from whelp.generate.prefix_cache import DEFAULT_BYTES, LEAST_SHARED, choose_bytes
from whelp.model.hugging_face import HuggingFaceModel, describe_config
from whelp.model.slot_snapshot import SlotSnapshot

from .helpers import NumberVocabulary
from .test_run_ahead import Recorded
from .test_speculation import STYLES

NUM_IDS, CONTEXT = 60, 400
VOCABULARY = NumberVocabulary(NUM_IDS)
SHORT = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
FORGETFUL = ["gpt2", "qwen3", "llama"]
"""Any beginning can be had of what they remember."""
KINDS = [*FORGETFUL, "rwkv7", "rwkv6", "rwkv5", "mistral"]


@pytest.fixture
def make_kind(make_model):
    """Tiny models: of our families, and of transformers, one of them with a sliding window, whose cache cannot be cut."""

    def make(kind: str):
        if kind == "llama":
            config = transformers.LlamaConfig(**SHORT, num_key_value_heads=2, max_position_embeddings=CONTEXT)
            inner = transformers.LlamaForCausalLM(config)
        elif kind == "mistral":
            config = transformers.MistralConfig(
                **SHORT, num_key_value_heads=2, max_position_embeddings=CONTEXT, sliding_window=6
            )
            inner = transformers.MistralForCausalLM(config)
        else:
            options = {"gpt2": {}, "qwen3": {"n_kv_head": 2}}.get(kind, {"n_head": 2})
            return make_model(kind, context_tokens=CONTEXT, **options)
        generator = torch.Generator().manual_seed(2)
        with torch.no_grad():
            for parameter in inner.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
        return HuggingFaceModel(describe_config(inner.config.to_dict(), CONTEXT), inner)

    return make


def draw_ids(count: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, NUM_IDS, count).tolist()


class Watched(Batch):
    """A batch that counts the tokens of prompts that its model reads, one reading after another."""

    def __init__(self, model, max_bytes: int = DEFAULT_BYTES, *, max_rows: int = 4, **options) -> None:
        super().__init__(model, VOCABULARY, max_rows=max_rows, prefixes=PrefixCache(max_bytes), **options)
        self.read: list[int] = []
        read, score, step = self.decoder.read, self.decoder.score, self.decoder.step

        def count_read(first, ids):
            self.read.append(sum(map(len, ids)))
            return read(first, ids)

        def count_score(slot, ids):
            self.read.append(len(ids))
            return score(slot, ids)

        def take_step(*arguments):
            num_readings = len(self.read)
            logits = step(*arguments)
            del self.read[num_readings:]  # of transformers, a step is a reading
            return logits

        self.decoder.read, self.decoder.score, self.decoder.step = count_read, count_score, take_step

    def finish(self, *generations) -> list[list[int]]:
        """Work until idle; the new ids of each."""
        while self.step():
            pass
        return [[token for piece in generation for token in piece.token_ids] for generation in generations]

    def ask(self, prompt: list[int], n: int = 1, **settings):
        generations = self.submit(prompt, make_settings(**settings), n=n)
        return generations, self.finish(*generations)


def make_settings(**settings) -> GenerateConfig:
    return GenerateConfig(**{"temperature": 0.0, "max_tokens": 8, "prompt_lookup_tokens": 0} | settings)


def ask_alone(model, prompt: list[int], n: int = 1, **settings) -> list[list[int]]:
    """Without any memory of other texts."""
    found = complete(model, VOCABULARY, prompt, make_settings(**settings), n=n)
    return [[int(word) for word in whole.text.split()] for whole in found]


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


def test_a_text_that_does_not_fit_beside_its_beginning(make_kind):
    """What it goes on from is not forgotten to make room for it, but serves again."""
    model, prompt = make_kind("qwen3"), draw_ids(60)
    probe = Watched(model)
    probe.ask(prompt, max_tokens=0)
    batch = Watched(model, int(1.3 * probe.prefixes.num_bytes))
    for length in (0, 100, 20, 100):
        more = [*prompt, *draw_ids(length, 3)]
        assert batch.ask(more, max_tokens=0)[0][0].cached_tokens == (60 if length else 0)
        assert batch.ask(more)[1] == ask_alone(model, more)
        assert all(part in batch.prefixes._kept for kept in batch.prefixes._kept for part in kept.list_parts())
        assert batch.prefixes.num_bytes <= batch.prefixes.max_bytes


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_bounded_and_the_oldest_goes(make_kind, kind):
    """Never more bytes than allowed; what was not used for longest is forgotten, what was used stays."""
    model = make_kind(kind)
    texts = [draw_ids(60, number) for number in range(6)]
    probe = Watched(model)
    probe.ask(texts[0], max_tokens=0)
    one = probe.prefixes.num_bytes
    assert one > 60 * 8
    batch = Watched(model, 3 * one + one // 2)
    for text in texts[:3]:
        batch.ask(text, max_tokens=0)
    assert batch.prefixes.num_bytes == 3 * one

    def is_known(text: list[int]) -> bool:
        return batch.ask([*text, 1], max_tokens=0)[0][0].cached_tokens == 60

    assert is_known(texts[0])
    batch.ask(texts[3], max_tokens=0)
    assert batch.prefixes.num_bytes <= batch.prefixes.max_bytes
    assert not is_known(texts[1])
    small = Watched(model, one - 1)
    small.ask(texts[0], max_tokens=0)
    assert small.prefixes.num_bytes == 0  # it alone does not fit


def test_many_texts_are_bounded(make_kind, monkeypatch):
    """However small they are, not more than so many are kept, so that comparing with them takes no time."""
    monkeypatch.setattr(module, "MOST_TEXTS", 5)
    batch = Watched(make_kind("gpt2"))
    for number in range(9):
        batch.ask(draw_ids(40, number), max_tokens=0)
    assert len(batch.prefixes._kept) == 5


@pytest.mark.parametrize("kind", ["gpt2", "qwen3"])
def test_texts_that_begin_alike_hold_their_beginning_once(make_kind, kind):
    """Eight questions after the same examples, and eight turns of a conversation: each adds the memory of its own tokens."""
    model = make_kind(kind)
    spec = model.spec
    of_token = 2 * spec.n_layer * spec.n_kv_head * spec.head_width * 4
    batch, examples = Watched(model), draw_ids(100)
    for number in range(8):
        batch.ask([*examples, number, *draw_ids(9, number + 1)], max_tokens=0)
    assert batch.prefixes.num_bytes == (110 + 7 * 10) * of_token + 8 * 110 * 8
    batch = Watched(model)
    for turn in range(1, 9):
        batch.ask(draw_ids(40 * turn), max_tokens=0)
    assert batch.prefixes.num_bytes == 320 * of_token + sum(40 * turn * 8 for turn in range(1, 9))


@pytest.mark.parametrize("kind", KINDS)
def test_random_trees_of_prompts_in_little_memory(make_kind, kind):
    """Texts that branch anywhere, some cancelled on their way, with room for a few: always the texts of each alone."""
    model = make_kind(kind)
    draw = np.random.default_rng(4)
    probe = Watched(model)
    probe.ask(draw_ids(100), max_tokens=0)
    num_kept = 8 if kind.startswith("rwkv") else 2.6  # states are alike in size, and few tokens long or many
    batch = Watched(model, int(num_kept * probe.prefixes.num_bytes), max_rows=3)
    texts, asked, num_cached = [draw_ids(70)], [], 0
    for number in range(45):
        base = texts[int(draw.integers(len(texts)))]
        prompt = [*base[: int(draw.integers(1, len(base) + 1))], *draw_ids(int(draw.integers(1, 40)), 100 + number)][-250:]
        texts.append(prompt)
        settings = {"max_tokens": int(draw.integers(0, 12)), "temperature": float(draw.integers(2)), "seed": number}
        generations = batch.submit(prompt, make_settings(**settings), n=1 + number % 2)
        asked.append((prompt, settings, generations))
        for _ in range(int(draw.integers(4))):
            batch.step()
            held = sum(kept.ids.nbytes + kept.snapshot.num_bytes for kept in batch.prefixes._kept)
            assert held == batch.prefixes.num_bytes <= batch.prefixes.max_bytes
        if number % 7 == 6:
            generations[0].cancel()
    batch.finish()
    for prompt, settings, generations in asked:
        expected = ask_alone(model, prompt, n=len(generations), **settings)
        for generation, ids in zip(generations, expected, strict=True):
            found = [token for piece in generation for token in piece.token_ids]
            assert found == ids[: len(found)] if generation.finish_reason == "cancelled" else found == ids
            num_cached += generation.cached_tokens
    assert num_cached > 500


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


def test_other_weights_forget_everything(make_kind):
    """After an exchange, a prompt that was known is read with the new weights."""
    model, other = make_kind("qwen3"), make_kind("qwen3")
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(-0.7)
    prompt = draw_ids(80)
    expected = ["".join(f"{token} " for token in ask_alone(each, prompt)[0]) for each in (model, other)]
    assert expected[0] != expected[1]
    with Engine(model, VOCABULARY) as engine:

        def ask() -> tuple[str, int]:
            (generation,) = engine.submit(prompt, make_settings())
            return "".join(piece.text for piece in generation), generation.cached_tokens

        assert [ask(), ask()] == [(expected[0], 0), (expected[0], 79)]
        engine.exchange_weights(lambda: model.load_state_dict(other.state_dict()))
        assert engine._batch.prefixes.num_bytes == 0
        assert [ask(), ask()] == [(expected[1], 0), (expected[1], 79)]
    assert engine._batch.prefixes.num_bytes == 0  # closed


def test_a_failure_frees_the_memory(make_kind, monkeypatch):
    """When the model breaks, what was kept is let go: memory may be what is missing; the next request is answered."""
    model, prompt = make_kind("gpt2"), draw_ids(60)
    with Engine(model, VOCABULARY) as engine:
        list(engine.submit(prompt, make_settings())[0])

        def fail(*_: object) -> None:
            raise RuntimeError("no memory")

        monkeypatch.setattr(engine._batch.decoder, "step", fail)
        with pytest.raises(RuntimeError, match="no memory"):
            list(engine.submit(prompt, make_settings())[0])
        assert engine._batch.prefixes.num_bytes == 0
        monkeypatch.undo()
        (generation,) = engine.submit(prompt, make_settings())
        assert len(list(generation)) == 8
        assert generation.cached_tokens == 0


def test_no_memory_for_a_copy(make_kind, monkeypatch):
    """A GPU that is full costs the memory of texts, not the text."""
    model = make_kind("gpt2")
    batch = Watched(model)
    batch.ask(draw_ids(60))

    def fail(self: object) -> None:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(SlotSnapshot, "detach", fail)
    prompt = draw_ids(60, 1)
    assert batch.ask(prompt)[1] == ask_alone(model, prompt)
    assert batch.prefixes.num_bytes == 0


@pytest.mark.parametrize("kind", ["qwen3", "rwkv7"])
def test_many_threads_share_a_beginning(make_kind, kind):
    """Users with one system prompt, at once and again: each gets the text that it gets alone."""
    model, system = make_kind(kind), draw_ids(60)
    prompts = [[*system, *draw_ids(3 + number % 20, number + 1)] for number in range(16)]
    alone = [ask_alone(model, prompt, temperature=1.0, seed=number)[0] for number, prompt in enumerate(prompts)]
    found: list[list[list[int]]] = [[] for _ in prompts]
    cached = []
    with Engine(model, VOCABULARY, max_rows=4) as engine:

        def ask(number: int) -> None:
            for _ in range(2):
                (generation,) = engine.submit(prompts[number], make_settings(temperature=1.0, seed=number))
                found[number].append([token for piece in generation for token in piece.token_ids])
                cached.append(generation.cached_tokens)

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(prompts))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [[text, text] for text in alone]
    assert sum(count >= 60 for count in cached) >= 28


def test_a_text_that_is_broken_off_is_kept(make_kind):
    """Of a stream that nobody reads on, prompt and pieces are there for the next one."""
    model, prompt = make_kind("qwen3"), draw_ids(60)
    prefixes = PrefixCache(DEFAULT_BYTES)
    pieces = stream_text(model, VOCABULARY, prompt, make_settings(max_tokens=200), prefixes=prefixes)
    begun = [next(pieces).token_ids[0] for _ in range(5)]
    pieces.close()
    batch = Batch(model, VOCABULARY, max_rows=1, prefixes=prefixes)
    (generation,) = batch.submit([*prompt, *begun, 1, 2], make_settings())
    while batch.step():
        pass
    assert generation.cached_tokens == 64


def test_the_default_memory():
    """As the documentation says."""
    assert choose_bytes() == choose_bytes("cpu") == 512 << 20


def test_less_than_no_memory(make_kind):
    """Is refused before a thread is started."""
    with pytest.raises(PlanError, match="prefix_cache_bytes: is -1, but expected at least 0"):
        Engine(make_kind("gpt2"), VOCABULARY, prefix_cache_bytes=-1)


def test_a_closed_engine_takes_no_prompt(make_kind):
    """Also one whose beginning it knew."""
    engine = Engine(make_kind("gpt2"), VOCABULARY)
    list(engine.submit(draw_ids(60), make_settings())[0])
    engine.close()
    with pytest.raises(PlanError, match="it is closed"):
        engine.submit(draw_ids(60), make_settings())
