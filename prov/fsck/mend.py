"""What becomes of refs that are damaged, or hold what is lost: pure but for new commits, which go
to a writer.

A run whose WORKDIR is lost keeps its record. A ref that is lost itself gets what nothing else can
have been: the run that no ref holds, the output that the runs name. Every other ref is dropped, and
the task runs again.
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


class Repaired(NamedTuple):
    """Something that was done."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Damage:
    """The refs that need a decision, by what is wrong with them."""

    lost: tuple[str, ...]
    """Only their names can be read; records and tags first, since outputs follow from these."""
    wrong: tuple[str, ...]
    """They name something else than their names say."""
    invalid: tuple[str, ...]
    """No ref can have such a name."""
    nameless: bool
    """Names may be lost, too: whatever no ref holds gets a ref again."""
    builds: bool
    """A build is damaged."""


def damage_of(refs: RawRefs, problems: Iterable[Problem]) -> Damage:
    """Return which of the refs of a store need a decision, given the problems of its refs."""
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
    """Refs as they will be, and what was decided of each on the way."""

    store: Store
    writer: ObjectWriter
    reach: Reach
    orphans: Orphans
    after: dict[str, Oid]
    done: list[Repaired] = field(default_factory=list)

    def mend(self, refs: RawRefs, damage: Damage) -> None:
        """Decide for all refs."""
        self._mend_builds(damaged=damage.builds)
        self._mend_broken()
        for name in damage.lost:
            if name not in self.after:
                self._restore(name, refs.packed.get(name))
        # not those that a correction adds
        for name in [name for name in damage.wrong if name in self.after]:
            self._correct(name)
        if damage.nameless:
            self._name_orphans()
        for name in damage.invalid:
            self._say(name, "was dropped: no ref can have that name")
        self._close_holes()

    def _say(self, name: str, what: str) -> None:
        self.done.append(Repaired(name, what))

    def _drop(self, name: str, why: str) -> None:
        del self.after[name]
        self._say(name, f"was dropped: {why}")

    # one by one

    def _mend_broken(self) -> None:
        """Decide about all refs below which something is lost for good."""
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
                self._say(name, "its WORKDIR is lost; its record stays")
                return
        commit = self._computed(ref)
        if commit is None:
            self._drop(name, "what it holds is lost")
        else:
            self.after[name] = commit
            self._say(name, "names the output of a recorded run now")

    def _record(self, ref: RecordRef, run: Oid) -> Oid | None:
        """Return the record of a run whose WORKDIR is lost, if that is whole."""
        try:
            record = record_of(self.store.objects, run)
        except StoreError:
            return self.orphans.take(ref)
        if not self.reach.is_whole(record) or RefChecker(self.store.objects).wrong(ref, record):
            return None
        return record

    def _restore(self, name: str, packed: Oid | None = None) -> None:
        """Restore a ref of which only the name can be read, or drop it.

        `packed` is what it named before its own file was written.
        """
        ref = parse_ref(name)
        commit = self._named_by(ref)
        if commit is None and ref is not None and not isinstance(ref, WorkdirRef | DirectoryRef):
            commit = packed
        if commit is not None and self.reach.is_whole(commit):
            self.after[name] = commit
            self._say(name, f"names {commit.hex()} again")
        else:
            self._say(name, "was dropped: nothing tells what it named")

    def _named_by(self, ref: Ref | None) -> Oid | None:
        """Return the only commit that a lost ref can have named, None if several could be it."""
        match ref:
            case RunRef() | RecordRef():
                return self.orphans.take(ref)
            case PinRef(build):
                return build if self.reach.is_whole(build) else None
            case SingleRef(name) if name == BUILDS:
                return self._last_build()
        return self._computed(ref)

    def _computed(self, ref: Ref | None) -> Oid | None:
        """Write the commit that a ref must name, where its name and the records determine it."""
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
        """Correct a ref that names something else than its name says, or drop it."""
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
            self._say(name, "names the output of a recorded run now")
        else:
            self._drop(name, "it named what it should not")

    def _rename(self, name: str, run: RunRef) -> None:
        """Give a run its own name in the place of a wrong one."""
        free, commit = str(self._free(run)), self.after.pop(name)
        tags = (tag for tag in self.after if tag.startswith(TAGS))
        if any(self.after[tag] == commit for tag in tags):
            self._say(name, "was dropped: that run has another name")
        else:
            self._say(name, f"is {free} now")
            self.after[free] = commit

    def _name_orphans(self) -> None:
        """Name what no ref holds: its ref's name may be lost."""
        pruned = _pruned(self.store)
        for series in sorted(self.orphans.runs, key=lambda ref: ref.failed):
            commits = self.orphans.runs[series]
            for commit in commits if series.prefix not in pruned else ():
                name = str(self._free(series))
                self.after[name] = commit
                self._say(name, "was named by a line that can't be read, and is again")
            commits.clear()
        for name in list(self.after):
            run = parse_ref(name)
            if isinstance(run, RunRef) and not run.failed:
                self._name_output(run, pruned)
        if BUILDS not in self.after and (self.orphans.builds or build_refs(self.after)):
            self._restore(BUILDS)

    def _free(self, run: RunRef) -> RunRef:
        """Return the tag with the lowest number of a series that neither a run nor a record has."""
        run = replace(run, number=1)
        while str(run) in self.after or (not run.failed and str(run.record) in self.after):
            run = replace(run, number=run.number + 1)
        return run

    def _name_output(self, run: RunRef, pruned: Collection[str]) -> None:
        """Name the output of a task's run; what is recorded without a recipe has no such ref."""
        ref = OutputRef(run.key, run.task_hash)
        if str(ref) in self.after or str(ref) in pruned:
            return
        if not read_run_record(self.store.objects, self.after[str(run)]).is_recipes:
            return
        commit = self._computed(ref)
        if commit is not None:
            self.after[str(ref)] = commit
            self._say(str(ref), "names the output of its run again")

    # builds and numbers

    def _last_build(self) -> Oid | None:
        """Return the newest build that is left, or what is left of it: no ref holds it, or a label
        or a pin.
        """
        builds = [*build_refs(self.after).values(), *tips(self.store, self.orphans)]
        last = newest(self.store, {}, self.reach, builds)
        if last is None or self.reach.is_whole(last):
            return last
        rewritten = rewrite(self.writer, self.store, self.reach, {**self.after, BUILDS: last}, [])
        self.reach.whole.update(oid for oid in rewritten.values() if oid is not None)
        return rewritten.get(last)

    def _mend_builds(self, *, damaged: bool) -> None:
        """Rewrite the history of builds, if one is damaged or lost, and move its refs."""
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
        """Let the ref of a build name another one; a pin's name changes with it."""
        del self.after[name]
        if build is None:
            self._say(name, "was dropped: that build is lost")
            return
        new_name = str(PinRef(CommitId(build))) if name.startswith(PINS) else name
        self.after[new_name] = build
        short = build.hex()[:12]
        self._say(name, f"names {short} now: the builds were written anew without what is lost")

    def _close_holes(self) -> None:
        """Close the holes in the numbers of runs."""
        for hole in list(find_holes(self.after)):
            if not hole.moves:
                self._stand_in(hole)
        for series in dict.fromkeys(hole.series for hole in find_holes(self.after)):
            for old, new in moves_down(series, self.after):
                self.after[str(new)] = self.after.pop(str(old))
                self._say(str(old), f"is number {new.number} now, so that no number is missing")

    def _stand_in(self, hole: Hole) -> None:
        """Fill a hole among runs, which lists of builds name by number."""
        run, later = hole.ref, hole.after
        assert isinstance(run, RunRef)
        assert isinstance(later, RunRef)
        commit = self.orphans.take(run)
        if commit is not None:
            self.after[str(run)] = commit
            self._say(str(run), "names the run that no ref held")
            return
        record = self.orphans.take(run.record) or self._record_after(later)
        if record is not None:
            self.after[str(run.record)] = record
            what = f"that run is lost; the record of {later.tag} stands in for it"
            self._say(str(run), what)

    def _record_after(self, later: RunRef) -> Oid | None:
        """Return the record of a later run, by its ref or its tag; None if it is lost."""
        record = self.after.get(str(later.record))
        if record is not None:
            return record
        try:
            return record_of(self.store.objects, self.after[str(later)])
        except (StoreError, KeyError):
            return None


def _pruned(store: Store) -> set[str]:
    """Return the refs that were collected, tags also without their numbers: a repair does not
    restore what a rule deleted.
    """
    names = Pruned(store).refs()
    runs = (parse_ref(name) for name in names)
    return names | {run.prefix for run in runs if isinstance(run, RunRef)}
