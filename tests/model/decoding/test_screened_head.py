"""Logits that matter, found by a copy of the head in 8 bits: bounds hold, and what is chosen is what the whole head gives."""

import pytest
import torch

from whelp.model.cpu.eight_bits import can_multiply_bytes
from whelp.model.cpu.few_rows import Product
from whelp.model.decoding import screened_head
from whelp.model.decoding.screened_head import MOST_CANDIDATES, ScreenedHead

pytestmark = pytest.mark.skipif(
    not can_multiply_bytes(), reason="this processor has no instructions for products of 8 bits: run it on one with VNNI"
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(screened_head, "LEAST_ASKED", 1)


def _make_head(weight):
    return ScreenedHead(weight, Product(weight))


@pytest.mark.parametrize("shape", [(501, 64), (300, 130), (40, 3000)])
@pytest.mark.parametrize("num_rows", [1, 2, 7])
@torch.inference_mode()
def test_bounds_hold(shape, num_rows):
    """Of every logit, computed in float64, and also with weights and states of very different sizes; they are not wide."""
    weight = torch.randn(shape) * torch.logspace(-2, 2, shape[0]).unsqueeze(1)
    weight[:, 5] *= 50.0
    weight[7] = 0.0
    x = torch.randn(num_rows, shape[1])
    x[:, 3] = 40.0
    x[-1] *= 1e-3
    lowest, highest = _make_head(weight).bound(x)
    logits = x.double() @ weight.double().t()
    assert (lowest <= logits).all()
    assert (logits <= highest).all()
    lengths = x.norm(dim=1, keepdim=True) * weight.norm(dim=1)
    assert (highest - lowest <= 0.3 * lengths + 1e-6).all()


def _may_be_highest_of_400(lowest, highest):
    return highest[:, :400] >= lowest[:, :400].amax(dim=1, keepdim=True)


@torch.inference_mode()
def test_what_matters_is_exact():
    """What the screen names has the head's logits, and nothing else has any."""
    weight, x = torch.randn(501, 64), torch.randn(3, 64)
    logits = _make_head(weight)(x, _may_be_highest_of_400)
    expected = x @ weight.t()
    kept = logits.isfinite()
    assert kept.sum() < 200
    torch.testing.assert_close(logits[kept], expected[kept])
    assert torch.equal(logits.argmax(dim=1), expected[:, :400].argmax(dim=1))


@torch.inference_mode()
def test_the_whole_head_where_nothing_is_saved(monkeypatch):
    """Without a screen, when too much matters, before enough was asked for, and after it was mostly in vain."""
    weight, x = torch.randn(2 * MOST_CANDIDATES, 64), torch.randn(1, 64)
    head, calls = _make_head(weight), []

    def keep(count):
        def screen(lowest, highest):
            calls.append(count)
            return torch.arange(lowest.shape[1]).unsqueeze(0) < count

        return screen

    expected = head(x)
    assert torch.equal(head(x, keep(len(weight))), expected)
    assert head(x, keep(9)).isfinite().sum() == 9
    for _ in range(20):
        assert torch.equal(head(x, keep(len(weight))), expected)
    assert len(calls) < 12
    monkeypatch.setattr(screened_head, "LEAST_ASKED", 3)
    head = _make_head(weight)
    assert [int(head(x, keep(9)).isfinite().sum()) for _ in range(4)] == [len(weight)] * 2 + [9] * 2
