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

from whelp.base.errors import MissingExtraError, PlanError
from whelp.generate.config import GenerateConfig
from whelp.generate.pattern_grammar import KEEPING_TO_LETTERS, check_schema_letters, write_grammar
from whelp.generate.pattern_vocabulary import Mask, SpelledVocabulary, make_byte_tokenizer
from whelp.generate.pattern_ways import (
    MOST_TRIED_AT_START,
    MOST_TRIED_IN_STEP,
    bend_way,
    find_wanted,
    find_way,
    is_dead_end,
    read_mask,
    say_letters,
)
from whelp.generate.text_stream import VocabularyLike

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

_NUM_KEPT = 16  # compiled patterns of a vocabulary: of as much memory as their automata come to take
_MOST_STATES = 50_000  # of an automaton, about 1.5 KB each; all texts of a compiled pattern share one, which grows
_MOST_ITEMS = 10_000  # of a step: a grammar of many meanings would hold the others up for seconds
_MOST_BYTES = 1 << 18  # of a grammar: a second or two of compiling
_STACK_BYTES = 1 << 28  # the library goes down rule by rule, and a stack that is full ends the program
_MOST_REFUSED = 8  # tokens in one place: then only what is known to lead to a whole text may come
_SHOWN_CHARACTERS = 40
_CAN_WRITE = "Ask for a text that the vocabulary can write."


class Pattern:
    """How far one text has come in its pattern.

    Args:
        way: Ids that lead to a whole text from its start, where that is not a matter of course.
    """

    def __init__(self, compiled: CompiledPattern, end_ids: Collection[int], way: list[int] | None) -> None:
        self._compiled, self._matcher, self._spelled = compiled, compiled.matcher.deep_copy(), compiled.spelled
        self._end_ids, self._way = sorted(end_ids), way
        self._shares_automaton = True
        self._taken: list[int] = []
        self._num_refused = 0  # tokens, since the last one that was taken
        self._mask: Mask | None = None

    @property
    def may_strand(self) -> bool:
        """Whether a token may come after which no other can."""
        return self._compiled.may_strand

    @property
    def is_over(self) -> bool:
        """Whether the text is whole, and nothing can follow."""
        return bool(self._matcher.is_stopped()) and not self._matcher.is_error()

    def look(self) -> Mask:
        """Which ids may come next, (V,): none where the text is whole and no end-of-text token may say so.

        Raises: PlanError: When the text is not whole, and the vocabulary has no token that goes on; when it takes too much to find out.
        """
        if self._mask is None:
            self._mask = self._read()
            if self._shares_automaton and _has_too_many_states(self._matcher):
                self._begin_anew()
                self._mask = self._read()
        if not self._mask.any() and (self._matcher.is_error() or not self._matcher.is_accepting()):
            raise self._explain()
        return self._mask

    def _begin_anew(self) -> None:
        """Come as far with an automaton of this text's own: others may have filled the one that was shared."""
        self._shares_automaton, self._compiled.is_full = False, True
        self._matcher = self._compiled.compile_anew()
        self._matcher.consume_tokens(self._spelled.find_places(self._taken, is_first=True))

    def _read(self) -> Mask:
        mask = read_mask(self._matcher, self._spelled, is_first=not self._taken)
        mask[self._end_ids] = self._matcher.is_accepting() and not self._matcher.is_error()
        return mask

    def take(self, token_id: int) -> bool:
        """Go on by a token that may come next. False: no way goes on from it, so it is ruled out, and another is to be chosen."""
        place = self._spelled.find_place(token_id, is_first=not self._taken)
        if self.may_strand:
            further = self._matcher.deep_copy()
            further.consume_token(place)
            if not self._finds_way(token_id, further):
                self._rule_out(token_id)
                return False
        self._matcher.consume_token(place)
        self._mask, self._num_refused = None, 0
        self._taken.append(token_id)
        return True

    def _finds_way(self, token_id: int, further: LLMatcher) -> bool:
        """Whether a way goes on from a token. Where none is known, and none is found near by, one is hoped for."""
        if self._way is None:
            search = find_way(further, self._spelled, is_first=False, most_tried=MOST_TRIED_IN_STEP)
            self._way = search.way
            return not search.is_through
        is_on_way = self._way[:1] == [token_id]
        way = self._way[1:] if is_on_way else bend_way(further, self._spelled, self._way)
        if way is not None:
            self._way = way
        return way is not None

    def _rule_out(self, token_id: int) -> None:
        mask = self.look()
        mask[token_id] = False
        self._num_refused += 1
        if self._num_refused == _MOST_REFUSED:
            ends = mask[self._end_ids]
            mask[:] = False
            mask[(self._way or [])[:1]] = True
            mask[self._end_ids] = ends

    def _explain(self) -> PlanError:
        if self._matcher.is_error() and not is_dead_end(self._matcher):
            return self._compiled.refuse_as_complex(self._matcher)
        ids = list(self._taken)
        if self._num_refused:  # there are tokens, which lead to where there is none
            ids += find_way(self._matcher, self._spelled, is_first=not ids, most_tried=MOST_TRIED_AT_START).furthest
        wanted = self._compiled.say_wanted(self._spelled.write(ids))
        return PlanError(self._compiled.name, f"{wanted}, which no token of the vocabulary writes there", "", _CAN_WRITE)


class CompiledPattern:
    """What texts of one pattern begin with.

    Attributes:
        may_strand: Whether a token may come after which no other can: it may want letters that the vocabulary cannot write.
        is_full: Whether texts have filled the automaton that they share.
    """

    def __init__(self, name: str, config: GenerateConfig, spelled: SpelledVocabulary) -> None:
        """Compile it.

        Raises: PlanError: When it is none, or the vocabulary cannot write anything of it.
        """
        self.name, self.spelled, self._config, self.is_full = name, spelled, config, False
        keeps_to_letters = name in KEEPING_TO_LETTERS and spelled.letters is not None
        self.may_strand = not (spelled.has_all_bytes or keeps_to_letters)
        self.matcher = self.compile_anew()
        if self.matcher.is_error():
            raise PlanError(
                name, f"it cannot be followed ({_first_line(self.matcher.get_error())})", "", "Ask for a simpler one."
            )
        has_any = bool(read_mask(self.matcher, spelled, is_first=True).any())  # from here on, all copies know what comes first
        if self.matcher.is_error() and not is_dead_end(self.matcher):
            raise self.refuse_as_complex(self.matcher)
        self._way: list[int] | None = None
        if self.may_strand and has_any:
            search = find_way(self.matcher, spelled, is_first=True, most_tried=MOST_TRIED_AT_START)
            self._way, has_any = search.way, not search.is_through
            if search.way is None and name == "json_schema":
                check_schema_letters(config.json_schema, spelled.letters)
        if not has_any:
            raise self._explain()

    def compile_anew(self) -> LLMatcher:
        """An automaton of its own, at the start."""
        return self._compile(self.spelled.tokenizer, self.spelled.letters, self.spelled.regex)

    def begin(self, end_ids: Collection[int]) -> Pattern:
        """The pattern for another text."""
        return Pattern(self, end_ids, self._way)

    def refuse_as_complex(self, matcher: LLMatcher) -> PlanError:
        """The error of what takes too much to find out."""
        found = f"it is too complex ({_first_line(matcher.get_error())})"
        return PlanError(self.name, found, "", "Ask for less, or for shorter texts.")

    def say_wanted(self, text: bytes) -> str:
        """What may follow a text: where it stands, and letters."""
        letters = find_wanted(self._compile(make_byte_tokenizer(), None), text)
        known = self.spelled.letters or frozenset()
        letters = [letter for letter in letters if letter not in known] or letters
        wanted = say_letters(letters) if letters else "something"
        shown = text.decode(errors="replace")[-_SHOWN_CHARACTERS:]
        return f"after {shown!r} it wants {wanted}" if text else f"it begins with {wanted}"

    def _compile(self, tokenizer: LLTokenizer, letters: frozenset[str] | None, written: str | None = None) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        limits = LLParserLimits(max_lexer_states=_MOST_STATES, step_max_items=_MOST_ITEMS, verbose_errors=False)
        grammar = write_grammar(self._config, letters, written)
        size = len(grammar.encode())
        if size > _MOST_BYTES:
            found = f"it is too large: its grammar has {size:,} bytes, and at most {_MOST_BYTES:,} are followed"
            raise PlanError(self.name, found)
        return _run_with_room(LLMatcher, tokenizer, grammar, log_level=0, limits=limits)

    def _explain(self) -> PlanError:
        """Why there is no text."""
        free = self._compile(self.spelled.tokenizer, None)
        anything = self._compile(make_byte_tokenizer(), None)
        if not find_wanted(anything, b""):
            return PlanError(self.name, "no text but an empty one follows it", "", "Ask for a text.")
        wanted = self.say_wanted(
            self.spelled.write(find_way(free, self.spelled, is_first=True, most_tried=MOST_TRIED_AT_START).furthest)
        )
        return PlanError(self.name, f"the tokens of the vocabulary write no text of it: {wanted}", "", _CAN_WRITE)


class Patterns:
    """The compiled patterns of a vocabulary."""

    def __init__(self, spelled: SpelledVocabulary, end_ids: frozenset[int]) -> None:
        self._spelled, self._end_ids = spelled, end_ids
        self._compiled: OrderedDict[str, CompiledPattern] = OrderedDict()
        self._lock = threading.Lock()

    def begin(self, config: GenerateConfig) -> Pattern:
        """The pattern that a request asks for, at its start.

        Raises: PlanError: When it is none, or the vocabulary cannot write anything of it.
        """
        name = str(config.pattern_name)
        try:
            return self._find(name, config).begin(() if config.ignore_end else self._end_ids)
        except UnicodeEncodeError:
            raise PlanError(name, "it holds half a surrogate pair", "Unicode text") from None
        except RecursionError:
            raise PlanError(name, "it is nested too deeply", "", "Ask for a simpler one.") from None

    def _find(self, name: str, config: GenerateConfig) -> CompiledPattern:
        key = f"{name} {getattr(config, name)!r}"
        with self._lock:
            compiled = self._compiled.get(key)
            if compiled is not None and not compiled.is_full:
                self._compiled.move_to_end(key)
                return compiled
        compiled = CompiledPattern(name, config, self._spelled)
        with self._lock:
            self._compiled[key] = compiled
            while len(self._compiled) > _NUM_KEPT:
                self._compiled.popitem(last=False)
        return compiled


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
