"""Whether kernels are used: only those that agree with PyTorch. There is no GPU here, so PyTorch plays the kernel."""

import itertools
import logging
import subprocess
import sys

import pytest
import torch

from whelp.model import ModelConfig, build_model, make_spec
from whelp.model.rwkv import delta_rule, linear_attention, shared
from whelp.model.rwkv.kernels import KERNELS, Form, Kernel, find_disagreement

_NUMBERS = itertools.count()  # what is found out about a kernel is remembered under its name
FORM = Form(torch.device("cpu"), torch.bfloat16, num_heads=2, head_width=16, has_documents=True)


def _play(scan, kind, *, factor=1.0, forgets_documents=False):
    """A kernel with the library's way of calling, made of PyTorch: one long row, documents from `cu_seqlens`."""

    def run(*parts, initial_state, cu_seqlens):
        parts = [part.float() for part in parts]
        outs, states = [], []
        if cu_seqlens is None:
            out, after = scan(kind(*parts), initial_state, None)
            return out * factor, after
        ends = cu_seqlens.tolist()
        for number, (begin, end) in enumerate(itertools.pairwise(ends)):
            pieces = kind(*(part[:, begin:end] if part.ndim == 4 else part for part in parts))
            memory = states[-1] if forgets_documents and states else initial_state[number : number + 1]
            out, after = scan(pieces, memory, None)
            outs.append(out)
            states.append(after)
        return torch.cat(outs, 1) * factor, torch.cat(states)

    return run


@pytest.fixture
def install(monkeypatch):
    """Make a kernel known, and give its name."""

    def make_known(run, scan=delta_rule.scan, kind=delta_rule.Inputs, *, name=None):
        name = name or f"played {next(_NUMBERS)}"
        monkeypatch.setitem(KERNELS, name, Kernel(run, run, scan, kind))
        return name

    return make_known


@pytest.fixture
def played(install, monkeypatch):
    """A model of random weights whose memories are run by PyTorch played as a kernel; without, by PyTorch."""

    def make(family, scan, kind, **options):
        config = ModelConfig(family=family, n_layer=3, n_head=2, n_embd=32)
        model = build_model(make_spec(config, num_ids=64, context_tokens=48), seed=0)
        draw = torch.Generator().manual_seed(1)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=draw), alpha=0.05)
        install(_play(scan, kind, **options), scan, kind, name=family)
        return model

    def use(are_used):
        monkeypatch.setattr(shared, "choose_kernel", lambda name, *_, **__: name if are_used else None)

    make.use = use
    return make


def _train(model, starts=None, *, is_cut=False):
    """Losses, the last state and all gradients of two chunks, with gradients through both or cut off between them."""
    model.zero_grad()
    ids, targets = torch.randint(0, 64, (2, 2, 40), generator=torch.Generator().manual_seed(2))
    first, state = model.loss_and_state(ids, targets, None, starts)
    second, state = model.loss_and_state(targets, ids, state.detach() if is_cut else state, starts)
    (first + second + state.memory.square().sum()).backward()
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    return {**found, "loss": first.detach() + second.detach(), **state.detach().tensors()}


def _assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def _make_starts():
    starts = torch.zeros(2, 40, dtype=torch.bool)
    starts[0, 7] = starts[0, 8] = starts[1, 0] = starts[1, 39] = True
    return starts


FAMILIES = [
    ("rwkv7", delta_rule.scan, delta_rule.Inputs),
    ("rwkv6", linear_attention.scan, linear_attention.Inputs),
    ("rwkv5", linear_attention.scan, linear_attention.Inputs),
]
KINDS = [FAMILIES[0][1:], FAMILIES[2][1:]]


@pytest.mark.parametrize("family", FAMILIES, ids=["rwkv7", "rwkv6", "rwkv5"])
@pytest.mark.parametrize("has_documents", [True, False])
def test_a_model_with_kernels_is_the_same(family, has_documents, played):
    """Losses, states and gradients, those that flow through a state too; documents side by side in one long row."""
    model, starts = played(*family), _make_starts() if has_documents else None
    played.use(False)
    expected = _train(model, starts)
    played.use(True)
    found = _train(model, starts)
    _assert_same(found, expected)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the compiler looks at it
@pytest.mark.parametrize("family", FAMILIES, ids=["rwkv7", "rwkv6", "rwkv5"])
def test_a_block_with_kernels_is_one_graph(family, played):
    """Nothing in it breaks the compiler's graph, all blocks but the first share one, and a carried state needs no other."""
    model = played(*family)
    played.use(True)
    expected, graphs = _train(model, is_cut=True), []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    for block in model.blocks:
        block.compile(dynamic=False, fullgraph=True, backend=count)
    _assert_same(_train(model, is_cut=True), expected)
    assert len(graphs) == 2


@pytest.mark.parametrize("has_documents", [True, False])
def test_the_operator_keeps_the_frameworks_rules(has_documents, install):
    """What it says of its results without computing them is so, and its gradients may be traced."""
    name = install(_play(delta_rule.scan, delta_rule.Inputs))
    draw = torch.Generator().manual_seed(0)
    parts = [(0.3 * torch.randn(2, 40, 2, 16, generator=draw)).requires_grad_() for _ in range(6)]
    memory = torch.randn(2, 2, 16, 16, generator=draw).requires_grad_()
    starts = _make_starts() if has_documents else None
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
    torch.library.opcheck(torch.ops.whelp.read.default, (name, parts, memory, starts), test_utils=tests)


@pytest.mark.parametrize(("scan", "kind"), KINDS, ids=["rwkv7", "rwkv5"])
@pytest.mark.parametrize("has_documents", [True, False])
def test_a_right_kernel_is_used(scan, kind, has_documents, install):
    """It differs by the rounding of its inputs alone."""
    assert find_disagreement(install(_play(scan, kind), scan, kind), FORM._replace(has_documents=has_documents)) is None


@pytest.mark.parametrize(("scan", "kind"), KINDS, ids=["rwkv7", "rwkv5"])
@pytest.mark.parametrize("wrong", [{"factor": 1.2}, {"forgets_documents": True}], ids=["scale", "documents"])
def test_a_wrong_kernel_is_not_used(scan, kind, wrong, install, caplog):
    """And that is said, once."""
    name = install(_play(scan, kind, **wrong), scan, kind)
    with caplog.at_level(logging.WARNING):
        found = [find_disagreement(name, FORM) for _ in range(2)]
    assert found[0] is not None
    assert "off by" in found[0]
    assert [record.getMessage().partition(" (")[0] for record in caplog.records] == [
        "the kernels of flash-linear-attention are not used"
    ]


def test_models_do_not_wait_for_the_compiler():
    """It takes seconds to load, and only a model that is compiled needs it."""
    program = "import sys; import whelp.model.build; print('torch._dynamo' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False\n"


def test_each_form_is_compared(install):
    """A kernel is compiled anew for another number of heads, another width or documents; one that is wrong there alone is found."""
    right = _play(delta_rule.scan, delta_rule.Inputs)

    def run(*parts, **options):
        out, after = right(*parts, **options)
        return (out * 2 if parts[0].shape[2] == 3 or options["cu_seqlens"] is None else out), after

    forms = [FORM, FORM._replace(num_heads=3), FORM._replace(has_documents=False)]
    name = install(run)
    found = [find_disagreement(name, form) is None for form in forms]
    assert found == [True, False, False]


def test_a_kernel_that_fails_is_not_used(install):
    """Of another release, say."""

    def run(*parts, **options):
        raise TypeError("chunk_rwkv7() got an unexpected keyword argument")

    found = find_disagreement(install(run), FORM)
    assert found == "TypeError: chunk_rwkv7() got an unexpected keyword argument"
