"""First uses that take long on a GPU, in a thread, while the model is built: kernels are compiled and compared, libraries loaded."""

from __future__ import annotations

import importlib
import threading

import torch

from whelp.model.config import ModelSpec
from whelp.model.triton_here import HAS_TRITON


def warm_up(spec: ModelSpec, device: torch.device) -> threading.Thread | None:
    """Begin to make ready what compiled training of such a model will ask for; None where there is nothing to gain."""
    if device.type != "cuda":
        return None
    number = torch.cuda.current_device() if device.index is None else device.index
    thread = threading.Thread(target=_warm_up, args=(spec, torch.device("cuda", number)), name="whelp-warm-up", daemon=True)
    thread.start()
    return thread


def _warm_up(spec: ModelSpec, device: torch.device) -> None:
    from whelp.model.gpt2 import has_working_block

    with torch.cuda.device(device):
        if HAS_TRITON and spec.family != "hf":
            from whelp.model.gpu_cross_entropy import warm_up_kernel

            warm_up_kernel(spec.vocab_size, device)
        if spec.family == "gpt2" and has_working_block(spec, device):
            return
    importlib.import_module("torch._inductor.compile_fx")  # for a model that is compiled: three seconds
