"""Decide what happens to damaged refs and to refs with lost objects. Writes only new commits.

A run with a lost WORKDIR keeps its record. A lost ref is restored if only one object can be its
target: the run that no ref holds, or the output that the runs name. Every other such ref is
deleted, and the task runs again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from prov.errors import StoreError
from prov.fsck.builds import build_refs, newest, rewrite
from prov.fsck.findings import Problem
from prov.fsck.numbers import Hole, find_holes, moves_down
from prov.fsck.orphans import Orphans, last_output, tips
from prov.fsck.reach import Reach
from prov.fsck.refs import TOOLCHAIN_MESSAGE, RefChecker, run_of
from prov.records.entries import FIXED
from prov.records.ids import CommitId
from prov.records.output import OUTPUT_MESSAGE
from prov.records.record import read_run_record, record_of
from prov.records.refs import (
    BUILDS,
    PINS,
    RECORDS,
    TAGS,
    DirectoryRef,
    OutputRef,
    PinRef,
    RecordRef,
    Ref,
    RunRef,
    SingleRef,
    ToolchainRef,
    WorkdirRef,
    parse_ref,
)
from prov.store.objects import CONSTANT_IDENTITY, Commit, Oid
from prov.store.odb import ObjectWriter
from prov.store.rawrefs import RawRefs, is_name
from prov.store.repository import Store
from prov.upkeep.pruned import Pruned

SET_TO_OUTPUT = "set to the output of a recorded run"


class Repaired(NamedTuple):
    """One step of a repair."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Damage:
    """The refs that need a decision, by kind of damage."""

    lost: tuple[str, ...]
    """Refs of which only the name is readable.

    Records and tags come first, because the targets of output refs follow from them.
    """
    wrong: tuple[str, ...]
    """Refs that point to an object that does not match their name."""
    invalid: tuple[str, ...]
    """Names that git does not allow."""
    nameless: bool
    """Whether names may be lost too. Then all orphans are named again."""
    builds: bool
    """Whether a build is damaged."""


def damage_of(refs: RawRefs, problems: Iterable[Problem]) -> Damage:
    """Return the refs of a store that need a decision, given its problems."""
    serious = [problem for problem in problems if not problem.harmless]
    wrong = {problem.where for problem in serious if problem.kind == "ref"}
    lost = [name for name in refs.broken if is_name(name)]
    unnamed = any(parse_ref(name) is None or not is_name(name) for name in refs.broken)
    no_builds = BUILDS in wrong and BUILDS not in refs.names
    return Damage(
        lost=tuple(sorted(lost, key=lambda name: not name.startswith((TAGS, RECORDS)))),
        wrong=tuple(sorted(wrong & refs.names.keys())),
        invalid=tuple(name for name in refs.broken if not is_name(name)),
        nameless=bool(refs.packed_wrong) or unnamed or no_builds,
        builds=any(problem.kind == "build" for problem in problems),
    )


@dataclass(slots=True)
class Mending:
    """The refs after the repair, and the decision about each."""

    store: Store
    writer: ObjectWriter
    reach: Reach
    orphans: Orphans
    after: dict[str, Oid]
    done: list[Repaired] = field(default_factory=list)

    def mend(self, refs: RawRefs, damage: Damage) -> None:
        """Decide about all refs."""
        self._mend_builds(damaged=damage.builds)
        self._mend_broken()
        for name in damage.lost:
            if name not in self.after:
                self._restore(name, refs.packed.get(name))
        # skip refs that a correction adds
        for name in [name for name in damage.wrong if name in self.after]:
            self._correct(name)
        if damage.nameless:
            self._name_orphans()
        for name in damage.invalid:
            self._say(name, "deleted: not a valid ref name")
        self._close_holes()

    def _say(self, name: str, what: str) -> None:
        self.done.append(Repaired(name, what))

    def _drop(self, name: str, why: str) -> None:
        del self.after[name]
        self._say(name, f"deleted: {why}")

    # single refs

    def _mend_broken(self) -> None:
        """Decide about all refs that hold lost objects."""
        suspects = [name for name, oid in self.after.items() if oid not in self.reach.whole]
        for name in suspects:
            if not self.reach.is_whole(self.after[name]):
                self._mend_one(name)

    def _mend_one(self, name: str) -> None:
        ref = parse_ref(name)
        if isinstance(ref, RunRef) and not ref.failed:
            record = self._record(ref.record, self.after[name])
            if record is not None:
                del self.after[name]
                self.after[str(ref.record)] = record
                self._say(name, "reduced to its record: its WORKDIR is lost")
                return
        commit = self._computed(ref)
        if commit is None:
            self._drop(name, "its objects are lost")
        else:
            self.after[name] = commit
            self._say(name, SET_TO_OUTPUT)

    def _record(self, ref: RecordRef, run: Oid) -> Oid | None:
        """Return the record of a run with a lost WORKDIR, None if the record is incomplete."""
        try:
            record = record_of(self.store.objects, run)
        except StoreError:
            return self.orphans.take(ref)
        if not self.reach.is_whole(record) or RefChecker(self.store.objects).wrong(ref, record):
            return None
        return record

    def _restore(self, name: str, packed: Oid | None = None) -> None:
        """Restore a ref of which only the name is readable, or delete it.

        `packed` is its older value in packed-refs.
        """
        ref = parse_ref(name)
        commit = self._named_by(ref)
        if commit is None and ref is not None and not isinstance(ref, WorkdirRef | DirectoryRef):
            commit = packed
        if commit is not None and self.reach.is_whole(commit):
            self.after[name] = commit
            self._say(name, f"restored to {commit.hex()}")
        else:
            self._say(name, "deleted: its target is unknown")

    def _named_by(self, ref: Ref | None) -> Oid | None:
        """Return the only possible target of a lost ref, None if there are several."""
        match ref:
            case RunRef() | RecordRef():
                return self.orphans.take(ref)
            case PinRef(build):
                return build if self.reach.is_whole(build) else None
            case SingleRef(name) if name == BUILDS:
                return self._last_build()
        return self._computed(ref)

    def _computed(self, ref: Ref | None) -> Oid | None:
        """Write the target of a ref that follows from its name and the records; return its id."""
        match ref:
            case OutputRef(key, task_hash):
                tree: Oid | None = last_output(self.store, self.after, key, task_hash)
                message = OUTPUT_MESSAGE
            case ToolchainRef(toolchain):
                tree, message = toolchain, TOOLCHAIN_MESSAGE
            case _:
                return None
        if tree is None or not self.reach.is_whole(tree) or self._is_fixed(tree):
            return None
        commit = self.writer.add_commit(Commit(tree, (), CONSTANT_IDENTITY, message))
        self.reach.whole.add(commit)
        return commit

    def _is_fixed(self, tree: Oid) -> bool:
        return any(entry.name == FIXED for entry in self.store.objects.tree(tree))

    def _correct(self, name: str) -> None:
        """Correct a ref with a target that does not match its name, or delete it."""
        ref = parse_ref(name)
        run = None
        if ref is None or isinstance(ref, RunRef):
            run = run_of(self.store.objects, self.after[name])
        if run is not None and not RefChecker(self.store.objects).wrong(run, self.after[name]):
            self._rename(name, run)
            return
        commit = self._computed(ref)
        if commit is not None and commit != self.after[name]:
            self.after[name] = commit
            self._say(name, SET_TO_OUTPUT)
        else:
            self._drop(name, "its target did not match its name")

    def _rename(self, name: str, run: RunRef) -> None:
        """Rename the ref of a run to the run's own name."""
        free, commit = str(self._free(run)), self.after.pop(name)
        tags = (tag for tag in self.after if tag.startswith(TAGS))
        if any(self.after[tag] == commit for tag in tags):
            self._say(name, "deleted: the run has a second, valid ref")
        else:
            self._say(name, f"renamed to {free}")
            self.after[free] = commit

    def _name_orphans(self) -> None:
        """Name the commits that no ref holds: the names of their refs may be lost."""
        pruned = _pruned(self.store)
        for series in sorted(self.orphans.runs, key=lambda ref: ref.failed):
            commits = self.orphans.runs[series]
            for commit in commits if series.prefix not in pruned else ():
                name = str(self._free(series))
                self.after[name] = commit
                self._say(name, "restored (its packed-refs line was unreadable)")
            commits.clear()
        for name in list(self.after):
            run = parse_ref(name)
            if isinstance(run, RunRef) and not run.failed:
                self._name_output(run, pruned)
        if BUILDS not in self.after and (self.orphans.builds or build_refs(self.after)):
            self._restore(BUILDS)

    def _free(self, run: RunRef) -> RunRef:
        """Return the first tag of a series that neither a run nor a record uses."""
        run = replace(run, number=1)
        while str(run) in self.after or (not run.failed and str(run.record) in self.after):
            run = replace(run, number=run.number + 1)
        return run

    def _name_output(self, run: RunRef, pruned: Collection[str]) -> None:
        """Name the output of a task's run. Runs recorded without a recipe have no output ref."""
        ref = OutputRef(run.key, run.task_hash)
        if str(ref) in self.after or str(ref) in pruned:
            return
        if not read_run_record(self.store.objects, self.after[str(run)]).is_recipes:
            return
        commit = self._computed(ref)
        if commit is not None:
            self.after[str(ref)] = commit
            self._say(str(ref), "restored to the output of its run")

    # builds and numbers

    def _last_build(self) -> Oid | None:
        """Return the newest remaining build, held by a label, a pin or no ref.

        A damaged build is rewritten.
        """
        builds = [*build_refs(self.after).values(), *tips(self.store, self.orphans)]
        last = newest(self.store, {}, self.reach, builds)
        if last is None or self.reach.is_whole(last):
            return last
        rewritten = rewrite(self.writer, self.store, self.reach, {**self.after, BUILDS: last}, [])
        self.reach.whole.update(oid for oid in rewritten.values() if oid is not None)
        return rewritten.get(last)

    def _mend_builds(self, *, damaged: bool) -> None:
        """Rewrite the history of builds if it is damaged, and move its refs."""
        refs = build_refs(self.after)
        if not damaged and all(self.reach.is_whole(oid) for oid in refs.values()):
            return
        behind = tips(self.store, self.orphans)
        rewritten = rewrite(self.writer, self.store, self.reach, self.after, behind)
        self.reach.whole.update(oid for oid in rewritten.values() if oid is not None)
        for name, oid in refs.items():
            build = rewritten.get(oid, oid)
            if build is None and name == BUILDS:
                remaining = [*behind, *build_refs(self.after).values()]
                build = newest(self.store, rewritten, self.reach, remaining)
            if build != oid:
                self._move_build(name, build)

    def _move_build(self, name: str, build: Oid | None) -> None:
        """Point the ref of a build to a rewritten build; the name of a pin changes with it."""
        del self.after[name]
        if build is None:
            self._say(name, "deleted: the build is lost")
            return
        new_name = str(PinRef(CommitId(build))) if name.startswith(PINS) else name
        self.after[new_name] = build
        short = build.hex()[:12]
        self._say(name, f"set to {short}: the builds were rewritten without lost parts")

    def _close_holes(self) -> None:
        """Close the gaps in the numbers of runs."""
        for hole in list(find_holes(self.after)):
            if not hole.moves:
                self._stand_in(hole)
        for series in dict.fromkeys(hole.series for hole in find_holes(self.after)):
            for old, new in moves_down(series, self.after):
                self.after[str(new)] = self.after.pop(str(old))
                self._say(str(old), f"renumbered to {new.number} to close a gap")

    def _stand_in(self, hole: Hole) -> None:
        """Fill a gap among runs. The lists of builds name runs by number, so they cannot move."""
        run, later = hole.ref, hole.after
        assert isinstance(run, RunRef)
        assert isinstance(later, RunRef)
        commit = self.orphans.take(run)
        if commit is not None:
            self.after[str(run)] = commit
            self._say(str(run), "restored to a run that no ref held")
            return
        record = self.orphans.take(run.record) or self._record_after(later)
        if record is not None:
            self.after[str(run.record)] = record
            what = f"replaced by the record of {later.tag}: the run is lost"
            self._say(str(run), what)

    def _record_after(self, later: RunRef) -> Oid | None:
        """Return the record of a later run, by its ref or its tag, None if it is lost."""
        record = self.after.get(str(later.record))
        if record is not None:
            return record
        try:
            return record_of(self.store.objects, self.after[str(later)])
        except (StoreError, KeyError):
            return None


def _pruned(store: Store) -> set[str]:
    """Return the collected refs, and the prefixes of collected tags.

    A repair must not restore refs that a rule deleted.
    """
    names = Pruned(store).refs()
    runs = (parse_ref(name) for name in names)
    return names | {run.prefix for run in runs if isinstance(run, RunRef)}
