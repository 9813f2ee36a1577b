"""Bisect a git history: repeat recorded steps on the commits that git bisect chooses.

A clone in a scratch folder is bisected, so the user's repository and its state stay unchanged. Each
commit gets a clean work tree, in which the steps of a recorded build run at the recorded path.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from prov.bisect.command import verdict_of
from prov.bisect.search import Verdict
from prov.errors import ProvError
from prov.records.keys import TaskKey
from prov.replay.mounted import mounts
from prov.store.git import call_git, error_text, git_program
from prov.store.repository import Store
from prov.text import one_line
from prov.wrapped.steps import RecordedStep, Repeater

PLACE = "{}"
"""Placeholder for the directory in a test; without it, the directory is the last argument."""
_FIRST_BAD = re.compile(rb"^([0-9a-f]{40}) is the first bad commit$", re.MULTILINE)
_ONLY_SKIPPED = b"There are only 'skip'ped commits left to test."
_ID = re.compile(rb"^[0-9a-f]{40}$", re.MULTILINE)
_SAFE = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "advice.detachedHead=false")
"""Settings with which git runs no program of the repository."""


class CommitWatcher(Protocol):
    """Receives the progress of a bisection."""

    def trying(self, commit: str, subject: str) -> None: ...

    def ran(self, key: TaskKey, code: int) -> None: ...

    def verdict(self, what: str, verdict: Verdict, *, flaky: bool) -> None: ...


@dataclass(frozen=True, slots=True)
class CommitAnswer:
    """The result of a bisection."""

    candidates: tuple[str, ...]
    """The first bad commit in hex; several if commits among them could not be judged."""
    subject: str
    """The subject of the first bad commit; empty if there are several candidates."""
    tested: int
    """Number of commits for which the test ran."""
    steps: int
    """Number of steps that ran; the others had the inputs of recorded runs."""


def top_of(folder: Path) -> Path:
    """Return the top folder of the git work tree with a folder. Raises ProvError if it has none."""
    done = call_git([*_git(folder), "rev-parse", "--show-toplevel"])
    if done.returncode != 0:
        raise ProvError(
            f"cannot use {folder} as a git work tree: {one_line(error_text(done))}",
            hint="run the command in a clone of the project",
        )
    return Path(os.fsdecode(done.stdout.rstrip(b"\n")))


def _git(folder: Path) -> list[str]:
    settings = [word for setting in _SAFE for word in ("-c", setting)]
    return [git_program(), "-C", str(folder), *settings]


@dataclass(slots=True)
class CommitSearch:
    """One bisection of a git history."""

    store: Store
    top: Path
    """The work tree whose history is searched."""
    steps: Sequence[RecordedStep]
    folder: Path
    """An existing empty folder for the clone."""
    mounter: str | None
    """The path of bubblewrap; without it, the steps run in the clone at its own path."""
    environment: Mapping[str, str]
    """The user's variables for commands."""
    test: Sequence[str]
    run_test: Callable[[Sequence[str]], int]
    """Runs a test and returns its exit status."""
    watcher: CommitWatcher
    _tested: int = field(default=0, init=False)
    _ran: int = field(default=0, init=False)

    def run(self, good: str, bad: str) -> CommitAnswer:
        """Bisect the history between two commits, given by any name that git resolves.

        Raises ProvError for an unknown commit, and if one of them has the opposite verdict.
        """
        ends: list[tuple[str, Verdict]] = [
            (self._commit(good), "good"),
            (self._commit(bad), "bad"),
        ]
        try:
            self._clone()
            for commit, given in ends:
                self._in_clone("checkout", "--quiet", "--detach", commit)
                self._check_end(commit, given)
            return self._search(ends[0][0], ends[1][0])
        finally:
            self._repeater("").forget(self.steps)

    def _commit(self, name: str) -> str:
        done = call_git(
            [
                *_git(self.top),
                "rev-parse",
                "--verify",
                "--quiet",
                "--end-of-options",
                f"{name}^{{commit}}",
            ]
        )
        if done.returncode != 0:
            raise ProvError(
                f"{name} is not a commit in {self.top}", hint="run `git log` to list commits"
            )
        return done.stdout.decode().strip()

    def _clone(self) -> None:
        done = call_git(
            [
                *(git_program(), "-c", "protocol.file.allow=always", "clone", "--quiet", "--local"),
                *("--no-checkout", "--template=", str(self.top), str(self.folder)),
            ],
            variables={"GIT_ALLOW_PROTOCOL": "file"},
        )
        if done.returncode != 0:
            raise ProvError(f"cannot clone {self.top}: {error_text(done)}")

    def _in_clone(self, *words: str) -> bytes:
        """Run git in the clone; return its output. Raises ProvError if it fails."""
        done = call_git([*_git(self.folder), *words])
        if done.returncode != 0:
            raise ProvError(f"git {' '.join(words)} failed: {error_text(done)}")
        return done.stdout

    def _search(self, good: str, bad: str) -> CommitAnswer:
        self._in_clone("bisect", "start", bad, good)
        while True:
            commit = self._in_clone("rev-parse", "HEAD").decode().strip()
            verdict = self._judge(commit)
            self._clean()
            done = call_git([*_git(self.folder), "bisect", verdict])
            answer = self._answer_in(done.stdout)
            if answer is not None:
                return answer
            if done.returncode != 0:
                raise ProvError(f"git bisect {verdict} failed: {error_text(done)}")

    def _answer_in(self, text: bytes) -> CommitAnswer | None:
        """Return the answer in the output of git bisect, None if there is none yet."""
        found = _FIRST_BAD.search(text)
        candidates: list[bytes] = [found[1]] if found else []
        if _ONLY_SKIPPED in text:
            candidates = _ID.findall(text)
        if not candidates:
            return None
        commits = tuple(oid.decode() for oid in candidates)
        subject = self._subject(commits[0]) if len(commits) == 1 else ""
        return CommitAnswer(commits, subject, self._tested, self._ran)

    def _subject(self, commit: str) -> str:
        text = self._in_clone("show", "--no-patch", "--format=%s", commit)
        return text.decode("utf-8", "replace").strip()

    def _clean(self) -> None:
        """Remove what the steps left in the clone."""
        self._in_clone("reset", "--quiet", "--hard")
        self._in_clone("clean", "--quiet", "-ffdx")

    def _check_end(self, commit: str, given: Verdict) -> None:
        verdict = self._judge(commit)
        self._clean()
        if verdict != given:
            text = "cannot be judged" if verdict == "skip" else f"is {verdict}"
            raise ProvError(
                f"commit {commit[:12]} was given as {given}, but {text}",
                hint="use different commits, or check the steps and the test",
            )

    def _judge(self, commit: str) -> Verdict:
        """Build the commit in the work tree, and run the test."""
        self.watcher.trying(commit, self._subject(commit))
        verdict: Verdict = "skip"
        if self._repeater(commit).repeat(self.steps, self._count):
            self._tested += 1
            words = [word.replace(PLACE, str(self.folder)) for word in self.test]
            if words == list(self.test):
                words.append(str(self.folder))
            verdict = verdict_of(self.run_test(words))
        self.watcher.verdict(f"commit {commit[:12]}", verdict, flaky=False)
        return verdict

    def _count(self, key: TaskKey, code: int) -> None:
        self._ran += 1
        self.watcher.ran(key, code)

    def _repeater(self, commit: str) -> Repeater:
        facts = {"workdir": str(self.top), "git-commit": commit}
        return Repeater(self.store, self.folder, self._enter, self.environment, facts)

    def _enter(self, command: Sequence[str], folder: Path) -> Sequence[str]:
        if self.mounter is None:
            return command
        inside = str(self.top / folder)
        return [self.mounter, *mounts(self.folder, str(self.top)), "--chdir", inside, *command]
