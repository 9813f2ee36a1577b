"""Run git: check its version and keep the user's configuration out."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path

from prov.errors import StoreError
from prov.store.view import git_view

OLDEST = (2, 39)


@cache
def git_program() -> str:
    """Return the path of git. Raises StoreError if it is missing or older than `OLDEST`."""
    return _program_and_version()[0]


def git_version() -> str:
    """Return the output of `git version`. Raises StoreError as `git_program` does."""
    return _program_and_version()[1]


@cache
def _program_and_version() -> tuple[str, str]:
    program = shutil.which("git")
    if program is None:
        raise StoreError("the git command is not on PATH", hint="install git 2.39 or newer")
    command = [program, "version"]
    version = call_git(command).stdout.decode("utf-8", "replace").strip()
    match = re.search(r"(\d+)\.(\d+)", version)
    if match is None or (int(match[1]), int(match[2])) < OLDEST:
        raise StoreError(
            f"{program} is too old: {version or 'unknown version'}",
            hint="install git 2.39 or newer",
        )
    return program, version


def git_environment(*, user_configuration: bool = False) -> dict[str, str]:
    """Return an environment in which git reads only the repository's own configuration.

    With `user_configuration`, git also reads the configuration of the user and of the system.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    configuration = {"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": os.devnull}
    if user_configuration:
        names = configuration.keys() & os.environ.keys()
        configuration = {name: os.environ[name] for name in names}
    return (
        others
        | configuration
        | {
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            # git must report a missing object, not fetch it
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_ALLOW_PROTOCOL": "none",
            "GIT_TERMINAL_PROMPT": "0",
            "LC_ALL": "C.UTF-8",
            "LANGUAGE": "",
        }
    )


def call_git(
    command: Sequence[str], *, data: bytes = b"", variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a git command line with `data` as its input; return its status and output.

    Start the command line with `git_program()` or with what `git_command` yields. `variables` are
    set in addition to those of `git_environment`.
    """
    environment = git_environment() | dict(variables or {})
    return subprocess.run(command, input=data, capture_output=True, env=environment, check=False)


def start_git(
    command: Sequence[str], *, stderr: int, stdin: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a git command line as `call_git` does, with its output in a pipe."""
    return subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env=git_environment()
    )


def error_text(result: subprocess.CompletedProcess[bytes]) -> str:
    """Return git's error output as text."""
    return result.stderr.decode("utf-8", "replace").strip()


def make_bare(path: Path) -> None:
    """Create an empty bare repository in which git syncs everything it writes.

    Raises StoreError.
    """
    path.mkdir(parents=True, exist_ok=True)
    command = [
        git_program(),
        "init",
        "--quiet",
        "--bare",
        "--template=",
        "--initial-branch=main",
        str(path),
    ]
    result = call_git(command)
    if result.returncode:
        raise StoreError(f"cannot create a repository at {path}: {error_text(result)}")
    run_git(path, ["config", "core.fsync", "all"])


@contextlib.contextmanager
def git_command(git_dir: Path) -> Iterator[list[str]]:
    """Yield the start of a command line that runs git on a repository without its hooks.

    Run the command line with `call_git` or `start_git`.
    """
    settings = ("safe.directory=*", f"core.hooksPath={os.devnull}", "core.fsmonitor=false")
    with git_view(git_dir) as view:
        command = [git_program(), "--no-pager"]
        for setting in settings:
            command += ["-c", setting]
        yield [*command, f"--git-dir={view}"]


def run_git(git_dir: Path, arguments: Sequence[str], *, data: bytes = b"") -> bytes:
    """Run git on a repository and return its output. Raises StoreError with git's error text."""
    with git_command(git_dir) as command:
        result = call_git([*command, *arguments], data=data)
    if result.returncode:
        raise StoreError(f"git {arguments[0]} failed in {git_dir}: {error_text(result)}")
    return result.stdout


def ignored_paths(folder: Path, git_dir: Path) -> list[bytes]:
    """Return the paths in a folder that its `.gitignore` files exclude, relative to the folder.

    A directory's path ends in a slash. In a git work tree, committed files are not excluded. For a
    folder outside any repository, git uses `git_dir`, which can be any repository. Raises
    StoreError.
    """
    command = [
        git_program(),
        "-c",
        "safe.directory=*",
        "-c",
        "core.fsmonitor=false",
        "-C",
        str(folder),
    ]
    listing = [
        "ls-files",
        "-z",
        "--others",
        "--ignored",
        "--directory",
        "--exclude-per-directory=.gitignore",
    ]
    elsewhere = [f"--git-dir={git_dir}", "--work-tree=."]
    for options in ([], elsewhere):
        result = call_git([*command, *options, *listing])
        if result.returncode == 0:
            return [path for path in result.stdout.split(b"\0") if path]
    raise StoreError(f"{folder}: git cannot list ignored files: {error_text(result)}")
