"""Does each ref name what its name says? And are the records of runs, found by their refs, what a
record should be?

Every object that is asked for here is there: which refs hold one that is missing is `fsck_reach`'s
to tell.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field

from prov.errors import StoreError
from prov.fsck.findings import Problem, RefName, parse_ref
from prov.records.keys import TaskKey
from prov.records.keyvalue import decode_lines
from prov.records.output import OUTPUT_MESSAGE, OUTPUT_MESSAGES
from prov.records.refs import RECORDS
from prov.scheduler.deploy import MESSAGE as DEPLOYED_MESSAGE
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, MODE_DIRECTORY, MODE_FILE, Commit, Oid
from prov.store.odb import ObjectDatabase
from prov.tasks.definition import read_definition

OUTPUT_ENTRIES = {
    b"content": MODE_DIRECTORY,
    b"attributes": MODE_DIRECTORY,
    b"postprocess": MODE_FILE,
    b"fixed": MODE_FILE,
}
RUN_FILES = (b"log", b"environment")
"""Of a run's record; of one that came from a remote these stayed where it was made."""
DROP = "the ref is dropped; the task runs again when it is needed"
TOOLCHAIN_MESSAGE = "host-toolchain\n"
_ODD = (StoreError, ValueError, KeyError, IndexError)
"""What reading something raises that is not what it should be."""

_RUN = re.compile(r"([^/\s:]+:[^/\s:]+)( \(failed\))?\n\nTask-Hash: ([0-9a-f]{40})\n")


class Wrong(Exception):
    """What is wrong with a ref."""


@dataclass(slots=True)
class RefChecker:
    """Checks refs one by one, then those that must agree."""

    objects: ObjectDatabase
    outputs: dict[tuple[str, Oid], set[Oid]] = field(default_factory=dict)
    """(task, task hash) -> the outputs that its runs had."""
    _definitions: set[tuple[str, Oid]] = field(default_factory=set)
    _commits: dict[Oid, Oid] = field(default_factory=dict)
    """Output commits that are known to be good -> their trees."""

    def check(self, refs: Mapping[str, Oid]) -> Iterator[Problem]:
        """Yield what is wrong with each of these refs."""
        told: list[tuple[str, RefName, Oid]] = []
        for name, oid in refs.items():
            ref = parse_ref(name)
            if ref is None:
                yield self._unknown(refs, name, oid)
                continue
            wrong = self.wrong(ref, oid)
            if wrong:
                yield Problem("ref", name, wrong, repair=DROP)
            elif ref.kind == "output":
                told.append((name, ref, oid))
        for name, ref, oid in told:
            had = self.outputs.get((ref.key, ref.oid))
            if had and self._commits[oid] not in had:
                what = "names an output that no recorded run of that task hash had"
                yield Problem("ref", name, what, repair="it gets the output of a recorded run")

    def _unknown(self, refs: Mapping[str, Oid], name: str, oid: Oid) -> Problem:
        if run_of(self.objects, oid) is not None:
            tags = (
                each
                for each, other in refs.items()
                if other == oid and each.startswith("refs/tags/")
            )
            if not any(parse_ref(each) for each in tags):
                what = "is no name that prov gives, and the only one of a run"
                return Problem("ref", name, what, repair="the run gets its own name")
        what = "is no name that prov gives; it is left alone"
        return Problem("ref", name, what, repair="none: it is somebody's own", harmless=True)

    def wrong(self, ref: RefName, oid: Oid) -> str:
        """Return what is wrong with a ref that names an object, or nothing."""
        check: dict[str, Callable[[RefName, Oid], None]] = {
            "run": self._run,
            "failed": self._run,
            "outside": self._found,
            "output": self._output,
            "static": self._output,
            "deployed": self._deployed,
            "toolchain": self._toolchain,
            "record": self._record_ref,
            "label": self._build,
            "pin": self._build,
            "builds": self._build,
        }
        try:
            check.get(ref.kind, self._commit)(ref, oid)
        except Wrong as error:
            return str(error)
        except _ODD as error:
            return f"can't be read: {error}"
        return ""

    def _commit(self, ref: RefName, oid: Oid) -> None:
        self.objects.commit(oid)

    def _found(self, ref: RefName, oid: Oid) -> None:
        commit = self.objects.commit(oid)
        if len(commit.parents) != 2:
            raise Wrong("names no commit of a WORKDIR")

    def _run(self, ref: RefName, oid: Oid) -> None:
        commit = self.objects.commit(oid)
        if len(commit.parents) != 2:
            raise Wrong("names no task commit")
        self._record(ref, commit.parents[1], failed=ref.kind == "failed")

    def _record_ref(self, ref: RefName, oid: Oid) -> None:
        self._record(ref, oid, failed=False, whole=False)

    def _record(self, ref: RefName, oid: Oid, *, failed: bool, whole: bool = True) -> None:
        commit = self.objects.commit(oid)
        held = {entry.name: entry for entry in self.objects.tree(commit.tree)}
        wanted = {b"inputs", b"record", *(RUN_FILES if whole else ())}
        if commit.parents or not held.keys() >= wanted:
            lacks = sorted(name.decode() for name in wanted - held.keys())
            raise Wrong(f"has a record without {', '.join(lacks)}" if lacks else "names no record")
        if held[b"inputs"].oid != ref.oid:
            raise Wrong(
                f"has a record of other inputs: their task hash is {held[b'inputs'].oid.hex()}"
            )
        facts = decode_lines(self.objects.blob(held[b"record"].oid), " ")
        if facts.get("task") != ref.key or facts.get("task-hash") != ref.oid.hex():
            raise Wrong(f"has a record of another task: {facts.get('task', 'none')}")
        if failed == (b"output" in held):
            raise Wrong(
                "is a failed run's, but its record has an output"
                if failed
                else "has a record without output"
            )
        if b"definition" in held:
            self._definition(ref.key, held[b"definition"].oid)
        # what is run aside, or on leftovers, takes no other output's place
        if not failed and not facts.keys() & {"aside", "incremental"}:
            self.outputs.setdefault((ref.key, ref.oid), set()).add(held[b"output"].oid)

    def _definition(self, key: TaskKey, oid: Oid) -> None:
        if (key, oid) not in self._definitions:
            try:
                read_definition(self.objects.blob(oid), key)
            except StoreError as error:
                if "later prov" not in str(error):
                    raise Wrong(f"has a definition that is none: {error}") from error
            self._definitions.add((key, oid))

    def _output(self, ref: RefName, oid: Oid) -> None:
        if oid in self._commits:
            return
        commit = self.objects.commit(oid)
        if commit.message not in OUTPUT_MESSAGES or commit != output_commit(commit):
            raise Wrong("names no output's commit")
        for entry in self.objects.tree(commit.tree) if commit.tree != EMPTY_TREE else ():
            if OUTPUT_ENTRIES.get(entry.name) != entry.mode:
                raise Wrong(f"names a tree that is no output's: it holds {entry.name!r}")
        self._commits[oid] = commit.tree

    def _deployed(self, ref: RefName, oid: Oid) -> None:
        commit = self.objects.commit(oid)
        if commit.parents or commit.message != DEPLOYED_MESSAGE:
            raise Wrong("names no state of the deploy directory")

    def _toolchain(self, ref: RefName, oid: Oid) -> None:
        commit = self.objects.commit(oid)
        if commit.parents or commit.message != TOOLCHAIN_MESSAGE or commit.tree != ref.oid:
            raise Wrong("names no host toolchain of that id")

    def _build(self, ref: RefName, oid: Oid) -> None:
        commit = self.objects.commit(oid)
        if not {b"build", b"tasks"} <= {entry.name for entry in self.objects.tree(commit.tree)}:
            raise Wrong("names no build")
        if ref.kind == "pin" and ref.oid != oid:
            raise Wrong("names another build than the one in its name")


def run_of(objects: ObjectDatabase, oid: Oid) -> RefName | None:
    """Return what a run's commit says of itself, None for another object."""
    try:
        match = _RUN.fullmatch(objects.commit(oid).message)
    except (StoreError, ValueError):
        return None
    return (
        RefName("failed" if match[2] else "run", TaskKey(match[1]), bytes.fromhex(match[3]))
        if match
        else None
    )


def output_commit(commit: Commit) -> Commit:
    """Return the commit that holds an output's tree: it has nothing of its own."""
    message = commit.message if commit.message in OUTPUT_MESSAGES else OUTPUT_MESSAGE
    return Commit(commit.tree, (), CONSTANT_IDENTITY, message)


def missing_numbers(names: Mapping[str, Oid]) -> Iterator[Problem]:
    """Yield the holes in the numbers of runs: who looks for the last one counts up, and stops at a
    hole.
    """
    series: dict[str, set[int]] = {}
    for name in names:
        ref = parse_ref(name) if name.startswith(("refs/tags/", RECORDS)) else None
        if ref is not None and ref.prefix:
            of = ref.prefix.replace(RECORDS, "refs/tags/") if ref.kind == "record" else ref.prefix
            series.setdefault(of, set()).add(ref.number)
    for prefix, numbers in series.items():
        for number in sorted(set(range(1, max(numbers))) - numbers)[:100]:
            after = f"{prefix}/{min(each for each in numbers if each > number)}"
            what = "is no run, though there are later ones, which are not seen behind this hole"
            how = (
                "the later ones move down"
                if _moves(prefix)
                else "the record of the next run stands in for it"
            )
            yield Problem("run number", f"{prefix}/{number}", what, (after,), how)


def _moves(prefix: str) -> bool:
    """Tell whether numbers below a prefix may change: no build's list names them."""
    return prefix.startswith(("refs/tags/failed/", "refs/tags/outside/"))
