"""`/openapi.json`: what can be asked, and what is answered. The bodies of requests are the tables that check them."""

from __future__ import annotations

from typing import Any

from whelp.serve.config import ServeConfig
from whelp.serve.page_api import MAX_ROW_TOKENS, MAX_ROWS
from whelp.serve.parameters import chat_schema, completion_schema, tokenize_schema

_ERRORS = {
    "400": "The request is wrong; the message says where.",
    "401": "The token is missing or wrong.",
    "403": "The name in the Host header, or the page that asks, is not allowed.",
    "404": "There is no such model, run or store.",
    "408": "The body did not come in time.",
    "413": "The body is too large.",
    "415": "The body is not JSON.",
    "429": "Too much is running and waiting; Retry-After says when to try again.",
    "501": "A package that this needs is not installed.",
    "503": "The server is ending.",
    "504": "The answer was not ready in time.",
}


def _ref(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_TEXT, _WHOLE, _NUMBER, _YES = {"type": "string"}, {"type": "integer"}, {"type": "number"}, {"type": "boolean"}
_MAYBE_TEXT = {"type": ["string", "null"]}
_REASON = {"enum": ["stop", "length"]}
_CHAT_REASON = {"enum": ["stop", "length", "tool_calls"]}
_HEAD = {"id": _TEXT, "created": _WHOLE, "model": _TEXT, "system_fingerprint": _TEXT}


def _responses(codes: str, success: dict[str, Any]) -> dict[str, Any]:
    errors = {
        code: {"description": _ERRORS[code], "content": {"application/json": {"schema": _ref("Error")}}}
        for code in codes.split()
    }
    return {"200": success, **errors}


def _json(schema: dict[str, Any], about: str) -> dict[str, Any]:
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def _get(summary: str, success: dict[str, Any], codes: str, parameters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    return {"get": {"summary": summary, "parameters": parameters or [], "responses": _responses(codes, success)}}


def _post(summary: str, body: str, success: dict[str, Any], codes: str) -> dict[str, Any]:
    request = {"required": True, "content": {"application/json": {"schema": _ref(body)}}}
    return {"post": {"summary": summary, "requestBody": request, "responses": _responses(codes, success)}}


def _query(name: str, schema: dict[str, Any], about: str) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": about}


def make_openapi(config: ServeConfig, version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a server with these limits."""
    asking = "400 401 403 404 408 413 415 429 501 503 504"
    stream = {"schema": _object(data=_TEXT)}  # of each event
    completion = _json(_ref("Completion"), "The continuations; with `stream`, events of the same shape, then [DONE].")
    chat = _json(_ref("ChatCompletion"), "The replies; with `stream`, events with deltas, then [DONE].")
    for answer in (completion, chat):
        answer["content"]["text/event-stream"] = stream
    paths = {
        "/v1/models": _get("List the models.", _json(_ref("ModelList"), "The models."), "401 403"),
        "/v1/models/{name}": _get(
            "Describe a model.",
            _json(_ref("Model"), "The model."),
            "401 403 404",
            [{"name": "name", "in": "path", "required": True, "schema": _TEXT}],
        ),
        "/v1/completions": _post("Continue texts.", "CompletionRequest", completion, asking),
        "/v1/chat/completions": _post("Reply in a conversation.", "ChatRequest", chat, asking),
        "/health": _get("Say that the server lives.", _json(_ref("Health"), "It lives."), "403"),
        "/metrics": _get(
            "Counters, as Prometheus reads them.",
            {"description": "Text.", "content": {"text/plain": {"schema": _TEXT}}},
            "401 403",
        ),
        "/openapi.json": _get("This document.", _json({"type": "object"}, "This document."), "403"),
        "/api/state": _get("What the page can show.", _json(_ref("State"), "Models, run, store."), "401 403"),
        "/api/run": _get("Plan and recipe of the run.", _json({"type": "object"}, "Plan and recipe."), "400 401 403 404"),
        "/api/run/records": _get(
            "What the run has recorded since.",
            _json(
                _object(metrics=_ref("Records"), samples=_ref("Records"), finished_step={"type": ["integer", "null"]}),
                "New records, and cursors for the next call; the step at which the run ended, null before.",
            ),
            "400 401 403 404",
            [
                _query("metrics", _TEXT, "Cursor of the last answer; empty at first."),
                _query("samples", _TEXT, "Cursor of the last answer; empty at first."),
            ],
        ),
        "/api/store": _get(
            "Splits, ledger and origin of the token store.", _json({"type": "object"}, "The store."), "400 401 403 404"
        ),
        "/api/store/rows": _get(
            "Rows as they are trained.",
            _json(_object(rows=_array({"type": "object"})), "The rows."),
            "400 401 403 404",
            [
                _query("split", _TEXT, "train or test."),
                _query("first", {"type": "integer", "minimum": 0, "maximum": 1 << 59}, "The first row."),
                _query("count", {"type": "integer", "minimum": 1, "maximum": MAX_ROWS}, "Number of rows."),
                _query("context_tokens", {"type": "integer", "minimum": 1, "maximum": MAX_ROW_TOKENS}, "Tokens in a row."),
            ],
        ),
        "/api/tokenize": _post(
            "Cut a text into tokens.",
            "TokenizeRequest",
            _json(_ref("Tokens"), "The tokens."),
            "400 401 403 404 408 413 415",
        ),
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "whelp", "version": version, "description": "Models served by `whelp serve`."},
        "paths": paths,
        "components": {"schemas": _schemas(config)},
    }
    if config.token:
        document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"token": []}]
    return document


def _schemas(config: ServeConfig) -> dict[str, Any]:
    chance = _object(token=_TEXT, logprob=_NUMBER, bytes=_array(_WHOLE))
    full_chance = _object(token=_TEXT, logprob=_NUMBER, bytes=_array(_WHOLE), top_logprobs=_array(chance))
    completion_logprobs = _object(
        tokens=_array(_TEXT),
        token_logprobs=_array({"type": ["number", "null"]}),  # of a text's first token there is none
        top_logprobs=_array({"type": ["object", "null"]}),
        text_offset=_array(_WHOLE),
    )
    nothing = {"type": "null"}
    completion_choice = _object(
        index=_WHOLE, text=_TEXT, logprobs={"anyOf": [completion_logprobs, nothing]}, finish_reason=_REASON
    )
    message = _object(role={"enum": ["assistant"]}, content=_MAYBE_TEXT, refusal=nothing)
    called = _object(id=_TEXT, type={"enum": ["function"]}, function=_object(name=_TEXT, arguments=_TEXT))
    message["properties"]["tool_calls"] = _array(called)  # where there are any
    chat_choice = _object(
        index=_WHOLE,
        message=message,
        logprobs={"anyOf": [_object(content=_array(full_chance), refusal=nothing), nothing]},
        finish_reason=_CHAT_REASON,
    )
    model = _object(id=_TEXT, object={"enum": ["model"]}, created=_WHOLE, owned_by=_TEXT, max_model_len=_WHOLE)
    return {
        "CompletionRequest": completion_schema(config),
        "ChatRequest": chat_schema(config),
        "TokenizeRequest": tokenize_schema(config),
        "Completion": _object(
            object={"enum": ["text_completion"]}, **_HEAD, choices=_array(completion_choice), usage=_ref("Usage")
        ),
        "ChatCompletion": _object(
            object={"enum": ["chat.completion"]}, **_HEAD, choices=_array(chat_choice), usage=_ref("Usage")
        ),
        "Usage": _object(
            prompt_tokens=_WHOLE,
            completion_tokens=_WHOLE,
            total_tokens=_WHOLE,
            prompt_tokens_details=_object(cached_tokens=_WHOLE),
        ),
        "Model": model,
        "ModelList": _object(object={"enum": ["list"]}, data=_array(_ref("Model"))),
        "State": _object(version=_TEXT, models=_array({"type": "object"}), run=_MAYBE_TEXT, has_store=_YES, max_tokens=_WHOLE),
        "Records": _object(records=_array({"type": "object"}), cursor=_TEXT, is_reset=_YES, has_more=_YES),
        "Tokens": _object(
            tokens=_array(_object(id=_WHOLE, text=_TEXT, start=_WHOLE, end=_WHOLE)),
            num_tokens=_WHOLE,
            num_bytes=_WHOLE,
            num_characters=_WHOLE,
            is_exact=_YES,
        ),
        "Health": _object(status=_TEXT, steps=_array({"type": ["integer", "null"]}), taken_up=_WHOLE, failed=_WHOLE),
        "Error": _object(error=_object(message=_TEXT, type=_TEXT, param=_MAYBE_TEXT, code=_TEXT)),
    }
