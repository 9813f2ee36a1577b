"""Check tables from TOML and JSON files against types.

Each error is one line and a hint. msgspec does the checks and reports a reason and a path. The path
omits keys that the user chose (`$.tasks[...].script`), so this module finds those keys and rewrites
the reason in TOML terms.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec

from prov.errors import RecipeError
from prov.text import name_text, nearest

T = TypeVar("T")

_REPORT = re.compile(r"(.*?)(?: - at (`key` in )?`\$(.*)`)?", re.DOTALL)
_STEP = re.compile(r"\.(?P<field>[^.\[]+)|\[(?P<index>\d+)\]|\[\.\.\.\]")
_UNKNOWN_KEY = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_WRONG_TYPE = re.compile(r"Expected `(.*)`, got `.*`")
_TYPES = {
    "str": "a string",
    "bool": "true or false",
    "float": "a number",
    "array": "a list",
    "object": "a table",
}
"""msgspec's type names -> the names used in messages."""
_HINTS = {
    "str": 'write it in quotes: "…"',
    "bool": "write true or false, without quotes",
    "float": "write a number, without quotes",
    "array": "write a list: […]",
    "object": "write a table: [KEY], or KEY = { … }",
    "str | array": 'write "…", or a list: […]',
}
LONGEST_VALUE = 100
"""Maximum characters of an invalid value that a message shows."""


def check(table: object, kind: type[T], where: str) -> T:
    """Convert a table to a type. Raises RecipeError; its message starts with `where`."""
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise explain(error, table, kind, where) from None


def explain(error: msgspec.ValidationError, table: object, kind: Any, where: str) -> RecipeError:
    """Return msgspec's error in terms of the user's keys and TOML's types."""
    match = _REPORT.fullmatch(str(error))
    assert match is not None  # every text matches
    reason, of_key, path = match[1], match[2], match[3] or ""
    entry = _follow(_KeyedValue("", table, kind), path)
    if of_key:
        return _wrong_name(entry, where)
    unknown = _UNKNOWN_KEY.fullmatch(reason)
    if unknown:
        return _unknown_key(unknown[1], entry, where)
    return _wrong_value(reason, entry, where)


@dataclass(frozen=True, slots=True)
class _KeyedValue:
    """A value in a table with its full key (`tasks.go.after[0]`) and its type."""

    key: str
    value: Any
    kind: Any

    def at(self, where: str) -> str:
        """Return the start of an error message about this value."""
        return f"{where}: {name_text(self.key)}" if self.key else where


def _follow(entry: _KeyedValue, path: str) -> _KeyedValue:
    """Return the entry that a msgspec path leads to, starting from `entry`."""
    for step in _STEP.finditer(path):
        if step["field"]:
            entry = _field(entry, step["field"])
        elif step["index"]:
            entry = _item(entry, int(step["index"]))
        else:
            entry = _wrong_entry(entry)
    return entry


def _field(entry: _KeyedValue, name: str) -> _KeyedValue:
    key = f"{entry.key}.{name}" if entry.key else name
    return _KeyedValue(key, entry.value[name], _field_types(entry.kind)[name])


def _item(entry: _KeyedValue, index: int) -> _KeyedValue:
    sequence = _alternative(entry.kind, tuple)
    return _KeyedValue(f"{entry.key}[{index}]", entry.value[index], get_args(sequence)[0])


def _wrong_entry(entry: _KeyedValue) -> _KeyedValue:
    """Return the first entry of a mapping whose value has the wrong type."""
    _names, kind = get_args(_alternative(entry.kind, dict))
    name = next(name for name, value in entry.value.items() if not _is(value, kind))
    return _KeyedValue(f"{entry.key}.{name}", entry.value[name], kind)


def _is(value: object, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


def _alternatives(kind: Any) -> Iterator[Any]:
    """Yield the types of a union, with their annotations."""
    if get_origin(kind) is Annotated and get_origin(get_args(kind)[0]) in (UnionType, Union):
        kind = get_args(kind)[0]
    yield from get_args(kind) if get_origin(kind) in (UnionType, Union) else (kind,)


def _plain(kind: Any) -> Any:
    """Return a type without its annotations."""
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _alternative(kind: Any, origin: type) -> Any:
    """Return the member of a union whose generic origin is `origin`."""
    plain = map(_plain, _alternatives(kind))
    return next(alternative for alternative in plain if get_origin(alternative) is origin)


def _field_types(kind: Any) -> dict[str, Any]:
    """Return the types of a struct's fields, by key."""
    plain = map(_plain, _alternatives(kind))
    struct = next(alternative for alternative in plain if hasattr(alternative, "__struct_fields__"))
    return {field.encode_name: field.type for field in msgspec.structs.fields(struct)}


def _choices(kind: Any) -> tuple[str, ...]:
    """Return the values of a Literal type; empty for other types."""
    return get_args(_plain(kind)) if get_origin(_plain(kind)) is Literal else ()


def _description(kind: Any) -> str:
    """Return the description in a type's annotations, or an empty string."""
    for alternative in _alternatives(kind):
        for annotation in getattr(alternative, "__metadata__", ()):
            if annotation.description:
                return str(annotation.description)
    return ""


def _shown(value: object) -> str:
    try:
        text = repr(value)
    except ValueError:  # Python refuses to print integers of more than 4,300 digits
        return "a huge number"
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _unknown_key(key: str, entry: _KeyedValue, where: str) -> RecipeError:
    keys = _field_types(entry.kind)
    return RecipeError(
        f"{entry.at(where)}: unknown key `{name_text(key)}`",
        hint=nearest(key, keys) or f"use one of {', '.join(keys)}",
    )


def _wrong_name(entry: _KeyedValue, where: str) -> RecipeError:
    names, _values = get_args(_alternative(entry.kind, dict))
    name = next(name for name in entry.value if not _is(name, names))
    return RecipeError(
        f"{entry.at(where)}: invalid name {_shown(name)}", hint=f"use {_description(names)}"
    )


def _wrong_value(reason: str, entry: _KeyedValue, where: str) -> RecipeError:
    at, value = entry.at(where), _shown(entry.value)
    wrong_type = _WRONG_TYPE.fullmatch(reason)
    if wrong_type:
        types = wrong_type[1].split(" | ")
        expected = " or ".join(_TYPES.get(name, name) for name in types)
        hint = _HINTS.get(wrong_type[1], "").replace("KEY", entry.key)
        return RecipeError(f"{at}: expected {expected}, not {value}", hint=hint)
    choices = _choices(entry.kind)
    if choices:
        hint = nearest(str(entry.value), choices) or f"use {' or '.join(choices)}"
        return RecipeError(f"{at}: invalid value {value}", hint=hint)
    description = _description(entry.kind)
    if description:
        return RecipeError(f"{at}: invalid value {value}", hint=f"use {description}")
    return RecipeError(f"{at}: {reason}")
