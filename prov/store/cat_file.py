"""Read an object in a separate git process with limited memory.

Git resolves deltas in memory, whatever their size. If the object is too large, only the separate
process fails.
"""

from __future__ import annotations

import contextlib
import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import cast

from prov.errors import StoreError
from prov.store.git import git_command, start_git
from prov.store.objects import Kind, Oid

MEMORY = 2 << 30
"""Memory limit of the git process, in bytes."""
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
