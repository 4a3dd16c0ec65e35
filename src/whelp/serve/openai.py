"""The OpenAI-compatible part: models, completions, chats."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from whelp.base.errors import MissingExtraError, WhelpError
from whelp.serve.admission import Workplace
from whelp.serve.answers import LAST_EVENT, Answer, ChatAnswer, CompletionAnswer, Echo, to_event
from whelp.serve.body import read_body
from whelp.serve.errors import ApiError
from whelp.serve.guards import Receive, Scope, Send
from whelp.serve.interfaces import Generation, Piece, ServedModel
from whelp.serve.parameters import DEFAULT_COMPLETION_TOKENS, chat_schema, completion_schema
from whelp.serve.patterns import AskedPattern, read_pattern
from whelp.serve.plain_chat import PLAIN_STOPS, render_plain
from whelp.serve.tools import AskedChat, read_chat

_LAST_WORD_SECONDS = 5.0  # for telling a client, that may not be reading, why its stream ends
_PLAIN = (
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "repetition_penalty",
    "frequency_penalty",
    "presence_penalty",
    "prompt_lookup_tokens",
    "draft_tokens",
)


class OpenAI:
    """Endpoints below /v1."""

    def __init__(self, workplace: Workplace) -> None:
        self.workplace = workplace
        self._completion_schema = completion_schema(workplace.config)
        self._chat_schema = chat_schema(workplace.config)

    async def models(self, request: Request) -> Response:
        """GET /v1/models"""
        return JSONResponse({"object": "list", "data": [_describe(model) for model in self.workplace.models.values()]})

    async def model(self, request: Request) -> Response:
        """GET /v1/models/{name}"""
        return JSONResponse(_describe(self.workplace.find_model(request.path_params["name"])))

    async def completions(self, request: Request) -> Response:
        """POST /v1/completions"""
        body = await read_body(request, self._completion_schema, self.workplace.config)
        model = self.workplace.find_model(body.get("model"))
        prompts = _split_prompts(body["prompt"])
        pattern = read_pattern(body)
        settings = self._settings(body, model, pattern)
        settings["max_tokens"] = int(body.get("max_tokens", DEFAULT_COMPLETION_TOKENS))
        settings["logprobs"] = _maybe_int(body.get("logprobs"))
        if body.get("echo"):
            settings["prompt_logprobs"] = settings["logprobs"]
        encoded = await asyncio.to_thread(_encode_all, model, prompts)
        n = int(body.get("n", 1))
        echoes = [
            _echo(model, prompt, ids) if body.get("echo") else Echo()
            for prompt, ids in zip(prompts, encoded, strict=True)
            for _ in range(n)
        ]

        def make_answer(**head: Any) -> Answer:
            return CompletionAnswer(echoes=echoes, with_logprobs="logprobs" in body, **head)

        return await self._respond(model, encoded, settings, pattern, body, n, "cmpl", make_answer)

    async def chat(self, request: Request) -> Response:
        """POST /v1/chat/completions"""
        body = await read_body(request, self._chat_schema, self.workplace.config)
        model = self.workplace.find_model(body.get("model"))
        if body.get("top_logprobs") and not body.get("logprobs"):
            message = "top_logprobs is set, but logprobs is not true."
            raise ApiError(400, message, code="invalid_value", param="top_logprobs")
        asked, ids = await asyncio.to_thread(_read_and_encode, body, model)
        settings = self._settings(body, model, asked.pattern)
        must_cut = model.encode_chat is None and asked.pattern is None  # else the pattern says where the text begins and ends
        if must_cut:
            settings["stop"] = [*settings["stop"], *PLAIN_STOPS]
        left = max(1, min(model.context_tokens - len(ids), self.workplace.config.max_tokens))
        settings["max_tokens"] = int(body.get("max_completion_tokens", body.get("max_tokens", left)))
        settings["logprobs"] = int(body.get("top_logprobs", 0)) if body.get("logprobs") else None
        n = int(body.get("n", 1))

        def make_answer(**head: Any) -> Answer:
            replies = [asked.make_reply(must_strip=must_cut) for _ in range(n)]
            return ChatAnswer(replies=replies, with_logprobs=bool(body.get("logprobs")), **head)

        return await self._respond(model, [ids], settings, asked.pattern, body, n, "chatcmpl", make_answer)

    def _settings(self, body: Mapping[str, Any], model: ServedModel, pattern: AskedPattern | None) -> dict[str, Any]:
        stop = body.get("stop", [])
        bias = {int(token_id): float(value) for token_id, value in body.get("logit_bias", {}).items()}
        beyond = [token_id for token_id in bias if token_id >= model.vocabulary.size]
        if beyond:
            message = f"logit_bias names id {beyond[0]}, but the ids of {model.id} are 0 to {model.vocabulary.size - 1}."
            raise ApiError(400, message, code="invalid_value", param="logit_bias")
        seed = int(body["seed"]) % (1 << 63) if "seed" in body else secrets.randbits(48)
        settings = {"temperature": 1.0, **{name: body[name] for name in _PLAIN if name in body}}
        stops = [stop] if isinstance(stop, str) else list(stop)
        if pattern is not None:
            settings[pattern.setting] = pattern.value
        return {**settings, "logit_bias": bias, "stop": stops, "seed": seed}

    async def _respond(
        self,
        model: ServedModel,
        prompts: Sequence[Sequence[int]],
        settings: Mapping[str, Any],
        pattern: AskedPattern | None,
        body: Mapping[str, Any],
        n: int,
        prefix: str,
        make_answer: Callable[..., Answer],
    ) -> Response:
        for ids in prompts:
            if len(ids) >= model.context_tokens:
                message = (
                    f"The prompt has {len(ids):,} tokens, but at most {model.context_tokens - 1:,} are allowed: "
                    f"{model.id} reads {model.context_tokens:,}, and the answer needs one. Shorten it."
                )
                param = "messages" if "messages" in body else "prompt"
                raise ApiError(400, message, code="context_length_exceeded", param=param)
        answer = make_answer(
            id=f"{prefix}-{secrets.token_hex(12)}",
            created=int(time.time()),
            model=model.id,
            fingerprint=model.fingerprint,
            prompt_tokens=sum(map(len, prompts)),
            with_usage=bool(body.get("stream") and body.get("stream_options", {}).get("include_usage")),
        )
        with ExitStack() as stack:
            stack.enter_context(self.workplace.admit(model, len(prompts) * n))
            generations: list[Generation] = []
            stack.callback(_cancel_all, generations)

            def submit() -> None:
                for ids in prompts:
                    generations.extend(model.engine.submit(ids, settings, n=n))

            try:
                if pattern is not None:
                    await asyncio.get_running_loop().run_in_executor(self.workplace.compiling, submit)
                else:
                    submit()
            except WhelpError as error:
                raise _explain(error, pattern) from None
            self.workplace.stats.prompt_tokens[model.id] += answer.prompt_tokens
            is_stream = bool(body.get("stream"))
            return GeneratingResponse(self.workplace, model, generations, pattern, answer, is_stream, stack.pop_all())


class GeneratingResponse(Response):
    """An answer that is still being made. When the client goes away, or time is up, the work ends."""

    def __init__(
        self,
        workplace: Workplace,
        model: ServedModel,
        generations: Sequence[Generation],
        pattern: AskedPattern | None,
        answer: Answer,
        is_stream: bool,
        stack: ExitStack,
    ) -> None:
        super().__init__()
        self.workplace, self.model, self.generations, self.pattern = workplace, model, generations, pattern
        self.answer, self.is_stream, self.stack = answer, is_stream, stack
        self._has_started = self._is_settled = False
        self._begun: set[int] = set()
        self._started = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        work = asyncio.create_task(self._work(send))
        watch = asyncio.create_task(_wait_for_disconnect(receive))
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                await work
            else:
                self.workplace.stats.num_disconnects += 1
        finally:
            for task in (work, watch):
                task.cancel()
            try:
                await asyncio.gather(work, watch, return_exceptions=True)
            finally:  # also when whoever runs this is cancelled again
                self._settle()

    def _settle(self) -> None:
        """Make room for other texts and count the tokens, once."""
        if not self._is_settled:
            self._is_settled = True
            self.stack.close()
            self.workplace.stats.generated_tokens[self.model.id] += self.answer.completion_tokens

    async def _work(self, send: Send) -> None:
        seconds = self.workplace.config.request_seconds
        try:
            async with asyncio.timeout(seconds):
                await (self._stream(send) if self.is_stream else self._send_whole(send))
        except TimeoutError:
            added = self.answer.completion_tokens
            message = f"The answer was not ready within {seconds:g} seconds: {added:,} tokens came in that time. Ask for fewer."
            error = ApiError(504, message, code="timeout")
            if not self._has_started:
                raise error from None
            async with asyncio.timeout(_LAST_WORD_SECONDS):
                await self._send_last(send, to_event(error.to_dict()) + LAST_EVENT)

    async def _send_whole(self, send: Send) -> None:
        async for index, piece in self._iter_pieces():
            self._take(index, piece)
        self._check_whole()
        body = json.dumps(self.answer.whole(), ensure_ascii=False).encode()
        self._has_started = True
        await _send_head(send, "application/json", len(body))
        await self._send_last(send, body)

    async def _stream(self, send: Send) -> None:
        try:
            async for index, piece in self._iter_pieces():
                if not self._has_started:
                    self._has_started = True
                    await _send_head(send, "text/event-stream; charset=utf-8", None)
                    await _send_more(send, b"".join(map(to_event, self.answer.start())))
                await _send_more(send, b"".join(map(to_event, self._take(index, piece))))
            self._check_whole()
        except ApiError as error:
            if not self._has_started:
                raise
            await self._send_last(send, to_event(error.to_dict()) + LAST_EVENT)
            return
        last = self.answer.last()
        await self._send_last(send, (to_event(last) if last is not None else b"") + LAST_EVENT)

    async def _send_last(self, send: Send, body: bytes) -> None:
        self._settle()  # first: whoever has the whole answer may ask again at once
        await send({"type": "http.response.body", "body": body})

    def _take(self, index: int, piece: Piece | None) -> list[dict[str, Any]]:
        """Add a piece to the answer, or end a choice; the events that tell it."""
        generation, events = self.generations[index], []
        if index not in self._begun:
            self._begun.add(index)
            if not generation.index:  # the others share the prompt, which counts once
                self.answer.cached_tokens += generation.cached_tokens
                self.workplace.stats.cached_tokens[self.model.id] += generation.cached_tokens
            events += self.answer.begin(index, generation.prompt_logprobs)
        if piece is not None:
            return [*events, *self.answer.add(index, piece)]
        return [*events, *self.answer.finish(index, generation.finish_reason)]

    async def _iter_pieces(self) -> Any:
        is_first = True
        try:
            async for entry in self.workplace.iter_pieces(self.generations):
                if is_first:
                    self.workplace.stats.first_token_seconds.add(time.monotonic() - self._started)
                    is_first = False
                yield entry
        except WhelpError as error:  # of one of the texts
            raise _explain(error, self.pattern) from None

    def _check_whole(self) -> None:
        if any(choice.finish_reason == "cancelled" for choice in self.answer.choices):
            raise ApiError(503, "The server is ending; the answer is not whole.", code="ending", headers={"retry-after": "5"})


def _explain(error: WhelpError, pattern: AskedPattern | None) -> ApiError:
    """What is wrong with a text, in the words of the request."""
    message = str(error) if pattern is None else pattern.explain(error)
    if isinstance(error, MissingExtraError):
        return ApiError(501, message, code="not_installed", param=None if pattern is None else pattern.place)
    is_of_pattern = pattern is not None and error.where == pattern.setting
    return ApiError(400, message, code="invalid_value", param=pattern.place if pattern and is_of_pattern else None)


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _send_head(send: Send, kind: str, length: int | None) -> None:
    headers = [(b"content-type", kind.encode()), (b"cache-control", b"no-store")]
    if length is not None:
        headers.append((b"content-length", str(length).encode()))
    await send({"type": "http.response.start", "status": 200, "headers": headers})


async def _send_more(send: Send, body: bytes) -> None:
    if body:
        await send({"type": "http.response.body", "body": body, "more_body": True})


def _cancel_all(generations: Sequence[Generation]) -> None:
    for generation in generations:
        if generation.finish_reason is None:
            generation.cancel()


def _describe(model: ServedModel) -> dict[str, Any]:
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "whelp",
        "max_model_len": model.context_tokens,
    }


def _split_prompts(prompt: Any) -> list[Any]:
    """One text or list of ids for each prompt."""
    return prompt if isinstance(prompt, list) and not isinstance(prompt[0], (int, float)) else [prompt]


def _encode_all(model: ServedModel, prompts: Sequence[Any]) -> list[list[int]]:
    return [_encode(model, prompt) for prompt in prompts]


def _encode(model: ServedModel, prompt: Any) -> list[int]:
    """Ids of a prompt; an empty text starts from end-of-text, as a new document does."""
    vocabulary = model.vocabulary
    if isinstance(prompt, str):
        ids = _encode_text(model, prompt, param="prompt")
        if not ids and vocabulary.eos_id is not None:
            ids = [vocabulary.eos_id]
        if not ids:
            raise ApiError(400, "The prompt is empty, but at least one token is needed.", code="invalid_value", param="prompt")
        return ids
    wrong = next((token_id for token_id in prompt if token_id >= vocabulary.size), None)
    if wrong is not None:
        message = f"prompt holds id {wrong}, but the ids of {model.id} are 0 to {vocabulary.size - 1}."
        raise ApiError(400, message, code="invalid_value", param="prompt")
    return [int(token_id) for token_id in prompt]


def _read_and_encode(body: Mapping[str, Any], model: ServedModel) -> tuple[AskedChat, list[int]]:
    """What a request for a reply asks for, and the ids of its prompt."""
    try:
        asked = read_chat(body, model)
        return asked, _encode_chat(model, asked)
    except RecursionError:  # of what describes functions, or was called
        raise ApiError(400, "The body is nested too deeply.", code="invalid_value", param="tools") from None


def _encode_chat(model: ServedModel, asked: AskedChat) -> list[int]:
    if model.encode_chat is None:
        return _encode_text(model, render_plain(asked.messages), param="messages")
    try:
        return model.encode_chat(asked.messages, **asked.template_values)
    except MissingExtraError as error:
        raise ApiError(501, str(error), code="not_installed", param="messages") from None
    except WhelpError as error:
        raise ApiError(400, str(error), code="invalid_value", param="messages") from None


def _encode_text(model: ServedModel, text: str, *, param: str) -> list[int]:
    try:
        ids: list[int] = model.vocabulary.encode(text).tolist()
    except WhelpError as error:
        raise ApiError(400, str(error), code="invalid_value", param=param) from None
    return ids


def _echo(model: ServedModel, prompt: Any, ids: Sequence[int]) -> Echo:
    first = model.vocabulary.decode_bytes(ids[:1], skip_special=False)
    if isinstance(prompt, str):
        return Echo(prompt, first)
    return Echo(model.vocabulary.decode_bytes(ids, skip_special=False).decode(errors="replace"), first)


def _maybe_int(value: float | None) -> int | None:
    return None if value is None else int(value)
