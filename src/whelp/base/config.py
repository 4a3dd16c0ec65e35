"""Strict configuration: YAML + `section.field=value` overrides -> frozen dataclasses.

    load_config(Recipe, {"train": {"num_step": 5}}, where="a.yaml")
    -> ConfigError: a.yaml: unknown key train.num_step. Did you mean train.num_steps?

All problems of a recipe are reported at once. `3e-4` is a number (YAML alone calls it text). A field's meaning stands
beside it, as `field(metadata={"help": ...})` through `option(...)`; the same text feeds `whelp schema`.
"""

from __future__ import annotations

import dataclasses
import glob
import os
import re
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from whelp.base.as_list import as_list
from whelp.base.errors import ConfigError, WhelpError

T = TypeVar("T")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # of a URL; one letter alone is a drive


def option(
    default: Any,
    help: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    is_path: bool = False,
    path_keys: tuple[str, ...] = (),
    if_there: bool = False,
    known_as: tuple[str, ...] = (),
) -> Any:
    """A configuration field: its default, its meaning, its range.

    Args:
        is_path: It is a path, or several.
        path_keys: Those keys of a mapping are.
        if_there: A word that only looks like a path is none: it may name something elsewhere.
        known_as: What other programs call it; who writes that is told this name.
    """
    metadata: dict[str, Any] = {"help": help, "at_least": at_least, "at_most": at_most}
    metadata |= {"is_path": is_path, "path_keys": path_keys, "if_there": if_there, "known_as": known_as}
    if isinstance(default, (dict, list)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def section(kind: type, help: str) -> Any:
    """A field that is a dataclass of its own."""
    return dataclasses.field(default_factory=kind, metadata={"help": help})


def _find_repeated(text: str) -> list[str]:
    """Keys that a mapping has twice: YAML would keep the last of them and forget the others."""
    import yaml

    found = []
    waiting = [yaml.compose(text, Loader=yaml.SafeLoader)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            waiting += node.value
        elif isinstance(node, yaml.MappingNode):
            lines: dict[str, int] = {}
            for key, value in node.value:
                line = key.start_mark.line + 1
                if isinstance(key, yaml.ScalarNode) and lines.setdefault(key.value, line) != line:
                    found.append(f"{key.value} stands there twice, in line {lines[key.value]} and in line {line}")
                waiting.append(value)
    return found


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping from a file."""
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ConfigError(path, [f"not UTF-8 text (byte {error.start})"], "A recipe is a YAML text file.") from None
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" (line {mark.line + 1}, column {mark.column + 1})" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        is_tab = mark is not None and text[mark.index : mark.index + 1] == "\t"
        advice = "YAML is indented with spaces: replace the tab." if is_tab else "Check indentation and quotes there."
        if "<document end>" in problem:
            advice = "A line of three dots ends a YAML document: take it out."
        raise ConfigError(path, [f"not valid YAML{line}: {problem}"], advice) from None
    except ValueError as error:  # what looks like a date, and is none: 2024-13-45
        raise ConfigError(path, [f"holds a value that cannot be read ({error})"], "Put quotes around it.") from None
    if not text.strip():
        raise ConfigError(path, ["is an empty file"], "Start with `data:`; `whelp new NAME` writes a recipe to begin with.")
    if value is None:  # all of it is comments
        return {}
    repeated = _find_repeated(text)
    if repeated:
        raise ConfigError(path, repeated, "Only one of them would count: put them together, or take one out.")
    if not isinstance(value, dict):
        found = "list" if isinstance(value, list) else "single value"
        raise ConfigError(path, [f"is a {found}, not a mapping of sections"], "Start with `data:`.")
    return value


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """['train.num_steps=5', 'data.tokenizer.learn=bpe'] -> {'train': {'num_steps': 5}, 'data': {...}}"""
    import yaml

    example = "Example: train.num_steps=500"
    if isinstance(overrides, Mapping):
        raise ConfigError("overrides", ["they are a mapping, but expected texts of the form section.field=value"], example)
    tree: dict[str, Any] = {}
    problems = []
    for override in as_list(overrides):
        if not isinstance(override, str):
            problems.append(f"{override!r} is no text of the form section.field=value")
            continue
        key, equals, text = override.partition("=")
        parts = key.split(".")
        if not equals or not all(parts) or len(parts) < 2:
            problems.append(f"{override!r} is not of the form section.field=value")
            continue
        try:
            value = yaml.safe_load(text)
        except (yaml.YAMLError, ValueError):
            value = text
        node = tree
        for part in parts[:-1]:
            node = node.setdefault(part, {})
            if not isinstance(node, dict):
                problems.append(f"{override!r} sets a field inside another override's value")
                break
        else:
            node[parts[-1]] = value
    if problems:
        raise ConfigError("overrides", problems, example)
    return tree


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay `over` on `base`, mapping by mapping."""
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def resolve_paths(kind: type, values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Make relative paths of path fields relative to `folder`.

    A word is a path when something stands there, or when it looks like one: a glob, `./` or `../` at its start, `/` at its
    end, a folder that is there, or any folder before a name with a suffix. Other words stay: names, `org/name`, URLs.
    """

    def resolve(word: str, if_there: bool) -> str:
        is_path = _is_there(word, folder) if if_there else _is_path_below(word, folder)
        return str(folder / word) if is_path else word

    return map_paths(kind, values, resolve)


def map_paths(kind: type, values: Mapping[str, Any], change: Callable[[str, bool], str]) -> dict[str, Any]:
    """Apply `change` to every word of the path fields in the values of a config dataclass, told of the field's `if_there`."""

    def walk(value: Any, if_there: bool) -> Any:
        if isinstance(value, Mapping):
            return {key: walk(inside, if_there) for key, inside in value.items()}
        if isinstance(value, list):
            return [walk(item, if_there) for item in value]
        return change(value, if_there) if isinstance(value, str) else value

    changed = dict(values)
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        value, inner = changed.get(field.name), hints[field.name]
        nested = next((kind for kind in (inner, *get_args(inner)) if dataclasses.is_dataclass(kind)), None)
        if_there = field.metadata.get("if_there", False)
        if isinstance(value, Mapping) and nested is not None:
            changed[field.name] = map_paths(typing.cast(type, nested), value, change)
        elif isinstance(value, list) and nested is not None:
            each = typing.cast(type, nested)
            changed[field.name] = [map_paths(each, item, change) if isinstance(item, Mapping) else item for item in value]
        elif isinstance(value, Mapping):
            keys = field.metadata.get("path_keys", ())
            changed[field.name] = {key: walk(inside, if_there) if key in keys else inside for key, inside in value.items()}
        elif field.metadata.get("is_path") and value is not None:
            changed[field.name] = walk(value, if_there)
    return changed


def _is_path_below(word: str, folder: Path) -> bool:
    if os.path.isabs(word) or word.startswith("~"):
        return False
    if os.path.exists(folder / word):
        return True
    if _SCHEME.match(word):
        return False
    if any(sign in word for sign in "*?[") or word.startswith(("./", "../")) or word.endswith("/"):
        return True
    first, slash, _ = word.partition("/")
    return bool(slash) and (Path(word).suffix[1:].isalpha() or os.path.isdir(folder / first))


def _is_there(word: str, folder: Path) -> bool:
    if os.path.isabs(word) or word.startswith("~") or _SCHEME.match(word):
        return False
    if word.startswith(("./", "../")) or os.path.exists(folder / word):
        return True
    return glob.has_magic(word) and any(True for _ in glob.iglob(str(folder / word), recursive=True))


def load_config(kind: type[T], values: Mapping[str, Any], where: object, elsewhere: Mapping[str, str] | None = None) -> T:
    """Build a config dataclass; raise one ConfigError that lists every problem.

    Args:
        elsewhere: Of keys that other programs have: what to do here instead, a sentence, where the name of a field is not enough.
    """
    problems: list[str] = []
    result = _build(kind, values, "", problems, _Names(list_names(kind), elsewhere or {}))
    if problems:
        raise ConfigError(where, problems)
    return typing.cast(T, result)


def to_dict(config: Any) -> dict[str, Any]:
    """The plain values of a config dataclass, nested."""
    return dataclasses.asdict(config)


def _find_nearest(word: str, known: Sequence[str], cutoff: float = 0.5) -> str | None:
    """The known word that is most like one."""
    import difflib

    return next(iter(difflib.get_close_matches(word, known, n=1, cutoff=cutoff)), None)


def list_names(kind: type, path: str = "") -> dict[str, list[str]]:
    """The places, such as train.num_steps, of every name that a field of a config dataclass or of its sections has anywhere."""
    places: dict[str, list[str]] = {}
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        place = f"{path}{field.name}"
        for name in (field.name, *field.metadata.get("known_as", ())):
            places.setdefault(name, []).append(place)
        if dataclasses.is_dataclass(hints[field.name]):
            for name, inner in list_names(typing.cast(type, hints[field.name]), f"{place}.").items():
                places.setdefault(name, []).extend(inner)
    return places


@dataclasses.dataclass(frozen=True)
class _Names:
    """What to tell somebody who writes an unknown key: where a field of that name is, or what is done instead of it."""

    places: Mapping[str, list[str]]
    elsewhere: Mapping[str, str]


def _suggest(key: str, kind: Any, path: str, names: _Names) -> str:
    """What somebody who wrote an unknown key may have meant: here by another name, here misspelled, or in another section."""
    if key in names.elsewhere:
        return names.elsewhere[key]
    fields = dataclasses.fields(kind)
    prefix = f"{path}." if path else ""
    here = next((field.name for field in fields if key in field.metadata.get("known_as", ())), None)
    near = here or _find_nearest(key, [field.name for field in fields], cutoff=0.8)
    if near is None and key in names.places:
        return f"Did you mean {' or '.join(names.places[key])}?"
    near = near or _find_nearest(key, [field.name for field in fields])
    return f"Did you mean {prefix}{near}?" if near else f"Known: {', '.join(field.name for field in fields)}."


def _build(kind: Any, values: Any, path: str, problems: list[str], names: _Names) -> Any:
    if not isinstance(values, Mapping):
        problems.append(f"{path or 'the recipe'} is {values!r}, but a mapping of fields is expected")
        return None
    fields = {field.name: field for field in dataclasses.fields(kind)}
    hints = typing.get_type_hints(kind)
    built: dict[str, Any] = {}
    num_before = len(problems)
    for key, value in values.items():
        dotted = f"{path}.{key}" if path else str(key)
        if key not in fields:
            problems.append(f"unknown key {dotted}. {_suggest(str(key), kind, path, names)}")
            continue
        converted = _convert(hints[key], value, dotted, problems, names)
        if converted is not _BAD:
            _check_range(fields[key], converted, dotted, problems)
            built[key] = converted
    missing = [
        name
        for name, field in fields.items()
        if name not in values and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    problems.extend(f"{path}.{name} is missing" if path else f"{name} is missing" for name in missing)
    if len(problems) > num_before:
        return None
    try:
        return kind(**built)
    except ConfigError as error:
        problems.extend(error.problems)
    except WhelpError as error:
        problems.append(str(error))
    return None


_BAD = object()


def _convert(hint: Any, value: Any, dotted: str, problems: list[str], names: _Names) -> Any:
    origin = get_origin(hint)
    if isinstance(value, os.PathLike):  # from Python
        value = os.fspath(value)
    elif hasattr(value, "dtype") and getattr(value, "ndim", None) == 0:  # a number of NumPy or torch
        value = value.item()
    if hint is Any:
        return value
    if hint is type(None):
        return None if value is None else _wrong(dotted, value, "nothing", problems)
    if origin in (Union, types.UnionType):
        return _convert_union(get_args(hint), hint, value, dotted, problems, names)
    if origin is Literal:
        if value in get_args(hint) and isinstance(value, bool) == isinstance(get_args(hint)[0], bool):
            return value
        choices = ", ".join(map(str, get_args(hint)))
        near = _find_nearest(str(value), [str(choice) for choice in get_args(hint)], cutoff=0.6)
        problems.append(f"{dotted} is {value!r}, but expected one of {choices}." + (f" Did you mean {near}?" if near else ""))
        return _BAD
    if dataclasses.is_dataclass(hint):
        built = _build(hint, value, dotted, problems, names)
        return _BAD if built is None else built
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            return _wrong(dotted, value, "a list", problems)
        inner = get_args(hint)[0]
        items = [_convert(inner, item, f"{dotted}[{index}]", problems, names) for index, item in enumerate(value)]
        return _BAD if any(item is _BAD for item in items) else origin(items)
    if origin is dict:
        return dict(value) if isinstance(value, Mapping) else _wrong(dotted, value, "a mapping", problems)
    return _convert_scalar(hint, value, dotted, problems)


def _convert_union(options: tuple[Any, ...], hint: Any, value: Any, dotted: str, problems: list[str], names: _Names) -> Any:
    if value is None and type(None) in options:
        return None
    if isinstance(value, Mapping):
        for inner in options:
            if dataclasses.is_dataclass(inner):
                return _convert(inner, value, dotted, problems, names)
    exact = [inner for inner in options if isinstance(inner, type) and type(value) is inner]
    for inner in [*exact, *options]:
        attempt: list[str] = []
        converted = _convert(inner, value, dotted, attempt, names)
        if not attempt:
            return converted
    return _wrong(dotted, value, _describe(hint), problems)


def _convert_scalar(hint: Any, value: Any, dotted: str, problems: list[str]) -> Any:
    if hint is bool:
        return value if isinstance(value, bool) else _wrong(dotted, value, "true or false", problems)
    if hint in (int, float):
        number = value
        if isinstance(value, str):
            try:
                number = float(value)
            except ValueError:
                return _wrong(dotted, value, _describe(hint), problems)
        if isinstance(number, bool) or not isinstance(number, (int, float)):
            return _wrong(dotted, value, _describe(hint), problems)
        if hint is int:
            return int(number) if float(number).is_integer() else _wrong(dotted, value, "a whole number", problems)
        return float(number)
    if hint is str:
        return value if isinstance(value, str) else _wrong(dotted, value, "text", problems)
    assert False, f"{dotted}: no rule to read a {hint}"


def _check_range(field: dataclasses.Field[Any], value: Any, dotted: str, problems: list[str]) -> None:
    low, high = field.metadata.get("at_least"), field.metadata.get("at_most")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if low is not None and not value >= low:  # not a number is in no range
        problems.append(f"{dotted} is {value}, but expected at least {low}")
    if high is not None and not value <= high:
        problems.append(f"{dotted} is {value}, but expected at most {high}")


def _wrong(dotted: str, value: Any, expected: str, problems: list[str]) -> Any:
    problems.append(f"{dotted} is {value!r}, but expected {expected}")
    return _BAD


def _describe(hint: Any) -> str:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(_describe(inner) for inner in get_args(hint))
    if origin is Literal:
        return " or ".join(map(str, get_args(hint)))
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false", type(None): "nothing"}
    if origin in (list, tuple):
        return "a list"
    if dataclasses.is_dataclass(hint):
        return f"a mapping with {', '.join(field.name for field in dataclasses.fields(hint))}"
    return names.get(hint) or str(getattr(hint, "__name__", hint))


# YAML 1.1, as many programs read it, takes 3e-4 for text; who writes that means a number.
_WRITTEN_NUMBER = r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$"


def make_schema(kind: type) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of a config dataclass."""
    hints = typing.get_type_hints(kind)
    properties = {}
    for field in dataclasses.fields(kind):
        entry = _schema_of(hints[field.name])
        if field.metadata.get("help"):
            entry["description"] = field.metadata["help"]
        if field.default is not dataclasses.MISSING:
            entry["default"] = field.default
        elif isinstance(field.default_factory, types.LambdaType) and (default := field.default_factory()):
            entry["default"] = default  # a list or a mapping with something in it
        for key, name in (("at_least", "minimum"), ("at_most", "maximum")):
            if field.metadata.get(key) is not None:
                entry[name] = field.metadata[key]
        properties[field.name] = entry
    return {"type": "object", "additionalProperties": False, "properties": properties}


def _schema_of(hint: Any) -> dict[str, Any]:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema_of(inner) for inner in get_args(hint)]}
    if origin is Literal:
        return {"enum": list(get_args(hint))}
    if dataclasses.is_dataclass(hint):
        return make_schema(typing.cast(type, hint))
    if origin in (list, tuple):
        return {"type": "array", "items": _schema_of(get_args(hint)[0])}
    if hint is float:
        return {"type": ["number", "string"], "pattern": _WRITTEN_NUMBER}
    names = {int: "integer", str: "string", bool: "boolean", type(None): "null", dict: "object"}
    return {"type": names[origin or hint]} if (origin or hint) in names else {}
