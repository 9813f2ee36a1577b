"""Locks that a killed push left in a remote that is a folder: removed if no process uses them.

git makes a lock in milliseconds of work and removes it at their end. A process that is killed in
between leaves it there, and every later update of the same refs fails. For a server behind a
network that is the server's concern; in a folder there is no other process to clear it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from prov.store.rawrefs import stale_locks


def clear_stale_locks(folder: Path) -> int:
    """Remove locks that no living process can hold; return how many.

    A lock is stale when it is older than any update takes, by the clock of the file system that it
    is on, and no process of this machine works in the folder. Of another machine's processes only
    the age is known.
    """
    try:
        locks = stale_locks(folder, now=_clock_of(folder))
    except OSError:
        return 0
    if not locks or any(_works_in(process, folder) for process in _processes()):
        return 0
    count = 0
    for path in locks:
        with contextlib.suppress(OSError):
            path.unlink()
            count += 1
    return count


def _clock_of(folder: Path) -> float:
    """Return the time of the machine that the folder is on: a file server's clock may differ from
    ours.
    """
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"1")
            stream.flush()
            return os.fstat(stream.fileno()).st_mtime
    except OSError:
        return time.time()


def _processes() -> Iterator[Path]:
    """Yield the folders of this machine's processes in /proc, without our own."""
    own = str(os.getpid())
    with contextlib.suppress(OSError), os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit() and entry.name != own:
                yield Path(entry.path)


def _works_in(process: Path, folder: Path) -> bool:
    """Return whether a process is a git that works in a folder, or has one of its locks open."""
    top = str(folder.resolve())
    return (
        _is_git_called_with(process, (top, str(folder)))
        or _is_git_working_below(process, top)
        or any(_is_lock_below(path, top) for path in _open_files(process))
    )


def _is_git_called_with(process: Path, paths: Sequence[str]) -> bool:
    """Return whether a command line is git's and names a path; other users' can be read, too."""
    with contextlib.suppress(OSError):
        program, *arguments = process.joinpath("cmdline").read_bytes().split(b"\0")
        is_git = os.path.basename(program).startswith(b"git")
        return is_git and any(
            os.fsencode(path) in argument for argument in arguments for path in paths
        )
    return False


def _is_git_working_below(process: Path, top: str) -> bool:
    with contextlib.suppress(OSError):
        directory = os.readlink(process / "cwd")
        is_below = directory == top or directory.startswith(f"{top}/")
        return is_below and process.joinpath("comm").read_text().startswith("git")
    return False


def _open_files(process: Path) -> Iterator[str]:
    """Yield the paths of the files that a process has open; none of another user's process."""
    with contextlib.suppress(OSError):
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield os.readlink(link)


def _is_lock_below(path: str, top: str) -> bool:
    return path.startswith(f"{top}/") and path.endswith((".lock", "packed-refs.new"))
