"""Check the history of builds, and rewrite it if it is damaged.

The commit of a build names the build before it. If one is lost, all later ones are rewritten with
the same lists, author and message, on top of the nearest earlier build that remains. Labels and
pins move with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from prov.errors import StoreError
from prov.fsck.findings import Problem
from prov.fsck.reach import Reach
from prov.records.build_list import BuildList, decode_tasks
from prov.records.ids import CommitId
from prov.records.refs import BUILDS, LABELS, PINS, LabelRef
from prov.store.objects import EMPTY_TREE, MODE_DIRECTORY, Commit, Entry, Oid
from prov.store.odb import ObjectDatabase, ObjectWriter
from prov.store.repository import Store

REWRITE = "rewrite the builds without the invalid parts"
REQUIRED = frozenset({b"build", b"tasks"})
"""Entries of every build."""


@dataclass(slots=True)
class BuildChecker:
    """Checks builds, and each recipe's list once."""

    store: Store
    _lists: set[tuple[str, Oid]] = field(default_factory=set)

    def check(self, refs: Mapping[str, Oid]) -> Iterator[Problem]:
        """Yield a problem for each build with invalid lists that these refs hold."""
        for commit in chain(self.store.objects, refs):
            wrong = self.wrong(commit)
            if wrong:
                yield Problem("build", commit.hex(), wrong, (BUILDS,), REWRITE)

    def wrong(self, commit: Oid) -> str:
        """Return what is wrong with a build without missing objects, an empty text if valid."""
        build = BuildList(self.store, CommitId(commit))
        try:
            entries = self.store.objects.tree(self.store.objects.commit(commit).tree)
            if not {entry.name for entry in entries} >= REQUIRED:
                return "is not a build, but is in the history of builds"
            for recipe, oid in build.listed():
                if (recipe, oid) not in self._lists:
                    decode_tasks(recipe, self.store.objects.blob(oid))
                    self._lists.add((recipe, oid))
            build.timeline()
            build.happened()
        except (StoreError, ValueError) as error:
            return f"has an invalid list: {error}"
        return ""


def build_refs(refs: Mapping[str, Oid]) -> dict[str, Oid]:
    """Return the refs of builds, labels and pins."""
    return {
        name: oid for name, oid in refs.items() if name == BUILDS or name.startswith((LABELS, PINS))
    }


def chain(objects: ObjectDatabase, refs: Mapping[str, Oid]) -> list[CommitId]:
    """Return the readable commits of all builds that refs hold, each after its parents."""
    readable: dict[Oid, None] = {}
    pending = [*build_refs(refs).values()]
    parents: dict[Oid, tuple[Oid, ...]] = {}
    while pending:
        oid = pending.pop()
        if oid in parents:
            continue
        try:
            parents[oid] = objects.commit(oid).parents
        except StoreError:
            parents[oid] = ()
            continue
        readable[oid] = None
        pending += parents[oid]
    return [CommitId(oid) for oid in _parents_first(list(readable), parents)]


def _parents_first(oids: list[Oid], parents: Mapping[Oid, tuple[Oid, ...]]) -> list[Oid]:
    ordered: dict[Oid, None] = {}
    nodes = set(oids)
    for top in oids:
        pending = [top]
        while pending:
            oid = pending[-1]
            left = [parent for parent in parents[oid] if parent in nodes and parent not in ordered]
            if left:
                pending += left
            else:
                ordered[pending.pop()] = None
    return list(ordered)


Replacements = dict[Oid, Oid | None]
"""Build -> its replacement; None if nothing of it remains."""


def rewrite(
    writer: ObjectWriter, store: Store, reach: Reach, refs: Mapping[str, Oid], tips: list[CommitId]
) -> Replacements:
    """Write the builds that change, and return the replacement of each changed build.

    A build with a lost list keeps its other lists. `tips` are builds that only a lost build held,
    the newest last.
    """
    rewriter = _Rewriter(writer, store, reach, tips)
    older = {str(LabelRef(oid.hex())): Oid(oid) for oid in tips}
    for oid in dict.fromkeys([*chain(store.objects, older), *chain(store.objects, refs)]):
        rewriter.add(oid)
    lost = {oid: None for oid in build_refs(refs).values() if oid not in reach.have}
    return rewriter.replacements | lost


@dataclass(slots=True)
class _Rewriter:
    """Rewrites builds without lost parts, each after its parents."""

    writer: ObjectWriter
    store: Store
    reach: Reach
    tips: list[CommitId]
    checker: BuildChecker = field(init=False)
    replacements: Replacements = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.checker = BuildChecker(self.store)

    def add(self, oid: CommitId) -> None:
        """Rewrite a build if it or an earlier build changes."""
        commit = self.store.objects.commit(oid)
        tree: Oid | None = commit.tree
        if not self.reach.is_whole(commit.tree) or self.checker.wrong(oid):
            tree = _mended(self.writer, self.store, self.reach, commit.tree)
        parents = self._parents(oid, commit)
        if tree is None:
            self.replacements[oid] = next(iter(parents), None)
        elif tree != commit.tree or parents != commit.parents:
            rewritten = replace(commit, tree=tree, parents=parents)
            self.replacements[oid] = self.writer.add_commit(rewritten)

    def _parents(self, oid: CommitId, commit: Commit) -> tuple[Oid, ...]:
        """Return the new parents of a build; the nearest earlier tip for a lost parent."""
        seconds = commit.author.seconds
        earlier = [tip for tip in self.tips if tip != oid and self._seconds(tip) <= seconds]
        parents = []
        for parent in commit.parents:
            is_lost = parent not in self.replacements and parent not in self.reach.have
            replacement = self._replacement(earlier[-1] if is_lost and earlier else parent)
            if replacement is not None:
                parents.append(replacement)
        return tuple(parents)

    def _replacement(self, oid: Oid) -> Oid | None:
        if oid in self.replacements:
            return self.replacements[oid]
        return oid if oid in self.reach.have else None

    def _seconds(self, oid: Oid) -> int:
        return self.store.objects.commit(oid).author.seconds


def newest(
    store: Store, replacements: Mapping[Oid, Oid | None], reach: Reach, oids: Iterable[Oid]
) -> Oid | None:
    """Return the newest readable build after `rewrite`."""
    readable = [oid for oid in oids if oid in reach.have]
    last = max(readable, key=lambda oid: store.objects.commit(oid).author.seconds, default=None)
    return None if last is None else replacements.get(last, last)


def _mended(writer: ObjectWriter, store: Store, reach: Reach, tree: Oid) -> Oid | None:
    """Return a build's tree without lost or malformed lists, None if it would not be a build."""
    if tree not in reach.have:
        return None
    entries = []
    for entry in store.objects.tree(tree):
        if entry.name == b"tasks" and entry.mode == MODE_DIRECTORY:
            entries.append(entry._replace(oid=_mended_lists(writer, store, reach, entry.oid)))
        elif entry.mode != MODE_DIRECTORY and _is_text(store, reach, entry):
            entries.append(entry)
    if not {entry.name for entry in entries} >= REQUIRED:
        return None
    return writer.add_tree(entries)


def _mended_lists(writer: ObjectWriter, store: Store, reach: Reach, tree: Oid) -> Oid:
    if tree not in reach.have:
        return EMPTY_TREE
    return writer.add_tree(
        [entry for entry in store.objects.tree(tree) if _is_list(store, reach, entry)]
    )


def _is_list(store: Store, reach: Reach, entry: Entry) -> bool:
    if entry.oid not in reach.have:
        return False
    try:
        decode_tasks(entry.name.decode(), store.objects.blob(entry.oid))
    except (StoreError, ValueError):
        return False
    return True


def _is_text(store: Store, reach: Reach, entry: Entry) -> bool:
    """Return whether a file of a build is readable and, if it is the timeline, well-formed."""
    if entry.oid not in reach.have:
        return False
    if entry.name != b"timeline":
        return True
    lines = store.objects.blob(entry.oid).decode("utf-8", "replace").splitlines()
    return all(is_span(line) for line in lines)


def is_span(line: str) -> bool:
    """Return whether a line of a timeline is well-formed: a task and three numbers."""
    parts = line.split(" ")
    if len(parts) != 4:
        return False
    try:
        _ = float(parts[1]), float(parts[2]), int(parts[3])
    except ValueError:
        return False
    return True
