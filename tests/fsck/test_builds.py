"""The history of builds: its order and the format of its lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.fsck.builds import BuildChecker, build_refs, chain, is_span, rewrite
from prov.fsck.reach import Reach
from prov.records.build_list import record_build
from prov.records.ids import CommitId
from prov.records.keys import TaskKey
from prov.records.refs import BUILDS, LabelRef, PinRef
from prov.records.run import author
from prov.store.odb import ObjectWriter
from prov.store.repository import Store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store.git")


@pytest.fixture
def builds(store: Store) -> list[CommitId]:
    facts = {"targets": "app:image", "result": "ok"}
    happened = {TaskKey("app:image"): "ran"}
    return [record_build(store, [], happened, facts, author(number)) for number in range(3)]


@pytest.mark.parametrize(
    ("line", "valid"),
    [
        ("zlib:compile 0.000 1.500 12", True),
        ("zlib:compile 0.000 1.500", False),
        ("zlib:compile a 1.500 12", False),
        ("zlib:compile 0 1 1.5", False),
        ("", False),
    ],
)
def test_line_of_a_timeline(line: str, valid: bool) -> None:
    assert is_span(line) is valid


def test_refs_of_builds() -> None:
    build = CommitId(bytes(20))
    names = [BUILDS, str(LabelRef("a")), str(PinRef(build))]
    refs = dict.fromkeys([*names, "refs/tags/a", "refs/heads/main"], bytes(20))
    assert list(build_refs(refs)) == names


def test_parents_come_first(store: Store, builds: list[CommitId]) -> None:
    refs = {BUILDS: builds[2], str(LabelRef("a")): builds[0], str(LabelRef("b")): bytes(20)}
    assert chain(store.objects, refs) == builds


def test_whole_builds_are_not_rewritten(store: Store, builds: list[CommitId]) -> None:
    refs = {BUILDS: builds[2]}
    assert not list(BuildChecker(store).check(refs))
    with ObjectWriter(store.objects) as writer:
        assert rewrite(writer, store, Reach.of(store.objects), refs, []) == {}


def test_a_lost_build_is_left_out(store: Store, builds: list[CommitId]) -> None:
    reach = Reach.of(store.objects)
    reach.have.remove(builds[1])
    with ObjectWriter(store.objects) as writer:
        replacements = rewrite(writer, store, reach, {BUILDS: builds[2]}, [])
        writer.finish()
    last = replacements[builds[2]]
    assert last is not None
    assert store.objects.commit(last).tree == store.objects.commit(builds[2]).tree


def test_the_nearest_earlier_build_replaces_a_lost_one(
    store: Store, builds: list[CommitId]
) -> None:
    reach = Reach.of(store.objects)
    reach.have.remove(builds[1])
    with ObjectWriter(store.objects) as writer:
        replacements = rewrite(writer, store, reach, {BUILDS: builds[2]}, [builds[0]])
        writer.finish()
    last = replacements[builds[2]]
    assert last is not None
    assert store.objects.commit(last).parents == (builds[0],)
