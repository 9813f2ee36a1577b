"""A bisection over builds that cannot be built again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from prov.bisect.log import Log, Question
from prov.bisect.search import Verdict
from prov.bisect.session import Answer, Bisect
from prov.errors import ProvError
from prov.records.build_list import BuildList
from prov.replay.combination import Workshop
from prov.replay.scratch import open_scratch
from prov.scheduler.summary import Progress, RunOptions
from prov.store.repository import Store
from prov.sysroot.compose import sysroots_of
from prov.tasks.job import Result
from tests.bisect.lab import NAME, record


class Watcher:
    """Records the tries."""

    def __init__(self) -> None:
        self.tried: list[str] = []

    def trying(self, what: str, left: int) -> None:
        self.tried.append(what)

    def verdict(self, what: str, verdict: Verdict, *, flaky: bool) -> None: ...

    def progress(self) -> Progress:
        raise AssertionError("nothing is built")

    def failed(self, result: Result) -> None: ...

    def built(self) -> None: ...


def by_text(command: Sequence[str]) -> int:
    """Return the exit status of a command that is bad from 5 on and skips 99."""
    number = int(Path(command[-1], "file").read_text())
    return 125 if number == 99 else int(number >= 5)


@contextmanager
def bisection(
    folder: Path, numbers: Sequence[int | None]
) -> Iterator[tuple[Bisect, list[BuildList]]]:
    store = Store.create(folder / "store.git")
    builds = [record(store, None if number is None else str(number)) for number in numbers]
    log = Log(folder / "bisect")
    log.begin(Question(builds[0].commit.hex(), builds[-1].commit.hex(), NAME, ("test.sh",)))
    sysroots = sysroots_of(store, False)
    with open_scratch(store, lambda _: sysroots, None, search_path="") as scratch:
        options = RunOptions(jobs=1)
        shop = Workshop(store, sysroots, None, scratch.toolchains, scratch.folder, options)
        yield Bisect(store, log, shop, Watcher(), by_text), builds


@pytest.mark.parametrize(
    ("numbers", "good", "bad"),
    [
        ((1, 5), 0, 1),
        ((1, 2, 3, 5, 6, 7), 2, 3),
        ((1, None, 2, 5), 2, 3),
        ((1, 2, 99, 5, 6), 1, 3),
        ((1, 1, 5, 5), 1, 2),
    ],
)
def test_the_first_bad_build(
    tmp_path: Path, numbers: tuple[int | None, ...], good: int, bad: int
) -> None:
    with bisection(tmp_path, numbers) as (bisect, builds):
        answer: Answer = bisect.run()
    assert (answer.good, answer.bad) == (builds[good].commit, builds[bad].commit)
    assert answer.between == bad - good - 1
    assert not answer.flaky


@pytest.mark.parametrize("numbers", [(5, 6), (1, 2)])
def test_a_command_that_contradicts_the_question(tmp_path: Path, numbers: tuple[int, int]) -> None:
    with (
        bisection(tmp_path, numbers) as (bisect, _builds),
        pytest.raises(ProvError, match="but it was given as"),
    ):
        bisect.run()


def test_a_bisection_resumes_from_its_log(tmp_path: Path) -> None:
    with bisection(tmp_path, range(9)) as (bisect, _builds):
        first = bisect.run()
        again = Bisect(bisect.store, bisect.log, bisect.workshop, Watcher(), lambda _command: 255)
        answer = again.run()
    assert (answer.good, answer.bad) == (first.good, first.bad)
    assert first.tried > 0
    assert answer.tried == 0
