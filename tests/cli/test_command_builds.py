"""Builds without recipes: what the commands answer about runs of `prov run`."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cli.story import Project, in_order

pytestmark = pytest.mark.process

COMPILE = "tr a-z A-Z <text >program; chmod +x program"
INSTALL = "mkdir -p image/bin; cp -p program image/bin/"


def build(project: Project, label: str, text: str) -> None:
    """Record a build of two steps in a directory without their earlier results."""
    shutil.rmtree(project.root / "image", ignore_errors=True)
    (project.root / "program").unlink(missing_ok=True)
    (project.root / "text").write_text(f"{text}\n")
    project.prov("run", "--build", label, "--as", "app:compile", "--", "sh", "-c", COMPILE)
    named = ("--as", "app:install", "--output", "image")
    project.prov("run", "--build", label, *named, "--", "sh", "-c", INSTALL)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = Project(tmp_path_factory.mktemp("recorded"))
    for label, text in {"one": "exit 0", "two": "exit 0 ", "three": "exit 1"}.items():
        build(project, label, text)
    return project.root


@pytest.fixture
def project(recorded: Path, tmp_path: Path) -> Project:
    """A folder without recipes, with three builds of two steps, of which the last is broken."""
    shutil.copytree(recorded, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project")


def test_builds_and_their_differences(project: Project) -> None:
    rows = project.json("builds")["builds"]
    assert [row["labels"] for row in rows] == [["three"], ["two"], ["one"]]
    in_order(
        project.ask("diff", "one", "three"),
        "starting directory",
        "M text",
        "in app:compile",
        "affected: 1 task: app:install",
        "files of app:install:",
        "M image/bin/program",
    )
    in_order(project.ask("why", "app:install"), "app:compile", "starting directory", "M text")
    assert "app:compile" in project.ask("graph", "--format", "dot")
    project.prov("report", "-o", "report.html")
    assert "app:install" in (project.root / "report.html").read_text()


def test_files(project: Project) -> None:
    assert len(project.ask("log", "bin/program").splitlines()) == 3
    in_order(
        project.ask("blame", "bin/program"),
        "app:install@output/image/bin/program  -rwxr-xr-x",
    )
    assert "app:compile made program" in project.ask("blame", "bin/program")
    project.prov("checkout", "two/app:install@output", "out")
    assert (project.root / "out/image/bin/program").read_text() == "EXIT 0 \n"


def test_kept_builds(project: Project) -> None:
    project.prov("pin", "one")
    project.prov("label", "release", "two")
    project.prov("gc", "--builds", "1", "--workdirs", "0", "--days", "0")
    project.prov("fsck")
    assert project.ask("checkout", "one/app:install@output", "out")
    assert project.ask("shell", "release/app:compile", "--", "cat", "text") == "exit 0 \n"


def test_a_directory_is_opened_and_its_command_repeated(project: Project, recorded: Path) -> None:
    assert project.ask("shell", "app:compile", "--before", "--", "ls").split() == ["text"]
    assert project.ask("shell", "app:compile", "--", "pwd").strip() == str(recorded)
    assert project.ask("rerun", "app:install", "--build", "one") == "1 task repeated: identical\n"
    assert project.json("rerun", "app:compile")["tasks"][0]["same"]
    assert (project.root / "text").read_text() == "exit 1\n"


def test_the_change_that_broke_it_is_found(project: Project) -> None:
    test = project.write("test.sh", '#!/bin/sh\n! grep -q 1 "$1/image/bin/program"\n')
    test.chmod(0o755)
    answer = project.ask("bisect", "start", "one", "three", "--", "./test.sh")
    in_order(answer, "starting directory in app:compile", "M text", "+exit 1")
    assert "starting directory in app:compile broke it" in answer


@pytest.mark.parametrize("has_project", [True, False])
def test_results_are_shared_by_a_bare_repository(
    project: Project, tmp_path: Path, has_project: bool
) -> None:
    bare, other = tmp_path / "bare", Project(tmp_path / "other")
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    project.prov("remote", "add", "team", f"file://{bare}", "--push", "--trust", "none")
    assert "2 results published" in project.ask("push", "--build", "one")
    other.root.mkdir()
    other.prov("init")
    if not has_project:
        os.unlink(other.root / "prov.toml")
    other.prov("remote", "add", "team", f"file://{bare}", "--trust", "none")
    assert "2 results fetched" in other.ask("pull", "app")
    output = other.root / "out"
    other.prov("checkout", "app:install@output", str(output))
    assert (output / "image/bin/program").read_text() == "EXIT 0\n"
    assert other.json("show", "app:install")["output"]
    assert "it ran on another machine" in other.refused("rerun", "app:compile")
    published = subprocess.run(
        ["git", f"--git-dir={bare}", "log", "--all", "-p", "--format="],
        capture_output=True,
        text=True,
    ).stdout
    assert "EXIT 0" in published
    assert "exit 0" not in published, "only the output named by --output is shared"


def test_statements(project: Project) -> None:
    project.prov("attest", "app:install", "--unsigned", "-o", "statement.json")
    assert "urn:prov:command:v1" in (project.root / "statement.json").read_text()


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "app"),
        ("build", "app"),
        ("status",),
        ("pull",),
        ("sysroot", "app:compile"),
        ("var", "A", "app"),
    ],
)
def test_commands_for_recipes_say_so(project: Project, words: tuple[str, ...]) -> None:
    assert "this command needs recipes: neither" in project.refused(*words)


def test_a_missing_output_is_a_failure(project: Project) -> None:
    words = ("run", "--as", "app:install", "--output", "nothing", "--", "true")
    assert "the output folder nothing is missing" in project.refused(*words)
    assert "outside the recorded directory" in project.refused(
        "capture", ".", "--as", "a:b", "--output", "../x"
    )


def test_the_label_comes_from_the_environment(project: Project) -> None:
    project.environment["PROV_BUILD"] = "nightly-7"
    project.prov("capture", ".", "--as", "app:tree")
    assert project.json("builds")["builds"][0]["labels"] == ["nightly-7"]
    project.environment["PROV_BUILD"] = "12345678"
    assert "invalid label '12345678'" in project.refused("run", "--as", "a:b", "--", "touch", "ran")
    assert not (project.root / "ran").exists()
