from __future__ import annotations

import io
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from isal import isal_zlib

from prov.errors import StoreError
from prov.store import packs
from prov.store.objects import Commit, Identity, Kind, Oid, object_id
from prov.store.packs import STREAM_CHUNK, PackFile, PackStream
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from tests.conftest import Git

contents = st.one_of(
    st.binary(max_size=100),
    st.builds(
        lambda seed, size: (seed or b"x") * size, st.binary(max_size=8), st.integers(0, 9000)
    ),
    st.integers(0, 70_000).map(os.urandom),
)
blobs = st.lists(contents, min_size=1, max_size=12, unique=True)


def write(folder: Path, many: list[bytes], *, streamed: bool) -> PackFile:
    folder.mkdir(parents=True, exist_ok=True)
    stream = PackStream(folder)
    for data in many:
        oid = object_id("blob", data)
        if streamed:
            assert stream.add_blob_stream(oid, len(data), io.BytesIO(data))
        else:
            stream.add(oid, "blob", data)
    index = stream.finish()
    assert index is not None
    return PackFile(index)


def read_whole(pack: PackFile, oid: Oid) -> bytes:
    streamed = pack.stream(pack.find(oid))
    assert streamed is not None
    return b"".join(streamed[2])


@settings(max_examples=25)
@given(many=blobs, streamed=st.booleans())
def test_git_accepts_packs_and_indexes_them_alike(
    many: list[bytes], streamed: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("packs")
    pack = write(folder, many, streamed=streamed)
    subprocess.run(["git", "verify-pack", str(pack.index_path)], check=True, cwd=folder)
    again = folder / "again.idx"
    subprocess.run(
        ["git", "index-pack", "--strict", "-o", str(again), str(pack.path)],
        check=True,
        cwd=folder,
        capture_output=True,
    )
    assert again.read_bytes() == pack.index_path.read_bytes()
    for data in many:
        place = pack.find(object_id("blob", data))
        assert pack.read(place) == ("blob", data)
        assert read_whole(pack, object_id("blob", data)) == data
    assert sorted(os.listdir(folder)) == sorted(["again.idx", pack.path.name, pack.index_path.name])


def test_git_reads_every_kind_that_prov_writes(
    store: Store, git: Git, is_clean: Callable[[], None]
) -> None:
    big = os.urandom(3 * STREAM_CHUNK) + bytes(5 * STREAM_CHUNK)
    with store.objects.writer() as writer:
        assert writer.add_blob_stream(object_id("blob", big), len(big), io.BytesIO(big))
        blob = writer.add("blob", b"hello\n")
        tree = writer.add_tree([])
        tag = b"object %s\ntype blob\ntag v1\ntagger t <t@t> 1 +0000\n\nx\n" % blob.hex().encode()
        signed = writer.add("tag", tag)
        commit = writer.add_commit(Commit(tree, (), Identity("t", "t@t", 1), "x\n"))
    store.refs.update(RefUpdate("refs/heads/x", commit), RefUpdate("refs/tags/v1", signed))
    is_clean()
    announced: list[tuple[Oid, Kind]] = [
        (blob, "blob"),
        (commit, "commit"),
        (signed, "tag"),
        (object_id("blob", big), "blob"),
    ]
    for oid, kind in announced:
        assert git("cat-file", "-t", oid.hex()).strip() == kind
        assert store.objects.read(oid)[0] == kind
    assert b"".join(store.objects.stream_blob(object_id("blob", big))) == big
    assert store.objects.read(object_id("blob", big))[1] == big
    assert git("hash-object", "--stdin", data=big).strip() == object_id("blob", big).hex()
    assert git("cat-file", "-s", object_id("blob", big).hex()).strip() == str(len(big))


@pytest.mark.parametrize("compressed", [True, False])
def test_prov_reads_what_git_wrote(store: Store, git: Git, compressed: bool) -> None:
    many = [b"line %d\n" % number * 200 for number in range(30)]
    oids = [git("hash-object", "-w", "--stdin", data=data).strip() for data in many]
    if compressed:  # a pack with deltas
        listing = "\n".join(f"{oid} x" for oid in oids).encode()
        git("pack-objects", "--window=50", "-q", str(store.objects.folder / "pack"), data=listing)
        git("prune-packed")
    for oid, data in zip(oids, many, strict=True):
        assert store.objects.exists(bytes.fromhex(oid))
        assert store.objects.read(bytes.fromhex(oid)) == ("blob", data)
        assert b"".join(store.objects.stream_blob(bytes.fromhex(oid))) == data


WRONG = [
    ("shorter", b"abc" * 1000, b"abc" * 999),
    ("other", b"abc" * 1000, b"abd" * 1000),
    ("nothing", b"abc", b""),
    ("longer than announced, different", b"abc", b"xyzabc"),
    ("random and short", os.urandom(2 * STREAM_CHUNK), os.urandom(STREAM_CHUNK + 5)),
]


@pytest.mark.parametrize(
    ("announced", "sent"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_a_stream_that_differs_from_its_id_is_truncated(
    tmp_path: Path, announced: bytes, sent: bytes
) -> None:
    stream = PackStream(tmp_path)
    first, last = b"first" * 50, b"last" * 50
    stream.add(object_id("blob", first), "blob", first)
    before = stream.size
    wrong = object_id("blob", announced)
    assert not stream.add_blob_stream(wrong, len(announced), io.BytesIO(sent))
    assert (stream.size, len(stream), wrong in stream) == (before, 1, False)
    stream.add(object_id("blob", last), "blob", last)
    index = stream.finish()
    assert index is not None
    subprocess.run(["git", "verify-pack", str(index)], check=True, cwd=tmp_path)
    pack = PackFile(index)
    assert pack.find(wrong) == -1
    assert pack.read(pack.find(object_id("blob", last))) == ("blob", last)
    assert index.with_suffix(".pack").stat().st_size == stream.size + 20


def test_abort_leaves_nothing(tmp_path: Path) -> None:
    stream = PackStream(tmp_path)
    stream.add(object_id("blob", b"x"), "blob", b"x")
    stream.abort()
    assert os.listdir(tmp_path) == []


def test_an_empty_pack_is_not_written(tmp_path: Path) -> None:
    assert PackStream(tmp_path).finish() is None
    assert os.listdir(tmp_path) == []


def test_a_writer_left_by_an_exception_leaves_nothing(store: Store) -> None:
    before = sorted(os.listdir(store.objects.folder))
    with pytest.raises(KeyError), store.objects.writer() as writer:
        oid = writer.add("blob", b"never")
        raise KeyError
    assert sorted(os.listdir(store.objects.folder)) == before
    assert not store.objects.exists(oid)


def test_the_same_pack_twice_is_one(tmp_path: Path) -> None:
    packs = [write(tmp_path, [b"a", b"b"], streamed=False) for _ in range(2)]
    assert packs[0].path == packs[1].path
    assert len(os.listdir(tmp_path)) == 2


@pytest.mark.parametrize("how", ["read", "stream"])
def test_a_damaged_object_is_named(tmp_path: Path, how: str) -> None:
    data = os.urandom(20_000) + bytes(20_000)
    pack = write(tmp_path, [data], streamed=False)
    os.chmod(pack.path, 0o644)
    damaged = bytearray(pack.path.read_bytes())
    damaged[200:4000] = bytes(3800)
    pack.path.write_bytes(damaged)
    oid = object_id("blob", data)
    with pytest.raises(StoreError, match="damaged"):
        if how == "read":
            pack.read(pack.find(oid))
        else:
            read_whole(pack, oid)


def test_a_truncated_pack_is_named(tmp_path: Path) -> None:
    data = os.urandom(20_000)
    pack = write(tmp_path, [data], streamed=False)
    os.chmod(pack.path, 0o644)
    os.truncate(pack.path, 9000)
    with pytest.raises(StoreError, match="damaged"):
        pack.read(pack.find(object_id("blob", data)))
    with pytest.raises(StoreError, match="damaged"):
        read_whole(pack, object_id("blob", data))


def test_a_stream_comes_in_chunks_however_well_it_was_packed(tmp_path: Path) -> None:
    size = 40 * STREAM_CHUNK
    oid = object_id("blob", bytes(size))
    pack = write(tmp_path, [bytes(size)], streamed=True)
    streamed = pack.stream(pack.find(oid))
    assert streamed is not None
    lengths = [len(chunk) for chunk in streamed[2]]
    assert sum(lengths) == size
    assert max(lengths) <= 2 * STREAM_CHUNK


def test_a_pack_closed_while_it_is_streamed_is_still_read(tmp_path: Path) -> None:
    data = os.urandom(4 * STREAM_CHUNK)
    pack = write(tmp_path, [data], streamed=True)
    streamed = pack.stream(pack.find(object_id("blob", data)))
    assert streamed is not None
    first = next(streamed[2])
    pack.close()
    pack.path.unlink()
    assert first + b"".join(streamed[2]) == data


def test_offsets_beyond_two_gigabytes_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = PackStream(tmp_path)
    data = b"far away"
    oid, header = object_id("blob", data), bytes([3 << 4 | len(data)])
    packed = header + isal_zlib.compress(data, 1)
    with open(stream._temporary, "r+b") as hole:  # a sparse file simulates two gigabytes of packs
        hole.truncate(0x80000010)
    stream._file.seek(0x80000010)
    stream._at = 0x80000010
    stream.add_packed(oid, isal_zlib.crc32(packed), (packed,))
    index = tmp_path / "pack-x.idx"
    stream._file.flush()
    index.write_bytes(stream._encode_index(bytes(20)))
    os.rename(stream._temporary, tmp_path / "pack-x.pack")
    pack = PackFile(index)
    assert pack.read(pack.find(oid)) == ("blob", data)
    shown = subprocess.run(
        ["git", "show-index"], input=index.read_bytes(), capture_output=True, check=True
    )
    assert shown.stdout.split()[:2] == [b"%d" % 0x80000010, oid.hex().encode()]


def test_a_large_pack_is_written_to_disk_in_parts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ranges: list[tuple[int, int]] = []
    monkeypatch.setattr(packs, "WRITE_BACK", 100_000)
    monkeypatch.setattr(
        os, "posix_fadvise", lambda _fd, start, length, _advice: ranges.append((start, length))
    )
    with store.objects.writer() as writer:
        oids = [writer.add_blob(os.urandom(30_000)) for _ in range(20)]
    assert all(store.objects.exists(oid) for oid in oids)
    ends = [start + length for start, length in ranges]
    assert len(ranges) >= 4
    assert [start for start, _ in ranges[1:]] == ends[:-1]
