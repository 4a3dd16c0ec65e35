"""Functions that a model may call: what a request says of them, and the pattern of a call that it must make."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from whelp.base.errors import MissingExtraError, WhelpError
from whelp.serve.errors import ApiError
from whelp.serve.interfaces import CallForm, ServedModel
from whelp.serve.patterns import AskedPattern, read_pattern
from whelp.serve.plain_chat import join_content
from whelp.serve.replies import ChosenCalls, ForcedCall, Reply, Words


@dataclass(frozen=True)
class AskedTools:
    """The functions that a request describes.

    Attributes:
        descriptions: As the request has them, for the chat template.
        names: Of those that may be called.
        must_call: Whether the answer is to be a call.
        may_call_several: Whether it may be several calls, where the model chooses.
    """

    descriptions: list[Mapping[str, Any]]
    names: list[str]
    must_call: bool
    may_call_several: bool

    def make_pattern(self, form: CallForm) -> AskedPattern:
        """The pattern of one call."""
        functions = [tool["function"] for tool in self.descriptions if tool["function"]["name"] in self.names]
        roots = [f"anyOf/{place}/" for place in range(len(functions))] if len(functions) > 1 else [""]
        calls = [_make_schema(each, form, f"#/{root}") for each, root in zip(functions, roots, strict=True)]
        return AskedPattern("tool_choice", "json_schema", {"anyOf": calls} if len(calls) > 1 else calls[0])


@dataclass(frozen=True)
class AskedChat:
    """A conversation, and what the reply may be.

    Attributes:
        messages: As chat templates take them.
        tools: Functions that may be called.
        form: How the model writes calls, where there are any.
        pattern: What the text of the reply shall be.
    """

    messages: list[dict[str, Any]]
    tools: AskedTools | None
    form: CallForm | None
    pattern: AskedPattern | None

    @property
    def template_values(self) -> dict[str, Any]:
        """What the chat template is given besides."""
        if self.tools is None or self.form is None:
            return {}
        start = {"answer_start": self.form.opening} if self.tools.must_call else {}
        return {"tools": self.tools.descriptions, **start}

    def make_reply(self, *, must_strip: bool) -> Reply:
        """What reads the text of a reply."""
        if self.tools is None or self.form is None:
            return Words(must_strip=must_strip)
        if self.tools.must_call:
            return ForcedCall(self.form.arguments_key)
        return ChosenCalls(self.form, self.tools.names, takes_several=self.tools.may_call_several)


def read_chat(body: Mapping[str, Any], model: ServedModel) -> AskedChat:
    """What a request for a reply asks for.

    Raises: ApiError: 400 When its parts are wrong, or do not fit together, or the model knows no tools.
    """
    messages, tools, pattern = read_messages(body["messages"]), read_tools(body), read_pattern(body)
    place = find_tool_message(messages) if tools is None else "tools"
    form = None if place is None else find_form(model, place)
    if tools is not None and pattern is not None:
        message = (
            f"tools and {pattern.place} are given, but a text follows one pattern. Leave one out, or set tool_choice to none."
        )
        raise ApiError(400, message, code="invalid_value", param="tools")
    if tools is not None and tools.must_call and form is not None:
        pattern = tools.make_pattern(form)
    return AskedChat(messages, tools, form, pattern)


def read_tools(body: Mapping[str, Any]) -> AskedTools | None:
    """What a request says of functions; None where none may be called.

    Raises: ApiError: 400 When it names one that it does not describe, or describes one twice.
    """
    tools, choice = list(body.get("tools", [])), body.get("tool_choice", "auto")
    names = [tool["function"]["name"] for tool in tools]
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        raise ApiError(400, f"tools describes {twice!r} twice.", code="invalid_value", param="tools")
    if choice == "none" or (choice == "auto" and not tools):
        return None
    if not tools:
        raise ApiError(
            400, "tool_choice asks for a call, but tools describes no function.", code="invalid_value", param="tools"
        )
    if isinstance(choice, Mapping):
        name = choice["function"]["name"]
        if name not in names:
            message = f"tool_choice names {name!r}, but tools describes {', '.join(map(repr, names))}."
            raise ApiError(400, message, code="invalid_value", param="tool_choice")
        names = [name]
    return AskedTools(tools, names, must_call=choice != "auto", may_call_several=body.get("parallel_tool_calls", True))


def find_form(model: ServedModel, param: str) -> CallForm:
    """How the model writes calls.

    Args:
        param: What in the request asks for it.

    Raises: ApiError: 400 When it was not taught to, 501 when the package for templates is not installed.
    """
    if model.find_call_form is None:
        message = f"{param} is given, but {model.id} has no chat template. Ask without tools, or for JSON with response_format."
        raise ApiError(400, message, code="tools_not_supported", param=param)
    try:
        return model.find_call_form()
    except MissingExtraError as error:
        raise ApiError(501, str(error), code="not_installed", param=param) from None
    except WhelpError as error:
        message = f"{param} is given, but {model.id} calls no functions: {error.found}. Ask without tools, or for JSON with response_format."
        raise ApiError(400, message, code="tools_not_supported", param=param) from None


def read_messages(entries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The conversation as chat templates take it: each content one text, arguments of calls as objects.

    Raises: ApiError: 400 When a message has nothing in it, calls are not by the assistant, or arguments are no JSON object.
    """
    names: dict[str, str] = {}
    return [_read_message(entry, f"messages[{place}]", names) for place, entry in enumerate(entries)]


def find_tool_message(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Where the first message stands that calls a function, or answers a call."""
    places = (place for place, message in enumerate(messages) if message["role"] == "tool" or "tool_calls" in message)
    return next((f"messages[{place}]" for place in places), None)


def _read_message(entry: Mapping[str, Any], where: str, names: dict[str, str]) -> dict[str, Any]:
    role, content, calls = entry["role"], entry.get("content"), entry.get("tool_calls") or []
    if calls and role != "assistant":
        raise _refuse(f"{where}.tool_calls", f"is there, but the role is {role!r}: the assistant alone calls functions.")
    if content is None and not calls:
        raise _refuse(f"{where}.content", "is missing.")
    message: dict[str, Any] = {"role": role, "content": "" if content is None else join_content(content)}
    if calls:
        message["tool_calls"] = [_read_call(call, f"{where}.tool_calls[{place}]") for place, call in enumerate(calls)]
        names.update((call["id"], call["function"]["name"]) for call in calls if call.get("id"))
    if role == "tool":
        call_id = entry.get("tool_call_id")
        name = entry.get("name") or names.get(call_id or "")
        message |= {key: value for key, value in (("tool_call_id", call_id), ("name", name)) if value}
    return message


def _read_call(call: Mapping[str, Any], where: str) -> dict[str, Any]:
    function, arguments = call["function"], call["function"]["arguments"]
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            arguments = None
    if not isinstance(arguments, dict):
        raise _refuse(f"{where}.function.arguments", "is no JSON object.")
    return {"id": call.get("id") or "", "type": "function", "function": {"name": function["name"], "arguments": arguments}}


def _refuse(param: str, found: str) -> ApiError:
    return ApiError(400, f"{param} {found}", code="invalid_value", param=param)


def _make_schema(function: Mapping[str, Any], form: CallForm, root: str) -> dict[str, Any]:
    """The schema of a call; arguments that the function does not describe are none of it."""
    parameters = function.get("parameters") or {}
    if not parameters.keys() & {"anyOf", "oneOf", "allOf", "$ref"}:  # which may describe further arguments
        parameters = {"type": "object", "additionalProperties": False, **parameters}
    key = form.arguments_key
    return {
        "type": "object",
        "properties": {"name": {"const": function["name"]}, key: _move(parameters, f"{root}properties/{key}")},
        "required": ["name", key],
        "additionalProperties": False,
    }


def _move(schema: Any, root: str) -> Any:
    """A schema that stands elsewhere than at the root, where its references count from."""
    if isinstance(schema, list):
        return [_move(entry, root) for entry in schema]
    if not isinstance(schema, dict):
        return schema
    moved = {name: _move(entry, root) for name, entry in schema.items()}
    reference = schema.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = root + reference.removeprefix("#")
    return moved
