"""The engine: any thread may submit at any time; a text does not depend on its neighbours; slots come free."""

import threading

import pytest
import torch

from waiting import wait_until
from whelp.base.errors import PlanError
from whelp.generate import Completion, Engine, GenerateConfig, complete

from .helpers import NumberVocabulary

VOCABULARY = NumberVocabulary(60)


def _text(generation) -> str:
    return "".join(piece.text for piece in generation)


def _endless(**options) -> GenerateConfig:
    return GenerateConfig(max_tokens=10**9, when_full="slide", **options)


@pytest.fixture
def model(make_model):
    return make_model("qwen3")


def test_many_threads(model):
    """Requests from many threads at once, more than there are slots: each gets the text it gets alone."""
    requests = [
        ([number % 60, 3, 4], GenerateConfig(max_tokens=5 + number % 15, temperature=1.0, seed=number)) for number in range(24)
    ]
    alone = [complete(model, VOCABULARY, prompt, config)[0].text for prompt, config in requests]
    found = [""] * len(requests)
    with Engine(model, VOCABULARY, max_rows=4) as engine:

        def ask(index: int) -> None:
            prompt, config = requests[index]
            found[index] = _text(engine.submit(prompt, config)[0])

        threads = [threading.Thread(target=ask, args=(index,)) for index in range(len(requests))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (engine.num_running, engine.num_waiting) == (0, 0)
    assert found == alone


def test_pieces_come_while_it_runs(model):
    """A piece can be read before the text has ended, and a text knows why it ended only then."""
    with Engine(model, VOCABULARY) as engine:
        (generation,) = engine.submit([1, 2, 3], _endless())
        pieces = iter(generation)
        assert next(pieces).text
        assert generation.finish_reason is None
        assert generation.prompt_tokens == 3
        generation.cancel()
        list(pieces)
        assert generation.finish_reason == "cancelled"


def test_cancelling_frees_the_slot(model):
    """With one slot: what waits behind an endless text runs as soon as that is cancelled; what waits can be cancelled too."""
    with Engine(model, VOCABULARY, max_rows=1) as engine:
        (endless,) = engine.submit([1], _endless())
        next(iter(endless))
        (waiting,) = engine.submit([2], GenerateConfig(max_tokens=3, temperature=0.0))
        (given_up,) = engine.submit([2], _endless())
        assert (engine.num_running, engine.num_waiting) == (1, 2)
        given_up.cancel()
        assert _text(given_up) == ""
        endless.cancel()
        assert _text(waiting) == complete(model, VOCABULARY, [2], GenerateConfig(max_tokens=3, temperature=0.0))[0].text
        wait_until(lambda: engine.num_running == 0)
        assert [generation.finish_reason for generation in (endless, waiting, given_up)] == ["cancelled", "length", "cancelled"]


def test_samples_of_one_prompt_in_few_slots(model):
    """More samples than slots: those that come later share the prompt too, and get the text they get alone."""
    config = GenerateConfig(max_tokens=9, temperature=1.2, seed=5)
    alone = [whole.text for whole in complete(model, VOCABULARY, [4, 5, 6], config, n=7)]
    with Engine(model, VOCABULARY, max_rows=2) as engine:
        generations = engine.submit([4, 5, 6], config, n=7)
        assert [_text(generation) for generation in generations] == alone
    assert len(set(alone)) > 1


def test_closing(model):
    """Closing waits for what runs, or cancels it; afterwards nothing is taken."""
    engine = Engine(model, VOCABULARY)
    (generation,) = engine.submit([1], GenerateConfig(max_tokens=10))
    engine.close()
    assert len(list(generation)) == 10
    with pytest.raises(PlanError, match=r"the engine: it is closed\. Open another"):
        engine.submit([1], GenerateConfig())
    engine = Engine(model, VOCABULARY, max_rows=1)
    generations = [engine.submit([1], _endless())[0] for _ in range(3)]
    engine.close(drain=False)
    assert {generation.finish_reason for generation in generations} == {"cancelled"}


def test_leaving_by_an_error_cancels(model):
    """An exception inside the `with` does not wait for endless texts."""
    engine = Engine(model, VOCABULARY)
    (generation,) = engine.submit([1], _endless())
    engine.__exit__(KeyError, KeyError(), None)
    assert generation.finish_reason == "cancelled"


def test_a_bad_request_harms_nobody(model):
    """A prompt that is too long is an error for who asked."""
    with Engine(model, VOCABULARY, max_context_tokens=8) as engine:
        assert engine.max_context_tokens == 8
        with pytest.raises(PlanError, match="it has 9 tokens, but expected at most 8"):
            engine.submit([1] * 9, GenerateConfig())
        assert len(list(engine.submit([1] * 6, GenerateConfig())[0])) == 3
    with pytest.raises(PlanError, match="max_rows: is 0"):
        Engine(model, VOCABULARY, max_rows=0)


def test_a_broken_model_is_heard_of(model, monkeypatch):
    """Whoever waits for a text gets the error; the engine goes on with the next request."""
    with Engine(model, VOCABULARY) as engine:
        decoder = engine._batch.decoder

        def fail(ids: list[int], screen: object) -> None:
            raise RuntimeError("no memory")

        monkeypatch.setattr(decoder, "step", fail)
        generations = engine.submit([1], GenerateConfig(max_tokens=5), n=2)
        for generation in generations:
            with pytest.raises(RuntimeError, match="no memory"):
                list(generation)
        monkeypatch.undo()
        assert len(list(engine.submit([1], GenerateConfig(max_tokens=5))[0])) == 5


def test_memory_decides_about_the_context(model, monkeypatch):
    """The default context is the model's, halved until its memory is at most the budget."""
    with Engine(model, VOCABULARY) as engine:
        assert engine.max_context_tokens == model.context_tokens == 24
    monkeypatch.setattr(model, "cache_bytes", lambda num_slots, capacity: capacity * (1 << 29))
    with Engine(model, VOCABULARY) as engine:
        assert engine.max_context_tokens == 6


def test_weights_are_exchanged_between_requests(make_model, monkeypatch):
    """A text under way ends with the weights it began with; one that waits takes the new ones; nobody is dropped."""
    old, new = (make_model("qwen3", context_tokens=400) for _ in range(2))
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.mul_(-0.7)
    model = make_model("qwen3", context_tokens=400)
    settings = GenerateConfig(max_tokens=200, temperature=0.0)
    expected = [complete(each, VOCABULARY, [1, 2, 3], settings)[0].text for each in (old, new)]
    assert expected[0] != expected[1]
    with Engine(model, VOCABULARY, max_rows=1) as engine:
        work, steps = engine._batch.work, []

        def work_when_asked() -> None:
            """The first text has begun, and is not done before the weights are asked for."""
            steps.append(1)
            if len(steps) == 5:
                wait_until(lambda: engine._exchange)
            work()

        monkeypatch.setattr(engine._batch, "work", work_when_asked)
        first, second = engine.submit([1, 2, 3], settings)[0], engine.submit([1, 2, 3], settings)[0]
        pieces = iter(first)
        begun = next(pieces).text
        engine.exchange_weights(lambda: model.load_state_dict(new.state_dict()), patience_seconds=0.0)
        assert first.finish_reason == "length"  # it has ended before
        assert begun + "".join(piece.text for piece in pieces) == expected[0]
        assert "".join(piece.text for piece in second) == expected[1]
        assert "".join(piece.text for piece in engine.submit([1, 2, 3], settings)[0]) == expected[1]


def test_an_exchange_that_fails_leaves_the_engine_at_work(make_model):
    """Its error is raised to whoever asked; texts go on; a closed engine refuses."""

    def fail() -> None:
        raise ValueError("no such weights")

    with Engine(make_model("gpt2"), VOCABULARY) as engine:
        with pytest.raises(ValueError, match="no such weights"):
            engine.exchange_weights(fail)
        assert Completion.collect(engine.submit([1], GenerateConfig(max_tokens=3))[0]).num_tokens == 3
    with pytest.raises(PlanError, match="it is closed"):
        engine.exchange_weights(fail)
