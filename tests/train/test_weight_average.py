"""The moving average against its formula; and the weights it stands in for are back afterwards."""

import copy

import pytest
import torch

from whelp.base.errors import ConfigError
from whelp.train import TrainConfig, build_optimizer
from whelp.train.weight_average import WeightAverage


def test_the_average_is_its_formula(make_model):
    """Step by step, name by name: old x decay + new x (1 - decay), where early steps forget faster."""
    model = make_model("qwen3")
    average = WeightAverage(build_optimizer(model, TrainConfig()), 0.9)
    expected = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    generator = torch.Generator().manual_seed(0)
    for step in range(1, 101):
        decay = min(0.9, step / (9 + step))
        for name, parameter in model.named_parameters():
            parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.1)
            expected[name] = decay * expected[name] + (1 - decay) * parameter.detach()
        average.update(step)
    state = average.state()
    assert state.keys() == {f"ema.{name}" for name in expected}
    for name, tensor in expected.items():
        torch.testing.assert_close(state[f"ema.{name}"], tensor, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(tensor, model.get_parameter(name), atol=1e-3)


def test_in_place_and_back(make_model):
    """Inside, the model computes with the averages; afterwards, and after an error, it has its own weights to the bit."""
    model = make_model("gpt2")
    average = WeightAverage(build_optimizer(model, TrainConfig()), 0.99)
    other = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data.mul_(1.5)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    ids = torch.arange(12).view(1, -1)

    def compute() -> None:
        with average.in_place():
            assert torch.equal(model(ids), other(ids))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compute()
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())


def test_a_saved_average_goes_on(make_model):
    """The state comes back to the bit, into another layout of the buffers, too."""
    model, other = make_model("qwen3"), make_model("qwen3", scrambled=False)
    average = WeightAverage(build_optimizer(model, TrainConfig(optimizer="muon")), 0.9)
    again = WeightAverage(build_optimizer(other, TrainConfig(optimizer="adamw")), 0.9)
    again.load_state(average.state())
    state, found = average.state(), again.state()
    assert state.keys() == found.keys()
    assert all(torch.equal(tensor, found[name]) for name, tensor in state.items())


def test_not_of_a_divided_model():
    """Said when the recipe is read."""
    with pytest.raises(ConfigError, match=r"train\.shard and train\.ema_decay cannot be combined"):
        TrainConfig(shard=True, optimizer="adamw", ema_decay=0.9)
