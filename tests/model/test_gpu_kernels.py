"""Kernels for GPUs, run on the processor by Triton's interpreter, against the plain formulas."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("triton", reason="kernels for GPUs are written in Triton: pip install triton")

_LOSS = """
import torch
import torch.nn.functional as F
from whelp.model import gpu_cross_entropy
from whelp.model.gpu_cross_entropy import linear_cross_entropy, softmax_gradient

def draw(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).requires_grad_()

for vocabulary in (7, 1000, 9001):  # less than a block, and more
    hidden, weight = draw(37, 16, seed=0), draw(vocabulary, 16, seed=1)
    targets = torch.arange(37) % vocabulary
    targets[3] = targets[10] = -100
    plain = F.cross_entropy(hidden @ weight.T, targets, ignore_index=-100, reduction="sum")
    wanted = torch.autograd.grad(plain * 0.3, (hidden, weight))
    for slice_tokens in (100, 8):  # one slice, and several with a shorter last one
        gpu_cross_entropy._SLICE_BYTES = slice_tokens * vocabulary * 4
        ours = linear_cross_entropy(hidden, weight, targets, -100)
        torch.testing.assert_close(ours, plain, rtol=1e-6, atol=1e-4)
        for mine, theirs in zip(torch.autograd.grad(ours * 0.3, (hidden, weight)), wanted, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
logits = (hidden @ weight.T).detach()
before = logits.clone()
losses = softmax_gradient(logits, targets, -100, needs_gradient=False)
assert torch.equal(logits, before), "evaluating leaves the logits alone"
torch.testing.assert_close(losses, F.cross_entropy(before, targets, ignore_index=-100, reduction="none"))
"""

_SWIGLU = """
import torch
import torch.nn.functional as F
from whelp.model.gpu_swiglu import swiglu

for width in (1, 48, 700):
    x = torch.randn(3, 5, 2 * width, generator=torch.Generator().manual_seed(0)).requires_grad_()
    grad = torch.randn(5, 3, width, generator=torch.Generator().manual_seed(1)).transpose(0, 1)  # not contiguous
    gate, up = x.chunk(2, dim=-1)
    plain, ours = F.silu(gate) * up, swiglu(x)
    torch.testing.assert_close(ours, plain)
    torch.testing.assert_close(torch.autograd.grad(ours, x, grad)[0], torch.autograd.grad(plain, x, grad)[0])
"""

_NORM = """
import torch
import torch.nn.functional as F
from whelp.model.gpu_norm import norm_and_past

for width in (7, 48):
    for has_bias in (True, False):
        generator = torch.Generator().manual_seed(width)
        x, grad, past_grad = torch.randn(3, 3, 5, width, generator=generator)
        weight, bias = (torch.randn(2, width, generator=generator) + 1).requires_grad_()
        x = (x + 2).requires_grad_()
        leaves = [x, weight, bias] if has_bias else [x, weight]
        plain = F.layer_norm(x, (width,), weight, bias if has_bias else None, 1e-5)
        ours, past = norm_and_past(x, weight, bias if has_bias else None, 1e-5)
        torch.testing.assert_close(ours, plain)
        assert torch.equal(past, x)
        wanted = torch.autograd.grad([plain, x * 1], leaves, [grad, past_grad])
        for mine, theirs in zip(torch.autograd.grad([ours, past], leaves, [grad, past_grad]), wanted, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
"""

_BLOCK = """
import sys

import torch
from tests.model.test_gpu_feed_forward import Product
from whelp.base.log import log
from whelp.model import ModelConfig, gpu_block, gpu_feed_forward, make_spec
from whelp.model.gpt2 import _Block

def make_block(bias):
    spec = make_spec(ModelConfig(family="gpt2", n_layer=1, n_head=2, n_embd=32, bias=bias), num_ids=8, context_tokens=128)
    return _Block(spec, 0)

def make_wrong(*arguments, **options):
    product = Product(*arguments, **options)
    product.run = lambda *given, add=None, **others: Product.run(product, *given, **others)  # leaves the residual out
    return product

cpu = torch.device("cpu")
gpu_feed_forward._product = Product
assert gpu_block.agrees(make_block(True), cpu) and gpu_block.agrees(make_block(False), cpu)
assert "torch._dynamo" not in sys.modules, "the compiler was imported"
gpu_feed_forward._product = make_wrong
log.disabled = True
assert not gpu_block.agrees(make_block(True), cpu)
"""

_MODEL = """
import torch
from tests.model.test_gpu_feed_forward import Product
from whelp.model import ModelConfig, build_model, gpt2, gpu_block, gpu_feed_forward, make_spec
from whelp.model.language_model import LanguageModel

spec = make_spec(ModelConfig(family="gpt2", n_layer=2, n_head=2, n_embd=32), num_ids=60, context_tokens=16)
plain, ours = build_model(spec, 0).train(), build_model(spec, 0).train()
for model in (plain, ours):
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)), alpha=0.2)
ids = torch.arange(32).view(2, 16)
documents = torch.arange(16).div(5, rounding_mode="floor").expand(2, 16)
num_compiled, num_run = [], []

def run_block(*arguments):
    num_run.append(1)
    return own(*arguments)

own, gpu_block.run_block = gpu_block.run_block, run_block
gpt2.has_working_block, gpt2.gpu_block, gpu_feed_forward._product = lambda *_: True, gpu_block, Product
LanguageModel.compile_parts = lambda model: num_compiled.append(1)

def compare(*arguments):
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = ours.loss(*arguments), plain.loss(*arguments)
    torch.testing.assert_close(found, wanted, rtol=0.01, atol=0)

ours.compile_parts()
compare(ids, ids + 1)
assert (len(num_run), len(num_compiled)) == (2, 0), "both blocks ran as kernels, without the compiler"
ours.eval()
compare(ids, ids + 1)
assert len(num_run) == 2, "evaluating runs the blocks as they are written"
ours.train()
compare(ids, ids + 1, documents)
assert (len(num_run), len(num_compiled)) == (2, 1), "documents kept apart are for the compiler"
"""


@pytest.mark.parametrize("program", [_LOSS, _SWIGLU, _NORM, _BLOCK, _MODEL], ids=["loss", "swiglu", "norm", "block", "model"])
def test_kernel(program):
    """The same values and gradients, with sizes that do not fill the blocks."""
    environment = {**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
