"""AdamW in one pass, run on the processor by Triton's interpreter, against the framework's."""

import pytest

from whelp.train.optimizer import has_one_pass

pytest.importorskip("triton", reason="kernels for GPUs are written in Triton: pip install triton")

_PROGRAM = """
import sys
import torch
from whelp.model import ModelConfig, build_model, make_spec
from whelp.base.beside_parameter import find_beside
from whelp.train import TrainConfig, build_optimizer
from whelp.train.bf16_weights import NarrowWeights

config = TrainConfig(optimizer=sys.argv[1], weight_decay=0.3, beta1=0.8, beta2=0.9, epsilon=1e-6, clip_gradient_norm=1.0)
spec = make_spec(ModelConfig(family="qwen3", n_layer=2, n_head=2, n_embd=32), num_ids=60, context_tokens=16)
models = [build_model(spec, 0) for _ in range(3)]
ours, plain, later = (build_optimizer(model, config) for model in models)
ours.in_one_pass = later.in_one_pass = True

def step(optimizer, model, seed, learning_rate, largest_norm):
    draw = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad.copy_(torch.randn(parameter.shape, generator=draw))
    norm = optimizer.clip(largest_norm)
    optimizer.step(learning_rate)
    optimizer.zero_grad()
    return norm

def compare(one, other):
    for mine, theirs in zip(one.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, atol=2e-6, rtol=2e-6)

for seed, (learning_rate, largest_norm) in enumerate([(1e-2, 1.0), (3e-2, 1e6), (5e-3, 0.0), (0.0, 1.0), (1e-2, 0.5)]):
    norms = [step(optimizer, model, seed, learning_rate, largest_norm) for optimizer, model in zip((ours, plain), models)]
    assert norms[0] == norms[1]
    compare(models[0], models[1])
# weights rounded to bf16 beside them, up to date after steps and after somebody else has written
kept = NarrowWeights(ours, dict(models[0].named_parameters()))
step(ours, models[0], 7, 1e-2, 1.0)
step(plain, models[1], 7, 1e-2, 1.0)
compare(models[0], models[1])

def check_narrow(largest_error):
    kept.check()
    pairs = [(parameter, find_beside(parameter, "narrow")) for parameter in models[0].parameters()]
    pairs = [(parameter, rounded) for parameter, rounded in pairs if rounded is not None]
    assert len(pairs) == sum(len(other.parameters.names) for other in ours.others) > 0
    for parameter, rounded in pairs:
        assert rounded.dtype == torch.bfloat16
        torch.testing.assert_close(rounded.float(), parameter.detach(), rtol=largest_error, atol=0.0)

check_narrow(2**-7)  # a GPU rounds, and is asked whether it does; the interpreter cuts off
models[0].load_state_dict({name: tensor + 1 for name, tensor in models[1].state_dict().items()})
check_narrow(2**-8)
models[0].load_state_dict(models[1].state_dict())
kept.close()
assert all(find_beside(parameter, "narrow") is None for parameter in models[0].parameters()) and not ours.narrow
# states of either kind of step are taken up by the other
for taker, model, giver in ((later, models[2], plain), (plain, models[1], ours)):
    model.load_state_dict(models[0].state_dict())
    taker.load_state(giver.state())
for optimizer, model in zip((ours, plain, later), models):
    step(optimizer, model, 9, 1e-2, 1.0)
compare(models[0], models[1])
compare(models[0], models[2])
"""


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_one_pass_is_adamw(run_interpreted, optimizer):
    """Weights and norms are those of clipping and AdamW one after the other, and either goes on from the other's state."""
    assert run_interpreted(_PROGRAM, optimizer) == ""


def test_not_without_a_gpu():
    """On a CPU the framework's own step is taken, and nothing is said about it."""
    import torch

    assert not has_one_pass(torch.device("cpu"))
