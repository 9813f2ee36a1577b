"""Opening a remote, of whatever kind it is."""

from __future__ import annotations

import shutil
from dataclasses import replace

from prov.remote.git_remote import GitRemote
from prov.remote.settings import Remote
from prov.remote.static_remote import StaticRemote, is_static
from prov.store.repository import Store
from prov.transport.access import Access, resolved_url
from prov.transport.address import scheme_of
from prov.transport.errors import RemoteError

AnyRemote = GitRemote | StaticRemote


def open_remote(remote: Remote, store: Store, access: Access) -> AnyRemote:
    """Return a remote, ready to be asked."""
    return (StaticRemote if remote.static else GitRemote)(remote, store, access)


def with_kind(remote: Remote, access: Access) -> Remote:
    """Return a remote that is described anew, having looked at what is behind the URL of a web
    server.
    """
    web = scheme_of(resolved_url(remote.url, access)) in ("http", "https")
    return replace(remote, static=web and is_static(remote, access))


def open_git_remote(remote: Remote, store: Store, access: Access) -> GitRemote:
    """Return a remote that can be written to. Raises RemoteError for one that can't."""
    opened = open_remote(remote, store, access)
    if not isinstance(opened, GitRemote):
        raise RemoteError(
            f"remote {remote.name} is a static cache: it is only read",
            hint="`prov export` writes one",
        )
    return opened


def forget_memory(store: Store, name: str) -> None:
    """Remove what this machine knows of a remote."""
    shutil.rmtree(store.cache / "remotes" / name, ignore_errors=True)
