"""Lists in a format that the user passes: `--format '%(tag) %(time)'`.

The fields are those of the list's JSON. `%(time)` is in local time, `%(time:unix)` in seconds since
the epoch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from .output import say, time_text

FormatOption = Annotated[
    str,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Print each line in this format, as '%(FIELD) %(FIELD)'. Fields are those of --json.",
    ),
]
_FIELD = re.compile(r"%%|%\(([a-z_]+)(:unix)?\)")


def say_formatted(template: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a line for each row. Raises BadParameter for an unknown field."""
    for row in rows:
        say(formatted(template, row))


def formatted(template: str, row: Mapping[str, Any]) -> str:
    """Return a template filled in with the fields of a row. Raises BadParameter."""

    def value(match: re.Match[str]) -> str:
        name, unix = match.groups()
        if name is None:
            return "%"
        if name not in row:
            raise typer.BadParameter(
                f"unknown field %({name}): the fields are {', '.join(row)}",
                param_hint="--format",
            )
        return _text(row[name], is_time=name == "time" and not unix)

    return _FIELD.sub(value, template)


def _text(value: Any, *, is_time: bool) -> str:
    if is_time:
        return time_text(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(value)
    return str(value)
