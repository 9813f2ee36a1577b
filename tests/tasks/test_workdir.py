"""Tests of preparing and capturing a WORKDIR."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from prov.errors import BuildError
from prov.records.ids import CommitId
from prov.records.keys import TaskKey
from prov.records.output import Output, write_output
from prov.records.refs import OutsideRef, WorkdirRef
from prov.records.run import Start, empty_start, write_workdir
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.tasks.job import Job, Taken
from prov.tasks.taskhash import LocalFile
from prov.tasks.workdir import Workdir, capture_rules, clear_links
from prov.worktree.attributes import EMPTY, FileNode, Pair
from tests.records.samples import BY, pair_of
from tests.tasks.samples import job_of, node_of, own_of, paths_of, workspace_of


@pytest.fixture
def workdir(store: Store, tmp_path: Path) -> Workdir:
    """The WORKDIR of zlib:compile, which does not exist yet."""
    workspace = workspace_of(store, tmp_path / "work")
    (tmp_path / "work").mkdir()
    return Workdir(workspace, node_of(), "compile", store.objects.writer(), "")


def fill(workdir: Workdir, files: Mapping[str, str]) -> None:
    """Write files to a WORKDIR."""
    for name, text in files.items():
        path = workdir.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def files_in(workdir: Workdir) -> dict[str, str]:
    """Return the contents of a WORKDIR: path -> text."""
    return {
        str(path.relative_to(workdir.path)): path.read_text()
        for path in sorted(workdir.path.rglob("*"))
        if path.is_file()
    }


def start_of(workdir: Workdir, files: Mapping[str, str], before: Start | None = None) -> Start:
    """Write a WORKDIR with files, and its commit."""
    pair = pair_of(workdir.writer, files)
    before = before or empty_start(workdir.writer)
    commit = write_workdir(workdir.writer, pair, before.commit, BY, "as it was")
    workdir.writer.finish()
    return Start(commit, pair)


def job(workdir: Workdir, *after: CommitId, from_: tuple[Taken, ...] = ()) -> Job:
    """Return a job in a WORKDIR."""
    names = tuple(f"zlib:t{number}" for number in range(len(after)))
    keys = tuple(taken.key for taken in from_)
    workdir.node = replace(workdir.node, after=tuple(map(TaskKey, names)), from_=keys)
    return job_of(workdir.node, paths_of(workdir.path), after=after, from_=from_)


# rules


@pytest.mark.parametrize(
    ("text", "xattrs", "excluded"),
    [
        ("", (), False),
        ("exclude *.pyc\n", (), True),
        ("xattr user.a\nexclude *.pyc\nxattr user.b\n", ("user.a", "user.b"), True),
        ("exclude !a b\n", (), False),
    ],
)
def test_rules_of_captures(text: str, xattrs: tuple[str, ...], *, excluded: bool) -> None:
    exclude, names = capture_rules(text)
    assert names == xattrs
    assert exclude(b"a.pyc", directory=False) == excluded


def test_links_in_place_of_prov_s_folders_are_removed(tmp_path: Path) -> None:
    (tmp_path / "temp").symlink_to("/etc")
    (tmp_path / "recipe-sysroot").symlink_to("/etc")
    (tmp_path / "recipe-sysroot-native").mkdir()
    (tmp_path / "other").symlink_to("/etc")
    clear_links(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "recipe-sysroot-native"]


# existing contents


def test_a_missing_workdir_is_empty(workdir: Workdir) -> None:
    assert workdir.settle() == empty_start(workdir.writer)
    assert workdir.notes == []


def test_names_of_a_workdir(workdir: Workdir) -> None:
    assert workdir.path == workdir.workspace.work / "x86_64/zlib/compile"
    assert workdir.ref == str(WorkdirRef("x86_64", "zlib", "compile"))
    assert workdir.memory.name == "x86_64%zlib%compile"
    aside = replace(workdir, workspace=replace(workdir.workspace, alias="7"))
    assert aside.memory != workdir.memory
    assert aside.ref != workdir.ref


def test_unrecorded_files_are_kept(store: Store, workdir: Workdir) -> None:
    fill(workdir, {"notes": "mine\n"})
    start = workdir.settle()
    ref = OutsideRef("x86_64", "zlib", "compile", 1)
    assert store.refs.get(str(ref)) == start.commit == store.refs.get(workdir.ref)
    assert store.objects.commit(start.commit).message == "changed outside any task\n"
    (note,) = workdir.notes
    assert "outside/x86_64/zlib/compile/1" in note
    again = replace(workdir, notes=[])
    assert again.settle() == start  # kept once
    assert again.notes == []


def test_leftovers_of_an_interrupted_task_are_identified(store: Store, workdir: Workdir) -> None:
    start = start_of(workdir, {"a": "1"})
    workdir.put_in_place(start.pair, now=EMPTY)
    fill(workdir, {"half": "done"})
    left = workdir.settle()
    message = store.objects.commit(left.commit).message
    assert message == "left by zlib:compile, interrupted\n"
    assert workdir.notes == []


def test_an_empty_workdir_is_not_kept(store: Store, workdir: Workdir) -> None:
    workdir.path.mkdir(parents=True)
    assert workdir.settle().commit == empty_start(workdir.writer).commit
    assert store.refs.list("refs/") == {}


def test_a_file_in_the_way_is_moved_away(workdir: Workdir) -> None:
    workdir.path.parent.parent.mkdir(parents=True)
    workdir.path.parent.write_text("in the way")
    workdir.settle()
    (note,) = workdir.notes
    assert "it is not a folder" in note
    (aside,) = (workdir.workspace.work.parent / "aside").rglob("*-zlib")
    assert aside.read_text() == "in the way"


def test_excluded_files_in_a_deleted_folder_are_moved_away(workdir: Workdir) -> None:
    workdir.rules = "exclude .git\n"
    fill(workdir, {"lib/b.c": "1"})
    target = workdir.capture().pair
    fill(workdir, {"lib/src/a.c": "1", "lib/src/.git/HEAD": "ref"})
    workdir.put_in_place(target, now=workdir.settle().pair)
    assert files_in(workdir) == {"lib/b.c": "1"}
    assert workdir.capture().pair == target
    (aside,) = (workdir.workspace.work.parent / "aside").rglob("*-src")
    assert [path.name for path in aside.iterdir()] == [".git"]
    assert (aside / ".git" / "HEAD").read_text() == "ref"
    assert f"{workdir.path}/lib/src was moved to {aside}" in workdir.notes[-1]


def test_excluded_files_in_the_way_are_moved_away(workdir: Workdir) -> None:
    fill(workdir, {".git/HEAD": "of the task"})
    target = workdir.capture().pair
    workdir.rules = "exclude .git\n"
    fill(workdir, {"a.c": "1", ".git/HEAD": "own"})
    workdir.put_in_place(target, now=workdir.settle().pair)
    assert files_in(workdir) == {".git/HEAD": "of the task"}
    (head,) = (workdir.workspace.work.parent / "aside").rglob("HEAD")
    assert head.read_text() == "own"


# starts


def test_a_task_without_edges_starts_empty(workdir: Workdir) -> None:
    assert workdir.start(job(workdir)) == empty_start(workdir.writer)


def test_a_task_continues_in_a_workdir(workdir: Workdir) -> None:
    start = start_of(workdir, {"a": "1"})
    assert workdir.start(job(workdir, start.commit)) == start


def test_two_workdirs_are_joined(store: Store, workdir: Workdir) -> None:
    base = start_of(workdir, {"a": "1", "b": "1", "gone": "1"})
    left = start_of(workdir, {"a": "2", "b": "1", "gone": "1"}, base)
    right = start_of(workdir, {"a": "1", "b": "2"}, base)
    start = workdir.start(job(workdir, left.commit, right.commit))
    assert start.pair == pair_of(workdir.writer, {"a": "2", "b": "2"})
    workdir.writer.finish()
    assert store.objects.commit(start.commit).parents == (left.commit, right.commit)


def test_conflicting_workdirs_are_reported(workdir: Workdir) -> None:
    base = start_of(workdir, {"a": "1"})
    left, right = (start_of(workdir, {"a": text}, base) for text in ("2", "3"))
    with pytest.raises(BuildError, match="zlib:t0 and zlib:t1 both wrote a"):
        workdir.start(job(workdir, left.commit, right.commit))


def test_outputs_are_added_to_the_workdir(workdir: Workdir) -> None:
    start = start_of(workdir, {"a": "1"})
    output = write_output(workdir.writer, Output(pair_of(workdir.writer, {"b": "2"})))
    workdir.writer.finish()
    taken = Taken(TaskKey("app:install"), output)
    both = workdir.start(job(workdir, start.commit, from_=(taken,)))
    assert both.pair == pair_of(workdir.writer, {"a": "1", "b": "2"})
    alone = workdir.start(job(workdir, from_=(taken,)))
    assert alone.pair == pair_of(workdir.writer, {"b": "2"})


# placing


@pytest.mark.parametrize("now", [{}, {"a": "1", "old": "x"}])
def test_a_workdir_contains_the_start(workdir: Workdir, now: dict[str, str]) -> None:
    start = start_of(workdir, {"a": "2", "b": "3"})
    fill(workdir, now)
    here = workdir.settle()
    workdir.put_in_place(start.pair, now=here.pair)
    assert files_in(workdir) == {"a": "2", "b": "3"}


def test_sources_are_copied_from_the_store(workdir: Workdir) -> None:
    blob = workdir.writer.add("blob", b"content\n")
    workdir.writer.finish()
    workdir.path.mkdir(parents=True)
    file = LocalFile("notes.txt", FileNode(0o100755, blob))
    task = job_of(workdir.node, paths_of(workdir.path), own_of(sources=(file,)))
    workdir.place_inputs(task)
    workdir.place_inputs(task)
    assert files_in(workdir) == {"sources/notes.txt": "content\n"}
    assert (workdir.path / "sources/notes.txt").stat().st_mode & 0o777 == 0o755


def test_a_task_s_files_among_sources_are_not_overwritten(workdir: Workdir) -> None:
    blob = workdir.writer.add("blob", b"content\n")
    workdir.writer.finish()
    fill(workdir, {"sources/mine": "x"})
    file = LocalFile("notes.txt", FileNode(0o100644, blob))
    task = job_of(workdir.node, paths_of(workdir.path), own_of(sources=(file,)))
    with pytest.raises(BuildError, match="an earlier task wrote mine there"):
        workdir.place_inputs(task)
    assert files_in(workdir) == {"sources/mine": "x"}


def test_a_ref_to_an_unrelated_commit_is_rejected(store: Store, workdir: Workdir) -> None:
    start = start_of(workdir, {"a": "1"})
    store.refs.update(RefUpdate(workdir.ref, start.commit))
    fill(workdir, {"a": "changed"})
    found = workdir.settle()
    assert found.pair != start.pair
    assert store.objects.commit(found.commit).parents[0] == start.commit
    assert isinstance(found.pair, Pair)
