"""Write git packs as a stream, and read them without git.

prov writes every object directly into a pack, without deltas. So a capture creates one file,
however many objects it has, and packs can be joined by copying bytes. Packs with deltas are written
by git; see `joining`. Packs and indexes have the formats in git's gitformat-pack, both version 2.

A pack appears in the store complete and synced, before its index. Git and prov open only packs
that have an index.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate
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
_LARGE_OFFSET = 1 << 31
"""The offset from which the index has 64 bits for an offset."""
_OFS_DELTA, _REF_DELTA = _DELTAS = (6, 7)
_LONGEST_CHAIN = 10_000
"""The limit for a chain of deltas; git creates chains of up to fifty."""
_MOST_RATIO = 1032
"""The maximum compression factor of deflate (zlib's technical notes)."""
_HEADER = struct.Struct(">4sII")
_INDEX_MAGIC = b"\xfftOc\0\0\0\x02"
_FANOUT_END = 8 + 256 * 4
_TRAILER = 20
LONGEST_HEADER = 10
"""The maximum length of an entry's header in bytes: a size has at most 64 bits."""
STREAM_CHUNK = 1 << 20
WRITE_BACK = 8 << 20
"""The size, in bytes, from which parts of a new pack are written to disk early."""
FIRST_READ = 4096
"""The number of bytes to read first: most trees and small files are complete with them."""
LEVEL = 1
SEARCHED = 128
"""The number of ids up to which a linear search is faster than bisection."""
INFLATE_ERROR = cast(type[Exception], isal_zlib.error)
"""Raised for invalid compressed data; isal's stub declares an instance instead of a class."""
_REPAIR = "run `prov fsck` to list the damage, or `prov fsck --repair` to repair it"
TEMPORARY = "tmp_pack_prov_"
"""Prefix of an unfinished pack's name; the process id follows."""


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
    """Return the kind number, the size of the content, and the length of the header.

    Raises ValueError for an invalid header.
    """
    if not data:
        raise ValueError("the header is missing")
    byte = data[0]
    kind, size, shift, length = byte >> 4 & 7, byte & 15, 4, 1
    while byte & 128:
        if length >= min(len(data), LONGEST_HEADER):
            raise ValueError("the header has too many bytes")
        byte = data[length]
        size |= (byte & 127) << shift
        shift, length = shift + 7, length + 1
    return kind, size, length


def inflate(fd: int, at: int, size: int) -> Iterator[bytes]:
    """Yield the inflated content of the `size` bytes deflated at an offset of a file.

    Raises ValueError if the data cannot be inflated or the content has a different size.
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
        raise ValueError(f"expected {size} bytes, found {size - remaining}")


class Measured(NamedTuple):
    """The properties of an object that can be read without its content."""

    kind: Kind
    size: int
    """Size of its content in bytes."""
    largest: int
    """Size in bytes of the largest content inflated to read it, including a delta's bases."""


class PackFile:
    """A finished pack: finds objects by its mapped index and reads them."""

    def __init__(self, index_path: Path) -> None:
        self.index_path = index_path
        self.path = index_path.with_suffix(".pack")
        with open(index_path, "rb") as stream:
            if os.fstat(stream.fileno()).st_size < _FANOUT_END + 2 * _TRAILER:
                raise StoreError(f"{index_path} is damaged: it is truncated", hint=_REPAIR)
            self._index = mmap.mmap(stream.fileno(), 0, prot=mmap.PROT_READ)
        if self._index[:8] != _INDEX_MAGIC:
            raise StoreError(f"{index_path} is not a version 2 pack index", hint=_REPAIR)
        self._fanout = array("I", self._index[8:_FANOUT_END])
        self._fanout.byteswap()
        if list(self._fanout) != sorted(self._fanout):
            raise StoreError(f"{index_path} is damaged: its counts decrease", hint=_REPAIR)
        self.count = self._fanout[255]
        self._crcs = _FANOUT_END + 20 * self.count
        self._offsets = self._crcs + 4 * self.count
        self._file: BinaryIO | None = None
        self._size = 0
        """Size of the pack in bytes, once it is open."""
        if len(self._index) < self._offsets + 4 * self.count + 2 * _TRAILER:
            raise StoreError(f"{index_path} is damaged: it is truncated", hint=_REPAIR)

    def close(self) -> None:
        self._index.close()
        if self._file:
            self._file.close()

    def find(self, oid: Oid) -> int:
        """Return the object's position in the index, or -1.

        Narrows the range by the fanout table, then by bisection, and searches the rest linearly.
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
            at += 1  # a match across two ids
        return -1

    def beginning_with(self, digits: str) -> Iterator[Oid]:
        """Yield the ids of the objects whose ids begin with hex digits, at least two."""
        first = int(digits[:2], 16)
        low = self._fanout[first - 1] if first else 0
        ids = self._index[_FANOUT_END + low * 20 : _FANOUT_END + self._fanout[first] * 20]
        for at in range(0, len(ids), 20):
            oid = ids[at : at + 20]
            if oid.hex().startswith(digits):
                yield oid

    def offset(self, place: int) -> int:
        """Return the offset in the pack of the object at a position in the index."""
        offset: int = struct.unpack_from(">I", self._index, self._offsets + 4 * place)[0]
        if offset & _LARGE_OFFSET:
            large = self._offsets + 4 * self.count + 8 * (offset & _LARGE_OFFSET - 1)
            if large + 8 > len(self._index):
                raise StoreError(
                    f"{self.index_path} is damaged: a 64-bit offset is missing", hint=_REPAIR
                )
            offset = struct.unpack_from(">Q", self._index, large)[0]
        if offset > _LARGEST_OFFSET:
            raise StoreError(f"{self.index_path} is damaged: invalid offset {offset}", hint=_REPAIR)
        return offset

    def _descriptor(self) -> int:
        if self._file is None:
            self._file = open(self.path, "rb")  # noqa: SIM115 (kept open for many reads)
            self._size = os.fstat(self._file.fileno()).st_size
        return self._file.fileno()

    def _begin(self, place: int) -> tuple[int, int]:
        """Return the pack's file descriptor and an object's offset.

        Raises StoreError for an offset beyond the pack.
        """
        fd, offset = self._descriptor(), self.offset(place)
        self._check_offset(offset)
        return fd, offset

    def _check_offset(self, offset: int) -> None:
        if not _HEADER.size <= offset < self._size:
            raise self._damaged(offset)

    def read(self, place: int) -> tuple[Kind, bytes] | None:
        """Return the kind and content of the object at a position, or None for a delta.

        Git must resolve deltas.
        """
        fd, offset = self._begin(place)
        return self._read_at(fd, offset, os.pread(fd, FIRST_READ, offset))

    def _read_at(self, fd: int, offset: int, data: bytes) -> tuple[Kind, bytes] | None:
        """Return an object as `read` does, given the `FIRST_READ` bytes from its offset on."""
        number, size, length = self._entry(data, offset)
        if number in _DELTAS:
            return None
        if size > _MOST_RATIO * (self._size - offset):
            raise self._damaged(offset)
        # deflate grows data by at most 5 bytes per 16 KiB, and zlib adds 6
        missing = length + size + (size >> 10) + 64 - len(data)
        if missing > 0 and len(data) == FIRST_READ:
            # limited by the pack's size, since the entry's size can be wrong
            data += os.pread(fd, min(missing, self._size), offset + FIRST_READ)
        inflater = isal_zlib.decompressobj()
        try:
            # one byte more detects content that is longer than `size`
            content = inflater.decompress(memoryview(data)[length:], size + 1)
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
        """Return the kind and size of an object, and the largest content needed to read it.

        Of a delta, only the first bytes are inflated. Returns None if the base of a delta is in
        another pack. Raises StoreError for a damaged object.
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
        """Return the kind, size and content in chunks, or None for a delta."""
        fd, offset = self._begin(place)
        data = os.pread(fd, FIRST_READ, offset)
        number, size, length = self._entry(data, offset)
        if number in _DELTAS:
            return None
        if number not in KIND_NAMES:
            raise self._damaged(offset)
        # for a small object, do not read a whole chunk of the pack
        if size <= STREAM_CHUNK:
            whole = self._read_at(fd, offset, data)
            return whole and (whole[0], size, iter((whole[1],)))
        # a separate descriptor, since this pack is closed when another process has joined it into
        # a new one, which can happen before the last chunk is read
        source = os.fdopen(os.dup(fd), "rb", buffering=0)

        def chunks() -> Iterator[bytes]:
            with source:
                try:
                    yield from inflate(source.fileno(), offset + length, size)
                except ValueError as error:
                    raise self._damaged(offset) from error

        return KIND_NAMES[number], size, chunks()

    def _damaged(self, offset: int) -> StoreError:
        return StoreError(f"{self.path} is damaged: invalid object at {offset}", hint=_REPAIR)

    def offsets(self) -> Iterator[int]:
        """Yield the offset of each object in the pack, in the order of the index."""
        return (self.offset(place) for place in range(self.count))

    def oid(self, place: int) -> Oid:
        """Return the id of the object at a position in the index."""
        at = _FANOUT_END + 20 * place
        return self._index[at : at + 20]

    def sizes(self) -> dict[Oid, int]:
        """Return the packed size of each object in bytes."""
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
        """Return whether any object is stored as a delta, which only git does."""
        fd = self._descriptor()
        first = (os.pread(fd, 1, self.offset(place)) for place in range(self.count))
        return any(byte and byte[0] >> 4 & 7 in _DELTAS for byte in first)

    def packed_entries(self) -> Iterator[tuple[Oid, int, Iterator[bytes]]] | None:
        """Return the (id, crc32, packed bytes in chunks) of every object, in the pack's order.

        Returns None if the pack contains deltas.
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
    """A binary stream to read from."""

    def read(self, size: int, /) -> bytes: ...


class PackStream:
    """A pack being written; it appears in the store only after `finish`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._temporary = folder / f"{TEMPORARY}{os.getpid()}_{id(self):x}"
        self._file = os.fdopen(create_file(self._temporary), "wb", buffering=1 << 18)
        self._file.write(_HEADER.pack(b"PACK", 2, 0))
        self._at = self._flushed = _HEADER.size
        self._places: dict[Oid, int] = {}
        """The number of each object; `_offsets` and `_crcs` have an item for each."""
        self._offsets = array("Q")
        self._crcs = array("I")

    def __contains__(self, oid: Oid) -> bool:
        return oid in self._places

    def __len__(self) -> int:
        return len(self._places)

    @property
    def size(self) -> int:
        """Bytes written so far."""
        return self._at

    def add(self, oid: Oid, kind: Kind, data: bytes) -> None:
        """Append an object that is not in the pack yet."""
        packed = _entry_header(_KINDS[kind], len(data)) + isal_zlib.compress(data, LEVEL)
        self._note(oid, self._at, isal_zlib.crc32(packed))
        self._write(packed)

    def add_packed(self, oid: Oid, crc: int, packed: Iterable[bytes]) -> None:
        """Append an object from the chunks of its packed form."""
        self._note(oid, self._at, crc)
        for chunk in packed:
            self._write(chunk)

    def _note(self, oid: Oid, offset: int, crc: int) -> None:
        """Enter an object at an offset for the index."""
        self._places[oid] = len(self._offsets)
        self._offsets.append(offset)
        self._crcs.append(crc)

    def _write(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            error.filename = error.filename or str(self._temporary)
            raise
        self._at += len(data)
        if self._at - self._flushed > WRITE_BACK:
            # the disk writes while this process compresses, and not only at the end; the kernel
            # starts to write these pages, and keeps them since they are not clean yet
            length = self._at - self._flushed
            os.posix_fadvise(self._file.fileno(), self._flushed, length, os.POSIX_FADV_DONTNEED)
            self._flushed = self._at

    def add_blob_stream(self, oid: Oid, size: int, source: Readable) -> bool:
        """Append a blob of known id and size, chunk by chunk.

        Returns False, and removes the written bytes, if the content does not match id and size.
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
        self._note(oid, start, crc)
        return True

    def _deflate_blob(self, oid: Oid, size: int, source: Readable) -> int | None:
        """Write a blob; return the crc32 of the written bytes, or None if id or size mismatch."""
        digest = hashlib.sha1(b"blob %d\0" % size)
        deflater = isal_zlib.compressobj(LEVEL)
        header = _entry_header(_KINDS["blob"], size)
        crc, remaining = isal_zlib.crc32(header), size
        self._write(header)
        while remaining >= 0:
            chunk = source.read(min(STREAM_CHUNK, remaining)) if remaining else b""
            packed = deflater.compress(chunk) if chunk else deflater.flush()
            digest.update(chunk)
            crc = isal_zlib.crc32(packed, crc)
            self._write(packed)
            if not chunk:
                break
            remaining -= len(chunk)
        return crc if not remaining and digest.digest() == oid else None

    def _cut(self, start: int) -> None:
        """Truncate the pack at an offset."""
        self._file.flush()
        self._file.seek(start)
        self._file.truncate(start)
        self._at = start
        self._flushed = min(self._flushed, start)

    def abort(self) -> None:
        """Delete the unfinished pack."""
        with contextlib.suppress(OSError):  # on a full disk, flushing the buffer fails too
            self._file.close()
        self._temporary.unlink(missing_ok=True)

    def finish(self) -> Path | None:
        """Move the pack durably into the store; return its index's path, or None if it is empty."""
        if not self._places:
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
        self._file.write(_HEADER.pack(b"PACK", 2, len(self._places)))
        self._file.flush()
        # The checksum covers the count at the start of the file, which is known only now, so the
        # file is read again.
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
        if index_path.exists():  # the store has a pack of the same objects in the same order
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
        oids = sorted(self._places)
        order = [self._places[oid] for oid in oids]
        counts = Counter([oid[0] for oid in oids])
        fanout = array("I", accumulate(counts[byte] for byte in range(256)))
        fanout.byteswap()
        crcs = array("I", [self._crcs[place] for place in order])
        offsets, large = array("I"), array("Q")
        if self._at < _LARGE_OFFSET:
            offsets.extend([self._offsets[place] for place in order])
        else:
            for place in order:
                offset = self._offsets[place]
                if offset < _LARGE_OFFSET:
                    offsets.append(offset)
                else:
                    offsets.append(_LARGE_OFFSET | len(large))
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
    """Return the id of a blob of `size` bytes, read in chunks."""
    digest = hashlib.sha1(b"blob %d\0" % size)
    while chunk := source.read(STREAM_CHUNK):
        digest.update(chunk)
    return digest.digest()
