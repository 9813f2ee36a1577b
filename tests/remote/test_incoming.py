"""The branches of pushes, chosen by the observed behavior of the server."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from prov.records.refs import REMOTE_INCOMING
from prov.remote.git_remote import GitRemote
from prov.remote.incoming import LEFT_AFTER, Incoming, make_commit
from prov.remote.settings import Remote
from prov.store.objects import EMPTY_TREE
from prov.store.odb import ObjectDatabase
from prov.store.repository import Store
from prov.transport.access import Access
from prov.transport.git import make_scratch


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "cache.git"], check=True)
    return tmp_path / "cache.git"


@pytest.fixture
def branches(cache: Path, tmp_path: Path) -> Incoming:
    store = Store.create(tmp_path / "store")
    remote = GitRemote(Remote("m", f"file://{cache}"), store, Access(dict(os.environ)))
    scratch = make_scratch(tmp_path / "scratch")
    with ObjectDatabase(scratch).writer() as writer:
        assert writer.add_tree([]) == EMPTY_TREE
    return Incoming(remote, scratch)


def refs(branches: Incoming) -> set[str]:
    return set(branches.remote.transport.refs(branches.scratch, "*"))


def push(branches: Incoming, *names: str) -> list[str]:
    commit = make_commit(branches.scratch, [], "content")
    for name in names:
        branches.remote.transport.push(branches.scratch, {name: commit}, {})
    return list(names)


def test_a_push_uses_a_new_branch_and_deletes_it(branches: Incoming) -> None:
    now = int(time.time())
    first, second = branches.choose(now), branches.choose(now)
    assert first != second
    assert re.fullmatch(f"{REMOTE_INCOMING}{now}-[0-9a-f]{{16}}", first)
    push(branches, first, second)
    assert branches.clear([first]) == ""
    assert refs(branches) == {second}


def test_branches_of_interrupted_pushes_are_deleted_after_a_day(branches: Incoming) -> None:
    now = int(time.time())
    old, young = f"{REMOTE_INCOMING}{now - LEFT_AFTER - 60}-x", f"{REMOTE_INCOMING}{now}-x"
    odd = f"{REMOTE_INCOMING}else"
    push(branches, old, young, odd)
    assert branches.clear([]) == ""
    assert refs(branches) == {young, odd}


def test_a_server_that_forbids_deletion_keeps_one_branch(branches: Incoming, cache: Path) -> None:
    subprocess.run(
        ["git", f"--git-dir={cache}", "config", "receive.denyDeletes", "true"], check=True
    )
    (name,) = push(branches, branches.choose(int(time.time())))
    warning = branches.clear([name])
    assert "1 branch remains below" in warning
    assert branches.holding() == []
    assert branches.choose(0) == name
    push(branches, name)
    assert branches.holding() == [name]
    assert branches.clear([name]) == ""  # it warns only once
    assert branches.holding() == []


def test_a_server_that_forbids_them_is_tried_again_after_a_day(branches: Incoming) -> None:
    assert not branches.is_direct
    branches.use_direct()
    assert branches.is_direct
    long_ago = time.time() - LEFT_AFTER - 60
    os.utime(branches.remote.folder / "incoming", (long_ago, long_ago))
    assert not branches.is_direct
