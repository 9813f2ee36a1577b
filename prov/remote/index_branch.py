"""Read the branch of a git remote that lists all publications: one commit per push.

A commit's tree holds the push's publications, their signatures, and the ids of deleted content.
Nothing in it is trusted: everyone with push access can write to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from prov.errors import StoreError
from prov.remote.index import Index, Listed
from prov.remote.lookup.table import Row
from prov.remote.publication import Publication
from prov.remote.reading import SIGNATURE, PublishedText, check_index_size, enter
from prov.remote.settings import Remote
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase
from prov.transport.errors import Malformed, Untrusted

PUBLICATIONS, SIGNATURES, GONE = "publications", "signatures", "gone"
"""Entries of a commit's tree: two folders with one file per publication, and a list of ids."""
_NUMBER = re.compile(r"[0-9]{8,12}")
_ID = re.compile(rb"(?<!\S)[0-9a-f]{40}(?!\S)")
UNREADABLE = (StoreError, ValueError, IndexError)
"""Exceptions that reading a commit of the branch can raise."""


class PublishedId(NamedTuple):
    """The blobs of a publication's text and signature."""

    text: Oid
    signature: Oid | None


@dataclass(frozen=True, slots=True)
class IndexCommit:
    """The content of one commit of the branch."""

    publications: dict[int, PublishedId]
    """Publications by number."""
    deleted: set[Oid]
    """Deleted content: trees of records, and WORKDIR commits."""


def read_commit(objects: ObjectDatabase, commit: Oid, most: int) -> IndexCommit:
    """Read a commit of the branch. Raises one of UNREADABLE, also for a list over `most` bytes."""
    top = _entries(objects, objects.commit(commit).tree)
    texts = _entries(objects, top[PUBLICATIONS]) if PUBLICATIONS in top else {}
    signatures = _entries(objects, top[SIGNATURES]) if SIGNATURES in top else {}
    publications = {
        int(name): PublishedId(oid, signatures.get(name))
        for name, oid in texts.items()
        if _NUMBER.fullmatch(name) and f"{int(name):08d}" == name
    }
    data = objects.blob(top[GONE], most=most) if GONE in top else b""
    deleted = {bytes.fromhex(match[0].decode()) for match in _ID.finditer(data)}
    return IndexCommit(publications, deleted)


def _entries(objects: ObjectDatabase, tree: Oid) -> dict[str, Oid]:
    return {entry.name.decode("ascii", "replace"): entry.oid for entry in objects.tree(tree)}


def read_text(objects: ObjectDatabase, publication: PublishedId, most: int) -> PublishedText:
    """Return a publication with its signature.

    Raises StoreError if either of them is missing or too large.
    """
    signature = None
    if publication.signature is not None:
        signature = objects.blob(publication.signature, most=SIGNATURE)
    return PublishedText(objects.blob(publication.text, most=most), signature)


@dataclass(slots=True)
class Entering:
    """Adds commits to an index, one publication at a time: all of them may not fit in memory."""

    remote: Remote
    index: Index
    objects: ObjectDatabase
    total: int
    """Bytes of the added publications."""

    def enter_row(
        self, row: Row, present: Callable[[Publication], Publication]
    ) -> Untrusted | None:
        """Add a publication of a lookup table; return why it is rejected. Raises Unreachable."""
        try:
            text = read_text(
                self.objects, PublishedId(row.text, row.signature), self.remote.list_limit
            )
        except StoreError as error:
            words = f"cannot read publication {row.number}: {error}"
            self.index.add(Listed(row.number, row.text, 0, "", words), None)
            return Malformed(self.remote.name, words)
        self._count(text)
        return enter(self.index, self.remote, row.number, text, present)

    def enter(self, commit: Oid) -> list[Untrusted]:
        """Add a commit of the branch; return why publications are rejected. Raises Unreachable."""
        try:
            content = read_commit(self.objects, commit, self.remote.list_limit)
            for publication in content.publications.values():
                self._check_blobs(publication)
        except UNREADABLE as error:
            words = f"cannot read commit {commit.hex()} of its index: {error}"
            return [Malformed(self.remote.name, words)]
        problems = [
            self._enter_text(number, publication)
            for number, publication in sorted(content.publications.items())
        ]
        self.index.remove(content.deleted)
        return [problem for problem in problems if problem]

    def _check_blobs(self, publication: PublishedId) -> None:
        """Raise StoreError unless the publication and its signature are blobs."""
        for oid in filter(None, publication):
            kind, _size = self.objects.header(oid)
            if kind != "blob":
                raise StoreError(f"object {oid.hex()} is a {kind}, not a blob")

    def _enter_text(self, number: int, publication: PublishedId) -> Untrusted | None:
        if number <= self.index.last():
            return Malformed(
                self.remote.name,
                f"publication {number} does not follow publication {self.index.last()}",
            )
        try:
            text = read_text(self.objects, publication, self.remote.list_limit)
        except StoreError as error:
            return Malformed(self.remote.name, f"cannot read publication {number}: {error}")
        self._count(text)
        return enter(self.index, self.remote, number, text)

    def _count(self, text: PublishedText) -> None:
        self.total += len(text.text)
        check_index_size(self.remote, self.total)
