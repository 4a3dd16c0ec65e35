"""Float32 matrix products that round their factors to bf16, on a CPU that has instructions for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def rounded_products(is_wanted: bool) -> Iterator[None]:
    """Inside, if it is wanted, float32 products round their factors to bf16; sums and results are float32 all the same.

    The switch is the whole process's, so it is held for single products.
    """
    if not is_wanted:
        yield
        return
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
