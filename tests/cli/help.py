"""The help of every command as one text, recorded in tests/cli/help.txt.

`make man` and `python -m tests.cli.help` write that file.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from prov_cli.app import app
from prov_cli.commands import COMMANDS, load_command

SNAPSHOT = Path(__file__).with_name("help.txt")


def all_help() -> str:
    """Return the help of prov, of its commands and of their subcommands."""
    root = typer.main.get_command(app)
    context = _context(root, "prov", None)
    pages = [context.get_help()]
    for name in COMMANDS:
        pages += _pages(load_command(name), name, context)
    line = "\n" + "-" * 80 + "\n"
    return line.join(pages) + "\n"


def _pages(command: Any, name: str, parent: Any) -> Iterator[str]:
    context = _context(command, name, parent)
    yield context.get_help()
    for below, subcommand in getattr(command, "commands", {}).items():
        if not subcommand.hidden:
            yield from _pages(subcommand, below, context)


def _context(command: Any, name: str, parent: Any) -> Any:
    settings = getattr(command, "context_settings", {})
    return command.context_class(command, info_name=name, parent=parent, **settings)


if __name__ == "__main__":
    SNAPSHOT.write_text(all_help())
