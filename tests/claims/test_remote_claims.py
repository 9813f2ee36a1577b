"""Builds on several machines that share a remote run each task once."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from prov.claims.remote_claims import LONGEST, SECONDS, SHORTEST, Claim, Claims
from prov.remote.git_remote import GitRemote
from prov.remote.settings import read_remotes
from prov.store.repository import Store
from prov.transport.access import Access
from prov.transport.errors import Declined
from prov.transport.git import make_scratch
from tests.commands import PROV
from tests.remote.conftest import Machines
from tests.remote.story import Cache, Machine, until

pytestmark = pytest.mark.process

ONE, TWO = b"\1" * 20, b"\2" * 20
SLOW = """
version = "1"
build = ["go"]
[tasks.go]
outputdir = "out"
script = '''
echo ran >> {log}
while [ ! -e {gate} ]; do sleep 0.05; done
{script}
'''
"""


class Place:
    """A cache that several machines use for claims, and recipes that wait for a file."""

    def __init__(self, folder: Path, cache: Cache, machines: Machines) -> None:
        self.folder, self.cache, self._machines = folder, cache, machines

    def machine(self, name: str, *options: str) -> Machine:
        machine = self._machines(name, self.cache, "--claims", *(options or ("--push",)))
        for recipe in ("slow", "other"):
            script = "echo result > out/file"
            self.write(machine, recipe, script)
        return machine

    def write(self, machine: Machine, recipe: str, script: str) -> None:
        text = SLOW.format(
            log=self.folder / f"{recipe}-log", gate=self.folder / f"{recipe}-gate", script=script
        )
        machine.write(f"recipes/{recipe}.toml", text)

    def runs(self, recipe: str) -> int:
        log = self.folder / f"{recipe}-log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    def open(self, recipe: str) -> None:
        (self.folder / f"{recipe}-gate").touch()

    def claims(self) -> set[str]:
        return {ref for ref in self.cache.refs() if "/claims/" in ref}

    @contextmanager
    def build(self, machine: Machine, *recipes: str) -> Iterator[subprocess.Popen[str]]:
        """Start a build."""
        with subprocess.Popen(
            [PROV, "build", *recipes, "--sandbox", "none", "-j", "2"],
            cwd=machine.root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        ) as process:
            try:
                yield process
            finally:
                if process.poll() is None:  # an assertion has failed
                    os.killpg(process.pid, signal.SIGKILL)


@pytest.fixture
def place(tmp_path: Path, folder_cache: Cache, machines: Machines) -> Place:
    return Place(tmp_path, folder_cache, machines)


def test_one_build_runs_what_both_need(place: Place) -> None:
    one, other = place.machine("one"), place.machine("other")
    with place.build(one, "slow") as first:
        until(lambda: place.runs("slow") == 1, "the first build runs the task")
        with place.build(other, "slow", "other") as second:
            until(lambda: place.runs("other") == 1, "the second build runs something else")
            place.open("other")
            place.open("slow")
            printed, said = second.communicate()
        assert (first.wait(), second.returncode) == (0, 0)
    assert "note: slow:go: waiting for the build on " in said
    assert "1 ran, 1 fetched" in printed
    assert (place.runs("slow"), place.runs("other")) == (1, 1)
    until(lambda: not place.claims(), "the claims are released")
    place.cache.is_clean()
    other.is_clean()


def test_the_next_build_runs_what_failed(place: Place) -> None:
    one, other = place.machine("one"), place.machine("other")
    for machine in (one, other):
        place.write(machine, "slow", "exit 1")
    with place.build(one, "slow") as first:
        until(lambda: place.runs("slow") == 1, "the first build runs the task")
        with place.build(other, "slow") as second:
            until(lambda: "waiting for" in next(iter(second.stderr or ())), "it waits")
            place.open("slow")
            assert (first.wait(), second.wait()) == (1, 1)
    assert place.runs("slow") == 2


def test_the_next_build_runs_what_a_killed_build_left(place: Place) -> None:
    one, other = place.machine("one"), place.machine("other")
    with place.build(one, "slow") as first:
        until(lambda: place.runs("slow") == 1, "the first build runs the task")
        with place.build(other, "slow") as second:
            until(lambda: "waiting for" in next(iter(second.stderr or ())), "it waits")
            os.killpg(first.pid, signal.SIGKILL)
            until(lambda: place.runs("slow") == 2, "the second build runs the task")
            place.open("slow")
            assert "1 ran" in second.communicate()[0]
    until(lambda: not place.claims(), "the claims are released")


def test_an_interrupt_ends_a_wait(place: Place) -> None:
    one, other = place.machine("one"), place.machine("other")
    with place.build(one, "slow") as first:
        until(lambda: place.runs("slow") == 1, "the first build runs the task")
        with place.build(other, "slow") as second:
            until(lambda: "waiting for" in next(iter(second.stderr or ())), "it waits")
            second.send_signal(signal.SIGINT)
            assert second.wait() == 130
        place.open("slow")
        assert first.wait() == 0
    assert place.runs("slow") == 1


def test_a_build_that_does_not_publish_waits_too(place: Place) -> None:
    one, other = place.machine("one"), place.machine("other", "--priority", "1")
    with place.build(one, "slow") as first:
        until(lambda: place.runs("slow") == 1, "the first build runs the task")
        with place.build(other, "slow", "other") as second:
            until(lambda: place.runs("other") == 1, "the second build runs something else")
            assert len(place.claims()) == 1
            place.open("other")
            place.open("slow")
            assert "1 ran, 1 fetched" in second.communicate()[0]
        assert first.wait() == 0


@pytest.fixture
def remotes(tmp_path: Path, folder_cache: Cache, machines: Machines) -> Iterator[list[GitRemote]]:
    """The same remote in two stores."""
    found = []
    for name in ("one", "other"):
        machine = machines(name, folder_cache, "--push")
        store = Store.open(machine.root / ".prov")
        found.append(GitRemote(read_remotes(store)[0], store, Access(dict(os.environ))))
    yield found


@pytest.fixture
def two(remotes: list[GitRemote], tmp_path: Path) -> list[Claims]:
    scratches = [make_scratch(tmp_path / f"scratch-{number}") for number in range(2)]
    return [Claims(*both, "a host") for both in zip(remotes, scratches, strict=True)]


def test_claims_are_compared_and_swapped(two: list[Claims]) -> None:
    one, other = two
    taken = one.take({ONE: None})
    assert other.take({ONE: None, TWO: None}).keys() == {TWO}
    claim = other.read()[ONE]
    assert (claim.commit, claim.holder, claim.seconds) == (taken[ONE], "a host", SECONDS)
    renewed = one.take(taken)
    assert other.take({ONE: taken[ONE]}) == {}
    other.read()
    assert other.take({ONE: renewed[ONE]}).keys() == {ONE}
    one.release(renewed)
    assert one.read().keys() == {ONE, TWO}
    other.release({task_hash: claim.commit for task_hash, claim in other.read().items()})
    assert one.read() == {}


def test_claims_of_others_are_read_with_care(two: list[Claims], folder_cache: Cache) -> None:
    tree = folder_cache.git("mktree").strip()
    texts = {
        "holder \x1b[31mred\nseconds 1\n": Claim(b"", "\\x1b[31mred", SHORTEST),
        "holder a\nseconds 999999\n": Claim(b"", "a", LONGEST),
        "holder \nseconds 9\n": Claim(b""),
        f"holder {'x' * 200}\nseconds 9\n": Claim(b""),
        "seconds 9\n": Claim(b""),
        "holder a\nseconds \u0663\n": Claim(b""),
    }
    for number, text in enumerate(texts):
        by = ("-c", "user.name=a", "-c", "user.email=a@b")
        commit = folder_cache.git(*by, "commit-tree", tree, data=text).strip()
        ref = f"refs/heads/prov/claims/{number:040x}"
        folder_cache.git("update-ref", ref, commit)
    folder_cache.git("update-ref", "refs/heads/prov/claims/none", commit)
    found = two[0].read()
    expected = list(texts.values())
    assert len(found) == len(expected)
    for number, claim in enumerate(expected):
        read = found[number.to_bytes(20)]
        assert (read.holder, read.seconds) == (claim.holder, claim.seconds)


@pytest.mark.parametrize("setting", ["receive.denyNonFastForwards", "receive.denyDeletes"])
def test_a_server_with_rules(two: list[Claims], folder_cache: Cache, setting: str) -> None:
    one, other = two
    folder_cache.git("config", setting, "true")
    taken = one.take({ONE: None})
    seen = other.read()[ONE].commit
    renewed = other.take({ONE: seen})
    assert taken == {ONE: seen}
    assert renewed.keys() == {ONE}
    if setting == "receive.denyDeletes":
        with pytest.raises(Declined, match="denyDeletes"):
            other.release(renewed)
    else:
        other.release(renewed)


def test_several_builds_run_each_task_once(place: Place, tmp_path: Path) -> None:
    """`CLAIMS_BUILDS=10` starts ten of them."""
    count, names = int(os.environ.get("CLAIMS_BUILDS", "3")), [f"t{number}" for number in range(8)]
    machines = [place.machine(f"m{number}") for number in range(count)]
    for machine in machines:
        for name in names:
            script = f"echo ran >> {tmp_path}/{name}-log; sleep 0.2; echo {name} > out/file"
            machine.one(name, script)
    with contextlib.ExitStack() as running:
        builds = [running.enter_context(place.build(machine, *names)) for machine in machines]
        printed = [build.communicate()[0] for build in builds]
    assert [place.runs(name) for name in names] == [1] * len(names)
    assert all("fetched" in text or "8 ran" in text for text in printed)
    until(lambda: not place.claims(), "the claims are released")
    place.cache.is_clean()
