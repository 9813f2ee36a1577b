"""Read objects in a separate git process with limited memory.

Git resolves deltas in memory, whatever their size. If an object is too large, only the separate
process fails. One process for many objects is several times as fast as reading each of them here.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, cast

from prov.errors import StoreError
from prov.store.git import git_command, start_git
from prov.store.objects import EMPTY_TREE, Kind, Oid

MEMORY = 2 << 30
"""Memory limit of the git process, in bytes."""
LARGEST = 64 << 20
"""Size limit in bytes of each object of a batch."""
_PIPE = 1 << 20
"""Size of the output pipe of a batch in bytes: git works on while this process decodes."""
_CHUNK = 1 << 20
_KINDS = ("commit", "tree", "blob", "tag")


def limit_memory(pid: int, most: int) -> None:
    """Limit the private memory of a process, and of each of its later children, to `most` bytes."""
    with contextlib.suppress(OSError, ValueError):
        _soft, hard = resource.prlimit(pid, resource.RLIMIT_DATA)
        lower = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.prlimit(pid, resource.RLIMIT_DATA, (lower, hard))


def _start(command: list[str], arguments: list[str], oid: Oid) -> subprocess.Popen[bytes]:
    process = start_git(
        [*command, "-c", "core.bigFileThreshold=16m", "cat-file", *arguments],
        stdin=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    limit_memory(process.pid, MEMORY)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(oid.hex().encode() + b"\n")
        process.stdin.close()
    return process


def stream_by_git(git_dir: Path, oid: Oid) -> tuple[Kind, int, Iterator[bytes]]:
    """Return an object's kind, its size in bytes, and its content in chunks.

    Raises StoreError if the object is missing.
    """
    with git_command(git_dir) as command, _start(command, ["--batch-check"], oid) as process:
        assert process.stdout is not None
        words = process.stdout.readline(1000).decode("ascii", "replace").split()
    if len(words) != 3 or words[1] not in _KINDS:
        raise StoreError(
            f"object {oid.hex()} is missing from {git_dir}",
            hint="run `prov fsck` to list missing objects",
        )
    size = int(words[2])
    return cast(Kind, words[1]), size, _content(git_dir, oid, size)


def _content(git_dir: Path, oid: Oid, size: int) -> Iterator[bytes]:
    remaining = size
    with git_command(git_dir) as command, _start(command, ["--batch"], oid) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline(1000)
            while remaining and (chunk := process.stdout.read(min(remaining, _CHUNK))):
                remaining -= len(chunk)
                yield chunk
        finally:
            process.kill()
    if remaining:
        raise StoreError(
            f"cannot read object {oid.hex()} in {git_dir}: git exited early",
            hint="run `prov fsck` to list the damage",
        )


def batch_by_git(git_dir: Path, oids: Sequence[Oid]) -> Iterator[bytes | None]:
    """Yield the content of each object, None if it is missing or larger than `LARGEST`.

    Ends early at the first object that git finds damaged.
    """
    with (
        git_command(git_dir) as command,
        _start_batch([*command, "cat-file", "--batch", "--buffer"], oids) as process,
    ):
        assert process.stdout is not None
        with contextlib.suppress(PermissionError):  # the user's pipes have all their memory
            fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, _PIPE)
        try:
            yield from _contents(process.stdout, oids)
        finally:
            process.kill()


def sizes_by_git(git_dir: Path, oids: Sequence[Oid]) -> Iterator[int | None]:
    """Yield the size of each object in bytes, None if it is missing. Ends early at damage."""
    options = ["cat-file", "--batch-check=%(objectname) %(objectsize)", "--buffer"]
    with (
        git_command(git_dir) as command,
        _start_batch([*command, *options], oids) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            size = line.split()[-1]
            yield int(size) if size.isdigit() else None


def _start_batch(command: Sequence[str], oids: Sequence[Oid]) -> subprocess.Popen[bytes]:
    # a file in memory, since git may block on a full output pipe before it reads all its input
    names = os.memfd_create("oids")
    try:
        with open(names, "wb", closefd=False) as stream:
            stream.write(b"".join([b"%s\n" % oid.hex().encode() for oid in oids]))
        os.lseek(names, 0, os.SEEK_SET)
        process = start_git(command, stdin=names, stderr=subprocess.DEVNULL)
    finally:
        os.close(names)
    limit_memory(process.pid, MEMORY)
    return process


def _contents(stream: IO[bytes], oids: Sequence[Oid]) -> Iterator[bytes | None]:
    """Yield the contents in the output of `git cat-file --batch`, as `batch_by_git` does."""
    for oid in oids:
        words = stream.readline().split()
        if len(words) == 2:  # ID missing
            yield b"" if oid == EMPTY_TREE else None
            continue
        if len(words) != 3:
            return
        size = int(words[2])
        if size > LARGEST:
            _skip(stream, size + 1)
            yield None
            continue
        content = stream.read(size + 1)
        if len(content) != size + 1:
            return
        yield content[:-1]


def _skip(stream: IO[bytes], size: int) -> None:
    while size and (chunk := stream.read(min(size, _CHUNK))):
        size -= len(chunk)
