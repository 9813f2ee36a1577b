"""Why a task ran, or would run now: the first causes of its hash being another, and the nearest
that is recorded.

Two states of the graph are compared: what the recipes say now, or a build, against the last build
before it, another one, a run's tag, or another machine's store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from prov.errors import Elsewhere, NameUnknown, ProvError, StoreError
from prov.history.builds import find_build, is_build_name, walk_builds
from prov.history.causes import Cause, Recorded, Side, first_causes
from prov.history.inputs import (
    Change,
    Edge,
    Inputs,
    compare,
    difference_text,
    inputs_of,
    read_inputs,
)
from prov.history.names import LOOK_BACK, RunName, find_run
from prov.history.producers import Producers, failures
from prov.history.pruned import inputs_went
from prov.records.build_list import BuildList, Line
from prov.records.ids import OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.record import read_run_record
from prov.scheduler.plan import Plan, Step
from prov.scheduler.session import Request, Session
from prov.store.objects import Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.refs import hash_in
from prov.store.repository import Store
from prov.tasks.job import Site
from prov.text import nearest
from prov.worktree.attributes import TreeReader

FAR = 400
"""A recorded task hash with more entries that differ is nobody's nearest."""


@dataclass(frozen=True, slots=True)
class State:
    """One state of a task, with all that is below it."""

    name: str
    """In words: `now`, `build 0123…`."""
    inputs: Inputs
    side: Side
    versions: dict[str, str]
    output: OutputId | None = None
    """What the task gave; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The recorded task hash whose inputs are the least different."""

    task_hash: TaskHash
    own: tuple[Change, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """The answer."""

    key: TaskKey
    verdict: str
    """In words: it would run, or it ran in a build."""
    old: str
    """What it is compared with; empty if there is nothing."""
    causes: tuple[Cause, ...]
    differences: dict[Change, tuple[str, ...]]
    """Each cause's change, as lines of a diff."""
    versions: dict[str, tuple[str, str]]
    """Of the causes' recipes whose version changed: before and after."""
    nearest: Nearest | None = None


class Both:
    """Objects of two stores: of ours, and what is only in the other one."""

    def __init__(self, ours: TreeReader, other: TreeReader) -> None:
        self.readers = (ours, other)

    def tree(self, oid: Oid) -> list[Entry]:
        try:
            return self.readers[0].tree(oid)
        except StoreError:
            return self.readers[1].tree(oid)

    def blob(self, oid: Oid) -> bytes:
        try:
            return self.readers[0].blob(oid)
        except StoreError:
            return self.readers[1].blob(oid)


@dataclass(slots=True)
class Planned:
    """The state that the recipes say now.

    What is hashed goes to a writer that keeps it in memory.
    """

    site: Site
    plan: Plan
    writer: ObjectWriter

    def behind(self, edge: Edge, at: str | None) -> Inputs | None:
        return self.inputs(TaskKey(edge[1])) if edge[1] in self.plan.graph.nodes else None

    def inputs(self, key: TaskKey) -> Inputs:
        node = self.plan.graph.nodes[key]
        own = self.site.inputs.own(node, self.writer)
        edges: dict[Edge, str | None] = {}
        for kind, keys in (("after", node.after), ("from", node.from_), ("needs", node.needs)):
            for each in keys:
                step = self.plan.steps[each]
                oid = step.task_hash if kind == "after" else step.output
                edges[kind, each] = oid.hex() if oid is not None else None
        return Inputs(
            key,
            self.plan.steps[key].task_hash,
            inputs_of(self.writer, key, None, own.entries).own,
            edges,
        )


def why(
    store: Store, name: str, *, session: Session | None = None, against: str = "", build: str = ""
) -> Why:
    """Return why a task ran or would run. With a session it is asked of the recipes as they are
    now.

    Raises NameUnknown.
    """
    with store.objects.writer(memory=True) as writer:
        step, new = (
            _planned(store, session, name, writer)
            if session is not None and not build
            else (None, None)
        )
        if new is None or (
            step is not None and step.action not in ("run", "may run") and not against
        ):
            return _why_recorded(store, name, build, against)
        assert step is not None
        reader, old = _old(store, new.inputs.key, against, writer)
        verdicts = {
            "run": f"would run: {_reason(store, step)}",
            "may run": f"may run, {step.reason}",
        }
        verdict = verdicts.get(step.action, f"is {step.action} now")
        return _answer(store, reader, verdict, old, new)


def _reason(store: Store, step: Step) -> str:
    """Return why a task would run: one that failed, and has the same inputs now, is tried again."""
    for build in islice(walk_builds(BuildList.latest(store)), LOOK_BACK):
        failed = failures(build).get(step.key)
        if failed is not None and failed.task_hash == step.task_hash:
            return f"it failed in build {build.commit.hex()[:12]}, with the same inputs"
        if _at(build, step.key) is not None:
            break
    return step.reason


def _planned(
    store: Store, session: Session | None, name: str, writer: ObjectWriter
) -> tuple[Step | None, State | None]:
    if session is None or "/" in name or session.project.resolve(name.partition(":")[0]) is None:
        return None, None
    plan, site = session.plan(Request((name,)))
    key = plan.graph.targets[-1]
    if plan.steps[key].action not in (
        "run",
        "may run",
    ):  # it may have to run for a task of the last build all the same
        last = BuildList.latest(store)
        targets = last.facts().get("targets", "").split() if last else []
        with contextlib.suppress(ProvError):  # a target of the last build that was removed
            plan, site = session.plan(Request((*targets, name)))
    side = Planned(site, plan, writer)
    versions = {node.recipe.name: node.recipe.version for node in plan.graph.nodes.values()}
    return plan.steps[key], State("now", side.inputs(key), side, versions, plan.steps[key].output)


def _why_recorded(store: Store, name: str, build: str, against: str) -> Why:
    before, slash, text = name.rpartition("/")
    key = TaskKey(text)
    if slash and ":" not in key:  # a tag
        run = find_run(store, name)
        new = _of_run(store, run)
        reader, old = _old(store, run.key, against, store.objects)
        return _answer(store, reader, "ran", old if against else None, new)
    named = find_build(store, build or before or "latest")
    asked = named = next((each for each in walk_builds(named) if _at(each, key) is not None), named)
    line = _at(named, key)
    if line is None:
        known = [each for recipe in named.recipes() for each in named.lines(recipe)]
        raise NameUnknown(
            f"no build has a task {key}", hint=nearest(key, known) or "write recipe:task"
        )
    earlier = None
    for each in walk_builds(named.before()):
        at = _at(each, key)
        if at is not None and (at.task_hash, at.output) == (line.task_hash, line.output):
            named = each  # it is from an earlier build
        elif at is not None:
            earlier = each
            break
    new = _in_build(store, named, key, line)
    objects: TreeReader = store.objects
    if asked.happened().get(key) == "ran" and asked.commit != named.commit:
        reason = asked.reasons().get(key, "forced, or since its WORKDIR was needed")
        how = f"ran in build {asked.commit.hex()[:12]} with the inputs of {new.name}: {reason}"
        return _answer(store, objects, how, new, new)
    how = "failed" if key in failures(named) else named.happened().get(key, "was up to date")
    old = None
    if against:
        objects, old = _old(store, key, against, objects)
    elif earlier is not None:
        try:
            old = _in_build(store, earlier, key, _at(earlier, key))
        except NameUnknown as error:  # what it was is gone; what it is can still be told
            how = f"{how} in {new.name}; {error} ({error.hint})"
            return _answer(store, objects, how, None, new)
    return _answer(store, objects, f"{how} in {new.name}", old, new)


def _at(build: BuildList, key: TaskKey) -> Line | None:
    return failures(build).get(key) or build.line(key)


def _in_build(store: Store, build: BuildList, key: TaskKey, line: Line | None) -> State:
    assert line is not None
    try:
        inputs = read_inputs(store.objects, key, line.task_hash)
    except StoreError as error:
        went = inputs_went(store, key, line.task_hash)
        raise Elsewhere(
            f"the inputs of {key} in build {build.commit.hex()[:12]} are not here",
            key,
            line.task_hash,
            hint=went
            or f"it was run on another machine: `prov pull {key}` fetches what a remote has of it",
        ) from error
    side = Recorded(store.objects, Producers(store, (build,)))
    return State(f"build {build.commit.hex()[:12]}", inputs, side, build.versions(), line.output)


def _of_run(store: Store, run: RunName) -> State:
    inputs = read_inputs(store.objects, run.key, TaskHash(bytes.fromhex(run.task_hash)))
    output = read_run_record(store.objects, run.commit).output
    side = Recorded(store.objects, Producers(store))
    return State(f"run {run.tag}", inputs, side, {}, output)


def _old(
    store: Store, key: TaskKey, against: str, reader: TreeReader
) -> tuple[TreeReader, State | None]:
    """Return what a task is compared with, and what reads both."""
    if not against:
        latest = BuildList.latest(store)
        build = next((each for each in walk_builds(latest) if each.line(key) is not None), None)
        if build is not None:
            return reader, _in_build(store, build, key, build.line(key))
        failed = next((each for each in walk_builds(latest) if _at(each, key) is not None), None)
        return reader, _in_build(store, failed, key, _at(failed, key)) if failed else None
    if Path(against, "HEAD").exists() or Path(against, ".prov", "HEAD").exists():
        folder = Path(against) if Path(against, "HEAD").exists() else Path(against, ".prov")
        other = Store.open(folder)
        build = next(
            (each for each in walk_builds(BuildList.latest(other)) if _at(each, key) is not None),
            None,
        )
        if build is None:
            raise NameUnknown(f"{against}: no build there has a task {key}")
        found = _in_build(other, build, key, _at(build, key))
        return Both(reader, other.objects), replace(found, name=f"{found.name} of {against}")
    if is_build_name(store, against) or not {":", "/"}.intersection(against):
        build = find_build(store, against)
        if _at(build, key) is None:
            raise NameUnknown(
                f"build {against} has no task {key}", hint="`prov builds` lists others"
            )
        return reader, _in_build(store, build, key, _at(build, key))
    run = find_run(store, against)
    if run.key != key:
        hint = f"`prov log {key}` lists runs"
        raise NameUnknown(
            f"--against {against}: that is a run of {run.key}, not of {key}", hint=hint
        )
    return reader, _of_run(store, run)


def _answer(store: Store, reader: TreeReader, verdict: str, old: State | None, new: State) -> Why:
    key = new.inputs.key
    causes = []
    if old is not None and not _is_same(old, new):
        causes = first_causes(reader, old.inputs, new.inputs, (old.side, new.side))
    recipes = dict.fromkeys(cause.key.recipe for cause in causes)
    versions = {}
    for recipe in recipes if old else ():
        pair = (old.versions.get(recipe, ""), new.versions.get(recipe, "")) if old else ("", "")
        if all(pair) and pair[0] != pair[1]:
            versions[recipe] = pair
    near = None
    if old is None or isinstance(
        new.side, Planned
    ):  # of one that is recorded itself nobody asks which are near
        near = nearest_recorded(store, reader, new.inputs, old.inputs if old else None)
    changes = dict.fromkeys(change for cause in causes for change in cause.changes)
    differences = {change: tuple(difference_text(reader, change)) for change in changes}
    return Why(key, verdict, old.name if old else "", tuple(causes), differences, versions, near)


def _is_same(old: State, new: State) -> bool:
    """Tell whether two states have the same inputs, and not another output for all that."""
    if new.inputs.task_hash is None or old.inputs.task_hash != new.inputs.task_hash:
        return False
    return old.output == new.output or None in (old.output, new.output)


def nearest_recorded(
    store: Store, reader: TreeReader, new: Inputs, old: Inputs | None
) -> Nearest | None:
    """Return the recorded task hash whose inputs are nearest, if it is nearer than `old`; never the
    task's own.
    """
    prefix = f"refs/prov/output/{new.key.replace(':', '/')}/"
    hashes = [
        oid
        for name in store.refs.list(prefix)
        if (oid := hash_in(name.rpartition("/")[2])) is not None
    ]
    skipped = {new.task_hash, old.task_hash if old else None}
    limit = _size(reader, old, new) if old else FAR
    mine = {entry.name: entry for entry in _top(reader, new)} if new.task_hash else {}
    candidates = []
    for oid in hashes:
        if oid not in skipped:
            try:
                entries = reader.tree(oid)
            except StoreError:
                continue
            # how many entries of the top differ is at the most as much as all that does
            candidates.append(
                (sum(mine.get(entry.name) != entry for entry in entries) if mine else 0, oid)
            )
    best: Nearest | None = None
    for at_least, oid in sorted(candidates):
        if at_least >= limit:
            break
        compared = compare(reader, read_inputs(reader, new.key, TaskHash(oid)), new)
        size = len(compared.own) + len(compared.edges)
        if size < limit:
            limit, best = size, Nearest(TaskHash(oid), compared.own, compared.edges)
    return best


def _top(reader: TreeReader, inputs: Inputs) -> Iterable[Entry]:
    try:
        return reader.tree(inputs.task_hash) if inputs.task_hash else []
    except StoreError:  # hashed, and written nowhere
        return []


def _size(reader: TreeReader, old: Inputs, new: Inputs) -> int:
    compared = compare(reader, old, new)
    return len(compared.own) + len(compared.edges)
