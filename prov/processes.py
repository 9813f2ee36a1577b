"""Processes: what one inherits made harmless, a function run in a fork, the exit status of a
command.

prov never runs threads, so that forking is safe. A fork needs no start-up and shares what is in
memory; its answer comes back through a pipe, and a child that dies without one is distinguished
from one that failed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from prov.errors import ProvError

STANDARD_STREAMS = (0, 1, 2)
POLL_MILLISECONDS = 50
"""How often a command that holds its output open is asked whether it has ended."""
MOST_FRAMES = 30_000
"""Python's own limit is 1,000, and what works on a tree may call itself for each of 2,000 folders
inside each other.
"""
GRACE_SECONDS = 0.2
"""How long output is still read after a command has ended, from processes that end with it."""


def settle_process() -> None:
    """Undo what a caller may have left to this process that would change its results. Call it
    first.

    An ignored SIGCHLD makes the kernel discard exit statuses, which Python then reports as 0; a
    blocked signal is never delivered; a file opened while a standard stream is closed takes that
    stream's number, and gets what is printed.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    sys.setrecursionlimit(MOST_FRAMES)
    for number in STANDARD_STREAMS:
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(
                os.open(os.devnull, os.O_RDWR), True
            )  # it gets the lowest free number, which is this


def exit_status(process: subprocess.Popen[bytes]) -> int:
    """Wait for a command and return its exit status, negative for a signal, as `Popen.returncode`
    has it.

    Raises ProvError where the kernel discards exit statuses: `Popen.wait` would return 0, a
    success.
    """
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError as error:
        raise ProvError(
            f"process {process.pid}: its exit status is lost: this process ignores SIGCHLD",
            hint="reset SIGCHLD to its default before using prov as a library",
        ) from error
    return process.wait()


def follow(process: subprocess.Popen[bytes], passed: Callable[[bytes], object]) -> int:
    """Pass on what a command prints, as it comes, until it ends; return its exit status as
    `exit_status` does.

    A process that the command left in the background may hold the pipe open for ever. It is not
    waited for: what it prints later is discarded, by a process of its own, so that it does not end
    by SIGPIPE either.
    """
    assert process.stdout is not None
    fd = process.stdout.fileno()
    os.set_blocking(fd, False)
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    ended_at: float | None = None
    while ended_at is None or time.monotonic() < ended_at + GRACE_SECONDS:
        if poll.poll(POLL_MILLISECONDS):
            chunk = os.read(fd, 1 << 16)
            if not chunk:
                return exit_status(process)
            passed(chunk)
        if ended_at is None and _has_ended(process):
            ended_at = time.monotonic()
    os.set_blocking(fd, True)
    subprocess.Popen(
        ["cat"],
        stdin=fd,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    return exit_status(process)


def _has_ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None
    except ChildProcessError:
        return True  # `exit_status` reports it


@dataclass(frozen=True, slots=True)
class CommandResult:
    """How a command ended: its exit status, negative for a signal, and what it printed."""

    status: int
    output: bytes


def run_command(
    command: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    data: bytes = b"",
    errors: bool = True,
) -> CommandResult:
    """Run a command that is not prov's own, `data` on its standard input; with `errors`, its
    standard error is output.

    Its umask is 022. It is not waited for longer than it runs: see `follow`. Raises OSError if it
    can't be started.
    """
    printed = bytearray()
    with tempfile.TemporaryFile() as stdin_file:
        stdin_file.write(data)
        stdin_file.seek(0)
        with subprocess.Popen(
            list(command),
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=stdin_file,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if errors else None,
            umask=0o022,
        ) as process:
            status = follow(process, printed.extend)
    return CommandResult(status, bytes(printed))


class _Terminated(BaseException):
    """SIGTERM came."""


@contextlib.contextmanager
def ends_with_signals() -> Iterator[None]:
    """Let SIGTERM raise an exception, as ^C does, so that a command in another session is ended
    before this process.

    By default, SIGTERM ends this process at once, and leaves the command behind. Where it is
    ignored or handled otherwise, that stays.
    """
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        signal.signal(
            signal.SIGTERM, signal.SIG_IGN
        )  # a second one waits until the command was ended
        raise _Terminated

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except _Terminated:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Don't look for cycles: among hundreds of thousands of small tuples there are none, and
    looking takes a tenth.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


@dataclass(frozen=True, slots=True)
class Child:
    """A running child; its answer can be read from `answer` until end of file."""

    pid: int
    answer: int
    leads: bool = False

    def kill(self, number: int) -> None:
        """Send a signal to the child; to everything that it started too, if it leads a process
        group.
        """
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if self.leads else os.kill)(self.pid, number)


def start_child(function: Callable[[], object], *, leads: bool = False) -> Child:
    """Run a function in a child process, which may lead a process group of its own."""
    reader, writer = os.pipe()
    try:
        pid = os.fork()
    except BaseException:  # no process may be left, or no memory
        os.close(reader)
        os.close(writer)
        raise
    if pid == 0:
        os.close(reader)
        if leads:
            os.setpgid(0, 0)
        _serve(function, writer)
    os.close(writer)
    if leads:
        with contextlib.suppress(OSError):  # the child does the same; whoever comes first
            os.setpgid(pid, pid)
    return Child(pid, reader, leads)


def start_detached(function: Callable[[], None]) -> None:
    """Run a function in a process that nobody waits for: no child of this one, in a session of its
    own, and silent.

    What goes wrong in it is the function's to tell.
    """
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
        return
    try:
        os.setsid()
        if os.fork() == 0:
            signal.set_wakeup_fd(-1)
            settle_process()
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            nothing = os.open(os.devnull, os.O_RDWR)
            for fd in STANDARD_STREAMS:
                os.dup2(nothing, fd)
            function()
    finally:
        os._exit(0)


def _serve(function: Callable[[], object], writer: int) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        answer: object
        try:
            answer = function()
        except BaseException as error:
            answer = error
        with os.fdopen(writer, "wb") as stream:
            pickle.dump(answer, stream, protocol=5)
        code = 0
    finally:
        os._exit(code)


def decode_answer(data: bytes, status: int, what: str) -> object:
    """Return what a child's function returned, or raise what it raised.

    `status` is what waitpid told.
    """
    if not data:
        code = os.waitstatus_to_exitcode(status)
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code < 0
            else f"ended with exit status {code}"
        )
        raise ProvError(
            f"the process for {what} {how}", hint="was memory short? run the same again"
        )
    answer = pickle.loads(data)  # from our own fork
    if isinstance(answer, BaseException):
        raise answer
    return answer
