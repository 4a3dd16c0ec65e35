"""Conversations as prompts: by a model's own chat template, or in a plain form that any model of text can go on with.

The plain form:

Be brief.

User: What is a whelp?
Assistant:
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from whelp.base.errors import MissingExtraError, PlanError
from whelp.serve.interfaces import Vocabulary

NAMES = {"user": "User", "assistant": "Assistant"}
PLAIN_STOPS = ["\nUser:"]
_HIDDEN = "\U000fdead"  # a private character in the place of a control token that somebody typed


def join_content(content: Any) -> str:
    """The text of a message: as it is, or its parts joined."""
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


def render_plain(messages: Sequence[Mapping[str, Any]]) -> str:
    """Write a conversation down as text; the reply follows `Assistant:`.

    >>> render_plain([{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}])
    'Be brief.\\n\\nUser: Hi\\nAssistant:'
    """
    text = ""
    for message in messages:
        if message["role"] in NAMES:
            text += f"{NAMES[message['role']]}: {message['content']}\n"
        else:
            text += f"{message['content']}\n\n"
    return f"{text}{NAMES['assistant']}:"


def make_chat_renderer(source: str, special_tokens: Mapping[str, str]) -> Callable[[Sequence[Mapping[str, Any]]], str]:
    """A function that writes conversations as a Jinja chat template does, up to where the reply begins.

    Args:
        special_tokens: `eos_token`, `bos_token`, ... as the template names them.

    Raises:
        PlanError: When the template is not valid; later, when it refuses a conversation.
    """
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise MissingExtraError("chat template", "jinja2", "serve") from None

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = lambda value, **options: json.dumps(value, ensure_ascii=False, **options)
    environment.globals["raise_exception"] = refuse
    try:
        template = environment.from_string(re.sub(r"\{%-?\s*(end)?generation\s*-?%\}", "", source))
    except jinja2.TemplateError as error:
        raise PlanError("the chat template", f"is not valid Jinja ({error})", "a template of this model") from None

    def render(messages: Sequence[Mapping[str, Any]]) -> str:
        try:
            return template.render(messages=list(messages), add_generation_prompt=True, **special_tokens)
        except (jinja2.TemplateError, TypeError, KeyError) as error:
            raise PlanError(
                "the chat template", f"refuses this conversation ({error})", "", "See which roles it knows."
            ) from None

    return render


def encode_chat(
    vocabulary: Vocabulary,
    render: Callable[[Sequence[Mapping[str, Any]]], str],
    messages: Sequence[Mapping[str, Any]],
) -> list[int]:
    """Ids of a conversation. Control tokens of the template are meant; those that somebody typed stay text."""
    names = sorted((vocabulary.token_text(token_id) for token_id in vocabulary.special_ids), key=len, reverse=True)
    typed = re.compile("|".join(map(re.escape, filter(None, names))) or r"(?!)")
    found: list[str] = []

    def hide(match: re.Match[str]) -> str:
        found.append(match[0])
        return _HIDDEN

    hidden = [{**message, "content": typed.sub(hide, message["content"].replace(_HIDDEN, ""))} for message in messages]
    ids: list[int] = []
    for index, piece in enumerate(render(hidden).split(_HIDDEN)):
        if index:
            ids += vocabulary.encode(found[index - 1]).tolist()
        ids += vocabulary.encode(piece, allow_special=True).tolist()
    return ids
