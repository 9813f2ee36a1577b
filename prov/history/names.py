"""Names of runs: `recipe:task` for the latest run, or a tag.

`latest~3/zlib:compile` is the run in that build. `zlib:compile~1` is the run before the latest.
After a tag, `~1` keeps git's meaning: the WORKDIR before the task.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from prov.errors import Elsewhere, NameUnknown
from prov.history.builds import find_build, short_id, split_steps
from prov.history.collected import inputs_collected, run_collected, when_collected
from prov.history.producers import failures
from prov.records.build_list import BuildList, walk_builds
from prov.records.ids import CommitId, TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records, last_number
from prov.records.record import read_run_record
from prov.records.refs import FAILED, OWN, RECORDS, TAGS, RecordRef, RunRef, parse_ref, parse_run
from prov.store.git import run_git
from prov.store.repository import Store
from prov.text import count_text, nearest

LOOK_BACK = 100
"""Number of builds to search for a task without a run in this store."""
NEWEST = 20
"""Number of runs of a task to search for the run of a build."""
OVERLAPPING = 20
"""Number of earlier builds in which a run is searched that ended after later builds began."""
_MARK = "\x1f"
_SPACE = re.compile(r"\s")
_FORMAT = "--format=%(objectname) %(creatordate:unix) %(refname)"


@dataclass(frozen=True, slots=True)
class RunName:
    """A recorded run: the ref that names it, and the commit that the ref points to."""

    ref: RunRef | RecordRef
    """A RecordRef where the store has only the record of the run."""
    commit: CommitId
    seconds: int
    """End of the run, since the epoch."""

    @property
    def tag(self) -> str:
        """The ref as users write it: `zlib/compile/HASH/1`, `failed/…` or `record/…`."""
        return str(self.ref).removeprefix(TAGS).removeprefix(OWN)

    @property
    def key(self) -> TaskKey:
        return self.ref.key

    @property
    def task_hash(self) -> TaskHash:
        return self.ref.task_hash

    @property
    def number(self) -> int:
        """From 1: the number of the run under this task hash."""
        return self.ref.number

    @property
    def failed(self) -> bool:
        return isinstance(self.ref, RunRef) and self.ref.failed

    def table(self) -> dict[str, str | int | None]:
        """Return the run as JSON answers have it."""
        return {
            "tag": self.tag,
            "commit": self.commit.hex(),
            "recipe": self.key.recipe,
            "task": self.key,
            "task_hash": self.task_hash.hex(),
            "number": self.number,
            "failed": self.failed,
            "time": self.seconds,
        }


# lists


def runs(store: Store, recipe: str = "", task: str = "", *, limit: int = 0) -> list[RunName]:
    """Return recorded runs, successful and failed, newest first.

    With a limit, returns the newest ones up to it, and the others of the last one's second.
    """
    if task:
        listed = list(_runs_of_task(store, TaskKey.of(recipe, task)))
    else:
        # one process that sorts all runs is faster than reading their commits here
        listed = list(_runs_by_git(store, recipe, limit))
    return sorted(listed, key=lambda run: (-run.seconds, -run.number))


def _runs_of_task(store: Store, key: TaskKey) -> Iterator[RunName]:
    for prefix in (f"{TAGS}{key.path}/", f"{FAILED}{key.path}/"):
        for name, oid in store.refs.list(prefix).items():
            ref = parse_run(name)
            if ref is not None and store.objects.header(oid)[0] == "commit":
                yield _run_name(store, ref, CommitId(oid))


def _runs_by_git(store: Store, recipe: str, limit: int) -> list[RunName]:
    """Return runs, newest first; with a limit, those up to it and the others of its second."""
    prefixes = [f"{TAGS}{recipe}", f"{FAILED}{recipe}"]
    count = 2 * limit + 100  # with no limit git lists all
    while True:
        options = [f"--count={count}"] if limit else []
        answer = run_git(
            store.path, ["for-each-ref", "--sort=-creatordate", *options, _FORMAT, *prefixes]
        ).decode("utf-8", "replace")
        rows = answer.split("\n")
        listed = list(filter(None, map(_listed_run, dict.fromkeys(rows))))
        end = listed[limit - 1].seconds if 0 < limit <= len(listed) else 0
        if not limit or len(rows) <= count or (listed and listed[-1].seconds < end):
            return [run for run in listed if run.seconds >= end]
        count *= 10


def _listed_run(row: str) -> RunName | None:
    """Return the run in a row of git's list; None for another tag."""
    oid, _, rest = row.partition(" ")
    seconds, _, name = rest.partition(" ")
    ref = parse_run(name)
    # an object that is not a commit has no date
    if ref is None or not seconds or _SPACE.search(name):
        return None
    return RunName(ref, CommitId(bytes.fromhex(oid)), int(seconds))


def newest(store: Store, listed: Sequence[RunName], limit: int) -> list[RunName]:
    """Return the newest of some runs, sorted by start; `listed` is sorted by end.

    Git dates a commit in seconds, and many tasks run within one second.
    """
    end = min(limit, len(listed))
    while 0 < end < len(listed) and listed[end].seconds == listed[end - 1].seconds:
        end += 1
    if end < 2:  # nothing to sort by the start, which is in the record
        return list(listed[:end])
    by_begin = sorted(listed[:end], key=lambda run: (-run.seconds, -_began(store, run.commit)))
    return by_begin[:limit]


def _began(store: Store, commit: CommitId) -> float:
    """Return the start of a run, in seconds since the epoch."""
    try:
        return float(read_run_record(store.objects, commit).facts(store.objects).get("began", "0"))
    except ValueError:
        return 0.0


def builds_of(store: Store, listed: Iterable[RunName]) -> dict[str, BuildList]:
    """Return tag -> the build in which a run ran, for each run that a build lists.

    All builds since the oldest run are read. A build's commit is dated by the start of the build, a
    run's commit by the end of the run. A run that is not in the last build begun before its end may
    be in an older build that was still running.
    """
    pending = sorted(listed, key=lambda run: -run.seconds)
    builds: dict[str, BuildList] = {}
    searched: dict[str, int] = {}
    for build in walk_builds(BuildList.latest(store)):
        began = store.objects.commit(build.commit).author.seconds
        older = []
        while pending and pending[0].seconds >= began:
            run = pending.pop(0)
            searched[run.tag] = searched.get(run.tag, 0) + 1
            if _has_run(build, run):
                builds[run.tag] = build
            elif searched[run.tag] < OVERLAPPING:
                older.append(run)
        pending = older + pending
        if not pending:
            break
    return builds


def _has_run(build: BuildList, run: RunName) -> bool:
    failure = failures(build).get(run.key) if run.failed else None
    if failure is not None and failure.task_hash == run.task_hash:
        return True
    line = build.line(run.key)
    return line is not None and (line.task_hash, line.run) == (run.task_hash, run.number)


def recorded_tasks(store: Store) -> list[TaskKey]:
    """Return the last build's tasks, or all tasks with a run if there is no build; for hints."""
    build = BuildList.latest(store)
    if build is not None:
        return _tasks_of(build)
    return sorted({run.key for run in runs(store)})


def _tasks_of(build: BuildList) -> list[TaskKey]:
    return [key for recipe in build.recipes() for key in build.lines(recipe)]


def first_parents(store: Store, commits: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the lines of git's graph of first parents: edges, commit id (hex), and subject.

    The graph contains the given commits and the commits between them, such as manual edits of a
    WORKDIR. A line that holds only edges has no id and no subject.
    """
    if not commits:
        return
    options = ["--graph", "--first-parent", "--no-color", f"--format={_MARK}%H{_MARK}%s"]
    limit = f"--max-count={2 * len(commits)}"
    data = "\n".join(commits).encode()
    answer = run_git(store.path, ["log", *options, limit, "--stdin"], data=data)
    pending = set(commits)
    for row in answer.decode("utf-8", "replace").splitlines():
        if not pending:
            return
        edges, _, rest = row.partition(_MARK)
        commit, _, subject = rest.partition(_MARK)
        pending.discard(commit)
        yield edges, commit, subject


# one run


def find_run(store: Store, name: str) -> RunName:
    """Return the run that `[BUILD/]RECIPE:TASK[~N]` or a tag stands for. Raises NameUnknown."""
    if ":" not in name:
        return _by_tag(store, name)
    base, steps = split_steps(name)
    build, _, key = base.rpartition("/")
    if build:
        run = run_in(find_build(store, build), TaskKey(key))
    else:
        run = last_run(store, TaskKey(key))
    return _earlier_run(store, run, steps, name) if steps else run


def _earlier_run(store: Store, run: RunName, steps: int, name: str) -> RunName:
    """Return the run of the same task that is some steps before a run. Raises NameUnknown."""
    listed = runs(store, run.key.recipe, run.key.task)
    in_order = newest(store, listed, len(listed))
    tags = [each.tag for each in in_order]
    position = tags.index(run.tag) if run.tag in tags else len(tags)
    earlier = [each for each in in_order[position + 1 :] if not _is_trial(store, each)]
    if steps > len(earlier):
        raise NameUnknown(
            f"{name}: {count_text(len(earlier), 'run')} of {run.key} before {run.tag}",
            hint=f"run `prov log {run.key}` to list its runs",
        )
    return earlier[steps - 1]


def _is_trial(store: Store, run: RunName) -> bool:
    """Return whether a bisection made a run, of a state that no build had."""
    return "aside" in Records(store).facts(run.commit)


def last_run(store: Store, key: TaskKey) -> RunName:
    """Return the latest run of a task. Raises NameUnknown with the nearest names."""
    listed = runs(store, key.recipe, key.task, limit=NEWEST)
    for run in newest(store, listed, NEWEST):
        if not _is_trial(store, run):
            return run
    if listed:
        return newest(store, listed, 1)[0]
    raise _no_run(store, key)


def _no_run(store: Store, key: TaskKey) -> NameUnknown:
    """Return the error for a task without a run in this store."""
    tasks = recorded_tasks(store)
    if not key.task:
        return NameUnknown(f"{key} is not a task", hint=nearest(key, tasks) or "write recipe:task")
    for build in islice(walk_builds(BuildList.latest(store)), LOOK_BACK):
        line = build.line(key)
        if line is not None and line.output is not None:
            return run_elsewhere(store, key, line.task_hash)
    fetched = _newest_record(store, key)
    if fetched is not None:
        return run_elsewhere(store, key, fetched.task_hash)
    return NameUnknown(
        f"no run of {key} is recorded",
        hint=nearest(key, tasks) or "run `prov log` to list recorded runs",
    )


def _newest_record(store: Store, key: TaskKey) -> RecordRef | None:
    """Return the newest record of a task without its WORKDIR, such as a fetched one."""
    oids = {parse_ref(name): oid for name, oid in store.refs.list(f"{RECORDS}{key.path}/").items()}
    began = {
        ref: _began(store, CommitId(oid)) for ref, oid in oids.items() if isinstance(ref, RecordRef)
    }
    return max(began, key=lambda ref: began[ref], default=None)


def run_in(build: BuildList, key: TaskKey) -> RunName:
    """Return a build's run of a task, which may be from an earlier build.

    Raises NameUnknown.
    """
    failure = failures(build).get(key)
    line = failure or build.line(key)
    if line is None:
        raise NameUnknown(
            f"build {short_id(build.commit)} has no task {key}",
            hint=nearest(key, _tasks_of(build)),
        )
    store, failed = build.store, failure is not None
    number = last_number(store, key, line.task_hash, failed=True) if failed else line.run
    ref = RunRef(key, line.task_hash, number, failed)
    commit = store.refs.get(str(ref)) if number else None
    if commit is not None:
        return _run_name(store, ref, CommitId(commit))
    collected = run_collected(store, ref)
    if collected:
        raise NameUnknown(
            f"the run of {key} in build {short_id(build.commit)} was deleted",
            hint=collected,
        )
    raise run_elsewhere(store, line.key, line.task_hash)


def run_elsewhere(store: Store, key: TaskKey, task_hash: TaskHash) -> Elsewhere:
    """Return the error for a result without a run in this store: run elsewhere, or deleted."""
    collected = inputs_collected(store, key, task_hash)
    return Elsewhere(
        f"the run of {key} is not in this store: it ran on another machine, or was deleted",
        key,
        task_hash,
        hint=collected or f"run `prov pull --with-workdirs {key}` to fetch it from a remote",
    )


def record_elsewhere(store: Store, error: Elsewhere) -> RunName:
    """Return the run of which the store has only the record; its commit is the record's.

    Raises the error if the store has no record.
    """
    prefix = RecordRef(TaskKey(error.key), TaskHash(error.task_hash), 1).prefix
    refs = {parse_ref(name): oid for name, oid in store.refs.list(f"{prefix}/").items()}
    records = {ref.number: ref for ref in refs if isinstance(ref, RecordRef)}
    if not records:
        raise error
    last = records[max(records)]
    return _run_name(store, last, CommitId(refs[last]))


def _by_tag(store: Store, name: str) -> RunName:
    full_name = TAGS + name.removeprefix(TAGS)
    ref = parse_run(full_name)
    commit = store.refs.get(full_name) if ref is not None else None
    if ref is not None and commit is not None:
        return _run_name(store, ref, CommitId(commit))
    tag = name.removeprefix(TAGS)
    hint = (
        when_collected(store, full_name)
        or nearest(tag, recorded_tasks(store))
        or "write recipe:task, or a tag"
    )
    raise NameUnknown(f"{tag} is not a run", hint=hint)


def _run_name(store: Store, ref: RunRef | RecordRef, commit: CommitId) -> RunName:
    return RunName(ref, commit, store.objects.commit(commit).author.seconds)
