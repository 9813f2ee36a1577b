"""Edits of arrays in TOML texts."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.dependencies.toml_edits import add_item, remove_item

LINES = """version = "1"  # a comment
depends = [
    "a",  # why a
    "b",
    "c",
]

[tasks.compile]
needs = ['a:install', "b:install"]
"""


@pytest.mark.parametrize(
    ("text", "path", "item", "wanted"),
    [
        ('depends = ["a", "b"]\n', ("depends",), "a", 'depends = ["b"]\n'),
        ('depends = ["a", "b"]\n', ("depends",), "b", 'depends = ["a"]\n'),
        ('depends = ["a"]\n', ("depends",), "a", "depends = []\n"),
        ('depends = ["a"]\n', ("depends",), "b", None),
        ('[x]\ndepends = ["a"]\n', ("depends",), "a", None),
        ('depends = ["a", ["b"]]\n', ("depends",), "a", None),
        (LINES, ("depends",), "c", LINES.replace('"b",\n    "c",', '"b",')),
        (LINES, ("depends",), "b", LINES.replace('    "b",\n', "")),
        (
            LINES,
            ("tasks", "compile", "needs"),
            "a:install",
            LINES.replace("'a:install', ", ""),
        ),
        # text in a string is not a table
        ('x = """\n[tasks.a]\nneeds = ["b"]\n"""\n', ("tasks", "a", "needs"), "b", None),
    ],
)
def test_remove_item(text: str, path: tuple[str, ...], item: str, wanted: str | None) -> None:
    assert remove_item(text, path, item) == wanted


@pytest.mark.parametrize(
    ("text", "path", "item", "wanted"),
    [
        ('depends = ["a"]\n', ("depends",), "b", 'depends = ["a", "b"]\n'),
        ("depends = []\n", ("depends",), "b", 'depends = ["b"]\n'),
        (
            'version = "1"\n\n# tasks\n[tasks.a]\n',
            ("depends",),
            "b",
            'version = "1"\ndepends = ["b"]\n\n# tasks\n[tasks.a]\n',
        ),
        ("", ("depends",), "b", 'depends = ["b"]\n'),
        (LINES, ("depends",), "d", LINES.replace('"c",', '"c",\n    "d",')),
        ("[tasks.a]\n", ("tasks", "a", "needs"), "b", None),
        ("depends = 1\n", ("depends",), "b", None),
    ],
)
def test_add_item(text: str, path: tuple[str, ...], item: str, wanted: str | None) -> None:
    assert add_item(text, path, item) == wanted


names = st.text("ab'\"\\.#[],= \n", max_size=6)


@given(st.lists(names, max_size=4), names, st.booleans())
def test_an_edit_changes_nothing_but_the_array(values: list[str], item: str, last: bool) -> None:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    array = ", ".join(map(quoted, values))
    text = f"a = 1\ndepends = [{array}{',' if last and values else ''}]\n[t]\nb = 2\n"
    for edited in (add_item(text, ("depends",), item), remove_item(text, ("depends",), item)):
        if edited is not None:
            table = tomllib.loads(edited)
            assert {**table, "depends": values} == {"a": 1, "depends": values, "t": {"b": 2}}
            assert sorted(table["depends"]) != sorted(values)
