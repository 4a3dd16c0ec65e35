"""Continuous batching in a thread of its own: anybody may submit at any time, from any thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from types import TracebackType
from typing import Protocol

import torch

from whelp.base.errors import PlanError
from whelp.generate.batch import Batch
from whelp.generate.config import GenerateConfig
from whelp.generate.generation import Generation
from whelp.generate.interfaces import GeneratingModel, Prompt
from whelp.generate.prefix_cache import PrefixCache, choose_bytes
from whelp.generate.row import Row
from whelp.generate.text_stream import VocabularyLike


class EngineModel(GeneratingModel, Protocol):
    """A model that says what its memory costs, and can be moved."""

    def cache_bytes(self, num_slots: int, capacity: int) -> int: ...
    def to(self, device: torch.device) -> object: ...


class Engine:
    """Continues many prompts side by side; requests join and leave between two steps.

        with Engine(model, vocabulary, max_rows=8) as engine:
            generations = engine.submit("Once upon a time", GenerateConfig(seed=1), n=2)
            text = "".join(piece.text for piece in generations[0])

    The text of a request depends on its prompt, its settings and its seed, not on what runs beside it (to the rounding of
    the arithmetic, which a matrix product of another height may change in the last bit).
    """

    def __init__(
        self,
        model: EngineModel,
        vocabulary: VocabularyLike,
        *,
        max_rows: int = 16,
        max_context_tokens: int | None = None,
        end_ids: Iterable[int] = (),
        device: torch.device | str | None = None,
        prefix_cache_bytes: int | None = None,
    ) -> None:
        """Allocate the memory and start the thread.

        Args:
            max_rows: Continuations at a time; others wait.
            max_context_tokens: Longest prompt and continuation together. Default: the model's context, halved until the
                memory for `max_rows` of them is at most 4 GiB (of a GPU: half of what is free).
            end_ids: Ids that end a text, besides the vocabulary's end-of-text.
            device: Moves the model there. Default: where it is.
            prefix_cache_bytes: Memory for the beginnings of recent texts, which are not read again. Default: 512 MiB (of a GPU: an
                eighth of what is free).
        """
        if max_rows < 1:
            raise PlanError("max_rows", f"is {max_rows}", "at least 1")
        if device is not None:
            model.to(torch.device(device))
        context = max_context_tokens or _choose_context(model, max_rows, device)
        prefixes = PrefixCache(choose_bytes(device) if prefix_cache_bytes is None else prefix_cache_bytes)
        self._batch = Batch(
            model, vocabulary, max_rows=max_rows, max_context_tokens=context, end_ids=end_ids, prefixes=prefixes
        )
        self.max_context_tokens = self._batch.capacity
        self._changed = threading.Condition()
        self._arrived: list[Row] = []  # the batch belongs to the thread: it takes them over
        self._exchange: tuple[Callable[[], None], float, Future[None]] | None = None  # what, when at the latest, done
        self._is_closing = self._is_broken_off = False
        self._thread = threading.Thread(target=self._work, name="whelp-engine", daemon=True)
        self._thread.start()

    @property
    def num_running(self) -> int:
        """Continuations that have a slot."""
        return len(self._batch.rows)

    @property
    def num_waiting(self) -> int:
        """Continuations that wait for a slot."""
        return len(self._arrived) + len(self._batch.waiting)

    def submit(self, prompt: Prompt, config: GenerateConfig, *, n: int = 1) -> list[Generation]:
        """Queue `n` continuations of a prompt; returns at once, or when the pattern that they shall follow is compiled.

        Raises: PlanError: When the prompt is empty or too long for the context, or the engine is closed.
        """
        rows = self._batch.make_rows(prompt, config, n, self._wake)
        with self._changed:
            if self._is_closing:
                raise PlanError("the engine", "it is closed", "", "Open another.")
            self._arrived += rows
            self._changed.notify()
        return [row.generation for row in rows]

    def exchange_weights(self, change: Callable[[], None], *, patience_seconds: float = 60.0) -> None:
        """Let `change` put other weights into the model, between two requests; returns when that is done.

        It runs in the engine's thread as soon as no text is under way: each text is made by one set of weights. Where texts
        are always under way, those that wait are held back after `patience_seconds`, until the others have ended.

        Raises:
            PlanError: When the engine is closed, or exchanges weights already.
            BaseException: What `change` raises.
        """
        done: Future[None] = Future()
        with self._changed:
            if self._is_closing or self._exchange is not None:
                found = "it is closed" if self._is_closing else "it exchanges weights already"
                raise PlanError("the engine", found, "", "")
            self._exchange = change, time.monotonic() + patience_seconds, done
            self._changed.notify()
        done.result()

    def close(self, *, drain: bool = True) -> None:
        """Take no more requests and end the thread: after the last request, or at once (the others are cancelled)."""
        with self._changed:
            self._is_closing = True
            self._is_broken_off |= not drain
            self._changed.notify()
        self._thread.join()
        self._batch.prefixes.clear()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(drain=error is None)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()

    def _work(self) -> None:
        batch = self._batch
        while True:
            with self._changed:
                while not (self._arrived or batch.rows or batch.waiting or self._exchange):
                    if self._is_closing:
                        return
                    self._changed.wait()
                exchange = self._exchange
                batch.waiting.extend(self._arrived)
                self._arrived.clear()
            if self._is_broken_off:
                for row in [*batch.rows, *batch.waiting]:
                    row.generation.is_cancelled = True
            if exchange is not None and not batch.rows:
                self._run_exchange(*exchange)
                continue
            try:
                batch.admit(is_held=exchange is not None and time.monotonic() > exchange[1])
                batch.work()
            except Exception as error:  # whoever waits for a text must hear of it
                batch.fail(error)

    def _run_exchange(self, change: Callable[[], None], latest: float, done: Future[None]) -> None:
        self._exchange = None
        try:
            change()
            self._batch.renew()
        except BaseException as error:  # it belongs to whoever asked for it
            done.set_exception(error)
        else:
            done.set_result(None)


def _choose_context(model: EngineModel, max_rows: int, device: torch.device | str | None) -> int:
    context, budget = model.context_tokens, 4 << 30
    if device is not None and torch.device(device).type == "cuda":
        budget = torch.cuda.mem_get_info(device)[0] // 2
    while context > 1 and model.cache_bytes(max_rows, context) > budget:
        context //= 2
    return context
