"""Rows of several columns and of turns, from files through the terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from whelp.artifacts.token_store import open_store
from whelp.tokenizer import load_tokenizer

from .helpers import Project, Whelp, make_project


def write_lines(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Project:
    """A project whose source is a file of questions and answers; one row has neither."""
    project = make_project(
        tmp_path / "project", data={"multi_column_keys": ["q", "a"], "multi_column_train_mask": [False, True]}
    )
    pairs: list[dict[str, Any]] = [{"id": n, "q": f"What is {n}?", "a": f"It is {n}."} for n in range(30)]
    write_lines(project.folder / "pairs.jsonl", [*pairs, {"id": 30, "q": None}])
    return project


def test_a_row_that_no_template_fits(rows: Project, whelp: Whelp) -> None:
    """It stops the work by its place, or is left out and counted; the rest is there, masked."""
    arguments = ("prepare", rows.recipe, f"data.source={rows.folder / 'pairs.jsonl'}", "--out", rows.store)
    outcome = whelp(*arguments)
    assert outcome.code == 1
    assert "pairs.jsonl, line 31: null, empty or missing text in every column that is looked for" in outcome.said
    assert "but expected text in one of q, a, or in" in outcome.said
    notes = whelp(*arguments, "data.on_bad_rows=skip", "data.test_split=0", "--json").json["ledger"]["notes"]
    assert notes["rows skipped: no text for the template"] == 1
    assert notes["rows by template: multi_column"] == 30
    split = open_store(rows.store).split("train")
    document, vocabulary = split.document(0), load_tokenizer(rows.store)
    trained = document["input_ids"][document["loss_mask"] == 1]
    assert vocabulary.decode(document["input_ids"]) == "What is 0?\n\nIt is 0."
    assert vocabulary.decode(trained, skip_special=False) == "\n\nIt is 0.<|endoftext|>"


def test_turns_either_way_round_and_a_split_by_name(rows: Project, whelp: Whelp) -> None:
    """An object of lists trains what a list of objects trains; what a folder holds out by its names is in the ledger."""
    ids = {}
    for name in ("turns", "lists"):
        folder = rows.folder / name
        for split, numbers in (("train", range(20)), ("test", range(3))):
            talks = [{"sender": ["user", "bot"], "text": [f"What is {n}?", f"It is {n}."]} for n in numbers]
            turns = [[dict(zip(talk, turn, strict=True)) for turn in zip(*talk.values(), strict=True)] for talk in talks]
            (folder / split).mkdir(parents=True)
            write_lines(folder / split / "a.jsonl", [{"chat": chat} for chat in (talks if name == "lists" else turns)])
        options = [
            "data.conversation_format=sender",
            "data.conversation_key=chat",
            "data.conversation_input_key_map={text: 'S: '}",
            "data.conversation_sender_mask={user: false}",
        ]
        found = whelp(
            "prepare", rows.recipe, f"data.source={folder}", *options, "--out", rows.folder / f"{name}-store", "--json"
        )
        ledger = found.json["ledger"]
        assert ledger["documents"] == {"train": 20, "test": 3}
        assert ledger["notes"]["files of the source's own split test, held out"] == 1
        store = open_store(rows.folder / f"{name}-store")
        ids[name] = [
            (document["input_ids"].tolist(), document["loss_mask"].tolist())
            for split in ("train", "test")
            for document in (store.split(split).document(index) for index in range(ledger["documents"][split]))
        ]
    assert ids["turns"] == ids["lists"]
    assert 0 in ids["lists"][0][1]


def test_another_chat_template(rows: Project, whelp: Whelp) -> None:
    """A store of chats is made again when the tokenizer's template has changed, though its vocabulary has not."""
    talk = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}]
    write_lines(rows.folder / "chats.jsonl", [{"messages": talk}] * 30)
    assert whelp("tokenizer", "train", "--source", rows.corpus, "--vocab-size", "300", "--out", rows.folder / "mine").code == 0
    recipe = {"data": {"source": "chats.jsonl", "tokenizer": "mine/", "conversation_template": "tokenizer"}}
    rows.recipe.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    template = rows.folder / "mine" / "chat_template.jinja"
    said = []
    for text in (
        "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}",
        "{% for m in messages %}{{ m.content }}|{% endfor %}",
    ):
        template.write_text(text, encoding="utf-8")
        outcome = whelp("prepare", rows.recipe, "--out", rows.store)
        assert outcome.code == 0, outcome.stderr
        said.append(outcome.said)
        assert whelp("prepare", rows.recipe, "--out", rows.store, "--json").json["is_reused"]
    assert "has another chat template than when the store was made" in said[1]
    document = open_store(rows.store).split("train").document(0)
    assert load_tokenizer(rows.store).decode(document["input_ids"]) == "What?|That.|"


def test_a_question_whose_answer_has_another_name(rows: Project, whelp: Whelp) -> None:
    """Rows of instruction, context and response are refused with what to set, instead of being trained without an answer."""
    answers = [{"instruction": f"Why {n}?", "context": "", "response": f"Since {n}."} for n in range(30)]
    path = write_lines(rows.folder / "answers.jsonl", answers)
    recipe = {"data": {"source": str(path), "tokenizer": {"learn": "bpe", "vocab_size": 300}, "test_split": 0}}
    rows.recipe.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    outcome = whelp("prepare", rows.recipe, "--out", rows.store)
    assert outcome.code == 1
    assert "3 columns hold text: " in outcome.said
    assert "or data.multi_column_keys to those that make a text together" in outcome.said
    keys = "data.multi_column_keys=[instruction, context, response]"
    assert whelp("prepare", rows.recipe, keys, "--out", rows.store).code == 0
    document = open_store(rows.store).split("train").document(3)
    assert load_tokenizer(rows.store).decode(document["input_ids"]) == "Why 3?\n\nSince 3."


def test_a_misspelt_text_key(rows: Project, whelp: Whelp) -> None:
    """It is an error, though the rows have other columns that the template could use."""
    path = write_lines(rows.folder / "texts.jsonl", [{"text": "t", "content": "c"}] * 30)
    outcome = whelp("prepare", rows.recipe, f"data.source={path}", "data.custom_text_key=contnet", "--out", rows.store)
    assert outcome.code == 1
    assert "has no column 'contnet'; it has content, text, but expected the column of data.custom_text_key" in outcome.said


SENDERS = (
    "data.conversation_format=sender",
    "data.conversation_key=chat",
    "data.conversation_input_key_map={text: '{sender}: '}",
)


def test_a_sender_that_no_turn_has(rows: Project, whelp: Whelp) -> None:
    """A misspelt field would train the questions, too: it stops the work; the right one does not."""
    talks = [{"chat": [{"who": "user", "text": f"{n}?"}, {"who": "bot", "text": f"{n}."}]} for n in range(30)]
    source = f"data.source={write_lines(rows.folder / 'talks.jsonl', talks)}"
    arguments = ("prepare", rows.recipe, source, "data.multi_column_keys=null", "data.multi_column_train_mask=null", *SENDERS)
    outcome = whelp(*arguments, "data.conversation_sender_key=whom", "--out", rows.store)
    assert outcome.code == 1
    assert "data.conversation_sender_key: no turn has text in its field whom" in outcome.said
    assert whelp(*arguments, "data.conversation_sender_key=who", "--out", rows.store).code == 0
    outcome = whelp(*arguments, "data.conversation_key=talk", "--out", rows.folder / "other")
    assert "talks.jsonl: has no column talk, which data.conversation_key names; it has chat, but" in outcome.said


@pytest.mark.parametrize("way", ["conversation_format=sender", "conversation_template=tokenizer"])
def test_masks_of_senders_that_nobody_is(rows: Project, whelp: Whelp, way: str) -> None:
    """A mask or a name for a sender that no turn is of is said, since another one is what it should have been for."""
    talks = [{"chat": [{"who": "user", "text": f"{n}?"}, {"who": "bot", "text": f"{n}."}]} for n in range(30)]
    source = f"data.source={write_lines(rows.folder / 'talks.jsonl', talks)}"
    columns = ("data.multi_column_keys=null", "data.multi_column_train_mask=null", "data.conversation_sender_key=who")
    tokenizer = "data.tokenizer={learn: bpe, vocab_size: 300, special_tokens: [chat]}"
    names = ("data.conversation_sender_mask={usr: false, bot: true}", "data.conversation_sender_value_map={bot: Bot, User: x}")
    arguments = (source, *columns, tokenizer, *SENDERS[1:], *names, f"data.{way}")
    outcome = whelp("prepare", rows.recipe, *arguments, "--out", rows.store, "--json")
    assert outcome.code == 0, outcome.said
    assert outcome.said.count("no turn is of") == 2
    assert "data.conversation_sender_mask: no turn is of usr. Where it should be, correct the name" in outcome.said
    assert "data.conversation_sender_value_map: no turn is of User" in outcome.said
    assert outcome.json["ledger"]["notes"]["text in data.conversation_sender_mask: usr"] == 0


def test_a_column_that_no_row_has(rows: Project, whelp: Whelp) -> None:
    """Beside others it is said, and counted as 0; where none is there the error names the option."""
    source = f"data.source={write_lines(rows.folder / 'pairs.jsonl', [{'q': 'What?', 'a': f'It {n}.'} for n in range(30)])}"
    keys, masks = "data.multi_column_keys=[q, a, aa]", "data.multi_column_train_mask=null"
    outcome = whelp("prepare", rows.recipe, source, keys, masks, "--out", rows.store, "--json")
    assert "data.multi_column_keys: no text is in aa. Where it should be, correct the name" in outcome.said
    notes = outcome.json["ledger"]["notes"]
    assert {name: count for name, count in notes.items() if name.startswith("text in")} == {
        "text in data.multi_column_keys: aa": 0
    }
    for option in ("data.multi_column_keys=[ask, reply]", "data.pieces=[{column: ask}, {column: reply}]"):
        more = ["data.multi_column_keys=null"] if "pieces" in option else []
        outcome = whelp("prepare", rows.recipe, source, *more, option, masks, "--out", rows.folder / "other")
        name = option.partition("=")[0]
        assert f"pairs.jsonl: has no column ask or reply, which {name} names; it has" in outcome.said
        assert f"Correct {name}, or name another file." in outcome.said


def test_the_usual_columns_need_not_all_be_there(rows: Project, whelp: Whelp) -> None:
    """Of instruction, input and output, which are looked for unasked, one may be missing without a word."""
    source = (
        f"data.source={write_lines(rows.folder / 'x.jsonl', [{'instruction': 'Add.', 'output': f'{n}'} for n in range(30)])}"
    )
    keys = "data.multi_column_keys=[instruction, input, output]"
    outcome = whelp("prepare", rows.recipe, source, keys, "data.multi_column_train_mask=null", "--out", rows.store)
    assert outcome.code == 0
    assert "no text is in" not in outcome.said


@pytest.mark.parametrize(("learn", "is_said"), [("wordpiece", True), ("unigram", False), ("bpe", False)])
def test_a_vocabulary_that_loses_text(tmp_path: Path, whelp: Whelp, learn: str, is_said: bool) -> None:
    """White space that no id stands for is gone from what the model reads, which is said before it is trained on."""
    project = make_project(tmp_path / "project", data={"tokenizer": {"learn": learn, "vocab_size": 300}})
    outcome = whelp("prepare", project.recipe, "--out", project.store)
    assert outcome.code == 0, outcome.said
    assert ("what is lost there, the model never sees" in outcome.said) == is_said
