"""Remotes in a store's configuration."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from prov.remote.settings import (
    Remote,
    default_trust,
    find_remote,
    is_own,
    make_remote,
    read_remotes,
    remove_remote,
    write_remote,
)
from prov.store.repository import Store
from prov.transport.errors import RemoteError

ONE = Remote("one", "ssh://host/cache.git", trust="none")
FULL = Remote(
    "full",
    "https://host/cache",
    push=True,
    priority=7,
    trust="any-signed",
    signers="/keys with space",
    key="gpg:ABC",
    limit=5,
    list_limit=6,
    record_limit=7,
    workdirs=True,
    devices=True,
    static=True,
)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


@pytest.mark.parametrize("remote", [ONE, FULL])
def test_written_settings_are_read(remote: Remote, store: Store) -> None:
    assert read_remotes(store) == []
    write_remote(store, remote)
    assert read_remotes(store) == [remote] == [find_remote(store, remote.name)]
    remove_remote(store, remote.name)
    assert read_remotes(store) == []


def test_a_remote_replaces_one_of_the_same_name(store: Store) -> None:
    write_remote(store, replace(FULL, name="one"))
    write_remote(store, ONE)
    assert read_remotes(store) == [ONE]


def test_remotes_are_sorted_by_priority_and_name(store: Store) -> None:
    for name, priority in (("b", 50), ("a", 50), ("z", 1)):
        write_remote(store, replace(ONE, name=name, priority=priority))
    assert [remote.name for remote in read_remotes(store)] == ["z", "a", "b"]


def test_an_unknown_name_suggests_a_similar_one(store: Store) -> None:
    write_remote(store, replace(ONE, name="mirror"))
    for look in (find_remote, remove_remote):
        with pytest.raises(RemoteError, match="no such remote: miror") as caught:
            look(store, "miror")
        assert "mirror" in caught.value.hint
    remove_remote(store, "miror", missing_ok=True)


@pytest.mark.parametrize(
    ("name", "value"),
    [("trust", "everybody"), ("priority", "x"), ("limit", "1k"), ("url", "ext::sh -c x")],
)
def test_invalid_settings_are_rejected(name: str, value: str, store: Store) -> None:
    write_remote(store, ONE)
    command = ["git", f"--git-dir={store.path}", "config", f"prov-remote.one.{name}", value]
    subprocess.run(command, check=True)
    with pytest.raises(RemoteError):
        read_remotes(store)


@pytest.mark.parametrize(
    ("trust", "signers", "why"),
    [
        ("everybody", "", "invalid value 'everybody'"),
        ("keys", "", "requires a file of allowed signers"),
        ("", "", "a cache that other users can write to requires a file of allowed signers"),
        ("keys", "nowhere", "no such file"),
    ],
)
def test_invalid_trust(trust: str, signers: str, why: str, tmp_path: Path) -> None:
    with pytest.raises(RemoteError, match=why):
        make_remote("m", "ssh://host/x", tmp_path, trust=trust, signers=signers)


def test_the_users_own_folder_is_trusted(tmp_path: Path) -> None:
    remote = make_remote("m", "caches/cache.git", tmp_path)
    assert (remote.url, remote.trust) == (f"file://{tmp_path}/caches/cache.git", "none")
    assert default_trust("ssh://host/x") == "keys"
    assert not is_own(remote)  # the folder does not exist
    (tmp_path / "caches/cache.git").mkdir(parents=True)
    assert is_own(remote)
    for mode in (0o777, 0o2755):
        (tmp_path / "caches/cache.git").chmod(mode)
        assert not is_own(remote)
    assert not is_own(replace(remote, static=True))
    assert not is_own(ONE)
