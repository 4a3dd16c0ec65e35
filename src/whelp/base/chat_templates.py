"""Chat templates: Jinja that writes a conversation as its model was taught to read it, run as `transformers` runs it.

A template comes with a model, so it runs in a sandbox.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from whelp.base.errors import MissingExtraError

Render = Callable[..., str]
"""Messages, and further values by name -> text. Raises `TemplateFailure`."""


class TemplateFailure(Exception):
    """A template is no valid Jinja, or refuses a conversation. Whoever uses it says where and what to do."""


def compile_chat_template(source: str, *, where: str, knows_time: bool) -> Render:
    """Compile a template once, to render many conversations.

    Args:
        where: What needs it, for the error.
        knows_time: Whether it may ask what time it is: not where the same rows must give the same text.

    Raises:
        TemplateFailure: When it is not valid.
        MissingExtraError: When `jinja2` is not installed.
    """
    try:
        from jinja2 import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError:
        raise MissingExtraError(where, "jinja2", "chat") from None

    def refuse(message: str) -> NoReturn:
        raise TemplateError(message)

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"])
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = refuse
    if knows_time:
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
    # {% generation %} marks what is trained elsewhere; here the turns say that.
    source = re.sub(r"(\{%-?)\s*generation\s*(-?%\})", r"\1 if true \2", source)
    source = re.sub(r"(\{%-?)\s*endgeneration\s*(-?%\})", r"\1 endif \2", source)
    try:
        template = environment.from_string(source)
    except TemplateError as error:
        raise TemplateFailure(str(error)) from None

    def render(messages: Sequence[Mapping[str, Any]], **values: Any) -> str:
        try:
            return str(template.render(messages=list(messages), **values))
        except (TemplateError, TypeError, ValueError, LookupError, ArithmeticError) as error:
            raise TemplateFailure(str(error)) from None

    return render


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
