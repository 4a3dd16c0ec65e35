"""Triton's interpreter made to round to 8 bits as GPUs and PyTorch do: to the nearest, and no
farther than to the largest number. It cuts off, or carries wrongly."""

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter

_EIGHT_BITS = {tl.float8e5: torch.float8_e5m2, tl.float8e4nv: torch.float8_e4m3fn}


def round_well() -> None:
    """From now on, in this process."""
    convert = interpreter._convert_float

    def convert_well(values, kind, wanted, mode):
        if kind != tl.float32 or wanted not in _EIGHT_BITS:
            return convert(values, kind, wanted, mode)
        number = _EIGHT_BITS[wanted]
        largest = torch.finfo(number).max
        return torch.from_numpy(np.ascontiguousarray(values)).clamp(-largest, largest).to(number).view(torch.uint8).numpy()

    interpreter._convert_float = convert_well
