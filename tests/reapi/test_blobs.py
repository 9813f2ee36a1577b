"""Digests of contents."""

from __future__ import annotations

import hashlib
from pathlib import Path

from prov.reapi.blobs import BlobDigest, blob_of, blob_of_file


def test_a_file_has_the_digest_of_its_content(tmp_path: Path) -> None:
    data = bytes(range(256)) * 10_000
    path = tmp_path / "file"
    path.write_bytes(data)
    blob = blob_of_file(path)
    assert blob.digest == blob_of(data).digest == (hashlib.sha256(data).hexdigest(), len(data))
    assert blob.read() == data


def test_a_digest_survives_its_message() -> None:
    digest = BlobDigest.of(b"x")
    assert BlobDigest.of_message(digest.message) == digest
