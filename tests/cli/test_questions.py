"""Questions about what is not here, did not go well, or was run again: the answer names the
reason.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.cli.story import PROV, Project, in_order

CHAIN = """version = '1'
patches = ['fix.patch']
sources = [{ file = 'src' }]
[variables]
S = '${WORKDIR}/src'
[tasks.go]
after = ['patch']
outputdir = 'out'
script = 'cat src/word > out/word'
"""


@pytest.fixture
def chain(small: Project) -> Project:
    """Unpack, patch, and a task that has their WORKDIR."""
    small.write("recipes/src/word", "one\ntwo\nthree\n")
    small.write(
        "recipes/fix.patch", "--- a/word\n+++ b/word\n@@ -1,3 +1,3 @@\n one\n-two\n+2\n three\n"
    )
    small.write("recipes/x.toml", CHAIN)
    small.prov("build", "x:go")
    return small


def test_why_of_a_task_that_failed(small: Project) -> None:
    small.task("echo 1 > out/x")
    small.prov("build", "a:go")
    small.edit("recipes/a.toml", "echo 1", "exit 3; echo 1")
    small.prov("build", "a:go", code=1)
    told = small.ask("why", "a:go")
    assert told.startswith("a:go would run: it failed in build ") and "with the same inputs" in told
    assert "failed in build" in small.ask("why", "latest/a:go")
    small.edit("recipes/a.toml", "exit 3", "exit 4")
    told = small.ask("why", "a:go")
    assert "would run: changed: script" in told and "+exit 4; echo 1 > out/x" in told


def test_why_of_what_runs_for_its_workdir(chain: Project) -> None:
    for tag in chain.git("tag").split():  # as a collection does it for runs that nothing else holds
        chain.git("update-ref", f"refs/prov/record/{tag}", f"{tag}^2")
        chain.git("update-ref", "-d", f"refs/tags/{tag}")
    chain.edit("recipes/x.toml", "cat src", "cat  src")
    assert "its WORKDIR was collected, and x:patch starts from it" in chain.ask("plan", "x:go")
    assert "x:patch would run: its WORKDIR was collected, and x:go starts from it" in chain.ask(
        "why", "x:patch"
    )
    chain.prov("build", "x:go")
    told = chain.ask("why", "latest/x:patch")
    assert (
        "ran in build" in told
        and "with the inputs of build" in told
        and "its WORKDIR was collected" in told
    )


def test_why_of_what_was_forced(chain: Project) -> None:
    chain.prov("build", "--force", "x:go", "x:go")
    told = chain.ask("why", "latest/x:go")
    assert "with the inputs of build" in told and told.rstrip().splitlines()[0].endswith(": forced")


def test_blame_names_patches(chain: Project) -> None:
    told = chain.ask("blame", "x:patch@workdir/src/word")
    in_order(
        told,
        next(
            line.strip()
            for line in told.splitlines()
            if "x:patch rewrote src/word by 0001-fix.patch" in line
        ),
    )
    assert chain.json("blame", "x:patch@workdir/src/word")["steps"][0]["patches"] == [
        "0001-fix.patch"
    ]
    lines = chain.json("blame", "--lines", "out/word")["lines"]
    assert [(each["text"], each["from"]) for each in lines] == [
        ("one", "x:fetch"),
        ("2", "x:patch 0001-fix.patch"),
        ("three", "x:fetch"),
    ]


def test_diff_of_a_build_of_nothing(chain: Project) -> None:
    chain.edit("recipes/x.toml", "cat src", "cat  src")
    chain.prov("build", "x:go")
    did = chain.ask("diff", "latest")
    assert "script" in did
    chain.prov("build", "x:go")
    done = chain.prov("diff", "latest")
    assert done.stdout == did
    assert "nothing was to be done in build" in done.stderr


def test_questions_after_a_fetch(chain: Project, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", tmp_path / "cache.git"], check=True)
    chain.prov("remote", "add", "team", str(tmp_path / "cache.git"), "--push", "--trust", "none")
    chain.prov("push", "--all")
    other = Project(tmp_path / "other")
    shutil.copytree(chain.root, other.root, ignore=shutil.ignore_patterns(".prov", "build"))
    other.prov("init")
    other.prov("remote", "add", "team", str(tmp_path / "cache.git"), "--trust", "none")
    assert "1 fetched" in other.ask("build", "x:go")
    assert other.ask("show", "x:go").startswith("x:go  ok\n")
    done = other.prov("show", "x:patch")  # what was not needed comes when it is asked for
    assert (
        "fetched what a remote has published of x:patch" in done.stderr
        and "patches/0001-fix.patch" in done.stdout
    )
    told = other.refused("diff", "x:go")
    assert (
        "was run on another machine" in told
        and "prov pull --with-workdirs x:go" in told
        and "fsck" not in told
    )
    other.edit("recipes/x.toml", "cat src", "cat  src")
    assert "changed: script" in other.ask("why", "x:go")
    chain.prov("push", "--all", "--with-workdirs")
    assert other.ask("diff", "x:go") == chain.ask("diff", "x:go")


def test_a_first_capture_of_the_host_tools_is_told(small: Project) -> None:
    small.task("echo 1 > out/x")
    assert "files of the host's tools" in small.prov("build", "a:go").stderr
    small.edit("recipes/a.toml", "echo 1", "echo 2")
    assert "files of the host's tools" not in small.prov("build", "a:go").stderr


def test_an_interrupted_build_is_told_as_such(small: Project) -> None:
    small.edit("prov.toml", 'HOSTTOOLS = "', 'HOSTTOOLS = "sleep ')
    small.task(f"touch {small.root}/started; sleep 20; echo 1 > out/x")
    process = subprocess.Popen(
        [PROV, "build", "a:go"], cwd=small.root, stdout=subprocess.PIPE, text=True
    )
    while not (small.root / "started").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    told, _ = process.communicate()
    assert process.returncode == 130
    assert "interrupted;" in told and "nothing to do" not in told
