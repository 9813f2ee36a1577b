"""`prov shell` of a BitBake task without BitBake: recorded files are restored, and recorded
programs cannot change the machine.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from prov.store.repository import Store
from tests.bitbake.hostile import add_run, facts_of, files_below
from tests.bitbake.recorded import Replayed
from tests.bitbake.test_restore import WORDS, build, once
from tests.cli.story import Project
from tests.cli.test_build import needs_bubblewrap

pytestmark = pytest.mark.process

__all__ = ["build", "once"]


@pytest.fixture
def theirs(tmp_path: Path) -> Project:
    """A folder with a hostile store, next to the user's home directory."""
    project = Project(tmp_path / "theirs")
    Store.create(project.root / ".prov")
    (tmp_path / "home").mkdir()
    return project


@pytest.fixture
def at(tmp_path: Path) -> str:
    """The path of the recorded WORKDIR, which does not exist."""
    return str(tmp_path / "build/tmp/work/x86_64/a/1.0")


def record(
    project: Project, at: str, files: dict[str, bytes | str], script: str = "", task: str = ""
) -> None:
    add_run(
        Store.open(project.root / ".prov"),
        facts_of(at, f"{at}/stamp"),
        files,
        script=script,
        name=task,
    )


def shell(project: Project, *command: str, code: int = 0) -> str:
    return project.prov("shell", "a:do_compile", "--", *command, code=code).stdout


# what works


@needs_bubblewrap
@pytest.mark.parametrize("left", ["all", "the WORKDIR's folder", "nothing"])
def test_workdir_is_at_its_own_path(build: Replayed, left: str) -> None:
    if left == "nothing":
        shutil.rmtree(build.root / "tmp")
    elif left != "all":
        shutil.rmtree(build.root / WORDS)
    said = build.ask(
        "shell", "words:do_compile", "--", "sh", "-c", "pwd; cat sorted.txt; ls ../temp"
    )
    assert said.startswith(f"{build.root / WORDS}/words-1.0\n")
    assert said.endswith("log.do_compile\nrun.do_compile\n")
    assert len(said.splitlines()) > 3


@needs_bubblewrap
def test_scratch_copy_and_tmp_are_writable_and_deleted_at_the_end(build: Replayed) -> None:
    before = files_below(build.root / "tmp")
    name = f"prov-{os.getpid()}"
    said = build.ask(
        "shell",
        "words:do_compile",
        "--",
        "sh",
        "-c",
        f"echo x >new; echo y >/tmp/{name}; cat new /tmp/{name}",
    )
    assert said == "x\ny\n"
    assert files_below(build.root / "tmp") == before
    assert not Path("/tmp", name).exists()


@needs_bubblewrap
def test_sysroots_on_disk_are_mounted_read_only(build: Replayed) -> None:
    build.write(f"{WORDS}/recipe-sysroot/usr/include/x.h", "int x;\n")
    script = "cd ..; cat recipe-sysroot/usr/include/x.h; echo y >recipe-sysroot/usr/include/x.h"
    assert (
        build.prov("shell", "words:do_compile", "--", "sh", "-c", script, code=2).stdout
        == "int x;\n"
    )
    assert (build.root / WORDS / "recipe-sysroot/usr/include/x.h").read_text() == "int x;\n"


@needs_bubblewrap
def test_command_runs_where_the_task_ran_with_its_variables(theirs: Project, at: str) -> None:
    script = f'export NAME="a \\"b\\""\nexport BAD="\0"\ncd {at}/../..\ncd {at}/src\n'
    record(theirs, at, {"src/main.c": b"int main;\n"}, script)
    assert (
        shell(theirs, "sh", "-c", 'pwd; cat main.c; echo "$NAME"')
        == f'{at}/src\nint main;\na "b"\n'
    )


@needs_bubblewrap
@pytest.mark.parametrize("above", ["/", "/var/tmp/", "/tmp/", "/run/", "/usr/lib/", "/home/"])
def test_missing_workdir_is_mounted_at_its_own_path(theirs: Project, above: str) -> None:
    at = f"{above}prov-{os.getpid()}/tmp/work/a"
    record(theirs, at, {"main.c": b"int main;\n"})
    assert (
        shell(theirs, "sh", "-c", "pwd; cat main.c; touch new; ls")
        == f"{at}\nint main;\nmain.c\nnew\ntemp\n"
    )
    assert not Path(above, f"prov-{os.getpid()}").exists()


# what is prevented


@needs_bubblewrap
def test_recorded_programs_cannot_write_elsewhere(theirs: Project, at: str) -> None:
    """The PATH in the record determines which program a command runs."""
    home = theirs.root.parent / "home"
    places = [
        home / "x",
        theirs.root / "x",
        theirs.root / ".prov/x",
        Path("/var/tmp/prov-evil"),
        Path("/dev/shm/prov-evil"),
    ]
    writes = "".join(f"( : >{place} ) 2>/dev/null\n" for place in places)
    evil = f"#!/bin/sh\n{writes}mount -o remount,rw,bind / 2>/dev/null\n{writes}echo evil ran\n"
    record(theirs, at, {"bin/cat": evil.encode()}, f'export PATH="{at}/bin:{os.environ["PATH"]}"\n')
    assert shell(theirs, "cat", "x") == "evil ran\n"
    assert files_below(home) == []
    assert not [place for place in places if place.exists()]


@needs_bubblewrap
def test_recorded_programs_have_no_network_and_no_sockets(theirs: Project, at: str) -> None:
    abstract = f"\0prov-{os.getpid()}"
    # sys.executable may be in a folder that the sandbox hides; /usr is visible
    program = shutil.which("python3", path="/usr/local/bin:/usr/bin") or sys.executable
    with (
        tempfile.TemporaryDirectory(dir="/tmp") as folder,
        socket.socket(socket.AF_UNIX) as named,
        socket.socket(socket.AF_UNIX) as unnamed,
    ):
        path = f"{folder}/agent"
        for listening, name in ((named, path), (unnamed, abstract)):
            listening.bind(name)
            listening.listen()
        text = (
            "import socket\n"
            f"for name in ({path!r}, {abstract!r}):\n"
            "    try:\n"
            "        socket.socket(socket.AF_UNIX).connect(name)\n"
            "        print('connected')\n"
            "    except OSError:\n"
            "        print('refused')\n"
        )
        record(theirs, at, {"ask.py": text.encode()})
        assert shell(theirs, program, "ask.py") == "refused\nrefused\n"
    assert shell(theirs, "sh", "-c", "tail -n +3 /proc/net/dev | cut -d: -f1").split() == ["lo"]


LINKS: dict[str, dict[str, bytes | str]] = {
    "temp": {"temp": "@HOME@"},
    "the script": {"temp/run.do_compile": "@HOME@/run"},
    "the log": {"temp/log.do_compile": "@HOME@/log"},
    "a sysroot": {"recipe-sysroot": "@HOME@", "recipe-sysroot-native": "@HOME@"},
}


@pytest.mark.parametrize("sandbox", [pytest.param("auto", marks=needs_bubblewrap), "none"])
@pytest.mark.parametrize("files", LINKS.values(), ids=LINKS)
def test_recorded_symlinks_are_not_followed(
    theirs: Project, at: str, files: dict[str, bytes | str], sandbox: str
) -> None:
    home = theirs.root.parent / "home"
    there = {
        name: text.replace("@HOME@", str(home))
        for name, text in files.items()
        if isinstance(text, str)
    }
    record(theirs, at, dict(there), "echo evil\n")
    Path(at, "recipe-sysroot").mkdir(parents=True)
    theirs.prov("shell", "a:do_compile", "--sandbox", sandbox, "--", "true")
    assert files_below(home) == []


@pytest.mark.parametrize(
    "task", ["do_x/../../../../home/x", "x", "do_", "", "do_x\n", "/etc/x", ".."]
)
def test_task_name_that_forms_a_path_is_rejected(theirs: Project, at: str, task: str) -> None:
    record(theirs, at, {"temp/run.do_x/x": b""}, "echo evil\n", task or "/")
    said = theirs.refused("shell", "a:do_compile", "--sandbox", "none", "--", "true")
    assert said.startswith("prov: invalid record: ") and "is not the name of a BitBake task" in said
    assert files_below(theirs.root.parent / "home") == []


@pytest.mark.parametrize("workdir", ["", "x", "/a/../b", "/a\0b", "/" + "x/.." * 5000])
def test_invalid_workdir_is_rejected(theirs: Project, workdir: str) -> None:
    record(theirs, workdir, {})
    said = theirs.refused("shell", "a:do_compile", "--", "true")
    assert said.startswith("prov: invalid record: WORKDIR ") and len(said) < 400


def test_without_bubblewrap_it_runs_only_with_an_option(theirs: Project, at: str) -> None:
    record(theirs, at, {"src/main.c": b""}, 'export NAME="x"\n')
    tools = theirs.root / "tools"
    tools.mkdir()
    for name in ("git", "sh"):
        (tools / name).symlink_to(str(shutil.which(name)))
    theirs.environment["PATH"] = str(tools)
    said = theirs.refused("shell", "a:do_compile", "--", "sh", "-c", "echo $NAME")
    assert (
        said == "prov: cannot run do_compile in a sandbox: bubblewrap is missing or does not work"
        " hint: install bubblewrap; or, if you trust the store, add `--sandbox none`"
    )
    assert (
        theirs.ask("shell", "a:do_compile", "--sandbox", "none", "--", "sh", "-c", "echo $NAME")
        == "x\n"
    )
