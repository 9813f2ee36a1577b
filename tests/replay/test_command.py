"""Tests of commands that run again in their recorded directory."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from prov.errors import ProvError, StoreError
from prov.history.names import RunName, find_run
from prov.records.lookup import Records
from prov.replay.command import rerun_command, restored
from prov.replay.reproduce import Rerun
from prov.store.repository import Store
from prov.tasks.sandbox import bubblewrap
from prov.wrapped.recorded import is_command, recorded_command
from prov.wrapped.run import capture_as, run_as
from prov.wrapped.step import CommandStep

pytestmark = pytest.mark.process
MOUNTER = bubblewrap("auto")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "CFLAGS": "-O2"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with a file, and version control data."""
    path = tmp_path / "src"
    (path / ".git").mkdir(parents=True)
    (path / ".git/HEAD").write_text("ref: refs/heads/main\n")
    (path / "a").write_text("1\n")
    return path


def recorded(store: Store, folder: Path, script: str, *outputs: str) -> RunName:
    """Run a script and return its run."""
    step = CommandStep.parse("app:compile", outputs=outputs)
    ran = run_as(store, folder, step, ["sh", "-c", script], ENVIRONMENT, lambda _chunk: None)
    return find_run(store, ran.tag)


def again(store: Store, run: RunName, mounter: str | None = MOUNTER) -> Rerun:
    """Run a recorded command again."""
    return rerun_command(store, run, mounter, os.environ, on_host=mounter is None)[0]


@pytest.mark.parametrize("mounter", [MOUNTER, None])
def test_a_command_gives_the_same_result(store: Store, folder: Path, mounter: str | None) -> None:
    run = recorded(store, folder, "cat a >b; echo $CFLAGS >>b; mkdir c; cp -p a c/d")
    (folder / "a").write_text("2\n")
    assert is_command(store, run.commit)
    assert again(store, run, mounter) == Rerun(run.key, run, "", "", at_its_path=bool(mounter))
    assert (folder / "a").read_text() == "2\n"
    assert (folder / ".git/HEAD").exists()


def test_the_path_of_the_directory_is_the_recorded_one(store: Store, folder: Path) -> None:
    run = recorded(store, folder, "pwd >where; ls -a >listing")
    result = again(store, run)
    assert [line.path for line in result.output] == ["listing"]  # there is no .git


def test_a_result_that_differs(store: Store, folder: Path) -> None:
    run = recorded(store, folder, "mkdir -p x; date +%N >x/time; date +%N >time", "x")
    result = again(store, run)
    assert [(line.letter, line.path) for line in result.output] == [("M", "x/time")]
    assert not result.same


def test_a_failure_differs_unless_it_is_repeated(store: Store, folder: Path) -> None:
    failed = recorded(store, folder, "echo no; exit 3")
    assert again(store, failed).same
    unstable = recorded(store, folder, "test -d .git")
    result = again(store, unstable)
    assert (result.problem, result.same) == ("exit status 1", False)


def test_the_command_can_change_only_its_directory(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    run = recorded(store, folder, f"echo >b; echo >{outside}; true")
    outside.unlink()
    assert again(store, run).same
    assert not outside.exists()


@pytest.mark.parametrize("before", [True, False])
def test_a_directory_before_and_after_its_command(store: Store, folder: Path, before: bool) -> None:
    run = recorded(store, folder, "rm a; echo >b")
    with restored(store, run.commit, MOUNTER, os.environ, before=before, on_host=False) as scene:
        assert os.listdir(scene.folder) == (["a"] if before else ["b"])
        place = scene.folder
    assert not place.exists()


def test_a_capture_has_no_command(store: Store, folder: Path) -> None:
    captured = capture_as(store, folder, CommandStep.parse("app:tree"))
    run = find_run(store, captured.tag)
    assert is_command(store, run.commit)
    assert recorded_command(store, run.commit) == []
    with pytest.raises(ProvError, match=r"app:tree has no command: `prov capture` recorded it"):
        again(store, run)


def test_without_a_sandbox_nothing_runs(store: Store, folder: Path) -> None:
    run = recorded(store, folder, "touch ran")
    with pytest.raises(StoreError, match="bubblewrap is missing"):
        rerun_command(store, run, None, os.environ, on_host=False)


def test_the_record_of_a_rerun_stays_alone(store: Store, folder: Path) -> None:
    run = recorded(store, folder, "echo >b")
    refs = store.refs.list("refs/")
    again(store, run)
    assert store.refs.list("refs/") == refs
    assert Records(store).facts(run.commit)["result"] == "ok"


def test_paths_that_the_record_excludes_do_not_differ(store: Store, folder: Path) -> None:
    step = CommandStep.parse("app:compile", exclude=["*.log"])
    command = ["sh", "-c", "date +%N >time.log; echo >b"]
    ran = run_as(store, folder, step, command, ENVIRONMENT, lambda _chunk: None)
    assert again(store, find_run(store, ran.tag)).same


def test_paths_that_git_ignores_do_not_differ(store: Store, tmp_path: Path) -> None:
    top = tmp_path / "tree"
    subprocess.run(["git", "init", "-q", top], check=True)
    (top / ".gitignore").write_text("*.o\n")
    step = CommandStep.parse("app:compile", gitignore=True)
    command = ["sh", "-c", "date +%N >a.o; echo >b"]
    ran = run_as(store, top, step, command, ENVIRONMENT, lambda _chunk: None)
    assert again(store, find_run(store, ran.tag)).same
