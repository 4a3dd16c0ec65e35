"""Merges learned from counted words: those of `tokenizers`, or learned by `tokenizers` itself, with a notice."""

from __future__ import annotations

import builtins
import json
import logging

import pyarrow as pa
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from whelp.base.errors import TokenizerError
from whelp.tokenizer import LearnConfig, learn
from whelp.tokenizer.learning import bpe as bpe_module

from .conftest import TEXTS
from .samples import make_fuzzed, read_texts

pytest.importorskip("ffbpe", reason='pip install "whelp[patterns]"')

FUZZED = [row for row in make_fuzzed(3, 300) if "<|" not in row]  # a control token must not become a word
ROWS = [*FUZZED, *TEXTS, "", *(f"=> {number} = > {number * 7919}" for number in range(50))]


def learn_merges(rows: list[str], num_merges: int, **options) -> list[list[str]]:
    batches = [pa.array(rows[:100], pa.large_string()), pa.array(rows[100:], pa.large_string())]
    return learn(batches, LearnConfig(vocab_size=258 + num_merges, **options)).specification()["model"]["merges"]


def learn_reference(rows: list[str], num_merges: int, regex: str) -> list[list[str]]:
    tokenizer = Tokenizer(models.BPE())
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(regex), "isolated"), byte_level])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=256 + num_merges, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(rows, trainer)
    return json.loads(tokenizer.to_str())["model"]["merges"]


def read_messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "slow one" in record.getMessage()]


@pytest.mark.parametrize("regex", [r"[a-z]+|[^a-z]{1,2}", r"\w+|[^\w\s]+|\s+", r"\p{L}{2,4}", r"(?i)the|\d+(?=\p{L})"])
def test_merges_of_ones_own_pattern(regex, caplog, monkeypatch):
    """Ties included, with text between the matches, and until nothing is left to merge."""
    monkeypatch.setattr(bpe_module, "_train_reference", lambda *_: pytest.fail("the slow trainer"))
    rows = [*ROWS, "".join(read_texts("code"))[:100_000]]
    assert learn_merges(rows, 500, pattern="regex", pattern_regex=regex) == learn_reference(rows, 500, regex)
    caplog.set_level(logging.ERROR)  # that the text is too small
    expected = learn_reference(TEXTS, 4000, regex)
    assert 20 < len(expected) < 4000
    assert learn_merges(TEXTS, 4000, pattern="regex", pattern_regex=regex) == expected


@pytest.mark.parametrize(
    ("regex", "reason"),
    [
        (r"\w*", "the fast trainer cuts "),
        (r"\b\w{1,3}\b", "the fast trainer cuts "),
        (r"(?<!a\w+)b|\w+|\W", "the fast trainer cannot read the pattern ("),
    ],
)
def test_what_is_cut_otherwise_is_learned_slowly(regex, reason, warnings_logged):
    assert learn_merges(TEXTS, 40, pattern="regex", pattern_regex=regex) == learn_reference(TEXTS, 40, regex)
    (message,) = read_messages(warnings_logged)
    assert message.startswith(f"pattern {regex!r}: {reason}")


def test_without_the_package_the_notice_says_how_to_get_it(warnings_logged, monkeypatch):
    honest = builtins.__import__

    def fail(name, *rest, **keywords):
        if name == "ffbpe":
            raise ImportError(name)
        return honest(name, *rest, **keywords)

    expected = learn_merges(TEXTS, 40, pattern="gpt4")
    assert not read_messages(warnings_logged)
    monkeypatch.setattr(builtins, "__import__", fail)
    assert learn_merges(TEXTS, 40, pattern="gpt4") == expected
    (message,) = read_messages(warnings_logged)
    assert 'pip install "whelp[patterns]"' in message


@pytest.mark.parametrize("rows", [[], ["", ""]])
def test_no_text(rows):
    with pytest.raises(TokenizerError, match="there is no text"):
        learn_merges(rows, 40, pattern="code")
