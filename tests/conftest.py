"""Small models, on one thread; no cache of the user's, and nothing else that only this machine has."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, settings

from fork_server import start_fork_server
from interpreter import run_interpreted as run_interpreted
from whelp.model import LanguageModel, ModelConfig, build_model, make_spec

_OF_THE_MACHINE = {
    *(
        "CLICOLOR",
        "CLICOLOR_FORCE",
        "COLUMNS",
        "FORCE_COLOR",
        "LINES",
        "NO_COLOR",
        "PY_COLORS",
        "TTY_COMPATIBLE",
        "TTY_INTERACTIVE",
    ),
    *("GITHUB_ACTIONS", "LESS", "PAGER"),  # its terminal
    *("LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", "RANK", "RAY_ADDRESS", "WORLD_SIZE"),  # a cluster
    *("ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),  # its way into the network, where our own servers are not
    *("DATA_GYM_CACHE_DIR", "HF_ENDPOINT", "HF_HUB_OFFLINE", "HF_TOKEN", "RAYON_NUM_THREADS", "TIKTOKEN_CACHE_DIR"),
    *("HF_DATASETS_OFFLINE", "HUGGING_FACE_HUB_TOKEN", "TRANSFORMERS_OFFLINE", "YOUTUBE_API_KEY"),
    *("WHELP_CACHE", "WHELP_CONTACT", "WHELP_TOKEN", "WHELP_TOKENIZERS", "WHELP_TUNE_KERNELS"),
}


# How long an example takes says something of the machine; and what one run draws, the next draws, too: WHELP_TEST_FUZZ draws anew.
settings.register_profile(
    "whelp", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="WHELP_TEST_FUZZ" not in os.environ
)
settings.load_profile("whelp")


def pytest_configure() -> None:
    """What is set on one machine and not on another decides no test."""
    for name in list(os.environ):
        if name.upper() in _OF_THE_MACHINE or name.startswith(("SLURM_", "WANDB_")):
            del os.environ[name]


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
