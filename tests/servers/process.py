"""Run servers as processes: on a free port, until the test ends.

A process leads its own session, so that all its processes can be killed. With setpriv, the kernel
kills it if the test dies.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

PATIENCE = 20.0
"""Seconds for a server to start or to end, on a busy machine."""


class NotStartedError(Exception):
    """A server did not start; the message contains its log."""


def program(name: str, package: str) -> str:
    """Return the path of a program; skip the test if it is missing."""
    found = shutil.which(name, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/lib/git-core")
    if found is None:
        pytest.skip(f"{name} is not installed (Debian's {package})")
    return found


@dataclass(slots=True)
class Process:
    """A server's process, which can be stopped and started again."""

    command: Sequence[str]
    log: Path
    """The file for its output, in append mode."""
    is_ready: Callable[[str], bool]
    """Receives the output since the start. It may return True only for a process that has its port.
    """
    environment: Mapping[str, str] = field(default_factory=dict)
    running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self.running is None, "is running already"
        with self.log.open("ab") as log:
            begun = log.tell()
            self.running = subprocess.Popen(
                ["setpriv", "--pdeathsig=TERM", *self.command],
                env={"PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1", **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + PATIENCE
        while not self.is_ready(said := self.log.read_bytes()[begun:].decode(errors="replace")):
            code = self.running.poll()
            if code is not None or time.monotonic() > until:
                self.stop()
                raise NotStartedError(f"{self.command[0]} did not start ({code}):\n{said}")
            time.sleep(0.005)

    def stop(self) -> None:
        """Kill it and its child processes."""
        if self.running is None:
            return
        everyone = [
            self.running.pid,
            *below(self.running.pid),
        ]  # sessions of sshd are not in its process group
        send(signal.SIGTERM, everyone)
        with suppress(subprocess.TimeoutExpired):
            self.running.wait(2)
        send(
            signal.SIGKILL,
            [pid for pid in everyone if pid != self.running.pid or self.running.returncode is None],
        )
        self.running.wait(PATIENCE)
        self.running = None


def below(pid: int) -> list[int]:
    """Return the descendants of a process."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parent = int(stat.read_text(errors="replace").rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found[1:]


def send(sign: signal.Signals, processes: Sequence[int]) -> None:
    for pid in processes:
        with suppress(ProcessLookupError):
            os.kill(pid, sign)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        assert isinstance(port, int)
        return port


@contextmanager
def on_a_port(make: Callable[[int], Process], *, tries: int = 4) -> Iterator[tuple[int, Process]]:
    """Start the process that `make` returns for a free port; retry with another port, since another
    process may have bound it first.
    """
    for left in reversed(range(tries)):
        port = free_port()
        process = make(port)
        try:
            process.start()
            break
        except NotStartedError:
            if not left:
                raise
    try:
        yield port, process
    finally:
        process.stop()
