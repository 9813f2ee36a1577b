"""Run a command under strace, and wait for the end of its trace.

strace is the only unprivileged tool that reports failed lookups and uses of `stat`. A seccomp
filter (`--seccomp-bpf`) stops the command only at calls of interest. The tracer runs as a
grandchild (`-D`), so the traced command is the caller's own child: its exit status is exact, and
the caller does not wait for background processes.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from prov.errors import ProvError
from prov.reads.calls import parents

_READS = "%file,getdents64,?getdents,fchdir"
_PROCESSES = "?clone,?clone3,?fork,?vfork"
_OUTSIDE = (
    *("socket", "connect", "bind", "ptrace", "unshare", "setns", "?open_by_handle_at"),
    *("?shmget", "?msgget", "?semget", "?mq_open", "?io_uring_setup", "?pidfd_getfd"),
    *("?process_vm_readv", "?bpf", "?perf_event_open", "?fanotify_init", "?request_key"),
)
"""Calls by which a command exchanges data other than through files."""
_OPTIONS = (
    "-D",
    "-f",
    "-q",
    "-y",
    "--pidns-translation",
    *("-s", "0"),  # paths are printed in full regardless
    *("-e", f"trace={_READS},{_PROCESSES},{','.join(_OUTSIDE)}"),
    # the end of a process killed by a signal is printed only if the signal is
    *("-e", "signal=!SIGCHLD"),
    # programs then fall back to traced calls
    *("-e", "inject=io_uring_setup:error=ENOSYS"),
)
_FILTER = "--seccomp-bpf"
_SETTLE_SECONDS = 1.0
"""The time for which the end of the trace is awaited after the command has exited."""
_POLL_SECONDS = 0.01


@dataclass(frozen=True, slots=True)
class Strace:
    """The strace of this machine, and options with which it works."""

    program: str
    options: tuple[str, ...]

    @staticmethod
    def find(search_path: str) -> Strace:
        """Return the strace on a search path. Raises ProvError if it is missing or cannot trace."""
        program = shutil.which("strace", path=search_path)
        if program is None:
            raise ProvError("cannot trace: strace is not installed", hint="install strace")
        problem = ""
        for options in ((_FILTER, *_OPTIONS), _OPTIONS):
            problem = _problem(program, options, search_path)
            if not problem:
                return Strace(program, options)
        raise ProvError(
            f"cannot trace: {problem}",
            hint="allow ptrace in this container, or run the command without tracing",
        )

    def wrap(self, command: Sequence[str], output: Path) -> list[str]:
        """Return the command line that runs a command and writes its trace to `output`.

        Call `wait_for_end` when the command has exited, then `prov.reads.trace.read_trace`.
        """
        return [self.program, *self.options, "-o", str(output), "--", *command]


def _problem(program: str, options: Sequence[str], search_path: str) -> str:
    """Return why strace cannot trace a program with these options; "" if it can."""
    without_daemon = [option for option in options if option != "-D"]
    try:
        done = subprocess.run(
            [program, *without_daemon, "-o", "/dev/null", "--", "true"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            env={"PATH": search_path, "LC_ALL": "C"},
        )
    except OSError as error:
        return f"cannot run {program}: {error.strerror}"
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    if done.returncode == 0 and not lines:
        return ""
    return lines[-1] if lines else f"{program} exited with status {done.returncode}"


_STARTED = re.compile(rb"^(\d+) +", re.MULTILINE)
_ENDED = re.compile(rb"^(\d+) +\+\+\+ (?:exited|killed) ", re.MULTILINE)


def wait_for_end(output: Path) -> bool:
    """Wait until a trace is complete, at most a second; return whether all its processes ended.

    The tracer reports the end of the command later than the kernel does. Processes that outlive
    the command stay traced until they end: without a tracer, the filter would fail their calls.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while True:
        text = output.read_bytes()
        started = {*map(int, _STARTED.findall(text)), *parents(text.split(b"\n"))}
        ended = set(map(int, _ENDED.findall(text)))
        if started and started == ended and text.endswith(b"\n"):
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
