"""Search the remotes of a store during a build.

Remotes are searched in order. A remote that fails is reported once and skipped from then on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from prov.errors import NameUnknown, ProvError, StoreError
from prov.intake.wellformed import Limits
from prov.records.ids import CommitId, OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.remote.index import Damaged, Index
from prov.remote.opening import AnyRemote, open_remote
from prov.remote.publication import Published
from prov.remote.reading import policy_of
from prov.remote.receive import receive
from prov.remote.settings import Remote
from prov.sharing.admission import first_program, is_unsigned, objection
from prov.sharing.results import enter, holds, place_id
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.text import few
from prov.transport.access import Access
from prov.transport.errors import Unreachable, Untrusted, WrongContent

Answer = TypeVar("Answer")
FAILURES = (ProvError, OSError, MemoryError)
"""Exceptions of an unusable remote; a build continues without it."""


def why_it_failed(name: str, error: BaseException) -> str:
    """Return the message for a remote that failed."""
    if isinstance(error, (Unreachable, Untrusted)):
        return str(error)
    if isinstance(error, MemoryError):
        return f"remote {name}: out of memory while receiving data"
    if isinstance(error, OSError) and error.strerror:
        return f"remote {name}: {error.filename or 'a file'}: {error.strerror}"
    return f"remote {name}: {error}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A result to fetch, with its remote and its local static key."""

    remote: str
    task: Published
    static_key: StaticKey


@dataclass(slots=True)
class Fetched:
    """The outcome of a transfer."""

    tasks: list[Published] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: str = ""
    """Why the remote failed, or ""."""
    size: int = 0
    """Bytes added to the store."""


@dataclass(slots=True)
class Caches:
    """The remotes of one store, during one command."""

    store: Store
    remotes: Sequence[Remote]
    access: Access
    notes: list[str] = field(default_factory=list)
    """Warnings for the user; the caller that prints them clears the list."""
    failed: set[str] = field(default_factory=set)
    """Remotes that failed to refresh."""
    confined: bool = True
    """Whether programs in fetched outputs run in a sandbox."""
    _accepted: dict[Oid, bool] = field(default_factory=dict)
    """Unsigned output -> whether it may be used."""
    _refreshed: bool = False
    _open: dict[str, AnyRemote] = field(default_factory=dict)
    _dropped: set[str] = field(default_factory=set)
    _refused: set[tuple[str, Published]] = field(default_factory=set)
    """Rejected results, with the name of their remote."""

    def opened(self) -> Iterable[AnyRemote]:
        """Open and yield the remotes that have not failed."""
        for remote in self.remotes:
            if remote.name in self._dropped:
                continue
            try:
                if remote.name not in self._open:
                    self._open[remote.name] = open_remote(remote, self.store, self.access)
            except (ProvError, OSError) as error:
                self.drop(remote.name, why_it_failed(remote.name, error))
                continue
            yield self._open[remote.name]

    def is_outdated(self) -> bool:
        """Return whether an index was read under an earlier policy, for example before a key
        expired.
        """
        policies = (
            (self._ask(remote, lambda index: index.get("policy")), remote.remote)
            for remote in self.opened()
        )
        return any(policy != policy_of(remote) for policy, remote in policies)

    def refresh(self, *, whole: bool = False) -> None:
        """Update the indexes of all remotes; report and drop a remote that fails.

        Unless they must be `whole`, the other methods add to them what they look up.
        """
        self._refreshed = True
        for remote in list(self.opened()):
            self._update(remote, partial(remote.refresh, whole=whole))

    def look_up(self, ids: Iterable[Oid]) -> None:
        """Complete the refreshed indexes for some task hashes and static keys.

        One call for many of them takes fewer connections than many calls.
        """
        if not self._refreshed:  # the caller did not want to contact remotes yet
            return
        ids = tuple(ids)
        for remote in list(self.opened()):
            self._update(remote, partial(remote.look_up, ids))

    def _update(self, remote: AnyRemote, update: Callable[[], list[Untrusted]]) -> None:
        try:
            refused = update()
        except FAILURES as error:
            self.failed.add(remote.name)
            self.drop(remote.name, why_it_failed(remote.name, error))
            return
        for problem in dict.fromkeys(map(str, refused)):
            self.notes.append(f"{problem}; the publication is ignored")

    def accepts(self, key: TaskKey, output: OutputId) -> bool:
        """Return whether an unsigned output in the store may be used; if not, note why once."""
        if self.confined:
            return True
        if output not in self._accepted:
            program = first_program(self.store.objects, output)
            self._accepted[output] = not program
            if program:
                self.notes.append(
                    f"{key}: not reusing its unsigned output from a remote: the program"
                    f" {program} would run without a sandbox; running the task instead"
                )
        return self._accepted[output]

    def drop(self, name: str, why: str) -> None:
        """Stop using a remote and note why once."""
        if name not in self._dropped:
            self._dropped.add(name)
            self.notes.append(f"{why}; continuing without it")

    @property
    def usable(self) -> list[Remote]:
        """The remotes that have not failed."""
        return [remote for remote in self.remotes if remote.name not in self._dropped]

    @property
    def incomplete(self) -> bool:
        """Whether a remote failed."""
        return bool(self._dropped)

    def refuse(self, name: str, task: Published) -> None:
        """Reject a remote's result; a result of another remote may be good."""
        self._refused.add((name, task))

    def _ask(self, remote: AnyRemote, question: Callable[[Index], Answer]) -> Answer | None:
        """Query a remote's index; if it cannot be read, drop the remote and return None."""
        try:
            return question(remote.index)
        except StoreError as error:
            self.drop(remote.name, f"remote {remote.name}: {error}")
            if isinstance(error, Damaged):
                remote.index.reset()
            return None

    def find(self, task_hash: TaskHash, place: str) -> tuple[str, Published] | None:
        """Return the first usable result of a task hash, with the name of its remote."""
        self.look_up([task_hash])
        for remote in self.opened():
            published = self._ask(remote, lambda index: index.find(task_hash)) or ()
            usable = [
                task
                for task in published
                if (remote.name, task) not in self._refused and task.place in ("", place)
            ]
            if usable:  # a later publication of the same output may have its WORKDIR
                same = (task for task in usable if task.output == usable[0].output and task.workdir)
                return remote.name, next(same, usable[0])
        return None

    def named(self, names: Iterable[str]) -> dict[TaskHash, TaskKey]:
        """Return the task hashes that remotes list for some recipes and tasks, with the tasks."""
        wanted = {*names}
        named: dict[TaskHash, TaskKey] = {}
        for remote in self.opened():
            listed = self._ask(remote, lambda index: [row[0] for row in index.tasks()]) or ()
            named |= {
                task.task_hash: task.key for task in listed if {task.key, task.key.recipe} & wanted
            }
        return named

    def find_static(self, static_key: StaticKey, place: str) -> Published | None:
        """Return the last usable result of a static key from the first remote that has one."""
        self.look_up([static_key])
        for remote in self.opened():
            task = self._ask(remote, lambda index: index.find_static(static_key))
            if (
                task is not None
                and (remote.name, task) not in self._refused
                and task.place in ("", place)
            ):
                return task
        return None

    def explain(self, tasks: Iterable[tuple[str, Oid]]) -> None:
        """Note why rejected results of some tasks are not used."""
        problems: dict[tuple[str, str, str], list[str]] = {}
        for key, task_hash in tasks:
            for remote in self.opened():
                problem = self._ask(remote, partial(_problem, task_hash=TaskHash(task_hash)))
                if problem:
                    problems.setdefault((remote.name, *problem), []).append(key)
        for (name, words, signer), keys in problems.items():
            by = f" (key {signer})" if signer else ""
            self.notes.append(f"remote {name}: {few(keys)}: {words}{by}")


def _problem(index: Index, *, task_hash: TaskHash) -> tuple[str, str] | None:
    return index.problem(task_hash)


def fetch(
    store: Store,
    remote: Remote,
    access: Access,
    wanted: Sequence[Wanted],
    *,
    workdirs: bool = False,
    confined: bool = True,
    limits: Limits | None = None,
) -> Fetched:
    """Fetch results from one remote and record the accepted ones. Safe to run in a child process.

    `confined`: whether programs in the results run in a sandbox. `limits`: size limits.
    """
    fetched = Fetched()
    try:
        opened = open_remote(remote, store, access)
        tasks = [request.task for request in wanted]
        limits = limits or Limits(devices=remote.devices, record=remote.record_limit)
        received = receive(
            opened,
            store,
            tasks,
            holds=lambda task: holds(store, task),
            limits=limits,
            workdirs=workdirs,
        )
    except FAILURES as error:
        fetched.failed = why_it_failed(remote.name, error)
        return fetched
    store.objects.refresh()
    for task in received.tasks:
        words = objection(store.objects, remote, task, confined=confined)
        if words:
            received.refused.append(WrongContent(remote.name, words, task=task.key))
        else:
            fetched.tasks.append(task)
    statics = {request.task.key: request.static_key for request in wanted}
    enter(store, fetched.tasks, statics, unsigned=is_unsigned(remote))
    fetched.size = received.size
    fetched.notes = [str(problem) for problem in received.refused]
    return fetched


def fetch_published(
    store: Store, remotes: Sequence[Remote], access: Access, key: TaskKey, task_hash: TaskHash
) -> Fetched:
    """Fetch a result from the first remote that has it, with its WORKDIR if published."""
    caches = Caches(store, remotes, access)
    caches.refresh()
    result = caches.find(task_hash, "")
    if result is None or result[1].key != key:
        return Fetched(notes=caches.notes)
    name, task = result
    remote = next(remote for remote in remotes if remote.name == name)
    fetched = fetch(
        store, remote, access, [Wanted(name, task, task.static_key)], workdirs=bool(task.workdir)
    )
    fetched.notes = [*caches.notes, *fetched.notes, *filter(None, [fetched.failed])]
    return fetched


@dataclass(slots=True)
class Pulled:
    """The outcome of a pull."""

    notes: list[str]
    tasks: list[Published] = field(default_factory=list)
    size: int = 0
    """Bytes added to the store."""
    here: int = 0
    """Number of tasks with outputs already in the store."""
    failed: bool = False
    asked: set[tuple[str, Published]] = field(default_factory=set)
    """Requested results, with the name of their remote."""

    def take(
        self, caches: Caches, remote: Remote, wanted: Sequence[Wanted], *, workdirs: bool
    ) -> None:
        """Fetch results from one remote; rejected ones are not requested again."""
        fetched = fetch(caches.store, remote, caches.access, wanted, workdirs=workdirs)
        self.asked |= {(remote.name, request.task) for request in wanted}
        self.tasks += fetched.tasks
        self.size += fetched.size
        self.notes += fetched.notes
        self.failed = self.failed or bool(fetched.failed or fetched.notes)
        if fetched.failed:
            caches.drop(remote.name, fetched.failed)
        for request in wanted:
            if request.task not in fetched.tasks:
                caches.refuse(remote.name, request.task)


def pull_named(caches: Caches, names: Sequence[str], *, workdirs: bool = False) -> Pulled:
    """Fetch all published results of some recipes (`app`) and tasks (`app:install`).

    Raises NameUnknown for a name that no remote lists.
    """
    caches.refresh(whole=True)
    pulled = Pulled(notes=caches.notes)
    named = caches.named(names)
    if not caches.incomplete:
        _check_found(names, named.values())
    results = [result for task_hash in named if (result := caches.find(task_hash, ""))]
    missing = [
        Wanted(name, task, task.static_key)
        for name, task in results
        if not _is_here(caches.store, task, workdirs=workdirs)
    ]
    pulled.here = len(results) - len(missing)
    for remote in list(caches.opened()):
        wanted = [request for request in missing if request.remote == remote.name]
        if wanted:
            pulled.take(caches, remote.remote, wanted, workdirs=workdirs)
    pulled.failed = pulled.failed or caches.incomplete
    return pulled


def _check_found(names: Sequence[str], keys: Iterable[TaskKey]) -> None:
    """Raise NameUnknown if no remote lists a name."""
    found = {name for key in keys for name in (key, key.recipe)}
    unknown = [name for name in names if name not in found]
    if unknown:
        raise NameUnknown(
            f"no remote has a result of {few(unknown)}",
            hint="run `prov push` on the machine that recorded it",
        )


def _is_here(store: Store, task: Published, *, workdirs: bool) -> bool:
    """Return whether the store has a published result, and, if `workdirs`, its WORKDIR."""
    if not holds(store, task):
        return False
    return not (workdirs and task.workdir) or store.objects.exists(task.workdir)


@dataclass(slots=True)
class Anywhere:
    """Looks up results in the store and in remotes, for a plan."""

    records: Records
    caches: Caches

    def output(self, key: TaskKey, task_hash: TaskHash) -> OutputId | None:
        recorded = self.records.output(key, task_hash)
        if recorded is not None:
            return recorded
        result = self.published(key, task_hash)
        return result[1].output if result else None

    def static_output(self, key: TaskKey, static_key: StaticKey) -> OutputId | None:
        recorded = self.records.static_output(key, static_key)
        if recorded is not None:
            return recorded
        task = self.caches.find_static(static_key, self._place(key))
        return task.output if task and task.key == key else None

    def static_away(self, key: TaskKey, static_key: StaticKey) -> TaskHash | None:
        if self.records.static_output(key, static_key) is not None:
            return None
        task = self.caches.find_static(static_key, self._place(key))
        return task.task_hash if task and task.key == key else None

    def last_run(self, key: TaskKey, task_hash: TaskHash) -> tuple[int, CommitId | None]:
        return self.records.last_run(key, task_hash)

    def away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        # first the question that reads no ref if there are no remotes
        return (
            self.published(key, task_hash) is not None
            and self.records.output(key, task_hash) is None
        )

    def workdir_away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        result = self.published(key, task_hash)
        return result is not None and bool(result[1].workdir)

    def why_no_workdir(self, key: TaskKey, task_hash: TaskHash) -> str:
        return self.records.why_no_workdir(key, task_hash)

    def published(self, key: TaskKey, task_hash: TaskHash) -> tuple[str, Published] | None:
        """Return the published result of a task, with the name of its remote."""
        if not self.caches.remotes:
            return None
        result = self.caches.find(task_hash, self._place(key))
        return result if result and result[1].key == key else None

    def _place(self, key: TaskKey) -> str:
        return place_id(self.records.places(key)) if self.records.places else ""
