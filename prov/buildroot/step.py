"""Record Buildroot's steps: `start` before a step, `end` after it, `finish` for failed ones.

Both calls are processes of their own; a file (`prov.buildroot.pending`) leads from the first to the
second. Steps of different packages run at the same time and share no lock: each directory has a
lock of its own, and a build is extended by compare-and-swap.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple

from prov.buildroot.call import StepCall
from prov.buildroot.inputs import installed_by, left_by, step_inputs
from prov.buildroot.pending import (
    Pending,
    pending_path,
    pending_steps,
    process_began,
    save_pending,
    saved_pending,
)
from prov.buildroot.sysroots import BEFORE_SYSROOTS, OUTPUTS, added, settle, sysroot_paths
from prov.errors import ProvError
from prov.records.ids import CommitId, OutputId
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.run import Start, empty_start
from prov.store.joining import consolidate
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.wrapped.builds import add_to_build, check_build
from prov.wrapped.directory import Directory, Omissions, recording
from prov.wrapped.record import record_alone
from prov.wrapped.step import CommandRun, CommandStep, Ran

STAMPS = (
    "downloaded",
    "actual_downloaded",
    "extracted",
    "rsynced",
    "patched",
    "dotconfig",
    "kconfig_fixup_done",
    "configured",
    "built",
    "host_installed",
    "staging_installed",
    "images_installed",
    "target_installed",
    "installed",
)
LISTS = ("", "-staging", "-images", "-host")
EXCLUDED = (
    *(f".stamp_{name}" for name in STAMPS),
    *(f".files-list{name}.{ending}" for name in LISTS for ending in ("before", "after", "txt")),
)
"""Files in build directories that Buildroot writes between steps, for itself.

These are names, not patterns: matching patterns costs each call 30 ms.
"""
OMISSIONS = Omissions(EXCLUDED)
NO_END = "the step did not end"
"""Why a step failed for which Buildroot called nothing."""


class FinishedSteps(NamedTuple):
    """The steps that `finish` recorded, and an error for each step that it could not record."""

    runs: list[CommandRun]
    errors: list[ProvError]


def start(store: Store, call: StepCall) -> list[ProvError]:
    """Record the state of a package before a step; first record the steps of ended processes.

    Return the errors of these steps. Raises CaptureError, and ProvError if the label belongs to a
    build of another kind.
    """
    errors = finish(store).errors
    check_build(store, call.build)
    before, sysroots = "", {}
    if call.directory.is_dir():
        with recording(store, call.directory, OMISSIONS) as directory:
            before = directory.settle().commit.hex()
    if call.key.task in OUTPUTS:
        for name, path in sysroot_paths(call.environment).items():
            tree, attributes = settle(store, path)
            sysroots[name] = tree.hex(), attributes.hex() if attributes else ""
    make_began = process_began(call.pid)
    environment = dict(call.environment)
    save_pending(store, Pending(call.words, environment, time.time(), before, sysroots, make_began))
    return errors


def end(store: Store, call: StepCall) -> CommandRun:
    """Record a step that has succeeded. Raises CaptureError.

    If its start is not recorded, it starts from the last recorded state of its directory.
    """
    pending = saved_pending(store, call)
    if pending is None:
        pending = Pending(call.words, dict(call.environment), time.time())
    with recording(store, call.directory, OMISSIONS) as directory:
        recorded = _record(directory, pending)
    consolidate(store.objects)
    return recorded


def finish(store: Store) -> FinishedSteps:
    """Record the failed and interrupted steps: those whose `make` has ended."""
    finished = FinishedSteps([], [])
    for pending in pending_steps(store):
        if pending.is_running():
            continue
        call = pending.call
        try:
            if call.directory.is_dir():
                with recording(store, call.directory, OMISSIONS) as directory:
                    if pending_path(store, call).exists():  # no other process has recorded it
                        finished.runs.append(_record(directory, pending, problem=NO_END))
        except ProvError as error:  # must not stop the steps of another `make`
            finished.errors.append(error)
        pending_path(store, call).unlink(missing_ok=True)
    return finished


def _record(directory: Directory, pending: Pending, *, problem: str = "") -> CommandRun:
    call, store = pending.call, directory.store
    sysroots, installed = _sysroots(store, pending)
    config = Path(call.environment.get("BR2_CONFIG", ""))
    start = _start(directory, pending)
    ran = Ran(
        code=1 if problem else 0,
        began=pending.began,
        seconds=0 if problem else time.time() - pending.began,
        environment=pending.environment,
        problem=problem,
        inputs=step_inputs(call.key, call.folder, call.version, config),
        needs=_needs(store, call),
        sysroots=sysroots,
        installed=installed,
    )
    step = CommandStep(call.key, call.build, tuple(installed), EXCLUDED)
    ended = record_alone(directory, step, start, ran, left_by(store, start.commit))
    build = add_to_build(store, call.build, ended.member)
    pending_path(store, call).unlink(missing_ok=True)
    return CommandRun(ended.member.run.tag, ended.commit, build, ran.code, ended.problem)


def _start(directory: Directory, pending: Pending) -> Start:
    if pending.start is None:
        return directory.last()
    if not pending.start:
        return empty_start(directory.writer)
    commit = CommitId(bytes.fromhex(pending.start))
    if not directory.store.objects.exists(commit):  # collected meanwhile
        return directory.last()
    return Start(commit, Records(directory.store).workdir(commit))


def _needs(store: Store, call: StepCall) -> dict[TaskKey, OutputId]:
    if call.key.task in BEFORE_SYSROOTS:
        return {}
    return installed_by(store, call.build, call.needs)


def _sysroots(store: Store, pending: Pending) -> tuple[dict[str, Pair], dict[str, Pair]]:
    """Return the sysroots of a step, and the folder of its output with what it installed.

    An install step saw the state before it. Other steps see the final state: Buildroot copies the
    dependencies at their beginning.
    """
    call = pending.call
    paths = sysroot_paths(call.environment)
    now = {name: settle(store, path) for name, path in paths.items()}
    before = {name: _pair(*ids) for name, ids in pending.sysroots.items()}
    folder, name = OUTPUTS.get(call.key.task, ("", ""))
    if name not in before:
        return now, {}
    with store.objects.writer() as writer:
        new = added(writer, before[name], now[name])
        writer.finish()
    return before, {folder: new}


def _pair(tree: str, attributes: str) -> Pair:
    return Pair(bytes.fromhex(tree), bytes.fromhex(attributes) if attributes else None)
