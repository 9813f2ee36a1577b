"""A remote that git serves: a bare repository in a folder, behind ssh, git's own daemon or http.

| ref there | holds |
|---|---|
| `refs/heads/prov/index` | what was published: a commit for each push, with its publications and their signatures |
| `refs/heads/prov/content` | all records, and with them inputs and outputs, as parents of commits without content |
| `refs/heads/prov/incoming/…` | what a push that is under way, or was broken off, has sent so far |

Nobody fetches `content`: records are asked for by their ids.
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
from prov.remote.access import Access
from prov.remote.bases import write_record_commits
from prov.remote.errors import Malformed, Unreachable, Untrusted
from prov.remote.index import Index
from prov.remote.intake import Source
from prov.remote.reading import PublishedText, enter, memory_folder, policy_of
from prov.remote.settings import Remote
from prov.remote.transport import Refused, Transport, make_scratch
from prov.store.git import run_git
from prov.store.objects import Kind, Oid
from prov.store.odb import ObjectDatabase
from prov.store.refs import RefStore
from prov.store.repository import Store

INDEX = "refs/heads/prov/index"
CONTENT = "refs/heads/prov/content"
INCOMING = "refs/heads/prov/incoming/"
PUBLICATIONS, SIGNATURES, GONE = "publications", "signatures", "gone"
_NOT_ENOUGH = re.compile(r"necessary objects|unresolved delta|missing|bad object|[Cc]ould not (read|parse)")
_TORN = re.compile(
    r"bad object|necessary objects|corrupt|[Cc]ould not (read|parse)|is empty|bad (config|pack)|broken|Unable to create"
)
_NUMBER = re.compile(r"[0-9]{8,12}")
_UNREADABLE = (StoreError, ValueError, IndexError)
"""What reading a commit of the index may lead to: whoever may push may have written anything."""


@dataclass(slots=True)
class GitRemote:
    """A remote and what this machine knows of it; `folder` may be deleted at any time."""

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
        """The commit of the branch that the index tells of. Ask before the index: who changes it then is noticed."""
        known = self.index.get("tip")
        return bytes.fromhex(known) if known else None

    def refresh(self) -> list[Untrusted]:
        """Bring the index up to date; return what of the new is refused. Raises Unreachable."""
        with locked(self.folder / "lock"):
            try:
                self._fetch_index()
            except KeyError:  # nothing was published yet
                with self.index.changing(anew=True):
                    self.index.put("policy", policy_of(self.remote))
                return []
            return self._read()

    def _fetch_index(self) -> None:
        try:
            self.transport.fetch(self.git, [f"+{INDEX}:{INDEX}"])
        except Unreachable as error:
            if not _TORN.search(error.words):
                raise
            # what is kept here is not synced, and did not survive a power cut or a kill: it is fetched anew
            shutil.rmtree(self.git)
            make_scratch(self.git)
            self.transport.fetch(self.git, [f"+{INDEX}:{INDEX}"])

    def _read(self) -> list[Untrusted]:
        """Enter the branch's new commits; all of them, if it was rewritten or the policy is another now."""
        tip = RefStore(self.git).get(INDEX)
        assert tip is not None
        known = self.index.get("tip")
        policy = policy_of(self.remote)  # before anything is judged by it: a key may expire meanwhile
        if known == tip.hex() and self.index.get("policy") == policy:
            return []
        new = run_git(self.git, ["rev-list", "--first-parent", "--reverse", tip.hex()]).decode().split()
        again = self.index.get("policy") != policy or known not in new
        objects = ObjectDatabase(self.git)
        refused: list[Untrusted] = []
        with self.index.changing(anew=again):
            for commit in new if again else new[new.index(known) + 1 :]:
                refused += self._enter(objects, bytes.fromhex(commit))
            self.index.put("tip", tip.hex())
            self.index.put("policy", policy)
        return refused

    def _enter(self, objects: ObjectDatabase, commit: Oid) -> list[Untrusted]:
        try:
            texts, gone = _read_commit(objects, commit)
        except _UNREADABLE as error:
            return [Malformed(self.name, f"commit {commit.hex()} of its index can't be read: {error}")]
        problems = [self._enter_text(number, each) for number, each in sorted(texts.items())]
        self.index.remove(gone)
        return [problem for problem in problems if problem]

    def _enter_text(self, number: int, each: PublishedText) -> Untrusted | None:
        if number <= self.index.last():
            return Malformed(self.name, f"publication {number} has the number of an earlier one, or a lower one")
        return enter(self.index, self.remote, number, each)

    def published_texts(self) -> tuple[dict[int, PublishedText], set[Oid]]:
        """Return all publications by their numbers, as the branch has them, and what is gone of what they name."""
        objects = ObjectDatabase(self.git)
        texts: dict[int, PublishedText] = {}
        gone: set[Oid] = set()
        for commit in run_git(self.git, ["rev-list", "--first-parent", "--reverse", INDEX]).decode().split():
            with contextlib.suppress(*_UNREADABLE):
                more, out = _read_commit(objects, bytes.fromhex(commit))
                texts = more | texts  # of a number that was used again, the first counts
                gone |= out
        return texts, gone

    @contextmanager
    def objects(self, commits: Sequence[Oid], have: Sequence[Oid], *, alone: bool = False) -> Iterator[Source]:
        """Fetch commits into a repository of their own, and yield what reads all that they hold. Raises Unreachable.

        `have` names records that are here and there, from which the server can tell what is missing. Alone: nothing
        that the store says to have is taken to be there.
        """
        with self.scratch(alone=alone) as scratch:
            found = scratch
            try:
                if self._whole.exists():
                    raise Refused(self.name, "it gave no objects by their ids before")
                self._fetch_objects(scratch, commits, write_record_commits(scratch, have))
            except Refused:
                found = self._fetch_everything()
            yield _reader(found)

    @contextmanager
    def scratch(self, *, alone: bool = False) -> Iterator[Path]:
        """Yield an empty repository that also reads what the store and the index hold; it is removed afterwards."""
        for left in self.folder.glob("scratch-*"):
            if not Path("/proc", left.name.split("-")[1]).exists():
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(prefix=f"scratch-{os.getpid()}-", dir=self.folder) as folder:
            yield make_scratch(Path(folder), *(() if alone else (self.store.path, self.git)))

    @property
    def _whole(self) -> Path:
        """A copy of all the content, of a remote that gives nothing less."""
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

    def _fetch_missing(self, scratch: Path, commits: Sequence[Oid], have: Sequence[Oid], *, by_variable: bool) -> None:
        try:
            self.transport.fetch_objects(scratch, commits, have, by_variable=by_variable)
        except Unreachable as error:
            if not have or isinstance(error, Refused) or not _NOT_ENOUGH.search(error.words):
                raise
            # something of what we said to have was collected here meanwhile
            self.transport.fetch_objects(scratch, commits, (), by_variable=by_variable)

    def _fetch_everything(self) -> Path:
        """The slow way, where only refs are given out: keep a copy of all content, and fetch what is new of it."""
        with locked(self.folder / "whole.lock"):
            part = self._whole if self._whole.exists() else make_scratch(self.folder / "whole.part")
            self.transport.fetch(part, [f"+{CONTENT}:{CONTENT}"])
            return part if part == self._whole else part.rename(self._whole)


def _read_commit(objects: ObjectDatabase, commit: Oid) -> tuple[dict[int, PublishedText], set[Oid]]:
    """Return the publications of one commit of the index by their numbers, and what it says is gone."""
    top = {each.name.decode("ascii", "replace"): each.oid for each in objects.tree(objects.commit(commit).tree)}
    folders = {
        name: {each.name.decode("ascii", "replace"): each.oid for each in objects.tree(top[name])}
        for name in (PUBLICATIONS, SIGNATURES)
        if name in top
    }
    signatures = folders.get(SIGNATURES, {})
    texts = {
        int(name): PublishedText(objects.blob(oid), objects.blob(signatures[name]) if name in signatures else None)
        for name, oid in folders.get(PUBLICATIONS, {}).items()
        if _NUMBER.fullmatch(name) and f"{int(name):08d}" == name
    }
    rows = objects.blob(top[GONE]).decode("ascii", "replace").split() if GONE in top else []
    return texts, {bytes.fromhex(row) for row in rows if re.fullmatch("[0-9a-f]{40}", row)}


def _reader(repository: Path) -> Source:
    objects = ObjectDatabase(repository)

    def read(oid: Oid) -> tuple[Kind, bytes] | None:
        try:
            return objects.read(oid)
        except StoreError:
            return None

    return read
