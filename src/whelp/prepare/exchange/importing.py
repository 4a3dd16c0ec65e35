"""Files of token ids to a token store: checked, counted, written in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from whelp.artifacts.manifest import describe_files
from whelp.artifacts.token_store import (
    MASK_COLUMN,
    finish_split,
    make_batch,
    make_schema,
    name_data_file,
    open_sink,
)
from whelp.base.errors import PlanError
from whelp.prepare.exchange.documents import Documents
from whelp.prepare.exchange.formats import TokenFile
from whelp.prepare.finish_store import SavedVocabulary, finish_store
from whelp.prepare.held_out import draw_held_out
from whelp.prepare.ledger import Ledger
from whelp.prepare.parts import take_rows
from whelp.prepare.segments import EncodedRows


class NamedVocabulary(SavedVocabulary, Protocol):
    """The vocabulary that made the ids."""

    name: str

    @property
    def token_bytes(self) -> npt.NDArray[np.int32]: ...


@dataclass(frozen=True, kw_only=True)
class ImportReport:
    """Progress after some documents; `num_bytes` is of their ids, as the file has them."""

    num_documents: int
    num_tokens: int
    num_bytes: int


def import_tokens(
    files: Sequence[tuple[TokenFile, str]],
    vocabulary: NamedVocabulary,
    folder: Path,
    *,
    source: Mapping[str, Any],
    test_split: float,
    seed: int,
) -> Iterator[ImportReport]:
    """Write a token store into the empty `folder`; yield a report after some documents.

    Args:
        files: Each with the split it goes to, `train` or `test`.
        source: What identifies the files, for the manifest.
        test_split: The share of the documents for `train` that is held out.
        seed: Draws the held-out documents.

    Raises:
        PlanError: When an id is none of the vocabulary's, or nothing is left to train on.
    """
    has_mask = any(file.has_mask for file, _ in files)
    has_test = test_split > 0 or any(side == "test" for _, side in files)
    ledger, num_divided, num_drawn = Ledger(), 0, 0  # drawn: documents that a lot was drawn for
    with ExitStack() as stack:
        schema = make_schema(vocabulary.size, has_mask=has_mask)
        sides = {name: _Side(folder / name, schema, stack) for name in (("train", "test") if has_test else ("train",))}
        for index, (file, side) in enumerate(files):
            num_before = 0  # documents of this file
            for documents in file.read():
                count = len(documents)
                _check_ids(documents, vocabulary, file.label, num_before)
                lines = np.arange(num_before + 1, num_before + count + 1)
                if side == "train" and test_split > 0:
                    is_test = draw_held_out(num_drawn, count, test_split, seed)
                    num_drawn += count
                    sides["train"].add(take_rows(documents, ~is_test), index, lines[~is_test])
                    sides["test"].add(take_rows(documents, is_test), index, lines[is_test])
                else:
                    sides[side].add(documents, index, lines)
                ledger.documents_in += count
                ledger.tokens_in += len(documents.ids)
                ledger.text_bytes += int(vocabulary.token_bytes[documents.ids].sum(dtype=np.int64))
                num_divided += documents.num_divided
                num_before += count
                yield ImportReport(num_documents=count, num_tokens=len(documents.ids), num_bytes=documents.ids.nbytes)
            ledger.files["read"] += 1
    if num_divided:
        ledger.notes["very long documents divided"] = num_divided
    for name, written in sides.items():
        ledger.documents[name], ledger.tokens[name] = written.num_documents, written.num_tokens
        if not written.num_tokens:
            found = f"none of {ledger.documents_in:,} documents is for the {name} split"
            raise PlanError("import", found, "at least one with a token", "Give more documents, or another --test-split.")
    names = []
    for name, written in sides.items():
        made = finish_split(folder / name, schema, 1, written.num_documents, written.num_tokens)
        names += [f"{name}/{file}" for file in made]
    finish_store(
        folder,
        vocabulary,
        ledger,
        sources=[file.label for file, _ in files],
        source=source,
        config={"test_split": test_split, "seed": seed},
        files=describe_files(folder, names),
    )


class _Side:
    """A split that is being written."""

    def __init__(self, folder: Path, schema: pa.Schema, stack: ExitStack) -> None:
        folder.mkdir()
        self.num_documents = self.num_tokens = 0
        self._schema = schema
        sink = stack.enter_context(open_sink(folder / name_data_file(0, 1)))
        self._writer = stack.enter_context(pa.ipc.new_stream(sink, schema))

    def add(self, documents: EncodedRows, file_index: int, lines: npt.NDArray[np.int64]) -> None:
        """Write documents that come from the lines `lines` of a file."""
        if not len(documents):
            return
        mask = documents.mask
        if mask is None and MASK_COLUMN in self._schema.names:
            mask = np.ones(len(documents.ids), np.uint8)
        places = pa.array(np.full(len(documents), file_index)), pa.array(lines)
        self._writer.write_batch(make_batch(self._schema, documents.ids, documents.offsets, *places, mask))
        self.num_documents += len(documents)
        self.num_tokens += len(documents.ids)


def _check_ids(documents: Documents, vocabulary: NamedVocabulary, label: str, num_before: int) -> None:
    ids = documents.ids
    if not len(ids) or (int(ids.max()) < vocabulary.size and int(ids.min()) >= 0):
        return
    place = int(np.flatnonzero((ids < 0) | (ids >= vocabulary.size))[0])
    number = num_before + int(np.searchsorted(documents.offsets, place, side="right"))
    raise PlanError(
        f"{label}, document {number:,}",
        f"holds the id {int(ids[place]):,}",
        f"0 to {vocabulary.size - 1:,}, the ids of {vocabulary.name}",
        "Give the tokenizer that made the file.",
    )
