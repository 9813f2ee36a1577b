"""The branch of a git remote that lists what was published: a commit for each push.

A commit's tree has the push's publications, their signatures, and what was deleted of the content.
Anyone who may push may have written anything into it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from prov.errors import StoreError
from prov.remote.index import Index
from prov.remote.reading import SIGNATURE, PublishedText, check_index_size, enter
from prov.remote.settings import Remote
from prov.store.objects import Oid
from prov.store.odb import ObjectDatabase
from prov.transport.errors import Malformed, Untrusted

PUBLICATIONS, SIGNATURES, GONE = "publications", "signatures", "gone"
"""Entries of a commit's tree: two folders with a file for each publication, and a list of ids."""
_NUMBER = re.compile(r"[0-9]{8,12}")
_ID = re.compile(rb"(?<!\S)[0-9a-f]{40}(?!\S)")
UNREADABLE = (StoreError, ValueError, IndexError)
"""What reading a commit of the branch may raise."""


class PublishedId(NamedTuple):
    """A publication as a commit of the branch names it: its text's blob, and its signature's."""

    text: Oid
    signature: Oid | None


@dataclass(frozen=True, slots=True)
class IndexCommit:
    """What one commit of the branch says."""

    publications: dict[int, PublishedId]
    """By their numbers."""
    deleted: set[Oid]
    """Records, by their trees, and WORKDIRs that the content has no more."""


def read_commit(objects: ObjectDatabase, commit: Oid, most: int) -> IndexCommit:
    """Return what a commit of the branch says; no list of more than `most` bytes is read.

    Raises one of UNREADABLE.
    """
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
    """Return a publication with its signature. Raises StoreError for a missing or a large one."""
    signature = None
    if publication.signature is not None:
        signature = objects.blob(publication.signature, most=SIGNATURE)
    return PublishedText(objects.blob(publication.text, most=most), signature)


@dataclass(slots=True)
class Entering:
    """Enters commits into an index, one publication after the other: together they may be large."""

    remote: Remote
    index: Index
    objects: ObjectDatabase
    total: int
    """Bytes of the publications that were entered."""

    def enter(self, commit: Oid) -> list[Untrusted]:
        """Enter a commit of the branch; return what of it is refused. Raises Unreachable."""
        try:
            content = read_commit(self.objects, commit, self.remote.list_limit)
            for publication in content.publications.values():
                self._check_blobs(publication)
        except UNREADABLE as error:
            words = f"commit {commit.hex()} of its index can't be read: {error}"
            return [Malformed(self.remote.name, words)]
        problems = [
            self._enter_text(number, publication)
            for number, publication in sorted(content.publications.items())
        ]
        self.index.remove(content.deleted)
        return [problem for problem in problems if problem]

    def _check_blobs(self, publication: PublishedId) -> None:
        """Raise StoreError for what can't be a publication, or a signature."""
        for oid in filter(None, publication):
            kind, _size = self.objects.header(oid)
            if kind != "blob":
                raise StoreError(f"object {oid.hex()} is a {kind}, not a blob")

    def _enter_text(self, number: int, publication: PublishedId) -> Untrusted | None:
        if number <= self.index.last():
            return Malformed(
                self.remote.name,
                f"publication {number} has the number of an earlier one, or a lower one",
            )
        try:
            text = read_text(self.objects, publication, self.remote.list_limit)
        except StoreError as error:
            return Malformed(self.remote.name, f"publication {number} can't be read: {error}")
        self.total += len(text.text)
        check_index_size(self.remote, self.total)
        return enter(self.index, self.remote, number, text)
