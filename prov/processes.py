"""A function in a process of its own: a fork, which needs no start-up and shares what is in memory.

prov never runs threads, so that forking is safe. The answer comes back through a pipe; a child that dies without one is
told apart from one that failed.
"""

from __future__ import annotations

import contextlib
import gc
import os
import pickle
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from prov.errors import ProvError


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Don't look for cycles: among hundreds of thousands of small tuples there are none, and looking takes a tenth."""
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
        """Send a signal to the child; to everything that it started too, if it leads a process group."""
        with contextlib.suppress(ProcessLookupError):
            (os.killpg if self.leads else os.kill)(self.pid, number)


def start_child(function: Callable[[], object], *, leads: bool = False) -> Child:
    """Run a function in a child process, which may lead a process group of its own."""
    reader, writer = os.pipe()
    pid = os.fork()
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
    """Run a function in a process that nobody waits for: no child of this one, in a session of its own, and silent.

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
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            nothing = os.open(os.devnull, os.O_RDWR)
            for fd in (0, 1, 2):
                os.dup2(nothing, fd)
            function()
    finally:
        os._exit(0)


def _serve(function: Callable[[], object], writer: int) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
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
    """Return what a child's function returned, or raise what it raised. `status` is what waitpid told."""
    if not data:
        code = os.waitstatus_to_exitcode(status)
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit status {code}"
        raise ProvError(f"the process for {what} {how}", hint="was memory short? run the same again")
    answer = pickle.loads(data)  # from our own fork
    if isinstance(answer, BaseException):
        raise answer
    return answer
