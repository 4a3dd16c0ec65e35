"""The document tells the truth: Schemathesis asks what it allows, and what it does not."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from waiting import SECONDS
from whelp.serve import ServeConfig
from whelp.serve.openapi import make_openapi
from whelp.serve.parameters import chat_schema, completion_schema
from whelp.serve.schema import check

from .conftest import Serve

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of other packages, while they are imported
    schemathesis = pytest.importorskip("schemathesis", reason="pip install schemathesis")
    import jsonschema
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        negative_data_rejection,
        response_schema_conformance,
        status_code_conformance,
    )

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    negative_data_rejection,
]
DOCUMENT = make_openapi(ServeConfig(max_tokens=20, max_n=2), "test")
EXAMPLES = settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-5, 5000), st.floats(-3, 3), st.text(max_size=3)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=4,
)
LIKELY = [
    *(
        None,
        True,
        0,
        1,
        2,
        2.0,
        0.5,
        21,
        -101,
        "",
        "x",
        "none",
        [],
        {},
        ["a"],
        ["a", ""],
        [1, 2],
        [[1], [2]],
        [[1], []],
        ["a"] * 17,
    ),
    *(
        {"65": 3},
        {"65": 300},
        {"a": 1},
        {"include_usage": True},
        {"include_usage": 1},
        {"type": "text"},
        {"type": "json_object"},
    ),
    *([{"role": role, "content": "x"}] for role in ("user", "tool")),
    *([{"role": "user", "content": content}] for content in (None, [], [{"type": "text", "text": "x"}], [{"type": "text"}])),
    [{"role": "user", "content": "x", "name": "y", "tool_calls": []}],
    [{"role": "user", "content": "x", "other": 1}],
]
VALUES = st.one_of(st.sampled_from(LIKELY), JSON)
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT)


OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations()]


@pytest.mark.filterwarnings("ignore")  # of Schemathesis
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
@pytest.mark.parametrize("mode", list(schemathesis.GenerationMode), ids=lambda mode: mode.value)
def test_what_the_document_allows_and_forbids(serve: Serve, operation: Any, mode: Any) -> None:
    """No 5xx, no answer that the document does not know, nothing accepted that it forbids."""
    if mode is schemathesis.GenerationMode.NEGATIVE and not (operation.body or operation.query):
        return  # there is nothing that could be wrong
    running = serve(max_tokens=20, max_n=2)
    statuses = set()

    @EXAMPLES
    @given(case=operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        statuses.add(case.call_and_validate(base_url=running.url, checks=CHECKS, timeout=SECONDS).status_code)

    ask()
    assert statuses, "something was asked"


def test_the_server_shows_the_document(serve: Serve) -> None:
    """With the limits it was started with, and with the token where one is needed."""
    running = serve(max_tokens=20, max_n=2)
    assert running.client.get("/openapi.json").json() == DOCUMENT
    asked = make_openapi(ServeConfig(token="t"), "test")
    assert asked["security"] == [{"token": []}]


def test_every_operation_is_told(serve: Serve) -> None:
    """What the document says can be asked is there, and nothing else is below /v1 and /api."""
    client = serve().client
    for path, methods in DOCUMENT["paths"].items():
        allowed = client.request("PATCH", path.replace("{name}", "fake")).headers["allow"]
        assert {method.upper() for method in methods} == set(allowed.split(", ")) - {"HEAD"}


@pytest.mark.parametrize("schema", [completion_schema(ServeConfig()), chat_schema(ServeConfig())])
@settings(EXAMPLES, max_examples=300)
@given(data=st.data())
def test_our_own_check_agrees_with_the_standard(schema: dict[str, Any], data: st.DataObject) -> None:
    """A value is wrong for us exactly when it is wrong for the package `jsonschema`."""
    needed = dict.fromkeys(schema["required"], VALUES)
    names = data.draw(st.sets(st.sampled_from(sorted(schema["properties"])), max_size=3))
    body = data.draw(st.fixed_dictionaries(needed | dict.fromkeys(names, VALUES)))
    is_valid = jsonschema.Draft202012Validator(schema).is_valid(body)
    assert (check(body, schema) is None) == is_valid, check(body, schema)
