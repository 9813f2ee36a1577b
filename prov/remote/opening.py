"""Opening a remote, of whatever kind it is."""

from __future__ import annotations

import shutil

from prov.remote.git_remote import GitRemote
from prov.remote.settings import Remote
from prov.remote.transport import Access
from prov.store.repository import Store

AnyRemote = GitRemote


def open_git_remote(remote: Remote, store: Store, access: Access) -> GitRemote:
    """Return a remote that can be written to."""
    return GitRemote(remote, store, access)


def forget_memory(store: Store, name: str) -> None:
    """Remove what this machine knows of a remote."""
    shutil.rmtree(store.cache / "remotes" / name, ignore_errors=True)


def open_remote(remote: Remote, store: Store, access: Access) -> AnyRemote:
    """Return a remote, ready to be asked."""
    return GitRemote(remote, store, access)
