"""Spoken words with their times, as running text."""

from __future__ import annotations

from collections.abc import Iterable


def join_snippets(snippets: Iterable[tuple[float, float, str]], *, with_times: bool = False, pause_seconds: float = 4.0) -> str:
    r"""Join what is said, as running text with a new paragraph after a long pause; or a line each, with its time.

    >>> join_snippets([(0, 2, "so this\nis"), (2, 2, "a dog."), (9, 1, "Yes.")])
    'so this is a dog.\n\nYes.'
    >>> join_snippets([(0, 2, "so this is"), (3662.5, 2, "a dog.")], with_times=True)
    '[00:00:00] so this is\n[01:01:02] a dog.'
    """
    parts: list[str] = []
    end = 0.0
    for start, seconds, text in snippets:
        words = " ".join(text.split())
        if not words:
            continue
        if with_times:
            minutes, second = divmod(int(start), 60)
            parts += ["\n" if parts else "", f"[{minutes // 60:02}:{minutes % 60:02}:{second:02}] {words}"]
        else:
            parts += [("\n\n" if start - end > pause_seconds else " ") if parts else "", words]
        end = start + seconds
    return "".join(parts)
