"""The kernels of RWKV-4 for GPUs, run on the processor by Triton's interpreter, against PyTorch in float64."""

import pytest

pytest.importorskip("triton", reason="kernels for GPUs are written in Triton: pip install triton")

_COMMON = """
import torch
from whelp.model.gpu import decayed_average as kernels
from whelp.model.rwkv import decayed_average
from whelp.model.rwkv.decayed_average import NOTHING, Inputs

CHUNK = kernels._CHUNK_TOKENS = 4  # so that short rows have several
draw = torch.Generator().manual_seed(0)

def make(*shape):
    return torch.randn(shape, generator=draw)

def run(way, leaves, starts=None, counts=None, dtype=None, weights=()):
    # What is read, the state, and all gradients; keys and values of `dtype`.
    leaves = [leaf.to(dtype or leaf.dtype) if number < 2 else leaf for number, leaf in enumerate(leaves)]
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    out, state = way(Inputs(*leaves[:-1]), leaves[-1], starts, counts)
    score = sum((part * weight).sum() for part, weight in zip((out, state), weights))
    return [out, state, *torch.autograd.grad(score, leaves)]

NAMES = ["out", "state", "gradient of k", "of v", "of log_w", "of u", "of the state"]

def compare(leaves, starts=None, counts=None, dtype=torch.float32, tolerance=2e-6, names=NAMES, hides=None):
    weights = [make(*leaves[0].shape), make(*leaves[-1].shape)]
    if hides is not None:
        weights[0] = weights[0].masked_fill(hides.unsqueeze(-1), 0)
    leaves = [leaf.to(dtype).float() if number < 2 else leaf for number, leaf in enumerate(leaves)]
    found = run(kernels.scan, leaves, starts, counts, dtype, weights)
    wanted = run(decayed_average.scan, [leaf.double() for leaf in leaves], starts, counts, None, weights)
    assert found[0].dtype == found[2].dtype == found[3].dtype == dtype, "of the type of the keys"
    for name, one, other in zip(NAMES, found, wanted, strict=True):
        assert torch.isfinite(one).all(), name
        if hides is not None and name == "out":
            one, other = (part.masked_fill(hides.unsqueeze(-1), 0) for part in (one, other))
        distance = float((one.double() - other).norm() / other.norm().clamp(min=1e-3))
        assert name not in names or distance <= tolerance, (name, distance, [tuple(leaf.shape) for leaf in leaves])
"""

_SIZES = (
    _COMMON
    + """
for num_tokens, width in ((1, 5), (CHUNK, 33), (2 * CHUNK + 5, 40), (3 * CHUNK, 1)):
    for has_documents in (False, True):
        leaves = [make(2, num_tokens, width), make(2, num_tokens, width), -make(width).exp(), make(width), make(2, 2, width)]
        starts = None
        if has_documents:
            starts = torch.rand(2, num_tokens, generator=draw) < 0.15
            starts[0, :3] = True  # documents of one token
            starts[1, 0] = False
        compare(leaves, starts)
        leaves[-1] = torch.stack((torch.zeros(2, width), torch.full((2, width), NOTHING)), dim=1)
        compare(leaves, starts)
        compare(leaves, starts, dtype=torch.bfloat16, tolerance=4e-3)
"""
)

_ANY_KEY = (
    _COMMON
    + """
num_tokens, width = 2 * CHUNK + 3, 6
for lowest in (0.0, -1e-4, -20.0, float("-inf")):
    for key_size, tolerance in ((30.0, 1e-5), (1000.0, 3e-4)):  # a key of a thousand is rounded to 3e-5
        decays = torch.linspace(0.1, 1, width) * lowest
        leaves = [key_size * make(2, num_tokens, width), make(2, num_tokens, width), decays, make(width), make(2, 2, width)]
        leaves[0][:, : num_tokens // 2] -= 2 * key_size  # first weights that vanish beside later ones, then the other way round
        compare(leaves, tolerance=tolerance)
        leaves[0] = leaves[0].flip(1)
        compare(leaves, tolerance=tolerance)
"""
)

_PADDING = (
    _COMMON
    + """
num_tokens, width = CHUNK + 7, 6
lengths = torch.tensor([0, 4, CHUNK, CHUNK + 1, num_tokens])
counts = torch.arange(num_tokens) < lengths[:, None]
leaves = [make(5, num_tokens, width), make(5, num_tokens, width), -make(width).exp(), make(width), make(5, 2, width)]
compare(leaves, None, counts, hides=~counts)
starts = torch.rand(5, num_tokens, generator=draw) < 0.15
starts &= counts
compare(leaves, starts, counts, hides=~counts)
compare([leaf[:, :CHUNK] if number < 2 else leaf for number, leaf in enumerate(leaves)], None, counts[:, :CHUNK], hides=~counts[:, :CHUNK])
"""
)

_CARRIED = (
    _COMMON
    + """
num_tokens, width = 3 * CHUNK, 6
leaves = [make(2, num_tokens, width), make(2, num_tokens, width), -make(width).exp(), make(width), make(2, 2, width)]
starts = torch.rand(2, num_tokens, generator=draw) < 0.05

def in_pieces(inputs, state, starts, counts):
    outs = []
    for begin, end in ((0, 1), (1, CHUNK + 3), (CHUNK + 3, num_tokens)):
        k, v = inputs.k[:, begin:end], inputs.v[:, begin:end]
        out, state = kernels.scan(inputs._replace(k=k, v=v), state, None if starts is None else starts[:, begin:end])
        outs.append(out)
    return torch.cat(outs, dim=1), state

weights = [make(2, num_tokens, width), make(2, 2, width)]
for begins in (None, starts):
    whole, pieces = (run(way, leaves, begins, weights=weights) for way in (kernels.scan, in_pieces))
    for name, one, other in zip(NAMES, whole, pieces, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5, msg=lambda text: f"{name}: {text}")
"""
)

_TRUST = (
    _COMMON
    + """
import logging
from whelp.base.log import log

cpu, told = torch.device("cpu"), []
log.addFilter(lambda record: told.append(record.getMessage()))
for dtype in (torch.float32, torch.bfloat16):
    for has_documents in (False, True):
        assert kernels.has_working_kernels(cpu, dtype, 20, has_documents=has_documents)
assert told == []
plain = kernels.scan
kernels.scan = lambda inputs, state, starts: plain(inputs, state, None)
assert not kernels.has_working_kernels(cpu, torch.float32, 21, has_documents=True), "documents that know of each other"
kernels.scan = lambda inputs, state, starts: plain(inputs._replace(u=inputs.u.detach() + 0 * inputs.u), state, starts)
assert not kernels.has_working_kernels(cpu, torch.float32, 21, has_documents=False), "a gradient that is wrong"
kernels.scan = lambda *parts: 1 / 0
assert not kernels.has_working_kernels(cpu, torch.bfloat16, 21, has_documents=False)
assert "kernels of our own fail (off by" in told[0], told
assert told[2].endswith("several times slower: kernels of our own fail (ZeroDivisionError: division by zero)"), told
"""
)

_OPERATOR = (
    _COMMON
    + """
leaves = [make(2, CHUNK + 1, 4), make(2, CHUNK + 1, 4), -make(4).exp(), make(4), make(2, 2, 4)]
starts = (torch.rand(2, CHUNK + 1, generator=draw) < 0.2).view(torch.uint8)
lengths = torch.tensor([3, CHUNK + 1], dtype=torch.int32)
tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
for flags, counts in ((None, None), (starts, lengths)):
    given = [leaf.clone().requires_grad_() for leaf in leaves]
    torch.library.opcheck(torch.ops.whelp.decayed_average.default, (*given, flags, counts), test_utils=tests)
"""
)

_MODEL = """
import torch
from whelp.model import ModelConfig, build_model, make_spec
from whelp.model.gpu import decayed_average as gpu_decayed_average
from whelp.model.rwkv import kernels as rwkv_kernels
from whelp.model.rwkv import shared

model = build_model(make_spec(ModelConfig(family="rwkv4", n_layer=3, n_embd=24), num_ids=60, context_tokens=40), 0)
with torch.no_grad():
    for number, parameter in enumerate(model.parameters()):
        parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)), alpha=0.1)
ids, targets = torch.randint(0, 60, (2, 2, 20), generator=torch.Generator().manual_seed(2))
starts = torch.zeros(2, 20, dtype=torch.bool)
starts[0, 7] = starts[1, 0] = True
calls, plain = [], gpu_decayed_average.scan

def scan(*arguments):
    calls.append(1)
    return plain(*arguments)

gpu_decayed_average.scan, rwkv_kernels.gpu_decayed_average = scan, gpu_decayed_average

def train(kernel, starts=None, *, is_cut=False):
    shared.choose_kernel = lambda *_, **__: kernel
    first, state = model.loss_and_state(ids, targets, None, starts)
    second, state = model.loss_and_state(targets, ids, state.detach() if is_cut else state)
    score = first + second + state.memory.square().sum()
    return [first, *state.tensors().values(), *torch.autograd.grad(score, list(model.parameters()))]

def compare(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)

for begins in (None, starts):
    compare(train("rwkv4", begins), train(None, begins))
assert len(calls) == 2 * 2 * 3, "layers of both chunks, with the kernel only"
gpu_decayed_average.scan = plain
wanted, graphs = train(None, is_cut=True), []

def count(graph, inputs):
    graphs.append(graph)
    return graph.forward

for block in model.blocks:
    block.compile(dynamic=False, fullgraph=True, backend=count)
compare(train("rwkv4", is_cut=True), wanted)
assert len(graphs) == 2, "one graph for the first layer, and one for all others"
"""


@pytest.mark.parametrize(
    "program",
    [_SIZES, _ANY_KEY, _PADDING, _CARRIED, _TRUST, _OPERATOR, _MODEL],
    ids=["sizes", "any_key", "padding", "carried", "trust", "operator", "model"],
)
def test_kernel(run_interpreted, program):
    """The same values and gradients: rows that do not fill a chunk, widths that do not fill a block, documents, padding, a carried state."""
    assert run_interpreted(program) == ""
