"""Results as a prompt and a notebook show them: at a glance, with long values cut short. The values themselves stay whole."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

_LINE = 60  # signs of a value in a line
_CELL = 300  # signs of a text in a cell
_ROWS = 20  # of a table inside a cell


def make_pre(code: str, *, wraps: bool = True) -> str:
    """HTML of lines that stand below each other sign by sign; notebooks' own styles give some such lines another font."""
    wrapping = "white-space:pre-wrap" if wraps else "white-space:pre;overflow-x:auto"
    return f'<pre style="{wrapping};line-height:normal;font-family:monospace">{code}</pre>'


class ResultRepr:
    """A dataclass that derives from this is shown short: by `repr` in a line, in a notebook as a table.

    >>> @dataclasses.dataclass
    ... class Found(ResultRepr):
    ...     ids: list[int]
    >>> Found(ids=list(range(1000)))
    Found(ids=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, ... 982 more])
    """

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__repr__" not in cls.__dict__:
            cls.__repr__ = ResultRepr.__repr__  # type: ignore[method-assign]  # `dataclass` keeps what stands here, and writes none

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{name}={_shorten(value)}' for name, value in self._list_shown().items())})"

    def _repr_html_(self) -> str:
        return f"<b>{type(self).__name__}</b>{_make_table(self._list_shown(), depth=0)}"

    def _list_shown(self) -> dict[str, Any]:
        """The values to show, by name."""
        return _fields(self)


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _is_record(value: object) -> bool:
    return isinstance(value, Mapping) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _as_mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else _fields(value)


def _shorten(value: object, length: int = _LINE) -> str:
    """A value in about so many signs; what is left out is counted."""
    if isinstance(value, Mapping):
        parts = (f"{key!r}: {_shorten(one, length // 2)}" for key, one in value.items())
        return f"{{{_join(parts, len(value), length)}}}"
    if isinstance(value, (list, tuple)):
        opening, closing = "[]" if isinstance(value, list) else "()"
        comma = "," if isinstance(value, tuple) and len(value) == 1 else ""
        return f"{opening}{_join((_shorten(one, length // 2) for one in value), len(value), length)}{comma}{closing}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = _fields(value)
        parts = (f"{name}={_shorten(one, length // 2)}" for name, one in fields.items())
        return f"{type(value).__name__}({_join(parts, len(fields), length)})"
    text = repr(value)
    if len(text) <= length:
        return text
    if isinstance(value, str):
        return f"{value[: max(length // 2, 1)]!r}... {len(value):,} characters"
    return f"{text[:length]}..."


def _join(parts: Iterable[str], count: int, length: int) -> str:
    shown: list[str] = []
    for part in parts:
        if shown and sum(len(one) + 2 for one in shown) + len(part) > length:
            return f"{', '.join(shown)}, ... {count - len(shown):,} more"
        shown.append(part)
    return ", ".join(shown)


def _make_table(values: Mapping[str, Any], *, depth: int) -> str:
    rows = "".join(
        f'<tr><th style="text-align:left;vertical-align:top">{escape(str(name))}</th>'
        f'<td style="text-align:left">{_write_cell(value, depth)}</td></tr>'
        for name, value in list(values.items())[:_ROWS]
    )
    more = _say_more(len(values) - _ROWS)
    return f"<table>{rows}</table>{more}"


def _write_cell(value: object, depth: int) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:.5g}" if abs(value) < 1e5 else f"{value:,.0f}"
    if isinstance(value, str):
        more = f" ... {len(value):,} characters" if len(value) > _CELL else ""
        return f'<span style="white-space:pre-wrap">{escape(value[:_CELL])}</span>{more}'
    if depth < 2 and _is_record(value):
        found = _as_mapping(value)
        return _make_table(found, depth=depth + 1) if found else ""
    if depth < 2 and isinstance(value, (list, tuple)) and value and all(map(_is_record, value)):
        return _make_rows([_as_mapping(one) for one in value], depth=depth + 1)
    return escape(_shorten(value, _CELL)) if value != [] else ""


def _make_rows(records: Sequence[Mapping[str, Any]], *, depth: int) -> str:
    """A line for each record, a column for each of their names."""
    names = list(dict.fromkeys(name for record in records for name in record))
    head = "".join(f'<th style="text-align:left">{escape(str(name))}</th>' for name in names)
    lines = (
        "".join(f'<td style="text-align:left">{_write_cell(record.get(name), 2)}</td>' for name in names)
        for record in records[:_ROWS]
    )
    return f"<table><tr>{head}</tr>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>{_say_more(len(records) - _ROWS)}"


def _say_more(count: int) -> str:
    return f"... {count:,} more" if count > 0 else ""
