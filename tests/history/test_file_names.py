"""Recorded files by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from prov.errors import NameUnknown
from prov.history.file_names import FileName, find_below, find_file, node_in, task_of
from prov.records.keys import TaskKey
from prov.records.refs import workdir_ref
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.worktree.attributes import Pair
from prov.worktree.snapshot import capture
from tests.history.recorded import Recorder

NATIVE = (
    "sysroot-destdir/home/anna/build/tmp/work/x86_64-linux/zlib-native/1.3.1/recipe-sysroot-native"
)


def captured(store: Store, top: Path, *paths: str) -> Pair:
    for path in paths:
        (top / path).parent.mkdir(parents=True, exist_ok=True)
        (top / path).write_text(path)
    with store.objects.writer() as writer:
        return capture(store, top, writer).pair


@pytest.mark.parametrize(
    ("paths", "where"),
    [
        (["usr/bin/x"], "usr/bin/x"),
        (["package/usr/bin/x", "packages-split/x/usr/bin/x"], "package/usr/bin/x"),
        ([f"{NATIVE}/usr/bin/x", f"{NATIVE}/usr/lib/y"], f"{NATIVE}/usr/bin/x"),
        (["sysroot-destdir/usr/src/build/recipe-sysroot-native/usr/bin/x"], None),
        (["1", "a/1", "a/b/2", "a/b/c/3", "a/b/c/d/usr/bin/x"], ""),
    ],
)
def test_single_folders_do_not_count_as_depth(
    store: Store, tmp_path: Path, paths: list[str], where: str | None
) -> None:
    pair = captured(store, tmp_path / "output", *paths)
    wanted = paths[0] if where is None else where
    assert find_below(store, pair, b"usr/bin/x") == (wanted.encode() or None)


def test_exact_names(store: Store, recorder: Recorder) -> None:
    run = recorder.run("app:make", {"script": "make"}, {"out/app": "1"}, output={"app": "1"})
    file = find_file(store, "app:make@output/app")
    assert file == FileName(TaskKey("app:make"), "output", b"app", run.commit)
    assert file.text == "app:make@output/app"
    assert node_in(store, file) is not None
    assert task_of(store, run.commit) == "app:make"
    workdir = find_file(store, "app:make@workdir/out/app")
    assert (workdir.part, workdir.path) == ("workdir", b"out/app")


def test_a_path_alone_is_searched_in_images_targets_packages_and_others(
    store: Store, recorder: Recorder
) -> None:
    runs = [
        recorder.run(key, {"script": key}, dict.fromkeys(paths, key))
        for key, paths in {
            "app:aaa": ["1", "2", "3", "4"],
            "app:package": ["1", "2", "3"],
            "app:target": ["1", "2"],
            "app:image": ["top/1"],
        }.items()
    ]
    recorder.build(*runs, facts={"targets": "app:target"})
    found = {path: find_file(store, path).text for path in ("1", "/2", "3", "4")}
    assert found == {
        "1": "app:image@output/top/1",
        "/2": "app:target@output/2",
        "3": "app:package@output/3",
        "4": "app:aaa@output/4",
    }


def test_earlier_builds_are_searched_for_tasks_that_the_last_did_not_reach(
    store: Store, recorder: Recorder
) -> None:
    old = recorder.run("app:make", {"script": "1"}, {"old": "1"})
    both = recorder.run("lib:make", {"script": "1"}, {"lib": "1"})
    recorder.build(old, both)
    recorder.build(both)
    assert find_file(store, "old").text == "app:make@output/old"
    recorder.build(recorder.run("app:make", {"script": "2"}, {"new": "1"}))
    with pytest.raises(NameUnknown, match="old not found in any output of the last build"):
        find_file(store, "old")


def test_the_name_of_a_task_is_not_suggested_again(store: Store, recorder: Recorder) -> None:
    made = recorder.run("app:make", {"script": "1"}, {"old": "1"})
    recorder.build(made, recorder.run("app:take", {"script": "1"}, {"new": "1"}))
    with pytest.raises(NameUnknown) as caught:
        find_file(store, "app:make")
    assert caught.value.hint.startswith("use a full name such as")


def test_no_build_is_recorded(store: Store) -> None:
    with pytest.raises(NameUnknown, match="no build is recorded"):
        find_file(store, "usr/bin/x")


@pytest.mark.parametrize(
    ("path", "part", "inside"),
    [
        ("build/app", "workdir", b"build/app"),
        ("recipe-sysroot/usr/lib", "sysroot", b"usr/lib"),
        ("recipe-sysroot-native/usr/bin/cc", "sysroot-native", b"usr/bin/cc"),
    ],
)
def test_paths_on_disk(
    store: Store, recorder: Recorder, tmp_path: Path, path: str, part: str, inside: bytes
) -> None:
    run = recorder.run("app:make", {"script": "1"}, {"build/app": "1"})
    store.refs.update(RefUpdate(str(workdir_ref("target", "app", "build")), run.commit))
    work = tmp_path / "work"
    file = find_file(store, str(work / "target/app/build" / path), work=work)
    assert file == FileName(TaskKey("app:make"), part, inside, run.commit)
    with pytest.raises(NameUnknown, match="no task is recorded for this WORKDIR"):
        find_file(store, str(work / "target/lib/build" / path), work=work)


def test_a_deployed_file_is_searched_by_its_path_there(
    store: Store, recorder: Recorder, tmp_path: Path
) -> None:
    recorder.build(recorder.run("app:image", {"script": "1"}, {"image/app.img": "1"}))
    file = find_file(store, str(tmp_path / "deploy/app.img"), work=tmp_path / "work")
    assert file.text == "app:image@output/image/app.img"
