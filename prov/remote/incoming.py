"""Choose and remove the branches below `incoming` that pushes send content to.

A server can forbid deleting branches (receive.denyDeletes). A store then empties its branch instead
and reuses it; a store that pushes there for the first time reuses a branch that another store
emptied. So the number of branches is at most the number of simultaneous pushes. If a server forbids
this too, or forbids such branches, prov pushes without them: see `publish`.
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
"""Seconds after which the branch of an interrupted push is removed."""
LAST = "-last"
"""Suffix of the second branch that exists during a push."""
_STAMP = re.compile("[0-9]{1,12}")
_DELETED, _DIRECT = "deleted", "direct"


def make_commit(
    repository: Path, parents: list[Oid], message: str, tree: Oid = EMPTY_TREE, seconds: int = 0
) -> Oid:
    """Write a commit into a repository, by default with an empty tree."""
    by = Identity(CONSTANT_IDENTITY.name, CONSTANT_IDENTITY.mail, seconds)
    with ObjectDatabase(repository).writer() as writer:
        return writer.add_commit(Commit(tree, tuple(dict.fromkeys(parents)), by, f"{message}\n"))


@dataclass(frozen=True, slots=True)
class Incoming:
    """The branches below `incoming` of one remote, and the server's rules for them."""

    remote: GitRemote
    scratch: Path

    @property
    def _memory(self) -> Path:
        """The file with the server's behavior: `deleted`, or the branch that it does not delete,
        or `direct` and that branch.
        """
        return self.remote.folder / "incoming"

    def _state(self) -> str:
        """Return the content of the file; empty for a new server."""
        try:
            return self._memory.read_text()
        except FileNotFoundError:
            return ""

    def _remember(self, state: str) -> None:
        replace_file(self._memory, state.encode(), durable=False)

    @property
    def is_direct(self) -> bool:
        """Whether to push content without such a branch; after a day, prov tries one again."""
        return self._state().startswith(_DIRECT) and not self._is_old()

    def _is_old(self) -> bool:
        return self._memory.stat().st_mtime < time.time() - LEFT_AFTER

    def use_direct(self) -> None:
        """Stop using such branches, because the server rejects them."""
        if not self._state().startswith(_DIRECT):
            self._remember(_DIRECT)

    def choose(self, seconds: int) -> str:
        """Return the branch for a push; `seconds` is its start time. Raises Unreachable."""
        state = self._state() or self._emptied_branch()
        name = state.removeprefix(_DIRECT).strip()
        if name.startswith(REMOTE_INCOMING):
            return name
        return f"{REMOTE_INCOMING}{seconds}-{secrets.token_hex(8)}"

    def _emptied_branch(self) -> str:
        """Return a branch that another store emptied because it could not delete it, or ""."""
        refs = self.remote.transport.refs(self.scratch, f"{REMOTE_INCOMING}*")
        empty = self._empty()
        emptied = [ref for ref, oid in refs.items() if oid == empty and not ref.endswith(LAST)]
        return random.choice(emptied) if emptied else ""

    def _empty(self) -> Oid:
        return make_commit(self.scratch, [], "emptied")

    def clear(self, branches: list[str]) -> str:
        """Delete the branches of a finished push, and those that interrupted pushes left over a day
        ago.

        Returns a warning the first time the server refuses the deletion, else "".
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
        """Delete branches; return a warning the first time the server forbids it."""
        if not refs:
            return ""
        try:
            self.remote.transport.push(self.scratch, dict.fromkeys(refs), {})
        except Declined as error:
            name = refs[0].removesuffix(LAST)
            self._remember(name if self._set_empty(refs) else f"{_DIRECT} {name}")
            if state not in ("", _DELETED):
                return ""
            branches = "1 branch remains" if len(refs) == 1 else f"{len(refs)} branches remain"
            return (
                f"{error}; {branches} below {REMOTE_INCOMING} until the server allows prov to"
                " delete them; later pushes add none"
            )
        except Unreachable:  # the next push retries
            return ""
        if state != _DELETED:
            self._remember(_DELETED)
        return ""

    def _set_empty(self, refs: list[str]) -> bool:
        """Point branches to an empty commit; return False if the server declines it."""
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
        """Return the branches with content: of running or interrupted pushes, or not deletable."""
        empty = self._empty()
        refs = self.remote.transport.refs(self.scratch, f"{REMOTE_INCOMING}*")
        return [ref for ref, oid in refs.items() if oid != empty]
