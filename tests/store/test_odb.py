from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from prov.errors import StoreError
from prov.store.objects import (
    EMPTY_TREE,
    MODE_DIRECTORY,
    MODE_FILE,
    Commit,
    Entry,
    Identity,
    Oid,
    object_id,
)
from prov.store.odb import ObjectDatabase, ObjectWriter
from prov.store.packs import PackFile
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.conftest import Git


def packs(store: Store) -> list[Path]:
    return list(store.objects.folder.glob("*.pack"))


def write_blobs(store: Store, many: list[bytes]) -> list[Oid]:
    with store.objects.writer() as writer:
        return [writer.add("blob", data) for data in many]


def unreferenced(store: Store) -> dict[Oid, bytes]:
    held: dict[Oid, bytes] = {}
    for number in range(5):
        with store.objects.writer() as writer:
            blob = writer.add("blob", b"precious %d" % number)
            tree = writer.add_tree([Entry(b"f", MODE_FILE, blob)])
            commit = writer.add_commit(Commit(tree, (), Identity("t", "t@t", 1), "x\n"))
        held |= {oid: store.objects.read(oid)[1] for oid in (blob, tree, commit)}
    return held


@pytest.mark.parametrize(
    "command",
    [
        ["gc"],
        ["gc", "--prune=now"],
        ["gc", "--auto"],
        ["gc", "--aggressive", "--prune=all"],
        ["prune", "--expire=now"],
        ["prune-packed"],
        ["repack", "-adq"],
        ["repack", "-Adq", "--unpack-unreachable=now"],
        ["maintenance", "run"],
        ["maintenance", "run", "--task=gc", "--task=loose-objects", "--task=incremental-repack"],
        ["multi-pack-index", "write"],
        ["pack-refs", "--all", "--prune"],
    ],
    ids=" ".join,
)
def test_git_maintenance_removes_nothing(store: Store, git: Git, command: list[str]) -> None:
    held = unreferenced(store)
    loose = git("hash-object", "-w", "--stdin", data=b"loose and unreferenced").strip()
    held[bytes.fromhex(loose)] = b"loose and unreferenced"
    store.refs.update(
        RefUpdate(
            "refs/heads/x", next(oid for oid in held if store.objects.read(oid)[0] == "commit")
        )
    )
    git("-c", "gc.pruneExpire=now", *command, check=False)
    for reader in (store.objects, ObjectDatabase(store.path)):
        for oid, data in held.items():
            assert reader.read(oid)[1] == data
    for oid in held:
        git("cat-file", "-e", oid.hex())


def test_the_same_object_is_written_once(store: Store) -> None:
    first = write_blobs(store, [b"a", b"b"])
    before = packs(store)
    assert write_blobs(store, [b"b", b"a"]) == first[::-1]
    assert sorted(packs(store)) == sorted(before)


def test_the_pack_of_the_last_object_is_searched_first(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = [
        write_blobs(store, [b"%d %d" % (pack, number) for number in range(3)]) for pack in range(4)
    ]
    searches: list[Path] = []
    real = PackFile.find

    def counting(pack: PackFile, oid: Oid) -> int:
        searches.append(pack.path)
        return real(pack, oid)

    monkeypatch.setattr(PackFile, "find", counting)
    for oids in written:
        store.objects.read(oids[0])
        searches.clear()
        for oid in oids:
            store.objects.read(oid)
        assert len(searches) == len(oids)
        assert len(set(searches)) == 1


@pytest.mark.parametrize(("size", "reads"), [(0, 1), (3000, 1), (100_000, 2)])
def test_a_small_blob_is_streamed_by_few_reads(
    store: Store, monkeypatch: pytest.MonkeyPatch, size: int, reads: int
) -> None:
    [oid] = write_blobs(store, [os.urandom(size)])
    store.objects.read(oid)
    offsets: list[int] = []
    real = os.pread

    def counting(fd: int, count: int, offset: int) -> bytes:
        offsets.append(offset)
        return real(fd, count, offset)

    monkeypatch.setattr(os, "pread", counting)
    assert len(b"".join(store.objects.stream_blob(oid))) == size
    assert len(offsets) == reads


def test_a_writer_reads_unfinished_objects(store: Store) -> None:
    with store.objects.writer() as writer:
        blob = writer.add("blob", b"x")
        tree = writer.add_tree([Entry(b"f", MODE_FILE, blob)])
        commit = writer.add_commit(Commit(tree, (), Identity("t", "t@t", 1), "x\n"))
        assert writer.blob(blob) == b"x"
        assert b"".join(writer.stream_blob(blob)) == b"x"
        assert writer.tree(tree) == [Entry(b"f", MODE_FILE, blob)]
        assert writer.commit(commit).tree == tree
        assert not store.objects.exists(blob)
        assert writer.total > 0
    assert store.objects.exists(blob)


def test_an_entry_is_found_by_path(store: Store) -> None:
    with store.objects.writer() as writer:
        blob = writer.add("blob", b"x")
        inner = writer.add_tree([Entry(b"f", MODE_FILE, blob)])
        top = writer.add_tree([Entry(b"d", MODE_DIRECTORY, inner), Entry(b"g", MODE_FILE, blob)])
    for path, expected in [
        ("d/f", blob),
        ("d", inner),
        ("g", blob),
        ("g/f", None),
        ("d/x", None),
        ("x", None),
    ]:
        found = store.objects.entry(top, path)
        assert (found.oid if found else None) == expected


def test_a_missing_object_or_wrong_kind_is_named(store: Store) -> None:
    [blob] = write_blobs(store, [b"x"])
    with pytest.raises(StoreError, match=f"{'ab' * 20} is missing from"):
        store.objects.blob(b"\xab" * 20)
    with pytest.raises(StoreError, match=f"{'ab' * 20} is missing from"):
        list(store.objects.stream_blob(b"\xab" * 20))
    with pytest.raises(StoreError, match=f"{blob.hex()} is a blob, not a tree"):
        store.objects.tree(blob)
    assert store.objects.tree(EMPTY_TREE) == []
    assert not store.objects.exists(b"\xab" * 20)


def test_leftovers_of_the_dead_go_and_those_of_the_living_stay(store: Store) -> None:
    def leave(writer: ObjectWriter) -> None:
        writer.add("blob", b"unfinished")

    dead = os.fork()
    if dead == 0:
        leave(store.objects.writer())
        os._exit(0)
    os.waitpid(dead, 0)
    mine = store.objects.writer()
    leave(mine)
    assert len(list(store.objects.folder.glob("tmp_pack_*"))) == 2
    store.objects.remove_leftovers()
    assert len(list(store.objects.folder.glob("tmp_pack_*"))) == 1
    mine.finish()
    assert store.objects.exists(object_id("blob", b"unfinished"))


def test_a_pack_deleted_while_sizes_are_read_is_skipped(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_blobs(store, [b"here"])
    there = packs(store)
    gone = store.objects.folder / f"pack-{0:040x}.pack"
    monkeypatch.setattr(Path, "glob", lambda *_: iter([gone, *there]))
    assert store.objects.size() == sum(path.stat().st_size for path in there) > 0


def test_a_pack_written_in_the_same_clock_tick_is_found(store: Store) -> None:
    with store.objects.writer() as writer:
        writer.add("blob", b"first")
    reader = ObjectDatabase(store.path)
    stamp = time.time_ns() + 60 * 10**9  # the tick of the listing has not ended
    os.utime(store.objects.folder, ns=(stamp, stamp))
    assert not reader.exists(bytes(20))  # lists the folder
    with store.objects.writer() as writer:
        oid = writer.add("blob", b"second")
    os.utime(store.objects.folder, ns=(stamp, stamp))
    assert reader.exists(oid)


def test_an_unchanged_folder_is_listed_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    old = time.time_ns() - 60 * 10**9
    os.utime(store.objects.folder, ns=(old, old))
    reader = ObjectDatabase(store.path)
    assert not reader.exists(bytes(20))
    monkeypatch.setattr(os, "listdir", None)
    assert not reader.exists(bytes(20))
