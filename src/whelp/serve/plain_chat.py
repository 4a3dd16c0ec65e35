"""Conversations for models without a chat template: a plain form that any model of text can go on with.

Be brief.

User: What is a whelp?
Assistant:
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NAMES = {"user": "User", "assistant": "Assistant"}
PLAIN_STOPS = ["\nUser:"]


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
