"""The git command: required, its version checked, run without the user's configuration."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path

import pygit2
from pygit2.enums import ConfigLevel

from prov.errors import StoreError
from prov.store.view import git_view, read_configuration

OLDEST = (2, 39)


@cache
def git_program() -> str:
    """Return the path of a git that is new enough. Raises StoreError when there is none."""
    return _program_and_version()[0]


def git_version() -> str:
    """Return what `git version` prints. Raises StoreError when there is no new enough git."""
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
            f"{program} is too old: {version or 'no version'}",
            hint="install git 2.39 or newer",
        )
    return program, version


def git_environment() -> dict[str, str]:
    """Return an environment in which git reads the repository's configuration and no other."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return others | {
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        # an object that is missing is missing: git fetches none
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_ALLOW_PROTOCOL": "none",
        "GIT_TERMINAL_PROMPT": "0",
        "LC_ALL": "C.UTF-8",
        "LANGUAGE": "",
    }


def call_git(command: Sequence[str], *, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run a command line of git with `data` as its input; return its status and its output.

    The command line begins with `git_program()`, or as `git_command` yields it.
    """
    return subprocess.run(
        command, input=data, capture_output=True, env=git_environment(), check=False
    )


def start_git(
    command: Sequence[str], *, stderr: int, stdin: int | None = None
) -> subprocess.Popen[bytes]:
    """Start a command line of git, as `call_git` runs it, with its output in a pipe."""
    return subprocess.Popen(
        command, stdin=stdin, stdout=subprocess.PIPE, stderr=stderr, env=git_environment()
    )


def error_text(result: subprocess.CompletedProcess[bytes]) -> str:
    """Return what git printed as its error."""
    return result.stderr.decode("utf-8", "replace").strip()


@cache
def _seal_libgit2() -> None:
    """Let libgit2 read no configuration but a repository's, as `git_environment` does for git."""
    for level in (ConfigLevel.PROGRAMDATA, ConfigLevel.SYSTEM, ConfigLevel.XDG, ConfigLevel.GLOBAL):
        pygit2.settings.search_path[level] = os.devnull
    pygit2.settings.owner_validation = False


def open_repository(git_dir: Path) -> pygit2.Repository:
    """Open a store with libgit2. Raises StoreError when that can't."""
    _seal_libgit2()
    with contextlib.suppress(OSError):
        read_configuration(git_dir)  # libgit2 would wait at a pipe, and follow includes
    try:
        return pygit2.Repository(str(git_dir))
    except pygit2.GitError as error:
        raise StoreError(
            f"{git_dir} can't be opened: {error}", hint="`prov fsck` tells what is wrong with it"
        ) from error


def make_bare(path: Path) -> None:
    """Make an empty bare repository in which everything that git writes is synced.

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
        raise StoreError(f"no repository could be made at {path}: {error_text(result)}")
    run_git(path, ["config", "core.fsync", "all"])


@contextlib.contextmanager
def git_command(git_dir: Path) -> Iterator[list[str]]:
    """Yield the beginning of a command line that runs git on a repository, and none of its hooks.

    Run it with `call_git` or `start_git`.
    """
    settings = ("safe.directory=*", f"core.hooksPath={os.devnull}", "core.fsmonitor=false")
    with git_view(git_dir) as view:
        command = [git_program(), "--no-pager"]
        for setting in settings:
            command += ["-c", setting]
        yield [*command, f"--git-dir={view}"]


def run_git(git_dir: Path, arguments: Sequence[str], *, data: bytes = b"") -> bytes:
    """Run git on a repository and return what it prints. Raises StoreError with git's own words."""
    with git_command(git_dir) as command:
        result = call_git([*command, *arguments], data=data)
    if result.returncode:
        raise StoreError(f"git {arguments[0]} failed in {git_dir}: {error_text(result)}")
    return result.stdout


def ignored_paths(folder: Path, git_dir: Path) -> list[bytes]:
    """Return the paths in a folder, relative to it, that its `.gitignore` files leave out, folders
    with a slash.

    In a git work tree what is committed is not left out. `git_dir`, any repository, serves a folder
    that is in none. Raises StoreError.
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
    raise StoreError(f"{folder}: git can't list what .gitignore leaves out: {error_text(result)}")
