"""From an engine's threads to the event loop: continuations as they come, admission, and an end to what nobody waits for."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from whelp.base.errors import WhelpError
from whelp.serve.config import ServeConfig
from whelp.serve.errors import ApiError
from whelp.serve.interfaces import Generation, Piece, ServedModel
from whelp.serve.stats import Stats

_RETRY_SECONDS = 60  # nobody is told to wait for longer


class Workplace:
    """The models, and how much each has to do."""

    def __init__(self, models: Sequence[ServedModel], config: ServeConfig, stats: Stats) -> None:
        self.models = {model.id: model for model in models}
        self.config, self.stats = config, stats
        self.num_texts: Counter[str] = Counter()
        num_threads = max(1, len(models)) * config.max_texts  # one waits for each text; they are made when needed
        self._running: set[Generation] = set()
        self.compiling = ThreadPoolExecutor(
            1, thread_name_prefix="whelp-compile"
        )  # one after another: the others are not held up
        self.threads = ThreadPoolExecutor(num_threads, thread_name_prefix="whelp-serve")

    def find_model(self, name: str | None) -> ServedModel:
        """The model of that name; the first one for None.

        Raises:
            ApiError: 404 When there is none.
        """
        if not self.models:
            message = "There is no model to ask yet: this run has no checkpoint."
            raise ApiError(404, message, code="model_not_found", param="model")
        if name is None:
            return next(iter(self.models.values()))
        if name not in self.models:
            message = f"There is no model {name[:100]!r}. Served here: {', '.join(self.models)}."
            raise ApiError(404, message, code="model_not_found", param="model")
        return self.models[name]

    @contextlib.contextmanager
    def admit(self, model: ServedModel, num_new: int) -> Iterator[None]:
        """Count `num_new` texts of `model` while the block runs.

        Raises:
            ApiError: 400 When they are more than ever fit, 429 when they do not fit now.
        """
        config, present = self.config, self.num_texts[model.id]
        if num_new > config.max_texts:
            message = f"The request asks for {num_new} texts, but at most {config.max_texts} are allowed (prompts times n)."
            raise ApiError(400, message, code="too_many_texts", param="n")
        if present + num_new > config.max_texts:
            message = (
                f"{present} texts are running or waiting, and the request asks for {num_new} more, but at most "
                f"{config.max_texts} are allowed at a time. Try again in a moment."
            )
            raise ApiError(429, message, code="too_many_requests", headers={"retry-after": str(self._retry_seconds(model))})
        self.num_texts[model.id] += num_new
        try:
            yield
        finally:
            self.num_texts[model.id] -= num_new

    def _retry_seconds(self, model: ServedModel) -> int:
        seconds = self.stats.request_seconds.mean or 1.0
        rounds = self.num_texts[model.id] / self.config.max_rows
        return max(1, min(_RETRY_SECONDS, math.ceil(seconds * rounds / 2)))

    async def iter_pieces(self, generations: Sequence[Generation]) -> AsyncIterator[tuple[int, Piece | None]]:
        """Pieces of all generations as they come, with their place in the list; None when one is over.

        Closed early, or when its task is cancelled, it cancels what is still running.

        Raises: WhelpError: When one of the texts cannot go on.
        """
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[tuple[int, Any]] = asyncio.Queue()

        def put(index: int, value: Any) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting any more
                loop.call_soon_threadsafe(queue.put_nowait, (index, value))

        def pump(index: int, generation: Generation) -> None:
            try:
                for piece in generation:
                    put(index, piece)
                put(index, None)
            except WhelpError as error:  # of this text alone
                put(index, error)
            except BaseException as error:  # it belongs to whoever reads the pieces
                put(index, RuntimeError(f"the engine failed: {error!r}"))

        self._running.update(generations)
        try:
            for index, generation in enumerate(generations):
                self.threads.submit(pump, index, generation)
            num_left = len(generations)
            while num_left:
                index, value = await queue.get()
                if isinstance(value, Exception):
                    raise value
                num_left -= value is None
                yield index, value
        finally:
            self._running.difference_update(generations)
            for generation in generations:
                if generation.finish_reason is None:
                    generation.cancel()

    def cancel_all(self) -> None:
        """End what is running; those who wait for it are told."""
        for generation in self._running:
            generation.cancel()

    def close(self) -> None:
        """End the engines, then the threads that wait for them."""
        for model in self.models.values():
            model.engine.close(drain=False)
        for threads in (self.compiling, self.threads):
            threads.shutdown(wait=False, cancel_futures=True)
