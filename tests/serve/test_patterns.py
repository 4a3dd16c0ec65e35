"""Answers that follow a pattern: each way to ask, with real and with fake engines, and what is refused."""

from __future__ import annotations

import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jsonschema
import pyarrow as pa
import pytest

from waiting import SECONDS
from whelp.base.errors import MissingExtraError, PlanError
from whelp.cli.serve import _NamedSettings
from whelp.generate import Engine
from whelp.serve import ServedModel
from whelp.tokenizer import LearnConfig, learn

from .conftest import Serve
from .fakes import FakeEngine, make_model

CHAT = {"messages": [{"role": "user", "content": "Say it."}]}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 5}, "size": {"enum": ["small", "large"]}},
    "required": ["name", "size"],
    "additionalProperties": False,
}
NESTED = '{"items": ' * 900 + "{}" + "}" * 900
JSON = {"content-type": "application/json"}
NAMED = {"type": "json_schema", "json_schema": {"name": "it", "schema": SCHEMA, "strict": True}}


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"response_format": {"type": "text"}}, {}),
        ({"response_format": None, "guided_regex": None}, {}),
        ({"response_format": {"type": "json_object"}}, {"json_schema": {"type": "object"}}),
        ({"response_format": NAMED}, {"json_schema": SCHEMA}),
        ({"structured_outputs": {"json": SCHEMA}}, {"json_schema": SCHEMA}),
        ({"structured_outputs": {"json": json.dumps(SCHEMA), "regex": None}}, {"json_schema": SCHEMA}),
        ({"structured_outputs": {"json_object": True}}, {"json_schema": {"type": "object"}}),
        ({"structured_outputs": {"json_object": False, "regex": "a+"}}, {"regex": "a+"}),
        ({"structured_outputs": {"choice": ["a", "b"]}}, {"choice": ["a", "b"]}),
        ({"structured_outputs": {"grammar": "start: /a/"}}, {"grammar": "start: /a/"}),
        ({"guided_json": SCHEMA}, {"json_schema": SCHEMA}),
        ({"guided_regex": "a+"}, {"regex": "a+"}),
        ({"guided_choice": ["a"]}, {"choice": ["a"]}),
        ({"guided_grammar": "start: /a/"}, {"grammar": "start: /a/"}),
    ],
)
def test_each_way_to_ask(serve: Serve, asked: dict[str, Any], expected: dict[str, Any]) -> None:
    """What the engine is asked for."""
    running = serve()
    for path, body in (("/v1/chat/completions", CHAT), ("/v1/completions", {"prompt": "x"})):
        assert running.post(path, {**body, **asked}).status_code == 200
        settings = running.engine.asked[-1][1]
        assert {name: settings[name] for name in ("regex", "choice", "json_schema", "grammar") if name in settings} == expected


@pytest.mark.parametrize(
    ("refusal", "status", "message"),
    [
        (PlanError("regex", "it cannot be followed"), 400, "guided_regex: it cannot be followed."),
        (
            MissingExtraError("regex", "llguidance", "grammar"),
            501,
            "guided_regex: the package llguidance is not installed. Run `pip install",
        ),
    ],
)
def test_what_cannot_be_compiled(serve: Serve, refusal: Exception, status: int, message: str) -> None:
    """It is refused with its reason, nothing is asked of the model, and the place is free again."""
    engine = FakeEngine(refusal=refusal)
    running = serve(make_model(engine=engine), max_rows=1, max_waiting=0)
    for _ in range(2):
        answer = running.post("/v1/completions", {"prompt": "x", "guided_regex": "a"})
        assert answer.status_code == status
        assert answer.json()["error"]["message"].startswith(message)
        assert answer.json()["error"]["param"] == "guided_regex"
    assert engine.asked == []


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": NAMED}, "response_format"),
        ({"structured_outputs": {"json": SCHEMA}}, "structured_outputs.json"),
        ({"guided_json": json.dumps(SCHEMA)}, "guided_json"),
    ],
)
def test_errors_name_what_was_asked_for(serve: Serve, asked: dict[str, Any], place: str) -> None:
    """The parameter of the request, not the engine's name of the pattern."""
    running = serve(make_model(engine=FakeEngine(refusal=MissingExtraError("json_schema", "llguidance", "grammar"))))
    error = running.post("/v1/chat/completions", {**CHAT, **asked}).json()["error"]
    assert error["message"] == f'{place}: the package llguidance is not installed. Run `pip install "whelp[grammar]"`.'
    assert error["param"] == place


def test_compiling_holds_up_nobody(serve: Serve) -> None:
    """However many patterns take long to compile, one after another: who asks for none is answered."""
    is_compiled, begun = threading.Event(), threading.Semaphore(0)

    class Slow(FakeEngine):
        def submit(self, prompt: Any, settings: Any, *, n: int = 1) -> Any:
            if "regex" in settings:
                begun.release()
                assert is_compiled.wait(SECONDS)
            return super().submit(prompt, settings, n=n)

    running = serve(make_model(engine=Slow()))
    with ThreadPoolExecutor(40) as threads:
        slow = [threads.submit(running.post, "/v1/completions", {"prompt": "x", "guided_regex": "a"}) for _ in range(40)]
        assert begun.acquire(timeout=SECONDS)
        assert running.post("/v1/completions", {"prompt": "x"}).status_code == 200
        assert not begun.acquire(blocking=False)
        is_compiled.set()
        assert [answer.result().status_code for answer in slow] == [200] * 40


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_text_that_cannot_go_on(serve: Serve, is_stream: bool) -> None:
    """What is wrong with one text is told to who asked for it, also where the answer has begun."""
    engine = FakeEngine(error=PlanError("regex", "after 'a' it wants what no token of the vocabulary writes"))
    answer = serve(make_model(engine=engine)).post("/v1/completions", {"prompt": "x", "guided_regex": "a", "stream": is_stream})
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "guided_regex: after 'a' it wants what no token of the vocabulary writes."


def test_a_stream_that_cannot_go_on(serve: Serve) -> None:
    """The last event says so."""
    engine = FakeEngine(seconds=0.2)
    running = serve(make_model(engine=engine))
    with running.client.stream(
        "POST", "/v1/completions", json={"prompt": "x", "max_tokens": 400, "stream": True, "guided_regex": "a"}
    ) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: {")
        engine.error = PlanError("regex", "after 'a' it wants what no token of the vocabulary writes")
        events = [line.removeprefix("data: ") for line in lines if line]
    assert (
        json.loads(events[-2])["error"]["message"] == "guided_regex: after 'a' it wants what no token of the vocabulary writes."
    )
    assert events[-1] == "[DONE]"


@pytest.fixture(scope="module")
def random_model(make_model: Any) -> Any:
    """A served model of random weights, with an engine of its own."""
    pytest.importorskip("llguidance", reason='pip install "whelp[grammar]"')
    vocabulary = learn([pa.array(["User: Assistant: small large the name 0123456789 " * 20])], LearnConfig(vocab_size=320))
    model = make_model("qwen3", num_ids=vocabulary.size, context_tokens=300, n_kv_head=2)

    def open_served() -> ServedModel:
        engine = _NamedSettings(Engine(model, vocabulary, max_rows=4))
        return ServedModel(
            id="random", engine=engine, vocabulary=vocabulary, context_tokens=300, created=1, fingerprint="print"
        )

    return open_served


def test_answers_of_a_model_that_knows_nothing(serve: Serve, random_model: Any) -> None:
    """Chats, completions, streams, several at a time: all follow, each its own; the limit of tokens is said."""
    running = serve(random_model())

    def ask(number: int) -> None:
        years = running.post(
            "/v1/completions", {"prompt": ["In", "It was"], "n": 2, "guided_regex": "1[0-9]{3}", "seed": number}
        )
        assert all(re.fullmatch("1[0-9]{3}", choice["text"]) for choice in years.json()["choices"])
        reply = running.post("/v1/chat/completions", {**CHAT, "response_format": NAMED, "temperature": 1.5}).json()["choices"][
            0
        ]
        jsonschema.validate(json.loads(reply["message"]["content"]), SCHEMA)
        assert reply["finish_reason"] == "stop"
        short = running.post("/v1/chat/completions", {**CHAT, "response_format": NAMED, "max_tokens": 3}).json()["choices"][0]
        assert short["finish_reason"] == "length"

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(ask, range(4)))
    spaced = running.post("/v1/chat/completions", {**CHAT, "guided_regex": " \nUser: small"}).json()["choices"][0]
    assert (spaced["message"]["content"], spaced["finish_reason"]) == (" \nUser: small", "stop")
    for broken in (
        {"guided_regex": "\ud800"},
        {"guided_regex": "a(?#[)"},
        {"guided_choice": ["\ud800"]},
        {"guided_json": NESTED},
    ):
        refused = running.client.post("/v1/completions", content=json.dumps({"prompt": "x", **broken}), headers=JSON)
        assert (refused.status_code, refused.json()["error"]["type"]) == (400, "invalid_request_error")
    wrong = running.post("/v1/chat/completions", {**CHAT, "structured_outputs": {"regex": "a(?=b)"}})
    assert (wrong.status_code, "look-around" in wrong.json()["error"]["message"]) == (400, True)


def test_the_openai_client_reads_objects(serve: Serve, random_model: Any) -> None:
    """`parse` with a class of pydantic, whole and streamed; vLLM's names as extras."""
    openai = pytest.importorskip("openai", reason="pip install openai")
    from typing import Literal

    from pydantic import BaseModel, Field

    class Toy(BaseModel):
        name: str = Field(max_length=5)
        size: Literal["small", "large"]

    with openai.OpenAI(base_url=f"{serve(random_model()).url}/v1", api_key="none") as client:
        parsed = client.chat.completions.parse(model="random", messages=CHAT["messages"], response_format=Toy, seed=1)
        assert isinstance(parsed.choices[0].message.parsed, Toy)
        with client.chat.completions.stream(model="random", messages=CHAT["messages"], response_format=Toy, seed=1) as stream:
            streamed = stream.get_final_completion()
        assert streamed.choices[0].message.parsed == parsed.choices[0].message.parsed
        extra = {"structured_outputs": {"choice": ["yes", "no"]}}
        chosen = client.chat.completions.create(model="random", messages=CHAT["messages"], extra_body=extra)
        assert chosen.choices[0].message.content in ("yes", "no")
