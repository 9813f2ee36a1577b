"""Simultaneous and killed publishers: everything published is complete and exists once."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Sequence

import pytest

from prov.remote import publish as publishing
from prov.remote.git_remote import GitRemote
from prov.remote.publication import Published
from prov.remote.settings import read_remotes
from prov.sharing.pushing import push
from prov.sharing.results import recorded_results
from prov.store.repository import Store
from prov.transport.access import Access
from tests.commands import PROV
from tests.remote.conftest import Machines
from tests.remote.story import TASKS, Cache, Machine, git, until

pytestmark = pytest.mark.process

KILLS = 10


def start_push(machine: Machine, *arguments: str) -> subprocess.Popen[str]:
    command = [PROV, "push", *arguments]
    environment = {**os.environ, **machine.environment}
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    return subprocess.Popen(
        command,
        cwd=machine.root,
        env=environment,
        stdin=null,
        stdout=null,
        stderr=pipe,
        text=True,
        start_new_session=True,
    )


def ended_well(pushes: Sequence[subprocess.Popen[str]]) -> None:
    said = [push.communicate()[1] for push in pushes]
    assert said == [""] * len(pushes)
    assert [push.returncode for push in pushes] == [0] * len(pushes)


def is_whole(cache: Cache) -> None:
    """Assert that everything visible is complete."""
    records = (
        [line.split(" ")[5] for line in cache.published()]
        if "refs/heads/prov/index" in cache.refs()
        else []
    )
    if records:
        held = git(cache.path, "log", "--format=%T", "prov/content").split()
        assert set(records) <= set(held)
    git(cache.path, "fsck", "--strict", "--connectivity-only")


@pytest.mark.parametrize("number", [2, 8])
def test_machines_that_publish_at_once(
    number: int, folder_cache: Cache, machines: Machines
) -> None:
    """Each machine has its own results; two have the same ones."""
    all_of_them = [machines(f"m{each}", folder_cache, built=True) for each in range(number)]
    for each, machine in enumerate(all_of_them):
        machine.change(f"by {max(1, each)}")
        machine.prov("build", "words:take")
    pushes = [start_push(machine, "--all") for machine in all_of_them]
    ended_well(pushes)
    assert sorted(folder_cache.keys()) == sorted((*TASKS, *["words:take"] * (number - 1)))
    is_whole(folder_cache)
    folder_cache.is_clean()
    last = machines("last", folder_cache)
    assert last.build() == "1 fetched"
    for machine in all_of_them:
        machine.is_clean()


def test_processes_of_one_store_that_publish_at_once(
    folder_cache: Cache, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Results that another process published after the index was read are not published again."""
    one = machines("one", folder_cache, built=True)
    looked, real = [], publishing._new

    def interrupted(
        remote: GitRemote, offered: Sequence[Published], outcome: publishing.PushOutcome
    ) -> list[Published]:
        found = real(remote, offered, outcome)
        looked.append(len(found))
        if len(looked) == 2:  # the results to announce are fixed now
            one.prov("push")
        return found

    monkeypatch.setattr(publishing, "_new", interrupted)
    store = Store.open(one.root / ".prov")
    [remote] = read_remotes(store)
    outcome = push(store, remote, Access(os.environ), recorded_results(store))
    assert looked[:2] == [len(TASKS)] * 2 and looked[-1] == 0
    assert outcome.published == []
    assert sorted(folder_cache.keys()) == sorted(TASKS)
    is_whole(folder_cache)


def test_machines_that_publish_at_once_over_http(http_cache: Cache, machines: Machines) -> None:
    one, other = machines("one", http_cache, built=True), machines("other", http_cache, built=True)
    other.change("of the other")
    other.build()
    pushes = [start_push(machine) for machine in (one, other)]
    ended_well(pushes)
    assert sorted(http_cache.keys()) == sorted(TASKS * 2)
    http_cache.is_clean()


def ended(group: int) -> None:
    """Wait until no process of a group runs: git continues when only prov is killed."""

    def is_empty() -> bool:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        return False

    until(is_empty, "git has ended")


def test_pushes_that_are_killed(folder_cache: Cache, machines: Machines) -> None:
    """At any moment, with git or without it: the sent results are visible or not, and the next push
    publishes the rest.
    """
    chance = random.Random(11)
    one = machines("one", folder_cache, built=True)
    begun = time.monotonic()
    ended_well([start_push(one)])
    whole = time.monotonic() - begun
    seen: set[int] = set()
    for _ in range(KILLS):
        for lock in folder_cache.path.rglob("*.lock"):  # of the previous round
            lock.unlink()
        for ref in folder_cache.refs():
            folder_cache.git("update-ref", "-d", ref)
        push = start_push(one)
        time.sleep(chance.uniform(0.3, 1.1) * whole)
        if chance.random() < 0.5:
            os.killpg(push.pid, signal.SIGKILL)
        else:
            push.kill()
        push.communicate()
        ended(push.pid)
        for lock in folder_cache.path.rglob("*.lock"):  # make it stale
            os.utime(lock, (time.time() - 3600,) * 2)
        is_whole(folder_cache)
        seen.add(len(folder_cache.refs()))
        assert one.ask("push").startswith("team: ")
        is_whole(folder_cache)
        assert sorted(folder_cache.keys()) == sorted(TASKS)
    assert len(seen) > 1
    other = machines("other", folder_cache)
    assert other.build() == "1 fetched"
    one.is_clean()


def test_content_of_an_interrupted_push_is_deleted_after_a_day(
    folder_cache: Cache, machines: Machines
) -> None:
    one = machines("one", folder_cache, built=True)
    one.prov("push")
    now = int(time.time())
    content = folder_cache.git("rev-parse", "prov/content").strip()
    old, young = (f"refs/heads/prov/incoming/{now - age}-abcdef" for age in (2 * 86400, 3600))
    for ref in (old, young, "refs/heads/prov/incoming/what", "refs/heads/main"):
        folder_cache.git("update-ref", ref, content)
    one.change("new")
    one.build()
    one.prov("push")
    assert folder_cache.refs() == {
        "refs/heads/main",
        "refs/heads/prov/content",
        "refs/heads/prov/incoming/what",
        "refs/heads/prov/index",
        young,
    }
