"""Contents of a server's storage (CAS), by their SHA-256 digests."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from prov.reapi.wire import messages_pb2 as wire

CHUNK = 1 << 20


class BlobDigest(NamedTuple):
    """The SHA-256 digest of a content in hex, and its size in bytes."""

    hash: str
    size: int

    @property
    def message(self) -> wire.Digest:
        return wire.Digest(hash=self.hash, size_bytes=self.size)

    @staticmethod
    def of(data: bytes) -> BlobDigest:
        return BlobDigest(hashlib.sha256(data).hexdigest(), len(data))

    @staticmethod
    def of_message(message: wire.Digest) -> BlobDigest:
        return BlobDigest(message.hash, message.size_bytes)


@dataclass(frozen=True, slots=True)
class Blob:
    """A content to upload."""

    digest: BlobDigest
    chunks: Callable[[], Iterable[bytes]]
    """Reads the content."""

    def read(self) -> bytes:
        return b"".join(self.chunks())


def blob_of(data: bytes) -> Blob:
    """Return the content of bytes in memory."""
    return Blob(BlobDigest.of(data), lambda: (data,))


def blob_of_file(path: Path) -> Blob:
    """Return the content of a file, which must not change."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
        size = stream.tell()
    return Blob(BlobDigest(digest, size), lambda: _chunks(path))


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK):
            yield chunk
