"""In which encoding standard input, output and error are read and written, where the system's is not UTF-8 (Windows, old locales).

Files and pipes are UTF-8 then, as all files of ours are. A terminal keeps its own encoding, and so does what PYTHONIOENCODING asks for:
a character that it has not is shown as a question mark.
"""

from __future__ import annotations

import codecs
import io
import os
import sys


def settle_encodings() -> None:
    """No text can end a command because the system's encoding cannot write it."""
    for stream in (sys.stdin, sys.stdout, sys.stderr):
        if not isinstance(stream, io.TextIOWrapper) or is_unicode(stream):
            continue
        if not stream.isatty() and "PYTHONIOENCODING" not in os.environ:
            stream.reconfigure(encoding="utf-8")
        elif stream is not sys.stdin:  # one sign for each, or lines that are drawn in place would grow
            stream.reconfigure(errors="replace")


def is_unicode(stream: object) -> bool:
    """Whether a stream takes every text."""
    try:
        return codecs.lookup(getattr(stream, "encoding", None) or "utf-8").name.startswith("utf")
    except LookupError:
        return False
