"""RWKV weights in a file by themselves, as their authors publish them: `.pth` or safetensors, under the official names.

A `.pth` is a pickle. It is read with a reader that makes tensors and runs nothing; what holds anything else is refused.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from whelp.base.errors import ArtifactError, say_first_line

if TYPE_CHECKING:
    import torch

SUFFIXES = (".pth", ".safetensors")


def is_rwkv_file(path: Path) -> bool:
    """Whether a path is a file of weights, rather than a model folder."""
    return path.suffix in SUFFIXES and not path.is_dir()


def read_rwkv_file(path: Path) -> dict[str, torch.Tensor]:
    """Read official RWKV weights as float32.

    Raises:
        ArtifactError: When there is no such file, it is damaged, or holds anything but tensors by name.
    """
    return {name: tensor.float() for name, tensor in _open(path, is_mapped=False).items()}


def _open(path: Path, *, is_mapped: bool) -> dict[str, torch.Tensor]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not path.is_file():
        raise ArtifactError(path, "there is no such file", "RWKV weights (.pth or .safetensors)", "Check the spelling.")
    try:
        if path.suffix == ".safetensors":
            found = load_file(path)
        else:
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=is_mapped)
    except pickle.UnpicklingError:
        raise ArtifactError(
            path,
            "it holds more than tensors, and opening the rest could run code",
            "a state dict of tensors",
            "Save its state dict alone: torch.save(model.state_dict(), path).",
        ) from None
    except (SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise ArtifactError(path, f"is damaged ({say_first_line(error)})", "RWKV weights", "Copy it again.") from None
    if not isinstance(found, Mapping) or not all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
        raise ArtifactError(path, f"it holds a {type(found).__name__}", "a state dict of tensors", "Save its state dict alone.")
    return {str(name): tensor for name, tensor in found.items()}


def read_rwkv_shapes(path: Path) -> dict[str, torch.Tensor]:
    """Names and shapes of official RWKV weights, without reading them.

    Raises:
        ArtifactError: As `read_rwkv_file`.
    """
    return {name: tensor.to("meta") for name, tensor in _open(path, is_mapped=True).items()}


def write_rwkv_file(path: Path, weights: Mapping[str, torch.Tensor]) -> None:
    """Write weights as a `.pth` that the public `rwkv` package opens, whole or not at all."""
    import torch

    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save({name: tensor.detach().cpu().clone() for name, tensor in weights.items()}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
