"""Tasks that gave different outputs for the same inputs: among runs here, and among what remotes
were told.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from prov.history.diff import diff_pairs
from prov.records.ids import OutputId, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.refs import RECORDS
from prov.remote.publication import Published
from prov.remote.settings import Remote, read_remotes
from prov.sharing.caches import Caches, Wanted, fetch
from prov.store.git import run_git
from prov.store.objects import Oid
from prov.store.refs import hash_in
from prov.store.repository import Store
from prov.transport.access import Access

MOST_LINES = 20


@dataclass(slots=True)
class Differing:
    """A task hash that led to several outputs: which, where each is from, and how the first two
    differ.
    """

    key: TaskKey
    task_hash: TaskHash
    outputs: list[Oid] = field(default_factory=list)
    where: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def add(self, output: OutputId, where: str) -> None:
        if output not in self.outputs:
            self.outputs.append(output)
            self.where.append(where)


@dataclass(slots=True)
class Found:
    """All of them, and what went wrong with asking."""

    tasks: list[Differing]
    notes: list[str]


def differing_tasks(
    store: Store, remotes: Sequence[Remote] | None, access: Access, *, ask: bool
) -> Found:
    """Return tasks with several outputs, what was published first before what is only here; `ask`
    remotes what is new.

    Outputs that are at a remote only are fetched, the first that was published first, to tell what
    is different.
    """
    caches = Caches(store, read_remotes(store) if remotes is None else remotes, access)
    if ask:
        caches.refresh()
    found: dict[Oid, Differing] = {}
    elsewhere: dict[Oid, list[tuple[str, Published]]] = {}
    here = _outputs_here(store)
    for remote in caches.opened():
        published = {task.task_hash: task for tasks in remote.index.differing() for task in tasks}
        for task_hash in {*published, *here}:
            for task in remote.index.find(TaskHash(task_hash)):
                each = found.setdefault(task_hash, Differing(task.key, TaskHash(task_hash)))
                each.add(
                    task.output,
                    f"published to {remote.name}{_signed(remote.index.signer(task.record))}",
                )
                elsewhere.setdefault(task_hash, []).append((remote.name, task))
    for task_hash, (key, outputs) in here.items():
        each = found.setdefault(task_hash, Differing(TaskKey(key), TaskHash(task_hash)))
        for output, tag in outputs.items():
            each.add(OutputId(output), f"here, run {tag}")
    tasks = [each for each in found.values() if len(each.outputs) > 1]
    for each in tasks:
        _bring(caches, each, elsewhere.get(each.task_hash, []))
        each.lines = _difference(store, each)
    return Found(sorted(tasks, key=lambda each: each.key), caches.notes)


def _signed(signer: str) -> str:
    return f", signed by {signer}" if signer else ""


def _outputs_here(store: Store) -> dict[Oid, tuple[str, dict[Oid, str]]]:
    """Return the outputs that runs here gave, by task hash, each with a run's name."""
    found: dict[Oid, tuple[str, dict[Oid, str]]] = {}
    rows = (
        run_git(store.path, ["for-each-ref", "--format=%(refname)", "refs/tags/", RECORDS])
        .decode("utf-8", "replace")
        .split("\n")
    )
    for ref in rows:
        parts = ref.removeprefix("refs/tags/").removeprefix(RECORDS).split("/")
        task_hash = hash_in(parts[2]) if len(parts) == 4 else None
        if task_hash is None or parts[0] in ("failed", "outside"):
            continue
        commit = store.objects.commit(store.refs.get(ref) or b"")
        record = store.objects.commit(commit.parents[1]) if len(commit.parents) > 1 else commit
        output = store.objects.entry(record.tree, "output")
        if output is not None:
            _, outputs = found.setdefault(task_hash, (f"{parts[0]}:{parts[1]}", {}))
            outputs.setdefault(output.oid, "/".join(parts))
    return found


def _bring(caches: Caches, task: Differing, published: Sequence[tuple[str, Published]]) -> None:
    """Have the first two outputs here, so that they can be compared."""
    objects = caches.store.objects
    for name, each in published:
        if each.output in task.outputs[:2] and not objects.exists(each.output):
            remote = next(remote for remote in caches.remotes if remote.name == name)
            fetched = fetch(
                caches.store, remote, caches.access, [Wanted(name, each, each.static_key)]
            )
            caches.notes += [*fetched.notes, *([fetched.failed] if fetched.failed else [])]


def _difference(store: Store, task: Differing) -> list[str]:
    one, other = task.outputs[:2]
    if not store.objects.exists(one) or not store.objects.exists(other):
        return ["one of them is not here and could not be fetched"]
    lines = [
        each.line
        for each in diff_pairs(
            store.objects, read_pair(store.objects, one), read_pair(store.objects, other)
        )
    ]
    more = len(lines) - MOST_LINES
    return lines[:MOST_LINES] + ([f"and {more} more"] if more > 0 else [])
