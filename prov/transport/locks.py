"""Lock files that a killed push left in a remote that is a folder: found by age, removed only if no
process uses them.

git makes a lock in milliseconds of work and removes it at their end. A process that is killed in
between leaves it there, and every later update of the same refs fails. For a server behind a
network that is the server's concern; in a folder there is no other process to clear it.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
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
    """Return whether a process is a git that works in a folder, or has one of its files open.

    A process of another user shows its command line alone.
    """
    top = str(folder.resolve())
    with contextlib.suppress(OSError):
        words = process.joinpath("cmdline").read_bytes().split(b"\0")
        is_git = os.path.basename(words[0]).startswith(b"git")
        if is_git and any(
            os.fsencode(each) in word for word in words[1:] for each in (top, str(folder))
        ):
            return True
    with contextlib.suppress(OSError):
        for link in (process / "cwd", *(process / "fd").iterdir()):
            with contextlib.suppress(OSError):
                target = os.readlink(link)
                is_lock = target.endswith((".lock", "packed-refs.new"))
                if target.startswith(f"{top}/") and is_lock:
                    return True
                if (
                    link.name == "cwd"
                    and (target == top or target.startswith(f"{top}/"))
                    and _is_git(process)
                ):
                    return True
    return False


def _is_git(process: Path) -> bool:
    with contextlib.suppress(OSError):
        return process.joinpath("comm").read_text().startswith("git")
    return False
