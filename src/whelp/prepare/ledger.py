"""Where every document and every token went."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Protocol

SPELLED = "texts with control tokens kept as text (special_tokens_in_text)"
UNKNOWN = "unknown tokens, for what the vocabulary cannot write"
_SPLITS = ("train", "test")
_NUMBERS = ("documents_in", "tokens_in", "documents_divided", "text_bytes", "spelled", "unknown")
_COUNTERS = ("documents", "tokens", "masked", "strategies", "named", "files", "notes")


class PartLike(Protocol):
    """What became of one partition."""

    @property
    def documents_in(self) -> int: ...
    @property
    def text_bytes(self) -> int: ...
    @property
    def dropped(self) -> dict[str, tuple[int, int]]: ...
    @property
    def strategies(self) -> dict[str, int]: ...
    @property
    def named(self) -> dict[str, int]: ...
    @property
    def spelled(self) -> int: ...
    @property
    def unknown(self) -> int: ...
    def count(self, what: str) -> int: ...


@dataclass(kw_only=True)
class Ledger:
    """Counts of one `prepare`; `check` proves that they add up.

    `documents` and `tokens` map a fate to a count: `train`, `test`, or `dropped: REASON`. `masked` says how many tokens of a
    split are not trained as targets; the others are.
    """

    documents_in: int = 0
    tokens_in: int = 0
    documents: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    masked: Counter[str] = field(default_factory=Counter)
    strategies: Counter[str] = field(default_factory=Counter)  # how many documents each way to make text of a row made
    named: Counter[str] = field(default_factory=Counter)  # rows, or turns, with text in what an option names: `OPTION: NAME`
    spelled: int = 0  # texts in which a control token is spelled, and stays text
    unknown: int = 0  # tokens that stand for what the vocabulary cannot write
    documents_divided: int = 0  # in both splits: the tail of each is held out
    text_bytes: int = 0
    files: Counter[str] = field(default_factory=Counter)  # `read`, or `skipped: REASON`
    notes: Counter[str] = field(default_factory=Counter)  # how unusual files were read, and what was left out before
    sources: dict[str, Ledger] = field(default_factory=dict)  # of a mixture: the part of each source, which this one adds up

    @classmethod
    def join(cls, sources: dict[str, Ledger]) -> Ledger:
        """One ledger for all sources of a mixture, with the part of each."""
        joined = cls(sources=sources)
        for ledger in sources.values():
            for name in _NUMBERS:
                setattr(joined, name, getattr(joined, name) + getattr(ledger, name))
            for name in _COUNTERS:
                getattr(joined, name).update(getattr(ledger, name))
        return joined

    def add_part(self, part: PartLike) -> None:
        """Add the counts of a part; the documents it kept get their fate when the splits are written."""
        self.documents_in += part.documents_in
        self.text_bytes += part.text_bytes
        self.tokens_in += part.count("tokens")
        self.strategies.update(part.strategies)
        self.named.update(part.named)
        self.spelled += part.spelled
        self.unknown += part.unknown
        for reason, (documents, tokens) in part.dropped.items():
            self.documents[f"dropped: {reason}"] += documents
            self.tokens[f"dropped: {reason}"] += tokens
            self.tokens_in += tokens

    def check(self) -> None:
        """Assert that every document and token has exactly one fate, of each source and of all together."""
        for ledger in self.sources.values():
            ledger.check()
        fates = self.documents.total() - self.documents_divided
        assert self.documents_in == fates, f"{self.documents_in} documents came in, {fates} have a fate"
        assert self.tokens_in == self.tokens.total(), f"{self.tokens_in} tokens came in, {self.tokens.total()} have a fate"

        too_many = [name for name, count in self.masked.items() if count > self.tokens[name]]
        assert not too_many, f"more tokens are masked than there are: {self.masked} of {self.tokens}"
        for name in (*_NUMBERS, "documents", "tokens", "masked"):
            parts = [_sum(getattr(ledger, name)) for ledger in self.sources.values()]
            assert not parts or sum(parts) == _sum(getattr(self, name)), (
                f"{name}: {parts} of the sources, {getattr(self, name)}"
            )

    def count_splits(self) -> dict[str, dict[str, int]]:
        """Documents and tokens of each split."""
        return {
            name: {"documents": self.documents[name], "tokens": self.tokens[name]} for name in _SPLITS if name in self.tokens
        }

    def to_dict(self) -> dict[str, Any]:
        """For `ledger.json`."""
        self.check()
        parts = {name: {**ledger._describe(), "notes": ledger._note_rows()} for name, ledger in self.sources.items()}
        return {
            **self._describe(),
            "files": dict(self.files),
            "notes": {**self.notes, **self._note_rows()},
            **({"sources": parts} if parts else {}),
        }

    def _describe(self) -> dict[str, Any]:
        return {
            "documents_in": self.documents_in,
            "tokens_in": self.tokens_in,
            "text_bytes": self.text_bytes,
            "documents": dict(self.documents),
            "documents_divided": self.documents_divided,
            "tokens": dict(self.tokens),
            "trained": {name: self.tokens[name] - self.masked[name] for name in _SPLITS if name in self.tokens},
            "masked": {name: self.masked[name] for name in _SPLITS if name in self.tokens},
            "token_shares": {fate: count / max(self.tokens_in, 1) for fate, count in self.tokens.items()},
        }

    def _note_rows(self) -> dict[str, int]:
        """Where every document is a text as it stands there is nothing to note."""
        noted: dict[str, int] = {f"text in {name}": count for name, count in self.named.items() if not count}
        noted |= {what: count for what, count in ((SPELLED, self.spelled), (UNKNOWN, self.unknown)) if count}
        if set(self.strategies) <= {"text"}:
            return noted
        return {f"rows by template: {name}": count for name, count in self.strategies.items()} | noted


def _sum(count: int | Counter[str]) -> int:
    return count if isinstance(count, int) else count.total()
