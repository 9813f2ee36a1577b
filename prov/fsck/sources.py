"""Where a lost object may still be: it is told by its id, so that whatever has that id is the
object.

Blobs in the pools, by name; WORKDIRs and host tools on disk, captured into a scratch store; files
of the project; what has no content of its own and can be computed; and whoever can be asked for an
object by its id.
"""

from __future__ import annotations

import contextlib
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prov.errors import ProvError, StoreError
from prov.fsck.disk import hash_file
from prov.fsck.findings import parse_ref
from prov.fsck.reach import Reach
from prov.fsck.refs import TOOLCHAIN_MESSAGE
from prov.intake.source import BlobReader, Content, Source, joined
from prov.intake.wellformed import BadObject, Limits
from prov.records.keyvalue import decode_lines
from prov.records.output import OUTPUT_MESSAGES
from prov.records.refs import RECORDS
from prov.records.run import START_MESSAGE
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, Commit, Kind, Oid, object_id
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.tasks.workdir import capture_rules
from prov.worktree.exclude import Exclude
from prov.worktree.pool import POOLS
from prov.worktree.snapshot import capture

MANY = 50_000
"""So many of a project's files are looked at."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where is looked, besides the store's own pools."""

    work: Path | None = None
    """The folder of WORKDIRs, by architecture, recipe and chain."""
    project: Path | None = None
    """A folder whose files may be sources."""
    fetch: Source | None = None
    """What remotes have."""


def restore(
    store: Store,
    reach: Reach,
    refs: Mapping[str, Oid],
    sources: Sources,
    bad: frozenset[Oid] = frozenset(),
) -> set[Oid]:
    """Write lost objects to the store, those that are found anywhere; return which these were.

    A tree that is found shows what else is lost: call it until it returns nothing. None of the
    `bad`, which are malformed.
    """
    lost = set(reach.missing()) - bad
    found: set[Oid] = set()
    with ObjectWriter(store.objects) as writer:
        for search in (_computed, _from_pools, _from_disk, _from_project):
            if lost - found:
                found |= search(writer, store, reach, refs, sources, lost - found)
        if sources.fetch is not None:
            for oid in lost - found:
                answer = sources.fetch(oid)
                if answer is not None and _add(writer, oid, answer):
                    found.add(oid)
    return found


def _add(writer: ObjectWriter, oid: Oid, content: Content) -> bool:
    """Write an object from elsewhere; return whether it is what its id says, and not too large."""
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


def _computed(
    writer: ObjectWriter,
    store: Store,
    reach: Reach,
    refs: Mapping[str, Oid],
    sources: Sources,
    lost: set[Oid],
) -> set[Oid]:
    """Write those that are the same everywhere, and the commits of outputs, which hold a tree and
    nothing else.
    """
    known: list[tuple[Kind, bytes]] = [("blob", b""), ("tree", b"")]
    known.append(("commit", Commit(EMPTY_TREE, (), CONSTANT_IDENTITY, START_MESSAGE).encode()))
    known += [("commit", text) for tree in _outputs(store, refs) for text in _output_commits(tree)]
    for name in refs:
        ref = parse_ref(name)
        if ref is not None and ref.kind == "toolchain":
            known.append(
                ("commit", Commit(ref.oid, (), CONSTANT_IDENTITY, TOOLCHAIN_MESSAGE).encode())
            )
    found = {writer.add(kind, data) for kind, data in known if object_id(kind, data) in lost}
    if EMPTY_TREE in found:  # which `add` takes for granted
        writer.write_empty_tree()
    return found


def _outputs(store: Store, refs: Mapping[str, Oid]) -> set[Oid]:
    found: set[Oid] = set()
    for name, oid in refs.items():
        if name.startswith(("refs/tags/", RECORDS)):
            with contextlib.suppress(StoreError, ValueError, IndexError):
                record = oid if name.startswith(RECORDS) else store.objects.commit(oid).parents[1]
                entries = store.objects.tree(store.objects.commit(record).tree)
                found.update(entry.oid for entry in entries if entry.name == b"output")
    return found


def _output_commits(tree: Oid) -> list[bytes]:
    return [Commit(tree, (), CONSTANT_IDENTITY, message).encode() for message in OUTPUT_MESSAGES]


def _from_pools(
    writer: ObjectWriter,
    store: Store,
    reach: Reach,
    refs: Mapping[str, Oid],
    sources: Sources,
    lost: set[Oid],
) -> set[Oid]:
    found: set[Oid] = set()
    for oid in lost:
        name = oid.hex()
        files = [
            file for pool in POOLS for file in (store.cache / pool / name[:2]).glob(f"{name[2:]}-*")
        ]
        whole = (
            file for file in files if re.fullmatch(r"[0-9a-f]{38}-[0-7]{1,4}(@-?\d+)?", file.name)
        )
        if any(_add_file(writer, file, oid) for file in whole):
            found.add(oid)
    return found


def _add_file(writer: ObjectWriter, file: Path, oid: Oid) -> bool:
    """Write a file's content where it is the blob of that id."""
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
class _Place:
    """A directory that held, and may hold, what is lost."""

    path: Path
    exclude: Exclude
    xattrs: tuple[str, ...] = ()


def _from_disk(
    writer: ObjectWriter,
    store: Store,
    reach: Reach,
    refs: Mapping[str, Oid],
    sources: Sources,
    lost: set[Oid],
) -> set[Oid]:
    """Capture the directories that broken refs tell of, elsewhere, and take what is lost out of
    that.
    """
    found: set[Oid] = set()
    places = {place.path: place for place in _places(store, reach, refs, sources)}
    for place in places.values():
        if not lost - found:
            break
        with tempfile.TemporaryDirectory(prefix="prov-fsck-") as scratch:
            aside = Store.create(Path(scratch) / "store")
            # what changes meanwhile, or is not to be read, is no help
            with contextlib.suppress(ProvError, OSError), aside.objects.writer() as captured:
                capture(aside, place.path, captured, exclude=place.exclude, xattrs=place.xattrs)
            for oid in lost - found:
                if aside.objects.exists(oid):
                    found.add(writer.add(*aside.objects.read(oid)))
        found |= _from_files(writer, (place.path / "temp").glob("log.*"), lost - found)
    return found


def _places(
    store: Store, reach: Reach, refs: Mapping[str, Oid], sources: Sources
) -> Iterator[_Place]:
    known = {name: oid for name, oid in refs.items() if name.startswith("refs/prov/workdir/")}
    for name, oid in known.items():
        if oid not in reach.whole:
            yield from _place_of(store, name, oid, sources)
    if sources.work is not None:
        for path in sorted(sources.work.glob("*/*/*")):
            ref = f"refs/prov/workdir/{path.relative_to(sources.work)}"
            if path.is_dir() and not path.is_symlink() and ref not in known:
                yield _Place(path, capture_rules("")[0])
    for name, oid in refs.items():
        told = parse_ref(name) if name.startswith("refs/prov/toolchain/") else None
        folder = store.cache / "toolchains" / told.oid.hex() if told is not None else None
        if oid not in reach.whole and folder is not None and folder.is_dir():
            yield _Place(folder, Exclude(()))


def _place_of(store: Store, name: str, oid: Oid, sources: Sources) -> Iterator[_Place]:
    """Yield the directory of a WORKDIR's ref, by the project's layout or by what its record
    says.
    """
    record, inputs = _record(store, oid)
    rules = capture_rules(inputs)
    told = Path(record["workdir"]) if os.path.isabs(record.get("workdir", "")) else None
    if "/plain/" in name:
        if told is not None and told.is_dir():
            inside = store.path.is_relative_to(told)
            yield _Place(told, Exclude([f"/{store.path.relative_to(told)}/"] if inside else []))
        return
    by_name = (
        sources.work / name.removeprefix("refs/prov/workdir/") if sources.work is not None else None
    )
    path = by_name or told
    if path is not None and path.is_dir() and not path.is_symlink():
        yield _Place(path, *rules)


def _record(store: Store, oid: Oid) -> tuple[dict[str, str], str]:
    """Return the facts of a commit's record, and its words of what a capture leaves out; as far as
    they are there.
    """
    objects = store.objects
    facts, rules = {}, ""
    with contextlib.suppress(StoreError, ValueError, IndexError):
        tree = objects.commit(objects.commit(oid).parents[1]).tree
        with contextlib.suppress(StoreError):
            told = objects.entry(tree, "record")
            facts = decode_lines(objects.blob(told.oid), " ") if told else {}
        kept = objects.entry(tree, "inputs/capture")
        rules = objects.blob(kept.oid).decode("utf-8", "surrogateescape") if kept else ""
    return facts, rules


# a project's files


def _from_project(
    writer: ObjectWriter,
    store: Store,
    reach: Reach,
    refs: Mapping[str, Oid],
    sources: Sources,
    lost: set[Oid],
) -> set[Oid]:
    return (
        _from_files(writer, _files(sources.project, {store.path, sources.work}), lost)
        if sources.project
        else set()
    )


def _files(top: Path, without: set[Path | None]) -> Iterator[Path]:
    count = 0
    for folder, folders, files in os.walk(top):
        folders[:] = [name for name in folders if Path(folder, name) not in without]
        for name in files:
            count += 1
            if count > MANY:
                return
            yield Path(folder, name)


def _from_files(writer: ObjectWriter, files: Iterable[Path], lost: set[Oid]) -> set[Oid]:
    found = set()
    for file in files:
        with contextlib.suppress(OSError):
            oid = hash_file(file, file.lstat().st_size)
            if oid in lost and oid is not None and _add_file(writer, file, oid):
                found.add(oid)
    return found
