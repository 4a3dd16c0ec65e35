"""A model divided over two and three processes: the same numbers as in one (over four: `tests/cli/test_relay.py`)."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from whelp.artifacts.checkpoint_parts import SavedTensors, begin_parts, find_state_files, unfinished_folder, write_part
from whelp.model import LanguageModel
from whelp.model.build import build_skeleton
from whelp.train import TrainConfig, build_optimizer
from whelp.train.process_group import ProcessGroup
from whelp.train.shard import ShardedOptimizer, fill_model, gather_weights, shard_model
from whelp.train.sharded_muon import share_out

from .many import run_together

CPU = torch.device("cpu")


def _tokens(num_rows: int) -> torch.Tensor:
    return torch.randint(0, 60, (num_rows, 13), generator=torch.Generator().manual_seed(3))


def _train(model: LanguageModel, optimizer: Any, tokens: torch.Tensor, num_steps: int = 3) -> list[float]:
    """Steps on the same rows; the norms of their gradients."""
    norms = []
    for _ in range(num_steps):
        (model.loss(tokens[:, :-1], tokens[:, 1:]) / 96).backward()
        norms.append(float(optimizer.clip(0.5)))
        optimizer.step(1e-2)
        optimizer.zero_grad()
    return norms


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is of POSIX: run the tests on Linux or macOS")
@pytest.mark.parametrize(("family", "num_processes"), [("qwen3", 2), ("gpt2", 3)])
def test_divided_as_whole(make_model: Callable[..., LanguageModel], tmp_path: Path, family: str, num_processes: int) -> None:
    """Weights, norms and state after some steps; a state that one process saved is taken up, and the other way round."""
    config, options = TrainConfig(optimizer="muon", epsilon=1e-4, weight_decay=0.3), {"n_embd": 24, "ffn_width": 34}
    whole, tokens = make_model(family, **options), _tokens(8)
    first = copy.deepcopy(whole)
    alone = build_optimizer(whole, config)
    first_norms = _train(whole, alone, tokens)
    begun, weights = alone.state(), {name: tensor.detach().clone() for name, tensor in whole.named_parameters()}
    more_norms = _train(whole, alone, tokens)

    def work(processes: ProcessGroup) -> Any:
        model = build_skeleton(whole.spec)
        shard_model(model, CPU, processes)
        fill_model(model, first if processes.is_first else None, CPU, processes)
        for name, tensor in gather_weights(model, processes).items():
            assert torch.equal(tensor, first.get_parameter(name)), f"{name}: not the first weights, to the bit"
        divided = ShardedOptimizer(model, config, processes)
        own = tokens[processes.rank :: processes.size]
        norms, saved = _train(model, divided, own), tmp_path / "saved"
        if processes.is_first:
            begin_parts(saved)
        processes.wait()
        write_part(saved, processes.rank, processes.size, divided.own_rows())
        processes.wait()
        found = gather_weights(model, processes)
        divided.load_state(begun)
        return norms, found, _train(model, divided, own)

    results = run_together(num_processes, tmp_path, work)
    for norms, _, later_norms in results:
        assert norms == pytest.approx(first_norms, rel=1e-4)
        assert later_norms == pytest.approx(more_norms, rel=1e-3)
    for name, tensor in weights.items():
        torch.testing.assert_close(results[0][1][name], tensor, atol=1e-5, rtol=1e-3)
    assert all(not found for _, found, _ in results[1:]), "only the first has the weights whole"
    files = find_state_files(unfinished_folder(tmp_path / "saved"))
    assert len(files) == num_processes
    state = SavedTensors(files)
    assert set(state) == set(begun)
    for name, tensor in begun.items():
        torch.testing.assert_close(state[name], tensor, atol=1e-5, rtol=1e-3)
    whole.load_state_dict(weights)
    alone.load_state(state)
    assert _train(whole, alone, tokens) == pytest.approx(more_norms, rel=1e-3), "one process goes on from the parts"


def test_matrices_are_shared_out_evenly() -> None:
    """Every matrix once; nobody has much more to do than another."""
    shapes = {f"{layer}.{name}": torch.Size(shape) for layer in range(12) for name, shape in _BLOCK.items()}
    for num_processes in (1, 2, 3, 8):
        shares = share_out(shapes, num_processes)
        assert sorted(name for share in shares for name in share) == sorted(shapes)
        loads = [sum(shapes[name][0] * shapes[name][1] * min(shapes[name]) for name in share) for share in shares]
        assert max(loads) <= 1.1 * sum(loads) / num_processes
    assert share_out({"only": torch.Size((3, 4))}, 2) == [["only"], []]


_BLOCK = {"attend": (2304, 768), "project": (768, 768), "expand": (3072, 768), "contract": (768, 3072)}
