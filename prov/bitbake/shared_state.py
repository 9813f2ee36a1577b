"""Shared state as outputs: what sstate.bbclass packs is captured as a tree, and restored from it.

An object is found by the name that BitBake gives it, which contains the unihash: a digest of that
name is the static key of the task whose output it is, so that remotes are asked for it as for any
other result. The name has no multiconfig, and the ref that holds an object has none: an object that
one configuration made serves all. An output has no mtimes; these objects have, since packages and
make look at them: they are kept in the record.

A ref marks each task whose shared state was cleaned. Until the task made an object again, none of
it is found, here or at a remote.
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
    """What an object is called: recipe, task, and the parts of its archive's name."""

    pn: str
    task: str
    spec: str
    """What is before the unihash, without the folders of two letters."""
    unihash: str

    @property
    def key(self) -> TaskKey:
        """The key of the task, which is the same in all multiconfigs."""
        return TaskKey.of(self.pn, self.task)

    @property
    def archive(self) -> str:
        return f"{self.spec}{self.unihash}_{self.task.removeprefix('do_')}"

    @property
    def static_key(self) -> StaticKey:
        return StaticKey(hashlib.sha1(b"shared state " + self.archive.encode()).digest())

    @property
    def cleaned_key(self) -> Oid:
        """The id of the objects that `-c cleansstate` removes: this one, with any unihash."""
        return hashlib.sha1(b"cleaned " + self._replace(unihash="").archive.encode()).digest()

    @property
    def static_ref(self) -> str:
        return str(StaticRef(self.key, self.static_key))

    @property
    def cleaned_ref(self) -> str:
        return str(CleanedRef(self.key, self.cleaned_key))


def object_output(store: Store, name: ObjectName) -> Oid | None:
    """Return the commit of an object's output, None if it is not here, or was cleaned."""
    if is_cleaned(store, name):
        return None
    return store.refs.get(name.static_ref)


def is_cleaned(store: Store, name: ObjectName) -> bool:
    return store.refs.get(name.cleaned_ref) is not None


def remotes_of(store: Store, *, network: bool) -> list[Remote]:
    """Return the remotes of a store; without the network, those that are folders."""
    return [
        remote for remote in read_remotes(store) if network or folder_of(remote.url) is not None
    ]


@dataclass(slots=True)
class SharedObjects:
    """The objects that are here, and those at remotes, during one build."""

    store: Store
    caches: Caches
    away: dict[StaticKey, Wanted] = field(default_factory=dict)
    """Objects that a remote has."""

    @staticmethod
    def open(store: Store, environment: Mapping[str, str], *, network: bool) -> SharedObjects:
        """Return the objects of a store and its remotes.

        Without the network, only remotes that are folders are asked.
        """
        caches = Caches(store, remotes_of(store, network=network), Access(environment))
        caches.refresh()
        return SharedObjects(store, caches)

    def which(self, names: Mapping[str, ObjectName]) -> set[str]:
        """Return the labels of the objects that are available."""
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
        """Fetch an object if it is not here. Raises BitBakeError if it is not available."""
        published = self.away.get(name.static_key)
        if published is None or object_output(self.store, name) is not None:
            return
        remote = next(remote for remote in self.caches.remotes if remote.name == published.remote)
        fetched = fetch(self.store, remote, self.caches.access, [published])
        self.store.objects.refresh()
        if not fetched.tasks:
            raise BitBakeError(
                "; ".join([fetched.failed, *fetched.notes]).strip("; "),
                hint="the task runs instead",
            )
        if object_output(self.store, name) is None:  # another multiconfig published it
            output = OutputRef(published.task.key, published.task.task_hash)
            commit = self.store.refs.get(str(output))
            if commit is not None:
                self.store.refs.update(RefUpdate(name.static_ref, commit))

    def packed(self, name: ObjectName) -> Packed:
        """Return an object that is here. Raises BitBakeError for one that is not."""
        commit = object_output(self.store, name)
        if commit is None:
            raise BitBakeError(f"{name.archive} is not in the store", hint="the task runs instead")
        pair = read_pair(self.store.objects, self.store.objects.commit(commit).tree)
        dated = _dated(self.store, name, commit)
        return Packed(name.static_key, pair, dated, name.cleaned_key, taken=True)

    def take_notes(self) -> list[str]:
        """Return the notes for the user since the last call."""
        notes, self.caches.notes = self.caches.notes, []
        return notes


def archive(store: Store, request: ArchiveRequest, body: bytes) -> Packed:
    """Capture what sstate.bbclass would pack.

    It is durable, and no ref holds it yet: the task has not ended.
    """
    folder = Path(request["folder"])
    with store.objects.writer() as writer:
        faked = read_faked({}, body) if body else {}
        snapshot = capture(store, folder, writer, exclude=NOTHING, faked=faked)
        pair = snapshot.output(b"", writer)
        assert pair is not None  # the folder itself
        name = ObjectName(*request["object"])
        return Packed(name.static_key, pair, snapshot.pair.attributes, name.cleaned_key)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An object that was put in place, and what is left for a process under pseudo to do."""

    packed: Packed
    entries: list[ObjectEntry]


def unpack(store: Store, packed: Packed, folder: Path, *, faked: bool) -> Unpacked:
    """Put an object in place where sstate.bbclass would unpack it.

    Only pseudo can make devices and owners: a process under it (`faked`) gets a list of them, for
    others they are left out. Raises BitBakeError for an object that no capture gives.
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
    """Yield the tasks, of all multiconfigs, whose runs may have made an object."""
    yield name.key
    refs = map(parse_ref, store.refs.list(f"{OUTPUTS}{MULTICONFIG}.*.{name.pn}/{name.task}/*"))
    yield from dict.fromkeys(ref.key for ref in refs if isinstance(ref, OutputRef))


def clean(store: Store, name: ObjectName) -> None:
    """Make a task's objects unfindable, of any unihash, as `-c cleansstate` deletes archives.

    The task has to make its object again before one of a remote is used.
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
    """Return the attributes with mtimes of an output, from the record of a run that gave it."""
    output = store.objects.commit(commit).tree
    for record in _records_of_output(store, name, commit):
        with contextlib.suppress(StoreError):
            parts = read_record(store.objects, record).parts
            if parts.get(OUTPUT) == output and DATED in parts:
                return parts[DATED]
    return None


def _records_of_output(store: Store, name: ObjectName, commit: Oid) -> Iterator[CommitId]:
    """Yield the records of runs whose output is a commit."""
    for key in _keys(store, name):
        for ref, oid in store.refs.list(outputs_of(key)).items():
            if oid == commit:
                yield from _records(store, key, ref.rpartition("/")[2] + "/")


def _records(store: Store, key: TaskKey, below: str = "") -> list[CommitId]:
    """Return the records of a task's runs, or of those `below` one task hash, the newest first."""
    runs = store.refs.list(f"{runs_of(key)}{below}").values()
    records = [record_of(store.objects, oid) for oid in runs]
    alone = store.refs.list(f"{RECORDS}{key.path}/{below}").values()
    return [*records, *map(CommitId, alone)][::-1]


def _plain(listing: Listing) -> Listing:
    """Leave out what only root, or pseudo, may make."""
    return {name: node._replace(owner=ROOT) for name, node in listing.items() if not node.is_device}


def _for_pseudo(writer: ObjectWriter, pair: Pair, path: bytes = b"") -> Pair:
    """Leave out what pseudo has to see being made: devices, and all but the first of files that are
    linked.
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
    """Return what a process under pseudo makes of a directory, the deepest entries first.

    Raises BitBakeError for a file that is linked to one that is not there.
    """
    rows = []
    top = read_listing(writer, pair)[b"."]
    nodes = walk(writer, pair)
    first = {path for path, node in nodes if node.link == path and not node.is_directory}
    for path, node in [(b".", top), *nodes]:
        # the path of a link may lead through a symlink of the object to any file of the machine
        if node.link and node.link not in first:
            raise BitBakeError(
                f"{os.fsdecode(path)} is linked to {os.fsdecode(node.link)}, which is not in the"
                " object",
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
