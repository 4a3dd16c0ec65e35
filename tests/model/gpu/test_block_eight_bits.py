"""The backward pass of GPT-2's block with factors of 8 bits, on the processor by Triton's interpreter, beside that of bf16."""

import pytest

pytest.importorskip("triton", reason="kernels for GPUs are written in Triton: pip install triton")

_PROGRAM = """
import torch
from tests.model.gpu.rounding import round_well
from tests.model.gpu.test_feed_forward import Product
from whelp.base.log import log
from whelp.model import ModelConfig, make_spec
from whelp.model.gpt2 import _Block
from whelp.model.gpu import block as gpu_block
from whelp.model.gpu import block_eight_bits as gpu_block_eight_bits
from whelp.model.gpu import eight_bits as gpu_eight_bits
from whelp.model.gpu import product as gpu_product
from whelp.model.layers.document_boundaries import make_spans

round_well()
gpu_product._product = Product
gpu_eight_bits._ROWS, gpu_eight_bits._COLUMNS = 16, 64
gpu_block_eight_bits._TOKENS, gpu_block_eight_bits._FEATURES = 16, 64
attend = gpu_block.attend_within  # in float32, since the interpreter multiplies bf16 as whole numbers
gpu_block.attend_within = lambda joined, heads, spans: attend(joined.float(), heads, spans).to(joined.dtype)

def make_block(bias):
    spec = make_spec(ModelConfig(family="gpt2", n_layer=1, n_head=2, n_embd=32, bias=bias), num_ids=8, context_tokens=128)
    return _Block(spec, 0)

cpu = torch.device("cpu")
assert gpu_block.agrees(make_block(True), cpu, eight_bits=True) and gpu_block.agrees(make_block(False), cpu, eight_bits=True)

draw = torch.Generator().manual_seed(1)
block = make_block(True)
with torch.no_grad():
    for parameter in block.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=draw) * (0.18 if parameter.ndim == 2 else 0.5))
x, grad = torch.randn(2, 2, 128, 32, generator=draw).bfloat16()
documents = (torch.arange(128) > 40).long().expand(2, -1)
starts = torch.where(documents > 0, 41, 0)
for scale in (1.0, 1e-6, 1e6):  # whatever the gradient's size is
    found = []
    for eight_bits in (False, True):
        given = x.clone().requires_grad_()
        out = gpu_block.run_block(block, given, make_spans(starts), eight_bits=eight_bits)
        found.append([out.detach(), *torch.autograd.grad(out, [given, *block.parameters()], grad * scale)])
    assert torch.equal(found[0][0], found[1][0]), "the forward pass is the same"
    for plain, rough in zip(found[0][1:], found[1][1:], strict=True):
        assert plain.dtype == rough.dtype and plain.shape == rough.shape
        assert float((rough.float() - plain.float()).norm() / plain.float().norm()) < 0.1
    roughly = [float((rough.float() - plain.float()).norm() / plain.float().norm()) for plain, rough in zip(*found, strict=True)]
    assert max(roughly) > 0.01, "it is rounded"

broken = grad.clone()
broken[1, 7, 3] = float("nan")
out = gpu_block.run_block(block, x, make_spans(starts), eight_bits=True)
assert all(part.isnan().any() for part in torch.autograd.grad(out, [block.expand.weight, block.query_key_value.weight], broken))

# A gradient that is zero everywhere stays so.
out = gpu_block.run_block(block, x, make_spans(starts), eight_bits=True)
assert not any(part.any() for part in torch.autograd.grad(out, list(block.parameters()), grad * 0))

# Kernels that are wrong for some sizes are found out, and done without.
def differentiate():
    out = gpu_block.run_block(block, x, make_spans(starts), eight_bits=True)
    return torch.autograd.grad(out, list(block.parameters()), grad)

wanted = differentiate()
complaints = []
log.warning = lambda text, *values: complaints.append(text % values)
take_slope, launch = gpu_block_eight_bits._take_slope_by_kernel, gpu_eight_bits._round

def spoil(*given, **options):
    inner = take_slope(*given, **options)
    inner.flipped[:, 17] = 3.0
    return inner

class Spoiled:
    def __getitem__(self, grid):
        def run(*given, **options):
            launch[grid](*given, **options)
            given[3][:, 5] = 2.0  # what is transposed
        return run

gpu_block_eight_bits._take_slope_by_kernel, gpu_eight_bits._round = spoil, Spoiled()
gpu_eight_bits._are_right.clear()
for one, other in zip(differentiate(), wanted, strict=True):
    torch.testing.assert_close(one, other, rtol=0.05, atol=0.03 * float(other.abs().max()))
assert len(complaints) > 2 and complaints[0].startswith("rounding of sizes") and any("slope" in text for text in complaints), complaints
assert all("done by PyTorch" in text for text in complaints)
gpu_block_eight_bits._take_slope_by_kernel, gpu_eight_bits._round = take_slope, launch
gpu_eight_bits._are_right.clear()

own = gpu_block_eight_bits.multiply
gpu_block_eight_bits.multiply = lambda *given, **options: own(*given, **options).mul_(1.3)
log.disabled = True
assert not gpu_block.agrees(make_block(True), cpu, eight_bits=True), "what differs is not trusted"
"""


def test_gradients_with_8_bits(run_interpreted):
    """The forward pass of bf16, gradients close to its own whatever their size, with documents apart; not trusted where they are not."""
    assert run_interpreted(_PROGRAM) == ""
