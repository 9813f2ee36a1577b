"""Write a task's script with the variables and functions it uses, and run it."""

from __future__ import annotations

import os
import re
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from prov.errors import BuildError
from prov.files import naming, open_folder, remove_entry
from prov.processes import run_command
from prov.reads.reads import Reads
from prov.recipes.graph import Node
from prov.recipes.recipe import SYSROOT, SYSROOT_NATIVE, TEMP, Recipe
from prov.recipes.variables import DIRECT, expand, with_values
from prov.tasks.job import Job, Workspace
from prov.tasks.reading import UNRECORDED, Reading
from prov.tasks.sandbox import TaskPaths, confined_command, mounted_command, sandbox_command
from prov.tasks.taskhash import OwnInputs, output_paths

RPATH_LENGTH = 128
HOME = "home"
"""The home folder, below the folder for temporary files; empty when a task starts."""


@dataclass(frozen=True, slots=True)
class ScriptResult:
    """The result of a script: exit status, environment, duration (seconds) and output."""

    code: int
    environment: Mapping[str, str]
    seconds: float
    log: bytes
    reads: Reads = UNRECORDED
    stray_write: str = ""
    """A text that lists changes in the task's sysroots, or empty."""

    @property
    def problem(self) -> str:
        """The problem as recorded, or empty if there is none."""
        if self.stray_write:
            return self.stray_write
        if self.code == 0:
            return ""
        if self.code < 0:
            return f"killed by {signal.Signals(-self.code).name}"
        return f"exit status {self.code}"


def log_path(workdir: Path, task: str) -> Path:
    return workdir / TEMP / f"log.{task}"


def run_script(workspace: Workspace, job: Job, workdir: Path, reading: Reading) -> ScriptResult:
    """Run a task's script in its WORKDIR and write its output to the log.

    Raises RecipeError if a value cannot be expanded.
    """
    node, task_paths = job.node, job.task_paths
    values, directory = task_values(job)
    fresh_temp(workdir / TEMP, node.task.name)
    for path in output_paths(node.recipe, node):
        _make_folder(workdir, os.fsdecode(path), node.key)
    here = _real(job, directory, workdir)
    _make_folder(workdir, str(here.relative_to(workdir)), node.key)
    environment = _environment(job, values)
    python = node.task.interpreter == "python3"
    suffix = ".py" if python else ""
    script = workdir / TEMP / f"run.{node.task.name}{suffix}"
    text = node.task.script if python else shell_script(node, job.own, values)
    with (
        naming(script),
        os.fdopen(_create(script), "w", encoding="utf-8", errors="surrogateescape") as stream,
    ):
        stream.write(text)
    if python:
        environment |= values | {
            "PYTHONPATH": task_paths.seen_python_path,
            "PYTHONDONTWRITEBYTECODE": "1",
        }
    command = [sys.executable, "-s"] if python else ["sh"]
    command.append(f"{task_paths.seen_workdir}/{TEMP}/{script.name}")
    command = _command_line(workspace.sandbox, task_paths, command, directory)
    begun = time.monotonic()
    with os.fdopen(_create(log_path(workdir, node.task.name)), "w+b") as log:
        start = partial(_start, here, environment, log.fileno(), job.pass_fds)
        code, reads = reading.run(start, command, directory)
        seconds = time.monotonic() - begun
        log.seek(0)
        written = log.read()
    # the caller's variables in a task with network access may be secrets, and are not inputs
    kept = {
        name: value
        for name, value in environment.items()
        if not node.task.network or name not in job.own.environment
    }
    return ScriptResult(code, dict(sorted(kept.items())), seconds, written, reads)


def fresh_temp(temp: Path, task: str) -> None:
    """Prepare the folder for temporary files: other tasks' logs and scripts, and an empty home.

    Earlier tasks could write here, so do not follow their links and remove their files.
    """
    if temp.is_symlink() or (temp.exists() and not temp.is_dir()):
        temp.unlink()
    temp.mkdir(exist_ok=True)
    fd = open_folder(temp)
    try:
        with naming(temp):
            os.fchmod(fd, 0o755)
            for name in os.listdir(fd):
                kind = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
                ours = stat.S_ISREG(kind) and name.startswith(("log.", "run."))
                if not ours or name in (f"log.{task}", f"run.{task}", f"run.{task}.py"):
                    remove_entry(os.fsencode(name), fd)
    finally:
        os.close(fd)
    (temp / HOME).mkdir()


def _create(path: Path) -> int:
    """Create a file that must not exist, without following links."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)


def _make_folder(workdir: Path, path: str, asker: str) -> None:
    """Make a folder below the WORKDIR. Raises BuildError for a symlink to a path outside it."""
    at = workdir
    for part in Path(path).parts:
        at /= part
        if at.is_symlink() and not at.resolve().is_relative_to(workdir.resolve()):
            raise BuildError(
                f"{asker}: {at} is a symlink to a path outside WORKDIR",
                hint="create a folder there instead",
            )
        at.mkdir(exist_ok=True)


def task_values(job: Job) -> tuple[dict[str, str], str]:
    """Return a task's expanded variables and its working directory, as seen by the task."""
    node, seen = job.node, job.task_paths.seen_workdir
    native = job.task_paths.seen_sysroot(SYSROOT_NATIVE)
    places = {
        "WORKDIR": seen,
        "RECIPE_SYSROOT_NATIVE": native,
        # one length everywhere, so that linked files have one size and their RPATHs can be made
        # relative in place
        "NATIVE_RPATH": native + "/" * max(1, RPATH_LENGTH - len(native)) + "usr/lib",
        "RECIPE_SYSROOT": (
            native if node.recipe.arch == "native" else job.task_paths.seen_sysroot(SYSROOT)
        ),
        "JOBS": str(job.jobs),
        "TASK": node.task.name,
    }
    settings = with_values(node.recipe.variables, places, "prov")
    where = f"{node.recipe.path}: tasks.{node.task.name}"
    names = dict.fromkeys([*job.own.reached.variables, *places])
    values = {name: expand(settings[name].value, settings, where=where) for name in names}
    return values, expand(node.task.dir, settings, where=where)


def shell_script(node: Node, own: OwnInputs, values: Mapping[str, str]) -> str:
    """Return a script with variables, functions and the task's own script; it also runs alone."""
    exported = node.recipe.exports(node.task)
    lines = [f"# {node.key}", "set -eu"]
    lines += [f"{name}={shlex.quote(value)}" for name, value in values.items()]
    lines += [f"export {name}" for name in exported if name in values]
    for name in own.reached.functions:
        lines.append(f"{name}() {{\n{node.recipe.functions[name]}\n}}")
    return "\n".join([*lines, node.task.script, ""])


def _search_path(task_paths: TaskPaths) -> str:
    tops = [task_paths.seen_sysroot(SYSROOT_NATIVE), *task_paths.seen_direct().values()]
    folders = [
        f"{top}/{folder}" for top in tops for folder in ("usr/bin", "usr/sbin", "bin", "sbin")
    ]
    return ":".join([*folders, task_paths.seen_links])


def _environment(job: Job, values: Mapping[str, str]) -> dict[str, str]:
    seen, direct = job.task_paths.seen_workdir, job.task_paths.seen_direct()
    environment = {
        **job.own.environment,
        **{
            f"{DIRECT}{re.sub('[^A-Z0-9]', '_', name.upper())}": path
            for name, path in direct.items()
        },
        "PATH": _search_path(job.task_paths),
        "HOME": f"{seen}/{TEMP}/{HOME}",
        "TMPDIR": "/tmp" if job.task_paths.root else f"{seen}/{TEMP}/{HOME}",
        "RECIPE_SYSROOT": values["RECIPE_SYSROOT"],
        "RECIPE_SYSROOT_NATIVE": values["RECIPE_SYSROOT_NATIVE"],
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
        "SHELL": "/bin/sh",
        "USER": "builder",
    }
    if job.makeflags:
        environment["MAKEFLAGS"] = job.makeflags
    exported = job.node.recipe.exports(job.node.task)
    return environment | {name: values[name] for name in exported if name in values}


def _real(job: Job, seen: str, workdir: Path) -> Path:
    """Return the host's path for a path below WORKDIR as seen by the task. Raises BuildError."""
    top = job.task_paths.seen_workdir
    if (seen != top and not seen.startswith(top + "/")) or ".." in seen.split("/"):
        raise BuildError(
            f"{job.node.recipe.path}: tasks.{job.node.task.name}.dir: {seen!r} is outside WORKDIR",
            hint='use a path such as "${WORKDIR}/build"',
        )
    return workdir / seen[len(top) :].lstrip("/")


def _command_line(
    sandbox: str | None, task_paths: TaskPaths, command: list[str], directory: str
) -> list[str]:
    """Return the command line that runs a command; `directory` is a path as the task sees it."""
    if sandbox is not None and task_paths.root is not None:
        return sandbox_command(sandbox, task_paths, command, directory=directory)
    if command[0] == "sh":
        command = [str(task_paths.links / "sh"), *command[1:]]
    if task_paths.at:
        return mounted_command(task_paths, command, directory=directory)
    return command


def _start(
    directory: Path,
    environment: Mapping[str, str],
    log: int,
    pass_fds: tuple[int, ...],
    command: Sequence[str],
) -> subprocess.Popen[bytes]:
    """Start a command with its output to `log`."""
    return subprocess.Popen(
        command,
        cwd=directory,
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        umask=0o022,
        pass_fds=pass_fds,
    )


def run_in_sysroot(workspace: Workspace, job: Job, folder: str, script: str) -> tuple[int, bytes]:
    """Run a script in one of the task's sysroots; return its exit status and output.

    The script may change the sysroot.
    """
    task_paths, seen = job.task_paths, job.task_paths.seen_sysroot(folder)
    values = task_values(job)[0]
    command = [f"{seen}/{script}"]
    if workspace.sandbox is not None and task_paths.root is not None:
        offline = replace(task_paths, network=False)  # even if the task has network access
        command = sandbox_command(
            workspace.sandbox, offline, command, directory=seen, writable=folder
        )
    elif task_paths.at:
        command = mounted_command(task_paths, command, directory=seen)
    # nothing from the task: the result must depend only on the sysroots and the host tools
    environment = {
        "PATH": _search_path(task_paths),
        "RECIPE_SYSROOT": values["RECIPE_SYSROOT"],
        "RECIPE_SYSROOT_NATIVE": values["RECIPE_SYSROOT_NATIVE"],
        "SYSROOT": seen,
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }
    try:
        ended = run_command(command, cwd=task_paths.workdir / folder, env=environment)
    except OSError as error:
        return 126, str(error).encode()
    return ended.status, ended.output


def postprocess_text(recipe: Recipe, text: str, where: str) -> bytes:
    """Return a postprocess script to store with an output: expanded except for OUTPUT_DIR."""
    return expand(text, recipe.variables, where=where, keep=("OUTPUT_DIR",)).encode(
        "utf-8", "surrogateescape"
    )


def run_postprocess(
    links: Path,
    text: bytes,
    place: Path,
    asker: str,
    *,
    sandbox: str | None = None,
    at: Path | None = None,
) -> None:
    """Run an output's postprocess script in the folder `place`; `links` are its host tools.

    With `sandbox`, the path of bwrap, the folder is mounted at `at`, everything else is read-only,
    and there is no network. Raises BuildError with the end of the script's output if it fails.
    """
    command = [str(links / "sh"), "-eu"]
    environment = {"PATH": str(links), "LC_ALL": "C.UTF-8", "TZ": "UTC"}
    seen = place
    if sandbox is not None and at is not None:
        command, seen = confined_command(sandbox, place, at, command), at
        environment["TMPDIR"] = "/dev/shm"  # private; the host's folders are read-only
    environment |= {"HOME": str(seen), "OUTPUT_DIR": str(seen)}
    ended = run_command(command, cwd=place, env=environment, data=text)
    if ended.status:
        words = ended.output.decode("utf-8", "replace").strip().splitlines()[-3:]
        raise BuildError(
            f"postprocess of {asker} failed in {at or place}:"
            f" {' / '.join(words) or f'exit status {ended.status}'}"
        )
