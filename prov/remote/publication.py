"""Encode and decode publications: the results of one push, in one signed text.

    prov publication 1
    time 1763690000
    task words:compile HASH STATIC OUTPUT RECORD DIGEST size=BYTES [place=…] [workdir=COMMIT:DIGEST]
    used HASH

A `task` line maps a task hash to an output and to the tree of the run's record. DIGEST is that
tree's id in git's SHA-256 object format. It covers every file of inputs and output, so the
signature does not depend on SHA-1. `size` is the size of inputs and output on disk. `place` is
present if the output is not relocatable. A `used` line names an earlier published task hash that a
build reused.

At the remote, a commit holds each record. It is derived from the record's tree alone, so its id
follows from the tree's id.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import LONGEST_NAME, TaskKey
from prov.store.objects import CONSTANT_IDENTITY, Commit, Oid, object_id

HEADER = "prov publication 1"
NO_KEY = StaticKey(bytes(20))
"""The static key of a task whose static key is unknown."""
_SHA1, _SHA256 = 20, 32
"""Bytes of an id in git's two object formats."""
_KEY = re.compile(r"[A-Za-z0-9_][\w.+-]*:[A-Za-z0-9_][\w.+-]*", re.ASCII)
_PLACE = re.compile(r"[0-9a-f]{40}")
_SIZE = re.compile(r"[0-9]{1,15}", re.ASCII)


def record_commit(tree: Oid) -> Commit:
    """Return the commit that holds a record at a remote.

    Its date is later than that of the content's commits, so git negotiates records first.
    """
    return Commit(tree, (), replace(CONSTANT_IDENTITY, seconds=1), "record\n")


@dataclass(frozen=True, slots=True)
class Published:
    """A published result of a task."""

    key: TaskKey
    task_hash: TaskHash
    static_key: StaticKey
    output: OutputId
    """The output id: a tree."""
    record: Oid
    """The tree of the record, which holds inputs and output."""
    digest: bytes
    """32 bytes: the record's id in git's SHA-256 object format."""
    size: int = 0
    """Size of its files on disk, in bytes."""
    place: str = ""
    """SHA-1, in hex, of the paths that an output which is not relocatable requires."""
    workdir: Oid = b""
    """The task commit, if the WORKDIR is shared."""
    workdir_digest: bytes = b""

    @property
    def commit(self) -> Oid:
        """The commit that holds the record at a remote."""
        return object_id("commit", record_commit(self.record).encode())

    def encode(self) -> str:
        oids = (self.task_hash, self.static_key, self.output, self.record, self.digest)
        words = ["task", self.key, *(oid.hex() for oid in oids)]
        words += [f"size={self.size}"]
        if self.place:
            words.append(f"place={self.place}")
        if self.workdir:
            words.append(f"workdir={self.workdir.hex()}:{self.workdir_digest.hex()}")
        return " ".join(words) + "\n"


@dataclass(frozen=True, slots=True)
class Publication:
    """The publication of one push."""

    seconds: int
    """Time of the push, in seconds since the epoch."""
    tasks: tuple[Published, ...]
    used: tuple[Oid, ...] = ()

    def encode(self) -> bytes:
        lines = [f"{HEADER}\n", f"time {self.seconds}\n"]
        lines += [task.encode() for task in self.tasks]
        lines += [f"used {oid.hex()}\n" for oid in self.used]
        return "".join(lines).encode()


def decode_publication(data: bytes) -> Publication:
    """Decode a text that `encode` wrote. Raises ValueError for any other text."""
    lines = data.decode("ascii").split("\n")
    if lines[0] != HEADER or lines[-1] != "":
        raise ValueError("not a publication")
    if not lines[1].startswith("time ") or not 0 <= int(lines[1][5:]) < 1 << 40:
        raise ValueError("missing or invalid time")
    tasks, used = [], []
    for line in lines[2:-1]:
        word, _, rest = line.partition(" ")
        if word == "task":
            tasks.append(_task(rest))
        elif word == "used":
            used.append(_id(rest, _SHA1))
        else:
            raise ValueError(f"unknown keyword {word[:20]!r}")
    publication = Publication(int(lines[1][5:]), tuple(tasks), tuple(used))
    if publication.encode() != data:
        raise ValueError("not in canonical form")
    return publication


def _task(text: str) -> Published:
    key, task_hash, static_key, output, record, digest, *more = text.split(" ")
    if not _is_key(key):
        raise ValueError(f"invalid task {key[:80]!r}")
    extra = dict(word.partition("=")[::2] for word in more)
    if len(extra) != len(more) or extra.keys() - {"size", "place", "workdir"}:
        raise ValueError(f"{key}: unknown fields")
    size, place = extra.get("size", "0"), extra.get("place", "")
    if not _SIZE.fullmatch(size):
        raise ValueError(f"{key}: invalid size {size[:50]!r}")
    if place and not _PLACE.fullmatch(place):
        raise ValueError(f"{key}: invalid place {place[:50]!r}")
    commit, _, commit_digest = extra.get("workdir", "").partition(":")
    return Published(
        TaskKey(key),
        TaskHash(_id(task_hash, _SHA1)),
        StaticKey(_id(static_key, _SHA1)),
        OutputId(_id(output, _SHA1)),
        _id(record, _SHA1),
        _id(digest, _SHA256),
        int(size),
        place,
        _id(commit, _SHA1) if commit else b"",
        _id(commit_digest, _SHA256) if commit else b"",
    )


def _is_key(text: str) -> bool:
    """Return whether a text is a valid task key, and therefore valid in a ref name."""
    key = TaskKey(text)
    return (
        _KEY.fullmatch(text) is not None
        and ".." not in text
        and all(
            len(name) <= LONGEST_NAME and not name.endswith(".lock")
            for name in (key.recipe, key.task)
        )
    )


def _id(text: str, size: int) -> bytes:
    if not re.fullmatch("[0-9a-f]*", text) or len(text) != 2 * size:
        raise ValueError(f"invalid id {text[:80]!r}")
    return bytes.fromhex(text)
