"""Open remotes: git repositories and static caches."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from prov.remote.git_remote import GitRemote
from prov.remote.settings import Remote
from prov.store.repository import Store
from prov.transport.access import Access, resolved_url
from prov.transport.address import scheme_of
from prov.transport.errors import RemoteError

if TYPE_CHECKING:
    from prov.remote.static.remote import StaticRemote

AnyRemote: TypeAlias = "GitRemote | StaticRemote"


def open_remote(remote: Remote, store: Store, access: Access) -> AnyRemote:
    """Open a remote for reading."""
    if not remote.static:
        return GitRemote(remote, store, access)
    # imports urllib3, which takes longer than many commands that use no web server
    from prov.remote.static.remote import StaticRemote

    return StaticRemote(remote, store, access)


def with_kind(remote: Remote, access: Access) -> Remote:
    """Return a remote with `static` set: for an http or https URL, request its manifest to find
    out.
    """
    if scheme_of(resolved_url(remote.url, access)) not in ("http", "https"):
        return replace(remote, static=False)
    # imports urllib3, as above
    from prov.remote.static.remote import is_static

    return replace(remote, static=is_static(remote, access))


def open_git_remote(remote: Remote, store: Store, access: Access) -> GitRemote:
    """Open a remote for writing. Raises RemoteError for a static cache."""
    opened = open_remote(remote, store, access)
    if not isinstance(opened, GitRemote):
        raise RemoteError(
            f"remote {remote.name} is a static cache: it is read-only",
            hint="run `prov export` to write a static cache",
        )
    return opened


def forget_memory(store: Store, name: str) -> None:
    """Delete the local cache of a remote."""
    shutil.rmtree(store.cache / "remotes" / name, ignore_errors=True)
