"""Look up recorded results. Only refs and objects decide, never caches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.output import OUTPUT_MESSAGE, UNSIGNED_MESSAGE, read_fixed
from prov.records.record import Record, read_record, read_run_record, read_workdir
from prov.records.refs import OutputRef, RecordRef, RunRef, StaticRef
from prov.store.objects import Commit, Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import Pair


def last_number(store: Store, key: TaskKey, task_hash: TaskHash, *, failed: bool = False) -> int:
    """Return the number of the last run of a task hash, 0 if there is none."""
    first = RunRef(key, task_hash, 1, failed)
    if failed:
        return store.refs.last_number(first.prefix)
    prefixes = first.prefix, first.record.prefix
    number = 0
    while any(store.refs.get(f"{prefix}/{number + 1}") is not None for prefix in prefixes):
        number += 1
    return number


def new_run(
    store: Store, key: TaskKey, task_hash: TaskHash, commit: Oid, *, failed: bool = False
) -> RefUpdate:
    """Return the ref update that creates the tag of a new run, with the next number."""
    number = last_number(store, key, task_hash, failed=failed) + 1
    return RefUpdate(str(RunRef(key, task_hash, number, failed)), commit, None)


@dataclass(slots=True)
class Records:
    """Looks up outputs, runs and WORKDIRs in a store by task hash and static key."""

    store: Store
    places: Callable[[TaskKey], bytes] | None = None
    """Return a task's paths, to compare with those to which an output is tied; None: accept all."""
    takes: Callable[[TaskKey, OutputId], bool] = lambda _key, _output: True
    """Return whether a task's unsigned output from a remote may be used."""
    _outputs: dict[Oid, Commit] = field(default_factory=dict)

    def output(self, key: TaskKey, task_hash: TaskHash) -> OutputId | None:
        """Return the id of the output recorded for a task hash, or None."""
        return self._output_of(key, self.store.refs.get(str(OutputRef(key, task_hash))))

    def static_output(self, key: TaskKey, static_key: StaticKey) -> OutputId | None:
        """Return the id of the output last recorded under a static key, or None."""
        return self._output_of(key, self.store.refs.get(str(StaticRef(key, static_key))))

    def _output_of(self, key: TaskKey, oid: Oid | None) -> OutputId | None:
        if oid is None:
            return None
        commit = self._outputs.get(oid)
        if commit is None:
            commit = self._outputs[oid] = self.store.objects.commit(oid)
        output = OutputId(commit.tree)
        if commit.message != OUTPUT_MESSAGE and self.places is not None:
            fixed = read_fixed(self.store.objects, output)
            if fixed and fixed != self.places(key):
                return None
        if commit.message == UNSIGNED_MESSAGE and not self.takes(key, output):
            return None
        return output

    def last_run(
        self, key: TaskKey, task_hash: TaskHash, *, failed: bool = False
    ) -> tuple[int, CommitId | None]:
        """Return number and commit of the last run of a task hash; (0, None) if there is none.

        The commit is None if only the record of the run is in the store.
        """
        number = last_number(self.store, key, task_hash, failed=failed)
        if number == 0:
            return 0, None
        commit = self.store.refs.get(str(RunRef(key, task_hash, number, failed)))
        return number, CommitId(commit) if commit is not None else None

    def away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        """Return False: this class does not know remotes."""
        return False

    def static_away(self, key: TaskKey, static_key: StaticKey) -> TaskHash | None:
        """Return None: this class does not know remotes."""
        return None

    def workdir_away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        """Return False: this class does not know remotes."""
        return False

    def why_no_workdir(self, key: TaskKey, task_hash: TaskHash) -> str:
        """Return a text: why the store has the output of a task hash but not the WORKDIR."""
        prefix = RecordRef(key, task_hash, 1).prefix
        records = self.store.refs.list(f"{prefix}/").values()
        if not records:
            return "its WORKDIR was never recorded here"
        objects = self.store.objects
        # published records do not contain the path of the WORKDIR
        ran_here = any("workdir" in read_record(objects, oid).facts(objects) for oid in records)
        return "its WORKDIR was collected" if ran_here else _STAYED

    def workdir(self, commit: Oid) -> Pair:
        """Return the WORKDIR in a task commit or in a commit of manual changes."""
        return read_workdir(self.store.objects, commit)

    def record(self, commit: Oid) -> Record:
        """Return the record of a task commit; also accept a record commit itself."""
        return read_run_record(self.store.objects, commit)

    def facts(self, commit: Oid) -> dict[str, str]:
        """Return the facts in the record of a task commit: task, result, times, host, folders."""
        return self.record(commit).facts(self.store.objects)

    def text(self, commit: Oid, name: bytes) -> bytes:
        """Return a text in the record of a task commit; empty if it is missing."""
        return self.record(commit).text(self.store.objects, name)


_STAYED = "its WORKDIR stayed on the machine where it ran"
