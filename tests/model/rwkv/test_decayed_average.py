"""The memory of RWKV-4: chunks side by side equal the sums written out, values and gradients, whatever keys and decays are."""

from __future__ import annotations

import pytest
import torch

from whelp.model.rwkv import decayed_average
from whelp.model.rwkv.decayed_average import NOTHING, Inputs

ROWS, WIDTH = 2, 6


def make_case(
    num_tokens: int, *, lowest: float = -0.6, key_size: float = 1.0, has_documents: bool = False, is_first: bool = False
) -> tuple[list[torch.Tensor], torch.Tensor | None]:
    """Keys, values, logarithms of decays, u and a state, in float64; and where documents begin."""
    draw = torch.Generator().manual_seed(num_tokens)

    def make(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    log_w = lowest * torch.rand(WIDTH, generator=draw, dtype=torch.float64)
    state = torch.stack((make(ROWS, WIDTH), key_size * make(ROWS, WIDTH)), dim=1)
    if is_first:
        state = torch.stack((torch.zeros(ROWS, WIDTH), torch.full((ROWS, WIDTH), NOTHING)), dim=1).double()
    starts = None
    if has_documents:
        starts = torch.rand(ROWS, num_tokens, generator=draw) < 0.15
        starts[0, :3] = True  # documents of one token
        starts[1, 0] = False
    return [key_size * make(ROWS, num_tokens, WIDTH), make(ROWS, num_tokens, WIDTH), log_w, make(WIDTH), state], starts


def read_slowly(inputs: Inputs, state: torch.Tensor, starts: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
    """The published recurrence with its state (aa, bb, pp), token by token."""
    aa, pp = state.unbind(1)
    bb, outputs = torch.ones_like(aa), []
    for token in range(inputs.k.shape[1]):
        k, v = inputs.k[:, token], inputs.v[:, token]
        if starts is not None:
            pp = torch.where(starts[:, token, None], NOTHING, pp)
        largest = torch.maximum(pp, inputs.u + k)
        old, new = (pp - largest).exp(), (inputs.u + k - largest).exp()
        outputs.append((old * aa + new * v) / (old * bb + new))
        largest = torch.maximum(pp + inputs.log_w, k)
        old, new = (pp + inputs.log_w - largest).exp(), (k - largest).exp()
        aa, bb, pp = old * aa + new * v, old * bb + new, largest
    return torch.stack(outputs, dim=1), torch.stack((aa / bb, pp + bb.log()), dim=1)


def find_all(read, leaves: list[torch.Tensor], starts: torch.Tensor | None) -> list[torch.Tensor]:
    """What is read, the state after it, and the gradients of all that went in."""
    leaves = [leaf.clone().requires_grad_() for leaf in leaves]
    out, state = read(Inputs(*leaves[:-1]), leaves[-1], starts)
    draw = torch.Generator().manual_seed(0)
    weights = [torch.randn(part.shape, generator=draw, dtype=torch.float64).to(part.dtype) for part in (out, state)]
    score = (out * weights[0]).sum() + (state * weights[1]).sum()
    return [out, state, *torch.autograd.grad(score, leaves)]


@pytest.mark.parametrize("num_tokens", [1, 2, 3, 15, 16, 17, 70])
@pytest.mark.parametrize("has_documents", [False, True])
@pytest.mark.parametrize("is_first", [False, True])
def test_chunks_equal_steps(num_tokens: int, has_documents: bool, is_first: bool) -> None:
    """Outputs, last state and all gradients, to 1e-11 in float64 and to 2e-5 in float32; from a state, and from nothing."""
    leaves, starts = make_case(num_tokens, has_documents=has_documents, is_first=is_first)
    expected = find_all(read_slowly, leaves, starts)
    for number, tolerance in ((torch.float64, 1e-11), (torch.float32, 2e-5)):
        found = find_all(decayed_average.scan, [leaf.to(number) for leaf in leaves], starts)
        for one, other in zip(expected, found, strict=True):
            assert (one - other).abs().max() <= tolerance * one.abs().max().clamp(min=1e-2)


@pytest.mark.parametrize("lowest", [0.0, -1e-4, -0.3, -20.0, -1e4, float("-inf")])
@pytest.mark.parametrize("key_size", [1.0, 30.0, 1000.0])
def test_any_decay_and_any_key(lowest: float, key_size: float) -> None:
    """Decays from none to all at once, and keys thousands apart, of which no exponential holds: nothing overflows or vanishes."""
    leaves, _ = make_case(70, key_size=key_size)
    leaves[2] = torch.linspace(0.1, 1, WIDTH, dtype=torch.float64) * lowest
    for read in (decayed_average.scan, read_in_steps):
        found = find_all(read, leaves, None)
        assert all(torch.isfinite(part).all() for part in found)
        expected = find_all(read_slowly, leaves, None)[:2]
        for one, other in zip(expected, found, strict=False):
            assert (one - other).abs().max() <= 1e-9 * one.abs().max()
    narrow = decayed_average.scan(Inputs(*(leaf.float() for leaf in leaves[:-1])), leaves[-1].float())
    assert (narrow[0] - expected[0]).abs().mean() <= 1e-5 * key_size * expected[0].abs().mean()


def read_in_steps(inputs: Inputs, state: torch.Tensor, starts: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Token by token, as text is generated."""
    outputs = []
    for token in range(inputs.k.shape[1]):
        part = slice(token, token + 1)
        output, state = decayed_average.step(inputs._replace(k=inputs.k[:, part], v=inputs.v[:, part]), state)
        outputs.append(output)
    return torch.cat(outputs, dim=1), state


def test_the_gradient_is_that_of_differences() -> None:
    """`gradcheck`, documents and state included, and what the framework asks of an operator (a fake, a registered gradient)."""
    leaves, starts = make_case(9, has_documents=True)
    leaves = [leaf.requires_grad_() for leaf in leaves]
    assert torch.autograd.gradcheck(lambda *given: decayed_average.scan(Inputs(*given[:-1]), given[-1], starts), leaves)
    k, v, log_w, _, state = leaves
    tests = ("test_schema", "test_autograd_registration", "test_faketensor", "test_aot_dispatch_static")
    torch.library.opcheck(torch.ops.whelp.average.default, (k, v, log_w, state, None), test_utils=tests)


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # the compiler looks at it
def test_a_block_is_one_graph(make_model) -> None:
    """The compiler takes the operator as it is: no break, and one graph for all blocks but the first."""
    model, graphs = make_model("rwkv4", n_layer=3), []
    ids, targets = torch.randint(0, 60, (2, 2, 40), generator=torch.Generator().manual_seed(3)).unbind(0)

    def train() -> list[torch.Tensor]:
        first, state = model.loss_and_state(ids, targets, None)
        second, _ = model.loss_and_state(targets, ids, state.detach())
        return [first, second, *torch.autograd.grad(first + second, list(model.parameters()))]

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    expected = train()
    for block in model.blocks:
        block.compile(dynamic=False, fullgraph=True, backend=count)
    for one, other in zip(expected, train(), strict=True):
        assert (one - other).abs().max() <= 1e-5 * one.abs().max() + 1e-6
    assert len(graphs) == 2


def test_padding_leaves_the_state() -> None:
    """The state is the one after a row's own tokens, to the number."""
    leaves, _ = make_case(11)
    counts = torch.arange(11) < torch.tensor([[4], [11]])
    _, state = decayed_average.scan(Inputs(*leaves[:-1]), leaves[-1], None, counts)
    for row, length in enumerate((4, 11)):
        alone = [leaf[row : row + 1] for leaf in leaves]
        k, v = (part[:, :length] for part in alone[:2])
        _, expected = decayed_average.scan(Inputs(k, v, leaves[2], leaves[3]), alone[-1])
        assert (state[row] - expected[0]).abs().max() < 1e-12


def test_a_long_document() -> None:
    """5,000 tokens in float32, with channels that hardly forget: what is read stays within 1e-4 of float64."""
    draw = torch.Generator().manual_seed(1)
    k, v = (torch.randn(1, 5_000, 3, generator=draw, dtype=torch.float64) for _ in range(2))
    log_w, u = torch.tensor([0.0, -1e-5, -0.1], dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    state = torch.tensor([[[0.0] * 3, [NOTHING] * 3]], dtype=torch.float64)
    expected, _ = read_slowly(Inputs(k, v, log_w, u), state, None)
    found, _ = decayed_average.scan(Inputs(k.float(), v.float(), log_w.float(), u.float()), state.float())
    assert (found - expected).abs().max() < 1e-4
