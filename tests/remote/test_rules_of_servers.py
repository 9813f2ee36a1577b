"""Servers that forbid something: prov reports it immediately, and the allowed operations work."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

import pytest

from prov.remote.git_remote import GitRemote
from prov.remote.incoming import Incoming, make_commit
from prov.remote.settings import Remote
from prov.store.git import make_bare, run_git
from prov.store.repository import Store
from prov.transport.access import Access
from tests.remote.conftest import Machines, kinds, make_cache
from tests.remote.story import Cache, Machine, until

pytestmark = pytest.mark.process

AT_ONCE = 45.0
"""Maximum seconds until a declined push is reported, also on a busy machine; retries after a lost
race take longer.
"""
LEFT = "refs/heads/prov/incoming/"
HINT = "  hint: run `git config receive.denyNonFastForwards false` in that repository"


def forbid(cache: Cache, *settings: str) -> None:
    for setting in settings:
        cache.git("config", setting, "true")


def hook(cache: Cache, name: str, script: str) -> None:
    path = cache.path / "hooks" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def grown(machines: Machines, cache: Cache, *, states: int = 3) -> Machine:
    """Return a machine that has published several states of the project."""
    one = machines("one", cache, "--push", built=True)
    one.prov("push")
    for number in range(1, states):
        one.change(f"state {number}")
        one.build("--offline")
        one.prov("push")
    return one


def left(cache: Cache) -> set[str]:
    return {ref for ref in cache.refs() if ref.startswith(LEFT)}


@pytest.mark.parametrize("kind", kinds("folder", "daemon", "ssh", "http"))
def test_refs_that_must_not_be_rewound(
    kind: str, request: pytest.FixtureRequest, machines: Machines, tmp_path: Path
) -> None:
    """As with `git init --shared`: pushes append results, but nothing can be removed."""
    cache = make_cache(request, tmp_path, kind)
    one = machines("one", cache, "--push", built=True)
    forbid(cache, "receive.denyNonFastForwards")
    one.prov("push")
    one.change("second")
    one.build("--offline")
    one.prov("push")
    before = cache.git("rev-parse", "prov/index", "prov/content")
    begun = time.monotonic()
    said = one.prov("remote", "gc", "team", "--days", "0", "--builds", "0", code=1).stderr
    assert time.monotonic() - begun < AT_ONCE
    assert "nothing was removed; 5 results to remove remain there" in said
    assert "receive.denyNonFastForwards is set there" in said
    assert HINT in said.splitlines()
    assert cache.git("rev-parse", "prov/index", "prov/content") == before
    cache.is_clean()


def test_a_secret_that_a_server_keeps_is_reported(folder_cache: Cache, machines: Machines) -> None:
    one = machines("one", folder_cache, "--push")
    forbid(folder_cache, "receive.denyNonFastForwards")
    one.write("recipes/words/words/08", "hunter2-is-the-password\n")
    one.build("--offline")
    one.prov("push")
    begun = time.monotonic()
    done = one.prov("forget", "--containing", "hunter2-is-the-password", code=1)
    assert time.monotonic() - begun < AT_ONCE
    assert "remains: team" in done.stdout
    assert "receive.denyNonFastForwards" in done.stdout
    folder_cache.is_clean()


def test_refs_that_must_not_be_deleted(folder_cache: Cache, machines: Machines) -> None:
    """Only the first push reports it; the remaining branch is emptied and reused."""
    one = machines("one", folder_cache, "--push", built=True)
    forbid(folder_cache, "receive.denyDeletes")
    notes = [one.prov("push").stderr]
    for number in range(3):
        one.change(f"state {number}")
        one.build("--offline")
        notes.append(one.prov("push").stderr)
    assert "receive.denyDeletes" in notes[0]
    assert "later pushes add none" in notes[0]
    assert [note for note in notes[1:] if note] == []
    names = left(folder_cache)
    assert len(names) <= 2
    empty = {folder_cache.git("log", "--format=%s%P", "-1", ref).strip() for ref in names}
    assert empty == {"emptied"}
    # a second store, which is new to the server, reports it too
    other = machines("other", folder_cache, "--push")
    other.change("of another")
    other.build("--offline")
    assert "receive.denyDeletes" in other.prov("push").stderr
    assert left(folder_cache) <= names | {f"{name}-last" for name in names}
    assert one.ask("remote", "gc", "team", "--days", "0", "--builds", "0").startswith(
        "20 results deleted"
    )
    assert len(left(folder_cache)) <= 2
    folder_cache.git("fsck", "--strict")
    assert (
        machines("last", folder_cache)
        .prov("remote", "list", "--refresh")
        .stdout.endswith("  5 results\n")
    )


def test_refs_that_must_not_be_rewound_or_deleted(folder_cache: Cache, machines: Machines) -> None:
    """Content is pushed directly to its branch."""
    forbid_all = ("receive.denyDeletes", "receive.denyNonFastForwards")
    one = machines("one", folder_cache, "--push", built=True)
    forbid(folder_cache, *forbid_all)
    one.prov("push")
    names = left(folder_cache)
    for number in range(2):
        one.change(f"state {number}")
        one.build("--offline")
        one.prov("push")
    assert left(folder_cache) == names
    assert len(folder_cache.keys()) == 15
    for _ in range(2):
        said = one.complaint("remote", "gc", "team", "--days", "0", "--builds", "0")
        assert "receive.denyNonFastForwards" in said
    assert left(folder_cache) <= names | {f"{name}-last" for name in names}
    other = machines("other", folder_cache)
    other.change("state 1")
    assert other.build() == "1 fetched"
    folder_cache.git("fsck", "--strict")
    for setting in forbid_all:
        folder_cache.git("config", setting, "false")
    memory = next((one.root / ".prov/prov/remotes/team").glob("*/incoming"))
    os.utime(memory, (1, 1))
    one.change("allowed")
    one.build("--offline")
    one.prov("push")
    folder_cache.is_clean()


@pytest.mark.parametrize("setting", ["transfer.hideRefs", "receive.hideRefs"])
def test_hidden_branches(setting: str, folder_cache: Cache, machines: Machines) -> None:
    one = machines("one", folder_cache, "--push", built=True)
    folder_cache.git("config", setting, "refs/heads/prov/incoming")
    assert one.ask("push").startswith("team: 5 results published")
    folder_cache.is_clean()
    folder_cache.git("config", setting, "refs/heads/prov")
    one.change("second")
    one.build("--offline")
    begun = time.monotonic()
    said = one.complaint("push")
    assert time.monotonic() - begun < AT_ONCE
    assert "nothing was published" in said
    assert "hideRefs" in said


@pytest.mark.parametrize("name", ["pre-receive", "update", "reference-transaction"])
def test_hooks_that_decline(
    name: str, request: pytest.FixtureRequest, machines: Machines, tmp_path: Path
) -> None:
    """Regardless of their output, including the message of a race."""
    cache = make_cache(request, tmp_path, "ssh")
    one = machines("one", cache, "--push", built=True)
    hook(cache, name, "echo 'policy 7: is at 1 but expected 2' >&2; exit 1")
    begun = time.monotonic()
    said = one.complaint("push")
    assert time.monotonic() - begun < AT_ONCE
    assert "nothing was published: the server declined the push" in said
    assert "hook" in said
    assert cache.refs() == set()


def test_a_hook_that_declines_the_index_leaves_no_branch_behind(
    daemon_cache: Cache, machines: Machines
) -> None:
    one = machines("one", daemon_cache, "--push", built=True)
    hook(daemon_cache, "update", "test $1 != refs/heads/prov/index")
    for _ in range(2):
        assert "refs/heads/prov/index: hook declined" in one.complaint("push")
    assert daemon_cache.refs() == set()
    (daemon_cache.path / "hooks/update").unlink()
    one.prov("push")
    daemon_cache.is_clean()


def test_refs_show_whether_a_push_without_a_reason_lost_a_race(
    daemon_cache: Cache, machines: Machines
) -> None:
    """Another process publishes between the advertisement and the update: the push retries and
    succeeds.
    """
    one, other = (
        machines("one", daemon_cache, "--push", built=True),
        machines("other", daemon_cache, "--push"),
    )
    one.prov("push")
    other.change("of another")
    other.build("--offline")
    other.prov("push")
    tip = daemon_cache.git("rev-parse", "prov/index").strip()
    daemon_cache.git("update-ref", "refs/heads/prov/index", f"{tip}~1")
    # moves the index once, after the push has read the refs
    move = f"unset GIT_QUARANTINE_PATH && git update-ref refs/heads/prov/index {tip}"
    script = f"test -e raced || {{ grep -q prov/index && touch raced && {move}; }}; exit 0"
    hook(daemon_cache, "pre-receive", script)
    one.change("third")
    one.build("--offline")
    one.prov("push")
    assert (daemon_cache.path / "raced").exists()
    assert len(daemon_cache.keys()) == 15
    daemon_cache.is_clean()


def test_background_publishing_reports_remaining_branches(
    folder_cache: Cache, machines: Machines
) -> None:
    one = machines("one", folder_cache, "--push")
    forbid(folder_cache, "receive.denyDeletes")
    one.build()
    status = one.root / ".prov/prov/remotes/team/last-push"
    until(lambda: status.read_text().startswith("ok 5\n"), "the push is over")
    one.change("second")
    one.build()
    assert one.said.count("receive.denyDeletes") == 1
    until(lambda: status.read_text() == "ok 5\n", "the second push is over")


def test_branches_that_others_named_oddly_do_no_harm(store: Store, tmp_path: Path) -> None:
    cache = tmp_path / "cache.git"
    make_bare(cache)
    commit = make_commit(cache, [], "x").hex()
    for name in ("\u00b2-x", "\u0663", "9" * 200, "a\u2028b", "a\x85b"):
        run_git(cache, ["update-ref", f"{LEFT}{name}", commit])
    remote = GitRemote(Remote("team", f"file://{cache}"), store, Access(dict(os.environ)))
    assert Incoming(remote, remote.git).clear([]) == ""
