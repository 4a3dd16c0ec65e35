"""Log-probabilities of continuations: shared, batched and cached reading gives what one plain reading after another gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch

from whelp.evaluate import continuations as module
from whelp.evaluate.continuations import Continuation, Score, iter_windows, score_continuations
from whelp.model import LanguageModel

CONTEXT, NUM_IDS = 24, 60


@torch.no_grad()
def score_slowly(model: LanguageModel, each: Continuation) -> tuple[float, bool]:
    """One token after another, nothing shared."""
    total, is_greedy = 0.0, True
    ids = list(each.context)
    for token in each.ids:
        logprobs = model(torch.tensor([ids[-CONTEXT:]]))[0, -1].log_softmax(-1)
        total += float(logprobs[token])
        is_greedy &= int(logprobs.argmax()) == token
        ids.append(token)
    return total, is_greedy


def make_questions(model: LanguageModel) -> list[Continuation]:
    """Contexts with one to five continuations of many lengths, repeated ones, and one that greedy decoding gives."""
    draw = random.Random(0)
    questions = []
    for _ in range(12):
        context = tuple(draw.randrange(NUM_IDS) for _ in range(draw.randint(1, 14)))
        for _ in range(draw.randint(1, 5)):
            questions.append(
                Continuation(context=context, ids=tuple(draw.randrange(NUM_IDS) for _ in range(draw.randint(1, 8))))
            )
    ids = list(questions[0].context)
    for _ in range(3):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    likeliest = Continuation(context=questions[0].context, ids=tuple(ids[len(questions[0].context) :]))
    return [*questions, questions[3], likeliest]


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
@pytest.mark.parametrize("batch_rows", [1, 3, 32])
@pytest.mark.parametrize("is_shared", [False, True])
def test_scores_are_those_of_reading_each_alone(
    make_model: Callable[..., LanguageModel], monkeypatch: pytest.MonkeyPatch, family: str, batch_rows: int, is_shared: bool
) -> None:
    """Whatever is read side by side; in the order of the questions; every one counted."""
    monkeypatch.setattr(module, "_BATCH_ROWS", batch_rows)
    model = make_model(family, num_ids=NUM_IDS, context_tokens=CONTEXT).eval()
    questions, done = make_questions(model), []
    way: dict[str, Any] = {"make_reader": model.make_decoder} if is_shared else {"read_rows": model}
    scores = score_continuations(
        questions, context_tokens=CONTEXT, vocab_size=model.spec.vocab_size, on_done=done.append, **way
    )
    for question, score in zip(questions, scores, strict=True):
        logprob, is_greedy = score_slowly(model, question)
        assert score == Score(pytest.approx(logprob, abs=1e-3), is_greedy)
    assert scores[-1].is_greedy
    assert sum(done) == len(questions)


def watch_reading(model: LanguageModel) -> tuple[list[int], Callable[[int, int], Any]]:
    """The tokens of each reading, and what makes a reader that notes them."""
    read: list[int] = []

    def make_reader(num_slots: int, capacity: int) -> Any:
        decoder = model.make_decoder(num_slots, capacity)
        original = decoder.read_ends

        def read_ends(first: int, ids: list[list[int]], num_kept: list[int]) -> list[torch.Tensor]:
            read.append(sum(map(len, ids)))
            return original(first, ids, num_kept)

        decoder.read_ends = read_ends  # type: ignore[method-assign]
        return decoder

    return read, make_reader


def test_a_shared_context_is_read_once(make_model: Callable[..., LanguageModel]) -> None:
    """Five answers to one question: its tokens go through the model once, and each answer's last token never."""
    model = make_model("qwen3", num_ids=NUM_IDS, context_tokens=CONTEXT).eval()
    read, make_reader = watch_reading(model)
    questions = [Continuation(context=tuple(range(10)), ids=(number, 1, 2)) for number in range(5)]
    score_continuations(questions, context_tokens=CONTEXT, vocab_size=NUM_IDS, make_reader=make_reader)
    assert read == [10, 5 * 2]


@pytest.mark.parametrize("family", ["gpt2", "qwen3", "rwkv7"])
def test_examples_before_the_questions_are_read_once(make_model: Callable[..., LanguageModel], family: str) -> None:
    """Questions with several answers, with one, of one token, and one that is the beginning of another; the scores stay."""
    model = make_model(family, num_ids=NUM_IDS, context_tokens=90, n_head=2).eval()
    draw = random.Random(1)
    examples = tuple(draw.randrange(NUM_IDS) for _ in range(50))
    contexts = [(*examples, *(draw.randrange(NUM_IDS) for _ in range(length))) for length in (0, 4, 9, 7)]
    questions = [
        Continuation(context=context, ids=ids)
        for context, answers in zip(contexts, ([(1, 2), (3, 4, 5)], [(6, 7, 8)], [(9,), (10, 11)], [(12,)]), strict=True)
        for ids in answers
    ]
    read, make_reader = watch_reading(model)
    numbers = {"context_tokens": 90, "vocab_size": model.spec.vocab_size}
    scores = score_continuations(questions, make_reader=make_reader, **numbers)
    alone = [score_continuations([question], read_rows=model, **numbers)[0] for question in questions]
    for score, expected in zip(scores, alone, strict=True):
        assert score == Score(pytest.approx(expected.logprob, abs=1e-3), expected.is_greedy)
    rests = 1 + (5 + 2) + 10 + 8  # of each context; where there is one answer, with all of it but its last token
    assert read == [49, rests, 1 + 2 + 1]
    read.clear()
    score_continuations([Continuation(context=each[20:], ids=(1,)) for each in contexts], make_reader=make_reader, **numbers)
    assert len(read) == 1, "fewer than 32 tokens are not worth it"


def test_a_long_context_loses_its_beginning() -> None:
    """As much of its end is kept as the model can see; what is predicted is whole, or refused."""
    assert Continuation(context=tuple(range(30)), ids=(1, 2)).fit(5) == Continuation(context=(26, 27, 28, 29), ids=(1, 2))
    assert Continuation(context=(0,), ids=(1, 2, 3)).fit(3).num_read == 3
    with pytest.raises(AssertionError, match="4 tokens after a context do not fit a model of 3"):
        Continuation(context=(0,), ids=(1, 2, 3, 4)).fit(3)


@pytest.mark.parametrize("length", [1, 4, 5, 6, 11, 12])
def test_windows_predict_every_token_once(length: int) -> None:
    """In order, none longer than the context, all but the first as long as it."""
    windows = list(iter_windows(range(100, 100 + length), 7, 5))
    assert [token for window in windows for token in window.ids] == list(range(100, 100 + length))
    assert all(window.num_read <= 5 for window in windows)
    assert all(window.num_read == 5 for window in windows[1:])
    for window in windows:
        assert all(second == first + 1 for first, second in zip(window.context[1:], window.context[2:], strict=False))
