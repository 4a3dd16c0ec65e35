"""Words that are handed on to others, without the folders of this machine and without keys."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

_OF_THE_WEB = ("http", "https")
_PATH = re.compile(r"[/\\~.]|[A-Za-z]:[/\\]")


def leave_folders_out(word: str) -> str:
    """Of a path the last part alone; of an address of the web, its path without names of users and keys.

    A name stays: what is `owner/name` on a hub, too, and with it a path below the working directory of no more than two parts.

    >>> [leave_folders_out(word) for word in ("/home/ada/text.txt", "../books", r"C:\\ada\\books", "data/raw/a.txt", "ada/books")]
    ['text.txt', 'books', 'books', 'a.txt', 'ada/books']
    >>> leave_folders_out("https://ada:key@host/books.jsonl?signature=1")
    'https://host/books.jsonl'
    """
    scheme, is_address, rest = word.partition("://")
    if is_address and scheme == "hf":
        return word
    if is_address and scheme in _OF_THE_WEB:
        address = urlsplit(word)
        return f"{scheme}://{address.netloc.rpartition('@')[2]}{address.path}"
    is_path = is_address or _PATH.match(word) or word.count("/") > 1
    return re.split(r"[/\\]", (rest or word).rstrip("/\\"))[-1] if is_path else word
