"""What a recurrent model remembers of a text: the same memory after ten tokens and after a million.

Shapes: L layers, S slots, B rows, T tokens, D width, H heads, K head width, M what a family remembers in a layer.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from whelp.model.config import ModelSpec
from whelp.model.decoding.slot_snapshot import SlotSnapshot
from whelp.model.rwkv.decayed_average import NOTHING


@dataclass(frozen=True)
class RecurrentState:
    """After the last token of each row: the inputs that the next token is mixed with, and the memories."""

    time_shift: torch.Tensor  # (L, B, D): what entered time mixing
    channel_shift: torch.Tensor  # (L, B, D): what entered channel mixing
    memory: (
        torch.Tensor
    )  # (L, B, *M), float32: (H, K, K), by key and value; of RWKV-4 (2, D), averages and logarithms of weights

    def detach(self) -> RecurrentState:
        """The same values; no gradient flows back into the tokens they are of."""
        return RecurrentState(*(tensor.detach() for tensor in self.tensors().values()))

    def tensors(self) -> dict[str, torch.Tensor]:
        """The parts by name."""
        return {"time_shift": self.time_shift, "channel_shift": self.channel_shift, "memory": self.memory}


def memory_shape(spec: ModelSpec) -> tuple[int, ...]:
    """Of what one row remembers in a layer."""
    return (2, spec.n_embd) if spec.family == "rwkv4" else (spec.n_head, spec.head_width, spec.head_width)


def make_state(spec: ModelSpec, num_rows: int, device: torch.device | str, dtype: torch.dtype) -> RecurrentState:
    """Nothing has been read: all zeros, and no weight."""
    shift = torch.zeros(spec.n_layer, num_rows, spec.n_embd, device=device, dtype=dtype)
    memory = torch.zeros(spec.n_layer, num_rows, *memory_shape(spec), device=device)
    if spec.family == "rwkv4":
        memory[:, :, 1] = NOTHING
    return RecurrentState(shift, shift.clone(), memory)


class StateCache:
    """The states of `num_slots` texts, each with its own number of tokens: what `Cache` is to attention.

    Beside the state of each slot stands the one after its last reading of several tokens, so that continuations of one prompt
    share its reading although some of them have gone on.
    """

    def __init__(
        self,
        spec: ModelSpec,
        num_slots: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        start: RecurrentState | None = None,
    ) -> None:
        """Allocate.

        Args:
            start: The state (of one row) that a text of no tokens has; None: nothing was read.
        """
        self.lengths = [0] * num_slots
        with torch.inference_mode(False):  # a cache may be filled in both modes
            self._states = make_state(spec, num_slots, device, dtype).tensors()
            self._marks = make_state(spec, num_slots, device, dtype).tensors()
        self._mark_lengths = [0] * num_slots
        first = make_state(spec, 1, device, dtype) if start is None else start
        self._start = {name: tensor.to(device) for name, tensor in first.tensors().items()}
        self._selected: tuple[int, list[int]] | None = None
        self._window: tuple[int, list[int]] | None = None

    def select(self, first: int, counts: list[int]) -> None:
        """Say what the next reading is: so many new tokens for each slot from `first` on. Default: all slots alike."""
        self._selected = first, counts

    def begin(self, ids: torch.Tensor) -> tuple[RecurrentState, torch.Tensor | None]:
        """Start a reading of (B, T) ids: the states so far, and where tokens count (B, T); None: everywhere."""
        num_rows, num_tokens = ids.shape
        first, counts = self._selected or (0, [num_tokens] * num_rows)
        self._selected = None
        assert len(counts) == num_rows, f"{num_rows} rows, but {len(counts)} slots are selected"
        for slot in range(first, first + num_rows):
            if not self.lengths[slot]:
                for name, tensor in self._states.items():
                    tensor[:, slot] = self._start[name][:, 0]
        self._window = first, counts
        state = RecurrentState(**{name: tensor[:, first : first + num_rows] for name, tensor in self._states.items()})
        if min(counts) == num_tokens:
            return state, None
        return state, torch.arange(num_tokens, device=ids.device) < torch.tensor(counts, device=ids.device).unsqueeze(1)

    def end(self, state: RecurrentState) -> None:
        """Keep the states after the reading, and count its tokens."""
        assert self._window is not None, "begin() comes first"
        first, counts = self._window
        rows = slice(first, first + len(counts))
        for name, tensor in state.tensors().items():
            self._states[name][:, rows] = tensor
        for slot, count in enumerate(counts, first):
            self.lengths[slot] += count
            if max(counts) > 1:
                self._mark(slot)
        self._window = None

    def copy(self, source: int, target: int, num_tokens: int) -> bool:
        """Let a slot hold the first tokens of another: all of them, or those of its last reading; else False."""
        if source == target and num_tokens == self.lengths[source]:
            return True
        if num_tokens == self.lengths[source]:
            self._move(self._states, source, self._states, target)
        elif num_tokens == self._mark_lengths[source]:
            self._move(self._marks, source, self._states, target)
        else:
            return False
        if source != target:
            self._move(self._marks, source, self._marks, target)
        self._mark_lengths[target] = self._mark_lengths[source]
        self.lengths[target] = num_tokens
        return True

    def snapshot(self, slot: int, first: int, num_tokens: int) -> SlotSnapshot | None:
        """The state of one slot, whatever was before `first`, after as many tokens as it has; None: it has no other."""
        if num_tokens != self.lengths[slot]:
            return None
        return SlotSnapshot(0, {name: tensor[:, slot] for name, tensor in self._states.items()}, can_be_cut=False)

    def restore(self, slot: int, snapshot: SlotSnapshot, num_tokens: int) -> None:
        """Let a slot go on from a snapshot, which is the state after `num_tokens` tokens."""
        for name, tensor in self._states.items():
            tensor[:, slot] = snapshot.tensors[name]
        self.lengths[slot] = num_tokens
        self._mark(slot)

    def read_state(self, slot: int) -> RecurrentState:
        """A copy of the state of one slot, as one row."""
        return RecurrentState(**{name: tensor[:, slot : slot + 1].clone() for name, tensor in self._states.items()})

    def _mark(self, slot: int) -> None:
        self._move(self._states, slot, self._marks, slot)
        self._mark_lengths[slot] = self.lengths[slot]

    def _move(self, source: dict[str, torch.Tensor], here: int, target: dict[str, torch.Tensor], there: int) -> None:
        for name, tensor in source.items():
            target[name][:, there] = tensor[:, here]
