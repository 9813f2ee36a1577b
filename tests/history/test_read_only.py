"""Queries of the history change nothing: they write no ref and keep no object."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2] / "prov"
MODULES = sorted(path for name in ("history", "report") for path in (TOP / name).glob("*.py"))
WRITERS = {
    "RefUpdate",
    "new_run",
    "record_build",
    "remove_label",
    "set_label",
    "set_pin",
    "write_output",
    "write_run",
    "write_workdir",
}
"""Names of functions that write refs and records."""


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            yield from (alias.name for alias in node.names)


def calls(tree: ast.Module, *names: str) -> Iterator[ast.Call]:
    """Yield the calls of methods with certain names: `update` of `store.refs.update(…)`."""
    for node in ast.walk(tree):
        is_method = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if isinstance(node, ast.Call) and is_method and ast.unparse(node.func).endswith(names):
            yield node


def is_in_memory(call: ast.Call) -> bool:
    return any(
        word.arg == "memory" and isinstance(word.value, ast.Constant) and word.value.value is True
        for word in call.keywords
    )


@pytest.mark.parametrize("path", MODULES, ids=lambda path: f"{path.parent.name}.{path.stem}")
def test_nothing_is_written(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert WRITERS.intersection(imported(tree)) == set()
    kept = [call.lineno for call in calls(tree, ".objects.writer") if not is_in_memory(call)]
    assert kept == []
    assert list(calls(tree, ".refs.update", ".fetch", ".pull", ".push")) == []
