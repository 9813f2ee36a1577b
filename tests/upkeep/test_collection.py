"""Collections delete by the rules, keep the rest, and leave an intact store."""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prov.records.build_list import BuildList, Line
from prov.records.ids import TaskHash
from prov.records.keys import TaskKey
from prov.records.output import read_pair
from prov.records.refs import RECORDS, OutputRef, RunRef
from prov.store.objects import CONSTANT_IDENTITY, Commit
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.store.sweep import measure, packed_sizes, reachable, sweep
from prov.upkeep import collection
from prov.upkeep.collection import held_after, plan_gc, prune, remove_unlinked
from prov.upkeep.pruned import Pruned
from prov.upkeep.rules import Rules
from prov.worktree.attributes import walk
from tests.fsck.generated_store import make_store
from tests.locks import expire_locks

FAR = 4e9
"""A time at which everything is old."""
ALL_OLD = Rules(builds=3, days=0, workdirs=1)


@pytest.fixture(scope="session")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("generated") / "store.git"
    make_store(path, runs=600, recipes=6)
    return path


@pytest.fixture
def store(generated: Path, tmp_path: Path) -> Store:
    shutil.copytree(generated, tmp_path / "store.git")
    return Store.open(tmp_path / "store.git")


def fsck(store: Store) -> None:
    command = ["git", f"--git-dir={store.path}", "fsck", "--strict", "--no-dangling"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "missing" not in done.stdout + done.stderr


def builds(store: Store) -> list[BuildList]:
    found, build = [], BuildList.latest(store)
    while build is not None:
        found.append(build)
        build = build.before()
    return found


def lines(build: BuildList) -> list[Line]:
    return [line for recipe in build.recipes() for line in build.lines(recipe).values()]


def has_output(store: Store, line: Line) -> bool:
    """Return whether a task's output exists for its hash and is completely readable."""
    if store.refs.get(str(OutputRef(line.key, line.task_hash))) is None:
        return False
    assert line.output is not None
    for _, node in walk(store.objects, read_pair(store.objects, line.output)):
        if not node.is_directory:
            store.objects.blob(node.oid)
    store.objects.tree(line.task_hash)
    return True


def has_workdir(store: Store, line: Line) -> bool:
    return store.refs.get(f"{RunRef(line.key, line.task_hash, 1).prefix}/{line.run}") is not None


def collect(store: Store, rules: Rules) -> int:
    prune(store, plan_gc(store, rules, now=FAR), now=FAR)
    return sweep(store.objects, now=FAR).size


def test_the_outputs_of_the_last_builds_stay_and_the_workdirs_of_fewer(store: Store) -> None:
    before = builds(store)
    freed = collect(store, ALL_OLD)
    assert freed > 0
    fsck(store)
    kept = builds(store)
    assert [build.commit for build in kept] == [build.commit for build in before]
    for build in kept[:3]:
        assert all(has_output(store, line) for line in lines(build))
    assert all(has_workdir(store, line) for line in lines(kept[0]))
    assert not all(has_output(store, line) for line in lines(kept[-1]))
    assert not all(has_workdir(store, line) for line in lines(kept[2]))


def test_a_run_without_its_workdir_keeps_its_record(store: Store) -> None:
    collect(store, ALL_OLD)
    second = builds(store)[2]
    gone = [line for line in lines(second) if not has_workdir(store, line)]
    assert gone
    for line in gone:
        record = store.refs.get(
            f"{RECORDS}{line.key.replace(':', '/')}/{line.task_hash.hex()}/{line.run}"
        )
        assert record is not None
        names = {entry.name for entry in store.objects.tree(store.objects.commit(record).tree)}
        assert {b"inputs", b"output", b"log", b"environment"} <= names


@pytest.mark.parametrize("prefix", ["refs/prov/label/", "refs/prov/pin/"])
def test_a_build_with_a_label_or_a_pin_stays_whole(store: Store, prefix: str) -> None:
    old = builds(store)[-2]
    store.refs.update(RefUpdate(f"{prefix}old", old.commit))
    collect(store, Rules(builds=1, days=0, workdirs=0))
    fsck(store)
    for line in lines(old):
        assert has_output(store, line)
        assert has_workdir(store, line)


def test_the_last_result_of_each_task_stays(store: Store) -> None:
    newest: dict[str, Line] = {}
    for build in builds(store):
        for line in lines(build):
            newest.setdefault(line.key, line)
    collect(store, Rules(builds=1, days=0, workdirs=0))
    assert all(has_output(store, line) for line in newest.values())


def test_young_results_stay(store: Store) -> None:
    assert plan_gc(store, Rules(builds=1, days=1e6, workdirs=0), now=2e9) == []


def test_a_second_time_there_is_nothing_to_collect(store: Store) -> None:
    collect(store, ALL_OLD)
    assert plan_gc(store, ALL_OLD, now=FAR) == []
    assert collect(store, ALL_OLD) == 0


def test_a_size_limit_deletes_the_oldest_builds(store: Store) -> None:
    everything = sum(packed_sizes(store.objects).values())
    limit = everything // 2
    collect(store, Rules(builds=1000, days=1e6, workdirs=1000, size=limit))
    fsck(store)
    sizes = packed_sizes(store.objects)
    assert sum(sizes.get(oid, 0) for oid in reachable(store.path)) <= limit
    assert all(has_output(store, line) for line in lines(builds(store)[0]))


def test_the_predicted_space_is_freed(store: Store) -> None:
    gone = plan_gc(store, ALL_OLD, now=FAR)
    predicted = measure(store.objects, held_after(store, gone), now=FAR)
    prune(store, gone, now=FAR)
    swept = sweep(store.objects, now=FAR)
    assert 0 < swept.size <= predicted.size
    assert swept.objects <= predicted.objects


def test_the_log_has_time_and_rule_of_each_deletion(store: Store) -> None:
    gone = plan_gc(store, ALL_OLD, now=FAR)
    prune(store, gone, now=FAR)
    for each in (gone[0], gone[-1]):
        assert Pruned(store).find(each.ref) == (int(FAR), each.rule)
    assert Pruned(store).find("refs/heads/builds") is None


def test_nothing_is_swept_while_a_process_writes(store: Store) -> None:
    prune(store, plan_gc(store, ALL_OLD, now=FAR), now=FAR)
    other = Store.open(store.path)
    writer = other.objects.writer()
    assert sweep(store.objects, now=FAR).in_use
    oid = writer.add_blob(b"not held by any ref yet")
    writer.finish()
    assert store.objects.exists(oid)


def test_young_packs_are_left_to_git_processes(store: Store) -> None:
    prune(store, plan_gc(store, ALL_OLD, now=FAR), now=FAR)
    assert sweep(store.objects, now=time.time()).size == 0


def test_numbers_of_runs_go_on_after_a_collection(store: Store) -> None:
    from prov.records.lookup import last_number

    line = lines(builds(store)[2])[0]
    before = last_number(store, line.key, line.task_hash)
    collect(store, ALL_OLD)
    assert last_number(store, line.key, line.task_hash) == before


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    count=st.integers(1, 8),
    workdirs=st.integers(0, 8),
    labelled=st.integers(0, 20),
    share=st.none() | st.floats(0, 1),
)
def test_any_rules_leave_an_intact_store_with_the_promised_results(
    generated: Path,
    tmp_path_factory: pytest.TempPathFactory,
    count: int,
    workdirs: int,
    labelled: int,
    share: float | None,
) -> None:
    path = tmp_path_factory.mktemp("any") / "store.git"
    shutil.copytree(generated, path)
    store = Store.open(path)
    there = builds(store)
    chosen = there[labelled % len(there)]
    store.refs.update(RefUpdate("refs/prov/label/chosen", chosen.commit))
    size = int(share * sum(packed_sizes(store.objects).values())) if share is not None else None
    collect(store, Rules(count, 0, workdirs, size))
    fsck(store)
    assert all(has_output(store, line) and has_workdir(store, line) for line in lines(chosen))
    assert all(has_output(store, line) for line in lines(there[0]))


def test_a_kill_at_any_moment_leaves_an_intact_store(generated: Path, tmp_path: Path) -> None:
    rng = random.Random(1)
    for number in range(4):
        path = tmp_path / f"{number}.git"
        shutil.copytree(generated, path)
        store = Store.open(path)
        process = multiprocessing.get_context("fork").Process(
            target=collect, args=(Store.open(path), ALL_OLD)
        )
        process.start()
        time.sleep(rng.random() * 0.3)
        if process.pid is not None:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        expire_locks(path)
        store.objects.remove_leftovers()
        fsck(store)
        assert all(has_output(store, line) for build in builds(store)[:3] for line in lines(build))
        collect(store, ALL_OLD)
        fsck(store)


def test_pool_files_without_links_are_deleted(tmp_path: Path) -> None:
    folder = tmp_path / "pool" / "aa"
    folder.mkdir(parents=True)
    for name in ("alone", "linked", "new"):
        (folder / name).write_bytes(b"1234")
    os.link(folder / "linked", tmp_path / "link")
    now = time.time()
    assert remove_unlinked(tmp_path / "pool", older_than=now - 60) == (0, 0)
    assert remove_unlinked(tmp_path / "pool", older_than=now + 60) == (2, 8)
    assert [path.name for path in folder.iterdir()] == ["linked"]


def test_results_of_a_running_build_stay(store: Store) -> None:
    """No build lists it yet, but it is the newest run of its task."""
    latest = builds(store)[0]
    line = next(line for line in lines(latest) if line.run and line.output)
    commit = store.refs.get(f"{RunRef(line.key, line.task_hash, 1).prefix}/{line.run}")
    assert commit is not None
    with store.objects.writer() as writer:
        made = writer.commit(commit)
        newer = replace(made.author, seconds=int(time.time()) + 10)
        again = writer.add_commit(replace(made, author=newer))
        task_hash = bytes(19) + b"\1"
        output = writer.add_commit(Commit(made.tree, (), CONSTANT_IDENTITY, "output\n"))
        writer.finish()
        unlisted = f"{RunRef(line.key, TaskHash(task_hash), 1).prefix}/1"
        store.refs.update(
            RefUpdate(unlisted, again, None),
            RefUpdate(str(OutputRef(line.key, TaskHash(task_hash))), output, None),
        )
        # a process is writing
        gone = {each.ref for each in plan_gc(Store.open(store.path), ALL_OLD, now=FAR)}
    assert str(OutputRef(line.key, TaskHash(task_hash))) not in gone


def test_runs_that_a_kept_run_has_in_its_history_keep_their_tags(store: Store) -> None:
    """Deleting them would free nothing. The numbers below a remaining run have no gap."""
    key, task_hash = "line:step", bytes(19) + b"\2"
    with store.objects.writer() as writer:
        template = store.objects.commit(next(iter(store.refs.list("refs/tags/").values())))
        record = template.parents[1]
        commits: list[bytes] = []
        for number in range(4):
            before = (commits[-1],) if commits and number != 1 else ()
            made = replace(
                template,
                parents=(*before, record) if before else (record, record),
                message=f"{number}\n",
            )
            commits.append(writer.add_commit(made))
        writer.finish()
    updates = [
        RefUpdate(f"{RunRef(TaskKey(key), TaskHash(task_hash), 1).prefix}/{n}", oid, None)
        for n, oid in enumerate(commits[:3], 1)
    ]
    store.refs.update(*updates, RefUpdate("refs/prov/workdir/arch/line/1", commits[3], None))
    other = RefUpdate(f"{RunRef(TaskKey(key), TaskHash(bytes(20)), 1).prefix}/1", commits[3], None)
    store.refs.update(other)
    gone = {each.ref: each for each in plan_gc(store, ALL_OLD, now=FAR) if "line/step" in each.ref}
    assert set(gone) == {f"{RunRef(TaskKey(key), TaskHash(task_hash), 1).prefix}/1"}
    assert (
        gone[f"{RunRef(TaskKey(key), TaskHash(task_hash), 1).prefix}/1"].record
        == f"{RECORDS}line/step/{task_hash.hex()}/1"
    )
    collect(store, ALL_OLD)
    fsck(store)


def test_the_oldest_builds_are_deleted_until_the_space_is_free(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = 1000
    monkeypatch.setattr(collection, "free_space", lambda _folder: free)
    sizes = packed_sizes(store.objects)
    everything = Rules(builds=1000, days=0, workdirs=1000)

    def freed(min_free: int) -> int:
        deletions = plan_gc(store, replace(everything, min_free=min_free), now=FAR)
        return sum(sizes.values()) - sum(sizes.get(oid, 0) for oid in held_after(store, deletions))

    least, most = freed(0), freed(1 << 60)
    assert freed(free) == least
    half = free + most // 2
    assert half - free <= freed(half) < most
    limited = plan_gc(store, replace(everything, min_free=half, size=1), now=FAR)
    assert {row.rule for row in limited} == {"size"}
