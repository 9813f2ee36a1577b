"""Tests of recipe values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from prov.recipes.recipe import Recipe, Source, Task, native_name, sources_json


@pytest.mark.parametrize(
    ("name", "native"),
    [("zlib", "zlib-native"), ("zlib-native", "zlib-native"), ("nativ", "nativ-native")],
)
def test_a_native_name(name: str, native: str) -> None:
    assert native_name(name) == native
    assert native_name(native_name(name)) == native


def test_the_name_without_its_variant() -> None:
    assert Recipe("zlib-native", "1", "native", Path("a")).base_name == "zlib"
    assert Recipe("zlib", "1", "target", Path("a")).base_name == "zlib"


def test_only_tasks_with_the_toolchain_get_the_exports() -> None:
    recipe = Recipe("a", "1", "target", Path("a"), export=("CC", "CFLAGS"))
    assert recipe.exports(Task("t", "", hosttools=("tar", "@toolchain"))) == ("CC", "CFLAGS")
    assert recipe.exports(Task("t", "", hosttools=("gcc",))) == ()


def test_the_text_of_sources_never_changes() -> None:
    """Tasks read it and records contain it."""
    sources = (
        Source("a", file=Path("/secret/a"), exclude=("x",), gitignore=True),
        Source("b", git="https://h/b", commit="1" * 40, submodules=True, unpack=False),
    )
    text = sources_json(Recipe("a", "1", "target", Path("a"), sources=sources))
    assert text == (
        '[{"name": "a", "url": "", "sha256": "", "git": "", "commit": "", "unpack": true,'
        ' "submodules": null}, {"name": "b", "url": "", "sha256": "", "git": "https://h/b",'
        f' "commit": "{"1" * 40}", "unpack": false, "submodules": true}}]'
    )
    assert "/secret" not in json.dumps(text)
