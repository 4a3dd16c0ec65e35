"""Chats that programs export as JSON: Telegram, Discord, Slack, Messenger and Instagram, ChatGPT."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from whelp.collect.folder.chat import Chat, Turn
from whelp.collect.left_out import LeftOut

_NOBODY = "Deleted Account"
_SPOKEN_IN_DISCORD = ("Default", "Reply")
_SPOKEN_IN_SLACK = (None, "bot_message", "thread_broadcast", "me_message", "file_share")
_SLACK_LINK = re.compile(r"<([^<>|]*)(?:\|([^<>]*))?>")
_SPOKEN_IN_CHATGPT = ("user", "assistant")
_SIGNS = ('"messages"', '"mapping"', '"ts"', '"team_id"', '"members"')  # one of which each export has

Object = Mapping[str, Any]


def read_chat_export(text: str) -> list[Chat] | None:
    """Make chats of an export of one chat or of many; None for other JSON. Notices, and what has no words, are left out.

    Raises:
        LeftOut: When it belongs to an export, and holds no chat.
    """
    if not any(sign in text for sign in _SIGNS):
        return None
    try:
        export = json.loads(text)
    except (ValueError, RecursionError):
        return None
    try:
        return next((chats for read in _READERS if (chats := read(export)) is not None), None)
    except (TypeError, AttributeError, ValueError, KeyError):  # it only begins like one
        return None


def _read_telegram(export: Any) -> list[Chat] | None:
    if not isinstance(export, dict):
        return None
    listed = export.get("chats")
    chats = listed.get("list") if isinstance(listed, dict) else [export]
    if not isinstance(chats, list) or not chats or not all(_is_chat(chat, {"type"}, {"id", "type", "date"}) for chat in chats):
        return None

    def iter_turns(messages: list[Object]) -> Iterator[Turn]:
        for message in messages:
            pieces = message.get("text")
            pieces = pieces if isinstance(pieces, list) else [pieces]
            words = "".join(str(piece.get("text", "")) if isinstance(piece, dict) else str(piece or "") for piece in pieces)
            if message["type"] == "message":
                yield Turn(str(message.get("from") or _NOBODY), words)

    return [_make_chat(iter_turns(chat["messages"]), chat.get("name")) for chat in chats]


def _read_discord(export: Any) -> list[Chat] | None:
    """As DiscordChatExporter writes a channel."""
    if not _is_chat(export, {"channel"}, {"author", "content", "type"}):
        return None
    turns = (
        Turn(str(message["author"].get("nickname") or message["author"].get("name") or _NOBODY), str(message["content"]))
        for message in export["messages"]
        if message["type"] in _SPOKEN_IN_DISCORD
    )
    return [_make_chat(turns, export["channel"].get("name"))]


def _read_slack(export: Any) -> list[Chat] | None:
    """A day of a channel."""
    if not isinstance(export, list) or not export:
        return None
    keys = [message.keys() if isinstance(message, dict) else set() for message in export]
    if all({"id"} < some and ({"team_id"} < some or {"created", "members"} < some) for some in keys):
        raise LeftOut("no text", "a list of users or channels of Slack, which holds no words of theirs")
    if not all({"type", "ts"} <= some for some in keys):
        return None

    names: dict[object, str] = {}  # not every message of somebody says it
    for message in export:
        profile = message.get("user_profile") or {}
        name = profile.get("display_name") or profile.get("real_name")
        names |= {message.get("user"): str(name)} if name else {}

    def show_link(match: re.Match[str]) -> str:
        return match[2] or (f"@{names.get(match[1][1:], match[1][1:])}" if match[1].startswith("@") else match[1])

    def iter_turns() -> Iterator[Turn]:
        for message in export:
            if message["type"] == "message" and message.get("subtype") in _SPOKEN_IN_SLACK:
                user = message.get("user")
                words = html.unescape(_SLACK_LINK.sub(show_link, str(message.get("text") or "")))
                yield Turn(str(names.get(user) or message.get("username") or user or _NOBODY), words)

    return [_make_chat(iter_turns())]


def _read_messenger(export: Any) -> list[Chat] | None:
    """Of Messenger and of Instagram: newest first, and each byte of UTF-8 written as a character of its own."""
    if not _is_chat(export, {"participants"}, {"sender_name", "timestamp_ms"}):
        return None
    messages = sorted(export["messages"], key=lambda message: int(message["timestamp_ms"]))
    turns = (Turn(_mend(message["sender_name"]), _mend(message.get("content") or "")) for message in messages)
    return [_make_chat(turns, _mend(export.get("title") or "") or None)]


def _mend(text: str) -> str:
    try:
        return text.encode("latin-1").decode()
    except UnicodeError:
        return text


def _read_chatgpt(export: Any) -> list[Chat] | None:
    """Each conversation along its last branch."""
    if not isinstance(export, list) or not export:
        return None
    if not all(isinstance(chat, dict) and isinstance(chat.get("mapping"), dict) for chat in export):
        return None

    def iter_turns(chat: Object) -> Iterator[Turn]:
        branch: list[Object] = []
        place = chat.get("current_node")
        while place in chat["mapping"] and len(branch) < len(chat["mapping"]):
            branch.append(chat["mapping"][place].get("message") or {})
            place = chat["mapping"][place].get("parent")
        for message in reversed(branch):
            sender = (message.get("author") or {}).get("role")
            parts = (message.get("content") or {}).get("parts") or []
            if sender in _SPOKEN_IN_CHATGPT:
                yield Turn(sender, "\n\n".join(part for part in parts if isinstance(part, str)))

    return [_make_chat(iter_turns(chat), chat.get("title")) for chat in export]


_READERS: tuple[Callable[[Any], list[Chat] | None], ...] = (
    _read_telegram,
    _read_discord,
    _read_messenger,
    _read_slack,
    _read_chatgpt,
)


def _is_chat(chat: Any, keys: set[str], keys_of_messages: set[str]) -> bool:
    if not isinstance(chat, dict) or not keys <= chat.keys() or not isinstance(chat.get("messages"), list):
        return False
    return all(isinstance(message, dict) and keys_of_messages <= message.keys() for message in chat["messages"])


def _make_chat(turns: Iterator[Turn], title: object = None) -> Chat:
    trimmed = (Turn(turn.sender, turn.text.strip()) for turn in turns)
    return Chat([turn for turn in trimmed if turn.text], str(title) if title else None)
