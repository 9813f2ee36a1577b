"""Search other places for lost objects. Content with an object's id is that object.

The places are: the pools, by blob id; WORKDIRs and host tools on disk, captured to a scratch store;
files of the project; objects with constant content, which can be computed; and remotes that return
objects by id.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import ProvError, StoreError
from prov.fsck.disk import hash_file
from prov.fsck.reach import Reach
from prov.fsck.refs import TOOLCHAIN_MESSAGE
from prov.intake.source import BlobReader, Content, Source, joined
from prov.intake.wellformed import BadObject, Limits
from prov.records.ids import OutputId
from prov.records.output import OUTPUT_MESSAGES
from prov.records.record import Record, read_record, record_of
from prov.records.refs import (
    RECORDS,
    TAGS,
    WORKDIRS,
    DirectoryRef,
    ToolchainRef,
    WorkdirRef,
    parse_ref,
)
from prov.records.run import START_MESSAGE
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, Commit, Kind, Oid, object_id
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.tasks.workdir import capture_rules
from prov.worktree.exclude import Exclude
from prov.worktree.pool import POOLS
from prov.worktree.snapshot import capture

MANY = 50_000
"""Maximum number of a project's files to read."""
_POOL_FILE = re.compile(r"[0-9a-f]{38}-[0-7]{1,4}(@-?\d+)?")


@dataclass(frozen=True, slots=True)
class Sources:
    """Places to search besides the store's own pools."""

    work: Path | None = None
    """The folder of WORKDIRs (ARCH/RECIPE/CHAIN)."""
    project: Path | None = None
    """A folder with possible source files."""
    fetch: Source | None = None
    """Reads an object from the remotes."""


def restore(
    store: Store,
    reach: Reach,
    refs: Mapping[str, Oid],
    sources: Sources,
    bad: frozenset[Oid] = frozenset(),
) -> set[Oid]:
    """Write the lost objects that any source has, and return their ids.

    A restored tree can show that more objects are lost: repeat the call until it returns an empty
    set. Malformed objects (`bad`) are never restored.
    """
    with ObjectWriter(store.objects) as writer:
        search = _Search(writer, store, reach, refs, sources, set(reach.missing()) - bad)
        for look in (search.compute, search.pools, search.directories, search.project, search.ask):
            if search.lost:
                look()
    return search.restored


def _add(writer: ObjectWriter, oid: Oid, content: Content) -> bool:
    """Write an object from a source; return False if it does not match its id or is too large."""
    try:
        if content.kind == "blob":
            return writer.add_blob_stream(
                oid, content.size, BlobReader(content, oid, lambda chunk: None)
            )
        return (
            content.size <= Limits().record
            and writer.add(content.kind, joined(content, oid)) == oid
        )
    except BadObject:
        return False


@dataclass(slots=True)
class _Search:
    """A search for lost objects."""

    writer: ObjectWriter
    store: Store
    reach: Reach
    refs: Mapping[str, Oid]
    sources: Sources
    lost: set[Oid]
    restored: set[Oid] = field(default_factory=set)

    def _restore(self, oid: Oid) -> None:
        self.lost.discard(oid)
        self.restored.add(oid)

    def compute(self) -> None:
        """Write constant objects, and commits with only a tree: those of outputs and toolchains."""
        constant: list[tuple[Kind, bytes]] = [("blob", b""), ("tree", b"")]
        for kind, data in [*constant, *(("commit", commit.encode()) for commit in self._commits())]:
            oid = object_id(kind, data)
            if oid in self.lost:
                self.writer.add(kind, data)
                self._restore(oid)
                if oid == EMPTY_TREE:  # `add` does not write it
                    self.writer.write_empty_tree()

    def _commits(self) -> Iterator[Commit]:
        yield Commit(EMPTY_TREE, (), CONSTANT_IDENTITY, START_MESSAGE)
        for output in _outputs(self.store, self.refs):
            for message in OUTPUT_MESSAGES:
                yield Commit(output, (), CONSTANT_IDENTITY, message)
        for name in self.refs:
            ref = parse_ref(name)
            if isinstance(ref, ToolchainRef):
                yield Commit(ref.tree, (), CONSTANT_IDENTITY, TOOLCHAIN_MESSAGE)

    def pools(self) -> None:
        """Restore blobs from the pools."""
        for oid in list(self.lost):
            if any(_add_file(self.writer, file, oid) for file in _pool_files(self.store, oid)):
                self._restore(oid)

    def directories(self) -> None:
        """Capture the directories of broken refs in a scratch store, and restore objects."""
        places = {place.path: place for place in _places(self)}
        for place in places.values():
            if not self.lost:
                return
            self._capture(place)
            self._read_files((place.path / "temp").glob("log.*"))

    def _capture(self, place: CaptureRoot) -> None:
        with tempfile.TemporaryDirectory(prefix="prov-fsck-") as folder:
            scratch = Store.create(Path(folder) / "store")
            # files that change during the capture or cannot be read are skipped
            with contextlib.suppress(ProvError, OSError), scratch.objects.writer() as captured:
                capture(scratch, place.path, captured, exclude=place.exclude, xattrs=place.xattrs)
            for oid in list(self.lost):
                if scratch.objects.exists(oid):
                    self._restore(self.writer.add(*scratch.objects.read(oid)))

    def project(self) -> None:
        """Restore blobs from a project's files."""
        if self.sources.project:
            skipped = {self.store.path, self.sources.work}
            self._read_files(_files(self.sources.project, skipped))

    def _read_files(self, files: Iterable[Path]) -> None:
        for file in files:
            with contextlib.suppress(OSError):
                oid = hash_file(file, file.lstat().st_size)
                if oid is not None and oid in self.lost and _add_file(self.writer, file, oid):
                    self._restore(oid)

    def ask(self) -> None:
        """Restore objects from remotes."""
        if self.sources.fetch is None:
            return
        for oid in list(self.lost):
            content = self.sources.fetch(oid)
            if content is not None and _add(self.writer, oid, content):
                self._restore(oid)


def _outputs(store: Store, refs: Mapping[str, Oid]) -> set[OutputId]:
    """Return the outputs of all readable runs and records that refs name."""
    outputs: set[OutputId] = set()
    for name, oid in refs.items():
        if name.startswith((TAGS, RECORDS)):
            with contextlib.suppress(StoreError, ValueError):
                commit = oid if name.startswith(RECORDS) else record_of(store.objects, oid)
                output = read_record(store.objects, commit).output
                if output is not None:
                    outputs.add(output)
    return outputs


def _pool_files(store: Store, oid: Oid) -> Iterator[Path]:
    """Yield the pool files with a blob's content and any mode."""
    name = oid.hex()
    for pool in POOLS:
        for file in (store.cache / pool / name[:2]).glob(f"{name[2:]}-*"):
            if _POOL_FILE.fullmatch(file.name):  # other files have replaced path tokens
                yield file


def _add_file(writer: ObjectWriter, file: Path, oid: Oid) -> bool:
    """Write a file's content if its blob id is `oid`; return whether it is."""
    try:
        size = file.lstat().st_size
        if file.is_symlink() or hash_file(file, size) != oid:
            return False
        with open(file, "rb") as stream:
            return writer.add_blob_stream(oid, size, stream)
    except OSError:
        return False


# directories on disk


@dataclass(frozen=True, slots=True)
class CaptureRoot:
    """A directory that may hold lost objects, and the rules of its original capture."""

    path: Path
    exclude: Exclude
    xattrs: tuple[str, ...] = ()


def _places(search: _Search) -> Iterator[CaptureRoot]:
    """Yield the directories of broken refs, and WORKDIRs without a ref."""
    broken = {name: oid for name, oid in search.refs.items() if oid not in search.reach.whole}
    for name, oid in broken.items():
        ref = parse_ref(name)
        if isinstance(ref, WorkdirRef):
            yield from _workdir(search, ref, oid)
        elif isinstance(ref, DirectoryRef):
            yield from _directory(search, oid)
    yield from _unnamed_workdirs(search)
    for name in broken:
        ref = parse_ref(name)
        if isinstance(ref, ToolchainRef):
            folder = search.store.cache / "toolchains" / ref.tree.hex()
            if folder.is_dir():
                yield CaptureRoot(folder, Exclude(()))


def _unnamed_workdirs(search: _Search) -> Iterator[CaptureRoot]:
    work = search.sources.work
    if work is None:
        return
    for path in sorted(work.glob("*/*/*")):
        ref = f"{WORKDIRS}{path.relative_to(work)}"
        if ref not in search.refs and _is_folder(path):
            yield CaptureRoot(path, capture_rules("")[0])


def _workdir(search: _Search, ref: WorkdirRef, oid: Oid) -> Iterator[CaptureRoot]:
    """Yield a task's WORKDIR, from the project's layout or from its record."""
    record = _record(search.store, oid)
    path = _recorded_path(search.store, record)
    if search.sources.work is not None:
        path = search.sources.work / ref.arch / ref.recipe / ref.chain
    if path is not None and _is_folder(path):
        yield CaptureRoot(path, *capture_rules(_capture_words(search.store, record)))


def _directory(search: _Search, oid: Oid) -> Iterator[CaptureRoot]:
    """Yield the directory of a `prov run` or `prov capture`, from its record."""
    store = search.store
    path = _recorded_path(store, _record(store, oid))
    if path is not None and path.is_dir():
        inside = store.path.is_relative_to(path)
        yield CaptureRoot(path, Exclude([f"/{store.path.relative_to(path)}/"] if inside else []))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _record(store: Store, oid: Oid) -> Record | None:
    with contextlib.suppress(StoreError, ValueError):
        return read_record(store.objects, record_of(store.objects, oid))
    return None


def _recorded_path(store: Store, record: Record | None) -> Path | None:
    """Return the directory in a record, None if it cannot be read."""
    if record is not None:
        with contextlib.suppress(StoreError, ValueError):
            path = record.facts(store.objects).get("workdir", "")
            return Path(path) if os.path.isabs(path) else None
    return None


def _capture_words(store: Store, record: Record | None) -> str:
    """Return the capture rules in the task's inputs, an empty text if they cannot be read."""
    if record is not None:
        with contextlib.suppress(StoreError, ValueError):
            entry = store.objects.entry(record.tree, "inputs/capture")
            if entry is not None:
                return store.objects.blob(entry.oid).decode("utf-8", "surrogateescape")
    return ""


# a project's files


def _files(top: Path, skipped: set[Path | None]) -> Iterator[Path]:
    count = 0
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if Path(folder, name) not in skipped]
        for name in files:
            count += 1
            if count > MANY:
                return
            yield Path(folder, name)
