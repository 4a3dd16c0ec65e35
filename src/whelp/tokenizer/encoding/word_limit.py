"""A limit for the memory of an encoder that remembers every word it has met, and cannot be told to forget one.

The fast encoder keeps the ids of each word, a table for each thread that doubles when it is full. English has a million words in
a gigabyte; hashes, numbers and names of things made by machines are new words without end, and gigabytes of tables. How large
they are it does not say. So the process is asked now and then how much memory it holds, and where that is too much, once
freed memory has been given back, the encoder is opened anew: a quarter of a second, most of it to meet the common words again.
"""

from __future__ import annotations

import threading

from whelp.base.machine import count_own_bytes, return_freed_memory
from whelp.tokenizer.encoding.threads import count_threads

_LOOK_BYTES = 1 << 22  # of text between two looks at the memory
_SLACK_BYTES = 48 << 20  # so much more than last time is not looked into: partitions come and go
_BYTES_UNSEEN = 1 << 30  # of text, where the system does not say how much memory there is


class WordLimit:
    """Counts the text that an encoder is given, and says when it shall be opened anew."""

    def __init__(self, growth_bytes: int | None = None, look_bytes: int = _LOOK_BYTES) -> None:
        """Begin, with an encoder that has just been opened.

        Args:
            growth_bytes: So much more memory may the process hold than now; by default by the number of threads.
        """
        self._growth = growth_bytes if growth_bytes is not None else (128 + 96 * count_threads()) << 20
        self._look_bytes = look_bytes
        self._lock = threading.Lock()
        self._num_bytes = self._num_looked = 0
        self._is_new = False  # since the last look
        self._usual = 0.0
        self._most = (count_own_bytes() or 0.0) + self._growth

    def is_reached(self, num_bytes: int) -> bool:
        """Whether the encoder, which has encoded so many bytes more, is to be opened anew: true once, for one thread."""
        with self._lock:
            self._num_bytes += num_bytes
            if self._num_bytes - self._num_looked < self._look_bytes:
                return False
            self._num_looked = self._num_bytes
            is_reached = self._look()
            if is_reached:
                self._num_bytes = self._num_looked = 0
            self._is_new = is_reached
            return is_reached

    def _look(self) -> bool:
        own = count_own_bytes()
        if own is None:
            return self._num_bytes >= _BYTES_UNSEEN
        if own <= self._usual and not self._is_new:
            return False
        return_freed_memory()
        own = count_own_bytes() or 0
        self._usual = own + min(_SLACK_BYTES, self._growth / 2)
        if self._is_new:  # the tables of before are gone: what is held now is others' business, and stays
            self._most = max(self._most, own + self._growth / 8)
            return False
        return own > self._most
