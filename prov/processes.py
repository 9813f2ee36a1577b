"""Run functions in forked processes, run commands, and reset inherited process state.

prov never starts threads, so forking is safe. A fork starts fast and shares the parent's memory. It
sends its result through a pipe. A child that dies without a result is distinguished from one whose
function failed.
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

from prov import progress
from prov.errors import ProvError

STANDARD_STREAMS = (0, 1, 2)
POLL_MILLISECONDS = 50
"""The interval at which prov checks whether a command has exited."""
MOST_FRAMES = 30_000
"""The recursion limit: functions on trees can recurse for each of 2,000 nested folders."""
GRACE_SECONDS = 0.2
"""The time for which output is still read after a command has exited."""


def settle_process() -> None:
    """Reset inherited process state that would change prov's results. Call this first.

    An ignored SIGCHLD makes the kernel discard exit statuses, which Python then reports as 0. A
    blocked signal is never delivered. A file opened while a standard stream is closed gets that
    stream's number, and then its output.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    sys.setrecursionlimit(MOST_FRAMES)
    for number in STANDARD_STREAMS:
        try:
            os.fstat(number)
        except OSError:
            # open returns the lowest free number, which is this one
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def exit_status(process: subprocess.Popen[bytes]) -> int:
    """Wait for a command; return its exit status as `Popen.returncode`, negative for a signal.

    Raises ProvError if the kernel discards exit statuses: `Popen.wait` would return 0, a success.
    """
    try:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    except ChildProcessError as error:
        raise ProvError(
            f"the exit status of process {process.pid} is lost: this process ignores SIGCHLD",
            hint="reset SIGCHLD to its default before using prov as a library",
        ) from error
    return process.wait()


def follow(process: subprocess.Popen[bytes], passed: Callable[[bytes], object]) -> int:
    """Pass a command's output to `passed` until the command exits; return its `exit_status`.

    A background process of the command can hold the pipe open forever. prov does not wait for it; a
    separate process discards its later output, since closing the pipe would kill it by SIGPIPE.
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
    """A command's exit status, negative for a signal, and its output."""

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
    """Run a foreign command with `data` as its input and umask 022; return its result.

    With `errors`, the output includes standard error. prov does not wait for background processes;
    see `follow`. Raises OSError if the command cannot be started.
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
    """This process received SIGTERM."""


@contextlib.contextmanager
def ends_with_signals() -> Iterator[None]:
    """Make SIGTERM raise an exception, as ^C does, to end a command in another session first.

    By default, SIGTERM ends this process at once, and the command continues. If SIGTERM is ignored
    or has a handler, this changes nothing.
    """
    if signal.getsignal(signal.SIGTERM) != signal.SIG_DFL:
        yield
        return

    def stop(_number: int, _frame: object) -> None:
        # a second signal must not interrupt ending the command
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
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
    """Disable the cyclic garbage collector.

    Hundreds of thousands of small tuples form no cycles, and searching them takes a tenth of the
    time.
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
    """A running child process; read its answer from the descriptor `answer` until end of file."""

    pid: int
    answer: int
    leads: bool = False

    def kill(self, number: int) -> None:
        """Send a signal to the child, or to its process group if it leads one."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if self.leads else os.kill)(self.pid, number)


def start_child(function: Callable[[], object], *, leads: bool = False) -> Child:
    """Run a function in a child process, which leads a new process group if `leads` is set."""
    reader, writer = os.pipe()

    def serve() -> None:
        os.close(reader)
        with os.fdopen(writer, "wb") as stream:
            stream.write(encode_answer(function))

    try:
        pid = start_fork(serve, leads=leads)
    except BaseException:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    return Child(pid, reader, leads)


def start_fork(serve: Callable[[], object], *, leads: bool = False) -> int:
    """Run a function in a child process, which then exits; return its id.

    The child has default signal handlers. It leads a new process group if `leads` is set.
    """
    pid = os.fork()  # fails, for example, without free processes or memory
    if pid == 0:
        code = 1
        try:
            if leads:
                os.setpgid(0, 0)
            progress.silence()
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_DFL)
            serve()
            code = 0
        finally:
            os._exit(code)
    if leads:
        with contextlib.suppress(OSError):  # the child sets it too; the first of both succeeds
            os.setpgid(pid, pid)
    return pid


def start_detached(function: Callable[[], None]) -> None:
    """Run a function in a detached process, in a new session, with its streams on /dev/null.

    The process is not a child of this one. The function must report its own failures.
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


def encode_answer(function: Callable[[], object]) -> bytes:
    """Call a function; return its result, or the exception that it raised, for `decode_answer`."""
    answer: object
    try:
        answer = function()
    except BaseException as error:
        answer = error
    return pickle.dumps(answer, protocol=5)


def decode_answer(data: bytes, status: int, what: str) -> object:
    """Return the result of a child's function, or raise its exception.

    `status` is from waitpid; `what` names the activity in the error for a child that died.
    """
    if not data:
        code = os.waitstatus_to_exitcode(status)
        how = (
            f"was killed by {signal.Signals(-code).name}"
            if code < 0
            else f"exited with status {code}"
        )
        raise ProvError(
            f"the process for {what} {how}", hint="free some memory, then run the command again"
        )
    answer = pickle.loads(data)  # trusted: from prov's own fork
    if isinstance(answer, BaseException):
        raise answer
    return answer
