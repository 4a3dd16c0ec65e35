"""The memories of RWKV-7 and RWKV-5: rows read in chunks equal the formula applied token by token."""

from __future__ import annotations

from types import ModuleType

import pytest
import torch

from whelp.model.rwkv import delta_rule, linear_attention

ROWS, TOKENS, HEADS, WIDTH = 2, 70, 2, 8


def make_inputs(module: ModuleType, *, lowest: float = -0.6, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random inputs; keys look alike, so that the delta rule forgets and learns the same thing again and again."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape or (ROWS, TOKENS, HEADS, WIDTH), generator=generator)

    log_w = lowest * torch.sigmoid(3 * draw())
    if module is linear_attention:
        return module.Inputs(draw(), log_w, draw(), draw(), draw(HEADS, WIDTH))
    direction = torch.nn.functional.normalize(1 + 0.2 * draw(), dim=-1)
    return module.Inputs(draw(), log_w, draw(), draw(), -direction, direction * torch.sigmoid(draw()))


def read_slowly(
    module: ModuleType, inputs: tuple[torch.Tensor, ...], state: torch.Tensor, starts: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token by token; the state is zero where a document begins."""
    outputs = []
    for token in range(TOKENS):
        if starts is not None:
            state = torch.where(starts[:, token, None, None, None], 0.0, state)
        parts = [part[:, token : token + 1] if part.ndim == 4 else part for part in inputs]
        output, state = module.step(module.Inputs(*parts), state)
        outputs.append(output)
    return torch.cat(outputs, dim=1), state


@pytest.fixture(params=["float64", "float32"])
def largest_error(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """With devices that have float64, and those that have none: there, sums of strong decays round those of weak ones."""
    if request.param == "float64":
        return 1e-5
    monkeypatch.setattr(linear_attention, "_HAVE_FLOAT64", ())
    return 1e-4


@pytest.mark.parametrize("module", [delta_rule, linear_attention])
@pytest.mark.parametrize("size", [1, 7, 16, 32, 100])
@pytest.mark.parametrize("has_documents", [False, True])
def test_chunks_equal_steps(module: ModuleType, size: int, has_documents: bool, largest_error: float) -> None:
    """Outputs, last state, and the gradients of all inputs and of the first state, to 1e-5 of their size."""
    inputs = make_inputs(module)
    state = torch.randn(ROWS, HEADS, WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))
    starts = None
    if has_documents:
        starts = torch.rand(ROWS, TOKENS, generator=torch.Generator().manual_seed(2)) < 0.15
        starts[0, :3] = True  # documents of one token
    leaves = [part.clone().requires_grad_() for part in (*inputs, state)]
    results = []
    for output, last in (
        read_slowly(module, tuple(leaves[:-1]), leaves[-1], starts),
        module.scan(module.Inputs(*leaves[:-1]), leaves[-1], starts, size),
    ):
        score = (output.square().sum() + last.square().sum()).sqrt()
        results.append((output, last, *torch.autograd.grad(score, leaves)))
    for slow, fast in zip(*results, strict=True):
        assert (slow - fast).abs().max() <= largest_error * slow.abs().max()


@pytest.mark.parametrize("lowest", [-0.01, -3.0, -30.0, -1e4])
def test_any_decay_of_rwkv5(lowest: float, largest_error: float) -> None:
    """From hardly any to all at once: no chunk overflows."""
    inputs = make_inputs(linear_attention, lowest=lowest)
    state = torch.randn(ROWS, HEADS, WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))
    slow, slow_state = read_slowly(linear_attention, inputs, state, None)
    fast, fast_state = linear_attention.scan(inputs, state)
    assert torch.isfinite(fast).all()
    assert (slow - fast).abs().max() <= largest_error * slow.abs().max()
    assert (slow_state - fast_state).abs().max() <= largest_error * slow_state.abs().max()


def test_the_strongest_decay_of_rwkv7() -> None:
    """exp(-0.607) at every token, over many chunks."""
    inputs = make_inputs(delta_rule)
    inputs = inputs._replace(log_w=torch.full_like(inputs.log_w, delta_rule.LOWEST_LOG_DECAY))
    state = torch.randn(ROWS, HEADS, WIDTH, WIDTH, generator=torch.Generator().manual_seed(1))
    slow, _ = read_slowly(delta_rule, inputs, state, None)
    fast, _ = delta_rule.scan(inputs, state)
    assert (slow - fast).abs().max() <= 1e-5 * slow.abs().max()


def test_one_key_again_and_again() -> None:
    """A text that repeats one token: inverting the chunk's matrix by powers of it would lose every digit here."""
    inputs = make_inputs(delta_rule)
    direction = torch.nn.functional.normalize(torch.ones(ROWS, TOKENS, HEADS, WIDTH), dim=-1)
    inputs = inputs._replace(a=-direction, b=direction, log_w=torch.full_like(inputs.log_w, -1e-4))
    state = torch.zeros(ROWS, HEADS, WIDTH, WIDTH)
    slow, _ = read_slowly(delta_rule, inputs, state, None)
    fast, _ = delta_rule.scan(inputs, state, None, 64)
    assert (slow - fast).abs().max() <= 1e-5 * slow.abs().max()
