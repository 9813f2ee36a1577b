"""Add publications to an index under a trust policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.index import Damaged, Index
from prov.remote.publication import Publication, Published
from prov.remote.reading import (
    PublishedText,
    check_index_size,
    enter,
    memory_folder,
    policy_of,
    refresh_index,
)
from prov.remote.settings import Remote
from prov.store.repository import Store
from prov.transport.errors import Malformed, Unreachable, Unsigned, Untrusted

TASK = Published(
    TaskKey("words:make"),
    TaskHash(b"h" * 20),
    StaticKey(b"s" * 20),
    OutputId(b"o" * 20),
    b"r" * 20,
    b"d" * 32,
)
TEXT = PublishedText(Publication(5, (TASK,)).encode(), None)
REMOTE = Remote("m", "ssh://host/x", trust="none")


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return Index(tmp_path / "index")


def test_an_accepted_publication(index: Index) -> None:
    with index.changing(clear=True):
        assert enter(index, REMOTE, 1, TEXT) is None
    assert index.find(TASK.task_hash) == [TASK]
    assert index.problem(TASK.task_hash) is None


def test_a_rejected_publication_is_stored_with_the_reason(index: Index) -> None:
    strict = replace(REMOTE, trust="any-signed")
    with index.changing(clear=True):
        problem = enter(index, strict, 1, TEXT)
    assert type(problem) is Unsigned
    assert index.find(TASK.task_hash) == []
    assert index.problem(TASK.task_hash) == ("a publication is not signed", "")


def test_an_invalid_publication_has_no_tasks(index: Index) -> None:
    with index.changing(clear=True):
        problem = enter(index, REMOTE, 1, PublishedText(b"noise", None))
    assert type(problem) is Malformed
    assert [listed.number for listed in index.publications()] == [1]
    assert index.problem(TASK.task_hash) is None


def test_a_damaged_index_is_read_again_once(index: Index, tmp_path: Path) -> None:
    reads: list[str] = []

    def read() -> list[Untrusted]:
        reads.append(index.get("policy"))
        if len(reads) == 1:
            with index.changing():
                index.put("policy", "old")
            raise Damaged("nonsense")
        return []

    assert refresh_index(tmp_path, index, read) == []
    assert reads == ["", ""]

    def read_in_vain() -> list[Untrusted]:
        raise Damaged("nonsense")

    with pytest.raises(Damaged):
        refresh_index(tmp_path, index, read_in_vain)


def test_a_policy_changes_with_what_it_allows(tmp_path: Path) -> None:
    signers = tmp_path / "signers"
    remote = replace(REMOTE, trust="keys", signers=str(signers))
    policies = {policy_of(REMOTE), policy_of(remote)}
    signers.write_text("anna ssh-ed25519 AAAA\n")
    policies.add(policy_of(remote))
    signers.write_text("bert ssh-ed25519 AAAA\n")
    policies.add(policy_of(remote))
    assert len(policies) == 4
    assert policy_of(remote) == policy_of(remote)


def test_an_index_has_a_limit() -> None:
    check_index_size(REMOTE, REMOTE.index_limit)
    with pytest.raises(Unreachable, match="the limit is"):
        check_index_size(REMOTE, REMOTE.index_limit + 1)


def test_each_url_has_its_own_folder(tmp_path: Path) -> None:
    store = Store.create(tmp_path / "store")
    folder = memory_folder(store, REMOTE)
    assert folder.parent == store.cache / "remotes" / "m"
    assert memory_folder(store, replace(REMOTE, url="ssh://host/y")) != folder
