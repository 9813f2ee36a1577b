"""Run a command on a pseudo-terminal, as a user's terminal emulator and shell do."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import struct
import subprocess
import termios
import time
import tty
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

SECONDS = 30


class Terminal:
    """Runs a command in the foreground of a new terminal.

    `screen` is the output so far.
    """

    def __init__(
        self,
        command: Sequence[str],
        cwd: Path,
        environment: Mapping[str, str] | None = None,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        prepare: Callable[[int], None] = lambda _terminal: None,
    ) -> None:
        self.master, self.slave = os.openpty()
        prepare(self.slave)
        self.modes = termios.tcgetattr(self.slave)
        self.screen = b""

        def take_terminal() -> None:
            fcntl.ioctl(2, termios.TIOCSCTTY, 0)

        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "TERM": "dumb", **(environment or {})},
            stdin=self.slave if stdin is None else stdin,
            stdout=self.slave if stdout is None else stdout,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=take_terminal,
        )

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: Any) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, 9)
        self.process.wait()
        for fd in (self.master, self.slave):
            with contextlib.suppress(OSError):
                os.close(fd)

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def resize(self, rows: int, columns: int) -> None:
        """Resize the terminal; the kernel signals the foreground processes."""
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def read(self, seconds: float = 0.05) -> None:
        while select.select([self.master], [], [], seconds)[0]:
            self.screen += os.read(self.master, 1 << 16)

    def wait_for(self, text: bytes) -> None:
        until = time.monotonic() + SECONDS
        while text not in self.screen:
            assert time.monotonic() < until, f"no {text!r} in {self.screen!r}"
            assert self.process.poll() is None or select.select([self.master], [], [], 0.1)[0], (
                self.screen
            )
            self.read()

    def ended(self) -> int:
        """Wait for the command and return its exit status, negative for a signal."""
        until = time.monotonic() + SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < until, f"it does not end: {self.screen!r}"
            self.read()
        self.read()
        return self.process.returncode

    def is_restored(self) -> bool:
        """Return whether the terminal has its original modes."""
        return termios.tcgetattr(self.slave) == self.modes

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & (termios.ICANON | termios.ISIG | termios.ECHO)

    def input(self) -> bytes:
        """Return the input that a shell would read now; call this last."""
        tty.setraw(self.slave, termios.TCSANOW)
        queue = b""
        while select.select([self.slave], [], [], 0.1)[0]:
            queue += os.read(self.slave, 1 << 16)
        return queue
