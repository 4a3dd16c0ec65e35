"""Whether to check guesses in the next step, and how many tokens of them: as many as are expected to pay.

What a step for so many rows and tokens takes is measured while it runs. So the number of tokens hangs on the machine; the text
does not. Shapes: B rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from whelp.generate.prompt_lookup import Lookup, Trust

DRAFT_TOKENS = (2, 4, 6, 8, 12)  # guessed by a quick copy of the model at a time, when nobody says otherwise
LEAST_DRAFTED_TOKENS = 48  # that a text may still have, for the quick copy to be made: that takes as long as some 15 steps
LEAST_PLAIN = 3  # steps without guesses come first, so that it is known what they take
_DRAFT_COST = 0.5  # of a guessed token, in steps with one token, before it was measured
_FIRST_SHARE, _FIRST_WEIGHT = 0.9, 4.0  # of guessed tokens that come, before anything is known, and how many this counts for
_MEMORY, _FORGIVENESS = 0.95, 0.99  # of what was seen: at each check, and at each step without a draft
GUESS_TOKENS = (2, 4, 8, 16)  # so many at a time, when nobody says otherwise
MOST_ROWS = 4  # side by side with guesses: more rows fill a step by themselves


@dataclass
class Guesser:
    """What one text guesses, and how well."""

    most: int | None  # tokens at a time that were asked for of the text's own past; None: as many as pay
    most_drafted: int | None = None  # the same of the model's quick copy
    lookup: Lookup = field(default_factory=Lookup)
    trust: Trust = field(default_factory=Trust)
    tokens: list[int] = field(default_factory=list)  # the guess for the next step
    size: int = 0  # of the run of tokens that led to it
    is_draft: bool = False  # whether the guess is the quick copy's
    num_drafts_right: float = 0.0
    num_drafts: float = 0.0

    def look_up(self, ids: list[int], room: int) -> None:
        """Look for what may come next, at most `room` tokens."""
        self.tokens, self.size, self.is_draft = [], 0, False
        longest = min(room, max(GUESS_TOKENS) if self.most is None else self.most)
        if longest > 0:
            self.tokens, self.size = self.lookup.guess(ids, longest)
            if self.most is None and not self.trust.is_left:
                self.tokens = []

    def expect_tokens(self, count: int) -> float:
        """Tokens that come of a step which checks `count` guessed ones: 1 + p + p^2 + ..., with p the share that is right."""
        share = self.trust.expect(self.size) if self.size else 0.0
        return sum(share**power for power in range(min(count, len(self.tokens)) + 1))

    def expect_drafted(self, count: int) -> float:
        """The same for tokens that the quick copy guesses."""
        share = (self.num_drafts_right + _FIRST_SHARE * _FIRST_WEIGHT) / (self.num_drafts + _FIRST_WEIGHT)
        return sum(share**power for power in range(count + 1))

    def note_check(self, num_guessed: int, num_right: int, cost: float) -> None:
        """A step checked so many of the guessed tokens; one without any, beside rows that had some, says nothing."""
        if num_guessed and self.is_draft:
            self.num_drafts_right = _MEMORY * self.num_drafts_right + num_right
            self.num_drafts = _MEMORY * self.num_drafts + min(num_right + 1, num_guessed)
        elif num_guessed:
            self.trust.note_check(self.size, num_guessed, num_right, cost)

    def note_step(self) -> None:
        """A token came without a check."""
        self.trust.note_step(self.size)
        self.num_drafts_right *= _FORGIVENESS
        self.num_drafts *= _FORGIVENESS


class Speculation:
    """Chooses the guesses of a step, and learns what steps cost."""

    def __init__(self) -> None:
        self._seconds: dict[tuple[int, int], list[float]] = {}  # by rows and tokens: the last of a step
        self._draft_seconds: dict[int, list[float]] = {}  # by rows: the last of a token that the quick copy guessed

    def plan(self, guessers: list[Guesser], most_drafted: int = 0) -> list[list[int]] | int | None:
        """The guesses to check in the next step, one list for each row; a number: of tokens to draft for each row, and check.

        None where a plain step is better.

        Args:
            most_drafted: Tokens that may be drafted for each row; 0: none.
        """
        if len(guessers) > MOST_ROWS:
            return None
        fixed = [guesser.most for guesser in guessers if guesser.tokens and guesser.most is not None]
        if fixed:
            return [guesser.tokens[: max(fixed)] for guesser in guessers]
        asked = [guesser.most_drafted for guesser in guessers if guesser.most_drafted is not None]
        if most_drafted > 0 and asked and min(asked) > 0:
            return min(most_drafted, *asked)
        num_rows = len(guessers)
        gains: dict[tuple[bool, int], float] = {}
        if any(guesser.tokens for guesser in guessers):
            for count in GUESS_TOKENS:
                expected = sum(guesser.expect_tokens(count) for guesser in guessers) / num_rows
                gains[False, count] = expected / self.cost(num_rows, count + 1)
        if not asked and len(self._seconds.get((num_rows, 1), [])) >= LEAST_PLAIN:
            for count in (count for count in DRAFT_TOKENS if count <= most_drafted):
                expected = sum(guesser.expect_drafted(count) for guesser in guessers) / num_rows
                gains[True, count] = expected / (self.cost(num_rows, count + 1) + count * self._draft_cost(num_rows))
        best = max(gains, key=lambda key: gains[key], default=(False, 0))
        if not gains or gains[best] <= 1.0:
            return None
        return best[1] if best[0] else [guesser.tokens[: best[1]] for guesser in guessers]

    def cost(self, num_rows: int, num_tokens: int) -> float:
        """Time of a step with so many tokens a row, in steps with one; a cautious belief until both were measured."""
        plain, wide = self._seconds.get((num_rows, 1), []), self._seconds.get((num_rows, num_tokens), [])
        if len(plain) < 2 or len(wide) < 2:  # the first of a kind has preparations in it
            return 1.0 + 0.15 * num_rows * (num_tokens - 1)
        return max(min(wide) / min(plain), 1.0)

    def _draft_cost(self, num_rows: int) -> float:
        """Time of a token that the quick copy guesses for each row, in steps with one token."""
        plain, draft = self._seconds.get((num_rows, 1), []), self._draft_seconds.get(num_rows, [])
        return _DRAFT_COST if len(plain) < 2 or not draft else min(draft) / min(plain)

    def note_draft(self, num_rows: int, num_tokens: int, seconds: float) -> None:
        """So many tokens of each row were drafted in this time."""
        kept = self._draft_seconds.setdefault(num_rows, [])
        kept.append(seconds / num_tokens)
        del kept[:-8]

    def note(self, num_rows: int, num_tokens: int, seconds: float) -> None:
        """A step took so long. Of the last few, the quickest tells what it takes on a machine that has other work."""
        kept = self._seconds.setdefault((num_rows, num_tokens), [])
        kept.append(seconds)
        del kept[:-8]
