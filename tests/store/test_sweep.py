"""Which objects a sweep deletes, and which stay because a remaining object references them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from pathlib import Path

import pytest

from prov.store.objects import CONSTANT_IDENTITY, MODE_FILE, Commit, Entry, Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.store.sweep import measure, reachable, sweep

pytestmark = pytest.mark.process

OLD = time.time() - 10 * 3600


def write(
    store: Store, *contents: bytes, names: dict[bytes, Oid] | None = None, ref: str = ""
) -> tuple[Oid, list[Oid]]:
    """Write a pack with files, a tree of them, and a tree of `names`; optionally set a ref.

    The ref points to the first tree. Returns the last written tree, and the files. The lease ends
    with this function, which opens the store separately.
    """
    own = Store.open(store.path)
    with own.objects.writer() as writer:
        blobs = [writer.add("blob", content) for content in contents]
        tree = writer.add_tree(
            [Entry(b"f%d" % number, MODE_FILE, oid) for number, oid in enumerate(blobs)]
        )
        commit = writer.add_commit(Commit(tree, (), CONSTANT_IDENTITY, "x\n"))
        if names:
            tree = writer.add_tree(
                [Entry(name, MODE_FILE, oid) for name, oid in sorted(names.items())]
            )
    if ref:
        own.refs.update(RefUpdate(ref, commit))
    return tree, blobs


def age(store: Store, *, but: Iterable[Path] = ()) -> None:
    for path in set(store.objects.folder.iterdir()) - set(but):
        os.utime(path, (OLD, OLD))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    Store.create(tmp_path / "store")
    return Store.open(tmp_path / "store")


REF = "refs/prov/output/a/b/" + "1" * 40


def test_objects_of_a_new_tree_stay(store: Store) -> None:
    _, (blob,) = write(store, os.urandom(5000))
    age(store)
    before = set(store.objects.folder.iterdir())
    tree, _ = write(
        store, names={b"again": blob}
    )  # unreachable, in a new pack, and references a file in an old one
    age(store, but=set(store.objects.folder.iterdir()) - before)
    assert sweep(store.objects).objects > 0, "the old tree and its commit go"
    assert store.objects.exists(tree)
    assert store.objects.exists(blob)


def test_an_uncopied_pack_keeps_what_it_references(store: Store) -> None:
    _, (named,) = write(store, b"held by nothing, in a pack of its own" + os.urandom(3000))
    tree, _ = write(
        store, os.urandom(500_000), names={b"named": named}, ref=REF
    )  # small beside the reachable objects
    age(store)
    sweep(store.objects)
    assert store.objects.exists(tree) == store.objects.exists(named)


def test_a_tree_of_which_something_is_missing_does_not_stay(store: Store) -> None:
    tree, (kept,) = write(store, os.urandom(500_000), names={b"gone": b"\x12" * 20}, ref=REF)
    age(store)
    sweep(store.objects)
    assert not store.objects.exists(tree), (
        "a later writer of this tree would assume that its file is stored"
    )
    assert store.objects.exists(kept)


def test_a_sweep_deletes_what_was_measured(store: Store) -> None:
    write(store, os.urandom(5000))
    write(store, os.urandom(500_000), names={b"gone": b"\x12" * 20}, ref=REF)
    age(store)
    sweep_result = measure(store.objects, reachable(store.path))
    assert sweep_result == sweep(store.objects)
