"""`whelp inspect`: rows as they are trained."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from whelp.artifacts.run_folder import RunFolder
from whelp.artifacts.token_store import TokenStore, open_store
from whelp.base.config import load_config, merge, parse_overrides, to_dict
from whelp.base.errors import ConfigError, WhelpError
from whelp.base.files import write_atomic
from whelp.base.log import log
from whelp.base.paths import as_path
from whelp.base.result_repr import ResultRepr
from whelp.cli.recipe import Recipe, load_recipe
from whelp.cli.row_report import describe_page, make_summary, show_row
from whelp.cli.source_rows import JoinedRows
from whelp.cli.tokenizer_report import find_page_place
from whelp.prepare.config import PackConfig

if TYPE_CHECKING:
    from whelp.cli.step_rows import StepRows
    from whelp.prepare.rows import RowView
    from whelp.tokenizer.vocabulary import Vocabulary


@dataclass(frozen=True, kw_only=True)
class InspectedRow(ResultRepr):
    """One training row: what is read, which positions are trained, and where it came from.

    `document_numbers` says of each position which of `documents` it is from; -1: a pad. `source` is the name of the source
    in a mixture.
    """

    row: int
    ids: list[int]
    trained: list[bool]
    text: str
    documents: list[dict[str, str | int]]
    document_numbers: list[int]
    source: str | None = None


@dataclass(frozen=True, kw_only=True)
class OpenedRows:
    """The rows of a split as they are planned, and what it takes to read them."""

    store: TokenStore
    config: PackConfig
    packed: JoinedRows
    vocabulary: Vocabulary
    step: StepRows | None = None

    def iter_views(self, rows: str, *, file: str | None = None, find: str | None = None) -> Iterator[RowView]:
        """The rows that `first:stop` names: of all, of those of the step, or of those that hold a piece of a file, a text, or both."""
        if self.step is not None:
            views = iter(self.step.look(self.packed))
            if file is not None:
                chosen = self._find_files(file)
                views = (view for view in views if any(piece.file_index in chosen for piece in view.pieces))
        elif file is None and find is None:
            yield from iter_views(self.packed, rows)
            return
        else:
            views = map(self.packed.look, range(len(self.packed)) if file is None else self._find_rows_of(file))
        if find is not None:
            views = filter(self._make_finder(find), views)
        begin, end = _read_range(rows, None)
        num_found = 0
        for num_found, view in enumerate(islice(views, end), 1):
            if num_found > begin:
                yield view
        if num_found <= begin:
            of = f"the split {self.packed.split.name}" if self.step is None else "the step"
            wanted = [f"a piece of {file!r}"] * (file is not None) + [f"the text {find!r}"] * (find is not None)
            if not wanted:
                raise ConfigError("--rows", [f"{rows!r} names no row; the step has {num_found:,} (0 to {num_found - 1:,})"])
            raise _miss(rows, num_found, of, " and ".join(wanted))

    def _find_files(self, file: str) -> list[int]:
        """The numbers of the files so called."""
        names = self.store.sources
        chosen = [index for index, name in enumerate(names) if _is_called(name, file)]
        if not chosen:
            near = difflib.get_close_matches(file, names, 1, 0.5)
            hint = f"Did you mean {near[0]}?" if near else f"There are {len(names):,}, such as {names[0]}."
            raise ConfigError("--file", [f"no file of the store is called {file!r}"], hint)
        return chosen

    def _find_rows_of(self, file: str) -> Iterator[int]:
        """The numbers of the rows that hold a piece of the files so called."""
        import numpy as np

        is_chosen = np.isin(self.packed.split.table.column("file_index").to_numpy(), self._find_files(file))
        return (row for row in range(len(self.packed)) if any(is_chosen[self.packed.find_documents(row)]))

    def _make_finder(self, find: str) -> Callable[[RowView], bool]:
        if not find:
            raise ConfigError("--find", ["the text is empty"], "Give a text to look for.")
        wanted, vocabulary = find.encode(), self.vocabulary
        return lambda view: wanted in vocabulary.decode_bytes(view.ids[~view.is_padding], skip_special=False)


def inspect(
    store: str | Path,
    *,
    rows: str | int = "0:3",
    split: str = "train",
    context_tokens: int | None = None,
    plan: str | None = None,
    recipe: str | Path | Mapping[str, Any] | Recipe | None = None,
    overrides: Sequence[str] = (),
    file: str | None = None,
    find: str | None = None,
    step: int | None = None,
    html: str | Path | None = None,
) -> list[InspectedRow]:
    """Read training rows back: ids, text, which targets are trained, and the documents they are from.

    Rows come as they lie in the store, those of a mixture one source after the other; training shuffles them (and, with the
    plan `stream`, the documents before).

    Args:
        rows: `first:stop`, or one number; with `file` or `find`, of the rows found.
        context_tokens: Instead of the recipe's.
        plan: Instead of the recipe's.
        recipe: Whose `pack` section to use; the defaults without one.
        overrides: `pack.field=value`.
        file: Only rows that hold a piece of this source file: its name, the end of its path, or a pattern with `*`.
        find: Only rows that hold this text.
        step: Only rows that the run `recipe` read in this step, in its order. With the plan `stream` (or `last: carry`) they have the
            numbers of that order, since they lie in no store.
        html: Where to write the rows as one page with pictures; nothing: nowhere.

    Raises:
        ConfigError: When no row is named or found.
        ArtifactError: When this is no token store, or the page cannot be written there.
    """
    page = find_page_place(html)
    config = choose_packing(recipe, overrides, context_tokens=context_tokens, plan=plan)
    opened = open_split(store, split, config, run=recipe, step=step)
    views = list(opened.iter_views(str(rows), file=file, find=find))
    if recipe is None and context_tokens is None:
        say_how_cut(opened)
    if page is not None:
        write_page(opened, views, page)
    return [describe_row(view, opened) for view in views]


def open_split(
    store: str | Path,
    split: str,
    config: PackConfig,
    *,
    run: str | Path | Mapping[str, Any] | Recipe | None = None,
    step: int | None = None,
) -> OpenedRows:
    """Open a store to look at the rows of one of its splits, or at those of a step of a run."""
    opened = open_store(as_path(store))
    if step is None:
        packed, vocabulary = open_rows(opened, split, config)
        return OpenedRows(store=opened, config=config, packed=packed, vocabulary=vocabulary)
    from whelp.cli.step_rows import StepRows
    from whelp.cli.training.session import cut_rows

    chosen = StepRows("" if run is None else run, opened, step)
    trained = cut_rows(chosen.recipe)
    problems = [f"a run reads the split train, and not {split}"] * (split != "train")
    problems += ["a run has packed its rows; other values of pack show rows that it has not read"] * (
        config != chosen.recipe.pack
    )
    if problems:
        raise ConfigError("--step", problems)
    packed, vocabulary = open_rows(opened, split, trained, batch_rows=chosen.batch_rows)
    return OpenedRows(store=opened, config=trained, packed=packed, vocabulary=vocabulary, step=chosen)


def write_page(opened: OpenedRows, views: Sequence[RowView], page: Path) -> None:
    """Write rows as one HTML file."""
    from whelp.report import make_rows_report

    summary = make_summary(opened.packed, opened.store, opened.vocabulary, opened.config)
    shown = [show_row(view, opened.packed, opened.store, opened.vocabulary) for view in views]
    write_atomic(page, make_rows_report(describe_page(summary, shown)))


def choose_packing(
    recipe: str | Path | Mapping[str, Any] | Recipe | None,
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


def say_how_cut(opened: OpenedRows) -> None:
    """Say that rows without a recipe need not be those of a run, and how the newest run beside the store cuts them."""
    config, beside = opened.config, opened.store.folder.absolute().parent
    said = f"rows are cut into {config.context_tokens:,} tokens by the plan {config.plan}, as no recipe is given"
    plans = sorted(beside.glob("*/plan.json"), key=lambda path: path.stat().st_mtime_ns)
    run = RunFolder(plans[-1].parent) if plans else None
    try:
        trained = None if run is None else load_recipe(run.recipe).pack
    except (WhelpError, OSError):  # whatever lies there is not what was asked for
        trained = None
    if run is None or trained is None:
        log.info("%s; a run cuts them as its recipe says (--recipe RUN)", said)
    elif trained != config:
        how = f"{trained.context_tokens:,} tokens, plan {trained.plan}"
        log.info("%s; the run %s trains rows of %s (--recipe %s)", said, run.folder.name, how, run.folder)


def open_rows(store: TokenStore, split: str, config: PackConfig, *, batch_rows: int = 16) -> tuple[JoinedRows, Vocabulary]:
    """The rows of a split as they are planned, and the vocabulary to read them with."""
    from whelp.tokenizer import load_tokenizer

    vocabulary = load_tokenizer(store.tokenizer_folder)
    return JoinedRows(store, split, config, pad_id=choose_pad(vocabulary), batch_rows=batch_rows), vocabulary


def choose_pad(vocabulary: Vocabulary) -> int:
    """What fills a row; any id will do, as a pad is never a target and nothing sees it."""
    return next((index for index in (vocabulary.pad_id, vocabulary.eos_id) if index is not None), 0)


def iter_views(packed: JoinedRows, rows: str) -> Iterator[RowView]:
    """The rows that `first:stop` names, each with all there is to know about it."""
    return map(packed.look, _parse_range(rows, len(packed)))


def describe_row(view: RowView, opened: OpenedRows) -> InspectedRow:
    """A row as `--json` has it."""
    return InspectedRow(
        row=view.row,
        ids=view.ids.tolist(),
        trained=view.is_trained.tolist(),
        text=opened.vocabulary.decode(view.ids[~view.is_padding], skip_special=False),
        documents=[
            {
                "document": piece.document,
                "file": opened.store.sources[piece.file_index],
                "line": piece.line,
                "start": piece.start,
                "length": piece.length,
            }
            for piece in view.pieces
        ],
        document_numbers=view.documents.tolist(),
        source=opened.packed.name_source(view.row),
    )


def _parse_range(rows: str, num_rows: int) -> range:
    begin, end = _read_range(rows, num_rows)
    if begin >= num_rows:
        raise ConfigError("--rows", [f"{rows!r} names no row; the split has {num_rows:,} (0 to {num_rows - 1:,})"])
    return range(begin, num_rows if end is None else min(end, num_rows))


def _miss(rows: str, num_found: int, split: str, wanted: str) -> ConfigError:
    """What to say when a search comes to nothing, or to fewer rows than were asked for."""
    if num_found:
        return ConfigError("--rows", [f"{rows!r} names no row; {num_found:,} of {split} hold {wanted}"])
    hint = "Try another --split, or a shorter text: one that goes over the end of a row is in none."
    return ConfigError("--find, --file", [f"no row of {split} holds {wanted}"], hint)


def _read_range(rows: str, num_rows: int | None) -> tuple[int, int | None]:
    """`first:stop` as numbers; `num_rows` where it is known, for the message."""
    first, colon, stop = rows.partition(":")
    try:
        begin = int(first or 0)
        end = (int(stop) if stop else None) if colon else begin + 1
    except ValueError:
        raise ConfigError("--rows", [f"{rows!r} is not a range"], "Give FIRST:STOP, as 0:5, or one number.") from None
    if begin < 0 or (end is not None and end <= begin):
        there_is = "" if num_rows is None else f"; the split has {num_rows:,} (0 to {num_rows - 1:,})"
        raise ConfigError("--rows", [f"{rows!r} names no row{there_is}"])
    return begin, end


def _is_called(name: str, wanted: str) -> bool:
    """Whether a source file is meant: by its whole name, the end of its path, or a pattern."""
    return name == wanted or name.endswith(f"/{wanted}") or fnmatchcase(name, wanted)
