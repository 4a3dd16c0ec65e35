"""The hand-written backward passes against the plain formulas, values and gradients."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from whelp.model.layers import cross_entropy
from whelp.model.layers.cross_entropy import linear_cross_entropy
from whelp.model.layers.rms_norm import rms_norm
from whelp.model.layers.rotary import make_rotation, rotate
from whelp.model.layers.swiglu import swiglu


def _numbers(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype).requires_grad_()


def _assert_same(ours, plain, inputs: tuple[torch.Tensor, ...], **tolerance: float) -> None:
    """Equal values; equal gradients of a weighted sum, contiguous or not."""
    a, b = ours(*inputs), plain(*inputs)
    torch.testing.assert_close(a, b, **tolerance)
    weights = torch.randn(a.shape, generator=torch.Generator().manual_seed(9), dtype=a.dtype)
    strided = torch.randn(a.shape[::-1], generator=torch.Generator().manual_seed(8), dtype=a.dtype).permute(
        *range(a.ndim)[::-1]
    )
    for grad in (weights, strided, torch.ones((), dtype=a.dtype).expand(a.shape)):
        for mine, theirs in zip(
            torch.autograd.grad(a, inputs, grad, retain_graph=True),
            torch.autograd.grad(b, inputs, grad, retain_graph=True),
            strict=True,
        ):
            torch.testing.assert_close(mine, theirs, **tolerance)


def _plain_rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * weight


def _rms_norm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return rms_norm(x, weight, 1e-6)


@pytest.mark.parametrize("weight_shape", [(8,), (3, 8)], ids=["1-d", "2-d"])
def test_rms_norm(weight_shape):
    """RMSNorm: one weight for all, or one for each head."""
    x, weight = _numbers(2, 5, 3, 8), _numbers(*weight_shape, seed=1)
    _assert_same(_rms_norm, _plain_rms_norm, (x, weight))
    assert gradcheck(_rms_norm, (x, weight))
    small, single = _numbers(2, 3, 8, dtype=torch.float32), _numbers(*weight_shape, seed=1, dtype=torch.float32)
    _assert_same(_rms_norm, _plain_rms_norm, (small, single), atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("weight_shape", [(8,), (3, 8)], ids=["1-d", "2-d"])
def test_rms_norm_of_strided_numbers(weight_shape):
    """The input may lie in memory in any order."""
    inputs = _numbers(3, 5, 8), _numbers(*weight_shape, seed=1)
    _assert_same(lambda x, w: _rms_norm(x.transpose(0, 1), w), lambda x, w: _plain_rms_norm(x.transpose(0, 1), w), inputs)


def test_rms_norm_of_zeros_is_zero():
    """Epsilon keeps a row of zeros finite, value and gradient."""
    x = torch.zeros(2, 8, requires_grad=True)
    y = rms_norm(x, torch.ones(8), 1e-6)
    y.sum().backward()
    assert not y.any()
    assert x.grad is not None
    assert x.grad.isfinite().all()


def _rotation(num_tokens: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    cosine, sine = make_rotation(num_tokens, width, 100.0, torch.device("cpu")).double()
    return cosine, sine


def _plain_rotate(x: torch.Tensor) -> torch.Tensor:
    """Turn each pair (k, k + K/2) as a complex number."""
    half = x.shape[-1] // 2
    angles = torch.arange(x.shape[1], dtype=torch.float64).outer(100.0 ** -(torch.arange(half, dtype=torch.float64) / half))
    pairs = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angles), angles).unsqueeze(1)
    return torch.cat((pairs.real, pairs.imag), dim=-1)


def test_rotary():
    """Rotary positions are a product of complex numbers."""
    x, rotation = _numbers(2, 5, 3, 8), _rotation(5, 8)
    _assert_same(lambda x: rotate(x, rotation), _plain_rotate, (x,), atol=1e-6, rtol=1e-6)  # the angles are float32
    assert gradcheck(lambda x: rotate(x, rotation), (x,))
    strided = _numbers(2, 3, 5, 8)
    _assert_same(
        lambda x: rotate(x.transpose(1, 2), rotation),
        lambda x: _plain_rotate(x.transpose(1, 2)),
        (strided,),
        atol=1e-6,
        rtol=1e-6,
    )


def test_rotary_keeps_lengths_and_knows_distances_only():
    """Turning keeps every length, and the product of two turned heads depends on how far apart they are."""
    rotation = _rotation(12, 8)
    x = _numbers(1, 1, 1, 8).detach().expand(1, 12, 1, 8)
    turned = rotate(x, rotation)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    products = (turned[0, :, 0] @ turned[0, :, 0].T).diagonal(3)
    torch.testing.assert_close(products, products[:1].expand(9), atol=1e-6, rtol=1e-6)


def test_swiglu():
    """SwiGLU is silu of the first half times the second."""

    def plain(gate_up: torch.Tensor) -> torch.Tensor:
        gate, up = gate_up.chunk(2, dim=-1)
        return gate * torch.sigmoid(gate) * up

    x = _numbers(2, 3, 10)
    _assert_same(swiglu, plain, (x,))
    assert gradcheck(swiglu, (x,))
    _assert_same(lambda x: swiglu(x.transpose(0, 1)), lambda x: plain(x.transpose(0, 1)), (x,))
    _assert_same(swiglu, plain, (_numbers(2, 3, 10, dtype=torch.float32),), atol=1e-6, rtol=1e-5)


def _targets(num_tokens: int, vocab_size: int, ignored: int, ignored_share: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    targets = torch.randint(0, vocab_size, (num_tokens,), generator=generator)
    return torch.where(torch.rand(num_tokens, generator=generator) < ignored_share, ignored, targets)


@pytest.mark.parametrize(
    ("num_tokens", "ignored_share"),
    [*itertools.product((1, 3, 4, 5, 8, 11), (0.0, 0.4)), (5, 1.0)],
    ids=lambda value: str(value),
)
def test_linear_cross_entropy(monkeypatch, num_tokens, ignored_share):
    """Head and cross-entropy in slices of four tokens: any number of slices, full or not, any ignored targets."""
    vocab_size, ignored = 7, -100
    monkeypatch.setattr(cross_entropy, "_SLICE_NUMBERS", 4 * vocab_size + 2)
    hidden, weight = _numbers(num_tokens, 6), _numbers(vocab_size, 6, seed=1)
    targets = _targets(num_tokens, vocab_size, ignored, ignored_share)
    ours = linear_cross_entropy(hidden, weight, targets, ignored)
    plain = F.cross_entropy(hidden @ weight.T, targets, ignore_index=ignored, reduction="sum")
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), plain, atol=1e-6, rtol=1e-6)
    for mine, theirs in zip(
        torch.autograd.grad(ours * 3.0, (hidden, weight)), torch.autograd.grad(plain * 3.0, (hidden, weight)), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


def test_ignored_targets_give_no_gradient():
    """A hidden state whose target is ignored has a gradient of exactly zero, and does not move the head."""
    hidden, weight = _numbers(4, 6, dtype=torch.float32), _numbers(7, 6, seed=1, dtype=torch.float32)
    linear_cross_entropy(hidden, weight, torch.tensor([3, -1, -1, 0]), -1).backward()
    assert hidden.grad is not None
    assert not hidden.grad[1:3].any()
    assert hidden.grad[0].any()
    assert hidden.grad[3].any()
    alone = _numbers(7, 6, seed=1, dtype=torch.float32)
    linear_cross_entropy(hidden.detach()[[0, 3]], alone, torch.tensor([3, 0]), -1).backward()
    torch.testing.assert_close(weight.grad, alone.grad)


def test_vocabulary_larger_than_a_slice(monkeypatch):
    """A slice has at least one token."""
    monkeypatch.setattr(cross_entropy, "_SLICE_NUMBERS", 3)
    hidden, weight, targets = _numbers(4, 6), _numbers(7, 6, seed=1), torch.tensor([0, 6, -100, 2])
    ours = linear_cross_entropy(hidden, weight, targets, -100)
    torch.testing.assert_close(
        ours.double(), F.cross_entropy(hidden @ weight.T, targets, reduction="sum"), atol=1e-6, rtol=1e-6
    )


@pytest.mark.parametrize("wanted", [0, 1], ids=["hidden", "weight"])
def test_only_the_wanted_gradient(wanted):
    """A frozen head, or frozen hidden states, get no gradient; without any, the value is the same."""
    inputs = [_numbers(5, 6).detach(), _numbers(7, 6, seed=1).detach()]
    targets = torch.tensor([0, 6, -100, 2, 2])
    value = linear_cross_entropy(inputs[0], inputs[1], targets, -100)
    assert not value.requires_grad
    inputs[wanted].requires_grad_()
    ours = linear_cross_entropy(inputs[0], inputs[1], targets, -100)
    assert torch.equal(ours.detach(), value)
    plain = F.cross_entropy(inputs[0] @ inputs[1].T, targets, reduction="sum")
    torch.testing.assert_close(torch.autograd.grad(ours, inputs[wanted]), torch.autograd.grad(plain, inputs[wanted]))


def test_huge_logits_stay_finite():
    """Logits in the thousands neither overflow nor lose the loss."""
    hidden, weight = torch.tensor([[3000.0], [-3000.0]]).requires_grad_(), torch.tensor([[1.0], [-1.0]])
    loss = linear_cross_entropy(hidden, weight, torch.tensor([0, 0]), -100)
    loss.backward()
    assert loss.item() == 6000.0
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[0.0], [-2.0]]


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_loss_is_the_cross_entropy_of_the_logits(make_model, family):
    """A model's loss and its gradients are those of its logits, computed the plain way."""
    model = make_model(family)
    ids = torch.randint(0, 60, (3, 8), generator=torch.Generator().manual_seed(0))
    targets = torch.cat((ids[:, 1:], torch.full((3, 1), -100)), dim=1)
    parameters = list(model.parameters())
    ours = model.loss(ids, targets)
    plain = F.cross_entropy(model(ids).flatten(0, 1), targets.flatten(), reduction="sum")
    torch.testing.assert_close(ours, plain, atol=1e-4, rtol=1e-6)
    for mine, theirs in zip(torch.autograd.grad(ours, parameters), torch.autograd.grad(plain, parameters), strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_half_precision_on_a_cpu(make_model, family):
    """In bf16 the loss is near the one in fp32, and every gradient is finite."""
    model = make_model(family, scrambled=False)
    ids = torch.randint(0, 60, (2, 8), generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.loss(ids, ids)
    loss.backward()
    torch.testing.assert_close(loss, model.loss(ids, ids), rtol=0.02, atol=0.0)
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in model.parameters())


def test_generating_first_does_not_spoil_training(make_model):
    """Angles computed while generating (in inference mode) can be trained with afterwards."""
    model = make_model("qwen3")
    ids = torch.zeros(1, 4, dtype=torch.long)
    with torch.inference_mode():
        model.make_decoder(1, 8).read(0, [[0, 0]])
    model.loss(ids, ids).backward()
    assert model.embed.weight.grad is not None
