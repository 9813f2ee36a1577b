"""Hostile records as raw objects: valid in git's format, but forbidden in a fetched tree.

Each case is a valid record of random content with one fault. The same seed produces the same cases.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from prov.errors import StoreError
from prov.intake.digest import Digest, Digests
from prov.intake.source import Content, Source, whole_content
from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.remote.publication import Published
from prov.store.objects import (
    Commit,
    Entry,
    Identity,
    Kind,
    Oid,
    decode_commit,
    decode_tree,
    object_id,
)

KEY = "words:make"
TARGETS_IN_USE = (b"/etc/passwd", b"../../x", b"qqq", b"\xff")
"""Targets of valid symlinks. Stores soon have them, so they are not fetched again."""
FILE, PROGRAM, LINK, FOLDER = b"100644", b"100755", b"120000", b"40000"
PROV = Identity("prov", "prov@localhost", 1_700_000_000)


@dataclass(frozen=True, slots=True)
class Row:
    """An entry of a tree, with its mode as text."""

    mode: bytes
    name: bytes
    oid: Oid

    @property
    def place(self) -> bytes:
        return self.name + b"/" if self.mode.lstrip(b"0") == FOLDER else self.name


@dataclass(slots=True)
class Bag:
    """Objects of a remote, which may not match their ids."""

    objects: dict[Oid, tuple[Kind, bytes]] = field(default_factory=dict)

    def add(self, kind: Kind, data: bytes) -> Oid:
        oid = object_id(kind, data)
        self.objects[oid] = (kind, data)
        return oid

    def file(self, data: bytes) -> Oid:
        return self.add("blob", data)

    def folder(self, rows: list[Row]) -> Oid:
        """Write a tree with its entries in git's order."""
        return self.unsorted(sorted(rows, key=lambda row: row.place))

    def unsorted(self, rows: list[Row]) -> Oid:
        return self.add(
            "tree", b"".join(b"%s %s\0%s" % (row.mode, row.name, row.oid) for row in rows)
        )

    def commit(self, tree: Oid, *parents: Oid, message: str = "m\n") -> Oid:
        return self.add("commit", Commit(tree, parents, PROV, message).encode())

    def source(self, oid: Oid) -> Content | None:
        found = self.objects.get(oid)
        return None if found is None else whole_content(*found)

    # the methods by which prov.intake.digest reads a store

    def _of(self, oid: Oid, kind: Kind) -> bytes:
        found = self.objects.get(oid)
        if found is None or found[0] != kind:
            raise StoreError("not there")
        return found[1]

    def blob(self, oid: Oid) -> bytes:
        return self._of(oid, "blob")

    def tree(self, oid: Oid) -> list[Entry]:
        return decode_tree(self._of(oid, "tree"))

    def commit_object(self, oid: Oid) -> Commit:
        return decode_commit(self._of(oid, "commit"))

    def stream_blob(self, oid: Oid) -> Iterator[bytes]:
        yield self.blob(oid)

    def blob_size(self, oid: Oid) -> int:
        return len(self.blob(oid))


class _Reader:
    def __init__(self, bag: Bag) -> None:
        self.bag = bag
        self.blob, self.tree, self.commit = bag.blob, bag.tree, bag.commit_object
        self.stream_blob, self.blob_size = bag.stream_blob, bag.blob_size


class _Digests(Digests):
    """A cache of digests that stores nothing in a file."""

    def __init__(self, bag: Bag) -> None:
        self._reader = _Reader(bag)
        self._cached, self._new = {}, {}

    def known(self, oid: Oid) -> Digest | None:
        return self._cached.get(oid)


def signed_digest(bag: Bag, oid: Oid, kind: Kind = "tree") -> bytes:
    """Return what a hostile publisher signs: the true digest, if it can be computed."""
    try:
        digests = _Digests(bag)
        return (digests.tree(oid) if kind == "tree" else digests.commit(oid)).id
    except (StoreError, ValueError, IndexError, KeyError, RecursionError, TypeError, StopIteration):
        return bytes(32)


@dataclass(slots=True)
class Case:
    """A published record and the expected verdict."""

    name: str
    bag: Bag
    task: Published
    refused: bool | None = True
    """None: the record may be accepted if it does no harm."""
    source: Source | None = None


@dataclass(slots=True)
class Maker:
    """Makes records with a fault in one part."""

    rng: random.Random
    bag: Bag = field(default_factory=Bag)

    # valid parts

    def data(self) -> bytes:
        return self.rng.randbytes(self.rng.randrange(8, 30))

    def rows(self, depth: int = 2) -> list[Row]:
        """Return valid entries, with names of three letters that no hostile case uses."""
        found = {}
        for _ in range(self.rng.randrange(4)):
            name = bytes(self.rng.choices(b"bdehjk", k=3))
            kind = self.rng.choice([FILE, FILE, PROGRAM, LINK, *([FOLDER] if depth else [])])
            if kind == FOLDER:
                oid = self.bag.folder(
                    [*self.rows(depth - 1), Row(FILE, b"qqq", self.bag.file(self.data()))]
                )
            elif kind == LINK:
                oid = self.bag.file(self.rng.choice(TARGETS_IN_USE))
            else:
                oid = self.bag.file(self.data())
            found[name] = Row(kind, name, oid)
        return list(found.values())

    def bury(self, tree: Oid) -> Oid:
        """Put a tree into zero or more valid folders."""
        for _ in range(self.rng.randrange(4)):
            tree = self.bag.folder(
                [*self.rows(1), Row(FOLDER, self.rng.choice([b"usr", b"lib", b"a b"]), tree)]
            )
        return tree

    def with_row(self, *rows: Row) -> Oid:
        return self.bury(self.bag.folder([*self.rows(), *rows]))

    def any_oid(self, kind: bytes) -> Oid:
        if kind == FOLDER:
            return self.bag.folder([Row(FILE, b"in", self.bag.file(self.data()))])
        return self.bag.file(self.data())

    # complete records

    def output(self, content: Oid | None = None, attributes: Oid | None = None, *more: Row) -> Oid:
        if content is None:
            content = self.bag.folder([*self.rows(), Row(FILE, b"qqq", self.bag.file(self.data()))])
        rows = [Row(FOLDER, b"content", content), *more]
        rows += [Row(FOLDER, b"attributes", attributes)] if attributes else []
        return self.bag.folder(rows)

    def inputs(self, *more: Row) -> Oid:
        return self.bag.folder(
            [*more, Row(FILE, b"task", self.bag.file(b"name make\n" + self.data()))]
        )

    def record(
        self, output: Oid, inputs: Oid | None = None, *more: Row, facts: str | None = None
    ) -> Published:
        inputs = inputs or self.inputs()
        text = facts if facts is not None else f"task {KEY}\ntask-hash {inputs.hex()}\nresult ok\n"
        rows = [
            Row(FOLDER, b"inputs", inputs),
            Row(FOLDER, b"output", output),
            Row(FILE, b"record", self.bag.file(text.encode())),
        ]
        return self.signed(self.bag.folder([*rows, *more]), inputs, output)

    def signed(self, record: Oid, inputs: Oid, output: Oid, key: str = KEY) -> Published:
        return Published(
            TaskKey(key),
            TaskHash(inputs),
            StaticKey(bytes(20)),
            OutputId(output),
            record,
            signed_digest(self.bag, record),
            10,
        )

    def of_content(self, tree: Oid) -> Published:
        """Return a record with a tree in one of its possible places."""
        where = self.rng.choice(["content", "content", "content", "inputs", "attributes"])
        if where == "inputs":
            return self.record(self.output(), self.inputs(Row(FOLDER, b"sources", tree)))
        if where == "attributes":
            return self.record(self.output(None, tree))
        return self.record(self.output(tree))

    def of_attributes(self, text: bytes) -> Published:
        """Return a record with a folder of files with the given attributes."""
        rows = [Row(FILE, b"fff", self.bag.file(b"f")), Row(LINK, b"lll", self.bag.file(b"fff"))]
        rows.append(Row(FOLDER, b"ddd", self.any_oid(FOLDER)))
        content = self.bag.folder(rows)
        attributes = self.bag.folder([Row(FILE, b"%attributes", self.bag.file(text))])
        for _ in range(self.rng.randrange(3)):
            content = self.bag.folder([*self.rows(0), Row(FOLDER, b"usr", content)])
            attributes = self.bag.folder([Row(FOLDER, b"usr", attributes)])
        return self.record(self.output(content, attributes))

    def with_workdir(self, commit: Oid) -> Published:
        task = self.record(self.output())
        return replace(
            task, workdir=commit, workdir_digest=signed_digest(self.bag, commit, "commit")
        )

    def workdir_record(self, task: Published, *more: Row) -> Oid:
        rows = [Row(FILE, b"log", self.bag.file(b"said\n")), *more]
        return self.bag.folder(
            [*(Row(b"%o" % e.mode, e.name, e.oid) for e in self.bag.tree(task.record)), *rows]
        )

    def with_run(
        self, content: Oid, attributes: Oid | None, *, of: Published | None = None
    ) -> Published:
        """Return a record with the WORKDIR after its task."""
        task = self.record(self.output())
        more = [Row(FOLDER, b"attributes", attributes)] if attributes else []
        record = self.bag.commit(self.workdir_record(of or task, *more))
        start = self.bag.commit(self.bag.folder([]))
        commit = self.bag.commit(content, start, record)
        return replace(
            task, workdir=commit, workdir_digest=signed_digest(self.bag, commit, "commit")
        )
