from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from prov.errors import StoreError
from prov.store.cat_file import limit_memory, stream_by_git
from prov.store.objects import EMPTY_TREE
from prov.store.repository import Store


@pytest.mark.parametrize("data", [b"", b"x", b"line\n" * 500_000])
def test_an_object_is_streamed(store: Store, data: bytes) -> None:
    with store.objects.writer() as writer:
        oid = writer.add("blob", data)
    kind, size, chunks = stream_by_git(store.path, oid)
    assert (kind, size, b"".join(chunks)) == ("blob", len(data), data)


def test_the_kind_of_an_object(store: Store) -> None:
    assert stream_by_git(store.path, EMPTY_TREE)[:2] == ("tree", 0)


def test_a_missing_object(store: Store) -> None:
    with pytest.raises(StoreError, match="is missing from"):
        stream_by_git(store.path, b"x" * 20)


def test_a_stream_that_is_not_read_to_its_end_ends_git(store: Store) -> None:
    with store.objects.writer() as writer:
        oid = writer.add("blob", bytes(8 << 20))
    chunks = stream_by_git(store.path, oid)[2]
    assert next(chunks)
    chunks.close()  # type: ignore[attr-defined]  # it is a generator


def test_the_memory_of_a_process_is_limited() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        limit_memory(process.pid, 1 << 30)
        assert resource.prlimit(process.pid, resource.RLIMIT_DATA)[0] == 1 << 30
        process.communicate(b"\n")
