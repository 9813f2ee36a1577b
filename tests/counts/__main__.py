"""Measure the readability of the code by counts, and check their limits.

    .venv/bin/python -m tests.counts [FOLDER]            print all counts, of this or another copy
    .venv/bin/python -m tests.counts --list COUNT        print the counted places of one count
    .venv/bin/python -m tests.counts --check             exit 1 if a limit is exceeded

The limits are in limits.py. When you improve a count, lower its limit.
"""

from __future__ import annotations

import argparse
import ast
import statistics
import sys
from bisect import bisect_left, bisect_right
from pathlib import Path

from tests.counts.limits import LIMITS, TESTS_PER_LINE
from tests.counts.module import Function, Module, read_modules
from tests.counts.packages import Package, packages
from tests.counts.places import COUNTS, bindings, places

TOP = Path(__file__).parents[2]


def function_sizes(modules: list[Module]) -> list[int]:
    """Return the number of tokens of each function, sorted."""
    return sorted(size(module, node) for module in modules for node in module.functions)


def size(module: Module, function: Function) -> int:
    first = bisect_left(module.token_lines, function.lineno)
    return bisect_right(module.token_lines, function.end_lineno or 0) - first


def numbers(modules: list[Module], by_count: dict[str, list[str]]) -> dict[str, float]:
    """Return every count of the whole code; lines are lines of code."""
    sizes = function_sizes(modules)
    lines = sum(len(set(module.token_lines)) for module in modules)
    tokens = sum(len(module.token_lines) for module in modules)
    ternaries = sum(isinstance(node, ast.IfExp) for one in modules for node in one.nodes)
    names = sum(1 for module in modules for _ in bindings(module))
    return {name: len(each) for name, each in by_count.items()} | {
        "conditionals per 1,000 lines": round(1000 * ternaries / lines, 1),
        "tokens per function, median": statistics.median(sizes),
        "tokens per function, 90th": sizes[len(sizes) * 9 // 10],
        "tokens per line": round(tokens / lines, 1),
        "empty names, % of bindings": round(100 * len(by_count["empty names"]) / names, 1),
    }


def print_table(counts: dict[str, float], by_package: list[Package]) -> None:
    print(f"{'count':30} {'now':>7} {'limit':>7}")
    for name, limit in LIMITS.items():
        print(f"{name:30} {counts[name]:7} {limit:7}")
    print(f"\n{'package':18} files   lines  imports of its own  lines of tests per line")
    for one in by_package:
        own, tests = one.internal_imports, one.tests_per_line
        print(f"{one.name:18} {one.files:5} {one.lines:7} {own:19} {tests:24.2f}")


def broken_limits(counts: dict[str, float], by_package: list[Package]) -> list[str]:
    """Return a line for each exceeded limit."""
    over = [
        f"{name}: {counts[name]}, at most {limit} (python -m tests.counts --list {name!r})"
        for name, limit in LIMITS.items()
        if counts[name] > limit
    ]
    under = [
        f"{one.name}: {one.tests_per_line} lines of tests per line, at least {least}"
        for one in by_package
        if one.tests_per_line < (least := TESTS_PER_LINE.get(one.name, 0))
    ]
    return over + under


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=TOP)
    parser.add_argument("--list", choices=COUNTS)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    modules = read_modules(options.folder)
    by_count = places(modules)
    if options.list:
        print("\n".join(by_count[options.list]))
        return 0
    counts, by_package = numbers(modules, by_count), packages(modules)
    if not options.check:
        print_table(counts, by_package)
        return 0
    broken = broken_limits(counts, by_package)
    for line in broken:
        print(line)
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
