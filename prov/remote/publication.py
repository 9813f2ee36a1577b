"""A publication: what one push says of many tasks, as a text that is signed as a whole.

    prov publication 1
    time 1763690000
    task words:compile HASH STATIC OUTPUT RECORD DIGEST size=BYTES [place=…] [workdir=COMMIT:DIGEST]
    used HASH

A `task` line says that a task hash led to an output, and names the tree of the record of that run.
DIGEST is that tree's id in git's SHA-256 object format: it covers inputs and output, file by
file, so that what is signed does not rest on SHA-1. `size` is what inputs and output take on disk.
`place` is there if the output is of use in one place only. `used` names a task hash that was
published before and that a build took up again.

At the remote a record is held by a commit that is made of its tree and nothing else, so that the id
of the commit follows from that of the tree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import LONGEST_NAME, TaskKey
from prov.store.objects import CONSTANT_IDENTITY, Commit, Oid, object_id

HEADER = "prov publication 1"
_SHA1, _SHA256 = 20, 32
"""Bytes of an id in git's two object formats."""
_KEY = re.compile(r"[A-Za-z0-9_][\w.+-]*:[A-Za-z0-9_][\w.+-]*", re.ASCII)
_PLACE = re.compile(r"[0-9a-f]{40}")
_SIZE = re.compile(r"[0-9]{1,15}", re.ASCII)


def record_commit(tree: Oid) -> Commit:
    """Return the commit that holds a record at a remote.

    It is dated later than the commits of the content, so that git asks a server for records before
    it asks for those.
    """
    return Commit(tree, (), replace(CONSTANT_IDENTITY, seconds=1), "record\n")


@dataclass(frozen=True, slots=True)
class Published:
    """A task's result, as it is published."""

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
    """Bytes of its files when they are put on disk."""
    place: str = ""
    """SHA-1, in hex, of the paths to which the output is tied."""
    workdir: Oid = b""
    """The task commit, where the WORKDIR is shared, too."""
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
    """What one push says."""

    seconds: int
    """Since the epoch."""
    tasks: tuple[Published, ...]
    used: tuple[Oid, ...] = ()

    def encode(self) -> bytes:
        lines = [f"{HEADER}\n", f"time {self.seconds}\n"]
        lines += [task.encode() for task in self.tasks]
        lines += [f"used {oid.hex()}\n" for oid in self.used]
        return "".join(lines).encode()


def decode_publication(data: bytes) -> Publication:
    """Return what `encode` wrote. Raises ValueError for anything else."""
    lines = data.decode("ascii").split("\n")
    if lines[0] != HEADER or lines[-1] != "":
        raise ValueError("it is no publication")
    if not lines[1].startswith("time ") or not 0 <= int(lines[1][5:]) < 1 << 40:
        raise ValueError("it has no time")
    tasks, used = [], []
    for line in lines[2:-1]:
        word, _, rest = line.partition(" ")
        if word == "task":
            tasks.append(_task(rest))
        elif word == "used":
            used.append(_id(rest, _SHA1))
        else:
            raise ValueError(f"unknown word {word[:20]!r}")
    publication = Publication(int(lines[1][5:]), tuple(tasks), tuple(used))
    if publication.encode() != data:
        raise ValueError("it is not written as it should be")
    return publication


def _task(text: str) -> Published:
    key, task_hash, static_key, output, record, digest, *more = text.split(" ")
    if not _is_key(key):
        raise ValueError(f"{key[:80]!r} is no task")
    extra = dict(word.partition("=")[::2] for word in more)
    if len(extra) != len(more) or extra.keys() - {"size", "place", "workdir"}:
        raise ValueError(f"{key}: unknown fields")
    size, place = extra.get("size", "0"), extra.get("place", "")
    if not _SIZE.fullmatch(size):
        raise ValueError(f"{key}: {size[:50]!r} is no size")
    if place and not _PLACE.fullmatch(place):
        raise ValueError(f"{key}: {place[:50]!r} is no place")
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
    """Return whether a text can be a task's key, and so a part of a ref's name."""
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
        raise ValueError(f"{text[:80]!r} is no id")
    return bytes.fromhex(text)
