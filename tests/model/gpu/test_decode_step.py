"""A step in sizes that come again gives the logits of the plain one, touches no other text, and records what comes twice."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch

from whelp.base.log import log
from whelp.generate import GenerateConfig, complete
from whelp.model import LanguageModel
from whelp.model.decoding.decoder import Decoder
from whelp.model.gpu.decode_step import LEAST_LENGTH, FixedStep, Work, round_up

CAPACITY = 24


class Recorder:
    """Records by doing the work again; counts how often each piece is recorded and replayed."""

    def __init__(self) -> None:
        self.num_recorded = self.num_replayed = 0

    def __call__(self, work: Work) -> Work:
        self.num_recorded += 1
        result = work()  # as a GPU does: the same token is written twice to the same place

        def replay() -> torch.Tensor:
            self.num_replayed += 1
            result.copy_(work())  # it lies where it lay
            return result

        return replay


def test_sizes_are_powers_of_two() -> None:
    """At least the least, at most the most, never below what is needed, and few of them."""
    for most in (1, 5, 17, 64, 1000):
        for least in (1, 4, most):
            sizes = {size: round_up(size, least=min(least, most), most=most) for size in range(1, most + 1)}
            assert all(size <= found <= most for size, found in sizes.items())
            assert all(found in (most, least) or found.bit_count() == 1 for found in sizes.values())
            assert len(set(sizes.values())) <= most.bit_length() + 1


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
@torch.inference_mode()
def test_it_gives_the_logits_of_the_plain_step(make_model: Callable[..., LanguageModel], family: str) -> None:
    """Slots of their own lengths, more and fewer rows, slots that are being read meanwhile, up to a full one."""
    model = make_model(family, n_kv_head=2) if family == "qwen3" else make_model(family)
    model.eval()
    plain, fixed = (Decoder(model, 6, CAPACITY) for _ in range(2))
    recorder = Recorder()
    fixed._fixed_step = FixedStep(model, fixed.cache, recorder)
    draw = random.Random(0)
    prompts = [[draw.randrange(60) for _ in range(length)] for length in (3, 9, 1, 5, 2)]
    for decoder in (plain, fixed):
        for slot, prompt in enumerate(prompts):
            decoder.read(slot, [prompt])
    for num_rows in [3, 2, 3, 1, 5, 4, 5, 3, 1, 2]:
        ids = [draw.randrange(60) for _ in range(num_rows)]
        expected, found = plain.step(ids), fixed.step(ids)
        assert found.shape == expected.shape
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert fixed.lengths == plain.lengths
        if num_rows == 1:  # the next slot goes on being read: what a rounded-up step wrote there is written over
            more = [draw.randrange(60) for _ in range(4)]
            torch.testing.assert_close(fixed.read(4, [more]), plain.read(4, [more]), rtol=1e-4, atol=1e-5)
    while max(plain.lengths) < CAPACITY:
        ids = [draw.randrange(60) for _ in range(2)]
        torch.testing.assert_close(fixed.step(ids), plain.step(ids), rtol=1e-4, atol=1e-5)
    with pytest.raises(AssertionError, match="25 tokens do not fit a cache of 24"):
        FixedStep(model, fixed.cache, recorder)([1, 2])
    assert recorder.num_recorded == 4  # rows 1, 2, 4 and 6, of one length
    assert recorder.num_replayed > recorder.num_recorded


@torch.inference_mode()
def test_longer_texts_are_recorded_anew(make_model: Callable[..., LanguageModel]) -> None:
    """One length for short texts, then twice as much."""
    model = make_model("qwen3", context_tokens=4 * LEAST_LENGTH)
    decoder, recorder = Decoder(model.eval(), 2, 4 * LEAST_LENGTH), Recorder()
    decoder._fixed_step = FixedStep(model, decoder.cache, recorder)
    assert decoder.is_step_recorded
    for length in (LEAST_LENGTH - 3, 2 * LEAST_LENGTH - 3):
        decoder.lengths[0] = 0
        decoder.read(0, [[1] * length])
        for _ in range(6):
            decoder.step([1])
    assert recorder.num_recorded == 3


def test_a_step_that_cannot_be_recorded_is_done_plainly(
    make_model: Callable[..., LanguageModel], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The text is the same, nothing is counted twice, and a note says so once."""
    model = make_model("gpt2", context_tokens=CAPACITY)

    class Vocabulary:
        size, eos_id = 60, None

        def stream(self) -> Vocabulary:
            return self

        def push(self, token_id: int) -> str:
            return f"{token_id} "

        def finish(self) -> str:
            return ""

    settings = GenerateConfig(max_tokens=12, temperature=0.0)
    expected = complete(model, Vocabulary(), [1, 2, 3], settings, n=2)

    def refuse(work: Work) -> Work:
        work()
        raise RuntimeError("out of memory\nand a long story")

    made = Decoder.__init__

    def make(self: Decoder, *arguments: object) -> None:
        made(self, *arguments)
        self._fixed_step = FixedStep(self.model, self.cache, refuse)

    monkeypatch.setattr(Decoder, "__init__", make)
    monkeypatch.setattr(log, "propagate", True)
    with caplog.at_level("INFO", logger="whelp"):
        found = complete(model, Vocabulary(), [1, 2, 3], settings, n=2)
    assert [one.text for one in found] == [one.text for one in expected]
    assert [record.getMessage() for record in caplog.records] == [
        "the step of decoding is not recorded: RuntimeError: out of memory"
    ]


def test_on_a_cpu_nothing_is_recorded(make_model: Callable[..., LanguageModel]) -> None:
    """The step there is another, and stays as it is."""
    assert Decoder(make_model("qwen3"), 2, 8)._fixed_step is None


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
@torch.inference_mode()
def test_a_recorded_graph_gives_the_same_logits(make_model: Callable[..., LanguageModel], family: str) -> None:
    """On a GPU, against the step without a graph; and the graph is there."""
    model = make_model(family, n_embd=64, context_tokens=64).to("cuda").eval()
    plain, fixed = (Decoder(model, 5, 64) for _ in range(2))
    plain._fixed_step = None
    for decoder in (plain, fixed):
        decoder.read(0, [[1, 2, 3], [4]])
    for step in range(20):
        ids = [step, 2 * step][: 1 + step % 2]
        torch.testing.assert_close(fixed.step(ids), plain.step(ids), rtol=1e-3, atol=1e-4)
    assert fixed._fixed_step is not None
