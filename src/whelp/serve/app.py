"""All endpoints together, behind the guard."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route, Router

from whelp.artifacts.run_folder import RunFolder
from whelp.serve.admission import Workplace
from whelp.serve.checkpoint_renewal import OpenFirst, Renewal
from whelp.serve.config import ServeConfig
from whelp.serve.guards import App, Guard, Receive, Scope, Send
from whelp.serve.interfaces import ServedModel, ServedStore
from whelp.serve.openai import OpenAI
from whelp.serve.openapi import make_openapi
from whelp.serve.page_api import PageApi
from whelp.serve.page_files import Page
from whelp.serve.stats import Stats


class Application:
    """What `make_app` builds: an ASGI application that can be told to end."""

    def __init__(self, app: App, workplace: Workplace) -> None:
        self._app, self._workplace = app, workplace

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)

    def cut_short(self) -> None:
        """Cancel every text that is being continued: those who wait for it are told. For the event loop."""
        self._workplace.cancel_all()

    def close(self) -> None:
        """End the engines; done by itself when the application is shut down."""
        self._workplace.close()


def make_app(
    models: Sequence[ServedModel],
    config: ServeConfig,
    *,
    run: Path | None = None,
    store: ServedStore | None = None,
    version: str = "",
    open_first: OpenFirst | None = None,
) -> Application:
    """Build the ASGI application: the API below /v1, the page at /, what the page asks for below /api.

    When it is shut down, it closes the engines of `models`.

    Args:
        models: The first one answers requests that name none. May be empty, for a run that has no checkpoint yet.
        run: The run folder that the page draws.
        open_first: Opens the first model when it is there, where `models` is empty.
    """
    stats = Stats()
    workplace = Workplace(models, config, stats)
    openai, page = OpenAI(workplace), Page()
    page_api = PageApi(workplace, RunFolder(run) if run is not None else None, store, version)
    document = make_openapi(config, version)
    renewal = Renewal(workplace, open_first)

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok", **renewal.describe()})

    async def metrics(request: Request) -> Response:
        states = [(model.id, model.engine.num_running, model.engine.num_waiting) for model in workplace.models.values()]
        return PlainTextResponse(stats.render(states), headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    async def openapi(request: Request) -> Response:
        return JSONResponse(document)

    @asynccontextmanager
    async def lifespan(app: Any) -> AsyncIterator[None]:
        looking = asyncio.create_task(renewal.run()) if config.renew_seconds else None
        yield
        if looking is not None:
            looking.cancel()
        workplace.close()

    routes = [
        Route("/v1/models", openai.models),
        Route("/v1/models/{name:path}", openai.model),
        Route("/v1/completions", openai.completions, methods=["POST"]),
        Route("/v1/chat/completions", openai.chat, methods=["POST"]),
        Route("/health", health),
        Route("/metrics", metrics),
        Route("/openapi.json", openapi),
        Route("/api/state", page_api.state),
        Route("/api/run", page_api.run_state),
        Route("/api/run/records", page_api.records),
        Route("/api/store", page_api.store_state),
        Route("/api/store/rows", page_api.rows),
        Route("/api/tokenize", page_api.tokenize, methods=["POST"]),
        *(Route(path, page.file) for path in page.files),
    ]
    known = frozenset(route.path for route in routes if "{" not in route.path)
    guarded: App = Guard(
        Router(routes, redirect_slashes=False, lifespan=lifespan),
        config=config,
        stats=stats,
        open_paths=frozenset(["/health", "/openapi.json", *page.files]),
        known_paths=known,
    )
    if config.cors_origins:
        guarded = CORSMiddleware(
            guarded,
            allow_origins=config.cors_origins,
            allow_methods=["GET", "POST"],
            allow_headers=["authorization", "content-type"],
        )
    return Application(guarded, workplace)
