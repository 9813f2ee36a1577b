"""Manual pages as data, read from the commands' own help: its usage, options and docstrings."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import typer
from prov_cli.app import app
from prov_cli.commands import load_command
from prov_cli.help import argument_rows, option_rows

ALWAYS = {"Arguments", "Options"}
"""The sections of parameters. All other sections list commands."""

Rows = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph, or lines that must not be wrapped, such as an example."""

    lines: tuple[str, ...]
    literal: bool = False

    @property
    def joined(self) -> str:
        """The paragraph as one line."""
        return " ".join(self.lines)


@dataclass(frozen=True, slots=True)
class Page:
    """The page of one command."""

    command: tuple[str, ...]
    """`prov`, `remote`, `add`."""
    usage: str
    """`prov remote add [OPTIONS] NAME URL`."""
    summary: str
    """First sentence of the help, without its full stop."""
    description: list[Text]
    sections: list[tuple[str, Rows]]
    """The help's lists of arguments, options and commands: title, terms with their texts."""
    examples: list[Text]

    @property
    def name(self) -> str:
        """`prov-remote-add`."""
        return "-".join(self.command)


def all_pages() -> list[Page]:
    """Return the pages of `prov`, its commands and their subcommands, in the order of the help."""
    root = typer.main.get_command(app)
    context = _context(root, "prov", None)
    pages = [_page(root, context)]
    for name in root.list_commands(context):  # type: ignore[attr-defined]
        pages += _with_subcommands(load_command(name), name, context)
    return pages


def _with_subcommands(command: Any, name: str, parent: Any) -> Iterator[Page]:
    context = _context(command, name, parent)
    yield _page(command, context)
    for below, subcommand in getattr(command, "commands", {}).items():
        if not subcommand.hidden:
            yield from _with_subcommands(subcommand, below, context)


def _context(command: Any, name: str, parent: Any) -> Any:
    settings = getattr(command, "context_settings", {})
    return command.context_class(command, info_name=name, parent=parent, **settings)


def _page(command: Any, context: Any) -> Page:
    summary, description, examples = read_help(command.help or "")
    tables = dict(command.sections()) if hasattr(command, "sections") else {}
    tables |= {"Arguments": argument_rows(command, context)}
    tables |= {"Options": option_rows(command, context)}
    return Page(
        tuple(context.command_path.split()),
        " ".join(command.get_usage(context).split()).removeprefix("Usage: "),
        summary,
        description,
        [(title, list(rows.items())) for title, rows in tables.items() if rows],
        examples,
    )


def read_help(text: str) -> tuple[str, list[Text], list[Text]]:
    """Split a docstring into its first sentence, its paragraphs, and its examples."""
    paragraphs = [
        lines for lines in _paragraphs(inspect.cleandoc(text.replace("\f", "\n"))) if lines
    ]
    first = " ".join(paragraphs[0]) if paragraphs else ""
    summary, _, rest = first.partition(". ")
    description = [Text((rest,))] if rest else []
    examples: list[Text] = []
    current = description
    for lines in paragraphs[1:]:
        if re.fullmatch(r"Examples?:", lines[0]):
            current, lines = examples, lines[1:]
        elif not lines[0].startswith(" "):
            current = description
        current += _texts(lines)
    return summary.removesuffix("."), description, examples


def _paragraphs(text: str) -> Iterator[list[str]]:
    for block in re.split(r"\n\s*\n", text):
        yield [line for line in block.splitlines() if line.strip() not in ("", "\b")]


def _texts(lines: list[str]) -> Iterator[Text]:
    """Yield lines as texts; indented ones are literal."""
    plain = [line for line in lines if not line.startswith(" ")]
    if plain:
        yield Text(tuple(plain))
    indented = inspect.cleandoc("\n".join(line for line in lines if line.startswith(" ")))
    if indented:
        yield Text(tuple(indented.splitlines()), literal=True)
