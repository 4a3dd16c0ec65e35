"""`whelp inspect`: rows as they are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.config import load_config, merge, parse_overrides, to_dict
from whelp.base.errors import ConfigError
from whelp.cli.recipe import Recipe, load_recipe
from whelp.cli.source_rows import pack_by_source
from whelp.prepare.config import PackConfig

if TYPE_CHECKING:
    from whelp.prepare.rows import RowView
    from whelp.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class InspectedRow:
    """One training row: what is read, which positions are trained, and where it came from.

    `document_numbers` says of each position which of `documents` it is from; -1: a pad. `source` is the name of the row's
    source in a mixture.
    """

    row: int
    ids: list[int]
    trained: list[bool]
    text: str
    documents: list[dict[str, str | int]]
    document_numbers: list[int]
    source: str | None = None


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

    Rows come as they lie in the store, those of a mixture one source after the other; training shuffles them (and, with the
    plan `stream`, the documents before).

    Args:
        rows: `first:stop`, or one number.
        context_tokens: Instead of the recipe's.
        plan: Instead of the recipe's.
        recipe: Whose `pack` section to use; the defaults without one.
        overrides: `pack.field=value`.
    """
    from whelp.tokenizer import load_tokenizer

    opened = open_store(Path(store))
    config = choose_packing(recipe, overrides, context_tokens=context_tokens, plan=plan)
    vocabulary = load_tokenizer(opened.tokenizer_folder)
    parts = pack_by_source(opened, split, config, pad_id=choose_pad(vocabulary), must_fill_a_row=False)
    chosen = _parse_range(rows, sum(len(part) for part in parts.values()))
    found: list[InspectedRow] = []
    first_row = first_document = 0
    for name, documents in opened.split_by_source(split).items():
        num_rows = len(parts[name]) if name in parts else 0
        for row in range(max(chosen.start, first_row), min(chosen.stop, first_row + num_rows)):
            view = parts[name].look(row - first_row)
            found.append(_describe(view, opened, vocabulary, row, first_document, name))
        first_row, first_document = first_row + num_rows, first_document + documents.num_documents
    return found


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


def choose_pad(vocabulary: Vocabulary) -> int:
    """What fills a row; any id will do, as a pad is never a target and nothing sees it."""
    return next((index for index in (vocabulary.pad_id, vocabulary.eos_id) if index is not None), 0)


def _describe(
    view: RowView, store: TokenStore, vocabulary: Vocabulary, row: int, first_document: int, source: str | None
) -> InspectedRow:
    """A row as people count: rows and documents go on from one source to the next."""
    return InspectedRow(
        row=row,
        ids=view.ids.tolist(),
        trained=view.is_trained.tolist(),
        text=vocabulary.decode(view.ids[~view.is_padding], skip_special=False),
        documents=[
            {
                "document": first_document + piece.document,
                "file": store.sources[piece.file_index],
                "line": piece.line,
                "start": piece.start,
                "length": piece.length,
            }
            for piece in view.pieces
        ],
        document_numbers=view.documents.tolist(),
        source=source,
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
