"""What is known of a sysroot on disk: a file beside the store's other caches, replaced as a whole.

It says `working` from before the first write until after the last one, and `ready` then, with the
tree that is there. So a sysroot is known to be whole, to be half made, or (no file) to be nobody's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prov.files import read_cache, write_cache
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import EMPTY, FileNode, Pair
from prov.worktree.merge import MergedFolder, Owned
from prov.worktree.path_tokens import TokenPaths

FORMAT = 1


@dataclass(frozen=True, slots=True)
class SysrootState:
    """A sysroot as its state file tells it."""

    ready: bool
    wish: bytes = b""
    """What it was composed of; see `wish_of`."""
    place: bytes = b""
    """For which paths, and from which pool."""
    pair: Pair = EMPTY
    generation: int = 0
    """The pool's when all files were last known to be good."""
    boot: str = ""
    """Of the machine: after a crash, nobody knows what of the last one reached the disk."""
    private: frozenset[bytes] = frozenset()
    """Paths that postinst scripts made or changed."""
    folders: frozenset[bytes] = frozenset()
    """The paths of all folders in it."""
    seal: bytes = b""
    """Of the folders; see `folders_seal`."""
    scripts: bool = False
    """While it is worked on: scripts may have written anything."""
    before: Pair = EMPTY
    """While it is worked on: what was there."""

    def is_stored(self, writer: ObjectWriter) -> bool:
        """Return whether all trees that the state names are in the store."""
        return all(oid is None or writer.has(oid) for oid in (*self.pair, *self.before))

    def write(self, path: Path) -> None:
        """Replace the state file."""
        pairs = (tuple(self.pair), tuple(self.before))
        paths = (tuple(self.private), tuple(self.folders))
        plain = (
            self.wish,
            self.place,
            pairs,
            self.generation,
            self.boot,
            paths,
            self.seal,
            self.scripts,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        write_cache(path, (FORMAT, self.ready, plain))

    @staticmethod
    def read(path: Path) -> SysrootState | None:
        """Return the state in a file, one that is not ready if it can't be read, None where there
        is no file.
        """
        row = read_cache(path)
        if row is None:
            return SysrootState(ready=False) if path.exists() else None
        form, ready, plain = row
        if form != FORMAT:
            return SysrootState(ready=False)
        wish, place, (pair, before), generation, boot, (private, folders), seal, scripts = plain
        paths = frozenset(private), frozenset(folders)
        return SysrootState(
            ready, wish, place, Pair(*pair), generation, boot, *paths, seal, scripts, Pair(*before)
        )


def write_merges(path: Path, merges: Mapping[bytes, MergedFolder]) -> None:
    """Keep how a sysroot was merged, so that the next time only what changed is read."""
    plain = [
        (
            at,
            # marshal takes no subclass of str, such as a task's key
            [(tuple(pair), str(owner)) for pair, owner in folder.parts.items()],
            tuple(folder.pair),
            [
                (name, [(tuple(pair), _plain(node)) for pair, node in nodes.items()])
                for name, nodes in folder.shared.items()
            ],
        )
        for at, folder in merges.items()
    ]
    write_cache(path, (FORMAT, plain))


def read_merges(path: Path) -> dict[bytes, MergedFolder]:
    """Return what `write_merges` kept, or nothing."""
    form, plain = read_cache(path) or (None, ())
    if form != FORMAT:
        return {}
    return {
        at: MergedFolder(
            {Pair(*pair): owner for pair, owner in parts},
            Pair(*merged),
            {name: {Pair(*pair): _node(node) for pair, node in nodes} for name, nodes in shared},
        )
        for at, parts, merged, shared in plain
    }


def _plain(node: FileNode) -> tuple[object, ...]:
    return (*node[:2], tuple(node.pair), *node[3:])


def _node(plain: tuple[Any, ...]) -> FileNode:
    return FileNode._make((*plain[:2], Pair(*plain[2]), *plain[3:]))


def wish_of(
    packages: Sequence[Owned], wins: Mapping[bytes, str], environment: Mapping[str, str]
) -> bytes:
    """Return a digest of all that a sysroot is composed of: the same again needs no look at any
    tree.
    """
    lines = [
        f"{owner}\0{pair.tree.hex()}\0{(pair.attributes or b'').hex()}" for owner, pair in packages
    ]
    lines = [
        *sorted(lines),
        *(f"{os.fsdecode(path)}\0{owner}" for path, owner in sorted(wins.items())),
    ]
    lines += [f"{name}={value}" for name, value in sorted(environment.items())]
    return hashlib.sha1("\n".join(lines).encode("utf-8", "surrogateescape")).digest()


def place_of(places: TokenPaths | None, pool: Path) -> bytes:
    """Return a digest of what files hold, or are linked to, beyond their content."""
    return hashlib.sha1(os.fsencode(pool) + b"\n" + (places.text() if places else b"")).digest()


def path_digest(path: Path) -> str:
    """Return a path as the name of a file in a cache: 40 hex digits."""
    return hashlib.sha1(os.fsencode(path)).hexdigest()


def boot_id() -> str:
    """Return a text that is another one after each start of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
