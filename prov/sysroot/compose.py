"""A sysroot on disk: exactly the staging packages that were asked for, and no other file.

The packages are merged as trees first; then the difference between the tree that is there and the one that is wanted
is applied, so that cost follows the change. A state file names the tree that is there; it goes before the first write
and comes back after the last one, so that a half-made sysroot is known as such and made anew.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prov.errors import SysrootConflict
from prov.files import locked, remove_tree, replace_file
from prov.store.odb import ObjectWriter
from prov.worktree.attributes import EMPTY, Pair
from prov.worktree.checkout import checkout
from prov.worktree.merge import Owned, union
from prov.worktree.pool import Pool


@dataclass(frozen=True, slots=True)
class Sysroots:
    """Composes sysroots; `states` is the folder of the state files."""

    pool: Pool
    states: Path

    def compose(self, writer: ObjectWriter, directory: Path, packages: Sequence[Owned]) -> Pair:
        """Make a directory the sysroot of these packages and return it as a tree.

        Raises SysrootConflict, before anything is touched, when two packages bring different content to one path.
        """
        wanted, conflicts = union(writer, packages)
        if conflicts:
            first = conflicts[0]
            more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
            raise SysrootConflict(
                f"{os.fsdecode(first.path)}: {first.first} and {first.second} bring different content{more}",
                hint="leave the file out of one of the two outputs",
            )
        with locked(self._state(directory, "lock")):
            self._apply(writer, directory, wanted)
        return wanted

    def _state(self, directory: Path, kind: str) -> Path:
        return self.states / f"{hashlib.sha1(os.fsencode(directory.absolute())).hexdigest()}.{kind}"

    def _apply(self, writer: ObjectWriter, directory: Path, wanted: Pair) -> None:
        if directory.is_symlink():
            directory.unlink()  # nothing is composed where somebody's link leads
        ready = self._state(directory, "ready")
        there = self._ready(writer, ready) if directory.is_dir() else None
        if there == wanted:
            return
        ready.unlink(missing_ok=True)
        if there is None and directory.exists():
            remove_tree(directory)
        checkout(writer, directory, wanted, now=there or EMPTY, placer=self.pool)
        replace_file(ready, _encode(wanted), durable=False)

    @staticmethod
    def _ready(writer: ObjectWriter, state: Path) -> Pair | None:
        try:
            tree, attributes = state.read_text().split()
        except (OSError, ValueError):
            return None
        pair = Pair(bytes.fromhex(tree), bytes.fromhex(attributes) if attributes != "-" else None)
        return pair if all(oid is None or writer.has(oid) for oid in pair) else None


def _encode(pair: Pair) -> bytes:
    return f"{pair.tree.hex()} {pair.attributes.hex() if pair.attributes else '-'}\n".encode()
