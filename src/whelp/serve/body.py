"""Read a request's body as JSON, within limits."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from starlette.requests import ClientDisconnect, Request

from whelp.serve.config import ServeConfig
from whelp.serve.errors import ApiError
from whelp.serve.schema import Schema, check

_LONGEST_NUMBER = 20  # digits; longer whole numbers are read as floats, which no range lets through
_MAX_DISCARDED = 64 << 20  # read and thrown away, so that a client that is still sending hears why


async def read_body(request: Request, schema: Schema, config: ServeConfig) -> dict[str, Any]:
    """The body, checked against `schema`; parameters that are null are left out.

    Raises:
        ApiError: 413 When it is too large, 408 when it takes too long, 415 when it is not said to be JSON, 400 when it is
            not UTF-8, not JSON, or not as the schema says.
    """
    kind = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        message = (
            f"The body is {kind[:100]!r}, but application/json is expected: send the header Content-Type: application/json."
        )
        raise ApiError(415, message, code="not_json")
    raw = await _read_bytes(request, config)
    try:
        value = json.loads(raw.decode(), parse_constant=_refuse_constant, parse_int=_read_int)
    except UnicodeDecodeError as error:
        raise ApiError(400, f"The body is not UTF-8 (byte {error.start}).", code="not_utf8") from None
    except json.JSONDecodeError as error:
        message = f"The body is not JSON (line {error.lineno}, column {error.colno}: {error.msg})."
        raise ApiError(400, message, code="not_json") from None
    except ValueError as error:
        raise ApiError(400, f"The body is not JSON ({error}).", code="not_json") from None
    except RecursionError:
        raise ApiError(400, "The body is nested too deeply.", code="not_json") from None
    problem = check(value, schema)
    if problem is not None:
        message = problem.message if problem.message.endswith((".", "?")) else f"{problem.message}."
        raise ApiError(400, message, code="invalid_value", param=problem.path or None)
    return {name: entry for name, entry in value.items() if entry is not None}


async def _read_bytes(request: Request, config: ServeConfig) -> bytes:
    most = config.max_body_bytes
    declared = request.headers.get("content-length", "")
    num_declared = int(declared) if declared.isascii() and declared.isdigit() and len(declared) < _LONGEST_NUMBER else 0
    body, num_read = bytearray(), 0
    try:
        async with asyncio.timeout(config.body_seconds):
            async for chunk in request.stream():
                num_read += len(chunk)
                if max(num_read, num_declared) <= most:
                    body += chunk
                elif num_read > most + _MAX_DISCARDED:
                    break
    except TimeoutError:
        message = f"The body did not come within {config.body_seconds:g} seconds: {len(body):,} bytes came, and no end."
        raise ApiError(408, message, code="body_too_slow", headers={"connection": "close"}) from None
    except ClientDisconnect:
        raise ApiError(400, "The client went away.", code="disconnected") from None
    if max(num_read, num_declared) > most:
        raise _too_large(f"{num_declared:,} bytes" if num_declared > most else f"more than {most:,} bytes", most)
    return bytes(body)


def _too_large(found: str, most: int) -> ApiError:
    message = f"The body has {found}, but at most {most:,} are allowed."
    return ApiError(413, message, code="body_too_large", headers={"connection": "close"})


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number of JSON")


def _read_int(digits: str) -> int | float:
    return int(digits) if len(digits) < _LONGEST_NUMBER else float(digits)
