"""First uses that take long on a GPU, in threads, while the model is built: kernels are compiled and compared, libraries loaded."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

import torch

from whelp.base.log import log
from whelp.model.config import ModelSpec
from whelp.model.gpu.triton_support import HAS_TRITON


def warm_up(spec: ModelSpec, device: torch.device, *, eight_bits: bool = False) -> list[threading.Thread]:
    """Begin to make ready what compiled training of such a model will ask for: the threads that do."""
    if device.type != "cuda" or not HAS_TRITON:
        return []
    from whelp.model.gpt2 import has_working_block
    from whelp.model.gpu import document_attention, embedding
    from whelp.model.gpu.cross_entropy import warm_up_kernel
    from whelp.model.gpu.product import has_working_products

    own = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    uses: list[Callable[[], object]] = []
    if spec.family != "hf":
        uses += [lambda: warm_up_kernel(spec.vocab_size, own, needs_gradient=True, eight_bits=eight_bits)]
        uses += [lambda: warm_up_kernel(spec.vocab_size, own, needs_gradient=False)]  # for evaluating
        uses += [lambda: has_working_products(own)]
    if spec.family == "gpt2":
        ways = (False, True) if eight_bits else (False,)
        uses += [functools.partial(has_working_block, spec, own, eight_bits=way) for way in ways]
        uses += [lambda: embedding.has_working_kernels(own, spec.n_embd)]
        if spec.context_tokens % document_attention.MULTIPLE == 0:
            uses += [lambda: document_attention.has_working_kernels(own, spec.n_head, spec.head_width)]

    if spec.family == "rwkv4":
        from whelp.model.gpu.decayed_average import has_working_kernels

        uses += [lambda: has_working_kernels(own, torch.bfloat16, spec.n_embd, has_documents=False)]

    def run(use: Callable[[], object]) -> None:
        try:
            with torch.cuda.device(own):
                use()
        except Exception as problem:  # it is asked for again in earnest, and explained then
            log.debug("a first use failed: %s", problem)

    threads = [threading.Thread(target=run, args=(use,), name="whelp-warm-up") for use in uses]
    for thread in threads:
        thread.start()
    return threads
