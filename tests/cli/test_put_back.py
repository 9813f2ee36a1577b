"""Recorded tasks put back and run again: `prov shell`, `prov rerun`, `prov reproduce`."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.cli.story import PROV, Project, in_order
from tests.cli.test_build import needs_bubblewrap
from tests.cli.test_stories import CLOCK


@pytest.fixture
def story(story: Project) -> Iterator[Project]:
    """The demo, built; nothing is left of what was put back, and asking changed no ref."""
    yield story
    assert story.leftovers() == []


def break_it(story: Project) -> None:
    story.edit("recipes/hello/hello/hello.c", "return 0;", "return zero;")
    story.prov("build", "demo-image", code=1)


# shell


def test_shell_is_in_the_workdir_after_the_task_or_before_it(story: Project) -> None:
    assert "hello.o" in story.ask("shell", "hello:compile", "--", "ls", "hello").split()
    before = story.ask("shell", "hello:compile", "--before", "--", "ls", "hello").split()
    assert before == ["Makefile", "hello.c", "usage.txt"]
    assert story.ask(
        "shell", "hello:compile", "--", "sh", "-c", "ls $RECIPE_SYSROOT/usr/include"
    ).split() == [
        "greet.h",
        "words.h",
    ]


def test_shell_passes_the_exit_status_on(story: Project) -> None:
    for code in (0, 7, 130):
        story.prov("shell", "hello:compile", "--", "sh", "-c", f"exit {code}", code=code)
    story.prov("shell", "hello:compile", "--", "sh", "-c", "kill -9 $$", code=137)


def test_shell_has_the_environment_that_the_task_had(story: Project) -> None:
    story.environment.update(CFLAGS="-Ocallers", SECRET="x")
    recorded = dict(
        line.split("=", 1)
        for line in story.json("show", "hello:compile")["environment"].splitlines()
    )
    seen = dict(
        line.split("=", 1) for line in story.ask("shell", "hello:compile", "--", "env").splitlines()
    )
    assert "SECRET" not in seen
    del recorded["MAKEFLAGS"]  # its jobserver is gone
    assert {name: seen[name] for name in recorded} == recorded
    assert set(seen) - set(recorded) <= {"PS1", "PWD", "SHLVL", "TERM", "_", "OLDPWD"}


@needs_bubblewrap
def test_shell_is_at_the_path_that_the_task_had_and_only_sees_what_it_saw(story: Project) -> None:
    assert story.ask("shell", "hello:compile", "--", "pwd") == "/build/work/x86_64/hello/unpack\n"
    story.prov("shell", "hello:compile", "--", "sh", "-c", f"test ! -e {story.root}")


def test_what_is_done_in_the_shell_is_gone_and_not_in_the_build(story: Project) -> None:
    story.prov("shell", "hello:compile", "--", "sh", "-c", "rm -r hello; echo x > new")
    assert (story.root / "build/work/x86_64/hello/unpack/hello/hello.o").exists()
    assert "new" not in story.ask("shell", "hello:compile", "--", "ls").split()
    assert story.ask("build", "demo-image").startswith("nothing to do")


def test_failed_task_is_put_back_with_what_broke_it_and_its_log(story: Project) -> None:
    break_it(story)
    assert "return zero;" in story.ask("shell", "hello:compile", "--", "cat", "hello/hello.c")
    assert "'zero' undeclared" in story.ask(
        "shell", "hello:compile", "--", "cat", "temp/log.compile"
    )
    done = story.prov("shell", "hello:compile", "--", "make", "-C", "hello", code=2)
    assert "'zero' undeclared" in done.stderr
    mended = (
        "sed s/zero/0/ hello/hello.c > x; mv x hello/hello.c; make -C hello; hello/hello x; ls"
        " hello"
    )
    assert (
        "hello.o" in story.ask("shell", "hello:compile", "--", "sh", "-c", mended, code=0).split()
    )


def test_old_build_is_put_back_when_recipe_and_workdir_are_gone(story: Project) -> None:
    story.edit("recipes/hello/hello/hello.c", "return 0;", "return (0);")
    story.prov("build", "demo-image")
    story.edit("recipes/hello/hello/hello.c", "return (0);", "return 1 - 1;")
    story.prov("build", "demo-image")
    shutil.rmtree(story.root / "recipes/hello")
    shutil.rmtree(story.root / "build/work")
    look = ("grep", "-c", "return 0;", "hello/hello.c")
    assert story.ask("shell", "hello:compile", "--build", "latest~2", "--", *look) == "1\n"
    assert story.ask("shell", "latest~2/hello:compile", "--", *look) == "1\n"
    assert story.ask("shell", "hello:compile", "--build", "latest~1", "--", *look, code=1) == "0\n"
    make = "rm hello/hello.o; make -C hello; ls hello/hello.o"
    assert "hello/hello.o" in story.ask("shell", "latest~2/hello:compile", "--", "sh", "-c", make)
    assert not (story.root / "build/work").exists()


def test_shell_without_a_sandbox_tells_which_path_is_another(story: Project) -> None:
    done = story.prov(
        "shell", "hello:compile", "--sandbox", "none", "--", "sh", "-c", "pwd; echo $RECIPE_SYSROOT"
    )
    here, sysroot = done.stdout.split()
    assert here.startswith(f"{story.root}/.prov/prov/aside/")
    assert sysroot == f"{here}/recipe-sysroot"
    told = " ".join(done.stderr.split())
    assert (
        f"the WORKDIR is {here}: tools may still hold /build/work/x86_64/hello/unpack, its path"
        " then" in told
    )
    make = "rm hello/hello.o; make -C hello"
    story.prov("shell", "hello:compile", "--sandbox", "none", "--", "sh", "-c", make)


def test_caller_is_not_asked_for_a_project(small: Project) -> None:
    small.task("echo $PN > out/x")
    small.prov("build", "a")
    (small.root / "prov.toml").unlink()
    assert small.ask("shell", "--sandbox", "none", "a:go", "--", "cat", "out/x") == "a\n"
    assert small.ask("rerun", "--sandbox", "none", "a:go") == "1 task run again: the same\n"
    assert small.leftovers() == []


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="bubblewrap is not installed")
@pytest.mark.parametrize(
    "command", [("rerun", "a:go"), ("shell", "a:go", "--", "true"), ("reproduce", "a")]
)
def test_record_does_not_decide_that_there_is_no_sandbox(
    small: Project, command: tuple[str, ...]
) -> None:
    small.task("echo $PN > out/x")
    small.prov("build", "a")
    (small.root / "prov.toml").unlink()
    said = small.prov(*command, code=1).stderr
    assert "a:go was recorded without a sandbox" in said
    assert "--sandbox none" in said


def test_shell_without_a_command_is_interactive_and_says_whose_it_is(story: Project) -> None:
    done = story.prov("shell", "hello:compile", typed="pwd; ls hello/hello.o\nexit 5\n", code=5)
    assert "/build/work/x86_64/hello/unpack\nhello/hello.o\n" in done.stdout
    assert (
        f"prov: {story.tag('hello:compile')}, after the task; its script is temp/run.compile"
        in done.stderr
    )
    assert "hello:compile$ " in done.stderr


def test_unknown_command_and_dead_shell_leave_nothing(story: Project) -> None:
    for sandbox in ("auto", "none"):
        assert (
            "nosuch"
            in story.prov(
                "shell", "--sandbox", sandbox, "hello:compile", "--", "nosuch", code=1
            ).stderr
        )
    assert story.leftovers() == []
    command = [PROV, "shell", "hello:compile", "--", "sh", "-c", "echo here; read x"]
    with subprocess.Popen(
        command, cwd=story.root, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout and process.stdout.readline() == b"here\n"
        process.kill()
    story.prov("shell", "hello:compile", "--", "true")  # who comes next tidies up


# rerun, reproduce


def test_what_holds_the_time_is_named_with_its_file_and_the_rest_is_the_same(
    story: Project,
) -> None:
    story.append("recipes/greet/greet.toml", CLOCK)
    story.prov("build", "demo-image")
    before = story.refs()
    file = "M image/usr/include/greet_when.h"
    done = story.prov("reproduce", "greet", code=1)
    in_order(
        done.stdout,
        "greet:install: its output is different:",
        file,
        "9 tasks run again: not the same: greet:install",
    )
    progress = dict(
        line.rsplit(": ", 1) for line in done.stderr.splitlines() if line.startswith("greet:")
    )
    assert [key for key, what in progress.items() if what != "same"] == ["greet:install"]
    rows = story.json("reproduce", "greet:install", code=1)["tasks"]
    assert {row["task"]: row["same"] for row in rows} == {
        "greet:unpack": True,
        "greet:patch": True,
        "greet:configure": True,
        "greet:compile": True,
        "greet:install": False,
    }
    assert [each["path"] for each in rows[-1]["output"]] == ["image/usr/include/greet_when.h"]
    in_order(
        story.ask("rerun", "greet:install", code=1),
        file,
        "1 task run again: not the same: greet:install",
    )
    assert story.ask("rerun", "greet:compile") == "1 task run again: the same\n"
    assert story.json("rerun", "greet:package")["tasks"][0]["same"]
    assert story.refs() == before


def test_file_is_followed_to_the_task_that_made_it_another(small: Project) -> None:
    tasks = "[tasks.make]\nscript = 'date +%s%N > when; touch what'\n"
    small.task("cp what out/", more=f"after = ['make']\n{tasks}")
    small.append(
        "recipes/a.toml",
        "[tasks.use]\nafter = ['make']\noutputdir = 'out'\nscript = 'cp when out/'\n",
    )
    small.prov("build", "a", "a:use")
    rows = {row["task"]: row for row in small.json("reproduce", "a", code=1)["tasks"]}
    assert {task: [each["path"] for each in row["output"]] for task, row in rows.items()} == {
        "a:make": [],
        "a:go": [],
        "a:use": ["out/when"],
    }
    # one that gives nothing to others is looked at where it worked, one that gives the same is not
    assert [[each["path"] for each in rows[task]["workdir"]] for task in ("a:make", "a:go")] == [
        ["when"],
        [],
    ]


def test_everything_in_the_demo_is_the_same_again(story: Project) -> None:
    for recipe in ("words", "embed-native", "hello", "demo-image"):
        assert story.ask("reproduce", recipe).endswith("run again: the same\n")


def test_failed_task_fails_again_and_one_that_does_not_is_told(
    story: Project, small: Project
) -> None:
    break_it(story)
    assert story.ask("rerun", "hello:compile") == "1 task run again: the same\n"
    flag = small.root / "flag"
    small.task(f"cat {flag} > out/x")
    small.prov("build", "a", code=1)
    flag.write_text("now\n")
    in_order(small.ask("rerun", "a:go", code=1), "a:go: it failed then, and does not now")
    flag.unlink()
    assert small.ask("rerun", "a:go") == "1 task run again: the same\n"


def test_task_that_worked_and_fails_now_is_told_with_its_log(small: Project) -> None:
    flag = small.write("flag", "there\n")
    small.task(f"echo looking; cat {flag} > out/x")
    small.prov("build", "a")
    flag.unlink()
    for command in ("rerun", "reproduce"):
        text = small.ask(command, "a:go", code=1)
        in_order(text, "a:go: exit status 1", "looking", "1 task run again: not the same: a:go")
    assert small.leftovers() == []


def test_rerun_of_an_old_build_takes_what_it_had(story: Project) -> None:
    story.edit("recipes/greet/greet/greet.h", "unsigned how);", "int how);")
    story.edit("recipes/greet/greet/greet.c", "unsigned how)", "int how)")
    story.prov("build", "demo-image")
    shutil.rmtree(story.root / "build/work")
    for build in ("latest", "latest~1"):
        assert (
            story.ask("rerun", "hello:compile", "--build", build) == "1 task run again: the same\n"
        )


def test_place_in_an_output_is_no_difference_in_another_directory(small: Project) -> None:
    small.task("echo $PWD > out/place", "place")
    small.task("echo $PN > out/name", "same")
    small.prov("build", "place", "same")
    for recipe in ("place", "same"):
        assert small.ask("reproduce", recipe) == "1 task run again: the same\n"
        assert small.ask("rerun", f"{recipe}:go") == "1 task run again: the same\n"
    assert small.leftovers() == []


def test_name_of_the_place_in_an_output_is_a_difference(small: Project) -> None:
    small.task(
        'cd ..; echo "${PWD##*/}" > "$WORKDIR/out/name"; cd "$WORKDIR"; echo "${PWD##*/}" >>'
        " out/name",
        "place",
    )
    small.prov("build", "place")
    in_order(
        small.ask("reproduce", "place", code=1), "place:go: its output is different:", "M out/name"
    )
    assert small.leftovers() == []


def test_demo_built_without_a_sandbox_is_reproduced_without_one(story: Project) -> None:
    shutil.rmtree(story.root / "build")
    story.edit("recipes/words/words/words.c", '"hi"', '"hey"')
    story.prov("build", "--sandbox", "none", "demo-image")
    assert story.ask("reproduce", "--sandbox", "none", "words").endswith("run again: the same\n")
    assert (
        story.ask("rerun", "--sandbox", "none", "words:compile") == "1 task run again: the same\n"
    )
    place = story.ask("shell", "--sandbox", "none", "words:compile", "--", "pwd").strip()
    if shutil.which("bwrap"):
        assert place == f"{story.root}/build/work/x86_64/words/unpack"
