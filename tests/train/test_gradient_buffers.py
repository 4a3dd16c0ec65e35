"""Gradients land in the optimizer's buffers, whether they are put there or added up."""

import pytest
import torch

from whelp.train import TrainConfig, build_optimizer, gradient_buffers
from whelp.train.gradient_buffers import GradientBuffers


@pytest.mark.parametrize("small", [0, 300, 1 << 30])
@pytest.mark.parametrize("is_alone", [True, False])
@pytest.mark.parametrize("family", ["gpt2", "qwen3"])
def test_as_added_to_zeros(make_model, monkeypatch, family, is_alone, small):
    """Of batches of one and of two backward passes: what plain autograd adds up, whatever lay in the buffers before."""
    monkeypatch.setattr(gradient_buffers, "_SMALL", small)
    model, plain = make_model(family), make_model(family)
    optimizer = build_optimizer(model, TrainConfig(optimizer="muon"))
    buffers = GradientBuffers(optimizer, dict(model.named_parameters()), is_alone=is_alone)
    views = {name: view for group in optimizer.groups for name, view in group.views(group.grad).items()}
    for num_passes in (2, 1, 2):
        plain.zero_grad()
        buffers.begin()
        for number in range(num_passes):
            ids = torch.arange(12).view(1, -1) + number
            for each in (model, plain):
                each.loss(ids, ids).backward()
        buffers.finish()
        for name, parameter in plain.named_parameters():
            assert torch.equal(views[name], parameter.grad), name
            assert model.get_parameter(name).grad is not None
            assert model.get_parameter(name).grad.data_ptr() == views[name].data_ptr()
    buffers.close()


def test_no_gradient_is_a_gradient_of_zeros(make_model):
    """What had one in the batch before has none left; recorded gradients are taken as they lie there."""
    model = make_model("gpt2")
    optimizer = build_optimizer(model, TrainConfig(optimizer="adamw"))
    buffers = GradientBuffers(optimizer, dict(model.named_parameters()), is_alone=True)
    for group in optimizer.groups:
        group.grad.fill_(3.0)
    buffers.begin()
    buffers.take_up()
    assert all((parameter.grad == 3.0).all() for parameter in model.parameters())
    buffers.begin()
    model.embed.weight.sum().backward()
    buffers.finish()
    for name, parameter in model.named_parameters():
        assert (parameter.grad == (1.0 if name == "embed.weight" else 0.0)).all(), name
    buffers.close()


@pytest.mark.parametrize("is_alone", [True, False])
def test_what_a_pass_that_failed_left_behind(make_model, monkeypatch, is_alone):
    """Out of memory in its midst, some gradients lie elsewhere: others that are added to the buffers from then on are not added to those."""
    monkeypatch.setattr(gradient_buffers, "_SMALL", 300)
    model, plain = make_model("gpt2"), make_model("gpt2")
    optimizer = build_optimizer(model, TrainConfig(optimizer="adamw"))
    ids = torch.arange(12).view(1, -1)

    def fail(_: torch.Tensor) -> None:
        raise torch.OutOfMemoryError("no room")

    buffers = GradientBuffers(optimizer, dict(model.named_parameters()), is_alone=is_alone)
    handle = model.embed.weight.register_hook(fail)  # the last to come
    buffers.begin()
    with pytest.raises(torch.OutOfMemoryError):
        model.loss(ids, ids).backward()
    handle.remove()
    buffers.close()
    buffers = GradientBuffers(optimizer, dict(model.named_parameters()), is_alone=is_alone)
    optimizer.zero_grad()  # as a batch of several recorded passes begins
    for each in (model, plain):
        each.loss(ids, ids).backward()
    buffers.finish()
    buffers.close()
    for name, parameter in plain.named_parameters():
        assert torch.equal(model.get_parameter(name).grad, parameter.grad), name
