"""Shared state as outputs: what sstate.bbclass packs is captured as a tree, and put back from one.

An object is found by the name that BitBake gives it, which has the unihash in it: that name's id is the static key of
the task whose output it is, so that remotes are asked for it as for any other result. An output has no mtimes; these
objects have, since packages and make look at them: they are kept in the record.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from prov.bitbake.capture import Packed, Task, read_faked
from prov.bitbake.signature import recipe_name
from prov.build.caches import Caches, Wanted, fetch
from prov.build.record import RECORDS, output_ref, read_pair, static_ref, tag_prefix
from prov.errors import BitBakeError, StoreError
from prov.files import remove_tree
from prov.remote.access import Access
from prov.remote.address import folder_of
from prov.remote.settings import Remote, read_remotes
from prov.store.objects import Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.worktree.attributes import ROOT, Listing, Pair, map_directories, read_listing, walk, write_listing
from prov.worktree.checkout import checkout
from prov.worktree.exclude import Exclude
from prov.worktree.snapshot import capture

NOTHING = Exclude(())


class ObjectName(NamedTuple):
    """What an object is called: by multiconfig, recipe and task, and as BitBake names archives."""

    mc: str
    pn: str
    task: str
    archive: str

    @property
    def task_key(self) -> str:
        return f"{recipe_name(self.mc, self.pn)}:{self.task}"

    @property
    def static_key(self) -> Oid:
        return hashlib.sha1(b"shared state " + self.archive.encode()).digest()


def object_output(store: Store, name: ObjectName) -> Oid | None:
    """Return the commit of the output that an object is, None where it is not here."""
    return store.refs.get(static_ref(name.task_key, name.static_key))


def remotes_of(store: Store, *, network: bool) -> list[Remote]:
    """Return the remotes of a store; without the network, those that are folders."""
    return [remote for remote in read_remotes(store) if network or folder_of(remote.url) is not None]


@dataclass(slots=True)
class Shared:
    """The objects that are here, and those at remotes, during one build."""

    store: Store
    caches: Caches
    away: dict[Oid, Wanted] = field(default_factory=dict)
    """Objects that a remote has, by their static keys."""

    @staticmethod
    def open(store: Store, environment: Mapping[str, str], *, network: bool) -> Shared:
        """Return what is shared. Without the network, remotes that are folders of this machine are asked alone."""
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
        for remote in self.caches.opened():
            task = remote.index.find_static(name.static_key)
            if task is not None and task.key == name.task_key:
                self.away[name.static_key] = Wanted(remote.name, task, name.static_key)
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
            raise BitBakeError("; ".join([got.failed, *got.notes]).strip("; "), hint="the task runs instead")

    def notes(self) -> list[str]:
        """Return what somebody should know, once."""
        found, self.caches.notes = self.caches.notes, []
        return found


def archive(store: Store, task: Task, told: Mapping[str, Any], body: bytes) -> Packed:
    """Capture what sstate.bbclass would pack. It is durable, and no ref holds it yet: the task has not ended."""
    folder = Path(told["folder"])
    with store.objects.writer() as writer:
        faked = read_faked({}, body) if body else {}
        found = capture(store, folder, writer, exclude=NOTHING, faked=faked)
        pair = found.output(b"", writer)
        assert pair is not None  # the folder itself
        return Packed(ObjectName(*task.name, told["object"]).static_key, pair, found.pair.attributes)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """An object that was put in place, and what is left for a process under pseudo to do."""

    packed: Packed
    entries: list[list[Any]]


def unpack(store: Store, task: Task, name: ObjectName, told: Mapping[str, Any]) -> Unpacked:
    """Put an object in place where sstate.bbclass would unpack it.

    Devices and owners are for pseudo to give: for a process under it they are told, else left out.
    """
    commit = object_output(store, name)
    if commit is None:
        raise BitBakeError(f"{name.archive} is not in the store", hint="the task runs instead")
    output = store.objects.commit(commit).tree
    pair = read_pair(store.objects, output)
    dated = _dated(store, task, commit)
    folder = Path(told["folder"])
    with store.objects.writer(memory=True) as writer:
        wanted = Pair(pair.tree, dated) if dated is not None else pair
        plain = (
            _for_pseudo(writer, wanted)
            if told["faked"]
            else map_directories(writer, wanted, _plain, writer, mtimes=True)
        )
        for left in folder.iterdir():
            remove_tree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
        checkout(writer, folder, plain)
        entries = _entries(writer, wanted) if told["faked"] else []
    return Unpacked(Packed(name.static_key, pair, dated, taken=True), entries)


def _dated(store: Store, task: Task, commit: Oid) -> Oid | None:
    """Return the attributes with mtimes of an output, from the record of a run that gave it."""
    prefix = output_ref(task.key, b"")
    for name in (name for name, oid in store.refs.list(prefix).items() if oid == commit):
        tags = f"{tag_prefix(task.key, bytes.fromhex(name.rpartition('/')[2]))}/"
        runs = [store.objects.commit(oid).parents[1] for oid in store.refs.list(tags).values()]
        runs += store.refs.list(RECORDS + tags.removeprefix("refs/tags/")).values()
        for record in reversed(runs):
            with contextlib.suppress(StoreError):
                held = {entry.name: entry.oid for entry in store.objects.tree(store.objects.commit(record).tree)}
                if held.get(b"output") == store.objects.commit(commit).tree and b"dated" in held:
                    return held[b"dated"]
    return None


def _plain(listing: Listing) -> Listing:
    """Leave out what only root, or pseudo, may make."""
    return {name: node._replace(owner=ROOT) for name, node in listing.items() if not node.is_device}


def _for_pseudo(writer: ObjectWriter, pair: Pair, path: bytes = b"") -> Pair:
    """Leave out what pseudo has to see being made: devices, and all but the first of files that are linked."""
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
    """Return path, mode, owner, device, mtime, xattrs and link of everything in a directory, the deepest first."""
    rows = []
    top = read_listing(writer, pair)[b"."]
    for path, node in [(b".", top), *walk(writer, pair)]:
        own = read_listing(writer, node.pair)[b"."] if node.is_directory and path != b"." else node
        xattrs = [[os.fsdecode(name), value.hex()] for name, value in own.xattrs]
        rows.append([os.fsdecode(path), own.mode, *own.owner, own.rdev, own.mtime, xattrs, os.fsdecode(own.link)])
    return rows[::-1]
