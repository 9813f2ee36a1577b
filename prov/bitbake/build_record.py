"""Record a BitBake build as a whole: the tasks that ran, and the runs of tasks that were current.

For a task with a current stamp, or one that shared state covers, BitBake reports only the hashes.
The recorded run of such a task is looked up in earlier builds: each build lists its tasks in
`bitbake/RECIPE`, one line per task: TASK TASKHASH UNIHASH.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prov.bitbake.capture import HASH_FACT, SETSCENE_FACT, UNIHASH_FACT, BuildTask, Captured
from prov.bitbake.messages import BuildDone, EndRequest, TaskLine
from prov.bitbake.signature import recipe_name
from prov.errors import ProvError, StoreError
from prov.history.names import runs
from prov.records.build_list import LOOK_BACK, BuildList, Line, Span, record_build
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.outcomes import Outcome
from prov.records.run import author
from prov.store.objects import Oid
from prov.store.repository import Store

LISTS = "bitbake"
NOT_RECORDED = "not recorded"
"""Outcome of a task that could not be recorded, as the build's list of tasks shows it."""


class Hashes(NamedTuple):
    """BitBake's hashes of a task, in hexadecimal digits."""

    task_hash: str
    unihash: str


@dataclass(frozen=True, slots=True)
class TaskRun:
    """A recorded task of a build that ran or was restored from shared state."""

    key: TaskKey
    version: str
    began: float
    ended: float
    hashes: Hashes
    method: str
    """Hash equivalence method; empty if no server was queried."""
    outhash: str
    restored: bool
    failed: bool
    captured: Captured

    @staticmethod
    def of(task: BuildTask, request: EndRequest, captured: Captured) -> TaskRun:
        return TaskRun(
            key=task.key,
            version=task.pv,
            began=request["began"],
            ended=request["ended"],
            hashes=Hashes(request["taskhash"], request["unihash"]),
            method=request.get("method", ""),
            outhash=request.get("outhash", ""),
            restored=task.setscene,
            failed=request["failed"],
            captured=captured,
        )

    @property
    def happened(self) -> str:
        """Outcome of the task, as the build's list of tasks shows it."""
        if self.failed:
            return f"{Outcome.FAILED} {self.captured.task_hash.hex()}"
        return Outcome.RESTORED if self.restored else Outcome.RAN


def key_of_line(line: TaskLine) -> TaskKey:
    """Return the key of a task that BitBake's server listed."""
    return TaskKey.of(recipe_name(line.mc, line.pn), line.task)


def recover(store: Store, missing: Mapping[TaskKey, str], since: float) -> list[TaskRun]:
    """Return the runs of this build that an earlier writer recorded before it was killed.

    `missing` maps tasks to BitBake's task hashes. `since` is the start time of the build, in
    seconds since the epoch.
    """
    recovered = (_recovered(store, key, task_hash, since) for key, task_hash in missing.items())
    return [run for run in recovered if run is not None]


def _recovered(store: Store, key: TaskKey, task_hash: str, since: float) -> TaskRun | None:
    records = Records(store)
    for run in runs(store, key.recipe, key.task):
        facts = records.facts(run.commit)
        began = float(facts.get("began", "0"))
        if facts.get(HASH_FACT) != task_hash or began < since:
            continue
        captured = Captured(
            key,
            run.task_hash,
            records.record(run.commit).output,
            run.number,
            run.commit,
            added=0,
        )
        return TaskRun(
            key=key,
            version=facts.get("version", ""),
            began=began,
            ended=began + float(facts.get("seconds", "0")),
            hashes=Hashes(task_hash, facts.get(UNIHASH_FACT, task_hash)),
            method="",
            outhash="",
            restored=SETSCENE_FACT in facts,
            failed=run.failed,
            captured=captured,
        )
    return None


def read_hashes(build: BuildList, recipe: str) -> dict[str, Hashes]:
    """Return BitBake's hashes of one recipe's tasks in a build, by task name."""
    objects = build.store.objects
    try:
        entry = objects.entry(objects.commit(build.commit).tree, f"{LISTS}/{recipe}")
    except StoreError:
        return {}
    if entry is None:
        return {}
    text = objects.blob(entry.oid).decode("utf-8", "replace")
    rows = (line.split(" ") for line in text.splitlines())
    return {row[0]: Hashes(row[1], row[2]) for row in rows if len(row) == 3}


def _lines_of(store: Store, hashes: Mapping[TaskKey, Hashes]) -> dict[TaskKey, Line]:
    """Return the newest line of earlier builds for each task with an equal task hash or unihash.

    Searches at most LOOK_BACK builds.
    """
    lines: dict[TaskKey, Line] = {}
    pending = dict(hashes)
    build = BuildList.latest_of_tasks(store)
    for _ in range(LOOK_BACK):
        if build is None or not pending:
            break
        lines |= _lines_in(build, pending)
        pending = {key: pair for key, pair in pending.items() if key not in lines}
        build = build.before_of_tasks()
    return lines


def _lines_in(build: BuildList, pending: Mapping[TaskKey, Hashes]) -> dict[TaskKey, Line]:
    by_recipe: dict[str, list[TaskKey]] = {}
    for key in pending:
        by_recipe.setdefault(key.recipe, []).append(key)
    current = {}
    for recipe, keys in by_recipe.items():
        hashes, lines = read_hashes(build, recipe), build.lines(recipe)
        for key in keys:
            if key in lines and set(hashes.get(key.task, ())) & set(pending[key]):
                current[key] = lines[key]
    return current


def record(
    store: Store, ran: Sequence[TaskRun], outcome: BuildDone, lost: Mapping[TaskKey, str]
) -> Oid:
    """Append a build to the history of builds, and return its commit."""
    last = {run.key: run for run in ran}
    current = {
        key_of_line(line): Hashes(line.taskhash, line.unihash) for line in outcome["skipped"]
    }
    current = {key: pair for key, pair in current.items() if key not in last and _is_name(key)}
    lines = _lines_of(store, current)
    hashes = {key: current[key] for key in lines}
    versions = _versions(store, {key.recipe for key in lines})
    up_to_date = len(lines)
    happened = {key: NOT_RECORDED for key in lost if _is_name(key)}
    for key, run in last.items():
        hashes[key] = run.hashes
        versions[key.recipe] = run.version
        happened[key] = run.happened
        if not run.failed:
            captured = run.captured
            lines[key] = Line(key, captured.task_hash, captured.output, captured.number)
    began = outcome["began"]
    facts = {
        "targets": " ".join(outcome["targets"]),
        "result": outcome["result"],
        "seconds": f"{time.time() - began:.3f}",
        "host": socket.gethostname(),
        "builder": "bitbake",
        "added": str(sum(run.captured.added for run in ran)),
        **_counts(happened, up_to_date),
    }
    spans = [
        Span(run.key, run.began - began, run.ended - run.began, run.captured.added)
        for run in last.values()
    ]
    return record_build(
        store,
        lines.values(),
        happened,
        facts,
        author(began),
        timeline=spans,
        versions=versions,
        more=_lists(hashes),
    )


def _counts(happened: Mapping[TaskKey, str], up_to_date: int) -> dict[str, str]:
    outcomes = [text.split(" ")[0] for text in happened.values()]
    return {
        "ran": str(outcomes.count(Outcome.RAN)),
        "restored": str(outcomes.count(Outcome.RESTORED)),
        "up-to-date": str(up_to_date),
        "failed": str(outcomes.count(Outcome.FAILED)),
    }


def _is_name(key: TaskKey) -> bool:
    """Return whether a tag can have this task's name. Builds do not list other tasks."""
    try:
        TaskKey.parse(key)
    except ProvError:
        return False
    return True


def _versions(store: Store, recipes: Iterable[str]) -> dict[str, str]:
    build = BuildList.latest_of_tasks(store)
    versions = build.versions() if build is not None else {}
    return {recipe: versions[recipe] for recipe in recipes if recipe in versions}


def _lists(hashes: Mapping[TaskKey, Hashes]) -> dict[str, dict[str, bytes]]:
    lists: dict[str, bytes] = {}
    for key, (task_hash, unihash) in sorted(hashes.items()):
        line = f"{key.task} {task_hash} {unihash}\n".encode()
        lists[key.recipe] = lists.get(key.recipe, b"") + line
    return {LISTS: lists}
