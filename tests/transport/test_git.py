"""Fetch, push and ls-remote between folders, and their errors."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, Commit, Oid
from prov.store.odb import ObjectDatabase
from prov.store.refs import RefStore
from prov.transport.access import Access
from prov.transport.errors import Declined, RemoteChanged, Unreachable
from prov.transport.git import Transport, make_scratch

BRANCH, OTHER = "refs/heads/one", "refs/heads/two"


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "remote.git"], check=True)
    return tmp_path / "remote.git"


@pytest.fixture
def transport(remote: Path) -> Transport:
    return Transport("m", f"file://{remote}", Access(dict(os.environ)))


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    return make_scratch(tmp_path / "git")


def commit(repository: Path, text: str, *parents: Oid) -> Oid:
    with ObjectDatabase(repository).writer() as writer:
        return writer.add_commit(Commit(EMPTY_TREE, parents, CONSTANT_IDENTITY, f"{text}\n"))


def with_empty_tree(repository: Path) -> None:
    with ObjectDatabase(repository).writer() as writer:
        writer.add_tree([])


def test_a_pushed_ref_is_listed_and_fetched(
    transport: Transport, scratch: Path, tmp_path: Path
) -> None:
    with_empty_tree(scratch)
    oid = commit(scratch, "one")
    assert transport.refs(scratch, "*") == {}
    transport.push(scratch, {BRANCH: oid}, {BRANCH: None})
    assert transport.refs(scratch, "*") == {BRANCH: oid}
    assert transport.refs(scratch, OTHER) == {}
    other = make_scratch(tmp_path / "other")
    transport.fetch(other, [f"+{BRANCH}:refs/heads/mine"])
    assert RefStore(other).get("refs/heads/mine") == oid


def test_a_missing_ref(transport: Transport, scratch: Path) -> None:
    with pytest.raises(KeyError):
        transport.fetch(scratch, [f"+{BRANCH}:{BRANCH}"])


def test_refs_are_updated_atomically(transport: Transport, scratch: Path) -> None:
    with_empty_tree(scratch)
    first = commit(scratch, "one")
    second = commit(scratch, "two", first)
    transport.push(scratch, {BRANCH: first}, {})
    with pytest.raises(RemoteChanged):
        transport.push(scratch, {BRANCH: second, OTHER: second}, {BRANCH: None})
    assert transport.refs(scratch, "*") == {BRANCH: first}
    transport.push(scratch, {BRANCH: second, OTHER: second}, {BRANCH: first, OTHER: None})
    assert transport.refs(scratch, "*") == {BRANCH: second, OTHER: second}
    transport.push(scratch, {OTHER: None}, {OTHER: second})
    assert transport.refs(scratch, "*") == {BRANCH: second}


@pytest.mark.parametrize("setting", ["receive.denyNonFastForwards", "receive.denyDeletes"])
def test_a_rule_of_the_server_is_reported(
    setting: str, transport: Transport, scratch: Path, remote: Path
) -> None:
    subprocess.run(["git", f"--git-dir={remote}", "config", setting, "true"], check=True)
    with_empty_tree(scratch)
    transport.push(scratch, {BRANCH: commit(scratch, "one")}, {})
    update = None if setting.endswith("Deletes") else commit(scratch, "unrelated")
    with pytest.raises(Declined, match=setting) as caught:
        transport.push(scratch, {BRANCH: update}, {})
    assert f"git config {setting} false" in caught.value.hint


def test_a_missing_repository_is_reported(tmp_path: Path, scratch: Path) -> None:
    transport = Transport("m", f"file://{tmp_path}/nowhere", Access(dict(os.environ)))
    with pytest.raises(Unreachable, match="remote m:") as caught:
        transport.refs(scratch, "*")
    assert "git init --bare" in caught.value.hint


def test_git_reads_a_scratch_repository(tmp_path: Path) -> None:
    first = make_scratch(tmp_path / "first")
    with_empty_tree(first)
    second = make_scratch(tmp_path / "second", first)
    command = ["git", f"--git-dir={second}", "cat-file", "-t", EMPTY_TREE.hex()]
    assert subprocess.run(command, capture_output=True, text=True).stdout == "tree\n"
    subprocess.run(["git", f"--git-dir={second}", "fsck", "--strict"], check=True)
