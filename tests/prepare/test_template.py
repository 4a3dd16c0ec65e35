"""Templates: which text a row becomes, and which of its tokens are trained, token by token."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from whelp.base.config import load_config
from whelp.base.errors import ConfigError, PlanError
from whelp.prepare import TemplateConfig, make_template
from whelp.prepare.config import PieceConfig
from whelp.prepare.segments import encode_pieces

from .fakes import EOS, FakeVocabulary

TEXT = pa.large_string()
Row = dict[str, str | None]


def make_rows(rows: list[Row], *columns: str) -> pa.RecordBatch:
    """Rows of text columns, with the places that every batch has; a column that a row lacks is null."""
    names = columns or tuple(dict.fromkeys(name for row in rows for name in row))
    arrays = [pa.array([row.get(name) for row in rows], TEXT) for name in names]
    places = [pa.array([0] * len(rows), pa.int32()), pa.array(range(1, len(rows) + 1), pa.int64())]
    return pa.record_batch([*arrays, *places], names=[*names, "file_index", "line"])


def make_turns(conversations: list[Any], *fields: str, key: str = "chat") -> pa.RecordBatch:
    """Rows that hold lists of turns."""
    kind = pa.large_list(pa.struct([(field, TEXT) for field in fields]))
    return pa.record_batch([pa.array(conversations, kind)], names=[key])


def read(rows: pa.RecordBatch, *, text_key: str | None = None, **options: Any) -> list[list[tuple[str, int]]]:
    """Each row as (text, trained) runs: its ids and mask put together again, token by token."""
    config = load_config(TemplateConfig, options, "test")
    segments = make_template(config, text_key=text_key, vocabulary=FakeVocabulary()).segment(rows)
    encoded = encode_pieces(
        segments, FakeVocabulary(), allow_special=config.special_tokens_in_text, skip=config.data_prefix_skip_mask
    )
    mask = np.ones(len(encoded.ids), np.uint8) if encoded.mask is None else encoded.mask
    assert len(mask) == len(encoded.ids) == encoded.offsets[-1]
    found = []
    for first, end in zip(encoded.offsets[:-1], encoded.offsets[1:], strict=True):
        runs: list[tuple[list[int], int]] = []
        for token, trained in zip(encoded.ids[first:end].tolist(), mask[first:end].tolist(), strict=True):
            if not runs or runs[-1][1] != trained:
                runs.append(([], trained))
            runs[-1][0].append(token)
        found.append([("".join("<eos>" if token == EOS else chr(token) for token in run), trained) for run, trained in runs])
    return found


# --- which way a row takes ---


def test_the_first_way_that_fits() -> None:
    """Row by row: the asked column, a conversation, several columns, prompt and completion, text."""
    every: Row = {"code": "C", "instruction": "I", "output": "O", "prompt": "P", "completion": "K", "text": "T"}
    rows = [every]
    for leave_out in ("code", "instruction", "output", "prompt"):
        rows.append({**rows[-1], leave_out: None})
    assert read(make_rows(rows), text_key="code", multi_column_separator="|", multi_column_prefix=["", "", ""]) == [
        [("C", 1)],
        [("I|O", 1)],
        [("O", 1)],
        [("P", 0), ("K", 1)],
        [("T", 1)],
    ]
    segments = make_template(TemplateConfig(), text_key="code").segment(make_rows(rows))
    assert segments.count_strategies() == {"custom_text_key": 1, "multi_column": 2, "prompt_completion": 1, "text": 1}
    alone = make_template(TemplateConfig()).segment(make_rows([{"instruction": "I", "context": "C", "response": "R"}]))
    assert alone.count_strategies() == {"multi_column without output": 1}


def test_columns_that_need_another() -> None:
    """Columns that nobody named are used in files that have the answer's; a column that is named is used anyway."""
    assert make_template(TemplateConfig()).companions == {"instruction": "output", "input": "output"}
    assert make_template(TemplateConfig(), text_key="instruction").companions == {"input": "output"}
    assert make_template(TemplateConfig(multi_column_keys=["instruction", "input", "output"])).companions == {}
    assert make_template(TemplateConfig(multi_column_keys=[])).companions == {}
    assert make_template(TemplateConfig(pieces=[PieceConfig(column="instruction")])).companions == {}


def test_columns_of_the_schema() -> None:
    """What is looked for, in order; a conversation as a list of its fields."""
    names = ["instruction", "input", "output", "prompt", "completion", "text"]
    assert make_template(TemplateConfig()).schema == pa.schema([(name, TEXT) for name in names])
    config = TemplateConfig(
        multi_column_keys=[],
        conversation_format="sender",
        conversation_key="chat",
        conversation_input_key_map={"message": "{sender}: "},
    )
    turns = pa.large_list(pa.struct([("sender", TEXT), ("message", TEXT)]))
    expected = [("code", TEXT), ("chat", turns), ("prompt", TEXT), ("completion", TEXT), ("text", TEXT)]
    assert make_template(config, text_key="code").schema == pa.schema(expected)
    assert make_template(TemplateConfig(), text_key="text").schema.names == ["text", *names[:-1]]


def test_plain_text_is_passed_through() -> None:
    """Texts are not copied, and there is no mask."""
    rows = make_rows([{"text": "ab"}, {"text": ""}, {"text": "é"}])
    segments = make_template(TemplateConfig()).segment(rows)
    assert segments.texts.buffers()[2].address == rows.column("text").buffers()[2].address
    encoded = encode_pieces(segments, FakeVocabulary())
    assert encoded.mask is None
    assert encoded.offsets.tolist() == [0, 2, 2, 4]


def test_rows_without_text() -> None:
    """They are named by what they have and what they should have; made into text, they are empty."""
    rows = make_rows(
        [{"text": "ok", "input": None, "prompt": None}, {"input": "x", "prompt": "p"}, {"input": "", "text": None}]
    )
    template = make_template(TemplateConfig())
    bad = template.find_bad(rows)
    assert sorted(bad) == [1, 2]
    assert bad[1].reason == "no text for the template"
    assert bad[1].found == "text is in input, prompt alone, of the columns that are looked for"
    assert bad[1].expected == "text in output, or in instruction, or in prompt and completion, or in text"
    assert bad[2].found == "null, empty or missing text in every column that is looked for"
    assert read(rows) == [[("ok", 1)], [], []]
    assert template.segment(rows).strategies.tolist() == [3, -1, -1]


def test_no_rows() -> None:
    """A partition may be empty."""
    for options in ({}, {"conversation_format": "iopairs", "conversation_input_key_prefix_map": {"text": "x"}}):
        assert read(make_rows([], "text", "instruction"), **options) == []
        assert read(make_rows([]), **options) == []


# --- several columns ---

DOLLY: Row = {"instruction": "Why?", "input": "Ctx.", "output": "So."}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [("Instruction:\nWhy?", 1), ("\n\nInput:\nCtx.", 0), ("\n\nOutput:\nSo.", 1)]),
        (
            {"multi_column_separator_mask": True},
            [("Instruction:\nWhy?\n\n", 1), ("Input:\nCtx.", 0), ("\n\nOutput:\nSo.", 1)],
        ),
        (
            {"multi_column_separator_mask": False},
            [("Instruction:\nWhy?", 1), ("\n\nInput:\nCtx.\n\n", 0), ("Output:\nSo.", 1)],
        ),
        (
            {"multi_column_prefix_mask": False},
            [("Instruction:\n", 0), ("Why?", 1), ("\n\nInput:\nCtx.", 0), ("\n\n", 1), ("Output:\n", 0), ("So.", 1)],
        ),
        (
            {"multi_column_prefix_mask": True, "multi_column_separator_mask": True},  # as the original has it
            [("Instruction:\nWhy?\n\nInput:\n", 1), ("Ctx.", 0), ("\n\nOutput:\nSo.", 1)],
        ),
        (
            {"multi_column_prefix_mask": [False, True, False], "multi_column_train_mask": [False, False, True]},
            [("Instruction:\nWhy?\n\n", 0), ("Input:\n", 1), ("Ctx.", 0), ("\n\n", 1), ("Output:\n", 0), ("So.", 1)],
        ),
        (
            {"multi_column_suffix": [None, "!", r"\t"], "multi_column_suffix_mask": [True, True, False]},
            [("Instruction:\nWhy?", 1), ("\n\nInput:\nCtx.", 0), ("!\n\nOutput:\nSo.", 1), ("\t", 0)],
        ),
        (
            {"multi_column_suffix": ["1", "2", "3"]},
            [("Instruction:\nWhy?1", 1), ("\n\nInput:\nCtx.2", 0), ("\n\nOutput:\nSo.3", 1)],
        ),
        ({"multi_column_separator": None}, [("Instruction:\nWhy?", 1), ("Input:\nCtx.", 0), ("Output:\nSo.", 1)]),
        ({"multi_column_keys": ["output", "instruction"]}, [("Output:\nSo.\n\nInstruction:\nWhy?", 1)]),
        ({"data_prefix_skip_mask": 14}, [("Instruction:\nW", 0), ("hy?", 1), ("\n\nInput:\nCtx.", 0), ("\n\nOutput:\nSo.", 1)]),
        ({"data_prefix_skip_mask": 99}, [("Instruction:\nWhy?\n\nInput:\nCtx.\n\nOutput:\nSo.", 0)]),
    ],
)
def test_several_columns(options: dict[str, Any], expected: list[tuple[str, int]]) -> None:
    """Prefixes, suffixes and separators follow their columns, unless told otherwise."""
    assert read(make_rows([DOLLY]), **options) == [expected]


def test_columns_without_text_are_left_out() -> None:
    """With their prefix and separator; also the first one, and also when a column is not there at all."""
    rows = [
        {"instruction": "a", "input": "", "output": "b"},
        {"instruction": None, "input": "c", "output": "d"},
        {"output": "e"},
    ]
    assert read(make_rows(rows)) == [
        [("Instruction:\na\n\nOutput:\nb", 1)],
        [("Input:\nc", 0), ("\n\nOutput:\nd", 1)],
        [("Output:\ne", 1)],
    ]
    assert read(make_rows([{"output": "e"}])) == [[("Output:\ne", 1)]]


def test_columns_of_other_names() -> None:
    """They have no prefix, and all are trained, unless it is said; a null in a list shifts nothing."""
    rows = make_rows([{"question": "q", "answer": "a"}, {"question": "q", "answer": None}])
    options: dict[str, Any] = {"multi_column_keys": ["question", "answer"]}
    assert read(rows, **options) == [[("q\n\na", 1)], [("q", 1)]]
    options |= {"multi_column_prefix": [None, "A: "], "multi_column_train_mask": [False, True], "multi_column_separator": " "}
    assert read(rows, **options) == [[("q", 0), (" A: a", 1)], [("q", 0)]]


def test_columns_turned_off() -> None:
    """An empty list of columns leaves prompt and completion, and text."""
    rows = make_rows([{**DOLLY, "text": "t"}])
    assert read(rows, multi_column_keys=[]) == [[("t", 1)]]
    assert read(rows, multi_column_train_mask=[False, False, False]) == [[("t", 1)]]
    assert read(
        rows, multi_column_train_mask=[True, False, False], multi_column_prefix=["", "", ""], multi_column_separator=""
    ) == [[("Why?", 1), ("Ctx.So.", 0)]]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (r"a\nb", "a\nb"),
        (r"\t\r\n", "\t\r\n"),
        (r"\\n", r"\n"),
        (r"C:\\new\dir", r"C:\new\dir"),
        ("a\nb", "a\nb"),
        ("\\", "\\"),
    ],
)
def test_escapes(written: str, meant: str) -> None:
    """What YAML in single quotes keeps as two characters is one; a doubled backslash is a backslash."""
    row = make_rows([{"a": "x", "b": "y"}])
    assert read(row, multi_column_keys=["a", "b"], multi_column_separator=written) == [[(f"x{meant}y", 1)]]
    assert read(row, multi_column_keys=["a"], multi_column_prefix=[written]) == [[(f"{meant}x", 1)]]
    assert read(row, pieces=[{"column": "a", "suffix": written}, {"text": written}]) == [[(f"x{meant}{meant}", 1)]]


# --- prompt and completion ---


def test_prompt_and_completion() -> None:
    """Nothing stands between them; the prompt is not trained unless asked for; either may be empty, but not missing."""
    rows = make_rows(
        [{"prompt": "p:", "completion": " c"}, {"prompt": "", "completion": "c"}, {"prompt": "p", "completion": ""}]
    )
    assert read(rows) == [[("p:", 0), (" c", 1)], [("c", 1)], [("p", 0)]]
    assert read(rows, disable_prompt_completion_mask=True) == [[("p: c", 1)], [("c", 1)], [("p", 1)]]
    assert sorted(make_template(TemplateConfig()).find_bad(make_rows([{"prompt": "p", "completion": None}]))) == [0]


# --- control tokens ---


def test_a_control_token_spelled_in_text() -> None:
    """Stays text, unless the text is said to hold control tokens."""
    rows = make_rows([{"prompt": "p", "completion": "c<eos>"}, {"text": "<eos>"}])
    spelled = FakeVocabulary().encode("c<eos>").tolist()
    segments = make_template(TemplateConfig(), vocabulary=FakeVocabulary()).segment(rows)
    assert encode_pieces(segments, FakeVocabulary()).ids[1:7].tolist() == spelled
    ids = encode_pieces(segments, FakeVocabulary(), allow_special=True).ids
    assert ids.tolist() == [*b"pc", EOS, EOS]


def test_a_control_token_spelled_in_the_recipe() -> None:
    """Is one, in the recipe alone: the same letters in the text beside it stay text."""
    rows = make_rows([{"a": "x<eos>", "b": "y"}])
    config = TemplateConfig(multi_column_keys=["a", "b"], multi_column_separator="<eos>|")
    encoded = encode_pieces(make_template(config, vocabulary=FakeVocabulary()).segment(rows), FakeVocabulary())
    assert encoded.ids.tolist() == [*b"x<eos>", EOS, *b"|y"]
    assert encoded.mask is None


# --- pieces ---


def test_pieces() -> None:
    """Texts, columns and control tokens in any order; masks of prefix and suffix apart; what is not trained is written once."""
    pieces = [
        {"special": "eos", "train": False},
        {"text": r"Q:\n", "train": False},
        {"column": "q", "train": False, "suffix": "\n", "suffix_mask": True},
        {"column": "hint", "prefix": "(", "suffix": ")", "prefix_mask": False, "suffix_mask": False},
        {"text": "A: "},
        {"column": "a", "prefix": "<", "suffix": ">"},
        {"special": "<eos>"},
    ]
    rows = make_rows([{"q": "1+1", "a": "2", "hint": "h"}, {"q": "0", "a": None, "hint": ""}, {"hint": None}, {"text": "t"}])
    found = read(rows, pieces=pieces)
    assert found[0] == [("<eos>Q:\n1+1", 0), ("\n", 1), ("(", 0), ("h", 1), (")", 0), ("A: <2><eos>", 1)]
    assert found[1] == [("<eos>Q:\n0", 0), ("\nA: <eos>", 1)]
    assert found[2:] == [[], []]  # no column of the template has text: its constants alone are no document
    assert make_template(load_config(TemplateConfig, {"pieces": pieces}, "t")).schema.names == ["q", "hint", "a"]


def test_pieces_need_control_tokens_that_exist() -> None:
    """A control token that the vocabulary does not have is named, with those that it has."""
    config = load_config(TemplateConfig, {"pieces": [{"column": "a"}, {"special": "<pad>"}]}, "t")
    with pytest.raises(PlanError) as caught:
        make_template(config, vocabulary=FakeVocabulary())
    assert str(caught.value) == (
        "data.pieces: special: <pad> is no control token of this tokenizer, "
        "but expected eos, bos or one of those it has (<eos>)."
    )
    config = load_config(TemplateConfig, {"pieces": [{"column": "a"}, {"special": "eos"}]}, "t")
    with pytest.raises(PlanError, match=r"one of those it has \(none\)"):
        make_template(config, vocabulary=FakeVocabulary(eos_id=None))


# --- conversations ---

PAIRS = [[{"q": "1", "a": "2"}, {"q": "3", "a": None}], None, [], [{"q": None, "a": "4"}], [{"q": "", "a": None}]]


def test_pairs() -> None:
    """Field by field in the order of the recipe; a field without text is left out; no turn, no row."""
    rows = make_turns(PAIRS, "q", "a")
    options: dict[str, Any] = {
        "conversation_format": "iopairs",
        "conversation_key": "chat",
        "conversation_input_key_prefix_map": {"q": "Q:", "a": "A:"},
    }
    assert read(rows, **options) == [[("Q:1A:2Q:3", 1)], [], [], [("A:4", 1)], []]
    options |= {"conversation_input_key_mask": {"q": False}, "conversation_sender_suffix": {"q": r"\n", "a": "."}}
    assert read(rows, **options)[0] == [("Q:1\n", 0), ("A:2.", 1), ("Q:3\n", 0)]
    assert read(rows, **options, conversation_prefix_mask=True)[0] == [("Q:", 1), ("1\n", 0), ("A:2.Q:", 1), ("3\n", 0)]
    assert read(rows, **options, conversation_suffix_mask=True)[0] == [("Q:1", 0), ("\nA:2.", 1), ("Q:3", 0), ("\n", 1)]
    assert sorted(make_template(load_config(TemplateConfig, options, "t")).find_bad(rows)) == [1, 2, 4]


@pytest.mark.parametrize(
    ("mask", "expected"),
    [(None, [[("1", 0), ("2", 1), ("3#", 0)], [("4#", 1)]]), (True, [[("1", 0), ("2", 1), ("3", 0), ("#", 1)], [("4#", 1)]])],
)
def test_end_of_conversation(mask: bool | None, expected: list[list[tuple[str, int]]]) -> None:
    """Once, after the last turn, trained as what it follows; never where there is no turn."""
    found = read(
        make_turns(PAIRS, "q", "a"),
        conversation_format="iopairs",
        conversation_key="chat",
        conversation_input_key_prefix_map={"q": "", "a": ""},
        conversation_input_key_mask={"q": False},
        conversation_end_of_conversation="#",
        conversation_end_mask=mask,
    )
    assert found == [expected[0], [], [], expected[1], []]


def test_pairs_that_are_the_row() -> None:
    """Without a key each row is one pair, of columns."""
    rows = make_rows([{"q": "1", "a": "2"}, {"text": "t"}])
    prefixes = {"q": "Q:", "a": "A:"}
    assert read(rows, conversation_format="iopairs", conversation_input_key_prefix_map=prefixes) == [
        [("Q:1A:2", 1)],
        [("t", 1)],
    ]


def test_senders() -> None:
    """Prefixes name the sender as relabelled, masks and suffixes are the sender's; an unknown sender is trained."""
    chat = [
        [{"who": "u", "said": "hi", "aside": "(waves)"}, {"who": "b", "said": "yo", "aside": None}],
        [{"who": "x", "said": "?", "aside": None}, {"who": None, "said": "!", "aside": ""}],
    ]
    options: dict[str, Any] = {
        "conversation_format": "sender",
        "conversation_key": "chat",
        "conversation_sender_key": "who",
        "conversation_sender_value_map": {"u": "User", "b": "Bot"},
        "conversation_input_key_map": {"said": r"\n{sender}: ", "aside": " {sender} "},
        "conversation_sender_suffix": {"b": "."},
        "conversation_sender_mask": {"u": False, "b": True},
    }
    rows = make_turns(chat, "who", "said", "aside")
    assert read(rows, **options) == [
        [("\nUser: hi User (waves)", 0), ("\nBot: yo.", 1)],
        [("\nx: ?\n: !", 1)],
    ]
    found = read(rows, **options, conversation_prefix_mask=False, conversation_suffix_mask=False)[0]
    assert found == [("\nUser: hi User (waves)\nBot: ", 0), ("yo", 1), (".", 0)]


def test_turns_in_a_slice() -> None:
    """A batch that is a slice of a larger one, or has null turns, gives the same."""
    options: dict[str, Any] = {
        "conversation_format": "iopairs",
        "conversation_key": "chat",
        "conversation_input_key_prefix_map": {"q": "Q:", "a": "A:"},
        "conversation_end_of_conversation": "#",
    }
    rows = make_turns([[{"q": "0"}], *PAIRS, [None, {"q": "5"}]], "q", "a")
    whole = read(rows, **options)
    assert whole[-1] == [("Q:5#", 1)]
    for first in range(7):
        assert read(rows.slice(first, 3), **options) == whole[first : first + 3]


# --- the slow version ---


def slow(row: Row, keys: list[str], prefixes: list[str], masks: list[bool]) -> list[tuple[str, int]]:
    """A row's pieces, one `if` after the other."""
    if row.get("code") is not None:
        return [(row["code"] or "", 1)]
    pieces: list[tuple[str, int]] = []
    for key, prefix, mask in zip(keys, prefixes, masks, strict=True):
        value = row.get(key)
        if value:
            pieces += [("--", mask)] if pieces else []
            pieces += [(prefix, mask), (value, mask)]
    if pieces:
        return pieces
    if row.get("prompt") is not None and row.get("completion") is not None:
        return [(row["prompt"] or "", 0), (row["completion"] or "", 1)]
    return [(row["text"] or "", 1)] if row.get("text") is not None else []


def test_mixed_rows_equal_the_slow_version() -> None:
    """Rows of all kinds in one batch, at random: each is what it would be alone, written out the slow way."""
    draw = random.Random(0)
    keys, prefixes, masks = ["a", "b", "c"], ["A", "", "C"], [True, False, True]
    names = ["code", *keys, "prompt", "completion", "text"]
    rows: list[Row] = [
        {name: draw.choice([None, None, "", "x", "yz", "w" * 5]) for name in names if draw.random() < 0.9} for _ in range(300)
    ]
    found = read(
        make_rows(rows, *names),
        text_key="code",
        multi_column_keys=keys,
        multi_column_prefix=prefixes,
        multi_column_train_mask=masks,
        multi_column_separator="--",
    )
    for row, runs in zip(rows, found, strict=True):
        expected = [(letter, int(mask)) for text, mask in slow(row, keys, prefixes, masks) for letter in text]
        assert [(letter, mask) for text, mask in runs for letter in text] == expected, row


# --- options that do not fit ---


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"multi_column_keys": ["a"], "multi_column_prefix": ["x", "y"]},
            r"multi_column_prefix has 2 entries, but data\.multi_column_keys 1",
        ),
        ({"multi_column_train_mask": [True]}, r"multi_column_train_mask has 1 entries, but data\.multi_column_keys 3"),
        ({"multi_column_keys": ["a", "a"]}, "multi_column_keys names a column twice"),
        ({"conversation_format": "iopairs"}, "conversation_input_key_prefix_map names no field"),
        ({"conversation_format": "sender"}, "conversation_input_key_map names no field"),
        ({"conversation_format": "pairs"}, r"conversation_format is 'pairs', but expected iopairs or sender or nothing"),
        (
            {"conversation_format": "sender", "conversation_input_key_map": {"m": ""}, "conversation_template": "tokenizer"},
            "conversation_format and data.conversation_template are both set",
        ),
        ({"conversation_sender_mask": {"a": "no"}}, r"conversation_sender_mask\.a is 'no', but expected true or false"),
        (
            {"conversation_key": "chat"},
            "data.conversation_key is set, but no conversation is asked for: set data.conversation_format",
        ),
        (
            {"conversation_template": "tokenizer", "conversation_end_of_conversation": "#"},
            "data.conversation_end_of_conversation is set, but a chat template decides that",
        ),
        ({"conversation_sender_suffix": {"a": 1}}, r"conversation_sender_suffix\.a is 1, but expected text"),
        ({"pieces": [{"text": "a"}]}, "data.pieces names no column"),
        ({"pieces": [{"column": "a", "text": "b"}]}, "has text and column of text, column and special, but expected one"),
        ({"pieces": [{"train": True}]}, "has none of text, column and special"),
        ({"pieces": [{"text": "a", "prefix": "b"}, {"column": "c"}]}, "only a column has a prefix and a suffix, not text"),
        ({"pieces": [{"colum": "a"}]}, r"unknown key pieces\[0\]\.colum\. Did you mean pieces\[0\]\.column\?"),
        ({"pieces": [{"column": "a"}], "multi_column_keys": ["a"]}, "data.pieces and data.multi_column_keys are both set"),
        ({"data_prefix_skip_mask": -1}, "data_prefix_skip_mask is -1, but expected at least 0"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], message: str) -> None:
    """Refused before any work, by name."""
    with pytest.raises(ConfigError, match=message):
        load_config(TemplateConfig, options, "test")


def test_a_column_of_two_kinds() -> None:
    """A column cannot hold both a text and turns."""
    config = TemplateConfig(
        conversation_format="iopairs", conversation_key="input", conversation_input_key_prefix_map={"q": ""}
    )
    with pytest.raises(ConfigError, match="the column input cannot hold both text and a conversation"):
        make_template(config)
