"""What `whelp collect` of a dump, a folder or web archives, `whelp convert`, `append` and `split` show."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from whelp.base.counts import say_count
from whelp.cli.screens import show
from whelp.cli.screens.show import console, duration, megabytes, printable, say

if TYPE_CHECKING:
    from whelp.cli.append import AppendResult
    from whelp.cli.collect_dump import DumpResult
    from whelp.cli.collect_folder import FolderResult
    from whelp.cli.collect_web_archive import WebArchiveResult
    from whelp.cli.convert import ConvertResult
    from whelp.cli.split import SplitResult

_MAX_SHOWN = 10
_MAX_RECORDS_SHOWN = 16


@contextmanager
def bar_of_bytes(title: str) -> Iterator[show.Advance]:
    """A bar over bytes, with their speed and the time left."""
    started = time.monotonic()
    with show.bar(title) as advance_bar:

        def advance(done: float, total: float, text: str) -> None:
            seconds = time.monotonic() - started
            left = duration(seconds / max(done, 1) * max(total - done, 0))
            said = (
                f"{text}, {megabytes(done / max(seconds, 1e-9))}/s, {left} left" if done else text
            )  # in the first file nobody knows
            advance_bar(done, total, said)

        yield advance


def show_counts(title: str, counts: dict[str, int], kept: str | None = None) -> None:
    """A table of what was counted; the line of what was kept stands out."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, count in counts.items():
        style = "bold" if name == kept else "dim"
        table.add_row(title, f"[{style}]{count:,}[/]", f"[{style}]{escape(name)}[/]")
        title = ""
    console.print(table)


def show_dump(result: DumpResult) -> None:
    """The closing table of a dump."""
    if result.is_reused:
        say("[dim]the file is finished, of the same dump and options[/]")
    pages = {"kept": result.num_pages.get("kept", 0), **result.num_pages}  # first
    show_counts("[bold]pages[/]    ", pages, "kept")
    if result.num_removed:
        show_counts("[bold]taken out[/]", result.num_removed)
    _show_documents(result)


def show_folder(result: FolderResult) -> None:
    """The closing table of a folder."""
    if result.is_reused:
        say("[dim]the file is finished, of the same files and options[/]")
    show_counts("[bold]read[/]       ", result.num_files["read"])
    if result.num_files["skipped"]:
        show_counts("[bold]left out[/]   ", result.num_files["skipped"])
    for skipped in result.skipped_files[:_MAX_SHOWN]:
        say(f"           [dim]{escape(printable(skipped['path']))}: {escape(printable(skipped['reason']))}[/]")
    if len(result.skipped_files) > _MAX_SHOWN:
        say("           [dim]... more with --json[/]")
    _show_documents(result)


def show_web_archive(result: WebArchiveResult) -> None:
    """The closing table of web archives."""
    if result.is_reused:
        say("[dim]the file is finished, of the same archives and options[/]")
    most = dict(list(result.num_records.items())[:_MAX_RECORDS_SHOWN])
    show_counts("[bold]records[/]  ", {"kept": result.num_records.get("kept", 0), **most}, "kept")
    if len(result.num_records) > len(most):
        say("           [dim]... more with --json[/]")
    for note, count in result.notes.items():
        say(f"           {note}: [yellow]{count:,}[/]")
    for skipped in result.skipped_archives[:_MAX_SHOWN]:
        say(f"[bold]left out[/]   {escape(printable(skipped['name']))}: {escape(printable(skipped['reason']))}")
    if len(result.skipped_archives) > _MAX_SHOWN:
        say("           [dim]... more with --json[/]")
    _show_documents(result)


def _show_documents(result: DumpResult | FolderResult | WebArchiveResult) -> None:
    """The file, and how much is in it."""
    say(
        f"[bold]file[/]       {escape(result.file)}: {say_count(result.num_documents, 'document')}, {megabytes(result.num_bytes)}"
    )


def show_convert(result: ConvertResult) -> None:
    """What was converted."""
    _show_order(result.files, is_reused=result.is_reused)
    for name, count in result.notes.items():
        say(f"           {name.replace('_', ' ')}: [yellow]{count:,}[/]")
    say(f"[bold]file[/]       {escape(result.file)}: {say_count(result.num_rows, 'row')}, {megabytes(result.num_bytes)}")


def show_append(result: AppendResult) -> None:
    """What was appended, in which order."""
    _show_order(result.files, is_reused=result.is_reused)
    say(
        f"[bold]file[/]       {escape(result.file)}: {say_count(result.num_lines, 'line')}, {megabytes(result.num_bytes)}",
        wraps=False,
    )


def show_split(result: SplitResult) -> None:
    """The parts."""
    if result.is_reused:
        say("[dim]the folder is finished, of the same file and options[/]")
    for file, documents, num_bytes in zip(result.files, result.num_documents, result.num_bytes, strict=True):
        say(f"[bold]part[/]       {escape(file)}: {say_count(documents, 'document')}, {megabytes(num_bytes)}", wraps=False)


def _show_order(files: list[str], *, is_reused: bool) -> None:
    if is_reused:
        say("[dim]the file is finished, of the same files and options[/]")
    title = "[bold]from[/]      "
    for file in files[:_MAX_SHOWN]:
        say(f"{title} {escape(printable(_shorten(file)))}", wraps=False)
        title = " " * 10
    if len(files) > _MAX_SHOWN:
        say(f"{title} [dim]... {len(files) - _MAX_SHOWN:,} more[/]")


def _shorten(file: str) -> str:
    """A path as it is seen from here, where it lies below."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
