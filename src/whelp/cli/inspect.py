"""`whelp inspect`: rows as they are trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.config import load_config, merge, parse_overrides, to_dict
from whelp.base.errors import ConfigError
from whelp.cli.recipe import Recipe, load_recipe
from whelp.prepare.config import PackConfig

if TYPE_CHECKING:
    from whelp.prepare.rows import PackedRows, RowView
    from whelp.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class InspectedRow:
    """One training row: what is read, which positions are trained, and where it came from.

    `document_numbers` says of each position which of `documents` it is from; -1: a pad.
    """

    row: int
    ids: list[int]
    trained: list[bool]
    text: str
    documents: list[dict[str, str | int]]
    document_numbers: list[int]


def inspect(
    store: str | Path,
    *,
    rows: str = "0:3",
    split: str = "train",
    context_tokens: int | None = None,
    plan: str | None = None,
    recipe: str | Path | dict[str, Any] | Recipe | None = None,
    overrides: Sequence[str] = (),
) -> list[InspectedRow]:
    """Read training rows back: ids, text, which targets are trained, and the documents they are from.

    Rows come as they lie in the store; training shuffles them (and, with the plan `stream`, the documents before).

    Args:
        rows: `first:stop`, or one number.
        context_tokens: Instead of the recipe's.
        plan: Instead of the recipe's.
        recipe: Whose `pack` section to use; the defaults without one.
        overrides: `pack.field=value`.
    """
    opened = open_store(Path(store))
    config = choose_packing(recipe, overrides, context_tokens=context_tokens, plan=plan)
    packed, vocabulary = open_rows(opened, split, config)
    return [_describe(view, opened, vocabulary) for view in iter_views(packed, rows)]


def choose_packing(
    recipe: str | Path | dict[str, Any] | Recipe | None,
    overrides: Sequence[str],
    *,
    context_tokens: int | None = None,
    plan: str | None = None,
) -> PackConfig:
    """The `pack` section of a recipe, with changes to it."""
    values: dict[str, Any] = {"pack": to_dict(load_recipe(recipe).pack)} if recipe is not None else {}
    given = {name: value for name, value in (("context_tokens", context_tokens), ("plan", plan)) if value is not None}
    values = merge(merge(values, parse_overrides(overrides)), {"pack": given})
    others = [name for name in values if name != "pack"]
    if others:
        raise ConfigError("overrides", [f"{name}: only fields of pack change how rows are cut" for name in others])
    return load_config(PackConfig, values["pack"], "pack")


def open_rows(store: TokenStore, split: str, config: PackConfig) -> tuple[PackedRows, Vocabulary]:
    """The rows of a split as they are planned, and the vocabulary to read them with."""
    from whelp.prepare.pack import pack_rows
    from whelp.tokenizer import load_tokenizer

    vocabulary = load_tokenizer(store.tokenizer_folder)
    return pack_rows(store.split(split), config, pad_id=choose_pad(vocabulary), must_fill_a_row=False), vocabulary


def choose_pad(vocabulary: Vocabulary) -> int:
    """What fills a row; any id will do, as a pad is never a target and nothing sees it."""
    return next((index for index in (vocabulary.pad_id, vocabulary.eos_id) if index is not None), 0)


def iter_views(packed: PackedRows, rows: str) -> Iterator[RowView]:
    """The rows that `first:stop` names, each with all there is to know about it."""
    return map(packed.look, _parse_range(rows, len(packed)))


def _describe(view: RowView, store: TokenStore, vocabulary: Vocabulary) -> InspectedRow:
    return InspectedRow(
        row=view.row,
        ids=view.ids.tolist(),
        trained=view.is_trained.tolist(),
        text=vocabulary.decode(view.ids[~view.is_padding], skip_special=False),
        documents=[
            {
                "document": piece.document,
                "file": store.sources[piece.file_index],
                "line": piece.line,
                "start": piece.start,
                "length": piece.length,
            }
            for piece in view.pieces
        ],
        document_numbers=view.documents.tolist(),
    )


def _parse_range(rows: str, num_rows: int) -> range:
    first, colon, stop = rows.partition(":")
    try:
        begin = int(first or 0)
        end = int(stop or num_rows) if colon else begin + 1
    except ValueError:
        raise ConfigError("--rows", [f"{rows!r} is not a range"], "Give FIRST:STOP, as 0:5, or one number.") from None
    if begin < 0 or begin >= num_rows or end <= begin:
        raise ConfigError("--rows", [f"{rows!r} names no row; the split has {num_rows:,} (0 to {num_rows - 1:,})"])
    return range(begin, min(end, num_rows))
