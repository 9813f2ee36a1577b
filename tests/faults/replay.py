"""Simulate the disk after a power cut: replay a journal of writing calls, and lose unsynced data.

Data and names are lost independently. A file's data is on disk after the file is synced. Before
that, the file is empty, or contains zeros or a part of its data. A created, moved or removed name
is on disk after its folder is synced. Before that, the change may or may not be on disk.
"""

from __future__ import annotations

import os
import random
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.shim import KINDS

VARIANTS = ("lost", "empty", "zeroes", "half", "mixed")
"""lost: all unsynced data and names are lost. empty, zeroes, half: names are on disk, and this is
the content of their files. mixed: each folder has a state since its sync, and each file is in any
of these states.
"""


@dataclass(slots=True)
class File:
    """A file or a symlink."""

    data: bytearray = field(default_factory=bytearray)
    synced: bytes | None = None
    """The content at its last sync."""
    mode: int = 0o644
    link: bytes | None = None
    origin: Path | None = None
    """Its path in the initial state, until it is written to."""


@dataclass(slots=True)
class Folder:
    """A folder: its names now, and after each change since its last sync, oldest first."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    history: list[dict[str, File | Folder]] = field(default_factory=lambda: [{}])
    mode: int = 0o755

    def changed(self) -> None:
        self.history.append(dict(self.names))

    def sync(self) -> None:
        self.history = [dict(self.names)]


@dataclass(frozen=True, slots=True)
class Deed:
    """One line of the journal."""

    kind: str
    path: str
    other: str
    number: int
    data: bytes

    def __str__(self) -> str:
        return f"{self.kind} {self.path}{' -> ' if self.other else ''}{self.other}"


def read_journal(path: Path) -> list[Deed]:
    """Return the calls of a command, in order."""
    found, data, at = [], path.read_bytes(), 0
    while at < len(data):
        end = data.index(b"\n", at)
        kind, name, other, number, size = data[at:end].split(b"\t")
        at = end + 1 + int(size)
        found.append(
            Deed(
                KINDS[int(kind)],
                os.fsdecode(name),
                os.fsdecode(other),
                int(number),
                data[end + 1 : at],
            )
        )
    return found


class Disk:
    """A folder in its initial state, on which a journal is replayed."""

    def __init__(self, base: Path, root: Path) -> None:
        """Start from the initial state in `base`, which the command saw at the path `root`."""
        self._root = str(root)
        self.said = ""
        """The command's output so far."""
        known: dict[tuple[int, int], File] = {}
        self._top = _read(base, known)

    def apply(self, deed: Deed) -> None:
        """Apply a call. A call that failed also fails here and changes nothing."""
        if not (deed.path + "/").startswith(self._root + "/"):
            if deed.kind == "write":
                self.said += deed.data.decode(errors="replace")
            return
        action = getattr(self, f"_{deed.kind}", None)
        if action is not None:
            action(deed)

    # calls

    def _place(self, path: str) -> tuple[Folder, str] | None:
        parts = path.removeprefix(self._root).strip("/").split("/")
        folder: File | Folder | None = self._top
        for part in parts[:-1]:
            folder = folder.names.get(part) if isinstance(folder, Folder) else None
        return (folder, parts[-1]) if isinstance(folder, Folder) else None

    def _at(self, path: str) -> File | Folder | None:
        if path == self._root:
            return self._top
        place = self._place(path)
        return place[0].names.get(place[1]) if place else None

    def _put(self, path: str, node: File | Folder) -> None:
        place = self._place(path)
        if place and place[1] not in place[0].names:
            place[0].names[place[1]] = node
            place[0].changed()

    def _drop(self, path: str, kind: Callable[[File | Folder], bool]) -> None:
        place = self._place(path)
        if place and place[1] in place[0].names and kind(place[0].names[place[1]]):
            del place[0].names[place[1]]
            place[0].changed()

    def _open(self, deed: Deed) -> None:
        node = self._at(deed.path)
        if node is None and deed.number & os.O_CREAT:
            self._put(deed.path, File())
        elif isinstance(node, File) and deed.number & os.O_TRUNC and not deed.number & os.O_EXCL:
            node.data, node.origin = bytearray(), None

    def _write(self, deed: Deed) -> None:
        node = self._at(deed.path)
        if isinstance(node, File):
            at = len(node.data) if deed.number < 0 else deed.number
            node.data.extend(bytes(max(0, at - len(node.data))))
            node.data[at : at + len(deed.data)] = deed.data
            node.origin = None

    def _truncate(self, deed: Deed) -> None:
        node = self._at(deed.path)
        if isinstance(node, File) and deed.number >= 0:
            del node.data[deed.number :]
            node.origin = None

    def _rename(self, deed: Deed) -> None:
        source, target = self._place(deed.path), self._place(deed.other)
        if not source or not target or source[1] not in source[0].names:
            return
        node, there = source[0].names[source[1]], target[0].names.get(target[1])
        if isinstance(there, Folder) and there.names:
            return
        del source[0].names[source[1]]
        target[0].names[target[1]] = node
        for folder in {id(each): each for each in (source[0], target[0])}.values():
            folder.changed()

    def _link(self, deed: Deed) -> None:
        node = self._at(deed.path)
        if isinstance(node, File):
            self._put(deed.other, node)

    def _symlink(self, deed: Deed) -> None:
        self._put(deed.path, File(link=deed.data))

    def _mkdir(self, deed: Deed) -> None:
        self._put(deed.path, Folder())

    def _unlink(self, deed: Deed) -> None:
        self._drop(deed.path, lambda node: isinstance(node, File))

    def _rmdir(self, deed: Deed) -> None:
        self._drop(deed.path, lambda node: isinstance(node, Folder) and not node.names)

    def _mode(self, deed: Deed) -> None:
        node = self._at(deed.path)
        if node is not None:
            node.mode = deed.number & 0o7777

    def _sync(self, deed: Deed) -> None:
        node = self._at(deed.path)
        if isinstance(node, Folder):
            node.sync()
        elif node is not None:
            node.synced = bytes(node.data)

    # the state after a cut

    def write(self, target: Path, variant: str, seed: int = 0) -> None:
        """Write the state after a cut at this point to a folder."""
        chance, made = random.Random(seed), dict[int, Path]()
        _write_folder(self._top, target, variant, chance, made)

    def now(self) -> Iterator[tuple[str, bytes]]:
        """Yield the path and content of every file as the command saw it, to test the replay."""
        pending: list[tuple[str, File | Folder]] = [("", self._top)]
        while pending:
            path, node = pending.pop()
            if isinstance(node, Folder):
                pending += [(f"{path}/{name}", each) for name, each in node.names.items()]
            else:
                yield path, bytes(node.data) if node.link is None else node.link


def _read(path: Path, known: dict[tuple[int, int], File]) -> Folder:
    folder = Folder(mode=stat.S_IMODE(path.stat().st_mode))
    for entry in os.scandir(path):
        state = entry.stat(follow_symlinks=False)
        at = path / entry.name
        if entry.is_dir(follow_symlinks=False):
            folder.names[entry.name] = _read(at, known)
        elif (state.st_dev, state.st_ino) in known:
            folder.names[entry.name] = known[state.st_dev, state.st_ino]
        elif entry.is_symlink():
            folder.names[entry.name] = File(link=os.fsencode(os.readlink(at)))
        else:
            data = at.read_bytes()
            node = File(bytearray(data), data, stat.S_IMODE(state.st_mode), None, at)
            known[state.st_dev, state.st_ino] = folder.names[entry.name] = node
    folder.sync()
    return folder


def _left(node: File, variant: str) -> bytes:
    """Return a file's data after a cut."""
    data, synced = bytes(node.data), node.synced
    if data == synced:
        return data
    kept = synced if synced is not None else b""
    if variant == "zeroes":
        return kept + bytes(max(0, len(data) - len(kept)))
    if variant == "half":
        return kept if synced is not None else data[: len(data) // 2]
    return kept


def _write_folder(
    folder: Folder, target: Path, variant: str, chance: random.Random, made: dict[int, Path]
) -> None:
    target.mkdir()
    names = folder.names
    if variant == "lost":
        names = folder.history[0]
    elif variant == "mixed":
        names = chance.choice(folder.history)
    for name, node in sorted(names.items()):
        at = target / name
        if isinstance(node, Folder):
            _write_folder(node, at, variant, chance, made)
        elif node.link is not None:
            os.symlink(node.link, os.fsencode(at))
        elif id(node) in made:
            os.link(made[id(node)], at)
        else:
            made[id(node)] = at
            if node.origin is not None:
                shutil.copy2(node.origin, at)
            else:
                at.write_bytes(
                    _left(node, chance.choice(VARIANTS[1:4]) if variant == "mixed" else variant)
                )
            at.chmod(node.mode)
    target.chmod(folder.mode)
