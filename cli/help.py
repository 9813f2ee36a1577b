"""The text of `--help`, identical with every version of typer.

A page has a usage line like git's, the docstring, arguments and options. Lines of a docstring that
are indented by four spaces, such as examples, are printed unchanged.
"""

from __future__ import annotations

import inspect
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

WIDTH = 80
"""Columns."""
COLUMN = 26
"""The last column in which the descriptions of options begin."""
_TYPES = {"int": "N", "float": "N", "path": "PATH", "file": "PATH", "directory": "PATH"}
"""Start of a type's name in typer -> metavar of an option without its own."""
_TEXTS = {
    "--help": "Print this help.",
    "--install-completion": "Install completion for the current shell.",
}
"""Descriptions of typer's own options."""
_LEFT_OUT = "--show-completion"


class Command(TyperCommand):
    """A command with prov's form of help."""

    def get_usage(self, ctx: Any) -> str:
        return _usage(self, ctx, ["[OPTIONS]"])

    def get_help(self, ctx: Any) -> str:
        return _page(self, ctx)


class Group(TyperGroup):
    """A command with subcommands and prov's form of help."""

    def get_usage(self, ctx: Any) -> str:
        return _usage(self, ctx, ["[OPTIONS]", "COMMAND", "[ARGS]"])

    def get_help(self, ctx: Any) -> str:
        return _page(self, ctx, self.sections())

    def sections(self) -> Mapping[str, Mapping[str, str]]:
        """Return title -> command -> summary, in the order in which the help lists them."""
        shown = {
            name: summary(command) for name, command in self.commands.items() if not command.hidden
        }
        return {"Commands": shown}


class CommandGroup(typer.Typer):
    """A table of subcommands, which a module fills with `@group.command(NAME)`."""

    def __init__(self, help: str) -> None:
        super().__init__(
            cls=Group,
            help=inspect.cleandoc(help),
            no_args_is_help=True,
            add_completion=False,
            rich_markup_mode=None,
        )

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        return super().command(name, cls=Command, **settings)


def summary(command: Any) -> str:
    """Return the first sentence of a command's help, without its full stop."""
    paragraph = (command.help or "").split("\n\n")[0]
    return " ".join(paragraph.split()).removesuffix(".")


def is_argument(param: Any) -> bool:
    """Return whether a parameter is positional."""
    return bool(param.param_type_name == "argument")


def argument_metavar(param: Any) -> str:
    """Return an argument in the form of usage lines: `NAME`, `[NAME]`, `NAME...`."""
    name = param.metavar or param.name.upper()
    if param.nargs == -1:
        name += "..."
    if param.required or name.startswith("["):
        return str(name)
    return f"[{name}]"


def option_metavar(param: Any) -> str:
    """Return the metavar of an option; empty for a flag."""
    if param.is_flag or param.count:
        return ""
    if param.metavar:
        return str(param.metavar)
    choices = getattr(param.type, "choices", None)
    if choices:
        return "|".join(str(choice) for choice in choices)
    for beginning, metavar in _TYPES.items():
        if param.type.name.startswith(beginning):
            return metavar
    return "TEXT"


def option_names(param: Any) -> str:
    """Return an option with its metavar, short names first: `-j, --jobs N`."""
    names = sorted([*param.opts, *param.secondary_opts], key=lambda name: name.startswith("--"))
    return f"{', '.join(names)} {option_metavar(param)}".rstrip()


def default_text(param: Any) -> str:
    """Return `[default: X]`; empty for an option without a printable default."""
    default = param.default
    if not param.show_default or isinstance(default, bool) or callable(default):
        return ""
    text = str(default) if isinstance(default, str | int | float) else ""
    return f"[default: {text}]" if text else ""


def _usage(command: Any, ctx: Any, pieces: list[str]) -> str:
    arguments = []
    for param in command.get_params(ctx):
        if is_argument(param):
            arguments.append(argument_metavar(param))
        elif param.required:
            pieces = [*pieces, option_names(param)]
    start = f"Usage: {ctx.command_path} "
    words = [*pieces, *arguments]
    return textwrap.fill(
        " ".join(words),
        WIDTH,
        initial_indent=start,
        subsequent_indent=" " * len(start),
        break_long_words=False,
        break_on_hyphens=False,
    )


def _page(command: Any, ctx: Any, sections: Mapping[str, Mapping[str, str]] | None = None) -> str:
    arguments = argument_rows(command, ctx)
    options = option_rows(command, ctx)
    parts = [command.get_usage(ctx), _body(command.help or "")]
    commands = dict(sections or {})
    names = [name for rows in commands.values() for name in rows]
    for title, rows in commands.items():
        parts.append(_section(title, rows, names))
    parts.append(_section("Arguments", arguments, arguments))
    parts.append(_section("Options", options, options))
    return "\n\n".join(part for part in parts if part)


def argument_rows(command: Any, ctx: Any) -> dict[str, str]:
    """Return each argument with its description."""
    arguments = [param for param in command.get_params(ctx) if is_argument(param)]
    return {param.metavar or param.name.upper(): param.help or "" for param in arguments}


def option_rows(command: Any, ctx: Any) -> dict[str, str]:
    """Return the names and the metavar of each option, with its description."""
    options = [
        param
        for param in command.get_params(ctx)
        if not is_argument(param) and not param.hidden and _LEFT_OUT not in param.opts
    ]
    return {option_names(param): _described(param) for param in options}


def _described(param: Any) -> str:
    # typer lists the names of --help in no fixed order
    text = next((_TEXTS[name] for name in param.opts if name in _TEXTS), param.help)
    return " ".join(filter(None, (text, default_text(param))))


def _body(text: str) -> str:
    """Return a wrapped docstring, with its indented lines unchanged."""
    paragraphs = []
    for paragraph in inspect.cleandoc(text).split("\n\n"):
        if paragraph.startswith("    "):
            paragraphs.append(paragraph)
        else:
            paragraphs.append(_filled(paragraph, "  "))
    return "\n\n".join(paragraphs)


def _filled(text: str, indent: str) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        WIDTH - 1,
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _section(title: str, rows: Mapping[str, str], aligned: Iterable[str]) -> str:
    """Return a titled table; descriptions begin after the longest aligned name."""
    if not rows:
        return ""
    column = min(max(map(len, aligned)) + 4, COLUMN)
    lines = [line for name, text in rows.items() for line in _row(name, text, column)]
    return "\n".join([f"{title}:", *lines])


def _row(name: str, text: str, column: int) -> Iterable[str]:
    """Yield the lines of a name and its description, which begins at a column."""
    lines = _filled(text or "", " " * column).split("\n")
    if len(name) + 4 > column:
        yield f"  {name}"
    else:
        lines[0] = f"  {name}".ljust(column) + lines[0].lstrip()
    yield from lines
