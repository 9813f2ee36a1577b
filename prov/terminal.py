"""Run a command on a new terminal, connected to the user's.

A process can push characters into the input of its controlling terminal (TIOCSTI, TIOCLINUX). If
this is the user's terminal, the user's shell runs them when prov exits. So the command gets a new
pseudo-terminal, and prov copies bytes and the window size between the two. While the command runs,
the user's terminal is in raw mode, and the command's terminal handles line editing, ^C, ^Z and ^D.
prov always restores the user's terminal.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import subprocess
import termios
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

STDIN, STDOUT, STDERR = 0, 1, 2
POLL_MILLISECONDS = 50
"""The interval at which prov checks whether the command has exited."""
GRACE_SECONDS = 0.25
"""The time that a command has to exit after SIGHUP; also the time for which output of its
background processes is read.
"""
CHUNK = 1 << 14
MOST_PENDING = 1 << 16
"""The limit in bytes for unread input of the command; more input stays in the user's terminal."""
Handler = Callable[[int, object], None]
_ENDING = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)


def has_terminal() -> bool:
    """Return whether standard input is a terminal with this process in the foreground."""
    return os.isatty(STDIN) and _is_foreground()


def run_on_terminal(command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run a command; return its exit status as `Popen.returncode`, negative for a signal.

    The command leads a session. If `has_terminal()` is true, a new terminal controls the command
    and replaces the standard streams that are terminals. Otherwise, no terminal controls the
    command, it inherits all standard streams, and a background job's input is empty. No other
    descriptors are inherited. Raises OSError if the command cannot be started, and
    KeyboardInterrupt, after ending the command, for a signal that would end this process.
    """
    if has_terminal():
        return _run_on_new_terminal(command, cwd, env)
    streams = {STDIN: subprocess.DEVNULL} if os.isatty(STDIN) else {}
    with _handlers({}), _started(command, cwd, env, streams) as process:
        return process.wait()


def _run_on_new_terminal(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> int:
    with contextlib.ExitStack() as stack:
        master, slave = os.openpty()
        stack.callback(os.close, master)
        # open until the end, so that reading from the master never fails
        stack.callback(os.close, slave)
        os.set_blocking(master, False)
        termios.tcsetattr(slave, termios.TCSANOW, termios.tcgetattr(STDIN))
        stack.enter_context(_raw_input(lambda: _copy_size(slave)))
        streams = {fd: slave for fd in (STDIN, STDOUT, STDERR) if os.isatty(fd)}
        process = stack.enter_context(_started(command, cwd, env, streams, prepare=_take_terminal))
        _relay(process, master)
    return process.returncode


@contextlib.contextmanager
def _started(
    command: Sequence[str],
    cwd: Path,
    env: Mapping[str, str],
    streams: Mapping[int, int],
    *,
    prepare: Callable[[], None] = lambda: None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Start a command that leads a session, and end it at the end of the block.

    `prepare` runs in the command's process before the command.
    """
    process = None
    try:
        # A handler that raises while Popen waits for the child would leave the child behind.
        unblocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, *_ENDING})

        def begin() -> None:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
            prepare()

        try:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env=env,
                stdin=streams.get(STDIN),
                stdout=streams.get(STDOUT),
                stderr=streams.get(STDERR),
                start_new_session=True,
                preexec_fn=begin,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, unblocked)
        yield process
    finally:
        if process is not None and process.poll() is None:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Send a running command's process group SIGHUP, as a terminal does, then SIGKILL."""
    os.killpg(process.pid, signal.SIGHUP)
    until = time.monotonic() + GRACE_SECONDS
    while (
        time.monotonic() < until
        and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
    ):
        time.sleep(0.01)
    # before wait, after which the kernel can reuse the group's number
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _take_terminal() -> None:
    """Make the terminal on standard input this session's controlling terminal."""
    fcntl.ioctl(STDIN, termios.TIOCSCTTY, 0)


def _is_foreground() -> bool:
    try:
        return os.tcgetpgrp(STDIN) == os.getpgrp()
    except OSError:  # it does not control this session, so job control does not apply
        return True


def _copy_size(slave: int) -> None:
    """Set a terminal's size to the user's; the kernel signals a change to the programs there."""
    with contextlib.suppress(OSError):  # the user's terminal was closed
        fcntl.ioctl(slave, termios.TIOCSWINSZ, fcntl.ioctl(STDIN, termios.TIOCGWINSZ, b"\0" * 8))


# the user's terminal


@contextlib.contextmanager
def _raw_input(resize: Callable[[], None]) -> Iterator[None]:
    """Put the user's terminal into raw mode; call `resize` now and when its size changes."""

    def resized(_number: int, _frame: object) -> None:
        resize()

    def continued(_number: int, _frame: object) -> None:
        # the shell can have changed the mode while prov was stopped
        with contextlib.suppress(termios.error):
            tty.setraw(STDIN, termios.TCSANOW)
        resize()

    saved = termios.tcgetattr(STDIN)
    try:
        with _handlers({signal.SIGWINCH: resized, signal.SIGCONT: continued}):
            tty.setraw(STDIN, termios.TCSANOW)
            resize()
            yield
    finally:
        # A second signal must not end this process before the terminal is restored.
        blocked = signal.pthread_sigmask(
            signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTTOU, *_ENDING}
        )
        try:
            _restore(saved)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _restore(saved: list[Any]) -> None:
    if not _is_foreground():
        return  # the shell is in the foreground and has set the terminal's mode itself
    with contextlib.suppress(termios.error):  # the terminal was closed
        # The terminal's replies to escape sequences from the command must not reach the user's
        # shell.
        termios.tcflush(STDIN, termios.TCIFLUSH)
        termios.tcsetattr(STDIN, termios.TCSANOW, saved)


@contextlib.contextmanager
def _handlers(handlers: Mapping[int, Handler]) -> Iterator[None]:
    """Install signal handlers; signals that would end this process raise KeyboardInterrupt."""

    def ended(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    installed: dict[int, Handler] = dict(handlers)
    for number in _ENDING:
        if signal.getsignal(number) == signal.SIG_DFL:
            installed[number] = ended
    before = {number: signal.signal(number, handler) for number, handler in installed.items()}
    try:
        yield
    finally:
        for changed, handler in before.items():
            signal.signal(changed, handler)


# between the terminals


class _HungUp(Exception):
    """The user's terminal was closed."""


def _relay(process: subprocess.Popen[bytes], master: int) -> None:
    """Copy bytes between the user's terminal and the command's until the command exits."""
    screen = _screen()
    pending = b""
    with contextlib.suppress(_HungUp):
        while process.poll() is None:
            poll = select.poll()
            poll.register(master, select.POLLIN | (select.POLLOUT if pending else 0))
            if len(pending) < MOST_PENDING:
                poll.register(STDIN, select.POLLIN)
            ready = dict(poll.poll(POLL_MILLISECONDS))
            if ready.get(master, 0) & select.POLLIN:
                _write(screen, _read(master))
            if ready.get(master, 0) & select.POLLOUT:
                pending = pending[_written(master, pending) :]
            if STDIN in ready:
                pending += _typed()
        # Limited, since background processes can continue to print.
        until = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < until and (output := _read(master)):
            _write(screen, output)


def _screen() -> int | None:
    """Return a descriptor for writing to the user's terminal, or None."""
    for fd in (STDOUT, STDERR, STDIN):
        if os.isatty(fd) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
            return fd
    return None


def _typed() -> bytes:
    """Return typed input. Raises _HungUp at the end of the terminal's input."""
    try:
        typed = os.read(STDIN, CHUNK)
    except BlockingIOError:  # another process has read it
        return b""
    except OSError as error:
        raise _HungUp from error
    if not typed:
        raise _HungUp
    return typed


def _read(master: int) -> bytes:
    """Return available output of the command, possibly empty."""
    try:
        return os.read(master, CHUNK)
    except OSError:
        return b""


def _written(master: int, data: bytes) -> int:
    """Write as much as the command's terminal accepts now; return the number of bytes."""
    try:
        return os.write(master, data)
    except OSError:
        return 0


def _write(screen: int | None, data: bytes) -> None:
    """Write to the user's terminal. Raises _HungUp if it was closed."""
    while data and screen is not None:
        try:
            data = data[os.write(screen, data) :]
        except BlockingIOError:  # the caller's stream is non-blocking and full
            select.select([], [screen], [])
        except OSError as error:
            raise _HungUp from error
