"""Run commands and capture directories, and record them as runs."""

from __future__ import annotations

import shlex
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from prov.errors import ProvError
from prov.processes import follow
from prov.store.joining import consolidate
from prov.store.repository import Store
from prov.wrapped.builds import check_build
from prov.wrapped.directory import recording
from prov.wrapped.record import record
from prov.wrapped.step import KEPT_ENVIRONMENT, CommandRun, CommandStep, Ran
from prov.wrapped.version_control import revision_facts


def capture_as(store: Store, path: Path, step: CommandStep) -> CommandRun:
    """Commit and tag a directory, except for excluded files and version control data.

    Raises CaptureError.
    """
    check_build(store, step.build)
    with recording(store, path, step.omissions) as directory:
        recorded = record(
            directory, step, directory.last(), Ran(began=time.time(), facts=revision_facts(path))
        )
    consolidate(store.objects)
    return recorded


def run_as(
    store: Store,
    path: Path,
    step: CommandStep,
    command: Sequence[str],
    environment: Mapping[str, str],
    passed: Callable[[bytes], object],
) -> CommandRun:
    """Run a command in a directory; commit and tag its changes and its output.

    The output is also passed to `passed` as it appears. Excluded files and version control data are
    ignored. Raises ProvError if the command cannot be started.
    """
    check_build(store, step.build)
    with recording(store, path, step.omissions) as directory:
        start, facts = directory.settle(), revision_facts(path)
    # The directory is not locked while the command runs: the command may itself call prov.
    began, clock = time.time(), time.monotonic()
    code, log = run_command(command, path, environment, passed)
    kept = {name: value for name, value in environment.items() if name in KEPT_ENVIRONMENT}
    ran = Ran(shlex.join(command), code, began, time.monotonic() - clock, log, kept, facts)
    with recording(store, path, step.omissions) as directory:
        recorded = record(directory, step, start, ran)
    consolidate(store.objects)
    return recorded


def run_command(
    command: Sequence[str],
    directory: Path,
    environment: Mapping[str, str],
    passed: Callable[[bytes], object],
    *,
    stdin: int | None = None,
) -> tuple[int, bytes]:
    """Run a command and pass on its output as it appears; return exit status and output.

    `stdin` is as in `subprocess.Popen`; by default, the command has this process's.
    """
    log = bytearray()
    try:
        process = subprocess.Popen(
            list(command),
            cwd=directory,
            env=dict(environment),
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise ProvError(
            f"cannot run {command[0]}: {error.strerror}",
            hint="check that the program is installed and executable",
        ) from error

    def keep(chunk: bytes) -> None:
        log.extend(chunk)
        passed(chunk)

    with process:
        status = follow(process, keep)
    return status if status >= 0 else 128 - status, bytes(log)
