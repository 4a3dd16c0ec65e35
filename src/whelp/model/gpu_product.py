"""Products of bf16 matrices by cuBLASLt, called directly: the library that PyTorch itself has loaded.

PyTorch takes the library's first suggestion for a product, which is up to 10 % slower than its best, and offers few of the things that
a product can do at its end. Here each suggestion is timed once.
cuBLASLt's matrices lie column by column: a (rows, columns) tensor of PyTorch is its (columns, rows) matrix.
Constants: cublasLt.h and library_types.h of CUDA 12 and 13.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch

_WORKSPACE_BYTES = 32 << 20  # what NVIDIA advises for Hopper
_BF16, _FLOAT32, _COMPUTE_FLOAT32 = 14, 0, 68
_TRANSPOSE_A, _END, _BIAS_POINTER, _AUX_POINTER, _AUX_STRIDE = 3, 7, 8, 11, 12  # attributes of a product
# What it does at its end; all but the first can be added up.
PLAIN, BIAS, GELU, GELU_SLOPE, AUX = 1, 4, 32, 64, 128
_MAX_WORKSPACE = 1  # attribute of a preference
_NUM_CANDIDATES, _NUM_WARM, _NUM_TIMED = 8, 2, 8


class _Heuristic(ctypes.Structure):
    _fields_ = [
        ("algorithm", ctypes.c_uint64 * 8),
        ("workspace_bytes", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("waves", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    ]


@functools.cache
def _library() -> ctypes.CDLL:
    assert torch.version.cuda is not None, "needs NVIDIA's libraries"
    torch.cuda.init()
    return ctypes.CDLL(f"libcublasLt.so.{torch.version.cuda.split('.')[0]}")


def _call(name: str, *arguments: Any) -> None:
    status = getattr(_library(), name)(*arguments)
    if status:
        raise RuntimeError(f"{name} answered {status}")


@functools.cache
def _handle(device: int) -> ctypes.c_void_p:
    handle = ctypes.c_void_p()
    with torch.cuda.device(device):
        _call("cublasLtCreate", ctypes.byref(handle))
    return handle


class Product:
    """One product of fixed sizes, D = end(A B + C): A (m, k), or (k, m) transposed; B (k, n); C and D (m, n)."""

    def __init__(self, device: int, sizes: tuple[int, int, int], end: int, *, transposes: bool) -> None:
        m, n, k = sizes
        self.device = device
        self.description = ctypes.c_void_p()
        _call("cublasLtMatmulDescCreate", ctypes.byref(self.description), _COMPUTE_FLOAT32, _FLOAT32)
        self._set(_TRANSPOSE_A, ctypes.c_int32(int(transposes)))
        self._set(_END, ctypes.c_int32(end))
        self.layouts = [ctypes.c_void_p() for _ in range(3)]
        for layout, (rows, columns) in zip(self.layouts, [(k, m) if transposes else (m, k), (k, n), (m, n)], strict=True):
            sizes_64 = ctypes.c_uint64(rows), ctypes.c_uint64(columns), ctypes.c_int64(rows)
            _call("cublasLtMatrixLayoutCreate", ctypes.byref(layout), _BF16, *sizes_64)
        # A kernel is chosen with the pointers in place: any that are aligned as tensors are.
        place = ctypes.c_void_p(torch.empty(256, dtype=torch.uint8, device=f"cuda:{device}").data_ptr())
        if end & AUX:
            self._set(_AUX_STRIDE, ctypes.c_int64(m))
            self._set(_AUX_POINTER, place)
        if end & BIAS:
            self._set(_BIAS_POINTER, place)
        self.candidates = self._list_candidates()
        self.is_tuned = False

    def _set(self, attribute: int, value: Any) -> None:
        size = ctypes.c_size_t(ctypes.sizeof(value))
        _call("cublasLtMatmulDescSetAttribute", self.description, attribute, ctypes.byref(value), size)

    def _list_candidates(self) -> list[_Heuristic]:
        """Kernels for this product, the likeliest first."""
        preference, found, count = ctypes.c_void_p(), (_Heuristic * _NUM_CANDIDATES)(), ctypes.c_int()
        limit = ctypes.c_size_t(_WORKSPACE_BYTES)
        size = ctypes.c_size_t(ctypes.sizeof(limit))
        _call("cublasLtMatmulPreferenceCreate", ctypes.byref(preference))
        _call("cublasLtMatmulPreferenceSetAttribute", preference, _MAX_WORKSPACE, ctypes.byref(limit), size)
        a, b, d = self.layouts
        results = _NUM_CANDIDATES, found, ctypes.byref(count)
        _call("cublasLtMatmulAlgoGetHeuristic", _handle(self.device), self.description, a, b, d, d, preference, *results)
        _call("cublasLtMatmulPreferenceDestroy", preference)
        if count.value < 1:
            raise RuntimeError("cuBLASLt has no kernel for this product")
        return list(found)[: count.value]

    def run(
        self,
        a: torch.Tensor,
        b: torch.Tensor,
        out: torch.Tensor,
        *,
        add: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        seen: torch.Tensor | None = None,
    ) -> None:
        """Fill `out`; `seen` is written by GELU, read by its slope. The first call times every candidate."""
        if seen is not None:
            self._set(_AUX_POINTER, ctypes.c_void_p(seen.data_ptr()))
        if bias is not None:
            self._set(_BIAS_POINTER, ctypes.c_void_p(bias.data_ptr()))
        one, share = ctypes.c_float(1.0), ctypes.c_float(0.0 if add is None else 1.0)
        workspace = torch.empty(_WORKSPACE_BYTES, dtype=torch.uint8, device=out.device)
        stream = torch.cuda.current_stream(out.device)
        factors = [(a, self.layouts[0]), (b, self.layouts[1])]
        results = [(out if add is None else add, self.layouts[2]), (out, self.layouts[2])]
        pointers = [[ctypes.c_void_p(tensor.data_ptr()), layout] for tensor, layout in factors + results]

        def multiply(candidate: _Heuristic) -> None:
            _call(
                "cublasLtMatmul",
                *(_handle(self.device), self.description, ctypes.byref(one), *pointers[0], *pointers[1]),
                *(ctypes.byref(share), *pointers[2], *pointers[3], ctypes.byref(candidate.algorithm)),
                *(
                    ctypes.c_void_p(workspace.data_ptr()),
                    ctypes.c_size_t(_WORKSPACE_BYTES),
                    ctypes.c_void_p(stream.cuda_stream),
                ),
            )

        with torch.cuda.device(self.device):
            if not self.is_tuned and not torch.cuda.is_current_stream_capturing():
                self.candidates.sort(key=lambda candidate: _take_time(multiply, candidate, stream))
                self.is_tuned = True
            multiply(self.candidates[0])


def _take_time(multiply: Callable[[_Heuristic], None], candidate: _Heuristic, stream: torch.cuda.Stream) -> float:
    """Milliseconds of a few runs, one after the other as in a step; endless where the kernel does not run."""
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    try:
        for run in range(_NUM_WARM + _NUM_TIMED):
            if run == _NUM_WARM:
                begin.record(stream)
            multiply(candidate)
    except RuntimeError:
        return float("inf")
    end.record(stream)
    end.synchronize()
    return float(begin.elapsed_time(end))
