"""Tests of joining the tables of a recipe, its classes and its variant."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.recipes.joining import join, override
from prov.recipes.recipe import Raw, Setting


def joined(*tables: Raw) -> Raw:
    return join((f"layer {number}", table) for number, table in enumerate(tables))[0]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # replaced
        ({"version": "1"}, {"version": "2"}, {"version": "2"}),
        ({"arch": "native"}, {}, {"arch": "native"}),
        ({"classextend": ["native"]}, {"classextend": []}, {"classextend": []}),
        # appended to
        ({"depends": ["a", "b"]}, {"depends": ["b", "c"]}, {"depends": ["a", "b", "c"]}),
        ({"build": ["a"]}, {"build": []}, {"build": ["a"]}),
        (
            {"sources": [{"file": "a"}]},
            {"sources": [{"file": "a"}, {"file": "b"}]},
            {"sources": [{"file": "a"}, {"file": "b"}]},
        ),
        # replaced by key
        (
            {"functions": {"f": "1", "g": "1"}},
            {"functions": {"g": "2"}},
            {"functions": {"f": "1", "g": "2"}},
        ),
        (
            {"sysroot_owner": {"/a": "x"}},
            {"sysroot_owner": {"/a": "y", "/b": "x"}},
            {"sysroot_owner": {"/a": "y", "/b": "x"}},
        ),
        # tasks and packages, key by key
        (
            {"tasks": {"go": {"script": "1", "after": ["a"]}}},
            {"tasks": {"go": {"script": "2"}, "new": {}}},
            {"tasks": {"go": {"script": "2", "after": ["a"]}, "new": {}}},
        ),
        (
            {"tasks": {"go": {"after": ["a"]}}},
            {"tasks": {"go": {"after": ["b"]}}},
            {"tasks": {"go": {"after": ["b"]}}},
        ),
        (
            {"tasks": {"go": {"hosttools": ["a", "b"]}}},
            {"tasks": {"go": {"hosttools": ["b", "c"]}}},
            {"tasks": {"go": {"hosttools": ["a", "b", "c"]}}},
        ),
        (
            {"tasks": {"go": {"script_file": "f", "script": "text of f"}}},
            {"tasks": {"go": {"script": "own"}}},
            {"tasks": {"go": {"script": "own"}}},
        ),
        (
            {"packages": {"p": {"files": ["a"]}}},
            {"packages": {"p": {"summary": "s"}, "q": {}}},
            {"packages": {"p": {"files": ["a"], "summary": "s"}, "q": {}}},
        ),
    ],
)
def test_two_tables(old: Raw, new: Raw, expected: Raw) -> None:
    assert joined(old, new) == expected


def test_packages_keep_their_order() -> None:
    """Their JSON is hashed."""
    table = joined({"packages": {"b": {}, "a": {}}}, {"packages": {"c": {}, "b": {"files": []}}})
    assert list(table["packages"]) == ["b", "a", "c"]


def test_variables_remember_replaced_values() -> None:
    layers = [("class", {"A": "1"}), ("recipe", {"A": "2", "B": "x"}), ("file", {"A": "3"})]
    table, settings = join((origin, {"variables": values}) for origin, values in layers)
    assert table == {}
    assert settings == {
        "A": Setting("3", "file", (Setting("1", "class"), Setting("2", "recipe"))),
        "B": Setting("x", "recipe"),
    }


def test_a_setting_replaces_another() -> None:
    first = override(None, "1", "a")
    assert override(first, "2", "b") == Setting("2", "b", (Setting("1", "a"),))


def with_script(task: Raw) -> Raw:
    """Return a task's table as files are read: a script file has been read into `script`."""
    return {"script": "a"} | task if "script_file" in task else task


NAMES = st.sampled_from(["a", "b", "c"])
LISTS = st.lists(NAMES, max_size=3)
LAYERS = st.fixed_dictionaries(
    {},
    optional={
        "version": NAMES,
        "depends": LISTS,
        "functions": st.dictionaries(NAMES, NAMES),
        "tasks": st.dictionaries(
            NAMES,
            st.fixed_dictionaries(
                {}, optional={"script": NAMES, "script_file": NAMES, "hosttools": LISTS}
            ).map(with_script),
        ),
    },
)


def unique(table: Raw) -> Raw:
    """Return a table whose lists contain no duplicates."""
    return {key: _unique(value) for key, value in table.items()}


def _unique(value: Any) -> Any:
    if isinstance(value, list):
        return list(dict.fromkeys(value))
    return unique(value) if isinstance(value, dict) else value


@given(LAYERS, LAYERS)
def test_joining_does_not_change_the_tables(one: Raw, two: Raw) -> None:
    before = repr((one, two))
    joined(one, two)
    assert repr((one, two)) == before


@given(LAYERS)
def test_a_table_joined_to_itself_or_to_nothing_is_unchanged(table: Raw) -> None:
    table = unique(table)
    assert joined(table, {}) == joined({}, table) == joined(table)
    again = joined(table, table)
    assert again == joined(joined(table, table), table)
    assert again.get("depends") == table.get("depends")


@given(LAYERS, LAYERS, LAYERS)
def test_the_order_of_joining_does_not_matter(one: Raw, two: Raw, three: Raw) -> None:
    one, two, three = map(unique, (one, two, three))
    assert joined(joined(one, two), three) == joined(one, two, three)
