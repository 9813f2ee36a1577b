"""The object database: read any object, write many as one pack.

prov reads packed objects itself, inflated by isal, except deltas, which it leaves to git and
libgit2, as it does loose objects. Other processes add and delete packs at any
time: before a read fails, it lists the folder again.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from isal import isal_zlib

from prov.errors import CHECK_STORE, StoreError
from prov.files import TICK_NS, status
from prov.store.cat_file import LARGEST, batch_by_git, sizes_by_git, stream_by_git
from prov.store.objects import (
    EMPTY_TREE,
    MODE_DIRECTORY,
    Commit,
    Entry,
    Kind,
    Oid,
    decode_commit,
    decode_tree,
    encode_tree,
    object_id,
)
from prov.store.packs import INFLATE_ERROR, TEMPORARY, PackFile, PackStream, Readable

if TYPE_CHECKING:
    from prov.store.libgit2 import GitObjects

Answer = TypeVar("Answer")

INFLATED_HERE = 64 << 20
"""The limit, in bytes, for a delta resolved in this process; a separate process reads others."""

FEW = 200
"""The number of objects up to which `read_many` starts no process."""
_ID = re.compile("[0-9a-f]{40}")
_LIST_DAMAGE = "run `prov fsck` to list the damage"

_LOOSE: dict[bytes, Kind] = {b"commit": "commit", b"tree": "tree", b"blob": "blob", b"tag": "tag"}


class TooLarge(StoreError):
    """An object exceeds the size limit of a read."""


class ObjectDatabase:
    """The objects of one store.

    `most` limits the size of the objects it reads, in bytes; set it for untrusted objects.
    """

    def __init__(self, git_dir: Path, *, most: int | None = None) -> None:
        self.most = most
        self._leased = -1
        self.git_dir = git_dir
        self.folder = git_dir / "objects" / "pack"
        self._packs: dict[str, PackFile] = {}
        self._last_pack: PackFile | None = None
        """The pack in which the last object was found."""
        self._stamp = -1
        self._git: GitObjects | None = None

    @property
    def lease(self) -> Path:
        """The file on which every process that writes objects holds a shared lock; see `sweep`."""
        return self.git_dir / "prov" / "locks" / "lease"

    @property
    def join_lock(self) -> Path:
        """The file on which a process holds an exclusive lock while it joins packs."""
        return self.git_dir / "prov" / "locks" / "consolidate"

    def __del__(self) -> None:
        if self._leased >= 0:
            os.close(self._leased)

    def _take_lease(self) -> None:
        """Hold the lease for the lifetime of this object, in this process and its forks."""
        if self._leased < 0:
            try:
                self.lease.parent.mkdir(parents=True, exist_ok=True)
                self._leased = os.open(
                    self.lease, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
                )
            except OSError as error:
                if error.errno not in (errno.EROFS, errno.EACCES):
                    raise
                return  # a process without write access needs no lease
            fcntl.flock(self._leased, fcntl.LOCK_SH)

    def packs(self) -> list[PackFile]:
        """Return the current packs of the store."""
        self._look()
        return list(self._packs.values())

    # reading

    def _look(self) -> bool:
        """Open new packs and close deleted ones; return whether the folder changed."""
        clock = time.time_ns()
        stamp = os.stat(self.folder).st_mtime_ns
        if stamp == self._stamp:
            return False
        names = {
            name
            for name in os.listdir(self.folder)
            if name.endswith(".idx") and name.startswith("pack-")
        }
        self._last_pack = None
        for vanished in self._packs.keys() - names:
            self._packs.pop(vanished).close()
        for new in names - self._packs.keys():
            try:
                self._packs[new] = PackFile(self.folder / new)
            except FileNotFoundError:
                continue  # joined into another pack since listdir
        # another change within the same clock tick would not change the folder's mtime
        self._stamp = stamp if clock - stamp > TICK_NS else -1
        self._git = None
        return True

    def _find(self, oid: Oid) -> tuple[PackFile, int] | None:
        # objects read together are mostly in the same pack
        if self._last_pack is not None:
            place = self._last_pack.find(oid)
            if place >= 0:
                return self._last_pack, place
        for pack in self._packs.values():
            place = pack.find(oid)
            if place >= 0:
                self._last_pack = pack
                return pack, place
        return None

    def packed(self, oid: Oid) -> bool:
        """Return whether a pack known since the last `refresh` contains the object.

        This is cheap enough to call for every written object.
        """
        return oid == EMPTY_TREE or self._find(oid) is not None

    def refresh(self) -> None:
        """Update the list of packs."""
        self._look()

    def exists(self, oid: Oid) -> bool:
        """Return whether the object is in the store."""
        if self.packed(oid):
            return True
        if self._look() and self.packed(oid):
            return True
        return self._has_loose(oid)

    def _has_loose(self, oid: Oid) -> bool:
        """Return whether an object that no pack has is in the store, or in another that it uses."""
        if os.path.exists(self._loose_path(oid)):
            return True
        return self._borrows() and oid in self._by_git()

    def _borrows(self) -> bool:
        return os.path.exists(self.git_dir / "objects" / "info" / "alternates")

    def _loose_path(self, oid: Oid) -> Path:
        return self.git_dir / "objects" / oid.hex()[:2] / oid.hex()[2:]

    def beginning_with(self, digits: str) -> list[Oid]:
        """Return the objects whose ids begin with hex digits, at least two, sorted."""
        self._look()
        packed = {oid for pack in self._packs.values() for oid in pack.beginning_with(digits)}
        loose = self.git_dir / "objects" / digits[:2]
        names = (digits[:2] + path.name for path in loose.glob("*"))
        unpacked = {bytes.fromhex(name) for name in names if _ID.fullmatch(name)}
        return sorted(packed | {oid for oid in unpacked if oid.hex().startswith(digits)})

    def _by_git(self) -> GitObjects:
        if self._git is None:
            from prov.store.libgit2 import GitObjects  # its import takes 50 ms

            self._git = GitObjects(self.git_dir)
        return self._git

    def _ask_packs(self, oid: Oid, ask: Callable[[PackFile, int], Answer | None]) -> Answer | None:
        """Return the answer of the pack that contains an object.

        Returns None if no pack contains the object, or if it is a delta that git must resolve.
        """
        for _attempt in range(3):
            location = self._find(oid)
            if location is None and self._look():
                location = self._find(oid)
            if location is None:
                break
            try:
                return ask(*location)
            except FileNotFoundError:  # joined into another pack since _find
                self._stamp = -1
                self._look()
        return None

    def header(self, oid: Oid) -> tuple[Kind, int]:
        """Return an object's kind and its size in bytes, without reading it.

        Raises StoreError if the object is missing.
        """
        measured = self._ask_packs(oid, PackFile.measure)
        if measured is not None:
            return measured.kind, measured.size
        if oid == EMPTY_TREE:
            return "tree", 0
        if self.most is not None:
            return stream_by_git(self.git_dir, oid)[:2]
        return self._by_git().header(oid)

    def stream(self, oid: Oid) -> tuple[Kind, int, Iterator[bytes]]:
        """Return an object's kind, its size in bytes, and its content in small chunks.

        A delta that needs at most `INFLATED_HERE` bytes, and a loose object if `most` is not set,
        are read into memory at once. Raises StoreError.
        """
        streamed = self._ask_packs(oid, PackFile.stream)
        if streamed is not None:
            return streamed
        if oid == EMPTY_TREE:
            return "tree", 0, iter(())
        measured = self._ask_packs(oid, PackFile.measure)
        if measured is not None and measured.largest <= INFLATED_HERE:
            return measured.kind, measured.size, self._whole(oid)
        if self.most is None and measured is None:  # a loose object
            return *self.header(oid), self._whole(oid)
        return stream_by_git(self.git_dir, oid)

    def _whole(self, oid: Oid) -> Iterator[bytes]:
        yield self._read(oid)[1]

    def read(self, oid: Oid, *, most: int | None = None) -> tuple[Kind, bytes]:
        """Return an object's kind and content.

        Raises StoreError if the object is missing, and TooLarge, without reading it, if it has more
        than `most` bytes; the default limit is the database's.
        """
        most = self.most if most is None else most
        if most is None:
            return self._read(oid)
        kind, size, chunks = self.stream(oid)
        if size > most:
            raise TooLarge(f"object {oid.hex()} is too large: {size} bytes, the limit is {most}")
        return kind, b"".join(chunks)

    def _read(self, oid: Oid) -> tuple[Kind, bytes]:
        answer = self._ask_packs(oid, PackFile.read)
        if answer is not None:
            return answer
        if oid == EMPTY_TREE:
            return "tree", b""
        loose = self._read_loose(oid)
        if loose is not None:
            return loose
        return self._by_git().read(oid)

    def read_many(self, oids: Sequence[Oid]) -> Iterator[bytes | None]:
        """Yield the content of each object, None if it is unreadable or larger than `LARGEST`.

        For more than `FEW` objects, git reads them.
        """
        count = 0
        if len(oids) > FEW:
            for content in batch_by_git(self.git_dir, oids):
                count += 1
                yield content
        for oid in oids[count:]:  # also those after an object that git finds damaged
            try:
                yield self.read(oid, most=LARGEST)[1]
            except StoreError:
                yield None

    def sizes_of(self, oids: Sequence[Oid]) -> Iterator[int | None]:
        """Yield the size of each object in bytes, None if it is missing or damaged."""
        count = 0
        if len(oids) > FEW:
            for size in sizes_by_git(self.git_dir, oids):
                count += 1
                yield size
        for oid in oids[count:]:
            try:
                yield self.header(oid)[1]
            except StoreError:
                yield None

    def blob(self, oid: Oid, *, most: int | None = None) -> bytes:
        return self._of_kind(oid, "blob", most)

    def _read_loose(self, oid: Oid) -> tuple[Kind, bytes] | None:
        """Return the kind and content of a loose object, or None if there is no such file.

        This does not use libgit2, which loops forever on a file truncated within its last bytes.
        Raises StoreError for a damaged file.
        """
        path = self._loose_path(oid)
        try:
            inflater = isal_zlib.decompressobj()
            content = inflater.decompress(path.read_bytes())
        except FileNotFoundError:
            return None
        except (INFLATE_ERROR, OSError) as error:
            raise StoreError(f"{path} is damaged: {error}", hint=_LIST_DAMAGE) from error
        header, _, data = content.partition(b"\0")
        kind = _LOOSE.get(header.partition(b" ")[0])
        # the id covers the header, and with it the size
        if (
            kind is None
            or not inflater.eof
            or hashlib.sha1(content).digest() != oid
            or object_id(kind, data) != oid
        ):
            raise StoreError(
                f"{path} is damaged: its content does not match its id", hint=_LIST_DAMAGE
            )
        return kind, data

    def tree(self, oid: Oid) -> list[Entry]:
        """Return a tree's entries. Raises StoreError if the object is not a well-formed tree."""
        return _decoded(oid, decode_tree, self._of_kind(oid, "tree"))

    def commit(self, oid: Oid) -> Commit:
        """Return a commit. Raises StoreError if the object is not a well-formed commit."""
        return _decoded(oid, decode_commit, self._of_kind(oid, "commit"))

    def _of_kind(self, oid: Oid, expected: Kind, most: int | None = None) -> bytes:
        kind, data = self.read(oid, most=most)
        if kind != expected:
            raise StoreError(f"object {oid.hex()} is a {kind}, not a {expected}")
        return data

    def stream_blob(self, oid: Oid) -> Iterator[bytes]:
        """Yield a blob's content in chunks of about a megabyte, read as by `stream`."""
        kind, _size, chunks = self.stream(oid)
        if kind != "blob":
            raise StoreError(f"object {oid.hex()} is a {kind}, not a blob")
        return chunks

    def blob_size(self, oid: Oid) -> int:
        """Return a blob's size in bytes without reading the blob."""
        return self.header(oid)[1]

    def entry(self, tree: Oid, path: str) -> Entry | None:
        """Return a tree's entry at a path (`a/b`), or None."""
        entry = Entry(b"", MODE_DIRECTORY, tree)
        for part in path.encode("utf-8", "surrogateescape").split(b"/"):
            if entry.mode != MODE_DIRECTORY:
                return None
            match = [inside for inside in self.tree(entry.oid) if inside.name == part]
            if not match:
                return None
            entry = match[0]
        return entry

    # writing

    def writer(self, *, memory: bool = False) -> ObjectWriter:
        if not memory:
            self._take_lease()
        return ObjectWriter(self, memory=memory)

    def size(self) -> int:
        """Return the total size of the packs in bytes."""
        return sum(state.st_size for path in self.folder.glob("*.pack") if (state := status(path)))

    def remove_leftovers(self) -> None:
        """Remove unfinished packs of killed processes."""
        for path in self.folder.glob(f"{TEMPORARY}*"):
            pid = path.name.removeprefix(TEMPORARY).partition("_")[0]
            if not Path("/proc", pid).exists():
                path.unlink(missing_ok=True)

    def release(self) -> None:
        """Release the lease, in a forked process that writes no objects."""
        if self._leased >= 0:
            os.close(self._leased)
            self._leased = -1


def _decoded(oid: Oid, decode: Callable[[bytes], Answer], data: bytes) -> Answer:
    """Decode an object's content.

    Raises StoreError for malformed content, which an object with a correct id can still have.
    """
    try:
        return decode(data)
    except ValueError as error:
        raise StoreError(f"object {oid.hex()} is malformed: {error}", hint=CHECK_STORE) from error


class ObjectWriter:
    """Writes objects that the store lacks into one pack.

    Use it as a context manager: at its end all objects become durable, or after an exception are
    dropped. With `memory`, which works on a read-only store, `add` keeps objects in memory only.
    """

    def __init__(self, odb: ObjectDatabase, *, memory: bool = False) -> None:
        self._odb = odb
        self._memory = memory
        self._stream: PackStream | None = None
        self._recent: dict[Oid, bytes] = {}
        self._finished = 0
        odb.refresh()

    def __enter__(self) -> ObjectWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._stream is None:
            return
        if kind is None:
            self.finish()
        else:
            self._stream.abort()
            self._stream = None

    def refresh(self) -> None:
        """See objects that other processes have stored since this writer began."""
        self._odb.refresh()

    @property
    def total(self) -> int:
        """Bytes that this writer has added to the store, including unfinished ones."""
        return self._finished + (self._stream.size if self._stream else 0)

    def has(self, oid: Oid) -> bool:
        """Return whether the object is already stored or added."""
        if self._memory and oid in self._recent:
            return True
        return (self._stream is not None and oid in self._stream) or self._odb.packed(oid)

    def _pack(self) -> PackStream:
        if self._stream is None:
            self._stream = PackStream(self._odb.folder)
        return self._stream

    def add(self, kind: Kind, data: bytes, *, keep: bool = True) -> Oid:
        """Add an object unless the store has it; return its id.

        Without `keep`, the object cannot be read before `finish`.
        """
        oid = object_id(kind, data)
        if not self.has(oid):
            if not self._memory:
                self._pack().add(oid, kind, data)
            if keep or self._memory:
                self._recent[oid] = data
        return oid

    def write_empty_tree(self) -> None:
        """Store the empty tree, which git assumes to exist and `has` reports as stored."""
        self._pack().add(EMPTY_TREE, "tree", b"")

    def add_blob(self, data: bytes) -> Oid:
        """Add a file's content; it cannot be read before `finish`."""
        digest = hashlib.sha1(b"blob %d\0" % len(data))
        digest.update(data)  # joining the two would copy the content
        oid = digest.digest()
        if not self.has(oid):
            self._pack().add(oid, "blob", data)
        return oid

    def add_tree(self, entries: list[Entry]) -> Oid:
        return self.add("tree", encode_tree(entries))

    def add_commit(self, commit: Commit) -> Oid:
        return self.add("commit", commit.encode())

    def add_blob_stream(self, oid: Oid, size: int, source: Readable) -> bool:
        """Add a blob from a stream; return False if the content does not match id and size."""
        return self.has(oid) or self._pack().add_blob_stream(oid, size, source)

    def tree(self, oid: Oid) -> list[Entry]:
        """Return the entries of a tree in this writer or in the store."""
        recent = self._recent.get(oid)
        return self._odb.tree(oid) if recent is None else decode_tree(recent)

    def blob(self, oid: Oid) -> bytes:
        """Return the content of a blob passed to `add` or in the store."""
        recent = self._recent.get(oid)
        return self._odb.blob(oid) if recent is None else recent

    def commit(self, oid: Oid) -> Commit:
        """Return a commit in this writer or in the store."""
        recent = self._recent.get(oid)
        return self._odb.commit(oid) if recent is None else decode_commit(recent)

    def stream_blob(self, oid: Oid) -> Iterator[bytes]:
        """Yield a blob's content in chunks."""
        recent = self._recent.get(oid)
        return self._odb.stream_blob(oid) if recent is None else iter([recent])

    def finish(self) -> None:
        """Make all added objects durable and readable; you can continue to use the writer."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.finish()
            self._finished += stream.size
            self._odb.refresh()
        if not self._memory:
            self._recent.clear()
