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
from typing import Any

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

from whelp.model.gelu import CUBIC, LINEAR

_WORKSPACE_BYTES = 32 << 20  # what NVIDIA advises for Hopper
_BF16, _FLOAT32, _COMPUTE_FLOAT32 = 14, 0, 68
_TRANSPOSE_A, _END, _BIAS_POINTER, _AUX_POINTER, _AUX_STRIDE = 3, 7, 8, 11, 12  # attributes of a product
_PLAIN, _BIAS, _GELU, _GELU_SLOPE, _AUX = 1, 4, 32, 64, 128  # what it does at its end; all but the first can be added up
_MAX_WORKSPACE = 1  # attribute of a preference
_SPAN, _ROWS, _COLUMNS = 512, 16, 256  # of the kernel below
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
    torch.cuda.init()
    assert torch.version.cuda is not None
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
        self.heuristic = self._choose()

    def _set(self, attribute: int, value: Any) -> None:
        size = ctypes.c_size_t(ctypes.sizeof(value))
        _call("cublasLtMatmulDescSetAttribute", self.description, attribute, ctypes.byref(value), size)

    def _choose(self) -> _Heuristic:
        preference, found, count = ctypes.c_void_p(), _Heuristic(), ctypes.c_int()
        limit = ctypes.c_size_t(_WORKSPACE_BYTES)
        size = ctypes.c_size_t(ctypes.sizeof(limit))
        _call("cublasLtMatmulPreferenceCreate", ctypes.byref(preference))
        _call("cublasLtMatmulPreferenceSetAttribute", preference, _MAX_WORKSPACE, ctypes.byref(limit), size)
        a, b, d = self.layouts
        results = 1, ctypes.byref(found), ctypes.byref(count)
        _call("cublasLtMatmulAlgoGetHeuristic", _handle(self.device), self.description, a, b, d, d, preference, *results)
        _call("cublasLtMatmulPreferenceDestroy", preference)
        if count.value < 1:
            raise RuntimeError("cuBLASLt has no kernel for this product")
        return found

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
        """Fill `out`; `seen` is written by GELU, read by its slope."""
        if seen is not None:
            self._set(_AUX_POINTER, ctypes.c_void_p(seen.data_ptr()))
        if bias is not None:
            self._set(_BIAS_POINTER, ctypes.c_void_p(bias.data_ptr()))
        one, share = ctypes.c_float(1.0), ctypes.c_float(0.0 if add is None else 1.0)
        workspace = torch.empty(_WORKSPACE_BYTES, dtype=torch.uint8, device=out.device)
        stream = torch.cuda.current_stream(out.device).cuda_stream
        pairs: list[Any] = []
        for tensor, layout in zip((a, b), self.layouts, strict=False):
            pairs += [ctypes.c_void_p(tensor.data_ptr()), layout]
        pairs.append(ctypes.byref(share))
        for tensor in (out if add is None else add, out):
            pairs += [ctypes.c_void_p(tensor.data_ptr()), self.layouts[2]]
        pairs += [ctypes.byref(self.heuristic.algorithm), ctypes.c_void_p(workspace.data_ptr())]
        pairs += [ctypes.c_size_t(_WORKSPACE_BYTES), ctypes.c_void_p(stream)]
        _call("cublasLtMatmul", _handle(self.device), self.description, ctypes.byref(one), *pairs)


@functools.cache
def _product(device: int, sizes: tuple[int, int, int], end: int, *, transposes: bool) -> _Product:
    return _Product(device, sizes, end, transposes=transposes)


@triton.jit  # type: ignore[untyped-decorator]
def _slope_kernel(  # type: ignore[no-untyped-def]
    grad,
    seen,
    sums,
    num_tokens,
    num_features,
    LINEAR: tl.constexpr,
    CUBIC: tl.constexpr,
    SPAN: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    """One program SPAN tokens of COLUMNS features: the gradient of what GELU gave becomes that of what it saw; sums of it on the way."""
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    is_feature = columns < num_features
    first = tl.program_id(1).to(tl.int64) * SPAN
    total = tl.zeros((COLUMNS,), dtype=tl.float32)
    for row in range(0, SPAN, ROWS):
        rows = first + row + tl.arange(0, ROWS)
        is_inside = (rows < num_tokens)[:, None] & is_feature[None, :]
        place = rows[:, None] * num_features + columns[None, :]
        x = tl.load(seen + place, mask=is_inside, other=0.0).to(tl.float32)
        upstream = tl.load(grad + place, mask=is_inside, other=0.0).to(tl.float32)
        square = x * x
        share = tl.sigmoid(x * (LINEAR + CUBIC * square))
        slope = share + x * share * (1.0 - share) * (LINEAR + 3.0 * CUBIC * square)
        result = (upstream * slope).to(grad.dtype.element_ty)
        tl.store(grad + place, result, mask=is_inside)
        total += tl.sum(result.to(tl.float32), 0)
    tl.store(sums + tl.program_id(1) * num_features + columns, total, mask=is_feature)


def _multiply_by_slope(grad: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """In place; returns its sum over tokens (F,)."""
    num_tokens, num_features = grad.shape
    spans = triton.cdiv(num_tokens, _SPAN)
    sums = torch.empty(spans, num_features, dtype=torch.float32, device=grad.device)
    _slope_kernel[(triton.cdiv(num_features, _COLUMNS), spans)](
        grad, seen, sums, num_tokens, num_features, LINEAR, CUBIC, _SPAN, _ROWS, _COLUMNS, num_warps=8
    )
    return sums.sum(0)


@torch.library.custom_op("whelp::gelu_feed_forward", mutates_args=())
def _feed_forward(
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
    end = _PLAIN if contract_bias is None else _BIAS
    product = _product(device, (width, num_tokens, num_features), end, transposes=True)
    product.run(contract, activated, out, add=residual, bias=contract_bias)
    return out, activated, seen


@torch.library.custom_op("whelp::gelu_feed_forward_backward", mutates_args=())
def _backward(
    grad: torch.Tensor,
    x: torch.Tensor,
    expand: torch.Tensor,
    contract: torch.Tensor,
    activated: torch.Tensor,
    seen: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Gradients of x (N, D), of both matrices, and of the first bias (F,)."""
    grad, x = grad.contiguous(), x.contiguous()
    if USE_DGELU:
        (num_tokens, width), num_features = x.shape, expand.shape[0]
        seen_grad = torch.empty_like(seen)
        product = _product(x.device.index, (num_features, num_tokens, width), _GELU_SLOPE | _AUX, transposes=False)
        product.run(contract.contiguous(), grad, seen_grad, seen=seen)
        bias_grad = seen_grad.sum(0) if USE_DGELU == 2 else x.new_empty(num_features)
    else:
        seen_grad = grad @ contract
        bias_grad = _multiply_by_slope(seen_grad, seen).to(x.dtype)
    return seen_grad @ expand, seen_grad.t() @ x, grad.t() @ activated, bias_grad


USE_DGELU = 0


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


@_backward.register_fake
def _(
    grad: torch.Tensor,
    x: torch.Tensor,
    expand: torch.Tensor,
    contract: torch.Tensor,
    activated: torch.Tensor,
    seen: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    shapes = x.shape, expand.shape, contract.shape, expand.shape[:1]
    first, second, third, fourth = (x.new_empty(shape) for shape in shapes)
    return first, second, third, fourth


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[torch.Tensor, ...]) -> None:
    x, _, expand, expand_bias, contract, contract_bias = inputs
    ctx.has_biases = expand_bias is not None, contract_bias is not None
    ctx.save_for_backward(x, expand, contract, *output[1:])


def _differentiate(ctx: Any, grad: torch.Tensor, *_: Any) -> tuple[torch.Tensor | None, ...]:
    x_grad, expand_grad, contract_grad, expand_bias_grad = _backward(grad, *ctx.saved_tensors)
    has_expand_bias, has_contract_bias = ctx.has_biases
    expand_bias = expand_bias_grad if has_expand_bias else None
    contract_bias = grad.sum(0) if has_contract_bias else None
    return x_grad, grad, expand_grad, expand_bias, contract_grad, contract_bias


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
    return all(_distance(one, other) <= TOLERANCE for one, other in pairs)


def _distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Of two tensors, as a share of the second one's length."""
    return float(((one - other).norm() / other.norm()).detach())
