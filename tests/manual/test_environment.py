"""docs/environment.md lists every variable that prov reads."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from prov.bitbake import shell
from prov.transport import access
from prov.wrapped import step as wrap

from .shared import DOCS

TOP = DOCS.parent
OF_BITBAKE = {"PSEUDO_DISABLED", "PSEUDO_INCLUDE_PATHS", "PSEUDO_IGNORE_PATHS"}
"""Set by BitBake for the layer, not by users."""


def _source() -> Iterator[Path]:
    for folder in ("prov", "cli"):
        for path in (TOP / folder).rglob("*.py"):
            if "classes" not in path.parts:  # scripts of tasks, which get a task's variables
                yield path


def _read_in(tree: ast.AST) -> Iterator[str]:
    """Yield each constant name looked up in `environ` or `environment`."""
    for node in ast.walk(tree):
        match node:
            case ast.Subscript(value=base, slice=ast.Constant(value=str(name))):
                pass
            case ast.Call(
                func=ast.Attribute(value=base, attr="get" | "pop" | "getenv"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                pass
            case ast.Compare(
                left=ast.Constant(value=str(name)), ops=[ast.In() | ast.NotIn()], comparators=[base]
            ):
                pass
            case _:
                continue
        if re.search(r"(^|\.)(os|environ|environment)$", ast.unparse(base)):
            yield name


def _documented() -> set[str]:
    text = (DOCS / "environment.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    return {name for row in rows for name in re.findall(r"`(\w+)`", row.split(" | ")[0])}


def _passed_by_layer() -> set[str]:
    tree = ast.parse((TOP / "prov/bitbake/layer/lib/provlayer/server.py").read_text())
    tables = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PASSED"
    ]
    return {str(node.value) for node in ast.walk(tables[0]) if isinstance(node, ast.Constant)}


def _proxies() -> set[str]:
    text = (TOP / "prov/transport/web_access.py").read_text()
    return set(re.findall(r'"(\w+_(?:proxy|PROXY))"', text))


def test_every_variable_is_documented() -> None:
    names = {name for path in _source() for name in _read_in(ast.parse(path.read_text()))}
    assert {"PROV_STORE", "NO_COLOR", "XDG_STATE_HOME"} <= names
    names |= {*wrap.KEPT_ENVIRONMENT, *access._TLS_VARIABLES.values(), *shell.PASSED}
    names |= _passed_by_layer() | _proxies()
    variables = {name for name in names if name.isidentifier() and name not in OF_BITBAKE}
    assert variables - _documented() == set()


def test_every_documented_variable_is_read() -> None:
    source = "\n".join(path.read_text() for path in _source())
    implicit = {"TMPDIR", "SSH_AUTH_SOCK", "GNUPGHOME"}  # read by tempfile, ssh and GnuPG
    assert {name for name in _documented() - implicit if f'"{name}"' not in source} == set()
