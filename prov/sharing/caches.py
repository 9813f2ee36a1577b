"""The remotes of a store as a build uses them: asked in order, dropped at the first failure, named
once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from prov.errors import ProvError, StoreError
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
"""What a remote that can't be used leads to: a build goes on without it."""


def why_it_failed(name: str, error: BaseException) -> str:
    """Return what is said of a remote that could not be used."""
    if isinstance(error, (Unreachable, Untrusted)):
        return str(error)
    if isinstance(error, MemoryError):
        return f"remote {name}: there is not enough memory for what it sends"
    if isinstance(error, OSError) and error.strerror:
        return f"remote {name}: {error.filename or 'a file'}: {error.strerror}"
    return f"remote {name}: {error}"


@dataclass(frozen=True, slots=True)
class Wanted:
    """A result that is fetched: from which remote, and the static key under which it is known
    here.
    """

    remote: str
    task: Published
    static_key: StaticKey


@dataclass(slots=True)
class Fetched:
    """What a transfer brought."""

    tasks: list[Published] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: str = ""
    """The remote did not answer: why."""
    size: int = 0


@dataclass(slots=True)
class Caches:
    """The remotes of one store, during one command."""

    store: Store
    remotes: Sequence[Remote]
    access: Access
    notes: list[str] = field(default_factory=list)
    """What the user should know; the caller that shows them empties the list."""
    failed: set[str] = field(default_factory=set)
    """Remotes that could not be asked."""
    confined: bool = True
    """What results bring runs in a sandbox."""
    _taken: dict[Oid, bool] = field(default_factory=dict)
    _open: dict[str, AnyRemote] = field(default_factory=dict)
    _dropped: set[str] = field(default_factory=set)
    _refused: set[tuple[str, Published]] = field(default_factory=set)
    """What came from a remote, by its name, and must not be used."""

    def opened(self) -> Iterable[AnyRemote]:
        """Yield the remotes that can be asked."""
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
        """Return whether what is known of a remote was judged by another policy, as before a key
        expired.
        """
        judged = (
            (self._ask(each, lambda index: index.get("policy")), each.remote)
            for each in self.opened()
        )
        return any(policy != policy_of(remote) for policy, remote in judged)

    def refresh(self) -> None:
        """Learn what is new at the remotes; one that does not answer is named and dropped."""
        for remote in list(self.opened()):
            try:
                refused = remote.refresh()
            except FAILURES as error:
                self.failed.add(remote.name)
                self.drop(remote.name, why_it_failed(remote.name, error))
                continue
            for problem in dict.fromkeys(str(each) for each in refused):
                self.notes.append(f"{problem}; what it says is not used")

    def takes(self, key: TaskKey, output: OutputId) -> bool:
        """Return whether an unsigned output that is here may be used; say why if not, once."""
        if self.confined:
            return True
        if output not in self._taken:
            program = first_program(self.store.objects, output)
            self._taken[output] = not program
            if program:
                self.notes.append(
                    f"{key}: its output came from a remote, unsigned, and has the program"
                    f" {program}, which would run without a sandbox; it is made here"
                )
        return self._taken[output]

    def drop(self, name: str, why: str) -> None:
        """Use a remote no more, and say so once."""
        if name not in self._dropped:
            self._dropped.add(name)
            self.notes.append(f"{why}; it is left out of this build")

    @property
    def incomplete(self) -> bool:
        """Some remote did not answer."""
        return bool(self._dropped)

    def refuse(self, name: str, task: Published) -> None:
        """Never offer a remote's result again; another remote may have a good one."""
        self._refused.add((name, task))

    def _ask(self, remote: AnyRemote, question: Callable[[Index], Answer]) -> Answer | None:
        """Return what is known of a remote; None where its index can't be read: it is dropped
        then.
        """
        try:
            return question(remote.index)
        except StoreError as error:
            self.drop(remote.name, f"remote {remote.name}: {error}")
            if isinstance(error, Damaged):
                remote.index.begin_anew()
            return None

    def find(self, task_hash: TaskHash, place: str) -> tuple[str, Published] | None:
        """Return what the first remote that has a task hash has of it, and that remote's name."""
        for remote in self.opened():
            published = self._ask(remote, lambda index: index.find(task_hash)) or ()
            found = [
                task
                for task in published
                if (remote.name, task) not in self._refused and task.place in ("", place)
            ]
            if found:  # its WORKDIR may have been published later
                same = (task for task in found if task.output == found[0].output and task.workdir)
                return remote.name, next(same, found[0])
        return None

    def find_static(self, static_key: StaticKey, place: str) -> Published | None:
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
        """Note why what remotes have of some tasks is not used, if they have something."""
        found: dict[tuple[str, str, str], list[str]] = {}
        for key, task_hash in tasks:
            for remote in self.opened():
                problem = self._ask(remote, partial(_problem, task_hash=TaskHash(task_hash)))
                if problem:
                    found.setdefault((remote.name, *problem), []).append(key)
        for (name, words, signer), keys in found.items():
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
    """Fetch results from one remote and enter those that may be used; made for a process of its
    own.

    `confined`: what the results bring runs in a sandbox. `limits`: how large they may be.
    """
    found = Fetched()
    try:
        opened = open_remote(remote, store, access)
        tasks = [each.task for each in wanted]
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
        found.failed = why_it_failed(remote.name, error)
        return found
    store.objects.refresh()
    for task in received.tasks:
        words = objection(store.objects, remote, task, confined=confined)
        if words:
            received.refused.append(WrongContent(remote.name, words, task=task.key))
        else:
            found.tasks.append(task)
    statics = {each.task.key: each.static_key for each in wanted}
    enter(store, found.tasks, statics, unsigned=is_unsigned(remote))
    found.size = received.size
    found.notes = [str(problem) for problem in received.refused]
    return found


def fetch_published(
    store: Store, remotes: Sequence[Remote], access: Access, key: TaskKey, task_hash: TaskHash
) -> Fetched:
    """Fetch what the first remote that has a result has published of it, its WORKDIR too if that is
    shared.
    """
    caches = Caches(store, remotes, access)
    caches.refresh()
    found = caches.find(task_hash, "")
    if found is None or found[1].key != key:
        return Fetched(notes=caches.notes)
    name, task = found
    remote = next(each for each in remotes if each.name == name)
    fetched = fetch(
        store, remote, access, [Wanted(name, task, task.static_key)], workdirs=bool(task.workdir)
    )
    fetched.notes = [*caches.notes, *fetched.notes, *filter(None, [fetched.failed])]
    return fetched


@dataclass(slots=True)
class Pulled:
    """What a pull brought."""

    notes: list[str]
    tasks: list[Published] = field(default_factory=list)
    size: int = 0
    here: int = 0
    """Tasks whose outputs were here before."""
    failed: bool = False
    asked: set[tuple[str, Published]] = field(default_factory=set)
    """What was asked for, of which remote."""

    def take(
        self, caches: Caches, remote: Remote, wanted: Sequence[Wanted], *, workdirs: bool
    ) -> None:
        """Fetch results from one remote; what can't be used is not asked for again."""
        fetched = fetch(caches.store, remote, caches.access, wanted, workdirs=workdirs)
        self.asked |= {(remote.name, each.task) for each in wanted}
        self.tasks += fetched.tasks
        self.size += fetched.size
        self.notes += fetched.notes
        self.failed = self.failed or bool(fetched.failed or fetched.notes)
        if fetched.failed:
            caches.drop(remote.name, fetched.failed)
        for each in wanted:
            if each.task not in fetched.tasks:
                caches.refuse(remote.name, each.task)


@dataclass(slots=True)
class Anywhere:
    """What is recorded here or published at a remote: what a plan goes by."""

    records: Records
    caches: Caches
    _found: dict[Oid, tuple[str, Published] | None] = field(default_factory=dict)

    def output(self, key: TaskKey, task_hash: TaskHash) -> OutputId | None:
        here = self.records.output(key, task_hash)
        if here is not None:
            return here
        found = self.published(key, task_hash)
        return found[1].output if found else None

    def static_output(self, key: TaskKey, static_key: StaticKey) -> OutputId | None:
        here = self.records.static_output(key, static_key)
        if here is not None:
            return here
        found = self.caches.find_static(static_key, self._place(key))
        return found.output if found and found.key == key else None

    def static_away(self, key: TaskKey, static_key: StaticKey) -> TaskHash | None:
        if self.records.static_output(key, static_key) is not None:
            return None
        found = self.caches.find_static(static_key, self._place(key))
        return found.task_hash if found and found.key == key else None

    def last_run(self, key: TaskKey, task_hash: TaskHash) -> tuple[int, CommitId | None]:
        return self.records.last_run(key, task_hash)

    def away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        return (
            self.records.output(key, task_hash) is None
            and self.published(key, task_hash) is not None
        )

    def workdir_away(self, key: TaskKey, task_hash: TaskHash) -> bool:
        found = self.published(key, task_hash)
        return found is not None and bool(found[1].workdir)

    def why_no_workdir(self, key: TaskKey, task_hash: TaskHash) -> str:
        return self.records.why_no_workdir(key, task_hash)

    def published(self, key: TaskKey, task_hash: TaskHash) -> tuple[str, Published] | None:
        """Return what a remote has of a task, and that remote's name."""
        found = self.caches.find(task_hash, self._place(key))
        return found if found and found[1].key == key else None

    def _place(self, key: TaskKey) -> str:
        return place_id(self.records.places(key)) if self.records.places else ""
