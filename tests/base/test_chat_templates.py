"""A template runs in a sandbox, the same for training and for talking, but for the time of day."""

from __future__ import annotations

import sys

import pytest

from whelp.base.chat_templates import TemplateFailure, compile_chat_template
from whelp.base.errors import MissingExtraError

TALK = [{"role": "user", "content": "é"}]


def render(template: str, *, knows_time: bool = False, **values: object) -> str:
    return compile_chat_template(template, where="a test", knows_time=knows_time)(TALK, **values)


def test_values_marks_and_json() -> None:
    """Further values by name, what is marked as trained, JSON with the options that templates give it."""
    assert render("{{ x }}{% generation %}{{ messages[0].content }}{% endgeneration %}", x=3) == "3é"
    assert render("{{ {'b': 'é', 'a': 1} | tojson(sort_keys=true, separators=(',', ':')) }}") == '{"a":1,"b":"é"}'
    assert render("{%- for m in messages %}{% break %}{% endfor %}done") == "done"


def test_the_time_is_known_where_it_may_be() -> None:
    """The same rows must give the same text tomorrow."""
    assert len(render("{{ strftime_now('%Y') }}", knows_time=True)) == 4
    with pytest.raises(TemplateFailure, match="strftime_now"):
        render("{{ strftime_now('%Y') }}")


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{% for %}", "Expected"),
        ("{{ raise_exception('no such role') }}", "no such role"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "unsafe"),
        ("{{ 1 // 0 }}", "zero"),
        ("{{ messages[0]['content'] + 1 }}", "concatenate"),
    ],
)
def test_what_fails(template: str, message: str) -> None:
    """One kind of error, whatever went wrong."""
    with pytest.raises(TemplateFailure, match=message):
        render(template)


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says which one mends it."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(
        MissingExtraError, match=r'a test: the package jinja2 is not installed. Run `pip install "whelp\[chat\]"`'
    ):
        render("")
