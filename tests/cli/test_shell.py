"""`prov shell`."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from tests.cli.broken import break_it
from tests.cli.story import Project
from tests.cli.test_build import needs_bubblewrap
from tests.commands import PROV

pytestmark = pytest.mark.process


def test_shell_is_in_the_workdir_after_the_task_or_before_it(scene: Project) -> None:
    assert "hello.o" in scene.ask("shell", "hello:compile", "--", "ls", "hello").split()
    before = scene.ask("shell", "hello:compile", "--before", "--", "ls", "hello").split()
    assert before == ["Makefile", "hello.c", "usage.txt"]
    assert scene.ask(
        "shell", "hello:compile", "--", "sh", "-c", "ls $RECIPE_SYSROOT/usr/include"
    ).split() == [
        "greet.h",
        "words.h",
    ]


def test_shell_returns_the_exit_status(scene: Project) -> None:
    for code in (0, 7, 130):
        scene.prov("shell", "hello:compile", "--", "sh", "-c", f"exit {code}", code=code)
    scene.prov("shell", "hello:compile", "--", "sh", "-c", "kill -9 $$", code=137)


def test_shell_has_the_environment_of_the_task(scene: Project) -> None:
    scene.environment.update(CFLAGS="-Ocallers", SECRET="x")
    recorded = dict(
        line.split("=", 1)
        for line in scene.json("show", "hello:compile")["environment"].splitlines()
    )
    seen = dict(
        line.split("=", 1) for line in scene.ask("shell", "hello:compile", "--", "env").splitlines()
    )
    assert "SECRET" not in seen
    del recorded["MAKEFLAGS"]  # its jobserver no longer exists
    assert {name: seen[name] for name in recorded} == recorded
    assert set(seen) - set(recorded) <= {"PS1", "PWD", "SHLVL", "TERM", "_", "OLDPWD"}


@needs_bubblewrap
def test_shell_in_a_sandbox_has_the_paths_and_files_of_the_task(
    scene: Project,
) -> None:
    assert scene.ask("shell", "hello:compile", "--", "pwd") == "/build/work/x86_64/hello/unpack\n"
    scene.prov("shell", "hello:compile", "--", "sh", "-c", f"test ! -e {scene.root}")


def test_changes_in_the_shell_are_discarded(scene: Project) -> None:
    scene.prov("shell", "hello:compile", "--", "sh", "-c", "rm -r hello; echo x > new")
    assert (scene.root / "build/work/x86_64/hello/unpack/hello/hello.o").exists()
    assert "new" not in scene.ask("shell", "hello:compile", "--", "ls").split()
    assert scene.ask("build", "demo-image").startswith("nothing to do")


def test_failed_task_is_restored_with_its_sources_and_log(scene: Project) -> None:
    break_it(scene)
    assert "return zero;" in scene.ask("shell", "hello:compile", "--", "cat", "hello/hello.c")
    assert "'zero' undeclared" in scene.ask(
        "shell", "hello:compile", "--", "cat", "temp/log.compile"
    )
    done = scene.prov("shell", "hello:compile", "--", "make", "-C", "hello", code=2)
    assert "'zero' undeclared" in done.stderr
    fix = (
        "sed s/zero/0/ hello/hello.c > x; mv x hello/hello.c; make -C hello; hello/hello x; ls"
        " hello"
    )
    assert "hello.o" in scene.ask("shell", "hello:compile", "--", "sh", "-c", fix, code=0).split()


def test_old_build_is_restored_without_its_recipe_and_workdir(scene: Project) -> None:
    scene.edit("recipes/hello/hello/hello.c", "return 0;", "return (0);")
    scene.prov("build", "demo-image")
    scene.edit("recipes/hello/hello/hello.c", "return (0);", "return 1 - 1;")
    scene.prov("build", "demo-image")
    shutil.rmtree(scene.root / "recipes/hello")
    shutil.rmtree(scene.root / "build/work")
    look = ("grep", "-c", "return 0;", "hello/hello.c")
    assert scene.ask("shell", "hello:compile", "--build", "latest~2", "--", *look) == "1\n"
    assert scene.ask("shell", "latest~2/hello:compile", "--", *look) == "1\n"
    assert scene.ask("shell", "hello:compile", "--build", "latest~1", "--", *look, code=1) == "0\n"
    make = "rm hello/hello.o; make -C hello; ls hello/hello.o"
    assert "hello/hello.o" in scene.ask("shell", "latest~2/hello:compile", "--", "sh", "-c", make)
    assert not (scene.root / "build/work").exists()


def test_shell_without_a_sandbox_reports_the_changed_path(scene: Project) -> None:
    done = scene.prov(
        "shell", "hello:compile", "--sandbox", "none", "--", "sh", "-c", "pwd; echo $RECIPE_SYSROOT"
    )
    workdir, sysroot = done.stdout.split()
    assert workdir.startswith(f"{scene.root}/.prov/prov/aside/")
    assert sysroot == f"{workdir}/recipe-sysroot"
    notes = " ".join(done.stderr.split())
    assert (
        f"the WORKDIR is {workdir} without bubblewrap; tools may embed its recorded path" in notes
    )
    make = "rm hello/hello.o; make -C hello"
    scene.prov("shell", "hello:compile", "--sandbox", "none", "--", "sh", "-c", make)


def test_shell_and_rerun_need_no_project(small: Project) -> None:
    small.task("echo $PN > out/x")
    small.prov("build", "a")
    (small.root / "prov.toml").unlink()
    assert small.ask("shell", "--sandbox", "none", "a:go", "--", "cat", "out/x") == "a\n"
    assert small.ask("rerun", "--sandbox", "none", "a:go") == "1 task repeated: identical\n"
    assert small.leftovers() == []


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
@pytest.mark.parametrize(
    "command", [("rerun", "a:go"), ("shell", "a:go", "--", "true"), ("reproduce", "a")]
)
def test_record_cannot_disable_the_sandbox(small: Project, command: tuple[str, ...]) -> None:
    small.task("echo $PN > out/x")
    small.prov("build", "a")
    (small.root / "prov.toml").unlink()
    error = small.prov(*command, code=1).stderr
    assert "a:go was recorded without a sandbox" in error
    assert "--sandbox none" in error


def test_shell_without_a_command_is_interactive_and_names_its_run(scene: Project) -> None:
    done = scene.prov("shell", "hello:compile", typed="pwd; ls hello/hello.o\nexit 5\n", code=5)
    assert "/build/work/x86_64/hello/unpack\nhello/hello.o\n" in done.stdout
    assert (
        f"prov: {scene.tag('hello:compile')}, after the task; its script is temp/run.compile"
        in done.stderr
    )
    assert "hello:compile$ " in done.stderr


def test_unknown_command_and_killed_shell_leave_nothing(scene: Project) -> None:
    for sandbox in ("auto", "none"):
        assert (
            "nosuch"
            in scene.prov(
                "shell", "--sandbox", sandbox, "hello:compile", "--", "nosuch", code=1
            ).stderr
        )
    assert scene.leftovers() == []
    command = [PROV, "shell", "hello:compile", "--", "sh", "-c", "echo here; read x"]
    with subprocess.Popen(
        command, cwd=scene.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline() == b"here\n"
        process.kill()
    scene.prov("shell", "hello:compile", "--", "true")  # the next command deletes leftovers
