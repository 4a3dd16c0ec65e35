"""Guessing what comes next from the text's own past: prompt lookup (Saxena 2023; n-gram speculation in other engines).

The last tokens of a text are looked for earlier in it, and what followed there is the guess. The model reads the guess in one
step and says of every token whether it would have come: a guess costs time when it is wrong, and never changes the text
(Leviathan et al. 2023, with a guess that is certain).
"""

from __future__ import annotations

SIZES = (6, 3, 2)  # of the runs of tokens that are looked for, longest first
LOSS_SHARE = 0.02  # of all steps may be lost to wrong guesses,
LOSS_AT_ONCE = 1.5  # and so many steps before the first is made up for
_FIRST_SHARE = {6: 0.8, 3: 0.5, 2: 0.35}  # of guessed tokens that come, before anything is known
_FIRST_WEIGHT = 2.0  # guessed tokens that this counts for
_MEMORY = 0.9  # of what was seen, at each check
_FORGIVENESS = 0.99  # of what was seen, at each step that found a run and checked nothing
_MOST_GAIN = 8.0  # steps won are remembered, so that a text that stops repeating itself is noticed soon


class Lookup:
    """Where each run of tokens of one text last stood."""

    def __init__(self) -> None:
        self._ends: tuple[dict[tuple[int, ...], int], ...] = tuple({} for _ in SIZES)  # run -> the place behind it
        self._num_read = 0  # runs that end before this place, or at it, are in there

    def guess(self, ids: list[int], count: int) -> tuple[list[int], int]:
        """`count` tokens that may follow `ids`, and how many tokens led there (an entry of `SIZES`); none: `([], 0)`.

        Where the earlier place is so near that the text ends before the guess does, the guess goes round: what repeats itself
        goes on repeating itself.
        """
        for end in range(self._num_read + 1, len(ids)):
            for size, ends in zip(SIZES, self._ends, strict=True):
                if size <= end:
                    ends[tuple(ids[end - size : end])] = end
        self._num_read = max(len(ids) - 1, self._num_read)
        for size, ends in zip(SIZES, self._ends, strict=True):
            place = ends.get(tuple(ids[-size:]))
            if place is not None and size <= len(ids):
                period = len(ids) - place
                return [ids[place + index % period] for index in range(count)], size
        return [], 0


class Trust:
    """How often the guesses of one text were right, and whether checking them has paid so far. Costs are in steps for one token."""

    def __init__(self) -> None:
        self._right, self._tried = dict.fromkeys(SIZES, 0.0), dict.fromkeys(SIZES, 0.0)
        self._balance = 0.0  # steps won, less those lost

    def expect(self, size: int) -> float:
        """The share of guessed tokens that will come, after a run of `size` tokens."""
        return (self._right[size] + _FIRST_SHARE[size] * _FIRST_WEIGHT) / (self._tried[size] + _FIRST_WEIGHT)

    @property
    def is_left(self) -> bool:
        """Whether another wrong guess can be borne."""
        return self._balance > -LOSS_AT_ONCE

    def note_check(self, size: int, num_guessed: int, num_right: int, cost: float) -> None:
        """A guess was checked: one token comes of any check, and `num_right` were won."""
        self._right[size] = _MEMORY * self._right[size] + num_right
        self._tried[size] = _MEMORY * self._tried[size] + min(num_right + 1, num_guessed)
        self._balance = min(self._balance + num_right + 1 - cost, _MOST_GAIN)

    def note_step(self, size: int) -> None:
        """A token came without a check; a run of `size` tokens had been found (0: none), and is forgiven a little."""
        self._balance = min(self._balance + LOSS_SHARE, _MOST_GAIN)
        if size:
            self._right[size] *= _FORGIVENESS
            self._tried[size] *= _FORGIVENESS
