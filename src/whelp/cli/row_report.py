"""Rows as plain values, for the terminal and for a page: every token with its role, every piece with its place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from whelp.artifacts.targets import IGNORED

if TYPE_CHECKING:
    from whelp.artifacts.token_store import TokenSplit, TokenStore
    from whelp.cli.source_rows import JoinedRows
    from whelp.prepare.config import PackConfig
    from whelp.prepare.rows import Piece, RowView
    from whelp.tokenizer.vocabulary import Vocabulary

Role = Literal["trained", "masked", "opening"]


@dataclass(frozen=True, kw_only=True)
class ShownToken:
    """One token. Its role is that of a target: trained, masked, or opening (nothing before it in this row predicts it).

    What the store's mask leaves out is masked, at the opening too.
    """

    position: int  # in the row
    id: int
    spelled: str  # bytes that are no text of their own as \xe2\x96
    role: Role


@dataclass(frozen=True, kw_only=True)
class Run:
    """The fewest tokens of one role that make whole characters: mostly one; and their text."""

    text: str
    role: Role
    tokens: list[ShownToken]


@dataclass(frozen=True, kw_only=True)
class ShownPiece:
    """Some tokens of one document: tokens `start` to `start + length` of its `document_tokens`.

    `next` is what its last position predicts, when that does not follow in the row.
    """

    document: int
    file: str
    line: int
    start: int
    length: int
    document_tokens: int
    runs: list[Run]
    next: ShownToken | None


@dataclass(frozen=True, kw_only=True)
class ShownRow:
    """One row. Each position is one of: its target is trained, is masked, it has none, it is a pad."""

    row: int
    source: str | None  # in a mixture
    num_positions: int
    num_trained: int
    num_masked: int
    num_without_target: int
    num_padding: int
    pieces: list[ShownPiece]


@dataclass(frozen=True, kw_only=True)
class RowsSummary:
    """What all rows of a split come to: how they are packed, where the tokens go, how long documents are.

    `lengths` counts documents: (fewest tokens, most tokens, documents) of each bar.
    """

    store: str
    split: str
    plan: str
    context_tokens: int
    vocabulary: str
    num_files: int
    ledger: dict[str, float | int]
    lengths: list[tuple[int, int, int]]


def show_row(view: RowView, packed: JoinedRows, store: TokenStore, vocabulary: Vocabulary) -> ShownRow:
    """All there is to see of a row."""
    pieces, first = [], 0
    roles = _find_roles(view, packed.split)
    for number, piece in enumerate(view.pieces):
        last = first + piece.length - 1
        target = int(view.following[last])
        following = None
        if target != IGNORED and number + 1 == len(view.pieces):  # of others it is the first token of the next piece
            role: Role = "trained" if view.is_trained[last] else "masked"
            following = ShownToken(position=last + 1, id=target, spelled=vocabulary.token_text(target), role=role)
        tokens = [
            ShownToken(position=place, id=token_id, spelled=vocabulary.token_text(token_id), role=roles[place])
            for place, token_id in enumerate(view.ids[first : last + 1].tolist(), first)
        ]
        pieces.append(
            ShownPiece(
                document=piece.document,
                file=store.sources[piece.file_index],
                line=piece.line,
                start=piece.start,
                length=piece.length,
                document_tokens=_count_tokens(piece.document, packed.split),
                runs=list(_iter_runs(tokens, vocabulary)),
                next=following,
            )
        )
        first = last + 1
    has_target = view.following != IGNORED
    num_trained, num_padding = int(view.is_trained.sum()), int(view.is_padding.sum())
    return ShownRow(
        row=view.row,
        source=packed.name_source(view.row),
        num_positions=len(view.ids),
        num_trained=num_trained,
        num_masked=int(has_target.sum()) - num_trained,
        num_without_target=len(view.ids) - num_padding - int(has_target.sum()),
        num_padding=num_padding,
        pieces=pieces,
    )


def make_summary(packed: JoinedRows, store: TokenStore, vocabulary: Vocabulary, config: PackConfig) -> RowsSummary:
    """What all rows come to."""
    from whelp.prepare.pack import make_pack_ledger

    return RowsSummary(
        store=str(store.folder),
        split=packed.split.name,
        plan=config.plan,
        context_tokens=config.context_tokens,
        vocabulary=f"{vocabulary.kind}, {vocabulary.size:,} ids",
        num_files=len(store.sources),
        ledger=make_pack_ledger(*packed.parts),
        lengths=_count_lengths(packed.split),
    )


def describe_page(summary: RowsSummary, rows: Sequence[ShownRow]) -> dict[str, Any]:
    """Plain values for `make_rows_report`."""
    return {"summary": asdict(summary), "rows": [asdict(row) for row in rows]}


def _find_roles(view: RowView, split: TokenSplit) -> list[Role]:
    """The role of each token in the row, pads left out."""
    roles: list[Role] = []
    for piece in view.pieces:
        first = len(roles)
        for place in range(first, first + piece.length):
            if place == 0 or view.following[place - 1] == IGNORED:
                roles.append("masked" if _is_masked(piece, place - first, split) else "opening")
            else:
                roles.append("trained" if view.is_trained[place - 1] else "masked")
    return roles


def _is_masked(piece: Piece, place: int, split: TokenSplit) -> bool:
    """Whether the store's mask leaves out a token of a piece."""
    import numpy as np

    value = np.ones(1, dtype=np.uint8)
    begin = int(split.document_ends[piece.document]) - _count_tokens(piece.document, split)
    split.read_mask_into(begin + piece.start + place, value)
    return not value[0]


def _iter_runs(tokens: Sequence[ShownToken], vocabulary: Vocabulary) -> Iterator[Run]:
    stream, waiting = vocabulary.stream(skip_special=False), list[ShownToken]()
    for number, token in enumerate(tokens):
        text = stream.push(token.id)
        waiting.append(token)
        if number + 1 == len(tokens) or tokens[number + 1].role != token.role:
            text += stream.finish()
        elif not text:
            continue
        if "\ufffd" in text:  # half a character, cut off by a row's end or a mask: its bytes say more
            text = "".join(one.spelled for one in waiting)
        yield Run(text=text, role=token.role, tokens=waiting)
        waiting = []


def _count_tokens(document: int, split: TokenSplit) -> int:
    ends = split.document_ends
    return int(ends[document] - (ends[document - 1] if document else 0))


def _count_lengths(split: TokenSplit) -> list[tuple[int, int, int]]:
    """Documents by their tokens, in bars that double: 0, 1, 2-3, 4-7, ..."""
    import numpy as np

    lengths = np.diff(split.document_ends, prepend=0)
    bars = np.zeros(len(lengths), dtype=np.int64)
    bars[lengths > 0] = np.floor(np.log2(lengths[lengths > 0])).astype(np.int64) + 1
    counts = np.bincount(bars)
    shown = range(int(np.flatnonzero(counts)[0]), len(counts)) if len(counts) else range(0)
    return [((1 << bar) >> 1, max((1 << bar) - 1, 0), int(counts[bar])) for bar in shown]
