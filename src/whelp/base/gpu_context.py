"""A GPU of NVIDIA's takes a second or more to be opened; that can happen while libraries are still imported."""

from __future__ import annotations

import ctypes
import os
import sys
import threading


def open_gpu_early(number: int = 0) -> threading.Thread | None:
    """Begin to open a GPU's primary context, the one that PyTorch uses, in a thread; None where there is no such driver.

    Whatever goes wrong is left for PyTorch to find and to explain.
    """
    if not sys.platform.startswith("linux"):
        return None
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None
    os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")  # as PyTorch sets it, before the driver is asked
    thread = threading.Thread(target=_open, args=(driver, number), name="whelp-gpu")
    thread.start()
    return thread


def _open(driver: ctypes.CDLL, number: int) -> None:
    """Calls through ctypes let go of the interpreter's lock."""
    device, context = ctypes.c_int(), ctypes.c_void_p()
    if not driver.cuInit(0) and not driver.cuDeviceGet(ctypes.byref(device), number):
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device)
