"""A model of ours behind the interface of lm-evaluation-harness (https://github.com/EleutherAI/lm-evaluation-harness).

The harness asks for three things: the log-probability of a continuation after a context (`loglikelihood`), of a whole text
(`loglikelihood_rolling`), and text up to a stop (`generate_until`). Texts become tokens, and what does not fit a context is
cut, as the harness's own model for transformers does it (`hf`, right-padded batches, greedy unless a task samples): the same
weights score the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from lm_eval.api.model import TemplateLM

from whelp.base.errors import PlanError, WhelpError
from whelp.base.log import log
from whelp.evaluate.continuations import Continuation, ContinuationReader, Score, iter_windows, score_continuations

_DEFAULT_NEW_TOKENS = 256  # of the harness, where a task names none
_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # names of the same, in its order
_SAMPLING = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty")
_HARMLESS = {"until", "do_sample", "num_beams", "use_cache", "early_stopping", "pad_token_id", "max_length", *_LENGTHS}


class HarnessVocabulary(Protocol):
    """Text into ids."""

    @property
    def eos_id(self) -> int | None: ...
    @property
    def bos_id(self) -> int | None: ...
    def encode(self, text: str, *, allow_special: bool = False) -> npt.NDArray[np.integer]: ...
    def decode(self, ids: Sequence[int], *, skip_special: bool = True) -> str: ...


RenderChat = Callable[[Sequence[Mapping[str, str]], bool], str]
"""Turns (`role`, `content`), and whether the beginning of an answer follows -> the text that the model reads."""


@dataclass(frozen=True, kw_only=True)
class ChatTemplate:
    """The template by which questions become conversations: its source, whose it is, and what runs it."""

    source: str
    name: str
    render: RenderChat


@dataclass(frozen=True, kw_only=True)
class TextRequest:
    """A prompt to continue, and how: settings as generating names them."""

    prompt: list[int]
    settings: dict[str, Any]


class HarnessModel(TemplateLM):  # type: ignore[misc]  # the harness has no types
    """What the harness calls; one of these for one evaluation.

    Attributes:
        num_requests: How many were answered.
        num_shortened: How many had more context than the model can see, and lost its beginning.
    """

    def __init__(
        self,
        vocabulary: HarnessVocabulary,
        *,
        context_tokens: int,
        vocab_size: int,
        continue_texts: Callable[[list[TextRequest]], Iterable[str]],
        read_rows: Callable[[torch.Tensor], torch.Tensor] | None = None,
        make_reader: Callable[[int, int], ContinuationReader] | None = None,
        device: torch.device | str = "cpu",
        first_ids: Sequence[int] = (),
        template: ChatTemplate | None = None,
        on_progress: Callable[[str, int, int], object] = lambda *_: None,
    ) -> None:
        """Say how the model is reached.

        Args:
            continue_texts: The texts that requests give, in their order.
            read_rows, make_reader: As `score_continuations` takes them.
            first_ids: What the tokenizer puts before every text that does not begin with it.
            template: What `apply_chat_template` of the harness uses.
            on_progress: Told what is computed, how much of it is done, and how much there is.

        Raises:
            PlanError: When the vocabulary has no token to begin a text with.
        """
        super().__init__()
        start_id = vocabulary.eos_id if vocabulary.bos_id is None else vocabulary.bos_id
        if start_id is None:
            raise PlanError(
                "the vocabulary",
                "it has no end-of-text token",
                "one, to score the first token of a text after",
                "Choose a model whose tokenizer has an eos_token.",
            )
        self.vocabulary, self.context_tokens, self.vocab_size = vocabulary, context_tokens, vocab_size
        self.start_id, self.first_ids = start_id, list(first_ids)
        self.num_requests = self.num_shortened = 0
        self.template = template
        self._takes_system = True  # until the template has refused a system message
        self._continue_texts, self._on_progress = continue_texts, on_progress
        self._read_rows, self._make_reader, self._device = read_rows, make_reader, torch.device(device)

    @property
    def eot_token_id(self) -> int:
        """The id that ends a text."""
        return self.start_id if self.vocabulary.eos_id is None else self.vocabulary.eos_id

    @property
    def prefix_token_id(self) -> int:
        """The id that stands before a text without context."""
        return self.start_id

    @property
    def tokenizer_name(self) -> str:
        """Whose template it is; the harness keeps questions apart by it."""
        return "" if self.template is None else self.template.name

    def chat_template(self, chat_template: bool | str = False) -> str | None:
        """The source of the template; the harness puts it beside its results."""
        return None if self.template is None else self.template.source

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as text; without `add_generation_prompt` it ends within the last turn, which the model continues.

        A system message that the template refuses is left out, as the harness's own model does.

        Raises:
            TokenizerError: When the template refuses the rest.
        """
        assert self.template is not None, "the harness asks for a template only where there is one"
        turns = chat_history if self._takes_system else _leave_out_system(chat_history)
        try:
            text = self.template.render(turns, add_generation_prompt)
        except WhelpError:
            without = _leave_out_system(turns)
            if len(without) == len(turns):
                raise
            text = self.template.render(without, add_generation_prompt)
            self._takes_system = False
            log.warning("%s: its chat template takes no system message, so tasks are asked without theirs", self.template.name)
        return text if add_generation_prompt else _end_within(text, chat_history[-1]["content"])

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text; control tokens that are spelled out become themselves, as in transformers."""
        ids: list[int] = self.vocabulary.encode(string, allow_special=True).tolist()
        has_first = ids[: len(self.first_ids)] == self.first_ids
        return ids if has_first or add_special_tokens is False else [*self.first_ids, *ids]

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """(log-probability, whether it is what greedy decoding gives) of each (context, continuation)."""
        answers: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return answers

    def _loglikelihood_tokens(
        self, requests: list[tuple[tuple[str, str], list[int], list[int]]], **kwargs: Any
    ) -> list[tuple[float, bool]]:
        wanted = [Continuation(context=tuple(context), ids=tuple(ids)) for _, context, ids in requests]
        longest = max((len(each.ids) for each in wanted), default=0)
        if longest > self.context_tokens:
            raise PlanError(
                "the task",
                f"it scores a continuation of {longest:,} tokens",
                f"at most {self.context_tokens:,}, the model's context",
                "Choose another task, or a model of a longer context.",
            )
        self.num_shortened += sum(each.num_read > self.context_tokens for each in wanted)
        scores = self._score(wanted, "scoring continuations")
        answers = [(score.logprob, score.is_greedy) for score in scores]
        for (texts, _, _), answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood", texts, answer)
        self.num_requests += len(answers)
        return answers

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of each whole text, every token predicted once."""
        texts = [self.tok_encode(request.args[0]) for request in requests]
        windows = [list(iter_windows(ids, self.start_id, self.context_tokens)) for ids in texts]
        scores = iter(self._score([window for text in windows for window in text], "scoring texts"))
        answers = [sum(next(scores).logprob for _ in text) for text in windows]
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, answer)
        self.num_requests += len(answers)
        return answers

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Text after each context, up to a stop text, end-of-text, or as many tokens as the task allows."""
        wanted = [self._read_request(*request.args) for request in requests]
        answers = []
        for text in self._continue_texts(wanted):
            answers.append(text)
            self._on_progress("generating", len(answers), len(wanted))
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial("generate_until", request.args, answer)
        self.num_requests += len(answers)
        return answers

    def _read_request(self, context: str, options: Mapping[str, Any]) -> TextRequest:
        settings = read_generation(options, end_text=self.vocabulary.decode([self.eot_token_id], skip_special=False))
        room = self.context_tokens - settings["max_tokens"]
        if room < 1:
            raise PlanError(
                "the task",
                f"it asks for {settings['max_tokens']:,} new tokens",
                f"fewer than {self.context_tokens:,}, the model's context",
                "Lower generation_kwargs.max_gen_toks of the task.",
            )
        ids = self.tok_encode(context)
        self.num_shortened += len(ids) > room
        return TextRequest(prompt=ids[-room:] or [self.start_id], settings=settings)

    def _score(self, wanted: list[Continuation], title: str) -> list[Score]:
        num_done = 0

        def count(num_new: int) -> None:
            nonlocal num_done
            num_done += num_new
            self._on_progress(title, num_done, len(wanted))

        return score_continuations(
            wanted,
            context_tokens=self.context_tokens,
            vocab_size=self.vocab_size,
            read_rows=self._read_rows,
            make_reader=self._make_reader,
            device=self._device,
            on_done=count,
        )


def _leave_out_system(turns: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    return [turn for turn in turns if turn["role"] != "system"]


def _end_within(text: str, last: str) -> str:
    """A conversation up to the end of its last turn's words.   "a: Hi<end>", "Hi" -> "a: Hi" """
    place = text.rindex(last.strip())
    whole = last.lstrip()
    return text[: place + len(whole)] if text[place:].startswith(whole) else text[: place + len(last.strip())]


def read_generation(options: Mapping[str, Any], *, end_text: str) -> dict[str, Any]:
    """A task's `generation_kwargs` as settings of generating.

    >>> read_generation({"until": "Q:", "do_sample": False, "temperature": 0.7, "max_gen_toks": 8}, end_text="<end>")
    {'max_tokens': 8, 'stop': ['Q:', '<end>'], 'temperature': 0.0}

    Raises:
        PlanError: When it asks for something that generating does not have.
    """
    unknown = sorted(set(options) - _HARMLESS - set(_SAMPLING))
    if int(options.get("num_beams") or 1) > 1:
        unknown.append("num_beams")
    if unknown:
        raise PlanError("the task", f"its generation_kwargs have {', '.join(unknown)}", f"only {', '.join(_SAMPLING)}")
    until = options.get("until") or []
    stops = [*([until] if isinstance(until, str) else until), end_text]
    length = next((options[name] for name in _LENGTHS if options.get(name) is not None), _DEFAULT_NEW_TOKENS)
    settings: dict[str, Any] = {"max_tokens": int(length), "stop": [stop for stop in stops if stop]}
    settings |= {name: options[name] for name in _SAMPLING if options.get(name) is not None}
    settings["temperature"] = float(settings.get("temperature", 1.0 if options.get("do_sample") else 0.0))
    if options.get("do_sample") is False:
        settings["temperature"] = 0.0
    return settings
