"""Text out of ids that come one by one, never half a character."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Sequence


class StreamDecoder:
    """Give text as soon as its characters are whole. `Vocabulary.stream()` makes one for each stream.

    What `push` and `finish` return, joined, is `Vocabulary.decode` of all ids.

        stream = vocabulary.stream()
        for token_id in generated:
            print(stream.push(token_id), end="")
        print(stream.finish())
    """

    def push(self, token_id: int) -> str:
        """Take one id; return the text that is certain now, often the empty string."""
        raise NotImplementedError

    def finish(self) -> str:
        """Return what is left; a half character becomes U+FFFD, as in `decode`."""
        raise NotImplementedError


class ByteStreamDecoder(StreamDecoder):
    """For vocabularies whose every id stands for fixed bytes."""

    def __init__(self, bytes_of: Callable[[int], bytes]) -> None:
        self._bytes_of = bytes_of
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def push(self, token_id: int) -> str:
        return self._decoder.decode(self._bytes_of(token_id))

    def finish(self) -> str:
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text


class WindowStreamDecoder(StreamDecoder):
    """For vocabularies where an id's text depends on the ids before it (SentencePiece's leading space).

    Decodes a short window twice for each id: with and without the new ids; the difference is the new text.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._ids: list[int] = []
        self._num_read = 0  # ids of the window whose text has been given out

    def push(self, token_id: int) -> str:
        self._ids.append(int(token_id))
        old, new = self._decode(self._ids[: self._num_read]), self._decode(self._ids)
        if len(new) <= len(old) or new.endswith("\ufffd"):
            return ""
        self._ids = self._ids[self._num_read :]
        self._num_read = len(self._ids)
        return new[len(old) :]

    def finish(self) -> str:
        rest = self._decode(self._ids)[len(self._decode(self._ids[: self._num_read])) :]
        self._ids, self._num_read = [], 0
        return rest
