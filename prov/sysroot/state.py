"""Read and write the state of a sysroot, a file in the store's cache.

The state is `working` from before the first write to the sysroot until after the last one, then
`ready`, with the sysroot's tree. So prov knows whether a sysroot is complete or incomplete. A
directory without a state file is not a sysroot of prov.
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
    """The content of a sysroot's state file."""

    ready: bool
    request: bytes = b""
    """The `request_digest` of its contents."""
    place: bytes = b""
    """The `place_of` its paths and pool."""
    pair: Pair = EMPTY
    generation: int = 0
    """The pool's generation when all files were last verified."""
    boot: str = ""
    """The machine's boot id: a crash can lose files written since the last boot."""
    private: frozenset[bytes] = frozenset()
    """The paths that postinst scripts created or changed."""
    folders: frozenset[bytes] = frozenset()
    """The paths of all folders."""
    seal: bytes = b""
    """The `folders_seal` of the folders."""
    scripts: bool = False
    """While not ready: True if scripts can have written any file."""
    before: Pair = EMPTY
    """While not ready: the previous tree."""

    def is_stored(self, writer: ObjectWriter) -> bool:
        """Return whether the store has all trees of the state."""
        return all(oid is None or writer.has(oid) for oid in (*self.pair, *self.before))

    def write(self, path: Path) -> None:
        """Replace the state file."""
        pairs = (tuple(self.pair), tuple(self.before))
        paths = (tuple(self.private), tuple(self.folders))
        plain = (
            self.request,
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
        """Return the state in a file; None if there is no file, not ready if it is unreadable."""
        row = read_cache(path)
        if row is None:
            return SysrootState(ready=False) if path.exists() else None
        form, ready, plain = row
        if form != FORMAT:
            return SysrootState(ready=False)
        request, place, (pair, before), generation, boot, (private, folders), seal, scripts = plain
        return SysrootState(
            ready=ready,
            request=request,
            place=place,
            pair=Pair(*pair),
            generation=generation,
            boot=boot,
            private=frozenset(private),
            folders=frozenset(folders),
            seal=seal,
            scripts=scripts,
            before=Pair(*before),
        )


def write_merges(path: Path, merges: Mapping[bytes, MergedFolder]) -> None:
    """Write the cache of a sysroot's merge, so that the next merge reads only changes."""
    plain = [
        (
            at,
            # marshal does not support subclasses of str, such as a task's key
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
    """Return the merges cached by `write_merges`, or an empty dict."""
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


def request_digest(
    packages: Sequence[Owned], wins: Mapping[bytes, str], environment: Mapping[str, str]
) -> bytes:
    """Return a digest of a sysroot's contents, to detect a repeated request without any tree."""
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
    """Return a digest of the paths and the pool that a sysroot's files depend on."""
    return hashlib.sha1(os.fsencode(pool) + b"\n" + (places.text() if places else b"")).digest()


def path_digest(path: Path) -> str:
    """Return the name in a cache for a path: 40 hex digits."""
    return hashlib.sha1(os.fsencode(path)).hexdigest()


def boot_id() -> str:
    """Return the machine's boot id, which differs after each boot; empty if it is unknown."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
