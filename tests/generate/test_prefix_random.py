"""Random requests of every kind, with and without a memory of other texts: the same texts."""

from __future__ import annotations

import numpy as np
import pytest

from .prefixes import (
    FORGETFUL,
    KINDS,
    Watched,
    ask_alone,
    draw_ids,
    make_settings,
)


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
