"""Run commands on a simulated machine that fails at a chosen writing system call.

`Machine` builds supervisor.c and keeps it running, with server.py as its child. The supervisor
counts the writing calls below one folder in all processes of a command, and injects a fault into
the call with a given number.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("supervisor.c")
PATIENCE = 60.0
NO_SUPERVISION = 70
"""The supervisor's exit status if the kernel does not support it."""

KINDS = (
    *("open", "write", "rename", "link", "symlink", "unlink", "mkdir", "rmdir"),
    *("truncate", "sync", "mode", "time", "copy", "xattr", "node", "owner"),
)
"""The kinds of calls, in the order of calls.h."""
_ALL = (1 << len(KINDS)) - 1
_ROOMY = ("open", "write", "rename", "link", "symlink", "mkdir", "copy", "xattr", "node")
_TAKES_ROOM = sum(1 << KINDS.index(kind) for kind in _ROOMY)
"""The kinds of calls that fail on a full disk; removing and syncing still work."""


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault to inject into a call."""

    name: str
    action: int
    error: int = 0
    kinds: int = _ALL
    torn: bool = False

    @property
    def kills(self) -> bool:
        """Whether the fault kills all processes of the command."""
        return self.action == 1


KILL = Fault("kill", 1)
TORN = Fault("kill within a write", 1, torn=True)
KILL_ONE = Fault("kill of one process", 2)
FULL_ONCE = Fault("ENOSPC once", 3, errno.ENOSPC, _TAKES_ROOM)
FULL = Fault("ENOSPC from then on", 4, errno.ENOSPC, _TAKES_ROOM)
BROKEN_ONCE = Fault("EIO once", 3, errno.EIO)
BROKEN = Fault("EIO from then on", 4, errno.EIO)
FAULTS = (KILL, TORN, KILL_ONE, FULL_ONCE, FULL, BROKEN_ONCE, BROKEN)


@dataclass(frozen=True, slots=True)
class Done:
    """A finished command."""

    code: int
    said: str
    calls: int
    """The number of writing calls below the folder."""
    hit: str
    """The kind of the call with the fault; empty if there was none."""


class _Control(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_uint64),
        ("at", ctypes.c_uint64),
        ("action", ctypes.c_uint32),
        ("error", ctypes.c_uint32),
        ("kinds", ctypes.c_uint32),
        ("torn", ctypes.c_uint32),
        ("hit", ctypes.c_uint32),
        ("run", ctypes.c_uint32),
        ("root", ctypes.c_char * 4096),
        ("journal", ctypes.c_char * 4096),
        ("said", ctypes.c_char * 4096),
    )


class NoMachine(Exception):
    """This machine cannot inject faults; the message states the reason."""


class Machine:
    """The supervisor and its child, the server."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        """Build and start the supervisor. Raises NoMachine."""
        self.environment = dict(environment)
        self._said = folder / "said"
        program, control = folder / "supervisor", folder / "control"
        compiler = shutil.which("gcc") or shutil.which("cc")
        if compiler is None:
            raise NoMachine("there is no C compiler")
        made = subprocess.run(
            [compiler, "-O1", "-o", program, SOURCE], capture_output=True, text=True
        )
        if made.returncode:
            raise NoMachine(f"supervisor.c can't be compiled here: {made.stderr.strip()}")
        control.write_bytes(bytes(ctypes.sizeof(_Control)))
        with open(control, "r+b") as stream:
            self._map = mmap.mmap(stream.fileno(), 0)
        self._control = _Control.from_buffer(self._map)
        command = [str(program), str(control), sys.executable, "-m", "tests.faults.server"]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=Path(__file__).parents[2],
            env=self.environment,
        )
        if self._line() != "ready\n":
            said = self._process.communicate()[1].strip()
            if self._process.returncode == NO_SUPERVISION:
                raise NoMachine(f"system calls can't be supervised here: {said}")
            raise AssertionError(said)

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(PATIENCE)

    def run(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        fault: Fault | None = None,
        at: int = 0,
        journal: Path | None = None,
    ) -> Done:
        """Run a prov command in a folder, with a fault at a writing call, counted from 1."""
        control = self._control
        control.action = 0
        control.root, control.journal = (
            os.fsencode(folder),
            os.fsencode(journal) if journal else b"",
        )
        control.said = os.fsencode(self._said)
        control.count = control.hit = 0
        control.at = at
        control.run += 1
        if fault is not None:
            control.error, control.kinds, control.torn = fault.error, fault.kinds, fault.torn
            control.action = fault.action
        request = {
            "arguments": [*arguments],
            "folder": str(folder),
            "environment": self.environment,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request | {"said": str(self._said)}) + "\n")
        self._process.stdin.flush()
        line = self._line()
        assert line, f"the supervisor ended: {self._process.poll()}"
        answer = json.loads(line)
        _wait_for(answer["session"])
        hit = KINDS[control.hit - 1] if control.hit else ""
        control.action = 0
        return Done(answer["code"], self._said.read_text(errors="replace"), control.count, hit)


def _wait_for(session: int) -> None:
    """Wait for a command's background processes, which must not write during the checks."""
    begun = time.monotonic()
    while left := _members(session):
        if time.monotonic() - begun > 2:
            for pid in left:
                os.kill(pid, signal.SIGKILL)
        assert time.monotonic() - begun < PATIENCE, f"{left} don't end"
        time.sleep(0.002)


def _members(session: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                if os.getsid(int(name)) != session:
                    continue
                state = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[0]
            except (ProcessLookupError, FileNotFoundError):
                continue
            if state not in "ZX":
                found.append(int(name))
    return found
