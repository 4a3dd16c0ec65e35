"""What became of every document: kept, or dropped for a reason; what was changed; examples."""

from __future__ import annotations

import dataclasses
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.hashing import hash_bytes
from whelp.curate.parts import Part

EXAMPLE_CHARACTERS = 600


@dataclass(kw_only=True)
class Ledger:
    """Counts of a whole source. `sizes_in` and `sizes_kept` count documents by powers of two of their characters.

    `dropped` and `dropped_bytes` go by "rule: reason"; `examples` are a few of each, drawn by their text from some of all parts.
    A mixture has the ledgers of its `sources` as well.
    """

    documents_in: int = 0
    bytes_in: int = 0
    documents_kept: int = 0
    bytes_kept: int = 0
    documents_test: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    dropped_bytes: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    notes: Counter[str] = field(default_factory=Counter)
    files: Counter[str] = field(default_factory=Counter)
    sizes_in: list[int] = field(default_factory=list)
    sizes_kept: list[int] = field(default_factory=list)
    examples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    sources: dict[str, Ledger] = field(default_factory=dict)

    @classmethod
    def join(cls, sources: dict[str, Ledger], num_examples: int) -> Ledger:
        """The ledger of a mixture, by the names of its sources: what they are together, and each of them."""
        whole = cls(sources=sources)
        for one in sources.values():
            for name in ("documents_in", "bytes_in", "documents_kept", "bytes_kept", "documents_test"):
                setattr(whole, name, getattr(whole, name) + getattr(one, name))
            for name in ("dropped", "dropped_bytes", "changes", "notes"):
                getattr(whole, name).update(getattr(one, name))
            for name in ("sizes_in", "sizes_kept"):
                setattr(whole, name, add_sizes(getattr(whole, name), getattr(one, name)))
            for reason, examples in one.examples.items():
                whole.examples.setdefault(reason, []).extend(examples)
        for examples in whole.examples.values():
            examples.sort(key=_draw_lot)
            del examples[num_examples:]
        whole.check()
        return whole

    def add_part(self, part: Part) -> None:
        """Count what went into a part."""
        self.documents_in += part.documents_in
        self.bytes_in += part.bytes_in
        self.changes.update(part.changes)
        self.notes.update(part.notes)
        self.sizes_in = add_sizes(self.sizes_in, part.sizes_in)

    def add_dropped(self, rows: pa.RecordBatch, texts: pa.LargeStringArray, num_examples: int) -> None:
        """Count rows that are dropped, as they are written."""
        if not rows.num_rows:
            return
        keys = pc.binary_join_element_wise(rows.column("rule"), rows.column("reason"), pa.scalar(": ", pa.large_string()))
        encoded = keys.dictionary_encode()
        codes = encoded.indices.to_numpy()
        num_bytes = np.bincount(codes, weights=pc.binary_length(texts).to_numpy(zero_copy_only=False))
        for code, key in enumerate(encoded.dictionary.to_pylist()):
            places = np.flatnonzero(codes == code)
            self.dropped[key] += len(places)
            self.dropped_bytes[key] += int(num_bytes[code])
            spread = np.unique(np.linspace(0, len(places) - 1, num_examples).round().astype(np.int64))
            self._add_examples(key, rows, texts, places[spread].tolist(), num_examples)

    def _add_examples(
        self, key: str, rows: pa.RecordBatch, texts: pa.LargeStringArray, places: list[int], num_examples: int
    ) -> None:
        found = self.examples.setdefault(key, [])
        for place in places:
            row = rows.slice(place, 1)
            shown = {name: row.column(name)[0].as_py() for name in ("origin", "line", "duplicate_of", "similarity")}
            text = texts[place].as_py()
            shown |= {"text": text[:EXAMPLE_CHARACTERS], "num_characters": len(text)}
            found.append(shown | {"lot": hash_bytes(text.encode())})
        found.sort(key=_draw_lot)
        del found[num_examples:]

    def check(self) -> None:
        """Every document has one fate."""
        total = self.documents_kept + sum(self.dropped.values())
        assert total == self.documents_in, (total, self.documents_in)

    def to_dict(self) -> dict[str, Any]:
        """For JSON; reasons by how many they dropped. A mixture has `sources`, by name, without examples of their own."""
        values = asdict(dataclasses.replace(self, sources={}))
        del values["sources"]
        if self.sources:
            values["sources"] = {name: one.to_dict() for name, one in self.sources.items()}
            for one in values["sources"].values():
                del one["examples"]
        for name in ("dropped", "dropped_bytes", "changes", "notes", "files"):
            values[name] = dict(sorted(getattr(self, name).items(), key=lambda pair: (-pair[1], pair[0])))
        order = list(values["dropped"])
        without_lot = {
            key: [{name: value for name, value in one.items() if name != "lot"} for one in self.examples[key]] for key in order
        }
        return values | {"examples": {key: examples for key, examples in without_lot.items() if examples}}


def _draw_lot(example: dict[str, Any]) -> tuple[Any, ...]:
    return example["lot"], example["origin"], example["line"]


def add_sizes(before: list[int], more: list[int]) -> list[int]:
    """Add two histograms."""
    return [left + right for left, right in zip(before or [0] * len(more), more or before, strict=True)]
