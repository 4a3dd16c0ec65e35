"""Read the records of a run that may still be writing them: only what is new, only whole lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MAX_BYTES = 4 << 20  # read for one answer
MAX_RECORDS = 2000  # training records in one answer; of more, every k-th


def read_new(path: Path, cursor: str) -> dict[str, Any]:
    """The records of a JSON-lines file after `cursor`, and the cursor after them.

    A cursor is "file number:byte". When the file is another one, or shorter (a run that went back to a checkpoint wrote it
    anew), reading begins at the start, and `is_reset` says so. A half-written last line waits for the next call.

    Args:
        cursor: Empty at first; then what the last call gave.
    """
    try:
        with open(path, "rb") as file:
            file.seek(0, 2)
            size, inode = file.tell(), path.stat().st_ino
            start = _read_cursor(cursor, inode, size)
            file.seek(start or 0)
            data = file.read(MAX_BYTES)
    except FileNotFoundError:
        return {"records": [], "cursor": "", "is_reset": bool(cursor), "has_more": False}
    whole = data[: data.rfind(b"\n") + 1]
    records = []
    for line in whole.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue  # a line that a killed run left half-written
        if isinstance(record, dict):
            records.append(record)
    position = (start or 0) + len(whole)
    return {
        "records": _thin(records),
        "cursor": f"{inode}:{position}",
        "is_reset": bool(cursor) and start is None,
        "has_more": bool(whole) and position < size,
    }


def _read_cursor(cursor: str, inode: int, size: int) -> int | None:
    number, _, position = cursor.partition(":")
    is_known = cursor.isascii() and number.isdigit() and position.isdigit()
    if not is_known or int(number) != inode or int(position) > size:
        return None
    return int(position)


def _thin(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Every k-th training record, so that few enough are left; what was measured on the test split stays."""
    step = -(-len(records) // MAX_RECORDS)
    if step <= 1:
        return records
    return [record for index, record in enumerate(records) if index % step == 0 or _is_rare(record)]


def _is_rare(record: Mapping[str, Any]) -> bool:
    return "loss" not in record
