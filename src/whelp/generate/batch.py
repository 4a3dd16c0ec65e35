"""Many continuations side by side: requests join and leave between two steps of the model.

Every row of the model's memory is a slot. Slots are kept in order: first the rows that are running (one new token a step),
then those whose prompt is still being read, in chunks, so that a long prompt does not hold up the others. A row that leaves
is replaced by the last one of its kind. Continuations of one prompt share its reading, and prompts share what they begin with.
A step of a few rows may read, behind the last token of each, a guess of the next ones: of these as many come as are right.
Shapes: N rows, V vocabulary.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import takewhile

import torch

from whelp.base.errors import PlanError, WhelpError
from whelp.generate.config import GenerateConfig
from whelp.generate.generation import Generation, Reason, TextPiece, TokenLogprob
from whelp.generate.interfaces import DecoderLike, GeneratingModel, Prompt, Screen
from whelp.generate.logprobs import Describer
from whelp.generate.next_tokens import bend, choose_for_rows, keep_to_patterns, make_screen
from whelp.generate.pattern import open_patterns
from whelp.generate.prefix_cache import PrefixCache
from whelp.generate.prompt import read_prompt
from whelp.generate.row import Row, SharedPrompt
from whelp.generate.run_ahead import Ahead, start_fetching
from whelp.generate.speculation import LEAST_DRAFTED_TOKENS, MOST_ROWS, Speculation
from whelp.generate.text_stream import TextMaker, VocabularyLike

CHUNK_TOKENS = 512  # tokens of prompts read between two steps of the running rows
SCORED_CHUNK_TOKENS = 64  # the same where each has logits, and these are looked at


class Batch:
    """The requests of one model, without a thread: `step` until it is idle. `Engine` does so in a thread."""

    def __init__(
        self,
        model: GeneratingModel,
        vocabulary: VocabularyLike,
        *,
        max_rows: int,
        max_context_tokens: int | None = None,
        end_ids: Iterable[int] = (),
        prefixes: PrefixCache | None = None,
    ) -> None:
        """Allocate the memory.

        Args:
            prefixes: What is remembered of earlier texts, of the same model; default: nothing ever is.
        """
        model.eval()
        self.model, self.vocabulary, self.max_rows = model, vocabulary, max_rows
        self.capacity = min(max_context_tokens or model.context_tokens, model.context_tokens)
        self.decoder = self._make_decoder()
        self.prefixes = PrefixCache(0) if prefixes is None else prefixes
        self.end_ids = {*end_ids, *([] if vocabulary.eos_id is None else [vocabulary.eos_id])}
        self.waiting: deque[Row] = deque()
        self.rows: list[Row] = []  # by slot: running ones first, then those being read
        self.num_running = 0
        self.num_steps = 0  # of running rows: what a text cost, whether guesses were checked or not
        self._speculation = Speculation()
        self._ahead: Ahead | None = None

    def _make_decoder(self) -> DecoderLike:
        return self.model.make_decoder(self.max_rows + 1, self.capacity)  # one slot to exchange rows by

    def renew(self) -> None:
        """Forget everything that was made of the model's weights, which are others now; no row may have a slot."""
        assert not self.rows, f"{len(self.rows)} rows have slots"
        self._ahead = None
        self.prefixes.clear()
        del self.decoder  # first: there may be no room for two
        self.decoder = self._make_decoder()

    def make_rows(self, prompt: Prompt, config: GenerateConfig, n: int, wake: Callable[[], object] = lambda: None) -> list[Row]:
        """Check a request and make its rows; nothing is queued yet.

        Raises:
            PlanError: When the prompt is empty, longer than the context, or holds ids that are none; when there is no such pattern.
            MissingExtraError: When it asks for a pattern, and llguidance is not installed.
        """
        ids = read_prompt(prompt, config, self.vocabulary, self.capacity)
        if n < 1:
            raise PlanError("n", f"is {n}", "at least 1")
        shared, name = SharedPrompt(ids), config.pattern_name
        patterns = name and open_patterns(self.vocabulary, self.end_ids, name)
        return [
            Row(
                Generation(index, len(ids), wake),
                config,
                ids,
                TextMaker(self.vocabulary.stream(), config.stop),
                shared,
                patterns.begin(config) if patterns else None,
            )
            for index in range(n)
        ]

    def submit(self, prompt: Prompt, config: GenerateConfig, *, n: int = 1) -> list[Generation]:
        """Queue `n` continuations of a prompt."""
        rows = self.make_rows(prompt, config, n)
        self.waiting.extend(rows)
        return [row.generation for row in rows]

    def step(self) -> bool:
        """One token for every running row, a chunk of the prompts that wait; False when there is nothing to do."""
        self.admit()
        self.work()
        return bool(self.rows or self.waiting)

    @torch.inference_mode()
    def admit(self, *, is_held: bool = False) -> None:
        """Let cancelled rows go, and give free slots to those that wait, unless these are held back."""
        for row in [row for row in self.rows if row.generation.is_cancelled]:
            self._end(row, "cancelled")
        if any(row.generation.is_cancelled for row in self.waiting):
            cancelled = [row for row in self.waiting if row.generation.is_cancelled]
            self.waiting = deque(row for row in self.waiting if row not in cancelled)
            for row in cancelled:
                row.generation.end("cancelled")
        if self.waiting and len(self.rows) < self.max_rows and not is_held:
            self._give_slots()

    @torch.inference_mode()
    def work(self) -> None:
        """Ask the model once for the running rows, and once for those being read."""
        if self.num_running:
            self._take_step(self.rows[: self.num_running])
        if self.num_running < len(self.rows):
            self._read_chunk()

    def _take_step(self, rows: list[Row]) -> None:
        """One token for each running row, and as many more as were guessed right."""
        self.num_steps += 1
        ahead, self._ahead = self._ahead and self._ahead.take(rows), None
        if ahead and ahead.rows:
            self._advance(*ahead, is_step=True)
            return
        guesses = self._guess(rows)
        started = time.perf_counter()
        if guesses is None:
            self._advance(
                rows, self.decoder.step([row.ids[-1] for row in rows], self._make_screen(rows, [1] * len(rows))), is_step=True
            )
        else:
            self._check(rows, guesses)
        num_tokens = 1 if guesses is None else 1 + max(map(len, guesses))
        self._speculation.note(len(rows), num_tokens, time.perf_counter() - started)

    def _guess(self, rows: list[Row]) -> list[list[int]] | None:
        """What may come next in each row, where checking that is worth it."""
        if len(rows) > MOST_ROWS or not self.decoder.can_forget:
            return None
        rooms = [min(row.config.max_tokens - row.num_new, self.capacity - self.decoder.lengths[row.slot]) - 1 for row in rows]
        for row, room in zip(rows, rooms, strict=True):
            if row.guesser.most is not None or not self.decoder.is_step_recorded:
                row.guesser.look_up(row.ids, room)
        plan = self._speculation.plan([row.guesser for row in rows], self._count_draftable(rows, rooms))
        if plan is None:
            for row in rows:
                row.guesser.note_step()
        return self._draft(rows, plan) if isinstance(plan, int) else plan

    def _count_draftable(self, rows: list[Row], rooms: list[int]) -> int:
        """How many tokens the model's quick copy may guess for each row. It is not made for the end of a text."""
        drafter = self.decoder.drafter
        if drafter is None or not all(row.can_be_drafted for row in rows):
            return 0
        is_asked = any(row.guesser.most_drafted for row in rows)
        return min(rooms) if drafter.is_ready or is_asked or max(rooms) >= LEAST_DRAFTED_TOKENS else 0

    def _draft(self, rows: list[Row], num_tokens: int) -> list[list[int]]:
        """So many tokens for each row, guessed by the model's quick copy and chosen as they will be."""
        drafter = self.decoder.drafter
        assert drafter is not None, "a draft was planned"
        was_ready, started = drafter.is_ready, time.perf_counter()

        def choose_ahead(logits: torch.Tensor, ahead: int) -> torch.Tensor:
            return choose_for_rows(rows, logits[:, : self.vocabulary.size].float(), ahead=ahead, is_slow=self.decoder.is_slow)

        drafts = drafter.guess([row.ids[-1] for row in rows], num_tokens, choose_ahead)
        if was_ready:
            self._speculation.note_draft(len(rows), num_tokens, time.perf_counter() - started)
        for row, draft in zip(rows, drafts, strict=True):
            row.guesser.tokens, row.guesser.is_draft = draft, True
        return drafts

    def _check(self, rows: list[Row], guesses: list[list[int]]) -> None:
        """Read the guesses too; each row takes tokens as if one came after the other, for as long as they are those guessed."""
        starts = [self.decoder.lengths[row.slot] for row in rows]
        screen = self._make_screen(rows, [1 + len(guess) for guess in guesses])
        logits = self.decoder.check([[row.ids[-1], *guess] for row, guess in zip(rows, guesses, strict=True)], screen)
        cost = self._speculation.cost(len(rows), 1 + max(map(len, guesses)))
        for row, guess, start, scored in zip(rows, guesses, starts, logits, strict=True):
            num_before = row.num_new
            for index in range(len(guess) + 1):
                self.decoder.lengths[row.slot] = start + index + 1  # what was read after it is forgotten
                self._advance([row], scored[index : index + 1])
                if row.generation.finish_reason is not None or [row.ids[-1]] != guess[index : index + 1]:
                    break
            row.guesser.note_check(len(guess), row.num_new - num_before - 1, cost)

    def _make_screen(self, rows: list[Row], counts: list[int]) -> Screen | None:
        return make_screen(rows, counts, self.vocabulary.size) if self.decoder.can_screen else None

    def fail(self, error: BaseException) -> None:
        """Every request ends with this error."""
        self.prefixes.clear()  # memory may be what is missing
        failed = [*self.rows, *self.waiting]
        self.rows, self.num_running, self._ahead = [], 0, None
        self.waiting.clear()
        for row in failed:  # last: whoever hears of it may look at once for what still runs
            row.generation.fail(error)

    def _give_slots(self) -> None:
        """Admit in order of arrival; one whose prompt, or much of it, is just being read for another waits for that."""
        being_read = {row.prompt for row in self.rows[self.num_running :] if not row.has_slid}
        for row in list(self.waiting):
            if len(self.rows) == self.max_rows:
                return
            if row.prompt in being_read or self.prefixes.must_wait(row, self.decoder):
                continue
            running = self.rows[: self.num_running]
            twin = next((other for other in running if other.prompt is row.prompt and not other.has_slid), None)
            row.slot = len(self.rows)
            self.decoder.lengths[row.slot] = 0
            if twin is not None and self.decoder.copy(twin.slot, row.slot, len(row.ids)):
                self.waiting.remove(row)  # only now: one whose memory cannot be had is still there to be told
                self.rows.append(row)
                self._start_as_twin(row)
            elif self.prefixes.begin(row, self.rows, self.decoder):
                self.waiting.remove(row)
                self.rows.append(row)
                being_read.add(row.prompt)

    def _start_as_twin(self, row: Row) -> None:
        """Run the row in the last slot, which begins where its twin began."""
        first = self.rows[self.num_running]
        if first is not row:  # whose prompt is being read, and goes on at the end
            self._trade_places(first, row)
        self.num_running += 1
        row.unread = []
        assert row.prompt.logits is not None, "a running row's prompt has been read"
        if row.is_scored:
            row.generation.prompt_logprobs = row.prompt.logprobs
        self._advance([row], row.prompt.logits.clone())

    def _trade_places(self, one: Row, other: Row) -> None:
        """Exchange two rows, by way of a spare slot."""
        here, there = one.slot, other.slot
        self._place(one, self.max_rows)
        self._place(other, here)
        self._place(one, there)

    def _place(self, row: Row, slot: int, *, copies: bool = True) -> None:
        if copies:
            self.decoder.copy(row.slot, slot, self.decoder.lengths[row.slot])
        row.slot = slot
        if slot < len(self.rows):
            self.rows[slot] = row

    def _read_chunk(self) -> None:
        """Read the next tokens of the first rows that are being read: all that end with this chunk, or one long one."""
        first = self.num_running
        reading = self.rows[first:]
        if reading[0].is_scored:
            self._read_scored(reading[0])
            return
        longest, count = 0, 0
        for row in takewhile(lambda row: not row.is_scored and not row.pauses, reading):
            longest = max(longest, len(row.unread))
            if longest * (count + 1) > CHUNK_TOKENS:
                break
            count += 1
        if not count:
            row = reading[0]
            num_read = self.decoder.lengths[first]
            size = min(CHUNK_TOKENS, min(row.pauses, default=len(row.ids)) - num_read)
            chunk, row.unread = row.unread[:size], row.unread[size:]
            logits = self.decoder.read(first, [chunk])
            if num_read + size in row.pauses:
                row.pauses.remove(num_read + size)
                self.prefixes.keep(row, self.decoder)
            if row.unread:
                return
            count = 1
        else:
            logits = self.decoder.read(first, [row.unread for row in reading[:count]])
        self.num_running += count
        for place, row in enumerate(reading[:count]):
            row.unread = []
            if not row.has_slid:
                row.prompt.logits = logits[place : place + 1].clone()
            if not self.decoder.can_forget:  # else other prompts copy it while the text goes on
                self.prefixes.keep(row, self.decoder)
        self._advance(reading[:count], logits)

    def _read_scored(self, row: Row) -> None:
        """Read the next tokens of the first row that is being read, and note what the model gave those of the prompt."""
        num_read = len(row.ids) - len(row.unread)
        chunk, row.unread = row.unread[:SCORED_CHUNK_TOKENS], row.unread[SCORED_CHUNK_TOKENS:]
        if not num_read:
            row.prompt.logprobs = []
        logits = self.decoder.score(row.slot, chunk)
        targets = row.ids[num_read + 1 : num_read + 1 + len(chunk)]  # of the last token of all, none is known
        scored = logits[: len(targets), : self.vocabulary.size].float()
        describe = Describer(self.vocabulary, [row.config.prompt_logprobs] * len(targets), scored)
        for place, token_id in enumerate(targets):
            row.prompt.logprobs += describe(place, token_id) or []
        if row.unread:
            return
        row.prompt.logits = logits[-1:].clone()
        row.generation.prompt_logprobs = row.prompt.logprobs
        self.num_running += 1
        self._advance([row], row.prompt.logits.clone())

    def _advance(self, rows: list[Row], logits: torch.Tensor, *, is_step: bool = False) -> None:
        """Choose a token for each row, hand over its text, and let rows that are done leave; of a step, perhaps run ahead."""
        places = [place for place, row in enumerate(rows) if self._goes_on(row)]
        if len(places) < len(rows):
            rows, logits = [rows[place] for place in places], logits[places]
            if not rows:
                return
        logits = logits[:, : self.vocabulary.size].float()
        describe = Describer(self.vocabulary, [row.config.logprobs for row in rows], logits)  # before anything is bent
        for place, row in enumerate(rows):
            if row.config.is_penalised or row.config.logit_bias:
                bend(row, logits[place])
        keep_to_patterns(rows, logits)
        chosen = choose_for_rows(rows, logits, is_slow=self.decoder.is_slow)
        ids = self._run_ahead(rows, chosen) if is_step and self._may_run_ahead(rows) else chosen.tolist()
        for place, (row, token_id) in enumerate(zip(rows, ids, strict=True)):
            followed = self._follow(row, token_id, logits[place : place + 1])
            if followed is not None:
                self._take(row, followed, describe(place, followed))

    def _goes_on(self, row: Row) -> bool:
        """Whether a token may come in a row; it leaves where none may."""
        if row.num_new == row.config.max_tokens:  # none was asked for
            self._end(row, "length")
            return False
        try:
            if row.pattern is None or row.pattern.look().any():
                return True
        except WhelpError as error:
            self._leave(row)
            row.generation.fail(error)
            return False
        row.generation.put(TextPiece(row.maker.finish()[0], []))  # whole, and nothing can say so
        self._end(row, "stop")
        return False

    def _follow(self, row: Row, token_id: int, logits: torch.Tensor) -> int | None:
        """Let a row's pattern go on by a token, or by another where that leads nowhere; None where all do, and the row leaves."""
        if row.pattern is None or token_id in self.end_ids:
            return token_id
        while not row.pattern.take(token_id):
            if not self._goes_on(row):
                return None
            keep_to_patterns([row], logits)
            (token_id,) = choose_for_rows([row], logits, is_slow=self.decoder.is_slow).tolist()
            if token_id in self.end_ids:
                break
        return token_id

    def _may_run_ahead(self, rows: list[Row]) -> bool:
        """Whether the next step can be named now: of the same rows, none of which must wait for what comes."""
        return (
            self.decoder.is_step_recorded
            and rows == self.rows[: self.num_running]
            and any(row.num_new + 1 < row.config.max_tokens for row in rows)
            and not any(row.guesser.most or (row.pattern is not None and row.pattern.may_strand) for row in rows)
            and max(self.decoder.lengths[row.slot] for row in rows) + 1 < self.capacity
        )

    def _run_ahead(self, rows: list[Row], chosen: torch.Tensor) -> list[int]:
        """The chosen ids; before they are known here, the step that reads them is under way."""
        wait = start_fetching(chosen)
        self._ahead = Ahead(rows, self.decoder.step(chosen))
        return wait()

    def _take(self, row: Row, token_id: int, logprobs: list[TokenLogprob] | None) -> None:
        """Add a token to a row: its text goes out, and the row may be done."""
        row.ids.append(token_id)
        row.num_new += 1
        if row.counts is not None:
            row.counts[token_id] += 1
        if row.seen is not None:
            row.seen[token_id] = True
        is_end = token_id in self.end_ids
        is_over = row.pattern is not None and row.pattern.is_over
        text, is_stopped = ("", False) if is_end else row.maker.push(token_id)
        reason: Reason | None = None
        if is_stopped or is_over or (is_end and not row.config.ignore_end):
            reason = "stop"
        elif row.num_new == row.config.max_tokens:
            reason = "length"
        elif self.decoder.lengths[row.slot] == self.capacity:
            if row.config.when_full == "end":
                reason = "length"
            else:
                self._slide(row)
        if reason is not None and not is_stopped:
            rest, is_stopped = row.maker.finish()
            text, reason = text + rest, "stop" if is_stopped else reason
        row.generation.put(TextPiece(text, [token_id], logprobs))
        if reason is not None:
            self._end(row, reason)

    def _slide(self, row: Row) -> None:
        """The slot is full: the later half of the text is read anew."""
        self._stop_running(row)
        self.decoder.lengths[row.slot] = 0
        row.has_slid = True
        row.unread = row.ids[-max(self.capacity // 2, 1) :]

    def _stop_running(self, row: Row) -> None:
        """Put a running row, which loses its memory, at the head of those being read."""
        self.num_running -= 1
        last = self.rows[self.num_running]
        if last is not row:
            hole = row.slot
            self._place(last, hole)
            self._place(row, self.num_running, copies=False)

    def _end(self, row: Row, reason: Reason) -> None:
        """A row leaves, and its text is whole."""
        self._leave(row)
        row.generation.end(reason)

    def _leave(self, row: Row) -> None:
        """A row leaves; its slot is free at the next step."""
        self.prefixes.keep(row, self.decoder)
        if row.slot < self.num_running:
            self._stop_running(row)
        last = self.rows.pop()
        if last is not row:
            self._place(last, row.slot)
