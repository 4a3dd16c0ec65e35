"""What the text of a reply says, as it comes: words, a call that had to be made, or words and calls as the model chose."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Sequence
from typing import Any, Protocol

from whelp.serve.interfaces import CallForm

Delta = dict[str, Any]
"""What is new in a message, as a stream tells it."""


class Reply(Protocol):
    """The text of one choice."""

    def add(self, text: str) -> list[Delta]:
        """Take more of the text."""
        ...

    def end(self) -> list[Delta]:
        """There is no more."""
        ...

    @property
    def content(self) -> str | None:
        """The words."""
        ...

    @property
    def calls(self) -> Sequence[dict[str, Any]]:
        """The calls of functions."""
        ...


class Words:
    """Nothing but words.

    Args:
        must_strip: Leave out the space between `Assistant:` and the reply.
    """

    calls: Sequence[dict[str, Any]] = ()

    def __init__(self, *, must_strip: bool = False) -> None:
        self.content, self._must_strip = "", must_strip

    def add(self, text: str) -> list[Delta]:
        new = text.lstrip() if self._must_strip and not self.content else text
        self.content += new
        return [{"content": new}] if new else []

    def end(self) -> list[Delta]:
        return []


class ForcedCall:
    """One call: its arguments are told as they come.

    >>> reply = ForcedCall("arguments")
    >>> reply.add('{"name": "add", "arguments": {"a": ')[1:]
    [{'tool_calls': [{'index': 0, 'function': {'arguments': '{"a": '}}]}]
    >>> reply.add("1}}"), reply.calls[0]["function"]
    ([{'tool_calls': [{'index': 0, 'function': {'arguments': '1}'}}]}], {'name': 'add', 'arguments': '{"a": 1}'})
    """

    def __init__(self, arguments_key: str) -> None:
        self.content: str | None = None
        self.calls: list[dict[str, Any]] = []
        self._head = re.compile(rf'\{{"name": ?"([^"]*)", ?{re.escape(json.dumps(arguments_key))}: ?(?=\S)')
        self._held = ""  # the head; then a brace, which may be the last one and end the call

    def add(self, text: str) -> list[Delta]:
        self._held += text
        deltas: list[Delta] = []
        if not self.calls:
            head = self._head.match(self._held)
            if head is None:
                return []
            self._held = self._held[head.end() :]
            self.calls.append(_make_call(head.group(1), ""))
            deltas.append({"tool_calls": [{"index": 0, **self.calls[0], "function": dict(self.calls[0]["function"])}]})
        end = len(self._held) - self._held.endswith("}")
        new, self._held = self._held[:end], self._held[end:]
        return [*deltas, *self._tell(new)]

    def end(self) -> list[Delta]:
        if not self.calls:
            return []
        try:
            json.loads(self.calls[0]["function"]["arguments"])
        except (ValueError, RecursionError):
            return self._tell(self._held)  # a brace within the arguments: the text was cut
        return []

    def _tell(self, new: str) -> list[Delta]:
        if not new:
            return []
        self.calls[0]["function"]["arguments"] += new
        return [{"tool_calls": [{"index": 0, "function": {"arguments": new}}]}]


class ChosenCalls:
    """Words and calls, which are read when the text has ended. What is no call of a function that is there is words.

    Args:
        names: Of the functions.
        takes_several: Whether calls after the first are taken, too; else they are left out.
    """

    def __init__(self, form: CallForm, names: Sequence[str], *, takes_several: bool = True) -> None:
        self.content: str | None = ""
        self.calls: list[dict[str, Any]] = []
        self._form, self._names, self._takes_several = form, names, takes_several
        self._text, self._num_told = "", 0

    def add(self, text: str) -> list[Delta]:
        self._text += text
        return self._tell(self._find_start())

    def end(self) -> list[Delta]:
        start, found = self._find_start(), None
        if start < len(self._text):
            found = self._read_calls(self._text[start:])
        if found is None:
            return self._tell(len(self._text))
        calls, rest = found
        self.calls = calls if self._takes_several else calls[:1]
        self._text = self._text[:start].rstrip() + rest
        self.content = self._text[: self._num_told]
        told = self._tell(len(self._text))
        self.content = self.content or None
        return [*told, {"tool_calls": [{"index": index, **call} for index, call in enumerate(self.calls)]}]

    def _tell(self, end: int) -> list[Delta]:
        new = self._text[self._num_told : end]
        self._num_told += len(new)
        self.content = self._text[: self._num_told]
        return [{"content": new}] if new else []

    def _find_start(self) -> int:
        """Where a call begins, or may begin with what is still to come; spaces before it are left out with it."""
        text, marker = self._text, self._form.marker
        if not marker:
            return 0 if text.lstrip()[:1] in ("", "{", "[") else len(text)
        start = text.find(marker)
        if start < 0:
            sizes = range(min(len(marker), len(text)), 0, -1)
            start = len(text) - next((size for size in sizes if text.endswith(marker[:size])), 0)
        return len(text[:start].rstrip())

    def _read_calls(self, text: str) -> tuple[list[dict[str, Any]], str] | None:
        """The calls at the beginning of a text, and what follows them; None where there is something else."""
        calls, rest, form = [], text.lstrip(), self._form
        while rest.startswith(form.marker or ("{", "[")):
            rest = rest.removeprefix(form.marker).lstrip()
            try:
                value, end = json.JSONDecoder().raw_decode(rest)
            except (ValueError, RecursionError):
                return None
            rest = rest[end:].lstrip().removeprefix(form.closing).lstrip()
            for each in value if isinstance(value, list) else [value]:
                if not self._is_call(each):
                    return None
                calls.append(_make_call(each["name"], _write_json(each[form.arguments_key])))
        return (calls, rest.rstrip()) if calls else None

    def _is_call(self, value: Any) -> bool:
        return (
            isinstance(value, dict)
            and value.get("name") in self._names
            and isinstance(value.get(self._form.arguments_key), dict)
        )


def _write_json(value: Any) -> str:
    """JSON with its letters as they are, unless there is half a surrogate pair, which is none and needs its escape."""
    text = json.dumps(value, ensure_ascii=False)
    return text if text.isascii() or text == text.encode(errors="replace").decode() else json.dumps(value)


def _make_call(name: str, arguments: str) -> dict[str, Any]:
    return {"id": f"call_{secrets.token_hex(12)}", "type": "function", "function": {"name": name, "arguments": arguments}}
