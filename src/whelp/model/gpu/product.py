"""Products of bf16 matrices by cuBLASLt, called directly: the library that PyTorch itself has loaded.

PyTorch takes the library's first suggestion for a product, which is up to 10 % slower than its best, and offers few of the things that
a product can do at its end. Here each suggestion is timed once.
cuBLASLt's matrices lie column by column: a (rows, columns) tensor of PyTorch is its (columns, rows) matrix.
Constants: cublasLt.h and library_types.h of CUDA 12 and 13.
Shapes: left (M, K), right (K, N), result (M, N).
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import threading
from collections.abc import Callable, Hashable, Iterable
from typing import Any

import torch

from whelp.base.log import log
from whelp.model.kernel_check import find_fault, measure_relative_error

_WORKSPACE_BYTES = 32 << 20  # what NVIDIA advises for Hopper
_BF16, _FLOAT32, _COMPUTE_FLOAT32 = 14, 0, 68
_TRANSPOSE_A, _TRANSPOSE_B, _END, _BIAS_POINTER, _AUX_POINTER, _AUX_STRIDE = 3, 4, 7, 8, 11, 12  # attributes of a product
# What it does at its end; all but the first can be added up.
PLAIN, BIAS, GELU, GELU_SLOPE, AUX = 1, 4, 32, 64, 128
_MAX_WORKSPACE = 1  # attribute of a preference
_NUM_CANDIDATES, _NUM_ROUNDS, _NUM_WARM, _NUM_TIMED = 8, 2, 1, 4
_ALIGNMENT, _MULTIPLE = (
    256,
    8,
)  # bytes at which the library takes tensors to begin, and sizes for which all of its kernels are there
_MOST_SIZES = 64  # of products that are timed when they come first; rows of ever other lengths are not
_TOLERANCE = 0.01  # as a share of the length: bf16 rounds to 0.004
_TURNS, _NUMBERS = ((False, False), (False, True), (True, False)), (torch.bfloat16, torch.float32)
_timed: set[Hashable] = set()
_works: dict[torch.device, bool] = {}
_trying = threading.Lock()


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
    """One product of fixed sizes, D = end(A B + C), column by column: A (m, k), B (k, n); C and D (m, n).

    Args:
        transposes: Whether A is given as (k, m), and B as (n, k).
        is_wide: Whether C and D are in float32.
    """

    def __init__(
        self, device: int, sizes: tuple[int, int, int], end: int, *, transposes: tuple[bool, bool], is_wide: bool = False
    ) -> None:
        m, n, k = sizes
        self.device = device
        self.description = ctypes.c_void_p()
        _call("cublasLtMatmulDescCreate", ctypes.byref(self.description), _COMPUTE_FLOAT32, _FLOAT32)
        self._set(_TRANSPOSE_A, ctypes.c_int32(int(transposes[0])))
        self._set(_TRANSPOSE_B, ctypes.c_int32(int(transposes[1])))
        self._set(_END, ctypes.c_int32(end))
        self.layouts = [ctypes.c_void_p() for _ in range(3)]
        shapes = (k, m) if transposes[0] else (m, k), (n, k) if transposes[1] else (k, n), (m, n)
        numbers = _BF16, _BF16, _FLOAT32 if is_wide else _BF16
        for layout, number, (rows, columns) in zip(self.layouts, numbers, shapes, strict=True):
            sizes_64 = ctypes.c_uint64(rows), ctypes.c_uint64(columns), ctypes.c_int64(rows)
            _call("cublasLtMatrixLayoutCreate", ctypes.byref(layout), number, *sizes_64)
        # A kernel is chosen with the pointers in place: any that are aligned as tensors are.
        place = ctypes.c_void_p(torch.empty(_ALIGNMENT, dtype=torch.uint8, device=f"cuda:{device}").data_ptr())
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
        factors = [(a, self.layouts[0]), (b, self.layouts[1]), (out if add is None else add, self.layouts[2])]
        pointers = [argument for tensor, layout in factors for argument in (ctypes.c_void_p(tensor.data_ptr()), layout)]

        def multiply(candidate: _Heuristic, into: torch.Tensor) -> None:
            _call(
                "cublasLtMatmul",
                *(_handle(self.device), self.description, ctypes.byref(one), *pointers[:4], ctypes.byref(share)),
                *(*pointers[4:], ctypes.c_void_p(into.data_ptr()), self.layouts[2], ctypes.byref(candidate.algorithm)),
                *(
                    ctypes.c_void_p(workspace.data_ptr()),
                    ctypes.c_size_t(_WORKSPACE_BYTES),
                    ctypes.c_void_p(stream.cuda_stream),
                ),
            )

        with torch.cuda.device(self.device):
            if not self.is_tuned and not torch.cuda.is_current_stream_capturing():
                into = torch.empty_like(out) if add is out else out  # which must be added to once
                self._sort_candidates(lambda candidate: multiply(candidate, into), stream)
            multiply(self.candidates[0], out)

    def _sort_candidates(self, multiply: Callable[[_Heuristic], None], stream: torch.cuda.Stream) -> None:
        """The fastest first. Rounds in turn, since a GPU's clock rises and falls: each one's best counts."""
        rounds = [[_take_time(multiply, candidate, stream) for candidate in self.candidates] for _ in range(_NUM_ROUNDS)]
        times = [min(of_one) for of_one in zip(*rounds, strict=True)]
        order = sorted(range(len(times)), key=times.__getitem__)
        self.candidates = [self.candidates[number] for number in order]
        self.is_tuned = True


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


@functools.cache
def _product(
    device: int, sizes: tuple[int, int, int], end: int, *, transposes: tuple[bool, bool], is_wide: bool = False
) -> Product:
    return Product(device, sizes, end, transposes=transposes, is_wide=is_wide)


def multiply(
    left: torch.Tensor,
    right: torch.Tensor,
    out: torch.Tensor,
    end: int = PLAIN,
    *,
    add: torch.Tensor | None = None,
    bias: torch.Tensor | None = None,
    seen: torch.Tensor | None = None,
) -> None:
    """Fill `out` (M, N), bf16 or float32, with end(left (M, K) right (K, N) + bias + add) of bf16.

    Args:
        left, right: Each contiguous, or the transpose of what is.
        add: Like `out`, which it may be.
        bias: (N,). seen: (M, N), written by GELU, read by its slope.
    """
    turns = not right.is_contiguous(), not left.is_contiguous()
    sizes = right.shape[1], left.shape[0], left.shape[1]
    product = _product(left.device.index, sizes, end, transposes=turns, is_wide=out.dtype == torch.float32)
    factors = [factor.t() if turn else factor for factor, turn in zip((right, left), turns, strict=True)]
    product.run(factors[0], factors[1], out, add=add, bias=bias, seen=seen)


def multiply_plain(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor, *, adds: bool = False) -> None:
    """Fill `out` (M, N) with left (M, K) right (K, N), or add it, by the fastest way there is; sums are in float32."""
    if _fits(left, right, out):
        multiply(left, right, out, add=out if adds else None)
    elif left.dtype == out.dtype:
        out.addmm_(left, right) if adds else torch.mm(left, right, out=out)
    else:
        product = torch.mm(left, right, out_dtype=out.dtype) if left.is_cuda else left.to(out.dtype) @ right.to(out.dtype)
        out.add_(product) if adds else out.copy_(product)


def _fits(left: torch.Tensor, right: torch.Tensor, out: torch.Tensor) -> bool:
    if not left.is_cuda or not left.dtype == right.dtype == torch.bfloat16 or out.dtype not in (torch.bfloat16, torch.float32):
        return False
    sizes = *left.shape, right.shape[1]
    tensors = left, right, out
    if any(size % _MULTIPLE for size in sizes) or any(tensor.data_ptr() % _ALIGNMENT for tensor in tensors):
        return False
    if not out.is_contiguous() or not all(factor.is_contiguous() or factor.t().is_contiguous() for factor in (left, right)):
        return False
    return _is_timed((left.device, out.dtype, *sizes)) and has_working_products(left.device)


def _is_timed(sizes: Hashable) -> bool:
    if len(_timed) < _MOST_SIZES:
        _timed.add(sizes)
    return sizes in _timed


def has_working_products(device: torch.device) -> bool:
    """Whether products by the library are on this device what PyTorch's are; tried once, and not while a graph is recorded."""
    with _trying:  # in a thread of `warm_up`, perhaps
        if device not in _works and not torch.cuda.is_current_stream_capturing():
            _works[device] = _try_products(device)
        return _works.get(device, False)


def _try_products(device: torch.device) -> bool:
    def measure() -> Iterable[float]:
        for turns, number in itertools.product(_TURNS, _NUMBERS):
            yield from _measure_errors(device, turns, number)

    fault = find_fault(measure, allowed=_TOLERANCE)
    if fault is not None:
        log.debug("products are the framework's (%s)", fault)
    return fault is None


def _measure_errors(device: torch.device, turns: tuple[bool, bool], number: torch.dtype) -> tuple[float, float]:
    """Relative distances of a product, and of it added to one, from float32."""
    draw = torch.Generator().manual_seed(0)
    shapes = ((32, 48), (48, 24))
    factors = [torch.randn(shape[::-1] if turn else shape, generator=draw) for shape, turn in zip(shapes, turns, strict=True)]
    left, right = (
        factor.to(device, torch.bfloat16).t() if turn else factor.to(device, torch.bfloat16)
        for factor, turn in zip(factors, turns, strict=True)
    )
    exact, out = left.float() @ right.float(), torch.empty(32, 24, dtype=number, device=device)
    multiply(left, right, out)
    once = measure_relative_error(out, exact)
    multiply(left, right, out, add=out)
    return once, measure_relative_error(out, 2 * exact)
