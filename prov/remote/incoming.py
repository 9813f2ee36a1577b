"""The branches below `incoming` that pushes send content to: chosen before, removed after.

A server may forbid to delete branches (receive.denyDeletes). Then a store empties its branch
instead, and uses the same one again; a store that is new there uses one that others emptied. So
there are as many as ever pushed at once. A server that forbids this, too, or such branches as a
whole, gets content without them: see `publish`.
"""

from __future__ import annotations

import random
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from prov.files import replace_file
from prov.records.refs import REMOTE_INCOMING
from prov.remote.git_remote import GitRemote
from prov.store.objects import CONSTANT_IDENTITY, EMPTY_TREE, Commit, Identity, Oid
from prov.store.odb import ObjectDatabase
from prov.transport.errors import Declined, Unreachable

LEFT_AFTER = 86_400
"""Seconds after which what a broken push sent is removed."""
LAST = "-last"
"""The end of the name of a second branch that a push makes while it is under way."""
_STAMP = re.compile("[0-9]{1,12}")
_DELETED, _DIRECT = "deleted", "direct"


def make_commit(
    repository: Path, parents: list[Oid], message: str, tree: Oid = EMPTY_TREE, seconds: int = 0
) -> Oid:
    """Write a commit into a repository; without a tree, one without content."""
    by = Identity(CONSTANT_IDENTITY.name, CONSTANT_IDENTITY.mail, seconds)
    with ObjectDatabase(repository).writer() as writer:
        return writer.add_commit(Commit(tree, tuple(dict.fromkeys(parents)), by, f"{message}\n"))


@dataclass(frozen=True, slots=True)
class Incoming:
    """The branches below `incoming` of one remote, and what is known of the server's rules for
    them.
    """

    remote: GitRemote
    scratch: Path

    @property
    def _memory(self) -> Path:
        """A file with what the server does: `deleted`, or the branch that it keeps, or `direct` and
        that branch.
        """
        return self.remote.folder / "incoming"

    def _state(self) -> str:
        """Return what the file has; empty for a server that is new."""
        try:
            return self._memory.read_text()
        except FileNotFoundError:
            return ""

    def _remember(self, state: str) -> None:
        replace_file(self._memory, state.encode(), durable=False)

    @property
    def is_direct(self) -> bool:
        """Content is pushed without such a branch; the server's rules are tried again after a
        day.
        """
        return self._state().startswith(_DIRECT) and not self._is_old()

    def _is_old(self) -> bool:
        return self._memory.stat().st_mtime < time.time() - LEFT_AFTER

    def go_direct(self) -> None:
        """Use such branches no more: the server does not accept them."""
        if not self._state().startswith(_DIRECT):
            self._remember(_DIRECT)

    def choose(self, seconds: int) -> str:
        """Return the branch for a push that begins at a time; raises Unreachable."""
        state = self._state() or self._emptied_branch()
        name = state.removeprefix(_DIRECT).strip()
        if name.startswith(REMOTE_INCOMING):
            return name
        return f"{REMOTE_INCOMING}{seconds}-{secrets.token_hex(8)}"

    def _emptied_branch(self) -> str:
        """Return a branch that others emptied, since they could not delete it; empty if there is
        none.
        """
        refs = self.remote.transport.refs(self.scratch, f"{REMOTE_INCOMING}*")
        empty = self._empty()
        emptied = [ref for ref, oid in refs.items() if oid == empty and not ref.endswith(LAST)]
        return random.choice(emptied) if emptied else ""

    def _empty(self) -> Oid:
        return make_commit(self.scratch, [], "emptied")

    def clear(self, branches: list[str]) -> str:
        """Remove the branches of a push that is over, and those that broken pushes left more than a
        day ago.

        Returns a warning where the server does not let them go, once.
        """
        try:
            refs = self.remote.transport.refs(self.scratch, f"{REMOTE_INCOMING}*")
        except Unreachable:  # the push itself is done
            return ""
        old = time.time() - LEFT_AFTER
        stamps = {ref: ref.removeprefix(REMOTE_INCOMING).partition("-")[0] for ref in refs}
        abandoned = [
            ref for ref, stamp in stamps.items() if _STAMP.fullmatch(stamp) and int(stamp) < old
        ]
        own = [ref for ref in refs if ref.removesuffix(LAST) in branches]
        state = self._state()
        if state in ("", _DELETED) or self._is_old():
            return self._delete(list(dict.fromkeys([*own, *abandoned])), state)
        self._set_empty(own)
        return ""

    def _delete(self, refs: list[str], state: str) -> str:
        """Delete branches of a server in some state; return a warning the first time it forbids
        that.
        """
        if not refs:
            return ""
        try:
            self.remote.transport.push(self.scratch, dict.fromkeys(refs), {})
        except Declined as error:
            name = refs[0].removesuffix(LAST)
            self._remember(name if self._set_empty(refs) else f"{_DIRECT} {name}")
            if state not in ("", _DELETED):
                return ""
            branches = "1 branch stays" if len(refs) == 1 else f"{len(refs)} branches stay"
            return (
                f"{error}; {branches} below {REMOTE_INCOMING}, and later pushes add none; once the"
                " server allows it, prov deletes them"
            )
        except Unreachable:  # the next push tries again
            return ""
        if state != _DELETED:
            self._remember(_DELETED)
        return ""

    def _set_empty(self, refs: list[str]) -> bool:
        """Let branches hold nothing; return whether the server allows it."""
        if not refs:
            return True
        try:
            self.remote.transport.push(self.scratch, dict.fromkeys(refs, self._empty()), {})
        except Declined:
            return False
        except Unreachable:
            return True
        return True

    def holding(self) -> list[str]:
        """Return the branches that hold content: of pushes under way, broken off, or that could not
        be removed.
        """
        empty = self._empty()
        refs = self.remote.transport.refs(self.scratch, f"{REMOTE_INCOMING}*")
        return [ref for ref, oid in refs.items() if oid != empty]
