"""Restoration of lost objects from other places."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.fsck.reach import Reach
from prov.fsck.sources import Sources, restore
from prov.intake.source import Content, whole_content
from prov.records.run import START_MESSAGE
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, Commit, Kind, Oid, object_id
from prov.store.repository import Store

TEXT = b"a source\n"
START = Commit(EMPTY_TREE, (), CONSTANT_IDENTITY, START_MESSAGE).encode()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store.git")


def search(
    store: Store, kind: Kind, data: bytes, sources: Sources, *, bad: bool = False
) -> set[Oid]:
    """Search for one lost object."""
    oid = object_id(kind, data)
    reach = Reach(store.objects, set())
    assert not reach.is_whole(oid)
    return restore(store, reach, {}, sources, frozenset({oid} if bad else ()))


@pytest.mark.parametrize(("kind", "data"), [("blob", b""), ("tree", b""), ("commit", START)])
def test_constant_objects(store: Store, kind: Kind, data: bytes) -> None:
    oid = object_id(kind, data)
    assert search(store, kind, data, Sources()) == {oid}
    assert store.objects.read(oid) == (kind, data)


def test_files_of_the_project(store: Store, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "source").write_bytes(TEXT)
    assert search(store, "blob", TEXT, Sources(project=project)) == {object_id("blob", TEXT)}
    assert search(store, "blob", b"another text", Sources(project=project)) == set()


def test_files_of_pools(store: Store) -> None:
    oid = object_id("blob", TEXT)
    file = store.cache / "pool" / oid.hex()[:2] / f"{oid.hex()[2:]}-644"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"changed!\n")
    assert search(store, "blob", TEXT, Sources()) == set()
    file.write_bytes(TEXT)
    assert search(store, "blob", TEXT, Sources()) == {oid}


def test_remotes(store: Store) -> None:
    def fetch(oid: Oid) -> Content:
        return whole_content("blob", TEXT)

    assert search(store, "blob", TEXT, Sources(fetch=fetch)) == {object_id("blob", TEXT)}
    assert search(store, "blob", b"other", Sources(fetch=fetch)) == set()


def test_malformed_objects_are_not_searched_for(store: Store) -> None:
    assert search(store, "blob", b"", Sources(), bad=True) == set()
