"""Claim tasks at a git remote, so that of several builds that share it only one runs each task.

A claim is a branch, `refs/heads/prov/claims/HASH`. HASH is the task hash or, of an object of
BitBake's shared state, the static key. Its commit has an empty tree, and a message that states the
holder and the seconds after which an unchanged claim expires:

    holder HOST
    seconds 60
    nonce 8f1d…

Claims are created, renewed, taken over and released by pushes that expect the branch's last value,
so that of several builds exactly one succeeds. A renewal is a new commit. Clocks of different
machines are never compared: an observer counts the seconds since it first saw the commit.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from prov.errors import StoreError
from prov.records.refs import REMOTE_CLAIMS
from prov.remote.git_remote import GitRemote
from prov.remote.incoming import make_commit
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase
from prov.store.refs import RefStore
from prov.text import printable
from prov.transport.git import Update

SECONDS = 60
"""The time after which an unchanged claim of this program expires."""
SHORTEST, LONGEST = 10, 3600
"""The limits for the seconds that a claim of another program states."""
_MOST = 16 << 20
"""Maximum bytes of a transfer of claims, each of which has some 300 bytes."""
_COPIES = "refs/claims/"
_FORM = re.compile(r"holder (?P<holder>[^\n]{1,100})\nseconds (?P<seconds>[0-9]{1,6})\n")
_HASH = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim of a build."""

    commit: Oid
    holder: str = "another build"
    """A name for the user: the host of the build."""
    seconds: int = SECONDS
    """The time after which it expires, unless its commit changes."""


@dataclass(slots=True)
class Claims:
    """The claims at a remote."""

    remote: GitRemote
    scratch: Path
    """A repository for the commits."""
    holder: str

    def read(self) -> dict[Oid, Claim]:
        """Return all claims at the remote. Raises Unreachable."""
        copied = f"+{REMOTE_CLAIMS}*:{_COPIES}*"
        transport = self.remote.transport
        transport.fetch(self.scratch, [copied], "--prune", most=_MOST)
        objects = ObjectDatabase(self.scratch, most=_MOST)
        copies = RefStore(self.scratch).list(_COPIES)
        hashes = {ref.removeprefix(_COPIES): oid for ref, oid in copies.items()}
        return {
            bytes.fromhex(text): _read(objects, oid)
            for text, oid in hashes.items()
            if _HASH.fullmatch(text)
        }

    def take(self, expected: Mapping[Oid, Oid | None]) -> dict[Oid, Oid]:
        """Create, renew or take over claims that have the expected commits.

        Their commits are those that `read` returned last, or None for no claim. Returns the new
        commits of those that succeeded. Raises Declined and Unreachable.
        """
        # a server can forbid updates to other commits than children
        new = {result: self._write([old] if old else []) for result, old in expected.items()}
        taken = self._push({each: Update(old, new[each]) for each, old in expected.items()})
        return {result: new[result] for result in taken}

    def release(self, held: Mapping[Oid, Oid]) -> None:
        """Delete claims that still have the expected commits. Raises Declined and Unreachable."""
        self._push({result: Update(oid, None) for result, oid in held.items()})

    def _write(self, parents: list[Oid]) -> Oid:
        nonce = secrets.token_hex(8)
        text = f"holder {self.holder}\nseconds {SECONDS}\nnonce {nonce}"
        return make_commit(self.scratch, parents, text, seconds=int(time.time()))

    def _push(self, updates: Mapping[Oid, Update]) -> set[Oid]:
        refs = {f"{REMOTE_CLAIMS}{result.hex()}": result for result in updates}
        if not refs:
            return set()
        updated = self.remote.transport.push_each(
            self.scratch, {ref: updates[result] for ref, result in refs.items()}
        )
        return {refs[ref] for ref in updated}


def _read(objects: ObjectDatabase, oid: Oid) -> Claim:
    """Return the claim of a commit; one that no version of prov has written has the defaults."""
    try:
        commit = objects.commit(oid)
    except StoreError:
        return Claim(oid)
    form = _FORM.match(commit.message)
    if form is None:
        return Claim(oid)
    seconds = min(max(int(form["seconds"]), SHORTEST), LONGEST)
    return Claim(oid, printable(form["holder"]), seconds)
