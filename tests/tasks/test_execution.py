"""Tests of running and recording a task, without a sandbox."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from prov.reads.reads import decode_reads
from prov.records.entries import READS
from prov.records.lookup import Records
from prov.records.output import read_pair
from prov.records.refs import OutputRef, RunRef, StaticRef, WorkdirRef
from prov.store.repository import Store
from prov.tasks.execution import run_task
from prov.tasks.job import Job, Result, Workspace
from prov.tasks.paths import make_paths
from prov.tasks.reading import UNRECORDED
from prov.tasks.toolchain import Toolchains
from prov.worktree.attributes import walk
from tests.tasks.samples import KEY, TOOLS, job_of, node_of, workspace_of

pytestmark = pytest.mark.process

SCRIPT = "mkdir -p image; echo made > image/a; echo done\n"


@pytest.fixture
def workspace(store: Store, tmp_path: Path) -> Workspace:
    """A workspace without a sandbox."""
    (tmp_path / "build/work").mkdir(parents=True)
    return workspace_of(store, tmp_path / "build/work")


def job(workspace: Workspace, script: str = SCRIPT, **fields: Any) -> Job:
    """Return a job for a script that uses only shell builtins, and mkdir by its path."""
    node = node_of(
        script.replace("mkdir", "/bin/mkdir").replace("rm ", "/bin/rm "),
        task={"outputdir": ("image",), **fields.pop("task", {})},
    )
    task_paths = make_paths(
        workspace, Toolchains(workspace.store, "/usr/bin"), node, "compile", TOOLS
    )
    return job_of(node, task_paths, **fields)


def run(workspace: Workspace, *, script: str = SCRIPT, **fields: Any) -> Result:
    return run_task(workspace, job(workspace, script, **fields))


def files_of(store: Store, result: Result) -> list[str]:
    """Return the files in a result's output."""
    assert result.output is not None
    pair = read_pair(store.objects, result.output)
    return [path.decode() for path, node in walk(store.objects, pair) if not node.is_directory]


def test_a_task_writes_its_output_and_its_refs(store: Store, workspace: Workspace) -> None:
    result = run(workspace)
    assert (result.status, result.problem, result.number) == ("ran", "", 1)
    assert files_of(store, result) == ["image/a"]
    names = [
        RunRef(KEY, result.task_hash, 1),
        OutputRef(KEY, result.task_hash),
        StaticRef(KEY, job(workspace).static_key),
        WorkdirRef("x86_64", "zlib", "compile"),
    ]
    assert set(store.refs.list("refs/")) == {str(name) for name in names}
    assert store.refs.get(str(names[0])) == store.refs.get(str(names[3])) == result.commit


def test_the_record_of_a_run(store: Store, workspace: Workspace) -> None:
    result = run(workspace)
    assert result.commit is not None
    records = Records(store)
    facts = records.facts(result.commit)
    assert facts["result"] == "ok"
    assert facts["sandbox"] == "none"
    assert facts["outputdir"] == "image"
    assert facts["static-key"] == job(workspace).static_key.hex()
    record = records.record(result.commit)
    assert record.log(store.objects) == b"done\n"
    assert record.is_recipes
    assert record.output == result.output
    assert record.environment(store.objects)["LC_ALL"] == "C.UTF-8"
    assert decode_reads(record.text(store.objects, READS)) == UNRECORDED


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("exit 3\n", "exit status 3"),
        ("kill -9 $$\n", "killed by SIGKILL"),
        ("set +e; rm -rf image\n", "outputdir image is missing"),
        ("echo $UNSET_BY_ALL; false\n", "exit status"),
    ],
)
def test_a_failed_task_is_recorded_as_such(
    store: Store, workspace: Workspace, script: str, problem: str
) -> None:
    if "UNSET" in script:
        script = "set -u\n" + script.replace("UNSET_BY_ALL", "{NOTHING:?}")
    result = run(workspace, script=f"echo reason >&2\n{script}")
    assert (result.status, result.output) == ("failed", None)
    assert problem in result.problem
    assert "reason" in result.log_tail
    assert store.refs.get(str(OutputRef(KEY, result.task_hash))) is None
    assert store.refs.get(str(RunRef(KEY, result.task_hash, 1, failed=True))) == result.commit


def test_a_result_of_a_different_process_is_used(workspace: Workspace) -> None:
    first = run(workspace)
    second = run(workspace)
    assert second.status == "done by another"
    assert (second.output, second.commit, second.number) == (first.output, first.commit, 1)


def test_a_forced_task_runs_again(workspace: Workspace) -> None:
    first = run(workspace)
    second = run(workspace, force=True)
    assert (second.status, second.number) == ("ran", 2)
    assert second.output == first.output
    assert second.task_hash == first.task_hash


def test_a_task_starts_from_its_record_never_from_leftovers(
    store: Store, workspace: Workspace
) -> None:
    run(workspace)
    (workspace.work / "x86_64/zlib/compile/image/stray").write_text("mine\n")
    again = run(workspace, force=True)
    assert files_of(store, again) == ["image/a"]
    assert any("outside/x86_64/zlib/compile/1" in note for note in again.notes)


def test_an_impure_result_has_no_static_key(store: Store, workspace: Workspace) -> None:
    result = run(workspace, plain=False)
    assert store.refs.get(str(OutputRef(KEY, result.task_hash))) is not None
    assert store.refs.list("refs/prov/static/") == {}


def test_a_run_on_leftovers_is_not_a_result(store: Store, workspace: Workspace) -> None:
    clean = run(workspace)
    (workspace.work / "x86_64/zlib/compile/image/more").write_text("left\n")
    leftover = run(workspace, incremental=True)
    assert leftover.status == "ran"
    assert files_of(store, leftover) == ["image/a", "image/more"]
    assert leftover.task_hash != clean.task_hash
    assert store.refs.get(str(OutputRef(KEY, leftover.task_hash))) is None


def test_a_path_of_the_workdir_becomes_a_token(store: Store, workspace: Workspace) -> None:
    result = run(workspace, script="mkdir -p image; pwd > image/a\n")
    assert result.output is not None
    entry = store.objects.entry(result.output, "content/image/a")
    assert entry is not None
    assert store.objects.blob(entry.oid) == b"@PROV:WORKDIR@\n"
    assert not any("not relocatable" in note for note in result.notes)


def test_an_output_with_a_path_is_not_relocatable(store: Store, workspace: Workspace) -> None:
    result = run(workspace, script="mkdir -p image; printf '%s\\0' \"$PWD\" > image/a\n")
    assert result.output is not None
    assert store.objects.entry(result.output, "fixed") is not None
    assert any("not relocatable" in note for note in result.notes)


def test_a_scratch_workspace_replaces_no_result(store: Store, workspace: Workspace) -> None:
    result = run(workspace)
    output = store.refs.get(str(OutputRef(KEY, result.task_hash)))
    aside = replace(workspace, alias="7", work=workspace.work.parent / "aside-work")
    aside.work.mkdir()
    again = run(aside, force=True, script=SCRIPT)
    assert again.status == "ran"
    assert store.refs.get(str(OutputRef(KEY, again.task_hash))) == output
    assert again.commit is not None
    assert Records(store).facts(again.commit)["aside"] == "7"
