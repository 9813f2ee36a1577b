"""A sysroot on disk: exactly the staging packages that were asked for, and no other file.

The packages are merged as trees first; then the difference between the tree that is there and the
one that is wanted is applied, so that cost follows the change. The state file says `working` before
the first write and `ready` after the last, so that a half-made sysroot is known as such and made
anew by whoever comes next.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from prov.errors import SysrootConflict, SysrootError
from prov.files import locked, remove_tree
from prov.processes import without_collecting
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.sysroot.postinst import Run, run_scripts, scripts
from prov.sysroot.state import State, boot_id, place_of, read_merges, wish_of, write_merges
from prov.worktree.attributes import EMPTY, FileNode, Pair, at_path, walk
from prov.worktree.checkout import checkout
from prov.worktree.merge import Owned, Union, edit
from prov.worktree.path_tokens import TokenPaths
from prov.worktree.placer import PrivatePlacer
from prov.worktree.pool import GUARDED, OPEN, Pool
from prov.worktree.scan import ScannedFile
from prov.worktree.verify import Mismatch, differences, folders_seal


class Composed(NamedTuple):
    """A sysroot that is ready: its tree, and what was found on the way that somebody should
    know.
    """

    pair: Pair
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a sysroot is to be composed of, and for which place."""

    packages: Sequence[Owned]
    wins: Mapping[bytes, str] = field(default_factory=dict)
    places: TokenPaths | None = None
    run: Run | None = None
    """How postinst scripts are run; None: they are not."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """What takes part in what the scripts do."""

    def digest(self) -> bytes:
        return wish_of(self.packages, self.wins, self.environment)


@dataclass(frozen=True, slots=True)
class Sysroots:
    """Composes sysroots; `states` is the folder of the state files."""

    pool: Pool
    states: Path

    def compose(
        self,
        writer: ObjectWriter,
        directory: Path,
        packages: Sequence[Owned],
        *,
        wins: Mapping[bytes, str] | None = None,
        places: TokenPaths | None = None,
        run: Run | None = None,
        environment: Mapping[str, str] | None = None,
        ours: bool = True,
    ) -> Composed:
        """Make a directory the sysroot of these packages.

        Raises SysrootConflict, before anything is touched, when two packages bring different
        content to one path and `wins` names neither; SysrootError when a postinst script fails.
        With `ours` false, a directory with something in it that was never composed is refused too.
        """
        wanted = Wanted(packages, wins or {}, places, run, environment or {})
        with self._locked(directory), without_collecting():
            return self._compose(writer, directory, wanted, ours=ours)

    def adopt(self, files: Iterable[tuple[Path, Oid, ScannedFile]]) -> None:
        """Take files of a WORKDIR that were captured just now into the pool: no content is read
        again.

        Each comes with its blob and the stat that goes with that; one that has changed since is
        left out.
        """
        for path, oid, seen in files:
            with contextlib.suppress(
                OSError
            ):  # what is not in the pool comes out of the store when it is wanted
                self.pool.adopt(path, FileNode(seen.mode, oid), seen)

    def check(
        self, writer: ObjectWriter, directory: Path, *, places: TokenPaths | None = None
    ) -> list[Mismatch]:
        """Return what was done to a sysroot since it was composed; then it is composed again before
        its next use, and files of the pool that were written to are made again.
        """
        with self._locked(directory):
            state = self._state(writer, directory)
            if state is None or not state.ready or not directory.is_dir():
                return []
            found = differences(writer, directory, state.pair)
            if found:
                State(ready=False).write(self._path(directory))
            pool = Pool(self.pool.folder, writer, places)
            if any(_is_shared(directory, each) for each in found):
                pool.advance()  # whether the pool has the inode still, or had it once
            for each in found:
                if (
                    each.wanted is not None
                    and not each.wanted.is_directory
                    and not pool.intact(each.wanted)
                ):
                    pool.repair(each.wanted)
            return found

    def forget(self, directory: Path) -> None:
        """Drop what is known of a sysroot whose directory is gone for good."""
        for kind in ("state", "merges", "lock"):
            self._path(directory, kind).unlink(missing_ok=True)

    # state

    def _path(self, directory: Path, kind: str = "state") -> Path:
        return self.states / f"{hashlib.sha1(os.fsencode(directory.absolute())).hexdigest()}.{kind}"

    def _locked(self, directory: Path) -> contextlib.AbstractContextManager[None]:
        return locked(self._path(directory, "lock"))

    def _state(self, writer: ObjectWriter, directory: Path) -> State | None:
        """Return what is known of a sysroot; one whose trees are not in the store any more is not
        ready.
        """
        state = State.read(self._path(directory))
        if (
            state is not None
            and state.ready
            and not all(oid is None or writer.has(oid) for oid in state.pair)
        ):
            return State(ready=False)
        return state

    # composing

    def _compose(
        self, writer: ObjectWriter, directory: Path, wanted: Wanted, *, ours: bool
    ) -> Composed:
        writer.refresh()  # who had the lock before may have written the trees that the state names
        state = self._state(writer, directory)
        if directory.is_symlink() and ours:
            directory.unlink()  # nothing is composed where somebody's link leads
        if not ours:
            self._refuse_strangers(writer, directory, state)
        place = place_of(wanted.places, self.pool.folder)
        there = state is not None and state.ready and state.place == place and directory.is_dir()
        generation, boot, wish = self.pool.generation(), boot_id(), wanted.digest()
        notes = []
        if there and state is not None:
            seal = folders_seal(directory, state.folders)
            known = (state.generation, state.boot, state.seal)
            if known != (generation, boot, seal):
                # A file of the pool was found changed since, the machine went down, or folders have
                # other inodes or ctimes, as when the project was copied: every file is looked at.
                changed = differences(writer, directory, state.pair)
                there = not changed
                if changed:
                    notes.append(
                        f"{directory} was changed after it was composed, and is composed again:"
                        f" {changed[0]}"
                    )
                else:
                    state = replace(state, generation=generation, boot=boot, seal=seal)
                    state.write(self._path(directory))
        if there and state is not None and state.wish == wish:
            return Composed(state.pair)
        union = Union(writer, wanted.wins, read_merges(self._path(directory, "merges")))
        merged = self._merged(union, wanted.packages)
        before = state.pair if state is not None else EMPTY
        scripted = wanted.run is not None and bool(scripts(writer, merged))
        if not ours:
            writer.finish()  # who comes after a kill must be able to tell what is ours
        State(ready=False, pair=merged, before=before, scripts=scripted).write(
            self._path(directory)
        )
        now = state.pair if there and state is not None else None
        if now is None and directory.exists():
            remove_tree(directory)
        pair, private = merged, frozenset[bytes]()
        if scripted:
            pair, private = self._postinst(writer, directory, merged, wanted)
            now = None
        pool = Pool(self.pool.folder, writer, wanted.places, private)
        folders = set(state.folders) if now is not None and state is not None else set()
        checkout(writer, directory, pair, now=now or EMPTY, placer=pool, folders=folders)
        write_merges(self._path(directory, "merges"), union.remembered())
        seal = folders_seal(directory, folders)
        state = State(True, wish, place, pair, generation, boot, private, frozenset(folders), seal)
        state.write(self._path(directory))
        notes += [f"{directory}/{os.fsdecode(path)}: {text}" for path, text in pool.notes]
        return Composed(pair, tuple(notes))

    @staticmethod
    def _refuse_strangers(writer: ObjectWriter, directory: Path, state: State | None) -> None:
        """Raise SysrootError when there is something in a directory that nobody composed, or that
        was written to.
        """
        if not directory.exists() or not any(directory.iterdir()):
            return
        hint = "move it away, or name another folder: what is composed may be removed at any time"
        if state is None or not all(
            oid is None or writer.has(oid) for oid in (*state.pair, *state.before)
        ):
            raise SysrootError(f"{directory} is not empty, and was not composed here", hint=hint)
        if state.scripts and not state.ready:
            return
        for each in differences(writer, directory, state.pair):
            stranger = each.what == "added" and at_path(writer, state.before, each.path) is None
            if stranger or (each.what == "changed" and state.ready):
                raise SysrootError(f"{directory}/{each} since it was composed", hint=hint)

    @staticmethod
    def _merged(union: Union, packages: Sequence[Owned]) -> Pair:
        merged = union.merge(packages)
        if merged.conflicts:
            path, first, second = merged.conflicts[0]
            more = f" (and {len(merged.conflicts) - 1} more)" if len(merged.conflicts) > 1 else ""
            raise SysrootConflict(
                f"{os.fsdecode(path)}: {first} and {second} bring different content{more}",
                hint=(
                    "leave it out of one of the two outputs, or say whose is taken: in the recipe"
                    " by sysroot_owner = "
                    f'{{ "/{os.fsdecode(path)}" = "{first.partition(":")[0]}" }}, for `prov'
                    " compose` by --owner"
                ),
            )
        return merged.pair

    @staticmethod
    def _postinst(
        writer: ObjectWriter, directory: Path, merged: Pair, wanted: Wanted
    ) -> tuple[Pair, frozenset[bytes]]:
        """Run the scripts in private copies; return the tree with what they made, and the paths of
        that.
        """
        assert wanted.run is not None
        if directory.exists():
            remove_tree(directory)
        checkout(
            writer,
            directory,
            merged,
            placer=PrivatePlacer(writer, wanted.places, sealed=True, shares=True),
        )
        edits = run_scripts(writer, directory, merged, wanted.packages, wanted.run)
        remove_tree(directory)
        made = {path: node for path, node in edits.items() if node is not None}
        inside = {
            path
            for at, node in made.items()
            if node.is_directory
            for path, _ in walk(writer, node.pair, path=at + b"/")
        }
        return edit(writer, merged, edits), frozenset(made.keys() | inside)


def _is_shared(directory: Path, difference: Mismatch) -> bool:
    """Tell whether a file that was written to is one that others may have too."""
    if difference.what != "changed":
        return False
    try:
        state = os.lstat(os.path.join(os.fsencode(directory), difference.path))
    except OSError:
        return True
    return stat.S_ISREG(state.st_mode) and state.st_nlink > 1


def sysroots_of(store: Store, sandboxed: bool) -> Sysroots:
    """Return what composes sysroots in a store's cache; those that no sandbox guards have a pool of
    their own.
    """
    pool = Pool(store.cache / (GUARDED if sandboxed else OPEN), store.objects)
    return Sysroots(pool, store.cache / "sysroots")
