"""Recorded directories by name."""

from __future__ import annotations

import pytest

from prov.errors import Elsewhere, NameUnknown
from prov.history.directories import find_directory, read_part
from prov.records.refs import RunRef
from prov.store.objects import CONSTANT_IDENTITY, Commit
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import EMPTY, walk
from tests.history.recorded import Recorded, Recorder, write_files


def paths(store: Store, name: str) -> list[str]:
    """Return the files in the directory with a name."""
    pair = find_directory(store, name).pair
    return [path.decode() for path, node in walk(store.objects, pair) if not node.is_directory]


@pytest.fixture
def run(recorder: Recorder) -> Recorded:
    before = recorder.run("app:unpack", {"script": "tar"}, {"app.c": "1"})
    run = recorder.run(
        "app:make",
        {"script": "make"},
        {"app.c": "1", "out/bin/app": "1"},
        output={"bin/app": "1"},
        before=before,
    )
    recorder.build(before, run)
    return run


def test_names(store: Store, run: Recorded) -> None:
    workdir, output = ["app.c", "out/bin/app"], ["bin/app"]
    tag = RunRef(run.line.key, run.line.task_hash, 1).tag
    names = {
        "app:make": workdir,
        "app:make@workdir": workdir,
        "app:make@before": ["app.c"],
        "app:make@output": output,
        "app:make@output/bin": ["app"],
        "app:make@sysroot": [],
        "app:make@sysroot-native": [],
        "latest/app:make": workdir,
        "latest/app:make@output": output,
        tag: workdir,
        f"{tag}@output": output,
        f"{tag}@before": ["app.c"],
        run.commit.hex(): workdir,
        run.output.hex(): output,
        run.workdir.tree.hex(): workdir,
    }
    assert {name: paths(store, name) for name in names} == names


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("app:make@outptu", "unknown part @outptu"),
        ("app:make@output/lib", "no such folder: lib"),
        ("app:make@output/bin/app", "no such folder: bin/app"),
        ("builds@output", "has no output: not a run of a task"),
        ("no such thing", "not found in the store"),
        ("--all", "not found in the store"),
        ("app:test", "no run of app:test is recorded"),
        ("latest/app:test@output", "has no task app:test"),
    ],
)
def test_unknown_names(store: Store, run: Recorded, name: str, problem: str) -> None:
    with pytest.raises(NameUnknown, match=problem):
        find_directory(store, name)


def test_a_file_is_not_a_directory(store: Store) -> None:
    with store.objects.writer() as writer:
        blob = writer.add("blob", b"text")
    with pytest.raises(NameUnknown, match="is a blob, not a directory"):
        find_directory(store, blob.hex())


def test_an_output_without_a_run(store: Store, run: Recorded) -> None:
    store.refs.update(RefUpdate(str(RunRef(run.line.key, run.line.task_hash, 1)), None))
    assert paths(store, "latest/app:make@output") == ["bin/app"]
    with pytest.raises(Elsewhere):
        find_directory(store, "latest/app:make")


def test_a_failed_run_has_no_output(store: Store, recorder: Recorder) -> None:
    failed = recorder.run("app:make", {"script": "false"}, {"core": ""}, failed=True)
    assert paths(store, "app:make") == ["core"]
    with pytest.raises(NameUnknown, match="the run failed and has no output"):
        find_directory(store, "app:make@output")
    assert read_part(store, failed.commit, "output") is None
    assert read_part(store, failed.commit, "sysroot") is None
    assert read_part(store, failed.commit, "before") == EMPTY


def test_commits_of_others_are_their_trees(store: Store) -> None:
    with store.objects.writer() as writer:
        tree = write_files(writer, {"content": "a file", "x": "1"})
        commit = writer.add_commit(Commit(tree, (), CONSTANT_IDENTITY, "mine\n"))
    store.refs.update(RefUpdate("refs/heads/mine", commit))
    directory = find_directory(store, "mine")
    assert directory.commit == commit
    assert paths(store, "mine") == ["content", "x"]
