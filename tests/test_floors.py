"""Imports go down only, and the library speaks to nobody behind its caller's back."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
CLASSES = TOP / "prov" / "build" / "classes"
"""Programs that recipes run, not modules of the library."""
LAYER = TOP / "prov" / "bitbake" / "layer"
"""What runs in BitBake's own processes."""

BASE = {"prov.errors", "prov.files", "prov.processes", "prov.terminal", "prov.text", "prov.userkey"}
MAY_IMPORT = {
    "prov": set[str](),
    "prov.errors": set[str](),
    "prov.files": {"prov.errors", "prov.userkey"},
    "prov.processes": {"prov.errors"},
    "prov.terminal": set[str](),
    "prov.text": set[str](),
    "prov.userkey": set[str](),
    "prov.store": {"prov.errors", "prov.files"},
    "prov.worktree": BASE | {"prov.store"},
    "prov.sysroot": BASE | {"prov.store", "prov.worktree"},
    "prov.remote": BASE | {"prov.store", "prov.worktree"},
    "prov.build": BASE | {"prov.store", "prov.worktree", "prov.remote"},
    "prov.history": BASE | {"prov.store", "prov.worktree", "prov.remote", "prov.sysroot", "prov.build"},
    "prov.bitbake": BASE | {"prov.store", "prov.worktree", "prov.remote", "prov.sysroot", "prov.build", "prov.history"},
}

MODULES = sorted(path for path in (TOP / "prov").rglob("*.py") if not {CLASSES, LAYER}.intersection(path.parents))
COMMANDS = sorted((TOP / "cli").rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(TOP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(module: str) -> str:
    return ".".join(module.split(".")[:2])


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, module) of every import, those inside functions too; `from prov import x` is prov.x."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                assert COMMANDS[0].parent in path.parents, f"{path}:{node.lineno}: a relative import hides its floor"
            elif node.module in ("prov", "prov_cli", "cli"):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            elif node.module:
                yield node.lineno, node.module


def of(path: Path) -> str:
    return str(path.relative_to(TOP))


@pytest.mark.parametrize("path", MODULES, ids=of)
def test_imports_go_down_only(path: Path) -> None:
    mine = floor(module_name(path))
    allowed = MAY_IMPORT[mine] | {mine, "prov.__version__"}
    wrong = [
        f"{of(path)}:{line}: {mine} imports {module}"
        for line, module in imports(path)
        if module.split(".")[0] in ("prov", "cli", "prov_cli") and floor(module) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("path", [path for path in MODULES + COMMANDS if "store" not in path.parts], ids=of)
def test_only_the_store_knows_libgit2(path: Path) -> None:
    assert [f"{of(path)}:{line}" for line, module in imports(path) if module.split(".")[0] == "pygit2"] == []


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


ENVIRONMENT = ("os.environ", "os.environb", "os.getenv", "os.path.expanduser", "Path.home", "Path.expanduser")
OUTPUT = ("print", "input", "sys.stdout", "sys.stderr", "sys.stdin", "sys.exit", "sys.argv", "warnings.warn")
THREADS = ("threading", "concurrent", "concurrent.futures", "multiprocessing")


@pytest.mark.parametrize("path", MODULES, ids=of)
def test_the_library_never_prints(path: Path) -> None:
    tree = ast.parse(path.read_text())
    found = [f"{of(path)}:{node.lineno}: {dotted(node)}" for node in ast.walk(tree) if dotted(node) in OUTPUT]  # type: ignore[attr-defined]
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=of)
def test_the_library_reads_no_environment_behind_the_callers_back(path: Path) -> None:
    if module_name(path) == "prov.store.git":
        return  # hands git the environment, sealed
    tree = ast.parse(path.read_text())
    defaults = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.arguments)
        for default in [*node.defaults, *node.kw_defaults]
        if default is not None
        for inner in ast.walk(default)
    }
    found = [
        f"{of(path)}:{node.lineno}: {dotted(node)}"  # type: ignore[attr-defined]
        for node in ast.walk(tree)
        if dotted(node) in ENVIRONMENT and id(node) not in defaults
    ]
    assert found == []


@pytest.mark.parametrize("path", MODULES, ids=of)
def test_the_library_runs_no_threads_since_it_forks(path: Path) -> None:
    assert [f"{of(path)}:{line}: {module}" for line, module in imports(path) if module in THREADS] == []


@pytest.mark.parametrize("path", sorted(LAYER.rglob("*.py")), ids=of)
def test_the_layer_needs_nothing_but_python_and_bitbake(path: Path) -> None:
    wanted = {module.split(".")[0] for _, module in imports(path)}
    # oe is where staging.bbclass is, whose place is taken
    assert wanted <= sys.stdlib_module_names | {"bb", "provlayer"} | ({"oe"} if path.name == "sysroot.py" else set())


def test_every_floor_is_known() -> None:
    assert {floor(module_name(path)) for path in MODULES} <= MAY_IMPORT.keys()
