"""Tests of task keys."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import ProvError
from prov.records.keys import LONGEST_NAME, TaskKey, is_name

names = st.from_regex(r"\A[a-z0-9_+-][a-z0-9_.+-]{0,12}\Z").filter(is_name)


@given(names, names)
def test_a_key_has_two_parts(recipe: str, task: str) -> None:
    key = TaskKey.of(recipe, task)
    assert (key.recipe, key.task) == (recipe, task)
    assert key == f"{recipe}:{task}"
    assert TaskKey.parse(f"{recipe}:{task}") == key
    assert TaskKey.from_path(key.path) == key


def test_a_key_is_text() -> None:
    key = TaskKey.of("zlib", "compile")
    by_text: dict[str, int] = {key: 1}
    assert by_text["zlib:compile"] == 1
    assert json.dumps({key: [key]}) == '{"zlib:compile": ["zlib:compile"]}'
    assert sorted([key, TaskKey("a:b")]) == ["a:b", "zlib:compile"]


def test_a_multiconfig_recipe_keeps_its_dots() -> None:
    key = TaskKey("mc.musl.zlib:do_compile")
    assert (key.recipe, key.task) == ("mc.musl.zlib", "do_compile")
    assert key.path == "mc.musl.zlib/do_compile"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "zlib",
        ":",
        "zlib:",
        ":compile",
        "zlib:a:b",
        "../x:compile",
        ".hidden:compile",
        "zlib:a..b",
        "zlib:x.lock",
        "zlib:x.",
        "zlib:a b",
        "zlib:a/b",
        "zlïb:compile",
        "zlib:" + "x" * (LONGEST_NAME + 1),
    ],
)
def test_names_invalid_in_a_ref(text: str) -> None:
    with pytest.raises(ProvError, match="invalid task name"):
        TaskKey.parse(text)


@pytest.mark.parametrize("recipe", ["failed", "outside"])
def test_names_of_other_kinds_of_tags_are_reserved(recipe: str) -> None:
    with pytest.raises(ProvError, match="reserved"):
        TaskKey.parse(f"{recipe}:compile")
