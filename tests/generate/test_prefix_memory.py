"""What is remembered of texts takes as many bytes as is said, and is given back."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait

import pytest
import torch

from waiting import SECONDS
from whelp.base.errors import PlanError
from whelp.base.shared_beginning import count_shared
from whelp.generate import Engine, PrefixCache, stream_text
from whelp.generate import prefix_cache as module
from whelp.generate.batch import Batch
from whelp.generate.prefix_cache import DEFAULT_BYTES, choose_bytes
from whelp.model.decoding.slot_snapshot import SlotSnapshot
from whelp.model.hugging_face import _iter_cache

from .prefixes import (
    KINDS,
    VOCABULARY,
    Watched,
    ask_alone,
    draw_ids,
    make_settings,
)


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
        assert all(kept.before in [None, *batch.prefixes._kept] for kept in batch.prefixes._kept)
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


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_that_ends_again_is_the_last_used(make_kind, kind):
    """Also one that was read anew, as those whose tokens are scored are: others are forgotten before it."""
    model = make_kind(kind)
    texts = [draw_ids(60, number) for number in range(4)]
    probe = Watched(model)
    probe.ask(texts[0], max_tokens=0)
    batch = Watched(model, int(3.5 * probe.prefixes.num_bytes))
    for text in texts[:3]:
        batch.ask(text, max_tokens=0)
    assert batch.ask(texts[0], max_tokens=0, prompt_logprobs=0)[0][0].cached_tokens == 0
    assert [kept.ids.tolist() for kept in batch.prefixes._kept] == [texts[1], texts[2], texts[0]]
    batch.ask(texts[3], max_tokens=0)
    assert [kept.ids.tolist() for kept in batch.prefixes._kept] == [texts[2], texts[0], texts[3]]


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


@pytest.mark.parametrize("kind", KINDS)
def test_the_account_is_true(make_kind, kind):
    """Bytes are those that hang on what is kept, and no view holds a slot, or what a window no longer shows."""
    model = make_kind(kind)
    batch = Watched(model, max_rows=2)
    for length in (90, 140, 200):
        batch.ask([*draw_ids(60), *draw_ids(length, length)], n=2, max_tokens=20)
    num_bytes = 0
    for kept in batch.prefixes._kept:
        snapshot = kept.snapshot
        tensors = list(snapshot.tensors.values() if isinstance(snapshot, SlotSnapshot) else _iter_cache(snapshot.cache))
        assert tensors
        num_bytes += kept.ids.nbytes + sum({each.data_ptr(): each.untyped_storage().nbytes() for each in tensors}.values())
    assert num_bytes == batch.prefixes.num_bytes
    if kind == "mistral":  # of five tokens, however long the text
        sizes = {kept.snapshot.num_bytes for kept in batch.prefixes._kept}
        assert len(sizes) == 1
        assert max(sizes) < 6 * 2 * 2 * 2 * 8 * 4


def test_a_text_that_cannot_fit_drives_nothing_out(make_kind):
    """One that is larger than all memory is not kept, and the others stay."""
    batch, known = Watched(make_kind("gpt2")), draw_ids(60)
    batch.ask(known, max_tokens=0)
    batch.prefixes.max_bytes = 2 * batch.prefixes.num_bytes
    batch.ask(draw_ids(200, 1), max_tokens=0)
    assert batch.ask([*known, 1], max_tokens=0)[0][0].cached_tokens == 60


def test_texts_hold_nothing_that_they_do_not_need(make_kind):
    """Many users of one system prompt: each text hangs on the first one alone, so all the others can be forgotten."""
    batch, system = Watched(make_kind("qwen3")), draw_ids(60)
    for number in range(12):
        batch.ask([*system, number, *draw_ids(40, number + 1)], max_tokens=0)
    (first,) = [kept for kept in batch.prefixes._kept if kept.before is None]
    assert {kept.before for kept in batch.prefixes._kept} == {None, first}


def test_what_begins_otherwise_is_not_compared(make_kind, monkeypatch):
    """A full memory of other texts costs a prompt nothing."""
    batch = Watched(make_kind("gpt2"))
    for number in range(9):
        batch.ask(draw_ids(40, number), max_tokens=0)
    sizes = []

    def count(one, other):
        sizes.append(len(one))
        return count_shared(one, other)

    monkeypatch.setattr(module, "count_shared", count)
    batch.ask(draw_ids(40, 9), max_tokens=0)
    assert sizes == []
    batch.ask([*draw_ids(40, 3), 1], max_tokens=0)
    assert sizes == [40, 40]  # when it comes, and when it is kept


@pytest.mark.parametrize("kind", ["gpt2", "rwkv7", "llama"])
def test_a_memory_that_cannot_be_put_back(make_kind, monkeypatch, kind):
    """Whoever asked hears of it, those that wait too; the next request is answered."""
    model, prompt = make_kind(kind), draw_ids(60)
    with Engine(model, VOCABULARY, max_rows=2) as engine:
        list(engine.submit(prompt, make_settings())[0])

        def fail(*_: object) -> None:
            raise RuntimeError("no memory")

        monkeypatch.setattr(engine._batch.decoder, "restore", fail)
        generations = engine.submit([*prompt, 1], make_settings(), n=3)
        with ThreadPoolExecutor(3) as readers:
            told = [readers.submit(list, generation) for generation in generations]
            wait(told, timeout=SECONDS)
            for generation in generations:
                generation.fail(TimeoutError("nobody told"))  # only read where nothing else came
            for future in told:
                with pytest.raises(RuntimeError, match="no memory"):
                    future.result()
        monkeypatch.undo()
        (generation,) = engine.submit([*prompt, 1], make_settings())
        assert [[token for piece in generation for token in piece.token_ids]] == ask_alone(model, [*prompt, 1])


def test_nobody_waits_for_a_copy(make_kind, monkeypatch):
    """While a long beginning is put into a slot, others submit and cancel."""
    prompt = draw_ids(60)
    has_submitted, seen = threading.Event(), []
    with Engine(make_kind("gpt2"), VOCABULARY) as engine:
        list(engine.submit(prompt, make_settings())[0])
        is_copying, restore = threading.Event(), engine._batch.decoder.restore

        def restore_late(*arguments):
            is_copying.set()
            seen.append(has_submitted.wait(SECONDS))
            return restore(*arguments)

        monkeypatch.setattr(engine._batch.decoder, "restore", restore_late)
        (first,) = engine.submit([*prompt, 1], make_settings())
        assert is_copying.wait(SECONDS)
        (other,) = engine.submit([1], make_settings())
        assert engine.num_waiting == 2
        first.cancel()
        has_submitted.set()
        assert len(list(other)) == 8
        list(first)
    assert seen == [True]
    assert first.finish_reason == "cancelled"
