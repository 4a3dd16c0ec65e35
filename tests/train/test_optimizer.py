"""The flat optimizers against PyTorch's own, and against slow versions."""

import copy

import pytest
import torch

from whelp.train import TrainConfig, build_optimizer
from whelp.train.muon import orthogonalise
from whelp.train.process_group import ProcessGroup
from whelp.train.process_rank import ProcessRank

FAMILIES = ("gpt2", "qwen3")


def _set_gradients(model: torch.nn.Module, seed: int) -> None:
    """Random gradients, written into the buffers that are there."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        gradient = torch.randn(parameter.shape, generator=generator)
        if parameter.grad is None:
            parameter.grad = gradient
        else:
            parameter.grad.copy_(gradient)


def _assert_same_weights(model: torch.nn.Module, other: torch.nn.Module, **tolerance: float) -> None:
    for (name, mine), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine, theirs, msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def _plain_adamw(model: torch.nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """One tensor at a time; matrices decay, vectors do not."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=1.0, betas=(config.beta1, config.beta2), eps=config.epsilon, foreach=False)


@pytest.mark.parametrize("family", FAMILIES)
def test_adamw_is_adamw(make_model, family):
    """Flat AdamW is torch.optim.AdamW of each parameter, over steps with changing rates, with its weight-decay groups."""
    config = TrainConfig(optimizer="adamw", weight_decay=0.3, beta1=0.8, beta2=0.9, epsilon=1e-6)
    model = make_model(family)
    other = copy.deepcopy(model)
    flat, plain = build_optimizer(model, config), _plain_adamw(other, config)
    _assert_same_weights(model, other, atol=0.0, rtol=0.0)  # flattening changes nothing
    for step, learning_rate in enumerate((1e-2, 3e-2, 5e-3, 0.0, 1e-2)):
        for each in (model, other):
            _set_gradients(each, step)
        flat.step(learning_rate)
        for group in plain.param_groups:
            group["lr"] = learning_rate
        plain.step()
    _assert_same_weights(model, other, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("largest_norm", [0.5, 1e6])
@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_clipping_is_clipping(make_model, kind, largest_norm):
    """The norm and the scaled gradients are those of torch.nn.utils.clip_grad_norm_."""
    model = make_model("qwen3")
    other = copy.deepcopy(model)
    optimizer = build_optimizer(model, TrainConfig(optimizer=kind))
    for each in (model, other):
        _set_gradients(each, 0)
    norm = optimizer.clip(largest_norm)
    torch.testing.assert_close(norm, torch.nn.utils.clip_grad_norm_(other.parameters(), largest_norm))
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(mine.grad, theirs.grad)


def test_no_clipping(make_model):
    """With a largest norm of zero the gradient is measured and left alone."""
    model = make_model("gpt2")
    optimizer = build_optimizer(model, TrainConfig(optimizer="adamw"))
    _set_gradients(model, 0)
    before = [p.grad.clone() for p in model.parameters()]
    assert optimizer.clip(0.0) > 1.0
    assert all(torch.equal(p.grad, gradient) for p, gradient in zip(model.parameters(), before, strict=True))


def test_backward_fills_the_buffers(make_model):
    """Gradients of a backward pass land in the flat buffers, add up, and are forgotten on demand."""
    model = make_model("qwen3")
    other = copy.deepcopy(model)
    optimizer = build_optimizer(model, TrainConfig())
    ids = torch.arange(8).view(1, 8)
    for _ in range(2):
        model.loss(ids, ids).backward()
    other.loss(ids, ids).backward()
    views = {name: view for group in optimizer.groups for name, view in group.views(group.grad).items()}
    for name, parameter in other.named_parameters():
        torch.testing.assert_close(views[name], 2 * parameter.grad)
    optimizer.zero_grad()
    assert not any(p.grad.any() for p in model.parameters())


@pytest.mark.parametrize("shape", [(32, 8), (8, 32), (64, 16), (5, 40)], ids=str)
def test_orthogonalise(shape):
    """Singular values end near one, whatever they were, and the directions stay: tall and wide, small and large numbers."""
    for scale in (1e-4, 1.0, 1e4):
        matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0)) * scale
        result = orthogonalise(matrices)
        assert result.shape == matrices.shape
        values = torch.linalg.svdvals(result)
        assert values.min() > 0.6
        assert values.max() < 1.3
        u, _, v = torch.linalg.svd(matrices, full_matrices=False)
        turned = u.mT @ result @ v.mT
        torch.testing.assert_close(turned, torch.diag_embed(turned.diagonal(dim1=-2, dim2=-1)), atol=1e-3, rtol=0.0)


def test_orthogonalise_a_matrix_of_zeros():
    """No gradient, no update."""
    assert not orthogonalise(torch.zeros(1, 4, 8)).any()


def _slow_orthogonalise(matrix: torch.Tensor) -> torch.Tensor:
    """The published five steps, on one matrix, in float64."""
    x = matrix.double()
    x = x / x.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x.float()


@pytest.mark.parametrize("family", FAMILIES)
def test_muon_is_muon(make_model, family):
    """Three steps of Muon equal a slow version, matrix by matrix: fused weights are split, all else is AdamW's."""
    config = TrainConfig(optimizer="muon", momentum=0.9, weight_decay=0.2)
    model = make_model(family, n_layer=1, n_kv_head=2) if family == "qwen3" else make_model(family, n_layer=1)
    other = copy.deepcopy(model)
    optimizer, adamw = build_optimizer(model, config), _plain_adamw(other, config)
    names = [name for name, parameter in other.named_parameters() if name.startswith("blocks.") and parameter.ndim == 2]
    assert names
    weights, momenta = dict(other.named_parameters()), {}
    sizes = {name: [part.shape for part in other.split_matrix(name, weights[name])] for name in names}
    if family == "qwen3":
        assert [tuple(size) for size in sizes["blocks.0.query_key_value.weight"]] == [(32, 32), (16, 32), (16, 32)]
        assert len(sizes["blocks.0.gate_up.weight"]) == 2
    else:
        assert len(sizes["blocks.0.query_key_value.weight"]) == 3
    for step in range(3):
        for each in (model, other):
            _set_gradients(each, step)
        for name in names:
            gradient = weights[name].grad
            momenta[name] = 0.9 * momenta.get(name, torch.zeros_like(gradient)) + 0.1 * gradient
            ahead = 0.1 * gradient + 0.9 * momenta[name]
            parts = [
                _slow_orthogonalise(part) * 0.2 * max(part.shape) ** 0.5 for part in ahead.split([s[0] for s in sizes[name]])
            ]
            with torch.no_grad():
                weights[name].copy_(weights[name] * (1 - 0.01 * 0.2) - 0.01 * torch.cat(parts))
            weights[name].grad = None  # not AdamW's
        for group in adamw.param_groups:
            group["lr"] = 0.01
        adamw.step()
        optimizer.step(0.01)
    _assert_same_weights(model, other, atol=2e-5, rtol=1e-5)


class _Played(ProcessGroup):
    """One of three processes; what it would add up with the others is kept."""

    def __init__(self, rank: int, num_processes: int) -> None:
        super().__init__(
            ProcessRank(rank=rank, num_processes=num_processes, local_rank=rank, num_local_processes=num_processes)
        )
        self.given: list[torch.Tensor] = []

    def add_tensor(self, tensor: torch.Tensor) -> None:
        self.given.append(tensor.clone())

    def copy_from_first(self, tensor: torch.Tensor) -> None:
        """All have the same already."""


def test_muon_is_shared_out(make_model):
    """Each of three processes gives the updates of its own matrices and zeros for the others': their sum is that of one alone."""
    config, given = TrainConfig(optimizer="muon"), {}
    for num_processes in (1, 3):
        for rank in range(num_processes):
            model, process = make_model("qwen3", n_layer=1), _Played(rank, num_processes)
            optimizer = build_optimizer(model, config, process)
            for step in range(2):
                _set_gradients(model, step)
                optimizer.step(0.0)
            given[num_processes, rank] = process.given
    for step in range(2):
        whole, parts = given[1, 0][step], [given[3, rank][step] for rank in range(3)]
        torch.testing.assert_close(sum(parts), whole)
        assert [int((part != 0).any()) for part in parts] == [1, 1, 1]
        assert (torch.stack(parts) != 0).sum(dim=0).max() == 1, "two of them gave the same matrix"


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_state_goes_on_to_the_bit(make_model, kind):
    """Weights and state taken to a new optimizer continue exactly as the old ones do."""
    config = TrainConfig(optimizer=kind)
    model = make_model("qwen3", tie_embeddings=False)
    optimizer = build_optimizer(model, config)
    for step in range(3):
        _set_gradients(model, step)
        optimizer.step(1e-2)
    state = optimizer.state()
    other = make_model("qwen3", tie_embeddings=False, scrambled=False)
    continued = build_optimizer(other, config)
    other.load_state_dict(model.state_dict())
    continued.load_state(state)
    for step in range(3, 6):
        for each, its in ((model, optimizer), (other, continued)):
            _set_gradients(each, step)
            its.step(1e-2)
    _assert_same_weights(model, other, atol=0.0, rtol=0.0)
    after = continued.state()
    assert all(torch.equal(tensor, after[name]) for name, tensor in optimizer.state().items())


def test_state_is_by_name_and_a_copy(make_model):
    """Every parameter is in the state by its name and shape, and later steps do not change what was taken."""
    model = make_model("gpt2")
    optimizer = build_optimizer(model, TrainConfig(optimizer="muon"))
    _set_gradients(model, 0)
    optimizer.step(1e-2)
    state = optimizer.state()
    before = {name: tensor.clone() for name, tensor in state.items()}
    for name, parameter in model.named_parameters():
        kinds = [key for key in state if key.endswith(f".{name}") and key.removesuffix(f".{name}") in KINDS]
        assert len(kinds) == (1 if name.startswith("blocks.") and parameter.ndim == 2 else 2)
        assert all(state[key].shape == parameter.shape for key in kinds)
    optimizer.step(1e-2)
    assert all(torch.equal(tensor, state[name]) for name, tensor in before.items())


KINDS = ("adamw.mean", "adamw.square", "muon.momentum")


@pytest.mark.parametrize("kind", ["adamw", "muon"])
def test_state_of_a_fresh_optimizer(make_model, kind):
    """The state before the first step can be taken up, too."""
    config = TrainConfig(optimizer=kind)
    model = make_model("gpt2")
    other = copy.deepcopy(model)
    optimizer, continued = build_optimizer(model, config), build_optimizer(other, config)
    continued.load_state(optimizer.state())
    for each, its in ((model, optimizer), (other, continued)):
        _set_gradients(each, 0)
        its.step(1e-2)
    _assert_same_weights(model, other, atol=0.0, rtol=0.0)
