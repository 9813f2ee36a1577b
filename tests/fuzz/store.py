"""Parsers of prov/store: objects, packs and their indexes, deltas, refs in files."""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Callable
from typing import Any

import isal.isal_zlib
from hypothesis import strategies as st

from prov.errors import StoreError
from prov.store.deltas import apply
from prov.store.integrity import listed, loose_objects, malformed, salvage
from prov.store.objects import (
    MODE_DIRECTORY,
    MODE_EXECUTABLE,
    MODE_FILE,
    MODE_SYMLINK,
    Commit,
    Entry,
    Identity,
    decode_commit,
    decode_tree,
    encode_tree,
    object_id,
)
from prov.store.odb import ObjectDatabase
from prov.store.packs import KIND_NAMES, PackFile, PackStream, _entry_header
from prov.store.rawrefs import read_refs
from prov.store.refs import RefStore
from prov.transport.pack_ranges import PackIndex, open_entry
from tests.fuzz.common import empty_store, file_names, oids, scratch, text, texts, words, written
from tests.fuzz.parser import Parser

modes = st.sampled_from((MODE_DIRECTORY, MODE_FILE, MODE_EXECUTABLE, MODE_SYMLINK))


def ordered(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda each: each.name + b"/" * (each.mode == MODE_DIRECTORY))


trees = st.lists(
    st.builds(Entry, file_names, modes, oids), max_size=5, unique_by=lambda each: each.name
).map(ordered)
seconds = st.integers(0, 1 << 40)
commits = st.builds(
    Commit,
    oids,
    st.lists(oids, max_size=3).map(tuple),
    st.builds(Identity, words, words, seconds),
    texts,
)
kinds = st.sampled_from(sorted(KIND_NAMES.values()))
contents = st.lists(st.tuples(kinds, st.binary(max_size=60)), min_size=1, max_size=4, unique=True)


# packs


def entry_bytes(value: tuple[str, bytes]) -> bytes:
    number = next(number for number, kind in KIND_NAMES.items() if kind == value[0])
    return _entry_header(number, len(value[1])) + isal.isal_zlib.compress(value[1])


def pack_and_index(objects: list[tuple[Any, bytes]]) -> tuple[bytes, bytes]:
    """Return a pack of some objects and its index, as prov writes them."""
    stream = PackStream(scratch("packs"))
    for kind, data in objects:
        stream.add(object_id(kind, data), kind, data)
    index = stream.finish()
    assert index is not None
    pack = index.with_suffix(".pack")
    both = pack.read_bytes(), index.read_bytes()
    pack.unlink()
    index.unlink()
    return both


def _joined(both: tuple[bytes, bytes]) -> bytes:
    return struct.pack(">I", len(both[0])) + both[0] + both[1]


def _parted(data: bytes) -> tuple[bytes, bytes]:
    size = min(struct.unpack(">I", data[:4].rjust(4, b"\0"))[0], len(data))
    return data[4 : 4 + size], data[4 + size :]


def read_pack(data: bytes) -> int:
    """Read all of a pack by its index, in every way; return the number of readable objects."""
    pack_data, index_data = _parted(data)
    written("fuzz.pack", pack_data)
    pack = PackFile(written("fuzz.idx", index_data))
    count, error = 0, None
    for oid in list(listed(pack.index_path))[:50]:
        place = pack.find(oid)
        for read in (pack.read, _streamed(pack)):
            try:
                count += place >= 0 and read(place) is not None
            except StoreError as damage:
                error = damage
    whole: tuple[Callable[[], object], ...] = (
        pack.sizes,
        pack.offsets,
        pack.has_deltas,
        lambda: _packed(pack),
    )
    for read_all in whole:
        try:
            read_all()
        except StoreError as damage:
            error = damage
    pack.close()
    if error is not None:
        raise error
    return count


def _packed(pack: PackFile) -> int:
    return sum(len(chunk) for _, _, chunks in pack.packed_entries() or () for chunk in chunks)


def _streamed(pack: PackFile) -> Callable[[int], object]:
    def read(place: int) -> int | None:
        streamed = pack.stream(place)
        return None if streamed is None else sum(map(len, streamed[2]))

    return read


def read_entry(data: bytes) -> tuple[str, bytes] | None:
    """Read an object from a range of a remote pack. Raises ValueError."""
    with open(written("entry", data), "rb") as stream:
        entry = open_entry(stream.fileno(), 0)
        if entry is None:
            return None
        kind, size, chunks = entry
        read, content = 0, list[bytes]()
        for chunk in chunks:
            read += len(chunk)
            content = (
                [*content, chunk] if read <= 1 << 16 else []
            )  # do not keep large objects in memory
        assert read == size
        return kind, b"".join(content)


def read_index(data: bytes) -> int:
    data = data[:-20]  # an attacker can compute the checksum
    index = PackIndex(written("ranges.idx", data + hashlib.sha1(data).digest()))
    sizes = [index.extent(oid, 1 << 20) for oid in listed(scratch("files") / "ranges.idx")]
    return len(sizes) + sum(1 for _ in index.within(0, 1 << 20, 1 << 20))


def salvage_pack(data: bytes) -> int:
    stream = PackStream(scratch("packs"))
    try:
        return salvage(written("salvaged.pack", data), stream)
    finally:
        stream.abort()


# deltas


def delta_bytes(base: bytes, steps: list[tuple[int, int] | bytes]) -> bytes:
    """Return a delta of copies (offset, size) and of new bytes, as git encodes them."""
    out, size = bytearray(), 0
    for step in steps:
        if isinstance(step, bytes):
            out += bytes([len(step)]) + step
            size += len(step)
        else:
            at, length = step[0] % len(base), 0
            length = min(step[1], len(base) - at)
            size += length
            out += bytes([0x80 | 15 | 0x70]) + struct.pack("<I", at) + struct.pack("<I", length)[:3]
    return _varint(len(base)) + _varint(size) + bytes(out)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


steps = st.lists(
    st.tuples(st.integers(0, 99), st.integers(1, 99)) | st.binary(min_size=1, max_size=20),
    min_size=1,
    max_size=5,
)
deltas = st.builds(
    lambda base, made: (base, delta_bytes(base, made)), st.binary(min_size=1, max_size=99), steps
)


def apply_delta(data: bytes) -> bytes | None:
    base, delta = _parted(data)
    return apply(base, delta, most=1 << 24)


def _delta_text(value: tuple[bytes, bytes]) -> bytes:
    return struct.pack(">I", len(value[0])) + value[0] + value[1]


# refs

ref_names = st.lists(words, min_size=2, max_size=4).map(lambda parts: "/".join(["refs", *parts]))
packed_refs = st.dictionaries(ref_names, oids, max_size=5).map(
    lambda refs: (
        b"# pack-refs with: peeled fully-peeled sorted \n"
        + b"".join(
            b"%s %s\n" % (oid.hex().encode(), name.encode()) for name, oid in sorted(refs.items())
        )
    )
)


def read_ref_files(data: bytes) -> object:
    """Read these bytes as packed-refs, and as the file of one ref."""
    folder = scratch("refs")
    (folder / "refs/heads").mkdir(parents=True, exist_ok=True)
    (folder / "packed-refs").write_bytes(data)
    (folder / "refs/heads/builds").write_bytes(data[:100])
    return read_refs(folder)


def ask_refs(data: bytes) -> object:
    """Read refs from these bytes as packed-refs; their first line is one of the names to read."""
    store = empty_store("asked").path
    (store / "packed-refs").write_bytes(data)
    refs = RefStore(store)
    error, found = None, []
    for name in ("refs/heads/builds", text(data.partition(b"\n")[0].replace(b"\0", b""))):
        try:
            found.append(refs.get(name))
        except StoreError as damage:
            error = damage
    if error is not None:
        raise error
    return found


def ask_loose(data: bytes) -> object:
    store = empty_store("loose").path
    (store / "refs/heads/builds").write_bytes(data)
    return RefStore(store).get("refs/heads/builds")


def read_loose_object(data: bytes) -> object:
    folder = scratch("loose")
    (folder / "objects/aa").mkdir(parents=True, exist_ok=True)
    (folder / "objects/aa" / ("b" * 38)).write_bytes(data)
    return list(loose_objects(folder))


def read_object(data: bytes) -> object:
    """Read a loose object with this content."""
    store = empty_store("objects")
    oid = b"\xaa" + b"\xbb" * 19
    with contextlib.suppress(isal.isal_zlib.error):  # type: ignore[arg-type]  # isal's stub says it is a value
        oid = hashlib.sha1(isal.isal_zlib.decompressobj().decompress(data, 1 << 20)).digest()
    path = store.path / "objects" / oid.hex()[:2] / oid.hex()[2:]
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    objects = ObjectDatabase(store.path)
    for read in (objects.tree, objects.commit):
        with contextlib.suppress(StoreError):
            read(oid)
    return objects.read(oid)


def loose_bytes(value: tuple[str, bytes]) -> bytes:
    return isal.isal_zlib.compress(b"%s %d\0%s" % (value[0].encode(), len(value[1]), value[1]))


PARSERS = [
    Parser("objects.decode_tree", decode_tree, ValueError, trees, encode_tree, inverse=True),
    Parser(
        "objects.decode_commit", decode_commit, ValueError, commits, Commit.encode, inverse=True
    ),
    Parser(
        "pack_ranges.open_entry",
        read_entry,
        ValueError,
        st.tuples(kinds, st.binary()),
        entry_bytes,
        inverse=True,
    ),
    Parser(
        "pack_ranges.PackIndex",
        read_index,
        StoreError,
        contents.map(lambda each: pack_and_index(each)[1]),
        slow=True,
    ),
    Parser(
        "packs.PackFile", read_pack, StoreError, contents.map(pack_and_index), _joined, slow=True
    ),
    Parser(
        "verify.salvage",
        salvage_pack,
        None,
        contents.map(lambda each: pack_and_index(each)[0]),
        slow=True,
    ),
    Parser(
        "verify.loose_objects", read_loose_object, None, st.tuples(kinds, st.binary()), loose_bytes
    ),
    Parser(
        "verify.malformed",
        lambda data: malformed(text(data).split("\n")),
        None,
        st.just(
            b"error in tree 1234567890123456789012345678901234567890: duplicateEntries: contains"
            b" duplicates\n"
        ),
    ),
    Parser(
        "odb.read, tree, commit",
        read_object,
        StoreError,
        st.tuples(kinds, trees.map(encode_tree) | st.binary()),
        loose_bytes,
    ),
    Parser("deltas.apply", apply_delta, None, deltas, _delta_text),
    Parser("rawrefs.read_refs", read_ref_files, None, packed_refs),
    Parser("refs.RefStore.get (packed)", ask_refs, StoreError, packed_refs),
    Parser(
        "refs.RefStore.get (loose)",
        ask_loose,
        StoreError,
        oids.map(lambda oid: oid.hex().encode() + b"\n"),
    ),
]
