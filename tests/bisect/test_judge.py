"""The judge runs the command once per tree."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from prov.bisect.candidates import pair_in
from prov.bisect.judge import Judge
from prov.bisect.log import Log, Question
from prov.bisect.search import Verdict
from prov.errors import ProvError
from prov.records.build_list import BuildList
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from tests.bisect.lab import NAME, record


class Watcher:
    def __init__(self) -> None:
        self.verdicts: list[tuple[str, Verdict, bool]] = []

    def verdict(self, what: str, verdict: Verdict, *, flaky: bool) -> None:
        self.verdicts.append((what, verdict, flaky))


class Lab:
    """A good and a bad build, and a judge of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store = Store.create(folder / "store.git")
        self.builds = record(self.store, "good"), record(self.store, "bad")
        self.log = Log(folder / "bisect")
        self.watcher = Watcher()

    def judge(self, run: Callable[[Sequence[str]], int], *command: str, repeat: int = 1) -> Judge:
        good, bad = (build.commit.hex() for build in self.builds)
        self.log.begin(Question(good, bad, NAME, command or ("test.sh",), repeat))
        return Judge(self.store, self.log, self.folder, run, self.watcher)

    def pair(self, build: BuildList) -> Pair:
        pair = pair_in(self.store, NAME, build)
        assert pair is not None
        return pair


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def by_text(command: Sequence[str]) -> int:
    """Return the exit status of a command that is bad for the file's text `bad`."""
    return int(Path(command[-1], "file").read_text() == "bad")


def test_a_tree_is_judged_once(lab: Lab) -> None:
    judge = lab.judge(by_text)
    for _ in range(2):
        assert judge.judge(lab.pair(lab.builds[0]), "one") == "good"
        assert judge.judge(lab.pair(lab.builds[1]), "two") == "bad"
    assert lab.watcher.verdicts == [("one", "good", False), ("two", "bad", False)]
    assert judge.checkouts == 2
    assert list(lab.log.read().verdicts.values()) == ["good", "bad"]


def test_a_logged_verdict_is_reused(lab: Lab) -> None:
    lab.judge(by_text).judge(lab.pair(lab.builds[1]), "two")
    again = Judge(lab.store, lab.log, lab.folder, lambda _command: 0, lab.watcher)
    assert again.judge(lab.pair(lab.builds[1]), "two") == "bad"
    assert again.checkouts == 0


def test_the_directory_replaces_the_placeholder(lab: Lab) -> None:
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> int:
        commands.append(command)
        return 0

    lab.judge(run, "test.sh", "--root={}", "-v").judge(lab.pair(lab.builds[0]), "one")
    (command,) = commands
    assert command[0] == "test.sh"
    assert command[1].startswith(f"--root={lab.folder}")
    assert command[2:] == ["-v"]


@pytest.mark.parametrize(
    ("codes", "verdict", "flaky"),
    [([0, 0, 0], "good", False), ([0, 1], "bad", True), ([125, 0, 125], "good", True)],
)
def test_a_repeated_command(lab: Lab, codes: list[int], verdict: Verdict, flaky: bool) -> None:
    remaining = iter(codes)
    judge = lab.judge(lambda _command: next(remaining), repeat=3)
    assert judge.judge(lab.pair(lab.builds[1]), "two") == verdict
    assert judge.flaky is flaky
    assert next(remaining, None) is None


def test_a_command_that_is_never_found_is_an_error(lab: Lab) -> None:
    with pytest.raises(ProvError, match="for the good build too"):
        lab.judge(lambda _command: 127).judge(lab.pair(lab.builds[1]), "two")


def test_a_program_that_only_the_bad_build_lacks(lab: Lab) -> None:
    judge = lab.judge(lambda command: 127 * by_text(command))
    assert judge.judge(lab.pair(lab.builds[1]), "two") == "bad"
