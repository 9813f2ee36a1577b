"""Git packs, written as a stream and read without git.

Every object that prov makes goes straight into a pack, whole (no deltas), so that a capture costs
one file however many objects it has, and packs can be joined later by copying bytes. The formats
are those of git's gitformat-pack: version 2 of the pack, version 2 of its index.

What always holds: a pack appears in the store complete and synced, its index after it; an index is
what makes git, and us, look at a pack.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple, Protocol, cast

from isal import isal_zlib

from prov.errors import StoreError
from prov.files import create_file, naming, sync_directory
from prov.store.deltas import read_distance, read_size
from prov.store.objects import Kind, Oid

_KINDS: dict[Kind, int] = {"commit": 1, "tree": 2, "blob": 3, "tag": 4}
KIND_NAMES: dict[int, Kind] = {number: kind for kind, number in _KINDS.items()}
_LARGEST_OFFSET = (1 << 63) - 1
_OFS_DELTA, _REF_DELTA = _DELTAS = (6, 7)
_LONGEST_CHAIN = 10_000
"""Deltas on one another; git makes fifty."""
_MOST_RATIO = 1032
"""Deflate makes no data smaller than by this factor (zlib's technical notes)."""
_HEADER = struct.Struct(">4sII")
_INDEX_MAGIC = b"\xfftOc\0\0\0\x02"
_FANOUT_END = 8 + 256 * 4
_TRAILER = 20
LONGEST_HEADER = 10
"""Bytes of an entry's header: its size has 64 bits at most."""
STREAM_CHUNK = 1 << 20
LEVEL = 1
SEARCHED = 128
"""So many ids are searched faster than halved."""
INFLATE_ERROR = cast(type[Exception], isal_zlib.error)
"""Raised for data that is not deflated; isal's stub declares an instance instead of a class."""
_REPAIR = "`prov fsck` tells what depends on it, `prov fsck --repair` repairs what can be"
TEMPORARY = "tmp_pack_prov_"
"""What an unfinished pack's name begins with; the process id follows."""


def _entry_header(kind: int, size: int) -> bytes:
    byte = kind << 4 | size & 15
    size >>= 4
    header = bytearray()
    while size:
        header.append(byte | 128)
        byte, size = size & 127, size >> 7
    header.append(byte)
    return bytes(header)


def read_entry_header(data: bytes) -> tuple[int, int, int]:
    """Return kind number, size of the content, length of the header.

    Raises ValueError for what is no header.
    """
    if not data:
        raise ValueError("there is no header")
    byte = data[0]
    kind, size, shift, length = byte >> 4 & 7, byte & 15, 4, 1
    while byte & 128:
        if length >= min(len(data), LONGEST_HEADER):
            raise ValueError("a header that does not end")
        byte = data[length]
        size |= (byte & 127) << shift
        shift, length = shift + 7, length + 1
    return kind, size, length


def inflate(fd: int, at: int, size: int) -> Iterator[bytes]:
    """Yield what `size` bytes of content were deflated to at a place in a file.

    Raises ValueError if it is not that.
    """
    inflater, remaining = isal_zlib.decompressobj(), size
    while not inflater.eof:
        packed = inflater.unconsumed_tail
        if not packed:
            packed = os.pread(fd, STREAM_CHUNK, at)
            at += len(packed)
        try:
            chunk = inflater.decompress(packed, STREAM_CHUNK)
        except INFLATE_ERROR as error:
            raise ValueError(str(error)) from error
        if not packed and not chunk:
            break  # the file ends here
        remaining -= len(chunk)
        if remaining < 0:
            break
        if chunk:
            yield chunk
    if remaining or not inflater.eof:
        raise ValueError(f"{size - remaining} bytes of {size}")


class Measured(NamedTuple):
    """What is known of an object before it is read."""

    kind: Kind
    size: int
    """Bytes of its content."""
    largest: int
    """Bytes of the largest content that reading it inflates: of a delta, its base and all between
    are read as well.
    """


class PackFile:
    """One finished pack: finds objects by the index (kept mapped) and reads them."""

    def __init__(self, index_path: Path) -> None:
        self.index_path = index_path
        self.path = index_path.with_suffix(".pack")
        with open(index_path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size < _FANOUT_END + 2 * _TRAILER:
                raise StoreError(f"{index_path} is cut off", hint=_REPAIR)
            self._index = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
        if self._index[:8] != _INDEX_MAGIC:
            raise StoreError(f"{index_path}: not a pack index of version 2", hint=_REPAIR)
        self._fanout = array("I", self._index[8:_FANOUT_END])
        self._fanout.byteswap()
        if list(self._fanout) != sorted(self._fanout):
            raise StoreError(f"{index_path} is damaged: its numbers are not in order", hint=_REPAIR)
        self.count = self._fanout[255]
        self._crcs = _FANOUT_END + 20 * self.count
        self._offsets = self._crcs + 4 * self.count
        self._file: BinaryIO | None = None
        self._size = 0
        """Bytes of the pack, once it is open."""
        if len(self._index) < self._offsets + 4 * self.count + 2 * _TRAILER:
            raise StoreError(f"{index_path} is cut off", hint=_REPAIR)

    def close(self) -> None:
        self._index.close()
        if self._file:
            self._file.close()

    def find(self, oid: Oid) -> int:
        """Return the object's place in the index, or -1: by 256 numbers, a bisection, and a
        search.
        """
        first = oid[0]
        low = self._fanout[first - 1] if first else 0
        high = self._fanout[first]
        index = self._index
        while high - low > SEARCHED:
            middle = (low + high) >> 1
            at = _FANOUT_END + middle * 20
            probe = index[at : at + 20]
            if probe == oid:
                return middle
            if probe < oid:
                low = middle + 1
            else:
                high = middle
        at, end = _FANOUT_END + low * 20, _FANOUT_END + high * 20
        while (at := index.find(oid, at, end)) >= 0:
            place, rest = divmod(at - _FANOUT_END, 20)
            if not rest:
                return place
            at += 1  # the end of one id and the beginning of the next
        return -1

    def offset(self, place: int) -> int:
        """Return where in the file the object at a place of the index begins."""
        offset: int = struct.unpack_from(">I", self._index, self._offsets + 4 * place)[0]
        if offset & 0x80000000:
            large = self._offsets + 4 * self.count + 8 * (offset & 0x7FFFFFFF)
            if large + 8 > len(self._index):
                raise StoreError(
                    f"{self.index_path} is damaged: an offset is not there", hint=_REPAIR
                )
            offset = struct.unpack_from(">Q", self._index, large)[0]
        if offset > _LARGEST_OFFSET:
            raise StoreError(f"{self.index_path} is damaged: {offset} is no offset", hint=_REPAIR)
        return offset

    def _descriptor(self) -> int:
        if self._file is None:
            self._file = open(self.path, "rb")  # noqa: SIM115 (kept open: a pack outlives many reads)
            self._size = os.fstat(self._file.fileno()).st_size
        return self._file.fileno()

    def _begin(self, place: int) -> tuple[int, int]:
        """Return the pack's descriptor, and where an object begins.

        Raises StoreError for an offset beyond the pack.
        """
        fd, offset = self._descriptor(), self.offset(place)
        self._check_offset(offset)
        return fd, offset

    def _check_offset(self, offset: int) -> None:
        if not _HEADER.size <= offset < self._size:
            raise self._damaged(offset)

    def read(self, place: int) -> tuple[Kind, bytes] | None:
        """Return kind and content of the object at a place; None for a delta, which git must
        resolve.
        """
        fd, offset = self._begin(place)
        data = os.pread(fd, 4096, offset)
        number, size, length = self._entry(data, offset)
        if number in _DELTAS:
            return None
        if size > _MOST_RATIO * (self._size - offset):
            raise self._damaged(offset)
        # deflate grows data by 5 bytes per 16 KiB at the most, and zlib adds 6
        missing = length + size + (size >> 10) + 64 - len(data)
        if missing > 0 and len(data) == 4096:
            # the size is what the entry says, which need not be true
            data += os.pread(fd, min(missing, self._size), offset + 4096)
        inflater = isal_zlib.decompressobj()
        try:
            content = inflater.decompress(
                data[length:], size + 1
            )  # a byte more would show that there is more
        except INFLATE_ERROR as error:
            raise self._damaged(offset) from error
        if len(content) != size:
            raise self._damaged(offset)
        if number not in KIND_NAMES:
            raise self._damaged(offset)
        return KIND_NAMES[number], content

    def _entry(self, data: bytes, offset: int) -> tuple[int, int, int]:
        try:
            return read_entry_header(data)
        except ValueError as error:
            raise self._damaged(offset) from error

    def measure(self, place: int) -> Measured | None:
        """Return kind and size of an object, and what reading it takes; of a delta, only its first
        bytes are inflated.

        None where the base of a delta is in another pack. Raises StoreError for what is damaged.
        """
        fd, offset = self._begin(place)
        sizes: list[int] = []
        for _ in range(_LONGEST_CHAIN):
            self._check_offset(offset)
            data = os.pread(fd, 4096, offset)
            number, entry_size, at = self._entry(data, offset)
            if number in KIND_NAMES:
                return Measured(
                    KIND_NAMES[number],
                    sizes[0] if sizes else entry_size,
                    max(entry_size, *sizes, 0),
                )
            try:
                if number == _OFS_DELTA:
                    distance, at = read_distance(data, at)
                    base = offset - distance
                elif number == _REF_DELTA:
                    position = self.find(data[at : at + 20])
                    if position < 0:
                        return None
                    base, at = self.offset(position), at + 20
                else:
                    raise self._damaged(offset)
                head = isal_zlib.decompressobj().decompress(data[at:], 32)
                before, after_at = read_size(head, 0)
                after, _end = read_size(head, after_at)
            except (IndexError, ValueError, INFLATE_ERROR) as error:
                raise self._damaged(offset) from error
            sizes += [after, before, entry_size]
            offset = base
        raise self._damaged(offset)

    def stream(self, place: int) -> tuple[Kind, int, Iterator[bytes]] | None:
        """Return kind, size and content in chunks, for objects that must not be held in memory."""
        fd, offset = self._begin(place)
        number, size, length = self._entry(os.pread(fd, 32, offset), offset)
        if number in _DELTAS:
            return None
        if number not in KIND_NAMES:
            raise self._damaged(offset)
        if (
            size <= STREAM_CHUNK
        ):  # most are: what is read of the pack is then no more than the object
            whole = self.read(place)
            return whole and (whole[0], size, iter((whole[1],)))
        # a descriptor of its own, since the pack may be consolidated away, and closed, before the
        # last chunk
        source = os.fdopen(os.dup(fd), "rb", buffering=0)

        def chunks() -> Iterator[bytes]:
            with source:
                try:
                    yield from inflate(source.fileno(), offset + length, size)
                except ValueError as error:
                    raise self._damaged(offset) from error

        return KIND_NAMES[number], size, chunks()

    def _damaged(self, offset: int) -> StoreError:
        return StoreError(f"{self.path}: object at {offset} is damaged", hint=_REPAIR)

    def offsets(self) -> Iterator[int]:
        """Yield where in the file each object begins, in the order of the index."""
        return (self.offset(place) for place in range(self.count))

    def oid(self, place: int) -> Oid:
        """Return the id of the object at a place of the index."""
        at = _FANOUT_END + 20 * place
        return self._index[at : at + 20]

    def sizes(self) -> dict[Oid, int]:
        """Return how many bytes each object takes."""
        places = sorted((self.offset(place), place) for place in range(self.count))
        ends = [*(offset for offset, _ in places[1:]), os.stat(self.path).st_size - _TRAILER][
            : len(places)
        ]
        at = [_FANOUT_END + 20 * place for _, place in places]
        starts = (offset for offset, _ in places)
        return {
            self._index[oid_at : oid_at + 20]: end - start
            for oid_at, start, end in zip(at, starts, ends, strict=True)
        }

    def has_deltas(self) -> bool:
        """Tell whether any object is stored as a delta, which prov never does and git does."""
        fd = self._descriptor()
        first = (os.pread(fd, 1, self.offset(place)) for place in range(self.count))
        return any(byte and byte[0] >> 4 & 7 in _DELTAS for byte in first)

    def packed_entries(self) -> Iterator[tuple[Oid, int, Iterator[bytes]]] | None:
        """Return (id, crc32, packed bytes in chunks) of every object in the file's order; None if
        there are deltas.
        """
        places = sorted((self.offset(place), place) for place in range(self.count))
        fd = self._descriptor()
        if self.has_deltas():
            return None
        end = self._size - _TRAILER
        ends = [*(offset for offset, _ in places[1:]), end][: len(places)]

        def chunks(start: int, stop: int) -> Iterator[bytes]:
            for at in range(start, stop, STREAM_CHUNK):
                yield os.pread(fd, min(STREAM_CHUNK, stop - at), at)

        def entries() -> Iterator[tuple[Oid, int, Iterator[bytes]]]:
            for (offset, place), stop in zip(places, ends, strict=True):
                at = _FANOUT_END + 20 * place
                crc = struct.unpack_from(">I", self._index, self._crcs + 4 * place)[0]
                yield self._index[at : at + 20], crc, chunks(offset, stop)

        return entries()


class Readable(Protocol):
    """What is read a part at a time."""

    def read(self, size: int, /) -> bytes: ...


class PackStream:
    """A pack being written.

    Nothing of it is visible before `finish`; `abort` leaves nothing behind.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._temporary = folder / f"{TEMPORARY}{os.getpid()}_{id(self):x}"
        self._file = os.fdopen(create_file(self._temporary), "wb", buffering=1 << 18)
        self._file.write(_HEADER.pack(b"PACK", 2, 0))
        self._at = _HEADER.size
        self._objects: dict[Oid, tuple[int, int]] = {}

    def __contains__(self, oid: Oid) -> bool:
        return oid in self._objects

    def __len__(self) -> int:
        return len(self._objects)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._at

    def add(self, oid: Oid, kind: Kind, data: bytes) -> None:
        """Append one object that is not in the pack yet."""
        packed = _entry_header(_KINDS[kind], len(data)) + isal_zlib.compress(data, LEVEL)
        self.add_packed(oid, isal_zlib.crc32(packed), (packed,))

    def add_packed(self, oid: Oid, crc: int, packed: Iterable[bytes]) -> None:
        """Append one object in its packed form, which comes in chunks."""
        self._objects[oid] = (self._at, crc)
        for chunk in packed:
            self._write(chunk)
            self._at += len(chunk)

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            error.filename = error.filename or str(self._temporary)
            raise

    def add_blob_stream(self, oid: Oid, size: int, source: Readable) -> bool:
        """Append a blob of known id and size, chunk by chunk; false if what is read is not that
        blob.

        What was written for a blob that proved wrong is cut off again.
        """
        start = self._at
        try:
            crc = self._deflate_blob(oid, size, source)
        except BaseException:
            with contextlib.suppress(OSError):
                self._cut(start)
            raise
        if crc is None:
            self._cut(start)
            return False
        self._objects[oid] = (start, crc)
        return True

    def _deflate_blob(self, oid: Oid, size: int, source: Readable) -> int | None:
        """Write a blob; return the crc32 of what was written, None if what was read is not that
        blob.
        """
        digest = hashlib.sha1(b"blob %d\0" % size)
        deflater = isal_zlib.compressobj(LEVEL)
        header = _entry_header(_KINDS["blob"], size)
        crc, remaining = isal_zlib.crc32(header), size
        self._write(header)
        self._at += len(header)
        while remaining >= 0:
            chunk = source.read(min(STREAM_CHUNK, remaining)) if remaining else b""
            packed = deflater.compress(chunk) if chunk else deflater.flush()
            digest.update(chunk)
            crc = isal_zlib.crc32(packed, crc)
            self._write(packed)
            self._at += len(packed)
            if not chunk:
                break
            remaining -= len(chunk)
        return crc if not remaining and digest.digest() == oid else None

    def _cut(self, start: int) -> None:
        """Cut off what was written from a place on."""
        self._file.flush()
        self._file.seek(start)
        self._file.truncate(start)
        self._at = start

    def abort(self) -> None:
        """Drop everything written."""
        with contextlib.suppress(
            OSError
        ):  # on a full disk, what is still buffered can't be written either
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def finish(self) -> Path | None:
        """Make the pack part of the store and durable; return its index's path, None if nothing was
        added.
        """
        if not self._objects:
            self.abort()
            return None
        try:
            with naming(self._temporary):
                return self._finish()
        except BaseException:
            self.abort()
            raise

    def _finish(self) -> Path:
        self._file.seek(0)
        self._file.write(_HEADER.pack(b"PACK", 2, len(self._objects)))
        self._file.flush()
        # The count stands before everything that the checksum covers and is known only now, hence a
        # second read.
        checksum = hashlib.sha1()
        with open(self._temporary, "rb") as written:
            while chunk := written.read(STREAM_CHUNK):
                checksum.update(chunk)
        self._file.seek(0, os.SEEK_END)
        self._file.write(checksum.digest())
        self._file.flush()
        os.fchmod(self._file.fileno(), 0o444)
        os.fsync(self._file.fileno())
        self._file.close()
        name = f"pack-{checksum.hexdigest()}"
        index_path = self.folder / f"{name}.idx"
        if index_path.exists():  # the same objects, in the same order, are there already
            self._temporary.unlink()
            return index_path
        index_temporary = self._temporary.with_suffix(".idx")
        try:
            with os.fdopen(create_file(index_temporary), "wb") as stream:
                stream.write(self._encode_index(checksum.digest()))
                stream.flush()
                os.fchmod(stream.fileno(), 0o444)
                os.fsync(stream.fileno())
            os.rename(self._temporary, self.folder / f"{name}.pack")
            os.rename(index_temporary, index_path)
        finally:
            index_temporary.unlink(missing_ok=True)
        sync_directory(self.folder)
        return index_path

    def _encode_index(self, pack_checksum: bytes) -> bytes:
        oids = sorted(self._objects)
        fanout = array("I", bytes(1024))
        for oid in oids:
            fanout[oid[0]] += 1
        for place in range(1, 256):
            fanout[place] += fanout[place - 1]
        fanout.byteswap()
        offsets, crcs, large = array("I"), array("I"), array("Q")
        for oid in oids:
            offset, crc = self._objects[oid]
            crcs.append(crc)
            if offset < 0x80000000:
                offsets.append(offset)
            else:
                offsets.append(0x80000000 | len(large))
                large.append(offset)
        for numbers in (offsets, crcs, large):
            numbers.byteswap()
        parts = [
            _INDEX_MAGIC,
            fanout.tobytes(),
            b"".join(oids),
            crcs.tobytes(),
            offsets.tobytes(),
            large.tobytes(),
        ]
        body = b"".join(parts) + pack_checksum
        return body + hashlib.sha1(body).digest()


def blob_id_of_stream(source: BinaryIO, size: int) -> Oid:
    """Return the id of a blob of `size` bytes read in chunks."""
    digest = hashlib.sha1(b"blob %d\0" % size)
    while chunk := source.read(STREAM_CHUNK):
        digest.update(chunk)
    return digest.digest()
