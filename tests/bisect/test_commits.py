"""Tests of bisections of a git history."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from prov.bisect.command import run_command
from prov.bisect.commits import CommitAnswer, CommitSearch, top_of
from prov.bisect.search import Verdict
from prov.errors import ProvError
from prov.records.build_list import BuildList
from prov.records.keys import TaskKey
from prov.records.labels import labelled_build
from prov.records.refs import DIRECTORIES
from prov.replay.scratch import scratch_folder
from prov.store.repository import Store
from prov.tasks.sandbox import bubblewrap
from prov.wrapped.run import run_as
from prov.wrapped.step import CommandStep
from prov.wrapped.steps import recorded_steps

pytestmark = pytest.mark.process

MOUNTER = bubblewrap("auto")
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}
CONFIGURE = "test -d .git && git describe --always >/dev/null && tr a-z A-Z <source >made"
COMPILE = "cp made program; grep -q BROKEN made && exit 2; pwd >>program"
BAD_FROM, BROKEN = 8, 5
"""The first commit with the fault, and a commit that cannot be built."""
VALUE = 'grep -q "VALUE 1" "$1/program"'


@dataclass(slots=True)
class Watcher:
    """Notes the progress of a bisection."""

    tried: list[str] = field(default_factory=list)
    ran_steps: list[str] = field(default_factory=list)
    verdicts: list[str] = field(default_factory=list)

    def trying(self, commit: str, subject: str) -> None:
        self.tried.append(subject)

    def ran(self, key: TaskKey, code: int) -> None:
        self.ran_steps.append(key)

    def verdict(self, what: str, verdict: Verdict, *, flaky: bool) -> None:
        self.verdicts.append(verdict)


def git(top: Path, *words: str) -> str:
    """Run git as a user; return its output."""
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    done = subprocess.run(
        ["git", "-C", top, *identity, *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A git work tree with 12 commits, of which the last ones are bad and one cannot be built."""
    top = tmp_path / "project"
    top.mkdir()
    git(top, "init", "-q", "-b", "main")
    for number in range(12):
        text = "value 2" if number >= BAD_FROM else "value 1"
        more = "broken\n" if number == BROKEN else ""
        (top / "source").write_text(f"{text}\n{more}# {number}\n")
        git(top, "add", "source")
        git(top, "commit", "-q", "-m", f"change {number}")
    return top


@pytest.fixture
def store(store: Store, top: Path) -> Store:
    """A store with a build of two steps."""
    for name, script in {"app:configure": CONFIGURE, "app:compile": COMPILE}.items():
        step = CommandStep.parse(name, build="now")
        command = ["sh", "-c", script]
        assert run_as(store, top, step, command, ENVIRONMENT, lambda _chunk: None).code == 0
    return store


def search(
    store: Store,
    top: Path,
    watcher: Watcher,
    good: str = "main~11",
    bad: str = "main",
    script: str = VALUE,
) -> CommitAnswer:
    """Bisect the history of a work tree."""
    build = labelled_build(store, "now")
    assert build is not None
    steps = recorded_steps(BuildList(store, build), top)
    test = ["sh", "-c", script, "test", "{}"]
    with scratch_folder(store) as folder:
        clone = folder / "clone"
        clone.mkdir()
        commits = CommitSearch(
            store, top, steps, clone, MOUNTER, ENVIRONMENT, test, run_command, watcher
        )
        return commits.run(good, bad)


def test_the_first_bad_commit_is_found(store: Store, top: Path) -> None:
    before = git(top, "status", "--porcelain"), git(top, "for-each-ref")
    refs = store.refs.list(DIRECTORIES)
    watcher = Watcher()
    answer = search(store, top, watcher)
    assert answer.candidates == (git(top, "rev-parse", "main~3"),)
    assert answer.subject == "change 8"
    assert answer.tested == len(watcher.verdicts) - watcher.verdicts.count("skip")
    assert answer.steps == len(watcher.ran_steps) <= 2 * len(watcher.tried)
    assert (git(top, "status", "--porcelain"), git(top, "for-each-ref")) == before
    assert store.refs.list(DIRECTORIES) == refs
    assert not (top / ".git/BISECT_START").exists()


def test_no_step_runs_twice_on_the_same_inputs(store: Store, top: Path) -> None:
    search(store, top, Watcher())
    again = Watcher()
    answer = search(store, top, again)
    assert answer.candidates == (git(top, "rev-parse", "main~3"),)
    assert (answer.steps, again.ran_steps) == (0, [])


def test_commits_that_cannot_be_built_are_skipped(store: Store, top: Path) -> None:
    watcher = Watcher()
    # the fault is in change 5, which cannot be built, or in change 6
    answer = search(store, top, watcher, script='grep -q "^# [0-4]$" "$1/program"')
    assert "skip" in watcher.verdicts
    assert {git(top, "rev-parse", f"main~{n}") for n in (5, 6)} == set(answer.candidates)


def test_a_run_without_the_files_that_git_ignores_is_not_reused(store: Store, top: Path) -> None:
    (top / ".gitignore").write_text("program\nmade\n.gitignore\n")
    for name, script in {"app:configure": CONFIGURE, "app:compile": COMPILE}.items():
        step = CommandStep.parse(name, build="now", gitignore=True)
        run_as(store, top, step, ["sh", "-c", script], ENVIRONMENT, lambda _chunk: None)
    answer = search(store, top, Watcher())
    assert answer.candidates == (git(top, "rev-parse", "main~3"),)


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("main", "main~11", "was given as good, but is bad"),
        ("main~11", "main~10", "was given as bad, but is good"),
        ("main~6", "main", "was given as good, but cannot be judged"),
        ("nothing", "main", "nothing is not a commit"),
        ("--all", "main", "--all is not a commit"),
    ],
)
def test_wrong_ends_are_refused(store: Store, top: Path, good: str, bad: str, said: str) -> None:
    with pytest.raises(ProvError, match=said):
        search(store, top, Watcher(), good, bad)


def test_hooks_and_filters_of_the_repository_do_not_run(
    store: Store, top: Path, tmp_path: Path
) -> None:
    for name in ("post-checkout", "reference-transaction"):
        hook = top / ".git/hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
        hook.chmod(0o755)
    (tmp_path / "ran").unlink(missing_ok=True)
    search(store, top, Watcher())
    assert not (tmp_path / "ran").exists()


def test_steps_outside_the_work_tree(store: Store, top: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    step = CommandStep.parse("app:other", build="now")
    run_as(store, other, step, ["true"], ENVIRONMENT, lambda _chunk: None)
    with pytest.raises(ProvError, match=r"app:other ran in .*, outside "):
        search(store, top, Watcher())


def test_a_folder_in_no_work_tree(tmp_path: Path) -> None:
    with pytest.raises(ProvError, match="not a git repository"):
        top_of(tmp_path)
    assert os.listdir(tmp_path) == []
