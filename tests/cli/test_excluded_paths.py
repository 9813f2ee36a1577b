"""Version control data and other excluded paths survive every command on recorded directories."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from prov.tasks.sandbox import bubblewrap
from tests.cli.story import Project

pytestmark = pytest.mark.process
SANDBOX = "auto" if bubblewrap("auto") else "none"
EXCLUDED = (".git", "lib/.git", "lib/.hg", "lib/cache", "cache")
State = dict[str, tuple[int, int, bytes]]


def git(folder: Path, *words: str) -> str:
    """Run git as a user; return its output."""
    command = ["git", "-c", "user.name=A", "-c", "user.email=a", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def state(top: Path) -> State:
    """Return mode, mtime and content of all excluded files and folders."""
    paths = [path for name in EXCLUDED for path in (top / name, *(top / name).rglob("*"))]
    assert len(paths) > 50
    return {
        str(path.relative_to(top)): (
            path.stat().st_mode,
            path.stat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in paths
    }


@pytest.fixture(scope="module")
def wrapped(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A work tree with excluded folders, and two builds of commands, which delete `lib/made`."""
    project = Project(tmp_path_factory.mktemp("wrapped") / "tree")
    project.write("prov.toml", 'exclude = ["cache/"]\n')
    project.write("source", "good\n")
    for folder in (".", "lib"):
        project.write(f"{folder}/file", "1\n")
        git(project.root / folder, "init", "-q", "-b", "main")
        git(project.root / folder, "add", "file")
        git(project.root / folder, "commit", "-q", "-m", "first")
        project.write(f"{folder}/cache/object", "cached\n")
    project.write("lib/.hg/dirstate", "state\n")
    git(project.root, "add", "source")
    git(project.root, "commit", "-q", "-m", "second")
    project.prov("init")
    for label, text in (("one", "good\n"), ("two", "bad\n")):
        project.write("source", text)
        git(project.root, "commit", "-q", "--allow-empty", "-a", "-m", f"build {label}")
        build(project, label)
    return project


def build(project: Project, label: str) -> None:
    script = "mkdir -p out lib/made; cp source out/result; cp source lib/made"
    words = ["run", "--build", label, "--output", "out", "--as"]
    project.prov(*words, "app:compile", "--", "sh", "-c", script)
    project.prov(*words, "app:clean", "--", "rm", "-rf", "lib/made", "lib/file")
    git(project.root / "lib", "checkout", "-q", "file")


CHECK = ("sh", "-c", 'grep -q good "$0/out/result"')
COMMANDS = {
    "run": ("run", "--as", "app:test", "--", "test", "-f", "lib/cache/object"),
    "run --gitignore": ("run", "--gitignore", "--as", "app:test", "--", "true"),
    "capture": ("capture", ".", "--as", "app:tree"),
    "checkout": ("checkout", "app:compile", "../checkout"),
    "shell": ("shell", "--sandbox", SANDBOX, "app:clean", "--", "rm", "-rf", "lib", ".git"),
    "rerun": ("rerun", "--sandbox", SANDBOX, "app:clean"),
    "bisect start": ("bisect", "start", "one", "two", "--", *CHECK),
    "bisect commits": (
        *("bisect", "commits", "--sandbox", SANDBOX, "--steps", "two", "HEAD~1", "HEAD"),
        *("--", *CHECK),
    ),
    "gc": ("gc", "--builds", "1"),
}


@pytest.mark.parametrize("words", COMMANDS.values(), ids=COMMANDS.keys())
def test_a_command_changes_no_excluded_path(wrapped: Project, words: tuple[str, ...]) -> None:
    before = state(wrapped.root)
    done = wrapped.prov(*words)
    assert state(wrapped.root) == before, done.stderr
    git(wrapped.root, "fsck", "--strict")


def test_a_build_of_commands_changes_no_excluded_path(wrapped: Project) -> None:
    for folder in (".git", "lib/.git"):
        (wrapped.root / folder / "index").touch()
    before = state(wrapped.root)
    wrapped.prov("run", "--as", "app:clean", "--", "rm", "-f", "lib/file")
    assert state(wrapped.root) == before
    git(wrapped.root / "lib", "checkout", "-q", "file")


def test_checkout_refuses_a_folder_with_excluded_paths(wrapped: Project) -> None:
    before = state(wrapped.root)
    assert "is not empty" in wrapped.refused("checkout", "app:compile", ".")
    assert state(wrapped.root) == before


RECIPE = """\
version = '1'
build = ['compile']
[variables]
S = '${{WORKDIR}}'
[tasks.unpack]
script = '''
mkdir -p src/.git/refs
echo ref >src/.git/HEAD
chmod 500 src/.git/refs
echo {0} >src/file
'''
[tasks.compile]
after = ['unpack']
outputdir = 'out'
script = '''
mkdir -p out
cat src/file src/.git/HEAD >out/all
echo {1} >>out/all
rm -rf src/.git/HEAD
'''
"""


def test_a_repository_that_a_task_unpacks_is_restored(small: Project) -> None:
    workdir = small.root / "build/work"
    small.write("recipes/a.toml", RECIPE.format("one", "first"))
    small.prov("build", "a")
    assert not list(workdir.rglob("HEAD"))
    small.write("recipes/a.toml", RECIPE.format("one", "second"))
    small.prov("build", "a")
    small.prov("checkout", "a:compile@output", "out")
    assert (small.root / "out/out/all").read_text() == "one\nref\nsecond\n"
    small.prov("checkout", "a:unpack", "unpacked")
    (head,) = (small.root / "unpacked").rglob("HEAD")
    assert head.read_text() == "ref\n"
    assert (head.parent / "refs").stat().st_mode & 0o777 == 0o500
    small.prov("rerun", "a:compile")
    assert small.ask("shell", "a:unpack", "--", "cat", "src/.git/HEAD") == "ref\n"


def test_a_repository_in_a_workdir_is_moved_away_not_deleted(small: Project) -> None:
    settings = (small.root / "prov.toml").read_text()
    small.write("prov.toml", f'exclude = [".git"]\n{settings}')
    small.write("recipes/a.toml", RECIPE.format("one", "first").replace("rm -rf", "true"))
    small.prov("build", "a")
    small.write("recipes/a.toml", RECIPE.format("two", "first").replace("rm -rf", "true"))
    assert "it contains excluded files" in small.prov("build", "a").stderr
    (head,) = (small.root / "build/aside").rglob("HEAD")
    assert head.read_text() == "ref\n"
    small.prov("checkout", "a:compile@output", "out")
    assert (small.root / "out/out/all").read_text() == "two\nref\nfirst\n"
