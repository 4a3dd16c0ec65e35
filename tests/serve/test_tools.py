"""Functions that a model may call: what it reads of them, calls that are asked for, calls that it chooses, and conversations with calls."""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import jsonschema
import pyarrow as pa
import pytest

from tool_templates import HERMES, LLAMA, NO_TOOLS
from whelp.base.errors import MissingExtraError, TokenizerError
from whelp.cli.serve import _NamedSettings
from whelp.generate import Engine
from whelp.generate.call_form import find_call_form
from whelp.generate.chat import find_end_ids, make_chat_ids
from whelp.serve import ServedModel
from whelp.serve.replies import ChosenCalls
from whelp.serve.tools import read_tools
from whelp.tokenizer import LearnConfig, Vocabulary, learn

from . import fakes
from .conftest import Running, Serve
from .fakes import FakeEngine, make_model

ADD = {
    "type": "object",
    "properties": {"a": {"type": "integer", "minimum": 0, "maximum": 99}, "unit": {"$ref": "#/$defs/Unit"}},
    "required": ["a", "unit"],
    "$defs": {"Unit": {"enum": ["kg", "{m}"]}},
}
TOOLS = [
    {"type": "function", "function": {"name": "add", "description": "Add.", "parameters": ADD}},
    {"type": "function", "function": {"name": "now"}},
]
QUESTION = [{"role": "user", "content": "Add one."}]
NAMED = {"type": "function", "function": {"name": "add"}}
CHAT = "/v1/chat/completions"


@dataclass(frozen=True)
class Form:
    """Qwen's."""

    opening: str = "<tool_call>\n"
    marker: str = "<tool_call>"
    closing: str = "</tool_call>"
    arguments_key: str = "arguments"


def _open_saying(serve: Serve, monkeypatch: pytest.MonkeyPatch, saying: str, form: Any = None) -> tuple[Running, list[Any]]:
    """A server whose model says this and then ends, and what its chat template was given."""
    asked: list[Any] = []

    def encode_chat(messages: Any, **values: Any) -> list[int]:
        asked.append((messages, values))
        return [1, 2, 3]

    monkeypatch.setattr(fakes, "SAYING", f"{saying}\0")
    model = make_model(engine=FakeEngine(), encode_chat=encode_chat, find_call_form=lambda: form or Form())
    return serve(model), asked


def _ask(running: Running, **body: Any) -> dict[str, Any]:
    answer = running.post(CHAT, {"messages": QUESTION, "tools": TOOLS, "stop": "\0", **body})
    assert answer.status_code == 200, answer.text
    choice: dict[str, Any] = answer.json()["choices"][0]
    return choice


def _stream(running: Running, **body: Any) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The message that comes together of a stream's deltas, and the deltas."""
    asked = {"messages": QUESTION, "tools": TOOLS, "stop": "\0", "stream": True, **body}
    with running.client.stream("POST", CHAT, json=asked) as answer:
        events = [json.loads(line[6:]) for line in answer.iter_lines() if line and line != "data: [DONE]"]
    deltas = [event["choices"][0]["delta"] for event in events]
    calls: dict[int, dict[str, Any]] = {}
    for part in (part for delta in deltas for part in delta.get("tool_calls", ())):
        call = calls.setdefault(part["index"], {"id": part.get("id"), "name": part["function"].get("name"), "arguments": ""})
        call["arguments"] += part["function"]["arguments"]
    content = "".join(delta.get("content") or "" for delta in deltas)
    return {"content": content, "calls": list(calls.values()), "reason": events[-1]["choices"][0]["finish_reason"]}, deltas


ONE = '<tool_call>\n{"name": "add", "arguments": {"a": 1, "unit": "{m}"}}\n</tool_call>'
TWO = f'{ONE}\n<tool_call>\n{{"name": "now", "arguments": {{}}}}\n</tool_call>'


@pytest.mark.parametrize(
    ("saying", "content", "names"),
    [
        (ONE, None, ["add"]),
        (f"Let me see.\n{TWO}", "Let me see.", ["add", "now"]),
        (f"{ONE} Done.", "Done.", ["add"]),
        ("It is < 3 and <tool", "It is < 3 and <tool", []),
        ('<tool_call>{"name": "fly", "arguments": {}}', '<tool_call>{"name": "fly", "arguments": {}}', []),
        ('<tool_call>{"name": "add", "arguments"', '<tool_call>{"name": "add", "arguments"', []),
        ('<tool_call>{"name": "add", "arguments": 3}', '<tool_call>{"name": "add", "arguments": 3}', []),
        ("<tool_call>" + "[" * 3000, "<tool_call>" + "[" * 3000, []),
        ("", "", []),
    ],
    ids=["call", "words and calls", "words after", "begun", "unknown", "cut", "no arguments", "deep", "nothing"],
)
def test_what_the_model_chooses(serve: Serve, monkeypatch: pytest.MonkeyPatch, saying, content, names) -> None:
    """Calls are told from words, whole and streamed; what is no call of a function that is there stays words, to the letter."""
    running, asked = _open_saying(serve, monkeypatch, saying)
    running.models[0].engine.seconds = 0
    body = {"max_tokens": 350}
    if len(saying) > 350:
        form = Form()
        reply = ChosenCalls(form, ["add"])
        told = [*reply.add(saying), *reply.end()]
        assert "".join(delta["content"] for delta in told) == reply.content == content
        return
    choice = _ask(running, **body)
    assert choice["message"]["content"] == content
    assert [call["function"]["name"] for call in choice["message"].get("tool_calls", [])] == names
    assert choice["finish_reason"] == ("tool_calls" if names else "stop")
    assert asked[0] == ([{"role": "user", "content": "Add one."}], {"tools": TOOLS})
    streamed, _ = _stream(running, **body)
    assert (streamed["content"], streamed["reason"]) == (content or "", choice["finish_reason"])
    assert [call["name"] for call in streamed["calls"]] == names
    if names:
        assert json.loads(choice["message"]["tool_calls"][0]["function"]["arguments"]) == {"a": 1, "unit": "{m}"}
        assert json.loads(streamed["calls"][0]["arguments"]) == {"a": 1, "unit": "{m}"}
        assert len({call["id"] for call in streamed["calls"]}) == len(names)


def test_letters_of_arguments(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they are; half a surrogate pair, which JSON can hold and UTF-8 cannot, in its escape."""
    for arguments in ('{"a": "é🦊"}', '{"a": "\\ud800"}'):
        running, _ = _open_saying(serve, monkeypatch, f'<tool_call>{{"name": "add", "arguments": {arguments}}}')
        assert _ask(running)["message"]["tool_calls"][0]["function"]["arguments"] == arguments
        assert _stream(running)[0]["calls"][0]["arguments"] == arguments


def test_calls_that_are_json_alone(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Llama's, without a sign before them; an answer that only begins so is words."""
    form = Form(opening="", marker="", closing="", arguments_key="parameters")
    running, _ = _open_saying(serve, monkeypatch, ' [{"name": "now", "parameters": {}}]', form)
    assert _ask(running)["message"]["tool_calls"][0]["function"] == {"name": "now", "arguments": "{}"}
    monkeypatch.setattr(fakes, "SAYING", "{1, 2} is a set.\0")
    assert _ask(running)["message"] == {"role": "assistant", "content": "{1, 2} is a set.", "refusal": None}
    assert _stream(running)[0] == {"content": "{1, 2} is a set.", "calls": [], "reason": "stop"}
    monkeypatch.setattr(fakes, "SAYING", "Words.\0")
    assert len(_stream(running)[1]) == len("Words.") + 2


@pytest.mark.parametrize("choice", [NAMED, "required"])
def test_a_call_that_is_asked_for(serve: Serve, monkeypatch: pytest.MonkeyPatch, choice: Any) -> None:
    """The engine gets the pattern of the call, the prompt ends where it begins, and arguments are streamed as they come."""
    saying = '{"name": "add", "arguments": {"a": 1, "unit": "{m}"}}'
    running, asked = _open_saying(serve, monkeypatch, saying)
    whole = _ask(running, tool_choice=choice)
    assert whole["finish_reason"] == "tool_calls"
    assert whole["message"]["content"] is None
    assert whole["message"]["tool_calls"][0]["function"] == {"name": "add", "arguments": '{"a": 1, "unit": "{m}"}'}
    assert asked[0][1] == {"tools": TOOLS, "answer_start": "<tool_call>\n"}
    schema = running.engine.asked[0][1]["json_schema"]
    jsonschema.Draft202012Validator.check_schema(schema)
    valid = jsonschema.Draft202012Validator(schema).is_valid
    assert valid(json.loads(saying))
    assert valid({"name": "now", "arguments": {}}) == (choice == "required")
    for wrong in ({"a": 1}, {"a": 1, "unit": "s"}, {"a": 1, "unit": "kg", "b": 2}):
        assert not valid({"name": "add", "arguments": wrong})
    streamed, deltas = _stream(running, tool_choice=choice)
    assert streamed["calls"][0]["arguments"] == '{"a": 1, "unit": "{m}"}'
    assert (streamed["content"], streamed["reason"], len(streamed["calls"])) == ("", "tool_calls", 1)
    assert sum("tool_calls" in delta for delta in deltas) > 10
    cut = _ask(running, tool_choice=choice, max_tokens=saying.index('}"}}') + 1)
    assert (cut["finish_reason"], cut["message"]["tool_calls"][0]["function"]["arguments"][-4:]) == ("length", '"{m}')
    assert _ask(running, tool_choice=choice, max_tokens=3)["message"] == {"role": "assistant", "content": "", "refusal": None}


def test_a_call_that_a_stop_text_cuts(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last brace is one of its arguments."""
    running, _ = _open_saying(serve, monkeypatch, '{"name": "add", "arguments": {"a": {"b": 1}')
    for call in (
        _ask(running, tool_choice="required")["message"]["tool_calls"][0]["function"],
        _stream(running, tool_choice="required")[0]["calls"][0],
    ):
        assert call["arguments"] == '{"a": {"b": 1}'


def test_one_call_at_a_time(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several, the first alone."""
    running, _ = _open_saying(serve, monkeypatch, f"Well. {TWO}")
    message = _ask(running, parallel_tool_calls=False)["message"]
    assert (message["content"], len(message["tool_calls"])) == ("Well.", 1)
    assert len(_ask(running, parallel_tool_calls=True)["message"]["tool_calls"]) == 2


@pytest.mark.parametrize(
    ("parameters", "right", "wrong"),
    [
        (None, {}, {"a": 1}),
        ({}, {}, {"a": 1}),
        ({"type": "object", "allOf": [{"properties": {"a": {"type": "integer"}}, "required": ["a"]}]}, {"a": 1}, {"a": "b"}),
        ({"type": "object", "properties": {}, "additionalProperties": {"type": "integer"}}, {"a": 1}, {"a": "b"}),
    ],
    ids=["none", "empty", "elsewhere", "any name"],
)
def test_which_arguments_there_are(parameters: Any, right: Any, wrong: Any) -> None:
    """None but those that are described, wherever they are."""
    tools = [{"type": "function", "function": {"name": "f", "parameters": parameters}}]
    asked = read_tools({"tools": tools, "tool_choice": "required"})
    assert asked is not None
    valid = jsonschema.Draft202012Validator(asked.make_pattern(Form()).value).is_valid
    assert valid({"name": "f", "arguments": right})
    assert not valid({"name": "f", "arguments": wrong})


@pytest.mark.parametrize("choice", ["auto", "required"])
def test_nested_too_deeply(serve: Serve, choice: str) -> None:
    """Said, not failed at."""
    running = serve(make_model(encode_chat=lambda messages, **values: copy.deepcopy(values), find_call_form=Form))
    parameters = '{"properties": ' * 900 + "{}" + "}" * 900
    tools = '[{"type": "function", "function": {"name": "f", "parameters": ' + parameters + "}}]"
    body = f'{{"messages": [{{"role": "user", "content": "x"}}], "tools": {tools}, "tool_choice": "{choice}"}}'
    answer = running.client.post(CHAT, content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, "The body is nested too deeply.")


def test_none_may_be_called(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model is not told of the functions, and what looks like a call is words."""
    running, asked = _open_saying(serve, monkeypatch, ONE)
    assert _ask(running, tool_choice="none")["message"]["content"] == ONE
    assert asked[0][1] == {}
    assert _ask(running, tool_choice="none", response_format={"type": "json_object"})["message"]["content"] == ONE


def test_a_conversation_with_calls(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arguments become objects, an answer is called by the function's name, and no tools need be described."""
    running, asked = _open_saying(serve, monkeypatch, "3.")
    call = {"id": "c1", "type": "function", "index": 0, "function": {"name": "add", "arguments": '{"a": 1}'}}
    messages = [
        *QUESTION,
        {"role": "assistant", "content": None, "tool_calls": [call], "refusal": None},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "3"}]},
    ]
    assert _ask(running, messages=messages, tools=None)["message"]["content"] == "3."
    called = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    assert asked[0] == (
        [
            *QUESTION,
            {"role": "assistant", "content": "", "tool_calls": [called]},
            {"role": "tool", "content": "3", "tool_call_id": "c1", "name": "add"},
        ],
        {},
    )


def test_what_tools_cannot_be_beside(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another pattern."""
    running, _ = _open_saying(serve, monkeypatch, "")
    answer = running.post(CHAT, {"messages": QUESTION, "tools": TOOLS, "response_format": {"type": "json_object"}})
    assert answer.status_code == 400
    message = "tools and response_format are given, but a text follows one pattern. Leave one out, or set tool_choice to none."
    assert answer.json()["error"]["message"] == message


@pytest.mark.parametrize(
    ("error", "status", "message"),
    [
        (
            TokenizerError("v", "its chat template knows no tools"),
            400,
            "tools is given, but fake calls no functions: its chat template knows no tools. Ask",
        ),
        (MissingExtraError("a chat", "jinja2", "chat"), 501, "a chat: the package jinja2 is not installed."),
    ],
)
def test_models_that_call_nothing(serve: Serve, error: Exception, status: int, message: str) -> None:
    """Said with the reason."""

    def refuse() -> Any:
        raise error

    running = serve(make_model(encode_chat=lambda messages: [1], find_call_form=refuse))
    answer = running.post(CHAT, {"messages": QUESTION, "tools": TOOLS})
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, "tools")
    assert answer.json()["error"]["message"].startswith(message)
    assert running.post(CHAT, {"messages": QUESTION, "tools": [], "tool_choice": "auto"}).status_code == 200


@pytest.fixture(scope="module")
def tool_model(make_model: Any) -> Any:
    """A served model of random weights, whose chat template is given."""
    pytest.importorskip("llguidance", reason='pip install "whelp[grammar]"')
    learned = learn([pa.array(["a b c kg 0123456789 the name " * 20])], LearnConfig(vocab_size=320, special_tokens=["chat"]))
    weights = make_model("qwen3", num_ids=learned.size, context_tokens=1600, n_kv_head=2)

    def open_served(template: str) -> ServedModel:
        vocabulary = Vocabulary(learned._json, eos_token="<|endoftext|>", chat_template=template)
        engine = _NamedSettings(Engine(weights, vocabulary, max_rows=4, end_ids=find_end_ids(vocabulary)))
        return ServedModel(
            id="random",
            engine=engine,
            vocabulary=vocabulary,
            context_tokens=1600,
            created=1,
            fingerprint="print",
            encode_chat=lambda messages, **values: make_chat_ids(vocabulary, messages, **values),
            find_call_form=lambda: find_call_form(vocabulary),
        )

    return open_served


@pytest.mark.parametrize("template", [HERMES, LLAMA], ids=["hermes", "llama"])
def test_the_openai_client_calls_functions(serve: Serve, tool_model: Any, template: str) -> None:
    """A model that knows nothing: whole, streamed, several at a time, by name or not, and the conversation goes on from there."""
    openai = pytest.importorskip("openai", reason="pip install openai")
    running = serve(tool_model(template))
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:

        def ask(**settings: Any) -> Any:
            asked = {"messages": QUESTION, "tools": TOOLS, "seed": 3, "temperature": 1.3, **settings}
            return client.chat.completions.create(model="random", **asked)

        seen = set()
        for choice in ask(tool_choice="required", n=8).choices:
            (call,) = choice.message.tool_calls
            seen.add(call.function.name)
            schema = ADD if call.function.name == "add" else {"type": "object", "maxProperties": 0}
            jsonschema.validate(json.loads(call.function.arguments), schema)
            assert choice.finish_reason == "tool_calls"
        assert seen == {"add", "now"}
        message = ask(tool_choice=NAMED).choices[0].message
        (call,) = message.tool_calls
        jsonschema.validate(json.loads(call.function.arguments), ADD)
        with client.chat.completions.stream(
            model="random", messages=QUESTION, tools=TOOLS, tool_choice=NAMED, seed=3, temperature=1.3
        ) as stream:
            final = stream.get_final_completion().choices[0].message.tool_calls[0].function
        assert (final.name, final.arguments) == ("add", call.function.arguments)
        messages = [*QUESTION, message, {"role": "tool", "tool_call_id": call.id, "content": "2"}]
        assert ask(messages=messages, max_tokens=5).choices[0].finish_reason in ("stop", "length")
        with pytest.raises(openai.BadRequestError, match="tools and response_format are given"):
            ask(response_format={"type": "json_object"})
    plain = serve(tool_model(NO_TOOLS))
    with openai.OpenAI(base_url=f"{plain.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(
            openai.BadRequestError, match=r"random calls no functions: its chat template knows no tools\. Ask without"
        ):
            client.chat.completions.create(model="random", messages=QUESTION, tools=TOOLS)
        with pytest.raises(
            openai.BadRequestError, match=r"messages\[1\] is given, but random calls no functions: its chat template knows no"
        ):
            client.chat.completions.create(model="random", messages=messages)


def test_langchain_binds_tools(serve: Serve, tool_model: Any) -> None:
    """`bind_tools` of its client."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages, while they are imported
        langchain = pytest.importorskip("langchain_openai", reason="pip install langchain-openai")
    running = serve(tool_model(HERMES))
    chat = langchain.ChatOpenAI(base_url=f"{running.url}/v1", api_key="none", model="random", seed=1)
    (call,) = chat.bind_tools(TOOLS, tool_choice="add").invoke("Add one.").tool_calls
    jsonschema.validate(call["args"], ADD)
    assert call["name"] == "add"
    assert SimpleNamespace(**call).type == "tool_call"
