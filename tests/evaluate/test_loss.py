"""Loss over rows against one token at a time."""

import math

import numpy as np
import pytest
import torch

from whelp.artifacts.row_batch import RowBatch
from whelp.evaluate import LossResult, evaluate_loss

LENGTH = 6
IGNORED = -100


class _Rows:
    """Seven rows; the last is half padding, one has a masked piece. What was read is kept."""

    def __init__(self, num_rows: int = 7) -> None:
        tokens = np.random.default_rng(0).integers(0, 60, (num_rows, LENGTH + 1))
        self.ids, self.targets = tokens[:, :-1].copy(), tokens[:, 1:].copy()
        self.targets[2, 1:4] = IGNORED
        self.targets[-1, 2:] = IGNORED
        self.ids[-1, 3:] = 0
        self.places: list[int] = []

    def __len__(self) -> int:
        return len(self.ids)

    def read_in_order(self, first: int, count: int) -> RowBatch:
        places = range(first, min(first + count, len(self)))
        self.places += places
        return RowBatch(self.ids[places], self.targets[places])


TOKEN_BYTES = np.arange(64, dtype=np.int32) % 5  # some ids stand for no text


@torch.no_grad()
def _slow(model: torch.nn.Module, rows: _Rows, num_rows: int) -> tuple[float, int, int]:
    """Nats, targets and bytes, one target at a time, each from a reading of nothing but its past."""
    model.eval()
    nats, num_tokens, num_bytes = 0.0, 0, 0
    for ids, targets in zip(rows.ids[:num_rows], rows.targets[:num_rows], strict=True):
        for place, target in enumerate(targets.tolist()):
            if target != IGNORED:
                logits = model(torch.from_numpy(ids[None, : place + 1]))[0, -1].double()
                nats += float(logits.logsumexp(0) - logits[target])
                num_tokens += 1
                num_bytes += target % 5
    return nats, num_tokens, num_bytes


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
@pytest.mark.parametrize("num_rows", [None, 3, 99])
def test_equals_one_token_at_a_time(make_model, family, num_rows):
    """The sums are those of a slow version, over all rows or the first few."""
    model, rows = make_model(family), _Rows()
    result = evaluate_loss(model, rows, token_bytes=TOKEN_BYTES, num_rows=num_rows)
    count = min(num_rows or 7, 7)
    nats, num_tokens, num_bytes = _slow(model, rows, count)
    assert result.nats == pytest.approx(nats, rel=1e-5)
    assert (result.num_tokens, result.num_bytes, result.num_rows) == (num_tokens, num_bytes, count)
    assert num_rows == 3 or num_tokens == 7 * LENGTH - 3 - 4


@pytest.mark.parametrize("batch_rows", [1, 2, 3, 6, 7, 8])
def test_batches_do_not_matter(make_model, batch_rows):
    """Each row is read once, the last and its padding too, and the result is the same for any batch size."""
    model = make_model("qwen3")
    whole, rows = evaluate_loss(model, _Rows(), token_bytes=TOKEN_BYTES), _Rows()
    result = evaluate_loss(model, rows, token_bytes=TOKEN_BYTES, batch_rows=batch_rows)
    assert rows.places == list(range(7))
    assert result.nats == pytest.approx(whole.nats, rel=1e-6)
    assert (result.num_tokens, result.num_bytes, result.num_rows) == (whole.num_tokens, whole.num_bytes, 7)


def test_documents_are_kept_apart(make_model):
    """With document numbers, two halves of a row are as two rows."""
    model, whole = make_model("qwen3"), _Rows(4)

    class Halves(_Rows):
        def read_in_order(self, first: int, count: int) -> RowBatch:
            ids, targets, _ = super().read_in_order(first, count)
            return RowBatch(ids.reshape(-1, 3), targets.reshape(-1, 3))

    class Packed(_Rows):
        def read_in_order(self, first: int, count: int) -> RowBatch:
            batch = super().read_in_order(first, count)
            return batch._replace(documents=np.tile(np.array([0, 0, 0, 1, 1, 1], np.int32), (len(batch.ids), 1)))

    plain, halves, packed = (evaluate_loss(model, rows, token_bytes=TOKEN_BYTES) for rows in (whole, Halves(4), Packed(4)))
    assert packed.nats == pytest.approx(halves.nats, rel=1e-5)
    assert packed.nats != pytest.approx(plain.nats, rel=1e-3)


def test_padding_is_not_looked_at(make_model):
    """Other ids in the padding change nothing: it comes after every target."""
    model, rows = make_model("gpt2"), _Rows()
    before = evaluate_loss(model, rows, token_bytes=TOKEN_BYTES)
    rows.ids[-1, 3:] = 33
    assert evaluate_loss(model, rows, token_bytes=TOKEN_BYTES).nats == pytest.approx(before.nats, rel=1e-6)


def test_a_model_that_knows_nothing():
    """Equal probabilities for 64 ids of one byte each: ln 64 nats, a perplexity of 64, six bits for each byte."""

    class Uniform:
        def loss(self, ids: torch.Tensor, targets: torch.Tensor, documents: torch.Tensor | None = None) -> torch.Tensor:
            return (targets != IGNORED).sum() * math.log(64)

    result = evaluate_loss(Uniform(), _Rows(), token_bytes=np.ones(64, dtype=np.int32))
    assert result.nats_per_token == pytest.approx(math.log(64))
    assert result.perplexity == pytest.approx(64.0)
    assert result.bits_per_byte == pytest.approx(6.0)


def test_formulas():
    """Nats per token, perplexity and bits per byte from the sums; the record holds them all."""
    result = LossResult(nats=100.0, num_tokens=50, num_bytes=200, num_rows=2)
    assert result.nats_per_token == 2.0
    assert result.perplexity == pytest.approx(math.e**2)
    assert result.bits_per_byte == pytest.approx(100 / math.log(2) / 200)
    assert result.to_dict() == {
        "nats_per_token": 2.0,
        "perplexity": result.perplexity,
        "bits_per_byte": result.bits_per_byte,
        "num_tokens": 50,
        "num_bytes": 200,
        "num_rows": 2,
    }


def test_several_sources():
    """Every token counts the same, whichever source it is of; the record has each part, by name."""
    parts = {
        "long": LossResult(nats=90.0, num_tokens=45, num_bytes=90, num_rows=9),
        "short": LossResult(nats=20.0, num_tokens=5, num_bytes=0, num_rows=1),
    }
    whole = LossResult.join(parts)
    assert (whole.nats_per_token, whole.num_tokens, whole.num_bytes, whole.num_rows) == (2.2, 50, 90, 10)
    record = whole.to_dict()
    assert record["sources"] == {name: part.to_dict() for name, part in parts.items()}
    assert record["sources"]["short"]["bits_per_byte"] is None


def test_extremes():
    """No bytes, no bits per byte; a hopeless loss is a large perplexity, not an overflow."""
    assert LossResult(nats=1.0, num_tokens=1, num_bytes=0, num_rows=1).bits_per_byte is None
    assert math.isfinite(LossResult(nats=1e9, num_tokens=1, num_bytes=1, num_rows=1).perplexity)


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(make_model, training):
    """Dropout is off while evaluating and on again afterwards; no gradient is left behind."""
    model = make_model("gpt2", dropout=0.5).train(training)
    first, again = (evaluate_loss(model, _Rows(), token_bytes=TOKEN_BYTES) for _ in range(2))
    assert first == again
    assert model.training is training
    assert all(parameter.grad is None for parameter in model.parameters())


def test_half_precision(make_model):
    """In bf16 the loss is near the one in fp32."""
    model = make_model("qwen3", scrambled=False)
    exact = evaluate_loss(model, _Rows(), token_bytes=TOKEN_BYTES)
    half = evaluate_loss(model, _Rows(), token_bytes=TOKEN_BYTES, precision=torch.bfloat16)
    assert half.nats == pytest.approx(exact.nats, rel=0.02)


@pytest.mark.parametrize("world", [2, 3, 7, 9])
@pytest.mark.parametrize("batch_rows", [1, 2, 16])
def test_slices_add_up(make_model, world, batch_rows):
    """Every row is in the slice of one process, all compute equally often, and the sums are those of one process."""
    model = make_model("qwen3")
    whole = evaluate_loss(model, _Rows(), token_bytes=TOKEN_BYTES)
    parts: list[list[float]] = []
    computed = []
    original = model.loss
    for rank in range(world):
        rows, calls = _Rows(), []
        model.loss = lambda *arguments, calls=calls: (calls.append(1), original(*arguments))[1]

        def add(values):
            parts.append(list(values))
            return list(values)

        result = evaluate_loss(model, rows, token_bytes=TOKEN_BYTES, batch_rows=batch_rows, rank=rank, world=world, add=add)
        computed.append(len(calls))
        assert result.num_rows == 7
    nats, num_tokens, num_bytes = (sum(values) for values in zip(*parts, strict=True))
    assert nats == pytest.approx(whole.nats, rel=1e-6)
    assert (num_tokens, num_bytes) == (whole.num_tokens, whole.num_bytes)
    assert len(set(computed)) == 1


def test_a_model_trains_on_after_an_error(make_model):
    """Rows that cannot be read leave the model as it was: whoever catches that goes on training with dropout."""

    class Broken(_Rows):
        def read_in_order(self, first: int, count: int) -> RowBatch:
            raise OSError("the disk has gone")

    model = make_model("gpt2").train()
    with pytest.raises(OSError, match="the disk has gone"):
        evaluate_loss(model, Broken(), token_bytes=TOKEN_BYTES)
    assert model.training
