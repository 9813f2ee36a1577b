"""Compose a recipe's sysroots from the files that other recipes staged: merged trees of hardlinks.

The files that a recipe staged in sysroots-components are captured once and hardlinked into the
pool. No file is copied, and mtimes are the same as without prov, which make depends on. The steps
are those of `prov.sysroot.transaction`, with one difference: tasks also write into these sysroots,
and run while another task of the recipe adds files. Therefore only files that are no longer needed
are removed, and files of other origin stay.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from prov.bitbake.messages import StagedPackage, SysrootBody
from prov.files import locked, read_cache, remove_tree, write_cache
from prov.processes import without_collecting
from prov.store.objects import Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.sysroot.state import SysrootState, path_digest
from prov.sysroot.transaction import SysrootFiles, Transaction
from prov.worktree.attributes import (
    DIRECTORY_MODE,
    EMPTY,
    FileNode,
    Listing,
    Pair,
    at_path,
    map_directories,
    walk,
)
from prov.worktree.checkout import checkout
from prov.worktree.exclude import Exclude
from prov.worktree.merge import Conflict, Edits, Owned, edit
from prov.worktree.placer import ObjectReader, PrivatePlacer
from prov.worktree.pool import STAGED, Pool
from prov.worktree.snapshot import capture, remember
from prov.worktree.verify import differences

FORMAT = 2
FIXMES = "fixmepath"
"""File among the staged files that lists those with path tokens.

The command that created the list is next to it, in `fixmepath.cmd`.
"""


class StagedFolder(NamedTuple):
    """The folder in which a recipe staged files for other recipes."""

    recipe: str
    folder: Path
    manifest: Path
    """File with one path per line; the path of a folder ends with a slash."""

    @staticmethod
    def of(package: StagedPackage) -> StagedFolder:
        return StagedFolder(package.recipe, Path(package.folder), Path(package.manifest))


class Package(NamedTuple):
    """The staged files of a recipe, as a tree with mtimes, and the paths of files with tokens."""

    pair: Pair
    fixmes: frozenset[bytes]


def compose(store: Store, sysroots: Sequence[SysrootBody]) -> None:
    """Compose sysroots from the staged files of recipes. The caller holds the sysroots' lock.

    Raises SysrootConflict, before anything is changed, if two recipes stage different content at
    one path.
    """
    with store.objects.writer() as writer, without_collecting():
        plans = [_plan(store, writer, contents) for contents in sysroots]
        trees = [plan.merged() for plan in plans]
        writer.finish()  # trees must be in the store before a state refers to them
        for plan, pair in zip(plans, trees, strict=True):
            plan.apply(pair)


def _plan(store: Store, writer: ObjectWriter, contents: SysrootBody) -> _Sysroot:
    directory = Path(contents["directory"])
    packages = {
        package.recipe: _package(store, writer, StagedFolder.of(package), directory.name)
        for package in contents["packages"]
    }
    words = {word.encode(): os.fsencode(path) for word, path in contents["fixmes"]}
    lists = [Path(path) for path in contents["lists"]]
    return _Sysroot(store, writer, directory, packages, words, lists)


def composed(store: Store, writer: ObjectWriter, workdir: Path) -> dict[str, Pair]:
    """Return the trees of the two sysroots in a WORKDIR, by `native` and `target`.

    Sysroots that prov did not compose are left out.
    """
    trees = {}
    for name, directory in (("native", "recipe-sysroot-native"), ("target", "recipe-sysroot")):
        state = _state(_files(store, workdir / directory), writer)
        if state is not None and state.ready and (workdir / directory).is_dir():
            trees[name] = state.pair
    return trees


@dataclass(slots=True)
class _Sysroot:
    """One of a recipe's sysroots."""

    store: Store
    writer: ObjectWriter
    directory: Path
    packages: Mapping[str, Package]
    words: Mapping[bytes, bytes]
    """Token -> the path that replaces it in this sysroot."""
    lists: Sequence[Path]
    """Manifests of files that prov or staging.bbclass placed here before.

    Paths are relative to the parent folder of the sysroot.
    """
    _transaction: Transaction = field(init=False)

    def merged(self) -> Pair:
        """Return the merged tree of all packages. Raises SysrootConflict."""
        files = _files(self.store, self.directory)
        self._transaction = Transaction.open(files, self.writer, mtimes=True)
        packages = [Owned(name, package.pair) for name, package in self.packages.items()]
        return self._transaction.merge(packages, "stage", _owner_hint)

    def apply(self, pair: Pair) -> None:
        """Update the directory to contain a tree, and keep files of other origin."""
        self.directory.mkdir(parents=True, exist_ok=True)
        state = _state(self._transaction.files, self.writer)
        before = EMPTY
        if state is None:
            self._remove_listed(pair)
        elif state.ready:
            before = state.pair
        else:
            before = state.before
            self._remove_unfinished(state)
        self._transaction.begin(pair, before)
        now, placed = self._reconcile(before, pair)
        objects = self.store.objects
        objects.refresh()
        checkout(self.writer, self.directory, placed, now=now, placer=self._placer())
        self.writer.finish()
        self._transaction.finish(SysrootState(ready=True, pair=placed))

    def _placer(self) -> _Placer:
        pool = _pool(self.store, self.directory.name)
        fixmes = frozenset[bytes]().union(*(package.fixmes for package in self.packages.values()))
        return _Placer(pool, fixmes, PrivatePlacer(_Fixed(self.store.objects, self.words)))

    def _remove_unfinished(self, state: SysrootState) -> None:
        """Remove files that a killed process had placed, except files that were there before."""
        for path, node in walk(self.writer, state.pair):
            # compare whole nodes: files with equal mtimes may differ in content
            if not node.is_directory and at_path(self.writer, state.before, path) != node:
                self._remove(path)

    def _remove_listed(self, target: Pair) -> None:
        """Without a state, remove listed files that the target tree does not contain."""
        for manifest in self.lists:
            for line in manifest.read_bytes().splitlines():
                top, _, path = line.partition(b"/")
                ours = top == os.fsencode(self.directory.name) and not path.endswith(b"/")
                if (
                    ours
                    and b".." not in path.split(b"/")
                    and at_path(self.writer, target, path) is None
                ):
                    self._remove(path)

    def _reconcile(self, before: Pair, target: Pair) -> tuple[Pair, Pair]:
        """Return the part of `before` that is still on disk, and `target` with additional folders.

        The additional folders contain files of other origin. Such files stay unless the target
        needs their path. Changed files are removed, and then placed again.
        """
        edits: dict[bytes, FileNode | None] = {}
        folders: dict[bytes, FileNode | None] = {}
        for each in differences(self.writer, self.directory, before):
            if each.what == "deleted":
                edits[each.path] = None
            elif each.what == "added":
                for path, is_target in self._strangers(each.path, target):
                    if is_target:
                        edits[path] = FileNode(stat.S_IFDIR | DIRECTORY_MODE)
                    else:
                        above = path.rpartition(b"/")[0]
                        if above and at_path(self.writer, target, above) is None:
                            folders[above] = FileNode(stat.S_IFDIR | DIRECTORY_MODE)
            elif (
                each.placed is None
                or not each.placed.is_directory
                or each.detail == "has a different type"
            ):
                self._remove(each.path)
                edits[each.path] = None
        return self._edited(before, edits), self._edited(target, folders)

    def _edited(self, pair: Pair, edits: Edits) -> Pair:
        return edit(self.writer, pair, edits, mtimes=True) if edits else pair

    def _strangers(self, path: bytes, target: Pair) -> Iterator[tuple[bytes, bool]]:
        """Yield (path, False) for a path that stays, (path, True) for a folder that the target has.

        Other entries at paths that the target needs are removed.
        """
        node = at_path(self.writer, target, path)
        full = os.path.join(os.fsencode(self.directory), path)
        if node is None:
            if any(at is not None and not at.is_directory for at in self._above(path, target)):
                self._remove(path)  # the target has a file in the place of its folder
            else:
                yield path, False
        elif node.is_directory and os.path.isdir(full) and not os.path.islink(full):
            yield path, True
            for name in _names(full):
                yield from self._strangers(path + b"/" + name, target)
        else:
            self._remove(path)

    def _above(self, path: bytes, target: Pair) -> Iterator[FileNode | None]:
        while b"/" in path:
            path = path.rpartition(b"/")[0]
            yield at_path(self.writer, target, path)

    def _remove(self, path: bytes) -> None:
        full = self.directory / os.fsdecode(path)
        folders = full.parents[: path.count(b"/")]
        # a task may have replaced a folder by a symlink: never delete what it points to
        if os.path.lexists(full) and not any(folder.is_symlink() for folder in folders):
            remove_tree(full)


def _names(folder: bytes) -> list[bytes]:
    """Return the names in a folder, none if a task has deleted it in the meantime."""
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


@dataclass(slots=True)
class _Placer:
    """Places files as hardlinks. Files with tokens are copied, with this sysroot's paths."""

    pool: Pool
    fixmes: frozenset[bytes]
    private: PrivatePlacer
    shares: bool = True

    @property
    def notes(self) -> list[tuple[bytes, str]]:
        return self.pool.notes

    @notes.setter
    def notes(self, value: list[tuple[bytes, str]]) -> None:
        self.pool.notes = value

    def place(self, node: FileNode, path: bytes, folder: int) -> None:
        placer = self.private if path in self.fixmes else self.pool
        placer.place(node, path, folder)


@dataclass(frozen=True, slots=True)
class _Fixed:
    """Reads files with tokens replaced by paths, as staging.bbclass replaces them with sed."""

    objects: ObjectReader
    words: Mapping[bytes, bytes]

    def stream_blob(self, oid: Oid) -> Iterator[bytes]:
        data = self.objects.blob(oid)
        for word, path in self.words.items():
            data = data.replace(word, path)
        yield data

    def blob(self, oid: Oid) -> bytes:
        return self.objects.blob(oid)

    def tree(self, oid: Oid) -> list[Entry]:
        return self.objects.tree(oid)


# what recipes staged


def _package(store: Store, writer: ObjectWriter, staged: StagedFolder, sysroot: str) -> Package:
    """Return the staged files of a recipe, captured again if the manifest has changed."""
    memory = store.cache / "staged" / path_digest(staged.folder)
    state = staged.manifest.stat()
    version = (state.st_ino, state.st_size, state.st_mtime_ns)
    with locked(memory.with_suffix(".lock")):
        form, *rest = read_cache(memory) or (None,)
        if (
            form == FORMAT
            and rest[0] == version
            and all(oid is None or writer.has(oid) for oid in rest[1])
        ):
            return Package(Pair(*rest[1]), frozenset(rest[2]))
        package = _captured(
            store, staged, store.cache / "workdirs" / f"staged-{memory.name}", sysroot
        )
        writer.refresh()
        write_cache(memory, (FORMAT, version, tuple(package.pair), tuple(package.fixmes)))
        return package


def _captured(store: Store, staged: StagedFolder, memory: Path, sysroot: str) -> Package:
    """Capture the files that a manifest lists, and hardlink them into the pool."""
    if not staged.folder.is_dir():
        return Package(EMPTY, frozenset())
    names = {
        os.path.relpath(line, staged.folder) for line in staged.manifest.read_text().splitlines()
    }
    listed = {os.fsencode(name) for name in names}
    with store.objects.writer() as own:
        exclude = Exclude((f"/{FIXMES}", f"/{FIXMES}.cmd"))
        snapshot = capture(store, staged.folder, own, memory=memory, exclude=exclude)
        others = {path: None for path, _ in walk(own, snapshot.pair) if path not in listed}
        # omit mtimes of folders: they change whenever an entry is written
        pair = map_directories(
            own, edit(own, snapshot.pair, others, mtimes=True), _undated, own, mtimes=True
        )
    remember(snapshot, memory)
    fixmes = frozenset(_fixmes(staged.folder / FIXMES))
    pool = _pool(store, sysroot)
    for path, node in walk(store.objects, pair):
        if stat.S_ISREG(node.mode) and path not in fixmes:
            pool.share(staged.folder / os.fsdecode(path), node, path)
    return Package(pair, fixmes)


def _undated(listing: Listing) -> Listing:
    return {**listing, b".": listing[b"."]._replace(mtime=None)}


def _fixmes(path: Path) -> Iterator[bytes]:
    """Yield the paths in a list of files with tokens, without the name of the staged folder."""
    if path.exists():
        for line in path.read_bytes().splitlines():
            yield line.partition(b"/")[2]


def _pool(store: Store, sysroot: str) -> Pool:
    """Return the pool of staged files for a sysroot.

    Equal files of one WORKDIR share an inode only if they were staged as hardlinks: otherwise a
    task that writes to one in place would change the others, which does not happen with
    staging.bbclass. Therefore a file in the pool belongs to one path, in either native or target
    sysroots.
    """
    native = b"native" if sysroot.endswith("recipe-sysroot-native") else b"target"
    return Pool(store.cache / STAGED, store.objects, by_path=native)


def _owner_hint(_conflict: Conflict) -> str:
    return "stage the file in one of the two recipes, or depend on one of them only"


def _files(store: Store, directory: Path) -> SysrootFiles:
    return SysrootFiles.of(store.cache / "sysroots", directory)


def _state(files: SysrootFiles, writer: ObjectWriter) -> SysrootState | None:
    """Return the state of a sysroot.

    Returns None if it does not exist, is unreadable, or refers to trees that the store lacks.
    """
    state = SysrootState.read(files.state)
    if state is None or not state.is_stored(writer):
        return None
    is_unreadable = not state.ready and state.pair == state.before == EMPTY
    return None if is_unreadable else state
