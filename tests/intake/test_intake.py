"""Objects enter a store only if all of them are valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.intake.digest import Digests
from prov.intake.intake import Intake
from prov.intake.source import Content, whole_content
from prov.intake.wellformed import BadObject, Limits
from prov.store.objects import (
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_FILE,
    MODE_SYMLINK,
    Entry,
    Kind,
    Oid,
    encode_tree,
    object_id,
)
from prov.store.repository import Store

LIMITS = Limits(paths=20, size=5000, depth=4, record=1000)


class Remote:
    """The objects of a remote."""

    def __init__(self) -> None:
        self.objects: dict[Oid, tuple[Kind, bytes]] = {}

    def read(self, oid: Oid) -> Content | None:
        return whole_content(*self.objects[oid]) if oid in self.objects else None

    def add(self, kind: Kind, data: bytes, oid: Oid | None = None) -> Oid:
        oid = object_id(kind, data) if oid is None else oid
        self.objects[oid] = kind, data
        return oid

    def file(self, name: bytes, data: bytes = b"x", mode: int = MODE_FILE) -> Entry:
        return Entry(name, mode, self.add("blob", data))

    def folder(self, name: bytes, *entries: Entry) -> Entry:
        return Entry(name, MODE_DIRECTORY, self.tree(*entries))

    def tree(self, *entries: Entry) -> Oid:
        return self.add("tree", encode_tree(list(entries)))


@pytest.fixture
def remote() -> Remote:
    return Remote()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def take(store: Store, remote: Remote, tree: Oid) -> Intake:
    """Copy a tree as `receive` does; if it is bad, the store has none of its objects."""
    with store.objects.writer() as writer:
        digests = Digests(store.objects, store.cache / "digests")
        intake = Intake(remote.read, writer, digests, LIMITS)
        intake.tree(tree)
        writer.finish()
        intake.learn()
        return intake


def test_a_tree_is_copied_with_everything_below_it(store: Store, remote: Remote) -> None:
    tree = remote.tree(
        remote.folder(b"bin", remote.file(b"a"), remote.file(b"link", b"a", MODE_SYMLINK)),
        remote.file(b"large", bytes(4000)),
    )
    intake = take(store, remote, tree)
    digest = intake.digest(tree, "tree")
    assert digest is not None and digest == Digests(store.objects, store.cache / "none").tree(tree)
    store.objects.refresh()
    assert [entry.name for entry in store.objects.tree(tree)] == [b"bin", b"large"]
    assert all(store.objects.exists(oid) for oid in remote.objects)


def test_stored_objects_are_not_requested(store: Store, remote: Remote) -> None:
    tree = remote.tree(remote.folder(b"bin", remote.file(b"a")))
    take(store, remote, tree)
    store.objects.refresh()
    take(store, Remote(), tree)


def bad_trees(remote: Remote) -> dict[str, tuple[Oid, str]]:
    """Return trees that the intake rejects, with the reason."""
    deep = remote.file(b"a")
    for _ in range(6):
        deep = remote.folder(b"d", deep)
    files = [remote.file(b"%02d" % number, b"%d" % number) for number in range(21)]
    twice = remote.folder(b"a", *files[:12])
    swapped = Entry(b"a", MODE_FILE, remote.add("blob", b"y", oid=b"z" * 20))
    blob, tree = remote.add("blob", b"q"), remote.tree()
    two = [remote.file(b"%d" % number, bytes([number]) * 3000) for number in range(2)]
    return {
        "missing": (remote.tree(Entry(b"a", MODE_FILE, bytes(20))), "is missing"),
        "another's id": (remote.tree(swapped), "does not match its id"),
        "a file as a folder": (
            remote.tree(Entry(b"a", MODE_DIRECTORY, blob)),
            "not a tree",
        ),
        "a folder as a file": (remote.tree(Entry(b"a", MODE_FILE, tree)), "is a tree, not a blob"),
        "a name that leads out": (remote.tree(remote.file(b"..")), "an invalid file name"),
        "git's own folder": (remote.tree(remote.file(b".git")), "treats as a different name"),
        "a link to nothing": (
            remote.tree(remote.file(b"a", b"", MODE_SYMLINK)),
            "of 0 bytes",
        ),
        "a link with a NUL": (
            remote.tree(remote.file(b"a", b"b\0", MODE_SYMLINK)),
            "a NUL byte",
        ),
        "a large file": (remote.tree(remote.file(b"a", bytes(5001))), "the limit is 5000"),
        "two large files": (remote.tree(*two), "the limit is 20 files and 5000 bytes"),
        "deep folders": (remote.tree(deep), "nested folders"),
        "many files": (remote.tree(*files), "more than 20 objects"),
        "one folder, twice": (
            remote.tree(twice, twice._replace(name=b"b")),
            "the limit is 20 files",
        ),
    }


@pytest.mark.parametrize("name", bad_trees(Remote()))
def test_a_bad_tree_leaves_no_objects(name: str, store: Store, remote: Remote) -> None:
    tree, why = bad_trees(remote)[name]
    with pytest.raises(BadObject, match=why):
        take(store, remote, tree)
    store.objects.refresh()
    assert not any(store.objects.exists(oid) for oid in remote.objects.keys() - {EMPTY_TREE})


def test_reading_copied_objects(store: Store, remote: Remote) -> None:
    small, large = remote.file(b"a", b"small"), remote.file(b"b", bytes(2000))
    tree = remote.tree(small, large)
    with store.objects.writer() as writer:
        intake = Intake(remote.read, writer, Digests(store.objects, store.cache / "d"), LIMITS)
        intake.tree(tree)
        assert intake.reader.tree(tree) == [small, large] == intake.read_tree(tree)
        assert intake.reader.blob(small.oid) == b"small"
        with pytest.raises(BadObject, match="2000 bytes"):
            intake.read_blob(large.oid)
        with pytest.raises(StoreError, match="missing"):
            intake.read_tree(b"m" * 20)
