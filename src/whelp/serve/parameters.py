"""One table of what a request may hold: it checks the bodies, and it is what `/openapi.json` shows."""

from __future__ import annotations

from typing import Any

from whelp.serve.config import ServeConfig
from whelp.serve.schema import Schema

MAX_LOGPROBS = 20
MAX_STOPS = 16
DEFAULT_COMPLETION_TOKENS = 16  # OpenAI's own

_NULL: dict[str, Any] = {"type": "null"}
_LARGEST_SEED = (1 << 63) - 1


def _maybe(schema: dict[str, Any], about: str) -> dict[str, Any]:
    """A parameter that may also be null, which means the same as leaving it out."""
    return {"anyOf": [schema, _NULL], "description": about}


def _number(low: float, high: float, about: str) -> dict[str, Any]:
    return _maybe({"type": "number", "minimum": low, "maximum": high}, about)


def _whole(low: int, high: int, about: str) -> dict[str, Any]:
    return _maybe({"type": "integer", "minimum": low, "maximum": high}, about)


def _only(*choices: Any, about: str) -> dict[str, Any]:
    return {"enum": [None, *choices], "description": about}


def _text(about: str) -> dict[str, Any]:
    return _maybe({"type": "string"}, about)


def _sampling(config: ServeConfig) -> dict[str, Any]:
    """What both ways to ask have in common."""
    stops: dict[str, Any] = {
        "type": "array",
        "items": {"type": "string", "minLength": 1},
        "maxItems": MAX_STOPS,
        "description": "a list of texts",
    }
    token_id = {"type": "string", "pattern": "^[0-9]{1,9}$", "description": "a token id, in digits"}
    biases = {
        "type": "object",
        "propertyNames": token_id,
        "additionalProperties": {"type": "number", "minimum": -100, "maximum": 100},
    }
    return {
        "model": _text("Which model, by a name of /v1/models; the first one when left out."),
        "temperature": _number(0, 2, "0: always the likeliest token; 1: the model's own distribution. Default 1."),
        "top_p": _number(0, 1, "Choose among the likeliest tokens that together have this probability. Default 1."),
        "top_k": _whole(0, 1 << 20, "Choose among the k likeliest tokens; 0: all. Not in OpenAI's API. Default 0."),
        "min_p": _number(
            0, 1, "Leave out tokens less likely than this share of the likeliest. Not in OpenAI's API. Default 0."
        ),
        "repetition_penalty": _number(
            0.01, 10, "Above 1: tokens already there become less likely. Not in OpenAI's API. Default 1."
        ),
        "prompt_lookup_tokens": _whole(
            0,
            64,
            "Guess so many tokens ahead from the text's own past and check them in one step, which changes no text; 0: none. "
            "Not in OpenAI's API. Default: as many as save time.",
        ),
        "draft_tokens": _whole(
            0,
            63,
            "Guess so many tokens ahead with a copy of a large model's weights in 8 bits, on a CPU, and check them in one step, which "
            "changes no text; 0: none. Not in OpenAI's API. Default 0.",
        ),
        "frequency_penalty": _number(-2, 2, "Make a token less likely for each time it was added. Default 0."),
        "presence_penalty": _number(-2, 2, "Make a token less likely once it was added. Default 0."),
        "logit_bias": _maybe(biases, "Token id, in digits, -> what to add to its logit; -100 forbids it."),
        "n": _whole(1, config.max_n, "Number of independent continuations. Default 1."),
        "stop": {
            "anyOf": [{"type": "string"}, stops, _NULL],
            "description": "End before this text, or the first of these.",
        },
        "seed": _whole(-_LARGEST_SEED, _LARGEST_SEED, "The same seed gives the same text; left out, every text is another."),
        "stream": _maybe({"type": "boolean"}, "Send the text as it comes, as server-sent events. Default false."),
        "stream_options": _maybe(
            {
                "type": "object",
                "properties": {
                    "include_usage": _maybe({"type": "boolean"}, "End the stream with the counts of tokens."),
                    "include_obfuscation": _maybe({"type": "boolean"}, "Accepted, and without effect."),
                },
                "additionalProperties": False,
            },
            "Settings of the stream.",
        ),
        **_patterns(),
        "user": _text("Accepted, and without effect."),
        "metadata": _maybe({"type": "object"}, "Accepted, and without effect."),
    }


def _patterns() -> dict[str, Any]:
    """What a text shall be: OpenAI's way to ask, and those of vLLM."""
    schema = {"type": "object", "description": "a JSON schema"}
    written = {
        "anyOf": [schema, {"type": "string", "description": "one as text"}, _NULL],
        "description": "The text is valid by it.",
    }
    regex = _text("A regular expression of Python: the whole text matches it.")
    choice = _maybe(
        {"type": "array", "items": {"type": "string", "minLength": 1}, "minItems": 1, "description": "a list of texts"},
        "The text is one of these.",
    )
    grammar = _text("A grammar in Lark's form, or llama.cpp's (GBNF).")
    named = {
        "name": {"type": "string"},
        "schema": schema,
        "description": _text("Accepted, and without effect."),
        "strict": _maybe({"type": "boolean"}, "Accepted: the text is always valid."),
    }
    return {
        "response_format": _maybe(
            {
                "type": "object",
                "properties": {
                    "type": {
                        "enum": ["text", "json_object", "json_schema"],
                        "description": "text, json_object or json_schema.",
                    },
                    "json_schema": _maybe(
                        {"type": "object", "properties": named, "required": ["schema"], "additionalProperties": False},
                        "The schema, and what else OpenAI's clients send of it.",
                    ),
                },
                "required": ["type"],
                "additionalProperties": False,
            },
            "Any text, a JSON object, or JSON by a schema.",
        ),
        "structured_outputs": _maybe(
            {
                "type": "object",
                "properties": {
                    "json": written,
                    "json_object": _maybe({"type": "boolean"}, "The text is a JSON object."),
                    "regex": regex,
                    "choice": choice,
                    "grammar": grammar,
                },
                "additionalProperties": False,
            },
            "A pattern that the text follows, as vLLM has it. Not in OpenAI's API.",
        ),
        "guided_json": {**written, "description": "An older name of structured_outputs.json. Not in OpenAI's API."},
        "guided_regex": _text("An older name of structured_outputs.regex. Not in OpenAI's API."),
        "guided_choice": {**choice, "description": "An older name of structured_outputs.choice. Not in OpenAI's API."},
        "guided_grammar": _text("An older name of structured_outputs.grammar. Not in OpenAI's API."),
    }


def completion_schema(config: ServeConfig) -> Schema:
    """The body of /v1/completions."""
    ids = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "description": "a list of ids"}
    texts = {"type": "array", "items": {"type": "string"}, "minItems": 1, "description": "a list of texts"}
    properties = {
        "prompt": {
            "anyOf": [
                {"type": "string"},
                texts,
                ids,
                {"type": "array", "items": ids, "minItems": 1, "description": "a list of lists of ids"},
            ],
            "description": "What to continue: a text, texts, token ids, or lists of them. An empty text starts a new document.",
        },
        "max_tokens": _whole(
            0,
            config.max_tokens,
            f"Most tokens to add. 0, with echo and logprobs: score the prompt. Default {DEFAULT_COMPLETION_TOKENS}.",
        ),
        "echo": _maybe(
            {"type": "boolean"}, "Give the prompt back before its continuation; with logprobs, those of its tokens, too."
        ),
        "logprobs": _whole(0, MAX_LOGPROBS, "Give each token's log probability, and those of so many of the likeliest."),
        "best_of": _only(1, about="Only 1 is possible."),
        "suffix": _only("", about="Text after the continuation is not possible."),
        **_sampling(config),
    }
    return {"type": "object", "properties": properties, "required": ["prompt"], "additionalProperties": False}


_FUNCTION_NAME = {"type": "string", "pattern": "^[a-zA-Z0-9_.-]{1,64}$", "description": "a name of letters, digits, _, . and -"}


def _function(properties: dict[str, Any], required: list[str], **others: Any) -> dict[str, Any]:
    """Something about a function, as OpenAI wraps it."""
    function = {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
    return {
        "type": "object",
        "properties": {
            "type": {"enum": ["function"], "description": "Only functions are possible."},
            "function": function,
            **others,
        },
        "required": ["type", "function"],
        "additionalProperties": False,
    }


_CALLS: dict[str, Any] = {
    "type": "array",
    "items": _function(
        {
            "name": _FUNCTION_NAME,
            "arguments": {"anyOf": [{"type": "string", "description": "JSON as text"}, {"type": "object"}]},
        },
        ["name", "arguments"],
        id=_text("What the answer to the call names it by."),
        index={"type": "integer", "description": "Accepted, and without effect."},
    ),
    "maxItems": 128,
    "description": "a list of calls",
}
_TOOLS: dict[str, Any] = {
    "tools": _maybe(
        {
            "type": "array",
            "items": _function(
                {
                    "name": _FUNCTION_NAME,
                    "description": _text("What it is for."),
                    "parameters": _maybe({"type": "object"}, "A JSON schema of its arguments."),
                    "strict": _maybe(
                        {"type": "boolean"},
                        "Accepted, and without effect: calls that tool_choice asks for are always valid, others never sure to be.",
                    ),
                },
                ["name"],
            ),
            "maxItems": 128,
            "description": "a list of functions",
        },
        "Functions that the model may call. Its chat template has to know tools.",
    ),
    "tool_choice": {
        "anyOf": [
            {"enum": ["none", "auto", "required"]},
            _function({"name": _FUNCTION_NAME}, ["name"]) | {"description": "a function's name"},
            _NULL,
        ],
        "description": "auto: the model chooses whether to call; required: it calls one; a function: it calls this one. Default auto.",
    },
}


def chat_schema(config: ServeConfig) -> Schema:
    """The body of /v1/chat/completions."""
    part = {
        "type": "object",
        "properties": {"type": {"enum": ["text"], "description": "Only text is possible."}, "text": {"type": "string"}},
        "required": ["type", "text"],
        "additionalProperties": False,
    }
    message = {
        "type": "object",
        "properties": {
            "role": {"enum": ["system", "developer", "user", "assistant", "tool"]},
            "content": {
                "anyOf": [
                    {"type": "string"},
                    {"type": "array", "items": part, "description": "a list of text parts"},
                    {"type": "null", "description": "null beside tool_calls"},
                ]
            },
            "name": _text("Of a tool: the function's name. Else accepted, and without effect."),
            "refusal": _text("Accepted, and without effect."),
            "tool_calls": _maybe(_CALLS, "Of the assistant: the functions that it called."),
            "tool_call_id": _text("Of a tool: which call it answers."),
            "annotations": _only([], about="Only an empty list is possible."),
        },
        "required": ["role"],
        "additionalProperties": False,
    }
    properties = {
        "messages": {
            "type": "array",
            "items": message,
            "minItems": 1,
            "maxItems": 1024,
            "description": "The conversation so far; the reply follows it.",
        },
        "max_tokens": _whole(1, config.max_tokens, "Most tokens to add. Default: what is left of the context."),
        "max_completion_tokens": _whole(1, config.max_tokens, "OpenAI's newer name of max_tokens; goes before it."),
        "logprobs": _maybe({"type": "boolean"}, "Give each token's log probability. Default false."),
        "top_logprobs": _whole(0, MAX_LOGPROBS, "Give so many of the likeliest tokens too. Needs logprobs."),
        "modalities": _only(["text"], about="Only text is possible."),
        **_TOOLS,
        "parallel_tool_calls": _maybe(
            {"type": "boolean"}, "Whether the model may choose to call several functions. Default true."
        ),
        "store": _only(False, about="Nothing is stored."),
        "service_tier": _text("Accepted, and without effect."),
        **_sampling(config),
    }
    return {"type": "object", "properties": properties, "required": ["messages"], "additionalProperties": False}


def tokenize_schema(config: ServeConfig) -> Schema:
    """The body of /api/tokenize."""
    properties = {
        "text": {"type": "string", "description": "Text to cut into tokens."},
        "model": _text("Whose vocabulary; the first model's when left out."),
    }
    return {"type": "object", "properties": properties, "required": ["text"], "additionalProperties": False}
