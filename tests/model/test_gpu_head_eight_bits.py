"""The head with products of 8 bits, on the processor by Triton's interpreter, against bf16 and PyTorch's rounding."""

import pytest

pytest.importorskip("triton", reason="kernels for GPUs are written in Triton: pip install triton")

_PROGRAM = """
import numpy as np
import torch
import torch.nn.functional as F
import triton.language as tl
from triton.runtime import interpreter
from whelp.base.log import log
from whelp.model import gpu_cross_entropy, gpu_head_eight_bits
from whelp.model.gpu_cross_entropy import find_normalisers, has_working_eight_bits, linear_cross_entropy, softmax_gradient

# The interpreter cuts numbers of 8 bits off, or carries wrongly; GPUs round to the nearest, as PyTorch does.
convert, eight_bits = interpreter._convert_float, {tl.float8e5: torch.float8_e5m2, tl.float8e4nv: torch.float8_e4m3fn}

def round_well(values, kind, wanted, mode):
    if kind != tl.float32 or wanted not in eight_bits:
        return convert(values, kind, wanted, mode)
    return torch.from_numpy(np.ascontiguousarray(values)).to(eight_bits[wanted]).view(torch.uint8).numpy()

interpreter._convert_float = round_well
gpu_head_eight_bits._ROWS, gpu_head_eight_bits._COLUMNS = 16, 64
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
    torch.testing.assert_close(ours.float() / 2**15, wanted, rtol=0.126, atol=1e-9)
    x = torch.randn(num_rows, 40, generator=draw).bfloat16()
    plain_way, rounded, worth = gpu_head_eight_bits.round_both(x)
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
        # Logits of a number of ids that is no multiple of 16 are those of bf16.
        distance = float((rough - exact).abs() / exact)
        assert distance < 1e-6 if vocabulary % 16 else 1e-4 < distance < 0.02, distance
        for one, other in zip(torch.autograd.grad(rough * 0.3, [hidden, weight]), exact_gradients, strict=True):
            assert one.dtype == other.dtype and one.shape == other.shape
            assert 0.01 < float((one - other).norm() / other.norm()) < (0.06 if vocabulary % 16 else 0.1), "rounded, and not far off"

cpu = torch.device("cpu")
gpu_cross_entropy._try_eight_bits.cache_clear()
gpu_cross_entropy.multiply = lambda *given, **out: gpu_head_eight_bits.multiply(*given, **out).mul_(1.2)
log.disabled = True
assert not has_working_eight_bits(cpu, 64), "what differs is not trusted"
with torch.autocast("cpu", torch.bfloat16):
    stays = linear_cross_entropy(hidden, weight, targets, -100, eight_bits=True)
for one, other in zip(torch.autograd.grad(stays * 0.3, [hidden, weight]), exact_gradients, strict=True):
    torch.testing.assert_close(one, other)
"""


def test_gradients_with_8_bits(run_interpreted):
    """Rounded as PyTorch rounds, close to those of bf16 as the loss is, and not trusted where they are not."""
    assert run_interpreted(_PROGRAM) == ""
