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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prov.errors import StoreError
from prov.files import locked
from prov.intake.source import Content, Source
from prov.intake.wellformed import Limits
from prov.records.refs import REMOTE_CONTENT, REMOTE_INDEX
from prov.remote.bases import write_record_commits
from prov.remote.index import Index
from prov.remote.index_branch import UNREADABLE, Entering, PublishedId, read_commit, read_text
from prov.remote.reading import PublishedText, memory_folder, policy_of, refresh_index
from prov.remote.settings import RECORD_LIMIT, Remote
from prov.store.git import run_git
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase
from prov.store.refs import RefStore
from prov.store.repository import Store
from prov.transport.access import Access
from prov.transport.errors import Refused, TooMuch, Unreachable, Untrusted
from prov.transport.git import Transport, make_scratch

_NOT_ENOUGH = re.compile(
    r"necessary objects|unresolved delta|missing|bad object|[Cc]ould not (read|parse)"
)
_TORN = re.compile(
    r"bad object|necessary objects|corrupt|[Cc]ould not (read|parse)|is empty|bad"
    r" (config|pack)|broken|Unable to create"
)
MOST_COMMITS = 1_000_000
"""Maximum number of pushes in the index since the last `prov remote gc`."""


@dataclass(slots=True)
class GitRemote:
    """A remote and its local cache in `folder`, which may be deleted at any time."""

    remote: Remote
    store: Store
    access: Access
    folder: Path = field(init=False)
    index: Index = field(init=False)
    transport: Transport = field(init=False)

    def __post_init__(self) -> None:
        self.folder = memory_folder(self.store, self.remote)
        make_scratch(self.git)
        self.index = Index(self.folder / "index")
        self.transport = Transport(self.remote.name, self.remote.url, self.access)

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

    def refresh(self) -> list[Untrusted]:
        """Update the index; return why new publications are rejected. Raises Unreachable."""
        return refresh_index(self.folder, self.index, self._refresh)

    def _refresh(self) -> list[Untrusted]:
        try:
            self._fetch_index()
        except KeyError:  # nothing was published yet
            with self.index.changing(clear=True):
                self.index.put("policy", policy_of(self.remote))
            return []
        return self._read()

    def _fetch_index(self) -> None:
        try:
            self._fetch_branch()
        except Unreachable as error:
            had_packs = any((self.git / "objects" / "pack").glob("*.pack"))
            if not _TORN.search(error.words) and not (isinstance(error, TooMuch) and had_packs):
                raise
            # The local copy is not synced, so a power cut or a kill may have damaged it, or it
            # holds many objects of earlier versions of the branch. Fetch everything again.
            shutil.rmtree(self.git)
            make_scratch(self.git)
            self._fetch_branch()

    def _fetch_branch(self) -> None:
        branch = f"+{REMOTE_INDEX}:{REMOTE_INDEX}"
        self.transport.fetch(self.git, [branch], most=self.remote.index_limit)

    def _read(self) -> list[Untrusted]:
        """Add the branch's new commits to the index, or all if it was rewritten or the policy
        changed.
        """
        tip = RefStore(self.git).get(REMOTE_INDEX)
        assert tip is not None
        last = self.index.get("tip")
        # read the policy before applying it: a key may expire in between
        policy = policy_of(self.remote)
        is_same_policy = self.index.get("policy") == policy
        if last == tip.hex() and is_same_policy:
            return []
        commits = self._commits(tip)
        again = not is_same_policy or last not in commits
        size = 0
        if not again:
            commits = commits[commits.index(last) + 1 :]
            size = self.index.number("size")
        refused: list[Untrusted] = []
        with self.index.changing(clear=again):
            entering = Entering(self.remote, self.index, self._objects(), size)
            for commit in commits:
                refused += entering.enter(bytes.fromhex(commit))
            self.index.put("tip", tip.hex())
            self.index.put("size", str(entering.total))
            self.index.put("policy", policy)
        return refused

    def _objects(self) -> ObjectDatabase:
        """Return the objects of the branch; reading one over the record limit raises StoreError."""
        return ObjectDatabase(self.git, most=self.remote.record_limit)

    def _commits(self, tip: Oid) -> list[str]:
        """Return the commits of the branch, oldest first. Raises Unreachable for too many."""
        command = ["rev-list", "--first-parent", f"--max-count={MOST_COMMITS + 1}", tip.hex()]
        commits = run_git(self.git, command).decode().split()
        if len(commits) > MOST_COMMITS:
            raise Unreachable(
                self.name,
                f"its index has more than {MOST_COMMITS} commits",
                hint=f"run `prov remote gc {self.name}` to shrink it",
            )
        return commits[::-1]

    def published_texts(self) -> tuple[dict[int, PublishedId], set[Oid]]:
        """Return all publications of the branch by number, and the ids of deleted content."""
        objects = self._objects()
        texts: dict[int, PublishedId] = {}
        deleted: set[Oid] = set()
        tip = RefStore(self.git).get(REMOTE_INDEX)
        for commit in self._commits(tip) if tip is not None else ():
            with contextlib.suppress(*UNREADABLE):
                content = read_commit(objects, bytes.fromhex(commit), self.remote.list_limit)
                texts = content.publications | texts  # of a reused number, the first one counts
                deleted |= content.deleted
        return texts, deleted

    def published_text(self, publication: PublishedId) -> PublishedText:
        """Return a publication with its signature.

        Raises StoreError if either of them is missing or too large.
        """
        return read_text(self._objects(), publication, self.remote.list_limit)

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

    def _fetch_objects(self, scratch: Path, commits: Sequence[Oid], have: Sequence[Oid]) -> None:
        by_variable = self.index.get("way") == "variable"
        try:
            self._fetch_missing(scratch, commits, have, by_variable=by_variable)
        except Refused:
            if by_variable or not self.transport.is_ssh:
                raise
            self._fetch_missing(scratch, commits, have, by_variable=True)
            with self.index.changing():
                self.index.put("way", "variable")

    def _fetch_missing(
        self, scratch: Path, commits: Sequence[Oid], have: Sequence[Oid], *, by_variable: bool
    ) -> None:
        try:
            self.transport.fetch_objects(scratch, commits, have, by_variable=by_variable)
        except Unreachable as error:
            if not have or isinstance(error, Refused) or not _NOT_ENOUGH.search(error.words):
                raise
            # an object of `have` was deleted by a garbage collection since
            self.transport.fetch_objects(scratch, commits, (), by_variable=by_variable)

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
