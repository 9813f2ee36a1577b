"""Restore a recipe's WORKDIR to its state after a task, with the stamps that BitBake had then.

BitBake can continue from there: after rm_work or a clean, `bitbake -c configure -f` starts from
patched sources without fetching anything. The current content of the WORKDIR is recorded first.
Files that tasks wrote under pseudo are not restored: pseudo identifies files by inode, and its
database would not match new files.

A record contains the paths of its WORKDIR and stamps. They are checked against the TMPDIRs of the
user's build directory before anything is written.
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
from prov.bitbake.signature import UPDATE, split_name
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
"""Tasks to restore by default: the first recorded one of these."""
_TEMP = "temp"
"""BitBake's folder for logs and scripts in a WORKDIR."""
UNUSABLE = {FAKEROOT_FACT, SETSCENE_FACT}
"""Facts of runs that cannot be restored."""
_STAMP = re.compile(r"(.+)\.(do_[^./]+)\.[^/]+")
_NO_STAMP = re.compile(r"\.(sigdata|sigbasedata)\.|\.taint$")
"""Files next to stamps that do not mark a task as done."""


@dataclass(slots=True)
class Restored:
    """The result of a restore."""

    run: RunName
    workdir: Path
    placed: int
    stamps: list[str] = field(default_factory=list)
    """Tasks that now have stamps."""
    notes: list[str] = field(default_factory=list)


def choose(store: Store, name: str) -> RunName:
    """Return the run that `RECIPE[:TASK]` or a tag names.

    Without a task, return a run of the first task in CHAIN that can be restored: the run that the
    latest build lists, or the newest one. Raises NameUnknown, BitBakeError.
    """
    if ":" in name or "/" in name:
        return find_run(store, name)
    facts, build = Records(store).facts, BuildList.latest_of_tasks(store)
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
        f"no run of {name} that can be restored is recorded",
        hint="run `prov log` to list recorded runs",
    )


def restore(store: Store, run: RunName, tmpdirs: TmpDirs) -> Restored:
    """Restore a WORKDIR to its state after a run. Raises ProvError.

    Raises BitBakeError, before anything is written, if a path in a record is outside the TMPDIRs.
    """
    records = Records(store)
    facts = records.facts(run.commit)
    if not {WORKDIR_FACT, STAMP_FACT, LINE_FACT} <= facts.keys():
        raise BitBakeError(
            f"{run.tag} is not a run of a BitBake task",
            hint=f"run `prov checkout {run.tag} DIRECTORY` to write its files to a directory",
        )
    if FAKEROOT_FACT in facts:
        raise BitBakeError(
            f"cannot restore {run.key}: it ran under pseudo",
            hint=(
                f"restore an earlier task, such as {run.key.recipe}:do_compile, and let BitBake"
                " continue from there"
            ),
        )
    if SETSCENE_FACT in facts:
        raise BitBakeError(
            f"cannot restore {run.key}: it was restored from shared state and has no WORKDIR",
            hint=f"run `prov log {run.key}` and restore an executed run by its tag",
        )
    line = list(_line(store, run.commit))
    place = tmpdirs.workdir(run.key, facts[WORKDIR_FACT])
    workdir = place.path
    stamps = _stamps(run.key, line, facts[STAMP_FACT], tmpdirs)
    task = _task(run, facts, workdir)
    _check_workdir(run.key, workdir)
    os.close(_open_made(run.key, place))
    begin(store, task)  # record changes to the WORKDIR that would be lost
    with workdir_lock(store, workdir):
        now = store.refs.get(task.ref)
        if (workdir / "pseudo").is_dir():
            remove_tree(workdir / "pseudo")  # its database lists files that are now replaced
        present = records.workdir(now) if now is not None else EMPTY
        with store.objects.writer() as writer:
            target, commit = records.workdir(run.commit), run.commit
            for name in _faked(store, line):
                target = put_at(writer, target, name, None)
            if target != records.workdir(
                run.commit
            ):  # or the next task's commit would show the omitted files as deleted by it
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
                "the sysroots do not exist: BitBake will run do_prepare_recipe_sysroot and the"
                " tasks after it"
            )
        _write_stamps(run.key, stamps)
        restored.stamps += stamps.names
    return restored


def _check_workdir(key: TaskKey, workdir: Path) -> None:
    """Raise BitBakeError if a folder is not a WORKDIR, since a restore deletes other content."""
    if workdir.is_dir() and any(workdir.iterdir()) and not (workdir / _TEMP).is_dir():
        raise BitBakeError(
            f"{key}: {workdir} is not a WORKDIR: it has no folder {_TEMP}",
            hint=f"if it is a WORKDIR, run `mkdir {workdir / _TEMP}`; otherwise {FORGET_RUN}",
        )


def _open_made(key: TaskKey, place: Place) -> int:
    """Create a folder in a TMPDIR if it is missing, and return a descriptor of it.

    Follows no symlinks below the TMPDIR. Raises BitBakeError.
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
            f"{key}: {place.path}: {error.strerror}",
            hint="delete any symlink or file on this path",
        ) from error
    return fd


def _line(store: Store, commit: Oid) -> Iterator[tuple[str, Oid, dict[str, str]]]:
    """Yield the runs in a WORKDIR's history up to a commit, newest first: task, commit, facts."""
    records = Records(store)
    while True:
        facts = records.facts(commit)
        if "task" in facts:
            yield facts["task"], commit, facts
        parents = store.objects.commit(commit).parents
        if len(parents) < 2:  # the start: an empty WORKDIR
            return
        commit = parents[0]


def _faked(store: Store, line: list[tuple[str, Oid, dict[str, str]]]) -> set[bytes]:
    """Return the names at the top of a WORKDIR that tasks under pseudo changed.

    They are not restored; BitBake runs these tasks again.
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
    """Return a task for capturing a run's WORKDIR. It owns no directory. Raises BitBakeError."""
    ref = parse_ref(facts[LINE_FACT])
    if not isinstance(ref, WorkdirRef) or not is_name(ref.arch):
        raise BitBakeError(
            f"{run.key}: invalid record: {facts[LINE_FACT]!r} is not the ref of a WORKDIR",
            hint=FORGET_RUN,
        )
    mc, pn = split_name(run.key.recipe)
    return BuildTask(mc, pn, facts.get("version", ""), run.key.task, False, workdir, ref.arch, ())


@dataclass(frozen=True, slots=True)
class _Stamps:
    """The stamps of a recipe, all in one folder."""

    folder: Place
    base: str
    """Common prefix of their names."""
    names: dict[str, str] = field(default_factory=dict)
    """Task -> name of the stamp to write, in the order in which the tasks ran."""


def _stamps(
    key: TaskKey, line: list[tuple[str, Oid, dict[str, str]]], stamp: str, tmpdirs: TmpDirs
) -> _Stamps:
    """Return the stamps of the tasks in a WORKDIR's history. Raises BitBakeError."""
    place = tmpdirs.stamp(key, stamp)
    match = _STAMP.fullmatch(place.below.name)
    if match is None:
        raise BitBakeError(
            f"{key}: invalid record: {place.below.name!r} is not the stamp of a task",
            hint=UPDATE,
        )
    stamps = _Stamps(Place(place.tmpdir, place.below.parent), match[1])
    for name, _, facts in reversed(line):
        task = TaskKey(name).task
        stamps.names.pop(task, None)  # only the last run counts
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
        # BitBake ignores stamps of another recipe, or of another revision of this one
        if is_beside and other is not None and other[2] in (task, f"{task}_setscene"):
            stamps.names[task] = place_of_other.below.name
    return stamps


def _write_stamps(key: TaskKey, stamps: _Stamps) -> None:
    """Write the stamps of the restored tasks, and delete those of all other tasks of the recipe."""
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
            os.utime(fd, (start + number, start + number))  # BitBake compares the mtimes of stamps
            os.close(fd)
    finally:
        os.close(folder)
