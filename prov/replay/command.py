"""Restore the directory of a recorded command, and run the command again.

The record determines the command and its environment, and the directory contains programs. All may
come from an attacker, so they run as `prov.replay.mounted` describes. Paths that the record
excludes, such as `.git`, are not there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

from prov.errors import ProvError
from prov.history.diff import diff_pairs
from prov.history.names import RunName
from prov.records.lookup import Records
from prov.records.output import read_pair, write_output
from prov.records.record import read_run_record
from prov.replay.mounted import check_sandbox, mounts, recorded_path
from prov.replay.reproduce import Rerun
from prov.replay.scene import Scene
from prov.replay.scratch import scratch_folder
from prov.store.objects import Oid
from prov.store.repository import Store
from prov.worktree.checkout import checkout
from prov.worktree.exclude import VERSION_CONTROL, Exclude
from prov.worktree.snapshot import capture
from prov.wrapped.record import output_of
from prov.wrapped.recorded import recorded_command, recorded_step
from prov.wrapped.run import run_command

PASSED = ("TERM", "HOME", "USER", "PATH")
"""User variables passed to a command, unless the record has them."""


@contextlib.contextmanager
def restored(
    store: Store,
    commit: Oid,
    mounter: str | None,
    environment: Mapping[str, str],
    *,
    before: bool,
    on_host: bool,
) -> Iterator[Scene]:
    """Yield a run's directory in its state after the command, or `before` it; delete it at the end.

    `mounter` is the path of bubblewrap; without it the directory is at another path. `environment`
    is the user's. `on_host` allows the command to run without a sandbox. Raises StoreError for an
    invalid record, and if there is neither bubblewrap nor `on_host`.
    """
    records = Records(store)
    record = records.record(commit)
    facts = record.facts(store.objects)
    at = recorded_path(facts)
    check_sandbox(facts.get("task", "the command"), mounter, on_host=on_host)
    start = store.objects.commit(commit).parents[0]
    with scratch_folder(store) as folder:
        directory = folder / "directory"
        checkout(store.objects, directory, records.workdir(start if before else commit))
        values = {name: environment[name] for name in PASSED if name in environment}
        values |= record.environment(store.objects)
        values.pop("MAKEFLAGS", None)  # the jobserver's pipes are closed
        yield _scene(directory, at, mounter, values)


def _scene(directory: Path, at: str, mounter: str | None, environment: dict[str, str]) -> Scene:
    if mounter is None:
        note = f"without bubblewrap, the directory is {directory}: tools may still refer to {at}"
        return Scene(directory, environment, lambda command: command, lambda: ["sh", "-i"], [note])
    mount = [mounter, *mounts(directory, at), "--chdir", at]
    return Scene(directory, environment, lambda command: [*mount, *command], lambda: ["sh", "-i"])


def rerun_command(
    store: Store,
    run: RunName,
    mounter: str | None,
    environment: Mapping[str, str],
    *,
    on_host: bool,
) -> tuple[Rerun, list[str]]:
    """Run a recorded command again, and compare the results; return that, and notes for the user.

    Nothing is recorded. Raises ProvError for a capture, which has no command.
    """
    command = recorded_command(store, run.commit)
    if not command:
        raise ProvError(
            f"{run.key} has no command: `prov capture` recorded it",
            hint=f"run `prov shell {run.key}` to open its directory",
        )
    with restored(store, run.commit, mounter, environment, before=True, on_host=on_host) as scene:
        code, log = run_command(
            scene.enter(command), scene.folder, scene.environment, lambda _chunk: None
        )
        problem = f"exit status {code}" if code else ""
        return _compared(
            store,
            run,
            scene.folder,
            problem,
            log.decode("utf-8", "replace"),
            at_its_path=mounter is not None,
        ), list(scene.notes)


def _compared(
    store: Store, run: RunName, directory: Path, problem: str, log: str, *, at_its_path: bool
) -> Rerun:
    if run.failed:
        problem = "" if problem else "the recorded run failed, but the rerun succeeded"
        return Rerun(run.key, run, problem, log)
    if problem:
        return Rerun(run.key, run, problem, log)
    record = read_run_record(store.objects, run.commit)
    step = recorded_step(run.key, record.facts(store.objects))
    with store.objects.writer(memory=True) as writer:
        snapshot = capture(
            store, directory, writer, exclude=Exclude([*VERSION_CONTROL, *step.exclude])
        )
        output, problem = output_of(snapshot, step.outputs, writer)
        if output is None or record.result is None:
            return Rerun(run.key, run, problem, log)
        is_same = write_output(writer, output) == record.result
        differences = []
        if not is_same:
            differences = diff_pairs(writer, read_pair(store.objects, record.result), output.pair)
        if step.gitignore and not step.outputs:
            # the restored directory is in no work tree, so git cannot list what it ignores
            differences = [each for each in differences if each.letter != "A"]
        return Rerun(run.key, run, "", log, tuple(differences), at_its_path=at_its_path)
