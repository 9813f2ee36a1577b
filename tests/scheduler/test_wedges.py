"""Tests that no state of a WORKDIR prevents a corrected recipe from building again."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.story import Project
from tests.commands import PROV, Done

pytestmark = pytest.mark.process

DROPPED = "-dac_override,-dac_read_search,-fowner,-chown"
DEEP = """
import os
top = os.getcwd()
open('out/f', 'w').write('1')
os.chdir('{folder}')
for number in range({depth}):
    os.mkdir('{name}')
    os.chdir('{name}')
open('deepest', 'w').write('deep')
"""


@pytest.fixture(autouse=True)
def cleared(tmp_path: Path) -> Iterator[None]:
    """Remove folders nested too deeply for pytest's recursive cleanup."""
    yield
    subprocess.run(["rm", "-rf", tmp_path], check=True)


def build(project: Project, *arguments: str, code: int = 0) -> Done:
    """Build without root's capability to bypass permissions."""
    command = [PROV, "build", *arguments]
    if os.geteuid() == 0:
        command = ["setpriv", f"--bounding-set={DROPPED}", *command]
    done = subprocess.run(command, cwd=project.root, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def python(project: Project, script: str) -> None:
    project.task(script)
    project.edit("recipes/a.toml", "outputdir", "interpreter = 'python3'\noutputdir")


def workdir(project: Project) -> Path:
    (found,) = (project.root / "build/work").glob("*/a/go")
    return found


def aside(project: Project) -> list[Path]:
    return sorted((project.root / "build").glob("aside/*/*"))


def check_store(project: Project) -> None:
    project.git("fsck", "--strict", "--no-dangling")


LEFT = [
    "chmod 000 out/b",
    "mkdir out/d; echo x > out/d/x; chmod 000 out/d",
    "mkdir -p out/d/e; echo x > out/d/e/x; chmod 400 out/d/e; chmod 600 out/d",
    "mkdir d; echo x > d/x; chmod 000 d",
    "mkdir temp/d; echo x > temp/d/x; chmod 000 temp/d temp",
    "mkdir d; echo x > d/x; chmod 500 d; chmod 000 .",
    "ln -s nowhere d; mkfifo f; chmod 000 f; echo x > x; chmod 200 x",
]


@pytest.mark.parametrize("left", LEFT)
def test_unreadable_files(small: Project, left: str) -> None:
    small.edit("prov.toml", 'HOSTTOOLS = "', 'HOSTTOOLS = "mkfifo ')
    for end in ("", "; exit 1"):
        small.task(f"echo a > out/a; echo b > out/b; {left}{end}")
        build(small, "a:go", code=1 if end else 0)
        small.task(
            f"echo a > out/a; echo b > out/b; ls . > out/list # {end}\n:"
            f" {end.replace('exit', 'true')}"
        )
        small.edit("prov.toml", 'HOSTTOOLS = "', 'HOSTTOOLS = "ls ')
        build(small, "a:go")
        assert sorted(path.name for path in workdir(small).iterdir()) == [
            "out",
            "recipe-sysroot",
            "recipe-sysroot-native",
            "temp",
        ]
        small.edit("prov.toml", 'HOSTTOOLS = "ls ', 'HOSTTOOLS = "')
    assert aside(small) == []
    check_store(small)


def test_modes_are_recorded_unchanged(small: Project) -> None:
    small.task("echo a > out/a; mkdir out/d; echo x > out/d/x; chmod 000 out/a out/d")
    build(small, "a:go")
    assert workdir(small).joinpath("out/a").stat().st_mode & 0o777 == 0
    small.prov("checkout", "a:go@output", "got")
    assert (small.root / "got/out/a").stat().st_mode & 0o777 == 0
    assert (small.root / "got/out/d").stat().st_mode & 0o777 == 0
    assert "P " not in small.ask("diff", "a:go", "a:go@workdir")
    small.append(
        "recipes/a.toml",
        "[tasks.use]\nfrom = ['go']\noutputdir = 'o2'\nscript = 'chmod 700 out/d; cp out/d/x"
        " o2/'\n",
    )
    build(small, "a:use")
    build(small, "a:go")
    assert "nothing to do" in build(small, "a:go", "a:use").stdout


@pytest.mark.parametrize(
    ("folder", "depth", "name"),
    [
        ("temp", 1500, "confdir3"),
        (".", 1500, "confdir3"),
        ("out", 1900, "d"),
        ("out", 60, "n" * 200),
        (".", 2500, "d"),
    ],
)
def test_deep_or_long_paths(small: Project, folder: str, depth: int, name: str) -> None:
    python(small, DEEP.format(folder=folder, depth=depth, name=name))
    too_deep = depth > 2000
    build(small, "a:go", code=1 if too_deep else 0)
    if folder == "out":
        small.append(
            "recipes/a.toml",
            "[tasks.use]\nfrom = ['go']\noutputdir = 'o2'\nscript = 'cp out/f o2/'\n",
        )
        build(small, "a:use")
        small.prov("checkout", "a:go@output", "got")
        subprocess.run(["rm", "-rf", small.root / "got"], check=True)
    python(small, "open('out/f', 'w').write('2')")
    done = build(small, "a:go")
    assert bool(aside(small)) == too_deep
    if too_deep:
        assert "more than 2000 nested folders" in done.stderr and "was moved to" in done.stderr
        assert "1 scratch folder deleted" in small.ask("gc")
        assert aside(small) == []
    check_store(small)


def test_files_of_a_different_user(small: Project) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make another user's files")
    small.task("echo a > out/a; mkdir out/d; echo x > out/d/x")
    build(small, "a:go")
    for path in ("out/d", "temp"):
        folder = workdir(small) / path
        os.chown(folder, 1234, 1234)
        folder.chmod(0o700)
        small.edit("recipes/a.toml", "echo a >", "echo a > out/a; echo b >")
        done = build(small, "a:go")
        assert "was moved to" in done.stderr
        assert "nothing to do" in build(small, "a:go").stdout
    assert len(aside(small)) == 2
    small.prov("gc")
    assert aside(small) == []


def test_files_in_the_way(small: Project) -> None:
    small.task("echo a > out/a")
    build(small, "a:go")
    for at in ("", "..", "../.."):
        folder = (workdir(small) / at).resolve()
        shutil.rmtree(folder)
        folder.write_text("a file\n")
        small.edit("recipes/a.toml", "echo a >", "echo a > out/a; echo b >")
        build(small, "a:go")
    assert [path.read_text() for path in aside(small)] == ["a file\n"] * 3
