"""What becomes of refs that are damaged, or hold what is lost: pure but for new commits, which go
to a writer.

A run whose WORKDIR is lost keeps its record. A ref that is lost itself gets what nothing else can
have been: the run that no ref holds, the output that the runs tell. All else goes, and the task
runs again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from prov.errors import StoreError
from prov.fsck.builds import build_refs, newest, rewrite
from prov.fsck.findings import Problem, RefName, parse_ref
from prov.fsck.orphans import Orphans, last_output, tips
from prov.fsck.reach import Reach
from prov.fsck.refs import TOOLCHAIN_MESSAGE, RefChecker, missing_numbers, run_of
from prov.records.ids import TaskHash
from prov.records.output import OUTPUT_MESSAGE
from prov.records.refs import BUILDS, PINS, RECORDS
from prov.store.objects import CONSTANT_IDENTITY, Commit, Oid
from prov.store.odb import ObjectWriter
from prov.store.rawrefs import RawRefs, is_name
from prov.store.repository import Store
from prov.upkeep.pruned import Pruned

TAGS = "refs/tags/"


class Repaired(NamedTuple):
    """Something that was done."""

    where: str
    what: str


@dataclass(slots=True)
class Mending:
    """Refs as they will be, and what was decided of each on the way."""

    store: Store
    writer: ObjectWriter
    reach: Reach
    orphans: Orphans
    after: dict[str, Oid]
    done: list[Repaired] = field(default_factory=list)

    def mend(self, refs: RawRefs, problems: Iterable[Problem]) -> None:
        """Decide for all refs."""
        wrong = {each.where for each in problems if each.kind == "ref" and not each.harmless}
        self._builds(problems)
        for name in [name for name, oid in self.after.items() if oid not in self.reach.whole]:
            if name in self.after and not self.reach.is_whole(self.after[name]):
                self._broken(name)
        lost = [name for name in refs.broken if name not in self.after and is_name(name)]
        # records and tags first: outputs are told by them
        for name in sorted(lost, key=lambda name: not name.startswith((TAGS, RECORDS))):
            self._lost(name, refs.packed.get(name))
        for name in sorted(wrong & refs.names.keys() & self.after.keys()):
            self._wrong(name)
        nameless = any(parse_ref(name) is None or not is_name(name) for name in refs.broken)
        if refs.packed_wrong or nameless or BUILDS in wrong - refs.names.keys():
            self._nameless()
        for name in refs.broken:
            if not is_name(name):
                self._say(name, "was dropped: no ref can have that name")
        self._numbers()

    def _say(self, name: str, what: str) -> None:
        self.done.append(Repaired(name, what))

    def _drop(self, name: str, why: str) -> None:
        del self.after[name]
        self._say(name, f"was dropped: {why}")

    # one by one

    def _broken(self, name: str) -> None:
        """A ref below which something is lost for good."""
        ref = parse_ref(name)
        record = (
            self._record(ref, self.after[name]) if ref is not None and ref.kind == "run" else None
        )
        if record is not None:
            del self.after[name]
            self.after[RECORDS + name.removeprefix(TAGS)] = record
            self._say(name, "its WORKDIR is lost; its record stays")
        else:
            made = self._made(ref, name)
            if made is None:
                self._drop(name, "what it holds is lost")
            else:
                self.after[name] = made
                self._say(name, "names the output of a recorded run now")

    def _record(self, ref: RefName, commit: Oid) -> Oid | None:
        """Return the record of a run whose WORKDIR is lost, if that is whole."""
        try:
            record = self.store.objects.commit(commit).parents[1]
        except (StoreError, IndexError):
            return self.orphans.take("record", ref.key, TaskHash(ref.oid))
        kept = RefName("record", ref.key, ref.oid)
        whole = self.reach.is_whole(record) and not RefChecker(self.store.objects).wrong(
            kept, record
        )
        return record if whole else None

    def _lost(self, name: str, packed: Oid | None = None) -> None:
        """A ref of which only the name can be read."""
        ref = parse_ref(name)
        found = self._made(ref, name)
        if ref is not None and ref.kind in ("run", "failed", "record"):
            found = self.orphans.take(ref.kind, ref.key, TaskHash(ref.oid))
        elif ref is not None and ref.kind == "pin":
            found = ref.oid if self.reach.is_whole(ref.oid) else None
        elif name == BUILDS:
            found = self._last_build()
        if found is None and ref is not None and ref.kind != "workdir":
            found = packed  # as it was before its own file was written
        if found is not None and self.reach.is_whole(found):
            self.after[name] = found
            self._say(name, f"names {found.hex()} again")
        else:
            self._say(name, "was dropped: nothing tells what it named")

    def _made(self, ref: RefName | None, name: str) -> Oid | None:
        """Return the commit that a ref must name, where its name and the records tell."""
        if ref is not None and ref.kind == "output":
            tree, message = (
                last_output(self.store, self.after, ref.key, TaskHash(ref.oid)),
                OUTPUT_MESSAGE,
            )
        elif ref is not None and ref.kind == "toolchain":
            tree, message = ref.oid, TOOLCHAIN_MESSAGE
        else:
            return None
        if tree is None or not self.reach.is_whole(tree) or self._is_fixed(tree):
            return None
        made = self.writer.add_commit(Commit(tree, (), CONSTANT_IDENTITY, message))
        self.reach.whole.add(made)
        return made

    def _is_fixed(self, tree: Oid) -> bool:
        return any(entry.name == b"fixed" for entry in self.store.objects.tree(tree))

    def _wrong(self, name: str) -> None:
        """A ref that names something else than its name says."""
        run = run_of(self.store.objects, self.after[name]) if _is_a_runs(name) else None
        if run is not None and not RefChecker(self.store.objects).wrong(run, self.after[name]):
            below = "failed/" if run.kind == "failed" else ""
            prefix = f"{TAGS}{below}{run.key.replace(':', '/')}/{run.oid.hex()}"
            right, commit = self._free(prefix), self.after.pop(name)
            known = any(
                oid == commit and other.startswith(TAGS) for other, oid in self.after.items()
            )
            self._say(
                name, "was dropped: that run has another name" if known else f"is {right} now"
            )
            if not known:
                self.after[right] = commit
            return
        made = self._made(parse_ref(name), name)
        if made is not None and made != self.after[name]:
            self.after[name] = made
            self._say(name, "names the output of a recorded run now")
        else:
            self._drop(name, "it named what it should not")

    def _nameless(self) -> None:
        """Refs of which not even the name can be read: what no ref holds gets one again."""
        pruned = _pruned(self.store)
        for prefix, held in ((TAGS, self.orphans.runs), (f"{TAGS}failed/", self.orphans.failed)):
            for (key, task_hash), commits in held.items():
                of = f"{prefix}{key.replace(':', '/')}/{task_hash.hex()}"
                for commit in commits if of not in pruned else ():
                    name = self._free(of)
                    self.after[name] = commit
                    self._say(name, "was named by a line that can't be read, and is again")
                commits.clear()
        for name in list(self.after):
            ref = parse_ref(name)
            output = f"refs/prov/output/{name.split('/', 2)[2].rpartition('/')[0]}"
            if (
                ref is not None
                and ref.kind == "run"
                and output not in self.after
                and output not in pruned
            ):
                self._output_again(ref, name, output)
        if BUILDS not in self.after and (self.orphans.builds or build_refs(self.after)):
            self._lost(BUILDS)

    def _free(self, prefix: str) -> str:
        number, record = 1, RECORDS + prefix.removeprefix(TAGS)
        while f"{prefix}/{number}" in self.after or f"{record}/{number}" in self.after:
            number += 1
        return f"{prefix}/{number}"

    def _output_again(self, ref: RefName, run: str, output: str) -> None:
        """Name the output of a task's run; what is recorded without a recipe has no such ref."""
        made = (
            self._made(ref._replace(kind="output"), output)
            if self._is_task(self.after[run])
            else None
        )
        if made is not None:
            self.after[output] = made
            self._say(output, "names the output of its run again")

    def _is_task(self, run: Oid) -> bool:
        record = self.store.objects.commit(self.store.objects.commit(run).parents[1])
        return self.store.objects.entry(record.tree, "definition") is not None

    # builds and numbers

    def _last_build(self) -> Oid | None:
        """Return the newest build that is left, or what is left of it: no ref holds it, or a label
        or a pin.
        """
        known = [*build_refs(self.after).values(), *tips(self.store, self.orphans)]
        last = newest(self.store, {}, self.reach, known)
        if last is None or self.reach.is_whole(last):
            return last
        made = rewrite(self.writer, self.store, self.reach, {**self.after, BUILDS: last}, [])
        self.reach.whole.update(oid for oid in made.values() if oid is not None)
        return made.get(last)

    def _builds(self, problems: Iterable[Problem]) -> None:
        broken = any(not self.reach.is_whole(oid) for oid in build_refs(self.after).values())
        if not broken and not any(each.kind == "build" for each in problems):
            return
        behind = tips(self.store, self.orphans)
        made = rewrite(self.writer, self.store, self.reach, self.after, behind)
        self.reach.whole.update(oid for oid in made.values() if oid is not None)
        for name, oid in build_refs(self.after).items():
            new = made.get(oid, oid)
            if new == oid:
                continue
            if new is None and name == BUILDS:
                new = newest(
                    self.store, made, self.reach, [*behind, *build_refs(self.after).values()]
                )
            del self.after[name]
            if new is None:
                self._say(name, "was dropped: that build is lost")
                continue
            self.after[PINS + new.hex() if name.startswith(PINS) else name] = new
            self._say(
                name,
                f"names {new.hex()[:12]} now: the builds were written anew without what is lost",
            )

    def _numbers(self) -> None:
        """Close the holes in the numbers of runs."""
        for problem in list(missing_numbers(self.after)):
            name, ref = problem.where, parse_ref(problem.where)
            assert ref is not None  # a run's name
            if ref.kind == "run":
                self._stand_in(ref, name, problem.needed_by[0])
        for prefix in dict.fromkeys(
            each.where.rpartition("/")[0] for each in missing_numbers(self.after)
        ):
            numbers = sorted(
                int(name.rpartition("/")[2])
                for name in self.after
                if name.rpartition("/")[0] == prefix
            )
            for new, old in enumerate(numbers, 1):
                if new != old:
                    self.after[f"{prefix}/{new}"] = self.after.pop(f"{prefix}/{old}")
                    self._say(
                        f"{prefix}/{old}", f"is number {new} now, so that no number is missing"
                    )

    def _stand_in(self, ref: RefName, name: str, later: str) -> None:
        """Fill a hole among runs, which lists of builds name by number."""
        run = self.orphans.take("run", ref.key, TaskHash(ref.oid))
        record = self.orphans.take("record", ref.key, TaskHash(ref.oid)) if run is None else None
        if run is not None:
            self.after[name] = run
            self._say(name, "names the run that no ref held")
            return
        if record is None:
            record = self.after.get(RECORDS + later.removeprefix(TAGS)) or self._record_of(later)
        if record is not None:
            self.after[RECORDS + name.removeprefix(TAGS)] = record
            self._say(
                name, f"that run is lost; the record of {later.removeprefix(TAGS)} stands in for it"
            )

    def _record_of(self, name: str) -> Oid | None:
        try:
            return self.store.objects.commit(self.after[name]).parents[1]
        except (StoreError, KeyError, IndexError):
            return None


def _pruned(store: Store) -> set[str]:
    """Return the refs that were collected, runs without their numbers: what went by a rule does not
    come back.
    """
    path = Pruned(store).path
    names = (
        {line.rpartition("\t")[2] for line in path.read_text().splitlines()}
        if path.exists()
        else set()
    )
    return names | {name.rpartition("/")[0] for name in names if name.startswith(TAGS)}


def _is_a_runs(name: str) -> bool:
    ref = parse_ref(name)
    return ref is None or ref.kind in ("run", "failed")
