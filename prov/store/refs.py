"""Read refs, and update several refs in one transaction.

Module `prov/records/refs` defines prov's ref names.

Reads and writes start no process. One transaction (`ref_update`) updates all refs of an event,
compares each with its expected value, and is synced before `update` returns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from prov.errors import CHECK_STORE, StoreError
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase
from prov.store.packed_refs import PackedRefs
from prov.store.ref_update import ANY as ANY
from prov.store.ref_update import (
    BAD_NAME,
    PACKED_REFS,
    LockHeld,
    RefTransaction,
    clear_dead_lock,
    locked,
    remove_parents,
    replace_packed,
)
from prov.store.ref_update import RefUpdate as RefUpdate
from prov.store.view import read_configuration

HEAD_BRANCH = "builds"
HEAD = f"ref: refs/heads/{HEAD_BRANCH}\n".encode()
"""The content of a store's HEAD."""
PACK_AFTER = 500
PATIENCE = 60.0
"""Seconds to wait for a ref that another process has locked."""
LOCK_INTERVAL = 0.05
"""Seconds between two attempts to take a lock."""
REFS = "refs/"
_HASH = re.compile("[0-9a-f]{40}")
_LONGEST_FILE = 64
"""The bytes to read of a loose ref: it has an id and a line end."""
_LOGS = re.compile(rb"^\s*logallrefupdates\s*=\s*(\w+)", re.IGNORECASE | re.MULTILINE)


def hash_in(text: str) -> Oid | None:
    """Parse a component of a ref's name as a hash; return None if it is not one."""
    return bytes.fromhex(text) if _HASH.fullmatch(text) else None


class RefStore:
    """The refs of one store."""

    def __init__(self, git_dir: Path, objects: ObjectDatabase | None = None) -> None:
        self.git_dir = git_dir
        self._objects = objects or ObjectDatabase(git_dir)
        self._packed: PackedRefs | None = None

    def get(self, name: str) -> Oid | None:
        """Return the id of a ref, or None if the ref does not exist.

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
            self._packed = PackedRefs(self.git_dir / PACKED_REFS)
        return self._packed

    def list(self, prefix: str) -> dict[str, Oid]:
        """Return the refs with names that begin with a prefix (`refs/tags/zlib/`), sorted by name.

        Raises StoreError if packed-refs is damaged.
        """
        # Loose refs first: packed-refs then has each ref that git packs meanwhile.
        loose = dict(self._loose(prefix))
        refs = self._packed_refs().below(prefix)
        return dict(sorted((refs | loose).items())) if loose else refs

    def lines(self, prefix: str) -> set[bytes]:
        """Return the refs below a prefix as lines `ID NAME`, faster than `list` for many refs.

        Lines are not checked: the caller must parse those that it uses.
        """
        loose = dict(self._loose(prefix))
        packed = self._packed_refs()
        lines = set(packed.lines(prefix))
        for name, oid in loose.items():  # a ref's own file overrides its line
            hidden = packed.get(name)
            if hidden is not None and hidden != oid:
                lines.discard(_line(name, hidden))
            lines.add(_line(name, oid))
        return lines

    def _loose(self, prefix: str) -> Iterator[tuple[str, Oid]]:
        """Yield the refs with a prefix that have a file of their own, with their ids.

        Skips invalid files, as git does; `prov fsck` reports them.
        """
        parent = prefix[: prefix.rfind("/")]
        if BAD_NAME.search(parent):
            return
        pending = [f"{parent}/"]
        while pending:
            folder = pending.pop()
            try:
                entries = os.scandir(self.git_dir / folder)
            except (FileNotFoundError, NotADirectoryError):
                continue  # git deletes a folder with its last ref
            except OSError as error:
                if error.errno == errno.ENAMETOOLONG:
                    continue  # no ref can have this name
                raise
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
        for update in updates:
            if update.new is not None and not self._objects.exists(update.new):
                raise StoreError(
                    f"cannot set {update.name} in {self.git_dir}: object {update.new.hex()} is"
                    " missing"
                )
        change = RefTransaction(self.git_dir, updates, self.get, self._packed_refs, self._logs())
        self._locking(change.run)

    def _locking(self, change: Callable[[], None]) -> None:
        """Call a function that takes locks, again and again while other processes hold them."""
        patience = time.monotonic() + PATIENCE
        while True:
            try:
                change()
                return
            except LockHeld as held:
                if clear_dead_lock(held.lock):
                    continue
                if time.monotonic() > patience:
                    raise StoreError(
                        f"{held.lock} is held by another process",
                        hint="if no prov or git process uses the store, delete this file",
                    ) from held
            time.sleep(LOCK_INTERVAL)

    def _logs(self) -> str:
        """Return the setting core.logAllRefUpdates; git's default for a store is false."""
        values: list[bytes] = []
        with contextlib.suppress(OSError):
            values = _LOGS.findall(read_configuration(self.git_dir))
        return values[-1].decode().lower() if values else "false"

    def pack(self, *, at_once: bool = False) -> None:
        """Move loose refs into packed-refs if there are more than `PACK_AFTER`, or `at_once`."""
        if at_once:
            self._locking(self._pack)
            return
        loose = 0
        for _folder, _folders, files in os.walk(self.git_dir / "refs"):
            loose += len(files)
            if loose > PACK_AFTER:
                with contextlib.suppress(StoreError):  # another process or build will pack them
                    self._locking(self._pack)
                return

    def _pack(self) -> None:
        """Move loose refs into packed-refs: their files go after the new packed-refs is stored.

        Raises LockHeld.
        """
        packed = f"{self.git_dir}/{PACKED_REFS}"
        with locked(packed):
            loose = dict(self._loose(REFS))
            lines = {name: self._packed_lines(name, oid) for name, oid in loose.items()}
            packable = {name: line for name, line in lines.items() if line}
            replace_packed(self.git_dir, self._packed_refs().edited(packable))
        for name in packable:
            path = f"{self.git_dir}/{name}"
            # a ref that another process changes or deletes at the same time stays as it is
            with contextlib.suppress(LockHeld, FileNotFoundError), locked(path):
                if _id_in(_read_file(path) or b"") == loose[name]:
                    os.unlink(path)
            remove_parents(self.git_dir, name)

    def _packed_lines(self, name: str, oid: Oid) -> bytes:
        """Return the lines of packed-refs for a ref; empty if its object is missing."""
        target = oid
        try:
            while self._objects.header(target)[0] == "tag":
                target = bytes.fromhex(self._objects.read(target)[1][7:47].decode())
        except (StoreError, ValueError):
            return b""
        peeled = f"^{target.hex()}\n" if target != oid else ""
        return f"{oid.hex()} {name}\n{peeled}".encode("utf-8", "surrogateescape")


def _line(name: str, oid: Oid) -> bytes:
    return oid.hex().encode() + b" " + name.encode("utf-8", "surrogateescape")


def _read_file(path: str) -> bytes | None:
    """Return the start of a ref's file, or None if the file cannot be read."""
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
