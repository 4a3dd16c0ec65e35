"""What a word of `data.source` is, by its looks. What leads to its files is in `file_kinds.py`, `remote.py` and `hub.py`."""

from __future__ import annotations

import os
import re
from pathlib import Path

KINDS = ("text", "json", "csv", "parquet", "pandas")
HUB_PREFIX = "hf:"
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")


def is_url(item: str) -> bool:
    """Whether a word is a URL.

    >>> is_url("s3://bucket/a.jsonl"), is_url("C:/a.txt"), is_url("hf:org/name")
    (True, False, False)
    """
    return _URL.match(item) is not None


def is_hub_id(item: str) -> bool:
    """Whether a word is a dataset's id: it says so (`hf:`), or looks like one, and like no file, and no such folder is here.

    >>> [is_hub_id(word) for word in ("hf:org/name", "no-such-folder/name-1.5", "a/b/c", "/a/b", "no-such-folder/rows.jsonl")]
    [True, True, False, False, False]
    """
    if item.startswith(HUB_PREFIX):
        return True
    is_like_one = _HUB_ID.fullmatch(item) is not None and not Path(item).suffix[1:].isalpha()
    return is_like_one and not os.path.lexists(item) and not os.path.isdir(item.partition("/")[0])
