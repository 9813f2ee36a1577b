"""Collect every error message and hint from the source."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .texts import TOP

ERRORS = re.compile(r"(Error|BadParameter|Problem|Elsewhere|NameUnknown|Conflict|Untrusted)$")
"""Ends of the names of classes and functions whose argument is a message."""
MARK = "{}"
"""Replaces each value in a message."""


@dataclass(frozen=True, slots=True)
class Message:
    """An error message or a hint, with `{}` for each value."""

    path: Path
    line: int
    text: str
    is_hint: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(TOP)}:{self.line}: {self.text}"


def messages() -> list[Message]:
    """Return the messages and hints of prov and of its command line."""
    return [message for path in _modules() for message in _in_module(path)]


def _modules() -> Iterator[Path]:
    for folder in ("prov", "cli"):
        for path in sorted((TOP / folder).rglob("*.py")):
            if "classes" not in path.parts:  # scripts that tasks run
                yield path


def _in_module(path: Path) -> Iterator[Message]:
    tree = ast.parse(path.read_text())
    constants = _constants(tree)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        for keyword in node.keywords:
            if keyword.arg == "hint":
                yield from _texts(path, keyword.value, constants, is_hint=True)
        if ERRORS.search(_name(node.func)) and node.args:
            for argument in node.args[:2]:
                yield from _texts(path, argument, {}, is_hint=False)


def _constants(tree: ast.Module) -> dict[str, ast.expr]:
    """Return the module's constants, such as `_HINT`, with their values."""
    return {
        target.id: node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


def _name(function: ast.expr) -> str:
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


def _texts(
    path: Path, node: ast.expr, constants: dict[str, ast.expr], *, is_hint: bool
) -> Iterator[Message]:
    """Yield each possible text of an expression: both sides of `or` and of a condition."""
    if isinstance(node, ast.BoolOp):
        for value in node.values:
            yield from _texts(path, value, constants, is_hint=is_hint)
    elif isinstance(node, ast.IfExp):
        for value in (node.body, node.orelse):
            yield from _texts(path, value, constants, is_hint=is_hint)
    elif isinstance(node, ast.Name) and node.id in constants:
        yield from _texts(path, constants[node.id], {}, is_hint=is_hint)
    else:
        text = _literal(node)
        if text is not None:
            yield Message(path, node.lineno, text, is_hint)


def _literal(node: ast.expr) -> str | None:
    """Return a string with marks for its values; None for another expression."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if not isinstance(node, ast.JoinedStr):
        return None
    return "".join(
        part.value if isinstance(part, ast.Constant) and isinstance(part.value, str) else MARK
        for part in node.values
    )
