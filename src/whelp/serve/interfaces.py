"""What the server is handed: the shapes of engines, vocabularies and run folders, as it uses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class TokenChance(Protocol):
    """A token, how likely it was, and the likeliest in its place."""

    @property
    def id(self) -> int: ...
    @property
    def text(self) -> str: ...
    @property
    def bytes(self) -> bytes: ...
    @property
    def logprob(self) -> float: ...
    @property
    def top(self) -> Sequence[TokenChance]: ...


class Piece(Protocol):
    """New text of one continuation, and the tokens it is made of."""

    @property
    def text(self) -> str: ...
    @property
    def token_ids(self) -> Sequence[int]: ...
    @property
    def logprobs(self) -> Sequence[TokenChance] | None: ...


class Generation(Protocol):
    """One continuation on its way. Iterating blocks until there is more; `cancel` ends it."""

    @property
    def index(self) -> int:
        """Which of the continuations of a prompt it is."""
        ...

    @property
    def prompt_tokens(self) -> int: ...
    @property
    def cached_tokens(self) -> int:
        """From the first piece on: how many of the prompt's tokens need not be read, as they had been read before."""
        ...

    @property
    def finish_reason(self) -> str | None: ...
    @property
    def prompt_logprobs(self) -> Sequence[TokenChance] | None:
        """From the first piece on, where they were asked for: of the prompt's tokens after the first."""
        ...

    def __iter__(self) -> Iterator[Piece]: ...
    def cancel(self) -> None: ...


class Engine(Protocol):
    """Continues many prompts side by side, in a thread of its own.

    `submit` takes the settings by name (`max_tokens`, `temperature`, `stop`, ...) and returns at once, or, where the text shall follow
    a pattern, when that is compiled.
    """

    @property
    def num_running(self) -> int: ...
    @property
    def num_waiting(self) -> int: ...

    def submit(self, prompt: Sequence[int], settings: Mapping[str, Any], *, n: int = 1) -> Sequence[Generation]: ...
    def close(self, *, drain: bool = True) -> None: ...


class Vocabulary(Protocol):
    """Turns text into ids and back."""

    @property
    def size(self) -> int: ...
    @property
    def eos_id(self) -> int | None: ...
    @property
    def special_ids(self) -> frozenset[int]: ...
    def encode(self, text: str) -> npt.NDArray[np.integer]: ...
    def decode_bytes(self, ids: Sequence[int], *, skip_special: bool = True) -> bytes: ...
    def token_text(self, token_id: int) -> str: ...


class CallForm(Protocol):
    """How a model writes the call of a function: `opening`, JSON with a name and arguments, `closing`."""

    @property
    def opening(self) -> str: ...
    @property
    def marker(self) -> str:
        """What tells a call from other text; empty where only the JSON does."""
        ...

    @property
    def closing(self) -> str: ...
    @property
    def arguments_key(self) -> str:
        """What the JSON calls the arguments."""
        ...


@dataclass(frozen=True, kw_only=True)
class ServedModel:
    """A model under the name by which clients ask for it.

    Attributes:
        encode_chat: Turns messages into ids by this model's own chat template; None where it has none. Called with `tools`, and an
            `answer_start`, where there are any.
        find_call_form: Says how its chat template writes calls of functions, or raises why it does not; None where it has none.
        about: What the page tells of it: parameters, step, family, folder.
        renew: Looks for newer weights, puts them into the engine between two requests, and gives the model as it is then;
            None when there are none. Blocks; called again and again. Without one, the model stays what it is.
    """

    id: str
    engine: Engine
    vocabulary: Vocabulary
    context_tokens: int
    created: int
    fingerprint: str
    encode_chat: Callable[..., list[int]] | None = None
    find_call_form: Callable[[], CallForm] | None = None
    about: Mapping[str, Any] = field(default_factory=dict)
    renew: Callable[[], ServedModel | None] | None = None


@dataclass(frozen=True, kw_only=True)
class ServedStore:
    """A token store for the page to look into.

    Attributes:
        about: Splits with their counts, the ledger, what it was made from.
        read_rows: Called with split, first row, number of rows and tokens in a row.
    """

    about: Mapping[str, Any]
    read_rows: Callable[[str, int, int, int], Sequence[Mapping[str, Any]]]
