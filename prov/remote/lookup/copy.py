"""The local copy of the branch with a remote's index: all of it, or its last commit."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import StoreError
from prov.files import replace_file
from prov.records.refs import REMOTE_INDEX
from prov.remote.lookup.branch import read_lookup
from prov.remote.lookup.table import Lookup
from prov.remote.settings import Remote
from prov.store.git import run_git
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase
from prov.store.refs import RefStore
from prov.transport.errors import TooMuch, Unreachable
from prov.transport.git import Transport, make_scratch

_TORN = re.compile(
    r"bad object|necessary objects|corrupt|[Cc]ould not (read|parse)|is empty|bad"
    r" (config|pack)|broken|Unable to create"
)
TABLE_LISTS = 4
"""The maximum size of a lookup table, in lists of the maximum size."""
MOST_COMMITS = 1_000_000
"""Maximum number of pushes in the index since the last `prov remote gc`."""


@dataclass(slots=True)
class BranchCopy:
    """A copy of the branch in the repository `git`. It may be deleted at any time."""

    git: Path
    remote: Remote
    transport: Transport
    _tables: dict[Oid, Lookup | None] = field(default_factory=dict)
    """The last lookup table that was read, by its commit."""

    def tip(self) -> Oid | None:
        """Return the last commit of the branch."""
        return RefStore(self.git).get(REMOTE_INDEX)

    def fetch(self, *, whole: bool) -> None:
        """Update the copy, all of it if it must be `whole`.

        Raises KeyError if the remote has no index, and Unreachable.
        """
        try:
            self._fetch_branch(whole=whole)
        except Unreachable as error:
            had_packs = any((self.git / "objects" / "pack").glob("*.pack"))
            if not _TORN.search(error.words) and not (isinstance(error, TooMuch) and had_packs):
                raise
            # The local copy is not synced, so a power cut or a kill may have damaged it, or it
            # holds many objects of earlier versions of the branch. Fetch everything again.
            self._start_over(whole=whole)

    def _start_over(self, *, whole: bool) -> None:
        shutil.rmtree(self.git)
        make_scratch(self.git)
        self._fetch_branch(whole=whole)

    def _fetch_branch(self, *, whole: bool) -> None:
        is_part = bool(self.shallow()) or self.tip() is None
        if whole or not is_part or not self._fetch_tip():
            self._fetch_ref(*(["--unshallow"] if self.shallow() else []))

    def _fetch_tip(self) -> bool:
        """Fetch only the last commit of the branch; return whether the others are not needed."""
        try:
            self._fetch_ref("--depth=1")
        except Unreachable as error:
            if "shallow" not in error.words:  # as for plain files, and for old servers
                raise
            return False
        tip = self.tip()
        if tip is None or tip.hex() not in self.shallow():
            return tip is not None  # without parents, it is the whole branch
        # git keeps earlier tips in the list, and sends it with each request
        replace_file(self.git / "shallow", f"{tip.hex()}\n".encode(), durable=False)
        return self.table(tip) is not None

    def _fetch_ref(self, *options: str) -> None:
        branch = f"+{REMOTE_INDEX}:{REMOTE_INDEX}"
        self.transport.fetch(self.git, [branch], *options, most=self.remote.index_limit)

    def shallow(self) -> list[str]:
        """Return the commits whose parents were not fetched."""
        try:
            return (self.git / "shallow").read_text().split()
        except FileNotFoundError:
            return []

    def table(self, commit: Oid) -> Lookup | None:
        """Return the lookup table in a commit, or None if it has none or an invalid one."""
        if commit not in self._tables:
            most = TABLE_LISTS * self.remote.list_limit
            self._tables = {commit: read_lookup(self.objects(), commit, most)}
        return self._tables[commit]

    def objects(self) -> ObjectDatabase:
        """Return the objects of the branch; reading one over the record limit raises StoreError."""
        return ObjectDatabase(self.git, most=self.remote.record_limit)

    def commits(self, tip: Oid) -> list[str]:
        """Return the commits of the branch, oldest first. Raises Unreachable for too many."""
        command = ["rev-list", "--first-parent", f"--max-count={MOST_COMMITS + 1}", tip.hex()]
        try:
            commits = run_git(self.git, command).decode().split()
        except StoreError:  # the copy is damaged, but the remote had nothing to add to it
            self._start_over(whole=True)
            commits = run_git(self.git, command).decode().split()
        if len(commits) > MOST_COMMITS:
            raise Unreachable(
                self.remote.name,
                f"its index has more than {MOST_COMMITS} commits",
                hint=f"run `prov remote gc {self.remote.name}` to shrink it",
            )
        return commits[::-1]
