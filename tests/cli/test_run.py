"""`prov run`."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from prov.processes import run_command
from tests.cli.story import Project

pytestmark = pytest.mark.process


def test_arguments_of_a_command_are_unchanged(small: Project) -> None:
    words = ["mc:qemu:core-image", "a/mc:b:c:d", "--", "-x"]
    answer = small.ask("run", "--as", "app:list", "--", "printf", "%s\\n", *words)
    assert answer.splitlines() == words


def test_run_does_not_wait_for_background_processes(small: Project, tmp_path: Path) -> None:
    begun = time.monotonic()
    script = f"(sleep 3; echo late; echo alive > {tmp_path}/alive) & echo started"
    assert small.ask("run", "--as", "app:start", "--", "sh", "-c", script) == "started\n"
    ended = run_command(["sh", "-c", "sleep 30 & cat; exit 4"], data=b"input")
    assert (ended.status, ended.output) == (4, b"input")
    assert time.monotonic() - begun < 3
    small.ask(
        "run", "--as", "app:next", "--", "true"
    )  # the background process does not hold the store's lock
    deadline = time.monotonic() + 20
    while not (tmp_path / "alive").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert (tmp_path / "alive").exists(), "ended by SIGPIPE"


needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@needs_strace
def test_a_traced_run_records_what_it_reads(small: Project) -> None:
    small.write("text", "1\n")
    small.ask("run", "--trace", "--as", "app:read", "--", "sh", "-c", "cat text; cat none || true")
    reads = small.git("show", f"{_tag(small)}^2:reads")
    facts, _, lines = reads.partition("\n\n")
    assert facts == "opens complete\nprobes complete\ntoolchain complete"
    rows = {row.split("\t")[1]: row.split("\t") for row in lines.splitlines()}
    blob = "d00491fd7e5bb6fa28c517a0bb32b8b506539d4d"
    assert rows["text"][:3] == ["o", "text", f"file 644 {blob}"]
    assert "/usr/bin/cat" in rows["text"]
    assert rows["none"][:3] == ["m", "none", "missing"]


def _tag(project: Project) -> str:
    """Return the tag of the last successful run of app:read."""
    return project.git("for-each-ref", "--format=%(refname)", "refs/tags/app/read").split()[-1]


@needs_strace
def test_a_cached_command_runs_once(small: Project) -> None:
    small.write("text", "1\n")
    words = ("run", "--cached", "--as", "app:read", "--", "sh", "-c", "cat text | tee copy")
    assert small.ask(*words) == "1\n"
    (small.root / "copy").unlink()
    assert small.ask(*words) == "1\n"
    assert (small.root / "copy").read_text() == "1\n"
    assert [row["facts"]["ran"] for row in small.json("builds")["builds"]] == ["1", "1"]
    small.write("text", "2\n")
    assert small.ask(*words) == "2\n"
    small.prov("fsck")
    wrong = small.prov("run", "--share", "--as", "a:b", "--", "true", code=2)
    assert "--share needs --cached" in wrong.stderr
    both = ("run", "--cached", "--share", "--output", "copy", "--as", "a:b", "--", "touch", "ran")
    assert "--share and --output exclude each other" in small.refused(*both)
    small.environment["PATH"] = str(small.root)
    assert "strace is not installed" in small.refused("run", "--trace", "--as", "a:b", "--", "true")
    assert not (small.root / "ran").exists()


@needs_strace
def test_a_shared_result_is_restored_on_another_machine(small: Project, tmp_path: Path) -> None:
    bare, other = tmp_path / "bare", Project(tmp_path / "deep/other")
    subprocess.run(["git", "init", "-q", "--bare", bare], check=True)
    script = "mkdir -p out; tr 0-9 a-j < text > out/copy; chmod 700 out; rm old; echo done"
    words = ("run", "--cached", "--share", "--as", "app:copy", "--", "sh", "-c", script)
    for project in (small, other):
        project.environment["PATH"] = "/usr/bin:/bin"
        project.root.mkdir(parents=True, exist_ok=True)
        project.write("text", "12\n")
        project.write("old", "1\n")
    other.prov("init")
    os.unlink(other.root / "prov.toml")
    for project in (small, other):
        project.prov("remote", "add", "team", f"file://{bare}", "--push", "--trust", "none")
    assert small.ask(*words) == "done\n"
    assert "1 result published" in small.ask("push")
    assert "1 result fetched" in other.ask("pull", "app")
    done = other.prov(*words)
    assert done.stdout == "done\n"
    assert "restored from app/copy/" in done.stderr
    assert (other.root / "out/copy").read_text() == "bc\n"
    assert (other.root / "out").stat().st_mode & 0o777 == 0o700
    assert not (other.root / "old").exists()
    assert "1 already there" in other.ask("push")
