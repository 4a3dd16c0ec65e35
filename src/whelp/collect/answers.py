"""What a host said, or why there is no answer."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import partial
from typing import Any, Literal

from whelp.base.errors import SourceError


class NotFetched(Exception):
    """There is no usable answer.

    Attributes:
        reason: A few words that are the same for all of their kind: what tables count by.
        fate: `skipped` when that is as it should be, `failed` when it may be mended.
        is_final: Whether asking again is in vain.
    """

    def __init__(self, reason: str, *, is_final: bool, is_refusal: bool = False) -> None:
        self.reason, self.is_final = reason, is_final
        self.fate: Literal["skipped", "failed"] = "skipped" if is_final or is_refusal else "failed"
        super().__init__(reason)

    def __reduce__(self) -> tuple[Any, ...]:  # as it travels between processes
        is_refusal = self.fate == "skipped" and not self.is_final
        return partial(NotFetched, is_final=self.is_final, is_refusal=is_refusal), (self.reason,)


def refuse(reason: str) -> NotFetched:
    """What our manners do not allow: skipped, but a later run, with other manners, decides anew."""
    return NotFetched(reason, is_final=False, is_refusal=True)


class Busy(Exception):
    """The host cannot answer now; `after` is how many seconds it asks to wait, if it says."""

    def __init__(self, reason: str, after: float | None = None) -> None:
        self.reason, self.after = reason, after
        super().__init__(reason)


class HostRefusesError(SourceError):
    """A host is asked no more: it shows a captcha, has had enough for today, or does not answer."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a host said."""

    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def kind(self) -> str:
        """The media type: `text/html`."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def json(self) -> Any:
        """Read the body as JSON.

        Raises:
            NotFetched: When it is none.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise NotFetched("the answer is not JSON", is_final=False) from None


Look = Callable[[Answer], object]


def read_retry_after(value: str | None) -> float | None:
    """Read a `Retry-After` header, seconds or a date; None when there is none that can be read.

    >>> read_retry_after("120"), read_retry_after("Wed, 21 Oct 2015 07:28:00 GMT"), read_retry_after("soon")
    (120.0, 0.0, None)
    """
    if value is None:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError):
        return None


def read_json_object(answer: Answer) -> dict[str, Any]:
    """The JSON object that an answer is.

    Raises:
        Busy: When it is none: a server that has too much to do sends a page that says so.
    """
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        raise Busy("the answer is not JSON") from None
    if not isinstance(value, dict):
        raise Busy("the answer is no JSON object")
    return value
