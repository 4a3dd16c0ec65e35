"""The head with products of 8 bits, on the processor by Triton's interpreter, against bf16 and PyTorch's rounding."""

import pytest

pytest.importorskip("triton", reason="kernels for GPUs are written in Triton: pip install triton")

_PROGRAM = """
import torch
import torch.nn.functional as F
from tests.model.gpu.rounding import round_well
from whelp.base.log import log
from whelp.model.gpu import cross_entropy as gpu_cross_entropy
from whelp.model.gpu import eight_bits as gpu_eight_bits
from whelp.model.gpu import head_eight_bits as gpu_head_eight_bits
from whelp.model.gpu.cross_entropy import find_normalisers, has_working_eight_bits, linear_cross_entropy, softmax_gradient

round_well()
for module in (gpu_head_eight_bits, gpu_eight_bits):
    module._ROWS, module._COLUMNS = 16, 64
draw = torch.Generator().manual_seed(0)
for num_rows, vocabulary in ((17, 75), (16, 64)):  # filled up to multiples of 16, and not
    logits = (torch.randn(num_rows, vocabulary, generator=draw) * 3).bfloat16()
    targets = torch.arange(num_rows) % vocabulary
    targets[3] = -100
    losses, normalisers = find_normalisers(logits, targets, -100)
    torch.testing.assert_close(losses, softmax_gradient(logits.clone(), targets, -100, needs_gradient=True), rtol=0, atol=0)
    ours, flipped = gpu_head_eight_bits.write_gradient(logits, targets, normalisers)
    plain = torch.softmax(logits.float(), 1) - F.one_hot(targets.clamp(min=0), vocabulary)
    plain[3] = 0
    wanted = torch.zeros(-(-num_rows // 16) * 16, -(-vocabulary // 16) * 16)
    wanted[:num_rows, :vocabulary] = plain
    assert torch.equal(flipped.float(), ours.float().T)
    torch.testing.assert_close(ours.float() / 2**15, wanted, rtol=0.251, atol=1e-9)
    even = torch.full((64, 80), 1.5).bfloat16()  # 1/80 of all ids: the nearest number in e5m2 is 6 % off, for each
    first = torch.zeros(64, dtype=torch.long)
    normalisers = find_normalisers(even, first, -100)[1]
    rounded = gpu_head_eight_bits.write_gradient(even, first, normalisers)[0].float() / 2**15
    assert len(set(rounded[:, 1:].flatten().tolist())) == 2, "up or down"
    for mean in (rounded[:, 1:].mean(), *rounded[:, 1:].mean(0), *rounded[:, 1:].mean(1)):
        assert abs(float(mean) * 80 - 1) < 0.01, "right on average, for a token and for an id"
    assert abs(float(rounded[:, 0].mean()) * 80 / 79 + 1) < 0.005, "and for targets"
    x = torch.randn(num_rows, 40, generator=draw).bfloat16()
    worth = gpu_eight_bits.measure_worth(x)
    plain_way, rounded = gpu_eight_bits.round_both(x, worth)
    assert torch.equal(gpu_eight_bits.round_flipped(x, worth).float(), rounded.float())
    assert torch.equal(plain_way.float(), rounded.float().T[:num_rows])
    assert rounded.shape == (40, len(wanted)) and float(rounded.float().abs().max()) == 448
    torch.testing.assert_close(rounded.float().T[:num_rows] * worth, x.float(), rtol=0.063, atol=1e-3)
    assert not rounded.float()[:, num_rows:].any()
    hidden, weight = torch.randn(num_rows, 32, generator=draw), torch.randn(vocabulary, 32, generator=draw) / 4
    hidden, weight = hidden.bfloat16().requires_grad_(), weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        exact = linear_cross_entropy(hidden, weight, targets, -100)
    exact_gradients = torch.autograd.grad(exact * 0.3, [hidden, weight])
    for gpu_cross_entropy._EIGHT_BIT_SLICE_BYTES in (1 << 30, 9 * vocabulary * 2):  # one slice, and two where there are more than 16 rows
        with torch.autocast("cpu", torch.bfloat16):
            rough = linear_cross_entropy(hidden, weight, targets, -100, eight_bits=True)
        torch.testing.assert_close(rough, exact, rtol=1e-6, atol=0)  # logits are those of bf16
        for one, other in zip(torch.autograd.grad(rough * 0.3, [hidden, weight]), exact_gradients, strict=True):
            assert one.dtype == other.dtype and one.shape == other.shape
            assert 0.01 < float((one - other).norm() / other.norm()) < 0.06, "rounded, and not far off"

cpu = torch.device("cpu")
gpu_cross_entropy._try_eight_bits.cache_clear()
gpu_cross_entropy.multiply = lambda *given, **out: gpu_eight_bits.multiply(*given, **out).mul_(1.2)
log.disabled = True
assert not has_working_eight_bits(cpu), "what differs is not trusted"
with torch.autocast("cpu", torch.bfloat16):
    stays = linear_cross_entropy(hidden, weight, targets, -100, eight_bits=True)
for one, other in zip(torch.autograd.grad(stays * 0.3, [hidden, weight]), exact_gradients, strict=True):
    torch.testing.assert_close(one, other)
"""


def test_gradients_with_8_bits(run_interpreted):
    """Rounded as PyTorch rounds, close to those of bf16 as the loss is, and not trusted where they are not."""
    assert run_interpreted(_PROGRAM) == ""
