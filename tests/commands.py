"""Run `prov` in a process that has imported prov's modules: see `tests.zygote`.

Tests of the start itself, of signals, of limits and of terminals run the script, `PROV`.
"""

from __future__ import annotations

import atexit
import functools
import io
import os
import pickle
import re
import select
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from tests.zygote import STATUS, Request

PROV = str(Path(sys.executable).with_name("prov"))
ZYGOTE = str(Path(__file__).with_name("zygote.py"))
READ_AT_START = ("LANG", "LC_", "LD_", "MALLOC_", "PYTHON", "TQDM_", "TYPER_", "TZ", "_TYPER_")
"""Prefixes of variables that the C library, Python and its modules read when they start."""
MOST_INPUT = 60_000
"""The size in bytes of an input that fits into a pipe which nothing reads."""

Done = subprocess.CompletedProcess[str]


def run_prov(
    *arguments: str,
    cwd: str | Path = ".",
    environment: Mapping[str, str] = os.environ,
    stdin: str = "",
) -> Done:
    """Run a command; return its exit status and outputs, decoded as `subprocess` does."""
    done = run_prov_bytes(*arguments, cwd=cwd, environment=environment, stdin=stdin.encode())
    return Done(done.args, done.returncode, decode(done.stdout), decode(done.stderr))


def run_prov_bytes(
    *arguments: str,
    cwd: str | Path = ".",
    environment: Mapping[str, str] = os.environ,
    stdin: bytes = b"",
) -> subprocess.CompletedProcess[bytes]:
    """Run a command; return its exit status and outputs.

    A command whose environment would change the start of Python runs by the script.
    """
    command = [PROV, *arguments]
    variables = dict(environment)
    if read_at_start(variables) != zygote_variables():
        return subprocess.run(command, cwd=cwd, env=variables, input=stdin, capture_output=True)
    request = Request(command, os.path.abspath(cwd), current_umask(), variables)
    outputs, reply = start(request, stdin)
    stdout, stderr = read_all(*outputs)
    with reply:
        status = reply.recv(STATUS.size)
    assert status, "the process that starts commands ended"
    (code,) = STATUS.unpack(status)
    return subprocess.CompletedProcess(command, code, stdout, stderr)


def start(request: Request, stdin: bytes) -> tuple[list[int], socket.socket]:
    """Start a command; return both pipes of its outputs, and the socket for its exit status."""
    assert len(stdin) <= MOST_INPUT
    (its_stdin, typed), (stdout, its_stdout), (stderr, its_stderr) = (os.pipe() for _ in range(3))
    os.write(typed, stdin)
    os.close(typed)
    reply, its_reply = socket.socketpair()
    with tempfile.TemporaryFile() as file, its_reply:
        pickle.dump(tuple(request), file)
        file.seek(0)
        descriptors = [its_stdin, its_stdout, its_stderr, file.fileno(), its_reply.fileno()]
        socket.send_fds(zygote(), [b"!"], descriptors)
    for descriptor in (its_stdin, its_stdout, its_stderr):
        os.close(descriptor)
    return [stdout, stderr], reply


def read_at_start(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name.startswith(READ_AT_START)}


@functools.cache
def zygote_variables() -> dict[str, str]:
    """Start the zygote; return those variables that its Python and modules read."""
    zygote()
    return read_at_start(os.environ)


@functools.cache
def zygote() -> socket.socket:
    """Start the zygote, which ends with this process; return the socket for requests."""
    requests, its_requests = socket.socketpair(type=socket.SOCK_SEQPACKET)
    with its_requests:
        number = its_requests.fileno()
        # -P: its folder, tests/, has packages with names of Python's modules
        command = [sys.executable, "-P", ZYGOTE, str(number)]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[number])
    atexit.register(process.wait)
    atexit.register(requests.close)  # called before the wait: the last one registered is the first
    return requests


def current_umask() -> int:
    """Return this process's umask; setting it to learn it would affect other threads' files."""
    (row,) = re.findall(r"^Umask:\t(\d+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(row, 8)


def read_all(*pipes: int) -> list[bytes]:
    """Return the bytes written to each pipe until all its writers have closed it."""
    contents = {pipe: bytearray() for pipe in pipes}
    poll = select.poll()
    for pipe in pipes:
        poll.register(pipe, select.POLLIN)
    unfinished = set(pipes)
    while unfinished:
        for pipe, _ in poll.poll():
            data = os.read(pipe, 1 << 16)
            contents[pipe] += data
            if not data:
                poll.unregister(pipe)
                unfinished.remove(pipe)
                os.close(pipe)
    return [bytes(contents[pipe]) for pipe in pipes]


def decode(data: bytes) -> str:
    """Decode text as `subprocess` does, with universal newlines."""
    return io.TextIOWrapper(io.BytesIO(data), encoding="utf-8").read()
