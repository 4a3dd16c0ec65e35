"""Which code runs a layer's memory: the Triton kernels of flash-linear-attention on a GPU, our own for RWKV-4; PyTorch elsewhere.

What follows is of the library; of our own kernels `gpu/decayed_average.py` tells. A GPU without the library is served by PyTorch, too, at a
fraction of the speed; `find_kernels` tells. So is float32, which the kernels do not promise to compute well. They are trusted
only after they have agreed with PyTorch once, on a small text, values and gradients: they choose their own settings on each kind of
GPU, and their releases differ.

A kernel is one operator of the framework, `whelp::read`, so that its compiler sees what is before and after as one graph.
Shapes: B rows, T tokens, H heads, K head width, N documents of all rows.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch.library import Library, register_autograd, register_fake

from whelp.base.log import log
from whelp.model.gpu.triton_support import HAS_TRITON
from whelp.model.kernel_check import find_fault, measure_relative_error
from whelp.model.rwkv import decayed_average, delta_rule, linear_attention
from whelp.model.rwkv.kernel_tuning import limit_tuning

if HAS_TRITON:
    from whelp.model.gpu import decayed_average as gpu_decayed_average

_TOLERANCE = 0.1  # of bf16 kernels against float32; a wrong one is off by its whole length
MatrixInputs = delta_rule.Inputs | linear_attention.Inputs
Reading = tuple[torch.Tensor, torch.Tensor]
"""What every token reads, and the memory after the last."""
_Run = Callable[..., Reading]


@functools.cache
def find_kernels() -> bool:
    """Whether the kernels are installed (`pip install 'whelp[rwkv]'`)."""
    return all(importlib.util.find_spec(name) is not None for name in ("fla", "triton"))


def choose_kernel(name: str, x: torch.Tensor, num_heads: int, head_width: int, *, has_documents: bool) -> str | None:
    """The kernel that reads x (B, T, D) and agrees with PyTorch; None: PyTorch reads it.

    Outside of what is compiled: a kernel of a new form is compared first.
    """
    if name == "rwkv4" and x.is_cuda and HAS_TRITON:
        works = gpu_decayed_average.has_working_kernels(x.device, x.dtype, x.shape[-1], has_documents=has_documents)
        return name if works else None
    if name not in KERNELS or not x.is_cuda or x.dtype == torch.float32 or not find_kernels():
        return None
    form = Form(x.device, x.dtype, num_heads, head_width, has_documents)
    return name if find_disagreement(name, form) is None else None


def run_matrix_memory(
    inputs: MatrixInputs,
    memory: torch.Tensor,
    starts: torch.Tensor | None,
    counts: torch.Tensor | None,
    kernel: str | None = None,
) -> Reading:
    """RWKV-7, by the delta rule, RWKV-6 and RWKV-5, by linear attention: what every token reads (B, T, H, K), and the memory
    after the last (B, H, K, K), float32.

    Args:
        starts: (B, T) bool, true where a document begins.
        counts: (B, T) bool, false at padding, which changes nothing.
        kernel: What `choose_kernel` answered.
    """
    if counts is not None:
        keep = counts[..., None, None]
        changing = [name for name in ("log_w", "k", "b") if name in inputs._fields]
        inputs = inputs._replace(**{name: torch.where(keep, getattr(inputs, name), 0.0) for name in changing})
    rule = delta_rule if isinstance(inputs, delta_rule.Inputs) else linear_attention
    if inputs.r.shape[1] == 1 and starts is None:
        read: Reading = rule.step(inputs, memory)
    elif kernel is not None:
        read = run_kernel(kernel, inputs, memory, starts)
    else:
        with torch.autocast(inputs.r.device.type, enabled=False):
            read = rule.scan(inputs, memory, starts)
    return read


def run_decayed_average(
    inputs: decayed_average.Inputs,
    memory: torch.Tensor,
    starts: torch.Tensor | None,
    counts: torch.Tensor | None,
    kernel: str | None = None,
) -> Reading:
    """RWKV-4: as `run_matrix_memory`, with what is read (B, T, D) and the memory (B, 2, D)."""
    if kernel is not None and inputs.k.shape[1] > 1:
        return gpu_decayed_average.scan(inputs, memory, starts, counts)
    inputs = decayed_average.Inputs(*(part.float() for part in inputs))
    if inputs.k.shape[1] == 1 and starts is None and counts is None:
        return decayed_average.step(inputs, memory)
    return decayed_average.scan(inputs, memory, starts, counts)


class Kernel(NamedTuple):
    """The library's function for a family, called with the fields of `kind`, `initial_state` and `cu_seqlens`."""

    run: _Run  # where no gradient is asked for
    run_for_gradient: _Run  # keeps what its backward pass would otherwise compute again
    scan: _Run  # the same in PyTorch
    kind: type[MatrixInputs]


class Form(NamedTuple):
    """What a kernel is compiled for: each form is compiled, and compared with PyTorch, by itself."""

    device: torch.device
    dtype: torch.dtype
    num_heads: int
    head_width: int
    has_documents: bool


class _Documents(NamedTuple):
    """The documents of all rows, side by side in one long row."""

    ends: torch.Tensor  # (N + 1,): where each begins, and the end
    number: torch.Tensor  # (B, T): of a token's document


@functools.lru_cache(maxsize=1)
def _find_documents(starts: torch.Tensor) -> _Documents:
    """Waits for the GPU, so all layers share one answer; the library, too, remembers what it made of the same tensor."""
    begins = starts.clone()
    begins[:, 0] = True
    places = begins.flatten().nonzero()[:, 0]  # (N,)
    ends = torch.cat((places, places.new_tensor([starts.numel()])))
    return _Documents(ends, (begins.flatten().cumsum(0) - 1).view(starts.shape))


def run_kernel(name: str, inputs: MatrixInputs, memory: torch.Tensor, starts: torch.Tensor | None) -> Reading:
    """What every token reads, and the memory after the last, by a kernel."""
    number = inputs.r.dtype
    parts = [part if field == "log_w" else part.to(number) for field, part in zip(inputs._fields, inputs, strict=True)]
    read: Reading = torch.ops.whelp.read(name, [part.contiguous() for part in parts], memory.float().contiguous(), starts)
    return read


def _run_apart(run: _Run, parts: Sequence[torch.Tensor], memory: torch.Tensor, starts: torch.Tensor | None) -> Reading:
    """Run a kernel; documents of all rows side by side become sequences of one long row, as the kernels have it."""
    with torch.autocast(memory.device.type, enabled=False):
        if starts is None:
            return run(*parts, initial_state=memory, cu_seqlens=None)
        ends, number = _find_documents(starts)
        carried = memory.masked_fill(starts[:, 0, None, None, None], 0.0)
        states = memory.new_zeros(len(ends) - 1, *memory.shape[1:]).index_copy(0, number[:, 0], carried)
        rows = [part.flatten(0, 1).unsqueeze(0) if part.ndim == 4 else part for part in parts]
        out, after = run(*rows, initial_state=states, cu_seqlens=ends)
        return out.view(*starts.shape, *out.shape[2:]), after[number[:, -1]]


def _read(name: str, parts: list[torch.Tensor], memory: torch.Tensor, starts: torch.Tensor | None) -> Reading:
    with torch.no_grad():
        out, after = _run_apart(KERNELS[name].run, parts, memory, starts)
    return out.to(parts[0].dtype).contiguous(), after.contiguous()


def _read_backward(
    name: str,
    parts: list[torch.Tensor],
    memory: torch.Tensor,
    starts: torch.Tensor | None,
    out_grad: torch.Tensor,
    after_grad: torch.Tensor,
) -> list[torch.Tensor]:
    """Gradients of the parts and of the memory; the kernel reads again, which costs less than keeping what it computes."""
    with torch.enable_grad():
        leaves = [tensor.detach().requires_grad_() for tensor in (*parts, memory)]
        results = _run_apart(KERNELS[name].run_for_gradient, leaves[:-1], leaves[-1], starts)
        grads = torch.autograd.grad(results, leaves, (out_grad.to(results[0].dtype), after_grad))
    return [grad.contiguous() for grad in grads]


def _define_operator() -> Library:
    """`whelp::read` and its backward pass, which the framework's compiler leaves as they are."""
    inputs = "str name, Tensor[] parts, Tensor memory, Tensor? starts"
    library = Library("whelp", "DEF")
    library.define(f"read({inputs}) -> (Tensor, Tensor)")
    library.define(f"read_backward({inputs}, Tensor out_grad, Tensor after_grad) -> Tensor[]")
    library.impl("read", _read, "CompositeExplicitAutograd")
    library.impl("read_backward", _read_backward, "CompositeExplicitAutograd")

    def describe(name: str, parts: list[torch.Tensor], memory: torch.Tensor, starts: object) -> tuple[torch.Tensor, ...]:
        return torch.empty_like(parts[0]), torch.empty_like(memory)

    def describe_backward(name: str, parts: list[torch.Tensor], memory: torch.Tensor, *rest: object) -> list[torch.Tensor]:
        return [torch.empty_like(tensor) for tensor in (*parts, memory)]

    def keep(ctx: Any, inputs: tuple[Any, ...], output: object) -> None:
        ctx.name, parts, memory, starts = inputs
        ctx.save_for_backward(*parts, memory, starts)

    def backward(ctx: Any, out_grad: torch.Tensor, after_grad: torch.Tensor) -> tuple[Any, ...]:
        *parts, memory, starts = ctx.saved_tensors
        *part_grads, memory_grad = torch.ops.whelp.read_backward(ctx.name, parts, memory, starts, out_grad, after_grad)
        return None, part_grads, memory_grad, None

    register_fake("whelp::read", describe, lib=library)
    register_fake("whelp::read_backward", describe_backward, lib=library)
    register_autograd("whelp::read", backward, setup_context=keep, lib=library)
    return library


_OPERATORS = _define_operator()


@functools.cache
def find_disagreement(name: str, form: Form) -> str | None:
    """What a kernel says otherwise than PyTorch about a small text, said once; None when they agree."""
    log.info("the kernels of flash-linear-attention are compiled and tuned: a minute at most, once on this machine")
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(form.device.type, enabled=False):
        found = find_fault(lambda: _compare(name, form), allowed=_TOLERANCE)
    if found is not None:
        log.warning(
            "the kernels of flash-linear-attention are not used (%s): RWKV runs in PyTorch, several times slower", found
        )
    return found


def _compare(name: str, form: Form) -> Iterator[float]:
    """Differences of what is read, of the state after it and of all gradients, each as a share of its length."""
    _, _, scan, kind = KERNELS[name]
    draw = torch.Generator().manual_seed(0)
    num_rows, num_tokens = 2, 192

    def make(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw).to(form.device)

    size = (num_rows, num_tokens, form.num_heads, form.head_width)
    parts = {field: 0.3 * make(*size) for field in kind._fields}
    parts["log_w"] = -0.6 * torch.sigmoid(4 * make(*size) - 2)  # some that forget at once, some that hardly do
    if "u" in parts:
        parts["u"] = make(form.num_heads, form.head_width)
    else:  # what is looked up is of length one, and a share of it is taken away
        parts["a"] = torch.nn.functional.normalize(parts["a"], dim=-1)
        parts["b"] = -parts["a"] * torch.sigmoid(make(*size))
    memory = 0.1 * make(num_rows, form.num_heads, form.head_width, form.head_width)
    starts = None
    if form.has_documents:
        starts = torch.zeros(num_rows, num_tokens, dtype=torch.bool, device=form.device)
        starts[0, 100] = starts[1, 0] = True
    results = []
    for function, number in ((functools.partial(run_kernel, name), form.dtype), (scan, torch.float32)):
        leaves = {field: part.detach().to(part.dtype if field in ("log_w", "u") else number) for field, part in parts.items()}
        leaves = {field: part.requires_grad_() for field, part in leaves.items()}
        out, after = function(kind(**leaves), memory, starts)
        (out.float().square().sum() + after.float().square().sum()).backward()
        grads = [part.grad for part in leaves.values()]
        results.append([out, after, *grads])
    for found, expected in zip(*results, strict=True):
        assert found is not None, "a kernel without a gradient"
        assert expected is not None, "a scan without a gradient"
        yield measure_relative_error(found, expected)


@functools.cache
def _load(module: str, name: str) -> Callable[..., Any]:
    """A function of the library, its kernels quick to start."""
    function: Callable[..., Any] = getattr(importlib.import_module(f"fla.ops.{module}"), name)
    limit_tuning(*(f"fla.ops.{package}" for package in ("generalized_delta_rule", "rwkv6", "gla", "common", "utils")))
    return function


def _chunk_rwkv7(
    *parts: torch.Tensor, initial_state: torch.Tensor, cu_seqlens: torch.Tensor | None, keeps_all: bool = False
) -> Any:
    r, log_w, k, v, a, b = parts
    return _load("rwkv7", "chunk_rwkv7")(
        r=r,
        w=log_w,
        k=k,
        v=v,
        a=a,
        b=b,
        scale=1.0,
        initial_state=initial_state,
        output_final_state=True,
        cu_seqlens=cu_seqlens,
        safe_gate=True,
        lower_bound=delta_rule.LOWEST_LOG_DECAY,
        chunk_size=64,
        disable_recompute=keeps_all,
    )


def _chunk_rwkv5(*parts: torch.Tensor, initial_state: torch.Tensor, cu_seqlens: torch.Tensor | None) -> Any:
    r, log_w, k, v, bonus = parts
    return _load("rwkv6", "chunk_rwkv6")(
        r,
        k,
        v,
        log_w,
        bonus.to(r.dtype),
        scale=1.0,
        initial_state=initial_state,
        output_final_state=True,
        cu_seqlens=cu_seqlens,
    )


KERNELS = {
    "rwkv7": Kernel(_chunk_rwkv7, functools.partial(_chunk_rwkv7, keeps_all=True), delta_rule.scan, delta_rule.Inputs),
    "rwkv6": Kernel(_chunk_rwkv5, _chunk_rwkv5, linear_attention.scan, linear_attention.Inputs),
    "rwkv5": Kernel(_chunk_rwkv5, _chunk_rwkv5, linear_attention.scan, linear_attention.Inputs),
}
