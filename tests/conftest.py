"""Small models, on one thread; no cache of the user's."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from fork_server import start_fork_server
from interpreter import run_interpreted as run_interpreted
from whelp.model import LanguageModel, ModelConfig, build_model, make_spec


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """Models this small only lose by a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is kept from run to run is kept in a folder of this run: one for all workers, and for subprocesses too."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of all workers
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WHELP_CACHE", str(folder / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_waiting_for_the_disk() -> Iterator[None]:
    """Nobody pulls the plug, so no test waits until the disk has written; that it is asked to, `test_files.py` tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


@pytest.fixture(scope="session")
def fork_server(own_cache: None) -> Any:
    """What starts children that have all imported."""
    return start_fork_server()


@pytest.fixture(scope="session")
def make_model() -> Callable[..., LanguageModel]:
    """Build a tiny model; with `scrambled`, no weight is left at a special value (one, zero, very small)."""

    def make(family: str, *, num_ids: int = 60, context_tokens: int = 24, scrambled: bool = True, **options) -> LanguageModel:
        config = ModelConfig(family=family, **{"n_layer": 2, "n_head": 4, "n_embd": 32} | options)
        model = build_model(make_spec(config, num_ids=num_ids, context_tokens=context_tokens), seed=1)
        if scrambled:
            generator = torch.Generator().manual_seed(2)
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.2)
        return model

    return make
