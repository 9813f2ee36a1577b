"""Running a git that transfers, so that a remote can neither hang a build nor fill memory or disk.

What git reads and writes is counted from outside, by the files that it makes and by the kernel's
counters of its processes: git has limits of its own for http alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from prov.processes import ends_with_signals
from prov.store.cat_file import limit_memory
from prov.transport.errors import Stalled, TooMuch
from prov.transport.pace import LEAST, Pace, check_room

_WINDOW = 10.0
"""Times the patience: in so long a time, as many bytes move as would in one patience at the least
speed.
"""
_OUTPUT = 64 << 20
"""Bytes that git may print."""
_WORDS = 1 << 16
"""Bytes of its complaints that are read."""
MEMORY = 4 << 30
"""Bytes of memory for a git that talks to another machine, whose answers it may have to hold."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The limits of a git that transfers, by the remote that they protect from."""

    remote: str
    patience: float
    """Seconds without a byte."""
    most: int
    """Bytes that the repository's packs may have then."""
    memory: int | None
    """Bytes of address space."""
    interactive: bool
    """git may ask the user at the terminal, and so shares the terminal's session."""


@dataclass(frozen=True, slots=True)
class Finished:
    """What a git that ended has left."""

    status: int
    output: bytes
    words: str
    """Its complaints."""


def run_watched(
    command: Sequence[str], git_dir: Path, data: bytes, variables: Mapping[str, str], watch: Watch
) -> Finished:
    """Run git on a repository; `data` is its input.

    Raises Stalled, TooMuch, and Unreachable for a full disk.
    """
    with (
        tempfile.TemporaryFile() as source,
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        ends_with_signals(),
    ):
        source.write(data)
        source.seek(0)
        child = subprocess.Popen(
            command,
            stdin=source,
            stdout=out,
            stderr=err,
            env=variables,
            start_new_session=not watch.interactive,
        )
        try:
            if watch.memory is not None:
                limit_memory(child.pid, watch.memory)
            status = _wait(child, git_dir, watch, (out.fileno(), err.fileno()))
        except BaseException:
            _end(child, group=not watch.interactive)
            _remove_parts(git_dir)
            raise
        out.seek(0)
        err.seek(0)
        words = err.read(_WORDS).decode("utf-8", "replace")
        return Finished(status, out.read(_OUTPUT), words)


def _wait(
    child: subprocess.Popen[bytes], git_dir: Path, watch: Watch, outputs: Sequence[int]
) -> int:
    """Return git's exit status; raise an error as soon as it exceeds a limit."""
    patience = watch.patience
    pace = Pace(_WINDOW * patience, int(LEAST * patience))
    size_before = _size(git_dir)
    last_move, last_count = time.monotonic(), 0
    for pause in _pauses():
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(pause)
        size = _size(git_dir)
        if size > watch.most or sum(os.fstat(fd).st_size for fd in outputs) > _OUTPUT:
            raise TooMuch(
                watch.remote,
                f"it sends more than {watch.most} bytes, or more than that of lists of refs;"
                " given up",
            )
        check_room(watch.remote, git_dir, size - size_before)
        count = size + _bytes_of_processes(child.pid)
        if count != last_count:
            pace.add(max(0, count - last_count))
            last_move, last_count = time.monotonic(), count
        _check_speed(watch, pace, time.monotonic() - last_move)
    raise AssertionError("the pauses have no end")


def _pauses() -> Iterator[float]:
    """Yield seconds between two looks: few at first, for transfers that take a moment."""
    pause = 0.002
    while True:
        yield pause
        pause = min(0.2, pause * 2)


def _check_speed(watch: Watch, pace: Pace, still: float) -> None:
    """Raise Stalled for a transfer in which nothing moved for `still` seconds, or too little."""
    if still > watch.patience:
        raise Stalled(watch.remote, f"no byte came or went in {watch.patience:.0f} s; given up")
    if pace.left() <= 0:
        raise Stalled(
            watch.remote,
            f"fewer than {pace.least} bytes came or went in {pace.window:.0f} s; given up",
        )


def _remove_parts(git_dir: Path) -> None:
    """Remove what a git that was ended has left of a pack."""
    for part in (git_dir / "objects" / "pack").glob("tmp_*"):
        with contextlib.suppress(OSError):
            part.unlink()


def _size(git_dir: Path) -> int:
    """Return the bytes of the packs of a repository, finished or not; a number that grows while a
    transfer goes on.
    """
    size = 0
    for folder in (git_dir / "objects" / "pack", git_dir / "objects"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            size += sum(entry.stat().st_size for entry in entries)
    return size


def _bytes_of_processes(pid: int) -> int:
    """Return the bytes that a process and those below it have read and written."""
    total = 0
    for process in (pid, *_below(pid)):
        with contextlib.suppress(OSError, ValueError, KeyError):
            text = Path(f"/proc/{process}/io").read_text()
            rows = dict(line.split(": ") for line in text.splitlines())
            total += int(rows["rchar"]) + int(rows["wchar"])
    return total


def _end(child: subprocess.Popen[bytes], *, group: bool) -> None:
    """End git and what it runs, such as ssh."""
    others = [] if group else _below(child.pid)
    with contextlib.suppress(ProcessLookupError):
        if group:
            os.killpg(child.pid, signal.SIGKILL)
        else:
            child.kill()
    for pid in others:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    child.wait()


def _below(pid: int) -> list[int]:
    """Return the processes that a process started, and those that they started."""
    pids: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            pids += [int(child), *_below(int(child))]
    return pids
