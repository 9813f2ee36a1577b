"""A BitBake build in the history of builds: what ran, and what the rest of its tasks stand at.

Tasks whose stamps are current, or which shared state covers, are known by BitBake's hash alone.
Earlier builds tell which recorded run that is: each lists, in `bitbake/RECIPE`, a line per task:
TASK TASKHASH UNIHASH.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prov.bitbake.capture import HASH_FACT, SETSCENE_FACT, UNIHASH_FACT, Captured, Task
from prov.bitbake.signature import recipe_name
from prov.errors import ProvError, StoreError
from prov.history.names import runs
from prov.records.build_list import LOOK_BACK, BuildList, Line, Span, record_build
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.run import author
from prov.store.objects import Oid
from prov.store.repository import Store

LISTS = "bitbake"


@dataclass(frozen=True, slots=True)
class Ran:
    """A task that ran in a build, or was taken from shared state, and is recorded."""

    key: TaskKey
    version: str
    began: float
    ended: float
    task_hash: str
    """BitBake's, and its unihash."""
    unihash: str
    method: str
    """By which a server tells that tasks gave the same; empty where none is asked."""
    outhash: str
    restored: bool
    failed: bool
    captured: Captured

    @staticmethod
    def of(task: Task, told: Mapping[str, Any], captured: Captured) -> Ran:
        return Ran(
            key=task.key,
            version=task.pv,
            began=float(told["began"]),
            ended=float(told["ended"]),
            task_hash=told["taskhash"],
            unihash=told["unihash"],
            method=str(told.get("method", "")),
            outhash=str(told.get("outhash", "")),
            restored=task.setscene,
            failed=bool(told["failed"]),
            captured=captured,
        )


def recover(store: Store, missing: Mapping[TaskKey, str], since: float) -> list[Ran]:
    """Return runs of this build that a writer recorded which is gone.

    `missing` is task -> BitBake's task hash.
    """
    found = []
    records = Records(store)
    for key, task_hash in missing.items():
        for run in runs(store, key.recipe, key.task):
            facts = records.facts(run.commit)
            began = float(facts.get("began", "0"))
            if facts.get(HASH_FACT) != task_hash or began < since:
                continue
            line = Captured(
                key,
                TaskHash(bytes.fromhex(run.task_hash)),
                records.record(run.commit).output,
                run.number,
                run.commit,
                added=0,
            )
            found.append(
                Ran(
                    key=key,
                    version=facts.get("version", ""),
                    began=began,
                    ended=began + float(facts.get("seconds", "0")),
                    task_hash=task_hash,
                    unihash=facts.get(UNIHASH_FACT, task_hash),
                    method="",
                    outhash="",
                    restored=SETSCENE_FACT in facts,
                    failed=run.failed,
                    captured=line,
                )
            )
            break
    return found


def read_hashes(build: BuildList, recipe: str) -> dict[str, tuple[str, str]]:
    """Return task -> BitBake's task hash and unihash, of one recipe in a build."""
    objects = build.store.objects
    try:
        entry = objects.entry(objects.commit(build.commit).tree, f"{LISTS}/{recipe}")
    except StoreError:
        return {}
    rows = (
        (
            line.split(" ")
            for line in objects.blob(entry.oid).decode("utf-8", "replace").splitlines()
        )
        if entry
        else ()
    )
    return {row[0]: (row[1], row[2]) for row in rows if len(row) == 3}


def _known(store: Store, wanted: Mapping[TaskKey, tuple[str, str]]) -> dict[TaskKey, Line]:
    """Return what earlier builds say of tasks of which only BitBake's hashes are known."""
    found: dict[TaskKey, Line] = {}
    build, left = BuildList.latest(store), dict(wanted)
    for _ in range(LOOK_BACK):
        if build is None or not left:
            break
        by_recipe: dict[str, list[TaskKey]] = {}
        for key in left:
            by_recipe.setdefault(key.recipe, []).append(key)
        for recipe, keys in by_recipe.items():
            hashes, lines = read_hashes(build, recipe), build.lines(recipe)
            for key in keys:
                same = set(hashes.get(key.task, ())) & set(left[key])
                if same and key in lines:
                    found[key] = lines[key]
                    del left[key]
        build = build.before()
    return found


def record(
    store: Store, ran: Sequence[Ran], told: Mapping[str, Any], lost: Mapping[TaskKey, str]
) -> Oid:
    """Append a build to the history and return its commit."""
    skipped = {
        TaskKey.of(recipe_name(mc, pn), task): (hash_, unihash)
        for mc, pn, task, hash_, unihash in told["skipped"]
    }
    skipped = {key: hashes for key, hashes in skipped.items() if _is_name(key)}
    last = {each.key: each for each in ran}
    lines = _known(store, {key: hashes for key, hashes in skipped.items() if key not in last})
    hashes = {key: skipped[key] for key in lines}
    happened = {key: "not recorded" for key in lost if _is_name(key)}
    versions = _versions(store, {key.recipe for key in lines})
    for key, each in last.items():
        hashes[key] = (each.task_hash, each.unihash)
        versions[key.recipe] = each.version
        captured = each.captured
        if each.failed:
            happened[key] = f"failed {captured.task_hash.hex()}"
            continue
        happened[key] = "restored" if each.restored else "ran"
        lines[key] = Line(key, captured.task_hash, captured.output, captured.number)
    began = float(told["began"])
    facts = {
        "targets": " ".join(told["targets"]),
        "result": told["result"],
        "seconds": f"{time.time() - began:.3f}",
        "host": socket.gethostname(),
        "builder": "bitbake",
        "added": str(sum(each.captured.added for each in ran)),
        "ran": str(sum(what == "ran" for what in happened.values())),
        "restored": str(sum(what == "restored" for what in happened.values())),
        "up-to-date": str(len(lines.keys() - last.keys())),
        "failed": str(sum(what.startswith("failed") for what in happened.values())),
    }
    spans = [
        Span(each.key, each.began - began, each.ended - each.began, each.captured.added)
        for each in last.values()
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


def _is_name(key: TaskKey) -> bool:
    """Tell whether a task can have a tag; of one that can't there is no line in a build."""
    try:
        TaskKey.parse(key)
    except ProvError:
        return False
    return True


def _versions(store: Store, recipes: Iterable[str]) -> dict[str, str]:
    build = BuildList.latest(store)
    known = build.versions() if build else {}
    return {recipe: known[recipe] for recipe in recipes if recipe in known}


def _lists(hashes: Mapping[TaskKey, tuple[str, str]]) -> dict[str, dict[str, bytes]]:
    lists: dict[str, bytes] = {}
    for key, (task_hash, unihash) in sorted(hashes.items()):
        recipe, task = key.recipe, key.task
        lists[recipe] = lists.get(recipe, b"") + f"{task} {task_hash} {unihash}\n".encode()
    return {LISTS: lists}
