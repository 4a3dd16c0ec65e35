"""Texts that follow a pattern: which tokens may come next, by an automaton over the vocabulary (the library llguidance).

    pattern = open_patterns(vocabulary, end_ids).begin(config)      # None where the request asks for none
    pattern.look()                                                 # bool (V,): what may come next
    pattern.take(token_id)

A pattern is compiled once, outside of the loop over steps, and begun for each text. The end of a text may come where the pattern is
whole, and comes by itself where nothing more can follow. What a request may take is bounded: of its size, of time and of memory.
Shapes: V vocabulary.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from whelp.base.errors import MissingExtraError, PlanError
from whelp.generate.config import GenerateConfig
from whelp.generate.pattern_grammar import write_grammar
from whelp.generate.text_stream import VocabularyLike

if TYPE_CHECKING:
    from llguidance import LLMatcher

_NUM_KEPT = 16  # compiled patterns of a vocabulary: of as much memory as their automata come to take
_MOST_STATES = 50_000  # of an automaton, about 1.5 KB each; all texts of a compiled pattern share one, which grows
_MOST_ITEMS = 10_000  # of a step: a grammar of many meanings would hold the others up for seconds
_MOST_BYTES = 1 << 18  # of a grammar: a second or two of compiling
_STACK_BYTES = 1 << 28  # the library goes down rule by rule, and a stack that is full ends the program
_LOOKED_AHEAD, _MOST_LOOKED_AT = 16, 200  # tokens, and ways, where a vocabulary of words may not know how to go on
_SHOWN_CHARACTERS = 40

Mask = npt.NDArray[np.bool_]


class Pattern:
    """How far one text has come in its pattern."""

    def __init__(
        self,
        name: str,
        matcher: LLMatcher,
        spelled: SpelledVocabulary,
        end_ids: Collection[int],
        compile_anew: Callable[[], LLMatcher] | None = None,
    ) -> None:
        self._name, self._matcher, self._spelled = name, matcher, spelled
        self._end_ids, self._compile_anew = sorted(end_ids), compile_anew
        self._taken: list[int] = []
        self._mask: Mask | None = None

    @property
    def may_strand(self) -> bool:
        """Whether a token may come after which no other can: the letters of the vocabulary are not among its tokens."""
        return not self._spelled.can_spell

    @property
    def is_over(self) -> bool:
        """Whether the text is whole, and nothing can follow."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    def look(self) -> Mask:
        """Which ids may come next, (V,): none where the text is whole and no end-of-text token may say so.

        Raises: PlanError: When the text is not whole, and the vocabulary has no token that goes on; when it takes too much to find out.
        """
        if self._mask is None:
            self._mask = self._read(self._matcher, is_first=not self._taken)
            if self._compile_anew is not None and _has_too_many_states(self._matcher):
                self._begin_anew(self._compile_anew)
                self._mask = self._read(self._matcher, is_first=not self._taken)
        if not self._mask.any() and (self._matcher.is_error() or not self._matcher.is_accepting()):
            raise self._explain()
        return self._mask

    def _begin_anew(self, compile_anew: Callable[[], LLMatcher]) -> None:
        """Come as far with an automaton of this text's own: others may have filled the one that was shared."""
        self._compile_anew, self._matcher = None, compile_anew()
        for number, token_id in enumerate(self._taken):
            self._matcher.consume_token(self._spelled.find_place(token_id, is_first=not number))

    def _read(self, matcher: LLMatcher, *, is_first: bool) -> Mask:
        mask = self._spelled.read_mask(np.frombuffer(matcher.compute_bitmask(), np.uint8), is_first=is_first)
        mask[self._end_ids] = matcher.is_accepting() and not matcher.is_error()
        return mask

    def take(self, token_id: int) -> bool:
        """Go on by a token that may come next. False: nothing could follow it, so it is ruled out, and another is to be chosen."""
        place = self._spelled.find_place(token_id, is_first=not self._taken)
        if self.may_strand:
            further = self._matcher.deep_copy()
            further.consume_token(place)
            if self.is_stranded(further):
                self.look()[token_id] = False
                return False
        self._matcher.consume_token(place)
        self._mask = None
        self._taken.append(token_id)
        return True

    def is_stranded(self, matcher: LLMatcher | None = None) -> bool:
        """Whether no tokens lead from here, or there, to a whole text. Looks some ahead; what is further away is hoped for."""
        waiting: list[tuple[LLMatcher, int | None, int]] = [(matcher or self._matcher, None, 0)]
        num_seen, is_first = 0, matcher is None and not self._taken
        while waiting:
            before, token_id, depth = waiting.pop()
            num_seen += 1
            if depth == _LOOKED_AHEAD or num_seen == _MOST_LOOKED_AT:
                return False
            there = before.deep_copy()
            if token_id is not None:
                there.consume_token(self._spelled.find_place(token_id, is_first=is_first and depth == 1))
            ids = np.flatnonzero(self._read(there, is_first=is_first and depth == 0))
            if there.is_error():
                if not _is_dead_end(there):  # which is another matter
                    return False
            elif there.is_accepting():
                return False
            waiting += [(there, token_id, depth + 1) for token_id in ids[:_MOST_LOOKED_AT].tolist()]
        return True

    def _explain(self) -> PlanError:
        if self._matcher.is_error() and not _is_dead_end(self._matcher):
            found = f"it is too complex ({_first_line(self._matcher.get_error())})"
            return PlanError(self._name, found, "", "Ask for less, or for shorter texts.")
        text = self._spelled.write(self._taken)
        where = f"after {text[-_SHOWN_CHARACTERS:]!r} it" if text else "it"
        return PlanError(
            self._name,
            f"{where} wants what no token of the vocabulary writes",
            "",
            "Ask for a text that the vocabulary can write.",
        )


class SpelledVocabulary:
    """A vocabulary as llguidance takes it: the bytes of each id, and further ids for those that begin a text otherwise than they go on."""

    def __init__(self, vocabulary: VocabularyLike, end_ids: Collection[int]) -> None:
        from llguidance import LLTokenizer

        firsts, others = (
            [b"" if token_id in end_ids else spelled for token_id, spelled in enumerate(spellings)]
            for spellings in vocabulary.spell_tokens()
        )
        self.size = len(others)
        self._others = [token_id for token_id in range(self.size) if firsts[token_id] != others[token_id]]
        self._places = {token_id: self.size + place for place, token_id in enumerate(self._others)}
        self._table = [*others, *(firsts[token_id] for token_id in self._others)]
        self.can_spell, self.letters = _find_letters(others)
        self.tokenizer = LLTokenizer(_Wrapper([*self._table, b"<end>"]))

    def read_mask(self, bits: npt.NDArray[np.uint8], *, is_first: bool) -> Mask:
        """The ids (V,) of a mask of bits."""
        mask = np.unpackbits(bits, count=len(self._table), bitorder="little").view(np.bool_)
        if is_first and self._others:
            mask[self._others] = mask[self.size :]
        return mask[: self.size]

    def find_place(self, token_id: int, *, is_first: bool) -> int:
        """The number under which the automaton knows an id."""
        return self._places.get(token_id, token_id) if is_first else token_id

    def write(self, ids: list[int]) -> str:
        """The text of ids."""
        places = [self.find_place(token_id, is_first=not number) for number, token_id in enumerate(ids)]
        return b"".join(self._table[place] for place in places).decode(errors="replace")


class _Wrapper:
    """What the library asks of a tokenizer."""

    is_tokenizer_wrapper = True
    bos_token_id = None

    def __init__(self, tokens: list[bytes]) -> None:
        self.tokens, self.eos_token_id = tokens, len(tokens) - 1
        self.special_token_ids = [self.eos_token_id]

    def __call__(self, text: str) -> list[int]:
        return []  # nothing is cut into tokens: the model chooses them


class Patterns:
    """The compiled patterns of a vocabulary."""

    def __init__(self, spelled: SpelledVocabulary, end_ids: frozenset[int]) -> None:
        from llguidance import LLParserLimits

        self._spelled, self._end_ids = spelled, end_ids
        self._limits = LLParserLimits(max_lexer_states=_MOST_STATES, step_max_items=_MOST_ITEMS, verbose_errors=False)
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, config: GenerateConfig) -> Pattern:
        """The pattern that a request asks for, at its start.

        Raises: PlanError: When it is none, or the vocabulary cannot write anything of it.
        """
        name = str(config.pattern_name)
        end_ids = () if config.ignore_end else self._end_ids
        try:
            key = f"{name} {getattr(config, name)!r}"
            matcher = self._find(key, name, config)
        except UnicodeEncodeError:
            raise PlanError(name, "it holds half a surrogate pair", "Unicode text") from None
        except RecursionError:
            raise PlanError(name, "it is nested too deeply", "", "Ask for a simpler one.") from None

        def compile_anew() -> LLMatcher:
            with self._lock:
                self._compiled.pop(key, None)
            return self._compile(name, config)

        return Pattern(name, matcher.deep_copy(), self._spelled, end_ids, compile_anew)

    def _find(self, key: str, name: str, config: GenerateConfig) -> LLMatcher:
        with self._lock:
            if key in self._compiled:
                self._compiled.move_to_end(key)
                return self._compiled[key]
        matcher = self._compile(name, config)
        with self._lock:
            self._compiled[key] = matcher
            while len(self._compiled) > _NUM_KEPT:
                self._compiled.popitem(last=False)
        return matcher

    def _compile(self, name: str, config: GenerateConfig) -> LLMatcher:
        from llguidance import LLMatcher

        grammar = write_grammar(config, self._spelled.letters)
        size = len(grammar.encode())
        if size > _MOST_BYTES:
            raise PlanError(name, f"it is too large: its grammar has {size:,} bytes, and at most {_MOST_BYTES:,} are followed")
        matcher = _run_with_room(LLMatcher, self._spelled.tokenizer, grammar, log_level=0, limits=self._limits)
        if matcher.is_error():
            raise PlanError(name, f"it cannot be followed ({_first_line(matcher.get_error())})", "", "Ask for a simpler one.")
        pattern = Pattern(name, matcher, self._spelled, ())
        if not pattern.look().any():  # from here on, all copies know what comes first
            raise PlanError(name, "no text but an empty one follows it", "", "Ask for a text.")
        if pattern.may_strand and pattern.is_stranded():
            found = "there is no text of it that the tokens of the vocabulary write"
            raise PlanError(name, found, "", "Ask for a text that the vocabulary can write.")
        return matcher


def _run_with_room(make: Callable[..., LLMatcher], *args: Any, **options: Any) -> LLMatcher:
    """Call in a thread whose stack is large."""
    done: Future[LLMatcher] = Future()

    def run() -> None:
        try:
            done.set_result(make(*args, **options))
        except BaseException as error:  # it belongs to whoever asked for it
            done.set_exception(error)

    with _lock:
        usual = threading.stack_size(_STACK_BYTES)
        try:
            threading.Thread(target=run, name="whelp-pattern", daemon=True).start()
        finally:
            threading.stack_size(usual)
    return done.result()


_opened: WeakKeyDictionary[Any, dict[frozenset[int], Patterns]] = WeakKeyDictionary()
_lock = threading.Lock()


def open_patterns(vocabulary: VocabularyLike, end_ids: Collection[int], where: str) -> Patterns:
    """The patterns of a vocabulary, made when they are first asked for (GPT-2: a quarter of a second).

    Args:
        end_ids: Ids that end a text, and are no part of it.
        where: What needs them.

    Raises:
        MissingExtraError: When llguidance is not installed.
        TokenizerError: When the text of its tokens is not fixed.
    """
    try:
        import llguidance  # noqa: F401
    except ImportError:
        raise MissingExtraError(where, "llguidance", "grammar") from None
    ends = frozenset(token_id for token_id in end_ids if token_id < vocabulary.size)
    with _lock:
        of_vocabulary = _opened.setdefault(vocabulary, {})
        if ends not in of_vocabulary:
            of_vocabulary[ends] = Patterns(SpelledVocabulary(vocabulary, ends), ends)
        return of_vocabulary[ends]


def _find_letters(table: list[bytes]) -> tuple[bool, frozenset[str] | None]:
    """Whether each letter of every token can be written by itself; and all letters that can, if they are not just any."""
    spelled = set(table)
    in_utf8 = [*range(0xC0), *range(0xC2, 0xF5)]
    if all(bytes([byte]) in spelled for byte in in_utf8):
        return True, None
    try:
        letters = frozenset("".join(token.decode() for token in spelled))
    except UnicodeDecodeError:  # parts of letters
        return False, None
    can_spell = all(letter.encode() in spelled for letter in letters)
    return can_spell, letters if can_spell else None


def _is_dead_end(matcher: LLMatcher) -> bool:
    """Whether what is wrong is that no token can follow."""
    return "NoExtension" in matcher.get_error()


def _has_too_many_states(matcher: LLMatcher) -> bool:
    """Whether its automaton is full."""
    return bool(matcher.is_error()) and "too many states" in matcher.get_error()


def _first_line(message: str) -> str:
    """What is wrong, of a message that shows where as well."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    errors = [line.removeprefix("error:").strip() for line in lines if line.startswith("error:")]
    text = errors[0] if errors else lines[0] if lines else "it has no text"
    head, colon, rest = text.partition(": ")
    return rest if colon and head.startswith("at ") else text
