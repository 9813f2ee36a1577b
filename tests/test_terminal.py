"""Commands on a new terminal: what does and does not pass between it and the user's terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

from tests.terminal import Terminal

pytestmark = pytest.mark.process

RUN = """
import sys
from pathlib import Path
from prov.terminal import run_on_terminal
status = run_on_terminal(sys.argv[1:], cwd=Path("."), env={"PATH": "/usr/bin:/bin", "TERM": "dumb"})
sys.exit(128 - status if status < 0 else status)
"""
DEVICE = "import os; print('st_rdev', os.stat(0).st_rdev, os.stat(1).st_rdev, os.stat(2).st_rdev)"
# Push a command line, character by character, as a program that attacks the user's shell does.
PUSH = """
import fcntl, os
TIOCSTI, TIOCLINUX, PASTE_SELECTION = 0x5412, 0x541C, 3
for name in ('/dev/tty', '/dev/console', 0, 1, 2):
    try:
        fd = os.open(name, os.O_RDWR | os.O_NOCTTY) if isinstance(name, str) else name
    except OSError as error:
        print(name, error.strerror)
        continue
    for request, data in (TIOCSTI, b'echo pushed\\n'), (TIOCLINUX, bytes([PASTE_SELECTION])):
        try:
            for byte in data:
                fcntl.ioctl(fd, request, bytes([byte]))
        except OSError as error:
            print(name, error.strerror)
"""


def on_terminal(
    command: list[str], tmp_path: Path, *, stdin: int | None = None, stdout: int | None = None
) -> Terminal:
    return Terminal([sys.executable, "-c", RUN, *command], tmp_path, stdin=stdin, stdout=stdout)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_the_command_has_a_new_terminal(tmp_path: Path) -> None:
    with on_terminal(python(DEVICE), tmp_path) as terminal:
        assert terminal.ended() == 0
        users = os.fstat(terminal.slave).st_rdev
        _, *devices = terminal.screen.split()
        assert len(devices) == 3 and len(set(devices)) == 1
        assert str(users).encode() not in devices


def test_input_pushed_by_a_command_does_not_reach_the_users_terminal(tmp_path: Path) -> None:
    with on_terminal(python(PUSH), tmp_path) as terminal:
        assert terminal.ended() == 0
        assert terminal.is_restored()
        assert terminal.input() == b""


def test_bytes_pass_unchanged_in_both_directions(tmp_path: Path) -> None:
    code = (
        "import os, tty; tty.setraw(0); print('ready', flush=True); os.write(1, os.read(0, 400) +"
        " b'<end>')"
    )
    data = bytes(range(256))
    with on_terminal(python(code), tmp_path) as terminal:
        terminal.wait_for(b"ready")
        terminal.screen = b""
        terminal.type(data)
        terminal.wait_for(b"<end>")
        assert terminal.screen.strip(b"\r\n") == (data + b"<end>").strip(b"\r\n")


def test_all_output_arrives_before_the_end(tmp_path: Path) -> None:
    with on_terminal(["seq", "200000"], tmp_path) as terminal:
        assert terminal.ended() == 0
        assert terminal.screen.split() == [b"%d" % number for number in range(1, 200001)]


def test_much_input_arrives_while_the_command_prints_much(tmp_path: Path) -> None:
    code = (
        "import os, sys, time, tty; tty.setraw(0); print('ready', flush=True); time.sleep(0.3)\n"
        "sys.stdout.write('x' * 300000); sys.stdout.flush(); got = 0\n"
        "while got < 100000: got += len(os.read(0, 1000))\n"
        "print('got', got, flush=True)"
    )
    with on_terminal(python(code), tmp_path) as terminal:
        terminal.wait_for(b"ready")
        os.set_blocking(terminal.master, False)
        left = b"y" * 100000
        until = time.monotonic() + 30
        while left and time.monotonic() < until:
            try:
                left = left[os.write(terminal.master, left) :]
            except BlockingIOError:
                terminal.read(0.01)
        terminal.wait_for(b"got 100000")


@pytest.mark.parametrize(
    ("script", "status"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill $$", 143)]
)
def test_exit_status_and_modes_after_the_end(tmp_path: Path, script: str, status: int) -> None:
    with on_terminal(["sh", "-c", script], tmp_path) as terminal:
        assert terminal.ended() == status
        assert terminal.is_restored()


def test_the_command_reads_to_the_end_of_input(tmp_path: Path) -> None:
    with on_terminal(["sh", "-c", "echo ready; cat; echo done"], tmp_path) as terminal:
        terminal.wait_for(b"ready")
        terminal.type(b"one\ntwo\n\x04")
        assert terminal.ended() == 0
        assert terminal.screen.split() == [b"ready", b"one", b"two", b"one", b"two", b"done"]


def test_size_is_passed_on_at_once_and_when_it_changes(tmp_path: Path) -> None:
    code = (
        "import os, signal\nsignal.signal(signal.SIGWINCH, lambda *_: print('now',"
        " *os.get_terminal_size(), flush=True))\nprint('first', *os.get_terminal_size(),"
        " flush=True)\nwhile True: signal.pause()"
    )
    with on_terminal(["sh", "-c", "sleep 0.5; stty size"], tmp_path) as terminal:
        terminal.resize(33, 99)
        assert terminal.ended() == 0
        assert terminal.screen.split() == [b"33", b"99"]
    with on_terminal(python(code), tmp_path) as terminal:
        terminal.wait_for(b"first")
        for rows, columns in ((40, 100), (20, 60)):
            terminal.resize(rows, columns)
            terminal.wait_for(b"now %d %d" % (columns, rows))


def test_interrupt_and_jobs_are_the_shells(tmp_path: Path) -> None:
    with on_terminal(["bash", "--norc", "--noprofile", "-i"], tmp_path) as terminal:
        terminal.wait_for(b"# " if os.geteuid() == 0 else b"$ ")
        terminal.type(b"sleep 100; echo after-$?\n")
        time.sleep(0.5)
        terminal.type(b"\x03")
        terminal.type(b"echo alive-$((1 + 1))\n")
        terminal.wait_for(b"alive-2")
        terminal.type(b"sleep 100\n")
        time.sleep(0.5)
        terminal.type(b"\x1a")
        terminal.wait_for(b"Stopped")
        terminal.type(b"kill %1; exit 5\n")
        terminal.wait_for(b"exit")
        terminal.type(b"exit 5\n")
        assert terminal.ended() == 5
        assert terminal.is_restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT])
def test_a_signal_restores_the_terminal_and_ends_the_command(tmp_path: Path, number: int) -> None:
    with on_terminal(
        ["sh", "-c", "echo pid $$; trap '' HUP TERM INT; sleep 1000; sleep 1000"], tmp_path
    ) as terminal:
        terminal.wait_for(b"pid")
        terminal.read()
        assert terminal.is_raw()
        pid = int(terminal.screen.split()[1])
        terminal.process.send_signal(number)
        assert terminal.ended() != 0
        assert terminal.is_restored()
        assert not Path(f"/proc/{pid}").exists()


def test_the_terminal_is_restored_when_the_command_is_killed(tmp_path: Path) -> None:
    with on_terminal(
        ["sh", "-c", "stty raw -echo; echo pid $$; sleep 1000; :"], tmp_path
    ) as terminal:
        terminal.wait_for(b"pid")
        terminal.read()
        os.kill(int(terminal.screen.split()[1]), signal.SIGKILL)
        assert terminal.ended() == 137
        assert terminal.is_restored()


def test_the_terminal_is_restored_when_the_command_can_not_be_started(tmp_path: Path) -> None:
    with on_terminal(["/nowhere/program"], tmp_path) as terminal:
        assert terminal.ended() == 1
        assert b"FileNotFoundError" in terminal.screen
        assert terminal.is_restored()


def test_raw_mode_is_set_again_after_a_stop(tmp_path: Path) -> None:
    """A shell sets its own terminal modes while a job is stopped."""
    with on_terminal(["sh", "-c", "echo ready; cat"], tmp_path) as terminal:
        terminal.wait_for(b"ready")
        terminal.process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, terminal.process.pid, os.WSTOPPED | os.WNOWAIT)
        termios.tcsetattr(terminal.slave, termios.TCSANOW, terminal.modes)
        terminal.process.send_signal(signal.SIGCONT)
        until = time.monotonic() + 10
        while not terminal.is_raw() and time.monotonic() < until:
            time.sleep(0.05)
        assert terminal.is_raw()
        terminal.type(b"\x04")
        assert terminal.ended() == 0


def test_a_terminal_that_hangs_up_ends_the_command(tmp_path: Path) -> None:
    with on_terminal(["sh", "-c", "echo pid $$; sleep 1000; :"], tmp_path) as terminal:
        terminal.wait_for(b"pid")
        terminal.read()
        pid = int(terminal.screen.split()[1])
        os.close(terminal.slave)
        os.close(terminal.master)
        terminal.process.wait(20)
        assert not Path(f"/proc/{pid}").exists()


def test_background_processes_are_not_waited_for(tmp_path: Path) -> None:
    script = "trap '' HUP; (while :; do echo x; done) & echo started $!"
    with on_terminal(["sh", "-c", script], tmp_path) as terminal:
        assert terminal.ended() == 0
        pid = int(terminal.screen.split(b"started ")[1].split()[0])
        os.kill(pid, signal.SIGKILL)


def test_streams_other_than_terminals_are_inherited(tmp_path: Path) -> None:
    with (
        open(tmp_path / "out", "wb") as out,
        on_terminal(
            ["sh", "-c", "printf 'a\\nb'; test -t 0 && test -t 2 && echo yes >&2"],
            tmp_path,
            stdout=out.fileno(),
        ) as terminal,
    ):
        assert terminal.ended() == 0
        assert (tmp_path / "out").read_bytes() == b"a\nb"
        assert terminal.screen == b"yes\r\n"


@pytest.mark.parametrize("given", [b"", b"from a pipe"])
def test_without_a_terminal_on_input_there_is_none(tmp_path: Path, given: bytes) -> None:
    command = [sys.executable, "-c", RUN, "sh", "-c", "cat; test -t 1 || echo ' none'"]
    done = subprocess.run(command, cwd=tmp_path, input=given, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, given + b" none\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_without_a_terminal_a_signal_ends_the_command(tmp_path: Path, number: int) -> None:
    script = "echo pid $$; trap '' HUP TERM INT; sleep 1000; sleep 1000"
    command = [sys.executable, "-c", RUN, "sh", "-c", script]
    with subprocess.Popen(
        command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdout is not None
        pid = int(running.stdout.readline().split()[1])
        running.send_signal(number)
        assert running.wait(20) != 0
        assert not Path(f"/proc/{pid}").exists()


def test_without_a_terminal_the_command_has_none(tmp_path: Path) -> None:
    """This also holds if its output is a terminal."""
    code = "import os\ntry: os.open('/dev/tty', os.O_RDWR)\nexcept OSError: print('none')"
    with (
        open(os.devnull) as nothing,
        on_terminal(python(code), tmp_path, stdin=nothing.fileno()) as terminal,
    ):
        assert terminal.ended() == 0
        assert terminal.screen.split() == [b"none"]


def test_a_background_job_reads_nothing_and_is_not_stopped(tmp_path: Path) -> None:
    """`timeout 60 prov shell …` runs in the background of the user's terminal."""
    command = [
        "sh",
        "-c",
        'timeout 60 "$@"; exit $?',
        "sh",
        sys.executable,
        "-c",
        RUN,
        "sh",
        "-c",
        "cat; echo done",
    ]
    with Terminal(command, tmp_path) as terminal:
        terminal.type(b"typed\n")
        assert terminal.ended() == 0
        assert terminal.screen.split() == [b"typed", b"done"]  # the first is the terminal's echo
        assert terminal.input() == b"typed\n"


def test_the_command_inherits_no_other_descriptor(tmp_path: Path) -> None:
    leak = "import os; os.dup2(os.open('/etc/passwd', os.O_RDONLY), 77, inheritable=True)\n"
    with Terminal([sys.executable, "-c", leak + RUN, "ls", "/proc/self/fd"], tmp_path) as terminal:
        assert terminal.ended() == 0
        assert terminal.screen.split() == [b"0", b"1", b"2", b"3"]  # 3 is what ls has open
