"""What happens while sources are read for a folder: files and rows that are skipped, and what was done on the way."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from whelp.artifacts.parts_folder import PARTS_FOLDER
from whelp.base.counts import say_count
from whelp.base.log import log
from whelp.collect.folder import MARKED_UP, PACKED

if TYPE_CHECKING:
    from whelp.corpus import BadRow, Partition, SkippedFile, SourceFile

_COLLECT = "`whelp collect folder DIR --out FILE.jsonl` takes the text out, for data.source to name that file instead"
_MAKE_ROWS = "`whelp convert FILE --out rows.jsonl` makes rows of XML"
_RAW = (  # kinds whose text is not taken out by collecting a folder, and what to do with each
    ((".xml",), _MAKE_ROWS),
    ((".fb2", ".ttml", ".dfxp"), f"{_MAKE_ROWS}, where its name ends in .xml"),
    ((".ass", ".ssa"), "save such subtitles as .srt, of which `whelp collect folder` takes the text out"),
)
BAD_ROWS_FILE = "bad_rows.jsonl"


class LeftOutNotes:
    """Names the first of each kind of file that is left out, and the first whose text can be had."""

    def __init__(self) -> None:
        self._said: set[tuple[str, bool]] = set()

    def say(self, file: SkippedFile) -> None:
        """Name it, if it is the first of its kind."""
        can_collect = file.path.lower().endswith(PACKED)
        if (file.kind, can_collect) in self._said:
            return
        self._said.add((file.kind, can_collect))
        collecting = f"; {_COLLECT}" if can_collect else ""
        log.info("left out: %s: %s (others like it are only counted)%s", file.path, file.reason, collecting)


def say_marked_up(files: Sequence[SourceFile]) -> None:
    """Note files that are text, but for the most part not what somebody wrote: mail, subtitles, pages."""
    texts = [file.label for file in files if file.format is None]
    for endings, advice in _RAW:
        label = next((label for label in texts if label.lower().endswith(endings)), None)
        if label is not None:
            log.info("%s is read as it stands, with its tags; %s", label, advice)
    found = [label for label in texts if label.lower().endswith(MARKED_UP)]
    if found:
        suffixes = ", ".join(sorted({os.path.splitext(label)[1].lower() for label in found}))
        others = f" and {say_count(len(found) - 1, 'other')} ({suffixes})" if len(found) > 1 else ""
        stand = "are read as they stand" if len(found) > 1 else "is read as it stands"
        log.info("%s%s %s, with headers, times or tags; %s", found[0], others, stand, _COLLECT)


class LedgerLike(Protocol):
    """What is filled in."""

    files: Counter[str]
    notes: Counter[str]


class ReadingCounts:
    """Counts as partitions pass, and writes bad rows to a file of the folder.

    Args:
        num_files: How many files there are in all sources.
        skipped: Of how many others it was known from the start that they are not read, by reason.
        folder: What is made of the sources.
    """

    def __init__(self, num_files: int, skipped: Mapping[str, int], folder: Path) -> None:
        self._num_files, self._skipped, self._folder = num_files, dict(skipped), folder
        self._notes, self._files = Counter[str](), Counter[str]()
        self._left_out = LeftOutNotes()
        self._quarantine = _Quarantine(folder / PARTS_FOLDER / BAD_ROWS_FILE)

    def watch(self, partitions: Iterable[Partition], name: str | None) -> Iterator[Partition]:
        """The partitions of a source; in a mixture it has a name."""
        for partition in partitions:
            self._notes.update(partition.notes)
            for file in partition.skipped:
                kind = f"skipped: {file.kind}"
                self._left_out.say(file)
                self._files[kind] += 1
            self._quarantine.add(partition.bad_rows, name)
            yield partition

    def fill(self, ledger: LedgerLike) -> None:
        """Fill in the ledger when all partitions have passed."""
        ledger.files.update(self._files)
        ledger.files.update({f"skipped: {reason}": count for reason, count in self._skipped.items()})
        ledger.files["read"] = self._num_files - self._files.total()
        ledger.notes.update(self._notes)
        num_bad = self._quarantine.finish(self._folder / BAD_ROWS_FILE)
        if num_bad:
            ledger.notes[f"skipped rows written to {BAD_ROWS_FILE}"] = num_bad


class _Quarantine:
    """Writes the rows that were skipped to a file, one JSON object a line, as the partitions pass."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._num_rows = 0

    def add(self, rows: Sequence[BadRow], source: str | None = None) -> None:
        """Write some rows, of a mixture with the name of their source; the first of them begin the file anew."""
        if not rows:
            return
        mode = "a" if self._num_rows else "w"
        with open(
            self._path, mode, encoding="utf-8", errors="backslashreplace"
        ) as file:  # half a surrogate pair, as JSON says it
            origin = {} if source is None else {"source": source}
            file.writelines(json.dumps({**origin, **asdict(row)}, ensure_ascii=False) + "\n" for row in rows)
        self._num_rows += len(rows)

    def finish(self, place: Path) -> int:
        """Put the file in place of one of before; without any row, there is none. Return the number of rows."""
        if self._num_rows:
            os.replace(self._path, place)
        else:
            place.unlink(missing_ok=True)
        return self._num_rows
