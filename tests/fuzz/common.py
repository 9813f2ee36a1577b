"""Helpers for several tables of parsers: names and ids, scratch files, a store in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from hypothesis import strategies as st

from prov.errors import StoreError
from prov.store.objects import Kind, Oid, encode_tree, object_id
from prov.store.odb import ObjectDatabase
from prov.store.repository import Store

oids = st.binary(min_size=20, max_size=20)
words = st.from_regex(r"[A-Za-z][A-Za-z0-9_.+-]{0,8}", fullmatch=True).filter(
    lambda word: ".." not in word
)
names = st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True)
keys = st.builds("{}:{}".format, names, names)
file_names = st.binary(min_size=1, max_size=8).filter(
    lambda name: name not in (b".", b"..") and not {0, 47} & set(name)
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def text(data: bytes) -> str:
    """Decode bytes as Python decodes arguments and paths."""
    return data.decode("utf-8", "surrogateescape")


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="prov-fuzz-")


@cache
def scratch(name: str) -> Path:
    """Return a folder of this name; it is removed at exit."""
    path = Path(_folder().name, name)
    path.mkdir()
    return path


def written(name: str, data: bytes) -> Path:
    """Return a scratch file with this content."""
    path = scratch("files") / name
    path.write_bytes(data)
    return path


@cache
def empty_store(name: str) -> Store:
    return Store.create(scratch("stores") / name)


class Memory(ObjectDatabase):
    """An object database in memory, which reads objects as a store does."""

    def __init__(self) -> None:
        super().__init__(empty_store("memory").path)
        self.held: dict[Oid, tuple[Kind, bytes]] = {}

    def read(self, oid: Oid, *, most: int | None = None) -> tuple[Kind, bytes]:
        if oid not in self.held:
            raise StoreError(f"object {oid.hex()} is not there")
        return self.held[oid]

    def stream(self, oid: Oid) -> tuple[Kind, int, Iterator[bytes]]:
        kind, data = self.read(oid)
        return kind, len(data), iter([data])

    def exists(self, oid: Oid) -> bool:
        return oid in self.held

    def put(self, kind: Kind, data: bytes) -> Oid:
        oid = object_id(kind, data)
        self.held[oid] = (kind, data)
        return oid

    def put_tree(self, entries: list) -> Oid:  # type: ignore[type-arg]
        return self.put("tree", encode_tree(entries))
