"""Tests of builds formed by runs of commands."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from prov.errors import ProvError
from prov.history.why import why
from prov.records.build_list import BuildList, Line, record_build, walk_builds
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.labels import labelled_build, set_label
from prov.records.lookup import new_run
from prov.records.output import Output
from prov.records.refs import DIRECTORIES, TAGS
from prov.records.run import Run, author, empty_start, write_run
from prov.store.objects import EMPTY_TREE
from prov.store.repository import Store
from prov.upkeep.collection import plan_gc, prune
from prov.upkeep.rules import Rules
from prov.worktree.attributes import EMPTY
from prov.wrapped.run import capture_as, run_as
from prov.wrapped.step import CommandRun, CommandStep

pytestmark = pytest.mark.process


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory with one file."""
    path = tmp_path / "src"
    path.mkdir()
    (path / "a").write_text("1\n")
    return path


def run(store: Store, folder: Path, name: str, script: str, build: str = "") -> CommandRun:
    """Run a script in a directory."""
    step = CommandStep.parse(name, build=build)
    return run_as(store, folder, step, ["sh", "-c", script], {}, lambda _chunk: None)


def builds(store: Store) -> list[BuildList]:
    """Return all builds, newest first."""
    return list(walk_builds(BuildList.latest(store)))


def happened(build: BuildList) -> dict[str, str]:
    """Return task -> outcome, without hashes."""
    return {key: text.split()[0] for key, text in build.happened().items()}


def test_each_run_without_a_label_is_a_build(store: Store, folder: Path) -> None:
    run(store, folder, "app:configure", "echo >b")
    capture_as(store, folder, CommandStep.parse("app:tree"))
    newest, first = builds(store)
    assert happened(first) == {"app:configure": "ran"}
    assert happened(newest) == {"app:tree": "ran"}
    assert first.facts()["targets"] == "app:configure"


def test_runs_with_a_label_form_one_build(store: Store, folder: Path) -> None:
    run(store, folder, "app:configure", "echo >b", "ci-1")
    run(store, folder, "app:compile", "exit 3", "ci-1")
    run(store, folder, "app:compile", "exit 0", "ci-1")
    last = run(store, folder, "app:test", "exit 4", "ci-1")
    (build,) = builds(store)
    assert build.commit == last.build == labelled_build(store, "ci-1")
    assert happened(build) == {"app:configure": "ran", "app:compile": "ran", "app:test": "failed"}
    assert set(build.lines("app")) == {"app:configure", "app:compile"}
    facts = build.facts()
    assert (facts["result"], facts["ran"], facts["failed"]) == ("failed", "2", "1")
    assert sorted(span.key for span in build.timeline()) == sorted(happened(build))


def test_interleaved_builds_stay_two(store: Store, folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    run(store, folder, "app:first", "true", "old")
    for number in range(3):
        run(store, folder, f"app:a{number}", "true", "ci-1")
        run(store, other, f"app:b{number}", "true", "ci-2")
    newest, before, oldest = builds(store)
    assert set(happened(newest)) == {"app:b0", "app:b1", "app:b2"}
    assert set(happened(before)) == {"app:a0", "app:a1", "app:a2"}
    assert set(happened(oldest)) == {"app:first"}


def test_runs_at_the_same_time_are_all_listed(store: Store, tmp_path: Path) -> None:
    folders = [tmp_path / str(number) for number in range(4)]
    for path in folders:
        path.mkdir()

    def one(path: Path) -> None:
        run(Store.open(store.path), path, f"app:run{path.name}", "echo >x", "ci-1")

    with ThreadPoolExecutor() as pool:
        list(pool.map(one, folders))
    (build,) = builds(store)
    assert set(happened(build)) == {f"app:run{number}" for number in range(4)}


def test_a_state_with_a_label_of_its_own_stays(store: Store, folder: Path) -> None:
    run(store, folder, "app:configure", "true", "ci-1")
    set_label(store, "configured", builds(store)[0])
    run(store, folder, "app:compile", "true", "ci-1")
    configured = labelled_build(store, "configured")
    assert configured is not None
    assert set(happened(BuildList(store, configured))) == {"app:configure"}
    assert [set(happened(build)) for build in builds(store)] == [{"app:configure", "app:compile"}]


def test_a_build_of_recipes_gets_no_runs(store: Store, folder: Path) -> None:
    record_build(store, [], {}, {"targets": "x:y"}, author(0), label="release")
    with pytest.raises(ProvError, match="was not recorded by `prov run`"):
        run(store, folder, "app:compile", "touch ran", "release")
    assert not (folder / "ran").exists()
    with pytest.raises(ProvError, match="invalid label"):
        run(store, folder, "app:compile", "touch ran", "a/b")


def steps(store: Store, folder: Path, build: str) -> None:
    """Run two steps, of which the second starts from the result of the first."""
    run(store, folder, "app:configure", "cp a config", build)
    run(store, folder, "app:compile", "cat config >program", build)


def test_why_follows_a_change_to_the_step_that_started_from_it(store: Store, folder: Path) -> None:
    steps(store, folder, "one")
    (folder / "a").write_text("2\n")
    steps(store, folder, "two")
    answer = why(store, "app:compile", build="two")
    (cause,) = answer.causes
    assert (cause.key, cause.chain) == ("app:configure", ("app:configure", "app:compile"))
    (change,) = cause.changes
    assert change.title == "starting directory"
    lines = answer.differences[change]
    assert "M a" in lines
    assert "    +2" in lines


def test_why_names_a_changed_command(store: Store, folder: Path) -> None:
    run(store, folder, "app:compile", "echo 1 >x", "one")
    (folder / "x").unlink()
    run(store, folder, "app:compile", "echo 2 >x", "two")
    answer = why(store, "app:compile", build="two")
    (cause,) = answer.causes
    assert [change.title for change in cause.changes] == ["command"]
    assert TaskKey("app:compile") == cause.key


FAR = 4e9
"""A time at which everything is old."""


def kept(store: Store, rules: Rules) -> set[str]:
    """Return the tags that a collection keeps."""
    prune(store, plan_gc(store, rules, now=FAR), now=FAR)
    return set(store.refs.list(TAGS))


def test_a_collection_keeps_the_last_run_of_each_name(store: Store, tmp_path: Path) -> None:
    ran = []
    for number in range(5):
        path = tmp_path / str(number)
        path.mkdir()
        ran.append(run(store, path, "app:compile", f"echo {number} >x", f"ci-{number}"))
        run(store, path, f"app:only{number}", f"echo {number} >y")
    set_label(store, "release", BuildList(store, ran[0].build))
    tags = kept(store, Rules(builds=1, workdirs=1, days=0))
    assert {tag.split("/")[3] for tag in tags} == {"compile", *(f"only{n}" for n in range(5))}
    # compile 1 to 3 are in the history of the runs called only1 to only3
    assert TAGS + ran[0].tag in tags
    assert TAGS + ran[4].tag in tags


def test_a_directory_recorded_during_a_collection_keeps_its_state(
    store: Store, tmp_path: Path
) -> None:
    folders = [tmp_path / str(number) for number in range(3)]
    for path in folders:
        path.mkdir()
        run(store, path, "app:compile", "echo >x", f"ci-{path.name}")
    deletions = plan_gc(store, Rules(builds=1, workdirs=1, days=0), now=FAR)
    run(store, folders[0], "app:compile", "echo 2 >x", "ci-new")
    states = store.refs.list(DIRECTORIES)
    prune(store, deletions, now=FAR)
    assert len(states) == 3
    assert len(store.refs.list(DIRECTORIES)) == 2
    run(store, folders[0], "app:compile", "echo 3 >x", "ci-new")


def test_labels_of_growing_builds_keep_nothing(store: Store, tmp_path: Path) -> None:
    ran = []
    for number in range(4):
        path = tmp_path / str(number)
        path.mkdir()
        ran.append(run(store, path, "app:compile", f"echo {number} >x", f"ci-{number}"))
    set_label(store, "release", BuildList(store, ran[0].build))
    tags = kept(store, Rules(builds=1, workdirs=1, days=0))
    assert tags == {TAGS + ran[0].tag, TAGS + ran[3].tag}


def test_runs_in_no_labelled_build_take_no_place_of_builds(store: Store, folder: Path) -> None:
    key = TaskKey("zlib:compile")
    with store.objects.writer() as writer:
        made = write_run(
            writer,
            Run(key, TaskHash(EMPTY_TREE), empty_start(writer), EMPTY, Output(EMPTY), b"", {}, {}),
            author(0),
        )
    tag = new_run(store, key, TaskHash(EMPTY_TREE), made.commit)
    store.refs.update(tag)
    record_build(store, [Line(key, TaskHash(EMPTY_TREE), made.output, 1)], {}, {}, author(0))
    for number in range(3):
        capture_as(store, folder, CommandStep.parse(f"app:tree{number}"))
    assert tag.name in kept(store, Rules(builds=1, workdirs=1, days=0))
