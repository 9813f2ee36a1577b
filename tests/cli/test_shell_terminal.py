"""`prov shell` on a terminal: the command gets its own, and the user's is restored."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.story import Project
from tests.cli.test_build import needs_bubblewrap
from tests.commands import PROV
from tests.terminal import Terminal
from tests.test_terminal import DEVICE, PUSH

PYTHON = Path("/usr/bin/python3")
pytestmark = [
    pytest.mark.process,
    pytest.mark.skipif(not PYTHON.exists(), reason="the tasks need /usr/bin/python3"),
]
SANDBOXES = [pytest.param("bwrap", marks=needs_bubblewrap), "none"]


TOOLS = "sh bash cat cp kill ls mkdir mv rm sleep stty true python3"
TASK = "version = '1'\n[tasks.go]\noutputdir = 'out'\nscript = 'true'\n"


@pytest.fixture(params=SANDBOXES, scope="module")
def built(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project with a recorded task, in each sandbox."""
    project = Project(
        tmp_path_factory.mktemp("terminal"), {"PATH": "/usr/bin:/bin", "SANDBOX": request.param}
    )
    settings = (
        f'recipes = ["recipes"]\nsandbox = "{request.param}"\n[variables]\nHOSTTOOLS = "{TOOLS}"\n'
    )
    project.write("prov.toml", settings)
    project.write("recipes/a.toml", TASK)
    project.prov("build", "a:go")
    return project


@pytest.fixture
def story(built: Project) -> Iterator[Project]:
    yield built
    assert built.leftovers() == []


def shell(story: Project, *command: str, stdin: int | None = None) -> Terminal:
    words = [PROV, "shell", "a:go", *(["--", *command] if command else [])]
    return Terminal(words, story.root, story.environment, stdin=stdin)


def test_command_cannot_push_characters_into_the_users_terminal(story: Project) -> None:
    with shell(story, "python3", "-c", PUSH + DEVICE) as terminal:
        users = os.fstat(terminal.slave).st_rdev
        assert terminal.ended() == 0, terminal.screen
        devices = terminal.screen.partition(b"st_rdev")[2].split()
        assert len(set(devices)) == 1 and str(users).encode() not in devices
        assert terminal.is_restored()
        assert terminal.input() == b""


@pytest.mark.parametrize("stdin", ["/dev/null", "pipe"])
def test_command_without_terminal_input_cannot_push_characters(story: Project, stdin: str) -> None:
    if story.environment["SANDBOX"] == "none" and os.geteuid() == 0:
        pytest.skip("root may push characters into any terminal")
    reader, writer = os.pipe()
    with open(os.devnull) as nothing:
        source = nothing.fileno() if stdin == "/dev/null" else reader
        with shell(story, "python3", "-c", PUSH, stdin=source) as terminal:
            assert terminal.ended() == 0
            assert terminal.input() == b""
    os.close(reader)
    os.close(writer)


def test_exit_status_and_end_of_input(story: Project) -> None:
    with shell(story, "sh", "-c", "echo ready; cat; exit 7") as terminal:
        terminal.wait_for(b"ready")
        terminal.type(b"typed\n\x04")
        assert terminal.ended() == 7
        assert terminal.is_restored()


def test_the_size_and_its_changes_reach_the_command(story: Project) -> None:
    code = (
        "import os, signal\nsignal.signal(signal.SIGWINCH, lambda *_: print('now',"
        " *os.get_terminal_size(), flush=True))\nprint('ready', flush=True)\nwhile True:"
        " signal.pause()"
    )
    with shell(story, "python3", "-c", code) as terminal:
        terminal.wait_for(b"ready")
        terminal.resize(40, 100)
        terminal.wait_for(b"now 100 40")
        terminal.process.terminate()
        terminal.ended()


def test_the_shell_has_jobs_and_is_interrupted_alone(story: Project) -> None:
    with shell(story) as terminal:
        terminal.wait_for(b"a:go$ ")
        terminal.type(b"echo begun-$((0 + 1)); sleep 100\n")
        terminal.wait_for(b"begun-1")
        terminal.type(b"\x03")
        terminal.type(b"echo alive-$((1 + 1)); sleep 100\n")
        terminal.wait_for(b"alive-2")
        terminal.type(b"\x1a")
        terminal.wait_for(b"Stopped")
        terminal.type(b"kill %1; exit 5\n")
        terminal.read(0.5)
        if terminal.process.poll() is None:  # it warns about stopped jobs first
            terminal.type(b"exit 5\n")
        assert terminal.ended() == 5
        assert terminal.is_restored()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_terminal_is_restored_after_a_signal(story: Project, number: int) -> None:
    with shell(
        story, "sh", "-c", "echo ready; trap '' HUP TERM; sleep 1000; sleep 1000"
    ) as terminal:
        terminal.wait_for(b"ready")
        assert terminal.is_raw()
        terminal.process.send_signal(number)
        assert terminal.ended() != 0
        assert terminal.is_restored()


def test_the_terminal_is_restored_when_the_command_is_killed(story: Project) -> None:
    with shell(story, "sh", "-c", "stty raw -echo; echo ready; sleep 0.3; kill -9 $$") as terminal:
        terminal.wait_for(b"ready")
        assert terminal.ended() == 137
        assert terminal.is_restored()


def test_command_reads_input_from_a_pipe(story: Project) -> None:
    done = story.prov("shell", "a:go", "--", "cat", typed="from a pipe")
    assert done.stdout == "from a pipe"
    done = story.prov("shell", "a:go", typed="echo $((3 + 4))\nexit 3\n", code=3)
    assert "7" in done.stdout.split()
