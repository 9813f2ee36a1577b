"""A change of a sysroot on disk, known as unfinished from before the first write to after the last.

prov's own sysroots (`prov.sysroot.compose`) and those of BitBake's recipes
(`prov.bitbake.sysroots`) have the same files in the store's cache, and change them in the same
order:

1. `merge`: all packages as one tree, before anything is touched;
2. `begin`: the state file says `working`, what the sysroot is to hold and what was there;
3. the caller writes to the directory;
4. `finish`: how the trees were merged, then the state file says `ready`.

What differs is step 3. prov's sysroots hold nothing but packages: one that is not known as intact
is deleted and made again. BitBake's tasks write into theirs, and run while another task of the
recipe adds to them: so only what is not wanted any more is removed, and all else stays.
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
"""The files of a sysroot in a cache, by the ends of their names."""


@dataclass(frozen=True, slots=True)
class SysrootFiles:
    """The files in a cache that belong to one sysroot."""

    folder: Path
    digest: str
    """Of the sysroot's path."""

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
        """Return the lock of the sysroot."""
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
        """Return a change that merges as `Union` does with these options."""
        union = Union(writer, wins or {}, read_merges(files.merges), mtimes=mtimes)
        return Transaction(files, union)

    def merge(self, packages: Sequence[Owned], verb: str, hint: Callable[[Conflict], str]) -> Pair:
        """Return all packages as one tree.

        Raises SysrootConflict if two packages have different content at one path; `verb` says what
        packages do with files.
        """
        merged = self.union.merge(packages)
        if merged.conflicts:
            raise conflict_error(merged.conflicts, verb, hint)
        return merged.pair

    def begin(self, pair: Pair, before: Pair, *, scripts: bool = False) -> None:
        """Note that the directory is about to change; `scripts`, that scripts will run there."""
        state = SysrootState(ready=False, pair=pair, before=before, scripts=scripts)
        state.write(self.files.state)

    def finish(self, state: SysrootState) -> None:
        """Note that the directory holds what it should."""
        write_merges(self.files.merges, self.union.remembered())
        state.write(self.files.state)


def conflict_error(
    conflicts: Sequence[Conflict], verb: str, hint: Callable[[Conflict], str]
) -> SysrootConflict:
    """Return the error that names the first of some conflicts."""
    first = conflicts[0]
    others = len(conflicts) - 1
    more = f" (and {others} more)" if others else ""
    path = os.fsdecode(first.path)
    return SysrootConflict(
        f"{path}: {first.first} and {first.second} {verb} different content{more}",
        hint=hint(first),
    )
