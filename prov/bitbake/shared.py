"""Shared state as outputs: what sstate.bbclass packs is captured as a tree, and put back from one.

An object is found by the name that BitBake gives it, which has the unihash in it: that name's id is
the static key of the task whose output it is, so that remotes are asked for it as for any other
result. The name has no multiconfig, and the ref that holds an object has none: what one
configuration made serves all. An output has no mtimes; these objects have, since packages and make
look at them: they are kept in the record.

A task whose shared state was cleaned has a ref that says so. Until the task made an object again,
none of it is found, here or at a remote.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from prov.bitbake.capture import UNIHASH_FACT, Packed, cleaned_ref, read_faked
from prov.bitbake.signature import MULTICONFIG, split_name
from prov.errors import BitBakeError, StoreError
from prov.files import remove_tree
from prov.records.ids import CommitId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.refs import RECORDS, OutputRef, StaticRef
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
    """What an object is called: by recipe and task, and the parts of the name that BitBake gives
    its archive.
    """

    pn: str
    task: str
    spec: str
    """What is before the unihash, without the folders of two letters."""
    unihash: str

    @property
    def task_key(self) -> str:
        return f"{self.pn}:{self.task}"

    @property
    def archive(self) -> str:
        return f"{self.spec}{self.unihash}_{self.task.removeprefix('do_')}"

    @property
    def static_key(self) -> Oid:
        return hashlib.sha1(b"shared state " + self.archive.encode()).digest()

    @property
    def cleaned_key(self) -> Oid:
        """The id of the objects that `-c cleansstate` removes along with this one: those of any
        unihash.
        """
        return hashlib.sha1(b"cleaned " + self._replace(unihash="").archive.encode()).digest()


def object_output(store: Store, name: ObjectName) -> Oid | None:
    """Return the commit of the output that an object is, None where it is not here, or was
    cleaned.
    """
    if is_cleaned(store, name):
        return None
    return store.refs.get(str(StaticRef(TaskKey(name.task_key), StaticKey(name.static_key))))


def is_cleaned(store: Store, name: ObjectName) -> bool:
    return store.refs.get(cleaned_ref(TaskKey(name.task_key), name.cleaned_key)) is not None


def remotes_of(store: Store, *, network: bool) -> list[Remote]:
    """Return the remotes of a store; without the network, those that are folders."""
    return [
        remote for remote in read_remotes(store) if network or folder_of(remote.url) is not None
    ]


@dataclass(slots=True)
class Shared:
    """The objects that are here, and those at remotes, during one build."""

    store: Store
    caches: Caches
    away: dict[Oid, Wanted] = field(default_factory=dict)
    """Objects that a remote has, by their static keys."""

    @staticmethod
    def open(store: Store, environment: Mapping[str, str], *, network: bool) -> Shared:
        """Return what is shared.

        Without the network, remotes that are folders of this machine are asked alone.
        """
        caches = Caches(store, remotes_of(store, network=network), Access(environment))
        caches.refresh()
        return Shared(store, caches)

    def which(self, names: Mapping[str, ObjectName]) -> set[str]:
        """Return those whose objects can be had."""
        found = set()
        for label, name in names.items():
            if object_output(self.store, name) is not None or self._published(name):
                found.add(label)
        return found

    def _published(self, name: ObjectName) -> bool:
        if is_cleaned(self.store, name):
            return False
        for remote in self.caches.opened():
            task = remote.index.find_static(StaticKey(name.static_key))
            if task is not None and _without_multiconfig(task.key) == name.task_key:
                self.away[name.static_key] = Wanted(remote.name, task, StaticKey(name.static_key))
                return True
        return False

    def has(self, name: ObjectName) -> bool:
        return name.static_key in self.away or object_output(self.store, name) is not None

    def bring(self, name: ObjectName) -> None:
        """Fetch an object if it is not here. Raises BitBakeError where it can't be had."""
        wanted = self.away.get(name.static_key)
        if wanted is None or object_output(self.store, name) is not None:
            return
        remote = next(each for each in self.caches.remotes if each.name == wanted.remote)
        got = fetch(self.store, remote, self.caches.access, [wanted])
        self.store.objects.refresh()
        if not got.tasks:
            raise BitBakeError(
                "; ".join([got.failed, *got.notes]).strip("; "), hint="the task runs instead"
            )
        if object_output(self.store, name) is None:  # another multiconfig published it
            commit = self.store.refs.get(str(OutputRef(wanted.task.key, wanted.task.task_hash)))
            if commit is not None:
                self.store.refs.update(
                    RefUpdate(
                        str(StaticRef(TaskKey(name.task_key), StaticKey(name.static_key))), commit
                    )
                )

    def packed(self, name: ObjectName) -> Packed:
        """Return an object that is here. Raises BitBakeError for one that is not."""
        commit = object_output(self.store, name)
        if commit is None:
            raise BitBakeError(f"{name.archive} is not in the store", hint="the task runs instead")
        pair = read_pair(self.store.objects, self.store.objects.commit(commit).tree)
        return Packed(
            name.static_key, pair, _dated(self.store, name, commit), name.cleaned_key, taken=True
        )

    def notes(self) -> list[str]:
        """Return what somebody should know, once."""
        found, self.caches.notes = self.caches.notes, []
        return found


def archive(store: Store, told: Mapping[str, Any], body: bytes) -> Packed:
    """Capture what sstate.bbclass would pack.

    It is durable, and no ref holds it yet: the task has not ended.
    """
    folder = Path(told["folder"])
    with store.objects.writer() as writer:
        faked = read_faked({}, body) if body else {}
        found = capture(store, folder, writer, exclude=NOTHING, faked=faked)
        pair = found.output(b"", writer)
        assert pair is not None  # the folder itself
        name = ObjectName(*told["object"])
        return Packed(name.static_key, pair, found.pair.attributes, name.cleaned_key)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An object that was put in place, and what is left for a process under pseudo to do."""

    packed: Packed
    entries: list[list[Any]]


def unpack(store: Store, packed: Packed, told: Mapping[str, Any]) -> Unpacked:
    """Put an object in place where sstate.bbclass would unpack it.

    Only pseudo can make devices and owners: a process under it gets a list of them, for others they
    are left out. Raises BitBakeError for an object that no capture gives.
    """
    pair, dated = packed.pair, packed.dated
    folder = Path(told["folder"])
    with store.objects.writer(memory=True) as writer:
        wanted = Pair(pair.tree, dated) if dated is not None else pair
        plain = (
            _for_pseudo(writer, wanted)
            if told["faked"]
            else map_directories(writer, wanted, _plain, writer, mtimes=True)
        )
        entries = _entries(writer, wanted) if told["faked"] else []
        for left in folder.iterdir():
            remove_tree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        checkout(writer, folder, plain)
    return Unpacked(packed, entries)


def _without_multiconfig(key: TaskKey) -> str:
    recipe, _, task = key.partition(":")
    return f"{split_name(recipe)[1]}:{task}"


def _keys(store: Store, name: ObjectName) -> Iterator[str]:
    """Yield the tasks, of all multiconfigs, whose runs may have made an object."""
    yield name.task_key
    refs = store.refs.list(f"refs/prov/output/{MULTICONFIG}.*.{name.pn}/{name.task}/*")
    yield from dict.fromkeys(":".join(ref.split("/")[3:5]) for ref in refs)


def clean(store: Store, name: ObjectName) -> None:
    """Make a task's objects unfindable, of any unihash, as `-c cleansstate` deletes archives.

    The task has to make its object again before one of a remote is used.
    """
    known = store.refs.list(f"refs/prov/static/{name.pn}/{name.task}/")
    hashes = {
        facts.get(UNIHASH_FACT, "")
        for key in _keys(store, name)
        for facts in _recorded(store, TaskKey(key))
    }
    names = {
        str(StaticRef(TaskKey(name.task_key), StaticKey(name._replace(unihash=unihash).static_key)))
        for unihash in hashes
    }
    with store.objects.writer() as writer:
        mark = writer.add_commit(Commit(EMPTY_TREE, (), CONSTANT_IDENTITY, "cleaned\n"))
        writer.finish()
    deleted = [RefUpdate(ref, None) for ref in known if ref in names]
    store.refs.update(
        RefUpdate(cleaned_ref(TaskKey(name.task_key), name.cleaned_key), mark), *deleted
    )


def _recorded(store: Store, key: TaskKey) -> Iterator[Mapping[str, str]]:
    """Yield the facts of a task's runs."""
    for record in _records(store, key):
        with contextlib.suppress(StoreError):
            yield record_facts(store, CommitId(record))


def _dated(store: Store, name: ObjectName, commit: Oid) -> Oid | None:
    """Return the attributes with mtimes of an output, from the record of a run that gave it."""
    output = store.objects.commit(commit).tree
    for key in _keys(store, name):
        hashes = [
            ref.rpartition("/")[2]
            for ref, oid in store.refs.list(str(OutputRef(TaskKey(key), TaskHash(b"")))).items()
            if oid == commit
        ]
        for record in (
            record for task_hash in hashes for record in _records(store, TaskKey(key), task_hash)
        ):
            with contextlib.suppress(StoreError):
                held = {
                    entry.name: entry.oid
                    for entry in store.objects.tree(store.objects.commit(record).tree)
                }
                if held.get(b"output") == output and b"dated" in held:
                    return held[b"dated"]
    return None


def _records(store: Store, key: TaskKey, task_hash: str = "") -> list[Oid]:
    """Return the records of a task's runs, of one task hash or of all, the newest first."""
    path = f"{key.replace(':', '/')}/{task_hash}/".replace("//", "/")
    records = [
        store.objects.commit(oid).parents[1]
        for oid in store.refs.list(f"refs/tags/{path}").values()
    ]
    records += store.refs.list(f"{RECORDS}{path}").values()
    return records[::-1]


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


def _entries(writer: ObjectWriter, pair: Pair) -> list[list[Any]]:
    """Return path, mode, owner, device, mtime, xattrs and link of everything in a directory, the
    deepest first.

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
                hint="don't trust its origin",
            )
        own = read_listing(writer, node.pair)[b"."] if node.is_directory and path != b"." else node
        xattrs = [[os.fsdecode(name), value.hex()] for name, value in own.xattrs]
        rows.append(
            [
                os.fsdecode(path),
                own.mode,
                *own.owner,
                own.rdev,
                own.mtime,
                xattrs,
                os.fsdecode(own.link),
            ]
        )
    return rows[::-1]
