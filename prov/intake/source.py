"""Objects of a remote, as they are read: first their size, then their content in chunks."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from prov.errors import StoreError
from prov.intake.wellformed import BadObject
from prov.store.objects import Kind, Oid, object_id


class Content(NamedTuple):
    """An object: its kind, its size in bytes, and its content in chunks of which none is large."""

    kind: Kind
    size: int
    chunks: Iterator[bytes]


Source = Callable[[Oid], "Content | None"]
"""Returns what a remote has under an id, which need not be what the id says; None if it has
nothing.
"""


def whole_content(kind: Kind, data: bytes) -> Content:
    """Return the content of an object that is in memory."""
    return Content(kind, len(data), iter((data,)))


def read_whole(source: Source, oid: Oid, most: int) -> tuple[Kind, bytes] | None:
    """Return kind and content of an object that is what its id says; None if the source does not
    have it.

    Raises BadObject, before it is read, for one of more than `most` bytes, and for one that is not
    what its id says.
    """
    content = source(oid)
    if content is None:
        return None
    if content.size > most:
        raise BadObject(f"object {oid.hex()} has {content.size} bytes, and {most} are allowed")
    data = joined(content, oid)
    if object_id(content.kind, data) != oid:
        raise BadObject(f"object {oid.hex()} is not what its id says")
    return content.kind, data


def joined(content: Content, oid: Oid) -> bytes:
    """Return the content of an object, as many bytes as were announced. Raises BadObject."""
    pieces, size = [], 0
    try:
        for chunk in content.chunks:
            pieces.append(chunk)
            size += len(chunk)
            if size > content.size:
                break
    except (StoreError, ValueError) as error:
        raise BadObject(f"object {oid.hex()} can't be read: {error}") from error
    if size != content.size:
        raise BadObject(f"object {oid.hex()} does not have the size that was announced")
    return b"".join(pieces)


class BlobReader:
    """Reads a blob's chunks as a file is read, for a writer, and passes each on to a hash as
    well.
    """

    def __init__(self, content: Content, oid: Oid, update: Callable[[bytes], object]) -> None:
        self._chunks = content.chunks
        self._oid = oid
        self._update = update
        self._rest = b""

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, none at the end. Raises BadObject."""
        try:
            while not self._rest:
                self._rest = next(self._chunks)
        except StopIteration:
            return b""
        except (StoreError, ValueError) as error:
            raise BadObject(f"object {self._oid.hex()} can't be read: {error}") from error
        chunk, self._rest = self._rest[:size], self._rest[size:]
        self._update(chunk)
        return chunk
