from __future__ import annotations

import errno
import gc
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.processes import (
    decode_answer,
    ends_with_signals,
    follow,
    run_command,
    start_child,
    start_detached,
    without_collecting,
)


def answer_of(function: object) -> object:
    child = start_child(function)  # type: ignore[arg-type]
    with os.fdopen(child.answer, "rb") as stream:
        data = stream.read()
    return decode_answer(data, os.waitpid(child.pid, 0)[1], "testing")


def test_a_child_answers() -> None:
    assert answer_of(lambda: ("x", 1)) == ("x", 1)


def test_an_error_of_a_child_is_raised() -> None:
    def fail() -> None:
        raise ProvError("what", hint="do")

    with pytest.raises(ProvError, match="what"):
        answer_of(fail)


# how a child ends, the reported reason
ENDS = [
    (lambda: os._exit(3), "exited with status 3"),
    (lambda: os.kill(os.getpid(), signal.SIGKILL), "was killed by SIGKILL"),
]


@pytest.mark.parametrize(("end", "words"), ENDS)
def test_a_child_without_an_answer(end: object, words: str) -> None:
    with pytest.raises(ProvError, match=f"the process for testing {words}"):
        answer_of(end)


# a command, its status, its output
COMMANDS = [
    ("cat; echo error >&2; exit 3", 3, b"input\nerror\n"),
    ("kill -TERM $$", -signal.SIGTERM, b""),
    ("umask", 0, b"0022\n"),
]


@pytest.mark.parametrize(("command", "status", "output"), COMMANDS)
def test_a_command(command: str, status: int, output: bytes) -> None:
    result = run_command(["sh", "-c", command], data=b"input\n")
    assert (result.status, result.output) == (status, output)


def test_a_process_in_the_background_is_not_waited_for() -> None:
    begin = time.monotonic()
    result = run_command(["sh", "-c", "echo begin; sleep 60 & echo $!"])
    assert time.monotonic() - begin < 30
    first, pid = result.output.split()
    assert first == b"begin"
    os.kill(int(pid), signal.SIGTERM)


def test_output_is_passed_on_as_it_comes() -> None:
    chunks: list[bytes] = []
    with subprocess.Popen(
        ["sh", "-c", "echo a; sleep 0.3; echo b; exit 4"], stdout=subprocess.PIPE
    ) as process:
        assert follow(process, chunks.append) == 4
    assert chunks == [b"a\n", b"b\n"]


def test_a_detached_process_ends_by_itself(tmp_path: Path) -> None:
    def write_session() -> None:
        (tmp_path / "ran").write_text(str(os.getsid(0)))

    start_detached(write_session)
    until = time.monotonic() + 30
    while not (tmp_path / "ran").exists() or not (tmp_path / "ran").read_text():
        assert time.monotonic() < until
        time.sleep(0.01)
    assert int((tmp_path / "ran").read_text()) != os.getsid(0)


def test_cycles_are_collected_again_after_it() -> None:
    with without_collecting():
        assert not gc.isenabled()
    assert gc.isenabled()


TERMINATED = """
import os, signal
from prov.processes import ends_with_signals
try:
    with ends_with_signals():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        finally:
            print("tidied", flush=True)
finally:
    print("not reached", flush=True)
"""


def test_a_process_that_is_terminated_tidies_up_first() -> None:
    result = run_command([sys.executable, "-c", TERMINATED])
    assert (result.status, result.output) == (-signal.SIGTERM, b"tidied\n")
    with ends_with_signals():
        assert signal.getsignal(signal.SIGTERM) != signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_fork_that_fails_leaves_no_pipe_open(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    before = os.listdir("/proc/self/fd")
    monkeypatch.setattr(os, "fork", fail)
    with pytest.raises(BlockingIOError):
        start_child(lambda: None)
    assert len(os.listdir("/proc/self/fd")) == len(before)
