from __future__ import annotations

import io
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from prov.store import joining
from prov.store.joining import (
    PACKS_TO_CONSOLIDATE,
    consolidate,
    consolidate_all,
    large_packs,
    packs_to_join,
)
from prov.store.objects import (
    MODE_FILE,
    Commit,
    Entry,
    Identity,
    Oid,
    object_id,
)
from prov.store.odb import ObjectDatabase
from prov.store.packs import STREAM_CHUNK, PackFile
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.store.sweep import sweep
from tests.conftest import Git


def packs(store: Store) -> list[Path]:
    return list(store.objects.folder.glob("*.pack"))


def write_blobs(store: Store, many: list[bytes]) -> list[Oid]:
    with store.objects.writer() as writer:
        return [writer.add("blob", data) for data in many]


READER = """
import os, sys
from pathlib import Path
from prov.store.odb import ObjectDatabase
odb = ObjectDatabase(Path(sys.argv[1]))
known = []
for line in sys.stdin:
    known.append(bytes.fromhex(line.strip()))
    for oid in known[-30:] + known[::7]:
        kind, data = odb.read(oid)
        assert kind == "blob" and data == b"".join(odb.stream_blob(oid)), oid.hex()
    print(len(known), flush=True)
"""


def test_packs_stay_few_while_others_write_and_read(
    store: Store, is_clean: Callable[[], None]
) -> None:
    command = [sys.executable, "-c", READER, str(store.path)]
    written: dict[Oid, bytes] = {}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdin is not None
        assert reader.stdout is not None
        for number in range(200):
            writer_of_its_own = Store.open(store.path)
            data = b"%d\n" % number * (number % 40 + 1) * (300 if number % 50 == 0 else 1)
            [oid] = write_blobs(writer_of_its_own, [data])
            written[oid] = data
            reader.stdin.write(oid.hex() + "\n")
            reader.stdin.flush()
            consolidate(store.objects)
            assert len(packs(store)) <= 50
        reader.stdin.close()
        assert reader.stdout.read().split()[-1] == "200"
    assert reader.returncode == 0
    for oid, data in written.items():
        assert store.objects.read(oid) == ("blob", data)
        assert ObjectDatabase(store.path).read(oid) == ("blob", data)
    assert not [
        path for path in store.objects.folder.iterdir() if path.suffix not in (".idx", ".pack")
    ]
    is_clean()


@pytest.mark.parametrize("how", ["read", "stream"])
def test_an_open_reader_outlives_every_consolidation(store: Store, how: str) -> None:
    held = {
        oid: store.objects.read(oid)[1]
        for n in range(30)
        for oid in write_blobs(store, [b"x%d" % n])
    }
    reader = ObjectDatabase(store.path)
    reader.refresh()
    assert consolidate(store.objects) >= 24
    for oid, data in held.items():
        assert (reader.read(oid)[1] if how == "read" else b"".join(reader.stream_blob(oid))) == data


def test_a_stream_that_was_begun_outlives_a_consolidation(store: Store) -> None:
    data = os.urandom(3 * STREAM_CHUNK)
    oid = object_id("blob", data)
    with store.objects.writer() as writer:
        writer.add_blob_stream(oid, len(data), io.BytesIO(data))
    for number in range(30):
        write_blobs(store, [b"%d" % number])
    stream = store.objects.stream_blob(oid)
    got = next(stream)
    assert consolidate(store.objects)
    write_blobs(store, [b"another, so that files are opened"])
    assert got + b"".join(stream) == data


def test_consolidation_leaves_marked_packs_and_those_with_deltas(store: Store, git: Git) -> None:
    similar = [b"line\n" * 300 + b"%d" % number for number in range(20)]
    oids = [git("hash-object", "-w", "--stdin", data=data).strip() for data in similar]
    deltas = git(
        "pack-objects", "-q", str(store.objects.folder / "pack"), data="\n".join(oids).encode()
    ).strip()
    git("prune-packed")
    before = set(packs(store))
    write_blobs(store, [b"kept"])
    [mine] = set(packs(store)) - before
    mine.with_suffix(".keep").touch()
    for number in range(30):
        write_blobs(store, [b"n%d" % number])
    assert consolidate(store.objects)
    assert mine.exists()
    assert (store.objects.folder / f"pack-{deltas}.pack").exists()
    for oid, data in zip(oids, similar, strict=True):
        assert store.objects.blob(bytes.fromhex(oid)) == data


def test_consolidation_copies_few_bytes(store: Store) -> None:
    copied = 0
    for _number in range(300):
        write_blobs(store, [os.urandom(1000)])
        before = {path.name for path in packs(store)}
        if consolidate(store.objects):
            copied += sum(path.stat().st_size for path in packs(store) if path.name not in before)
    assert copied < 300 * 1000 * 4


DOZEN = PACKS_TO_CONSOLIDATE // 2


# sizes of packs, maximum bytes to copy, number of joined packs
JOINS = [
    ([], 100, 0),
    ([1] * 20, 100, 20),
    ([1] * 20, 15, 15),
    ([1] * DOZEN + [2 * DOZEN], 1000, DOZEN + 1),
    ([1] * DOZEN + [2 * DOZEN + 1], 1000, DOZEN),
    ([1] * DOZEN + [2 * DOZEN + 1, 3 * DOZEN], 1000, DOZEN + 2),
    ([joining.CONSOLIDATE_UP_TO + 1], 2 * joining.CONSOLIDATE_UP_TO, 0),
]


@pytest.mark.parametrize(("sizes", "most", "count"), JOINS)
def test_how_many_packs_are_joined(sizes: list[int], most: int, count: int) -> None:
    assert packs_to_join(sizes, most) == count


@pytest.fixture
def small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Store blobs from 10 kB on as deltas, and join packs as soon as there are two."""
    monkeypatch.setattr(joining, "LARGE", 10_000)
    monkeypatch.setattr(joining, "LARGE_PACK", 0)
    monkeypatch.setattr(joining, "LARGE_PACKS", 2)


def images(count: int) -> list[bytes]:
    """Return versions of an image of 400 kB; each differs from the previous one in 1 %."""
    image, generator = bytearray(os.urandom(400_000)), random.Random(1)
    versions = []
    for _ in range(count):
        for _ in range(10):
            at = generator.randrange(0, len(image) - 400, 400)
            image[at : at + 400] = generator.randbytes(400)
        versions.append(bytes(image))
    return versions


def store_versions(store: Store, versions: list[bytes]) -> dict[Oid, bytes]:
    """Write each version with a text in a pack of its own, the newest last."""
    written: dict[Oid, bytes] = {}
    for number, data in enumerate(versions):
        oids = write_blobs(store, [data, b"text %d" % number])
        written |= dict(zip(oids, [data, b"text %d" % number], strict=True))
    return written


def check(store: Store, written: dict[Oid, bytes]) -> None:
    for reader in (store.objects, ObjectDatabase(store.path)):
        for oid, data in written.items():
            assert reader.read(oid) == ("blob", data)
            assert b"".join(reader.stream_blob(oid)) == data
            assert reader.header(oid) == ("blob", len(data))


def test_versions_of_a_large_blob_take_the_space_of_their_changes(
    store: Store, small_limits: None, is_clean: Callable[[], None]
) -> None:
    versions = images(10)
    written = store_versions(store, versions[:5])
    assert consolidate_all(store.objects) == 6  # with that of the empty tree
    written |= store_versions(store, versions[5:])
    assert consolidate_all(store.objects) == 7
    assert len(packs(store)) == 2
    assert store.objects.size() < 400_000 * 1.3
    check(store, written)
    is_clean()


def test_the_newest_version_stays_whole(store: Store, small_limits: None) -> None:
    versions = images(3)
    for number, data in enumerate(versions):
        [oid] = write_blobs(store, [data])
        [new] = [path for path in packs(store) if PackFile(path.with_suffix(".idx")).find(oid) >= 0]
        os.utime(new, ns=(number * 10**9, number * 10**9))
    assert consolidate_all(store.objects)
    for data in versions:
        oid = object_id("blob", data)
        [pack] = [pack for pack in store.objects.packs() if pack.find(oid) >= 0]
        assert (pack.read(pack.find(oid)) is not None) is (data == versions[-1])


def test_a_joined_store_is_not_joined_again(store: Store, small_limits: None) -> None:
    store_versions(store, images(3))
    assert consolidate_all(store.objects)
    before = {path: path.stat().st_ino for path in packs(store)}
    consolidate_all(store.objects)
    assert {path: path.stat().st_ino for path in packs(store)}.keys() == before.keys()


def test_without_memory_for_deltas_blobs_stay_whole(
    store: Store, small_limits: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = store_versions(store, images(3))
    monkeypatch.setattr(joining, "MEMORY", 1)
    assert consolidate_all(store.objects) == 4
    assert len(packs(store)) == 1
    check(store, written)


@pytest.mark.parametrize("step", ["write_by_git", "_join", "delete_packs"])
def test_a_kill_while_packs_with_deltas_are_joined_loses_nothing(
    store: Store, small_limits: None, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    written = store_versions(store, images(3))
    consolidate_all(store.objects)
    written |= store_versions(store, images(2))
    plain = getattr(joining, step)

    def killed(*arguments: object, **options: object) -> None:
        plain(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(joining, step, killed)
        with pytest.raises(KeyboardInterrupt):
            consolidate_all(store.objects)
    check(store, written)
    consolidate_all(store.objects)
    check(store, written)
    assert len(packs(store)) == 2


def test_large_packs_are_joined_before_there_are_many(store: Store) -> None:
    write_blobs(store, [b"small"])
    assert not large_packs(store.objects)
    for number in range(joining.LARGE_PACKS):
        path = store.objects.folder / f"pack-{number:040x}.pack"
        shutil.copy(
            PackFile(next(store.objects.folder.glob("*.idx"))).index_path, path.with_suffix(".idx")
        )
        os.truncate(os.open(path, os.O_CREAT | os.O_WRONLY), joining.LARGE_PACK + 1)
    assert large_packs(store.objects)


def test_a_sweep_copies_deltas(
    store: Store, small_limits: None, is_clean: Callable[[], None]
) -> None:
    versions = images(5)
    for number, data in enumerate(versions):
        with store.objects.writer() as writer:
            blob = writer.add("blob", data)
            tree = writer.add_tree([Entry(b"f", MODE_FILE, blob)])
            commit = writer.add_commit(Commit(tree, (), Identity("t", "t@t", 1), "x\n"))
        store.refs.update(RefUpdate(f"refs/tags/v/{number}", commit))
    store.refs.update(RefUpdate("refs/tags/v/2", None))
    unreachable = object_id("blob", versions[2])
    assert consolidate_all(store.objects)
    before = store.objects.size()
    other = Store.open(store.path)
    store.objects.release()
    assert sweep(other.objects, thorough=True).objects == 3
    assert before < 400_000 * 1.1
    assert other.objects.size() < 400_000 * 1.1
    assert not ObjectDatabase(store.path).packed(unreachable)
    kept = [data for data in versions if data != versions[2]]
    check(other, {object_id("blob", data): data for data in kept})
    is_clean()
