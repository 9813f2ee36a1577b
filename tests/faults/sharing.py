"""Disturbed sharing commands: a remote's publications are complete, and a rerun finishes."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.cli.story import Project
from tests.faults.cases import LIBRARY, _project, recorded
from tests.faults.sweep import Case, git

SECRET = "hunter2"


def published(root: Path) -> dict[str, object]:
    """Return a remote's publications, and its faults: damaged objects or invalid references."""
    remote = root / "remote.git"
    if not (remote / "HEAD").exists():
        return {}
    lines = set()
    for commit in git(remote, "rev-list", "prov/index").stdout.split():
        for path in git(
            remote, "ls-tree", "-r", "--name-only", commit, "publications"
        ).stdout.split():
            text = git(remote, "show", f"{commit}:{path}").stdout
            lines |= {" ".join(line.split(" ")[1:6]) for line in text.splitlines()}
    done = git(remote, "fsck", "--strict", "--no-dangling", "--no-progress")
    wrong = [
        line for line in (done.stdout + done.stderr).splitlines() if not line.startswith("notice: ")
    ]
    held = git(remote, "log", "--format=%T", "prov/content").stdout.split() if lines else []
    missing = sorted(
        line for line in lines if line.count(" ") == 4 and line.split(" ")[4] not in held
    )
    return {
        "tasks": sorted(line for line in lines if line.count(" ") == 4),
        "wrong": wrong,
        "missing": missing,
    }


def fetched(root: Path) -> dict[str, object]:
    return {name: held for name, held in recorded(root).items() if name.startswith("refs/prov/")}


def clean(root: Path) -> dict[str, object]:
    """Return whether the store still contains the secret."""
    command = ["git", f"--git-dir={root / '.prov'}", "cat-file", "--batch-all-objects", "--batch"]
    return {
        "secret": SECRET.encode() in subprocess.run(command, capture_output=True, check=True).stdout
    }


def exported(root: Path) -> dict[str, object]:
    """Return the publications of a static cache, and whether git can read its bundles."""
    folder = root / "www"
    names = (
        (folder / "prov-cache").read_text().split("\n")[1:-1]
        if (folder / "prov-cache").exists()
        else []
    )
    numbers = [name.split(" ")[1] for name in names]
    lines = [
        line.rpartition(" size=")[0]
        for name in sorted(set(numbers))
        for line in (folder / "publications" / name).read_text().split("\n")
        if line.startswith("task ")
    ]
    shutil.rmtree(root / "read.git", ignore_errors=True)
    subprocess.run(["git", "init", "-q", "--bare", root / "read.git"], check=True)
    wrong = []
    for name in sorted(set(numbers)):
        done = git(
            root / "read.git",
            "fetch",
            "-q",
            str(folder / f"bundles/{name}.bundle"),
            "+refs/*:refs/*",
        )
        wrong += [done.stderr] if done.returncode else []
    shutil.rmtree(root / "read.git")
    return {"tasks": sorted(lines), "wrong": wrong}


def to_push(root: Path) -> None:
    """Create a new build, and a remote that has an older one."""
    project = _project(root)
    project.prov("build", "program")
    project.prov("remote", "add", "team", str(root / "remote.git"), "--push", "--trust", "none")
    project.prov("push")
    project.write("recipes/library.toml", LIBRARY.format(version="1", made="two", more="true"))
    project.prov("build", "program", "--offline")


def to_pull(root: Path) -> None:
    """Create a remote that has all outputs, and a store that has only the host tools."""
    to_push(root)
    project = Project(root)
    project.prov("push")
    for name in (".prov", "build"):
        shutil.rmtree(root / name)
    project.prov("remote", "add", "team", str(root / "remote.git"), "--trust", "none")
    project.prov("plan", "program")


def to_shrink(root: Path) -> None:
    to_push(root)
    Project(root).prov("push")


def with_a_secret(root: Path) -> None:
    project = _project(root)
    project.write("recipes/library.toml", LIBRARY.format(version="1", made=SECRET, more="true"))
    project.prov("build", "program")
    shutil.rmtree(root / "build")


def nothing(_root: Path) -> object:
    """After a power cut, ignore the remote, whose data depends on its own machine."""
    return None


PUSH = Case("push", to_push, ("push",), published, nothing, nothing)
PULL = Case("pull", to_pull, ("pull", "program"), fetched)
SHRINK = Case(
    "remote gc",
    to_shrink,
    ("remote", "gc", "team", "--days", "0", "--builds", "0"),
    published,
    nothing,
    nothing,
)
FORGET = Case(
    "forget",
    with_a_secret,
    ("forget", "--containing", SECRET),
    clean,
    already="no file in the store contains",
)
EXPORT = Case("export", to_push, ("export", "www"), exported)
SHARING = (PUSH, PULL, SHRINK, FORGET, EXPORT)
