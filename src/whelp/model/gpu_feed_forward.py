"""GPT-2's feed-forward half on a GPU: GELU and its gradient happen inside the matrix products, by cuBLASLt.

A product writes its result once, already activated, and beside it what GELU saw, which the backward pass needs; the backward product
multiplies by GELU's slope, and adds up the gradient of the bias, before it writes. PyTorch offers the first without what GELU saw, and
not the second, so cuBLASLt is called here directly: the library that PyTorch itself has loaded. `agrees` compares with PyTorch before
anything is trusted to it.
Shapes: N tokens, D width, F feed-forward width. cuBLASLt's matrices lie column by column: a (rows, columns) tensor of PyTorch is
its (columns, rows) matrix.
Constants: cublasLt.h and library_types.h of CUDA 12 and 13.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F

_WORKSPACE_BYTES = 32 << 20  # what NVIDIA advises for Hopper
_BF16, _FLOAT32, _COMPUTE_FLOAT32 = 14, 0, 68
_TRANSPOSE_A, _END, _BIAS_POINTER, _AUX_POINTER, _AUX_STRIDE = 3, 7, 8, 11, 12  # attributes of a product
_PLAIN, _BIAS, _GELU, _GELU_SLOPE, _AUX = 1, 4, 32, 64, 128  # what it does at its end; all but the first can be added up
_MAX_WORKSPACE = 1  # attribute of a preference
_NUM_CANDIDATES, _NUM_WARM, _NUM_TIMED = 8, 2, 8
TOLERANCE = 0.02  # as a share of the length: bf16 rounds to 0.004


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


class _Product:
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
        if end & _AUX:
            self._set(_AUX_STRIDE, ctypes.c_int64(m))
            self._set(_AUX_POINTER, place)
        if end & _BIAS:
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
        """Fill `out`; `seen` is written by GELU, read by its slope. The first call takes the time of every candidate."""
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


@functools.cache
def _product(device: int, sizes: tuple[int, int, int], end: int, *, transposes: bool) -> _Product:
    return _Product(device, sizes, end, transposes=transposes)


def multiply_linear(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, residual: torch.Tensor | None, out: torch.Tensor
) -> None:
    """Fill `out` (N, F) with x (N, D) times weight (F, D), plus bias and residual; all contiguous."""
    sizes = weight.shape[0], x.shape[0], x.shape[1]
    product = _product(x.device.index, sizes, _PLAIN if bias is None else _BIAS, transposes=True)
    product.run(weight, x, out, add=residual, bias=bias)


def multiply_feed_forward(
    x: torch.Tensor,
    residual: torch.Tensor,
    expand: torch.Tensor,
    expand_bias: torch.Tensor | None,
    contract: torch.Tensor,
    contract_bias: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The result (N, D), what GELU gave and what it saw (N, F)."""
    x, residual, expand, contract = x.contiguous(), residual.contiguous(), expand.contiguous(), contract.contiguous()
    (num_tokens, width), num_features, device = x.shape, expand.shape[0], x.device.index
    activated, seen, out = x.new_empty(num_tokens, num_features), x.new_empty(num_tokens, num_features), torch.empty_like(x)
    end = _GELU | _AUX | (0 if expand_bias is None else _BIAS)
    product = _product(device, (num_features, num_tokens, width), end, transposes=True)
    product.run(expand, x, activated, bias=expand_bias, seen=seen)
    multiply_linear(activated, contract, contract_bias, residual, out)
    return out, activated, seen


def multiply_slope(grad: torch.Tensor, contract: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """The gradient of what GELU saw (N, F), from that of the result (N, D)."""
    grad, contract = grad.contiguous(), contract.contiguous()
    (num_tokens, width), num_features, device = grad.shape, seen.shape[1], grad.device.index
    seen_grad = torch.empty_like(seen)
    product = _product(device, (num_features, num_tokens, width), _GELU_SLOPE | _AUX, transposes=False)
    product.run(contract, grad, seen_grad, seen=seen)
    return seen_grad


# For the compiler, which asks of an operator only what it gives; calling them without one would import it, for two seconds.
_feed_forward = torch.library.custom_op("whelp::gelu_feed_forward", multiply_feed_forward, mutates_args=())
_slope_product = torch.library.custom_op("whelp::gelu_slope_product", multiply_slope, mutates_args=())


@_feed_forward.register_fake
def _(
    x: torch.Tensor,
    residual: torch.Tensor,
    expand: torch.Tensor,
    expand_bias: torch.Tensor | None,
    contract: torch.Tensor,
    contract_bias: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    features = (x.shape[0], expand.shape[0])
    return x.new_empty(x.shape), x.new_empty(features), x.new_empty(features)


@_slope_product.register_fake
def _(grad: torch.Tensor, contract: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(seen)


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    x, _, expand, expand_bias, contract, contract_bias = inputs
    ctx.has_biases = expand_bias is not None, contract_bias is not None
    ctx.save_for_backward(x, expand, contract, *output[1:])


def _differentiate(ctx: Any, grad: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
    x, expand, contract, activated, seen = ctx.saved_tensors
    seen_grad = _slope_product(grad, contract, seen)
    biases = [part.sum(0) if has else None for part, has in zip((seen_grad, grad), ctx.has_biases, strict=True)]
    return seen_grad @ expand, grad, seen_grad.t() @ x, biases[0], grad.t() @ activated, biases[1]


_feed_forward.register_autograd(_differentiate, setup_context=_remember)


def gelu_feed_forward(
    x: torch.Tensor, residual: torch.Tensor, expand: torch.nn.Linear, contract: torch.nn.Linear
) -> torch.Tensor:
    """residual + contract(tanh-GELU(expand(x))), products in bf16: (..., D) -> (..., D); D and F multiples of 8."""
    parts = [expand.weight, expand.bias, contract.weight, contract.bias]
    narrow = [None if part is None else part.to(torch.bfloat16) for part in parts]
    flat = [tensor.to(torch.bfloat16).flatten(0, -2) for tensor in (x, residual)]
    out: torch.Tensor = _feed_forward(*flat, *narrow)[0]
    return out.view(x.shape)


@functools.cache
def agrees(device: torch.device) -> bool:
    """Whether the products run here, and give what PyTorch gives (value and gradients, with biases and without)."""
    if not torch.cuda.is_available() or torch.version.cuda is None:
        return False
    try:
        return all(_is_same(device, bias=bias) for bias in (True, False))
    except (OSError, RuntimeError, AttributeError):
        return False


def _is_same(device: torch.device, *, bias: bool) -> bool:
    draw = torch.Generator().manual_seed(0)
    expand, contract = torch.nn.Linear(64, 256, bias=bias), torch.nn.Linear(256, 64, bias=bias)
    x, residual, grad = torch.randn(3, 96, 64, generator=draw).to(device)
    with torch.no_grad():
        for parameter in (*expand.parameters(), *contract.parameters()):
            parameter.copy_(torch.randn(parameter.shape, generator=draw) / 8)
    expand, contract = expand.to(device), contract.to(device)
    leaves = [x.requires_grad_(), residual.requires_grad_(), *expand.parameters(), *contract.parameters()]
    with torch.enable_grad():
        wanted = residual + contract(F.gelu(expand(x), approximate="tanh"))
        found = gelu_feed_forward(x, residual, expand, contract).float()
        pairs = [(found, wanted)]
        pairs += zip(torch.autograd.grad(found, leaves, grad), torch.autograd.grad(wanted, leaves, grad), strict=True)
    return all(measure_distance(one, other) <= TOLERANCE for one, other in pairs)


def measure_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of two tensors, as a share of the second one's length."""
    return float(((one - other).norm() / other.norm()).detach())
