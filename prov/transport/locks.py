"""Remove the locks that a killed push left in a remote that is a local folder.

git holds a lock for milliseconds. A process killed in between leaves the lock behind, and
every later update of the same refs fails. A server can clean up its own repository; in a local
folder no other process does.
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
    """Remove stale locks; return their number.

    A lock is stale if it is older than any update takes, by the clock of its file system, and no
    process of this machine works in the folder. For processes of other machines, only the age
    counts.
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
    """Return the time of the folder's file system: a file server's clock can differ from ours."""
    try:
        with tempfile.TemporaryFile(dir=folder) as stream:
            stream.write(b"1")
            stream.flush()
            return os.fstat(stream.fileno()).st_mtime
    except OSError:
        return time.time()


def _processes() -> Iterator[Path]:
    """Yield the folders in /proc of all processes except our own."""
    own = str(os.getpid())
    with contextlib.suppress(OSError), os.scandir("/proc") as entries:
        for entry in entries:
            if entry.name.isdigit() and entry.name != own:
                yield Path(entry.path)


def _works_in(process: Path, folder: Path) -> bool:
    """Return whether a process is a git command on a folder, or has one of its locks open."""
    top = str(folder.resolve())
    return (
        _is_git_called_with(process, (top, str(folder)))
        or _is_git_working_below(process, top)
        or any(_is_lock_below(path, top) for path in _open_files(process))
    )


def _is_git_called_with(process: Path, paths: Sequence[str]) -> bool:
    """Return whether a command line runs git with one of the paths; works for other users' too."""
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
    """Yield the paths of a process's open files; nothing for another user's process."""
    with contextlib.suppress(OSError):
        for link in (process / "fd").iterdir():
            with contextlib.suppress(OSError):
                yield os.readlink(link)


def _is_lock_below(path: str, top: str) -> bool:
    return path.startswith(f"{top}/") and path.endswith((".lock", "packed-refs.new"))
