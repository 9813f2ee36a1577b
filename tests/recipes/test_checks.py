"""Tests of the errors for invalid tables, with fixed and with random tables."""

from __future__ import annotations

import datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import RecipeError
from prov.recipes.checks import check, explain
from prov.recipes.tables import ProjectTable, RecipeTable

STRING = 'write it in quotes: "…"'
TASK_NAME = "use at most 60 lower-case letters, digits and _"
ARCHITECTURES = "use target or native or cross or allarch or machine"

WRONG_RECIPES: list[tuple[dict[str, Any], str, str]] = [
    # keys
    ({"versio": "1"}, "unknown key `versio`", "did you mean version?"),
    ({"tasks": {"go": {"scripts": ""}}}, "tasks.go: unknown key `scripts`", "did you mean script"),
    ({"sources": [{}, {"flie": ""}]}, "sources[1]: unknown key `flie`", "did you mean file?"),
    ({"packages": {"a-dev": {"file": []}}}, "packages.a-dev: unknown key `file`", "files"),
    ({"native": {"native": {}}}, "native: unknown key `native`", ""),
    ({"zzz": 1}, "unknown key `zzz`", "use one of name, version, summary"),
    ({"a\nb": 1}, r"unknown key `a\nb`", "use one of"),
    # types
    ({"version": 1}, "version: expected a string, not 1", STRING),
    ({"version": None}, "version: expected a string, not None", STRING),
    (
        {"version": datetime.date(2020, 1, 2)},
        "version: expected a string, not datetime.date(2020, 1, 2)",
        STRING,
    ),
    ({"direct": "yes"}, "direct: expected true or false, not 'yes'", "without quotes"),
    ({"direct": 1}, "direct: expected true or false, not 1", "without quotes"),
    ({"depends": "zlib"}, "depends: expected a list, not 'zlib'", "write a list: […]"),
    ({"depends": ["zlib", 3]}, "depends[1]: expected a string, not 3", STRING),
    ({"sources": {}}, "sources: expected a list, not {}", "write a list: […]"),
    ({"sources": ["a"]}, "sources[0]: expected a table, not 'a'", "sources[0] = { … }"),
    ({"tasks": []}, "tasks: expected a table, not []", "write a table: [tasks]"),
    ({"tasks": {"go": 3}}, "tasks.go: expected a table, not 3", "write a table: [tasks.go]"),
    (
        {"tasks": {"go": {}, "ok": {"outputdir": 3}}},
        "tasks.ok.outputdir: expected a string or a list, not 3",
        "or a list",
    ),
    (
        {"tasks": {"go": {"outputdir": ["a", 3]}}},
        "tasks.go.outputdir[1]: expected a string, not 3",
        STRING,
    ),
    ({"tasks": {"go": {"from": [3]}}}, "tasks.go.from[0]: expected a string, not 3", STRING),
    ({"variables": {"A": "", "B": 3}}, "variables.B: expected a string, not 3", STRING),
    ({"functions": {"f": []}}, "functions.f: expected a string, not []", STRING),
    (
        {"native": {"variables": {"A": 1}}},
        "native.variables.A: expected a string, not 1",
        STRING,
    ),
    ({"sysroot_owner": {"/a.b": 3}}, "sysroot_owner./a.b: expected a string, not 3", STRING),
    # values
    ({"arch": "nativ"}, "arch: invalid value 'nativ'", "did you mean native?"),
    ({"arch": ""}, "arch: invalid value ''", ARCHITECTURES),
    ({"sysroot": "each"}, "sysroot: invalid value 'each'", "use task or recipe"),
    (
        {"tasks": {"go": {"interpreter": "perl"}}},
        "tasks.go.interpreter: invalid value 'perl'",
        "use sh or python3",
    ),
    (
        {"tasks": {"go": {"inputs": ["sources", "patchs"]}}},
        "tasks.go.inputs[1]: invalid value 'patchs'",
        "did you mean patches?",
    ),
    (
        {"sources": [{"sha256": "A" * 64}]},
        f"sources[0].sha256: invalid value '{'A' * 64}'",
        "use 64 lower-case hex digits",
    ),
    (
        {"sources": [{"commit": "main"}]},
        "sources[0].commit: invalid value 'main'",
        "not a branch or a tag",
    ),
    # names
    ({"tasks": {"go": {}, "Go": {}}}, "tasks: invalid name 'Go'", TASK_NAME),
    ({"tasks": {"go\n": {}}}, r"tasks: invalid name 'go\n'", TASK_NAME),
    ({"tasks": {"a" * 61: {}}}, f"tasks: invalid name '{'a' * 61}'", TASK_NAME),
    ({"tasks": {"a" * 999: {}}}, f"tasks: invalid name '{'a' * 99}…", TASK_NAME),
    ({"variables": {"A-B": ""}}, "variables: invalid name 'A-B'", "use only letters"),
    ({"functions": {"2": ""}}, "functions: invalid name '2'", "use only letters"),
    ({"sysroot_owner": {"//": "a"}}, "sysroot_owner: invalid name '//'", "use a path"),
]

WRONG_PROJECTS: list[tuple[dict[str, Any], str, str]] = [
    ({"recipe": {"a": {"variable": {}}}}, "recipe.a: unknown key `variable`", "variables?"),
    ({"recipe": {"a": 3}}, "recipe.a: expected a table, not 3", "[recipe.a]"),
    ({"sandbox": "docker"}, "sandbox: invalid value 'docker'", "use auto or bwrap or none"),
    ({"provider": {"cc": 1}}, "provider.cc: expected a string, not 1", STRING),
    ({"farm": {"action": 1}}, "farm: unknown key `action`", "did you mean actions?"),
    ({"farm": {"actions": 0}}, "farm.actions: invalid value 0", "use a number from 1"),
    ({"farm": {"jobs": 2000}}, "farm.jobs: invalid value 2000", "use a number from 1"),
    ({"gc": {"day": 1}}, "gc: unknown key `day`", "did you mean days?"),
    ({"gc": {"days": "3"}}, "gc.days: expected a number, not '3'", "without quotes"),
    ({"gc": {"builds": True}}, "gc.builds: expected a number, not True", "without quotes"),
    ({"gc": {"days": -1}}, "gc.days: invalid value -1", "use a number from 0"),
    ({"gc": {"days": float("nan")}}, "gc.days: invalid value nan", "use a number from 0"),
    ({"gc": {"days": 1 << 40}}, "gc.days: invalid value 1099511627776", "use a number from 0"),
    ({"gc": {"days": 16**9999}}, "gc.days: invalid value a huge number", "use a number"),
    ({"gc": {"size": 3}}, "gc.size: expected a string, not 3", STRING),
]


@pytest.mark.parametrize(("table", "message", "hint"), WRONG_RECIPES)
def test_an_invalid_recipe(table: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(RecipeError) as raised:
        check(table, RecipeTable, "a.toml")
    assert str(raised.value).startswith(f"a.toml: {message}")
    assert hint in raised.value.hint


@pytest.mark.parametrize(("table", "message", "hint"), WRONG_PROJECTS)
def test_an_invalid_project(table: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(RecipeError) as raised:
        check(table, ProjectTable, "prov.toml")
    assert str(raised.value).startswith(f"prov.toml: {message}")
    assert hint in raised.value.hint


def test_a_long_value_is_shortened() -> None:
    with pytest.raises(RecipeError) as raised:
        check({"version": ["x" * 10_000]}, RecipeTable, "a.toml")
    assert len(str(raised.value)) < 200


def test_an_unknown_msgspec_error_is_shown_unchanged() -> None:
    error = msgspec.ValidationError("Something new")
    assert str(explain(error, {}, RecipeTable, "a.toml")) == "a.toml: Something new"


def test_a_table_becomes_a_value() -> None:
    table = check(
        {"version": "1", "tasks": {"go": {"from": ["a:b"], "outputdir": "x"}}}, RecipeTable, ""
    )
    assert table.tasks["go"].from_ == ("a:b",)
    assert (table.tasks["go"].outputdir, table.tasks["go"].dir) == ("x", "${WORKDIR}")
    assert (table.version, table.arch, table.native) == ("1", "target", msgspec.UNSET)


KEYS = st.sampled_from(
    [
        *("version", "arch", "depends", "sources", "file", "tasks", "go", "script", "from"),
        *("variables", "native", "packages", "outputdir", "sysroot_owner", "direct"),
        *("a.b", "`$.x[...]`", "a\nb"),
    ]
)
VALUES = st.recursive(
    st.sampled_from(["", "target", "x\ny", "\u2028", 0, 1.5, True, None, 10**30])
    | st.dates()
    | st.times(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, VALUES, max_size=3))
def test_every_error_is_one_line_that_names_the_key(table: dict[str, Any]) -> None:
    """A table that msgspec rejects raises one error, which names a key of the table."""
    try:
        msgspec.convert(table, RecipeTable)
    except msgspec.ValidationError as error:
        refusal = explain(error, table, RecipeTable, "a.toml")
        text = str(refusal)
        assert text.startswith("a.toml: ")
        assert "\n" not in text
        assert refusal.hint
        assert any(name in text for name in ("expected", "invalid", "unknown key"))
    else:
        check(table, RecipeTable, "a.toml")
