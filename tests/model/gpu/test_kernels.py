"""Kernels for GPUs, run on the processor by Triton's interpreter, against the plain formulas."""

import pytest

pytest.importorskip("triton", reason="kernels for GPUs are written in Triton: pip install triton")

_LOSS = """
import torch
import torch.nn.functional as F
from whelp.model.gpu import cross_entropy as gpu_cross_entropy
from whelp.model.gpu.cross_entropy import linear_cross_entropy, softmax_gradient

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
from whelp.model.gpu.swiglu import swiglu

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
from whelp.model.gpu import norm as gpu_norm
from whelp.model.gpu.norm import norm_and_past

for width in (7, 48):
    for has_bias, has_later, gpu_norm._PROGRAMS in ((True, True, 4), (True, False, 15), (False, True, 792), (False, False, 7)):
        gpu_norm._PROGRAMS_OF_MORE = gpu_norm._PROGRAMS
        generator = torch.Generator().manual_seed(width)
        x, grad, past_grad = torch.randn(3, 3, 5, width, generator=generator)
        weight, bias = (torch.randn(2, width, generator=generator) + 1).requires_grad_()
        x, later = (x + 2).requires_grad_(), torch.zeros(width, requires_grad=True)
        leaves = [x, weight, bias] if has_bias else [x, weight]
        plain = F.layer_norm(x, (width,), weight, bias if has_bias else None, 1e-5)
        ours, past = norm_and_past(x, weight, bias if has_bias else None, 1e-5, later if has_later else None)
        torch.testing.assert_close(ours, plain)
        assert torch.equal(past, x)
        wanted = torch.autograd.grad([plain, x * 1], leaves, [grad, past_grad])
        if has_later:
            leaves, wanted = [*leaves, later], [*wanted, past_grad.sum((0, 1))]
        for mine, theirs in zip(torch.autograd.grad([ours, past], leaves, [grad, past_grad]), wanted, strict=True):
            torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)
"""

_BLOCK = """
import sys

import torch
from tests.model.gpu.test_feed_forward import Product
from whelp.base.log import log
from whelp.model import ModelConfig, make_spec
from whelp.model.gpt2 import _Block
from whelp.model.gpu import block as gpu_block
from whelp.model.gpu import product as gpu_product

def make_block(bias):
    spec = make_spec(ModelConfig(family="gpt2", n_layer=1, n_head=2, n_embd=32, bias=bias), num_ids=8, context_tokens=128)
    return _Block(spec, 0)

def make_wrong(*arguments, **options):
    product = Product(*arguments, **options)
    product.run = lambda *given, add=None, **others: Product.run(product, *given, **others)  # leaves the residual out
    return product

cpu = torch.device("cpu")
gpu_product._product = Product
assert gpu_block.agrees(make_block(True), cpu) and gpu_block.agrees(make_block(False), cpu)
assert "torch._dynamo" not in sys.modules, "the compiler was imported"
gpu_product._product = make_wrong
log.disabled = True
assert not gpu_block.agrees(make_block(True), cpu)
"""

_STEP_ATTENTION = """
import torch
from whelp.model.gpu import step_attention as gpu_step_attention

device = torch.device("cpu")
for sizes in ((3, 3, 16), (4, 2, 24), (6, 2, 64), (5, 1, 8)):
    assert gpu_step_attention._is_same(device, torch.float32, *sizes), sizes
assert gpu_step_attention._is_same(device, torch.bfloat16, 4, 2, 16)
plain = gpu_step_attention.step_attention
gpu_step_attention.step_attention = lambda *parts: plain(*parts) * 1.01
assert not gpu_step_attention.agrees(device, torch.float32, 3, 3, 16), "what differs is not trusted"
gpu_step_attention.step_attention = lambda *parts: torch.softmax(parts[0], -1)
assert not gpu_step_attention.agrees(device, torch.float32, 4, 4, 16)

from whelp.model import ModelConfig, build_model, make_spec
from whelp.model.decoding import key_value_cache
from whelp.model.decoding.decoder import Decoder
from whelp.model.gpu.decode_step import FixedStep

gpu_step_attention.step_attention = plain
for family, options in (("gpt2", {}), ("qwen3", {"n_kv_head": 2})):
    config = ModelConfig(family=family, n_layer=2, n_head=4, n_embd=32, **options)
    model = build_model(make_spec(config, num_ids=60, context_tokens=24), seed=1).eval()
    decoders = [Decoder(model, 4, 24) for _ in range(2)]
    fixed = decoders[1]._fixed_step = FixedStep(model, decoders[1].cache, lambda work: work)
    class OnGpu(torch.Tensor):
        is_cuda = True
    decoders[1].cache.keys = decoders[1].cache.keys.as_subclass(OnGpu)
    key_value_cache.HAS_TRITON, key_value_cache.gpu_step_attention = True, gpu_step_attention
    with torch.no_grad():
        for decoder in decoders:
            decoder.read(0, [[1, 2, 3], [4], [5, 6]])
        for step in range(4):
            one, other = (decoder.step([step, 7, 9]) for decoder in decoders)
            torch.testing.assert_close(torch.Tensor(other), one, rtol=1e-4, atol=1e-5)
"""

_HEADS = """
import torch
from whelp.model.gpu import heads as gpu_heads

draw = torch.Generator().manual_seed(0)
for rows, heads, tokens, width in ((2, 3, 5, 4), (1, 2, 7, 64), (3, 1, 1, 16)):
    parts = list(torch.randn(3, rows, heads, tokens, width, generator=draw).unbind(0))
    parts[1] = parts[1].transpose(1, 2).contiguous().transpose(1, 2)  # token by token
    parts[2] = parts[2].transpose(2, 3).contiguous().transpose(2, 3)  # not even a head's numbers side by side
    wanted = torch.stack([part.transpose(1, 2) for part in parts], 2).reshape(rows, tokens, 3 * heads * width)
    assert torch.equal(gpu_heads.join_heads(*parts), wanted)
assert gpu_heads.has_working_kernel(torch.device("cpu"))
"""

_EMBEDDING = """
import torch
from whelp.base.beside_parameter import put_beside
from whelp.base.log import log
from whelp.model.gpu import cross_entropy as gpu_cross_entropy
from whelp.model.gpu import embedding as gpu_embedding

cpu = torch.device("cpu")
assert all(error <= 1.0 for error in gpu_embedding._measure_errors(cpu, 24))

draw = torch.Generator().manual_seed(0)
words, places = (torch.nn.Parameter(torch.randn(count, 24, generator=draw)) for count in (40, 32))
ids, positions = torch.randint(0, 5, (3, 8), generator=draw), torch.randint(0, 32, (3, 8), generator=draw)
targets = torch.randint(0, 40, (24,), generator=draw)

def run(positions, shared):
    x = gpu_embedding.embed(ids, positions, words, places, shared=shared)
    loss = gpu_cross_entropy.linear_cross_entropy(x.float().flatten(0, 1), words, targets, -100, shared)
    (loss / 7).backward()

def compare(one, other):
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)

for given in (None, positions):
    words.grad = places.grad = None
    run(given, None)
    plain = words.grad.clone(), places.grad.clone()
    for parameter in (words, places):
        put_beside(parameter, "gradient", torch.full_like(parameter, 7.0))
        parameter.grad = None
    for times in (1, 2):  # both gradients of a shared weight are put where they are wanted; a second pass adds
        run(given, gpu_embedding.SharedGradient())
        for parameter, wanted in zip((words, places), plain, strict=True):
            compare(parameter.grad, times * wanted)
            assert parameter.grad.data_ptr() == parameter._whelp_gradient.data_ptr()
    words.grad = None
    gpu_embedding.embed(ids, given, words, places).float().sum().backward()  # of a weight of its own
    compare(words.grad.sum(), torch.tensor(24.0 * 24))
    for parameter in (words, places):
        del parameter._whelp_gradient

own = gpu_embedding._add_gradients
gpu_embedding._look_up = own  # whose arguments are others
log.disabled = True
assert not gpu_embedding.has_working_kernels(cpu, 24)
"""

_DOCUMENTS = """
import torch
from whelp.base.log import log
from whelp.model.gpu import document_attention as attention
from whelp.model.layers.document_boundaries import make_spans

starts, ends = make_spans(torch.tensor([[0, 0, 0, 3, 3, 5], [0, 0, 0, 0, 0, 0]]))
assert starts.tolist() == [[0, 0, 0, 3, 3, 5], [0] * 6] and ends.tolist() == [[3, 3, 3, 5, 5, 6], [6] * 6]
cpu = torch.device("cpu")
assert all(error < 1e-5 for error in attention._measure_errors(cpu, 1, 16))
log.disabled = True
assert not attention.has_working_kernels(cpu, 2, 24), "no power of two"
plain = attention.attend_within
attention.attend_within = lambda joined, heads, spans: plain(joined, heads, make_spans(torch.zeros_like(spans.starts)))
assert not attention.has_working_kernels(cpu, 1, 16), "documents that see each other"
"""

_PLACES = """
import torch
from tests.model.gpu.test_feed_forward import Product
from whelp.base.beside_parameter import find_beside, put_beside, take_away
from whelp.model import ModelConfig, make_spec
from whelp.model.gpt2 import _Block
from whelp.model.gpu import block as gpu_block
from whelp.model.gpu import linear as gpu_linear
from whelp.model.gpu import product as gpu_product

gpu_product._product = Product
spec = make_spec(ModelConfig(family="gpt2", n_layer=1, n_head=2, n_embd=32), num_ids=8, context_tokens=128)
block, x = _Block(spec, 0), torch.randn(2, 8, 32, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
gpu_block.run_block(block, x).float().square().sum().backward()
plain = {name: parameter.grad for name, parameter in block.named_parameters()}
places = {name: torch.full_like(parameter, 7.0) for name, parameter in block.named_parameters()}
for name, parameter in block.named_parameters():
    put_beside(parameter, "gradient", places[name])
    put_beside(parameter, "narrow", parameter.detach().to(torch.bfloat16))
    parameter.grad = None
for times in (1, 2):  # written where it is wanted, then added to it
    gpu_block.run_block(block, x).float().square().sum().backward()
    for name, parameter in block.named_parameters():
        assert torch.equal(parameter.grad, times * plain[name]), name
        if parameter.ndim == 2:
            assert parameter.grad.data_ptr() == places[name].data_ptr(), name
put_beside(block.expand.weight, "narrow", torch.zeros(128, 32, dtype=torch.bfloat16))
assert torch.equal(gpu_linear.narrow(block.expand.weight), torch.zeros(128, 32, dtype=torch.bfloat16)), "what is kept is read"
take_away(block.expand.weight, "narrow", places["expand.weight"])
assert find_beside(block.expand.weight, "narrow") is not None, "somebody else's"
take_away(block.expand.weight, "gradient", places["expand.weight"])
assert find_beside(block.expand.weight, "gradient") is None
"""

_MODEL = """
import torch
from tests.model.gpu.test_feed_forward import Product
from whelp.model import ModelConfig, build_model, gpt2, make_spec
from whelp.model.gpu import block as gpu_block
from whelp.model.gpu import cross_entropy as gpu_cross_entropy
from whelp.model.gpu import document_attention as gpu_document_attention
from whelp.model.gpu import embedding as gpu_embedding
from whelp.model.gpu import product as gpu_product
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

def run_block(*arguments, **options):
    num_run.append(1)
    return own(*arguments, **options)

own, gpu_block.run_block = gpu_block.run_block, run_block
gpt2.has_working_block, gpt2.gpu_block, gpu_product._product = lambda *_: True, gpu_block, Product
gpt2.gpu_cross_entropy, gpt2.gpu_embedding = gpu_cross_entropy, gpu_embedding
LanguageModel.compile_parts = lambda model: num_compiled.append(1)

def compare(*arguments):
    with torch.autocast("cpu", torch.bfloat16):
        found, wanted = ours.loss(*arguments), plain.loss(*arguments)
    torch.testing.assert_close(found, wanted, rtol=0.01, atol=0)

ours.compile_parts()
compare(ids, ids + 1)  # on a processor in bf16
assert (len(num_run), len(num_compiled)) == (2, 0), "both blocks ran as kernels, without the compiler"
ours.eval()
compare(ids, ids + 1)
assert len(num_run) == 2, "evaluating runs the blocks as they are written"
ours.train()
gpt2.gpu_document_attention = gpu_document_attention
compare(ids, ids + 1, documents)
assert (len(num_run), len(num_compiled)) == (2, 1), "documents kept apart in rows of any width are for the compiler"
ours.compile_parts()
gpu_document_attention._FORWARD, gpu_document_attention._KEYS, gpu_document_attention._QUERIES = [
    gpu_document_attention._Tiles(16, 16, 4, 2)
] * 3
gpu_document_attention.MULTIPLE = 16
attend = gpu_block.attend_within  # in float32, since the interpreter multiplies bf16 as whole numbers
gpu_block.attend_within = lambda joined, heads, spans: attend(joined.float(), heads, spans).to(joined.dtype)
compare(ids, ids + 1, documents)
assert (len(num_run), len(num_compiled)) == (4, 1), "of a fitting width they are for kernels of our own"
"""


@pytest.mark.parametrize(
    "program",
    [_LOSS, _SWIGLU, _NORM, _BLOCK, _STEP_ATTENTION, _HEADS, _EMBEDDING, _DOCUMENTS, _PLACES, _MODEL],
    ids=[
        "cross_entropy",
        "swiglu",
        "norm",
        "block",
        "step_attention",
        "heads",
        "embedding",
        "documents",
        "places",
        "model",
    ],
)
def test_kernel(run_interpreted, program):
    """The same values and gradients, with sizes that do not fill the blocks."""
    assert run_interpreted(program) == ""
