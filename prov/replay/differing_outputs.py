"""Find tasks that produced different outputs from the same inputs, in this store and at remotes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from prov.history.diff import diff_pairs
from prov.records.ids import OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.record import read_run_record
from prov.records.refs import RECORDS, TAGS, RecordRef, RunRef, parse_ref
from prov.remote.publication import Published
from prov.remote.settings import Remote, read_remotes
from prov.sharing.caches import Caches, Wanted, fetch
from prov.store.git import run_git
from prov.store.repository import Store
from prov.transport.access import Access

MOST_LINES = 20


@dataclass(slots=True)
class Differing:
    """A task hash with several outputs."""

    key: TaskKey
    task_hash: TaskHash
    outputs: list[OutputId] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    """For each output, the remote it was published to, or the local run that produced it."""
    lines: list[str] = field(default_factory=list)
    """The differences between the first two."""

    def add(self, output: OutputId, where: str) -> None:
        """Add an output unless it is already listed."""
        if output not in self.outputs:
            self.outputs.append(output)
            self.where.append(where)


@dataclass(frozen=True, slots=True)
class DifferingTasks:
    """All tasks with several outputs, and notes about failures of the search."""

    tasks: list[Differing]
    notes: list[str]


@dataclass(frozen=True, slots=True)
class LocalOutputs:
    """The outputs of the runs in this store with one task hash."""

    key: TaskKey
    runs: dict[OutputId, str]
    """Output -> the name of a run that produced it."""


def differing_tasks(
    store: Store, remotes: Sequence[Remote] | None, access: Access, *, ask: bool
) -> DifferingTasks:
    """Return tasks with several outputs, sorted by task; their published outputs come first.

    `ask` refreshes the indexes of remotes first. Of each task, up to two outputs that only a remote
    has are fetched, so that their difference can be reported.
    """
    caches = Caches(store, read_remotes(store) if remotes is None else remotes, access)
    if ask:
        caches.refresh(whole=True)
    differing: dict[TaskHash, Differing] = {}
    published: dict[TaskHash, list[tuple[str, Published]]] = {}
    local = outputs_here(store)
    for remote in caches.opened():
        at_remote = {task.task_hash for tasks in remote.index.differing() for task in tasks}
        for task_hash in {*map(TaskHash, at_remote), *local}:
            for task in remote.index.find(task_hash):
                entry = differing.setdefault(task_hash, Differing(task.key, task_hash))
                signed = _signed(remote.index.signer(task.record))
                entry.add(task.output, f"published to {remote.name}{signed}")
                published.setdefault(task_hash, []).append((remote.name, task))
    for task_hash, here in local.items():
        entry = differing.setdefault(task_hash, Differing(here.key, task_hash))
        for output, run in here.runs.items():
            entry.add(output, f"in this store, run {run}")
    several = [entry for entry in differing.values() if len(entry.outputs) > 1]
    for entry in several:
        _fetch_first_two(caches, entry, published.get(entry.task_hash, []))
        entry.lines = _difference(store, entry)
    return DifferingTasks(sorted(several, key=lambda entry: entry.key), caches.notes)


def _signed(signer: str) -> str:
    return f", signed by {signer}" if signer else ""


def outputs_here(store: Store) -> dict[TaskHash, LocalOutputs]:
    """Return the outputs of all successful runs in this store, by task hash."""
    answer = run_git(store.path, ["for-each-ref", "--format=%(refname)", TAGS, RECORDS])
    outputs: dict[TaskHash, LocalOutputs] = {}
    for name in answer.decode("utf-8", "replace").split("\n"):
        ref = parse_ref(name)
        if not isinstance(ref, RunRef | RecordRef) or (isinstance(ref, RunRef) and ref.failed):
            continue
        commit = store.refs.get(name)
        output = read_run_record(store.objects, commit).output if commit is not None else None
        if output is not None:
            here = outputs.setdefault(ref.task_hash, LocalOutputs(ref.key, {}))
            here.runs.setdefault(output, name.removeprefix(TAGS).removeprefix(RECORDS))
    return outputs


def _fetch_first_two(
    caches: Caches, task: Differing, published: Sequence[tuple[str, Published]]
) -> None:
    """Fetch the first two outputs if the store lacks them, so that they can be compared."""
    objects = caches.store.objects
    for name, result in published:
        if result.output not in task.outputs[:2] or objects.exists(result.output):
            continue
        remote = next(remote for remote in caches.remotes if remote.name == name)
        wanted = Wanted(name, result, result.static_key)
        fetched = fetch(caches.store, remote, caches.access, [wanted])
        caches.notes += fetched.notes
        if fetched.failed:
            caches.notes.append(fetched.failed)


def _difference(store: Store, task: Differing) -> list[str]:
    one, other = task.outputs[:2]
    if not store.objects.exists(one) or not store.objects.exists(other):
        return ["cannot compare: an output could not be fetched"]
    pairs = [read_pair(store.objects, output) for output in (one, other)]
    lines = [difference.line for difference in diff_pairs(store.objects, *pairs)]
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], f"and {more} more"] if more > 0 else lines
