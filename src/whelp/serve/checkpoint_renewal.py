"""Newer checkpoints, taken up while the server runs: looked for every few seconds, exchanged between two requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from whelp.base.errors import WhelpError
from whelp.base.log import log
from whelp.serve.admission import Workplace
from whelp.serve.interfaces import ServedModel

OpenFirst = Callable[[], ServedModel | None]
"""Opens a model that was not there when the server started; None as long as it is not."""


class Renewal:
    """Keeps the models of a workplace up to date. What goes wrong is said once, and tried again the next time.

    Args:
        open_first: Opens the first model, where there is none yet.
    """

    def __init__(self, workplace: Workplace, open_first: OpenFirst | None = None) -> None:
        self.num_taken_up = self.num_failed = 0
        self._workplace, self._open_first = workplace, open_first
        self._last_problem = ""

    def describe(self) -> dict[str, Any]:
        """For people who look after the server: the step of each model, in order, and how often a newer one came."""
        steps = [model.about.get("step") for model in self._workplace.models.values()]
        return {"steps": steps, "taken_up": self.num_taken_up, "failed": self.num_failed}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(self._workplace.config.renew_seconds)
            await self.look()

    async def look(self) -> None:
        """Look once; take up what is newer."""
        if self._open_first is not None and not self._workplace.models:
            await self._take_up(self._open_first)
        for model in list(self._workplace.models.values()):
            if model.renew is not None:
                await self._take_up(model.renew)

    async def _take_up(self, find: Callable[[], ServedModel | None]) -> None:
        try:
            found = await asyncio.to_thread(find)
        except (WhelpError, OSError, RuntimeError) as error:  # RuntimeError: out of memory, weights that do not fit
            self.num_failed += 1
            if str(error) != self._last_problem:
                self._last_problem = str(error)
                log.info("a newer checkpoint is not taken up: %s", error)
            return
        if found is not None:
            self._workplace.models[found.id] = found
            self.num_taken_up += 1
            log.info("%s is at step %s now", found.id, found.about.get("step"))
