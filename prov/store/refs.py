"""Refs: read, and changed together.

What the names of prov's refs mean is said in `prov/records/refs`.

Reads go through libgit2 (8 µs in a million packed refs). Writes go through `git update-ref
--stdin`: one transaction for all refs of an event, each compared with what it was, synced before it
returns.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import pygit2

from prov.errors import RefConflict, StoreError
from prov.files import sync_directory
from prov.store.git import open_repository, run_git
from prov.store.objects import Oid

HEAD_BRANCH = "builds"
HEAD = f"ref: refs/heads/{HEAD_BRANCH}\n".encode()
"""The file HEAD of a store."""
PACK_AFTER = 500
PATIENCE = 60.0
"""Seconds to wait for a ref that another process has locked."""
LOCK_IS_DEAD = 20.0
"""Seconds after which a lock file is what a killed process left."""
_MISSING = "0" * 40
_HASH = re.compile("[0-9a-f]{40}")
_HELD = re.compile(
    r"Unable to create '([^']+\.lock)': File exists|unable to create file (.+/packed-refs\.new):"
    r" File exists"
)
_CHANGED = re.compile("cannot lock ref|but expected|reference already exists|unable to resolve")


def hash_in(text: str) -> Oid | None:
    """Return the hash that a part of a ref's name is; None for another word, as in refs that prov
    did not make.
    """
    return bytes.fromhex(text) if _HASH.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class RefUpdate:
    """One ref to set, or (`new` is None) to delete.

    `old` is what it must be now: an id, None for "must not exist", or `ANY` for whatever it is.
    """

    name: str
    new: Oid | None
    old: Oid | str | None = "any"


ANY = "any"


class RefStore:
    """The refs of one store."""

    def __init__(self, git_dir: Path) -> None:
        self.git_dir = git_dir
        self._repository = open_repository(git_dir)

    def get(self, name: str) -> Oid | None:
        """Return what a ref points to, or None."""
        try:
            target = self._repository.lookup_reference(name).target
        except (KeyError, ValueError):  # ValueError: no ref can have such a name
            return None
        except pygit2.GitError as error:
            raise StoreError(
                f"{name} in {self.git_dir} can't be read: {error}",
                hint="`prov fsck` lists what is damaged",
            ) from error
        if not isinstance(target, pygit2.Oid):
            raise StoreError(
                f"{name} in {self.git_dir} is symbolic, which prov never makes", hint="delete it"
            )
        return target.raw

    def list(self, prefix: str) -> dict[str, Oid]:
        """Return the refs below a prefix (`refs/tags/zlib/`), sorted by name, with what they point
        to.
        """
        answer = run_git(
            self.git_dir, ["for-each-ref", "--format=%(objectname) %(refname)", prefix]
        )
        # not splitlines: a name may hold what Unicode takes for the end of a line
        rows = answer.decode("utf-8", "surrogateescape").split("\n")
        pairs = (row.split(" ", 1) for row in rows if row)
        return {name: bytes.fromhex(oid) for oid, name in pairs}

    def last_number(self, prefix: str, *, after: int = 0) -> int:
        """Return the highest N for which `PREFIX/N` exists, numbers being given without gaps; else
        `after`.
        """
        number = after
        while self.get(f"{prefix}/{number + 1}") is not None:
            number += 1
        return number

    def update(self, *updates: RefUpdate) -> None:
        """Carry out all updates or none.

        Raises RefConflict when a ref is not what it was expected to be.
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
                            f"refs in {self.git_dir} changed meanwhile: {error}"
                        ) from error
                    raise
                if (
                    not _clear_dead_lock(Path(lock_error[1] or lock_error[2]))
                    and time.monotonic() > patience
                ):
                    raise StoreError(
                        f"{lock_error[1] or lock_error[2]} is held",
                        hint="if no prov or git is at work there, delete it",
                    ) from error
            time.sleep(0.05)

    def _folders_to_make(self, updates: Sequence[RefUpdate]) -> set[Path]:
        """Return the folders that git will make for new refs."""
        parents = {
            self.git_dir / parent
            for change in updates
            if change.new
            for parent in PurePath(change.name).parents[:-1]
        }
        return {folder for folder in parents if not folder.is_dir()}

    def _sync(self, updates: Sequence[RefUpdate], new_folders: set[Path]) -> None:
        """Make the names of refs durable, in the order of the updates: git syncs what is in their
        files, and no folder.

        Those that are new come first. Then the file of packed refs: one that was deleted is gone
        from there before its own file goes.
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
            while not folder.is_dir():  # git removes it with the last ref in it
                folder = folder.parent
            folders.append(folder)
        for folder in dict.fromkeys(folders):
            with contextlib.suppress(FileNotFoundError):
                sync_directory(folder)

    def pack(self, *, at_once: bool = False) -> None:
        """Move loose refs into one file when there are many of them, or at once."""
        if at_once:
            self._pack()
            return
        loose = 0
        for _folder, _folders, files in os.walk(self.git_dir / "refs"):
            loose += len(files)
            if loose > PACK_AFTER:
                with contextlib.suppress(
                    StoreError
                ):  # another process does it, or the next build will
                    self._pack()
                return

    def _pack(self) -> None:
        """Pack refs so that each is durable in the new file before its own goes: git alone does not
        see to that.
        """
        try:
            run_git(self.git_dir, ["pack-refs", "--all", "--no-prune"])
        except StoreError as error:
            lock_error = _HELD.search(str(error))
            if lock_error is None or not _clear_dead_lock(Path(lock_error[1] or lock_error[2])):
                raise
            run_git(self.git_dir, ["pack-refs", "--all", "--no-prune"])
        sync_directory(self.git_dir)
        run_git(self.git_dir, ["pack-refs", "--all"])


def _clear_dead_lock(lock: Path) -> bool:
    """Remove a lock file whose owner was killed: an update takes milliseconds; tell whether it is
    gone.
    """
    try:
        if time.time() - lock.stat().st_mtime < LOCK_IS_DEAD:
            return False
        lock.unlink()
    except FileNotFoundError:
        pass
    return True
