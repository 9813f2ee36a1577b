"""Choose the deletions of a collection: a pure function of a store's refs and its builds.

For each kept build, the outputs and their records stay, which is enough to answer questions about
it. For the last few builds, the WORKDIRs stay too. A WORKDIR takes most of the space and is useful
to debug a recent failure; an output saves rebuilds for months.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import (
    OUTPUTS,
    OUTSIDE,
    STATICS,
    OutputRef,
    RecordRef,
    RunRef,
    parse_ref,
)
from prov.store.objects import Oid
from prov.upkeep.pruned import Deletion
from prov.upkeep.rules import Rules


class Extent(NamedTuple):
    """The parts of a build to keep."""

    outputs: bool
    workdirs: bool


def extent_of(position: int, seconds: int, rules: Rules, now: float, *, pinned: bool) -> Extent:
    """Return the parts of a build to keep.

    The newest build has position 0. `seconds` is the build's start time.
    """
    if pinned or seconds >= rules.young_from(now):
        return Extent(True, True)
    return Extent(position < rules.builds, position < rules.workdirs)


class RecordedRun(NamedTuple):
    """A ref of a run, or of the record in its place."""

    number: int
    ref: RunRef | RecordRef
    oid: Oid
    seconds: int
    """Time of the run, in seconds since the epoch."""

    def deletion(self, rule: str, *, keeps_record: bool = False) -> Deletion:
        """Return the deletion of the ref, optionally keeping the run's record."""
        record = str(self.ref.record) if keeps_record and isinstance(self.ref, RunRef) else ""
        return Deletion(str(self.ref), self.oid, rule, record)


@dataclass(frozen=True, slots=True)
class Inventory:
    """The refs that a collection may delete."""

    series: dict[RunRef, list[RecordedRun]] = field(default_factory=dict)
    """First tag of a task hash -> all its runs and records, by number."""
    outputs: dict[str, Oid] = field(default_factory=dict)
    """Refs of outputs, by task hash or static key."""
    outside: dict[str, tuple[Oid, int]] = field(default_factory=dict)
    """WORKDIR states made outside any task, and their times in seconds."""

    @staticmethod
    def of(refs: Mapping[str, Oid], seconds: Callable[[Oid], int]) -> Inventory:
        """Return a store's refs by kind; `seconds` returns the time of a commit."""
        inventory = Inventory()
        for name, oid in refs.items():
            if name.startswith((OUTPUTS, STATICS)):
                inventory.outputs[name] = oid
            elif name.startswith(OUTSIDE):
                inventory.outside[name] = oid, seconds(oid)
            else:
                inventory._add_run(name, oid, seconds)
        for runs in inventory.series.values():
            runs.sort(key=lambda run: (run.number, str(run.ref)))
        return inventory

    def _add_run(self, name: str, oid: Oid, seconds: Callable[[Oid], int]) -> None:
        ref = parse_ref(name)
        if isinstance(ref, RunRef | RecordRef):
            run = RecordedRun(ref.number, ref, oid, seconds(oid))
            self.series.setdefault(series_of(ref), []).append(run)

    def recent(self, young_from: float) -> set[OutputRef]:
        """Return the outputs with a recent run, failed or not."""
        return {
            output_of(series)
            for series, runs in self.series.items()
            if any(run.seconds >= young_from for run in runs)
        }


def series_of(ref: RunRef | RecordRef) -> RunRef:
    """Return the first tag of a ref's series."""
    tag = ref.run if isinstance(ref, RecordRef) else ref
    return replace(tag, number=1)


def output_of(ref: RunRef) -> OutputRef:
    """Return the output ref of a task hash."""
    return OutputRef(ref.key, ref.task_hash)


@dataclass(slots=True)
class KeptResults:
    """The results that stay, by their refs."""

    outputs: set[OutputRef] = field(default_factory=set)
    """Each with a record."""
    runs: set[RunRef] = field(default_factory=set)
    """Each with its WORKDIR."""
    failed: set[RunRef] = field(default_factory=set)
    """All failed runs of a task hash, by their first tag."""
    listed: set[TaskKey] = field(default_factory=set)
    """Tasks in the list of any build."""

    def add_unlisted(self, inventory: Inventory) -> None:
        """Keep the newest run of each task that no build lists, such as runs of `prov run`."""
        newest: dict[TaskKey, tuple[int, int, TaskHash]] = {}
        for series, runs in inventory.series.items():
            if not series.failed and series.key not in self.listed:
                candidate = runs[-1].seconds, runs[-1].number, series.task_hash
                newest[series.key] = max(candidate, newest.get(series.key, candidate))
        for key, (_seconds, number, task_hash) in newest.items():
            self.outputs.add(OutputRef(key, task_hash))
            self.runs.add(RunRef(key, task_hash, number))

    def add_newest(self, inventory: Inventory) -> None:
        """Keep the outputs of each task's newest runs, which a running build lists at its end."""
        newest: dict[TaskKey, int] = {}
        last_of: dict[RunRef, int] = {}
        for series, runs in inventory.series.items():
            if not series.failed:
                last_of[series] = max(run.seconds for run in runs)
                newest[series.key] = max(last_of[series], newest.get(series.key, 0))
        self.outputs |= {
            output_of(series) for series, last in last_of.items() if last == newest[series.key]
        }


@dataclass(frozen=True, slots=True)
class RuleNames:
    """The names of the rules, as printed in the log and by `prov gc`."""

    builds: str
    days: str
    workdirs: str

    @staticmethod
    def of(rules: Rules) -> RuleNames:
        return RuleNames(
            f"builds {rules.builds}", f"days {rules.days:g}", f"workdirs {rules.workdirs}"
        )


BY_SIZE = RuleNames("size", "size", "size")


def choose(
    inventory: Inventory, kept: KeptResults, rules: Rules, names: RuleNames, now: float
) -> list[Deletion]:
    """Return the refs of runs, records, outputs and WORKDIRs to delete by some rules."""
    young_from = rules.young_from(now)
    chooser = _Chooser(inventory, kept, inventory.recent(young_from), names, young_from)
    return [*chooser.outside(), *chooser.runs(), *chooser.outputs()]


@dataclass(frozen=True, slots=True)
class _Chooser:
    inventory: Inventory
    kept: KeptResults
    recent: set[OutputRef]
    names: RuleNames
    young_from: float

    def stays(self, output: OutputRef) -> bool:
        return output in self.kept.outputs or output in self.recent

    def outside(self) -> Iterator[Deletion]:
        """Yield the deletions of WORKDIR states made outside any task."""
        for name, (oid, seconds) in self.inventory.outside.items():
            if seconds < self.young_from:
                yield Deletion(name, oid, self.names.days)

    def runs(self) -> Iterator[Deletion]:
        """Yield the deletions of runs and records."""
        for series, runs in self.inventory.series.items():
            if not series.failed:
                yield from self._successful(series, runs)
            elif series not in self.kept.failed and output_of(series) not in self.recent:
                for run in runs:
                    yield run.deletion(self.names.workdirs)

    def _successful(self, series: RunRef, runs: list[RecordedRun]) -> Iterator[Deletion]:
        """Yield the deletions of runs of one task hash.

        They start at the lowest number, so that the last number stays known.
        """
        stays = self.stays(output_of(series))
        for run in runs:
            if isinstance(run.ref, RecordRef):
                if not stays:
                    yield run.deletion(self.names.builds)
            elif run.ref in self.kept.runs or run.seconds >= self.young_from:
                return
            else:
                yield run.deletion(self.names.workdirs, keeps_record=stays)

    def outputs(self) -> Iterator[Deletion]:
        """Yield the deletions of refs to outputs that no remaining task hash has."""
        outputs = self.inventory.outputs
        task_hashes = (*self.kept.outputs, *self.recent)
        staying = {outputs.get(str(output)) for output in task_hashes}
        for name, oid in outputs.items():
            if oid not in staying:
                yield Deletion(name, oid, self.names.builds)


def without_gaps(deletions: Iterable[Deletion], staying: Iterable[str]) -> Iterator[Deletion]:
    """Yield the deletions, with records in place of runs numbered below a remaining run.

    Without these records, the numbers of the task hash would have a gap.
    """
    highest: dict[RunRef, int] = {}
    for name in staying:
        ref = parse_ref(name)
        if isinstance(ref, RunRef | RecordRef):
            series = series_of(ref)
            highest[series] = max(ref.number, highest.get(series, 0))
    for deletion in deletions:
        ref = parse_ref(deletion.ref)
        if not isinstance(ref, RunRef | RecordRef) or ref.number > highest.get(series_of(ref), 0):
            yield deletion
        elif isinstance(ref, RunRef) and not ref.failed:
            yield replace(deletion, record=str(ref.record))
