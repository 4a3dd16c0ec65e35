"""The API as it goes over the wire."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from whelp.serve import ServeConfig, make_app

from .conftest import Serve
from .fakes import SAYING, FakeEngine, make_model


def read_events(response: httpx.Response) -> list[dict[str, Any]]:
    """The events of a stream, without the last, which says that it is the last."""
    assert response.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in response.text.split("\n\n") if line]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


def test_models(serve: Serve) -> None:
    """Every model is listed under its name, and can be asked for."""
    running = serve(make_model("first"), make_model("demo/second", context_tokens=99))
    listed = running.client.get("/v1/models").json()["data"]
    assert [(model["id"], model["object"], model["max_model_len"]) for model in listed] == [
        ("first", "model", 400),
        ("demo/second", "model", 99),
    ]
    assert running.client.get("/v1/models/demo/second").json() == listed[1]


def test_a_completion(serve: Serve) -> None:
    """Text, reason, counts; the model's name and print."""
    running = serve()
    body = running.post("/v1/completions", {"prompt": "Hello", "max_tokens": 10}).json()
    assert body["choices"] == [{"index": 0, "text": SAYING[:10], "logprobs": None, "finish_reason": "length"}]
    counts = {"prompt_tokens": 5, "completion_tokens": 10, "total_tokens": 15}
    assert body["usage"] == {**counts, "prompt_tokens_details": {"cached_tokens": 0}}
    assert (body["object"], body["model"], body["system_fingerprint"]) == ("text_completion", "fake", "print-fake")
    assert running.engine.asked[0][0] == list(b"Hello")


def test_what_a_request_says_reaches_the_engine(serve: Serve) -> None:
    """Every setting by its name in `GenerateConfig`."""
    running = serve()
    sent: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 7,
        "min_p": 0.1,
        "repetition_penalty": 1.2,
        "frequency_penalty": 0.3,
        "presence_penalty": -0.4,
        "prompt_lookup_tokens": 4,
        "draft_tokens": 3,
        "seed": 11,
    }
    body = {**sent, "prompt": "x", "stop": "zzz", "logit_bias": {"65": -100}, "logprobs": 2, "n": 3, "max_tokens": 4}
    assert len(running.post("/v1/completions", body).json()["choices"]) == 3
    _, settings, n = running.engine.asked[0]
    assert n == 3
    assert settings == {**sent, "stop": ["zzz"], "logit_bias": {65: -100.0}, "logprobs": 2, "max_tokens": 4}


def test_defaults_are_those_of_the_interface(serve: Serve) -> None:
    """Temperature 1, 16 tokens for a completion, another seed each time; null is the same as nothing."""
    running = serve()
    for _ in range(2):
        running.post("/v1/completions", {"prompt": "x", "temperature": None, "stop": None, "max_tokens": None})
    first, second = (settings for _, settings, _ in running.engine.asked)
    assert (first["temperature"], first["max_tokens"], first["stop"]) == (1.0, 16, [])
    assert first["seed"] != second["seed"]


def test_a_negative_seed_is_a_seed(serve: Serve) -> None:
    """OpenAI allows it; the engine gets a number from zero up."""
    running = serve()
    assert running.post("/v1/completions", {"prompt": "x", "seed": -3}).status_code == 200
    assert running.engine.asked[0][1]["seed"] >= 0


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("ab", [[97, 98]]),
        (["a", "b"], [[97], [98]]),
        ([97, 98], [[97, 98]]),
        ([[97], [98, 99]], [[97], [98, 99]]),
        ("", [[256]]),
    ],
)
def test_kinds_of_prompts(serve: Serve, prompt: Any, expected: list[list[int]]) -> None:
    """A text, texts, ids, lists of ids; an empty text starts a document. Choices are numbered prompt by prompt."""
    running = serve()
    body = running.post("/v1/completions", {"prompt": prompt, "max_tokens": 2, "n": 2}).json()
    assert [ids for ids, _, _ in running.engine.asked] == expected
    assert [choice["index"] for choice in body["choices"]] == list(range(2 * len(expected)))


def test_echo(serve: Serve) -> None:
    """The prompt comes first, streamed or not, also when it was given as ids."""
    running = serve()
    for prompt in ("Hello", list(b"Hello")):
        body = {"prompt": prompt, "max_tokens": 3, "echo": True}
        whole = running.post("/v1/completions", body).json()["choices"][0]["text"]
        streamed = read_events(running.post("/v1/completions", {**body, "stream": True}))
        assert whole == "".join(event["choices"][0]["text"] for event in streamed) == "Hello" + SAYING[:3]


def test_a_stream_says_what_the_whole_says(serve: Serve) -> None:
    """Joined by index, the pieces are the texts; each choice ends with its reason; counts come when asked for."""
    running = serve()
    body = {"prompt": "x", "max_tokens": 24, "n": 2, "stream": True}
    events = read_events(running.post("/v1/completions", {**body, "stream_options": {"include_usage": True}}))
    *chunks, last = events
    for index in range(2):
        own = [chunk["choices"][0] for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert "".join(choice["text"] for choice in own) == SAYING[:24]
        assert [choice["finish_reason"] for choice in own] == [None] * (len(own) - 1) + ["length"]
    assert last["choices"] == []
    assert last["usage"]["prompt_tokens"] == 1
    assert all(chunk["usage"] is None for chunk in chunks)
    assert all("usage" not in event for event in read_events(running.post("/v1/completions", body)))
    assert len({event["id"] for event in events}) == 1


def test_tokens_that_were_read_before_are_told(serve: Serve) -> None:
    """Once for each prompt, however many continuations it has; whole and streamed, and added up for Prometheus."""
    running = serve(make_model(engine=FakeEngine(num_cached=2)))
    body = {"prompt": ["abc", "abcd"], "max_tokens": 3, "n": 3}
    assert running.post("/v1/completions", body).json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    streamed = {**body, "stream": True, "stream_options": {"include_usage": True}}
    last = read_events(running.post("/v1/completions", streamed))[-1]
    assert last["usage"]["prompt_tokens_details"] == {"cached_tokens": 4}
    said = [{"role": "user", "content": "Hello"}]
    chat = running.post("/v1/chat/completions", {"messages": said, "max_tokens": 3}).json()
    assert chat["usage"]["prompt_tokens_details"] == {"cached_tokens": 2}
    assert 'whelp_cached_tokens_total{model="fake"} 10' in running.client.get("/metrics").text


def test_logprobs_of_a_completion(serve: Serve) -> None:
    """Tokens, their log probabilities, the likeliest, and where each begins; minus infinity is a number of JSON."""
    running = serve()
    body = {"prompt": "x", "max_tokens": 17, "logprobs": 2}
    found = running.post("/v1/completions", body).json()["choices"][0]["logprobs"]
    assert "".join(found["tokens"]) == SAYING[:17]
    assert found["token_logprobs"] == [pytest.approx(math.log(0.5))] * 17
    assert found["top_logprobs"][1] == {"t": pytest.approx(math.log(0.5)), "!": -9999.0}
    assert found["text_offset"] == list(range(17))


def test_logprobs_of_a_prompt(serve: Serve) -> None:
    """With echo, the prompt's tokens come first, the very first without a probability; streamed they are the same."""
    running = serve()
    body = {"prompt": "Hé", "max_tokens": 2, "logprobs": 1, "echo": True, "n": 2}
    half = pytest.approx(math.log(0.5))
    choices = running.post("/v1/completions", body).json()["choices"]
    assert running.engine.asked[0][1]["prompt_logprobs"] == 1
    for choice in choices:
        found = choice["logprobs"]
        assert choice["text"] == "Hé" + SAYING[:2]
        assert found["tokens"] == ["H", "\ufffd", "\ufffd", *SAYING[:2]]
        assert found["token_logprobs"] == [None, half, half, half, half]
        assert found["top_logprobs"][0] is None
        assert found["top_logprobs"][3] == {SAYING[0]: half}
        assert found["text_offset"] == [0, 1, 2, 2, 3]
    joined: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for event in read_events(running.post("/v1/completions", {**body, "stream": True})):
        choice = event["choices"][0]
        for name in joined if choice["index"] == 1 and choice["logprobs"] else ():
            joined[name] += choice["logprobs"][name]
    assert joined == choices[1]["logprobs"]


def test_a_prompt_alone_is_scored(serve: Serve) -> None:
    """No token is added; an empty text has none to score."""
    running = serve()
    body = {"prompt": "abc", "max_tokens": 0, "logprobs": 0, "echo": True}
    answer = running.post("/v1/completions", body).json()
    assert answer["choices"][0]["text"] == "abc"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert len(answer["choices"][0]["logprobs"]["tokens"]) == 3
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["total_tokens"]) == (3, 3)
    empty = running.post("/v1/completions", {**body, "prompt": ""}).json()["choices"][0]
    assert (empty["text"], empty["logprobs"]["tokens"]) == ("", [])


def test_logprobs_of_a_chat(serve: Serve) -> None:
    """The same in the other shape, with the bytes of each token."""
    running = serve()
    body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 3, "logprobs": True, "top_logprobs": 1}
    found = running.post("/v1/chat/completions", body).json()["choices"][0]["logprobs"]["content"]
    assert found[1] == {
        "token": "t",
        "logprob": pytest.approx(math.log(0.5)),
        "bytes": [116],
        "top_logprobs": [{"token": "t", "logprob": pytest.approx(math.log(0.5)), "bytes": [116]}],
    }


def test_a_chat_without_a_template(serve: Serve) -> None:
    """The plain form is the prompt, the next `User:` ends the reply, the space before the reply is left out."""
    running = serve()
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "H"}, {"type": "text", "text": "i"}]},
        {"role": "assistant", "content": "Yes?", "refusal": None},
        {"role": "user", "content": "Well"},
    ]
    body = running.post("/v1/chat/completions", {"messages": messages, "max_tokens": 5, "stop": ["§"]}).json()
    assert body["choices"][0]["message"] == {"role": "assistant", "content": SAYING[1:5], "refusal": None}
    prompt, settings, _ = running.engine.asked[0]
    assert bytes(prompt).decode() == "Be brief.\n\nUser: Hi\nAssistant: Yes?\nUser: Well\nAssistant:"
    assert settings["stop"] == ["§", "\nUser:"]


def test_a_chat_with_a_template(serve: Serve) -> None:
    """The template writes the prompt, nothing is stripped, and no stop text is added."""
    running = serve(make_model(encode_chat=lambda messages: list(f"<{messages[-1]['content']}>".encode())))
    body = running.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}).json()
    assert body["choices"][0]["message"]["content"] == SAYING[:5]
    prompt, settings, _ = running.engine.asked[0]
    assert (bytes(prompt), settings["stop"]) == (b"<Hi>", [])


def test_a_chat_stream(serve: Serve) -> None:
    """The role first, then the text, then the reason with an empty delta."""
    running = serve()
    body = {"messages": [{"role": "user", "content": "x"}], "max_completion_tokens": 6, "max_tokens": 3, "stream": True}
    deltas = [event["choices"][0] for event in read_events(running.post("/v1/chat/completions", body))]
    assert deltas[0]["delta"] == {"role": "assistant", "content": ""}
    assert "".join(choice["delta"].get("content", "") for choice in deltas) == SAYING[1:6]
    assert (deltas[-1]["delta"], deltas[-1]["finish_reason"]) == ({}, "length")


def test_a_chat_fills_what_is_left_of_the_context(serve: Serve) -> None:
    """Without a limit of its own a reply may be as long as there is room."""
    running = serve(make_model(context_tokens=50))
    running.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}]})
    prompt, settings, _ = running.engine.asked[0]
    assert settings["max_tokens"] == 50 - len(prompt)


def test_stop_ends_with_its_reason(serve: Serve) -> None:
    """What the engine says is the reason is the reason."""
    body = serve().post("/v1/completions", {"prompt": "x", "max_tokens": 50, "stop": ["says"]}).json()
    assert body["choices"][0]["finish_reason"] == "stop"


def test_the_model_is_chosen_by_name(serve: Serve) -> None:
    """Without a name it is the first; a name that nobody has is told with those that there are."""
    running = serve(make_model("one"), make_model("two"))
    assert running.post("/v1/completions", {"prompt": "x"}).json()["model"] == "one"
    assert running.post("/v1/completions", {"prompt": "x", "model": "two"}).json()["model"] == "two"
    wrong = running.post("/v1/completions", {"prompt": "x", "model": "three"})
    assert wrong.status_code == 404
    assert wrong.json()["error"] == {
        "message": "There is no model 'three'. Served here: one, two.",
        "type": "not_found_error",
        "param": "model",
        "code": "model_not_found",
    }


def test_a_broken_engine_is_an_error_of_the_server(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """500 in OpenAI's shape, nothing of the inside in it, the cause in the log; the server goes on."""
    engine = FakeEngine(error=ValueError("secret inside"))
    running = serve(make_model(engine=engine))
    broken = running.post("/v1/completions", {"prompt": "x"})
    assert broken.status_code == 500
    assert broken.json()["error"]["type"] == "server_error"
    assert "secret" not in broken.text
    assert "secret inside" in caplog.text
    engine.error = None
    assert running.post("/v1/completions", {"prompt": "x"}).status_code == 200


def test_whoever_has_a_whole_answer_finds_it_counted_and_its_place_free() -> None:
    """Also who asks in the moment in which the answer's last byte leaves, before the server does anything else."""
    model = make_model()
    app = make_app([model], ServeConfig(max_rows=1, max_waiting=0), version="test")

    async def ask(
        method: str, path: str, body: Any = None, *, then: Callable[[], Awaitable[None]] | None = None
    ) -> tuple[int, str]:
        requests = iter([{"type": "http.request", "body": json.dumps(body).encode()}])
        status, text = 0, b""

        async def receive() -> Any:
            for request in requests:
                return request
            await asyncio.Event().wait()  # the client stays

        async def send(message: Any) -> None:
            nonlocal status, text
            status = message.get("status", status)
            text += message.get("body", b"")
            if then is not None and message["type"] == "http.response.body" and not message.get("more_body"):
                await then()

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "query_string": b"", "root_path": ""}
        await app(scope, receive, send)
        return status, text.decode()

    async def ask_at_the_last_byte(is_stream: bool) -> tuple[str, int]:
        seen = []

        async def then() -> None:
            seen.append((await ask("GET", "/metrics"))[1])
            seen.append((await ask("POST", "/v1/completions", {"prompt": "abc", "max_tokens": 2}))[0])

        body = {"prompt": "abc", "max_tokens": 7, "stream": is_stream}
        assert (await ask("POST", "/v1/completions", body, then=then))[0] == 200
        return seen[0], seen[1]

    for is_stream, num_requests, num_tokens in ((False, 1, 7), (True, 3, 16)):
        text, status = asyncio.run(ask_at_the_last_byte(is_stream))
        assert f'whelp_requests_total{{path="/v1/completions",status="200"}} {num_requests}' in text.splitlines()
        assert f'whelp_generated_tokens_total{{model="fake"}} {num_tokens}' in text.splitlines()
        assert status == 200


def test_a_place_is_free_however_an_answer_is_broken_off() -> None:
    """Whoever runs it may cancel it, and once more while it ends."""
    engine = FakeEngine(seconds=0.01)
    app = make_app([make_model(engine=engine)], ServeConfig(max_rows=1, max_waiting=0), version="test")
    sent: list[int] = []

    async def ask(hold: asyncio.Event | None, begun: asyncio.Event) -> None:
        requests = iter([{"type": "http.request", "body": b'{"prompt": "abc", "max_tokens": 400, "stream": true}'}])

        async def receive() -> Any:
            for request in requests:
                return request
            await asyncio.Event().wait()  # the client stays

        async def send(message: Any) -> None:
            sent.append(message.get("status", 0))
            begun.set()
            if hold is None or message["type"] != "http.response.body":
                return
            while not hold.is_set():  # a connection that ends slowly
                with contextlib.suppress(asyncio.CancelledError):
                    await hold.wait()
            raise asyncio.CancelledError

        headers = [(b"host", b"localhost"), (b"content-type", b"application/json")]
        scope = {"type": "http", "method": "POST", "path": "/v1/completions", "headers": headers, "query_string": b""}
        await app({**scope, "root_path": ""}, receive, send)

    async def run() -> None:
        hold, begun = asyncio.Event(), asyncio.Event()
        task = asyncio.create_task(ask(hold, begun))
        await begun.wait()
        while engine.num_running and len(sent) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        hold.set()
        await asyncio.wait({task})
        again = asyncio.Event()
        other = asyncio.create_task(ask(None, again))
        await again.wait()
        other.cancel()
        await asyncio.wait({other})

    asyncio.run(run())
    assert [status for status in sent if status] == [200, 200]


def test_metrics_count(serve: Serve) -> None:
    """Requests by path and status, tokens by model, as Prometheus reads them."""
    running = serve()
    running.post("/v1/completions", {"prompt": "abc", "max_tokens": 7})
    running.post("/v1/completions", {})
    running.client.get("/nothing/here")
    text = running.client.get("/metrics").text
    for line in (
        'whelp_requests_total{path="/v1/completions",status="200"} 1',
        'whelp_requests_total{path="/v1/completions",status="400"} 1',
        'whelp_requests_total{path="other",status="404"} 1',
        'whelp_prompt_tokens_total{model="fake"} 3',
        'whelp_generated_tokens_total{model="fake"} 7',
        'whelp_running_texts{model="fake"} 0',
        "whelp_first_token_seconds_count 1",
    ):
        assert line in text.splitlines()
    assert running.client.get("/health").json() == {"status": "ok", "steps": [None], "taken_up": 0, "failed": 0}


def test_a_server_without_a_model_says_so(serve: Serve) -> None:
    """A run that has no checkpoint yet."""
    answer = serve(has_model=False).post("/v1/completions", {"prompt": "x"})
    assert answer.status_code == 404
    assert "this run has no checkpoint" in answer.json()["error"]["message"]
