"""The longest token at each place of many short texts at once: a trie in flat arrays, walked by numpy.

Nodes are numbered level by level, so the children of a node stand side by side in the order of their bytes: 256 bits
a node say which there are, and counting bits tells the number of a child.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

_NO_TOKEN = -1
_WORDS = 4  # of 64 bits each, for 256 bytes


class Trie:
    """All tokens of a vocabulary (bytes -> id), in which every single byte is one."""

    def __init__(self, ids: Mapping[bytes, int]) -> None:
        joined = np.frombuffer(b"".join(ids), np.uint8)
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        starts = np.cumsum(lengths) - lengths
        token_ids = np.fromiter(ids.values(), np.int64, len(ids))
        nodes = np.zeros(len(ids), np.int64)  # how far each token has come
        edges = []
        ends = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        num_nodes = 1
        for depth in range(int(lengths.max())):
            longer = np.flatnonzero(lengths > depth)
            found, places = np.unique(nodes[longer] << 8 | joined[starts[longer] + depth], return_inverse=True)
            edges.append(found)
            nodes[longer] = num_nodes + places
            num_nodes += len(found)
            whole = np.flatnonzero(lengths == depth + 1)
            ends.append((nodes[whole], token_ids[whole]))
        keys = np.concatenate(edges)  # parent << 8 | byte, ascending; edge number e leads to node e + 1
        self._bits = np.zeros(num_nodes * _WORDS, np.uint64)
        np.bitwise_or.at(self._bits, keys >> 6, np.uint64(1) << (keys & 63).astype(np.uint64))
        counts = np.bitwise_count(self._bits).astype(np.int32)
        self._first_child = np.cumsum(counts, dtype=np.int32) - counts + 1
        self._token = np.full(num_nodes, _NO_TOKEN, np.int32)
        self._token[np.concatenate([end for end, _ in ends])] = np.concatenate([number for _, number in ends])

    def match(
        self, text: npt.NDArray[np.uint8], starts: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]:
        """Cut the pieces `text[start:end]`, which do not overlap and ascend, into tokens, always the longest one.

        Takes as many steps as the longest piece has bytes, and those that are read again after a token.

        Returns: the ids of all pieces, and how many of them each has.
        """
        place, end = starts, ends  # of pieces that are not done
        at = starts  # where the token began that is being read
        node = np.zeros(len(starts), np.int64)
        longest, token = np.zeros(len(starts), np.int64), np.zeros(len(starts), np.int32)
        found_at, found = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)]
        while len(place):
            byte = text.take(place, mode="clip")
            word = node << 2 | byte >> 6
            bits = self._bits[word]
            bit = np.uint64(1) << (byte & 63).astype(np.uint64)
            is_longer = ((bits & bit) != 0) & (place < end)
            node = np.where(is_longer, self._first_child[word] + np.bitwise_count(bits & (bit - np.uint64(1))), 0)
            place = place + is_longer
            here = self._token[node]
            is_token = here >= 0  # never of the root
            longest, token = np.where(is_token, place, longest), np.where(is_token, here, token)
            stops = np.flatnonzero(~is_longer)
            if len(stops):
                found_at.append(at[stops])
                found.append(token[stops])
                place[stops] = longest[stops]
                at = np.where(is_longer, at, place)
                is_left = is_longer | (place < end)
                place, end, at, node = place[is_left], end[is_left], at[is_left], node[is_left]
                longest, token = longest[is_left], token[is_left]
        all_at = np.concatenate(found_at)
        order = np.argsort(all_at, kind="stable")
        ids = np.concatenate(found)[order].astype(np.uint32)
        bounds = np.searchsorted(all_at[order], np.append(starts, ends[-1:]))
        return ids, np.diff(bounds)
