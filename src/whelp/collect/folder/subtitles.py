"""Subtitles (SRT, WebVTT): what is said, without numbers, times and tags."""

from __future__ import annotations

import html
import re

from whelp.collect.left_out import LeftOut
from whelp.collect.snippets import join_snippets

_TIME = r"(?:(\d+):)?(\d{1,2}):(\d{1,2})[.,](\d{1,3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}")
_MARKS = re.compile(r"<[^<>]*>|\{\\[^{}]*\}")


def read_subtitles(text: str) -> str:
    r"""Make running text of subtitles, with a paragraph after a pause of four seconds; a line that is shown again is said once.

    >>> read_subtitles("1\n00:00:01,000 --> 00:00:02,500\n<i>A whelp\n\n2\n00:00:02,600 --> 00:00:04,000\nis young.\n")
    'A whelp is young.'

    Raises:
        LeftOut: When there are no times in it.
    """
    snippets: list[tuple[float, float, str]] = []
    times: tuple[float, float] | None = None  # of what follows; None outside of it
    last = ""
    for line in text.splitlines():
        match = _TIMES.match(line)
        if match is not None:
            times = _seconds(*match.groups("0")[:4]), _seconds(*match.groups("0")[4:])
        elif not line.strip():
            times = None
        elif times is not None:
            words = html.unescape(_MARKS.sub("", line)).strip()
            if words != last:
                snippets.append((times[0], times[1] - times[0], words))
            last = words or last
    if not snippets:
        raise LeftOut("no text", "there are no subtitles in it")
    return join_snippets(snippets)


def _seconds(hours: str, minutes: str, seconds: str, fraction: str) -> float:
    return int(hours) * 3600 + int(minutes) * 60 + int(seconds) + int(fraction.ljust(3, "0")) / 1000
