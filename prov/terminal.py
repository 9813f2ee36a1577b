"""Run a command on a terminal of its own, connected to the user's.

A process whose controlling terminal is the user's can push characters into its input (TIOCSTI,
TIOCLINUX). The user's shell runs them when prov ends. So the command gets a new pseudo-terminal,
and prov copies bytes and the window's size between the two. While the command runs, the user's
terminal is in raw mode: line editing, ^C, ^Z and ^D are up to the command's terminal. The user's
terminal is always restored.
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
"""How often prov checks whether the command has ended."""
GRACE_SECONDS = 0.25
"""How long a command that is to end may take, and how long output of its background processes is
still read.
"""
CHUNK = 1 << 14
MOST_PENDING = 1 << 16
"""Bytes of input that the command has not read yet; more stays in the user's terminal."""
Handler = Callable[[int, object], None]
_ENDING = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM)


def has_terminal() -> bool:
    """Return whether standard input is a terminal that this process can read: it is not a
    background job there.
    """
    return os.isatty(STDIN) and _is_foreground()


def run_on_terminal(command: Sequence[str], *, cwd: Path, env: Mapping[str, str]) -> int:
    """Run a command and return its exit status, negative for a signal, as `Popen.returncode` has
    it.

    The command leads a session. With `has_terminal`, a new terminal controls it and replaces those
    standard streams that are terminals. Without, no terminal controls it, all streams are passed
    on, and a background job's input is empty. No other descriptors are inherited. Raises OSError if
    the command can't be started, and KeyboardInterrupt for a signal that ends this process; the
    command has ended then.
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
        stack.callback(
            os.close, slave
        )  # open to the end, so that reading from the master never fails
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
    """Yield a command that leads a session, and end it with the block; `prepare` is called in its
    process.
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
    """End a running command as a terminal does that hangs up, and kill what does not end."""
    os.killpg(process.pid, signal.SIGHUP)
    until = time.monotonic() + GRACE_SECONDS
    while (
        time.monotonic() < until
        and os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
    ):
        time.sleep(0.01)
    os.killpg(
        process.pid, signal.SIGKILL
    )  # before the command is waited for: until then the group's number is its own
    process.wait()


def _take_terminal() -> None:
    """Make the terminal on standard input this session's controlling one."""
    fcntl.ioctl(STDIN, termios.TIOCSCTTY, 0)


def _is_foreground() -> bool:
    try:
        return os.tcgetpgrp(STDIN) == os.getpgrp()
    except OSError:  # it controls another session, or none: it stops no process of this one
        return True


def _copy_size(slave: int) -> None:
    """Give a terminal the size of the user's; the kernel signals a change to what runs there."""
    with contextlib.suppress(OSError):  # the user's terminal is gone
        fcntl.ioctl(slave, termios.TIOCSWINSZ, fcntl.ioctl(STDIN, termios.TIOCGWINSZ, b"\0" * 8))


# the user's terminal


@contextlib.contextmanager
def _raw_input(resize: Callable[[], None]) -> Iterator[None]:
    """Put the user's terminal into raw mode meanwhile; call `resize` now and whenever its size
    changes.
    """

    def resized(_number: int, _frame: object) -> None:
        resize()

    def continued(_number: int, _frame: object) -> None:
        with contextlib.suppress(termios.error):
            tty.setraw(
                STDIN, termios.TCSANOW
            )  # the shell may have changed the mode while prov was stopped
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
        return  # the shell, which is in the foreground, has set the terminal as it needs it
    with contextlib.suppress(termios.error):  # the terminal is gone
        # What the terminal answers to an escape sequence that the command printed must not reach
        # the user's shell.
        termios.tcflush(STDIN, termios.TCIFLUSH)
        termios.tcsetattr(STDIN, termios.TCSANOW, saved)


@contextlib.contextmanager
def _handlers(handlers: Mapping[int, Handler]) -> Iterator[None]:
    """Handle signals meanwhile; those that would end this process at once raise
    KeyboardInterrupt.
    """

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
    """The user's terminal is gone."""


def _relay(process: subprocess.Popen[bytes], master: int) -> None:
    """Copy bytes between the user's terminal and the command's, until the command has ended."""
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
        # Processes in the background may go on printing: what the command printed is there already.
        until = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < until and (output := _read(master)):
            _write(screen, output)


def _screen() -> int | None:
    """Return the descriptor by which the user's terminal can be written to."""
    for fd in (STDOUT, STDERR, STDIN):
        if os.isatty(fd) and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE != os.O_RDONLY:
            return fd
    return None


def _typed() -> bytes:
    """Return what was typed. Raises _HungUp at the end of the terminal's input."""
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
    """Return what the command printed, empty if there is nothing now."""
    try:
        return os.read(master, CHUNK)
    except OSError:
        return b""


def _written(master: int, data: bytes) -> int:
    """Write what the command's terminal accepts now and return how many bytes that was."""
    try:
        return os.write(master, data)
    except OSError:
        return 0


def _write(screen: int | None, data: bytes) -> None:
    """Write to the user's terminal. Raises _HungUp where that is gone."""
    while data and screen is not None:
        try:
            data = data[os.write(screen, data) :]
        except BlockingIOError:  # the caller's stream is non-blocking, and full
            select.select([], [screen], [])
        except OSError as error:
            raise _HungUp from error
