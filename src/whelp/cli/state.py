"""`whelp state`: read a text once with a recurrent model, and keep what it remembers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from whelp.artifacts.state_file import read_state, write_state
from whelp.base.errors import PlanError
from whelp.base.hashing import hash_json
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.generate import LoadedModel, load_model

if TYPE_CHECKING:
    from torch import nn

    from whelp.model.rwkv.shared import Rwkv


@dataclass(frozen=True)
class StateResult(ResultRepr):
    """A state that was written."""

    file: str
    num_tokens: int
    num_bytes: int


def save_state(
    model: str | Path | LoadedModel, prompt: str, *, out: str | Path, state: str | Path | None = None, device: str = "auto"
) -> StateResult:
    """Read a prompt with a recurrent model and write its state to the file `out`.

    What goes on from it (`load_model(model, state=out)`, `whelp generate MODEL --state FILE`) does so as if it had just read
    the prompt, at once, however long the prompt was.

    Args:
        model: A run, a checkpoint or a model folder of an RWKV family, or what `load_model` gave.
        state: A file of an earlier call, to read on from.

    Raises:
        PlanError: When the model has no state, the prompt is empty, or `state` is of another model.
        TokenizerError: When the vocabulary cannot write the prompt.
    """
    import torch

    from whelp.generate.prompt import encode_prompt

    loaded = model if isinstance(model, LoadedModel) else load_model(model, device)
    recurrent = _check_recurrent(loaded.model, str(model.folder if isinstance(model, LoadedModel) else model))
    before = 0
    if state is not None:
        before = take_up_state(loaded.model, as_path(state))
    ids = encode_prompt(prompt, loaded.vocabulary)
    if not ids:
        raise PlanError("the prompt", "it is empty", "at least one token", "Give some text to read.")
    with torch.inference_mode():
        found = recurrent.start_state
        for begin in range(0, len(ids), _PIECE_TOKENS):
            piece = torch.tensor([ids[begin : begin + _PIECE_TOKENS]], device=loaded.device)
            _, found = recurrent.read(piece, found)
    assert found is not None, "at least one piece was read"
    count = before + len(ids)
    path = as_path(out)
    write_state(path, found.tensors(), {"num_tokens": count, "model": _fingerprint(recurrent)})
    return StateResult(str(path), count, path.stat().st_size)


def take_up_state(model: nn.Module, path: Path) -> int:
    """Let every text of a model begin with a state from a file; how many tokens it is of.

    Raises:
        ArtifactError: When there is no such file, or it holds no state.
        PlanError: When the model has no state, or the file is of another model.
    """
    from whelp.model.rwkv.recurrent_state import RecurrentState

    recurrent = _check_recurrent(model)
    tensors, about = read_state(path)
    if about.get("model") != _fingerprint(recurrent):
        raise PlanError(path, "it is the state of a model with other weights", "one of this model", "Make it again.")
    device = recurrent.head_weight.device
    recurrent.start_state = RecurrentState(**{name: tensor.to(device) for name, tensor in tensors.items()})
    return int(about["num_tokens"])


_PIECE_TOKENS = 2048  # read at a time


def _check_recurrent(model: nn.Module, where: str = "the model") -> Rwkv:
    from whelp.model.rwkv.shared import Rwkv

    if not isinstance(model, Rwkv):
        next_step = "Leave the state out: give the text as part of the prompt."
        raise PlanError(where, "it keeps no state: it looks at all tokens again", "an RWKV model", next_step)
    return model


def _fingerprint(model: nn.Module) -> str:
    """Of the weights: states of others would be nonsense, though they may have the same shape."""
    sums = {name: float(parameter.detach().double().abs().sum()) for name, parameter in model.named_parameters()}
    return hash_json({name: f"{value:.6e}" for name, value in sums.items()})
