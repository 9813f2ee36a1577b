"""Read refs, and update several refs in one transaction.

Module `prov/records/refs` defines prov's ref names.

Reads start no process. Writes use `git update-ref --stdin`: one transaction updates all
refs of an event, compares each with its expected value, and is synced before `update` returns.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from prov.errors import CHECK_STORE, RefConflict, StoreError
from prov.files import sync_directory
from prov.store.git import run_git
from prov.store.objects import Oid
from prov.store.packed_refs import PackedRefs

HEAD_BRANCH = "builds"
HEAD = f"ref: refs/heads/{HEAD_BRANCH}\n".encode()
"""The content of a store's HEAD."""
PACK_AFTER = 500
PATIENCE = 60.0
"""Seconds to wait for a ref that another process has locked."""
LOCK_IS_DEAD = 20.0
"""Seconds after which a lock file belongs to a killed process: an update takes milliseconds."""
_MISSING = "0" * 40
_HASH = re.compile("[0-9a-f]{40}")
_LONGEST_FILE = 64
"""The bytes to read of a loose ref: it has an id and a line end."""
# what git check-ref-format rejects, such as a component that begins with a dot or ends in .lock
BAD_NAME = re.compile(r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|/\.|\.lock(/|$)|[./]$")
_HELD = re.compile(
    r"Unable to create '([^']+\.lock)': File exists|unable to create file (.+/packed-refs\.new):"
    r" File exists"
)
_CHANGED = re.compile("cannot lock ref|but expected|reference already exists|unable to resolve")


def hash_in(text: str) -> Oid | None:
    """Parse a component of a ref's name as a hash; return None if it is not one."""
    return bytes.fromhex(text) if _HASH.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """The change of one ref: its new id, or None to delete it.

    `old` is the expected value: an id, None if the ref must not exist, or `ANY`.
    """

    name: str
    new: Oid | None
    old: Oid | str | None = "any"


ANY = "any"


class RefStore:
    """The refs of one store."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir
        self._packed: PackedRefs | None = None

    def get(self, name: str) -> Oid | None:
        """Return the id that a ref points to, or None if there is no such ref.

        Raises StoreError for a ref that cannot be read.
        """
        if BAD_NAME.search(name) or not name.startswith("refs/"):
            return None
        # Its own file first: if git packs the ref meanwhile, packed-refs has it.
        text = _read_file(os.path.join(self.git_dir, name))
        if text is None:
            return self._packed_refs().get(name)
        oid = _id_in(text)
        if oid is not None:
            return oid
        if text.startswith(b"ref:"):
            raise StoreError(
                f"{name} in {self.git_dir} is a symbolic ref, which prov does not support",
                hint=f"run `git symbolic-ref --delete {name}` in the store",
            )
        raise StoreError(
            f"cannot read {name} in {self.git_dir}: its file does not contain an object id",
            hint=CHECK_STORE,
        )

    def _packed_refs(self) -> PackedRefs:
        if self._packed is None or not self._packed.is_current():
            self._packed = PackedRefs(self.git_dir / "packed-refs")
        return self._packed

    def list(self, prefix: str) -> dict[str, Oid]:
        """Return the refs with names that begin with a prefix (`refs/tags/zlib/`), sorted by name.

        Raises StoreError if packed-refs is damaged.
        """
        # Loose refs first: packed-refs then has each ref that git packs meanwhile.
        loose = dict(self._loose(prefix))
        refs = self._packed_refs().below(prefix)
        return dict(sorted((refs | loose).items())) if loose else refs

    def _loose(self, prefix: str) -> Iterator[tuple[str, Oid]]:
        """Yield the refs with a prefix that have a file of their own, with their ids.

        Skips invalid files, as git does; `prov fsck` reports them.
        """
        pending = [prefix[: prefix.rfind("/") + 1]]
        while pending:
            folder = pending.pop()
            try:
                entries = os.scandir(self.git_dir / folder)
            except (FileNotFoundError, NotADirectoryError):
                continue  # git deletes a folder with its last ref
            with entries:
                for entry in entries:
                    name = folder + entry.name
                    if not name.startswith(prefix[: len(name)]):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(f"{name}/")
                    elif name.startswith(prefix) and not BAD_NAME.search(name):
                        text = _read_file(entry.path)
                        oid = _id_in(text) if text else None
                        if oid is not None:
                            yield name, oid

    def last_number(self, prefix: str, *, after: int = 0) -> int:
        """Return the highest N for which `PREFIX/N` exists, at least `after`.

        Numbers above `after` must have no gaps.
        """
        number = after
        while self.get(f"{prefix}/{number + 1}") is not None:
            number += 1
        return number

    def update(self, *updates: RefUpdate) -> None:
        """Apply all updates or none.

        Raises RefConflict if a ref does not have its expected value, and StoreError if a lock is
        held for more than `PATIENCE` seconds.
        """
        lines = ["start\0"]
        for update in updates:
            if update.old == ANY:
                expected = ""
            else:
                expected = update.old.hex() if isinstance(update.old, bytes) else _MISSING
            if update.new is None:
                lines.append(f"delete {update.name}\0{expected}\0")
            else:
                lines.append(f"update {update.name}\0{update.new.hex()}\0{expected}\0")
        lines += ["prepare\0", "commit\0"]
        data = "".join(lines).encode("utf-8", "surrogateescape")
        patience = time.monotonic() + PATIENCE
        new_folders = self._folders_to_make(updates)
        while True:
            try:
                run_git(self.git_dir, ["update-ref", "--stdin", "-z"], data=data)
                self._sync(updates, new_folders)
                return
            except StoreError as error:
                lock_error = _HELD.search(str(error))
                if lock_error is None:
                    if _CHANGED.search(str(error)):
                        raise RefConflict(
                            f"another process changed refs in {self.git_dir}: {error}"
                        ) from error
                    raise
                if (
                    not _clear_dead_lock(Path(lock_error[1] or lock_error[2]))
                    and time.monotonic() > patience
                ):
                    raise StoreError(
                        f"{lock_error[1] or lock_error[2]} is held by another process",
                        hint="if no prov or git process uses the store, delete this file",
                    ) from error
            time.sleep(0.05)

    def _folders_to_make(self, updates: Sequence[RefUpdate]) -> set[Path]:
        """Return the folders that git will create for new refs."""
        parents = {
            self.git_dir / parent
            for change in updates
            if change.new
            for parent in PurePath(change.name).parents[:-1]
        }
        return {folder for folder in parents if not folder.is_dir()}

    def _sync(self, updates: Sequence[RefUpdate], new_folders: set[Path]) -> None:
        """Sync the folders of updated refs: git syncs only the files in them.

        Folders of new refs come first, in the order of the updates. For deleted refs, the folder of
        packed-refs comes before theirs, because git removes a ref from packed-refs first.
        """
        folders: list[Path] = []
        for update in (change for change in updates if change.new is not None):
            folder = (self.git_dir / update.name).parent
            folders.append(folder)
            while folder in new_folders:
                folder = folder.parent
                folders.append(folder)
        deleted = [change for change in updates if change.new is None]
        if deleted:
            folders.append(self.git_dir)
        for update in deleted:
            folder = (self.git_dir / update.name).parent
            while not folder.is_dir():  # git removes a folder with its last ref
                folder = folder.parent
            folders.append(folder)
        for folder in dict.fromkeys(folders):
            with contextlib.suppress(FileNotFoundError):
                sync_directory(folder)

    def pack(self, *, at_once: bool = False) -> None:
        """Move loose refs into packed-refs if there are more than `PACK_AFTER`, or `at_once`."""
        if at_once:
            self._pack()
            return
        loose = 0
        for _folder, _folders, files in os.walk(self.git_dir / "refs"):
            loose += len(files)
            if loose > PACK_AFTER:
                with contextlib.suppress(StoreError):  # another process or build will pack them
                    self._pack()
                return

    def _pack(self) -> None:
        """Pack refs durably: sync the new packed-refs before git deletes the loose files."""
        try:
            run_git(self.git_dir, ["pack-refs", "--all", "--no-prune"])
        except StoreError as error:
            lock_error = _HELD.search(str(error))
            if lock_error is None or not _clear_dead_lock(Path(lock_error[1] or lock_error[2])):
                raise
            run_git(self.git_dir, ["pack-refs", "--all", "--no-prune"])
        sync_directory(self.git_dir)
        run_git(self.git_dir, ["pack-refs", "--all"])


def _read_file(path: str) -> bytes | None:
    """Return the begin of a ref's file, None if there is no file that can be read."""
    try:
        # a store of another user can have a pipe here
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return os.read(fd, _LONGEST_FILE)
    except OSError:  # a folder
        return None
    finally:
        os.close(fd)


def _id_in(text: bytes) -> Oid | None:
    """Return the id that a ref's file contains, None if it contains no id."""
    return hash_in(text.decode("ascii", "replace").rstrip())


def _clear_dead_lock(lock: Path) -> bool:
    """Remove a lock file left by a killed process; return whether the lock is free now."""
    try:
        if time.time() - lock.stat().st_mtime < LOCK_IS_DEAD:
            return False
        lock.unlink()
    except FileNotFoundError:
        pass
    return True
