"""Open each kind of remote, with only the modules that it needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from prov.remote.git_remote import GitRemote
from prov.remote.opening import forget_memory, open_git_remote, open_remote, with_kind
from prov.remote.settings import Remote
from prov.remote.static.manifest import Manifest
from prov.remote.static.remote import StaticRemote
from prov.store.repository import Store
from prov.transport.access import Access
from prov.transport.errors import RemoteError
from tests.servers.liar import liar

ACCESS = Access({"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"})
CLIENT = """
import sys
import prov.remote.opening, prov.remote.lost, prov.sharing.caches, prov.sharing.pushing
assert not {"urllib3", "http.client"} & sys.modules.keys()
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "store")


def test_a_remote_of_each_kind(store: Store, tmp_path: Path) -> None:
    git = Remote("git", f"file://{tmp_path}/cache.git")
    static = Remote("static", "http://127.0.0.1:1/cache", static=True)
    assert isinstance(open_remote(git, store, ACCESS), GitRemote)
    assert isinstance(open_git_remote(git, store, ACCESS), GitRemote)
    assert isinstance(open_remote(static, store, ACCESS), StaticRemote)
    with pytest.raises(RemoteError, match="it is read-only"):
        open_git_remote(static, store, ACCESS)
    assert (store.cache / "remotes/git").is_dir()
    forget_memory(store, "git")
    assert not (store.cache / "remotes/git").exists()


def test_the_kind_of_a_web_server_is_detected(tmp_path: Path) -> None:
    with liar(tmp_path) as server:
        remote = Remote("m", server.url)
        assert not with_kind(remote, ACCESS).static
        (tmp_path / "prov-cache").write_bytes(Manifest({}, ()).encode())
        assert with_kind(remote, ACCESS).static
        (tmp_path / "prov-cache").write_bytes(b"<html>")
        assert not with_kind(remote, ACCESS).static
    assert not with_kind(Remote("m", f"file://{tmp_path}", static=True), ACCESS).static


def test_urllib3_is_imported_only_for_web_servers() -> None:
    """Importing it takes longer than many commands."""
    subprocess.run([sys.executable, "-c", CLIENT], check=True)
