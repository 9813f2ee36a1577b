"""The texts that users and developers read: pages, help, docstrings and comments."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).parents[2]
CODE = ("prov", "cli", "tests")
FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2 *$", re.MULTILINE | re.DOTALL)
CODE_SPAN = re.compile(r"`[^`]*`")


@dataclass(frozen=True, slots=True)
class Text:
    """A page, a docstring, a help text or a block of comments, without code."""

    kind: str
    """docs, help, docstrings or comments."""
    path: Path
    line: int
    text: str


def all_texts() -> Iterator[Text]:
    """Yield every text of the project."""
    for path in _pages():
        prose = FENCE.sub(lambda block: "\n" * block[0].count("\n"), path.read_text())
        yield Text("docs", path, 1, CODE_SPAN.sub("CODE", prose))
    for folder in CODE:
        for path in sorted((TOP / folder).rglob("*.py")):
            if "classes" not in path.parts:  # hashed texts, which never change
                yield from _in_module(path)


def _pages() -> Iterator[Path]:
    yield from sorted(TOP.glob("*.md"))
    yield from sorted((TOP / "docs").rglob("*.md"))
    yield from sorted((TOP / ".github").rglob("*.md"))


def _in_module(path: Path) -> Iterator[Text]:
    source = path.read_text()
    tree = ast.parse(source)
    commands = path.is_relative_to(TOP / "cli")
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            value = node.value.value
            if isinstance(value, str):
                kind = "help" if commands else "docstrings"
                yield Text(kind, path, node.lineno, CODE_SPAN.sub("CODE", value))
        elif commands and isinstance(node, ast.keyword) and node.arg == "help":
            yield Text("help", path, node.value.lineno, ast.unparse(node.value))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield Text("comments", path, token.start[0], token.string)
