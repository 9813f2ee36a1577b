"""Explain why a task ran or would run: its root causes, and the nearest recorded inputs.

It compares two states of the graph. The new one is the recipes as they are now, or a build. The old
one is the build before, another build, a run's tag, or the last build in another store.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from prov.errors import Elsewhere, NameUnknown, ProvError, StoreError
from prov.history.builds import find_build, is_build_name, short_id, split_steps
from prov.history.causes import Cause, RecordedSide, Side, changed_versions, first_causes
from prov.history.collected import inputs_collected
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
from prov.records.build_list import BuildList, Line, walk_builds
from prov.records.ids import EdgeId, OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.labels import LATEST
from prov.records.outcomes import Outcome, outcome_text
from prov.records.record import read_run_record
from prov.records.refs import OutputRef, outputs_of, parse_ref
from prov.store.objects import Entry, Oid
from prov.store.odb import ObjectWriter
from prov.store.repository import Store
from prov.text import nearest
from prov.worktree.attributes import TreeReader

if TYPE_CHECKING:
    # recorded builds are explained without the scheduler, whose import takes 0.1 s
    from prov.scheduler.plan import Plan, Step
    from prov.scheduler.session import Session
    from prov.tasks.job import Workspace

FAR = 400
"""A recorded task hash with this many differing entries or more is not reported as the nearest."""
WILL_RUN = ("run", "may run")
"""Actions of a plan for tasks that will or may run."""


@dataclass(frozen=True, slots=True)
class TaskState:
    """One state of a task and of all its dependencies."""

    name: str
    """The state as text: `now`, `build 0123…`."""
    inputs: Inputs
    side: Side
    versions: dict[str, str]
    output: OutputId | None = None
    """None if it is unknown."""


@dataclass(frozen=True, slots=True)
class Nearest:
    """The recorded task hash with the fewest differing inputs."""

    task_hash: TaskHash
    own: tuple[Change, ...]
    edges: tuple[Edge, ...]


@dataclass(frozen=True, slots=True)
class Why:
    """Why a task ran or would run."""

    key: TaskKey
    verdict: str
    """Whether it would run or when it ran, as text."""
    old: str
    """Name of the old state; empty if there is none."""
    causes: tuple[Cause, ...]
    differences: dict[Change, tuple[str, ...]]
    """Change of a cause -> lines of a diff."""
    versions: dict[str, tuple[str, str]]
    """Recipe of a cause -> old and new version, if the version changed."""
    nearest: Nearest | None = None


class Both:
    """Reads objects from this store, or from another store if this one does not have them."""

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
class PlannedSide:
    """The state that the recipes define now.

    `writer` keeps the hashed objects in memory.
    """

    workspace: Workspace
    plan: Plan
    writer: ObjectWriter

    def behind(self, edge: Edge, oid: EdgeId | None) -> Inputs | None:
        """Return the inputs of the task at the end of an edge, None if no recipe has the task."""
        return self.inputs(edge.key) if edge.key in self.plan.graph.nodes else None

    def inputs(self, key: TaskKey) -> Inputs:
        """Return the current inputs of a task."""
        node = self.plan.graph.nodes[key]
        steps = self.plan.steps
        entries = self.workspace.inputs.own(node, self.writer).entries
        own = inputs_of(self.writer, key, None, entries).own
        edges: dict[Edge, EdgeId | None] = {
            Edge("after", before): steps[before].task_hash for before in node.after
        }
        edges |= {Edge("from", source): steps[source].output for source in node.from_}
        edges |= {Edge("needs", needed): steps[needed].output for needed in node.needs}
        return Inputs(key, steps[key].task_hash, own, edges)


@dataclass(frozen=True, slots=True)
class Reference:
    """The state to compare with, and a reader for the objects of both states."""

    reader: TreeReader
    state: TaskState | None = None


def why(
    store: Store, name: str, *, session: Session | None = None, against: str = "", build: str = ""
) -> Why:
    """Return why a task ran or would run.

    With a session, the new state is that of the current recipes. Raises NameUnknown.
    """
    with store.objects.writer(memory=True) as writer:
        planned = None
        if session is not None and not build and not split_steps(name)[1]:
            planned = _planned(session, name, writer)
        if planned is None:
            return _why_recorded(store, name, build, against)
        step, new = planned
        if step.action not in WILL_RUN and not against:
            return _why_recorded(store, name, build, against)
        old = _reference(store, new.inputs.key, against, writer)
        return _answer(store, old, _verdict(store, step), new)


def _verdict(store: Store, step: Step) -> str:
    """Return as text what a plan does with a task."""
    if step.action == "run":
        return f"would run: {_reason(store, step)}"
    if step.action == "may run":
        return f"may run, {step.reason}"
    return f"is {step.action} now"


def _reason(store: Store, step: Step) -> str:
    """Return why a task would run; a task that failed with the same inputs is retried."""
    for build in islice(walk_builds(BuildList.latest(store)), LOOK_BACK):
        failure = failures(build).get(step.key)
        if failure is not None and failure.task_hash == step.task_hash:
            return f"it failed in build {short_id(build.commit)} with identical inputs"
        if _line_in(build, step.key) is not None:
            break
    return step.reason


def _planned(session: Session, name: str, writer: ObjectWriter) -> tuple[Step, TaskState] | None:
    """Return a task's step in a plan and its current state, None if no recipe has that name."""
    if "/" in name or session.project.resolve(TaskKey(name).recipe) is None:
        return None
    plan, workspace = session.plan_targets(name)
    key = plan.graph.targets[-1]
    if plan.steps[key].action not in WILL_RUN:
        # a target of the last build may still require it to run
        last = BuildList.latest(session.store)
        targets = last.facts().get("targets", "").split() if last else []
        with contextlib.suppress(ProvError):  # a target of the last build was removed
            plan, workspace = session.plan_targets(*targets, name)
    side = PlannedSide(workspace, plan, writer)
    versions = {node.recipe.name: node.recipe.version for node in plan.graph.nodes.values()}
    step = plan.steps[key]
    return step, TaskState("now", side.inputs(key), side, versions, step.output)


# as recorded


def _why_recorded(store: Store, name: str, build: str, against: str) -> Why:
    before, slash, text = name.rpartition("/")
    if (slash and ":" not in text) or split_steps(text)[1]:
        return _why_run(store, name, against)
    return _why_built(store, TaskKey(text), find_build(store, build or before or LATEST), against)


def _why_run(store: Store, name: str, against: str) -> Why:
    run = find_run(store, name)
    new = _of_run(store, run)
    old = _reference(store, run.key, against, store.objects)
    if not against:
        old = replace(old, state=None)
    return _answer(store, old, "ran", new)


def _why_built(store: Store, key: TaskKey, named: BuildList, against: str) -> Why:
    """Return why a task ran in a build, or in the last earlier build that has the task."""
    asked = next(_builds_with(named, key), named)
    line = _line_in(asked, key)
    if line is None:
        tasks = [task for recipe in named.recipes() for task in named.lines(recipe)]
        of_recipe = [task for task in tasks if str(task).startswith(f"{key}:")]
        hint = (
            f"use RECIPE:TASK, such as {of_recipe[0]}"
            if of_recipe
            else nearest(key, tasks) or "use RECIPE:TASK"
        )
        raise NameUnknown(f"no build has a task {key}", hint=hint)
    origin, earlier = _origin(asked, key, line)
    new = _in_build(origin, key, line)
    objects = store.objects
    if asked.happened().get(key) == Outcome.RAN and asked.commit != origin.commit:
        reason = asked.reasons().get(key, "forced, or a task needed its WORKDIR")
        verdict = f"ran in build {short_id(asked.commit)} with the inputs of {new.name}: {reason}"
        return _answer(store, Reference(objects, new), verdict, new)
    verdict = f"{_outcome_in(origin, key)} in {new.name}"
    if against:
        return _answer(store, _reference(store, key, against, objects), verdict, new)
    if earlier is None:
        return _answer(store, Reference(objects), verdict, new)
    try:
        old = _in_build(earlier, key, _line_in(earlier, key))
    except NameUnknown as error:  # the earlier inputs were deleted: report the verdict without them
        return _answer(store, Reference(objects), f"{verdict}; {error} ({error.hint})", new)
    return _answer(store, Reference(objects, old), verdict, new)


def _builds_with(build: BuildList | None, key: TaskKey) -> Iterator[BuildList]:
    """Yield a build and its predecessors, those in which a task was built or failed."""
    return (one for one in walk_builds(build) if _line_in(one, key) is not None)


def _origin(asked: BuildList, key: TaskKey, line: Line) -> tuple[BuildList, BuildList | None]:
    """Return the first of the consecutive builds with a task's result, and the build before it."""
    origin = asked
    for build in _builds_with(asked.before(), key):
        earlier = _line_in(build, key)
        if earlier is None or (earlier.task_hash, earlier.output) != (line.task_hash, line.output):
            return origin, build
        origin = build
    return origin, None


def _outcome_in(build: BuildList, key: TaskKey) -> str:
    if key in failures(build):
        return "failed"
    return outcome_text(build.happened().get(key, "was up to date"))


def _line_in(build: BuildList, key: TaskKey) -> Line | None:
    """Return a task's line in a build, including that of a failed task."""
    return failures(build).get(key) or build.line(key)


def _in_build(build: BuildList, key: TaskKey, line: Line | None) -> TaskState:
    """Return the state of a task in a build. Raises Elsewhere if the store lacks its inputs."""
    assert line is not None
    store = build.store
    try:
        inputs = read_inputs(store.objects, key, line.task_hash)
    except StoreError as error:
        fetch = f"run `prov pull {key}`: the task ran on another machine"
        raise Elsewhere(
            f"the inputs of {key} in build {short_id(build.commit)} are not in this store",
            key,
            line.task_hash,
            hint=inputs_collected(store, key, line.task_hash) or fetch,
        ) from error
    side = RecordedSide(store.objects, Producers(store, (build,)))
    name = f"build {short_id(build.commit)}"
    return TaskState(name, inputs, side, build.versions(), line.output)


def _of_run(store: Store, run: RunName) -> TaskState:
    inputs = read_inputs(store.objects, run.key, run.task_hash)
    output = read_run_record(store.objects, run.commit).result
    side = RecordedSide(store.objects, Producers(store))
    return TaskState(f"run {run.tag}", inputs, side, {}, output)


# the old state


def _reference(store: Store, key: TaskKey, against: str, reader: TreeReader) -> Reference:
    """Return the state to compare a task with, by default that in the last build."""
    if not against:
        return Reference(reader, _last_state(store, key))
    folder = _store_folder(Path(against))
    if folder is not None:
        return _reference_elsewhere(Store.open(folder), key, against, reader)
    if is_build_name(store, against) or not {":", "/"}.intersection(against):
        build = find_build(store, against)
        line = _line_in(build, key)
        if line is None:
            raise NameUnknown(
                f"build {against} has no task {key}", hint="run `prov builds` to list builds"
            )
        return Reference(reader, _in_build(build, key, line))
    run = find_run(store, against)
    if run.key != key:
        raise NameUnknown(
            f"--against {against}: expected a run of {key}, not of {run.key}",
            hint=f"run `prov log {key}` to list runs",
        )
    return Reference(reader, _of_run(store, run))


def _last_state(store: Store, key: TaskKey) -> TaskState | None:
    """Return a task's state in the last build that has it; a failed one only as a last resort."""
    latest = BuildList.latest(store)
    for build in walk_builds(latest):
        line = build.line(key)
        if line is not None:
            return _in_build(build, key, line)
    failed = next(_builds_with(latest, key), None)
    return _in_build(failed, key, _line_in(failed, key)) if failed is not None else None


def _store_folder(path: Path) -> Path | None:
    """Return the store at a path, or in the project there, None if there is none."""
    folders = (path, path / ".prov")
    return next((folder for folder in folders if (folder / "HEAD").exists()), None)


def _reference_elsewhere(other: Store, key: TaskKey, against: str, reader: TreeReader) -> Reference:
    build = next(_builds_with(BuildList.latest(other), key), None)
    if build is None:
        raise NameUnknown(f"{against}: no build in this store has a task {key}")
    state = _in_build(build, key, _line_in(build, key))
    named = replace(state, name=f"{state.name} of {against}")
    return Reference(Both(reader, other.objects), named)


# the answer


def _answer(store: Store, reference: Reference, verdict: str, new: TaskState) -> Why:
    reader, old = reference.reader, reference.state
    causes = []
    versions = {}
    if old is not None and not _is_same(old, new):
        causes = first_causes(reader, old.inputs, new.inputs, (old.side, new.side))
        versions = _versions_of(causes, old, new)
    near = None
    if old is None or isinstance(new.side, PlannedSide):
        near = nearest_recorded(store, reader, new.inputs, old.inputs if old else None)
    changes = dict.fromkeys(change for cause in causes for change in cause.changes)
    return Why(
        key=new.inputs.key,
        verdict=verdict,
        old=old.name if old else "",
        causes=tuple(causes),
        differences={change: tuple(difference_text(reader, change)) for change in changes},
        versions=versions,
        nearest=near,
    )


def _versions_of(causes: list[Cause], old: TaskState, new: TaskState) -> dict[str, tuple[str, str]]:
    """Return recipe -> old and new version, for the causes' recipes with a version change."""
    changed = changed_versions(old.versions, new.versions)
    recipes = dict.fromkeys(cause.key.recipe for cause in causes)
    return {name: changed[name] for name in recipes if name in changed and all(changed[name])}


def _is_same(old: TaskState, new: TaskState) -> bool:
    """Return whether two states have the same inputs and, if both are known, the same outputs."""
    if new.inputs.task_hash is None or old.inputs.task_hash != new.inputs.task_hash:
        return False
    return old.output == new.output or None in (old.output, new.output)


def nearest_recorded(
    store: Store, reader: TreeReader, new: Inputs, old: Inputs | None
) -> Nearest | None:
    """Return the recorded task hash with the nearest inputs, None if `old` is as near.

    The task's own hash is never returned.
    """
    skipped = {new.task_hash, old.task_hash if old else None}
    recorded = _recorded_hashes(store, new.key)
    hashes = [task_hash for task_hash in recorded if task_hash not in skipped]
    limit = _distance(reader, old, new) if old else FAR
    best: Nearest | None = None
    for at_least, task_hash in sorted(_least_distances(reader, new, hashes)):
        if at_least >= limit:
            break
        compared = compare(reader, read_inputs(reader, new.key, task_hash), new)
        distance = len(compared.own) + len(compared.edges)
        if distance < limit:
            limit = distance
            best = Nearest(task_hash, compared.own, compared.edges)
    return best


def _recorded_hashes(store: Store, key: TaskKey) -> Iterator[TaskHash]:
    for name in store.refs.list(outputs_of(key)):
        ref = parse_ref(name)
        if isinstance(ref, OutputRef):
            yield ref.task_hash


def _least_distances(
    reader: TreeReader, new: Inputs, hashes: list[TaskHash]
) -> Iterator[tuple[int, TaskHash]]:
    """Yield each readable hash with a lower bound of the number of differing inputs.

    The bound is the number of differing entries at the top: at least one input differs below each.
    """
    own = {entry.name: entry for entry in _top(reader, new)}
    for task_hash in hashes:
        try:
            entries = reader.tree(task_hash)
        except StoreError:
            continue
        differing = sum(own.get(entry.name) != entry for entry in entries) if own else 0
        yield differing, task_hash


def _top(reader: TreeReader, inputs: Inputs) -> list[Entry]:
    """Return the entries of an inputs tree, none if it was hashed but not written."""
    try:
        return reader.tree(inputs.task_hash) if inputs.task_hash else []
    except StoreError:
        return []


def _distance(reader: TreeReader, old: Inputs, new: Inputs) -> int:
    """Return the number of differing inputs."""
    compared = compare(reader, old, new)
    return len(compared.own) + len(compared.edges)
