"""Random requests of every kind, with and without a memory of other texts: the same texts."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

from whelp.base.shared_beginning import LEAST_SHARED
from whelp.generate import Completion, GenerateConfig, Generation, PrefixCache, complete
from whelp.generate import batch as batch_module
from whelp.generate import prefix_cache as module
from whelp.generate.batch import Batch
from whelp.generate.prefix_cache import DEFAULT_BYTES

from .helpers import NumberVocabulary
from .prefixes import (
    FORGETFUL,
    KINDS,
    NUM_IDS,
    Watched,
    ask_alone,
    draw_ids,
    make_settings,
)
from .test_run_ahead import Recorded
from .test_speculation import STYLES

SHORT_CONTEXT = 120
SEEDS = range(1)


@pytest.mark.parametrize("kind", KINDS)
def test_random_trees_of_prompts_in_little_memory(make_kind, kind):
    """Texts that branch anywhere, some cancelled on their way, with room for a few: always the texts of each alone."""
    model = make_kind(kind)
    draw = np.random.default_rng(4)
    probe = Watched(model)
    probe.ask(draw_ids(100), max_tokens=0)
    num_kept = 2.6 if kind in FORGETFUL else 8  # states are alike in size, and few tokens long or many
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


def _draw_prompt(draw: np.random.Generator, texts: list[list[int]], when_full: str) -> list[int]:
    """A beginning of another text, often one just as long as counts, or all of it; and something of its own, or nothing."""
    base = texts[int(draw.integers(len(texts)))]
    sizes = [
        LEAST_SHARED - 1,
        LEAST_SHARED,
        LEAST_SHARED + 1,
        LEAST_SHARED + 2,
        len(base) - 1,
        len(base),
        *draw.integers(1, 90, 4),
    ]
    own = draw_ids(int(draw.choice([0, 1, 2, 31, 32, 33, *draw.integers(1, 60, 3), 150])), int(draw.integers(4)))
    prompt = [*base[: max(int(draw.choice(sizes)), 1)], *own]
    return prompt if when_full == "slide" else prompt[: SHORT_CONTEXT - 1]


def _draw_style(draw: np.random.Generator) -> dict[str, object]:
    style = STYLES[int(draw.integers(len(STYLES)))]
    drawn = {"max_tokens": int(draw.choice([0, 1, 2, 12, 40])), "seed": int(draw.integers(100))}
    return {"when_full": "end", **style, **drawn}


def _check_same(generation: Generation, whole: Completion) -> None:
    """The text, its end and its numbers are those of the request alone; of one that was cancelled, as far as it came."""
    pieces = list(generation)
    text = "".join(piece.text for piece in pieces)
    if generation.finish_reason == "cancelled":
        assert whole.text.startswith(text)
        return
    assert (text, generation.finish_reason) == (whole.text, whole.reason)
    entries = [entry for piece in pieces for entry in piece.logprobs or []]
    for found, expected in ((entries, whole.logprobs), (generation.prompt_logprobs, whole.prompt_logprobs)):
        assert [entry.id for entry in found or []] == [entry.id for entry in expected or []]
        for one, other in zip(found or [], expected or [], strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-3)


@pytest.mark.parametrize(("kind", "way"), [*product(KINDS, ["plain"]), *product(["gpt2", "qwen3"], ["early", "large"])])
@pytest.mark.parametrize("seed", SEEDS)
def test_random_requests(make_kind, monkeypatch, request, kind, way, seed):
    """Every setting, prompts around each border, windows that slide, samples, scores, guesses and drafts, early steps, small chunks,
    little memory, requests that are given up, and other weights in between: the texts of each request alone.
    """
    if way == "early":
        Recorded(monkeypatch)
    elif way == "large":
        request.getfixturevalue("seem_large")
    draw = np.random.default_rng([seed, KINDS.index(kind)])
    monkeypatch.setattr(batch_module, "CHUNK_TOKENS", int(draw.choice([7, 40, 512])))
    monkeypatch.setattr(module, "MOST_TEXTS", int(draw.choice([3, 12, 256])))
    model, vocabulary = make_kind(kind, SHORT_CONTEXT), NumberVocabulary(NUM_IDS, eos_id=9)
    max_bytes = int(draw.choice([0, 60_000, 200_000, DEFAULT_BYTES]))
    batch = Batch(model, vocabulary, max_rows=int(draw.integers(1, 5)), prefixes=PrefixCache(max_bytes))
    for _ in range(3):
        texts, asked = [draw_ids(90)], []
        for _ in range(12):
            style = _draw_style(draw)
            prompt, n = _draw_prompt(draw, texts, str(style["when_full"])), int(draw.integers(1, 4))
            guesses = [{"prompt_lookup_tokens": 0, "draft_tokens": 0}, {}, {"prompt_lookup_tokens": 3}, {"draft_tokens": 3}]
            generations = batch.submit(prompt, GenerateConfig(**style, **guesses[int(draw.integers(4))]), n=n)
            for _ in range(int(draw.choice([0, 0, 1, 3, 30]))):
                batch.step()
                assert batch.prefixes.num_bytes <= max_bytes
            if draw.random() < 0.2:
                draw.choice(np.array(generations, object)).cancel()
            quiet = GenerateConfig(**style, prompt_lookup_tokens=0, draft_tokens=0)
            expected = complete(model, vocabulary, prompt, quiet, n=n)
            texts.append([*prompt, *(int(word) for word in expected[0].text.split())])
            asked.append((generations, expected))
        while batch.step():
            pass
        for generations, expected in asked:
            for generation, whole in zip(generations, expected, strict=True):
                _check_same(generation, whole)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(0.9)
        batch.renew()
        assert batch.prefixes.num_bytes == 0
