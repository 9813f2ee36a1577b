"""Run git transfers with limits, so that a remote can neither hang a build nor fill memory or disk.

git itself has limits only for http. So prov counts the bytes that git transfers: from the size of
the files that it writes and from the kernel's counters of its processes.
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
from prov.progress import report
from prov.store.cat_file import limit_memory
from prov.transport.errors import Stalled, TooMuch
from prov.transport.pace import LEAST, Pace, check_room

_WINDOW = 10.0
"""The window of a slow transfer, as a multiple of the patience: within it, at least patience times
LEAST bytes must move.
"""
_OUTPUT = 64 << 20
"""Maximum bytes of output."""
_WORDS = 1 << 16
"""Maximum bytes of error output to read."""
MEMORY = 4 << 30
"""Bytes of memory for git with a remote on another machine: it may keep answers in memory."""


@dataclass(frozen=True, slots=True)
class Watch:
    """The limits of a git transfer."""

    remote: str
    """Name of the remote, for messages."""
    patience: float
    """Timeout in seconds without a byte."""
    most: int
    """Maximum bytes of the repository's packs."""
    memory: int | None
    """Maximum bytes of address space; None for no limit."""
    interactive: bool
    """Whether git may prompt the user; it then stays in the terminal's session."""


@dataclass(frozen=True, slots=True)
class Finished:
    """The result of a finished git command."""

    status: int
    output: bytes
    words: str
    """The error output."""


def run_watched(
    command: Sequence[str], git_dir: Path, data: bytes, variables: Mapping[str, str], watch: Watch
) -> Finished:
    """Run git on a repository with `data` as its input.

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
        begun_with = _size(git_dir)  # git may write before it is watched
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
            status = _wait(child, git_dir, begun_with, watch, (out.fileno(), err.fileno()))
        except BaseException:
            _end(child, group=not watch.interactive)
            _remove_parts(git_dir)
            raise
        out.seek(0)
        err.seek(0)
        words = err.read(_WORDS).decode("utf-8", "replace")
        return Finished(status, out.read(_OUTPUT), words)


def _wait(
    child: subprocess.Popen[bytes],
    git_dir: Path,
    size_before: int,
    watch: Watch,
    outputs: Sequence[int],
) -> int:
    """Wait for git and return its exit status. Raises an error when it exceeds a limit.

    `size_before` is the size of the repository's packs before git was started, in bytes.
    """
    patience = watch.patience
    pace = Pace(_WINDOW * patience, int(LEAST * patience))
    last_move, last_count = time.monotonic(), 0
    for pause in _pauses():
        with contextlib.suppress(subprocess.TimeoutExpired):
            return child.wait(pause)
        size = _size(git_dir)
        if size > watch.most or sum(os.fstat(fd).st_size for fd in outputs) > _OUTPUT:
            raise TooMuch(
                watch.remote,
                f"transfer canceled: more than {watch.most} bytes of packs or {_OUTPUT} bytes of"
                " output",
            )
        check_room(watch.remote, git_dir, size - size_before)
        count = size + _bytes_of_processes(child.pid)
        if count != last_count:
            pace.add(max(0, count - last_count))
            last_move, last_count = time.monotonic(), count
            report(f"transferring data with {watch.remote}", count)
        _check_speed(watch, pace, time.monotonic() - last_move)
    raise AssertionError("the pauses have no end")


def _pauses() -> Iterator[float]:
    """Yield the seconds between two checks: short at first, for short transfers."""
    pause = 0.002
    while True:
        yield pause
        pause = min(0.2, pause * 2)


def _check_speed(watch: Watch, pace: Pace, still: float) -> None:
    """Raise Stalled if no byte moved for `still` seconds and that is too long, or too few moved."""
    if still > watch.patience:
        raise Stalled(watch.remote, f"transfer canceled: no data for {watch.patience:.0f} s")
    if pace.left() <= 0:
        raise Stalled(
            watch.remote,
            f"transfer canceled: fewer than {pace.least} bytes in {pace.window:.0f} s",
        )


def _remove_parts(git_dir: Path) -> None:
    """Delete the partial packs of a killed git."""
    for part in (git_dir / "objects" / "pack").glob("tmp_*"):
        with contextlib.suppress(OSError):
            part.unlink()


def _size(git_dir: Path) -> int:
    """Return the bytes of a repository's packs, including partial ones of a running transfer."""
    size = 0
    for folder in (git_dir / "objects" / "pack", git_dir / "objects"):
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            size += sum(entry.stat().st_size for entry in entries)
    return size


def _bytes_of_processes(pid: int) -> int:
    """Return the bytes that a process and its descendants have read and written."""
    total = 0
    for process in (pid, *_below(pid)):
        with contextlib.suppress(OSError, ValueError, KeyError):
            text = Path(f"/proc/{process}/io").read_text()
            rows = dict(line.split(": ") for line in text.splitlines())
            total += int(rows["rchar"]) + int(rows["wchar"])
    return total


def _end(child: subprocess.Popen[bytes], *, group: bool) -> None:
    """Kill git and its child processes, such as ssh."""
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
    """Return the descendants of a process."""
    pids: list[int] = []
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            pids += [int(child), *_below(int(child))]
    return pids
