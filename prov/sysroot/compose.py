"""Compose a sysroot on disk from the requested staging packages, without any other file.

The packages are first merged as trees. Then the difference between the present tree and the new one
is applied, so the cost is proportional to the change. The state file says `working` before the
first write and `ready` after the last one. So the next process detects an incomplete sysroot and
composes it again.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

from prov.errors import SysrootError
from prov.files import remove_tree
from prov.processes import without_collecting
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.sysroot.postinst import ScriptRunner, run_scripts, scripts
from prov.sysroot.state import SysrootState, boot_id, place_of, request_digest
from prov.sysroot.transaction import SysrootFiles, Transaction
from prov.worktree.attributes import EMPTY, FileNode, Pair, at_path, walk
from prov.worktree.checkout import checkout
from prov.worktree.folders import ScannedFile
from prov.worktree.merge import Conflict, Owned, edit
from prov.worktree.path_tokens import TokenPaths
from prov.worktree.placer import PrivatePlacer
from prov.worktree.pool import GUARDED, OPEN, Pool
from prov.worktree.verify import FolderState, Mismatch, differences, folder_states, seal_of


class Composed(NamedTuple):
    """A composed sysroot: its tree, the paths of all folders in it, and notes for the user."""

    pair: Pair
    folders: frozenset[bytes]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Contents:
    """The packages of a sysroot and the paths that they are composed for."""

    packages: Sequence[Owned]
    wins: Mapping[bytes, str] = field(default_factory=dict)
    places: TokenPaths | None = None
    run: ScriptRunner | None = None
    """Runs postinst scripts; None skips them."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables that the scripts' results depend on."""

    def digest(self) -> bytes:
        return request_digest(self.packages, self.wins, self.environment)


@dataclass(frozen=True, slots=True)
class _Moment:
    """The conditions other than content on which files on disk depend."""

    place: bytes
    generation: int
    boot: str


class _Intact(NamedTuple):
    """An unchanged sysroot."""

    state: SysrootState
    folders: dict[bytes, FolderState]
    """The states of its folders when it was verified."""


@dataclass(frozen=True, slots=True)
class Sysroots:
    """Composes sysroots; `states` is the folder for state files."""

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
        run: ScriptRunner | None = None,
        environment: Mapping[str, str] | None = None,
        ours: bool = True,
    ) -> Composed:
        """Compose a sysroot of these packages in a directory.

        Set `ours` to False for a directory that prov does not own: content that prov did not
        compose there is then an error. Raises SysrootConflict, before any change, if two packages
        have different content at one path and `wins` names neither of them. Raises SysrootError if
        a postinst script fails.
        """
        contents = Contents(packages, wins or {}, places, run, environment or {})
        with self._files(directory).locked(), without_collecting():
            return self._compose(writer, directory, contents, ours=ours)

    def adopt(self, files: Iterable[tuple[Path, Oid, ScannedFile]]) -> None:
        """Copy just-captured files of a WORKDIR into the pool, without reading the store.

        Each file comes with its blob and its stat from the capture; files changed since then are
        skipped.
        """
        for path, oid, state in files:
            with contextlib.suppress(OSError):  # checkout reads a missing file from the store
                self.pool.adopt(path, FileNode(state.mode, oid), state)

    def check(
        self, writer: ObjectWriter, directory: Path, *, places: TokenPaths | None = None
    ) -> list[Mismatch]:
        """Return the changes to a sysroot since it was composed.

        A changed sysroot is composed again before its next use. Changed files of the pool are
        restored from git.
        """
        files = self._files(directory)
        with files.locked():
            state = self._state(files, writer)
            if state is None or not state.ready or not directory.is_dir():
                return []
            changes = differences(writer, directory, state.pair)
            if changes:
                SysrootState(ready=False).write(files.state)
            pool = Pool(self.pool.folder, writer, places)
            if any(_is_shared(directory, change) for change in changes):
                pool.advance()  # even if the inode is no longer in the pool
            for change in changes:
                node = change.placed
                if node is not None and not node.is_directory and not pool.intact(node):
                    pool.repair(node)
            return changes

    def forget(self, directory: Path) -> None:
        """Delete the state of a sysroot whose directory was deleted."""
        self._files(directory).delete()

    # state

    def _files(self, directory: Path) -> SysrootFiles:
        return SysrootFiles.of(self.states, directory)

    def _state(self, files: SysrootFiles, writer: ObjectWriter) -> SysrootState | None:
        """Return the state of a sysroot, or None if it has no state.

        A sysroot is not ready if the store no longer has its trees.
        """
        state = SysrootState.read(files.state)
        if state is not None and state.ready and not state.is_stored(writer):
            return SysrootState(ready=False)
        return state

    def _intact(
        self, writer: ObjectWriter, directory: Path, state: SysrootState | None, moment: _Moment
    ) -> tuple[_Intact | None, str]:
        """Return an unchanged sysroot or None, and a note for the user.

        The note is empty unless the sysroot has changed since it was composed.
        """
        is_ready = state is not None and state.ready and state.place == moment.place
        if state is None or not is_ready or not directory.is_dir():
            return None, ""
        states = _folder_states(directory, (b"", *state.folders))
        seal = seal_of(states) if states is not None else None
        current = (moment.generation, moment.boot, seal)
        if states is not None and (state.generation, state.boot, state.seal) == current:
            return _Intact(state, states), ""
        # Verify every file if the pool had a changed file, if the machine was restarted, or if
        # folders have different inodes or ctimes, for example because the project was copied.
        changes = differences(writer, directory, state.pair)
        if changes:
            return None, (
                f"{directory} was changed after it was composed; composing it again: {changes[0]}"
            )
        if states is None or seal is None:  # deleted in the meantime
            return None, ""
        state = replace(state, generation=moment.generation, boot=moment.boot, seal=seal)
        state.write(self._files(directory).state)
        return _Intact(state, states), ""

    # composing

    def _compose(
        self, writer: ObjectWriter, directory: Path, contents: Contents, *, ours: bool
    ) -> Composed:
        # the state can name trees that the previous holder of the lock has just written
        writer.refresh()
        files = self._files(directory)
        state = self._state(files, writer)
        if not ours:
            self._refuse_strangers(writer, directory, state)
        elif directory.is_symlink():
            directory.unlink()  # prov does not own its target
        # before files are verified, so that the next process detects later changes
        moment = _Moment(
            place_of(contents.places, self.pool.folder), self.pool.generation(), boot_id()
        )
        request = contents.digest()
        intact, note = self._intact(writer, directory, state, moment)
        if intact is not None and intact.state.request == request:
            return Composed(intact.state.pair, intact.state.folders)

        transaction = Transaction.open(files, writer, wins=contents.wins)
        before = state.pair if state is not None else EMPTY
        merged, has_scripts = self._begin(writer, transaction, contents, before, ours=ours)
        if intact is None and directory.exists():
            remove_tree(directory)
        pair, private = merged, frozenset[bytes]()
        if has_scripts:
            pair, private = self._postinst(writer, directory, merged, contents)
            intact = None
        pool = Pool(self.pool.folder, writer, contents.places, private)
        states = dict(intact.folders) if intact is not None else {}
        now = intact.state.pair if intact is not None else EMPTY
        folders, changed = states.keys() - {b""}, {b""}
        checkout(writer, directory, pair, now=now, placer=pool, folders=folders, changed=changed)
        # a change by another process to the other folders stays visible in the seal
        states = {path: states[path] for path in folders & states.keys()}
        after = _folder_states(directory, changed)
        ready = SysrootState(
            ready=True,
            request=request,
            place=moment.place,
            pair=pair,
            generation=moment.generation,
            boot=moment.boot,
            private=private,
            folders=frozenset(folders),
            seal=seal_of({**states, **after}) if after is not None else b"",
        )
        transaction.finish(ready)
        notes = [f"{directory}/{os.fsdecode(path)}: {text}" for path, text in pool.notes]
        return Composed(pair, ready.folders, (*filter(None, [note]), *notes))

    @staticmethod
    def _refuse_strangers(
        writer: ObjectWriter, directory: Path, state: SysrootState | None
    ) -> None:
        """Raise SysrootError if a directory has content that prov did not compose, or changed."""
        if not directory.exists() or not any(directory.iterdir()):
            return
        hint = "move it away, or use another directory: prov can delete a sysroot at any time"
        if state is None or not state.is_stored(writer):
            raise SysrootError(f"{directory} is not empty and was not composed by prov", hint=hint)
        if state.scripts and not state.ready:
            return
        for change in differences(writer, directory, state.pair):
            is_new = change.what == "added" and at_path(writer, state.before, change.path) is None
            if is_new or (change.what == "changed" and state.ready):
                raise SysrootError(
                    f"{directory} has changed since it was composed: {change}", hint=hint
                )

    @staticmethod
    def _begin(
        writer: ObjectWriter,
        transaction: Transaction,
        contents: Contents,
        before: Pair,
        *,
        ours: bool,
    ) -> tuple[Pair, bool]:
        """Merge the packages and begin the change; return the tree and whether it has scripts."""
        merged = transaction.merge(contents.packages, "contain", _owner_hint)
        has_scripts = contents.run is not None and bool(scripts(writer, merged))
        if not ours:
            writer.finish()  # if killed later, the trees show which files are prov's
        transaction.begin(merged, before, scripts=has_scripts)
        return merged, has_scripts

    @staticmethod
    def _postinst(
        writer: ObjectWriter, directory: Path, merged: Pair, contents: Contents
    ) -> tuple[Pair, frozenset[bytes]]:
        """Run the scripts on private copies; return the resulting tree and the changed paths."""
        assert contents.run is not None
        if directory.exists():
            remove_tree(directory)
        checkout(
            writer,
            directory,
            merged,
            placer=PrivatePlacer(writer, contents.places, sealed=True, shares=True),
        )
        edits = run_scripts(writer, directory, merged, contents.packages, contents.run)
        remove_tree(directory)
        nodes = {path: node for path, node in edits.items() if node is not None}
        inside = {
            path
            for at, node in nodes.items()
            if node.is_directory
            for path, _ in walk(writer, node.pair, path=at + b"/")
        }
        return edit(writer, merged, edits), frozenset(nodes.keys() | inside)


def _owner_hint(conflict: Conflict) -> str:
    path = os.fsdecode(conflict.path)
    recipe = conflict.first.partition(":")[0]
    return (
        f"remove it from one of the outputs, or choose its owner: with"
        f' sysroot_owner = {{ "/{path}" = "{recipe}" }} in the recipe, or with --owner of'
        " `prov compose`"
    )


def _folder_states(directory: Path, folders: Iterable[bytes]) -> dict[bytes, FolderState] | None:
    """Return the state of each folder, or None if one is missing."""
    try:
        return folder_states(directory, folders)
    except OSError:
        return None


def _is_shared(directory: Path, difference: Mismatch) -> bool:
    """Return whether a changed file can have other hardlinks."""
    if difference.what != "changed":
        return False
    try:
        state = os.lstat(os.path.join(os.fsencode(directory), difference.path))
    except OSError:
        return True
    return stat.S_ISREG(state.st_mode) and state.st_nlink > 1


def sysroots_of(store: Store, sandboxed: bool) -> Sysroots:
    """Return the composer of sysroots in a store's cache.

    Sysroots of tasks without a sandbox have a separate pool.
    """
    pool = Pool(store.cache / (GUARDED if sandboxed else OPEN), store.objects)
    return Sysroots(pool, store.cache / "sysroots")
