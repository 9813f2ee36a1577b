"""The deletions of a collection, as a function of refs and of the results that builds keep."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prov.records.ids import OutputId, StaticKey, TaskHash
from prov.records.keys import TaskKey
from prov.records.refs import OutputRef, OutsideRef, RunRef, StaticRef
from prov.store.objects import Oid
from prov.upkeep.pruned import Deletion
from prov.upkeep.retention import (
    Extent,
    Inventory,
    KeptResults,
    RuleNames,
    choose,
    extent_of,
    series_of,
    without_gaps,
)
from prov.upkeep.rules import DAY, Rules

NOW = 100 * DAY
OLD, YOUNG = int(1 * DAY), int(99 * DAY)
RULES = Rules(builds=3, days=10, workdirs=1)
NAMES = RuleNames.of(RULES)
KEY = TaskKey("zlib:compile")


def oid(number: int) -> Oid:
    return number.to_bytes(20, "big")


HASH, OTHER = TaskHash(oid(1)), TaskHash(oid(2))


@pytest.mark.parametrize(
    ("position", "seconds", "pinned", "extent"),
    [
        (0, OLD, False, Extent(True, True)),
        (1, OLD, False, Extent(True, False)),
        (2, OLD, False, Extent(True, False)),
        (3, OLD, False, Extent(False, False)),
        (3, YOUNG, False, Extent(True, True)),
        (3, int(90 * DAY), False, Extent(True, True)),
        (3, int(90 * DAY) - 1, False, Extent(False, False)),
        (9, OLD, True, Extent(True, True)),
    ],
)
def test_extent_of_a_build(position: int, seconds: int, pinned: bool, extent: Extent) -> None:
    assert extent_of(position, seconds, RULES, NOW, pinned=pinned) == extent


class Refs:
    """Refs of a store, each with a commit of its own and a time."""

    def __init__(self) -> None:
        self.refs: dict[str, Oid] = {}
        self.seconds: dict[Oid, int] = {}

    def add(self, ref: object, seconds: int = OLD, target: Oid | None = None) -> str:
        commit = target or oid(1000 + len(self.refs))
        self.refs[str(ref)] = commit
        self.seconds[commit] = seconds
        return str(ref)

    def inventory(self) -> Inventory:
        return Inventory.of(dict(sorted(self.refs.items())), self.seconds.__getitem__)

    def deleted(self, kept: KeptResults | None = None, rules: Rules = RULES) -> dict[str, str]:
        names = RuleNames.of(rules)
        deletions = choose(self.inventory(), kept or KeptResults(), rules, names, NOW)
        return {deletion.ref: deletion.rule for deletion in deletions}


@pytest.fixture
def refs() -> Refs:
    return Refs()


def run(number: int = 1, task_hash: TaskHash = HASH, *, failed: bool = False) -> RunRef:
    return RunRef(KEY, task_hash, number, failed)


def test_old_runs_are_deleted_with_their_outputs(refs: Refs) -> None:
    tag = refs.add(run())
    record = refs.add(run(2).record)
    output = refs.add(OutputRef(KEY, HASH))
    assert refs.deleted() == {tag: NAMES.workdirs, record: NAMES.builds, output: NAMES.builds}


def test_a_kept_output_keeps_the_records(refs: Refs) -> None:
    tag = refs.add(run(2))
    refs.add(run(1).record)
    refs.add(OutputRef(KEY, HASH))
    kept = KeptResults(outputs={OutputRef(KEY, HASH)})
    (deletion,) = choose(refs.inventory(), kept, RULES, NAMES, NOW)
    assert deletion == Deletion(tag, refs.refs[tag], NAMES.workdirs, str(run(2).record))


def test_runs_below_a_kept_one_are_deleted_and_those_above_stay(refs: Refs) -> None:
    tags = [refs.add(run(number)) for number in range(1, 13)]
    assert list(refs.deleted(KeptResults(runs={run(10)}))) == tags[:9]


def test_young_runs_keep_their_output(refs: Refs) -> None:
    first = refs.add(run(1))
    refs.add(run(2), YOUNG)
    refs.add(OutputRef(KEY, HASH))
    assert list(refs.deleted()) == [first]


@pytest.mark.parametrize("seconds", [OLD, YOUNG])
def test_failed_runs(refs: Refs, seconds: int) -> None:
    first = refs.add(run(1, failed=True))
    second = refs.add(run(2, failed=True), seconds)
    expected = [] if seconds == YOUNG else [first, second]
    assert list(refs.deleted()) == expected
    assert refs.deleted(KeptResults(failed={run(failed=True)})) == {}
    for deletion in choose(refs.inventory(), KeptResults(), RULES, NAMES, NOW):
        assert not deletion.record


def test_a_static_key_stays_with_its_output(refs: Refs) -> None:
    refs.add(OutputRef(KEY, HASH), target=oid(50))
    refs.add(StaticRef(KEY, StaticKey(oid(7))), target=oid(50))
    other = refs.add(StaticRef(KEY, StaticKey(oid(8))), target=oid(51))
    assert list(refs.deleted(KeptResults(outputs={OutputRef(KEY, HASH)}))) == [other]


def test_states_of_workdirs_are_deleted_by_age(refs: Refs) -> None:
    old = refs.add(OutsideRef("x86_64", "zlib", "build", 1))
    refs.add(OutsideRef("x86_64", "zlib", "build", 2), YOUNG)
    assert refs.deleted() == {old: NAMES.days}


def test_other_refs_are_left_alone(refs: Refs) -> None:
    for name in ("refs/heads/builds", "refs/tags/v1", "refs/prov/workdir/a/b/c", "refs/notes/x"):
        refs.add(name)
    assert refs.deleted() == {}


def test_newest_run_of_a_task_that_no_build_lists(refs: Refs) -> None:
    refs.add(run(1, HASH), seconds=5)
    refs.add(run(1, OTHER), seconds=4)
    refs.add(run(2, OTHER), seconds=6)
    kept = KeptResults()
    kept.add_unlisted(refs.inventory())
    assert kept.runs == {run(2, OTHER)}
    assert kept.outputs == {OutputRef(KEY, OTHER)}
    listed = KeptResults(listed={KEY})
    listed.add_unlisted(refs.inventory())
    assert listed.outputs == set()


def test_newest_outputs_of_a_running_build(refs: Refs) -> None:
    refs.add(run(1, HASH), seconds=5)
    refs.add(run(1, OTHER), seconds=5)
    refs.add(run(1, TaskHash(oid(3))), seconds=4)
    refs.add(run(1, TaskHash(oid(4)), failed=True), seconds=9)
    kept = KeptResults()
    kept.add_newest(refs.inventory())
    assert kept.outputs == {OutputRef(KEY, HASH), OutputRef(KEY, OTHER)}


def test_numbers_below_a_run_that_stays_have_no_gap() -> None:
    deletions = [Deletion(str(run(number)), b"", "days 1") for number in range(1, 5)]
    deletions.append(Deletion(str(run(1).record), b"", "days 1"))
    kept = list(without_gaps(deletions, [str(run(3))]))
    assert [(row.ref, row.record) for row in kept] == [
        (str(run(1)), str(run(1).record)),
        (str(run(2)), str(run(2).record)),
        (str(run(3)), str(run(3).record)),
        (str(run(4)), ""),
    ]


def test_failed_runs_below_one_that_stays_stay() -> None:
    deletions = [Deletion(str(run(1, failed=True)), b"", "days 1")]
    assert list(without_gaps(deletions, [str(run(2, failed=True))])) == []


def test_names_of_rules() -> None:
    assert RuleNames.of(Rules(2, 1.5, 3)) == RuleNames("builds 2", "days 1.5", "workdirs 3")


RUNS = st.builds(
    RunRef,
    st.sampled_from([KEY, TaskKey("app:image")]),
    st.sampled_from([HASH, OTHER]),
    st.integers(1, 12),
    st.booleans(),
)


@given(
    tags=st.dictionaries(RUNS, st.sampled_from([OLD, YOUNG])),
    records=st.dictionaries(RUNS.filter(lambda ref: not ref.failed), st.just(OLD)),
    kept_runs=st.sets(RUNS, max_size=3),
)
def test_whatever_the_refs(
    tags: dict[RunRef, int], records: dict[RunRef, int], kept_runs: set[RunRef]
) -> None:
    """Recent and kept runs stay, and so do all later runs of their task hash."""
    refs = Refs()
    for tag, seconds in tags.items():
        refs.add(tag, seconds)
    for record in records:
        refs.add(record.record)
    kept = KeptResults(runs={ref for ref in kept_runs if not ref.failed})
    deleted = refs.deleted(kept)
    for tag, seconds in tags.items():
        if seconds == YOUNG or tag in kept.runs:
            later = [ref for ref in tags if series_of(ref) == series_of(tag)]
            stay = [ref for ref in later if ref.number >= tag.number]
            assert not deleted.keys() & {str(ref) for ref in stay}
    assert deleted.keys() <= refs.refs.keys()


def test_outputs_are_kept_by_id() -> None:
    """Two task hashes with the same output share its commit."""
    refs = Refs()
    refs.add(OutputRef(KEY, HASH), target=oid(60))
    refs.add(OutputRef(KEY, OTHER), target=oid(60))
    assert refs.deleted(KeptResults(outputs={OutputRef(KEY, HASH)})) == {}
    assert OutputId(oid(60)) in refs.seconds
