"""Tests that the deploy directory equals that of a clean build after edits, failures and kills."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.cli.story import Project
from tests.commands import PROV

pytestmark = pytest.mark.process

DEPLOYS = "deploy = true\n"
NAMED = "n" * 255


def deployed(project: Project) -> dict[str, str]:
    """Return the contents of the deploy directory, by path."""
    top = project.root / "build/deploy"
    files = (path for path in top.rglob("*") if not path.is_dir())
    return {str(path.relative_to(top)): path.read_text() for path in files}


def clean(project: Project) -> dict[str, str]:
    """Return the files deployed by a clean build of the same project."""
    other = Project(project.root.with_name("clean"))
    shutil.rmtree(other.root, ignore_errors=True)
    shutil.copytree(project.root, other.root, ignore=shutil.ignore_patterns(".prov", "build"))
    other.prov("build", "world")
    return deployed(other)


def check(project: Project) -> None:
    project.prov("build", "world")
    assert deployed(project) == clean(project)
    assert "nothing to do" in project.ask("build", "world")
    assert "deploying" not in project.refs()


@pytest.fixture(params=["none", "auto"])
def project(small: Project, request: pytest.FixtureRequest) -> Project:
    small.edit("prov.toml", 'sandbox = "none"', f'sandbox = "{request.param}"')
    return small


def post(script: str) -> str:
    return f"{DEPLOYS}postprocess = '''{script}'''\n"


def test_every_edit(project: Project) -> None:
    """Each edit of a recipe is followed by a build and compared with a clean build."""
    edits = [
        ("echo 1 > out/a", DEPLOYS),
        ("echo 1 > out/a", post("echo one > $OUTPUT_DIR/post")),
        ("echo 1 > out/a", post("echo two > $OUTPUT_DIR/post; echo more >> $OUTPUT_DIR/a")),
        ("echo 2 > out/a", post("echo two > $OUTPUT_DIR/post; echo more >> $OUTPUT_DIR/a")),
        ("echo 2 > out/a", post("rm $OUTPUT_DIR/a; mkdir d; echo x > d/x")),
        ("echo 2 > out/a", DEPLOYS),
        ("mkdir out/post; echo 3 > out/post/x", DEPLOYS),
        ("echo 4 > out/a", ""),
        ("echo 4 > out/a", DEPLOYS),
    ]
    for script, more in edits:
        project.task(script, more=more)
        check(project)
    for arch in ("allarch", "machine", "target"):
        project.append("recipes/a.toml", "")
        project.write(
            "recipes/a.toml", f"arch = '{arch}'\n" + (project.root / "recipes/a.toml").read_text()
        )
        check(project)
        project.edit("recipes/a.toml", f"arch = '{arch}'\n", "")
    project.write(
        "recipes/a.toml", "arch = 'machine'\n" + (project.root / "recipes/a.toml").read_text()
    )
    for machine in ("one", "two", "one"):
        project.write(
            "prov.toml", f'machine = "{machine}"\n' + (project.root / "prov.toml").read_text()
        )
        project.edit("recipes/a.toml", "out/a", f"out/a; echo {machine} > out/a")
        check(project)
        project.edit("prov.toml", f'machine = "{machine}"\n', "")


def test_a_script_that_failed_runs_with_the_next_build(project: Project) -> None:
    flag = project.root / "flag"
    project.task(
        "echo 1 > out/a", more=post("test -e $OUTPUT_DIR/../../flag; echo done > $OUTPUT_DIR/post")
    )
    for _ in range(2):
        done = project.prov("build", "a", code=1)
        assert "postprocess of a:go failed in" in done.stderr and "build/deploy" in done.stderr
    assert deployed(project) == {}
    flag.touch()
    project.prov("build", "a")
    assert deployed(project) == {"a": "1\n", "post": "done\n"}
    flag.unlink()
    assert "nothing to do" in project.ask("build", "a")  # it ran already
    project.edit("recipes/a.toml", "echo 1", "echo 2")
    project.prov("build", "a", code=1)
    assert deployed(project) == {"a": "1\n", "post": "done\n"}


def test_a_script_in_the_sandbox_writes_to_nothing_else(small: Project) -> None:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed")
    small.edit("prov.toml", 'sandbox = "none"', 'sandbox = "bwrap"')
    small.edit("prov.toml", 'HOSTTOOLS = "', 'HOSTTOOLS = "mktemp ')
    small.task(
        "echo 1 > out/a",
        more=post("echo x > $OUTPUT_DIR/../../stray || echo $OUTPUT_DIR > post; mktemp"),
    )
    small.prov("build", "a")
    assert not (small.root / "stray").exists()
    assert deployed(small)["post"] == f"{small.root}/build/deploy\n"


def test_a_file_that_moves_to_a_different_recipe(small: Project) -> None:
    small.task("echo 1 > out/x; echo a > out/a", more=DEPLOYS)
    small.task("echo b > out/b", "b", DEPLOYS)
    small.prov("build", "world")
    small.task("echo a > out/a", more=DEPLOYS)
    small.task("echo 2 > out/x; echo b > out/b", "b", DEPLOYS)
    small.prov("build", "b")
    assert deployed(small) == {"a": "a\n", "b": "b\n", "x": "2\n"}
    check(small)
    small.task("echo 3 > out/x", more=DEPLOYS)
    small.prov("build", "b")
    said = small.refused("build", "a")
    assert "a:go" in said and "b:go" in said and "deploy different files as x" in said
    assert "rename one of the files" in small.refused("build", "world")


def test_foreign_files_stay_and_changed_files_are_restored(project: Project) -> None:
    project.task("echo 1 > out/a", more=post("echo p > $OUTPUT_DIR/post"))
    project.prov("build", "a")
    folder = project.root / "build/deploy"
    (folder / "mine").write_text("mine\n")
    (folder / "post").write_text("edited\n")
    (folder / "a").unlink()
    assert "nothing to do" in project.ask("build", "a")
    assert deployed(project) == {"a": "1\n", "mine": "mine\n", "post": "p\n"}
    shutil.rmtree(folder)
    project.prov("build", "a")
    assert deployed(project) == {"a": "1\n", "post": "p\n"}


def test_names_of_maximum_length(small: Project) -> None:
    small.task(f"echo 1 > out/{NAMED}; mkdir out/d; echo 2 > out/d/{NAMED}", more=DEPLOYS)
    small.prov("build", "a")
    assert deployed(small) == {NAMED: "1\n", f"d/{NAMED}": "2\n"}


def test_a_kill_while_the_script_runs(small: Project) -> None:
    pidfile = small.root / "pid"
    small.task(
        "echo 1 > out/a",
        more=post(
            f"test -e {small.root}/go || {{ echo $$ > {pidfile}; cat {small.root}/fifo; }}; echo p"
            " > post"
        ),
    )
    os.mkfifo(small.root / "fifo")
    silent = subprocess.DEVNULL
    process = subprocess.Popen([PROV, "build", "a"], cwd=small.root, stderr=silent, stdout=silent)
    while not pidfile.exists():
        assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    with open(small.root / "fifo", "w"):
        pass
    Path(small.root / "go").touch()
    small.prov("build", "a")
    assert deployed(small) == {"a": "1\n", "post": "p\n"}
    assert not (small.root / "build/.deploy").exists()
