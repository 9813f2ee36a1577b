"""`prov bisect commits`: its progress, its answer and its errors."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cli.story import Project, in_order

pytestmark = pytest.mark.process


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """A git work tree of four commits, the third of which is broken, and a recorded build of it."""
    project = Project(tmp_path)
    git(project, "init", "-q")
    for word in ("one", "two", "broken", "broken too"):
        project.write("word", f"{word}\n")
        git(project, "add", "word")
        git(project, "commit", "-q", "-m", f"Write {word}")
    project.prov("run", "--build", "now", "--as", "word:copy", "--", "cp", "word", "copy")
    return project


def git(project: Project, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    command = ["git", *identity, *words]
    return subprocess.run(
        command, cwd=project.root, capture_output=True, text=True, check=True
    ).stdout.strip()


JUDGE = ("--", "sh", "-c", '! grep -q broken "$0/copy"')


def test_progress_and_answer(project: Project) -> None:
    done = project.prov("bisect", "commits", "HEAD~3", "HEAD", *JUDGE)
    bad = git(project, "rev-parse", "HEAD~1")
    in_order(done.stdout, f"commit {bad} broke it: Write broken", "4 commits tested, 3 steps run")
    in_order(
        done.stderr, f"prov: trying commit {bad[:12]} Write broken", f"prov: commit {bad[:12]}: bad"
    )


def test_from_a_folder_of_the_work_tree(project: Project) -> None:
    (project.root / "folder").mkdir()
    below = Project(project.root / "folder", {"PROV_STORE": str(project.root / ".prov")})
    answer = below.json("bisect", "commits", "HEAD~3", "HEAD", "--steps", "now", *JUDGE)
    assert answer["commits"] == [git(project, "rev-parse", "HEAD~1")]
    assert answer["subject"] == "Write broken"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nothing", "HEAD", "--steps", "now", *JUDGE), "nothing is not a commit"),
        (("HEAD~1", "HEAD", "--steps", "now", "--", "./nothing"), "no such program"),
        (("HEAD~1", "HEAD", "--steps", "tree", *JUDGE), "has no step to repeat"),
    ],
)
def test_errors(project: Project, words: tuple[str, ...], said: str) -> None:
    project.prov("capture", ".", "--as", "word:tree", "--build", "tree")
    assert said in project.refused("bisect", "commits", *words)
