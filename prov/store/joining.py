"""Keep the number of packs small: join small packs, and let git store large blobs as deltas.

Joining copies the compressed bytes of packs without deltas. In the background, git stores the
large blobs of the joined packs in a pack of their own, as deltas where that pays: a disk image of
which one percent changes then takes one percent of its size. Readers resolve deltas by git.

A kill at any point leaves some objects in two packs, which is harmless. New packs are durable
before old ones are deleted, and only one process joins packs at a time. Other processes continue: a
reader that misses a pack lists the folder again.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from prov.errors import StoreError
from prov.files import status, sync_directory, try_locked
from prov.store.cat_file import MEMORY, limit_memory
from prov.store.deltas import MOST
from prov.store.git import git_command, start_git
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase
from prov.store.packs import PackFile, PackStream

PACKS_TO_CONSOLIDATE = 24
"""The number of packs at which small ones are joined; git and libgit2 search packs one by one."""
AT_ONCE = 64 << 20
"""The limit, in bytes, for joining packs while a command waits."""
CONSOLIDATE_UP_TO = 1 << 30
"""The size, in bytes, above which a pack is never joined: copying it again gains nothing."""
LARGE_PACK = 64 << 20
LARGE_PACKS = 4
"""The number of packs above `LARGE_PACK` bytes at which the background process joins packs."""
LARGE = 1 << 20
"""The size, in bytes, from which blobs are stored as deltas.

Deltas of smaller objects would save space too, but make every question to the store slower.
"""
SEARCHED_FOR_DELTAS = 10_000
"""The number of objects above which a pack that git wrote is not joined."""
_RATIO = 64
"""A blob of `LARGE` bytes is assumed not to compress better than this."""
_WINDOW, _DEPTH = 4, 8
"""The number of blobs compared with each one, and the longest chain of deltas: reading a blob
inflates all of its chain.
"""
SUFFIXES = (".pack", ".rev", ".bitmap", ".mtimes")


def many_packs(objects: ObjectDatabase) -> bool:
    """Return whether the store has so many packs that small ones should be joined."""
    return len(objects.packs()) >= PACKS_TO_CONSOLIDATE


def large_packs(objects: ObjectDatabase) -> bool:
    """Return whether the background process should join packs: there are many, or large ones."""
    if many_packs(objects):
        return True
    sizes = [size for size, _ in _sized(objects) if LARGE_PACK < size <= CONSOLIDATE_UP_TO]
    return len(sizes) >= LARGE_PACKS


def consolidate(objects: ObjectDatabase, *, most: int = AT_ONCE) -> int:
    """Join small packs, up to `most` bytes, into one if there are many; return their number.

    `packs_to_join` selects them so that each byte is copied a logarithmic number of times.
    """
    if not many_packs(objects):
        return 0
    with try_locked(objects.join_lock) as acquired:
        if not acquired:
            return 0
        return _join(objects, _small_packs(objects, most), frozenset())


def consolidate_all(objects: ObjectDatabase) -> int:
    """Join packs of any size, with deltas of large blobs; return the number of joined packs.

    This takes minutes for gigabytes of large blobs.
    """
    if not large_packs(objects):
        return 0
    with try_locked(objects.join_lock) as acquired:
        if not acquired:
            return 0
        packs = _small_packs(objects, 1 << 60)
        large = {pack: _large_blobs(pack) for pack in packs}
        blobs = [oid for pack in _newest_first(packs) for oid in large[pack]]
        if len(set(blobs)) < 2:
            return _join(objects, packs, frozenset())
        try:
            index = write_by_git(objects, blobs)
        except StoreError:  # no memory, for example: the blobs stay whole
            return _join(objects, packs, frozenset())
        # a pack with nothing but large blobs is joined even if it has deltas
        whole = [pack for pack in packs if len(large[pack]) == pack.count]
        others = [pack for pack in packs if pack not in whole]
        joined = _join(objects, others, frozenset(blobs), alone=True)
        delete_packs(whole, {index})
        objects.refresh()
        return joined + len(whole)


def packs_to_join(sizes: Sequence[int], most: int) -> int:
    """Return how many of the smallest packs to join, given the sorted sizes of all packs.

    As in `git repack --geometric=2`, these are the packs up to the last one that is at most twice
    as large as all smaller ones together, or up to the twelfth if that is more. Their total size is
    at most `most` bytes.
    """
    total = count = 0
    for number, size in enumerate(sizes, 1):
        if size > CONSOLIDATE_UP_TO or total + size > most:
            break
        if size <= 2 * total or number <= PACKS_TO_CONSOLIDATE // 2:
            count = number
        total += size
    return count


def _sized(objects: ObjectDatabase) -> list[tuple[int, PackFile]]:
    """Return the packs that may be joined with their sizes in bytes, the smallest first."""
    marks = (".keep", ".promisor")  # git's marks for packs that must stay
    free = [
        pack
        for pack in objects.packs()
        if not any(pack.path.with_suffix(mark).exists() for mark in marks)
    ]
    sized = [(state.st_size, pack) for pack in free if (state := status(pack.path))]
    return sorted(sized, key=lambda pair: pair[0])


def _small_packs(objects: ObjectDatabase, most: int) -> list[PackFile]:
    sized = _sized(objects)
    count = packs_to_join([size for size, _ in sized], most)
    return [pack for _, pack in sized[:count]]


def _newest_first(packs: Iterable[PackFile]) -> list[PackFile]:
    dated = [(state.st_mtime_ns, pack) for pack in packs if (state := status(pack.path))]
    return [pack for _, pack in sorted(dated, key=lambda pair: -pair[0])]


def _large_blobs(pack: PackFile) -> list[Oid]:
    """Return the large blobs of a pack in its order; none of a pack that cannot be joined."""
    sizes = pack.sizes()
    if not pack.has_deltas():
        candidates = [oid for oid, size in sizes.items() if size >= LARGE // _RATIO]
    elif pack.count <= SEARCHED_FOR_DELTAS:
        candidates = list(sizes)
    else:
        return []
    large = []
    for oid in candidates:
        measured = pack.measure(pack.find(oid))
        if measured and measured.kind == "blob" and LARGE <= measured.size <= MOST:
            large.append(oid)
    return large if len(large) == pack.count or not pack.has_deltas() else []


def _join(
    objects: ObjectDatabase,
    packs: Iterable[PackFile],
    elsewhere: frozenset[Oid],
    *,
    alone: bool = False,
) -> int:
    """Copy packs without deltas into one; return their number.

    Leave out objects that are `elsewhere`. Copy one pack only if `alone` is set.
    """
    stream = PackStream(objects.folder)
    joined = []
    try:
        for pack in packs:
            entries = pack.packed_entries()
            if entries is None:
                continue
            for oid, crc, packed in entries:
                if oid not in stream and oid not in elsewhere:
                    stream.add_packed(oid, crc, packed)
            joined.append(pack)
        if len(joined) < 2 and not alone:
            stream.abort()
            return 0
        index = stream.finish()
    except BaseException:
        stream.abort()
        raise
    delete_packs(joined, {index})
    objects.refresh()
    return len(joined)


def delete_packs(packs: Iterable[PackFile], new: set[Path | None]) -> None:
    """Delete packs whose objects are in the `new` ones, which can be the same packs."""
    for pack in packs:
        if pack.index_path not in new:
            # the index first: processes open only packs that have one
            pack.index_path.unlink(missing_ok=True)
            for suffix in SUFFIXES:
                pack.path.with_suffix(suffix).unlink(missing_ok=True)


def write_by_git(objects: ObjectDatabase, oids: Sequence[Oid]) -> Path:
    """Let git write objects to a pack, and return its index, durably in the store.

    Git copies existing deltas. It looks for bases of the other objects, but not again among those
    that were whole in one pack. Of objects with equal sizes, the first stays whole. Raises
    StoreError.
    """
    options = [
        f"--window={_WINDOW}",
        f"--depth={_DEPTH}",
        "--window-memory=256m",
        "--threads=1",
        "--compression=1",
        "--delta-base-offset",
        "--quiet",
        str(objects.folder / "pack"),
    ]
    names = "".join(f"{oid.hex()}\n" for oid in dict.fromkeys(oids)).encode()
    with (
        git_command(objects.git_dir) as command,
        start_git(
            [*command, "pack-objects", *options], stdin=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        limit_memory(process.pid, MEMORY)
        answer, errors = process.communicate(names)
    index = objects.folder / f"pack-{answer.decode('ascii', 'replace').strip()}.idx"
    if process.returncode or not index.exists():
        message = errors.decode("utf-8", "replace").strip()
        raise StoreError(f"git pack-objects failed in {objects.git_dir}: {message}")
    sync_directory(objects.folder)
    return index
