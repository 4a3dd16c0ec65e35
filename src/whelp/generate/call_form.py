"""How a model was taught to call functions: its chat template is asked, by a call that is written down with it.

find_call_form(vocabulary)      -> CallForm(opening='<tool_call>\\n', closing='</tool_call>', arguments_key='arguments', ...)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from whelp.base.errors import TokenizerError
from whelp.generate.chat import ChatVocabulary, count_common, render_chat

_NAME, _QUESTION = "probe_function", "probe question"
_ARGUMENTS = {"probe_argument": "probe value"}
_PARAMETERS = {
    "type": "object",
    "properties": {"probe_argument": {"type": "string", "description": "probe"}},
    "required": ["probe_argument"],
}
_TOOL = {"type": "function", "function": {"name": _NAME, "description": "probe", "parameters": _PARAMETERS}}
_CALL_ID = "probe0001"  # Mistral's template takes 9 letters, no more and no fewer
_CALL = {"id": _CALL_ID, "type": "function", "function": {"name": _NAME, "arguments": _ARGUMENTS}}
_NEXT_STEP = "Ask without tools; JSON by a schema of your own is asked for with a pattern."
_TALK = [{"role": "user", "content": _QUESTION}]


@dataclass(frozen=True)
class CallForm:
    """The text of a call: `opening`, then JSON like {"name": "add", "arguments": {"a": 1}}, then `closing`.

    Attributes:
        marker: What tells a call from other text, as the text shows it; empty where only the JSON does.
        arguments_key: What the JSON calls the arguments.
    """

    opening: str
    marker: str
    closing: str
    arguments_key: str


def find_call_form(vocabulary: ChatVocabulary) -> CallForm:
    """How the vocabulary's chat template writes a call.

    Raises:
        TokenizerError: When there is no template, or it knows no tools, or writes calls in another way than as JSON.
        MissingExtraError: When `jinja2` is not installed.
    """
    answer = {"role": "assistant", "content": "", "tool_calls": [_CALL]}
    asked = render_chat(vocabulary, _TALK, tools=[_TOOL])
    if _NAME not in asked:
        raise TokenizerError(vocabulary.name, "its chat template knows no tools", "", _NEXT_STEP)
    answered = render_chat(vocabulary, [*_TALK, answer], tools=[_TOOL], add_generation_prompt=False)
    start = count_common(asked, answered)
    form = _read_form(answered[start:], [vocabulary.token_text(token_id) for token_id in vocabulary.special_ids])
    if form is None:
        found = "its chat template writes calls of functions in a form of its own"
        raise TokenizerError(vocabulary.name, found, "JSON with a name and arguments", _NEXT_STEP)
    return form


def _read_form(answer: str, control_tokens: list[str]) -> CallForm | None:
    decoder = json.JSONDecoder()
    for start in (place for place, letter in enumerate(answer) if letter == "{"):
        try:
            value, end = decoder.raw_decode(answer, start)
        except ValueError:
            continue
        key = _find_arguments_key(value)
        if key is None:
            continue
        opening, closing = answer[:start], answer[end:]
        ends = [closing.find(token) for token in control_tokens if token and token in closing]
        word = opening.split()[-1] if opening.split() else ""
        is_shown = any(map(str.isalpha, word)) and not any(token and token in word for token in control_tokens)
        return CallForm(opening, word if is_shown else "", closing[: min(ends, default=None)].strip(), key)
    return None


def _find_arguments_key(value: Any) -> str | None:
    """What a call in JSON calls its arguments; None where it is none, or has something else in it."""
    if not isinstance(value, dict) or next(iter(value), None) != "name" or value["name"] != _NAME:
        return None
    others = [key for key in value if key not in ("name", "id")]
    return others[0] if len(others) == 1 and value[others[0]] == _ARGUMENTS else None
