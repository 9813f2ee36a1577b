"""Runs and records that no ref holds."""

from __future__ import annotations

from dataclasses import replace

from prov.fsck.orphans import Orphans, find_orphans, has_builds, last_output, tips
from prov.fsck.reach import Reach
from prov.records.output import Output
from prov.records.refs import BUILDS
from prov.store.objects import Oid
from prov.worktree.attributes import EMPTY
from tests.fsck.test_refs import FAILED, HASH, KEY, RUN, Lab, lab

__all__ = ["lab"]


def orphans_of(lab: Lab, refs: dict[str, Oid]) -> Orphans:
    reach = Reach.of(lab.store.objects)
    reach.look(refs)
    return find_orphans(lab.store, reach, refs)


def test_commits_that_no_ref_holds(lab: Lab) -> None:
    orphans = orphans_of(lab, {})
    assert lab.run.commit in orphans.runs[RUN]
    assert orphans.runs[FAILED] == [lab.failed.commit]
    assert lab.run.record in orphans.records[RUN.record]
    assert orphans.builds == [lab.build] == tips(lab.store, orphans)
    assert has_builds(lab.store)


def test_commits_that_refs_hold(lab: Lab) -> None:
    refs: dict[str, Oid] = {str(FAILED): lab.failed.commit, BUILDS: lab.build}
    orphans = orphans_of(lab, refs)
    assert FAILED not in orphans.runs
    assert orphans.builds == []


def test_each_orphan_is_used_once(lab: Lab) -> None:
    orphans = Orphans()
    orphans.add(replace(RUN, number=7), lab.run.commit)
    orphans.add(RUN.record, lab.run.record)
    assert orphans.take(replace(RUN, number=3)) == lab.run.commit
    assert orphans.take(RUN) is None
    assert orphans.take(FAILED) is None
    assert orphans.take(replace(RUN.record, number=2)) == lab.run.record
    assert orphans.take(RUN.record) is None


def test_the_last_output_counts(lab: Lab) -> None:
    second = lab.record(Output(EMPTY, postprocess=b"true\n"))
    refs: dict[str, Oid] = {str(RUN): lab.run.commit}
    assert last_output(lab.store, refs, KEY, HASH) == lab.run.output
    refs[str(replace(RUN, number=2).record)] = second.record
    assert last_output(lab.store, refs, KEY, HASH) == second.output
    refs[str(replace(RUN, number=3))] = lab.build  # a damaged ref
    assert last_output(lab.store, refs, KEY, HASH) == second.output
    assert last_output(lab.store, {}, KEY, HASH) is None
