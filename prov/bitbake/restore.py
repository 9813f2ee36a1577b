"""A recipe's WORKDIR put back as it was after a task, with the stamps that BitBake had written by then.

For going on from there: after rm_work or a clean, `bitbake -c configure -f` starts from patched sources without
fetching anything. What is in the WORKDIR now is recorded first. What pseudo keeps account of is not put back from
outside: it knows files by inodes, and would not know these.
"""

from __future__ import annotations

import glob
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from prov.bitbake.capture import (
    FAKEROOT_FACT,
    LINE_FACT,
    SETSCENE_FACT,
    STAMP_FACT,
    WORKDIR_FACT,
    Task,
    begin,
    workdir_lock,
)
from prov.bitbake.signature import split_name
from prov.build.builds import BuildList
from prov.build.record import Records, author, write_found
from prov.errors import BitBakeError, NameUnknown
from prov.files import remove_tree
from prov.history.names import RunName, find_run, runs
from prov.store.objects import Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, put_at, read_listing
from prov.worktree.checkout import checkout

CHAIN = ("do_compile", "do_configure", "do_patch", "do_unpack")
"""Tasks to go back to where none is named, the last one that there is."""
UNUSABLE = {FAKEROOT_FACT, SETSCENE_FACT}
"""Facts of runs that leave nothing to put back."""
_STAMP = re.compile(r"(.+)\.do_[^./]+\.[^/]+")


@dataclass(slots=True)
class Restored:
    """What was put back."""

    run: RunName
    workdir: Path
    placed: int
    stamps: list[str] = field(default_factory=list)
    """Tasks whose stamps are there now."""
    notes: list[str] = field(default_factory=list)


def choose(store: Store, name: str) -> RunName:
    """Return the run that `RECIPE[:TASK]`, or a tag, stands for. Raises NameUnknown, BitBakeError."""
    if ":" in name or "/" in name:
        return find_run(store, name)
    facts, build = Records(store).facts, BuildList.latest(store)
    for task in CHAIN:
        found = [run for run in runs(store, name, task) if not run.failed and not UNUSABLE & facts(run.commit).keys()]
        line = build.newest_line(f"{name}:{task}") if build is not None else None
        wanted = [run for run in found if line and (run.task_hash, run.number) == (line.task_hash.hex(), line.run)]
        if found:
            return (wanted or found)[0]
    raise NameUnknown(f"nothing is recorded of {name} that can be put back", hint="`prov log` lists what is recorded")


def restore(store: Store, run: RunName) -> Restored:
    """Put a WORKDIR back as it was after a run. Raises ProvError."""
    records = Records(store)
    facts = records.facts(run.commit)
    workdir = Path(facts.get(WORKDIR_FACT, ""))
    line = list(_line(store, run.commit))
    if not {STAMP_FACT, LINE_FACT} <= facts.keys() or not workdir.is_absolute():
        raise BitBakeError(f"{run.tag} is no run of BitBake's", hint="`prov checkout` puts it on disk")
    if FAKEROOT_FACT in facts:
        raise BitBakeError(
            f"{run.key} ran under pseudo: its files can't be put back from outside",
            hint=f"name a task before it, as in {run.recipe}:do_compile, and let BitBake go on from there",
        )
    if SETSCENE_FACT in facts:
        raise BitBakeError(
            f"{run.key} was taken from shared state: there is no WORKDIR to put back",
            hint=f"`prov log {run.key}` lists runs; one that ran can be named by its tag",
        )
    begin(store, _task(run, facts))  # what is there now is recorded, if it is not
    with workdir_lock(store, workdir):
        now = store.refs.get(facts[LINE_FACT])
        workdir.mkdir(parents=True, exist_ok=True)
        if (workdir / "pseudo").is_dir():
            remove_tree(workdir / "pseudo")  # an account of files that go now
        there = records.workdir(now) if now is not None else EMPTY
        with store.objects.writer() as writer:
            wanted, commit = records.workdir(run.commit), run.commit
            for name in _faked(store, line):
                wanted = put_at(writer, wanted, name, None)
            if wanted != records.workdir(run.commit):  # so that what was left out is nobody's change
                by = author(time.time())
                commit = write_found(writer, wanted, run.commit, by, "put back without what ran under pseudo")
            writer.finish()
            placed = checkout(writer, workdir, wanted, now=there)
        store.refs.update(RefUpdate(facts[LINE_FACT], commit))
        found = Restored(run, workdir, placed)
        _stamp(line, facts[STAMP_FACT], workdir, found)
    return found


def _line(store: Store, commit: Oid) -> Iterator[tuple[str, Oid, dict[str, str]]]:
    """Yield the runs in a WORKDIR's line up to one, the last first: task, commit, facts."""
    records = Records(store)
    while True:
        facts = records.facts(commit)
        if "task" in facts:
            yield facts["task"], commit, facts
        parents = store.objects.commit(commit).parents
        if len(parents) < 2:  # where the WORKDIR was empty
            return
        commit = parents[0]


def _faked(store: Store, line: list[tuple[str, Oid, dict[str, str]]]) -> set[bytes]:
    """Return the folders at the top of a WORKDIR that tasks under pseudo wrote to: these come again with the tasks."""
    records, found = Records(store), set[bytes]()
    for _, commit, facts in line:
        if FAKEROOT_FACT in facts:
            before, after = (
                read_listing(store.objects, records.workdir(each))
                for each in (store.objects.commit(commit).parents[0], commit)
            )
            found |= {name for name in after if after[name] != before.get(name)} - {b"."}
    return found


def _task(run: RunName, facts: dict[str, str]) -> Task:
    """Return a task that looks at a run's WORKDIR, and owns nothing in it."""
    arch = facts[LINE_FACT].split("/")[3]
    mc, pn = split_name(run.recipe)
    return Task(mc, pn, facts.get("version", ""), run.task, False, Path(facts[WORKDIR_FACT]), arch, ())


def _stamp(line: list[tuple[str, Oid, dict[str, str]]], stamp: str, workdir: Path, found: Restored) -> None:
    """Let stamps say what is true of the WORKDIR now: of tasks in its line they are there, of all others not."""
    match = _STAMP.fullmatch(stamp)
    if match is None:
        raise BitBakeError(f"{stamp} is no stamp of a task's", hint="is this BitBake newer than this prov?")
    wanted: dict[str, str] = {}
    for key, _, facts in reversed(line):
        task = key.partition(":")[2]
        wanted.pop(task, None)  # the last time counts
        if STAMP_FACT in facts and FAKEROOT_FACT not in facts:
            done = f".{task}_setscene." if SETSCENE_FACT in facts else f".{task}."
            wanted[task] = facts[STAMP_FACT].replace(f".{task}.", done)
    if not (workdir / "recipe-sysroot-native").is_dir() and wanted.pop("do_prepare_recipe_sysroot", ""):
        found.notes.append("its sysroots are not there: do_prepare_recipe_sysroot will run, and what comes after it")
    for path in glob.glob(f"{glob.escape(match[1])}.do_*"):
        if not re.search(r"\.(sigdata|sigbasedata)\.|\.taint$", path) and path not in wanted.values():
            os.unlink(path)
    Path(stamp).parent.mkdir(parents=True, exist_ok=True)
    start = time.time() - len(wanted)
    for number, (task, path) in enumerate(wanted.items()):
        Path(path).touch()
        os.utime(path, (start + number, start + number))  # BitBake looks which is newer
        found.stamps.append(task)
