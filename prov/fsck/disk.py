"""Check a store's pools, sysroot states, caches and leftovers.

All of these can be made again, so a repair deletes the invalid ones.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import stat
import time
from collections.abc import Iterator
from pathlib import Path

from prov.errors import StoreError
from prov.files import read_cache, status
from prov.fsck.findings import Problem
from prov.replay.scratch import SCRATCH_FOLDER
from prov.store.objects import Oid
from prov.store.packs import STREAM_CHUNK, TEMPORARY
from prov.store.rawrefs import stale_locks
from prov.store.repository import Store
from prov.sysroot.state import SysrootState
from prov.worktree.placer import sealed_mtime
from prov.worktree.pool import POOLS

AGED = 3600.0
"""Seconds. A process may still be writing a younger file."""
REMOVE = "delete it"
POOL_NAME = re.compile(
    r"(?P<rest>[0-9a-f]{38})-(?P<mode>[0-7]{1,4})(@(?P<mtime>-?\d+))?(?P<places>-[0-9a-f]{12})?(\+[0-9a-f]{12})?"
)


def check_disk(
    store: Store, *, thorough: bool = False, now: float | None = None
) -> Iterator[Problem]:
    """Yield the problems outside the objects; `thorough` reads the files in the pools too."""
    now = time.time() if now is None else now
    for pool in POOLS:
        yield from check_pool(store, store.cache / pool, thorough=thorough, now=now)
    yield from check_sysroots(store)
    yield from check_caches(store)
    yield from leftovers(store, now=now)


def _below(store: Store, path: Path) -> str:
    return os.path.relpath(path, store.path)


# pools


def check_pool(store: Store, folder: Path, *, thorough: bool, now: float) -> Iterator[Problem]:
    """Yield a problem for each file of a pool that does not match its name."""
    for path in sorted(folder.glob("??/*")):
        try:
            state = path.lstat()
            if path.name.startswith("."):
                if now - state.st_mtime > AGED:
                    yield Problem(
                        "leftover",
                        _below(store, path),
                        "is an unfinished file",
                        (),
                        REMOVE,
                        harmless=True,
                    )
                continue
            wrong = pool_file_wrong(store, path, state, thorough=thorough)
        except FileNotFoundError:  # deleted since it was listed
            continue
        if wrong:
            how = "delete it, and check the sysroots that link it; the store has its content"
            yield Problem("pool", _below(store, path), wrong, (), how)


def pool_file_wrong(store: Store, path: Path, state: os.stat_result, *, thorough: bool) -> str:
    """Return what is wrong with a pool's file, an empty text if nothing is.

    Raises FileNotFoundError.
    """
    match = POOL_NAME.fullmatch(path.name)
    if match is None or not re.fullmatch("[0-9a-f]{2}", path.parent.name):
        return "has an invalid name"
    oid = bytes.fromhex(path.parent.name + match["rest"])
    if not stat.S_ISREG(state.st_mode):
        return "is not a regular file"
    if stat.S_IMODE(state.st_mode) != int(match["mode"], 8):
        return f"has mode {stat.S_IMODE(state.st_mode):o} instead of {match['mode']}"
    size = None if match["places"] else _blob_size(store, oid)
    if size is not None and size != state.st_size:
        return f"has {state.st_size} bytes, but its blob has {size}"
    own = int(match["mtime"]) if match["mtime"] else None
    if state.st_mtime_ns != sealed_mtime(oid, state.st_size, own):
        return "was modified: its mtime differs from the seal"
    if thorough and not match["places"] and hash_file(path, state.st_size) != oid:
        return "was modified, although its mtime matches the seal"
    return ""


def _blob_size(store: Store, oid: Oid) -> int | None:
    try:
        return store.objects.blob_size(oid) if store.objects.exists(oid) else None
    except StoreError:
        return None


def hash_file(path: Path, size: int) -> Oid | None:
    """Return the blob id of a file's content.

    Returns None if the file does not have `size` bytes or cannot be read.
    """
    digest, left = hashlib.sha1(b"blob %d\0" % size), size
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(fd, "rb", buffering=0) as stream:
        while chunk := stream.read(STREAM_CHUNK):
            digest.update(chunk)
            left -= len(chunk)
    return digest.digest() if not left else None


# sysroots and caches


def check_sysroots(store: Store) -> Iterator[Problem]:
    """Yield a problem for each sysroot state that is unreadable or names missing trees."""
    for path in sorted((store.cache / "sysroots").glob("*.state")):
        how = "delete it; prov composes the sysroot again"
        if not _is_whole(path):
            yield Problem("sysroot", _below(store, path), UNREADABLE, (), how, harmless=True)
            continue
        state = SysrootState.read(path)
        trees = (*state.pair, *state.before) if state is not None else ()
        lost = [oid.hex() for oid in trees if oid is not None and not store.objects.exists(oid)]
        if lost:
            what = f"names {lost[0]}, which is not in the store"
            yield Problem("sysroot", _below(store, path), what, (), how, harmless=True)


UNREADABLE = "is unreadable, or belongs to a different user"


def check_caches(store: Store) -> Iterator[Problem]:
    """Yield the caches of files on disk that cannot be read."""
    cache = store.cache
    files = [
        path
        for path in (*cache.glob("workdirs/*"), *cache.glob("sources/*"))
        if not path.name.endswith(".running")
    ]
    for path in sorted(
        [*files, *cache.glob("sysroots/*.merges"), *cache.glob("toolchains/*.files")]
    ):
        if path.is_file() and not path.name.startswith(".") and not _is_whole(path):
            yield Problem("cache", _below(store, path), UNREADABLE, (), REMOVE, harmless=True)


def _is_whole(path: Path) -> bool:
    return read_cache(path) is not None or not path.exists()  # deleted since it was listed


def memories(store: Store) -> list[Path]:
    """Return the caches of the ids of files on disk.

    They are stale if one of these objects is lost.
    """
    cache = store.cache
    paths = [*cache.glob("workdirs/*"), *cache.glob("sources/*"), *cache.glob("toolchains/*.files")]
    paths += [*cache.glob("sysroots/*.state"), *cache.glob("sysroots/*.merges")]
    return sorted(path for path in paths if path.is_file() and not path.name.endswith(".running"))


# leftovers of killed processes


def leftovers(store: Store, *, now: float) -> Iterator[Problem]:
    """Yield unfinished packs, packs without an index, locks, and scratch directories not in use."""
    packs = store.path / "objects" / "pack"
    for path in sorted(packs.glob("tmp_*")):
        if _is_dead(path, now):
            yield Problem(
                "leftover", _below(store, path), "is an unfinished pack", (), REMOVE, harmless=True
            )
    for path in sorted(packs.glob("pack-*.pack")):
        if not path.with_suffix(".idx").exists() and _is_aged(path, now):
            what = "is a pack without an index, left by a killed process"
            how = "write the readable objects to a new pack; keep the old pack in damaged/"
            yield Problem("leftover", _below(store, path), what, (), how, harmless=True)
    for path in stale_locks(store.path, now=now):
        yield Problem(
            "leftover",
            _below(store, path),
            "is a lock of a killed process",
            (),
            REMOVE,
            harmless=True,
        )
    for path in sorted((store.cache / SCRATCH_FOLDER).glob("*")):
        if path.is_dir() and not _is_held(path.with_suffix(".lock")):
            what = "is a scratch directory of an ended process"
            yield Problem("leftover", _below(store, path), what, (), REMOVE, harmless=True)


def _is_dead(path: Path, now: float) -> bool:
    if path.name.startswith(TEMPORARY):
        return not Path("/proc", path.name.removeprefix(TEMPORARY).partition("_")[0]).exists()
    return _is_aged(path, now)  # git's own file


def _is_aged(path: Path, now: float) -> bool:
    state = status(path)
    return state is not None and now - state.st_mtime > AGED


def _is_held(lock: Path) -> bool:
    try:
        fd = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False
