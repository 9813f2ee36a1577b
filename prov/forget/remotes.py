"""Search published results for content to delete, and delete those results from remotes.

Records are read from the store if it has them, and fetched otherwise. Results that cannot be
fetched may have the content and are reported.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import ProvError, StoreError
from prov.intake.source import Source, read_whole
from prov.intake.wellformed import BadObject
from prov.remote.bases import choose_bases
from prov.remote.git_remote import GitRemote
from prov.remote.incoming import Incoming
from prov.remote.opening import AnyRemote, open_remote
from prov.remote.publication import Published
from prov.remote.settings import Remote
from prov.remote.shrink import free, shrink
from prov.remote.static.export import read_manifest
from prov.sharing.pushing import exported_folders
from prov.sharing.results import holds
from prov.store.objects import MODE_DIRECTORY, Oid, decode_commit, decode_tree
from prov.store.repository import Store
from prov.transport.access import Access
from prov.transport.address import without_password
from prov.transport.pack_ranges import PackIndex, open_entry

BATCH = 1 << 30
"""Size in bytes on disk of the results fetched in one batch."""


class Unreadable(Exception):
    """An object is neither in the store nor in the fetched objects."""


_UNREADABLE = (Unreadable, BadObject, ValueError, IndexError)
"""Raised for an object that is missing, too large, or malformed."""


@dataclass(frozen=True, slots=True)
class Targets:
    """The content to delete."""

    objects: Collection[Oid]
    text: bytes = b""
    keys: frozenset[str] = frozenset()
    """Search the text only in results of these tasks; empty means all tasks."""
    clean: Collection[Oid] = ()
    """Objects in the store known not to contain the text."""


@dataclass(slots=True)
class Search:
    """Searches the results of a remote."""

    store: Store
    opened: AnyRemote
    targets: Targets
    unsearched: dict[Published, str] = field(default_factory=dict)
    """Result -> reason why it could not be searched."""
    _holding: dict[Published, bool] = field(default_factory=dict)
    _clean: set[Oid] = field(default_factory=set)

    def bad(self) -> list[Published]:
        """Return the results with content to delete."""
        tasks = [task for task, *_ in self.opened.index.tasks(refused=True)]
        new = [task for task in tasks if task not in self._holding]
        away = [task for task in new if not self._search(task, None)]
        for batch in _batches(away):
            self._search_away(batch)
        return [task for task in tasks if self._holding.get(task)]

    def _search_away(self, tasks: Sequence[Published]) -> None:
        commits = [oid for task in tasks for oid in (task.commit, task.workdir) if oid]
        bases = choose_bases(self.opened.index, tasks, lambda task: holds(self.store, task))
        try:
            with self.opened.objects(commits, bases) as source:
                for task in tasks:
                    if not self._search(task, source):
                        self.unsearched[task] = "an object is missing or malformed"
        except ProvError as error:
            self.unsearched |= {task: str(error) for task in tasks if task not in self._holding}

    def _search(self, task: Published, source: Source | None) -> bool:
        """Search a result in the store and in fetched objects; return False if it is unreadable."""
        keys = self.targets.keys
        by_text = bool(self.targets.text) and (not keys or task.key in keys)
        try:
            holds_it = by_text and self._tree(task.record, source)
            if not holds_it and task.workdir:
                holds_it = self._line(task.workdir, source, by_text=by_text)
        except _UNREADABLE:
            return False
        self._holding[task] = holds_it
        self.unsearched.pop(task, None)
        return True

    def _line(self, oid: Oid, source: Source | None, *, by_text: bool) -> bool:
        """Return whether a WORKDIR, a predecessor, or one of their records has the content."""
        pending, visited = [oid], set[Oid]()
        while pending:
            ancestor = pending.pop()
            if ancestor in visited:
                continue
            visited.add(ancestor)
            if ancestor in self.targets.objects:
                return True
            commit = decode_commit(self._read(ancestor, source))
            # earlier WORKDIRs belong to other tasks
            searched = by_text and (not self.targets.keys or ancestor == oid)
            if searched and self._tree(commit.tree, source):
                return True
            pending += commit.parents
        return False

    def keeps(self, workdir: Oid) -> bool:
        """Return whether the WORKDIR of a remaining result may stay."""
        try:
            return not self._line(
                workdir, None, by_text=bool(self.targets.text) and not self.targets.keys
            )
        except _UNREADABLE:
            return False

    def _tree(self, top: Oid, source: Source | None) -> bool:
        pending, visited = [(top, MODE_DIRECTORY)], set[Oid]()
        while pending:
            oid, mode = pending.pop()
            if oid in visited or oid in self._clean:
                continue
            visited.add(oid)
            if self._is_hit(oid, source, is_tree=mode == MODE_DIRECTORY):
                return True
            if mode == MODE_DIRECTORY:
                pending += [
                    (entry.oid, entry.mode) for entry in decode_tree(self._read(oid, source))
                ]
        self._clean |= visited
        return False

    def _is_hit(self, oid: Oid, source: Source | None, *, is_tree: bool) -> bool:
        if oid in self.targets.objects:
            return True
        if oid in self.targets.clean:
            return False
        if is_tree:
            return tree_has_text(self._read(oid, source), self.targets.text)
        return has_text(self._chunks(oid, source), self.targets.text)

    def _read(self, oid: Oid, source: Source | None) -> bytes:
        """Return the content of a tree or a commit. Raises Unreadable or BadObject."""
        with contextlib.suppress(StoreError):
            return self.store.objects.read(oid)[1]
        limit = self.opened.remote.record_limit
        content = read_whole(source, oid, limit) if source else None
        if content is None:
            raise Unreadable
        return content[1]

    def _chunks(self, oid: Oid, source: Source | None) -> Iterator[bytes]:
        """Return the content of a file in chunks. Raises Unreadable."""
        with contextlib.suppress(StoreError):
            return self.store.objects.stream(oid)[2]
        content = source(oid) if source else None
        if content is None:
            raise Unreadable
        return content.chunks


def has_text(chunks: Iterator[bytes], text: bytes) -> bool:
    """Return whether a file, in chunks, contains a text."""
    if not text:
        return False
    end = b""
    for chunk in chunks:
        data = end + chunk
        if text in data:
            return True
        end = data[len(data) - len(text) + 1 :] if len(data) >= len(text) else data
    return False


def tree_has_text(data: bytes, text: bytes) -> bool:
    """Return whether a folder has an entry with a text in its name."""
    return bool(text) and text in data and any(text in entry.name for entry in decode_tree(data))


def _batches(tasks: Sequence[Published]) -> Iterator[list[Published]]:
    batch: list[Published] = []
    size = 0
    for task in tasks:
        batch.append(task)
        size += task.size
        if size > BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def forget_at(
    store: Store,
    remote: Remote,
    targets: Targets,
    access: Access,
    left: list[str],
    *,
    dry_run: bool = False,
) -> int:
    """Delete results from a remote, and return their number.

    With `dry_run`, only count them. Appends to `left` the places that may still have the content,
    with the reason.
    """
    where = f"{remote.name} ({without_password(remote.url)})"
    try:
        opened = open_remote(remote, store, access)
        opened.refresh()
        search = Search(store, opened, targets)
        bad = search.bad()
        if search.unsearched:
            count = len(search.unsearched)
            why = next(iter(search.unsearched.values()))
            results = "1 result" if count == 1 else f"{count} results"
            left.append(f"{where}: cannot search {results}: {why}")
        if dry_run:
            return len(bad)
        if not isinstance(opened, GitRemote):
            if bad:
                left.append(f"{where}: plain files; delete that folder and export again")
            return 0
        shrunk = shrink(opened, search.bad, keeps_workdir=search.keeps)
        _report_branches(opened, left, where)
    except ProvError as error:
        left.append(f"{where}: {error}")
        return 0
    if shrunk.removed and not free(opened, prune="now"):
        left.append(
            f"{where}: deleted from all branches, but kept until the server collects garbage"
        )
    return len(shrunk.removed)


def _report_branches(opened: GitRemote, left: list[str], where: str) -> None:
    with opened.scratch() as scratch:
        holding = Incoming(opened, scratch).holding()
    if holding:
        left.append(
            f"{where}: {', '.join(holding)} of a running or interrupted push may have it; try"
            " again in a day"
        )


def search_exports(store: Store, targets: Targets) -> list[str]:
    """Return a line for each folder of `prov export` with content to delete."""
    lines = []
    for folder in exported_folders(store) if targets.text else []:
        try:
            bad = _export_holds(folder, targets)
        except (ProvError, OSError) as error:
            lines.append(f"{folder}: cannot search exported files: {error}")
            continue
        if bad:
            lines.append(f"{folder}: exported files; delete the folder and export again")
    return lines


def _entry_holds(fd: int, start: int, text: bytes) -> bool:
    entry = open_entry(fd, start)
    if entry is None:
        return False
    kind, _size, chunks = entry
    try:
        return tree_has_text(b"".join(chunks), text) if kind == "tree" else has_text(chunks, text)
    except (ValueError, IndexError):  # damaged
        return False


def _export_holds(folder: Path, targets: Targets) -> bool:
    for bundle in read_manifest(folder).bundles if folder.is_dir() else ():
        index = PackIndex(folder / f"{bundle.name}.idx")
        size = bundle.size - bundle.header
        with open(folder / f"{bundle.name}.bundle", "rb") as stream:
            for oid, start, _end in index.within(0, size, size):
                if oid in targets.objects or _entry_holds(
                    stream.fileno(), bundle.header + start, targets.text
                ):
                    return True
    return False
