"""`prov query`."""

from __future__ import annotations

import csv
import io
from typing import Annotated, Any

import typer

from prov.errors import ProvError
from prov.query import answer as answers
from prov.query import schema

from .context import JsonOption, StoreOption, open_store
from .output import remark, say, say_exact, say_json
from .pager import paged
from .progress import shown_progress


def command(
    sql: Annotated[
        str, typer.Argument(metavar="[SQL]", help="A SELECT. Default: list the tables.")
    ] = "",
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    json: JsonOption = False,
    path: Annotated[
        bool,
        typer.Option("--path", help="Update the tables and print the path of the SQLite file."),
    ] = False,
    store: StoreOption = None,
) -> None:
    """Query builds, runs, inputs, outputs and files in SQL.

    prov keeps the tables in an SQLite file in the store's cache, reads only new runs and builds
    into it, and makes it again if it is deleted. A query cannot change it. Open it in other
    programs, such as datasette, read-only. The first query that names `inputs`, `edges`, `files` or
    `reads` fills the table, which can take minutes in a large store. docs/query.md describes the
    columns.

    Examples:

        prov query "select task, avg(seconds) from runs group by task"
        datasette "$(prov query --path)"
    """
    opened = open_store(store)
    if sum((bool(sql), path)) == 2 or (as_csv and json):
        raise typer.BadParameter("use only one of SQL and --path, and of --csv and --json")
    if path:
        with shown_progress():
            file = answers.table_path(opened)
        say(str(file))
        return
    if sql:
        with shown_progress():
            answer = answers.answer(opened, sql)
    else:
        answer = answers.Rows(("table", "columns"), _tables())
    if answer.note:
        remark(f"the tables were made in memory: {answer.note}")
    if json:
        _print_json(answer)
    elif as_csv:
        _print_csv(answer)
    else:
        _print(answer)


def _tables() -> list[tuple[Any, ...]]:
    return [(name, ", ".join(columns)) for name, columns in schema.columns().items()]


def _print_json(answer: answers.Rows) -> None:
    if len(set(answer.columns)) < len(answer.columns):
        raise ProvError("two columns have the same name", hint="use AS to name each column")
    rows = [dict(zip(answer.columns, map(_json_value, row), strict=True)) for row in answer.rows]
    say_json("query", columns=list(answer.columns), rows=rows)


def _json_value(value: answers.Value) -> answers.Value:
    """Return a value that JSON has: bytes as hex digits, infinities as text."""
    if isinstance(value, bytes) or value in (float("inf"), float("-inf")):
        return _text(value)
    return value


def _print_csv(answer: answers.Rows) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(answer.columns)
    writer.writerows(map(_text, row) for row in answer.rows)
    say_exact(text.getvalue().encode())


def _print(answer: answers.Rows) -> None:
    rows = [answer.columns, *(tuple(map(_text, row)) for row in answer.rows)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    with paged():
        for row in rows:
            fields = (field.ljust(width) for field, width in zip(row, widths, strict=True))
            say("  ".join(fields).rstrip())


def _text(value: answers.Value) -> str:
    if value is None:
        return ""
    return value.hex() if isinstance(value, bytes) else str(value)
