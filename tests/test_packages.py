"""Packages import only lower packages, and the library has no hidden input or output."""

from __future__ import annotations

import ast
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]
CLASSES = TOP / "prov" / "recipes" / "classes"
"""Programs that recipes run, not modules of the library."""
LAYER = TOP / "prov" / "bitbake" / "layer"
"""Modules that run in BitBake's own processes."""

BASE = {
    "prov.errors": set[str](),
    "prov.userkey": set[str](),
    "prov.text": {"prov.errors"},
    "prov.files": {"prov.errors", "prov.userkey"},
    "prov.progress": set[str](),
    "prov.processes": {"prov.errors", "prov.progress"},
    "prov.terminal": set[str](),
}
"""Modules directly below `prov`, and the ones among them that each may import."""

PACKAGES = (
    "prov.store",
    "prov.worktree",
    "prov.records",
    "prov.transport",
    "prov.intake",
    "prov.remote",
    "prov.sysroot",
    "prov.recipes",
    "prov.reads",
    "prov.tasks",
    "prov.wrapped",
    "prov.claims",
    "prov.sharing",
    "prov.upkeep",
    "prov.doctor",
    "prov.scheduler",
    "prov.history",
    "prov.query",
    "prov.statements",
    "prov.report",
    "prov.replay",
    "prov.dependencies",
    "prov.sbom",
    "prov.bisect",
    "prov.fsck",
    "prov.forget",
    "prov.bitbake",
    "prov.buildroot",
    "prov.farm",
    "prov.reapi",
)
"""The packages from bottom to top: a package may import those before it."""

APART = {
    "prov.store": {"prov.processes", "prov.terminal"},
    "prov.transport": {"prov.worktree", "prov.records"},
    "prov.intake": {"prov.records"},
    "prov.recipes": {
        "prov.worktree",
        "prov.transport",
        "prov.intake",
        "prov.remote",
        "prov.sysroot",
    },
    "prov.reads": {"prov.transport", "prov.intake", "prov.remote", "prov.sysroot", "prov.recipes"},
    "prov.tasks": {"prov.transport", "prov.intake", "prov.remote", "prov.sysroot"},
    "prov.sharing": {"prov.sysroot"},
    "prov.upkeep": {"prov.transport", "prov.intake", "prov.remote", "prov.sysroot", "prov.sharing"},
    "prov.scheduler": {"prov.sysroot"},
    "prov.report": {"prov.transport", "prov.intake", "prov.remote", "prov.sysroot", "prov.replay"},
    "prov.sysroot": {"prov.records", "prov.transport", "prov.intake", "prov.remote"},
}
"""Lower packages that a package must not import; only packages above use both together."""

LIBRARIES = {
    "cryptography": {"prov.statements", "prov.farm"},
    "distributed": {"prov.farm"},
    "google": {"prov.reapi"},
    "grpc": {"prov.reapi"},
    "isal": {"prov.store", "prov.worktree"},
    "msgspec": {
        "prov.bitbake",
        "prov.buildroot",
        "prov.farm",
        "prov.recipes",
        "prov.scheduler",
        "prov.tasks",
    },
    "pathspec": {"prov.worktree", "prov.tasks"},  # tasks expose it to class scripts in the sandbox
    "pygit2": {"prov.store"},
    "securesystemslib": {"prov.statements"},
    "tqdm": {"cli"},
    "typer": {"cli"},
    "urllib3": {"prov.transport"},
}
"""The packages that may import each library."""


def allowed_imports(package: str) -> set[str]:
    """Return the packages and modules below `prov` that a package may import."""
    own = {package, "prov.__version__"}
    if package == "prov":
        return own
    if package in BASE:
        return BASE[package] | own
    below = set(PACKAGES[: PACKAGES.index(package)])
    return (BASE.keys() | below | own) - APART.get(package, set())


MODULES = sorted(
    path for path in (TOP / "prov").rglob("*.py") if not {CLASSES, LAYER}.intersection(path.parents)
)
COMMANDS = sorted((TOP / "cli").rglob("*.py"))


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def module_name(path: Path) -> str:
    parts = path.relative_to(TOP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def package_of(module: str) -> str:
    return ".".join(module.split(".")[:2])


MEMBERS = {
    package: [path for path in MODULES if package_of(module_name(path)) == package]
    for package in ("prov", *BASE, *PACKAGES)
}
"""The modules of each package."""


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the (line, module) of every import, including imports inside functions.

    `from prov import x` yields prov.x.
    """
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                assert COMMANDS[0].parent in path.parents, (
                    f"{path}:{node.lineno}: a relative import hides its floor"
                )
            elif node.module in ("prov", "prov_cli", "cli"):
                yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)
            elif node.module:
                yield node.lineno, node.module


def of(path: Path) -> str:
    return str(path.relative_to(TOP))


@pytest.mark.parametrize("mine", MEMBERS)
def test_imports_go_down_only(mine: str) -> None:
    allowed = allowed_imports(mine)
    wrong = [
        f"{of(path)}:{line}: {mine} imports {module}"
        for path in MEMBERS[mine]
        for line, module in imports(path)
        if module.split(".")[0] in ("prov", "cli", "prov_cli") and package_of(module) not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("package", [*MEMBERS, "cli"])
def test_libraries_are_imported_only_where_they_belong(package: str) -> None:
    ours = sys.stdlib_module_names | {"prov", "prov_cli", "cli"}
    tops = [
        (f"{of(path)}:{line}", module.split(".")[0])
        for path in MEMBERS.get(package, COMMANDS)
        for line, module in imports(path)
    ]
    wrong = [
        f"{place}: {package} imports {top}"
        for place, top in tops
        if top not in ours and package not in LIBRARIES[top]
    ]
    assert wrong == []


def names(tree: ast.AST) -> list[ast.Name | ast.Attribute]:
    """Return the lines in which a module uses a name, with or without dots."""
    return [node for node in ast.walk(tree) if isinstance(node, ast.Name | ast.Attribute)]


def dotted(node: ast.AST) -> str:
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


ENVIRONMENT = (
    "os.environ",
    "os.environb",
    "os.getenv",
    "os.path.expanduser",
    "Path.home",
    "Path.expanduser",
)
OUTPUT = (
    "print",
    "input",
    "sys.stdout",
    "sys.stderr",
    "sys.stdin",
    "sys.exit",
    "sys.argv",
    "warnings.warn",
)
THREADS = ("threading", "concurrent", "concurrent.futures", "multiprocessing")


def test_the_library_never_prints() -> None:
    wrong = [
        f"{of(path)}:{node.lineno}: {dotted(node)}"
        for path in MODULES
        for node in names(parsed(path))
        if dotted(node) in OUTPUT
    ]
    assert wrong == []


def environment_reads(path: Path) -> list[str]:
    tree = parsed(path)
    defaults = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.arguments)
        for default in [*node.defaults, *node.kw_defaults]
        if default is not None
        for inner in ast.walk(default)
    }
    reading = [
        node for node in names(tree) if dotted(node) in ENVIRONMENT and id(node) not in defaults
    ]
    return [f"{of(path)}:{node.lineno}: {dotted(node)}" for node in reading]


def test_the_library_reads_no_environment_on_its_own() -> None:
    callers = [path for path in MODULES if module_name(path) != "prov.store.git"]
    # which passes a sealed environment to git
    assert [place for path in callers for place in environment_reads(path)] == []


def test_the_library_runs_no_threads_since_it_forks() -> None:
    wrong = [
        f"{of(path)}:{line}: {module}"
        for path in MODULES
        for line, module in imports(path)
        if module in THREADS
    ]
    assert wrong == []


@pytest.mark.parametrize("path", sorted(LAYER.rglob("*.py")), ids=of)
def test_the_layer_needs_nothing_but_python_and_bitbake(path: Path) -> None:
    wanted = {module.split(".")[0] for _, module in imports(path)}
    # oe, to replace functions of staging.bbclass
    assert wanted <= sys.stdlib_module_names | {"bb", "provlayer"} | (
        {"oe"} if path.name == "sysroot.py" else set()
    )


def test_every_package_has_its_place_and_is_installed() -> None:
    packages = {package_of(module_name(path)) for path in MODULES}
    assert packages == {"prov", *BASE, *PACKAGES}
    installed = tomllib.loads((TOP / "pyproject.toml").read_text())["tool"]["setuptools"][
        "packages"
    ]
    folders = {module_name(path) for path in MODULES if path.name == "__init__.py"}
    assert set(installed) == {"prov_cli", *folders}


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_is_not_too_flat(package: str) -> None:
    folder = TOP / package.replace(".", "/")
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    assert len(modules) <= 16
