"""Change a sysroot on disk, marked as unfinished from before the first write to after the last.

prov's own sysroots (`prov.sysroot.compose`) and those of BitBake recipes (`prov.bitbake.sysroots`)
have the same files in the store's cache, and change them in the same order:

1. `merge` merges all packages as one tree, before any change on disk.
2. `begin` writes the state `working`, with the target tree and the previous one.
3. The caller writes to the directory.
4. `finish` caches the merge and writes the state `ready`.

They differ in step 3. prov's own sysroots contain only packages, so a sysroot that is not intact is
deleted and composed again. BitBake tasks write into their sysroots, and can run while another task
of the recipe adds to them. So only unneeded package files are removed, and all other files stay.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from prov.errors import SysrootConflict
from prov.files import locked
from prov.store.odb import ObjectWriter
from prov.sysroot.state import SysrootState, path_digest, read_merges, write_merges
from prov.worktree.attributes import Pair
from prov.worktree.merge import Conflict, Owned, Union

FILES = ("state", "merges", "lock")
"""Suffixes of a sysroot's files in the cache."""


@dataclass(frozen=True, slots=True)
class SysrootFiles:
    """The cache files of one sysroot."""

    folder: Path
    digest: str
    """The digest of the sysroot's path."""

    @staticmethod
    def of(folder: Path, directory: Path) -> SysrootFiles:
        return SysrootFiles(folder, path_digest(directory.absolute()))

    def path(self, kind: str) -> Path:
        return self.folder / f"{self.digest}.{kind}"

    @property
    def state(self) -> Path:
        return self.path("state")

    @property
    def merges(self) -> Path:
        return self.path("merges")

    def locked(self) -> AbstractContextManager[None]:
        """Return the sysroot's lock, as a context manager."""
        return locked(self.path("lock"))

    def delete(self) -> None:
        for kind in FILES:
            self.path(kind).unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class Transaction:
    """A change of one sysroot, under its lock."""

    files: SysrootFiles
    union: Union

    @staticmethod
    def open(
        files: SysrootFiles,
        writer: ObjectWriter,
        *,
        wins: Mapping[bytes, str] | None = None,
        mtimes: bool = False,
    ) -> Transaction:
        """Start a change of a sysroot; the options are those of `Union`."""
        union = Union(writer, wins or {}, read_merges(files.merges), mtimes=mtimes)
        return Transaction(files, union)

    def merge(self, packages: Sequence[Owned], verb: str, hint: Callable[[Conflict], str]) -> Pair:
        """Merge all packages as one tree.

        Raises SysrootConflict if two packages have different content at one path. Its message uses
        `verb`, such as "contain".
        """
        merged = self.union.merge(packages)
        if merged.conflicts:
            raise conflict_error(merged.conflicts, verb, hint)
        return merged.pair

    def begin(self, pair: Pair, before: Pair, *, scripts: bool = False) -> None:
        """Mark the directory as changing; set `scripts` if scripts will run in it."""
        state = SysrootState(ready=False, pair=pair, before=before, scripts=scripts)
        state.write(self.files.state)

    def finish(self, state: SysrootState) -> None:
        """Cache the merge and write the new state."""
        write_merges(self.files.merges, self.union.remembered())
        state.write(self.files.state)


def conflict_error(
    conflicts: Sequence[Conflict], verb: str, hint: Callable[[Conflict], str]
) -> SysrootConflict:
    """Return an error that reports the first conflict and counts the others."""
    first = conflicts[0]
    others = len(conflicts) - 1
    more = f" (and {others} more)" if others else ""
    path = os.fsdecode(first.path)
    return SysrootConflict(
        f"{path}: {first.first} and {first.second} {verb} different content{more}",
        hint=hint(first),
    )
