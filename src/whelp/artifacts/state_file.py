"""The state of a recurrent model in a file: what it remembers of a text, to go on from without reading the text again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.base.errors import ArtifactError, say_first_line
from whelp.base.files import write_atomic

if TYPE_CHECKING:
    import torch

_KEY = "whelp"  # of what the file says about itself


def write_state(path: Path, tensors: Mapping[str, torch.Tensor], about: Mapping[str, Any]) -> None:
    """Write a state as safetensors, whole or not at all; `about` is what JSON can say."""
    from safetensors.torch import save

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomic(path, save(contiguous, {_KEY: json.dumps({"kind": "recurrent_state", **about})}))


def read_state(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a state, and what its file says about it.

    Raises:
        ArtifactError: When there is no such file, or it holds no state.
    """
    from safetensors import SafetensorError, safe_open

    expected = "a file of `whelp state`"
    if not path.is_file():
        raise ArtifactError(path, "there is no such file", expected, "Check the spelling.")
    try:
        with safe_open(path, framework="pt") as file:
            about = json.loads((file.metadata() or {}).get(_KEY, "{}"))
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (it is no mapping)
    except SafetensorError as error:
        raise ArtifactError(
            path, f"is damaged, or no safetensors ({say_first_line(error)})", expected, "Make it again."
        ) from None
    if about.get("kind") != "recurrent_state":
        raise ArtifactError(
            path, "it holds tensors, but no state", expected, "Make one with `whelp state MODEL --prompt TEXT`."
        )
    return tensors, about
