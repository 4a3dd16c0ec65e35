"""Chats that programs export, and training on what one of those who speak says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import whelp
from whelp.artifacts.token_store import open_store
from whelp.base.errors import ConfigError
from whelp.collect.folder.chat_exports import read_chat_export
from whelp.tokenizer import load_tokenizer

DISCORD = {
    "guild": {"name": "Dogs"},
    "channel": {"name": "general"},
    "messages": [
        {"type": "GuildMemberJoin", "content": "Joined.", "author": {"name": "ann1"}},
        {"type": "Default", "content": "Hi\nthere", "author": {"name": "ann1", "nickname": "Ann"}},
        {"type": "Default", "content": "", "author": {"name": "bob"}},
        {"type": "Reply", "content": "Yes?", "author": {"name": "bob", "nickname": None}},
    ],
}
SLACK = [
    {"type": "message", "subtype": "channel_join", "ts": "1.0", "user": "U1", "text": "<@U1> has joined"},
    {
        "type": "message",
        "ts": "2.0",
        "user": "U1",
        "text": "Hi &lt;3 <https://a.org|here>",
        "user_profile": {"real_name": "Ann"},
    },
    {"type": "message", "ts": "3.0", "user": "U2", "text": "<@U1>: <https://b.org>"},
    {"type": "message", "ts": "4.0", "user": "U1", "text": "<@U3>?"},
]
MESSENGER = {
    "participants": [{"name": "Ann"}],
    "title": "M\u00c3\u00bcller",
    "messages": [
        {"sender_name": "Bob", "timestamp_ms": 30, "content": "Yes \u00e2\u009c\u0093"},
        {"sender_name": "M\u00c3\u00bcller", "timestamp_ms": 20, "content": "Hi"},
        {"sender_name": "Bob", "timestamp_ms": 10, "photos": []},
    ],
}
CHATGPT = [
    {
        "title": "Dogs",
        "current_node": "d",
        "mapping": {
            "a": {"message": None, "parent": None},
            "b": {"message": {"author": {"role": "user"}, "content": {"parts": ["Why?"]}}, "parent": "a"},
            "c": {"message": {"author": {"role": "assistant"}, "content": {"parts": ["Thrown away."]}}, "parent": "b"},
            "d": {"message": {"author": {"role": "assistant"}, "content": {"parts": ["So.", {"image": 1}]}}, "parent": "b"},
        },
    }
]


@pytest.mark.parametrize(
    ("export", "said", "title"),
    [
        (DISCORD, "Ann: Hi\nthere\nbob: Yes?", "general"),
        (SLACK, "Ann: Hi <3 here\nU2: @Ann: https://b.org\nAnn: @U3?", None),
        (MESSENGER, "Müller: Hi\nBob: Yes ✓", "Müller"),
        (CHATGPT, "user: Why?\nassistant: So.", "Dogs"),
    ],
    ids=["discord", "slack", "messenger", "chatgpt"],
)
def test_exports(export: Any, said: str, title: str | None) -> None:
    """Who said what, in order; no notices, nothing without words."""
    chats = read_chat_export(json.dumps(export))
    assert chats is not None
    assert [(chat.text, chat.title) for chat in chats] == [(said, title)]


@pytest.mark.parametrize(
    "other",
    [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"channel": {}, "messages": [{"type": "Default", "author": "x", "content": "y"}]},
        {"participants": [], "messages": [{"sender_name": "A", "timestamp_ms": "soon"}]},
        [{"ts": 1}],
        [{"mapping": {"a": {"message": 3}}, "current_node": "a"}],
    ],
)
def test_other_json_is_none(other: Any) -> None:
    """What only looks like an export stays a text."""
    assert read_chat_export(json.dumps(other)) is None


CHAT = "12.03.24, 18:00 - Ann: Hi\n12.03.24, 18:01 - Bob: Yes?\nWell.\n12.03.24, 18:02 - Ann: So.\n12.03.24, 18:03 - Bob: Oh.\n"


def prepare(folder: Path, **data: Any) -> tuple[Any, list[tuple[str, str]]]:
    """Of each document its text, and what of it is trained."""
    result = whelp.prepare({"data": {"tokenizer": {"learn": "chars"}, "test_split": 0, **data}}, out=folder / "store")
    store = open_store(folder / "store")
    vocabulary, split = load_tokenizer(store.folder), store.split("train")
    documents = [split.document(number) for number in range(split.num_documents)]
    return result, [
        (
            vocabulary.decode(document["input_ids"]),
            vocabulary.decode(document["input_ids"][document["loss_mask"] == 1]) if split.has_mask else "",
        )
        for document in documents
    ]


@pytest.fixture
def collected(tmp_path: Path) -> Path:
    """A chat and a letter, collected."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "chat.txt").write_text(CHAT)
    (tmp_path / "mine" / "letter.txt").write_text("Dear Bob, so.")
    whelp.collect_folder(tmp_path / "mine", out=tmp_path / "mine.jsonl")
    return tmp_path / "mine.jsonl"


def test_lists_of_slack_are_no_text(tmp_path: Path) -> None:
    """Users and channels stand beside the days of an export; other lists stay texts."""
    (tmp_path / "team").mkdir()
    for name, content in {
        "users": [{"id": "U1", "team_id": "T1", "name": "ann"}],
        "channels": [{"id": "C1", "created": 1, "members": ["U1"]}],
        "others": [{"id": 1, "name": "x"}],
    }.items():
        (tmp_path / "team" / f"{name}.json").write_text(json.dumps(content))
    result = whelp.collect_folder(tmp_path / "team", out=tmp_path / "o.jsonl")
    assert (result.num_documents, result.num_files["skipped"]) == (1, {"no text": 2})


def test_turns_stand_beside_the_text(collected: Path) -> None:
    """A chat has who said what; other documents have not."""
    chat, letter = [json.loads(line) for line in collected.read_text().splitlines()]
    assert chat["text"] == "Ann: Hi\nBob: Yes?\nWell.\nAnn: So.\nBob: Oh."
    assert chat["turns"] == [
        {"sender": "Ann", "text": "Hi"},
        {"sender": "Bob", "text": "Yes?\nWell."},
        {"sender": "Ann", "text": "So."},
        {"sender": "Bob", "text": "Oh."},
    ]
    assert "turns" not in letter


def test_what_one_says_is_trained(collected: Path, tmp_path: Path) -> None:
    """With the name before it and the line end after it; what is no chat is trained whole."""
    result, documents = prepare(tmp_path, source=str(collected), conversation_trained_senders="Ann", separator_mask=False)
    assert documents == [
        ("Ann: Hi\nBob: Yes?\nWell.\nAnn: So.\nBob: Oh.\n", "Ann: Hi\nAnn: So.\n"),
        ("Dear Bob, so.", "Dear Bob, so."),
    ]
    assert not [note for note in result.ledger["notes"] if note.startswith("text in")]
    _, documents = prepare(
        tmp_path / "no names", source=str(collected), conversation_trained_senders=["Bob"], conversation_prefix_mask=False
    )
    assert documents[0][1] == "Yes?\nWell.\nOh.\n"


def test_a_name_that_nobody_has(collected: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those who speak are named, and a chat of which nothing is trained is dropped, and counted."""
    result, documents = prepare(tmp_path, source=str(collected), conversation_trained_senders=["Anne"])
    said = "data.conversation_trained_senders: no turn is of Anne (those who speak most: Ann 2, Bob 2). Where it should be, correct"
    assert said in caplog.text
    assert [text for text, _ in documents] == ["Dear Bob, so."]
    assert result.ledger["documents"]["dropped: fully masked"] == 1


def test_in_conversations_of_ones_own(tmp_path: Path) -> None:
    """The same with fields of other names; `*` stands for those who are not named, in what follows their words, too."""
    turns = [{"who": name, "said": f"I am {name}."} for name in ("Ann", "Bob", "Cat", "Ann")]
    (tmp_path / "a.jsonl").write_text(json.dumps({"talk": turns}) + "\n")
    options: dict[str, Any] = {
        "source": str(tmp_path / "a.jsonl"),
        "conversation_format": "sender",
        "conversation_key": "talk",
        "conversation_sender_key": "who",
        "conversation_input_key_map": {"said": "{sender}: "},
        "conversation_sender_suffix": {"Bob": "|", "*": "/"},
        "separator": "none",
    }
    text = "Ann: I am Ann./Bob: I am Bob.|Cat: I am Cat./Ann: I am Ann./"
    trained = "Ann: I am Ann./Cat: I am Cat./Ann: I am Ann./"
    _, documents = prepare(tmp_path / "named", **options, conversation_trained_senders=["Ann", "Cat"])
    assert documents == [(text, trained)]
    _, documents = prepare(tmp_path / "others", **options, conversation_sender_mask={"Bob": False})
    assert documents == [(text, trained)]
    _, documents = prepare(tmp_path / "star", **options, conversation_sender_mask={"Bob": True, "*": False})
    assert documents == [(text, "Bob: I am Bob.|")]


def test_as_the_chat_template_writes_it(collected: Path, tmp_path: Path) -> None:
    """Whoever is called the assistant: the turns of those who are named are trained, and no others."""
    options: dict[str, Any] = {
        "source": str(collected),
        "tokenizer": {"learn": "bpe", "vocab_size": 300, "special_tokens": ["chat"]},
        "conversation_template": "tokenizer",
        "conversation_key": "turns",
        "conversation_sender_key": "sender",
        "conversation_input_key_map": {"text": ""},
        "conversation_sender_value_map": {"Ann": "user", "Bob": "assistant"},
    }
    pytest.importorskip("jinja2", reason="needs the extra chat: pip install 'whelp[chat]'")
    for number, (name, said) in enumerate({"Ann": ["Hi", "So."], "Bob": ["Yes?\nWell.", "Oh."]}.items()):
        _, documents = prepare(tmp_path / str(number), **options, conversation_trained_senders=[name])
        others = {"Hi", "So.", "Yes?\nWell.", "Oh."} - {*said}
        assert all(words in documents[0][1] for words in said)
        assert not any(words in documents[0][1] for words in others)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            {"conversation_sender_mask": {"Bob": False}},
            "conversation_trained_senders and data.conversation_sender_mask are both set",
        ),
        (
            {"conversation_format": "iopairs", "conversation_input_key_prefix_map": {"q": ""}},
            "conversation_trained_senders is set, but pairs name no sender",
        ),
        ({"conversation_trained_senders": []}, "conversation_trained_senders is empty, so nothing is trained"),
        ({"conversation_trained_senders": "*"}, "conversation_trained_senders takes names, and '*' is none"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: dict[str, Any], said: str) -> None:
    """Said before anything is read."""
    with pytest.raises(ConfigError) as caught:
        prepare(tmp_path, **{"conversation_trained_senders": ["Ann"], **options})
    assert said in str(caught.value)
