"""A recipe's WORKDIR put back as it was after a task, with the stamps that BitBake had written by
then.

For going on from there: after rm_work or a clean, `bitbake -c configure -f` starts from patched
sources without fetching anything. What is in the WORKDIR now is recorded first. What pseudo keeps
account of is not put back from outside: it knows files by inodes, and would not know these.

A record says where its WORKDIR and stamps are. All of that is checked against the TMPDIRs of the
user's build before anything is written.
"""

from __future__ import annotations

import contextlib
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
    BuildTask,
    begin,
    workdir_lock,
)
from prov.bitbake.signature import split_name
from prov.bitbake.tmpdir import Place, TmpDirs
from prov.errors import FORGET_RUN, BitBakeError, NameUnknown
from prov.files import open_folder, remove_tree
from prov.history.names import RunName, find_run, runs
from prov.records.build_list import BuildList
from prov.records.keys import TaskKey, is_name
from prov.records.lookup import Records
from prov.records.refs import WorkdirRef, parse_ref
from prov.records.run import author, write_workdir
from prov.store.objects import Oid
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, put_at, read_listing
from prov.worktree.checkout import checkout

CHAIN = ("do_compile", "do_configure", "do_patch", "do_unpack")
"""Tasks to go back to where none is named, the last one that there is."""
_TEMP = "temp"
"""In a WORKDIR: where BitBake has logs and scripts."""
UNUSABLE = {FAKEROOT_FACT, SETSCENE_FACT}
"""Facts of runs that leave nothing to put back."""
_STAMP = re.compile(r"(.+)\.(do_[^./]+)\.[^/]+")
_NO_STAMP = re.compile(r"\.(sigdata|sigbasedata)\.|\.taint$")
"""Files beside stamps that say nothing of what has run."""


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
    """Return the run that `RECIPE[:TASK]`, or a tag, stands for.

    Raises NameUnknown, BitBakeError.
    """
    if ":" in name or "/" in name:
        return find_run(store, name)
    facts, build = Records(store).facts, BuildList.latest(store)
    for task in CHAIN:
        candidates = [
            run
            for run in runs(store, name, task)
            if not run.failed and not UNUSABLE & facts(run.commit).keys()
        ]
        line = build.newest_line(TaskKey(f"{name}:{task}")) if build is not None else None
        listed = [
            run
            for run in candidates
            if line and (run.task_hash, run.number) == (line.task_hash, line.run)
        ]
        if candidates:
            return (listed or candidates)[0]
    raise NameUnknown(
        f"nothing is recorded of {name} that can be put back",
        hint="`prov log` lists what is recorded",
    )


def restore(store: Store, run: RunName, tmpdirs: TmpDirs) -> Restored:
    """Put a WORKDIR back as it was after a run. Raises ProvError.

    Raises BitBakeError, before anything is written, if a path that a record names is in none of the
    TMPDIRs.
    """
    records = Records(store)
    facts = records.facts(run.commit)
    if not {WORKDIR_FACT, STAMP_FACT, LINE_FACT} <= facts.keys():
        raise BitBakeError(
            f"{run.tag} is no run of BitBake's", hint="`prov checkout` puts it on disk"
        )
    if FAKEROOT_FACT in facts:
        raise BitBakeError(
            f"{run.key} ran under pseudo: its files can't be put back from outside",
            hint=(
                f"name a task before it, as in {run.key.recipe}:do_compile, and let BitBake go on"
                " from there"
            ),
        )
    if SETSCENE_FACT in facts:
        raise BitBakeError(
            f"{run.key} was taken from shared state: there is no WORKDIR to put back",
            hint=f"`prov log {run.key}` lists runs; one that ran can be named by its tag",
        )
    line = list(_line(store, run.commit))
    place = tmpdirs.workdir(run.key, facts[WORKDIR_FACT])
    workdir = place.path
    stamps = _stamps(run.key, line, facts[STAMP_FACT], tmpdirs)
    task = _task(run, facts, workdir)
    _check_workdir(run.key, workdir)
    os.close(_open_made(run.key, place))
    begin(store, task)  # what is there now is recorded, if it is not
    with workdir_lock(store, workdir):
        now = store.refs.get(task.ref)
        if (workdir / "pseudo").is_dir():
            remove_tree(workdir / "pseudo")  # an account of files that go now
        present = records.workdir(now) if now is not None else EMPTY
        with store.objects.writer() as writer:
            target, commit = records.workdir(run.commit), run.commit
            for name in _faked(store, line):
                target = put_at(writer, target, name, None)
            if target != records.workdir(
                run.commit
            ):  # so that what was left out is nobody's change
                by = author(time.time())
                commit = write_workdir(
                    writer, target, run.commit, by, "put back without what ran under pseudo"
                )
            writer.finish()
            placed = checkout(writer, workdir, target, now=present)
        (workdir / _TEMP).mkdir(exist_ok=True)
        store.refs.update(RefUpdate(task.ref, commit))
        restored = Restored(run, workdir, placed)
        if not (workdir / "recipe-sysroot-native").is_dir() and stamps.names.pop(
            "do_prepare_recipe_sysroot", ""
        ):
            restored.notes.append(
                "its sysroots are not there: do_prepare_recipe_sysroot will run, and what comes"
                " after it"
            )
        _write_stamps(run.key, stamps)
        restored.stamps += stamps.names
    return restored


def _check_workdir(key: TaskKey, workdir: Path) -> None:
    """Raise BitBakeError if a folder is not a WORKDIR: a restore deletes its other contents."""
    if workdir.is_dir() and any(workdir.iterdir()) and not (workdir / _TEMP).is_dir():
        raise BitBakeError(
            f"{key}: {workdir} is not a WORKDIR: it has no folder {_TEMP}",
            hint=f"if it is one, make {workdir / _TEMP}; else don't trust the record's origin",
        )


def _open_made(key: TaskKey, place: Place) -> int:
    """Open a folder in a TMPDIR, made if need be; no link on the way is followed.

    Raises BitBakeError.
    """
    place.tmpdir.mkdir(parents=True, exist_ok=True)
    fd = open_folder(place.tmpdir)
    try:
        for part in place.below.parts:
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, 0o755, dir_fd=fd)
            inside = open_folder(part, fd)
            os.close(fd)
            fd = inside
    except OSError as error:
        os.close(fd)
        raise BitBakeError(
            f"{key}: {place.path}: {error.strerror}", hint="a link or a file there is in the way"
        ) from error
    return fd


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
    """Return the folders at the top of a WORKDIR that tasks under pseudo wrote to: these come again
    with the tasks.
    """
    records, names = Records(store), set[bytes]()
    for _, commit, facts in line:
        if FAKEROOT_FACT in facts:
            before, after = (
                read_listing(store.objects, records.workdir(each))
                for each in (store.objects.commit(commit).parents[0], commit)
            )
            names |= {name for name in after if after[name] != before.get(name)} - {b"."}
    return names


def _task(run: RunName, facts: dict[str, str], workdir: Path) -> BuildTask:
    """Return a task that looks at a run's WORKDIR, and owns nothing in it. Raises BitBakeError."""
    ref = parse_ref(facts[LINE_FACT])
    if not isinstance(ref, WorkdirRef) or not is_name(ref.arch):
        raise BitBakeError(f"{run.key}: its record names no line of a WORKDIR", hint=FORGET_RUN)
    mc, pn = split_name(run.key.recipe)
    return BuildTask(mc, pn, facts.get("version", ""), run.key.task, False, workdir, ref.arch, ())


@dataclass(frozen=True, slots=True)
class _Stamps:
    """The stamps of a recipe, which are in one folder."""

    folder: Place
    base: str
    """What the names of all of them begin with."""
    names: dict[str, str] = field(default_factory=dict)
    """Task -> its stamp's name, of those that are to be there, in the order in which the tasks
    ran.
    """


def _stamps(
    key: TaskKey, line: list[tuple[str, Oid, dict[str, str]]], stamp: str, tmpdirs: TmpDirs
) -> _Stamps:
    """Return the stamps that say what is true of a WORKDIR: those of the tasks in its line.

    Raises BitBakeError.
    """
    place = tmpdirs.stamp(key, stamp)
    match = _STAMP.fullmatch(place.below.name)
    if match is None:
        raise BitBakeError(
            f"{key}: {place.below.name!r} is not a stamp of a task",
            hint="is this BitBake newer than this prov?",
        )
    stamps = _Stamps(Place(place.tmpdir, place.below.parent), match[1])
    for name, _, facts in reversed(line):
        task = TaskKey(name).task
        stamps.names.pop(task, None)  # the last time counts
        if STAMP_FACT not in facts or FAKEROOT_FACT in facts:
            continue
        suffix = f".{task}_setscene." if SETSCENE_FACT in facts else f".{task}."
        place_of_other = tmpdirs.stamp(
            TaskKey(name), facts[STAMP_FACT].replace(f".{task}.", suffix)
        )
        other = _STAMP.fullmatch(place_of_other.below.name)
        is_beside = (
            place_of_other.below.parent == stamps.folder.below
            and other is not None
            and other[1] == stamps.base
        )
        # BitBake does not ask for a stamp of another recipe, or of another revision of this one
        if is_beside and other is not None and other[2] in (task, f"{task}_setscene"):
            stamps.names[task] = place_of_other.below.name
    return stamps


def _write_stamps(key: TaskKey, stamps: _Stamps) -> None:
    """Let stamps say what is true of the WORKDIR now: of tasks in its line they are there, of all
    others not.
    """
    folder = _open_made(key, stamps.folder)
    try:
        for name in os.listdir(folder):
            if name.startswith(f"{stamps.base}.do_") and not _NO_STAMP.search(name):
                os.unlink(name, dir_fd=folder)
        start = time.time() - len(stamps.names)
        for number, name in enumerate(stamps.names.values()):
            fd = os.open(
                name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder
            )
            os.utime(fd, (start + number, start + number))  # BitBake looks which is newer
            os.close(fd)
    finally:
        os.close(folder)
