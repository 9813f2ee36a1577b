"""Updated tables are equal to tables made from nothing, whatever happened to the store."""

from __future__ import annotations

import random
import subprocess

import pytest

from prov.query import refresh
from prov.query.answer import answer
from prov.records.build_list import BuildList, record_build, walk_builds
from prov.records.labels import remove_label, set_label, set_pin
from prov.records.refs import BUILDS, RECORDS, TAGS, parse_run
from prov.records.run import author
from prov.store.refs import RefUpdate
from prov.store.repository import Store
from prov.upkeep.collection import plan_gc, prune
from prov.upkeep.rules import Rules
from tests.query.stores import ALL_TABLES, fresh, kept, value

BUILD_COUNT = "select count(*) from builds"


@pytest.fixture(autouse=True)
def all_tables(store: Store) -> None:
    answer(store, ALL_TABLES)


def test_runs_and_builds_are_counted(store: Store) -> None:
    runs = [name for name in store.refs.list(TAGS) if parse_run(name)]
    assert value(store, "select count(*) from runs") == len(runs) == 300
    assert value(store, BUILD_COUNT) == sum(1 for _ in walk_builds(BuildList.latest(store)))
    assert kept(store) == fresh(store)


def test_an_update_without_changes_writes_nothing(store: Store) -> None:
    file = store.cache / "tables.sqlite"
    before = file.stat()
    answer(store, BUILD_COUNT)
    after = file.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_old_runs_are_not_read_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[bytes] = []
    monkeypatch.setattr(refresh, "add_runs", lambda _s, _d, new: lines.extend(new))
    name, oid = next(iter(store.refs.list(f"{TAGS}part00/compile/").items()))
    store.refs.update(RefUpdate(f"{name}7", oid, None))
    answer(store, BUILD_COUNT)
    assert lines == [f"{oid.hex()} {name}7".encode()]


@pytest.mark.parametrize("seed", range(4))
def test_deleted_and_restored_runs(store: Store, seed: int) -> None:
    chooser = random.Random(seed)
    refs = store.refs.list(TAGS)
    names = chooser.sample(sorted(refs), chooser.choice((1, 50, 250)))
    store.refs.update(*(RefUpdate(name, None) for name in names))
    assert kept(store) == fresh(store)
    store.refs.update(*(RefUpdate(name, refs[name], None) for name in names[::2]))
    assert kept(store) == fresh(store)
    subprocess.run(["git", f"--git-dir={store.path}", "pack-refs", "--all"], check=True)
    assert kept(store) == fresh(store)


def test_a_collection_keeps_records_and_deletes_the_other_runs(store: Store) -> None:
    deletions = plan_gc(store, Rules(builds=5, days=0, workdirs=1), now=4e9)
    prune(store, deletions)
    assert store.refs.list(RECORDS)
    assert value(store, "select count(*) from runs where workdir_commit is null") == len(
        store.refs.list(RECORDS)
    )
    assert value(store, "select count(*) from runs") < 300  # type: ignore[operator]
    assert kept(store) == fresh(store)


def test_a_record_beside_its_run_is_one_run(store: Store) -> None:
    name = next(
        name for name in store.refs.list(TAGS) if (ref := parse_run(name)) and not ref.failed
    )
    ref = parse_run(name)
    assert ref is not None
    commit = store.refs.get(name)
    assert commit is not None
    record = store.objects.commit(commit).parents[1]
    store.refs.update(RefUpdate(str(ref.record), record, None))
    assert value(store, "select count(*) from runs") == 300
    store.refs.update(RefUpdate(name, None))
    assert value(store, "select tag from runs where workdir_commit is null") == str(
        ref.record
    ).removeprefix("refs/prov/")
    assert kept(store) == fresh(store)


def test_new_builds_labels_and_pins(store: Store) -> None:
    latest = BuildList.latest(store)
    assert latest is not None
    set_label(store, "release", latest)
    set_pin(store, latest, keep=True)
    record_build(store, [], {}, {"targets": "x", "result": "ok"}, author(5))
    assert value(store, "select max(build) from builds") == value(store, BUILD_COUNT)
    assert value(store, "select count(*) from builds where pinned") == 1
    assert value(store, "select id from labels join builds using (build)") == latest.commit.hex()
    assert kept(store) == fresh(store)
    remove_label(store, "release")
    set_pin(store, latest, keep=False)
    assert kept(store) == fresh(store)


def test_replaced_and_continued_builds(store: Store) -> None:
    facts = {"targets": "x", "result": "ok", "builder": "command"}
    count = value(store, BUILD_COUNT)
    assert isinstance(count, int)
    first = record_build(store, [], {}, facts, author(5), label="mine")
    assert value(store, BUILD_COUNT) == count + 1
    second = record_build(store, [], {}, facts, author(6), label="mine", continued=first)
    assert value(store, BUILD_COUNT) == count + 1
    record_build(store, [], {}, facts, author(7))
    record_build(store, [], {}, facts, author(8), label="mine", continued=second)
    assert value(store, BUILD_COUNT) == count + 2
    assert kept(store) == fresh(store)


def test_builds_that_leave_the_history(store: Store) -> None:
    latest = BuildList.latest(store)
    before = latest.before() if latest else None
    assert before is not None
    store.refs.update(RefUpdate(BUILDS, before.commit))
    assert kept(store) == fresh(store)
    store.refs.update(RefUpdate(BUILDS, None))
    assert value(store, BUILD_COUNT) == 0
    assert kept(store) == fresh(store)


def test_a_second_process_reads_many_builds(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = fresh(store)
    monkeypatch.setattr(refresh, "MANY_BUILDS", 1)
    assert fresh(store) == expected
