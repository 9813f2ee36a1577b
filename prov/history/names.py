"""What users call things: `recipe:task`, one of its parts (`recipe:task@output`), or anything that
git can name.

A path may follow a part: `zlib:populate_sysroot@output/sysroot-destdir/usr`. A build before it says
of which run: `latest~3/zlib:compile`; without one it is the newest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from prov.errors import Elsewhere, NameUnknown, StoreError
from prov.history.builds import find_build, walk_builds
from prov.history.producers import failures
from prov.history.pruned import inputs_went, run_went, when_it_went
from prov.records.build_list import BuildList
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records, last_number
from prov.records.output import read_pair
from prov.records.refs import RECORDS, RunRef
from prov.store.git import run_git
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.text import nearest
from prov.worktree.attributes import EMPTY, Pair, at_path

KINDS = ("output", "workdir", "before", "sysroot", "sysroot-native")
SYSROOTS = {"sysroot": "sysroot/target", "sysroot-native": "sysroot/native"}
LOOK_BACK = 100
"""So many builds are looked at for a task of which no run is here."""
NEWEST = 20
"""So many runs of a task are looked at for one that is a build's."""
OVERLAPPING = 20
"""How many builds back a run is looked for that ended while others had begun."""
_TAG = re.compile(r"(failed/)?[^/\s~^:?*\[\\]+/[^/\s~^:?*\[\\]+/[0-9a-f]{40}/[0-9]{1,9}")
_NUMBER = re.compile("/[0-9]{1,9}")
_OUTPUT_ENTRIES = {b"content", b"attributes", b"postprocess", b"fixed"}


@dataclass(frozen=True, slots=True)
class RunName:
    """A recorded run: its tag, and what the tag says."""

    tag: str
    commit: Oid
    recipe: str
    task: str
    task_hash: str
    number: int
    failed: bool
    seconds: int
    """When, since the epoch."""

    @property
    def key(self) -> TaskKey:
        return TaskKey.of(self.recipe, self.task)


def runs(store: Store, recipe: str = "", task: str = "") -> list[RunName]:
    """Return recorded runs, newest first, failed ones among them."""
    prefixes = [
        f"refs/tags/{failed}{'/'.join(filter(None, (recipe, task)))}" for failed in ("", "failed/")
    ]
    form = "--format=%(objectname) %(creatordate:unix) %(refname)"
    answer = run_git(store.path, ["for-each-ref", "--sort=-creatordate", form, *prefixes])
    found = []
    for line in dict.fromkeys(answer.decode("utf-8", "replace").split("\n")):
        oid, _, rest = line.partition(" ")
        seconds, _, name = rest.partition(" ")
        tag = name.removeprefix("refs/tags/")
        # what was found in a WORKDIR, or somebody's own; what is no commit has no date
        if not _TAG.fullmatch(tag) or not seconds:
            continue
        failed = tag.startswith("failed/")
        parts = tag.removeprefix("failed/").split("/")
        found.append(
            RunName(
                tag,
                bytes.fromhex(oid),
                parts[0],
                parts[1],
                parts[2],
                int(parts[3]),
                failed,
                int(seconds),
            )
        )
    return sorted(found, key=lambda run: (-run.seconds, -run.number))


def newest(store: Store, found: Sequence[RunName], limit: int) -> list[RunName]:
    """Return the first of some runs, the newest first: git dates a commit in seconds, and many
    tasks run within one.
    """
    end = min(limit, len(found))
    while 0 < end < len(found) and found[end].seconds == found[end - 1].seconds:
        end += 1
    return sorted(found[:end], key=lambda run: (-run.seconds, -_began(store, run.commit)))[:limit]


def builds_of(store: Store, found: Iterable[RunName]) -> dict[str, BuildList]:
    """Return tag -> the build in which a run ran, for runs of builds; it costs the builds since the
    oldest of them.

    A build's commit has the time when it began, a run's the time when it ended.
    """
    pending = sorted(found, key=lambda run: -run.seconds)
    builds: dict[str, BuildList] = {}
    asked: dict[str, int] = {}
    for build in walk_builds(BuildList.latest(store)):
        began = store.objects.commit(build.commit).author.seconds
        left = []
        while pending and pending[0].seconds >= began:
            run = pending.pop(0)
            asked[run.tag] = asked.get(run.tag, 0) + 1
            if _has_run(build, run):
                builds[run.tag] = build
            elif asked[run.tag] < OVERLAPPING:
                left.append(
                    run
                )  # of a build that began before this one, perhaps, and was not over yet
        pending = left + pending
        if not pending:
            break
    return builds


def _has_run(build: BuildList, run: RunName) -> bool:
    line = build.line(run.key)
    failed = failures(build).get(run.key) if run.failed else None
    if failed is not None and failed.task_hash.hex() == run.task_hash:
        return True
    return line is not None and (line.task_hash.hex(), line.run) == (run.task_hash, run.number)


def last_run(store: Store, key: TaskKey) -> RunName:
    """Return the newest run of a task. Raises NameUnknown with the nearest names."""
    recipe, _, task = key.partition(":")
    found = runs(store, recipe, task)
    for run in newest(store, found, NEWEST):
        if "aside" not in Records(store).facts(
            run.commit
        ):  # a bisection's, of a state that no build had
            return run
    if found:
        return newest(store, found, 1)[0]
    known = recorded_tasks(store)
    if not task:
        raise NameUnknown(f"{key} names no task", hint=nearest(key, known) or "write recipe:task")
    for build in islice(walk_builds(BuildList.latest(store)), LOOK_BACK):
        line = build.line(key)
        if line is not None and line.output is not None:
            raise _elsewhere(store, key, line.task_hash)
    raise NameUnknown(
        f"no run of {key} is recorded", hint=nearest(key, known) or "`prov log` lists what is"
    )


def find_run(store: Store, name: str) -> RunName:
    """Return the run that `[BUILD/]RECIPE:TASK` or a tag stands for. Raises NameUnknown."""
    build, _, key = name.rpartition("/")
    if ":" not in name:
        return _by_tag(store, name)
    return (
        run_in(find_build(store, build), TaskKey(key)) if build else last_run(store, TaskKey(key))
    )


def run_in(build: BuildList, key: TaskKey) -> RunName:
    """Return the run that a build has of a task, be it from an earlier build.

    Raises NameUnknown.
    """
    failed = failures(build).get(key)
    line = failed or build.line(key)
    if line is None:
        known = [each for recipe in build.recipes() for each in build.lines(recipe)]
        raise NameUnknown(
            f"build {build.commit.hex()[:12]} has no task {key}", hint=nearest(key, known)
        )
    prefix = RunRef(key, line.task_hash, 1, failed is not None).prefix
    number = last_number(build.store, key, line.task_hash, failed=True) if failed else line.run
    commit = build.store.refs.get(f"{prefix}/{number}") if number else None
    if commit is None:
        went = run_went(build.store, key, line.task_hash, number)
        if went:
            raise NameUnknown(
                f"the run of {key} for build {build.commit.hex()[:12]} is not here any more",
                hint=went,
            )
        raise _elsewhere(build.store, key, line.task_hash)
    return _run_name(build.store, f"{prefix}/{number}".removeprefix("refs/tags/"), commit)


def _elsewhere(store: Store, key: TaskKey, task_hash: TaskHash) -> Elsewhere:
    """Return the error for a result whose run is not here, since it was made on another machine, or
    collected.
    """
    went = inputs_went(store, key, task_hash)
    return Elsewhere(
        f"the run of {key} is not here: it was run on another machine, or removed",
        key,
        task_hash,
        hint=went or f"`prov pull --with-workdirs {key}` fetches it, if a remote has it",
    )


def record_elsewhere(store: Store, error: Elsewhere) -> RunName:
    """Return the run of which only the record is here, its commit being the record's.

    Raises the error if it is not.
    """
    recipe, _, task = error.key.partition(":")
    prefix = f"{RECORDS}{recipe}/{task}/{error.task_hash.hex()}"
    refs = store.refs.list(f"{prefix}/")
    numbers = {
        int(name.rpartition("/")[2]): oid
        for name, oid in refs.items()
        if _NUMBER.fullmatch(name[len(prefix) :])
    }
    if not numbers:
        raise error
    number = max(numbers)
    commit = numbers[number]
    seconds = store.objects.commit(commit).author.seconds
    tag = f"{prefix}/{number}".removeprefix("refs/prov/")
    return RunName(
        tag, commit, recipe, task, error.task_hash.hex(), number, failed=False, seconds=seconds
    )


def _by_tag(store: Store, name: str) -> RunName:
    name = name.removeprefix("refs/tags/")
    commit = store.refs.get(f"refs/tags/{name}") if _TAG.fullmatch(name) else None
    if commit is None:
        known = recorded_tasks(store)
        hint = (
            when_it_went(store, f"refs/tags/{name}")
            or nearest(name, known)
            or "write recipe:task, or a tag"
        )
        raise NameUnknown(f"{name} is no run of a task", hint=hint)
    return _run_name(store, name, commit)


def _run_name(store: Store, tag: str, commit: Oid) -> RunName:
    failed = tag.startswith("failed/")
    recipe, task, task_hash, number = tag.removeprefix("failed/").split("/")
    seconds = store.objects.commit(commit).author.seconds
    return RunName(tag, commit, recipe, task, task_hash, int(number), failed, seconds)


def recorded_tasks(store: Store) -> list[str]:
    """Return the keys of tasks that are known, for hints: of the last build, or else of all
    tags.
    """
    build = BuildList.latest(store)
    if build is not None:
        return [key for recipe in build.recipes() for key in build.lines(recipe)]
    return sorted({run.key for run in runs(store)})


def _began(store: Store, commit: Oid) -> float:
    """Return when a run began, in seconds since the epoch."""
    try:
        return float(Records(store).facts(commit).get("began", "0"))
    except ValueError:
        return 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """A recorded directory that a name stands for; `commit` is None for what is no commit."""

    name: str
    pair: Pair
    commit: Oid | None = None


def find(store: Store, name: str) -> Found:
    """Return the recorded directory that a name stands for. Raises NameUnknown."""
    base, _, part = name.partition("@")
    kind, _, path = part.partition("/")
    if kind and kind not in KINDS:
        raise NameUnknown(
            f"{name}: nothing is called @{kind}",
            hint=nearest(kind, KINDS) or f"@{', @'.join(KINDS)}",
        )
    found = _find(store, name, base, kind)
    if not path:
        return found
    node = at_path(store.objects, found.pair, path.encode("utf-8", "surrogateescape"))
    if node is None or not node.is_directory:
        raise NameUnknown(f"{name}: there is no folder {path} in it")
    return Found(name, node.pair)


def _find(store: Store, name: str, base: str, kind: str) -> Found:
    build, _, key = base.rpartition("/")
    if ":" in key and ":" not in build:
        if build and kind == "output":  # which may be here without a run
            line = find_build(store, build).line(TaskKey(key))
            if (
                line is not None
                and line.output is not None
                and not store.objects.exists(line.output)
            ):
                raise _elsewhere(store, TaskKey(key), line.task_hash)
            if line is not None and line.output is not None:
                return Found(name, read_pair(store.objects, line.output))
        return _part(store, name, find_run(store, base).commit, kind)
    found = _by_git(store, base)
    if not kind:
        return found
    if found.commit is None or len(store.objects.commit(found.commit).parents) != 2:
        raise NameUnknown(f"{base} is no run of a task, so that it has no {kind}")
    return _part(store, name, found.commit, kind)


def _part(store: Store, name: str, commit: Oid, kind: str) -> Found:
    held = store.objects.commit(commit)
    if kind in SYSROOTS:
        entry = store.objects.entry(store.objects.commit(held.parents[1]).tree, SYSROOTS[kind])
        return Found(name, read_pair(store.objects, entry.oid) if entry else EMPTY)
    if kind == "before":
        return Found(name, Records(store).workdir(held.parents[0]), held.parents[0])
    if kind == "output":
        record = store.objects.commit(held.parents[1])
        entry = store.objects.entry(record.tree, "output")
        if entry is None:
            raise NameUnknown(
                f"{name}: that run failed and has no output",
                hint=f"`prov show {name.partition('@')[0]}`",
            )
        return Found(name, read_pair(store.objects, entry.oid))
    return Found(name, Records(store).workdir(commit), commit)


def _by_git(store: Store, name: str) -> Found:
    try:
        text = run_git(
            store.path,
            ["rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{object}}"],
        )
    except StoreError as error:
        known = recorded_tasks(store)
        hint = (
            nearest(name, known) or "write [build/]recipe:task[@output], a tag, a commit or a tree"
        )
        raise NameUnknown(f"{name!r} names nothing in the store", hint=hint) from error
    oid = bytes.fromhex(text.decode().strip())
    kind, _ = store.objects.read(oid)
    commit = None
    if kind == "commit":
        commit = oid
        held = store.objects.commit(oid)
        if len(held.parents) == 2:
            return Found(name, Records(store).workdir(oid), oid)
        oid = held.tree
    elif kind != "tree":
        raise NameUnknown(
            f"{name!r} is a {kind}, not a directory", hint="name a task, a tag, a commit or a tree"
        )
    entries = {entry.name for entry in store.objects.tree(oid)}
    if entries and entries <= _OUTPUT_ENTRIES:
        return Found(name, read_pair(store.objects, oid), commit)
    return Found(name, Pair(oid, None), commit)
