"""Restore a recorded task's WORKDIR, sysroots and environment for inspection and manual work."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from prov.errors import StoreError
from prov.files import remove_tree
from prov.recipes.graph import Node
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE, TEMP
from prov.records.entries import LOG, SYSROOT_TARGET
from prov.records.entries import SYSROOT_NATIVE as SYSROOT_NATIVE_ENTRY
from prov.records.ids import OutputId, StaticKey
from prov.records.keys import TaskKey
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.records.record import read_run_record
from prov.replay.scene import Scene
from prov.replay.scratch import Scratch
from prov.store.objects import Oid
from prov.tasks.job import Job, Taken
from prov.tasks.paths import make_paths
from prov.tasks.recorded import RecordedTask, make_node, own_inputs, taken_output
from prov.tasks.sandbox import HOSTTOOLS, SYSROOTS, TaskPaths, mounted_command, sandbox_command
from prov.tasks.script import log_path, shell_script, task_values
from prov.tasks.taskhash import HashOnly
from prov.worktree.checkout import checkout
from prov.worktree.placer import Placer, PrivatePlacer
from prov.worktree.pool import GUARDED, Pool

_PARTS = {SYSROOT: SYSROOT_TARGET, SYSROOT_NATIVE: SYSROOT_NATIVE_ENTRY}
"""Folder of a WORKDIR -> part of a record."""
_SHELLS = {"bash": ("--norc", "--noprofile", "-i"), "sh": ("-i",)}


def _enter(task_paths: TaskPaths, sandbox: str | None, command: Sequence[str]) -> Sequence[str]:
    """Return the command that runs `command` in a restored WORKDIR."""
    directory = task_paths.seen_workdir
    if sandbox is not None:
        return sandbox_command(sandbox, task_paths, command, directory=directory, terminal=True)
    if task_paths.at:
        return mounted_command(task_paths, command, directory=directory)
    return command


def _shell(task_paths: TaskPaths, sandbox: str | None, key: TaskKey) -> list[str]:
    """Return the command of an interactive shell from a task's own tools."""
    for name, options in _SHELLS.items():
        link = task_paths.links / name
        if link.is_symlink():
            return [name if sandbox else os.path.realpath(link), *options]
    raise StoreError(f"{key} has no shell among its tools", hint="pass a command: `-- COMMAND`")


def restore_task(
    scratch: Scratch, task: RecordedTask, *, before: bool, terminal: str = ""
) -> Scene:
    """Restore a task's WORKDIR, after or before the task, and its sysroots in a scratch directory.

    `terminal` is the value of TERM for commands there.
    """
    return _Restorer(scratch, task, before).restore(terminal)


@dataclass(frozen=True, slots=True)
class _Restorer:
    scratch: Scratch
    task: RecordedTask
    before: bool

    @property
    def _commit(self) -> Oid:
        assert self.task.commit is not None
        return self.task.commit

    def restore(self, terminal: str) -> Scene:
        store = self.scratch.store
        records = Records(store)
        node = make_node(store.objects, self.task)
        task_paths = self._task_paths(node)
        recorded_path = self.scratch.recorded_workdir(self.task) or str(task_paths.workdir)
        task_paths.workdir.mkdir(parents=True, exist_ok=True)
        start = store.objects.commit(self._commit).parents[0]
        workdir = records.workdir(start if self.before else self._commit)
        checkout(store.objects, task_paths.workdir, workdir)
        self._put_sysroots(task_paths)
        environment = records.record(self._commit).environment(store.objects)
        if task_paths.root is None and not task_paths.at:
            paths = _moved_paths(recorded_path, task_paths)
            environment = {name: _moved(value, paths) for name, value in environment.items()}
            self.scratch.notes.append(
                f"the WORKDIR is {task_paths.workdir} without bubblewrap; tools may embed its"
                f" recorded path {recorded_path}"
            )
        environment.pop("MAKEFLAGS", None)  # the jobserver's pipes are closed
        self._put_script(node, task_paths)
        if not self.before:
            log_path(task_paths.workdir, node.task.name).write_bytes(
                records.text(self._commit, LOG)
            )
        sandbox = self.scratch.sandbox if task_paths.root is not None else None
        return Scene(
            folder=task_paths.workdir,
            environment=environment | {"TERM": terminal or "dumb", "PS1": f"{node.key}$ "},
            enter=partial(_enter, task_paths, sandbox),
            shell=partial(_shell, task_paths, sandbox, node.key),
            notes=self.scratch.notes,
        )

    def _task_paths(self, node: Node) -> TaskPaths:
        scratch, task = self.scratch, self.task
        own = own_inputs(scratch.store.objects, HashOnly(), task)
        needs = tuple(taken for taken in self._present_outputs() if taken.direct)
        workspace, chain = scratch.workspace(task), task.definition.chain
        task_paths = make_paths(workspace, scratch.toolchains, node, chain, own.toolchain, needs)
        # a record must not grant access to folders of the host
        task_paths = replace(task_paths, readable=())
        if scratch.is_mounted(task):
            at = scratch.recorded_workdir(task) or str(task_paths.workdir)
            return replace(task_paths, at=at, mounter=scratch.mounter or "")
        return task_paths

    def _present_outputs(self) -> Iterator[Taken]:
        """Yield the task's input outputs that are in the store."""
        for key in self.task.definition.direct:
            output = self.task.outputs.get(("needs", key))
            if output is not None and self.scratch.store.objects.exists(output):
                yield taken_output(self.task.definition, TaskKey(key), OutputId(output))

    def _put_sysroots(self, task_paths: TaskPaths) -> None:
        store = self.scratch.store
        record = read_run_record(store.objects, self._commit)
        places = task_paths.sysroot_places()
        for folder, part in _PARTS.items():
            _make_own(task_paths.workdir / folder)
            entry = store.objects.entry(record.tree, part)
            if entry is None:
                continue
            placer: Placer = PrivatePlacer(store.objects, places)
            if task_paths.root is not None:  # mounted read-only, so links are safe
                placer = Pool(store.cache / GUARDED, store.objects, places)
            pair = read_pair(store.objects, entry.oid)
            checkout(store.objects, task_paths.workdir / folder, pair, placer=placer)

    def _put_script(self, node: Node, task_paths: TaskPaths) -> None:
        """Write the run script to its original location for manual runs."""
        temp = task_paths.workdir / TEMP
        _make_own(temp)
        (temp / "home").mkdir()
        path, text = temp / f"run.{node.task.name}.py", node.task.script
        if node.task.interpreter != "python3":
            own = own_inputs(self.scratch.store.objects, HashOnly(), self.task)
            chain, jobs = self.task.definition.chain, self.scratch.jobs
            job = Job(node, chain, own, {}, StaticKey(b""), task_paths, jobs=jobs)
            values, directory = task_values(job)
            path = temp / f"run.{node.task.name}"
            text = f"cd {shlex.quote(directory)}\n{shell_script(node, own, values)}"
        path.write_text(text, "utf-8", "surrogateescape")


def _make_own(folder: Path) -> None:
    """Create a folder that no recorded WORKDIR has.

    A record from a different program may have something there, such as a link; it is deleted.
    """
    if os.path.lexists(folder):
        remove_tree(folder)
    folder.mkdir()


def _moved_paths(recorded_path: str, task_paths: TaskPaths) -> list[tuple[str, str]]:
    """Return the paths in a sandbox and their replacements, longer ones first."""
    sysroots = sorted(SYSROOTS.items(), reverse=True)
    return [
        *((path, str(task_paths.workdir / folder)) for folder, path in sysroots),
        (recorded_path, str(task_paths.workdir)),
        (HOSTTOOLS, str(task_paths.links)),
    ]


def _moved(value: str, paths: Sequence[tuple[str, str]]) -> str:
    """Return a variable's value with the paths replaced."""
    for old, new in paths:
        value = value.replace(old, new)
    return value
