"""The object database: read any object, write many as one pack, keep the number of packs small.

Reads look into our own packs first (no deltas, inflated by isal) and leave the rest (loose objects,
deltas, what git fetched) to libgit2. Packs come and go beside running builds: a read that misses
looks at the folder again before it gives up.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import pygit2
from isal import isal_zlib
from pygit2.enums import ObjectType

from prov.errors import CHECK_STORE, StoreError
from prov.files import status, try_locked
from prov.store.cat_file import stream_by_git
from prov.store.git import open_repository
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

Answer = TypeVar("Answer")

PACKS_TO_CONSOLIDATE = 24
"""With so many packs the small ones are joined; git and libgit2 search packs one by one."""
AT_ONCE = 64 << 20
"""Bytes that are copied while a command waits."""
CONSOLIDATE_UP_TO = 1 << 30
"""Packs of this many bytes and more are left as they are: copying them again buys nothing."""

INFLATED_HERE = 64 << 20
"""Bytes.

An object that others packed, and that takes more to read, is read by a process of its own.
"""

_KINDS: dict[int, Kind] = {
    ObjectType.COMMIT: "commit",
    ObjectType.TREE: "tree",
    ObjectType.BLOB: "blob",
    ObjectType.TAG: "tag",
}
_LOOSE: dict[bytes, Kind] = {kind.encode(): kind for kind in _KINDS.values()}


def packs_to_join(sizes: Sequence[int], most: int) -> int:
    """Return how many of the smallest packs to join, by the sizes of all packs, sorted.

    Geometric, as `git repack --geometric=2`: up to the last pack that is no more than twice as
    large as all smaller ones together, or of the first dozen; `most` bytes in all.
    """
    total = count = 0
    for number, size in enumerate(sizes, 1):
        if size > CONSOLIDATE_UP_TO or total + size > most:
            break
        if size <= 2 * total or number <= PACKS_TO_CONSOLIDATE // 2:
            count = number
        total += size
    return count


class TooLarge(StoreError):
    """An object is larger than what is read at once."""


class ObjectDatabase:
    """The objects of one store.

    With `most`, no object of more bytes is read: for what others wrote.
    """

    def __init__(self, git_dir: Path, *, most: int | None = None) -> None:
        self.most = most
        self._leased = -1
        self.git_dir = git_dir
        self.folder = git_dir / "objects" / "pack"
        self._packs: dict[str, PackFile] = {}
        self._stamp = -1
        self._git: pygit2.Repository | None = None

    @property
    def lease(self) -> Path:
        """The file on which every process that writes objects holds a shared lock; see `sweep`."""
        return self.git_dir / "prov" / "locks" / "lease"

    @property
    def join_lock(self) -> Path:
        """The file on which a process holds an exclusive lock while it replaces packs."""
        return self.git_dir / "prov" / "locks" / "consolidate"

    def __del__(self) -> None:
        if self._leased >= 0:
            os.close(self._leased)

    def _take_lease(self) -> None:
        """Hold the lease for as long as this object lives, here and in processes that are forked
        from here.
        """
        if self._leased < 0:
            try:
                self.lease.parent.mkdir(parents=True, exist_ok=True)
                self._leased = os.open(
                    self.lease, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644
                )
            except OSError as error:
                if error.errno not in (errno.EROFS, errno.EACCES):
                    raise
                return  # a process that may not write here holds nothing
            fcntl.flock(self._leased, fcntl.LOCK_SH)

    def packs(self) -> list[PackFile]:
        """Return the packs that are there."""
        self._look()
        return list(self._packs.values())

    # reading

    def _look(self) -> bool:
        """Open packs that are new, forget those that went; return whether anything changed."""
        stamp = os.stat(self.folder).st_mtime_ns
        if stamp == self._stamp:
            return False
        names = {
            name
            for name in os.listdir(self.folder)
            if name.endswith(".idx") and name.startswith("pack-")
        }
        for vanished in self._packs.keys() - names:
            self._packs.pop(vanished).close()
        for new in names - self._packs.keys():
            try:
                self._packs[new] = PackFile(self.folder / new)
            except FileNotFoundError:
                continue  # consolidated away between the two calls
        self._stamp = stamp
        self._git = None
        return True

    def _find(self, oid: Oid) -> tuple[PackFile, int] | None:
        for pack in self._packs.values():
            place = pack.find(oid)
            if place >= 0:
                return pack, place
        return None

    def packed(self, oid: Oid) -> bool:
        """Tell whether a pack known since the last `refresh` holds the object: cheap, for use while
        writing.
        """
        return oid == EMPTY_TREE or self._find(oid) is not None

    def refresh(self) -> None:
        """Look at the packs that are there now."""
        self._look()

    def exists(self, oid: Oid) -> bool:
        """Tell whether the object is in the store."""
        if self.packed(oid):
            return True
        if self._look() and self.packed(oid):
            return True
        return oid.hex() in self._libgit2()

    def _libgit2(self) -> pygit2.Repository:
        if self._git is None:
            self._git = open_repository(self.git_dir)
        return self._git

    def _ask_packs(self, oid: Oid, ask: Callable[[PackFile, int], Answer | None]) -> Answer | None:
        """Ask the pack that holds an object; None where no pack does, or git must resolve a
        delta.
        """
        for _attempt in range(3):
            location = self._find(oid)
            if location is None and self._look():
                location = self._find(oid)
            if location is None:
                break
            try:
                return ask(*location)
            except FileNotFoundError:  # consolidated away since it was found
                self._stamp = -1
                self._look()
        return None

    def header(self, oid: Oid) -> tuple[Kind, int]:
        """Return an object's kind and its size in bytes, without reading it.

        Raises StoreError when it is not there.
        """
        measured = self._ask_packs(oid, PackFile.measure)
        if measured is not None:
            return measured.kind, measured.size
        if oid == EMPTY_TREE:
            return "tree", 0
        if self.most is not None:
            return stream_by_git(self.git_dir, oid)[:2]
        kind, size = self._by_libgit2(oid, lambda odb: odb.read_header(oid.hex()))
        return _KINDS[kind], size

    def stream(self, oid: Oid) -> tuple[Kind, int, Iterator[bytes]]:
        """Return an object's kind, its size in bytes, and its content in chunks of which none is
        large.

        Only a delta that takes less than INFLATED_HERE to read is in memory as a whole. Raises
        StoreError.
        """
        streamed = self._ask_packs(oid, PackFile.stream)
        if streamed is not None:
            return streamed
        if oid == EMPTY_TREE:
            return "tree", 0, iter(())
        measured = self._ask_packs(oid, PackFile.measure)
        if measured is not None and measured.largest <= INFLATED_HERE:
            return measured.kind, measured.size, self._whole(oid)
        if self.most is None and measured is None:  # a loose object of the user's own
            return *self.header(oid), self._whole(oid)
        return stream_by_git(self.git_dir, oid)

    def _whole(self, oid: Oid) -> Iterator[bytes]:
        yield self._read(oid)[1]

    def read(self, oid: Oid, *, most: int | None = None) -> tuple[Kind, bytes]:
        """Return an object's kind and content. Raises StoreError when it is not in the store.

        With `most`, here or of the database, TooLarge for one of more bytes: it is not read then.
        """
        most = self.most if most is None else most
        if most is None:
            return self._read(oid)
        kind, size, chunks = self.stream(oid)
        if size > most:
            raise TooLarge(f"object {oid.hex()} has {size} bytes, and {most} are allowed")
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
        kind, data = self._by_libgit2(oid, lambda odb: odb.read(oid.hex()))
        return _KINDS[kind], data

    def _by_libgit2(
        self, oid: Oid, ask: Callable[[pygit2.Odb], tuple[int, Answer]]
    ) -> tuple[int, Answer]:
        try:
            return ask(self._libgit2().odb)
        except KeyError as error:
            raise StoreError(
                f"object {oid.hex()} is not in {self.git_dir}",
                hint="`prov fsck` tells what else is missing",
            ) from error
        except pygit2.GitError as error:
            raise StoreError(
                f"object {oid.hex()} in {self.git_dir} is damaged: {error}", hint="run `git fsck`"
            ) from error

    def blob(self, oid: Oid, *, most: int | None = None) -> bytes:
        return self._of_kind(oid, "blob", most)

    def _read_loose(self, oid: Oid) -> tuple[Kind, bytes] | None:
        """Return an object that has a file of its own; None if it has none. Raises StoreError for a
        damaged one.

        libgit2 is not asked: it never returns from a file that is cut off within the last bytes.
        """
        path = self.git_dir / "objects" / oid.hex()[:2] / oid.hex()[2:]
        try:
            inflater = isal_zlib.decompressobj()
            content = inflater.decompress(path.read_bytes())
        except FileNotFoundError:
            return None
        except (INFLATE_ERROR, OSError) as error:
            raise StoreError(f"{path} is damaged: {error}", hint="run `git fsck`") from error
        header, _, data = content.partition(b"\0")
        kind = _LOOSE.get(header.partition(b" ")[0])
        # the id covers the header, and so the size in it
        if (
            kind is None
            or not inflater.eof
            or hashlib.sha1(content).digest() != oid
            or object_id(kind, data) != oid
        ):
            raise StoreError(
                f"{path} is damaged: it is not the object of that id", hint="run `git fsck`"
            )
        return kind, data

    def tree(self, oid: Oid) -> list[Entry]:
        """Return a tree's entries.

        Raises StoreError for an object that is not a well-formed tree.
        """
        return _decoded(oid, decode_tree, self._of_kind(oid, "tree"))

    def commit(self, oid: Oid) -> Commit:
        """Return a commit. Raises StoreError for an object that is not a well-formed commit."""
        return _decoded(oid, decode_commit, self._of_kind(oid, "commit"))

    def _of_kind(self, oid: Oid, expected: Kind, most: int | None = None) -> bytes:
        kind, data = self.read(oid, most=most)
        if kind != expected:
            raise StoreError(f"object {oid.hex()} is a {kind}, not a {expected}")
        return data

    def stream_blob(self, oid: Oid) -> Iterator[bytes]:
        """Yield a blob's content in chunks of about a megabyte; it is never in memory as a whole if
        we packed it.
        """
        kind, _size, chunks = self.stream(oid)
        if kind != "blob":
            raise StoreError(f"object {oid.hex()} is a {kind}, not a blob")
        return chunks

    def blob_size(self, oid: Oid) -> int:
        """Return a blob's size in bytes; it is not read."""
        return self.header(oid)[1]

    def entry(self, tree: Oid, path: str) -> Entry | None:
        """Return what a tree has at a path (`a/b`), or None."""
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
        """Return how many bytes the packs take."""
        return sum(state.st_size for path in self.folder.glob("*.pack") if (state := status(path)))

    def remove_leftovers(self) -> None:
        """Remove unfinished packs of processes that were killed."""
        for path in self.folder.glob(f"{TEMPORARY}*"):
            pid = path.name.removeprefix(TEMPORARY).partition("_")[0]
            if not Path("/proc", pid).exists():
                path.unlink(missing_ok=True)

    def many_packs(self) -> bool:
        """Tell whether there are so many packs that some should be joined."""
        self._look()
        return len(self._packs) >= PACKS_TO_CONSOLIDATE

    def release(self) -> None:
        """Release the lease in a forked process that writes nothing itself."""
        if self._leased >= 0:
            os.close(self._leased)
            self._leased = -1

    def consolidate(self, *, most: int = AT_ONCE) -> int:
        """Join small packs into one when there are many; return how many went into it. No more than
        `most` bytes.

        Geometric, as `git repack --geometric=2` does it: from the smallest upwards, as long as a
        pack is not twice as large as all that are smaller, so that a byte is copied a logarithmic
        number of times. One process at a time; others go on meanwhile, and a reader that loses a
        pack looks again.
        """
        if not self.many_packs():
            return 0
        with try_locked(self.join_lock) as acquired:
            if not acquired:
                return 0
            self._look()
            return self._join(self._small_packs(most))

    def _small_packs(self, most: int) -> list[PackFile]:
        marks = (".keep", ".promisor")  # git's, for packs that are not to be replaced
        free = [
            pack
            for pack in self._packs.values()
            if not any(pack.path.with_suffix(mark).exists() for mark in marks)
        ]
        sized = [(state.st_size, pack) for pack in free if (state := status(pack.path))]
        sized.sort(key=lambda pair: pair[0])
        count = packs_to_join([size for size, _ in sized], most)
        return [pack for _, pack in sized[:count]]

    def _join(self, packs: list[PackFile]) -> int:
        stream = PackStream(self.folder)
        joined = []
        try:
            for pack in packs:
                entries = pack.packed_entries()
                if entries is None:
                    continue
                for oid, crc, packed in entries:
                    if oid not in stream:
                        stream.add_packed(oid, crc, packed)
                joined.append(pack)
            if len(joined) < 2:
                stream.abort()
                return 0
            joined_index = stream.finish()
        except BaseException:
            stream.abort()
            raise
        for pack in joined:
            if pack.index_path != joined_index:
                # the index first: without it nobody looks for the pack
                pack.index_path.unlink(missing_ok=True)
                pack.path.unlink(missing_ok=True)
        self._look()
        return len(joined)


def _decoded(oid: Oid, decode: Callable[[bytes], Answer], data: bytes) -> Answer:
    """Return what an object holds: one whose id is right may be malformed all the same.

    Raises StoreError.
    """
    try:
        return decode(data)
    except ValueError as error:
        raise StoreError(f"object {oid.hex()} is malformed: {error}", hint=CHECK_STORE) from error


class ObjectWriter:
    """Writes objects that the store lacks into one pack.

    A context manager: leaving it makes everything durable, leaving it by an exception drops
    everything. With `memory`, for a store that can't be written to, what `add` is given stays in
    memory and goes with the writer.
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
        """See what others put into the store since this writer began."""
        self._odb.refresh()

    @property
    def total(self) -> int:
        """Bytes that this writer added to the store, or is about to."""
        return self._finished + (self._stream.size if self._stream else 0)

    def has(self, oid: Oid) -> bool:
        """Tell whether the object need not be added."""
        if self._memory and oid in self._recent:
            return True
        return (self._stream is not None and oid in self._stream) or self._odb.packed(oid)

    def _pack(self) -> PackStream:
        if self._stream is None:
            self._stream = PackStream(self._odb.folder)
        return self._stream

    def add(self, kind: Kind, data: bytes, *, keep: bool = True) -> Oid:
        """Add an object unless the store has it; return its id.

        Without `keep` it can't be read before `finish`.
        """
        oid = object_id(kind, data)
        if not self.has(oid):
            if not self._memory:
                self._pack().add(oid, kind, data)
            if keep or self._memory:
                self._recent[oid] = data
        return oid

    def write_empty_tree(self) -> None:
        """Put the empty tree into the store, which git takes for granted and most writers need not
        think of.
        """
        self._pack().add(EMPTY_TREE, "tree", b"")

    def add_blob(self, data: bytes) -> Oid:
        """Add a file's content; unlike what is given to `add`, it can't be read before `finish`."""
        oid = hashlib.sha1(b"blob %d\0" % len(data) + data).digest()
        if not self.has(oid):
            self._pack().add(oid, "blob", data)
        return oid

    def add_tree(self, entries: list[Entry]) -> Oid:
        return self.add("tree", encode_tree(entries))

    def add_commit(self, commit: Commit) -> Oid:
        return self.add("commit", commit.encode())

    def add_blob_stream(self, oid: Oid, size: int, source: Readable) -> bool:
        """Add a blob from a stream; false when the stream is not the blob of that id and size."""
        return self.has(oid) or self._pack().add_blob_stream(oid, size, source)

    def tree(self, oid: Oid) -> list[Entry]:
        """Return a tree that this writer, or the store, holds."""
        recent = self._recent.get(oid)
        return self._odb.tree(oid) if recent is None else decode_tree(recent)

    def blob(self, oid: Oid) -> bytes:
        """Return a blob that `add` was given, or that the store holds."""
        recent = self._recent.get(oid)
        return self._odb.blob(oid) if recent is None else recent

    def commit(self, oid: Oid) -> Commit:
        """Return a commit that this writer, or the store, holds."""
        recent = self._recent.get(oid)
        return self._odb.commit(oid) if recent is None else decode_commit(recent)

    def stream_blob(self, oid: Oid) -> Iterator[bytes]:
        """Yield a blob's content in chunks."""
        recent = self._recent.get(oid)
        return self._odb.stream_blob(oid) if recent is None else iter([recent])

    def finish(self) -> None:
        """Make everything added so far durable and readable; the writer can be used again."""
        if self._stream is not None:
            stream, self._stream = self._stream, None
            stream.finish()
            self._finished += stream.size
            self._odb.refresh()
        if not self._memory:
            self._recent.clear()
