"""What is kept and what goes: from builds and rules to the refs that are deleted.

What a build is made of is found by its lists. Of the builds that are kept, outputs stay, and with
each its record, so that questions can be asked about it; of the last few, WORKDIRs stay as well. A
WORKDIR takes most of the room and is looked at when something broke lately; an output saves a build
for months.

A run's tag is deleted only if that frees its WORKDIR, which a later run that is kept may have in
its history. Runs of `prov run` and `prov capture` share one history for each directory, and so
stay.

Whatever goes is told in a file first: when, by which rule, and what it was.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from prov.errors import StoreError
from prov.files import naming, replace_file, sync_directory, try_locked
from prov.recipes.checks import check
from prov.recipes.tables import GcTable, given
from prov.records.build_list import BuildList
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.record import record_of
from prov.records.refs import (
    LABELS,
    OUTPUTS,
    OUTSIDE,
    PINS,
    RECORDS,
    REFS,
    STATICS,
    TAGS,
    TOOLCHAINS,
    OutputRef,
    RecordRef,
    RunRef,
    parse_ref,
)
from prov.store.objects import Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.store.sweep import ancestors, packed_sizes, reachable
from prov.tasks.toolchain import Toolchains
from prov.text import parse_size

DAY = 86_400.0


@dataclass(frozen=True, slots=True)
class Rules:
    """What is kept.

    Builds with a label or a pin, and of each task what was built last, are kept always.
    """

    builds: int = 20
    """The outputs of so many builds."""
    days: float = 30.0
    """Everything that is younger."""
    workdirs: int = 5
    """The WORKDIRs of so many builds, beyond what is young."""
    size: int | None = None
    """Bytes that the store's objects may take; the least recently used outputs go first, young or
    not.
    """


def rules_from(settings: Mapping[str, Any], origin: str) -> tuple[Rules, bool]:
    """Return the rules of prov.toml's `[gc]`, and whether builds collect by them.

    Raises RecipeError.
    """
    table = check(settings.get("gc", {}), GcTable, f"{origin}: gc")
    size = given(table.size, None)
    rules = Rules(
        builds=max(1, int(table.builds)),
        days=float(table.days),
        workdirs=int(table.workdirs),
        size=None if size is None else parse_size(size),
    )
    return rules, table.auto


@dataclass(frozen=True, slots=True)
class Gone:
    """A ref that goes, and by which rule."""

    ref: str
    oid: Oid
    rule: str
    record: str = ""
    """The ref under which the run's record stays."""


@dataclass(slots=True)
class _Kept:
    """Task hashes and runs that builds name."""

    outputs: set[tuple[TaskKey, TaskHash]] = field(default_factory=set)
    runs: set[tuple[TaskKey, TaskHash, int]] = field(default_factory=set)
    failed: set[tuple[TaskKey, TaskHash]] = field(default_factory=set)
    listed: set[str] = field(default_factory=set)
    """Tasks that any build names."""


def plan_gc(store: Store, rules: Rules, *, now: float | None = None) -> list[Gone]:
    """Return what goes by these rules, sorted by ref."""
    now = time.time() if now is None else now
    gone = _by_age(store, rules, now)
    if rules.size is None:
        return gone
    return _by_size(store, rules, now, gone)


def _by_size(store: Store, rules: Rules, now: float, gone: list[Gone]) -> list[Gone]:
    """Return what goes so that the rest fits: fewer and fewer builds are kept, the last one
    always.
    """
    assert rules.size is not None
    sizes = packed_sizes(store.objects)

    def fits(found: list[Gone]) -> bool:
        return sum(sizes.get(oid, 0) for oid in held_after(store, found)) <= (rules.size or 0)

    if fits(gone):
        return gone
    low, high = 1, rules.builds + 1
    best = gone
    while low < high:  # how many builds' outputs can stay
        middle = (low + high) // 2
        trial = _by_age(
            store, Rules(middle, 0.0, min(middle, rules.workdirs), rules.size), now, rule="size"
        )
        if fits(trial):
            low, best = middle + 1, trial
        else:
            high = middle
    if best is gone:
        best = _by_age(store, Rules(1, 0.0, 0, rules.size), now, rule="size")
    return best


def _by_age(store: Store, rules: Rules, now: float, *, rule: str = "") -> list[Gone]:
    kept = _kept(store, rules, now)
    refs = store.refs.list(REFS)
    _keep_unlisted(store, kept, refs)
    with try_locked(store.objects.lease) as alone:
        if not alone:
            _keep_newest(store, kept, refs)
    young = now - rules.days * DAY
    found: list[Gone] = []
    outputs = {oid for name, oid in refs.items() if _output_key(name) in kept.outputs}
    recent: set[tuple[TaskKey, TaskHash]] = set()
    for name, oid in refs.items():
        if name.startswith(OUTSIDE) and _seconds(store, oid) < young:
            found.append(Gone(name, oid, rule or f"days {rules.days:g}"))
    for (key, task_hash, failed), runs in _runs(refs).items():
        if any(_seconds(store, oid) >= young for _, _, oid in runs):
            recent.add((key, task_hash))
        if failed and ((key, task_hash) in kept.failed or (key, task_hash) in recent):
            continue
        stays = (key, task_hash) in kept.outputs or (key, task_hash) in recent
        for number, name, oid in sorted(runs):
            if name.startswith(RECORDS):
                if not stays:
                    found.append(Gone(name, oid, rule or f"builds {rules.builds}"))
            elif (key, task_hash, number) in kept.runs or _seconds(store, oid) >= young:
                break  # those that go have the lower numbers, so that new ones are known
            else:
                record = RECORDS + name.removeprefix(TAGS) if stays and not failed else ""
                found.append(Gone(name, oid, rule or f"workdirs {rules.workdirs}", record))
    outputs |= {oid for name, oid in refs.items() if _output_key(name) in recent}
    for name, oid in refs.items():
        if name.startswith((OUTPUTS, STATICS)) and oid not in outputs:
            found.append(Gone(name, oid, rule or f"builds {rules.builds}"))
    found += _toolchains(store, refs, kept.outputs | recent, rule or f"builds {rules.builds}")
    return sorted(_that_free(store, refs, found), key=lambda each: each.ref)


def _that_free(store: Store, refs: dict[str, Oid], gone: list[Gone]) -> list[Gone]:
    """Return what is deleted, without the tags of runs that are in the history of a ref that is
    kept.
    """
    tags = [each for each in gone if each.ref.startswith(TAGS)]
    if not tags:
        return gone
    out = {each.ref for each in gone}
    kept = {oid for name, oid in refs.items() if name not in out}
    kept |= {record_of(store.objects, each.oid) for each in gone if each.record}
    alive = ancestors(store.path, kept)
    staying = {each.ref for each in tags if each.oid in alive}
    return list(_without_gaps([each for each in gone if each.ref not in staying], staying))


def _without_gaps(gone: list[Gone], staying: Iterable[str]) -> Iterator[Gone]:
    """Yield what is deleted so that the numbers of a task hash have no gap below a run that
    stays.
    """
    highest: dict[tuple[TaskKey, TaskHash, bool], int] = {}
    for name in staying:
        run = _run_of(name)
        if run is not None:
            series = _series(run)
            highest[series] = max(run.number, highest.get(series, 0))
    for each in gone:
        run = _run_of(each.ref)
        if run is None or run.number > highest.get(_series(run), 0):
            yield each
        elif isinstance(run, RunRef) and not run.failed:
            yield replace(each, record=str(run.record))


def _kept(store: Store, rules: Rules, now: float) -> _Kept:
    kept = _Kept()
    newest = kept.listed
    always = {*store.refs.list(LABELS).values(), *store.refs.list(PINS).values()}
    seen: set[tuple[Oid, bool, bool]] = set()
    build, number = BuildList.latest(store), 0
    while build is not None:
        held = build.commit in always
        young = store.objects.commit(build.commit).author.seconds >= now - rules.days * DAY
        outputs, runs = (
            held or young or number < rules.builds,
            held or young or number < rules.workdirs,
        )
        for recipe, oid in build.listed():
            state = (oid, outputs, runs)
            if state in seen:
                continue
            seen.add(state)
            for key, line in build.lines(recipe).items():
                if outputs or key not in newest:
                    kept.outputs.add((key, line.task_hash))
                if runs:
                    kept.runs.add((key, line.task_hash, line.run))
                newest.add(key)
        if runs:
            for key, what in build.happened().items():
                word, _, text = what.partition(" ")
                if word == "failed" and re.fullmatch("[0-9a-f]{40}", text):
                    kept.failed.add((key, TaskHash(bytes.fromhex(text))))
        build, number = build.before(), number + 1
    return kept


def _keep_unlisted(store: Store, kept: _Kept, refs: dict[str, Oid]) -> None:
    """Keep the newest run of each task that no build names, as `prov capture` and `prov run` leave
    them.
    """
    newest: dict[TaskKey, tuple[int, int, TaskHash]] = {}
    for (key, task_hash, failed), runs in _runs(refs).items():
        if key not in kept.listed and not failed:
            number, _name, oid = max(runs)
            newest[key] = max(
                newest.get(key, (0, 0, TaskHash(b""))), (_seconds(store, oid), number, task_hash)
            )
    for key, (_when, number, task_hash) in newest.items():
        kept.outputs.add((key, task_hash))
        kept.runs.add((key, task_hash, number))


def _keep_newest(store: Store, kept: _Kept, refs: dict[str, Oid]) -> None:
    """Keep the newest run of each task: a build that is under way has made it, and lists it when it
    ends.
    """
    newest: dict[TaskKey, tuple[int, set[TaskHash]]] = {}
    for (key, task_hash, failed), runs in _runs(refs).items():
        if not failed:
            seconds = max(_seconds(store, oid) for _, _, oid in runs)
            known, hashes = newest.get(key, (0, set()))
            if seconds > known:
                newest[key] = seconds, {task_hash}
            elif seconds == known:
                hashes.add(task_hash)
    for key, (_, hashes) in newest.items():
        kept.outputs |= {(key, task_hash) for task_hash in hashes}


def _run_of(name: str) -> RunRef | RecordRef | None:
    """Return the run that a tag or a record's ref stands for; None for other refs."""
    ref = parse_ref(name)
    return ref if isinstance(ref, RunRef | RecordRef) else None


def _series(run: RunRef | RecordRef) -> tuple[TaskKey, TaskHash, bool]:
    """Return what runs have in common that are numbered together."""
    return run.key, run.task_hash, isinstance(run, RunRef) and run.failed


def _runs(refs: dict[str, Oid]) -> dict[tuple[TaskKey, TaskHash, bool], list[tuple[int, str, Oid]]]:
    """Return the runs and records of each task hash: number, ref, commit."""
    runs: dict[tuple[TaskKey, TaskHash, bool], list[tuple[int, str, Oid]]] = {}
    for name, oid in refs.items():
        run = _run_of(name)
        if run is not None:
            runs.setdefault(_series(run), []).append((run.number, name, oid))
    return runs


def _output_key(name: str) -> tuple[TaskKey, TaskHash] | None:
    ref = parse_ref(name)
    return (ref.key, ref.task_hash) if isinstance(ref, OutputRef) else None


def _seconds(store: Store, oid: Oid) -> int:
    return store.objects.commit(oid).author.seconds


def _toolchains(
    store: Store, refs: dict[str, Oid], kept: Iterable[tuple[str, Oid]], rule: str
) -> Iterator[Gone]:
    prefix = TOOLCHAINS
    there = {name: oid for name, oid in refs.items() if name.startswith(prefix)}
    used = set()
    for _, task_hash in kept if len(there) > 1 else ():
        try:
            entry = store.objects.entry(task_hash, "host-toolchain")
        except StoreError:  # fetched without its inputs
            continue
        if entry is not None:
            used.add(prefix + store.objects.blob(entry.oid).decode("utf-8", "replace").strip())
    # what plans go by here, though nothing that is kept may have been made with it
    used |= {prefix + tree.hex() for tree in Toolchains(store, "").remembered()}
    for name, oid in there.items():
        if len(there) > 1 and name not in used:
            yield Gone(name, oid, rule)


def held_after(store: Store, gone: Iterable[Gone]) -> set[Oid]:
    """Return the ids of all objects that refs hold when these refs are gone."""
    there = store.refs.list(REFS)
    records = []
    for each in gone:
        there.pop(each.ref, None)
        if each.record:
            records.append(record_of(store.objects, each.oid))
    return reachable(store.path, [*there.values(), *records])


def prune(store: Store, gone: list[Gone], *, now: float | None = None) -> None:
    """Delete these refs, all together; where a run's record stays, it has a ref in the same moment.

    A ref that changed since is an error (RefConflict), and nothing goes.
    """
    if not gone:
        return
    Pruned(store).add(gone, time.time() if now is None else now)
    updates = [RefUpdate(each.ref, None, each.oid) for each in gone]
    updates += [
        RefUpdate(each.record, record_of(store.objects, each.oid)) for each in gone if each.record
    ]
    store.refs.update(*updates)
    store.refs.pack(at_once=True)


@dataclass(frozen=True, slots=True)
class Pruned:
    """The file that tells what went: a line each, of time, rule and ref."""

    store: Store
    most: int = 32 << 20
    """Bytes; the older half goes when there are more."""

    @property
    def path(self) -> Path:
        return self.store.path / "pruned"

    def add(self, gone: Iterable[Gone], now: float) -> None:
        """Append, durably, before anything goes: what is told and did not go does no harm."""
        if self.path.exists() and self.path.stat().st_size > self.most:
            lines = self.path.read_bytes().splitlines(keepends=True)
            replace_file(self.path, b"".join(lines[len(lines) // 2 :]))
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with naming(self.path), os.fdopen(os.open(self.path, flags, 0o644), "ab") as stream:
            stream.write("".join(f"{now:.0f}\t{each.rule}\t{each.ref}\n" for each in gone).encode())
            stream.flush()
            os.fsync(stream.fileno())
        sync_directory(self.path.parent)

    def find(self, ref: str) -> tuple[int, str] | None:
        """Return when, in seconds since the epoch, and by which rule a ref went last; None if it
        did not.
        """
        if not self.path.exists():
            return None
        end = f"\t{ref}".encode()
        with open(self.path, "rb") as stream:
            rows = [line.split(b"\t") for line in stream if line.rstrip(b"\n").endswith(end)]
        # before the time may stand what a crash left of a line
        seconds = re.search(rb"\d{0,12}$", rows[-1][0]) if rows else None
        return (int(seconds[0] or 0), rows[-1][1].decode("utf-8", "replace")) if seconds else None


def remove_unlinked(folder: Path, *, older_than: float) -> tuple[int, int]:
    """Remove a pool's files that nothing is linked to; return how many, and their bytes.

    One that is wanted again comes out of the store. Those written or linked since `older_than` are
    left.
    """
    count = size = 0
    for path in folder.glob("??/*"):
        try:
            state = path.lstat()
            if state.st_nlink == 1 and state.st_ctime < older_than:
                path.unlink()
                count, size = count + 1, size + state.st_size
        except FileNotFoundError:
            continue
    return count, size
