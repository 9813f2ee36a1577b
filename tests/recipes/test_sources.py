"""Tests of source tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import RecipeError
from prov.recipes.checks import check
from prov.recipes.recipe import LONGEST_NAME, OWN_FOLDERS, Source
from prov.recipes.sources import make_source
from prov.recipes.tables import SourceTable

RECIPE = Path("/p/recipes/a.toml")
SHA256, COMMIT = "0" * 64, "1" * 40


def source(**table: Any) -> Source:
    return make_source(check(table, SourceTable, "a.toml"), RECIPE, "a.toml: sources[0]")


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"file": "src"}, Source("src", file=Path("/p/recipes/src"))),
        ({"file": "../lib/"}, Source("lib", file=Path("/p/recipes/../lib"))),
        ({"file": "..", "name": "p"}, Source("p", file=Path("/p/recipes/.."))),
        ({"file": "/abs/x.c"}, Source("x.c", file=Path("/abs/x.c"))),
        (
            {"file": "s", "sha256": SHA256, "unpack": False, "exclude": ["*.o"], "gitignore": True},
            Source(
                "s",
                file=Path("/p/recipes/s"),
                sha256=SHA256,
                unpack=False,
                exclude=("*.o",),
                gitignore=True,
            ),
        ),
        (
            {"url": "https://h/d/x.tar.gz", "sha256": SHA256},
            Source("x.tar.gz", url="https://h/d/x.tar.gz", sha256=SHA256),
        ),
        (
            {"url": "file:///d/x", "sha256": SHA256, "commit": COMMIT},
            Source("x", url="file:///d/x", sha256=SHA256),
        ),
        (
            {"git": "https://h/r.git", "commit": COMMIT},
            Source("r.git", git="https://h/r.git", commit=COMMIT),
        ),
        (
            {"git": "https://h/r/", "commit": COMMIT, "submodules": False, "name": "n"},
            Source("n", git="https://h/r/", commit=COMMIT, submodules=False),
        ),
    ],
)
def test_a_source(table: dict[str, Any], expected: Source) -> None:
    assert source(**table) == expected


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({}, "expected exactly one of `file`, `url`, `git`"),
        ({"name": "x"}, "expected exactly one of"),
        ({"file": "x", "git": "y"}, "expected exactly one of"),
        ({"file": ""}, "invalid file name ''"),
        ({"file": "."}, "invalid file name '.'"),
        ({"file": "x", "name": ".."}, "invalid file name '..'"),
        ({"file": "x", "name": "a/b"}, "invalid file name 'a/b'"),
        ({"file": "x", "name": "a\0"}, "invalid file name"),
        ({"file": "é" * 101}, "invalid file name"),
        ({"file": "temp"}, "the name 'temp' is reserved by prov"),
        ({"file": "x.prov-keep"}, "the name 'x.prov-keep' is reserved by prov"),
        ({"file": "x", "submodules": True}, "`submodules` is valid only with `git`"),
        ({"git": "x", "commit": COMMIT, "exclude": []}, "`exclude` is valid only with `file`"),
        ({"url": "https://x/y", "gitignore": False}, "`gitignore` is valid only with `file`"),
        ({"git": "x"}, "`git` requires `commit`"),
        ({"url": "ftp://x/y", "sha256": SHA256}, "`url` must start with https://"),
        ({"url": "https://x/y"}, "`url` requires `sha256`"),
    ],
)
def test_an_invalid_source(table: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError) as raised:
        source(**table)
    assert str(raised.value).startswith("a.toml: sources[0]: ")
    assert message in str(raised.value)


@given(st.text(max_size=20) | st.sampled_from(OWN_FOLDERS))
def test_a_name_is_one_part_of_a_path(name: str) -> None:
    try:
        valid = source(file="x", name=name)
    except RecipeError:
        return
    assert Path("sources", valid.name).parent == Path("sources")
    assert len(valid.name.encode()) <= LONGEST_NAME
    assert valid.name not in OWN_FOLDERS
