"""Read objects of a remote: first the size, then the content in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from prov.errors import StoreError
from prov.intake.wellformed import BadObject
from prov.store.objects import Kind, Oid, object_id


class Content(NamedTuple):
    """An object: its kind, its size in bytes, and its content in small chunks."""

    kind: Kind
    size: int
    chunks: Iterator[bytes]


Source = Callable[[Oid], "Content | None"]
"""A function that returns a remote's object for an id, or None. The object may not match the id."""


def whole_content(kind: Kind, data: bytes) -> Content:
    """Return the content of an object that is in memory."""
    return Content(kind, len(data), iter((data,)))


def read_whole(source: Source, oid: Oid, most: int) -> tuple[Kind, bytes] | None:
    """Return kind and content of an object, or None if the source does not have it.

    Raises BadObject if it has more than `most` bytes, before reading it, or does not match its id.
    """
    content = source(oid)
    if content is None:
        return None
    if content.size > most:
        raise BadObject(f"object {oid.hex()} has {content.size} bytes, the limit is {most}")
    data = joined(content, oid)
    if object_id(content.kind, data) != oid:
        raise BadObject(f"object {oid.hex()} does not match its id")
    return content.kind, data


def joined(content: Content, oid: Oid) -> bytes:
    """Return the whole content of an object. Raises BadObject unless it has the announced size."""
    pieces, size = [], 0
    try:
        for chunk in content.chunks:
            pieces.append(chunk)
            size += len(chunk)
            if size > content.size:
                break
    except (StoreError, ValueError) as error:
        raise BadObject(f"cannot read object {oid.hex()}: {error}") from error
    if size != content.size:
        raise BadObject(f"object {oid.hex()} does not have its announced size")
    return b"".join(pieces)


class BlobReader:
    """A file-like reader of a blob's chunks that also passes the data to a hash function."""

    def __init__(self, content: Content, oid: Oid, update: Callable[[bytes], object]) -> None:
        self._chunks = content.chunks
        self._oid = oid
        self._update = update
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, or b"" at the end. Raises BadObject."""
        try:
            while not self._rest:
                self._rest = next(self._chunks)
        except StopIteration:
            return b""
        except (StoreError, ValueError) as error:
            raise BadObject(f"cannot read object {self._oid.hex()}: {error}") from error
        chunk, self._rest = self._rest[:size], self._rest[size:]
        self._update(chunk)
        return chunk
