"""Change several refs in one transaction, by git's protocol for files (its refs/files-backend.c).

A lock is a file beside the file that it locks, created exclusively. Under the locks of all its
refs, a transaction compares each ref with its expected value, and writes and syncs the new ids into
the lock files. Then it renames them over the refs, in the order of the updates. A ref to delete is
removed from packed-refs first, under the lock of that file, which is held until its own file is
gone: otherwise a process that packs refs would restore it.

A kill leaves lock files, which expire (`LOCK_IS_DEAD`), and at most the first of the updates.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import RefConflict, StoreError
from prov.files import naming, sync_directory
from prov.store.objects import Oid
from prov.store.packed_refs import PackedRefs

ANY = "any"
LOCK_IS_DEAD = 20.0
"""Seconds after which a lock file belongs to a killed process: an update takes milliseconds."""
# what git check-ref-format rejects, such as a component that begins with a dot or ends in .lock
BAD_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|[./]$")
PACKED_REFS = "packed-refs"
LOGGED_AS = b"prov <prov@localhost>"
_ATTEMPTS = 20
"""How often to create a folder that other processes delete with its last ref."""
_MOST_OPEN = 100
"""How many locks to keep open, so that one sync stores all of them."""
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """The change of one ref: its new id, or None to delete it.

    `old` is the expected value: an id, None if the ref must not exist, or `ANY`.
    """

    name: str
    new: Oid | None
    old: Oid | str | None = ANY


class LockHeld(Exception):
    """Another process holds a lock, or a killed one left it."""

    def __init__(self, lock: str) -> None:
        super().__init__(lock)
        self.lock = Path(lock)


@dataclass(slots=True)
class RefTransaction:
    """The update of some refs of one repository."""

    git_dir: Path
    updates: Sequence[RefUpdate]
    read: Callable[[str], Oid | None]
    """Returns the id that a ref points to, or None. Raises StoreError for a damaged ref."""
    packed: Callable[[], PackedRefs]
    """Returns the current packed-refs."""
    logs: str = "false"
    """The setting core.logAllRefUpdates. A ref that has a log is always logged."""
    _locks: dict[str, None] = field(default_factory=dict)
    """The paths of the lock files that this transaction holds."""
    _before: dict[str, Oid | None] = field(default_factory=dict)
    """The refs' values before the transaction."""
    _made: set[str] = field(default_factory=set)
    """The folders that this transaction created."""
    _shared: int = 0
    """The permissions that files of a shared repository have for its group and others."""

    def run(self) -> None:
        """Apply all updates or none, durably.

        Raises LockHeld; RefConflict if a ref does not have its expected value, or its name excludes
        that of an existing ref; and StoreError for an invalid name.
        """
        self._check_names()
        self._shared = _shared_permissions(self.git_dir / "refs")
        try:
            self._prepare()
            self._rename()
            self._delete()
        finally:
            for lock in self._locks:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(lock)

    def _check_names(self) -> None:
        names = {update.name for update in self.updates}
        if len(names) != len(self.updates):
            raise StoreError(f"several updates of one ref among {', '.join(sorted(names))}")
        for name in names:
            if not name.startswith("refs/") or BAD_NAME.search(name):
                raise StoreError(f"invalid ref name {name!r}")
            for folder in _folders_above(name):
                if folder in names:
                    raise RefConflict(f"refs cannot have the names {folder} and {name}")

    def _path(self, name: str) -> str:
        return f"{self.git_dir}/{name}"

    def _prepare(self) -> None:
        """Lock all refs, compare them with their expected values, and store the new ids."""
        unsynced: list[int] = []
        try:
            for update in self.updates:
                path = self._path(update.name)
                fd = self._lock(path)
                unsynced.append(fd)
                self._compare(update)
                if self._is_new(update):
                    with naming(Path(path)):
                        os.write(fd, _content(update.new))
                if len(unsynced) == _MOST_OPEN:
                    _sync_and_close(unsynced)
            if any(self._is_deleted(update) for update in self.updates):
                os.close(self._lock(self._path(PACKED_REFS)))
            _sync_and_close(unsynced)
        finally:
            for fd in unsynced:
                os.close(fd)

    def _is_new(self, update: RefUpdate) -> bool:
        return update.new is not None and update.new != self._before[update.name]

    def _is_deleted(self, update: RefUpdate) -> bool:
        return update.new is None and self._before[update.name] is not None

    def _compare(self, update: RefUpdate) -> None:
        """Raise RefConflict unless a locked ref has its expected value."""
        now = self._before[update.name] = self.read(update.name)
        if update.old not in (ANY, now):
            expected = update.old.hex() if isinstance(update.old, bytes) else "missing"
            found = now.hex() if now is not None else "missing"
            raise RefConflict(
                f"another process changed {update.name} in {self.git_dir}: expected {expected},"
                f" found {found}"
            )
        if now is None and update.new is not None:
            self._check_free(update.name)

    def _check_free(self, name: str) -> None:
        """Raise RefConflict if there is a ref that cannot exist together with a new one.

        A ref is a file, so the names of other refs cannot begin with its name and a slash.
        """
        for folder in _folders_above(name):
            if folder.count("/") > 1 and self.read(folder) is not None:
                raise RefConflict(f"cannot create {name} in {self.git_dir}: {folder} is a ref")
        below = self.packed().below(f"{name}/")
        path = self._path(name)
        if below or (os.path.isdir(path) and not _remove_empty(path)):
            raise RefConflict(f"cannot create {name} in {self.git_dir}: there are refs below it")

    def _lock(self, path: str) -> int:
        """Create the lock file of a path; return its descriptor."""
        lock = f"{path}.lock"
        for _ in range(_ATTEMPTS):
            try:
                fd = os.open(lock, _NEW, 0o666)
            except FileNotFoundError:
                self._make_folders(os.path.dirname(path))
            except FileExistsError:
                raise LockHeld(lock) from None
            except NotADirectoryError:
                raise RefConflict(f"cannot create {path}: a folder above it is a ref") from None
            else:
                self._locks[lock] = None
                self._share(fd, 0o666)
                return fd
        raise StoreError(f"cannot create {lock}: other processes delete its folder")

    def _make_folders(self, folder: str) -> None:
        missing = []
        while not os.path.lexists(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        # another process can create or delete the same folders: `_lock` tries again
        with contextlib.suppress(FileExistsError, FileNotFoundError):
            for path in reversed(missing):
                os.mkdir(path)
                self._made.add(path)
                self._share(path, 0o777)

    def _share(self, file: int | str, mask: int) -> None:
        """Give a new file or folder the permissions of a shared repository."""
        if self._shared:
            mode = stat.S_IMODE(os.stat(file).st_mode)
            os.chmod(file, mode | self._shared & mask)

    def _rename(self) -> None:
        """Move the new ids into place, and sync their folders."""
        folders: dict[str, None] = {}
        for update in self.updates:
            path = self._path(update.name)
            if self._is_new(update):
                self._log(update)
                os.rename(f"{path}.lock", path)
                del self._locks[f"{path}.lock"]
            folder = os.path.dirname(path)
            # another process can have set the same id, and not have synced it yet
            if update.new is not None:
                folders[folder] = None
            while folder in self._made:
                folder = os.path.dirname(folder)
                folders[folder] = None
        _sync_folders(folders)

    def _log(self, update: RefUpdate) -> None:
        """Add a line to the log of a ref, if it has one or the repository logs such refs."""
        log = f"{self.git_dir}/logs/{update.name}"
        starts = self.logs == "always" or (
            self.logs == "true" and update.name.startswith(("refs/heads/", "refs/notes/"))
        )
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            if starts:
                os.makedirs(os.path.dirname(log), exist_ok=True)
            old, new = (_content(oid).strip() for oid in (self._before[update.name], update.new))
            flags = os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | (os.O_CREAT if starts else 0)
            with os.fdopen(os.open(log, flags, 0o666), "ab") as stream:
                stream.write(b"%s %s %s %d +0000\n" % (old, new, LOGGED_AS, time.time()))

    def _delete(self) -> None:
        """Delete refs, durably: from packed-refs first, since a file overrides its line there."""
        names = [update.name for update in self.updates if self._is_deleted(update)]
        packed = self.packed()
        if any(packed.get(name) is not None for name in names):
            replace_packed(self.git_dir, packed.edited(dict.fromkeys(names, b"")))
        folders: dict[str, None] = {}
        for name in names:
            path = self._path(name)
            for file in (path, f"{self.git_dir}/logs/{name}"):
                with contextlib.suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError):
                    os.unlink(file)
            os.unlink(f"{path}.lock")
            del self._locks[f"{path}.lock"]
            folders[remove_parents(self.git_dir, name)] = None
        _sync_folders(folders)


def _content(oid: Oid | None) -> bytes:
    """Return the content of a ref's file."""
    return b"%s\n" % (oid or bytes(20)).hex().encode()


def _sync_and_close(fds: list[int]) -> None:
    """Sync and close written files.

    First, start to write all of them: the file system then stores them with the first sync, and
    the others only wait. That halves the time on ext4.
    """
    for fd in fds:
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    while fds:
        if os.fstat(fds[-1]).st_size:  # the lock of a deleted ref is empty
            _sync(fds[-1])
        os.close(fds.pop())


def _sync(fd: int) -> None:
    """Sync a file. Raises OSError with the file's path."""
    try:
        os.fsync(fd)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.readlink(f"/proc/self/fd/{fd}")) from error


def _sync_folders(folders: Iterable[str]) -> None:
    """Sync folders that other processes can delete."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            sync_directory(Path(folder))


def _folders_above(name: str) -> Iterator[str]:
    """Yield the names of the folders that contain a ref, from the lowest."""
    while "/" in name:
        name = name.rpartition("/")[0]
        yield name


def _shared_permissions(folder: Path) -> int:
    """Return the permissions of a folder for group and others if the group can write to it."""
    mode = folder.stat().st_mode
    return mode & (stat.S_IRWXG | stat.S_IRWXO) if mode & stat.S_IWGRP else 0


def _remove_empty(path: str) -> bool:
    """Remove a folder that contains only empty folders; return whether it did."""
    try:
        for folder, _folders, _files in os.walk(path, topdown=False):
            os.rmdir(folder)
    except OSError:
        return not os.path.lexists(path)
    return True


def remove_parents(git_dir: Path, name: str) -> str:
    """Remove the folders that a deleted ref has left empty; return the one that remains.

    The folders with fewer than two components, such as refs/tags, always remain.
    """
    for folder in _folders_above(name):
        path = f"{git_dir}/{folder}"
        if folder.count("/") < 2:
            break
        try:
            os.rmdir(path)
        except FileNotFoundError:
            continue
        except OSError:
            break
    return path


def replace_packed(git_dir: Path, content: Iterable[bytes]) -> None:
    """Replace packed-refs, durably, while this process holds its lock."""
    new = f"{git_dir}/{PACKED_REFS}.new"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)  # left by a killed process: only the holder of the lock creates it
    fd = os.open(new, _NEW, 0o666)
    with naming(Path(new)), os.fdopen(fd, "wb") as stream:
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        os.fchmod(fd, mode | _shared_permissions(git_dir / "refs") & 0o666)
        stream.writelines(content)
        stream.flush()
        os.fsync(fd)
    os.rename(new, git_dir / PACKED_REFS)
    sync_directory(git_dir)


@contextlib.contextmanager
def locked(path: str) -> Iterator[None]:
    """Hold the lock of a ref or of packed-refs. Raises LockHeld."""
    lock = f"{path}.lock"
    try:
        os.close(os.open(lock, _NEW, 0o666))
    except FileExistsError:
        raise LockHeld(lock) from None
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(lock)


def clear_dead_lock(lock: Path) -> bool:
    """Remove a lock file left by a killed process; return whether the lock is free now."""
    try:
        if time.time() - lock.stat().st_mtime < LOCK_IS_DEAD:
            return False
        lock.unlink()
    except FileNotFoundError:
        pass
    return True
