"""Every limit: its status, and a message that says what was found and what is allowed."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import Any

import httpx
import pytest

from waiting import wait_until

from .conftest import Running, Serve
from .fakes import make_model


def explain(answer: httpx.Response, status: int) -> str:
    """The message of an error of this status, in OpenAI's shape."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return str(error["message"])


@pytest.mark.parametrize(
    ("body", "message", "param"),
    [
        ({}, "prompt is missing.", "prompt"),
        ([], "the body is a list, but an object is expected.", None),
        (
            {"prompt": 3},
            "prompt is 3, but expected text or a list of texts or a list of ids or a list of lists of ids.",
            "prompt",
        ),
        ({"prompt": []}, "prompt has 0 entries, but at least 1 is expected.", "prompt"),
        ({"prompt": ["a", 1]}, "prompt[1] is 1, but text is expected.", "prompt[1]"),
        ({"prompt": [257]}, "prompt holds id 257, but the ids of fake are 0 to 256.", "prompt"),
        ({"prompt": "x", "max_tokens": -1}, "max_tokens is -1, but at least 0 is expected.", "max_tokens"),
        ({"prompt": "x", "max_tokens": 4097}, "max_tokens is 4097, but at most 4096 is allowed.", "max_tokens"),
        ({"prompt": "x", "max_tokens": True}, "max_tokens is true, but expected a whole number or null.", "max_tokens"),
        ({"prompt": "x", "temperature": 2.5}, "temperature is 2.5, but at most 2 is allowed.", "temperature"),
        ({"prompt": "x", "temperature": 1e999}, "temperature is inf, but expected a number or null.", "temperature"),
        ({"prompt": "x", "temprature": 1}, "unknown parameter temprature. Did you mean temperature?", "temprature"),
        ({"prompt": "x", "n": 17}, "n is 17, but at most 16 is allowed.", "n"),
        ({"prompt": "x", "stop": ["a"] * 17}, "stop has 17 entries, but at most 16 are allowed.", "stop"),
        ({"prompt": "x", "logprobs": 21}, "logprobs is 21, but at most 20 is allowed.", "logprobs"),
        ({"prompt": "x", "best_of": 2}, "best_of is 2. Only 1 is possible.", "best_of"),
        (
            {"prompt": "x", "logit_bias": {"a": 1}},
            "logit_bias.a is 'a', but expected a token id, in digits.",
            "logit_bias.a",
        ),
        (
            {"prompt": "x", "logit_bias": {"257": 1}},
            "logit_bias names id 257, but the ids of fake are 0 to 256.",
            "logit_bias",
        ),
    ],
)
def test_wrong_values_of_a_completion(serve: Serve, body: Any, message: str, param: str | None) -> None:
    """400, where it is wrong, what was found and what was expected."""
    answer = serve().client.post("/v1/completions", content=_dump(body), headers={"content-type": "application/json"})
    assert explain(answer, 400) == message
    assert answer.json()["error"]["param"] == param


def _dump(body: Any) -> bytes:
    return json.dumps(body).replace("Infinity", "1e999").encode()


TOOL = {"type": "function", "function": {"name": "f"}}
CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"messages": []}, "messages has 0 entries, but at least 1 is expected."),
        ({"messages": [{"role": "user"}]}, "messages[0].content is missing."),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages[0] is given, but fake has no chat template. Ask"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role is 'wizard', but expected one of 'system', "),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content is missing."),
        (
            {"messages": [{"role": "user", "content": "x", "tool_calls": [CALL]}]},
            "messages[0].tool_calls is there, but the role is 'user': the assistant alone calls functions.",
        ),
        (
            {"messages": [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": "[1"}}]}]},
            "messages[0].tool_calls[0].function.arguments is no JSON object.",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "messages[0].content[0].type is 'image_url'. Only",
        ),
        ({"tools": [{}]}, "tools[0].type is missing."),
        (
            {"tools": [{"type": "retrieval", "function": {"name": "f"}}]},
            "tools[0].type is 'retrieval'. Only functions are possible.",
        ),
        ({"tools": [TOOL, TOOL]}, "tools describes 'f' twice."),
        (
            {"tools": [TOOL]},
            "tools is given, but fake has no chat template. Ask without tools, or for JSON with response_format.",
        ),
        (
            {"tools": [{"type": "function", "function": {"name": "f f"}}]},
            "tools[0].function.name is 'f f', but expected a name of",
        ),
        ({"tool_choice": "required"}, "tool_choice asks for a call, but tools describes no function."),
        (
            {"tools": [TOOL], "tool_choice": "sometimes"},
            "tool_choice is 'sometimes', but expected 'none' or 'auto' or 'required' or",
        ),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}},
            "tool_choice names 'g', but tools describes 'f'.",
        ),
        ({"response_format": {"type": "xml"}}, "response_format.type is 'xml'. text, json_object or json_schema."),
        ({"response_format": {"type": "json_schema"}}, "response_format.json_schema is missing: it holds the schema that"),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a"}}},
            "response_format.json_schema.schema is missing.",
        ),
        (
            {"structured_outputs": {"regexp": "a"}},
            "unknown parameter structured_outputs.regexp. Did you mean structured_outputs.regex?",
        ),
        ({"structured_outputs": {"choice": []}}, "structured_outputs.choice has 0 entries, but at least 1 is expected."),
        ({"guided_json": "{"}, "guided_json is not JSON (Expecting property name enclosed in double quotes"),
        ({"guided_json": "[]"}, "guided_json is no JSON schema: an object is expected."),
        (
            {"guided_regex": "a", "response_format": {"type": "json_object"}},
            "response_format and guided_regex are given, but a text follows one pattern.",
        ),
        ({"modalities": ["text", "audio"]}, "modalities is a list. Only text is possible."),
        ({"top_logprobs": 3}, "top_logprobs is set, but logprobs is not true."),
        ({"stream_options": {"usage": True}}, "unknown parameter stream_options.usage."),
    ],
)
def test_wrong_values_of_a_chat(serve: Serve, change: dict[str, Any], message: str) -> None:
    """The same for conversations."""
    body = {"messages": [{"role": "user", "content": "x"}], **change}
    assert explain(serve().post("/v1/chat/completions", body), 400).startswith(message)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "The body is not JSON (line 1, column 2: Expecting property name"),
        (b"", "The body is not JSON (line 1, column 1"),
        (b'{"prompt": "\xff"}', "The body is not UTF-8 (byte 12)."),
        (b'{"prompt": "x", "seed": NaN}', "The body is not JSON (NaN is no number of JSON)."),
        (b"[" * 100_000, "The body is nested too deeply."),
        (b'{"prompt": "\\ud800"}', "text: half a surrogate pair, but expected Unicode text."),
        (b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}", "seed is inf, but expected a whole number or null."),
    ],
)
def test_bodies_that_are_no_json(serve: Serve, content: bytes, message: str) -> None:
    """400 for what cannot be read, with the place."""
    answer = serve().client.post("/v1/completions", content=content, headers={"content-type": "application/json"})
    assert explain(answer, 400).startswith(message)


def test_a_body_of_another_kind(serve: Serve) -> None:
    """415, with the header to send."""
    answer = serve().client.post("/v1/completions", content=b"{}", headers={"content-type": "text/plain"})
    assert explain(answer, 415).startswith("The body is 'text/plain', but application/json is expected")


def test_a_prompt_that_is_too_long(serve: Serve) -> None:
    """400 with both numbers, for texts, ids and conversations; one that just fits is answered."""
    running = serve(make_model(context_tokens=20))
    for prompt in ("x" * 20, [1] * 20):
        message = explain(running.post("/v1/completions", {"prompt": prompt}), 400)
        assert message.startswith("The prompt has 20 tokens, but at most 19 are allowed: fake reads 20")
    long = running.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "x" * 50}]})
    assert "The prompt has 67 tokens, but at most 19 are allowed" in explain(long, 400)
    assert (long.json()["error"]["param"], long.json()["error"]["code"]) == ("messages", "context_length_exceeded")
    assert running.post("/v1/completions", {"prompt": "x" * 19}).status_code == 200


def test_a_body_that_is_too_large(serve: Serve) -> None:
    """413 with both numbers, whether its length was declared or not; the connection's other end reads it."""
    running = serve(max_body_bytes=2000)
    declared = running.post("/v1/completions", {"prompt": "x" * 5000})
    assert explain(declared, 413) == "The body has 5,013 bytes, but at most 2,000 are allowed."
    chunks = (b"x" * 500 for _ in range(10))
    streamed = running.client.post("/v1/completions", content=chunks, headers={"content-type": "application/json"})
    assert explain(streamed, 413) == "The body has more than 2,000 bytes, but at most 2,000 are allowed."
    huge = running.post("/v1/completions", {"prompt": "x" * 5_000_000})
    assert explain(huge, 413) == "The body has 5,000,013 bytes, but at most 2,000 are allowed."


def test_too_many_texts(serve: Serve) -> None:
    """429 with Retry-After while others run; answered again when they have ended. More than ever fit is a 400."""
    running = serve(make_model(seconds=1.0), max_rows=2, max_waiting=1)
    streams = [_start_stream(running) for _ in range(3)]
    answer = running.post("/v1/completions", {"prompt": "x"})
    assert explain(answer, 429) == (
        "3 texts are running or waiting, and the request asks for 1 more, but at most 3 are allowed at a time. "
        "Try again in a moment."
    )
    assert int(answer.headers["retry-after"]) >= 1
    for stream in streams:
        stream.close()
    running.engine.wait_until_idle()
    assert running.post_when_free("/v1/completions", {"prompt": "x", "max_tokens": 1}).status_code == 200
    never = running.post("/v1/completions", {"prompt": "x", "n": 4})
    assert explain(never, 400) == "The request asks for 4 texts, but at most 3 are allowed (prompts times n)."


def test_an_answer_that_takes_too_long(serve: Serve) -> None:
    """504 when nothing was sent yet; a stream that has begun ends with an error; nothing goes on working for it."""
    running = serve(make_model(seconds=1.0), request_seconds=0.3)
    body = {"prompt": "x", "max_tokens": 300}
    message = explain(running.post("/v1/completions", body), 504)
    assert message.startswith("The answer was not ready within 0.3 seconds: ")
    assert message.endswith("tokens came in that time. Ask for fewer.")
    streamed: list[httpx.Response] = []

    def has_begun() -> bool:  # which a busy machine may not do in that time
        streamed.append(running.post("/v1/completions", {**body, "stream": True}))
        return streamed[-1].status_code == 200

    wait_until(has_begun)
    *_, error, done = [line for line in streamed[-1].text.split("\n\n") if line]
    assert json.loads(error.removeprefix("data: "))["error"]["code"] == "timeout"
    assert done == "data: [DONE]"
    running.engine.wait_until_idle()
    assert running.engine.ended == ["cancelled"] * (1 + len(streamed))


def test_headers_that_do_not_come(serve: Serve) -> None:
    """A connection that sends its headers byte by byte is told the limit, and ended, however busy it is."""
    running = serve(header_seconds=0.3)
    with running.open_socket() as slow:
        answer = _drip(slow, b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: " + b"x" * 500)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b"The headers did not come within 0.3 seconds." in answer


def test_a_body_that_does_not_come(serve: Serve) -> None:
    """The same for a body."""
    running = serve(body_seconds=0.3)
    head = b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 999\r\n\r\n"
    with running.open_socket() as slow:
        slow.sendall(head)
        answer = _drip(slow, b"x" * 500)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"The body did not come within 0.3 seconds: " in answer


def test_too_many_connections(serve: Serve) -> None:
    """The one too many is told so; those before it are still answered."""
    running = serve(max_connections=3)
    waiting = [running.open_socket() for _ in range(3)]  # taken in the order in which they come
    with running.open_socket() as late:
        answer = late.recv(4096)
    assert answer.startswith(b"HTTP/1.1 429 Too Many Requests\r\n")
    assert b"4 connections are open, but at most 3 are allowed." in answer
    waiting[0].sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert b"200 OK" in waiting[0].recv(4096)
    for connection in waiting:
        connection.close()


def test_what_is_not_http(serve: Serve) -> None:
    """400, also for headers of endless length; the server goes on."""
    running = serve()
    for sent in (b"\x16\x03\x01\x00\xa5\r\n\r\n", b"GET /health HTTP/1.1\r\nX: " + b"x" * 200_000):
        with running.open_socket() as connection:
            with contextlib.suppress(ConnectionError):  # it may be refused before all is sent
                connection.sendall(sent)
            assert connection.recv(4096).startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert running.client.get("/health").status_code == 200


def test_stop_finishes_what_runs(serve: Serve) -> None:
    """Told to end, the server takes nothing new, and the stream that runs is whole."""
    running = serve(make_model(seconds=0.02), drain_seconds=20)
    with _start_stream(running, max_tokens=40) as stream:
        running.server.stop()
        rest = b"".join(iter(lambda: stream.recv(65536), b""))
    assert b"data: [DONE]" in rest
    assert b"error" not in rest
    assert running.engine.ended == ["length"]
    with pytest.raises(OSError, match="refused"):
        running.open_socket()


def test_stop_does_not_wait_for_ever(serve: Serve) -> None:
    """What is not finished when the time for it is over is cancelled, and its client is told so."""
    running = serve(make_model(seconds=0.5), drain_seconds=0)
    with _start_stream(running, max_tokens=400) as stream:
        running.server.stop()
        assert b"The server is ending; the answer is not whole." in b"".join(iter(lambda: stream.recv(65536), b""))
    running.engine.wait_until_idle()
    assert running.engine.ended == ["cancelled"]


def _start_stream(running: Running, max_tokens: int = 400) -> socket.socket:
    """A connection on which a stream has begun."""
    body = json.dumps({"prompt": "x", "max_tokens": max_tokens, "stream": True}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    connection = running.open_socket()
    connection.sendall(head.encode() + body)
    assert b"200 OK" in connection.recv(256)
    return connection


def _drip(connection: socket.socket, data: bytes) -> bytes:
    """Send byte by byte until there is an answer; give the answer."""
    is_over = threading.Event()

    def send() -> None:
        for index in range(len(data)):
            if is_over.wait(0.01):
                return
            try:
                connection.sendall(data[index : index + 1])
            except OSError:
                return

    thread = threading.Thread(target=send)
    thread.start()
    answer = b""
    try:
        while b"}}" not in answer and (more := connection.recv(65536)):
            answer += more
        return answer
    finally:
        is_over.set()
        thread.join()
