"""Read a git remote: a bare repository in a folder, or served by ssh, git daemon or http.

| ref at the remote | content |
|---|---|
| `refs/heads/prov/index` | one commit per push, with its publications and their signatures |
| `refs/heads/prov/content` | all records with their inputs and outputs, as parents of commits with
an empty tree |
| `refs/heads/prov/incoming/…` | objects sent so far by a running or interrupted push |

`content` is never fetched as a whole; records are requested by id.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from prov.errors import StoreError
from prov.files import locked
from prov.intake.source import Content, Source
from prov.intake.wellformed import Limits
from prov.records.refs import REMOTE_CONTENT
from prov.remote.bases import write_record_commits
from prov.remote.index import Index
from prov.remote.index_branch import UNREADABLE, Entering, PublishedId, read_commit, read_text
from prov.remote.lookup.copy import BranchCopy
from prov.remote.lookup.table import Lookup, Row
from prov.remote.reading import PublishedText, memory_folder, policy_of, refresh_index
from prov.remote.settings import RECORD_LIMIT, Remote
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase
from prov.store.repository import Store
from prov.transport.access import Access
from prov.transport.errors import Refused, Unreachable, Untrusted
from prov.transport.git import RECEIVED, Transport, make_scratch

_NOT_ENOUGH = re.compile(
    r"necessary objects|unresolved delta|missing|bad object|[Cc]ould not (read|parse)"
)
_NOT_SERVED = re.compile(r"not our ref|bad object|missing")
"""A published text that the server lacks, or does not serve by id."""
SMALL = 10_000
"""Number of results up to which the whole index is fetched, which costs less than look-ups."""


@dataclass(slots=True)
class GitRemote:
    """A remote and its local cache in `folder`, which may be deleted at any time."""

    remote: Remote
    store: Store
    access: Access
    folder: Path = field(init=False)
    index: Index = field(init=False)
    transport: Transport = field(init=False)
    branch: BranchCopy = field(init=False)
    """The local copy of the index's branch."""
    _asked: set[Oid] = field(default_factory=set)
    """Ids whose publications the index has, if the remote has any."""
    _look_ups: int = 0
    """Number of look-ups that fetched publications."""

    def __post_init__(self) -> None:
        self.folder = memory_folder(self.store, self.remote)
        make_scratch(self.git)
        self.index = Index(self.folder / "index")
        self.transport = Transport(self.remote.name, self.remote.url, self.access)
        self.branch = BranchCopy(self.git, self.remote, self.transport)

    @property
    def name(self) -> str:
        return self.remote.name

    @property
    def git(self) -> Path:
        """The repository that holds the index's branch."""
        return self.folder / "git"

    @property
    def tip(self) -> Oid | None:
        """The last commit of the branch that the index includes.

        Read it before the index: a later push then detects a change by another process in between.
        """
        return self.index.oid("tip")

    def refresh(self, *, whole: bool = True) -> list[Untrusted]:
        """Update the index; return why new publications are rejected. Raises Unreachable.

        Unless the index must be `whole`, publications of a large index stay at the remote until
        `look_up` needs them, or a caller needs all of them.
        """
        return refresh_index(self.folder, self.index, lambda: self._refresh(whole=whole))

    def _refresh(self, *, whole: bool) -> list[Untrusted]:
        try:
            self.branch.fetch(whole=whole)
        except KeyError:  # nothing was published yet
            with self.index.changing(clear=True):
                self.index.put("policy", policy_of(self.remote))
            return []
        return self._read()

    def _read(self) -> list[Untrusted]:
        """Add the branch's new commits to the index, or all if it was rewritten or the policy
        changed.
        """
        tip = self.branch.tip()
        assert tip is not None
        last = self.index.get("tip")
        # read the policy before applying it: a key may expire in between
        policy = policy_of(self.remote)
        is_same_policy = self.index.get("policy") == policy
        part = self.index.get("part")
        if last == tip.hex() and is_same_policy and part in ("", *self.branch.shallow()):
            return []
        if tip.hex() in self.branch.shallow():
            self._read_table(tip, policy)
            return []
        commits = self.branch.commits(tip)
        again = not is_same_policy or last not in commits or bool(part)
        size = 0
        if not again:
            commits = commits[commits.index(last) + 1 :]
            size = self.index.number("size")
        refused: list[Untrusted] = []
        with self.index.changing(clear=again):
            entering = Entering(self.remote, self.index, self.branch.objects(), size)
            for commit in commits:
                refused += entering.enter(bytes.fromhex(commit))
            self.index.put("tip", tip.hex())
            self.index.put("size", str(entering.total))
            self.index.put("policy", policy)
            self.index.put("part", "")
        return refused

    def _read_table(self, tip: Oid, policy: str) -> None:
        """Keep the publications in the index that are unchanged; `look_up` adds others."""
        entered = self.index.numbers()
        part = self.index.oid("part")
        before, now = (
            {row for row in table.rows() if row.number in entered} if table else set[Row]()
            for table in (self.branch.table(part) if part else None, self.branch.table(tip))
        )
        is_same = self.index.get("policy") == policy and before == now and len(now) == len(entered)
        with self.index.changing(clear=not is_same):
            self.index.put("tip", tip.hex())
            self.index.put("policy", policy)
            self.index.put("part", tip.hex())
        self._asked.clear()

    def look_up(self, ids: Iterable[Oid]) -> list[Untrusted]:
        """Add the publications that may name some ids, if `refresh` left them at the remote.

        Returns why publications are rejected. Raises Unreachable.
        """
        new = [oid for oid in ids if oid not in self._asked]
        self._asked.update(new)
        if not new or not self.index.get("part"):
            return []
        return refresh_index(self.folder, self.index, lambda: self._look_up(new))

    def _look_up(self, ids: Sequence[Oid]) -> list[Untrusted]:
        part = self.index.oid("part")
        table = self.branch.table(part) if part is not None else None
        if table is None:  # deleted or damaged
            return self._refresh(whole=True)
        entered = self.index.numbers()
        rows = {row.number: row for oid in ids for row in table.find(oid)}
        wanted = [row for number, row in rows.items() if number not in entered]
        if not wanted:
            return []
        # Each look-up is a connection. Double what is fetched, so that there are few of them: the
        # results of one build are in successive publications.
        known = entered | rows.keys()
        others = [row for row in table.rows() if row.number not in known]
        wanted += others[max(0, len(others) + 1 - (1 << self._look_ups)) :]
        self._look_ups += 1
        try:
            return self._enter_rows(table, sorted(wanted))
        except Unreachable as error:
            if not isinstance(error, Refused) and not _NOT_SERVED.search(error.words):
                raise
        return self._refresh(whole=True)

    def _enter_rows(self, table: Lookup, rows: Sequence[Row]) -> list[Untrusted]:
        """Fetch publications of a lookup table, and add them to the index."""
        blobs = [oid for row in rows for oid in (row.text, row.signature) if oid]
        with self.scratch(without_store=True) as scratch:
            self._fetch_objects(scratch, blobs, (), most=self.remote.index_limit)
            objects = ObjectDatabase(scratch, most=self.remote.record_limit)
            with self.index.changing():
                size = self.index.number("size")
                entering = Entering(self.remote, self.index, objects, size)
                problems = [
                    entering.enter_row(row, partial(table.without_deleted, row.number))
                    for row in rows
                ]
                self.index.put("size", str(entering.total))
        return [problem for problem in problems if problem]

    def published_texts(self) -> tuple[dict[int, PublishedId], set[Oid]]:
        """Return all publications of the branch by number, and the ids of deleted content."""
        objects = self.branch.objects()
        texts: dict[int, PublishedId] = {}
        deleted: set[Oid] = set()
        tip = self.branch.tip()
        for commit in self.branch.commits(tip) if tip is not None else ():
            with contextlib.suppress(*UNREADABLE):
                content = read_commit(objects, bytes.fromhex(commit), self.remote.list_limit)
                texts = content.publications | texts  # of a reused number, the first one counts
                deleted |= content.deleted
        return texts, deleted

    def published_text(self, publication: PublishedId) -> PublishedText:
        """Return a publication with its signature.

        Raises StoreError if either of them is missing or too large.
        """
        return read_text(self.branch.objects(), publication, self.remote.list_limit)

    @contextmanager
    def objects(
        self, commits: Sequence[Oid], have: Sequence[Oid], *, without_store: bool = False
    ) -> Iterator[Source]:
        """Fetch commits into a scratch repository; yield a source of all objects that they hold.

        `have` are records that both sides have; the server omits their objects. `without_store`
        fetches all objects, for a store that may lack some. Raises Unreachable.
        """
        with self.scratch(without_store=without_store) as scratch:
            repository = scratch
            try:
                if self._whole.exists():
                    raise Refused(self.name, "an earlier request for objects by id was refused")
                self._fetch_objects(scratch, commits, write_record_commits(scratch, have))
            except Refused:
                repository = self._fetch_everything()
            yield object_source(repository, self.remote.record_limit)

    @contextmanager
    def scratch(self, *, without_store: bool = False) -> Iterator[Path]:
        """Yield a temporary repository that also reads the objects of the store and the index."""
        for folder in self.folder.glob("scratch-*"):  # of killed processes
            if not Path("/proc", folder.name.split("-")[1]).exists():
                shutil.rmtree(folder, ignore_errors=True)
        alternates = () if without_store else (self.store.path, self.git)
        prefix = f"scratch-{os.getpid()}-"
        with tempfile.TemporaryDirectory(prefix=prefix, dir=self.folder) as path:
            yield make_scratch(Path(path), *alternates)

    @property
    def _whole(self) -> Path:
        """A copy of all content, for a remote that does not serve objects by id."""
        return self.folder / "whole"

    def _fetch_objects(
        self, scratch: Path, oids: Sequence[Oid], have: Sequence[Oid], *, most: int = RECEIVED
    ) -> None:
        by_variable = self.index.get("way") == "variable"
        fetch = partial(self._fetch_missing, scratch, oids, have, most=most)
        try:
            fetch(by_variable=by_variable)
        except Refused:
            if by_variable or not self.transport.is_ssh:
                raise
            fetch(by_variable=True)
            with self.index.changing():
                self.index.put("way", "variable")

    def _fetch_missing(
        self,
        scratch: Path,
        oids: Sequence[Oid],
        have: Sequence[Oid],
        *,
        by_variable: bool,
        most: int,
    ) -> None:
        fetch = partial(
            self.transport.fetch_objects, scratch, oids, by_variable=by_variable, most=most
        )
        try:
            fetch(have)
        except Unreachable as error:
            if not have or isinstance(error, Refused) or not _NOT_ENOUGH.search(error.words):
                raise
            # an object of `have` was deleted by a garbage collection since
            fetch(())

    def _fetch_everything(self) -> Path:
        """Update a copy of all content, for a server that serves only refs; return its path."""
        with locked(self.folder / "whole.lock"):
            part = self._whole if self._whole.exists() else make_scratch(self.folder / "whole.part")
            branch = f"+{REMOTE_CONTENT}:{REMOTE_CONTENT}"
            self.transport.fetch(part, [branch], most=Limits().size)
            return part if part == self._whole else part.rename(self._whole)


def object_source(repository: Path, most: int = RECORD_LIMIT) -> Source:
    """Return a source of a repository's objects; it streams objects of more than `most` bytes."""
    objects = ObjectDatabase(repository, most=most)

    def read(oid: Oid) -> Content | None:
        try:
            return Content(*objects.stream(oid))
        except StoreError:
            return None

    return read
