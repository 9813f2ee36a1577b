"""Changes of inputs, split by recipe and joined again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.bisect.changes import (
    identity_of,
    input_steps,
    join_recipes,
    split_by_recipe,
    title_of,
)
from prov.history.causes import SAME_INPUTS, CauseGroup
from prov.history.inputs import Change
from prov.records.keys import TaskKey
from prov.store.objects import MODE_FILE, Entry

NEW = Entry(b"CFLAGS", MODE_FILE, bytes(20))


def group(*keys: str, name: str = "CFLAGS", kind: str = "variable") -> CauseGroup:
    new = None if kind == SAME_INPUTS else NEW
    return CauseGroup(Change(kind, name, None, new), tuple(map(TaskKey, keys)))


def test_split_by_recipe() -> None:
    both = group("zlib:compile", "app:compile", "zlib:install")
    assert split_by_recipe([both]) == [group("app:compile"), group("zlib:compile", "zlib:install")]


def test_join_recipes() -> None:
    joined = join_recipes([group("app:compile"), group("zlib:compile"), group("a:b", name="X")])
    assert joined == (group("app:compile", "zlib:compile"), group("a:b", name="X"))


def test_unexplained_changes_are_not_joined() -> None:
    first, second = group("a:b", kind=SAME_INPUTS), group("c:d", kind=SAME_INPUTS)
    assert join_recipes([first, second]) == (first, second)
    assert input_steps([first, group("a:b")])[0].kind == "variable"
    assert len(input_steps([first, group("a:b")])) == 1


@given(st.sets(st.sampled_from(["a:x", "a:y", "b:x", "c:z"]), min_size=1))
def test_splitting_is_undone_by_joining(keys: set[str]) -> None:
    whole = group(*sorted(keys))
    assert join_recipes(split_by_recipe([whole])) == (whole,)


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (group("a:b"), group("a:c"), True),
        (group("a:b"), group("b:b"), False),
        (group("a:b"), group("a:b", name="LDFLAGS"), False),
        (group("a:b", kind=SAME_INPUTS), group("a:c", kind=SAME_INPUTS), False),
        (group("a:b", kind=SAME_INPUTS), group("a:b", kind=SAME_INPUTS), True),
    ],
)
def test_identity(first: CauseGroup, second: CauseGroup, same: bool) -> None:
    assert (identity_of(first) == identity_of(second)) is same


@pytest.mark.parametrize(
    ("change", "title"),
    [
        (group("a:b", "a:c", "z:b"), "variable CFLAGS added in a and z"),
        (group("a:b", kind=SAME_INPUTS), "a:b produced a different output from identical inputs"),
    ],
)
def test_title(change: CauseGroup, title: str) -> None:
    assert title_of(change) == title
