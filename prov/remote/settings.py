"""The remotes of a store: part of its git configuration, so that they go where it goes."""

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
PRIORITY = 50
PUSH_LIMIT = 1 << 30
"""Bytes in one push; hosts refuse more than about two of these."""
LIST_LIMIT = 64 << 20
RECORD_LIMIT = 16 << 20
INDEX_LISTS = 16
"""So many lists of the largest size a remote's index may be."""


@dataclass(frozen=True, slots=True)
class Remote:
    """A cache elsewhere, and what this store thinks of it."""

    name: str
    url: str
    push: bool = False
    """Whether builds publish there."""
    priority: int = PRIORITY
    """Remotes with a smaller number are asked first."""
    trust: Trust = "keys"
    signers: str = ""
    """A file of allowed signers as ssh has it, or of GnuPG's public keys."""
    key: str = ""
    """What to sign with: a file with an ssh key, or `gpg:KEYID`."""
    limit: int = PUSH_LIMIT
    """Bytes in one push."""
    list_limit: int = LIST_LIMIT
    """Bytes of a list from there: a publication, a manifest, an index of a bundle, what was
    deleted.
    """
    record_limit: int = RECORD_LIMIT
    """Bytes of a record from there: a tree, a commit, facts, a definition, a log, attributes."""
    workdirs: bool = False
    """Builds publish WORKDIRs, too."""
    devices: bool = False
    """What comes from there may hold device nodes, and the capabilities of files."""
    static: bool = False
    """It is no git repository but plain files, to be read only."""

    @property
    def index_limit(self) -> int:
        """Bytes of all lists from there together, and of the transfer that brings them."""
        return INDEX_LISTS * self.list_limit


def is_own(remote: Remote) -> bool:
    """Return whether a remote is a folder that only this user writes to.

    A folder that hands its group on to what is made in it is a team's.
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
    """Return the default trust in a remote: in a folder of the user's own, in no other."""
    folder = folder_of(url)
    if folder is None:
        return "keys"
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return "none" if folder.stat().st_uid == os.getuid() else "keys"


def make_remote(
    name: str, text: str, folder: Path, *, trust: str = "", signers: str = "", **more: object
) -> Remote:
    """Return a remote as a user describes it, checked. Raises RemoteError."""
    url = parse_address(text, folder)
    policy = trust or default_trust(url)
    if policy not in get_args(Trust):
        raise RemoteError(f"--trust {trust}: unknown", hint=f"one of {', '.join(get_args(Trust))}")
    if policy == "keys" and not signers:
        raise RemoteError(
            f"remote {name} is trusted by keys, and no file of allowed signers is given",
            hint="--signers FILE, as `ssh-keygen` has it; or --trust any-signed, or none",
        )
    if signers and not (folder / signers).is_file():
        raise RemoteError(f"--signers {signers}: no such file")
    full = str((folder / signers).resolve()) if signers else ""
    return Remote(check_name(name), url, trust=cast(Trust, policy), signers=full, **more)  # type: ignore[arg-type]


def write_remote(store: Store, remote: Remote) -> None:
    """Keep a remote, in place of one of the same name."""
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
        "static": str(remote.static).lower(),
    }
    for name, value in values.items():
        if value and value != "false":
            _configure(store, f"{SECTION}.{remote.name}.{name}", value)


def remove_remote(store: Store, name: str, *, missing_ok: bool = False) -> None:
    """Forget a remote. Raises RemoteError when there is none of that name."""
    remotes = _fields(store)
    if name not in remotes:
        if missing_ok:
            return
        raise RemoteError(f"there is no remote {name}", hint=nearest(name, remotes))
    _configure(store, "--remove-section", f"{SECTION}.{name}")


def read_remotes(store: Store) -> list[Remote]:
    """Return the remotes of a store, those first that are asked first. Raises RemoteError."""
    remotes = [_remote(name, fields) for name, fields in _fields(store).items()]
    return sorted(remotes, key=lambda remote: (remote.priority, remote.name))


def _configure(store: Store, *arguments: str) -> bytes:
    """Let git read or change the store's configuration, which other commands of git's may not see:
    `store.view`.
    """
    file = f"--file={store.path / 'config'}"
    return run_git(store.path, ["config", file, "--no-includes", *arguments])


def _fields(store: Store) -> dict[str, dict[str, str]]:
    """Return what the configuration says of each remote, whether it makes sense or not."""
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
            static=fields.get("static") == "true",
        )
    except (KeyError, ValueError) as error:
        raise RemoteError(
            f"the settings of remote {name} make no sense: {error}", hint="`prov remote add`"
        ) from error


def find_remote(store: Store, name: str) -> Remote:
    """Return a remote by its name. Raises RemoteError with the nearest ones."""
    remotes = read_remotes(store)
    for remote in remotes:
        if remote.name == name:
            return remote
    hint = nearest(name, [remote.name for remote in remotes])
    raise RemoteError(
        f"there is no remote {name}", hint=hint or "`prov remote add NAME URL` adds one"
    )
