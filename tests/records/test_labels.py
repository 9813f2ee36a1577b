"""Tests of labels and pins."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.errors import NameUnknown, ProvError
from prov.records.build_list import BuildList, record_build
from prov.records.labels import (
    all_labels,
    is_label,
    labelled_build,
    labels_of,
    pinned,
    remove_label,
    set_label,
    set_pin,
)
from prov.records.refs import LabelRef, parse_ref
from prov.store.repository import Store
from tests.records.samples import BY


@pytest.fixture
def builds(store: Store) -> list[BuildList]:
    return [
        BuildList(store, record_build(store, [], {}, {"targets": text}, BY)) for text in ("a", "b")
    ]


@pytest.mark.parametrize(
    ("name", "is_valid"),
    [
        ("release-1.0", True),
        ("a+b_c", True),
        ("abcg", True),
        ("abcd", False),
        ("0123456789", False),
        ("abc", True),
        ("latest", False),
        ("builds", False),
        ("", False),
        ("HEAD", False),
        ("ORIG_HEAD", False),
        ("a..b", False),
        ("a.lock", False),
        ("a.", False),
        (".a", False),
        ("-a", False),
        ("a/b", False),
        ("a~1", False),
        ("a b", False),
        ("x" * 200, True),
        ("x" * 201, False),
    ],
)
def test_valid_and_invalid_labels(name: str, is_valid: bool) -> None:
    assert is_label(name) is is_valid


@given(st.text("ab.+-_/~ ", max_size=12))
def test_a_label_is_a_ref(name: str) -> None:
    if is_label(name):
        assert parse_ref(str(LabelRef(name))) == LabelRef(name)


def test_a_label_moves(store: Store, builds: list[BuildList]) -> None:
    assert set_label(store, "release", builds[0]) is None
    assert set_label(store, "release", builds[0]) is None
    assert set_label(store, "release", builds[1]) == builds[0].commit
    assert labelled_build(store, "release") == builds[1].commit
    set_label(store, "again", builds[1])
    assert all_labels(store) == ["again", "release"]
    assert labels_of(store) == {builds[1].commit: ("again", "release")}


def test_an_invalid_label_changes_nothing(store: Store, builds: list[BuildList]) -> None:
    with pytest.raises(ProvError, match="invalid label 'latest'"):
        set_label(store, "latest", builds[0])
    assert all_labels(store) == []
    assert labelled_build(store, "../x") is None


def test_a_label_is_removed(store: Store, builds: list[BuildList]) -> None:
    set_label(store, "release", builds[0])
    with pytest.raises(NameUnknown) as error:
        remove_label(store, "releases")
    assert error.value.hint == "did you mean release?"
    remove_label(store, "release")
    assert all_labels(store) == []


def test_pins(store: Store, builds: list[BuildList]) -> None:
    set_pin(store, builds[0], keep=False)
    assert pinned(store) == frozenset()
    set_pin(store, builds[0], keep=True)
    set_pin(store, builds[0], keep=True)
    assert pinned(store) == {builds[0].commit}
    set_pin(store, builds[0], keep=False)
    assert pinned(store) == frozenset()
