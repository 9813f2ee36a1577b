"""Read and write a store's remotes in its git configuration; copies of a store keep them."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from prov.store.git import run_git
from prov.store.repository import Store
from prov.store.view import read_configuration
from prov.text import nearest
from prov.transport.address import check_name, folder_of, parse_address
from prov.transport.errors import RemoteError

Trust = Literal["keys", "any-signed", "none"]
SECTION = "prov-remote"
_LIST = "run `prov remote list` to list remotes"
PRIORITY = 50
PUSH_LIMIT = 1 << 30
"""Bytes in one push; hosts reject pushes of more than about 2 GiB."""
LIST_LIMIT = 64 << 20
RECORD_LIMIT = 16 << 20
INDEX_LISTS = 16
"""The maximum size of a remote's index, in lists of the maximum size."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A shared cache and this store's settings for it."""

    name: str
    url: str
    push: bool = False
    """Whether builds publish to it."""
    priority: int = PRIORITY
    """Remotes with lower numbers are searched first."""
    trust: Trust = "keys"
    signers: str = ""
    """Path of a file in ssh's allowed signers format, or of GnuPG public keys."""
    key: str = ""
    """The signing key: the path of an ssh key, or `gpg:KEYID`."""
    limit: int = PUSH_LIMIT
    """Bytes in one push."""
    list_limit: int = LIST_LIMIT
    """Maximum bytes of a fetched list: a publication, a manifest, a bundle's index, deleted ids."""
    record_limit: int = RECORD_LIMIT
    """Maximum bytes of a fetched record's part: a tree, commit, definition or log, its facts or
    attributes.
    """
    workdirs: bool = False
    """Whether builds also publish WORKDIRs."""
    devices: bool = False
    """Whether fetched outputs may contain device nodes and file capabilities."""
    claims: bool = False
    """Whether builds claim the tasks that they run, and wait for those that others run."""
    static: bool = False
    """Whether it is a read-only static cache instead of a git repository."""

    @property
    def index_limit(self) -> int:
        """Maximum bytes of all fetched lists together, and of the transfer that fetches them."""
        return INDEX_LISTS * self.list_limit


def is_own(remote: Remote) -> bool:
    """Return whether a remote is a folder that only this user writes to.

    A folder with the setgid bit counts as shared.
    """
    folder = folder_of(remote.url)
    if folder is None or remote.static:
        return False
    try:
        state = folder.stat()
    except OSError:
        return False
    return state.st_uid == os.getuid() and not state.st_mode & (stat.S_IWOTH | stat.S_ISGID)


def default_trust(url: str) -> Trust:
    """Return the default trust policy: `none` for a folder that the user owns, else `keys`."""
    folder = folder_of(url)
    if folder is None:
        return "keys"
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return "none" if folder.stat().st_uid == os.getuid() else "keys"


def make_remote(
    name: str, text: str, folder: Path, *, trust: str = "", signers: str = "", **more: object
) -> Remote:
    """Return a remote with the given settings. Raises RemoteError if one is invalid."""
    url = parse_address(text, folder)
    policy = trust or default_trust(url)
    if policy not in get_args(Trust):
        raise RemoteError(
            f"invalid value {trust!r} for --trust", hint=f"use one of {', '.join(get_args(Trust))}"
        )
    if policy == "keys" and not signers:
        cause = "--trust keys" if trust else "a cache that other users can write to"
        raise RemoteError(
            f"remote {name}: {cause} requires a file of allowed signers",
            hint="add --signers FILE (see `man ssh-keygen`), or --trust any-signed or none",
        )
    if signers and not (folder / signers).is_file():
        raise RemoteError(f"--signers {signers}: no such file")
    full = str((folder / signers).resolve()) if signers else ""
    return Remote(check_name(name), url, trust=cast(Trust, policy), signers=full, **more)  # type: ignore[arg-type]


def write_remote(store: Store, remote: Remote) -> None:
    """Store a remote's settings; replace a remote of the same name."""
    remove_remote(store, remote.name, missing_ok=True)
    values = {
        "url": remote.url,
        "push": str(remote.push).lower(),
        "priority": str(remote.priority),
        "trust": remote.trust,
        "signers": remote.signers,
        "key": remote.key,
        "limit": str(remote.limit),
        "listlimit": str(remote.list_limit),
        "recordlimit": str(remote.record_limit),
        "workdirs": str(remote.workdirs).lower(),
        "devices": str(remote.devices).lower(),
        "claims": str(remote.claims).lower(),
        "static": str(remote.static).lower(),
    }
    for name, value in values.items():
        if value and value != "false":
            _configure(store, f"{SECTION}.{remote.name}.{name}", value)


def remove_remote(store: Store, name: str, *, missing_ok: bool = False) -> None:
    """Remove a remote from the configuration. Raises RemoteError if it does not exist."""
    remotes = _fields(store)
    if name not in remotes:
        if missing_ok:
            return
        raise RemoteError(f"no such remote: {name}", hint=nearest(name, remotes) or _LIST)
    _configure(store, "--remove-section", f"{SECTION}.{name}")


def read_remotes(store: Store) -> list[Remote]:
    """Return the remotes of a store in the order of their search. Raises RemoteError."""
    remotes = [_remote(name, fields) for name, fields in _fields(store).items()]
    return sorted(remotes, key=lambda remote: (remote.priority, remote.name))


def _configure(store: Store, *arguments: str) -> bytes:
    """Run `git config` on the store's own configuration file; other git commands may not see it
    (see `store.view`).
    """
    file = f"--file={store.path / 'config'}"
    return run_git(store.path, ["config", file, "--no-includes", *arguments])


def _fields(store: Store) -> dict[str, dict[str, str]]:
    """Return the configured fields of each remote, without validating them."""
    if f"[{SECTION} ".encode() not in read_configuration(store.path):
        return {}
    data = _configure(store, "--null", "--get-regexp", f"^{SECTION}\\.")
    remotes: dict[str, dict[str, str]] = {}
    for row in data.decode("utf-8", "surrogateescape").split("\0"):
        key, _, value = row.partition("\n")
        name, _, field = key.removeprefix(f"{SECTION}.").rpartition(".")
        if name:
            remotes.setdefault(name, {})[field] = value
    return remotes


def _remote(name: str, fields: dict[str, str]) -> Remote:
    try:
        trust = fields.get("trust", "keys")
        if trust not in get_args(Trust):
            raise ValueError(f"trust = {trust}")
        return Remote(
            name=check_name(name),
            url=parse_address(fields["url"], Path("/")),
            push=fields.get("push") == "true",
            priority=int(fields.get("priority", PRIORITY)),
            trust=cast(Trust, trust),
            signers=fields.get("signers", ""),
            key=fields.get("key", ""),
            limit=int(fields.get("limit", PUSH_LIMIT)),
            list_limit=int(fields.get("listlimit", LIST_LIMIT)),
            record_limit=int(fields.get("recordlimit", RECORD_LIMIT)),
            workdirs=fields.get("workdirs") == "true",
            devices=fields.get("devices") == "true",
            claims=fields.get("claims") == "true",
            static=fields.get("static") == "true",
        )
    except (KeyError, ValueError) as error:
        raise RemoteError(
            f"remote {name}: invalid settings: {error}",
            hint=f"run `prov remote add {name} URL` to set it up again",
        ) from error


def find_remote(store: Store, name: str) -> Remote:
    """Return a remote by its name. Raises RemoteError with similar names as a hint."""
    remotes = read_remotes(store)
    for remote in remotes:
        if remote.name == name:
            return remote
    hint = nearest(name, [remote.name for remote in remotes])
    raise RemoteError(f"no such remote: {name}", hint=hint or _LIST)
