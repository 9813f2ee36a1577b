"""Builds publish in the background without waiting, and results that could not be published are not
lost.
"""

from __future__ import annotations

import os
import socket
import time
from functools import partial

import pytest

from prov.recipes.project import Project
from prov.scheduler.session import Request, Session
from prov.scheduler.summary import RunOptions
from prov.store.repository import Store
from prov.sysroot.compose import sysroots_of
from prov.transport.access import Access
from tests.history.tiny import Watcher
from tests.remote.conftest import Machines
from tests.remote.story import TASKS, Cache, Machine, until

pytestmark = pytest.mark.process


def published(cache: Cache) -> bool:
    return "refs/heads/prov/index" in cache.refs() and sorted(cache.keys()) == sorted(TASKS)


def last_push(machine: Machine) -> str:
    return (machine.root / ".prov/prov/remotes/team/last-push").read_text()


def test_a_build_publishes_its_results(folder_cache: Cache, machines: Machines) -> None:
    one, other = machines("one", folder_cache, "--push"), machines("other", folder_cache)
    assert one.build() == "5 ran"
    until(lambda: published(folder_cache), "the results are published")
    until(lambda: last_push(one) == "ok 5\n", "the push is over")
    assert other.build() == "1 fetched"
    assert one.ask("push") == "team: 0 results published in 0 pushes; 5 already there\n"
    folder_cache.is_clean()


def test_a_build_does_not_wait_for_a_slow_remote(daemon_cache: Cache, machines: Machines) -> None:
    """The build ends before anything is published; the results appear once the line is faster."""
    one = machines("one", daemon_cache, "--push")
    assert daemon_cache.line is not None
    one.build()
    until(lambda: published(daemon_cache), "the results are published")
    until(lambda: last_push(one).startswith("ok"), "the push is over")
    before = daemon_cache.refs(), daemon_cache.keys()
    one.edit("recipes/app/app.toml", 'version = "1"', 'version = "2"')
    one.edit("recipes/app/app.toml", "cp -r image/* app/", "cp -r image/* app/; ls app")
    daemon_cache.line.delay = 0.4  # a dozen chunks are sent in both directions
    assert one.build() == "1 ran, 1 restored"
    assert (daemon_cache.refs(), daemon_cache.keys()) == before
    daemon_cache.line.delay = 0.0
    until(lambda: len(daemon_cache.keys()) > 5, "the results are published")
    until(lambda: last_push(one).startswith("ok"), "the push is over")
    daemon_cache.is_clean()


def test_a_remote_that_is_down(daemon_cache: Cache, machines: Machines) -> None:
    one = machines("one", daemon_cache, "--push")
    assert daemon_cache.server is not None
    daemon_cache.server.stop()
    assert one.build() == "5 ran"
    assert one.said.count("remote team") == 1
    assert "continuing without it" in one.said
    until(lambda: last_push(one).startswith("failed"), "the push has failed")
    assert "the last push failed: remote team" in one.ask("remote", "list")
    assert one.json("remote", "list")["remotes"][0]["problem"].startswith("remote team: fatal")

    daemon_cache.server.start()
    one.change("later")
    assert one.build() == "5 ran"
    assert "the last push to team failed: remote team: fatal" in one.said
    until(lambda: last_push(one) == "ok 5\n", "the results are published")
    assert one.ask("push", "--all") == "team: 5 results published in 1 push; 5 already there\n"
    assert one.build() == "nothing to do"
    assert "the last push" not in one.said
    assert one.json("remote", "list")["remotes"][0]["problem"] == ""
    one.is_clean()
    daemon_cache.is_clean()


def test_a_remote_that_hangs(machines: Machines) -> None:
    """A remote that accepts connections and sends nothing times out; the timeout is short here."""
    one = machines("one")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        one.add("team", f"git://127.0.0.1:{deaf.getsockname()[1]}/cache.git", "--push")
        store = Store.open(one.root / ".prov")
        session = Session(
            Project.load(one.root), store, partial(sysroots_of, store), {"PATH": os.environ["PATH"]}
        )
        session.caches.access = Access(dict(os.environ), patience=0.5)
        begun, notes = time.monotonic(), Notes()
        summary, _ = session.build(Request(("app",)), notes, RunOptions(jobs=2))
        took = time.monotonic() - begun
        assert (summary.ok, summary.count("ran")) == (True, 5)
        (said,) = [note for note in notes.notes if "remote team" in note]
        assert "no data for" in said
        until(lambda: last_push(one).startswith("failed"), "the push has failed")
    assert took < 20
    one.is_clean()


class Notes(Watcher):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_a_failed_build_publishes_its_results(folder_cache: Cache, machines: Machines) -> None:
    one = machines("one", folder_cache, "--push")
    one.edit("recipes/app/app.toml", "cp sources/main image/main", "exit 7")
    one.build(code=1)
    until(lambda: last_push(one) == "ok 3\n", "what was made is published")
    assert sorted(folder_cache.keys()) == ["words:make", "words:stage", "words:take"]
    folder_cache.is_clean()


def test_stale_and_incremental_results_are_not_published(
    folder_cache: Cache, machines: Machines
) -> None:
    one = machines("one", folder_cache, "--push", built=True)
    one.change("newer")
    one.prov("build", "words")
    assert one.build("--follow", "never") == "1 stale"
    one.edit(
        "recipes/app/app.toml", "cp sources/main image/main", "cp sources/main image/main; ls image"
    )
    one.build("--incremental")
    one.prov("push", "--all")
    assert sorted(folder_cache.keys()) == sorted((*TASKS, *TASKS[:3]))
    folder_cache.is_clean()
