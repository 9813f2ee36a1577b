"""A remote that git serves: a bare repository in a folder, behind ssh, git's own daemon or http.

| ref there | holds | |---|---| | `refs/heads/prov/index` | what was published: a commit for each
push, with its publications and their signatures | | `refs/heads/prov/content` | all records, and
with them inputs and outputs, as parents of commits without content | | `refs/heads/prov/incoming/…`
| what a push that is under way, or was broken off, has sent so far |

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
from typing import NamedTuple

from prov.errors import StoreError
from prov.files import locked
from prov.intake.source import Content, Source
from prov.intake.wellformed import Limits
from prov.remote.bases import write_record_commits
from prov.remote.index import Damaged, Index
from prov.remote.reading import (
    SIGNATURE,
    PublishedText,
    check_index_size,
    enter,
    memory_folder,
    policy_of,
)
from prov.remote.settings import RECORD_LIMIT, Remote
from prov.store.git import run_git
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase
from prov.store.refs import RefStore
from prov.store.repository import Store
from prov.transport.access import Access
from prov.transport.errors import Malformed, Refused, TooMuch, Unreachable, Untrusted
from prov.transport.git import Transport, make_scratch

INDEX = "refs/heads/prov/index"
CONTENT = "refs/heads/prov/content"
INCOMING = "refs/heads/prov/incoming/"
PUBLICATIONS, SIGNATURES, GONE = "publications", "signatures", "gone"
_NOT_ENOUGH = re.compile(
    r"necessary objects|unresolved delta|missing|bad object|[Cc]ould not (read|parse)"
)
_TORN = re.compile(
    r"bad object|necessary objects|corrupt|[Cc]ould not (read|parse)|is empty|bad"
    r" (config|pack)|broken|Unable to create"
)
_NUMBER = re.compile(r"[0-9]{8,12}")
_ID = re.compile(rb"(?<!\S)[0-9a-f]{40}(?!\S)")
MOST_COMMITS = 1_000_000
"""So many pushes the index may have seen since it was collected last."""
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
        """The commit of the branch that the index tells of.

        Ask before the index: who changes it then is noticed.
        """
        return self.index.oid("tip")

    def refresh(self) -> list[Untrusted]:
        """Bring the index up to date; return what of the new is refused. Raises Unreachable."""
        with locked(self.folder / "lock"):
            try:
                return self._refresh()
            except Damaged:
                self.index.begin_anew()
                return self._refresh()

    def _refresh(self) -> list[Untrusted]:
        try:
            self._fetch_index()
        except KeyError:  # nothing was published yet
            with self.index.changing(anew=True):
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
            # what is kept here is not synced, and did not survive a power cut or a kill, or holds
            # much that the branch held before: it is fetched anew
            shutil.rmtree(self.git)
            make_scratch(self.git)
            self._fetch_branch()

    def _fetch_branch(self) -> None:
        self.transport.fetch(self.git, [f"+{INDEX}:{INDEX}"], most=self.remote.index_limit)

    def _read(self) -> list[Untrusted]:
        """Enter the branch's new commits; all of them, if it was rewritten or the policy is another
        now.
        """
        tip = RefStore(self.git).get(INDEX)
        assert tip is not None
        known = self.index.get("tip")
        policy = policy_of(
            self.remote
        )  # before anything is judged by it: a key may expire meanwhile
        if known == tip.hex() and self.index.get("policy") == policy:
            return []
        new = self._commits(tip)
        again = self.index.get("policy") != policy or known not in new
        refused: list[Untrusted] = []
        with self.index.changing(anew=again):
            entering = _Entering(self, self._objects(), 0 if again else self.index.number("size"))
            for commit in new if again else new[new.index(known) + 1 :]:
                refused += entering.enter(bytes.fromhex(commit))
            self.index.put("tip", tip.hex())
            self.index.put("size", str(entering.total))
            self.index.put("policy", policy)
        return refused

    def _objects(self) -> ObjectDatabase:
        """Return the objects of the branch, of which none is read that is larger than a record may
        be.
        """
        return ObjectDatabase(self.git, most=self.remote.record_limit)

    def _commits(self, tip: Oid) -> list[str]:
        """Return the commits of the branch, the first first. Raises Unreachable for too many."""
        command = ["rev-list", "--first-parent", f"--max-count={MOST_COMMITS + 1}", tip.hex()]
        found = run_git(self.git, command).decode().split()
        if len(found) > MOST_COMMITS:
            raise Unreachable(
                self.name,
                f"its index has more than {MOST_COMMITS} commits",
                hint="`prov remote gc`",
            )
        return found[::-1]

    def published_texts(self) -> tuple[dict[int, PublishedId], set[Oid]]:
        """Return all publications by their numbers, as the branch has them, and what is gone of
        what they name.
        """
        objects = self._objects()
        texts: dict[int, PublishedId] = {}
        gone: set[Oid] = set()
        tip = RefStore(self.git).get(INDEX)
        for commit in self._commits(tip) if tip is not None else ():
            with contextlib.suppress(*_UNREADABLE):
                more, out = _read_commit(objects, bytes.fromhex(commit), self.remote.list_limit)
                texts = more | texts  # of a number that was used again, the first counts
                gone |= out
        return texts, gone

    def published_text(self, each: PublishedId) -> PublishedText:
        """Return a publication with its signature.

        Raises StoreError if one of them is missing or too large.
        """
        return _read_text(self._objects(), each, self.remote.list_limit)

    @contextmanager
    def objects(
        self, commits: Sequence[Oid], have: Sequence[Oid], *, alone: bool = False
    ) -> Iterator[Source]:
        """Fetch commits into a repository of their own, and yield what reads all that they hold.
        Raises Unreachable.

        `have` names records that are here and there, from which the server can tell what is
        missing. Alone: nothing that the store says to have is taken to be there.
        """
        with self.scratch(alone=alone) as scratch:
            found = scratch
            try:
                if self._whole.exists():
                    raise Refused(self.name, "it gave no objects by their ids before")
                self._fetch_objects(scratch, commits, write_record_commits(scratch, have))
            except Refused:
                found = self._fetch_everything()
            yield _reader(found, self.remote.record_limit)

    @contextmanager
    def scratch(self, *, alone: bool = False) -> Iterator[Path]:
        """Yield an empty repository that also reads what the store and the index hold; it is
        removed afterwards.
        """
        for left in self.folder.glob("scratch-*"):
            if not Path("/proc", left.name.split("-")[1]).exists():
                shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(
            prefix=f"scratch-{os.getpid()}-", dir=self.folder
        ) as folder:
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

    def _fetch_missing(
        self, scratch: Path, commits: Sequence[Oid], have: Sequence[Oid], *, by_variable: bool
    ) -> None:
        try:
            self.transport.fetch_objects(scratch, commits, have, by_variable=by_variable)
        except Unreachable as error:
            if not have or isinstance(error, Refused) or not _NOT_ENOUGH.search(error.words):
                raise
            # something of what we said to have was collected here meanwhile
            self.transport.fetch_objects(scratch, commits, (), by_variable=by_variable)

    def _fetch_everything(self) -> Path:
        """The slow way, where only refs are given out: keep a copy of all content, and fetch what
        is new of it.
        """
        with locked(self.folder / "whole.lock"):
            part = self._whole if self._whole.exists() else make_scratch(self.folder / "whole.part")
            self.transport.fetch(part, [f"+{CONTENT}:{CONTENT}"], most=Limits().size)
            return part if part == self._whole else part.rename(self._whole)


class PublishedId(NamedTuple):
    """A publication as a commit of the index names it: its text's blob, and its signature's."""

    text: Oid
    signature: Oid | None


@dataclass(slots=True)
class _Entering:
    """Enters commits of the index, one publication after the other: together they may be large."""

    remote: GitRemote
    objects: ObjectDatabase
    total: int
    """Bytes of the publications that were entered."""

    def enter(self, commit: Oid) -> list[Untrusted]:
        remote = self.remote
        try:
            texts, gone = _read_commit(self.objects, commit, remote.remote.list_limit)
            for each in texts.values():
                for oid in filter(None, each):
                    self._check(oid)
        except _UNREADABLE as error:
            return [
                Malformed(remote.name, f"commit {commit.hex()} of its index can't be read: {error}")
            ]
        problems = [self._enter_text(number, each) for number, each in sorted(texts.items())]
        remote.index.remove(gone)
        return [problem for problem in problems if problem]

    def _check(self, oid: Oid) -> None:
        """Raise StoreError for what can't be a publication, or a signature."""
        kind, _size = self.objects.header(oid)
        if kind != "blob":
            raise StoreError(f"object {oid.hex()} is a {kind}, not a blob")

    def _enter_text(self, number: int, each: PublishedId) -> Untrusted | None:
        remote = self.remote
        if number <= remote.index.last():
            return Malformed(
                remote.name,
                f"publication {number} has the number of an earlier one, or a lower one",
            )
        try:
            found = _read_text(self.objects, each, remote.remote.list_limit)
        except StoreError as error:
            return Malformed(remote.name, f"publication {number} can't be read: {error}")
        self.total += len(found.text)
        check_index_size(remote.remote, self.total)
        return enter(remote.index, remote.remote, number, found)


def _read_commit(
    objects: ObjectDatabase, commit: Oid, most: int
) -> tuple[dict[int, PublishedId], set[Oid]]:
    """Return the publications of one commit of the index by their numbers, and what it says is
    gone.
    """
    top = {
        each.name.decode("ascii", "replace"): each.oid
        for each in objects.tree(objects.commit(commit).tree)
    }
    folders = {
        name: {each.name.decode("ascii", "replace"): each.oid for each in objects.tree(top[name])}
        for name in (PUBLICATIONS, SIGNATURES)
        if name in top
    }
    signatures = folders.get(SIGNATURES, {})
    texts = {
        int(name): PublishedId(oid, signatures.get(name))
        for name, oid in folders.get(PUBLICATIONS, {}).items()
        if _NUMBER.fullmatch(name) and f"{int(name):08d}" == name
    }
    data = objects.blob(top[GONE], most=most) if GONE in top else b""
    return texts, {bytes.fromhex(row[0].decode()) for row in _ID.finditer(data)}


def _read_text(objects: ObjectDatabase, each: PublishedId, most: int) -> PublishedText:
    signature = objects.blob(each.signature, most=SIGNATURE) if each.signature is not None else None
    return PublishedText(objects.blob(each.text, most=most), signature)


def _reader(repository: Path, most: int = RECORD_LIMIT) -> Source:
    objects = ObjectDatabase(repository, most=most)

    def read(oid: Oid) -> Content | None:
        try:
            return Content(*objects.stream(oid))
        except StoreError:
            return None

    return read
