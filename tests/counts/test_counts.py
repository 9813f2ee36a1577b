from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.counts.__main__ import TOP, broken_limits, function_sizes, numbers
from tests.counts.complexity import complexity
from tests.counts.module import Module, read_modules
from tests.counts.packages import packages
from tests.counts.places import COUNTS, ambiguous_classes, places


@pytest.mark.slow
def test_no_limit_is_broken() -> None:
    modules = read_modules(TOP)
    assert broken_limits(numbers(modules, places(modules)), packages(modules)) == []


def module(root: Path, text: str, name: str = "prov/tasks/sample.py") -> Module:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return Module(root, path)


@pytest.mark.parametrize(
    ("count", "line"),
    [
        ("ref literals", "x = 'refs/prov/outputs'"),
        ("ref literals", "x = b'refs/tags/failed/'"),
        ("ref literals", "x = f'refs/tags/{key}'"),
        ("ref literals", "x = 'refs/heads/' + name"),
        ("key splits", "recipe, _, task = key.partition(':')"),
        ("key splits", "path = key.replace(':', '/')"),
        ("second parents", "record = commit.parents[1]"),
        ("nested conditionals", "x = a if b else c if d else e"),
        ("conditionals in f-strings", "x = f'{a if b else c}'"),
        ("complexity over 15", f"def f():\n {'if x: pass;'.replace(';', chr(10) + ' ') * 15}pass"),
        ("empty names", "found = 1"),
        ("empty names", "lambda each: 1"),
    ],
)
def test_what_is_counted(tmp_path: Path, count: str, line: str) -> None:
    sample = module(tmp_path, line + "\n")
    assert places([sample])[count][0].startswith(sample.name)


@pytest.mark.parametrize(
    "line",
    [
        "def f():\n    'See refs/prov/outputs.'",
        "# refs/prov/outputs",
        "x = 'refs/heads/'",
        "x = text.partition(',')",
        "x = a if b else c",
        "x = f'{a}' if b else c",
    ],
)
def test_what_is_not_counted(tmp_path: Path, line: str) -> None:
    by_count = places([module(tmp_path, line + "\n")])
    counted = {name for name in COUNTS if by_count[name]}
    assert counted == {"untested modules", "stale exceptions"}


def test_records_may_write_refs_and_split_keys(tmp_path: Path) -> None:
    text = "x = 'refs/prov/outputs', key.partition(':'), commit.parents[1]\n"
    by_count = places([module(tmp_path, text, "prov/records/refs.py")])
    assert not any(by_count[name] for name in ("ref literals", "key splits", "second parents"))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("pass", 1),
        ("if a and b or c: pass", 4),
        ("for x in y: pass\nelse: pass", 3),
        ("try: pass\nexcept A: pass\nexcept B: pass\nelse: pass", 4),
        ("assert a and b", 2),
        ("return [x for x in y if z]", 3),
        ("match x:\n  case 1: pass\n  case _: pass", 2),
        ("def inner():\n  if a: pass", 1),
        ("f = lambda: a if b else c", 2),
    ],
)
def test_complexity_is_radons(body: str, expected: int) -> None:
    lines = "".join(f"  {line}\n" for line in body.splitlines())
    (function,) = ast.parse(f"def f():\n{lines}").body
    assert isinstance(function, ast.FunctionDef)
    assert complexity(function) == expected


def test_sizes_are_tokens_of_code(tmp_path: Path) -> None:
    text = "def f(x):  # why\n\n    return f'{x} {x + 1}'\n"
    assert function_sizes([module(tmp_path, text)]) == [8]


def test_a_class_name_of_two_packages_is_ambiguous(tmp_path: Path) -> None:
    names = ("prov/tasks/a.py", "prov/tasks/b.py", "prov/recipes/a.py")
    texts = ("class A: pass", "class B: pass", "class A: pass")
    modules = [module(tmp_path, text, name) for text, name in zip(texts, names, strict=True)]
    assert ambiguous_classes(modules) == ["A: prov.recipes, prov.tasks"]


def test_a_package_is_measured(tmp_path: Path) -> None:
    source = module(tmp_path, "from prov.tasks.b import B\nfrom prov.errors import E\n")
    module(tmp_path, "x\n" * 5, "tests/tasks/test_sample.py")
    (package,) = packages([source])
    assert (package.files, package.lines, package.internal_imports) == (1, 2, 1)
    assert package.tests_per_line == 2.5
