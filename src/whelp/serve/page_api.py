"""What the page asks for, below /api: the state, the records of the run, rows of the store, tokens of a text."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from whelp.artifacts.checkpoint import find_finished_step
from whelp.artifacts.run_folder import RunFolder
from whelp.base.errors import WhelpError
from whelp.serve.admission import Workplace
from whelp.serve.body import read_body
from whelp.serve.errors import ApiError
from whelp.serve.interfaces import ServedModel, ServedStore
from whelp.serve.parameters import tokenize_schema
from whelp.serve.run_records import read_new

MAX_ROWS = 50
MAX_ROW_TOKENS = 8192
MAX_SHOWN_TOKENS = 20_000


class PageApi:
    """Endpoints below /api. They read folders, and write nothing."""

    def __init__(self, workplace: Workplace, run: RunFolder | None, store: ServedStore | None, version: str) -> None:
        self.workplace, self.run, self.store, self.version = workplace, run, store, version
        self._tokenize_schema = tokenize_schema(workplace.config)

    async def state(self, request: Request) -> Response:
        """GET /api/state: what there is to show."""
        config = self.workplace.config
        models = [
            {
                "id": model.id,
                "context_tokens": model.context_tokens,
                "vocab_size": model.vocabulary.size,
                "has_chat_template": model.encode_chat is not None,
                "about": dict(model.about),
            }
            for model in self.workplace.models.values()
        ]
        return _answer(
            {
                "version": self.version,
                "models": models,
                "run": _name_run(self.run) if self.run is not None else None,
                "has_store": self.store is not None,
                "max_tokens": config.max_tokens,
            }
        )

    async def run_state(self, request: Request) -> Response:
        """GET /api/run: the plan and the recipe."""
        run = self._need_run()

        def read() -> dict[str, Any]:
            plan = run.read_plan() or {}
            recipe = run.recipe.read_text(encoding="utf-8", errors="replace") if run.recipe.is_file() else ""
            return {"name": _name_run(run), "plan": plan.get("plan"), "recipe": recipe}

        return _answer(await _in_thread(read))

    async def records(self, request: Request) -> Response:
        """GET /api/run/records?metrics=CURSOR&samples=CURSOR: what was written since, and where the run ended, if it did."""
        run = self._need_run()
        cursors = [request.query_params.get(name, "")[:100] for name in ("metrics", "samples")]

        def read() -> dict[str, Any]:
            finished_step = find_finished_step(run.checkpoints)
            records = {"metrics": read_new(run.metrics, cursors[0]), "samples": read_new(run.samples, cursors[1])}
            return {**records, "finished_step": finished_step}

        return _answer(await _in_thread(read))

    async def store_state(self, request: Request) -> Response:
        """GET /api/store: splits, ledger, provenance."""
        return _answer(dict(self._need_store().about))

    async def rows(self, request: Request) -> Response:
        """GET /api/store/rows?split=train&first=0&count=3&context_tokens=256"""
        store = self._need_store()
        first = _read_number(request, "first", 0, 0, 1 << 60)
        count = _read_number(request, "count", 3, 1, MAX_ROWS)
        context_tokens = _read_number(request, "context_tokens", 256, 1, MAX_ROW_TOKENS)
        if count * context_tokens > MAX_SHOWN_TOKENS:
            message = (
                f"{count} rows of {context_tokens:,} tokens are {count * context_tokens:,}, but at most {MAX_SHOWN_TOKENS:,} "
                "are shown at a time. Ask for fewer rows."
            )
            raise ApiError(400, message, code="too_many_rows", param="count")
        split = request.query_params.get("split", "train")[:100]
        found: Sequence[Any] = await _in_thread(lambda: store.read_rows(split, first, count, context_tokens))
        return _answer({"rows": found})

    async def tokenize(self, request: Request) -> Response:
        """POST /api/tokenize: a text's tokens with their ids and byte offsets."""
        body = await read_body(request, self._tokenize_schema, self.workplace.config)
        model = self.workplace.find_model(body.get("model"))
        return _answer(await _in_thread(lambda: cut(model, body["text"])))

    def _need_run(self) -> RunFolder:
        if self.run is None:
            message = "There is no run to show: a model folder is served. Serve a run folder of `whelp train`."
            raise ApiError(404, message, code="no_run")
        return self.run

    def _need_store(self) -> ServedStore:
        if self.store is None:
            message = "There is no token store to show. Start the server with --store STORE."
            raise ApiError(404, message, code="no_store")
        return self.store


def cut(model: ServedModel, text: str) -> dict[str, Any]:
    """The tokens of a text: id, shown text, first byte and the byte after the last.

    A vocabulary that changes the text (a normalizer, an added space) has offsets into the changed text; `is_exact` says no.
    """
    vocabulary = model.vocabulary
    ids = vocabulary.encode(text).tolist()
    tokens, position, decoded = [], 0, bytearray()
    for token_id in ids:
        raw = vocabulary.decode_bytes([token_id], skip_special=False)
        decoded += raw
        tokens.append({"id": token_id, "text": vocabulary.token_text(token_id), "start": position, "end": position + len(raw)})
        position += len(raw)
    raw_text = text.encode()
    return {
        "tokens": tokens[:MAX_SHOWN_TOKENS],
        "num_tokens": len(ids),
        "num_bytes": len(raw_text),
        "num_characters": len(text),
        "is_exact": bytes(decoded) == raw_text,
    }


def _name_run(run: RunFolder) -> str:
    folder = run.folder.resolve()
    return f"{folder.parent.name}/{folder.name}"


async def _in_thread(read: Any) -> Any:
    """Read from disk beside the event loop; what a user can mend is told."""
    try:
        return await asyncio.to_thread(read)
    except WhelpError as error:
        raise ApiError(400, str(error), code="invalid_value") from None


def _answer(value: Any) -> Response:
    return JSONResponse(value, headers={"cache-control": "no-store"})


def _read_number(request: Request, name: str, default: int, low: int, high: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit()) or len(text) > 18:
        raise ApiError(400, f"{name} is {text[:60]!r}, but a whole number is expected.", code="invalid_value", param=name)
    number = int(text)
    if not low <= number <= high:
        expected = f"at least {low} is expected" if number < low else f"at most {high:,} is allowed"
        raise ApiError(400, f"{name} is {number:,}, but {expected}.", code="invalid_value", param=name)
    return number
