"""Store BitBake's shared state as outputs: capture what sstate.bbclass packs, and restore it.

An object is found by BitBake's name for it, which contains the unihash. A digest of that name is
the static key of the task whose output the object is, so remotes are queried for it like for any
other result. Neither the name nor the ref of an object contains a multiconfig: all configurations
share one object. Outputs have no mtimes, but packages and make depend on the mtimes of shared
state, so the record stores them.

A ref marks each task whose shared state was cleaned. While the mark exists, objects of the task are
not found, in the store or at a remote. It is deleted when the task makes an object again.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from prov.bitbake.capture import UNIHASH_FACT, Packed, read_faked
from prov.bitbake.messages import ArchiveRequest, ObjectEntry
from prov.bitbake.signature import MULTICONFIG, split_name
from prov.errors import FORGET_RUN, BitBakeError, StoreError
from prov.files import remove_tree
from prov.records.entries import DATED, OUTPUT
from prov.records.ids import CommitId, StaticKey
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.record import read_record, record_of
from prov.records.refs import (
    OUTPUTS,
    RECORDS,
    STATICS,
    CleanedRef,
    OutputRef,
    StaticRef,
    outputs_of,
    parse_ref,
    runs_of,
)
from prov.remote.settings import Remote, read_remotes
from prov.sharing.caches import Caches, Wanted, fetch
from prov.sharing.results import record_facts
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, Commit, Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.transport.access import Access
from prov.transport.address import folder_of
from prov.worktree.attributes import (
    ROOT,
    Listing,
    Pair,
    map_directories,
    read_listing,
    walk,
    write_listing,
)
from prov.worktree.checkout import checkout
from prov.worktree.exclude import Exclude
from prov.worktree.snapshot import capture

NOTHING = Exclude(())


class ObjectName(NamedTuple):
    """The name of an object: recipe, task, and the parts of its archive's name."""

    pn: str
    task: str
    spec: str
    """Part before the unihash, without the two-letter folders."""
    unihash: str

    @property
    def key(self) -> TaskKey:
        """Key of the task, the same in all multiconfigs."""
        return TaskKey.of(self.pn, self.task)

    @property
    def archive(self) -> str:
        return f"{self.spec}{self.unihash}_{self.task.removeprefix('do_')}"

    @property
    def static_key(self) -> StaticKey:
        return StaticKey(hashlib.sha1(b"shared state " + self.archive.encode()).digest())

    @property
    def cleaned_key(self) -> Oid:
        """Id of the objects that `-c cleansstate` removes: this one with any unihash."""
        return hashlib.sha1(b"cleaned " + self._replace(unihash="").archive.encode()).digest()

    @property
    def static_ref(self) -> str:
        return str(StaticRef(self.key, self.static_key))

    @property
    def cleaned_ref(self) -> str:
        return str(CleanedRef(self.key, self.cleaned_key))


def object_output(store: Store, name: ObjectName) -> Oid | None:
    """Return the commit of an object's output, or None if the store lacks it or it was cleaned."""
    if is_cleaned(store, name):
        return None
    return store.refs.get(name.static_ref)


def is_cleaned(store: Store, name: ObjectName) -> bool:
    return store.refs.get(name.cleaned_ref) is not None


def remotes_of(store: Store, *, network: bool) -> list[Remote]:
    """Return the remotes of a store; without `network`, only those in local folders."""
    return [
        remote for remote in read_remotes(store) if network or folder_of(remote.url) is not None
    ]


@dataclass(slots=True)
class SharedObjects:
    """The objects of a store and its remotes during one build."""

    store: Store
    caches: Caches
    away: dict[StaticKey, Wanted] = field(default_factory=dict)
    """Objects that are available at a remote."""

    @staticmethod
    def open(store: Store, environment: Mapping[str, str], *, network: bool) -> SharedObjects:
        """Return the objects of a store and its remotes.

        Without `network`, only remotes in local folders are queried.
        """
        caches = Caches(store, remotes_of(store, network=network), Access(environment))
        caches.refresh()
        return SharedObjects(store, caches)

    def which(self, names: Mapping[str, ObjectName]) -> set[str]:
        """Return the labels of the objects that are available."""
        self.caches.look_up(name.static_key for name in names.values())
        return {
            label
            for label, name in names.items()
            if object_output(self.store, name) is not None or self._published(name)
        }

    def _published(self, name: ObjectName) -> bool:
        if is_cleaned(self.store, name):
            return False
        for remote in self.caches.opened():
            task = remote.index.find_static(name.static_key)
            if task is not None and _without_multiconfig(task.key) == name.key:
                self.away[name.static_key] = Wanted(remote.name, task, name.static_key)
                return True
        return False

    def has(self, name: ObjectName) -> bool:
        return name.static_key in self.away or object_output(self.store, name) is not None

    def bring(self, name: ObjectName) -> None:
        """Fetch an object that the store lacks. Raises BitBakeError if that fails."""
        published = self.away.get(name.static_key)
        if published is None or object_output(self.store, name) is not None:
            return
        remote = next(remote for remote in self.caches.remotes if remote.name == published.remote)
        fetched = fetch(self.store, remote, self.caches.access, [published])
        self.store.objects.refresh()
        if not fetched.tasks:
            raise BitBakeError("; ".join([fetched.failed, *fetched.notes]).strip("; "))
        if object_output(self.store, name) is None:  # another multiconfig published it
            output = OutputRef(published.task.key, published.task.task_hash)
            commit = self.store.refs.get(str(output))
            if commit is not None:
                self.store.refs.update(RefUpdate(name.static_ref, commit))

    def packed(self, name: ObjectName) -> Packed:
        """Return an object in the store. Raises BitBakeError if the store lacks it."""
        commit = object_output(self.store, name)
        if commit is None:
            raise BitBakeError(f"{name.archive} is not in the store")
        pair = read_pair(self.store.objects, self.store.objects.commit(commit).tree)
        dated = _dated(self.store, name, commit)
        return Packed(name.static_key, pair, dated, name.cleaned_key, taken=True)

    def take_notes(self) -> list[str]:
        """Return the notes for the user since the last call, and clear them."""
        notes, self.caches.notes = self.caches.notes, []
        return notes


def archive(store: Store, request: ArchiveRequest, body: bytes) -> Packed:
    """Capture the folder that sstate.bbclass would pack.

    The returned object is durable. It has no ref until the task ends and is recorded.
    """
    folder = Path(request["folder"])
    with store.objects.writer() as writer:
        faked = read_faked({}, body) if body else {}
        snapshot = capture(store, folder, writer, exclude=NOTHING, faked=faked)
        pair = snapshot.output(b"", writer)
        assert pair is not None  # the folder itself exists
        name = ObjectName(*request["object"])
        return Packed(name.static_key, pair, snapshot.pair.attributes, name.cleaned_key)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An unpacked object, and the entries that a process under pseudo must complete."""

    packed: Packed
    entries: list[ObjectEntry]


def unpack(store: Store, packed: Packed, folder: Path, *, faked: bool) -> Unpacked:
    """Check out an object into the folder where sstate.bbclass would unpack it.

    Only a process under pseudo can create devices and set owners. If the task is one (`faked`), the
    result lists the entries for it; otherwise they are omitted. Raises BitBakeError for an object
    that no capture produces.
    """
    pair = packed.pair
    if packed.dated is not None:
        pair = Pair(pair.tree, packed.dated)
    with store.objects.writer(memory=True) as writer:
        if faked:
            placed = _for_pseudo(writer, pair)
            entries = _entries(writer, pair)
        else:
            placed = map_directories(writer, pair, _plain, writer, mtimes=True)
            entries = []
        for path in folder.iterdir():
            remove_tree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
        checkout(writer, folder, placed)
    return Unpacked(packed, entries)


def _without_multiconfig(key: TaskKey) -> TaskKey:
    return TaskKey.of(split_name(key.recipe)[1], key.task)


def _keys(store: Store, name: ObjectName) -> Iterator[TaskKey]:
    """Yield the tasks of all multiconfigs that may have made an object."""
    yield name.key
    refs = map(parse_ref, store.refs.list(f"{OUTPUTS}{MULTICONFIG}."))
    keys = dict.fromkeys(ref.key for ref in refs if isinstance(ref, OutputRef))
    yield from (key for key in keys if _without_multiconfig(key) == name.key)


def clean(store: Store, name: ObjectName) -> None:
    """Make a task's objects of every unihash unfindable, as `-c cleansstate` deletes archives.

    Objects at remotes are ignored as well, until the task has made its object again.
    """
    unihashes = {
        facts.get(UNIHASH_FACT, "")
        for key in _keys(store, name)
        for facts in _facts_of_runs(store, key)
    }
    names = {name._replace(unihash=unihash).static_ref for unihash in unihashes}
    with store.objects.writer() as writer:
        mark = writer.add_commit(Commit(EMPTY_TREE, (), CONSTANT_IDENTITY, "cleaned\n"))
        writer.finish()
    refs = store.refs.list(f"{STATICS}{name.key.path}/")
    deleted = [RefUpdate(ref, None) for ref in refs if ref in names]
    store.refs.update(RefUpdate(name.cleaned_ref, mark), *deleted)


def _facts_of_runs(store: Store, key: TaskKey) -> Iterator[Mapping[str, str]]:
    for record in _records(store, key):
        with contextlib.suppress(StoreError):
            yield record_facts(store, record)


def _dated(store: Store, name: ObjectName, commit: Oid) -> Oid | None:
    """Return the attributes with mtimes of an output, from the record of a run that produced it."""
    output = store.objects.commit(commit).tree
    for record in _records_of_output(store, name, commit):
        with contextlib.suppress(StoreError):
            parts = read_record(store.objects, record).parts
            if parts.get(OUTPUT) == output and DATED in parts:
                return parts[DATED]
    return None


def _records_of_output(store: Store, name: ObjectName, commit: Oid) -> Iterator[CommitId]:
    """Yield the records of the runs that produced an output, which `commit` holds."""
    for key in _keys(store, name):
        for ref, oid in store.refs.list(outputs_of(key)).items():
            if oid == commit:
                yield from _records(store, key, ref.rpartition("/")[2] + "/")


def _records(store: Store, key: TaskKey, below: str = "") -> list[CommitId]:
    """Return the records of a task's runs, newest first; with `below`, only of one task hash."""
    runs = store.refs.list(f"{runs_of(key)}{below}").values()
    records = [record_of(store.objects, oid) for oid in runs]
    alone = store.refs.list(f"{RECORDS}{key.path}/{below}").values()
    return [*records, *map(CommitId, alone)][::-1]


def _plain(listing: Listing) -> Listing:
    """Return a listing without devices and owners, which only root or pseudo can create."""
    return {name: node._replace(owner=ROOT) for name, node in listing.items() if not node.is_device}


def _for_pseudo(writer: ObjectWriter, pair: Pair, path: bytes = b"") -> Pair:
    """Return a tree without the entries that must be created under pseudo.

    These are devices, and all hardlinks of a file except the first.
    """
    listing = read_listing(writer, pair)
    for name, node in list(listing.items()):
        at = path + name
        if node.is_device or node.link not in (b"", at):
            del listing[name]
        elif name != b"." and node.is_directory:
            listing[name] = node._replace(pair=_for_pseudo(writer, node.pair, at + b"/"))
        else:
            listing[name] = node._replace(owner=ROOT, link=b"")
    return write_listing(writer, listing, mtimes=True)


def _entries(writer: ObjectWriter, pair: Pair) -> list[ObjectEntry]:
    """Return the entries for a process under pseudo, the deepest first.

    Raises BitBakeError for a hardlink to a file that the object lacks.
    """
    rows = []
    top = read_listing(writer, pair)[b"."]
    nodes = walk(writer, pair)
    first = {path for path, node in nodes if node.link == path and not node.is_directory}
    for path, node in [(b".", top), *nodes]:
        # the target of a hardlink could lead to any file through a symlink in the object
        if node.link and node.link not in first:
            raise BitBakeError(
                f"invalid object: {os.fsdecode(path)} is a hardlink to {os.fsdecode(node.link)},"
                " which the object lacks",
                hint=FORGET_RUN,
            )
        own = node
        if node.is_directory and path != b".":
            own = read_listing(writer, node.pair)[b"."]
        rows.append(
            ObjectEntry(
                os.fsdecode(path),
                own.mode,
                *own.owner,
                own.rdev,
                own.mtime,
                [(os.fsdecode(name), value.hex()) for name, value in own.xattrs],
                os.fsdecode(own.link),
            )
        )
    return rows[::-1]
