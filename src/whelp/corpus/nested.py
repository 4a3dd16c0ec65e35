"""What lies inside the columns of a file: fields of objects, which are named with dots, and lists.

`fields.body` is the field `body` of the objects in the column `fields`; a column of that very name comes first.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from whelp.base.arrays import holds_text

_MOST_ITEMS = 20  # of a list that are looked at
_MOST_FIELDS = 8  # of an object that are named
_SENDERS = {"content": "role", "value": "from"}  # of turns: the field of what is said, and that of who says it
_OPENAI, _SHAREGPT = _SENDERS.items()


@dataclass(frozen=True)
class Holding:
    """What a column holds: text; or `fields` that hold text further inside it, named with dots, '' for the items of a list."""

    is_text: bool
    fields: tuple[str, ...] = ()
    is_list: bool = False

    @property
    def is_turns(self) -> bool:
        """Whether these look like the turns of a conversation."""
        return any(text in self.fields and sender in self.fields for text, sender in _SENDERS.items())

    def say_inside(self) -> str:
        """What is inside, for people: `an object with subject, body`."""
        if self.fields == ("",):
            return "a list of texts"
        more = f" and {len(self.fields) - _MOST_FIELDS} more" if len(self.fields) > _MOST_FIELDS else ""
        named = ", ".join(name for name in self.fields[:_MOST_FIELDS] if name)
        return f"{'a list of objects' if self.is_list else 'an object'} with {named}{more}"


TEXT_ITSELF = Holding(is_text=True)


def look_at_type(kind: pa.DataType) -> Holding:
    """What a column of an Arrow type holds.

    >>> look_at_type(pa.struct([("id", pa.int64()), ("body", pa.string())])).fields
    ('body',)
    """
    if holds_text(kind):
        return TEXT_ITSELF
    if pa.types.is_struct(kind):
        return Holding(is_text=False, fields=tuple(_iter_paths({inner.name: look_at_type(inner.type) for inner in kind})))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind) or pa.types.is_map(kind):
        inner = look_at_type(kind.value_type if not pa.types.is_map(kind) else pa.struct([kind.key_field, kind.item_field]))
        return Holding(is_text=False, fields=("",) if inner.is_text else inner.fields, is_list=True)
    return Holding(is_text=False)


def look_at_schema(schema: pa.Schema) -> dict[str, Holding]:
    """What each column holds."""
    return {column.name: look_at_type(column.type) for column in schema}


def _iter_paths(inside: Mapping[str, Holding]) -> Iterator[str]:
    for name, held in inside.items():
        if held.is_text or (held.is_list and held.fields):
            yield name
        else:
            yield from (f"{name}.{path}" for path in held.fields)


@dataclass
class _Seen:
    """What the values of a column held so far."""

    is_text: bool = False
    is_list: bool = False
    items_are_text: bool = False
    inside: dict[str, _Seen] = field(default_factory=dict)

    def add(self, value: Any) -> None:
        if isinstance(value, str):
            self.is_text = True
        elif isinstance(value, dict):
            for name, inner in value.items():
                self.inside.setdefault(name, _Seen()).add(inner)
        elif isinstance(value, list):
            self.is_list = True
            for item in islice(value, _MOST_ITEMS):
                self.items_are_text |= isinstance(item, str)
                if isinstance(item, dict | list):
                    self.add(item)

    def say(self) -> Holding:
        if self.is_text:
            return TEXT_ITSELF
        paths = _iter_paths({name: seen.say() for name, seen in self.inside.items()})
        return Holding(is_text=False, fields=(*paths, *([""] if self.items_are_text else [])), is_list=self.is_list)


def look_at_rows(rows: Iterable[dict[str, Any]]) -> dict[str, Holding]:
    """What each column of parsed rows holds.

    >>> look_at_rows([{"id": 1, "talk": [{"from": "a", "value": "Hi"}]}])["talk"].fields
    ('from', 'value')
    """
    seen = _Seen()
    for row in rows:
        seen.add(row)
    return {name: inner.say() for name, inner in seen.inside.items()}


def is_path(name: str) -> bool:
    """Whether a name may be that of a field of an object."""
    return "." in name and all(name.split("."))


def holds(row: Mapping[str, Any], name: str) -> bool:
    """Whether a parsed row has a column, or a field of that name inside."""
    if name in row or not is_path(name):
        return name in row
    *above, last = name.split(".")
    inner = _descend(row, above)
    return isinstance(inner, dict) and last in inner


def look_up(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column, or of a field inside; None where there is none.

    >>> look_up({"fields": {"body": "Hi"}}, "fields.body"), look_up({"fields": None}, "fields.body")
    ('Hi', None)
    """
    return row[name] if name in row else _descend(row, name.split(".")) if is_path(name) else None


def _descend(value: Any, names: Iterable[str]) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def spread(schema: pa.Schema, names: Iterable[str]) -> pa.Schema:
    """A schema with those of the named fields that lie inside its columns, as columns of their own, at its end."""
    found = []
    for name in names:
        if name in schema.names or not is_path(name):
            continue
        kind = _find_type(schema, name.split("."))
        if kind is not None:
            found.append(pa.field(name, kind))
    return pa.schema([*schema, *found]) if found else schema


def _find_type(schema: pa.Schema, names: list[str]) -> pa.DataType | None:
    kind: Any = pa.struct(list(schema))
    for name in names:
        if not pa.types.is_struct(kind) or kind.get_field_index(name) < 0:
            return None
        kind = kind.field(name).type
    return kind


def find_place(schema: pa.Schema, name: str) -> tuple[str, list[str]]:
    """The column in which a named one lies, and the fields that lead to it: none where it is a column itself."""
    root, *below = [name] if name in schema.names else name.split(".")
    return root, below


def list_roots(schema: pa.Schema, names: Iterable[str]) -> list[str]:
    """The columns in which the named ones lie."""
    return list(dict.fromkeys(find_place(schema, name)[0] for name in names))


def read_column(batch: pa.RecordBatch, name: str) -> pa.Array:
    """A column, or the field of that name inside; null where an object above it is."""
    root, below = find_place(batch.schema, name)
    values = batch.column(batch.schema.names.index(root))
    return pc.struct_field(values, below) if below else values


def nest(types: Mapping[str, pa.DataType], columns: Collection[str] = ()) -> pa.Schema | None:
    """The schema in which fields lie inside of objects; None where one is named, and a field inside of it, too.

    Args:
        columns: Names with dots that are columns.

    >>> nest({"id": pa.string(), "fields.body": pa.string()}).field("fields").type
    StructType(struct<body: string>)
    """
    tree: dict[str, Any] = {}
    for name, kind in types.items():
        *above, last = name.split(".") if is_path(name) and name not in columns else [name]
        place = tree
        for part in above:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                return None
        if last in place:
            return None
        place[last] = kind
    return pa.schema(_to_fields(tree))


def _to_fields(tree: Mapping[str, Any]) -> list[pa.Field]:
    return [pa.field(name, pa.struct(_to_fields(kind)) if isinstance(kind, dict) else kind) for name, kind in tree.items()]


def advise(columns: Mapping[str, Holding]) -> str:
    """What to set where text lies inside of columns: the options of a conversation, or how to name a field. Empty if nothing is."""
    for name, held in columns.items():
        if held.is_turns:
            return _advise_turns(name, held)
    paths = [f"{name}.{path}" for name, held in columns.items() if not held.is_list for path in held.fields]
    if paths:
        several = f"data.multi_column_keys='[{', '.join(paths[:2])}]'"
        return f"A field of an object is named with a dot, as in data.custom_text_key={paths[0]} or {several}."
    if any(held.is_list and held.fields != ("",) for held in columns.values() if held.fields):
        return "A list of objects can be a conversation: see data.conversation_format."
    return ""


def _advise_turns(name: str, held: Holding) -> str:
    options = ["data.conversation_template=tokenizer"]
    if name != "messages":
        options.append(f"data.conversation_key={name}")
    if not {*_OPENAI} <= {*held.fields}:
        text, sender = _SHAREGPT
        options += [
            f"data.conversation_sender_key={sender}",
            f"data.conversation_input_key_map='{{{text}: \"\"}}'",
            "data.conversation_sender_value_map='{human: user, gpt: assistant}'",
        ]
    return (
        f"If {name} holds conversations, set {' '.join(options)}; the vocabulary must have a chat template, as a learned one has with "
        "special_tokens: [chat]."
    )
