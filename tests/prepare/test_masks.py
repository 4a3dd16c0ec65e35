"""The mask in the store: it goes with its tokens through filters, separators and splits, and the ledger counts it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from whelp.artifacts.token_store import open_store
from whelp.base.errors import PlanError
from whelp.base.hashing import hash_json
from whelp.prepare import PrepareConfig, SourceToPrepare, TemplateConfig, make_template, prepare
from whelp.prepare.config import PieceConfig
from whelp.prepare.unused import find_unused

from .fakes import EOS, FakePartition, FakeVocabulary, make_partitions

TEXT = pa.large_string()


@dataclass(frozen=True)
class RowPartition:
    """Rows of some columns, of the file with the partition's number; `split` as a source would say it."""

    index: int
    rows: list[dict[str, str]]
    split: str = "train"

    @property
    def batch(self) -> pa.RecordBatch:
        names = list(dict.fromkeys(name for row in self.rows for name in row))
        columns = {name: pa.array([row.get(name) for row in self.rows], TEXT) for name in names}
        count = len(self.rows)
        columns |= {
            "file_index": pa.array([self.index] * count, pa.int32()),
            "line": pa.array(range(1, count + 1), pa.int64()),
        }
        return pa.record_batch(columns)

    @property
    def fingerprint(self) -> str:
        return hash_json(self.rows)


def finish(
    folder: Path,
    partitions: list[Any],
    template: dict[str, Any] | None = None,
    vocabulary: FakeVocabulary | None = None,
    **options: Any,
) -> dict[str, Any]:
    """Prepare to the end; return each split as a list of (text, trained) runs of documents."""
    vocabulary = vocabulary or FakeVocabulary()
    stream = SourceToPrepare(
        partitions=partitions,
        config=PrepareConfig(**{"test_split": 0, **options}),
        template=make_template(TemplateConfig(**(template or {})), vocabulary=vocabulary),
    )
    files = {"describe_source": lambda: {"name": "fake"}, "sources": lambda: ["a"] * 9}
    for _ in prepare([stream], vocabulary, folder, **files):
        pass
    return read_store(folder)


def read_store(folder: Path) -> dict[str, list[str]]:
    """Documents as text, what is not trained in brackets; checks that mask and ledger belong to the tokens."""
    store = open_store(folder)
    found: dict[str, list[str]] = {}
    for name, counts in store.manifest.counts["splits"].items():
        split = store.split(name)
        masked = 0
        found[name] = []
        for index in range(split.num_documents):
            document = split.document(index)
            ids = document["input_ids"].tolist()
            mask = document["loss_mask"].tolist() if split.has_mask else [1] * len(ids)
            assert len(mask) == len(ids)
            masked += mask.count(0)
            letters = ["<eos>" if token == EOS else chr(token) for token in ids]
            text = "".join(letter if trained else f"[{letter}]" for letter, trained in zip(letters, mask, strict=True))
            found[name].append(text.replace("][", ""))
        assert counts["tokens"] == split.num_tokens
        assert store.ledger["masked"][name] == masked
        assert store.ledger["trained"][name] + masked == split.num_tokens
    return found


def pairs(*texts: tuple[str, str], index: int = 0, split: str = "train") -> RowPartition:
    """A partition of prompts and completions."""
    return RowPartition(index, [{"prompt": prompt, "completion": completion} for prompt, completion in texts], split)


def test_masks_arrive(tmp_path: Path) -> None:
    """Each token has its own; the separator is trained, or not."""
    partitions = [pairs(("ab", "c"), ("d", "ef"))]
    assert finish(tmp_path / "a", partitions) == {"train": ["[ab]c<eos>", "[d]ef<eos>"]}
    assert finish(tmp_path / "b", partitions, separator_mask=False) == {"train": ["[ab]c[<eos>]", "[d]ef[<eos>]"]}
    assert finish(tmp_path / "c", partitions, separator="none") == {"train": ["[ab]c", "[d]ef"]}
    assert finish(tmp_path / "d", partitions, separator=r"\n-", separator_mask=False) == {"train": ["[ab]c[\n-]", "[d]ef[\n-]"]}


def test_a_store_without_masks_has_no_column(tmp_path: Path) -> None:
    """Where everything is trained, the store is as it always was."""
    finish(tmp_path / "a", [pairs(("ab", "c"))], {"disable_prompt_completion_mask": True})
    assert not open_store(tmp_path / "a").split("train").has_mask
    assert finish(tmp_path / "b", make_partitions(["ab"]), separator_mask=False) == {"train": ["ab[<eos>]"]}
    assert finish(tmp_path / "c", make_partitions(["abc"]), {"data_prefix_skip_mask": 2}) == {"train": ["[ab]c<eos>"]}


@pytest.mark.parametrize("test_split", [0, 2])
def test_parts_with_and_without_a_mask(tmp_path: Path, test_split: int) -> None:
    """In a mixture, documents of plain text are trained whole."""
    partitions: list[Any] = [FakePartition(0, ["pq", "r"]), pairs(("ab", "c"), ("d", "ef"), index=1), FakePartition(2, ["s"])]
    found = finish(tmp_path, partitions, test_split=test_split, test_split_shuffle=False)
    whole = ["pq<eos>", "r<eos>", "[ab]c<eos>", "[d]ef<eos>", "s<eos>"]
    assert found == ({"train": whole[:3], "test": whole[3:]} if test_split else {"train": whole})
    assert open_store(tmp_path).ledger["notes"] == {"rows by template: text": 3, "rows by template: prompt_completion": 2}


def test_filters_take_the_mask_along(tmp_path: Path) -> None:
    """Documents are dropped for one reason each, by their length without the separator, or when nothing is trained."""
    partitions = [pairs(("a", "b"), ("c", ""), ("", "d"), ("eee", "fff"), ("gg", ""), ("h", "i"))]
    assert finish(tmp_path, partitions, min_token_size=2, max_token_size=5) == {"train": ["[a]b<eos>", "[h]i<eos>"]}
    ledger = open_store(tmp_path).ledger
    assert ledger["documents"] == {"dropped: too short": 2, "dropped: too long": 1, "dropped: fully masked": 1, "train": 2}
    assert ledger["tokens"] == {"dropped: too short": 2, "dropped: too long": 6, "dropped: fully masked": 2, "train": 6}
    assert ledger["masked"] == {"train": 2}
    assert ledger["trained"] == {"train": 4}


def test_control_tokens_that_stay_text_are_counted(tmp_path: Path) -> None:
    """A data set that writes its own ends as text is told so, unless they become control tokens; our own pieces are not counted."""
    rows = [pairs(("a<eos>b", "c<eos>"), ("d", "e"))]
    finish(tmp_path / "text", rows)
    assert open_store(tmp_path / "text").ledger["notes"] == {
        "rows by template: prompt_completion": 2,
        "texts with control tokens kept as text (special_tokens_in_text)": 2,
    }
    finish(tmp_path / "control", rows, {"special_tokens_in_text": True})
    assert open_store(tmp_path / "control").ledger["notes"] == {"rows by template: prompt_completion": 2}
    own = {"pieces": [PieceConfig(column="prompt", suffix="<eos>")]}
    finish(tmp_path / "own", [pairs(("ab", "c"))], own)
    assert open_store(tmp_path / "own").ledger["notes"] == {"rows by template: pieces": 1}


def test_options_of_a_template_that_no_row_takes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are said to have no effect; where a row takes the template nothing is said, nor of what is switched off."""
    options = {"disable_prompt_completion_mask": True, "multi_column_suffix": ["!", "?", "."], "multi_column_keys": None}
    finish(tmp_path / "a", make_partitions(["ab", "c"]), options)
    assert [record.getMessage() for record in caplog.records] == [
        "data.multi_column_suffix has no effect: no row is made of several columns",
        "data.disable_prompt_completion_mask has no effect: no row is a prompt and a completion",
    ]
    caplog.clear()
    finish(tmp_path / "b", [pairs(("ab", "c"))], {"disable_prompt_completion_mask": True, "multi_column_keys": []})
    finish(tmp_path / "d", make_partitions(["ab"]), {"multi_column_keys": ["instruction", "input", "output"]})
    finish(tmp_path / "c", [RowPartition(0, [{"output": "a"}])], {"multi_column_suffix": ["!", "?", "."]})
    assert not caplog.records


def test_options_of_the_other_kind_of_conversation() -> None:
    """Masks of pairs are none of turns with a sender, and the other way round."""
    pairs_of = {"conversation_format": "iopairs", "conversation_input_key_prefix_map": {"q": ""}}
    of_senders = {"conversation_format": "sender", "conversation_input_key_map": {"text": ""}}
    for options, other in (
        (pairs_of, {"conversation_sender_mask": {"user": False}}),
        (of_senders, {"conversation_input_key_mask": {"q": False}}),
    ):
        reason = f"data.conversation_format is {options['conversation_format']}"
        assert find_unused(TemplateConfig(**options, **other), ["conversation"]) == dict.fromkeys(other, reason)
        assert not find_unused(TemplateConfig(**options), ["conversation"])


def test_unknown_tokens_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Also those of documents that are dropped; an end token that is called the unknown one, too, is none."""
    vocabulary = FakeVocabulary(unk_id=ord("?"))
    finish(tmp_path / "a", [pairs(("a?", "??c"), ("d", "ef"))], vocabulary=vocabulary)
    assert open_store(tmp_path / "a").ledger["notes"] == {
        "rows by template: prompt_completion": 2,
        "unknown tokens, for what the vocabulary cannot write": 3,
    }
    assert "30 % of the tokens are unknown: what stood there is lost to the model" in caplog.text
    finish(tmp_path / "b", [pairs(("a", "c"))], vocabulary=FakeVocabulary(unk_id=EOS))
    assert open_store(tmp_path / "b").ledger["notes"] == {"rows by template: prompt_completion": 1}


def test_a_skipped_prefix_may_mask_everything(tmp_path: Path) -> None:
    """What is left of a document decides."""
    assert finish(tmp_path, make_partitions(["ab", "abc"]), {"data_prefix_skip_mask": 2}) == {"train": ["[ab]c<eos>"]}
    assert open_store(tmp_path).ledger["documents"]["dropped: fully masked"] == 1


def test_rows_without_text_are_counted(tmp_path: Path) -> None:
    """A row that no template fits, and that the source let pass, is not lost silently."""
    rows = RowPartition(0, [{"text": "a"}, {"prompt": "b"}, {"input": "c"}])
    assert finish(tmp_path, [rows], min_token_size=0) == {"train": ["a<eos>"]}
    assert open_store(tmp_path).ledger["documents"] == {"dropped: no text for the template": 2, "train": 1}


def test_the_tail_of_each_document(tmp_path: Path) -> None:
    """Divided documents are divided with their masks."""
    found = finish(tmp_path, [pairs(("abc", "d"), ("e", "fghi"))], test_split=0.4, test_split_by="tail", separator="none")
    assert found == {"train": ["[ab]", "[e]fg"], "test": ["[c]d", "hi"]}


def test_a_test_split_of_the_source(tmp_path: Path) -> None:
    """It is taken whole, wherever it stands, and nothing is drawn from the rest."""
    partitions = [
        pairs(("a", "b"), index=0),
        pairs(("c", "d"), ("e", "f"), index=1, split="test"),
        pairs(*[("g", "h")] * 30, index=2),
    ]
    found = finish(tmp_path / "a", partitions, test_split=0.5)
    assert found["test"] == ["[c]d<eos>", "[e]f<eos>"]
    assert found["train"] == ["[a]b<eos>"] + ["[g]h<eos>"] * 30
    assert finish(tmp_path / "b", partitions, test_split=0) == found
    with pytest.raises(PlanError, match="every document is of the test split, but expected some to train on"):
        finish(tmp_path / "c", partitions[1:2])


def test_a_test_split_of_which_nothing_is_left(tmp_path: Path) -> None:
    """Then one is drawn, as without it."""
    partitions = [pairs(*[("a", "b")] * 30, index=0), pairs(("c", ""), index=1, split="test")]
    found = finish(tmp_path, partitions, test_split=2)
    assert (len(found["train"]), len(found["test"])) == (28, 2)


def test_interrupted_then_run_again(tmp_path: Path) -> None:
    """Finished parts are found again, and the bytes are those of an uninterrupted run; another template makes them anew."""
    partitions = [pairs(*[("a" * (number + 1), "b")] * 9, index=number) for number in range(3)]

    def start(folder: Path, **template: Any) -> Any:
        made = make_template(TemplateConfig(**template), vocabulary=FakeVocabulary())
        config = PrepareConfig(test_split=3)
        stream = SourceToPrepare(partitions=partitions, config=config, template=made)
        return prepare([stream], FakeVocabulary(), folder, describe_source=dict, sources=list)

    for _ in start(tmp_path / "whole"):
        pass
    work = start(tmp_path / "cut")
    next(work)
    work.close()
    reused = [report.is_reused for report in start(tmp_path / "cut")]
    assert reused[0]
    for path in sorted((tmp_path / "whole").rglob("*.arrow")):
        assert path.read_bytes() == (tmp_path / "cut" / path.relative_to(tmp_path / "whole")).read_bytes()
    work = start(tmp_path / "cut")
    for _ in range(2):
        next(work)
    work.close()
    assert [report.is_reused for report in start(tmp_path / "cut", data_prefix_skip_mask=1)] == [False, False, False]


def test_datasets_opens_a_masked_store(tmp_path: Path) -> None:
    """Hugging Face's library reads ids and mask, lists of the same lengths."""
    datasets = pytest.importorskip("datasets", reason='pip install "whelp[hub]" to read the store with datasets')
    finish(tmp_path, [pairs(("ab", "c"), ("d", "ef"))], separator="none")
    rows = datasets.load_from_disk(str(tmp_path))["train"]
    assert rows["loss_mask"][:] == [[0, 0, 1], [0, 1, 1]]
    assert rows["input_ids"][:] == [[*b"abc"], [*b"def"]]
