"""Count a package's files, lines, internal imports and lines of tests."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from dataclasses import dataclass

from tests.counts.module import Module


@dataclass(frozen=True)
class Package:
    """The counts of a package."""

    name: str
    files: int
    lines: int
    internal_imports: int
    test_lines: int

    @property
    def tests_per_line(self) -> float:
        return round(self.test_lines / max(self.lines, 1), 2)


def internal_imports(module: Module) -> int:
    """Return the number of a module's imports from its own package."""
    own = re.compile(rf"{re.escape(module.package)}(\.|$)|prov_{module.package}(\.|$)")
    return sum(
        node.level > 0 or own.match(node.module or "") is not None
        for node in module.nodes
        if isinstance(node, ast.ImportFrom)
    )


def packages(modules: list[Module]) -> list[Package]:
    by_name = defaultdict[str, list[Module]](list)
    for module in modules:
        by_name[module.package].append(module)
    return [measure(name, members) for name, members in by_name.items()]


def measure(name: str, modules: list[Module]) -> Package:
    tests = modules[0].root / "tests"
    if name == "prov":
        files = tests.glob("test_*.py")
    else:
        files = (tests / name.removeprefix("prov.")).rglob("*.py")
    return Package(
        name=name,
        files=len(modules),
        lines=sum(module.text.count("\n") for module in modules),
        internal_imports=sum(map(internal_imports, modules)),
        test_lines=sum(file.read_text().count("\n") for file in files),
    )
