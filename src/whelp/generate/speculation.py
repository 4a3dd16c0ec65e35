"""Whether to check guesses in the next step, and how many tokens of them: as many as are expected to pay.

What a step for so many rows and tokens takes is measured while it runs. So the number of tokens hangs on the machine; the text
does not. Shapes: B rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from whelp.generate.lookup import Lookup, Trust

GUESS_TOKENS = (2, 4, 8, 16)  # so many at a time, when nobody says otherwise
MOST_ROWS = 4  # side by side with guesses: more rows fill a step by themselves


@dataclass
class Guesser:
    """What one text guesses, and how well."""

    most: int | None  # tokens at a time that were asked for; None: as many as pay
    lookup: Lookup = field(default_factory=Lookup)
    trust: Trust = field(default_factory=Trust)
    tokens: list[int] = field(default_factory=list)  # the guess for the next step
    size: int = 0  # of the run of tokens that led to it

    def guess(self, ids: list[int], room: int) -> None:
        """Look for what may come next, at most `room` tokens."""
        self.tokens, self.size = [], 0
        longest = min(room, max(GUESS_TOKENS) if self.most is None else self.most)
        if longest > 0:
            self.tokens, self.size = self.lookup.guess(ids, longest)
            if self.most is None and not self.trust.is_left:
                self.tokens = []

    def expect_tokens(self, count: int) -> float:
        """Tokens that come of a step which checks `count` guessed ones: 1 + p + p^2 + ..., with p the share that is right."""
        share = self.trust.expect(self.size) if self.size else 0.0
        return sum(share**power for power in range(min(count, len(self.tokens)) + 1))

    def note_check(self, num_guessed: int, num_right: int, cost: float) -> None:
        """A step checked so many of the guessed tokens; one without any, beside rows that had some, says nothing."""
        if num_guessed:
            self.trust.note_check(self.size, num_guessed, num_right, cost)


class Speculation:
    """Chooses the guesses of a step, and learns what steps cost."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, int], list[float]] = {}  # by rows and tokens: the last two of a step

    def plan(self, guessers: list[Guesser]) -> list[list[int]] | None:
        """The guesses to check in the next step, one list for each row; None where a plain step is better."""
        if len(guessers) > MOST_ROWS or not any(guesser.tokens for guesser in guessers):
            return None
        fixed = [guesser.most for guesser in guessers if guesser.tokens and guesser.most is not None]
        if fixed:
            return [guesser.tokens[: max(fixed)] for guesser in guessers]
        num_rows = len(guessers)
        gains = {
            count: sum(guesser.expect_tokens(count) for guesser in guessers) / (num_rows * self.cost(num_rows, count + 1))
            for count in GUESS_TOKENS
        }
        best = max(gains, key=lambda count: gains[count])
        return [guesser.tokens[:best] for guesser in guessers] if gains[best] > 1.0 else None

    def cost(self, num_rows: int, num_tokens: int) -> float:
        """Time of a step with so many tokens a row, in steps with one; a cautious belief until both were measured."""
        plain, wide = self._seconds.get((num_rows, 1), []), self._seconds.get((num_rows, num_tokens), [])
        if len(plain) < 2 or len(wide) < 2:  # the first of a kind has preparations in it
            return 1.0 + 0.15 * num_rows * (num_tokens - 1)
        return max(min(wide) / min(plain), 1.0)

    def note(self, num_rows: int, num_tokens: int, seconds: float) -> None:
        """A step took so long. Of the last few, the quickest tells what it takes on a machine that has other work."""
        kept = self._seconds.setdefault((num_rows, num_tokens), [])
        kept.append(seconds)
        del kept[:-8]
