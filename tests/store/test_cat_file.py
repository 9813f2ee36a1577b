from __future__ import annotations

import os
import random
import resource
import subprocess
import sys

import pytest

from prov.errors import StoreError
from prov.store import cat_file, odb
from prov.store.cat_file import limit_memory, stream_by_git
from prov.store.objects import EMPTY_TREE, Oid
from prov.store.odb import FEW
from prov.store.repository import Store
from tests.conftest import Git


@pytest.mark.parametrize("data", [b"", b"x", b"line\n" * 500_000])
def test_an_object_is_streamed(store: Store, data: bytes) -> None:
    with store.objects.writer() as writer:
        oid = writer.add("blob", data)
    kind, size, chunks = stream_by_git(store.path, oid)
    assert (kind, size, b"".join(chunks)) == ("blob", len(data), data)


def test_the_kind_of_an_object(store: Store) -> None:
    assert stream_by_git(store.path, EMPTY_TREE)[:2] == ("tree", 0)


def test_a_missing_object(store: Store) -> None:
    with pytest.raises(StoreError, match="is missing from"):
        stream_by_git(store.path, b"x" * 20)


def test_a_stream_that_is_not_read_to_its_end_ends_git(store: Store) -> None:
    with store.objects.writer() as writer:
        oid = writer.add("blob", bytes(8 << 20))
    chunks = stream_by_git(store.path, oid)[2]
    assert next(chunks)
    chunks.close()  # type: ignore[attr-defined]  # it is a generator


def test_the_memory_of_a_process_is_limited() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        limit_memory(process.pid, 1 << 30)
        assert resource.prlimit(process.pid, resource.RLIMIT_DATA)[0] == 1 << 30
        process.communicate(b"\n")


# batches

MISSING = b"\7" * 20


@pytest.fixture
def oids(store: Store) -> list[Oid]:
    content = random.Random(1).randbytes(3000)
    with store.objects.writer() as writer:
        return [writer.add("blob", content + b"%d" % number) for number in range(2 * FEW)]


@pytest.mark.parametrize("count", [FEW, 2 * FEW])
def test_packed_and_missing_objects(store: Store, oids: list[Oid], count: int) -> None:
    wanted = [*oids[:count], MISSING, EMPTY_TREE, oids[0]]
    expected = [store.objects.blob(oid) for oid in oids[:count]]
    assert list(store.objects.read_many(wanted)) == [*expected, None, b"", expected[0]]
    sizes = [len(content) for content in expected]
    assert list(store.objects.sizes_of(wanted)) == [*sizes, None, 0, sizes[0]]


def test_deltas_and_loose_objects(store: Store, oids: list[Oid], git: Git) -> None:
    tree = "".join(f"100644 blob {oid.hex()}\t{oid.hex()}\n" for oid in oids)
    root = git("mktree", data=tree.encode()).strip()
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    git("update-ref", "refs/heads/x", git(*identity, "commit-tree", "-m", "x", root).strip())
    git("config", "extensions.preciousObjects", "false")
    git("repack", "-adfq")
    loose = bytes.fromhex(git("hash-object", "-w", "--stdin", data=b"loose").strip())
    contents = list(store.objects.read_many([*oids, loose]))
    assert contents == [*(store.objects.blob(oid) for oid in oids), b"loose"]


def test_large_objects_are_skipped(
    store: Store, oids: list[Oid], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cat_file, "LARGEST", 10)
    monkeypatch.setattr(odb, "LARGEST", 10)
    with store.objects.writer() as writer:
        small = writer.add("blob", b"small")
    for some in (oids[:3], oids):
        assert list(store.objects.read_many([*some, small])) == [None] * len(some) + [b"small"]


def test_objects_after_a_damaged_one_are_read(store: Store, oids: list[Oid]) -> None:
    pack = max(store.objects.packs(), key=lambda pack: pack.count)
    offset = min(pack.offsets())
    os.chmod(pack.path, 0o644)
    with open(pack.path, "r+b") as stream:
        stream.seek(offset)
        stream.write(b"\x00")
    opened = Store.open(store.path)
    contents = list(opened.objects.read_many(oids))
    for oid, content in zip(oids, contents, strict=True):
        try:
            assert content == opened.objects.blob(oid)
        except StoreError:
            assert content is None
    assert contents.count(None) == 1
