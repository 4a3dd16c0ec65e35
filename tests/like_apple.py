"""A stand-in for Apple's GPU (`mps`): a device that is neither a CPU nor one of NVIDIA's, computes as the CPU does, and has the limits
that PyTorch documents for `mps`.

- No float64.
- No operation without a kernel for `mps`, as PyTorch's own table (`native_functions.yaml`) says.
- A copy from the CPU that does not wait for the device is refused: Apple's reads memory that may be freed by then
  (github.com/pytorch/pytorch/issues/139550 and 189690).
- Attention has no grouped form (the documentation of `scaled_dot_product_attention`: CUDA alone).
- Tensors of the CPU and of the device do not mix.

`install()` once a process, before whelp is imported; from then on the device is called `apple`.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
import yaml
from torch.utils._pytree import tree_leaves, tree_map

NAME = "apple"
library = torch.library.Library("_", "IMPL")  # what is registered is gone with it
_FROM_CPU = (
    "aten::_to_copy",
    "aten::copy_",
    "aten::index.Tensor",
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::lift_fresh",
)
_EVERYWHERE = ("MPS", "CompositeExplicitAutograd", "CompositeImplicitAutograd", "CompositeExplicitAutogradNonFunctional")


class AppleTensor(torch.Tensor):
    """Looks as if it lay on the device; what it holds lies on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> AppleTensor:
        if inner.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype as the MPS framework doesn't support float64")
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), inner.stride(), inner.storage_offset(), dtype=inner.dtype, device=f"{NAME}:0"
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(function, args, kwargs or {})

    __torch_function__ = torch._C._disabled_torch_function_impl

    def data_ptr(self) -> int:
        return self.inner.data_ptr()

    def tolist(self) -> Any:
        return self.inner.tolist()

    @property
    def data(self) -> torch.Tensor:
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, other: AppleTensor) -> None:
        torch.Tensor.data.__set__(self, other)
        self.inner = other.inner


def install() -> None:
    """Make the device known to PyTorch."""
    from torch.utils import backend_registration

    module = backend_registration._DummyBackendModule()
    module.get_amp_supported_dtype = lambda: [torch.bfloat16, torch.float16]
    backend_registration._setup_privateuseone_for_python_backend(NAME, module)
    library.fallback(lambda function, *args, **kwargs: _call(function, args, kwargs), "PrivateUse1")
    torch.tensor, torch.arange = _make_there(torch.tensor), _make_there(torch.arange)
    attend = torch.nn.functional.scaled_dot_product_attention

    def attend_ungrouped(query: torch.Tensor, *args: Any, enable_gqa: bool = False, **options: Any) -> torch.Tensor:
        assert not (enable_gqa and isinstance(query, AppleTensor)), "attention has no grouped form here"
        return attend(query, *args, enable_gqa=enable_gqa, **options)

    torch.nn.functional.scaled_dot_product_attention = attend_ungrouped
    torch.inference_mode = lambda mode=True: (
        torch.no_grad() if mode else torch.enable_grad()
    )  # tensors of ours have no such form


def _make_there(function: Any) -> Any:
    """What makes a tensor without asking a backend in Python, or in a size that only it knows: made here, then sent there."""

    def make(*args: Any, device: Any = None, **options: Any) -> torch.Tensor:
        made: torch.Tensor = function(*args, device=None if _is_apple(device) else device, **options)
        return made.to(device) if _is_apple(device) else made

    return make


def _is_apple(device: Any) -> bool:
    return device is not None and torch.device(device).type == NAME


def _call(function: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    name = function._schema.name + (f".{function._overloadname}" if function._overloadname != "default" else "")
    if not has_kernel(name.removeprefix("aten::")):
        raise NotImplementedError(f"The operator '{name}' is not currently implemented for the MPS device")
    leaves = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    ours = [leaf for leaf in leaves if isinstance(leaf, AppleTensor)]
    if ours and name.partition(".")[0] not in _FROM_CPU and name not in _FROM_CPU:
        strangers = [leaf for leaf in leaves if not isinstance(leaf, AppleTensor) and leaf.dim() > 0]
        assert not strangers, f"{name}: a tensor of the CPU, {tuple(strangers[0].shape)}, among those of the device"
    goes_there = _is_apple(kwargs.get("device")) or (name == "aten::copy_" and isinstance(args[0], AppleTensor))
    if goes_there and any(not isinstance(leaf, AppleTensor) for leaf in leaves):
        does_not_wait = kwargs.get("non_blocking") or (name == "aten::copy_" and len(args) > 2 and args[2])
        assert not does_not_wait, "a copy to the device that does not wait reads what may be freed by then"
    stays = "device" not in kwargs or _is_apple(kwargs["device"])
    inner_kwargs = {key: torch.device("cpu") if _is_apple(value) else value for key, value in kwargs.items() if key == "device"}
    inner_args, inner_rest = tree_map(_unwrap, (args, {key: value for key, value in kwargs.items() if key != "device"}))
    found = function(*inner_args, **inner_rest, **inner_kwargs)
    if name == "aten::copy_" and not isinstance(args[0], AppleTensor):
        return args[0]
    wrapped_before = {id(leaf.inner): leaf for leaf in ours}

    def wrap(value: Any) -> Any:
        if not isinstance(value, torch.Tensor) or not stays:
            return value
        return wrapped_before[id(value)] if id(value) in wrapped_before else AppleTensor(value)

    return tree_map(wrap, found)


def _unwrap(value: Any) -> Any:
    return value.inner if isinstance(value, AppleTensor) else value


@functools.cache
def has_kernel(name: str) -> bool:
    """Whether PyTorch has an operation for `mps`."""
    entry = _read_table().get(name)
    if entry is None:
        return name in ("detach", "lift_fresh", "alias") or not name.startswith("_")
    if "structured_delegate" in entry:
        return has_kernel(entry["structured_delegate"])
    keys = {key.strip() for keys in entry.get("dispatch", {"CompositeImplicitAutograd": ""}) for key in keys.split(",")}
    return bool(keys & set(_EVERYWHERE))


@functools.cache
def _read_table() -> dict[str, Any]:
    import torchgen

    path = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native" / "native_functions.yaml"
    entries = yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return {entry["func"].partition("(")[0]: entry for entry in entries}
